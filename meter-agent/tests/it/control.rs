//! Steering, against devices on real sockets: what is written, to whom, and when not.

use std::time::Duration;

use clock::Clock;
use meter_agent::config::{ControlConfig, DeviceConfig, Role};
use meter_agent::control::Enabled;
use meter_agent::device::{ControlKind, DeviceMap, Library, built_in_files, golden_write_cases};
use meter_agent::modbus::{Line, Place, Rank, Steered, Unit};
use meter_agent::{Chance, ConfigError};

use super::agent::config;
use crate::support::broker::{Cable, broker};
use crate::support::device::{Device, meter_203, model, sunspec};

const UNIT: u8 = 3;

fn map(id: &str) -> DeviceMap {
    Library::load(None).expect("sound").find(id).expect("built in")
}

/// A device of a map with a generous leave.
fn steered(map: &DeviceMap, watchdog_s: Option<u32>) -> DeviceConfig {
    let role = match map.controls[0].kind {
        ControlKind::BatteryPower | ControlKind::GridPower => Role::Battery,
        ControlKind::PvLimit => Role::Pv,
        ControlKind::CurrentLimit => Role::Charger,
    };
    let control = ControlConfig {
        enabled: true,
        max_charge_w: Some(5_000),
        max_discharge_w: Some(4_000),
        max_export_w: Some(0),
        rated_w: Some(10_000),
        max_current_a: Some(32),
        watchdog_s,
        ..ControlConfig::default()
    };
    DeviceConfig {
        host: Some("127.0.0.1:1".to_owned()),
        unit: Some(UNIT),
        control: Some(control),
        ..DeviceConfig::new("steered", role, &map.id)
    }
}

fn leave(map: &DeviceMap, watchdog_s: Option<u32>) -> Enabled {
    Enabled::of(&steered(map, watchdog_s), map).expect("allowed").expect("enabled")
}

fn line(device: &Device) -> Line {
    Line::open(Place::Tcp(device.host()), Chance::seeded(7))
}

/// A battery with models 802 and 124, its full power 6 kW, hundredths of a percent.
async fn battery() -> Device {
    let device = Device::start().await;
    let storage = model(24, &[(2, 6_000), (18, 0), (25, 0xfffe), (8, 55), (22, 0)]);
    let own = model(62, &[(11, 55), (56, 0), (47, 0), (63, 0), (53, 0), (58, 0), (59, 0)]);
    device.put(UNIT, 3, 40_000, &sunspec(&[(1, &[0; 66]), (802, &own), (124, &storage)]));
    device
}

/// Where model 124 begins on that battery.
const STORAGE: u16 = 40_000 + 2 + 68 + 64;

#[tokio::test]
async fn every_setpoint_of_the_golden_vectors_goes_over_the_wire_as_it_is_written_there() {
    let mut seen = 0;
    for file in built_in_files() {
        let cases = golden_write_cases(file.golden).expect("well-formed");
        for case in &cases {
            for map in file.maps().expect("sound").iter().filter(|map| case.maps.contains(&map.id))
            {
                // SunSpec maps are steered in the tests below; their offsets move with the models.
                if !map.controls[0].models.is_empty() {
                    continue;
                }
                let leave = leave(map, map.controls[0].watchdog.map(|own| own.usual_s));
                let device = Device::start().await;
                let mut unit = Unit::new(UNIT, map.clone(), Some(500));
                let setpoint = case.setpoint.map(|value| match leave.kind() {
                    ControlKind::GridPower => leave.battery(0, 500, value),
                    _ => leave.within(value),
                });
                let done = unit.steer(&line(&device), &leave, setpoint).await;
                assert_eq!(done, Ok(Steered::Taken), "{}: {}", map.id, case.says);
                let sent: Vec<String> = device
                    .writes()
                    .into_iter()
                    .map(|(unit, function, at, words)| {
                        assert_eq!(unit, UNIT);
                        let words: Vec<String> = words.iter().map(|w| format!("{w:04x}")).collect();
                        format!("{function} @ {at}: {}", words.join(" "))
                    })
                    .collect();
                assert_eq!(sent, case.requests(map).expect("made"), "{}: {}", map.id, case.says);
                seen += 1;
            }
        }
    }
    assert!(seen >= 12, "{seen}");
}

#[tokio::test]
async fn a_charging_point_that_is_given_back_keeps_to_its_owners_current() {
    for (id, at, expected) in [
        ("keba", 5_004, vec![10_000]),
        ("heidelberg-ec", 261, vec![100]),
        ("alfen", 1_210, vec![0x4120, 0]),
    ] {
        let map = map(id);
        let mut config = steered(&map, None);
        config.control.as_mut().expect("there").max_current_a = Some(10);
        let leave = Enabled::of(&config, &map).expect("allowed").expect("enabled");
        let device = Device::start().await;
        let mut unit = Unit::new(UNIT, map, Some(500));
        assert_eq!(unit.steer(&line(&device), &leave, None).await, Ok(Steered::Taken), "{id}");
        let writes = device.writes();
        let found = writes.iter().find(|(_, _, address, _)| *address == at);
        assert_eq!(found.map(|(.., words)| words.clone()), Some(expected), "{id}: {writes:?}");
    }
}

#[tokio::test]
async fn a_sunspec_battery_takes_a_window_and_is_given_back() {
    let device = battery().await;
    let map = map("sunspec-battery-802");
    let leave = leave(&map, Some(90));
    let mut unit = Unit::new(UNIT, map, Some(500));
    let line = line(&device);
    // Beyond the owner's 5 kW: 83.33 % of 6 kW.
    let setpoint = leave.battery(9_000_000, 500, 0);
    assert_eq!(unit.steer(&line, &leave, Some(setpoint)).await, Ok(Steered::Taken));
    let rate = 8_333_i16;
    let written = [
        (UNIT, 16, STORAGE + 15, vec![90]),
        (UNIT, 16, STORAGE + 12, vec![(-rate).cast_unsigned(), rate.cast_unsigned()]),
        (UNIT, 16, STORAGE + 5, vec![3]),
    ];
    assert_eq!(device.writes(), written);
    assert_eq!(unit.steer(&line, &leave, None).await, Ok(Steered::Taken));
    let back = [(UNIT, 16, STORAGE + 5, vec![0]), (UNIT, 16, STORAGE + 12, vec![10_000, 10_000])];
    assert_eq!(device.writes()[3..], back);
    // An empty one is not discharged, a full one not charged.
    let kept = Enabled::of(
        &DeviceConfig {
            control: Some(ControlConfig {
                min_soc_percent: Some(20),
                max_soc_percent: Some(90),
                ..steered(&self::map("sunspec-battery-802"), None).control.expect("given")
            }),
            ..DeviceConfig::new("kept", Role::Battery, "sunspec-battery-802")
        },
        &self::map("sunspec-battery-802"),
    );
    let kept = kept.expect("allowed").expect("enabled");
    for (wanted, soc, expected) in [
        (-9_000_000, 201, -4_000_000),
        (-9_000_000, 200, 0),
        (9_000_000, 899, 5_000_000),
        (9_000_000, 900, 0),
        (-1, 900, -1),
    ] {
        assert_eq!(kept.battery(wanted, soc, 0).value(), expected, "{wanted} at {soc}");
    }
}

#[tokio::test]
async fn a_device_that_does_something_else_or_refuses_is_told_of() {
    let device = battery().await;
    let map = map("sunspec-battery-802");
    let leave = leave(&map, None);
    let mut unit = Unit::new(UNIT, map.clone(), Some(500));
    let line = line(&device);
    device.refuse(2);
    let refused = unit.steer(&line, &leave, Some(leave.battery(1_000_000, 500, 0))).await;
    assert!(refused.expect_err("refused").to_string().contains("illegal data address"));
    assert_eq!(device.writes().len(), 1, "what is refused is not written on");
    // A battery that does not say what 100 % are.
    let mute = Device::start().await;
    let storage = model(24, &[(2, 0xffff), (18, 0), (25, 0)]);
    mute.put(UNIT, 3, 40_000, &sunspec(&[(1, &[0; 66]), (124, &storage)]));
    let line = self::line(&mute);
    let mut unit = Unit::new(UNIT, map, Some(500));
    let fault = unit.steer(&line, &leave, Some(leave.battery(1_000_000, 500, 0))).await;
    assert!(fault.expect_err("no reference").to_string().contains("100 %"));
    assert!(mute.writes().is_empty());
}

#[test]
fn leave_is_given_by_the_owner_alone_and_with_limits() {
    let map = map("sunspec-battery-802");
    let with = |control: ControlConfig| {
        let device = DeviceConfig {
            control: Some(control),
            ..DeviceConfig::new("b", Role::Battery, "sunspec-battery-802")
        };
        Enabled::of(&device, &map)
    };
    let plain = DeviceConfig::new("b", Role::Battery, "sunspec-battery-802");
    assert_eq!(Enabled::of(&plain, &map).expect("fine"), None);
    let limits = ControlConfig {
        max_charge_w: Some(1_000),
        max_discharge_w: Some(1_000),
        ..ControlConfig::default()
    };
    assert_eq!(with(limits.clone()).expect("fine"), None, "not switched on");
    let on = ControlConfig { enabled: true, ..limits };
    assert!(with(on.clone()).expect("fine").is_some());
    let problem = |control| match with(control) {
        Err(ConfigError::Invalid { key, problem }) => format!("{key}: {problem}"),
        other => panic!("{other:?}"),
    };
    for (control, says) in [
        (ControlConfig { max_charge_w: None, ..on.clone() }, "max_charge_w is missing"),
        (ControlConfig { watchdog_s: Some(5), ..on.clone() }, "5 is not between 10 and 3600"),
        (
            ControlConfig { min_soc_percent: Some(90), max_soc_percent: Some(90), ..on.clone() },
            "below",
        ),
        (ControlConfig { operator_timeout_s: Some(10), ..on.clone() }, "between 60"),
    ] {
        let told = problem(control);
        assert!(told.contains(says), "{told}");
    }
    let meter = DeviceConfig {
        control: Some(on),
        ..DeviceConfig::new("grid", Role::Meter, "sunspec-meter-203")
    };
    let told =
        Enabled::of(&meter, &self::map("sunspec-meter-203")).expect_err("no way").to_string();
    assert!(told.contains("has no way to steer"), "{told}");
}

/// A thousand readings of a device that could be steered, and an agent whose owner has not switched it
/// on: no function that writes is ever on the wire.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_written_to_a_device_that_is_not_enabled() {
    let device = battery().await;
    device.put(9, 3, 40_000, &sunspec(&[(1, &[0; 66]), (203, &meter_203(5_000, 0, 300))]));
    let mut unit = Unit::new(UNIT, map("sunspec-battery-802"), Some(500));
    let own = line(&device);
    for _ in 0..1_000 {
        unit.read(&own, Rank::Poll, 5).await.expect("read");
    }
    let folder = tempfile::tempdir().expect("a folder");
    let cable = Cable::to(broker().await).await;
    let mut config = config(folder.path(), &device.host(), &cable, "street-unsteered");
    config.poll_interval_ms = 100;
    config.devices[0].unit = Some(9);
    config.devices.push(DeviceConfig {
        host: Some(device.host()),
        unit: Some(UNIT),
        control: Some(ControlConfig {
            max_charge_w: Some(5_000),
            max_discharge_w: Some(5_000),
            ..ControlConfig::default()
        }),
        ..DeviceConfig::new("battery", Role::Battery, "sunspec-battery-802")
    });
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let before = device.requests();
    let agent = tokio::spawn(meter_agent::run(config, Clock::system(), stopped));
    while device.requests() < before + 100 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    stop.send_replace(true);
    agent.await.expect("ends").expect("without a fault");
    assert_eq!((device.functions(), device.writes()), (vec![3], vec![]));
}

/// A charging point behind a small connection: its limit follows what is left of it, and it is given
/// back when the agent ends.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_charging_point_takes_what_the_connection_has_left() {
    let device = Device::start().await;
    // 8 kW from the grid, of which 5 kW charge the car.
    device.put(9, 3, 40_000, &sunspec(&[(1, &[0; 66]), (203, &meter_203(5_000, 0, 8_000))]));
    for (at, words) in [(5, &[7][..]), (6, &[70, 70, 70]), (10, &[230, 230, 230])] {
        device.put(UNIT, 4, at, words);
    }
    device.put(UNIT, 4, 9, &[0]);
    device.put(UNIT, 4, 13, &[0]);
    device.put(UNIT, 4, 14, &[5_000, 0, 0, 0, 77]);
    let folder = tempfile::tempdir().expect("a folder");
    let cable = Cable::to(broker().await).await;
    let mut config = config(folder.path(), &device.host(), &cable, "street-charger");
    (config.poll_interval_ms, config.connection_w) = (100, 10_000);
    config.devices[0].unit = Some(9);
    config.devices.push(DeviceConfig {
        host: Some(device.host()),
        ..steered(&map("heidelberg-ec"), Some(30))
    });
    config.check().expect("right");
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let agent = tokio::spawn(meter_agent::run(config, Clock::system(), stopped));
    let written = async {
        loop {
            let last = device.writes().into_iter().rev().find(|(_, _, at, _)| *at == 261);
            if let Some((.., words)) = last {
                return words;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let words = tokio::time::timeout(Duration::from_secs(10), written).await.expect("written");
    // 7 kW on three phases.
    assert_eq!(words, [101]);
    let standing = device.writes().len();
    // Nothing changes: nothing is written again before a third of the watchdog.
    let asked = device.requests();
    while device.requests() < asked + 40 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(device.writes().len(), standing);
    stop.send_replace(true);
    agent.await.expect("ends").expect("without a fault");
    assert_eq!(device.writes().last(), Some(&(UNIT, 6, 261, vec![160])), "given back");
}
