//! Configurations: the example works, and mistakes are named.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use clock::Clock;
use meter_agent::config::Role;
use meter_agent::core::policy::Style;
use meter_agent::{Agent, AgentError, Config, DiskError, key_file};

use crate::support::{DEVICES, HOUSEHOLD as EXAMPLE};

fn load(text: &str) -> Result<Config, meter_agent::ConfigError> {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("agent.toml");
    std::fs::write(&file, text).expect("written");
    Config::load(&file)
}

#[test]
fn the_example_is_a_configuration() {
    let config = load(EXAMPLE).expect("the example is right");
    assert_eq!(config.point.as_str(), "C001");
    assert_eq!(config.devices[0].role, Role::Meter);
    assert!(config.data_dir.is_absolute() && config.data_dir.ends_with("data"));
    assert_eq!(config.key_file(), config.data_dir.join("household.key"));
    let wishes = config.bidding.wishes().expect("right");
    assert_eq!((wishes.style, wishes.insist_ppm), (Style::Ladder, 100_000));
}

#[test]
fn what_the_example_says_in_comments_works_too() {
    let mut text = String::new();
    for line in EXAMPLE.lines() {
        let is_setting = line.strip_prefix("# ").filter(|rest| {
            [
                "edge_grace_s",
                "clock_status",
                "file =",
                "username",
                "password_file",
                "[clock]",
                "anchor_",
                "speed",
                "latitude",
                "longitude",
                "[bidding.",
                "capacity_kwh",
                "charge_kw",
                "discharge_kw",
                "efficiency_",
                "wear_ct",
                "keep =",
                "ready =",
                "[home_assistant]",
                "broker =",
                "interval_s",
                "discovery =",
                "[metrics]",
                "[proxy]",
                "listen =",
            ]
            .iter()
            .any(|key| rest.starts_with(key))
        });
        text.push_str(is_setting.unwrap_or(line));
        text.push('\n');
    }
    let config = load(&text).expect("right");
    assert_eq!(config.edge_grace_s, Some(60));
    assert!(config.clock.is_some());
    let words = config.bidding.in_words(false).expect("right").join("\n");
    for said in ["keep 30 % from 0:00 until 22:00 every day", "the car is full by 7:00 on weekdays"]
    {
        assert!(words.contains(said), "{words}");
    }
    assert_eq!(config.mqtt.username.as_deref(), Some("C001"));
}

#[test]
fn the_devices_in_the_examples_comments_are_devices() {
    let example = include_str!("../../example.toml");
    let blocks: Vec<&str> = example.split("# [[device]]\n").skip(1).collect();
    assert_eq!(blocks.len(), 4);
    for block in blocks {
        let lines = block.lines().take_while(|line| line.trim() != "#");
        let settings = lines.filter_map(|line| line.strip_prefix("# "));
        let settings = settings.filter(|line| line.contains(" = ")).map(|line| format!("{line}\n"));
        let text = format!("{example}\n[[device]]\n{}", settings.collect::<String>());
        let config = Config::parse(&text, "example").expect(&text);
        assert_eq!(config.devices.len(), 1);
        config.check_each_device().expect(&text);
    }
}

#[test]
fn a_configuration_without_a_device_or_a_meter_says_how_to_find_one() {
    let example = include_str!("../../example.toml");
    let without = load(example).expect_err("no device").to_string();
    let roof = EXAMPLE.replace("role = \"meter\"", "role = \"pv\"");
    let no_meter = load(&roof).expect_err("no meter").to_string();
    for error in [without, no_meter] {
        assert!(error.contains("meter-agent assign --config FILE --role meter"), "{error}");
    }
}

#[test]
fn a_configuration_survives_being_written() {
    let config = Config::parse(EXAMPLE, "example").expect("right");
    assert_eq!(Config::parse(&config.to_toml(), "copy").expect("right"), config);
}

#[test]
fn mistakes_are_named() {
    for (find, put, expected) in [
        ("point = \"C001\"", "point = \"C 001\"", "metering point id"),
        ("operator = \"0x19", "operator = \"0x", "operator"),
        ("epoch = 1", "epoch = 0", "epoch: 0 is not between 1"),
        ("epoch = 1", "colour = 1", "unknown field `colour`"),
        ("poll_interval_ms = 1000", "poll_interval_ms = 5", "poll_interval_ms: 5"),
        ("connection_w = 43500", "connection_w = -1", "connection_w"),
        (
            "insist_percent = 10",
            "insist_percent = 101",
            "bidding.insist_percent: 101 is not between",
        ),
        ("insist_percent = 10", "insist_percent = nan", "bidding.insist_percent"),
        ("policy = \"ladder\"", "policy = \"oracle\"", "unknown variant `oracle`"),
        ("policy = \"ladder\"", "policy = \"battery\"", "needs a [bidding.battery]"),
        ("time_zone = \"Europe/Berlin\"", "time_zone = \"Berlin\"", "\"Berlin\" is no time zone"),
        ("policy = \"ladder\"", "latitude = 48.1", "latitude and longitude belong together"),
        (
            "\n[[device]]",
            "[bidding.battery]\ncapacity_kwh = 10\ncharge_kw = 5\ndischarge_kw = 5\n\
             keep = [\"30 % unless it rains\"]\n[[device]]",
            "bidding.battery.keep: \"30 % unless it rains\": \"unless\" is not understood; write for example",
        ),
        (
            "\n[[device]]",
            "[bidding.car]\ncapacity_kwh = 10\ncharge_kw = 11\nready = [\"soon\"]\n[[device]]",
            "bidding.car.ready: \"soon\": found \"soon\" where",
        ),
        ("mqtt://127.0.0.1:1883", "http://127.0.0.1", "mqtt.url"),
        (
            "name = \"grid\"\nrole = \"meter\"",
            "name = \"grid\"\nrole = \"pv\"",
            "0 devices have role",
        ),
        ("role = \"pv\"", "role = \"meter\"", "2 devices have role"),
        ("name = \"roof\"", "name = \"grid\"", "the name is there twice"),
        ("name = \"roof\"", "name = \"the roof\"", "letters, digits"),
        (
            "sunspec-meter-203\"\nhost",
            "sunspec-meter-999\"\nhost",
            "no device map \"sunspec-meter-999\"",
        ),
        ("host = \"127.0.0.1:5020\"\nunit = 2", "host = \"127.0.0.1\"\nunit = 2", "address:port"),
        ("unit = 2", "", "needs unit, and host"),
        ("unit = 2", "unit = 300", "unit"),
        ("unit = 2", "unit = 2\nmqtt = { topic = \"x\" }", "is for Modbus"),
        ("unit = 2", "unit = 2\npositive_means = \"charge\"", "positive_means"),
        ("unit = 1", "unit = 1\nno_export = true", "no_export belongs to the meter"),
        (
            "map = \"sunspec-meter-203\"",
            "map = \"sunspec-meter-203\"\nintegrate_power = true",
            "reads them: they lose nothing",
        ),
        ("map = \"sunspec-meter-203\"", "map = \"tasmota\"", "needs mqtt"),
    ] {
        check_mistake(find, put, expected);
    }
    let missing = Config::load(Path::new("/nowhere/agent.toml")).expect_err("missing").to_string();
    assert!(missing.contains("/nowhere/agent.toml"), "{missing}");
}

/// The example with a part exchanged is refused, and the refusal says what is wrong.
fn check_mistake(find: &str, put: &str, expected: &str) {
    assert!(EXAMPLE.contains(find), "{find}");
    // Its comments show devices, too.
    let from = if DEVICES.contains(find) { EXAMPLE.len() - DEVICES.len() } else { 0 };
    let changed = EXAMPLE[from..].replacen(find, put, 1);
    let error = load(&format!("{}{changed}", &EXAMPLE[..from])).expect_err(put).to_string();
    assert!(error.contains(expected), "{put:?}: {error}");
}

#[test]
fn mistakes_about_brokers_and_outlets_are_named() {
    for (find, put, expected) in [
        ("# username = \"C001\"", "tls = {}", "write mqtts:// instead of mqtt://"),
        (
            "url = \"mqtt://127.0.0.1:1883\"",
            "url = \"mqtts://h\"\ntls = { cert_file = \"C001.crt\" }",
            "mqtt.tls: tls.cert_file and tls.key_file belong together",
        ),
        ("# [metrics]", "[metrics]\nlisten = \"here\"\n#", "invalid socket address"),
        (
            "# [home_assistant]",
            "[home_assistant]\ninterval_s = 0\nbroker = { url = \"mqtt://h\" }\n#",
            "home_assistant.interval_s: 0 is not between 1 and 300",
        ),
        (
            "# [home_assistant]",
            "[home_assistant]\ntopic = \"a/#\"\nbroker = { url = \"mqtt://h\" }\n#",
            "home_assistant.topic",
        ),
    ] {
        check_mistake(find, put, expected);
    }
}

#[test]
fn keys_are_kept_to_their_owner() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("household.key");
    let missing = key_file::load(&file).expect_err("missing").to_string();
    assert!(missing.contains("meter-agent key new --out"), "{missing}");
    let key = key_file::create(&file).expect("made");
    assert_eq!(key_file::load(&file).expect("read").public_hex(), key.public_hex());
    assert_eq!(std::fs::metadata(&file).expect("there").permissions().mode() & 0o777, 0o600);
    assert!(key_file::create(&file).expect_err("there").to_string().contains("never overwritten"));

    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).expect("set");
    let open = key_file::load(&file).expect_err("open").to_string();
    assert!(
        open.contains("0640") && open.contains(&format!("chmod 600 {}", file.display())),
        "{open}"
    );
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).expect("set");
    std::fs::write(&file, "not a key").expect("written");
    assert!(key_file::load(&file).expect_err("garbage").to_string().contains("64 hexadecimal"));
}

#[tokio::test]
async fn two_agents_never_share_a_folder_and_a_lost_journal_is_noticed() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut config = Config::parse(EXAMPLE, "example").expect("right");
    config.data_dir = folder.path().to_owned();
    key_file::create(&config.key_file()).expect("made");
    let agent = Agent::open(&config, Clock::system()).expect("opens");
    let second = Agent::open(&config, Clock::system()).err().expect("refused");
    assert!(matches!(second, AgentError::Disk(DiskError::InUse { .. })), "{second}");
    drop(agent);
    drop(Agent::open(&config, Clock::system()).expect("free again"));

    let state = folder.path().join("state.json");
    std::fs::write(&state, "{").expect("written");
    let damaged = Agent::open(&config, Clock::system()).err().expect("refused").to_string();
    assert!(damaged.contains("state.json") && damaged.contains("Move it away"), "{damaged}");
}
