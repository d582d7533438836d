//! What a device map must satisfy before anything is read with it.

use super::map::{
    Block, DeviceMap, Direction, Field, NumberType, PayloadField, Quantity, Transport,
};

/// Largest request the Modbus standard allows.
const MAX_REGISTERS: u16 = 125;

/// Everything that is wrong with a map, as sentences; empty when it can be used.
#[must_use]
pub fn problems(map: &DeviceMap) -> Vec<String> {
    let mut problems = Vec::new();
    if map.sources.is_empty() {
        problems.push("sources is empty: say where the facts come from".to_owned());
    }
    match map.transport {
        Transport::Mqtt => messages(map, &mut problems),
        Transport::Modbus | Transport::Sunspec => registers(map, &mut problems),
    }
    derived(map, &mut problems);
    let names = names(map);
    if !names.iter().any(|name| Quantity::named(name).is_some()) && map.derived.is_empty() {
        problems.push("no field is a known quantity".to_owned());
    }
    problems
}

fn names(map: &DeviceMap) -> Vec<&str> {
    let in_blocks = map.blocks.iter().flat_map(|block| &block.fields).map(|field| &field.key);
    let in_messages = map.messages.iter().flat_map(|m| &m.fields).map(|field| &field.key);
    in_blocks.chain(in_messages).map(String::as_str).collect()
}

fn registers(map: &DeviceMap, problems: &mut Vec<String>) {
    if !map.messages.is_empty() {
        problems.push("a Modbus map has no [[message]]".to_owned());
    }
    let Some(rules) = &map.modbus else {
        problems.push("[modbus] is missing: at least `function = 3` or `function = 4`".to_owned());
        return;
    };
    if !matches!(rules.function, 3 | 4) {
        problems.push(format!("function {} is not a reading one: use 3 or 4", rules.function));
    }
    if map.transport == Transport::Sunspec && rules.function != 3 {
        problems.push("SunSpec lives in holding registers: function = 3".to_owned());
    }
    if !(1..=MAX_REGISTERS).contains(&rules.max_registers) {
        problems.push(format!("max_registers must be 1 to {MAX_REGISTERS}"));
    }
    if !(50..=60_000).contains(&rules.timeout_ms) {
        problems.push("timeout_ms must be 50 to 60000".to_owned());
    }
    if map.blocks.is_empty() {
        problems.push("there is no [[block]]".to_owned());
    }
    for (index, block) in map.blocks.iter().enumerate() {
        let place = format!("block {index} at {}", block.address);
        if block.count == 0 || block.count > rules.max_registers {
            problems.push(format!("{place}: count must be 1 to {}", rules.max_registers));
        }
        if u32::from(block.address) + u32::from(block.count) > 65_536 {
            problems.push(format!("{place}: runs past register 65535"));
        }
        if rules.even && (block.address % 2 == 1 || block.count % 2 == 1) {
            problems.push(format!("{place}: this device wants even addresses and counts"));
        }
        if map.transport == Transport::Sunspec {
            if block.address != 0 {
                problems.push(format!(
                    "{place}: a SunSpec block starts at 0, so that every read shows the model's id"
                ));
            }
            if block.models.is_empty() && map.ids.is_empty() {
                problems.push(format!("{place}: models is empty and the map has no ids"));
            }
        } else if !block.models.is_empty() {
            problems.push(format!("{place}: models belongs to SunSpec maps"));
        }
        for field in &block.fields {
            field_problems(field, block, &place, problems);
        }
        overlaps(block, &place, problems);
    }
}

fn field_problems(field: &Field, block: &Block, place: &str, problems: &mut Vec<String>) {
    let place = format!("{place}, {}", field.key);
    let inside = |at: u16, count: u16| {
        at >= block.address
            && u32::from(at) + u32::from(count) <= u32::from(block.address) + u32::from(block.count)
    };
    if !inside(field.at, field.kind.registers()) {
        problems.push(format!("{place}: register {} is outside the block", field.at));
    }
    if field.scale_at.is_some_and(|at| !inside(at, 1)) {
        problems.push(format!(
            "{place}: the scale factor is outside the block; value and scale must be read together"
        ));
    }
    if field.kind.is_float() && !field.sentinels.is_empty() {
        problems.push(format!("{place}: a float needs no sentinels, NaN is absent anyway"));
    }
    if field.zero.is_some() && !matches!(field.kind, NumberType::Acc32 | NumberType::Acc64) {
        problems.push(format!("{place}: zero belongs to accumulators"));
    }
    if field.rolls_over_bits.is_some_and(|bits| !(8..=63).contains(&bits)) {
        problems.push(format!("{place}: rolls_over_bits must be 8 to 63"));
    }
    meaning(
        &field.key,
        field.unit.canonical(),
        field.positive_means,
        field.scale10,
        &place,
        problems,
    );
}

fn overlaps(block: &Block, place: &str, problems: &mut Vec<String>) {
    let mut spans: Vec<(u16, u16, &str)> = block
        .fields
        .iter()
        .map(|field| {
            (field.at, field.at.saturating_add(field.kind.registers()), field.key.as_str())
        })
        .collect();
    spans.sort_unstable();
    for pair in spans.windows(2) {
        if pair[1].0 < pair[0].1 {
            problems.push(format!("{place}: {} and {} overlap", pair[0].2, pair[1].2));
        }
    }
    let mut names: Vec<&str> = block.fields.iter().map(|field| field.key.as_str()).collect();
    names.sort_unstable();
    for pair in names.windows(2) {
        if pair[0] == pair[1] {
            problems.push(format!("{place}: {} is there twice", pair[0]));
        }
    }
}

fn messages(map: &DeviceMap, problems: &mut Vec<String>) {
    if map.modbus.is_some() || !map.blocks.is_empty() {
        problems.push("an MQTT map has no [modbus] and no [[block]]".to_owned());
    }
    if map.messages.is_empty() {
        problems.push("there is no [[message]]".to_owned());
    }
    for message in &map.messages {
        let place = format!("message {}", message.topic);
        if message.topic.is_empty() || message.topic.contains(['+', '#']) {
            problems.push(format!("{place}: a topic without wildcards is needed"));
        }
        for PayloadField { key, unit, positive_means, scale10, .. } in &message.fields {
            let place = format!("{place}, {key}");
            meaning(key, unit.canonical(), *positive_means, *scale10, &place, problems);
        }
    }
}

fn meaning(
    key: &str,
    canonical: &str,
    positive_means: Option<Direction>,
    scale10: i32,
    place: &str,
    problems: &mut Vec<String>,
) {
    if !(-12..=12).contains(&scale10) {
        problems.push(format!("{place}: scale10 must be -12 to 12"));
    }
    if let Some(quantity) = Quantity::named(key) {
        if quantity.canonical_unit() != canonical {
            problems.push(format!("{place}: the unit does not fit {quantity}"));
        }
        if quantity == Quantity::Power && positive_means.is_none() {
            problems.push(format!("{place}: power needs positive_means"));
        }
        if quantity != Quantity::Power && positive_means.is_some() {
            problems.push(format!("{place}: positive_means belongs to power"));
        }
    }
}

fn derived(map: &DeviceMap, problems: &mut Vec<String>) {
    let known = names(map);
    for derived in &map.derived {
        let terms = derived.plus.iter().chain(&derived.minus);
        if terms.clone().next().is_none() {
            problems.push(format!("derived {}: needs a required term", derived.key));
        }
        for term in terms.chain(&derived.plus_optional) {
            if !known.contains(&term.as_str()) {
                problems.push(format!("derived {}: there is no field {term}", derived.key));
            }
        }
        if known.contains(&derived.key.as_str()) {
            problems.push(format!("derived {}: is also a field", derived.key));
        }
    }
}
