//! What a device map must satisfy before anything is read with it.

use super::control;
use super::fields::{Block, Counter, Field, MessageMap, NumberType, TimeForm, Valid};
use super::map::{DeviceMap, Hole, ModbusRules, TraitType, Transport};
use super::plan;
use super::quantity::{Direction, Quantity, Unit};

/// Largest request the Modbus standard allows.
const MAX_REGISTERS: u16 = 125;
/// Most pieces of any kind in a map.
const MAX_ITEMS: usize = 400;

/// What is wrong with a file as it is written, before its parts are taken apart.
#[must_use]
pub fn file_problems(file: &DeviceMap) -> Vec<String> {
    let mut problems = Vec::new();
    let named = usize::from(!file.id.is_empty())
        + usize::from(!file.ids.is_empty())
        + usize::from(!file.parts.is_empty());
    if named != 1 {
        problems.push("give the map either an id or, for SunSpec, ids, or [[part]]s".to_owned());
    }
    if !file.ids.is_empty() && file.transport != Transport::Sunspec {
        problems.push("ids belongs to SunSpec maps".to_owned());
    }
    let parts = file.parts.iter().flat_map(|part| &part.blocks);
    let blocks: Vec<&Block> = file.blocks.iter().chain(parts).collect();
    if let Some(rules) = file.modbus.as_ref().filter(|rules| rules.address_base.is_none()) {
        for block in &blocks {
            reference_style(block, rules, &mut problems);
        }
    }
    if blocks.len() > MAX_ITEMS || blocks.iter().any(|block| block.fields.len() > MAX_ITEMS) {
        problems.push(format!("more than {MAX_ITEMS} blocks or fields"));
    }
    problems
}

/// Documents like to number holding registers from 40001 and input registers from 30001. Some
/// devices really have registers there, so the file has to say which it is.
fn reference_style(block: &Block, rules: &ModbusRules, problems: &mut Vec<String>) {
    let style = match block.function.unwrap_or(rules.function) {
        4 => 30_001..=39_999,
        _ => 40_001..=49_999,
    };
    for field in block.fields.iter().filter(|field| style.contains(&field.at)) {
        problems.push(format!(
            "{}: register {} looks like a reference number: say address_base = 0 when it is the \
             address on the wire, {} when the document counts from there, 1 when it counts from 1",
            field.key,
            field.at,
            style.start()
        ));
    }
}

/// Everything that is wrong with a map, as sentences; empty when it can be used.
#[must_use]
pub fn problems(map: &DeviceMap) -> Vec<String> {
    let mut problems = Vec::new();
    if map.sources.is_empty() {
        problems.push("sources is empty: say where the facts come from".to_owned());
    }
    let is_id = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
    if !map.id.is_empty() && !map.id.bytes().all(is_id) {
        problems.push(format!("id {:?}: use small letters, digits and '-'", map.id));
    }
    let (blocks, messages) = (!map.blocks.is_empty(), !map.messages.is_empty());
    match map.transport {
        Transport::Mqtt => {
            if map.modbus.is_some() || blocks || !map.obis.is_empty() {
                problems.push("an MQTT map has no [modbus], [[block]] or [[obis]]".to_owned());
            }
            self::messages(map, &mut problems);
        }
        Transport::Modbus | Transport::Sunspec => {
            if messages || !map.obis.is_empty() {
                problems.push("a Modbus map has no [[message]] and no [[obis]]".to_owned());
            }
            registers(map, &mut problems);
        }
        Transport::P1 | Transport::Sml => {
            if map.modbus.is_some() || blocks || messages {
                problems
                    .push("a telegram map has no [modbus], [[block]] or [[message]]".to_owned());
            }
            telegrams(map, &mut problems);
        }
    }
    let is_sunspec = map.transport == Transport::Sunspec;
    problems.extend(control::problems(&map.controls, is_sunspec, map.transport.is_modbus()));
    derived(map, &mut problems);
    unused(map, &mut problems);
    let told = map.quantities();
    if told.is_empty() {
        problems.push("no field is a known quantity".to_owned());
    }
    let both = [Quantity::EnergyImport, Quantity::EnergyExport];
    if both.iter().all(|quantity| told.contains(quantity)) && map.registration.is_none() {
        problems.push(
            "registration is missing: net, per_phase or unknown, for the import and export registers"
                .to_owned(),
        );
    }
    problems
}

fn names(map: &DeviceMap) -> Vec<&str> {
    map.keys().map(|(key, _)| key).collect()
}

fn rules_problems(map: &DeviceMap, rules: &ModbusRules, problems: &mut Vec<String>) {
    if !matches!(rules.function, 3 | 4) {
        problems.push(format!("function {} is not a reading one: use 3 or 4", rules.function));
    }
    if map.transport == Transport::Sunspec && rules.function != 3 {
        problems.push("SunSpec lives in holding registers: function = 3".to_owned());
    }
    if !(1..=MAX_REGISTERS).contains(&rules.max_registers) {
        problems.push(format!("max_registers must be 1 to {MAX_REGISTERS}"));
    }
    if rules.max_gap > MAX_REGISTERS {
        problems.push(format!("max_gap must be 0 to {MAX_REGISTERS}"));
    }
    if !(50..=60_000).contains(&rules.timeout_ms) {
        problems.push("timeout_ms must be 50 to 60000".to_owned());
    }
    if rules.connect_delay_ms > 30_000 || rules.min_gap_ms > 5_000 {
        problems.push("connect_delay_ms goes to 30000, min_gap_ms to 5000".to_owned());
    }
    if rules.port == 0 {
        problems.push("port must be 1 to 65535".to_owned());
    }
    if rules.serial.as_ref().is_some_and(|serial| {
        !(300..=115_200).contains(&serial.baud)
            || !matches!(serial.parity.as_str(), "none" | "even" | "odd")
            || !matches!(serial.stop_bits, 1 | 2)
    }) {
        problems.push(
            "serial: baud 300 to 115200, parity none, even or odd, stop_bits 1 or 2".to_owned(),
        );
    }
    for Hole { from, to, .. } in &rules.no_read {
        if from > to {
            problems.push(format!("no_read: {from} to {to} is the wrong way round"));
        }
    }
}

fn registers(map: &DeviceMap, problems: &mut Vec<String>) {
    let Some(rules) = &map.modbus else {
        problems.push("[modbus] is missing: at least `function = 3` or `function = 4`".to_owned());
        return;
    };
    rules_problems(map, rules, problems);
    if map.blocks.is_empty() {
        problems.push("there is no [[block]]".to_owned());
    }
    for identify in &map.identify {
        let registers = plan_of_trait(identify);
        if registers == 0 || u32::from(identify.at) + u32::from(registers) > 65_536 {
            problems.push(format!("identify {}: has no registers to read", identify.is));
        }
        if identify.models.is_empty() == (map.transport == Transport::Sunspec) {
            problems.push(format!(
                "identify {}: models is for SunSpec maps, and needed there",
                identify.is
            ));
        }
    }
    for (index, block) in map.blocks.iter().enumerate() {
        let place = match block.count {
            0 => format!("block {index}"),
            _ => format!("block {index} at {}", block.address),
        };
        block_problems(map, rules, block, &place, problems);
        for field in &block.fields {
            field_problems(field, block, &place, problems);
        }
        overlaps(block, &place, problems);
    }
    if problems.is_empty() {
        requests(map, rules, problems);
    }
}

fn plan_of_trait(identify: &super::map::Identify) -> u16 {
    match identify.kind {
        TraitType::Text => identify.registers.min(MAX_REGISTERS),
        TraitType::Uint16 => 1,
        TraitType::Uint32 => 2,
    }
}

fn block_problems(
    map: &DeviceMap,
    rules: &ModbusRules,
    block: &Block,
    place: &str,
    problems: &mut Vec<String>,
) {
    if block.count > rules.max_registers {
        problems.push(format!("{place}: count must be 1 to {}", rules.max_registers));
    }
    if u32::from(block.address) + u32::from(block.count) > 65_536 {
        problems.push(format!("{place}: runs past register 65535"));
    }
    if block.count == 0 && block.address != 0 {
        problems.push(format!("{place}: address without count: leave both to the planner"));
    }
    if rules.even && (block.address % 2 == 1 || block.count % 2 == 1) {
        problems.push(format!("{place}: this device wants even addresses and counts"));
    }
    if block.function.is_some_and(|function| !matches!(function, 3 | 4)) {
        problems.push(format!("{place}: this function is not a reading one: use 3 or 4"));
    }
    if block.fields.is_empty() {
        problems.push(format!("{place}: has no [[block.field]]"));
    }
    if map.transport == Transport::Sunspec {
        if block.address != 0 {
            problems.push(format!(
                "{place}: a SunSpec block starts at 0, so that every read shows the model's id"
            ));
        }
        if block.models.is_empty() {
            problems.push(format!("{place}: models is empty and the map has no ids"));
        }
    } else if !block.models.is_empty() {
        problems.push(format!("{place}: models belongs to SunSpec maps"));
    }
}

/// What the planner makes of it.
fn requests(map: &DeviceMap, rules: &ModbusRules, problems: &mut Vec<String>) {
    for read in plan::plan(map) {
        for span in read.requests() {
            let key = read.block.fields.first().map_or("?", |field| field.key.as_str());
            if span.count > rules.max_registers {
                problems.push(format!("{key}: {} registers do not fit a request", span.count));
            }
            let last = span.address + (span.count - 1);
            let hole = rules.no_read.iter().find(|hole| {
                hole.function.is_none_or(|function| function == read.function)
                    && hole.from <= last
                    && span.address <= hole.to
            });
            if let Some(hole) = hole {
                problems.push(format!(
                    "{key}: reading {} to {last} crosses no_read {} to {}",
                    span.address, hole.from, hole.to
                ));
            }
        }
    }
}

fn field_problems(field: &Field, block: &Block, place: &str, problems: &mut Vec<String>) {
    let place = format!("{place}, {}", field.key);
    let end = |at: u16, count: u16| u32::from(at) + u32::from(count);
    let inside = |at: u16, count: u16| {
        block.count == 0 || at >= block.address && end(at, count) <= end(block.address, block.count)
    };
    if end(field.at, field.kind.registers()) > 65_536 {
        problems.push(format!("{place}: runs past register 65535"));
    }
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
    if field.kind.is_float() && field.offset != 0 {
        problems.push(format!("{place}: offset is for whole numbers"));
    }
    if field.zero.is_some() && !matches!(field.kind, NumberType::Acc32 | NumberType::Acc64) {
        problems.push(format!("{place}: zero belongs to accumulators"));
    }
    if field.rolls_over_bits.is_some_and(|bits| !(8..=63).contains(&bits)) {
        problems.push(format!("{place}: rolls_over_bits must be 8 to 63"));
    }
    let named = usize::from(!field.states.is_empty()) + usize::from(!field.state_bits.is_empty());
    if (field.unit == Unit::State) != (named == 1)
        || (field.unit == Unit::State && field.kind.is_float())
    {
        problems
            .push(format!("{place}: states or state_bits go with unit state, and only with it"));
    }
    if let Some(word) = field.states.keys().find(|word| word.parse::<i64>().is_err()) {
        problems.push(format!("{place}: states: {word:?} is no number"));
    }
    let resolution_follows = field.kind.is_float() || field.scale_at.is_some();
    let meaning = Meaning {
        key: &field.key,
        unit: field.unit,
        positive_means: field.positive_means,
        scale10: field.scale10,
        counter: field.counter,
        resolution_follows,
        valid: field.valid,
    };
    meaning.problems(&place, problems);
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
        // The same number may be told under two names.
        let same = pair[1].0 == pair[0].0 && pair[1].1 == pair[0].1;
        if pair[1].0 < pair[0].1 && !same {
            problems.push(format!("{place}: {} and {} overlap", pair[0].2, pair[1].2));
        }
    }
    let mut names: Vec<(&str, bool)> =
        block.fields.iter().map(|field| (field.key.as_str(), field.when.is_some())).collect();
    names.sort_unstable();
    for pair in names.windows(2) {
        if pair[0].0 == pair[1].0 && !(pair[0].1 && pair[1].1) {
            problems.push(format!("{place}: {} is there twice", pair[0].0));
        }
    }
}

fn messages(map: &DeviceMap, problems: &mut Vec<String>) {
    if map.messages.is_empty() {
        problems.push("there is no [[message]]".to_owned());
    }
    let topics = map.messages.iter().map(|message| &message.topic);
    for topic in topics.chain(map.availability.iter().map(|own| &own.topic)) {
        if topic.is_empty() || topic.contains(['+', '#']) {
            problems.push(format!("message {topic}: a topic without wildcards is needed"));
        }
    }
    for MessageMap { topic, fields, time, .. } in &map.messages {
        let place = format!("message {topic}");
        if fields.is_empty() {
            problems.push(format!("{place}: has no [[message.field]]"));
        }
        let whole = fields.iter().filter(|field| field.path.is_none()).count();
        if whole > 0 && (whole < fields.len() || time.is_some()) {
            problems.push(format!("{place}: a payload is JSON or a bare number, not both"));
        }
        if time.as_ref().is_some_and(|time| time.path.is_empty() && time.form != TimeForm::Dsmr) {
            problems.push(format!("{place}: time needs a path"));
        }
        for field in fields {
            let meaning = Meaning {
                key: &field.key,
                unit: field.unit,
                positive_means: field.positive_means,
                scale10: field.scale10,
                counter: field.counter,
                resolution_follows: false,
                valid: field.valid,
            };
            meaning.problems(&format!("{place}, {}", field.key), problems);
        }
    }
}

fn telegrams(map: &DeviceMap, problems: &mut Vec<String>) {
    if map.obis.is_empty() {
        problems.push("there is no [[obis]]".to_owned());
    }
    for field in &map.obis {
        let place = format!("obis {}, {}", field.code, field.key);
        if field.code.parse::<super::obis::Code>().is_err() {
            problems.push(format!("{place}: a code looks like 1-0:1.8.0"));
        }
        let meaning = Meaning {
            key: &field.key,
            unit: field.unit,
            positive_means: field.positive_means,
            scale10: 0,
            counter: field.counter,
            resolution_follows: true,
            valid: None,
        };
        meaning.problems(&place, problems);
    }
}

/// What a number claims to be, wherever it stands.
struct Meaning<'a> {
    key: &'a str,
    unit: Unit,
    positive_means: Option<Direction>,
    scale10: i32,
    counter: Option<Counter>,
    resolution_follows: bool,
    valid: Option<Valid>,
}

impl Meaning<'_> {
    fn problems(&self, place: &str, problems: &mut Vec<String>) {
        if !(-12..=12).contains(&self.scale10) {
            problems.push(format!("{place}: scale10 must be -12 to 12"));
        }
        if self.valid.is_some_and(|valid| valid.min > valid.max) {
            problems.push(format!("{place}: valid is the wrong way round"));
        }
        let is_name = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'_';
        if self.key.is_empty() || !self.key.bytes().all(is_name) {
            problems.push(format!("{place}: a key is made of small letters, digits and '_'"));
        }
        let counts = self.unit.canonical() == "mWh" && self.key != "energy_capacity";
        match self.counter {
            None if counts => problems.push(format!(
                "{place}: energy needs counter = {{ resolution_mwh = …, reset = … }}"
            )),
            Some(_) if !counts => {
                problems.push(format!("{place}: counter belongs to energy"));
            }
            Some(Counter { resolution_mwh: None, .. }) if !self.resolution_follows => {
                problems.push(format!("{place}: counter needs resolution_mwh, its smallest step"));
            }
            Some(Counter { resolution_mwh: Some(..=0), .. }) => {
                problems.push(format!("{place}: resolution_mwh must be at least 1"));
            }
            _ => {}
        }
        if let Some(quantity) = Quantity::named(self.key) {
            if quantity.canonical_unit() != self.unit.canonical() {
                problems.push(format!("{place}: the unit does not fit {quantity}"));
            }
            if quantity.is_signed_power() && self.positive_means.is_none() {
                problems.push(format!("{place}: power needs positive_means"));
            }
        }
        if self.unit.canonical() != "mW" && self.positive_means.is_some() {
            problems.push(format!("{place}: positive_means belongs to power"));
        }
    }
}

/// A name that is no quantity and that nothing refers to is most likely a misspelt quantity.
fn unused(map: &DeviceMap, problems: &mut Vec<String>) {
    let derived = map.derived.iter();
    let terms = derived.clone().flat_map(|own| {
        let summed = own.plus.iter().chain(&own.minus).chain(&own.plus_optional);
        summed
            .chain(&own.minus_optional)
            .chain(&own.first_of)
            .chain(own.sign_by.iter().map(|by| &by.state))
    });
    let used: Vec<&str> = terms.map(String::as_str).collect();
    for key in names(map).into_iter().chain(derived.map(|own| own.key.as_str())) {
        if Quantity::named(key).is_none() && !used.contains(&key) {
            problems.push(format!("{key} is no quantity, and no derived figure uses it"));
        }
    }
}

fn derived(map: &DeviceMap, problems: &mut Vec<String>) {
    let fields = names(map);
    let mut known = fields.clone();
    for derived in &map.derived {
        let place = format!("derived {}", derived.key);
        let summed = derived.plus.iter().chain(&derived.minus);
        let optional = derived.plus_optional.iter().chain(&derived.minus_optional);
        let terms = || summed.clone().chain(optional.clone()).chain(&derived.first_of);
        if terms().next().is_none() {
            problems.push(format!("{place}: needs a term"));
        }
        if !derived.first_of.is_empty() && terms().count() > derived.first_of.len() {
            problems.push(format!("{place}: is either a sum or first_of"));
        }
        let state = derived.sign_by.iter().map(|by| &by.state);
        for term in terms().chain(state) {
            if !known.contains(&term.as_str()) {
                problems.push(format!("{place}: there is no field {term}"));
            }
        }
        if known.contains(&derived.key.as_str()) {
            problems.push(format!("{place}: is also a field"));
        }
        known.push(&derived.key);
    }
}
