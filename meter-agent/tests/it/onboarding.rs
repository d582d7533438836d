//! Finding out what a device is, and writing it down: against real sockets, with the real program.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use meter_agent::config::Role;
use meter_agent::device::{DeviceMap, Library, Transport};
use meter_agent::onboarding::{
    Confidence, NoChoice, ProbeError, ProbeReport, Progress, Target, Wanted, choose, probe,
};
use serde_json::Value;

use crate::support::device::{Device, Fault, meter_203, model, sunspec};

/// Registers of floats, high word first.
fn floats(values: &[(u16, f32)], count: u16) -> Vec<u16> {
    let mut words = vec![0; usize::from(count)];
    for &(at, value) in values {
        let bits = value.to_bits();
        words[usize::from(at)] = (bits >> 16) as u16;
        words[usize::from(at) + 1] = (bits & 0xffff) as u16;
    }
    words
}

/// An SDM630: three phases, import of 1.2 kW, 545.4 kWh and 0.5 kWh counted.
fn sdm630(device: &Device, unit: u8) {
    let mut values = vec![(0x34, 1_200.0), (0x38, 1_210.0), (0x3e, 0.99), (0x46, 50.02)];
    values.extend([(0x48, 545.4), (0x4a, 0.5)]);
    for phase in 0..3 {
        values.extend([(2 * phase, 231.0), (6 + 2 * phase, 1.75), (12 + 2 * phase, 400.0)]);
    }
    device.put(unit, 4, 0, &floats(&values, 0x182));
    device.put(unit, 3, 0xfc00, &[0x010f, 0x52c0]);
}

fn maps() -> BTreeMap<String, DeviceMap> {
    let mut maps = Library::load(None).expect("built in").all().expect("sound");
    maps.retain(|_, map| matches!(map.transport, Transport::Modbus | Transport::Sunspec));
    maps
}

async fn look(device: &Device, unit: Option<u8>) -> Result<ProbeReport, ProbeError> {
    let unit = unit.map_or(String::new(), |unit| format!("/{unit}"));
    let target: Target = format!("{}{unit}", device.host()).parse().expect("an address");
    probe(&target, &maps(), 0, &Progress::silent()).await
}

fn wanted(role: Role) -> Wanted<'static> {
    Wanted { role, map: None, no_export: false, integrate_power: false }
}

#[tokio::test]
async fn a_meter_without_a_name_is_known_by_its_physics() {
    let device = Device::start().await;
    sdm630(&device, 1);
    let report = look(&device, Some(1)).await.expect("it answers");
    let unit = &report.units[0];
    assert_eq!(unit.fits[0].map, "eastron-sdm630", "{:?}", unit.fits);
    assert_eq!(unit.fits[0].confidence, Confidence::Likely);
    assert_eq!(unit.identity["serial number"], "17781440");
    let choice = choose(&report, &wanted(Role::Meter)).expect("one fits");
    assert_eq!((choice.unit, choice.fit.map.as_str()), (1, "eastron-sdm630"));
    assert!(choice.same.contains(&"eastron-sdm72".to_owned()), "{:?}", choice.same);
    // Nothing but reading, and not too much of it.
    assert!(device.functions().iter().all(|function| [3, 4].contains(function)));
    assert!(report.questions < 60, "{} questions", report.questions);
    let other = choose(&report, &wanted(Role::Battery)).expect_err("it is none");
    assert!(other.to_string().contains("Eastron SDM630"), "{other}");
}

#[tokio::test]
async fn a_device_of_the_standard_says_itself_what_it_is() {
    let device = Device::start().await;
    let mut common = [0; 66];
    for (at, text) in [(0, "SolarEdge "), (16, "SE5K"), (48, "SN1")] {
        for (index, pair) in text.as_bytes().chunks(2).enumerate() {
            common[at + index] =
                u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or_default()]);
        }
    }
    device.put(1, 3, 40_000, &sunspec(&[(1, &common), (203, &meter_203(123, 4, -321))]));
    let report = look(&device, Some(1)).await.expect("it answers");
    let choice = choose(&report, &wanted(Role::Meter)).expect("one fits");
    // The maker's own map knows the sign; the standard leaves it open.
    assert_eq!(choice.fit.map, "solaredge-meter", "{:?}", report.units[0].fits);
    assert_eq!(choice.fit.confidence, Confidence::Certain);
    let power = choice.fit.figures.iter().find(|figure| figure.quantity == "power");
    assert_eq!(power.and_then(|power| power.value), Some(321_000), "it counts export positive");
    let refused = |map: &str| report.units[0].refused.iter().find(|(id, _)| id == map);
    assert!(refused("fronius-gen24-meter").is_some_and(|(_, why)| why.contains("SolarEdge")));
}

#[tokio::test]
async fn a_device_under_every_unit_id_is_one_device() {
    let device = Device::start().await;
    for unit in [1, 2, 3] {
        sdm630(&device, unit);
    }
    for unit in [71, 100, 126, 200, 201, 202, 203, 204, 240, 247] {
        device.mute(unit);
    }
    let report = look(&device, None).await.expect("it answers");
    let units: Vec<u8> = report.units.iter().map(|unit| unit.unit).collect();
    assert_eq!(units, [1], "{:?}", report.notes);
    assert!(report.notes.iter().any(|note| note.contains("unit 3 is the same device as unit 1")));
}

#[tokio::test]
async fn a_gateway_is_not_asked_about_many_units_that_are_not_there() {
    let device = Device::start().await;
    device.fail(&[Fault::Exception(0x0b); 8]);
    let error = look(&device, None).await.expect_err("nobody is there").to_string();
    assert_eq!(device.requests(), 2, "two absent units, and no more are tried");
    assert!(error.contains("gateway") && error.contains("after a slash"), "{error}");
}

#[tokio::test]
async fn a_unit_that_falls_silent_is_left_alone() {
    let device = Device::start().await;
    sdm630(&device, 1);
    device.fail(&[Fault::Exception(2), Fault::Silence, Fault::Silence, Fault::Silence]);
    let report = look(&device, Some(1)).await.expect("it answered once");
    assert!(device.requests() <= 5, "{} requests", device.requests());
    let note = report.units[0].note.as_deref().unwrap_or_default();
    assert!(note.contains("stopped answering"), "{note}");
    assert!(matches!(choose(&report, &wanted(Role::Meter)), Err(NoChoice::Nothing { .. })));
}

#[tokio::test]
async fn broken_chains_are_told_and_not_followed() {
    let device = Device::start().await;
    device.put(1, 3, 40_000, &[0x5375, 0x6e53, 1, 0xfffe]);
    let report = look(&device, Some(1)).await.expect("it answers");
    let note = report.units[0].note.as_deref().unwrap_or_default();
    assert!(note.contains("the chain is"), "{note}");
}

#[test]
fn figures_that_break_physics_speak_against_a_map() {
    use meter_agent::device::{Figure, Identity, Observed, Quantity, Readout};
    let map = Library::load(None).expect("built in").find("eastron-sdm630").expect("known");
    let judged = |values: &[(Quantity, i64)]| {
        let mut told = Readout::default();
        for &(quantity, value) in values {
            told.set(quantity, Figure::plain(Observed::Value(value), 0));
        }
        meter_agent::onboarding::judge(&map, &told, &Identity::default(), None)
    };
    for (why, values) in [
        ("no mains frequency", vec![(Quantity::Frequency, 231_000)]),
        ("no mains voltage", vec![(Quantity::VoltageL2, 12_000)]),
        ("the total says", vec![(Quantity::Power, 900_000), (Quantity::PowerL1, 300_000)]),
        (
            "more than voltage times current",
            vec![
                (Quantity::VoltageL1, 230_000),
                (Quantity::CurrentL1, 1_000),
                (Quantity::PowerL1, 900_000),
                (Quantity::Power, 900_000),
            ],
        ),
        ("state_of_charge cannot be", vec![(Quantity::StateOfCharge, 4_000)]),
        ("power cannot be", vec![(Quantity::Power, i64::MAX)]),
        ("energy_import cannot be", vec![(Quantity::EnergyImport, -5)]),
    ] {
        let fit = judged(&values);
        assert_eq!(fit.confidence, Confidence::No, "{why}: {fit:?}");
        assert!(fit.against.iter().any(|reason| reason.contains(why)), "{why}: {:?}", fit.against);
    }
    // Zeros say nothing at all.
    let silent =
        judged(&[(Quantity::Power, 0), (Quantity::VoltageL1, 0), (Quantity::Frequency, 0)]);
    assert_eq!(silent.confidence, Confidence::Possible);
}

/// The program in a folder with a new configuration.
struct Home {
    _folder: tempfile::TempDir,
    config: PathBuf,
}

impl Home {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let config = folder.path().join("home/agent.toml");
        let dir = folder.path().join("home");
        let output = program(&["init", "--dir", path(&dir)]);
        assert!(output.status.success(), "{}", text(&output.stderr));
        Self { _folder: folder, config }
    }

    fn written(&self) -> String {
        std::fs::read_to_string(&self.config).expect("there")
    }

    async fn assign(&self, arguments: &[&str]) -> Output {
        let all = [&["assign", "--config", path(&self.config)], arguments].concat();
        let all: Vec<String> = all.into_iter().map(str::to_owned).collect();
        tokio::task::spawn_blocking(move || {
            program(&all.iter().map(String::as_str).collect::<Vec<_>>())
        })
        .await
        .expect("it ran")
    }
}

fn program(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_meter-agent"))
        .args(arguments)
        .env("RUST_LOG", "warn")
        .output()
        .expect("the program starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn path(path: &Path) -> &str {
    path.to_str().expect("plain")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_is_written_down_once_and_in_one_role() {
    let device = Device::start().await;
    sdm630(&device, 2);
    let absent = [2, 3, 4, 5, 7, 8, 9, 10, 11, 12, 16, 27, 29].map(|at| (at, 0xffff));
    let told = [(14, 500), (15, 0), (24, 0), (25, 9), (26, 0), (38, 4)];
    let inverter = model(50, &[&absent[..], &told].concat());
    device.put(1, 3, 40_000, &sunspec(&[(103, &inverter)]));
    let home = Home::new();
    let before = home.written();
    let meter = format!("{}/2", device.host());

    let dry = home.assign(&["--role", "meter", &meter, "--dry-run"]).await;
    assert!(dry.status.success(), "{}", text(&dry.stderr));
    assert!(text(&dry.stdout).contains("+ map = \"eastron-sdm630\""), "{}", text(&dry.stdout));
    assert_eq!(home.written(), before, "nothing was written");

    let done = home.assign(&["--role", "meter", &meter, "--json"]).await;
    assert!(done.status.success(), "{}", text(&done.stderr));
    let told: Value = serde_json::from_slice(&done.stdout).expect("JSON");
    assert_eq!((&told["device"], &told["map"]), (&"grid".into(), &"eastron-sdm630".into()));
    assert_eq!(told["written"], true);
    let config = meter_agent::Config::load(&home.config).expect("it can run now");
    assert_eq!((config.devices[0].unit, config.devices[0].role), (Some(2), Role::Meter));
    assert!(home.written().starts_with(before.trim_end()), "everything else stays");

    let written = home.written();
    let requests = device.requests();
    for (code, said, arguments) in [
        (3, "there can be only one", vec!["--role", "meter", &meter]),
        (3, "no device \"x\" to replace", vec!["--role", "meter", &meter, "--replace", "x"]),
        (3, "there is no device map", vec!["--role", "pv", "--map", "x", &meter]),
        (2, "is no address", vec!["--role", "pv", "http://x"]),
        (2, "possible values", vec!["--role", "toaster", &meter]),
    ] {
        let output = home.assign(&arguments).await;
        let complained = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {complained}");
        assert!(complained.contains(said), "{arguments:?}: {complained}");
    }
    assert_eq!(device.requests(), requests, "nobody was asked for what is refused anyway");
    let twice = home.assign(&["--role", "pv", &meter]).await;
    assert_eq!(twice.status.code(), Some(6), "a meter is no plant: {}", text(&twice.stderr));
    assert_eq!(home.written(), written);

    let roof = format!("{}/1", device.host());
    let roof = home.assign(&["--role", "pv", &roof, "--name", "roof"]).await;
    assert!(roof.status.success(), "{}", text(&roof.stderr));
    let exchanged = home.assign(&["--role", "meter", &meter, "--replace", "grid"]).await;
    assert!(exchanged.status.success(), "{}", text(&exchanged.stderr));
    let config = meter_agent::Config::load(&home.config).expect("it can run");
    let names: Vec<&str> = config.devices.iter().map(|device| device.name.as_str()).collect();
    assert_eq!(names, ["roof", "grid"]);
    assert_eq!(home.written().matches("# found: ").count(), 2, "{}", home.written());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_device_is_said_with_a_remedy() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let page = listener.local_addr().expect("bound").to_string();
    let serving = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut asked = [0; 64];
            let _ = stream.read(&mut asked).await;
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
    });
    let closed = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.local_addr().expect("bound").to_string()
    };
    for (target, said) in [
        (page.as_str(), "does not speak Modbus"),
        (closed.as_str(), "switch Modbus TCP on"),
        ("/dev/no-such-port", "/dev/serial/by-id"),
    ] {
        let target = target.to_owned();
        let output = tokio::task::spawn_blocking(move || program(&["probe", &target])).await;
        let output = output.expect("it ran");
        let complained = text(&output.stderr);
        assert_eq!(output.status.code(), Some(4), "{complained}");
        assert!(complained.contains(said), "{complained}");
    }
    serving.abort();
}
