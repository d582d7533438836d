//! A whole day of the street with everything real: Modbus, MQTT, signatures, SQLite, an EVM. The
//! clock is moved by hand and waits for nothing but the street itself.

#[path = "common/anvil.rs"]
mod anvil;
#[path = "common/mosquitto.rs"]
mod mosquitto;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anvil::{Anvil, FUNDED_KEY};
use chain::At;
use clock::{Clock, ManualHand};
use controller::config::Config;
use controller::http::events::Event;
use controller::store::read::{AnchorState, RefusalRow};
use mosquitto::Mosquitto;
use protocol::Statement;
use sim_grid::demo::{Demo, DemoOptions, RpcNode};
use sim_grid::faces::BrokerUrl;
use sim_grid::scenario::{Scenario, parse_slot};
use tokio::sync::broadcast;
use units::{Money, PointId, Slot};

/// Longest wait for one step of the street, real time.
const PATIENCE: Duration = Duration::from_secs(60);

fn scenario() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios/semiurb4")
}

struct Day {
    demo: Demo,
    hand: ManualHand,
    events: broadcast::Receiver<Event>,
    _folder: tempfile::TempDir,
}

impl Day {
    async fn start(from: Slot, broker: Option<BrokerUrl>, rpc: Option<RpcNode>) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let (clock, hand) = Clock::manual(from.start_ms());
        let options = DemoOptions {
            scenario: scenario(),
            tariff: Some("flat".to_owned()),
            from,
            seed: 7,
            data_dir: folder.path().to_owned(),
            http: "127.0.0.1:0".parse().expect("an address"),
            broker,
            rpc,
            anchor_every_slots: 4,
            clock: None,
        };
        let demo = Demo::start(options, clock).await.expect("the street starts");
        let events = demo.controller.events.subscribe();
        Self { demo, hand, events, _folder: folder }
    }

    /// Moves world and clock to a moment. Whoever asks a device then gets that moment's registers;
    /// what a device publishes counts from when it arrives, so it publishes once more.
    async fn go(&mut self, moment_ms: i64) {
        self.demo.street.advance_to(moment_ms).await.expect("the world goes on");
        self.hand.advance_to(moment_ms);
        self.demo.street.publish_again().await;
    }

    /// Waits until every household has thought about an order for `slot`.
    async fn considered(&self, slot: Slot) {
        for (point, household) in &self.demo.households {
            let mut status = household.watch();
            let wanted = status
                .wait_for(|status| status.considered_slot.is_some_and(|s| s >= slot.number()));
            let waited = tokio::time::timeout(PATIENCE, wanted).await;
            waited.unwrap_or_else(|_| panic!("{point} has not considered {slot}")).expect("runs");
        }
    }

    /// Waits until the controller says that something happened.
    async fn event(&mut self, event: Event) {
        let wanted = |found: &Event| *found == event;
        let found = async {
            loop {
                match self.events.recv().await {
                    Ok(event) if wanted(&event) => return,
                    Ok(_) => {}
                    Err(error) => panic!("the controller fell silent: {error}"),
                }
            }
        };
        let waited = tokio::time::timeout(PATIENCE, found).await;
        waited.unwrap_or_else(|_| panic!("no {event:?} within a minute"));
    }

    /// Waits until an epoch is final on the chain.
    async fn anchored(&self, seq: u64) {
        let is_final = async {
            loop {
                let row = self.demo.controller.reader.anchor(seq).await.expect("readable");
                if row.is_some_and(|row| row.state == AnchorState::Final) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, is_final).await.expect("the epoch is anchored in time");
    }

    /// Waits until every household has checked its statement of `slot`.
    async fn verified(&self, slot: Slot) {
        for (point, household) in &self.demo.households {
            let mut status = household.watch();
            let wanted = status.wait_for(|status| {
                status.failed > 0 || status.verified_slot.is_some_and(|s| s >= slot.number())
            });
            let waited = tokio::time::timeout(PATIENCE, wanted).await;
            let waited = waited.unwrap_or_else(|_| panic!("{point} has not verified {slot}"));
            let status = waited.expect("runs").clone();
            assert_eq!(status.failed, 0, "{point}: {:?}", status.last_finding);
        }
    }

    /// The slot in which the street opens: nobody could order for it, and its end is where every
    /// meter starts to count.
    async fn open(&mut self, slot: Slot) {
        self.trade(slot).await;
        for (point, household) in &self.demo.households {
            let mut status = household.watch();
            let receipted = status.wait_for(|status| {
                let read = status.journalled_slot.is_some_and(|s| s >= slot.number());
                read && status.released_seq == status.journalled_seq
            });
            let waited = tokio::time::timeout(PATIENCE, receipted).await;
            waited.unwrap_or_else(|_| panic!("{point} has no receipt for {slot}")).expect("runs");
        }
    }

    /// A slot passes while the next one is ordered and cleared.
    async fn trade(&mut self, slot: Slot) {
        self.go(slot.start_ms() + 300_000).await;
        self.considered(slot.next()).await;
        self.go(slot.end_ms() - 60_000).await;
        self.event(Event::Cleared(slot.next())).await;
        self.go(slot.end_ms()).await;
    }

    /// One slot from its start to its verified settlement.
    async fn pass(&mut self, slot: Slot) {
        self.trade(slot).await;
        self.event(Event::Settled(slot)).await;
        self.verified(slot).await;
    }
}

/// A day of 96 slots, then everything that must be true of it.
async fn a_day(broker: Option<BrokerUrl>, rpc: Option<RpcNode>) {
    let from = parse_slot("2016-07-23T00:00Z").expect("in the scenario");
    let started = clock::stopwatch();
    let mut day = Day::start(from, broker, rpc).await;
    let last = from.offset(96);
    day.open(from).await;
    let baseline = registers(&day);
    for slot in (1..=96).map(|count| from.offset(count)) {
        day.pass(slot).await;
    }
    println!("96 slots in {:.1} s", started.elapsed().as_secs_f64());
    day.anchored(24).await;

    let reader = day.demo.controller.reader.clone();
    let span = reader.span(from.next(), last).await.expect("readable");
    assert_eq!(span.slots, 96, "96 slots are settled");
    for slot in (1..=96).map(|count| from.offset(count)) {
        let row = reader.slot(slot).await.expect("readable").expect("settled");
        let totals = row.header.expect("settled").totals;
        let (inside, outside) =
            (totals.import_wh - totals.export_wh, totals.grid_import_wh - totals.grid_export_wh);
        assert_eq!(inside, outside, "energy balances in {slot}");
        assert_eq!(totals.debit, totals.credit, "money balances in {slot}");
    }
    ledger_is_zero_sum(&day, last).await;
    settled_energy_is_the_meters(&day, &baseline, from, last).await;
    anchors_and_rewards(&day).await;
    let refused = day.demo.controller.reader.refusals(50).await.expect("readable");
    // In the opening slot a meter's first sample may make an order just as the hand passes the gate.
    let opening = |row: &RefusalRow| row.reason == "after the gate" && row.time_ms < from.end_ms();
    assert!(refused.recent.iter().all(opening), "nothing had to be refused: {refused:?}");
    day.demo.stop().await.expect("stops");
}

async fn ledger_is_zero_sum(day: &Day, last: Slot) {
    let balances = day.demo.controller.reader.balances(last).await.expect("readable");
    assert_eq!(balances.values().sum::<Money>(), Money::ZERO, "the ledger sums to zero");
    assert!(balances["pool"].is_zero(), "the pool is empty");
    assert!(balances.len() > 40, "every household has an account");
}

/// True registers of all households, in Wh: import and export.
fn registers(day: &Day) -> Vec<(PointId, i64, i64)> {
    let world = day.demo.street.world();
    let wh = |register: u64| i64::try_from(register).expect("a register");
    let truth = (0..world.scenario().customers.len()).map(|index| world.customer(index));
    truth.map(|truth| (truth.id.clone(), wh(truth.import_wh), wh(truth.export_wh))).collect()
}

/// What was billed is what the meters counted, to the Wh, for every household.
async fn settled_energy_is_the_meters(
    day: &Day,
    baseline: &[(PointId, i64, i64)],
    from: Slot,
    last: Slot,
) {
    for ((point, import, export), (_, import_before, export_before)) in
        registers(day).into_iter().zip(baseline)
    {
        let reader = &day.demo.controller.reader;
        let rows = reader.statements(&point, Some(last.next()), 96).await.expect("readable");
        assert_eq!(rows.len(), 96, "{point} has a statement for every slot");
        assert_eq!(rows[95].statement.slot, from.next().number());
        let sum = |part: fn(&Statement) -> i64| -> i64 {
            rows.iter().map(|row| part(&row.statement)).sum()
        };
        assert_eq!(sum(|statement| statement.import_wh), import - import_before, "{point}");
        assert_eq!(sum(|statement| statement.export_wh), export - export_before, "{point}");
        assert!(rows.iter().all(|row| row.audit.as_ref().is_some_and(|audit| audit.verified)));
    }
}

/// The anchored root is the log's, and what was earned can be claimed, once.
async fn anchors_and_rewards(day: &Day) {
    let controller = &day.demo.controller;
    let on_chain = controller.on_chain.borrow().clone().expect("deployed");
    let (chain, deployment) = (on_chain.chain, on_chain.deployment);
    let newest = controller.reader.anchors(None, 1).await.expect("readable").remove(0);
    let seq = newest.draft.seq;
    let head = deployment.head(&*chain, At::Latest).await.expect("the chain answers");
    assert_eq!(head.seq, seq);
    let epoch = deployment.epoch(&*chain, seq, At::Latest).await.expect("answers").expect("there");
    let log = controller.reader.log_entry(newest.draft.to_slot).await.expect("readable");
    assert_eq!(
        epoch.log_root,
        log.expect("settled").checkpoint.body.root,
        "the anchored root is the log's"
    );

    let tree = newest.draft.rewards_tree();
    assert!(tree.total() > 0, "the sun has shone");
    assert_eq!(epoch.rewards_root, tree.root());
    let (&account, &earned) = tree.accounts().iter().next().expect("somebody earned");
    let config = Config::load(&day.demo.controller_file()).expect("its own file");
    let home = config.households.into_iter().find(|household| household.payout == account);
    let point = home.expect("an account of a member").point;
    let url = format!("{}/api/v1/households/{point}/claim", day.demo.url());
    for _ in 0..2 {
        // The second one finds the first under way, or everything claimed.
        let (url, answer) = (url.clone(), post_claim);
        tokio::task::spawn_blocking(move || answer(&url)).await.expect("runs");
    }
    let paid = async {
        while deployment.claimed(&*chain, account, At::Latest).await.expect("answers") < earned {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, paid).await.expect("the claim is paid");
    assert_eq!(deployment.token_balance(&*chain, account).await.expect("answers"), earned);
}

/// Asks for a claim over plain HTTP, as curl would.
fn post_claim(url: &str) {
    let (host, path) = url.strip_prefix("http://").and_then(|u| u.split_once('/')).expect("a URL");
    let mut stream = TcpStream::connect(host).expect("the page is there");
    let request = format!(
        "POST /{path} HTTP/1.1\r\nHost: {host}\r\nX-Streetwatt: claim\r\n\
         Content-Length: 0\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("answered");
    assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_with_embedded_parts() {
    a_day(None, None).await;
}

/// The same day with parts that are not ours: Mosquitto instead of the broker in the process, anvil
/// instead of the EVM.
#[tokio::test(flavor = "multi_thread")]
async fn a_day_with_mosquitto_and_anvil() {
    let Some(broker) = Mosquitto::start("a day with Mosquitto and anvil") else { return };
    let Some(node) = Anvil::start() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let key_file = folder.path().join("anvil.key");
    let mut file = std::fs::File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&key_file)
        .expect("a file");
    writeln!(file, "{FUNDED_KEY}").expect("written");
    let broker_url = broker.url().parse().expect("an address");
    a_day(Some(broker_url), Some(RpcNode { url: node.url.clone(), key_file })).await;
}

/// The tests' own need: the scenario has the day.
#[test]
fn the_day_is_in_the_scenario() {
    let scenario = Scenario::load(&scenario()).expect("loads");
    let from = parse_slot("2016-07-23T00:00Z").expect("a slot");
    assert!(scenario.slots_from(from) > 97);
}
