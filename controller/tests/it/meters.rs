//! What readings tell of their meters: kept, shown, and refused where it is no sense.

use controller::store::{Store, StoreFault};
use protocol::{Address, MeterEvent, Reading, Up};
use serde_json::json;

use crate::desk::{pass, read_all};
use crate::http::world_of;
use crate::record::slot;
use crate::street::{START, Street, community, domain};

fn event(register: &str, kind: &str, times: u32) -> MeterEvent {
    MeterEvent {
        register: register.into(),
        kind: kind.into(),
        before: 1_000_000_000,
        after: 7_000,
        times,
        time_ms: slot(1).start_ms() + 5,
    }
}

/// A street whose home 0 has something to tell at the end of slot 1.
async fn told(tell: impl FnOnce(&mut Reading)) -> Street {
    let mut street = Street::open(4).await;
    pass(&mut street, START).await;
    let readings = street.homes.iter_mut().map(|home| home.reading(START, 0, 0)).collect();
    street.step(readings).await;
    street.at(slot(1).end_ms() + 500).await;
    let home = &mut street.homes[0];
    home.import_wh += 100;
    let mut reading = home.next_reading(slot(1));
    tell(&mut reading);
    (home.seq, home.head) = (reading.seq, domain().digest(&reading));
    let mut inputs = vec![home.message(Up::Reading, reading)];
    inputs.extend(read_all(&mut street, slot(1)).into_iter().skip(1));
    street.step(inputs).await;
    street
}

#[tokio::test]
async fn a_households_page_tells_what_happened_to_its_meter() {
    let street = told(|reading| {
        reading.quality = "substituted".into();
        reading.resolution_mwh = vec![3_906];
        reading.events = vec![event("export", "dip", 2), event("import", "reset", 1)];
    })
    .await;
    let world = world_of(street).await;
    let told = world.json("/api/v1/households/H00").await;
    let meter = &told["meter"];
    assert_eq!(
        (&meter["quality"], &meter["resolution_mwh"]),
        (&json!("substituted"), &json!(3_906))
    );
    let newest = json!({
        "slot": slot(1).number(), "register": "import", "kind": "reset",
        "before": 1_000_000_000, "after": 7_000, "times": 1, "time_ms": slot(1).start_ms() + 5,
    });
    assert_eq!((&meter["events"][0], &meter["events"][1]["kind"]), (&newest, &json!("dip")));
    assert_eq!(told["statements"][0]["quality"], "substituted");
    // Home 1 has nothing to tell, and a slot nobody read is not called anything else.
    let other = world.json("/api/v1/households/H01").await;
    assert_eq!(other["meter"]["events"], json!([]));
    assert_eq!(other["statements"][0]["quality"], "measured");
}

#[tokio::test]
async fn a_slot_without_a_reading_is_missing() {
    let mut street = Street::open(4).await;
    pass(&mut street, START).await;
    let readings = street.homes.iter_mut().map(|home| home.reading(START, 0, 0)).collect();
    street.step(readings).await;
    street.at(slot(1).end_ms() + 500).await;
    let mut readings = read_all(&mut street, slot(1));
    readings.remove(0);
    street.step(readings).await;
    street.at(slot(1).end_ms() + 3_600_000).await;
    let world = world_of(street).await;
    let statement = world.json("/api/v1/households/H00").await["statements"][0].clone();
    assert_eq!((&statement["measured"], &statement["quality"]), (&json!(false), &json!("missing")));
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_as_a_whole() {
    type Tell = Box<dyn FnOnce(&mut Reading)>;
    let cases: Vec<(&str, Tell)> = vec![
        ("an unknown kind", Box::new(|r| r.events = vec![event("import", "miracle", 1)])),
        ("a register without a name", Box::new(|r| r.events = vec![event("", "dip", 1)])),
        ("never seen", Box::new(|r| r.events = vec![event("import", "dip", 0)])),
        ("too many", Box::new(|r| r.events = vec![event("import", "dip", 1); 33])),
        ("two resolutions", Box::new(|r| r.resolution_mwh = vec![1, 2])),
        ("two clocks", Box::new(|r| r.device_offset_ms = vec![1, 2])),
        ("a quality nobody knows", Box::new(|r| r.quality = "perfect".into())),
    ];
    for (name, tell) in cases {
        let street = told(tell).await;
        let refused = street.count("SELECT count FROM refusal_count WHERE reason = 'malformed'");
        assert_eq!(refused.await, 1, "{name}");
        assert_eq!(street.count("SELECT COUNT(*) FROM reading_event").await, 0, "{name}");
        assert_eq!(street.receipts(0).last().expect("answered").seq, 1, "{name}");
    }
}

#[tokio::test]
async fn a_record_of_older_readings_is_refused_and_left_alone() {
    let street = told(|_| {}).await;
    let original = street.folder.path().join("street.db");
    let path = street.folder.path().join("older.db");
    let sql = format!("VACUUM INTO '{}'", path.display());
    run(&original, &[&sql]).await;
    let older = ["DROP TABLE reading_event", "DELETE FROM _sqlx_migrations WHERE version = 4"];
    run(&path, &older).await;
    let refused = Store::open(&path, &community(), Address::ZERO).await;
    let fault = refused.err().expect("refused");
    assert!(matches!(fault, StoreFault::OldReadings { .. }), "{fault}");
    // Nothing was changed: an older controller can still open it.
    assert!(rows(&path, "SELECT 1 FROM reading").await > 0);
    let tables = "SELECT 1 FROM sqlite_master WHERE name = 'reading_event'";
    assert_eq!(rows(&path, tables).await, 0);
    // Without any reading there is nothing to lose: the record is brought up to date.
    let empty = ["ALTER TABLE reading DROP COLUMN resolution_mwh", "DELETE FROM reading"];
    run(&path, &empty).await;
    let fault = Store::open(&path, &community(), Address::ZERO).await.err().expect("another's");
    assert!(!matches!(fault, StoreFault::OldReadings { .. }), "{fault}");
    run(&path, &["SELECT COUNT(*) FROM reading_event"]).await;
}

/// Runs statements on a database that nobody else has open for writing.
async fn run(path: &std::path::Path, statements: &[&str]) {
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path);
    let mut db = sqlx::ConnectOptions::connect(&options).await.expect("opens");
    for sql in statements {
        let sql = sqlx::AssertSqlSafe((*sql).to_owned());
        sqlx::raw_sql(sql).execute(&mut db).await.expect("done");
    }
    sqlx::Connection::close(db).await.expect("closed");
}

/// How many rows a question has for an answer.
async fn rows(path: &std::path::Path, sql: &'static str) -> usize {
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path);
    let mut db = sqlx::ConnectOptions::connect(&options).await.expect("opens");
    sqlx::query(sql).fetch_all(&mut db).await.expect("answered").len()
}
