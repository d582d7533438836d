//! The sign test, the check of what is plausible, and traces for a report of a defect.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use clock::Clock;
use meter_agent::config::{Config, DeviceConfig, Role};
use meter_agent::core::forecast::Site;
use meter_agent::device::{Direction, Figure, Observed, Quantity, Readout};
use meter_agent::onboarding::assign::Draft;
use meter_agent::onboarding::{
    DeviceSign, Progress, Sign, Track, Verdict, apply_signs, judge_signs, plausible, sign_test,
};

use crate::support::device::{Device, meter_203, sunspec};

/// A household with these roles, each with a SunSpec map.
fn household(roles: &[Role]) -> Config {
    let mut config = Config::parse(include_str!("../../example.toml"), "example").expect("right");
    for (unit, &role) in (1..).zip(roles) {
        let map = match role {
            Role::Meter => "eastron-sdm630",
            Role::Pv => "sunspec-inverter-103",
            _ => "sunspec-battery",
        };
        let mut device = DeviceConfig::new(&format!("d{unit}"), role, map);
        (device.host, device.unit) = (Some("192.0.2.7:502".to_owned()), Some(unit));
        config.devices.push(device);
    }
    config
}

/// Readings a second apart: some quantities, in their units.
fn track(samples: &[&[(Quantity, i64)]]) -> Track {
    let samples = (0_i64..).zip(samples).map(|(second, figures)| {
        let mut readout = Readout::default();
        for &(quantity, value) in *figures {
            let figure = Figure {
                resolution: Some(1_000),
                ..Figure::plain(Observed::Value(value), second * 1_000)
            };
            readout.set(quantity, figure);
        }
        readout
    });
    Track { samples: samples.collect(), failure: None }
}

fn steady(watts: i64) -> Track {
    let sample: &[(Quantity, i64)] = &[(Quantity::Power, watts * 1_000)];
    track(&[sample; 4])
}

fn judged(roles: &[Role], before: &[i64], after: &[i64]) -> Vec<Sign> {
    let config = household(roles);
    let maps = config.maps().expect("known");
    let tracks = |watts: &[i64]| watts.iter().map(|&w| steady(w)).collect::<Vec<_>>();
    judge_signs(&config, &maps, &tracks(before), &tracks(after), 2_000)
        .into_iter()
        .map(|found| found.sign)
        .collect()
}

const METER: Role = Role::Meter;
const PV: Role = Role::Pv;
const BATTERY: Role = Role::Battery;

fn reversed(direction: Direction) -> Sign {
    Sign::Reversed { positive_means: Some(direction) }
}

#[test]
fn a_kettle_tells_which_way_devices_count() {
    use Direction::{Consume, Discharge, Export};
    use Sign::Right;
    for (what, roles, before, after, expected) in [
        ("buying more", &[METER][..], &[300][..], &[2_290][..], vec![Right]),
        ("selling less", &[METER], &[-3_000], &[-1_050], vec![Right]),
        ("from selling to buying", &[METER], &[-400], &[1_640], vec![Right]),
        ("the wrong way", &[METER], &[-300], &[-2_300], vec![reversed(Export)]),
        ("beside a plant", &[METER, PV], &[-2_700, -3_000], &[-700, -3_000], vec![Right, Right]),
        // The sun came out by 300 W meanwhile.
        ("with a cloud", &[METER, PV], &[500, -1_000], &[2_200, -1_300], vec![Right, Right]),
        (
            "a plant that takes",
            &[METER, PV],
            &[500, 900],
            &[2_500, 900],
            vec![Right, reversed(Consume)],
        ),
        (
            "a battery that helps with half",
            &[METER, BATTERY],
            &[500, 0],
            &[1_500, -1_000],
            vec![Right, Right],
        ),
        (
            "a reversed battery that helps with half",
            &[METER, BATTERY],
            &[500, 0],
            &[1_500, 1_000],
            vec![Right, reversed(Discharge)],
        ),
    ] {
        assert_eq!(judged(roles, before, after), expected, "{what}");
    }
}

#[test]
fn what_a_kettle_cannot_tell_is_said_with_a_way_out() {
    for (what, roles, before, after, which, said) in [
        ("nothing moved", &[METER][..], &[300][..], &[320][..], 0, "was the appliance on"),
        ("another size", &[METER], &[300], &[6_000], 0, "--watts"),
        ("the battery took it all", &[METER, BATTERY], &[10, 0], &[10, -2_000], 0, "battery"),
        ("the battery rests", &[METER, BATTERY], &[10, 0], &[2_010, 0], 1, "did not move"),
        ("a plant at night", &[METER, PV], &[10, 0], &[2_010, 0], 1, "by day"),
    ] {
        match &judged(roles, before, after)[which] {
            Sign::Unknown { why } => assert!(why.contains(said), "{what}: {why}"),
            other => panic!("{what}: {other:?}"),
        }
    }
    // The battery that took it all has shown its sign all the same.
    assert_eq!(judged(&[METER, BATTERY], &[10, 0], &[10, -2_000])[1], Sign::Right);
    let config = household(&[METER]);
    let maps = config.maps().expect("known");
    let noisy = track(&[&[(Quantity::Power, 0)], &[(Quantity::Power, 2_000_000)]]);
    let found = judge_signs(&config, &maps, &[noisy], &[steady(2_000)], 2_000);
    assert!(matches!(&found[0].sign, Sign::Unknown { why } if why.contains("too much else")));
    let silent = Track { samples: vec![], failure: Some("unit 1 did not answer".to_owned()) };
    let found = judge_signs(
        &config,
        &maps,
        std::slice::from_ref(&silent),
        std::slice::from_ref(&silent),
        2_000,
    );
    assert!(matches!(&found[0].sign, Sign::Unknown { why } if why.contains("did not answer")));
}

fn meter(before: &[&[(Quantity, i64)]], after: &[&[(Quantity, i64)]]) -> DeviceSign {
    let config = household(&[METER]);
    let maps = config.maps().expect("known");
    judge_signs(&config, &maps, &[track(before)], &[track(after)], 2_000).remove(0)
}

#[test]
fn phases_and_counters_are_looked_at_too() {
    use Quantity::{EnergyExport, EnergyImport, Power, PowerL1, PowerL2, PowerL3};
    let phases = |one: i64, two: i64, three: i64| {
        [
            (Power, (one + two + three) * 1_000),
            (PowerL1, one * 1_000),
            (PowerL2, two * 1_000),
            (PowerL3, three * 1_000),
        ]
    };
    let (was, is) = (phases(-100, 200, 150), phases(-2_100, 200, 150));
    let found = meter(&[&was], &[&is]);
    assert!(found.remarks.iter().any(|remark| remark.contains("clamp on L1")), "{found:?}");

    let counting = |import: i64, export: i64| {
        let [total, one, two, three] = phases(2_500, -800, 300);
        [total, one, two, three, (EnergyImport, import), (EnergyExport, export)]
    };
    let was = phases(500, -800, 300);
    let found = meter(&[&was], &[&counting(0, 0), &counting(9_000, 4_000)]);
    assert!(
        found.remarks.iter().any(|remark| remark.contains("each phase on its own")),
        "{found:?}"
    );
    let found = meter(&[&was], &[&counting(0, 0), &counting(9_000, 0)]);
    assert!(found.remarks.iter().any(|remark| remark.contains("sum of its phases")), "{found:?}");
    let found = meter(&[&was], &[&counting(0, 0), &counting(0, 9_000)]);
    assert!(found.remarks.iter().any(|remark| remark.contains("exchanged")), "{found:?}");
}

#[tokio::test]
async fn a_reversed_meter_is_found_and_mended() {
    let device = Arc::new(Device::start().await);
    let show = |watts: i16| sunspec(&[(1, &[0; 66]), (203, &meter_203(1_000, 2_000, watts))]);
    device.put(1, 3, 40_000, &show(-300));
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("agent.toml");
    let mut meter = DeviceConfig::new("grid", Role::Meter, "sunspec-meter-203");
    (meter.host, meter.unit) = (Some(device.host()), Some(1));
    std::fs::write(&file, include_str!("../../example.toml")).expect("written");
    let mut draft = Draft::open(&file).expect("right");
    draft.assign(&meter, None, "by a test").expect("free");
    draft.save().expect("written");
    let config = Config::load(&file).expect("right");

    // The kettle goes on when it is asked for.
    let (kettle, switched) = (show(-2_300), Arc::clone(&device));
    let progress = Progress::to(move |sentence| {
        if sentence.starts_with("NOW") {
            switched.put(1, 3, 40_000, &kettle);
        }
    });
    let span = Duration::from_millis(1_500);
    let signs = sign_test(&config, &Clock::system(), 2_000, span, &progress).await.expect("read");
    assert_eq!(signs[0].sign, reversed(Direction::Export), "{signs:?}");
    let mut draft = Draft::open(&file).expect("right");
    apply_signs(&mut draft, &signs).expect("mended");
    assert_eq!(draft.changes(), ["+ positive_means = \"export\""]);
    draft.save().expect("written");

    // Once more: now it is right.
    device.put(1, 3, 40_000, &show(-300));
    let config = Config::load(&file).expect("right");
    let signs = sign_test(&config, &Clock::system(), 2_000, span, &progress).await.expect("read");
    assert_eq!(signs[0].sign, Sign::Right, "{signs:?}");
}

/// Checks that the rules come to this verdict about this, and to no worse one if it is fine.
fn check(roles: &[Role], tracks: &[Track], expected: Verdict, said: &str) {
    let config = household(roles);
    let maps = config.maps().expect("known");
    // The longest night of the year, in the middle of Germany.
    let site = Some(Site { latitude: 51.3, longitude: 9.5 });
    let midnight = units::Slot::at_ms(1_766_271_600_000).start_ms();
    let remarks = plausible(&config, &maps, tracks, site, midnight);
    let found = remarks.iter().find(|remark| remark.text.contains(said));
    assert_eq!(found.map(|remark| remark.verdict), Some(expected), "{said}: {remarks:#?}");
}

#[test]
fn what_devices_say_is_held_against_the_rules() {
    use Quantity::{EnergyExport, EnergyImport, Frequency, Power, VoltageL1, VoltageL2};
    let volts = |mv: i64| track(&[&[(VoltageL1, mv), (Power, 0)]]);
    check(&[METER], &[volts(231_000)], Verdict::Fine, "voltage within");
    check(&[METER], &[volts(260_000)], Verdict::Odd, "not within 207 to 253 V");
    check(&[METER], &[volts(23_100)], Verdict::Wrong, "no mains voltage");
    check(&[METER], &[track(&[&[(VoltageL2, 0)]])], Verdict::Open, "nothing is connected");
    check(&[METER], &[track(&[&[(Frequency, 50_010)]])], Verdict::Fine, "frequency 50.010 Hz");
    check(&[METER], &[track(&[&[(Frequency, 52_000)]])], Verdict::Odd, "far from 50");

    let counted = |watts: i64, import: [i64; 2], export: [i64; 2]| {
        let at = |index: usize| {
            [(Power, watts * 1_000), (EnergyImport, import[index]), (EnergyExport, export[index])]
        };
        let (first, last) = (at(0), at(1));
        // Eleven readings, ten seconds.
        let mut all: Vec<&[(Quantity, i64)]> = vec![&first; 10];
        all.push(&last);
        track(&all)
    };
    // 3.6 kW for 10 s are 10 Wh.
    check(&[METER], &[counted(3_600, [0, 10_000], [0, 0])], Verdict::Fine, "grew by 10.000 Wh");
    check(&[METER], &[counted(3_600, [0, 0], [0, 10_000])], Verdict::Odd, "is the sign right");
    check(&[METER], &[counted(100, [0, 0], [0, 0])], Verdict::Open, "too little flowed");
    check(&[METER], &[counted(0, [9_000, 5_000], [0, 0])], Verdict::Wrong, "fell from");
    check(&[METER], &[steady(60_000)], Verdict::Wrong, "more than the connection");

    check(&[METER, PV], &[steady(500), steady(-2_000)], Verdict::Wrong, "in the dark");
    check(&[METER, PV], &[steady(500), steady(2_000)], Verdict::Wrong, "takes power");
    check(
        &[METER, PV],
        &[steady(-1_700), steady(-2_000)],
        Verdict::Fine,
        "the house itself uses 300",
    );
    check(&[METER, PV], &[steady(-2_700), steady(-2_000)], Verdict::Wrong, "less than nothing");
    check(&[METER, BATTERY], &[steady(900), steady(1_500)], Verdict::Wrong, "less than nothing");

    let mut late = steady(100);
    late.samples[3].device_clock_ms = Some((7_203_000, 3_000));
    check(&[METER], &[late], Verdict::Odd, "clock is off by 7200.0 s");
    let silent = Track { samples: vec![], failure: Some("no answer".to_owned()) };
    check(&[METER], &[silent], Verdict::Wrong, "no answer");
}

fn program(arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_meter-agent"))
        .args(arguments)
        .env("RUST_LOG", "error")
        .output()
        .expect("the program starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

fn path(path: &Path) -> &str {
    path.to_str().expect("plain")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trace_shows_every_byte_and_not_whose_they_are() {
    let device = Device::start().await;
    let mut common = [0; 66];
    for (index, pair) in b"SWM17558997 ".chunks(2).enumerate() {
        common[48 + index] = u16::from_be_bytes([pair[0], pair[1]]);
    }
    device.put(1, 3, 40_000, &sunspec(&[(1, &common), (203, &meter_203(1_000, 2_000, 300))]));
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path().join("home");
    assert_eq!(program(&["init", "--dir", path(&dir), "--point", "MyHouse7"]).0, Some(0));
    let file = dir.join("agent.toml");
    let mut draft = Draft::open(&file).expect("right");
    let mut meter = DeviceConfig::new("cellar", Role::Meter, "sunspec-meter-203");
    (meter.host, meter.unit) = (Some(device.host()), Some(1));
    draft.assign(&meter, None, "").expect("free");
    draft.save().expect("written");
    let trace = |more: &'static [&'static str]| {
        let file = file.clone();
        tokio::task::spawn_blocking(move || {
            let all = [&["trace", "--config", path(&file), "--seconds", "2"], more].concat();
            program(&all)
        })
    };
    let (code, open, complained) = trace(&[]).await.expect("ran");
    assert_eq!(code, Some(0), "{complained}");
    assert!(open.contains("NOT redacted") && open.contains(&device.host()), "{open}");
    // The question for the marker, and its answer: S u n S.
    assert!(open.contains("03 9c 40 00 02") && open.contains("53 75 6e 53"), "{open}");
    assert!(open.contains("= power 300.000 W"), "{open}");

    let (code, clean, complained) = trace(&["--redact"]).await.expect("ran");
    assert_eq!(code, Some(0), "{complained}");
    assert!(clean.contains("53 75 6e 53") && clean.contains("= power 300.000 W"), "{clean}");
    let serial: Vec<String> = b"SWM1755".iter().map(|byte| format!("{byte:02x}")).collect();
    for secret in ["127.0.0.1", "SWM17558997", "cellar", "MyHouse7", &serial.join(" ")] {
        assert!(!clean.contains(secret), "{secret} is in it:\n{clean}");
    }
    assert!(clean.contains("HOST-1") && clean.contains("78 78 78"), "{clean}");

    let nobody = trace(&["--device", "attic"]).await.expect("ran");
    assert!(nobody.0 == Some(3) && nobody.2.contains("there are: cellar"), "{nobody:?}");

    // The check of what is plausible, as a person calls it.
    let checked = file.clone();
    let checked = tokio::task::spawn_blocking(move || {
        program(&["check", "--plausible", "--seconds", "3", "--config", path(&checked)])
    });
    let (code, said, complained) = checked.await.expect("ran");
    assert_eq!(code, Some(0), "{said}{complained}");
    assert!(said.contains("fine  voltage within 207 to 253 V"), "{said}");
}
