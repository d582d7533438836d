//! The program as a person uses it.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use crate::support::device::{Device, meter_203, sunspec};

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

/// Adds a meter and an inverter behind a host to a configuration that has no devices.
fn put_devices(config: &Path, host: &str) {
    let text = std::fs::read_to_string(config).expect("there");
    let devices = crate::support::DEVICES.replace("127.0.0.1:5020", host);
    std::fs::write(config, text + &devices).expect("written");
}

fn path(path: &Path) -> &str {
    path.to_str().expect("plain")
}

#[test]
fn init_writes_a_configuration_that_check_accepts_and_overwrites_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path().join("home");
    let output = program(&[
        "init",
        "--dir",
        path(&dir),
        "--community",
        "my-street",
        "--point",
        "P7",
        "--broker",
        "mqtt://192.0.2.1:1883",
        "--json",
    ]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let answer: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let key = answer["public_key"].as_str().expect("a key").to_owned();
    assert_eq!(key.len(), 64);
    let config = dir.join("agent.toml");
    let written = std::fs::read_to_string(&config).expect("there");
    assert!(written.contains("community = \"my-street\"") && written.contains("point = \"P7\""));
    assert!(written.contains("url = \"mqtt://192.0.2.1:1883\""));

    let output = program(&["check", "--config", path(&config)]);
    assert_eq!(output.status.code(), Some(3));
    let told = text(&output.stderr);
    assert!(told.contains("meter-agent assign --config FILE --role meter"), "{told}");
    put_devices(&config, "127.0.0.1:5020");
    let output = program(&["check", "--config", path(&config)]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains(&key));

    let again = program(&["init", "--dir", path(&dir)]);
    assert_eq!(again.status.code(), Some(3));
    assert!(text(&again.stderr).contains("nothing was overwritten"));
    let kept = std::fs::read_to_string(&config).expect("there");
    assert!(kept.starts_with(&written), "only devices were added");
}

#[test]
fn a_new_key_is_printed_once_and_only_its_public_half() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("k");
    let output = program(&["key", "new", "--out", path(&file), "--json"]);
    let answer: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let key = meter_agent::key_file::load(&file).expect("a key");
    assert_eq!(answer["public_key"], key.public_hex());
    let again = program(&["key", "new", "--out", path(&file)]);
    assert_eq!(again.status.code(), Some(3));
    assert!(text(&again.stderr).contains("never overwritten"));
}

#[test]
fn mistakes_have_their_exit_codes() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("agent.toml");
    assert_eq!(program(&["fly"]).status.code(), Some(2));
    for command in [&["check"][..], &["run"], &["check", "--live"]] {
        let output = program(&[command, &["--config", path(&file)]].concat());
        assert_eq!(output.status.code(), Some(3), "{command:?}: {}", text(&output.stderr));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_live_check_shows_what_the_devices_say() {
    let device = Device::start().await;
    device.put(2, 3, 40_000, &sunspec(&[(1, &[0; 66]), (203, &meter_203(1_234_567, 89, -321))]));
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path().join("home");
    assert!(program(&["init", "--dir", path(&dir)]).status.success());
    let file = dir.join("agent.toml");
    put_devices(&file, &device.host());
    let arguments = ["check", "--live", "--config", path(&file)].map(str::to_owned);

    // The meter answers, the inverter's unit does not exist: the table shows both, the code says no.
    let run = move |extra: Option<&'static str>| {
        let arguments = arguments.clone();
        tokio::task::spawn_blocking(move || {
            let mut arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            arguments.extend(extra);
            program(&arguments)
        })
    };
    let output = run(None).await.expect("ran");
    let table = text(&output.stdout);
    assert_eq!(output.status.code(), Some(4), "{table}{}", text(&output.stderr));
    assert!(table.contains("1234.567000 kWh") && table.contains("-321.000 W"), "{table}");
    assert!(table.contains("cannot be used: unit 1: no SunSpec marker"), "{table}");

    let inverter =
        crate::support::device::model(50, &[(14, 500), (15, 0), (24, 0), (25, 9), (26, 0)]);
    device.put(1, 3, 40_000, &sunspec(&[(103, &inverter)]));
    let output = run(Some("--json")).await.expect("ran");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stdout));
    let answer: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(answer["devices"][1]["role"], "pv");
    assert_eq!(answer["devices"][1]["problems"], serde_json::json!([]));
}

/// Runs the agent with its log in a file until it says that it is ready.
fn log_of_a_start(config: &Path, log: &Path) -> String {
    let file = std::fs::File::create(log).expect("a log");
    let mut child = Command::new(env!("CARGO_BIN_EXE_meter-agent"))
        .args(["run", "--config", path(config)])
        .env("RUST_LOG", "info")
        .stderr(file)
        .spawn()
        .expect("the program starts");
    let started = clock::stopwatch();
    let said = || std::fs::read_to_string(log).expect("a log");
    while !said().contains("ready") && started.elapsed().as_secs() < 20 {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    child.kill().expect("it runs");
    child.wait().expect("a child");
    said()
}

#[test]
fn a_log_in_a_file_has_no_colours() {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path().join("home");
    assert!(program(&["init", "--dir", path(&dir)]).status.success());
    put_devices(&dir.join("agent.toml"), "127.0.0.1:5020");
    let log = log_of_a_start(&dir.join("agent.toml"), &folder.path().join("log"));
    assert!(log.contains("INFO") && log.contains("ready") && !log.contains('\u{1b}'), "{log}");
}

#[test]
fn shells_and_man_know_every_command() {
    let help = text(&program(&["--help"]).stdout);
    let (_, commands) = help.split_once("Commands:\n").expect("a list of commands");
    let commands: Vec<&str> = commands
        .lines()
        .take_while(|line| !line.is_empty())
        // What is told of a command may take lines of its own, further in.
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|command| *command != "help")
        .collect();
    assert!(commands.contains(&"run"), "{help}");
    let folder = tempfile::tempdir().expect("a folder");
    let pages = folder.path().join("man");
    let output = program(&["man", "--out", path(&pages)]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let main = std::fs::read_to_string(pages.join("meter-agent.1")).expect("the first page");
    assert!(main.contains("Exit codes"), "the page tells the exit codes");
    assert_eq!(main, text(&program(&["man"]).stdout));
    for command in &commands {
        let page = std::fs::read_to_string(pages.join(format!("meter-agent-{command}.1")));
        assert!(page.is_ok_and(|page| page.contains(".TH")), "{command}");
    }
    for shell in ["bash", "zsh", "fish"] {
        let output = program(&["completions", shell]);
        assert!(output.status.success(), "{}", text(&output.stderr));
        let script = text(&output.stdout);
        for command in &commands {
            assert!(script.contains(command), "{shell}: {command}");
        }
    }
}

#[test]
fn counters_are_shown_from_the_journal_and_a_jump_is_confirmed_by_a_word() {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path().join("home");
    let init = ["init", "--dir", path(&dir), "--community", "street", "--point", "C001"];
    let output = program(&[&init[..], &["--broker", "mqtt://192.0.2.1:1883"]].concat());
    assert!(output.status.success(), "{}", text(&output.stderr));
    let file = dir.join("agent.toml");
    put_devices(&file, "127.0.0.1:5020");
    let counters = |more: &[&str]| {
        let output = program(&[&["counters", "--config", path(&file)], more].concat());
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout)
    };
    assert!(counters(&[]).contains("no reading yet"));

    let config = meter_agent::Config::load(&file).expect("valid");
    let mut entry = crate::journal::entry(1, protocol::B256::ZERO, 10);
    let counter = entry.counters.get_mut("import").expect("there");
    (counter.total_mwh, counter.aside_mwh) = (12_345_000, 499_000_000);
    let domain = protocol::Domain::new(config.community.clone());
    let (mut journal, _) =
        meter_agent::journal::Journal::open(&config.data_dir, &domain, 1).expect("new");
    journal.append(&entry).expect("durable");
    // The journal stays open, as by a running agent.
    let shown = counters(&[]);
    assert!(shown.contains("import: 12.345 kWh") && shown.contains("499.000 kWh put aside"));
    assert!(shown.contains("--confirm"), "{shown}");
    let word = config.data_dir.join(meter_agent::CONFIRMATION);
    assert!(!word.exists(), "looking says nothing");
    let answer: Value = serde_json::from_str(&counters(&["--confirm", "--json"])).expect("JSON");
    assert_eq!(
        (&answer["confirmed"], &answer["counters"][0]["aside_mwh"]),
        (&Value::Bool(true), &Value::from(499_000_000))
    );
    assert!(word.exists());
}
