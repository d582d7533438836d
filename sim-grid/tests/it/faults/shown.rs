//! What devices with a fault of their values show, register by register and message by message.

use std::net::SocketAddr;

use sim_grid::faces::{BrokerUrl, FaceKind, UnitRole};
use sim_grid::faults::{Fault, FaultPlan, Spell};
use sim_grid::street::{Street, StreetOptions};
use tokio_modbus::Slave;
use tokio_modbus::client::{Reader, tcp};
use units::Slot;

use super::{addr, of, street};
use crate::mqtt::{broker, listen, next};
use crate::world::shipped;

/// Wire address of the meter's model 203, and points in it.
const MODEL: u16 = 40_002 + 68;
const W: usize = 18;
const W_SF: usize = 22;
const EXPORT: usize = 38;
const IMPORT: usize = 46;
const TOT_WH_SF: usize = 54;

/// The registers of a model of a unit of H2, from its ID on.
async fn model(addr: SocketAddr, unit: u8, address: u16, count: u16) -> Vec<u16> {
    let mut client = tcp::connect_slave(addr, Slave(unit)).await.expect("opens");
    let answer = client.read_holding_registers(address, count).await;
    answer.expect("an answer").expect("registers")
}

fn long(registers: &[u16], at: usize) -> u64 {
    u64::from(registers[at]) << 16 | u64::from(registers[at + 1])
}

#[tokio::test]
async fn fewer_digits_are_the_same_value_with_another_scale_factor() {
    let right = street(Vec::new()).await;
    let right = model(addr(&right, "H2"), 2, MODEL, 60).await;
    let street = street(vec![of(UnitRole::Meter, Fault::ScaleFactor { shift: 2 })]).await;
    let shown = model(addr(&street, "H2"), 2, MODEL, 60).await;
    assert_eq!(shown[W_SF].cast_signed(), right[W_SF].cast_signed() + 2);
    assert_eq!(shown[W].cast_signed(), right[W].cast_signed() / 100);
    assert_eq!(shown[TOT_WH_SF], 2);
    assert_eq!(long(&shown, IMPORT), long(&right, IMPORT) / 100);
    assert_eq!(shown[8..17], right[8..17], "voltages have their own");
}

#[tokio::test]
async fn torn_scale_factors_change_from_answer_to_answer() {
    let street = street(vec![of(UnitRole::Meter, Fault::TornScaleFactor {})]).await;
    let mut client = tcp::connect_slave(addr(&street, "H2"), Slave(2)).await.expect("opens");
    let mut seen = Vec::new();
    for _ in 0..4 {
        let answer = client.read_holding_registers(MODEL, 60).await;
        let registers = answer.expect("an answer").expect("registers");
        let truth = street.world().customer_by_id("H2").expect("a house").import_wh;
        let factor = 10_u64.pow(u32::from(registers[TOT_WH_SF]));
        assert_eq!(long(&registers, IMPORT), truth / factor, "an answer belongs together");
        seen.push(registers[TOT_WH_SF]);
    }
    assert_eq!(seen, [0, 1, 0, 1]);
}

#[tokio::test]
async fn low_words_come_first_in_counters_and_floats() {
    let street = street(vec![Spell::always(Fault::WordOrder {})]).await;
    let shown = model(addr(&street, "H2"), 2, MODEL, 60).await;
    let truth = street.world().customer_by_id("H2").expect("a house").import_wh;
    assert_eq!(long(&[shown[IMPORT + 1], shown[IMPORT]], 0), truth);
    assert_eq!(shown[0], 203, "a single register has no order");
    let eastron = street.faces().iter().find(|face| face.kind.name() == "sdm630").expect("one");
    let addr = eastron.kind.modbus_addr().expect("Modbus");
    let mut client = tcp::connect_slave(addr, Slave(2)).await.expect("opens");
    let pair = client.read_input_registers(0x48, 2).await.expect("answered").expect("registers");
    let bits = u32::try_from(long(&[pair[1], pair[0]], 0)).expect("32 bits");
    let truth = street.world().customer_by_id(eastron.customer.as_str()).expect("a house");
    assert_eq!((f64::from(f32::from_bits(bits)) * 1_000.0).round() as u64, truth.import_wh);
}

/// In the second quarter-hour the small street's H2 has no sun.
#[tokio::test]
async fn an_inverter_has_no_values_at_night() {
    let mut street = street(vec![of(UnitRole::Inverter, Fault::AsleepAtNight {})]).await;
    let awake = model(addr(&street, "H2"), 1, MODEL, 52).await;
    assert_eq!(awake[38], 4, "MPPT");
    assert!(awake[14] != 0x8000 && long(&awake, 24) > 0);
    let from_ms = street.world().now_ms();
    street.advance_to(from_ms + Slot::LENGTH_MS + 60_000).await.expect("runs");
    let asleep = model(addr(&street, "H2"), 1, MODEL, 52).await;
    assert_eq!((asleep[0], asleep[38]), (103, 2), "SLEEPING");
    assert_eq!((asleep[14], long(&asleep, 24)), (0x8000, 0));
    assert_eq!(asleep[2], 0xffff);
}

#[tokio::test]
async fn a_counter_of_32_bits_rolls_over_and_an_exchanged_meter_has_another_serial_number() {
    let mut rolling = street(vec![of(UnitRole::Meter, Fault::Rollover { left_wh: 50 })]).await;
    let first = model(addr(&rolling, "H2"), 2, MODEL, 60).await;
    assert_eq!(long(&first, EXPORT), (1 << 32) - 50);
    let before = rolling.world().customer_by_id("H2").expect("a house").export_wh;
    let from_ms = rolling.world().now_ms();
    rolling.advance_to(from_ms + 3 * Slot::LENGTH_MS).await.expect("runs");
    let flowed = rolling.world().customer_by_id("H2").expect("a house").export_wh - before;
    assert!(flowed > 50, "{flowed} Wh");
    let last = model(addr(&rolling, "H2"), 2, MODEL, 60).await;
    assert_eq!(long(&last, EXPORT), flowed - 50);

    let usual = street(Vec::new()).await;
    let exchanged = street(vec![of(UnitRole::Meter, Fault::Exchange { counted_wh: 3 })]).await;
    let serial = |street: &Street| {
        let addr = addr(street, "H2");
        async move { model(addr, 2, 40_002 + 50, 16).await }
    };
    assert_ne!(serial(&usual).await, serial(&exchanged).await);
    let counted = model(addr(&exchanged, "H2"), 2, MODEL, 60).await;
    assert_eq!(long(&counted, IMPORT), 3);
}

async fn publishing(broker: SocketAddr, fault: Fault) -> Street {
    let scenario = shipped();
    let from = scenario.timeline.first();
    let options = StreetOptions {
        broker: Some(BrokerUrl::new(broker.ip().to_string(), broker.port())),
        faults: FaultPlan::new(3, vec![Spell::always(fault)]),
        ..StreetOptions::new(42, from)
    };
    Street::start(scenario, &options).await.expect("starts")
}

fn tasmota(street: &Street) -> (usize, String) {
    let faces = street.faces().iter().enumerate();
    let mut topics = faces.filter_map(|(index, face)| match &face.kind {
        FaceKind::Tasmota { topic } => Some((index, format!("tele/{topic}/SENSOR"))),
        _ => None,
    });
    topics.next().expect("the street has one")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_broker_keeps_a_first_message_for_whoever_comes_later() {
    let broker = broker().await;
    let mut street = publishing(broker, Fault::RetainedStale {}).await;
    let (index, topic) = tasmota(&street);
    let first = street.world().device_image(index).telegrams[0].payload.clone();
    street.publish_again().await;
    let from_ms = street.world().now_ms();
    street.advance_to(from_ms + 2 * Slot::LENGTH_MS).await.expect("runs");
    let mut heard = listen(broker).await;
    let kept = loop {
        let (about, payload, retained) = next(&mut heard).await;
        if about == topic {
            break (payload, retained);
        }
    };
    assert_eq!(kept, (first, true), "old news");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_come_twice_or_again_after_the_next_ones() {
    for late in [false, true] {
        let broker = broker().await;
        let mut heard = listen(broker).await;
        let mut street = publishing(broker, Fault::Duplicate { late }).await;
        let (index, topic) = tasmota(&street);
        let payload =
            |street: &Street| street.world().device_image(index).telegrams[0].payload.clone();
        let mut expected = vec![payload(&street); if late { 1 } else { 2 }];
        let from_ms = street.world().now_ms();
        street.advance_to(from_ms + Slot::LENGTH_MS).await.expect("runs");
        let newer = payload(&street);
        expected.push(newer.clone());
        expected.push(if late { expected[0].clone() } else { newer });
        let mut all = Vec::new();
        while all.len() < expected.len() {
            let (about, payload, _) = next(&mut heard).await;
            if about == topic {
                all.push(payload);
            }
        }
        assert_eq!(all, expected, "late: {late}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_clock_of_a_meter_is_wrong_in_its_messages() {
    let broker = broker().await;
    let mut heard = listen(broker).await;
    let street = publishing(broker, Fault::DeviceClock { seconds: -90 }).await;
    let (_, topic) = tasmota(&street);
    let start = Slot::at_ms(street.world().now_ms()).previous().to_string();
    loop {
        let (about, payload, _) = next(&mut heard).await;
        if about == topic {
            let minute = format!("{}:58:30", &start[..13]);
            assert!(payload.contains(&minute), "{payload} has {minute}");
            break;
        }
    }
}
