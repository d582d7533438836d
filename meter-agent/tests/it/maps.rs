//! Device maps: over real sockets, as files of a user's own, and as the program shows them.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use clock::Clock;
use meter_agent::device::{
    Absence, Case, DeviceMap, Inbox, Library, LibraryError, Observed, Quantity, Read, Readout,
    Span, Status, Transport, built_in_files, golden_cases, plan,
};
use meter_agent::{Config, DeviceCheck, check_devices, key_file};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::{AsyncClient, MqttOptions};
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::support::broker::broker;
use crate::support::device::Device;

use Quantity::{EnergyExport, EnergyImport, Power, VoltageL1};

fn library() -> Library {
    Library::load(None).expect("the built-in maps are sound")
}

fn check(readout: &Readout, expected: &[(Quantity, i64)]) {
    let found: Vec<(Quantity, i64)> = readout
        .iter()
        .filter_map(|(quantity, figure)| Some((quantity, *figure.value.as_value()?)))
        .collect();
    assert_eq!(found, expected);
}

fn inbox(map: &str, topic: &str) -> Inbox {
    Inbox::new(library().find(map).expect("known").clone(), topic)
}

fn take(inbox: &mut Inbox, topic: &str, payload: &str) -> Readout {
    inbox.take(topic, payload.as_bytes(), false, 9).expect("readable").expect("its topic")
}

#[test]
fn dsmr_reader_sums_are_whole_or_not_there() {
    let mut inbox = inbox("dsmr-reader", "dsmr/reading");
    let mut say =
        |name: &str, payload: &str| take(&mut inbox, &format!("dsmr/reading/{name}"), payload);
    check(&say("electricity_delivered_1", "1000.5"), &[]);
    check(&say("electricity_delivered_2", "2000.25"), &[(EnergyImport, 3_000_750_000)]);
    // The first half of the next telegram is no new sum.
    check(&say("electricity_delivered_1", "1000.6"), &[]);
    check(&say("electricity_delivered_2", "2000.25"), &[(EnergyImport, 3_000_850_000)]);
    check(&say("electricity_returned_1", "1"), &[]);
    check(&say("electricity_returned_2", "0.5"), &[(EnergyExport, 1_500_000)]);
    check(&say("electricity_currently_delivered", "0.000"), &[]);
    check(&say("electricity_currently_returned", "1.234"), &[(Power, -1_234_000)]);
    check(&say("phase_voltage_l1", "229.9"), &[(VoltageL1, 229_900)]);
}

#[test]
fn kept_messages_are_stale_and_garbage_is_a_fault_never_zero() {
    let mut inbox = inbox("tasmota", "cellar");
    let topic = "tele/cellar/SENSOR";
    let telegram = br#"{"ENERGY":{"Total":1.0,"ExportActive":0,"Power":5}}"#;
    let readout = inbox.take(topic, telegram, true, 9).expect("readable").expect("its topic");
    assert_eq!(readout.observed(EnergyImport), Observed::Absent(Absence::Stale));
    for garbage in [&b"{"[..], b"", b"\xff\xfe", b"[]]"] {
        assert!(inbox.take(topic, garbage, false, 9).is_err());
    }
    for odd in ["[]", "7", "null", r#"{"ENERGY":5}"#, r#"{"ENERGY":{"Total":{}}}"#] {
        let readout = take(&mut inbox, topic, odd);
        assert!(readout.observed(EnergyImport).as_value().is_none(), "{odd}");
    }
    let huge = r#"{"ENERGY":{"Total":1e300,"Power":1e-300}}"#;
    let readout = take(&mut inbox, topic, huge);
    assert!(matches!(readout.observed(EnergyImport), Observed::Fault(_)));
}

/// A device's clock is looked at, not believed; a kept message is as old as it says.
#[test]
fn stated_times_tell_the_clock_of_what_is_new_and_the_age_of_what_is_old() {
    let mut inbox = inbox("zigbee2mqtt", "plug");
    let payload = br#"{"power":5,"last_seen":"2026-03-29T03:00:00+02:00"}"#;
    let (stated_ms, now_ms) = (1_774_746_000_000, 1_774_746_090_000);
    let mut take = |retained, now_ms| {
        inbox.take("zigbee2mqtt/plug", payload, retained, now_ms).expect("readable").expect("its")
    };
    let live = take(false, now_ms);
    assert_eq!(live.figure(Power).map(|figure| figure.taken_ms), Some(now_ms));
    assert_eq!(live.device_clock_ms, Some((stated_ms, now_ms)));
    let kept = take(true, now_ms);
    assert_eq!(kept.figure(Power).map(|figure| figure.taken_ms), Some(stated_ms));
    assert_eq!(kept.device_clock_ms, None);
    // A clock that runs ahead makes nothing younger than now.
    let early_ms = stated_ms - 1;
    assert_eq!(take(true, early_ms).figure(Power).map(|figure| figure.taken_ms), Some(early_ms));
}

/// The first case of every map that needs nothing special, with its map.
fn vectors(wanted: impl Fn(Transport) -> bool) -> Vec<(DeviceMap, Case)> {
    let mut vectors = Vec::new();
    for file in built_in_files() {
        let cases = golden_cases(file.golden).expect("sound");
        for map in file.maps().expect("sound").into_iter().filter(|map| wanted(map.transport)) {
            let plain = |case: &&Case| {
                case.maps.contains(&map.id)
                    && case.positive_means.is_none()
                    && case.order.is_none()
                    && case.messages.iter().all(|message| !message.retained)
            };
            let case = cases.iter().find(plain).unwrap_or_else(|| panic!("{} has no case", map.id));
            vectors.push((map.clone(), case.clone()));
        }
    }
    vectors
}

/// A configuration with these devices, in TOML; the first is the meter.
fn household(devices: &[(String, String)]) -> (tempfile::TempDir, Config) {
    use std::fmt::Write;
    let folder = tempfile::tempdir().expect("a folder");
    let key = folder.path().join("household.key");
    key_file::create(&key).expect("a key");
    let mut text = format!(
        "community = \"test\"\npoint = \"P1\"\noperator = \"0x{}\"\ndata_dir = {:?}\n\
         [mqtt]\nurl = \"mqtt://127.0.0.1:1\"\n",
        "11".repeat(20),
        folder.path(),
    );
    for (index, (map, place)) in devices.iter().enumerate() {
        let role = if index == 0 { "meter" } else { "battery" };
        write!(
            text,
            "[[device]]\nname = \"d{index}\"\nrole = \"{role}\"\nmap = \"{map}\"\n{place}\n"
        )
        .expect("memory");
    }
    let config = Config::parse(&text, "test").expect("a configuration");
    config.check().expect("sound");
    (folder, config)
}

/// What differs between the cases and what the agent saw.
fn differences(vectors: &[(DeviceMap, Case)], checks: &[DeviceCheck]) -> Vec<String> {
    assert_eq!(vectors.len(), checks.len());
    let mut problems = Vec::new();
    for ((map, case), check) in vectors.iter().zip(checks) {
        let told: BTreeMap<Quantity, Result<i64, String>> = check
            .figures
            .iter()
            .map(|figure| {
                let quantity = Quantity::named(figure.quantity).expect("a quantity");
                let words = figure.note.clone().unwrap_or_default();
                (quantity, figure.value.ok_or(words))
            })
            .collect();
        let own = case.differences(&told).into_iter();
        problems.extend(own.map(|own| format!("{}: {own} ({:?})", map.id, check.problems)));
    }
    problems
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_modbus_map_is_read_from_a_device_on_a_socket() {
    let vectors = vectors(Transport::is_modbus);
    assert!(vectors.len() > 40, "{}", vectors.len());
    for some in vectors.chunks(60) {
        let mut devices = Vec::new();
        let mut places = Vec::new();
        for (map, case) in some {
            let unit = map.modbus.as_ref().and_then(|rules| rules.units.first().copied());
            let unit = unit.unwrap_or(1);
            let device = Device::start().await;
            let image = case.image(&case.set_up(map.clone())).expect("sound");
            for (function, address, word) in image.iter() {
                device.put(unit, function, address, &[word]);
            }
            let place = format!("host = \"{}\"\nunit = {unit}\n", device.host());
            places.push((map.id.clone(), place));
            devices.push(device);
        }
        let (_folder, config) = household(&places);
        let checks =
            check_devices(&config, Clock::from_config(None), Duration::from_secs(60)).await;
        let problems = differences(some, &checks.expect("checked"));
        assert!(problems.is_empty(), "\n{}", problems.join("\n"));
        for device in devices {
            assert!(device.functions().iter().all(|function| matches!(function, 3 | 4)));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_mqtt_map_is_read_from_a_broker() {
    let vectors = vectors(|transport| transport == Transport::Mqtt);
    assert!(vectors.len() > 10, "{}", vectors.len());
    let address = broker().await;
    let place = |index: usize| {
        format!("mqtt = {{ topic = \"t{index}\", broker = {{ url = \"mqtt://{address}\" }} }}\n")
    };
    let places: Vec<(String, String)> = vectors
        .iter()
        .enumerate()
        .map(|(index, (map, _))| (map.id.clone(), place(index)))
        .collect();
    let (_folder, config) = household(&places);
    // The devices speak when they like, again and again.
    let mut options = MqttOptions::new("devices", address.ip().to_string(), address.port());
    options.set_clean_start(true);
    let (client, mut events) = AsyncClient::new(options, 64);
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { while events.poll().await.is_ok() {} });
    let sent: Vec<(String, String)> = vectors
        .iter()
        .enumerate()
        .flat_map(|(index, (_, case))| {
            case.messages.iter().map(move |message| {
                (message.topic.replace("{topic}", &format!("t{index}")), message.payload.clone())
            })
        })
        .collect();
    tasks.spawn(async move {
        let mut pace = tokio::time::interval(Duration::from_millis(300));
        loop {
            pace.tick().await;
            for (topic, payload) in &sent {
                let publish = client.publish(topic, QoS::AtLeastOnce, false, payload.clone());
                if publish.await.is_err() {
                    return;
                }
            }
        }
    });
    let checks = check_devices(&config, Clock::from_config(None), Duration::from_secs(4)).await;
    let problems = differences(&vectors, &checks.expect("checked"));
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
}

/// A meter on a TCP port: it breaks off in the first telegram, then speaks in pieces, with rubbish in
/// between.
async fn speaking_meter(telegram: Vec<u8>, tasks: &mut JoinSet<()>) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
    let address = listener.local_addr().expect("bound");
    tasks.spawn(async move {
        let Ok((mut first, _)) = listener.accept().await else { return };
        let _ = first.write_all(&telegram[..telegram.len() / 2]).await;
        drop(first);
        let Ok((mut next, _)) = listener.accept().await else { return };
        let mut pace = tokio::time::interval(Duration::from_millis(5));
        loop {
            for piece in b"\x00\x1b! rubbish".chunks(3).chain(telegram.chunks(97)) {
                pace.tick().await;
                if next.write_all(piece).await.is_err() {
                    return;
                }
            }
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn meters_that_speak_by_themselves_are_heard_over_tcp() {
    let vectors = vectors(Transport::is_telegrams);
    assert_eq!(vectors.len(), 2);
    let mut tasks = JoinSet::new();
    for vector in vectors {
        let (map, case) = &vector;
        let telegram = case.telegram().expect("sound").expect("a telegram");
        let host = speaking_meter(telegram, &mut tasks).await;
        let (_folder, config) = household(&[(map.id.clone(), format!("host = \"{host}\"\n"))]);
        let checks =
            check_devices(&config, Clock::from_config(None), Duration::from_secs(30)).await;
        let checks = checks.expect("checked");
        assert_eq!(checks[0].problems, [""; 0]);
        let problems = differences(&[vector], &checks);
        assert!(problems.is_empty(), "\n{}", problems.join("\n"));
    }
}

fn program(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_meter-agent"))
        .args(arguments)
        .output()
        .expect("the program starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_person_finds_checks_and_writes_maps() {
    let output = program(&["map", "list", "--json"]);
    let maps: Vec<Value> = serde_json::from_slice(&output.stdout).expect("JSON");
    assert!(maps.len() > 55, "{}", maps.len());
    let sma = maps.iter().find(|map| map["id"] == "sma-meter").expect("there");
    assert_eq!(sma["status"], "cross-checked");
    assert_eq!(sma["unverified"], serde_json::json!(["voltage_l1", "voltage_l2", "voltage_l3"]));
    let table = text(&program(&["map", "list"]).stdout);
    assert!(
        table.contains("keba-wh                    unverified    modbus    charger"),
        "{table}"
    );

    let shown = text(&program(&["map", "show", "goodwe-et-battery"]).stdout);
    assert!(shown.contains("unchecked   all of it"), "{shown}");
    assert!(shown.contains("request     function 3, 35182 to 35183"), "{shown}");
    assert_eq!(program(&["map", "show", "no-such-map"]).status.code(), Some(3));

    let output = program(&["map", "test"]);
    assert!(output.status.success(), "{}", text(&output.stdout));
    assert!(text(&output.stdout).contains(" 0 wrong"), "{}", text(&output.stdout));

    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("own.toml");
    let own = file.to_str().expect("plain");
    assert!(
        program(&["map", "new", "--from", "victron-gx-battery", "--out", own]).status.success()
    );
    let again = program(&["map", "new", "--from", "victron-gx-battery", "--out", own]);
    assert!(!again.status.success() && text(&again.stderr).contains("nothing was overwritten"));
    assert!(program(&["map", "lint", own]).status.success());
    let untested = program(&["map", "test", own]);
    assert!(text(&untested.stderr).contains("golden vectors"), "{}", text(&untested.stderr));
    let golden = folder.path().join("golden");
    std::fs::create_dir(&golden).expect("a folder");
    let vectors = |power: &str| {
        let power = format!(
            "[[case]]\nmaps = [\"my-victron-gx-meter\"]\nsays = \"x\"\n[[case.registers]]\n\
             function = 3\nset = [\"820: fff6\"]\n[case.reads]\npower = {power}\n\
             power_l1 = -10_000\npower_l2 = 0\npower_l3 = 0\n"
        );
        std::fs::write(golden.join("own.toml"), power).expect("written");
        let output = program(&["map", "test", own]);
        (output.status.code(), text(&output.stdout))
    };
    let (code, told) = vectors("-10_000");
    assert_eq!(code, Some(5), "{told}");
    assert!(told.contains("1 golden vectors, 3 wrong"), "three maps have none: {told}");
    let (_, told) = vectors("1");
    assert!(told.contains("power should be 1 but is -10000"), "{told}");

    std::fs::write(&file, std::fs::read_to_string(&file).expect("there").replace("842", "99999"))
        .expect("written");
    let output = program(&["map", "lint", own, "--json"]);
    assert_eq!(output.status.code(), Some(3));
    let told: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert!(told[0]["problems"][0].as_str().expect("words").contains("99999"), "{told}");
}

/// The Alliance's model files, smllib and dsmr-parser say the same as the maps and their vectors.
#[test]
fn independent_programs_agree_with_the_maps() {
    let Some(python) = std::env::var_os("STREETWATT_PYTHON") else {
        println!(
            "skipped: STREETWATT_PYTHON names no Python with pysunspec2, smllib and dsmr-parser"
        );
        return;
    };
    let root = env!("CARGO_MANIFEST_DIR");
    let output = Command::new(python)
        .args([format!("{root}/tests/python/judge.py"), format!("{root}/devices")])
        .output()
        .expect("STREETWATT_PYTHON can be started");
    let told = text(&output.stdout);
    assert!(output.status.success(), "{told}{}", text(&output.stderr));
    assert!(told.contains("sunspec: ") && told.contains("dsmr: "), "{told}");
}

/// The table in the documents is made of the maps.
#[test]
fn the_documents_list_every_map() {
    use std::fmt::Write;
    let mut table =
        String::from("| Map | For | Through | Status | What it is |\n|---|---|---|---|---|\n");
    for map in library().all().expect("sound").values() {
        let purpose = map.purpose.map_or("any".to_owned(), |purpose| purpose.to_string());
        let DeviceMap { id, transport, status, name, .. } = map;
        writeln!(table, "| `{id}` | {purpose} | {transport} | {status} | {name} |")
            .expect("memory");
    }
    table += "\n### What nobody has checked yet\n\n";
    for map in library().all().expect("sound").values() {
        let unverified = map.unverified();
        if map.status != Status::Unverified && !unverified.is_empty() {
            writeln!(table, "- `{}`: {}", map.id, unverified.join(", ")).expect("memory");
        }
    }
    table += "\n### Sources\n\n";
    for file in built_in_files() {
        let maps = file.maps().expect("sound");
        writeln!(table, "- `{}.toml`: {}", file.name, maps[0].sources.join("; ")).expect("memory");
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/devices.md");
    let page = std::fs::read_to_string(&path).expect("the page");
    let (begin, end) = ("<!-- maps: begin -->\n", "<!-- maps: end -->");
    let (before, rest) = page.split_once(begin).expect("its mark");
    let (found, after) = rest.split_once(end).expect("its mark");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, format!("{before}{begin}{table}{end}{after}")).expect("written");
        return;
    }
    assert!(
        found == table,
        "docs/devices.md is behind: UPDATE_GOLDEN=1 cargo test -p meter-agent documents"
    );
}

const GOOD: &str = r#"
id = "my-meter"
name = "My meter"
transport = "modbus"
status = "unverified"
sources = ["a drawer"]
registration = "net"
[modbus]
function = 4
[[block]]
address = 10
count = 6
[[block.field]]
key = "power"
at = 10
type = "int32"
order = "CDAB"
unit = "W"
positive_means = "import"
[[block.field]]
key = "energy_import"
at = 12
type = "uint32"
unit = "Wh"
rolls_over_bits = 32
counter = { resolution_mwh = 1_000, reset = "never" }
[[block.field]]
key = "energy_export"
at = 14
type = "uint32"
unit = "Wh"
counter = { resolution_mwh = 1_000, reset = "never" }
"#;

#[test]
fn a_users_map_comes_before_the_built_in_ones_and_is_checked() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("my.toml");
    std::fs::write(&file, GOOD).expect("written");
    std::fs::write(folder.path().join("readme.txt"), "not a map").expect("written");
    let library = Library::load(Some(folder.path())).expect("sound");
    assert_eq!(library.find("my-meter").expect("there").name, "My meter");
    let unknown = library.find("no-meter").expect_err("unknown").to_string();
    assert!(unknown.contains("my-meter") && unknown.contains("shelly-gen2"), "{unknown}");

    for (find, put, expected) in [
        ("function = 4", "function = 16", "not a reading one"),
        ("count = 6", "count = 5", "outside the block"),
        ("count = 6", "count = 126", "count must be"),
        ("address = 10\n", "address = 65535\n", "past register 65535"),
        ("at = 12", "at = 11", "overlap"),
        ("positive_means = \"import\"", "", "power needs positive_means"),
        ("unit = \"W\"\n", "unit = \"V\"\n", "unit does not fit power"),
        ("key = \"energy_export\"", "key = \"energy_import\"", "is there twice"),
        ("rolls_over_bits = 32", "rolls_over_bits = 64", "rolls_over_bits"),
        ("rolls_over_bits = 32", "scale_at = 99", "must be read together"),
        ("sources = [\"a drawer\"]", "sources = []", "sources is empty"),
        ("id = \"my-meter\"", "", "either an id or"),
        ("status = \"unverified\"", "status = \"perfect\"", "unknown variant"),
        ("[modbus]", "[modbus]\ncolour = 3", "unknown field"),
        ("key = \"power\"", "key = \"Power\"", "small letters"),
        ("key = \"power\"", "key = \"powr\"", "powr is no quantity"),
        ("address = 10\ncount = 6", "address = 10", "leave both to the planner"),
        ("at = 12\ntype", "at = 65_535\ntype", "past register 65535"),
        ("type = \"int32\"", "type = \"float32\"\nsentinels = [3]", "needs no sentinels"),
        ("resolution_mwh = 1_000, ", "", "needs resolution_mwh"),
        ("counter = { resolution_mwh = 1_000, reset = \"never\" }", "", "energy needs counter"),
        ("registration = \"net\"", "", "registration is missing"),
        ("[modbus]", "[modbus]\nno_read = [{ from = 11, to = 11 }]", "crosses no_read 11 to 11"),
        ("[modbus]", "[modbus]\naddress_base = 30_001", "below address_base"),
        ("count = 6", "count = 6\nfunction = 6", "not a reading one"),
        ("unit = \"W\"\n", "unit = \"W\"\nstates = { 1 = \"off\" }\n", "go with unit state"),
    ] {
        assert!(GOOD.contains(find), "{find}");
        std::fs::write(&file, GOOD.replacen(find, put, 1)).expect("written");
        let error: LibraryError = Library::load(Some(folder.path())).expect_err(put);
        let text = error.to_string();
        assert!(text.contains(expected) && text.contains("my.toml"), "{put:?}: {text}");
    }
}

/// Documents number input registers from 30001; a file has to say so, or that it does not.
#[test]
fn reference_numbers_are_only_taken_knowingly() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("my.toml");
    let numbered = GOOD.replace("address = 10\ncount = 6", "").replace("at = 1", "at = 3001");
    std::fs::write(&file, &numbered).expect("written");
    let text = Library::load(Some(folder.path())).expect_err("ambiguous").to_string();
    assert!(text.contains("looks like a reference number"), "{text}");
    for (base, first) in [(0, 30_010), (1, 30_009), (30_001, 9)] {
        let said = numbered.replace("[modbus]", &format!("[modbus]\naddress_base = {base}"));
        std::fs::write(&file, said).expect("written");
        let map = Library::load(Some(folder.path())).expect("sound").find("my-meter");
        let reads = plan(&map.expect("there"));
        let asked: Vec<Span> = reads.iter().flat_map(Read::requests).collect();
        assert_eq!(asked, [Span { address: first, count: 6 }], "base {base}");
    }
}
