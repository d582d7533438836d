//! What the devices show, decoded from their registers, against what is the case.

use std::collections::BTreeMap;

use sim_grid::devices::{Bank, DeviceImage, MeterFace, UnitImage};
use sim_grid::world::{CustomerTruth, World};

use crate::world::{shipped, start};

fn word(unit: &UnitImage, address: usize) -> u16 {
    let Bank { start, registers } = &unit.holding[0];
    registers[address - usize::from(*start)]
}

fn long(unit: &UnitImage, address: usize) -> u32 {
    u32::from(word(unit, address)) << 16 | u32::from(word(unit, address + 1))
}

/// Walks the chain of models as a SunSpec client does: model → address of its ID.
fn models(unit: &UnitImage) -> BTreeMap<u16, usize> {
    assert_eq!((word(unit, 40_000), word(unit, 40_001)), (0x5375, 0x6e53));
    let mut found = BTreeMap::new();
    let mut address = 40_002;
    while word(unit, address) != 0xffff {
        assert!(found.insert(word(unit, address), address).is_none());
        address += 2 + usize::from(word(unit, address + 1));
    }
    assert_eq!(word(unit, address + 1), 0, "the end marker has length 0");
    assert_eq!(unit.holding[0].registers.len(), address + 2 - 40_000, "nothing follows");
    found
}

/// A signed point times its scale factor, and half the resolution.
fn scaled(unit: &UnitImage, point: usize, scale: usize) -> (f64, f64) {
    let step = 10f64.powi(i32::from(word(unit, scale).cast_signed()));
    (f64::from(word(unit, point).cast_signed()) * step, step / 2.0 + 1e-9)
}

fn check_meter(unit: &UnitImage, truth: &CustomerTruth) {
    let models = models(unit);
    assert_eq!(models.keys().copied().collect::<Vec<_>>(), [1, 203]);
    let at = models[&203];
    assert_eq!(word(unit, at + 1), 105);
    let (watt, step) = scaled(unit, at + 18, at + 22);
    assert!((watt - truth.net_w()).abs() <= step, "{watt} of {}", truth.net_w());
    let (volt, step) = scaled(unit, at + 8, at + 15);
    assert!((volt - truth.voltage_v).abs() <= step, "{volt} of {}", truth.voltage_v);
    assert_eq!(word(unit, at + 54), 0, "TotWh_SF");
    assert_eq!(u64::from(long(unit, at + 38)), truth.export_wh);
    assert_eq!(u64::from(long(unit, at + 46)), truth.import_wh);
    let phases: u32 = [48, 50, 52].into_iter().map(|phase| long(unit, at + phase)).sum();
    assert_eq!(u64::from(phases), truth.import_wh);
    assert_eq!(long(unit, at + 63), 0, "apparent energy is not counted");
    assert_eq!(word(unit, at + 71), 0x8000, "and has no scale factor");
}

fn check_inverter(unit: &UnitImage, truth: &CustomerTruth) {
    let models = models(unit);
    assert_eq!(models.keys().copied().collect::<Vec<_>>(), [1, 103, 120]);
    let at = models[&103];
    let solar = truth.solar.expect("an inverter has PV");
    let (watt, step) = scaled(unit, at + 14, at + 15);
    assert!((watt - solar.power_dw as f64 / 10.0).abs() <= step, "{watt} of {solar:?}");
    assert_eq!(u64::from(long(unit, at + 24)), solar.produced_wh);
    assert_eq!(word(unit, at + 26), 0, "WH_SF");
    assert_eq!(word(unit, at + 38), if solar.power_dw > 0 { 4 } else { 2 });
}

fn check_battery(unit: &UnitImage, truth: &CustomerTruth) {
    let models = models(unit);
    assert_eq!(models.keys().copied().collect::<Vec<_>>(), [1, 124, 713, 714, 802]);
    let battery = truth.battery.expect("a battery");
    let percent = battery.state_of_charge * 100.0;
    for (point, scale) in [
        (models[&802] + 11, models[&802] + 56),
        (models[&124] + 8, models[&124] + 22),
        (models[&713] + 4, models[&713] + 8),
    ] {
        let (soc, step) = scaled(unit, point, scale);
        assert!((soc - percent).abs() <= step, "{soc} of {percent}");
    }
    let charging = battery.power_dw as f64 / 10.0;
    let (watt, step) = scaled(unit, models[&802] + 47, models[&802] + 63);
    assert!((watt - charging).abs() <= step, "{watt} of {charging}");
    let (watt, step) = scaled(unit, models[&714] + 6, models[&714] + 17);
    assert!((watt + charging).abs() <= step, "{watt} of {charging}");
    assert_eq!(u64::from(long(unit, models[&714] + 9)), battery.discharged_wh);
    assert_eq!(u64::from(long(unit, models[&714] + 13)), battery.charged_wh);
}

fn float(unit: &UnitImage, address: usize) -> f32 {
    let registers = &unit.input[0].registers;
    let bits = u32::from(registers[address]) << 16 | u32::from(registers[address + 1]);
    f32::from_bits(bits)
}

fn check_eastron(unit: &UnitImage, truth: &CustomerTruth) {
    assert!((f64::from(float(unit, 0x34)) - truth.net_w()).abs() < 0.01);
    assert!((f64::from(float(unit, 0x00)) - truth.voltage_v).abs() < 0.01);
    // Fresh registers are small enough for a float to tell every Wh apart.
    for (address, wh) in [(0x48, truth.import_wh), (0x4a, truth.export_wh)] {
        assert_eq!((f64::from(float(unit, address)) * 1_000.0).round() as u64, wh);
    }
    assert!((f64::from(float(unit, 0x46)) - 50.0).abs() < 1e-6);
    let phases: f32 = [0x0c, 0x0e, 0x10].into_iter().map(|address| float(unit, address)).sum();
    assert!((f64::from(phases) - truth.net_w()).abs() < 0.01);
}

fn number(value: &serde_json::Value) -> f64 {
    value.as_f64().expect("a number")
}

fn check_telegrams(face: &MeterFace, image: &DeviceImage, truth: &CustomerTruth) {
    let payload = |topic: &str| -> &str {
        let found = image.telegrams.iter().find(|telegram| telegram.topic == topic);
        &found.expect(topic).payload
    };
    let json =
        |topic: &str| -> serde_json::Value { serde_json::from_str(payload(topic)).expect("JSON") };
    let wh = |kwh: f64| (kwh * 1_000.0).round() as u64;
    match face {
        MeterFace::SunSpec | MeterFace::Sdm630 => assert!(image.telegrams.is_empty()),
        MeterFace::Shelly { topic_prefix } => {
            let status = json(&format!("{topic_prefix}/status/em:0"));
            assert!((number(&status["total_act_power"]) - truth.net_w()).abs() < 1e-3);
            assert!((number(&status["a_voltage"]) - truth.voltage_v).abs() < 0.06);
            let energy = json(&format!("{topic_prefix}/status/emdata:0"));
            assert_eq!(number(&energy["total_act"]), truth.import_wh as f64);
            assert_eq!(number(&energy["total_act_ret"]), truth.export_wh as f64);
        }
        MeterFace::Tasmota { topic } => {
            let all = json(&format!("tele/{topic}/SENSOR"));
            assert_eq!(wh(number(&all["ENERGY"]["Total"])), truth.import_wh);
            assert_eq!(wh(number(&all["ENERGY"]["ExportActive"])), truth.export_wh);
            assert!((number(&all["ENERGY"]["Power"]) - truth.net_w()).abs() <= 0.5);
            assert!(all["Time"].as_str().expect("text").starts_with("2016-04-1"));
        }
        MeterFace::Dsmr { topic_prefix } => {
            let figure = |name: &str| -> f64 {
                payload(&format!("{topic_prefix}/{name}")).parse().expect("a number")
            };
            let sum = |name: &str| figure(&format!("{name}_1")) + figure(&format!("{name}_2"));
            assert_eq!(wh(sum("electricity_delivered")), truth.import_wh);
            assert_eq!(wh(sum("electricity_returned")), truth.export_wh);
            assert_eq!(wh(figure("electricity_delivered_1")), truth.low_import_wh);
            let kw = figure("electricity_currently_delivered")
                - figure("electricity_currently_returned");
            assert!((kw * 1_000.0 - truth.net_w()).abs() <= 0.5);
        }
    }
}

fn check_all(world: &World) {
    for customer in 0..world.scenario().customers.len() {
        let (equipment, truth) = (world.equipment(customer), world.customer(customer));
        let image = world.device_image(customer);
        check_telegrams(&equipment.face, &image, truth);
        assert_eq!(image.units.contains_key(&1), truth.solar.is_some());
        assert_eq!(image.units.contains_key(&3), truth.battery.is_some());
        for (unit, registers) in &image.units {
            match (unit, &equipment.face) {
                (1, _) => check_inverter(registers, truth),
                (2, MeterFace::Sdm630) => check_eastron(registers, truth),
                (2, _) => check_meter(registers, truth),
                _ => check_battery(registers, truth),
            }
        }
    }
}

#[test]
fn every_device_shows_the_truth_through_two_days() {
    let scenario = shipped();
    let from = scenario.timeline.blocks()[1].first;
    let mut world = start(&scenario, 42, from);
    check_all(&world);
    for step in 1..=96 {
        world.advance_to(from.start_ms() + step * 1_777_000).expect("runs");
        check_all(&world);
    }
}

#[test]
fn faces_are_spread_and_every_roof_can_be_asked() {
    let scenario = shipped();
    for seed in 0..20 {
        let world = start(&scenario, seed, scenario.timeline.first());
        let mut count: BTreeMap<&str, usize> = BTreeMap::new();
        for customer in 0..41 {
            let equipment = world.equipment(customer);
            let name = match equipment.face {
                MeterFace::SunSpec => "sunspec",
                MeterFace::Sdm630 => "sdm630",
                MeterFace::Shelly { .. } => "shelly",
                MeterFace::Tasmota { .. } => "tasmota",
                MeterFace::Dsmr { .. } => "dsmr",
            };
            *count.entry(name).or_default() += 1;
            if world.customer(customer).solar.is_some() {
                assert!(!equipment.face.is_mqtt(), "a roof is read over Modbus");
                assert!(world.device_image(customer).units.contains_key(&1));
            }
        }
        assert_eq!(count["sunspec"], 29, "seed {seed}");
        for kind in ["sdm630", "shelly", "tasmota", "dsmr"] {
            assert!(count[kind] >= 3, "seed {seed}: {count:?}");
        }
    }
}

#[test]
fn a_telegram_of_each_kind_is_spelled_as_the_device_does() {
    let mut world = start(&shipped(), 42, shipped().timeline.first());
    world.advance_to(world.now_ms() + 90_000).expect("runs");
    let mut lines = Vec::new();
    let mut kinds = Vec::new();
    for customer in 0..41 {
        let kind = std::mem::discriminant(&world.equipment(customer).face);
        if kinds.contains(&kind) {
            continue;
        }
        kinds.push(kind);
        for telegram in &world.device_image(customer).telegrams {
            lines.push(format!("{} {}", telegram.topic, telegram.payload));
        }
    }
    let golden = include_str!("golden/telegrams.txt");
    let ours = lines.join("\n") + "\n";
    assert!(ours == golden, "the telegrams changed; they are now:\n{ours}");
}
