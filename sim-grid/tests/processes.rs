//! The street as separate processes, and what happens when one of them dies: nothing is lost and
//! nothing is counted twice.
//!
//! Each test runs the real programs against each other (devices, controller, an agent per
//! household, sometimes Mosquitto), takes one away by SIGKILL, lets the street go on, stops it in
//! good order and then reads everything that is left on disk.

#[path = "common/mosquitto.rs"]
mod mosquitto;
#[path = "processes/onboarding.rs"]
mod onboarding;
#[path = "processes/programs.rs"]
mod programs;
#[path = "processes/record.rs"]
mod record;
#[path = "processes/scenario.rs"]
mod scenario;
#[path = "processes/street.rs"]
mod street;

use std::collections::BTreeSet;
use std::time::Duration;

use mosquitto::Mosquitto;
use record::Record;
use street::Street;

/// Slots that a street runs undisturbed at the end.
const AFTERWARDS: i64 = 3;

/// Waits until the street has run for two slots and is in the middle of the next one.
async fn underway(street: &Street) -> units::Slot {
    let started = street.slot();
    street.settled(started.next()).await;
    let slot = street.slot().next();
    street.until_middle(slot).await;
    slot
}

/// Lets the street run on, stops it, and checks all that it left.
async fn checked(street: Street) -> Record {
    street.settled(street.slot().offset(AFTERWARDS)).await;
    let record = Record::read(street.stop().await).await;
    record.assert_nothing_lost_or_doubled().await;
    record
}

/// The controller dies in the middle of a slot, and again after each of `edges` (real milliseconds
/// after the next edge), when readings, receipts, statements and verdicts are on their way. The last
/// time it is away for the whole edge after that one.
async fn killed_controller(broker: Option<&Mosquitto>, edges: &[f64]) {
    let started = clock::stopwatch();
    let url = broker.map(Mosquitto::url);
    let mut street = Street::start(url.as_deref()).await;
    let mut slot = underway(&street).await;
    street.kill_controller();
    street.start_controller();
    street.settled(slot).await;
    for &after_ms in edges {
        slot = street.slot().next();
        street.until(slot, after_ms).await;
        street.kill_controller();
        if Some(&after_ms) == edges.last() {
            street.until_middle(slot.next()).await;
        }
        street.start_controller();
    }
    let record = checked(street).await;
    assert!(record.last() >= slot.offset(1 + AFTERWARDS), "the street went on");
    println!("a killed controller: {:.1} s", started.elapsed().as_secs_f64());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_controller_takes_its_broker_along_and_loses_nothing() {
    killed_controller(None, &[60.0]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_controller_beside_mosquitto_loses_nothing() {
    if let Some(broker) = Mosquitto::start("a_killed_controller_beside_mosquitto_loses_nothing") {
        killed_controller(Some(&broker), &[45.0, 52.0, 65.0]).await;
    }
}

/// The broker of `deploy/mosquitto`: TLS, and a certificate for everybody.
#[tokio::test(flavor = "multi_thread")]
async fn a_street_that_shows_certificates_is_settled_like_any_other() {
    let name = "a_street_that_shows_certificates_is_settled_like_any_other";
    let broker = Mosquitto::deployed(name, "street.conf", "six-houses", |_| {});
    let Some(mut broker) = broker else { return };
    let street = Street::start_private(&broker).await;
    let slot = underway(&street).await;
    broker.kill();
    broker.restart();
    let record = checked(street).await;
    assert!(record.last() >= slot.offset(AFTERWARDS), "the street went on");
}

/// One agent dies in the middle of a slot and comes back at once, one is away over an edge, and one
/// dies around every edge, now before, now while, now after it writes its journal.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_agent_goes_on_from_its_journal() {
    let started = clock::stopwatch();
    let mut street = Street::start(None).await;
    let [quick, away, unlucky] = [0, 1, 2].map(|index| street.points[index].clone());
    let slot = underway(&street).await;
    street.kill_agent(&quick);
    street.kill_agent(&away);
    street.start_agent(&quick);
    for (turn, after_ms) in [(1, 45.0), (2, 55.0), (3, 75.0), (4, 120.0)] {
        street.until(slot.offset(turn), after_ms).await;
        street.kill_agent(&unlucky);
        street.start_agent(&unlucky);
        if turn == 1 {
            street.until_middle(slot.offset(turn)).await;
            street.start_agent(&away);
        }
    }
    let record = checked(street).await;

    assert_eq!(record.missed(&quick), BTreeSet::new(), "{quick} was back before the edge");
    assert_eq!(record.missed(&unlucky), BTreeSet::new(), "{unlucky} was back in time");
    assert_eq!(record.missed(&away), BTreeSet::from([slot]), "{away} was away at one edge");
    let after = slot.next().number();
    let bridge = record.journals[&away].iter().find(|reading| reading.slot == after);
    assert_eq!(bridge.expect("read").quality, "bridged");
    let late = &record.statements[&away].iter().find(|row| row.statement.slot == after);
    assert_eq!(late.expect("settled").statement.late.len(), 1, "the span of two slots is billed");
    println!("killed agents: {:.1} s", started.elapsed().as_secs_f64());
}

/// Thirty seconds without a broker are six slots without a single message.
#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_away_for_thirty_seconds_loses_nothing() {
    let name = "a_broker_that_is_away_for_thirty_seconds_loses_nothing";
    let Some(mut broker) = Mosquitto::start(name) else { return };
    let started = clock::stopwatch();
    let street = Street::start(Some(&broker.url())).await;
    let slot = underway(&street).await;
    let settled_before = street.newest_settled().expect("underway");
    broker.kill();
    tokio::time::sleep(Duration::from_secs(30)).await;
    let settled_meanwhile = street.newest_settled().expect("underway");
    let back = street.slot();
    broker.restart();
    let publishing = street.publishing.clone();
    let record = checked(street).await;

    let settled = settled_meanwhile.number() - settled_before.number();
    assert!(settled >= 4, "{settled} slots were settled meanwhile");
    let without = record.versions(slot.next());
    assert_eq!(without[0].missing, 6, "nobody could deliver the reading of {}", slot.next());
    assert!(!publishing.is_empty(), "some meters publish to the broker");
    let unread = u32::try_from(publishing.len()).expect("few");
    let newest = without.last().expect("settled");
    assert!(newest.version > 1, "whoever had read its meter was settled again");
    assert_eq!(newest.missing, unread, "nobody read what published to the broker");
    for point in record.journals.keys() {
        let missed = record.missed(point);
        if publishing.contains(point) {
            assert!(!missed.is_empty(), "{point}: nobody heard its meter");
            let away = slot..back.offset(2);
            assert!(missed.iter().all(|missed| away.contains(missed)), "{point}: {missed:?}");
        } else {
            assert_eq!(missed, BTreeSet::new(), "{point} went on reading its meter");
            let bills = || record.statements[point].iter().map(|row| &row.statement);
            assert!(bills().all(|bill| bill.measured), "{point}: in the end every slot is known");
            assert!(bills().all(|bill| bill.late.is_empty()), "{point}: each in its own slot");
        }
    }
    println!("a broker that was away: {:.1} s", started.elapsed().as_secs_f64());
}

/// Three quarters of a minute in which devices misbehave and whatever reads them is killed, with the
/// program that does this for as long as one likes.
#[test]
fn a_bad_minute_leaves_nothing_lost_doubled_or_made_up() {
    let folder = tempfile::TempDir::new().expect("a folder");
    let street = folder.path().join("six-houses");
    scenario::write(&street);
    let street = street.to_str().expect("text");
    let mut arguments = vec!["campaign", "--scenario", street, "--from", scenario::FROM, "--json"];
    arguments.extend(["--minutes", "0.75", "--speed", "225", "--seed", "4"]);
    let said = programs::run("sim-grid", &arguments);
    let told: serde_json::Value = serde_json::from_str(&said).expect("JSON");
    let verdict = &told["verdict"];
    assert!(told["kills"].as_u64() >= Some(3), "{told}");
    assert!(verdict["readings"].as_u64() >= Some(40), "{told}");
    for nothing in ["gaps", "duplicates", "too_much", "wrong_bills"] {
        assert_eq!(verdict[nothing], 0, "{told}");
    }
    assert_eq!(verdict["whole"], 6, "{told}");
    println!("{told}");
}
