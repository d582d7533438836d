//! Slots that are settled again: whoever was silent, in the end everybody has paid what would have
//! been paid if all meters had been there at once.

use std::collections::BTreeMap;

use controller::bundle::{Trust, verify};
use controller::config::MarketConfig;
use controller::desk::Input;
use controller::rules::{self, Member, Metering, SlotBasis, Span, StreetGrid, StreetSharing};
use market::{Balances, Cumulative, Policy, Terms, Transfer};
use proptest::prelude::*;
use protocol::MAX_MESSAGE_BYTES;
use units::{Energy, Price, Slot};

use crate::record::bundle;
use crate::street::{START, Street};

const HOMES: usize = 4;

/// What a home meters in a slot: home 0 sells, the others buy, never twice the same.
fn energy(home: usize, number: i64) -> (u64, u64) {
    let turn = number.unsigned_abs() * 37 % 101;
    match home {
        0 => (turn % 7, 420 + turn),
        1 => (280 + turn, 0),
        2 => (340 + turn / 2, turn % 3),
        _ => (90 + turn, 0),
    }
}

/// A street whose homes' readings come late: `delays[home]` is by how many slots each reading is.
/// Readings of one home stay in order.
struct Run {
    street: Street,
    delays: Vec<Vec<usize>>,
    /// Readings that are not delivered, by home.
    waiting: Vec<Vec<(i64, Input)>>,
    crashing: bool,
}

impl Run {
    async fn open(delays: Vec<Vec<usize>>, crashing: bool) -> Self {
        let street = Street::open_with(4, StreetGrid::default(), market()).await;
        let waiting = (0..HOMES).map(|_| Vec::new()).collect();
        Self { street, delays, waiting, crashing }
    }

    async fn trade(&mut self, slot: Slot) {
        self.street.at(slot.start_ms() - 300_000).await;
        let homes = &mut self.street.homes;
        let orders = vec![
            homes[0].order(slot, "sell", 500, 15_000),
            homes[1].order(slot, "buy", 300, 25_000),
            homes[2].order(slot, "buy", 150, 20_000),
            homes[3].order(slot, "buy", 150, 20_000),
        ];
        self.street.step(orders).await;
        self.street.at(slot.start_ms() - 60_000).await;
    }

    /// One slot: everybody reads the edge, and what is no later than now arrives.
    async fn slot(&mut self, number: i64, all: bool) {
        let slot = START.offset(number);
        self.trade(slot.next()).await;
        self.street.at(slot.end_ms() + 500).await;
        let mut come = Vec::new();
        for home in 0..HOMES {
            let (import, export) = if number == 0 { (0, 0) } else { energy(home, number) };
            let reading = self.street.homes[home].reading(slot, import, export);
            self.waiting[home].push((number, reading));
            let delay = |of: i64| {
                let delays = &self.delays[home];
                let of = usize::try_from(of).expect("counts from 0");
                i64::try_from(delays.get(of).copied().unwrap_or(0)).expect("small")
            };
            let waiting = &self.waiting[home];
            let count =
                waiting.iter().take_while(|(of, _)| all || of + delay(*of) <= number).count();
            come.extend(self.waiting[home].drain(..count).map(|(_, input)| input));
        }
        self.step(come).await;
        // Whoever is missing is not waited for any longer.
        self.street.now_ms += 300_001;
        self.step(vec![]).await;
    }

    async fn step(&mut self, inputs: Vec<Input>) {
        self.street.step(inputs).await;
        while self.street.desk.next_due_ms(self.street.now_ms) <= self.street.now_ms {
            self.crash().await;
            self.street.step(vec![]).await;
        }
        self.crash().await;
    }

    async fn crash(&mut self) {
        if self.crashing {
            self.street.restart().await;
        }
    }

    /// So many slots, and two more: everything comes that was still to come, and the next settlement
    /// finds it.
    async fn run(mut self, slots: i64) -> Street {
        for number in 0..=slots + 2 {
            self.slot(number, number > slots).await;
        }
        self.street
    }
}

/// Five minutes, so that a slot is settled before the next one ends.
fn market() -> MarketConfig {
    MarketConfig { metering_deadline_s: 300, ..MarketConfig::default() }
}

/// What every account should have, by an auditor who knows all meters from the start.
fn as_if_on_time(street: &Street, slots: i64) -> Balances {
    let terms =
        Terms::new(Price::from_e5_per_kwh(28_800), Price::from_e5_per_kwh(12_310)).expect("valid");
    let mut posted: Vec<Transfer> = Vec::new();
    for number in 1..=slots {
        let slot = START.offset(number);
        let cleared = street.cleared.iter().find(|(clearing, _)| clearing.slot == slot);
        let (clearing, seed) = cleared.expect("cleared");
        let member = |home: usize| {
            let (import, export) = energy(home, number);
            let wh = |wh: u64| Energy::from_wh(i64::try_from(wh).expect("small"));
            let (import, export) = (wh(import), wh(export));
            let span = Span { slot, slots: 1, import, export, produced: None };
            Member {
                point: street.homes[home].point.clone(),
                renewable: true,
                metering: Metering { on_time: Some(span), late: vec![], settled: None },
            }
        };
        let members: Vec<Member> = (0..HOMES).map(member).collect();
        let basis = SlotBasis {
            clearing,
            seed: *seed,
            terms: &|_| terms,
            policy: Policy { rate_wei_per_wh: 0, cap_wei: 0 },
            grid: &StreetGrid::default(),
            sharing: &StreetSharing::default(),
            members: &members,
        };
        let outcome = rules::settle_slot(&basis, &Cumulative::default()).expect("settles");
        posted.extend(outcome.transfers);
    }
    Balances::of(&posted).expect("sound")
}

/// Everything that must hold at the end, whatever came when.
async fn check(street: &Street, slots: i64) {
    let last = START.offset(slots);
    assert!(street.desk.next_settle() > last, "everything is settled");
    let expected = as_if_on_time(street, slots);
    assert_log(street);
    // The newest bills say the same as the ledger, and all energy is in its own slot.
    let mut owed = BTreeMap::new();
    for (home, home_of) in street.homes.iter().enumerate() {
        let mut paid = 0;
        for number in 1..=slots {
            let bill = street.bill(home, START.offset(number)).expect("settled").statement;
            let (import, export) = energy(home, number);
            assert!(bill.measured && bill.late.is_empty(), "home {home}, slot {number}: {bill:?}");
            assert_eq!(bill.import_wh.unsigned_abs(), import);
            assert_eq!(bill.export_wh.unsigned_abs(), export);
            paid += bill.amount;
        }
        owed.insert(format!("household:{}", home_of.point), -paid);
    }
    let reader = crate::record::reader(street).await;
    let found = reader.balances(last).await.expect("readable");
    let found: BTreeMap<String, _> =
        found.into_iter().filter(|(_, balance)| !balance.is_zero()).collect();
    let expected: BTreeMap<String, _> = expected
        .iter()
        .filter(|(_, balance)| !balance.is_zero())
        .map(|(account, balance)| (account.to_string(), balance))
        .collect();
    assert_eq!(found, expected);
    for (account, balance) in owed {
        assert_eq!(found.get(&account).map_or(0, |balance| balance.nano()), balance, "{account}");
    }
    let text =
        bundle(street, 1, street.desk.next_settle().previous().number() - START.number()).await;
    let report = verify(text.as_bytes(), &Trust::default()).expect("memory can be read");
    assert!(report.verified, "{:#?}", report.findings);
    let corrected = street.count("SELECT COUNT(*) FROM header WHERE version > 1").await;
    assert_eq!(report.counts.corrected, corrected.unsigned_abs());
}

/// Every version stands in the log, in order, and later ones before the slot that found them.
fn assert_log(street: &Street) {
    let mut entries: Vec<_> = street.deliveries().into_iter().map(|d| d.header).collect();
    entries.sort_by_key(|header| header.index);
    entries.dedup();
    let mut versions: BTreeMap<i64, u32> = BTreeMap::new();
    let (mut newest, mut corrected) = (i64::MIN, i64::MIN);
    for (index, header) in entries.iter().enumerate() {
        assert_eq!(header.index, index as u64);
        let version = versions.entry(header.slot).or_insert(0);
        *version += 1;
        assert_eq!(header.version, *version, "slot {}", header.slot);
        assert_eq!(header.totals.debit, header.totals.credit);
        if header.version == 1 {
            assert!(header.slot > newest);
            (newest, corrected) = (header.slot, i64::MIN);
        } else {
            assert!(header.slot <= newest && header.slot > corrected);
            corrected = header.slot;
        }
    }
}

fn silent(home: usize, delays: &[usize]) -> Vec<Vec<usize>> {
    let mut all = vec![Vec::new(); HOMES];
    all[home] = delays.to_vec();
    all
}

#[tokio::test]
async fn a_silent_seller_comes_back_and_nobody_has_paid_for_it() {
    for crashing in [false, true] {
        // The seller's reading of slot 2 comes with that of slot 3.
        let run = Run::open(silent(0, &[0, 0, 1]), crashing).await;
        let street = run.run(5).await;
        let slot = START.offset(2);
        let versions: Vec<_> = (0..HOMES)
            .map(|home| {
                let first = street.delivery(home, slot).expect("settled").statement;
                let bill = street.bill(home, slot).expect("settled").statement;
                assert_eq!((first.version, bill.version), (1, 2));
                assert_eq!(bill.reward_wh, first.reward_wh, "earned in time or never");
                bill.amount - first.amount
            })
            .collect();
        // Without the seller everybody bought from the supplier beyond the schedule.
        assert!(versions[0] < 0, "the seller gets what it sold: {versions:?}");
        assert!(versions.iter().any(|moved| *moved != 0));
        check(&street, 5).await;
    }
}

#[tokio::test]
async fn several_households_late_for_one_slot_make_one_version_and_twice_late_makes_three() {
    let delays = vec![vec![], vec![0, 0, 1], vec![0, 0, 1], vec![0, 0, 2]];
    let street = Run::open(delays, true).await.run(6).await;
    let slot = START.offset(2);
    let missing: Vec<u32> = (1..=3)
        .map(|version| {
            let deliveries = street.deliveries().into_iter();
            let mut of_version = deliveries.filter(|delivery| {
                delivery.statement.slot == slot.number() && delivery.statement.version == version
            });
            of_version.next().expect("settled").header.missing
        })
        .collect();
    assert_eq!(missing, [3, 1, 0]);
    check(&street, 6).await;
}

#[tokio::test]
async fn a_household_that_was_away_for_long_is_settled_in_bounded_steps() {
    let away = 40;
    let mut delays = vec![0];
    delays.extend((1..=away).map(|number| away + 1 - number));
    let mut run = Run::open(silent(0, &delays), false).await;
    for number in 0..=away {
        run.slot(i64::try_from(number).expect("small"), false).await;
    }
    let slot = START.offset(i64::try_from(away).expect("small") + 1);
    run.trade(slot.next()).await;
    run.street.at(slot.end_ms() + 500).await;
    let mut inputs = Vec::new();
    for home in 0..HOMES {
        inputs.extend(run.waiting[home].drain(..).map(|(_, input)| input));
        let (import, export) = energy(home, slot.number() - START.number());
        inputs.push(run.street.homes[home].reading(slot, import, export));
    }
    run.street.step(inputs).await;
    let versions = "SELECT COUNT(*) FROM header WHERE version = 2";
    for expected in [16, 32, 40] {
        assert_eq!(run.street.count(versions).await, expected);
        if expected < 40 {
            assert_eq!(run.street.desk.next_settle(), slot, "it waits for what comes before it");
            assert_eq!(run.street.desk.next_due_ms(run.street.now_ms), run.street.now_ms);
            // A crash in between changes nothing but the time that is waited.
            run.street.restart().await;
            run.street.at(run.street.now_ms + 300_001).await;
        }
    }
    assert_eq!(run.street.desk.next_settle(), slot.next());
    check(&run.street, slot.number() - START.number()).await;
}

/// Beyond the correction window late energy goes with the next bills, as much as fits into each.
#[tokio::test]
async fn a_bill_stays_a_message_however_long_a_meter_was_away() {
    let market = MarketConfig { correct_within_slots: 0, ..market() };
    let mut street = Street::open_with(4, StreetGrid::default(), market).await;
    let mut late = Vec::new();
    for number in 0..=73 {
        let slot = START.offset(number);
        street.at(slot.end_ms() + 500).await;
        let mut readings: Vec<_> =
            [0, 2, 3].map(|home| street.homes[home].reading(slot, 50, 10)).into();
        match number {
            0 => readings.push(street.homes[1].reading(slot, 0, 0)),
            // It is away, and sends everything at once.
            1..=70 => late.push(street.homes[1].reading(slot, 100, 0)),
            71 => {
                readings.append(&mut late);
                readings.push(street.homes[1].reading(slot, 100, 0));
            }
            _ => readings.push(street.homes[1].reading(slot, 100, 0)),
        }
        street.step(readings).await;
        street.at(slot.end_ms() + 300_001).await;
        if number == 71 {
            // A crash in between loses nothing of what waits.
            street.restart().await;
        }
    }
    let lines = |number: i64| {
        let delivery = street.delivery(1, START.offset(number)).expect("settled");
        let size = serde_json::to_vec(&delivery).expect("plain").len();
        assert!(size <= MAX_MESSAGE_BYTES, "{size} bytes");
        let late = &delivery.statement.late;
        let ends = late.last().map(|line| line.slot - START.number());
        (late.len(), ends, delivery.statement.measured)
    };
    assert_eq!(
        [70, 71, 72, 73].map(lines),
        [(0, None, false), (32, Some(32), false), (32, Some(64), false), (8, Some(72), true),]
    );
    assert_log(&street);
    assert_eq!(street.settled_balance().await["import"], 73 * (3 * 50 + 100));
    let text = bundle(&street, 1, 73).await;
    let report = verify(text.as_bytes(), &Trust::default()).expect("memory can be read");
    assert!(report.verified, "{:#?}", report.findings);
}

#[tokio::test]
async fn energy_of_several_slots_goes_with_the_next_bill_in_its_own_order() {
    let mut street = Street::open_with(4, StreetGrid::default(), market()).await;
    street.at(START.end_ms() + 500).await;
    let readings = street.homes.iter_mut().map(|home| home.reading(START, 0, 0)).collect();
    street.step(readings).await;
    // Home 1 reads slots 1, 4 (a span of three slots), 5 and 7 (of two), and nothing arrives until then.
    let mut late = Vec::new();
    for number in 1..=7 {
        let slot = START.offset(number);
        street.at(slot.end_ms() + 500).await;
        if [1, 4, 5, 7].contains(&number) {
            late.push(street.homes[1].reading(slot, 100, 0));
        }
        let mut readings: Vec<_> =
            [0, 2, 3].map(|home| street.homes[home].reading(slot, 50, 10)).into_iter().collect();
        if number == 7 {
            readings.append(&mut late);
        }
        street.step(readings).await;
        street.at(slot.end_ms() + 300_001).await;
    }
    let point = street.homes[1].point.to_string();
    let found: Vec<_> = street
        .deliveries()
        .into_iter()
        .filter(|delivery| delivery.statement.point == point)
        .filter(|delivery| {
            delivery.statement.version > 1 || delivery.statement.slot > START.number() + 6
        })
        .map(|delivery| {
            let statement = delivery.statement;
            let late: Vec<_> = statement
                .late
                .iter()
                .map(|line| (line.slot - START.number(), line.slots))
                .collect();
            (statement.slot - START.number(), statement.version, statement.measured, late)
        })
        .collect();
    let expected = [(1, 2, true, vec![]), (5, 2, true, vec![(4, 3)]), (7, 1, false, vec![(7, 2)])];
    assert_eq!(found, expected);
    assert_log(&street);
    let text = bundle(&street, 1, 7).await;
    let report = verify(text.as_bytes(), &Trust::default()).expect("memory can be read");
    assert!(report.verified, "{:#?}", report.findings);
    assert_eq!(street.settled_balance().await["import"], 4 * 100 + 7 * 3 * 50);
}

#[tokio::test]
async fn statements_are_replayed_in_the_order_of_the_log() {
    let run = Run::open(silent(0, &[0, 0, 1]), false).await;
    let mut street = run.run(4).await;
    let point = street.homes[2].point.clone();
    for (from_index, from_slot, expected) in [
        (0, 0, vec![(1, 1), (2, 1), (2, 2), (3, 1), (4, 1), (5, 1), (6, 1)]),
        (2, 0, vec![(2, 2), (3, 1), (4, 1), (5, 1), (6, 1)]),
        (0, START.number() + 3, vec![(3, 1), (4, 1), (5, 1), (6, 1)]),
        (0, START.number() + 2, vec![(2, 1), (2, 2), (3, 1), (4, 1), (5, 1), (6, 1)]),
        (7, 0, vec![]),
        (u64::MAX, i64::MAX, vec![]),
    ] {
        let found = street.store.deliveries(&point, from_index, Slot::new(from_slot), 96).await;
        let found: Vec<(i64, u32)> = found
            .expect("readable")
            .iter()
            .map(|text| serde_json::from_str::<protocol::Delivery>(text).expect("as sent"))
            .map(|found| (found.statement.slot - START.number(), found.statement.version))
            .collect();
        assert_eq!(found, expected, "{from_index} {from_slot}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10, ..ProptestConfig::default() })]

    /// Whatever order and lateness readings come in: the ledger ends as if all had been on time.
    #[test]
    fn lateness_changes_nothing_in_the_end(
        delays in prop::collection::vec(prop::collection::vec(0..4_usize, 8), HOMES),
        crashing in any::<bool>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("threads").block_on(async {
            let run = Run::open(delays, crashing).await;
            let street = run.run(8).await;
            check(&street, 8).await;
        });
    }
}
