//! From the unpacked programs to the first signed reading: three commands, as a person types them.

use std::time::Duration;

use serde_json::Value;

use crate::programs::{Program, run};

/// A quarter-hour passes in so many seconds.
const SPEED: &str = "90";
/// The shipped street, from here.
const SCENARIO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios/semiurb4");
const PATIENCE: Duration = Duration::from_secs(60);

/// What `sim-grid serve --json` says at its start.
async fn offer(street: &Program) -> Value {
    let mut lines = street.lines();
    let whole = lines.wait_for(|lines| lines.last().is_some_and(|line| line == "}"));
    let whole = tokio::time::timeout(PATIENCE, whole).await.expect("in time").expect("it runs");
    serde_json::from_str(&whole.join("\n")).expect("JSON")
}

/// A house of the street with an SDM630, and nothing else behind its gateway.
fn house_with_sdm630(offer: &Value) -> &Value {
    let houses = offer["houses"].as_array().expect("houses");
    let fits = |house: &&Value| {
        house["kind"] == "sdm630" && house["units"].as_array().is_some_and(|units| units.len() == 1)
    };
    houses.iter().find(fits).expect("the street has one")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_commands_lead_to_the_first_signed_reading_of_an_sdm630() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = folder.path().join("street.log");
    let serve = ["serve", "--json", "--speed", SPEED, "--scenario", SCENARIO];
    let street = Program::start("sim-grid", "the street", &log, &serve);
    let offer = offer(&street).await;
    let house = house_with_sdm630(&offer);
    let (address, point) = (&house["addr"], &house["customer"]);
    let clock = &offer["clock"];
    let clock =
        format!("{},{},{}", clock["anchor_wall_ms"], clock["anchor_market_ms"], clock["speed"]);
    let home = folder.path().join("home");
    let config = home.join("agent.toml");
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let path = |path: &std::path::Path| path.to_str().expect("plain").to_owned();

    let started = clock::stopwatch();
    let (dir, config_path, point) = (path(&home), path(&config), text(point));
    run(
        "meter-agent",
        &[
            "init",
            "--dir",
            &dir,
            "--community",
            "street",
            "--point",
            &point,
            "--broker",
            "mqtt://127.0.0.1:1",
            "--clock",
            &clock,
        ],
    );
    let initialised = started.elapsed();
    run("meter-agent", &["assign", "--config", &config_path, "--role", "meter", &text(address)]);
    let assigned = started.elapsed();
    let agent_log = folder.path().join("agent.log");
    let running = ["--json", "run", "--config", &config_path];
    let agent = Program::start("meter-agent", "the agent", &agent_log, &running);
    let mut lines = agent.lines();
    let signed = lines.wait_for(|lines| lines.iter().any(|line| line.contains("first_reading")));
    let said = tokio::time::timeout(PATIENCE, signed).await.expect("in time").expect("it runs");
    let line = said.iter().find(|line| line.contains("first_reading")).expect("just seen").clone();
    let done = started.elapsed();
    drop(said);
    println!(
        "init {initialised:.1?}, assign {:.1?}, run to the first signed reading {:.1?}, together {done:.1?}",
        assigned - initialised,
        done - assigned
    );

    let told: Value = serde_json::from_str(&line).expect("JSON");
    let reading = &told["first_reading"];
    assert_eq!((&reading["seq"], &reading["quality"]), (&1.into(), &"measured".into()));
    assert!(reading["import_wh"].as_u64().is_some_and(|wh| wh > 0), "{reading}");
    assert!(done < Duration::from_secs(300), "five minutes are the limit");
    agent.stop().await;
    let journal: Vec<Value> = run("meter-agent", &["export", "csv", "--config", &config_path])
        .lines()
        .map(|line| Value::from(line.to_owned()))
        .collect();
    assert!(journal.len() >= 2, "a head and the reading: {journal:?}");
    street.kill();
}
