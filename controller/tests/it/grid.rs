//! A street on a grid: own prices per bus, proven to each household, on the ledger, through a crash,
//! and again from the bundle.

use std::collections::BTreeMap;

use controller::bundle::{Trust, verify};
use controller::desk::Desk;
use controller::rules::{GridForm, StreetGrid};
use market::{Branch, Grid, Node, Tier, UNCAPPED};
use protocol::{Down, Fill, Signed, merkle};
use units::{Energy, PointId, Price};

use crate::desk::{pass, read_all};
use crate::record::bundle;
use crate::street::{START, Street, domain, point, setup};

/// Home 0 at the root; home 1 behind a cable for 100 Wh that costs 2 ct; the others on free ones.
pub fn grid() -> StreetGrid {
    grid_at(2_000)
}

/// The same with another fee.
pub fn grid_at(fee_e5: i64) -> StreetGrid {
    let branch = |name: &str, cap: Energy, fee_e5: i64| Branch {
        name: name.to_owned(),
        parent: Node::ROOT,
        import_cap: cap,
        export_cap: cap,
        fee: Price::from_e5_per_kwh(fee_e5),
        tier: Tier::Street,
    };
    let branches = vec![
        branch("L1", Energy::from_wh(100), fee_e5),
        branch("L2", UNCAPPED, 0),
        branch("L3", UNCAPPED, 0),
    ];
    let buses: Vec<String> = (0..4).map(|number| format!("B{number}")).collect();
    let homes: BTreeMap<PointId, String> = (0..4).map(point).zip(buses.iter().cloned()).collect();
    let form = GridForm { buses, grid: Grid::new(branches).expect("a tree"), homes };
    StreetGrid::new(form).expect("everybody is somewhere")
}

#[tokio::test]
async fn a_full_cable_is_paid_for_proven_posted_and_verified() {
    let mut street = Street::open_on(4, grid()).await;
    pass(&mut street, START).await;
    let readings = street.homes.iter_mut().map(|home| home.reading(START, 0, 0)).collect();
    street.step(readings).await;
    let slot = START.next();
    // Home 0 sells 500 Wh, home 1 wants 300 Wh at up to 25 ct, home 2 400 Wh at up to 20 ct.
    let fill = street.down(1, Down::Fill).last().expect("told");
    let Signed::<Fill> { body: fill, .. } = fill;
    assert_eq!(
        (fill.slot, fill.bought_wh, fill.sold_wh, fill.price.as_slice()),
        (slot.number(), 100, 0, &[250_000][..])
    );
    let bus = &fill.bus[0];
    assert_eq!(
        (bus.bus.as_str(), bus.energy, bus.grid_fee, bus.congestion),
        ("B1", 175_000, 20_000, 55_000)
    );
    let clearing: Vec<u8> = street
        .sent
        .iter()
        .rfind(|sent| matches!(sent.topic, protocol::Topic::Public(protocol::Public::Clearing)))
        .map(|sent| sent.payload.clone())
        .expect("published");
    let clearing = Signed::<protocol::Clearing>::parse(&clearing).expect("own message").body;
    assert_eq!((clearing.grid_fees, clearing.congestion), (2_000_000, 5_500_000));
    let leaf = merkle::leaf(domain().digest(bus));
    let (root, count) = (clearing.prices_root, u64::from(clearing.prices));
    assert!(merkle::includes(root, count, fill.position, leaf, &fill.path), "the price is proven");

    // What was cleared before a crash is settled after it as if nothing had happened.
    let mut street = street.crash().await;
    street.at(slot.end_ms() + 500).await;
    let readings = read_all(&mut street, slot);
    street.step(readings).await;
    let delivery = street.delivery(1, slot).expect("settled");
    assert_eq!(delivery.statement.price, [250_000]);
    assert_eq!(&delivery.statement.bus[0], bus);
    assert_eq!(delivery.header.price, [175_000], "deviations are settled at the root's price");
    let gets = "SELECT SUM(amount) FROM transfer WHERE credit = 'grid-fees'";
    assert_eq!(street.count(gets).await, 2_000_000);
    let gets = "SELECT SUM(amount) FROM transfer WHERE credit = 'congestion'";
    assert_eq!(street.count(gets).await, 5_500_000);
    assert_eq!(street.settled_balance().await["pool"], 0);

    let text = bundle(&street, 1, 1).await;
    let report = verify(text.as_bytes(), &Trust::default()).expect("memory can be read");
    assert!(report.verified, "{:?}", report.findings);
    let cheaper = text.replace("\"fee\":20000", "\"fee\":10000");
    assert_ne!(cheaper, text);
    let report = verify(cheaper.as_bytes(), &Trust::default()).expect("memory can be read");
    assert!(
        report.findings.iter().any(|finding| finding.what.starts_with("names a grid")),
        "{:?}",
        report.findings
    );
}

#[tokio::test]
async fn a_fee_that_changes_leaves_old_slots_as_they_were() {
    let mut street = Street::open_on(4, grid()).await;
    pass(&mut street, START).await;
    let readings = street.homes.iter_mut().map(|home| home.reading(START, 0, 0)).collect();
    street.step(readings).await;
    // The fee triples at a restart, after the gate of slot 1 and before its settlement.
    let slot = START.next();
    street.grid = grid_at(6_000);
    let mut street = street.crash().await;
    pass(&mut street, slot).await;
    let readings = read_all(&mut street, slot);
    street.step(readings).await;
    street.at(slot.next().end_ms() + 500).await;
    let readings = read_all(&mut street, slot.next());
    street.step(readings).await;
    let fee = |slot| street.delivery(1, slot).expect("settled").statement.bus[0].grid_fee;
    assert_eq!((fee(slot), fee(slot.next())), (20_000, 60_000));
    assert_eq!(street.settled_balance().await["pool"], 0);

    let text = bundle(&street, 1, 2).await;
    let grids = text.lines().filter(|line| line.starts_with("{\"kind\":\"grid\"")).count();
    assert_eq!(grids, 2, "each grid that a slot needs, once");
    let report = verify(text.as_bytes(), &Trust::default()).expect("memory can be read");
    assert!(report.verified, "{:?}", report.findings);
    let alone = verify(bundle(&street, 2, 2).await.as_bytes(), &Trust::default());
    let alone = alone.expect("memory can be read");
    assert!(alone.verified, "{:?}", alone.findings);

    // Without a slot's grid nothing can be said about it, and nobody is moved on a grid unnoticed.
    let moved = text.replacen("\"H02\":\"B2\"", "\"H02\":\"B1\"", 1);
    for (text, said) in [(moved, "names a grid"), (without_grids(&text), "names a grid")] {
        let report = verify(text.as_bytes(), &Trust::default()).expect("memory can be read");
        let told = report.findings.iter().any(|finding| finding.what.starts_with(said));
        assert!(told && !report.verified, "{:?}", report.findings);
    }
}

fn without_grids(text: &str) -> String {
    let kept = text.lines().filter(|line| !line.starts_with("{\"kind\":\"grid\""));
    kept.map(|line| format!("{line}\n")).collect()
}

#[tokio::test]
async fn a_slot_whose_grid_is_lost_is_said_to_wait_for_it() {
    let mut street = Street::open_on(4, grid()).await;
    pass(&mut street, START).await;
    let lost = street.grid.digest();
    let mut saved = street.store.load().await.expect("readable");
    assert!(saved.grids.remove(&lost).is_some());
    let setup = setup(&street.homes, &grid_at(6_000), &street.market);
    let Err(fault) = Desk::restore(setup, saved, street.now_ms) else {
        panic!("settled on another grid")
    };
    assert!(fault.to_string().contains("start once more with the [grid]"), "{fault}");
}

#[tokio::test]
async fn an_older_record_learns_its_grids_and_rungs() {
    let options = sqlx::sqlite::SqliteConnectOptions::new().in_memory(true);
    let mut db = sqlx::ConnectOptions::connect(&options).await.expect("in memory");
    let first = include_str!("../../migrations/0001_street.sql");
    sqlx::raw_sql(first).execute(&mut db).await.expect("the schema as it was");
    let digest = format!("0x{}", "ab".repeat(32));
    let message = format!("{{\"body\":{{\"grid\":\"{digest}\"}},\"sig\":\"\"}}");
    for (slot, method, _) in OLD_METHODS {
        let row = "INSERT INTO clearing (slot, cleared_wh, retail, feed_in, orders, method, time_ms, \
                   message) VALUES (?, 0, 1, 1, 0, ?, 0, ?)";
        let row = sqlx::query(row).bind(slot).bind(method).bind(&message);
        row.execute(&mut db).await.expect("an old row");
    }
    let second = include_str!("../../migrations/0002_grid.sql");
    sqlx::raw_sql(second).execute(&mut db).await.expect("brought up to date");
    let rows: Vec<(i64, Vec<u8>, String)> =
        sqlx::query_as("SELECT slot, grid, rung FROM clearing ORDER BY slot")
            .fetch_all(&mut db)
            .await
            .expect("readable");
    let expected: Vec<(i64, Vec<u8>, String)> = OLD_METHODS
        .iter()
        .map(|(slot, _, rung)| (*slot, vec![0xab; 32], (*rung).to_owned()))
        .collect();
    assert_eq!(rows, expected);
}

/// How the methods of older clearings stand in the record, and the rungs they are of.
const OLD_METHODS: [(i64, &str, &str); 5] = [
    (1, "lp", "lp"),
    (2, "merit order: the solver was late", "exact"),
    (3, "exact, on the grid", "exact"),
    (4, "limits of each connection: the files are gone", "envelopes"),
    (5, "no market: the orders are lost", "shared"),
];
