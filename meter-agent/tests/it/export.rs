//! What the journal becomes for others: a table, and OCMF records that independent verifiers accept.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use meter_agent::config::Config;
use meter_agent::journal::{self, Journal};
use serde_json::Value;

use crate::agent::config;
use crate::support::broker::Cable;
use crate::support::operator::domain;
use crate::support::world::World;

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/ocmf.txt");
const JUDGES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/judges");
const SLOTS: i64 = 9;

/// A household whose agent is just writing its tenth reading but one.
struct Home {
    config: PathBuf,
    data_dir: PathBuf,
    _journal: Journal,
    _folder: tempfile::TempDir,
}

async fn home() -> Home {
    let folder = tempfile::tempdir().expect("a folder");
    let cable = Cable::to(([127, 0, 0, 1], 1).into()).await;
    let community = domain().community().to_string();
    let config: Config = config(folder.path(), "127.0.0.1:502", &cable, &community);
    let file = folder.path().join("agent.toml");
    std::fs::write(&file, config.to_toml()).expect("written");
    let key = folder.path().join("ocmf-1.key");
    std::fs::write(&key, "07".repeat(32)).expect("written");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).expect("set");

    let mut world = World::new();
    world.honest_run(SLOTS);
    // One edge is missed: the next reading bridges two slots.
    let last = world.journal.last().expect("read").reading.body.slot;
    world.edge_after_gap(units::Slot::new(last).offset(2), 500, 30);
    let (mut journal, _) = Journal::open(folder.path(), &domain(), 1).expect("opens");
    for entry in &world.journal {
        journal.append(entry).expect("appended");
    }
    let path = folder.path().join("readings-1.journal");
    let mut file_end = std::fs::OpenOptions::new().append(true).open(path).expect("there");
    file_end.write_all(&[200, 1, 0, 0, 9, 9, 9, 9, b'{']).expect("written");
    Home { config: file, data_dir: folder.path().to_owned(), _journal: journal, _folder: folder }
}

fn export(home: &Home, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_meter-agent"))
        .arg("export")
        .args(arguments)
        .arg("--config")
        .arg(&home.config)
        .output()
        .expect("the program starts")
}

fn printed(home: &Home, arguments: &[&str]) -> String {
    let output = export(home, arguments);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {said}");
    String::from_utf8(output.stdout).expect("text")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_table_says_what_flowed_and_makes_nothing_up() {
    let home = home().await;
    let table = printed(&home, &["csv"]);
    let mut lines = table.lines();
    let head: Vec<&str> = lines.next().expect("a head").split(',').collect();
    let rows: Vec<Vec<&str>> = lines.map(|line| line.split(',').collect()).collect();
    let column = |name: &str| head.iter().position(|head| *head == name).expect("a column");
    let cell = |row: &Vec<&'static str>, name: &str| row[column(name)];
    let rows: Vec<Vec<&'static str>> = rows
        .into_iter()
        .map(|row| row.into_iter().map(|field| &*field.to_owned().leak()).collect())
        .collect();
    assert_eq!(rows.len(), usize::try_from(SLOTS).expect("few") + 2);
    // Nothing is known before the first reading.
    assert_eq!((cell(&rows[0], "from"), cell(&rows[0], "import_wh")), ("", ""));
    for pair in rows.windows(2) {
        assert_eq!(cell(&pair[0], "to"), cell(&pair[1], "from"));
        let register = |row| cell(row, "import_register_wh").parse::<i64>().expect("a register");
        let flowed: i64 = cell(&pair[1], "import_wh").parse().expect("known");
        assert_eq!(register(&pair[1]) - register(&pair[0]), flowed);
    }
    let bridged = rows.last().expect("rows");
    assert_eq!((cell(bridged, "slots"), cell(bridged, "quality")), ("2", "bridged"));
    assert_eq!((cell(bridged, "import_wh"), cell(bridged, "export_wh")), ("500", "30"));

    // A part of it, with the reading before it to count from.
    let part = printed(&home, &["csv", "--from", "2016-01-01T00:30Z", "--to", "2016-01-01T00:45Z"]);
    let part: Vec<&str> = part.lines().skip(1).collect();
    assert_eq!(part.len(), 2);
    assert!(
        part[0].starts_with("2016-01-01T00:30:00.000Z,2016-01-01T00:45:00.000Z,1,"),
        "{part:?}"
    );
    let json: Value = serde_json::from_str(&printed(&home, &["csv", "--json"])).expect("JSON");
    assert_eq!(json.as_array().map(Vec::len), Some(rows.len()));
    assert!(json[0]["import_wh"].is_null());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_are_the_same_every_time_and_independent_verifiers_accept_them() {
    let home = home().await;
    let records = printed(&home, &["ocmf", "--meter-serial", "1EMH0012345678"]);
    assert_eq!(records, printed(&home, &["ocmf", "--meter-serial", "1EMH0012345678"]));
    let key = printed(&home, &["ocmf-key"]).trim().to_owned();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(GOLDEN, format!("{key}\n{records}")).expect("written");
    }
    let golden =
        std::fs::read_to_string(GOLDEN).expect("tests/golden/ocmf.txt; UPDATE_GOLDEN=1 makes it");
    assert_eq!(
        format!("{key}\n{records}"),
        golden,
        "the records changed: UPDATE_GOLDEN=1 if that is right"
    );
    judge_by_node(&key, &records);
    judge_by_python(&key, &records);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mistakes_are_said_and_nothing_is_overwritten() {
    let home = home().await;
    let refused = |arguments: &[&str], word: &str| {
        let output = export(&home, arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{arguments:?}: {said}");
        assert!(said.contains(word), "{arguments:?}: {said}");
    };
    refused(&["csv", "--from", "yesterday"], "--from: \"yesterday\" is no slot");
    refused(&["ocmf", "--to", "2016-02-30"], "--to");
    refused(&["csv", "--epoch", "9"], "there are no readings");
    let out = home.data_dir.join("out.csv");
    let out = out.to_str().expect("text");
    printed(&home, &["csv", "--out", out]);
    refused(&["csv", "--out", out], "cannot write");
    // Somebody else could read the key.
    let key = home.data_dir.join("ocmf-1.key");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).expect("set");
    refused(&["ocmf"], "chmod 600");
    // A new key is made when there is none, and kept.
    std::fs::remove_file(&key).expect("there");
    let made = printed(&home, &["ocmf-key"]);
    assert_eq!(made, printed(&home, &["ocmf-key"]));
    // Damage is named, not skipped.
    let journal = home.data_dir.join("readings-1.journal");
    let mut bytes = std::fs::read(&journal).expect("there");
    bytes[400] ^= 1;
    std::fs::write(&journal, bytes).expect("written");
    refused(&["csv"], "damaged");
    assert_eq!(journal::epochs(&home.data_dir).expect("a folder"), [1]);
}

/// Asks a program about the records; its standard output.
fn judge(program: &Path, arguments: &[&str], records: &str) -> String {
    let mut judge = Command::new(program)
        .args(arguments)
        .current_dir(JUDGES)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the judge can be started");
    judge.stdin.take().expect("piped").write_all(records.as_bytes()).expect("it listens");
    let judged = judge.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&judged.stderr);
    assert!(judged.status.success(), "{arguments:?}: {said}");
    String::from_utf8(judged.stdout).expect("text")
}

/// Records with one more Wh, and with a blank that changes no meaning.
fn tampered(records: &str) -> [String; 2] {
    let record = records.lines().next().expect("a record");
    [record.replacen("\"RV\":10", "\"RV\":11", 1), record.replacen("\"RD\":", "\"RD\": ", 1)].map(
        |changed| {
            assert_ne!(changed, record);
            changed + "\n"
        },
    )
}

fn judge_by_node(key: &str, records: &str) {
    if std::env::var_os("STREETWATT_NODE").is_none() {
        println!("skipped: STREETWATT_NODE says that Node and tests/judges/node_modules are there");
        return;
    }
    let verdicts = |records: &str| -> Vec<Value> {
        let said = judge(Path::new("node"), &["ocmf.mjs", key], records);
        said.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    };
    let found = verdicts(records);
    assert_eq!(found.len(), records.lines().count());
    for (index, verdict) in found.iter().enumerate() {
        assert_eq!(verdict["verified"], true, "{verdict}");
        assert_eq!(verdict["payload"]["PG"], format!("F{}", index + 1));
        let registers = verdict["payload"]["RD"].as_array().expect("two registers");
        assert_eq!(registers[0]["RI"], "01-00:01.08.00*FF");
        assert_eq!(registers[1]["RI"], "01-00:02.08.00*FF");
    }
    for changed in tampered(records) {
        assert_eq!(verdicts(&changed)[0]["verified"], false, "{changed}");
    }
}

fn judge_by_python(key: &str, records: &str) {
    // It misses the user's identification, which the format leaves out where there is no transaction,
    // and finds nothing else to remark.
    const JUDGE: &str = r"
import sys, warnings
from pyocmf import OCMF
for line in sys.stdin:
    with warnings.catch_warnings(record=True) as remarks:
        warnings.simplefilter('always')
        record = OCMF.from_string(line)
    remarks = {str(remark.message) for remark in remarks}
    assert remarks <= {'Identification Status (IS) is mandatory'}, remarks
    print(record.verify_signature(sys.argv[1]), record.payload.PG, len(record.payload.RD))
";
    let Some(python) = std::env::var_os("STREETWATT_PYTHON") else {
        println!("skipped: STREETWATT_PYTHON names no Python with pyocmf");
        return;
    };
    let verdicts = |records: &str| judge(Path::new(&python), &["-c", JUDGE, key], records);
    let expected: String =
        (1..=records.lines().count()).map(|page| format!("True F{page} 2\n")).collect();
    assert_eq!(verdicts(records), expected);
    for changed in tampered(records) {
        assert_eq!(verdicts(&changed), "False F1 2\n");
    }
}
