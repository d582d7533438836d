//! Modbus over real sockets, with every way a device misbehaves.

use std::time::Duration;

use meter_agent::Chance;
use meter_agent::device::{Library, Observed, Quantity};
use meter_agent::modbus::{Line, Place, Rank, ReadError, Unit};

use crate::support::device::{Device, Fault, meter_203, model, sunspec};

const UNIT: u8 = 2;

fn line(device: &Device) -> Line {
    Line::open(Place::Tcp(device.host()), Chance::seeded(1))
}

fn unit(map: &str, timeout_ms: u64) -> Unit {
    let library = Library::load(None).expect("built in");
    Unit::new(UNIT, library.find(map).expect("known").clone(), Some(timeout_ms))
}

async fn meter() -> Device {
    let device = Device::start().await;
    device.put(UNIT, 3, 40_000, &sunspec(&[(1, &[0; 66]), (203, &meter_203(123_456, 789, -321))]));
    device
}

#[tokio::test]
async fn a_sunspec_meter_is_discovered_and_read_in_one_request() {
    let device = meter().await;
    let (line, mut unit) = (line(&device), unit("sunspec-meter-203", 1_000));
    let readout = unit.read(&line, Rank::Poll, 77).await.expect("read");
    let value = |quantity| readout.observed(quantity);
    assert_eq!(value(Quantity::EnergyImport), Observed::Value(123_456_000));
    assert_eq!(value(Quantity::EnergyExport), Observed::Value(789_000));
    assert_eq!(value(Quantity::Power), Observed::Value(-321_000));
    assert_eq!(value(Quantity::VoltageL2), Observed::Value(230_200));
    let figure = readout.figure(Quantity::EnergyImport).expect("there");
    assert_eq!((figure.taken_ms, figure.rolls_over_at), (77, Some(4_294_967_296_000)));
    let discovery = device.requests();
    unit.read(&line, Rank::Poll, 78).await.expect("read");
    assert_eq!(device.requests(), discovery + 1);
    assert_eq!(device.connections(), 1);
    assert_eq!(device.functions(), [3], "nothing but reading");
}

#[tokio::test]
async fn after_a_late_answer_right_values_come_within_two_polls() {
    let device = meter().await;
    let (line, mut unit) = (line(&device), unit("sunspec-meter-203", 150));
    unit.read(&line, Rank::Poll, 0).await.expect("read");
    device.fail(&[Fault::Late(Duration::from_millis(400))]);
    let error = unit.read(&line, Rank::Poll, 0).await.expect_err("too late");
    assert_eq!(error, ReadError::Timeout { unit: UNIT, timeout_ms: 150 });
    device.put(UNIT, 3, 40_000, &sunspec(&[(1, &[0; 66]), (203, &meter_203(123_999, 789, 5))]));
    for _ in 0..2 {
        let readout = unit.read(&line, Rank::Poll, 0).await.expect("read");
        assert_eq!(readout.observed(Quantity::EnergyImport), Observed::Value(123_999_000));
    }
    assert_eq!(device.connections(), 2);
}

#[tokio::test]
async fn every_broken_answer_is_an_error_and_the_next_one_counts() {
    let faults = [
        Fault::HalfFrame,
        Fault::TooShort,
        Fault::TooLong,
        Fault::WrongTransaction,
        Fault::WrongUnit,
        Fault::Close,
        Fault::Silence,
    ];
    for fault in faults {
        let device = meter().await;
        let (line, mut unit) = (line(&device), unit("sunspec-meter-203", 150));
        unit.read(&line, Rank::Poll, 0).await.expect("read");
        device.fail(&[fault]);
        let error = unit.read(&line, Rank::Poll, 0).await.expect_err("broken");
        assert!(!matches!(error, ReadError::Exception { .. }), "{fault:?}: {error}");
        let readout = unit.read(&line, Rank::Poll, 0).await.expect("read again");
        assert_eq!(readout.observed(Quantity::Power), Observed::Value(-321_000), "{fault:?}");
        assert_eq!(device.connections(), 2, "{fault:?} costs the connection");
    }
}

#[tokio::test]
async fn busy_is_waited_out_and_other_exceptions_are_told_on_the_same_connection() {
    let device = meter().await;
    let (line, mut unit) = (line(&device), unit("sunspec-meter-203", 1_000));
    unit.read(&line, Rank::Poll, 0).await.expect("read");
    device.fail(&[Fault::Exception(6), Fault::Exception(5), Fault::Exception(6)]);
    unit.read(&line, Rank::Poll, 0).await.expect("read after waiting");
    device.fail(&[Fault::Exception(6); 4]);
    assert!(matches!(unit.read(&line, Rank::Poll, 0).await, Err(ReadError::Exception { .. })));
    device.fail(&[Fault::Exception(4)]);
    unit.read(&line, Rank::Poll, 0).await.expect("one failure is tried again");
    device.fail(&[Fault::Exception(4), Fault::Exception(4)]);
    assert!(matches!(unit.read(&line, Rank::Poll, 0).await, Err(ReadError::Exception { .. })));
    // "Illegal address" means that the device does not have it.
    device.fail(&[Fault::Exception(2)]);
    let readout = unit.read(&line, Rank::Poll, 0).await.expect("read");
    assert!(matches!(readout.observed(Quantity::Power), Observed::Absent(_)));
    assert_eq!(device.connections(), 1);
}

#[tokio::test]
async fn a_chain_that_moved_is_found_again_and_never_read_as_something_else() {
    let device = meter().await;
    let (line, mut unit) = (line(&device), unit("sunspec-meter-203", 1_000));
    unit.read(&line, Rank::Poll, 0).await.expect("read");
    // After an update another model stands before the meter.
    let moved = sunspec(&[(1, &[0; 66]), (120, &[1; 26]), (203, &meter_203(200, 3, 7))]);
    device.put(UNIT, 3, 40_000, &moved);
    let readout = unit.read(&line, Rank::Poll, 0).await.expect("answers");
    assert!(matches!(readout.observed(Quantity::EnergyImport), Observed::Fault(_)));
    let readout = unit.read(&line, Rank::Poll, 0).await.expect("read");
    assert_eq!(readout.observed(Quantity::EnergyImport), Observed::Value(200_000));
}

#[tokio::test]
async fn devices_without_the_model_or_without_sunspec_say_so() {
    let device = Device::start().await;
    device.put(UNIT, 3, 0, &sunspec(&[(1, &[0; 66]), (103, &[0; 50])]));
    let (line, mut unit) = (line(&device), unit("sunspec-meter-203", 1_000));
    let readout = unit.read(&line, Rank::Poll, 0).await.expect("answers");
    let Observed::Fault(what) = readout.observed(Quantity::Power) else { panic!("no fault") };
    assert!(what.contains("[203]") && what.contains("[1, 103]"), "{what}");

    let other = Device::start().await;
    let line = Line::open(Place::Tcp(other.host()), Chance::seeded(1));
    let error = unit_of(&other, &line).await.expect_err("no marker");
    assert!(error.to_string().contains("no SunSpec marker"), "{error}");

    let gone = other.host();
    drop(other);
    let line = Line::open(Place::Tcp(gone), Chance::seeded(1));
    let error = unit_again(&line).await.expect_err("nobody there");
    assert!(matches!(error, ReadError::Unreachable { .. }), "{error}");
}

async fn unit_of(_device: &Device, line: &Line) -> Result<(), ReadError> {
    unit("sunspec-meter-203", 300).read(line, Rank::Poll, 0).await.map(|_| ())
}

async fn unit_again(line: &Line) -> Result<(), ReadError> {
    unit("eastron-sdm630", 300).read(line, Rank::Poll, 0).await.map(|_| ())
}

#[tokio::test]
async fn scale_factors_may_change_between_polls_and_sentinels_are_absent() {
    let device = Device::start().await;
    let inverter = |power: u16, scale: u16| {
        model(50, &[(14, power), (15, scale), (24, 0), (25, 4_711), (26, 0)])
    };
    let put =
        |power, scale| device.put(UNIT, 3, 50_000, &sunspec(&[(103, &inverter(power, scale))]));
    let (line, mut unit) = (line(&device), unit("sunspec-inverter-103", 1_000));
    for (power, scale, expected) in [
        (1_234, 0, Observed::Value(-1_234_000)),
        (12_340, (-1_i16).cast_unsigned(), Observed::Value(-1_234_000)),
        (123, 1, Observed::Value(-1_230_000)),
        (0x8000, 0, Observed::Absent(meter_agent::device::Absence::Sentinel)),
        (5, 0x8000, Observed::Absent(meter_agent::device::Absence::Sentinel)),
    ] {
        put(power, scale);
        let readout = unit.read(&line, Rank::Poll, 0).await.expect("read");
        assert_eq!(readout.observed(Quantity::Power), expected);
        assert_eq!(readout.observed(Quantity::EnergyProduced), Observed::Value(4_711_000));
    }
}

/// A meter with a serial number.
fn named(serial: &str, import_wh: u32) -> Vec<u16> {
    let text = |place: usize, text: &str| {
        let bytes: Vec<u8> = text.bytes().chain(std::iter::repeat(0)).take(32).collect();
        let words = bytes.chunks(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
        words.enumerate().map(|(at, word)| (place + at, word)).collect::<Vec<_>>()
    };
    // Offsets count from the id: model at 18, serial number at 50.
    let common = model(66, &[text(18, "ABC-3"), text(50, serial)].concat());
    sunspec(&[(1, &common), (203, &meter_203(import_wh, 789, -321))])
}

#[tokio::test]
async fn a_meter_that_was_exchanged_says_so_after_the_next_connection() {
    let device = Device::start().await;
    device.put(UNIT, 3, 40_000, &named("A1", 123_456));
    let (line, mut unit) = (line(&device), unit("sunspec-meter-203", 1_000));
    let read = async |unit: &mut Unit| unit.read(&line, Rank::Poll, 0).await;
    for _ in 0..2 {
        let readout = read(&mut unit).await.expect("read");
        assert_eq!(readout.identity.as_deref(), Some("ABC-3 A1"));
    }
    // Exchanged without a new connection: who it is is not asked each time.
    device.put(UNIT, 3, 40_000, &named("B2", 55));
    let readout = read(&mut unit).await.expect("read");
    assert_eq!(readout.identity.as_deref(), Some("ABC-3 A1"));
    device.fail(&[Fault::Close]);
    read(&mut unit).await.expect_err("the connection is gone");
    // The registers came over a connection over which nobody had said yet who it is.
    let error = read(&mut unit).await.expect_err("another one").to_string();
    assert!(error.contains("was \"A1\" and now is \"B2\": read again"), "{error}");
    let readout = read(&mut unit).await.expect("read");
    assert_eq!(readout.identity.as_deref(), Some("ABC-3 B2"));
    assert_eq!(readout.observed(Quantity::EnergyImport), Observed::Value(55_000));
    assert_eq!(unit.identity().get(meter_agent::device::Trait::Serial), Some("B2"));
    // One that says nothing of itself is no other one.
    device.put(UNIT, 3, 40_000, &sunspec(&[(1, &[0; 66]), (203, &meter_203(56, 0, 1))]));
    device.fail(&[Fault::Close]);
    read(&mut unit).await.expect_err("gone again");
    let readout = read(&mut unit).await.expect("read");
    assert_eq!(readout.observed(Quantity::EnergyImport), Observed::Value(56_000));
    assert_eq!(device.connections(), 3);
}
