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
use controller::config::{Config, GridConfig};
use controller::store::read::{AllocationRow, Reader, StatementRow};
use market::sharing::Rule;
use mosquitto::Mosquitto;
use protocol::Statement;
use sim_grid::day::Day;
use sim_grid::demo::{DemoOptions, KeyKind, RpcNode, SharingChoice};
use sim_grid::faces::BrokerUrl;
use sim_grid::scenario::{Scenario, parse_slot};
use units::{Money, PointId, Slot};

/// Longest wait for one step of the street, real time.
const PATIENCE: Duration = Duration::from_secs(60);

fn scenario() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios/semiurb4")
}

async fn start(
    folder: &Path,
    from: Slot,
    (broker, rpc): (Option<BrokerUrl>, Option<RpcNode>),
    grid: Option<GridConfig>,
    sharing: SharingChoice,
    steer: bool,
) -> Day {
    let options = DemoOptions {
        scenario: scenario(),
        tariff: Some("flat".to_owned()),
        from,
        seed: 7,
        data_dir: folder.to_owned(),
        http: "127.0.0.1:0".parse().expect("an address"),
        broker,
        rpc,
        grid,
        sharing,
        steer,
        anchor_every_slots: 4,
        clock: None,
    };
    Day::start(options).await.expect("the street starts")
}

/// A few quarter-hours of a street that shares in another way: every home checks its own bills, and
/// the ledger comes out even.
async fn shared_by(rule: Rule, key: KeyKind) {
    let from = parse_slot("2016-07-23T10:00Z").expect("in the scenario");
    let folder = tempfile::tempdir().expect("a folder");
    let sharing = SharingChoice::Words(rule, key);
    let mut day = start(folder.path(), from, (None, None), None, sharing, false).await;
    day.open(from).await.expect("the street opens");
    let last = from.offset(6);
    for slot in (1..=6).map(|count| from.offset(count)) {
        day.pass(slot).await.unwrap_or_else(|error| panic!("{slot}: {error:#}"));
    }
    let reader = day.demo.controller.reader.clone();
    let balances = reader.balances(last).await.expect("readable");
    assert_eq!(balances.values().sum::<Money>(), Money::ZERO);
    assert!(balances.get("pool").is_none_or(|pool| pool.is_zero()));
    for (point, ..) in registers(&day) {
        let rows = judged(&reader, &point, last.next()).await;
        assert_eq!(rows.len(), 6, "{point}");
        for row in rows {
            let audit = row.audit.as_ref().expect("judged by its own agent");
            assert!(audit.verified, "{point} under {rule}: {}", audit.reason);
            assert_eq!(row.statement.sharing[0].rule, rule.to_string());
        }
    }
    let orders = reader.slot(last).await.expect("readable").expect("cleared").orders;
    assert_eq!(orders > 0, rule == Rule::Auction, "{orders} orders under {rule}");
    let allocated = reader.allocation(from.next(), last).await.expect("readable");
    let sum = |part: fn(&AllocationRow) -> i64| allocated.iter().map(part).sum::<i64>();
    let (taken, given) = (sum(|row| row.taken.wh()), sum(|row| row.given.wh()));
    assert!(taken == given && taken > 0, "{taken} {given}");
    day.demo.stop().await.expect("stops");
}

/// A household's last six bills, once its agent's verdicts on them have arrived.
async fn judged(reader: &Reader, point: &PointId, before: Slot) -> Vec<StatementRow> {
    let judged = async {
        loop {
            let rows = reader.statements(point, Some(before), 6).await.expect("readable");
            if rows.iter().all(|row| row.audit.is_some()) {
                return rows;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, judged).await.expect("every bill is judged")
}

#[tokio::test(flavor = "multi_thread")]
async fn streets_share_by_rule_and_key_and_every_home_agrees() {
    shared_by(Rule::MidMarket, KeyKind::ProRata).await;
    shared_by(Rule::Auction, KeyKind::Static).await;
}

/// A day of 96 slots, then everything that must be true of it.
async fn a_day(broker: Option<BrokerUrl>, rpc: Option<RpcNode>, grid: Option<GridConfig>) {
    let from = parse_slot("2016-07-23T00:00Z").expect("in the scenario");
    let started = clock::stopwatch();
    let folder = tempfile::tempdir().expect("a folder");
    let on_grid = grid.is_some();
    let sharing = SharingChoice::default();
    let mut day = start(folder.path(), from, (broker, rpc), grid, sharing, true).await;
    let last = from.offset(96);
    day.open(from).await.expect("the street opens");
    let baseline = registers(&day);
    for slot in (1..=96).map(|count| from.offset(count)) {
        day.pass(slot).await.unwrap_or_else(|error| panic!("{slot}: {error:#}"));
    }
    println!("96 slots in {:.1} s", started.elapsed().as_secs_f64());
    day.anchored(24).await.expect("everything is anchored");

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
    ledger_is_zero_sum(&day, last, on_grid).await;
    settled_energy_is_the_meters(&day, &baseline, from, last).await;
    anchors_and_rewards(&day).await;
    let refused = day.demo.controller.reader.refusals(50).await.expect("readable");
    assert!(refused.by_reason.is_empty(), "nothing had to be refused: {refused:?}");
    day.demo.stop().await.expect("stops");
}

async fn ledger_is_zero_sum(day: &Day, last: Slot, on_grid: bool) {
    let balances = day.demo.controller.reader.balances(last).await.expect("readable");
    assert_eq!(balances.values().sum::<Money>(), Money::ZERO, "the ledger sums to zero");
    assert!(balances["pool"].is_zero(), "the pool is empty");
    let fees = balances.get("grid-fees").copied().unwrap_or_default();
    assert_eq!(fees.is_positive(), on_grid, "the network is paid for, where there is one: {fees}");
    assert!(balances.len() > 40, "every household has an account");
}

/// What a battery home was off by in a slot, Wh, and how full its battery was in the end.
struct Off {
    wh: i64,
    state_of_charge: f64,
}

/// Lets hours pass and tells how far the homes with a battery were from what they traded, slot by slot:
/// |metered − traded|.
async fn deviations(from: Slot, slots: i64, steer: bool) -> Vec<Off> {
    let folder = tempfile::tempdir().expect("a folder");
    let sharing = SharingChoice::default();
    let mut day = start(folder.path(), from, (None, None), None, sharing, steer).await;
    day.open(from).await.expect("the street opens");
    let homes = day.demo.street.faces().iter().filter(|face| face.battery_wh.is_some());
    let homes: Vec<PointId> = homes.map(|face| face.customer.clone()).collect();
    let mut found = Vec::new();
    for slot in (1..=slots).map(|count| from.offset(count)) {
        day.pass(slot).await.unwrap_or_else(|error| panic!("{slot}: {error:#}"));
        for point in &homes {
            let reader = &day.demo.controller.reader;
            let rows = reader.statements(point, Some(slot.next()), 1).await.expect("readable");
            let bill = &rows[0].statement;
            let traded = bill.bought_wh - bill.sold_wh;
            let wh = (bill.import_wh - bill.export_wh - traded).abs();
            let truth = day.demo.street.world().customer_by_id(point.as_str()).expect("a home");
            let state_of_charge = truth.battery.expect("a battery").state_of_charge;
            found.push(Off { wh, state_of_charge });
        }
    }
    day.demo.stop().await.expect("stops");
    found
}

/// The mean over the slots in which the battery was neither full nor empty, and over all.
#[expect(clippy::cast_precision_loss, reason = "means for people")]
fn means(found: &[Off]) -> (f64, f64) {
    let mean = |of: &[i64]| of.iter().sum::<i64>() as f64 / of.len().max(1) as f64;
    let free = found.iter().filter(|off| (0.02..0.98).contains(&off.state_of_charge));
    let all = found.iter().map(|off| off.wh);
    (mean(&free.map(|off| off.wh).collect::<Vec<_>>()), mean(&all.collect::<Vec<_>>()))
}

/// A summer day's middle, once with batteries on their own and once with batteries that are steered.
/// A battery that is full or empty can do nothing about what its roof or its house does.
#[tokio::test(flavor = "multi_thread")]
async fn steered_batteries_follow_what_was_traded() {
    let from = parse_slot("2016-07-23T06:00Z").expect("in the scenario");
    let alone = means(&deviations(from, 32, false).await);
    let steered = means(&deviations(from, 32, true).await);
    println!(
        "mean |metered - traded| while there is room: {:.1} Wh alone, {:.1} Wh steered",
        alone.0, steered.0
    );
    println!(
        "mean |metered - traded| of all slots: {:.1} Wh alone, {:.1} Wh steered",
        alone.1, steered.1
    );
    assert!(steered.0 * 5.0 < alone.0, "{:.1} Wh steered, {:.1} Wh alone", steered.0, alone.0);
    assert!(steered.1 < alone.1, "{:.1} Wh steered, {:.1} Wh alone", steered.1, alone.1);
}

/// An agent that dies leaves its battery to the battery's own watch; one whose operator is silent lets
/// go by itself.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_steered_by_the_dead() {
    let from = parse_slot("2016-07-23T08:00Z").expect("in the scenario");
    let folder = tempfile::tempdir().expect("a folder");
    let sharing = SharingChoice::default();
    let mut day = start(folder.path(), from, (None, None), None, sharing, true).await;
    day.open(from).await.expect("the street opens");
    for slot in (1..=4).map(|count| from.offset(count)) {
        day.pass(slot).await.unwrap_or_else(|error| panic!("{slot}: {error:#}"));
    }
    let steered: Vec<PointId> = day.steered_batteries();
    assert!(steered.len() >= 2, "{steered:?}");
    // One dies, as by kill -9.
    let dead = day.demo.households.remove(&steered[0]).expect("a home");
    let died = clock::stopwatch();
    dead.kill().await;
    assert!(day.steered_batteries().contains(&steered[0]), "nothing was written on the way");
    while day.steered_batteries().contains(&steered[0]) {
        assert!(died.elapsed() < PATIENCE, "the battery's watch does not run out");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    println!("dead agent: on its own after {:.1} s", died.elapsed().as_secs_f64());
    let most = Duration::from_secs(sim_grid::demo::WATCHDOG_S.into()) + Duration::from_millis(200);
    assert!(died.elapsed() <= most, "{:?}", died.elapsed());
    // The others still hold theirs; then the operator falls silent for longer than they trust it.
    let others = day.steered_batteries();
    assert!(others.contains(&steered[1]), "{others:?}");
    let silent = clock::stopwatch();
    let (street, households, _hand) = day.silence(1_100_000).await.expect("the controller stops");
    while !street.steered().is_empty() {
        assert!(silent.elapsed() < PATIENCE, "{:?}", street.steered());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    println!("silent operator: given back {:.1} s after", silent.elapsed().as_secs_f64());
    for household in households.into_values() {
        assert_eq!(household.status().setpoint_mw, None);
        household.stop().await;
    }
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
    // Every watt-hour pays for the cables it uses, and none more than they carry.
    let grid = GridConfig { street_fee_e5: 150, ..GridConfig::default() };
    a_day(None, None, Some(grid)).await;
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
    a_day(Some(broker_url), Some(RpcNode { url: node.url.clone(), key_file }), None).await;
}

/// The tests' own need: the scenario has the day.
#[test]
fn the_day_is_in_the_scenario() {
    let scenario = Scenario::load(&scenario()).expect("loads");
    let from = parse_slot("2016-07-23T00:00Z").expect("a slot");
    assert!(scenario.slots_from(from) > 97);
}
