//! Streets that share in other ways than by an auction alone: every rule and key through the desk,
//! with every sum, through a change of rule, and again from the bundle.

use std::collections::BTreeMap;

use market::sharing::{Inside, Key, Keys, Levels, Per, Rounds, Rule, Sharing};
use protocol::{SharingLine, Signed, Statement};
use units::Price;

use crate::bundle::{check, find, lines, seal_again, told};
use crate::desk::{pass, read_all};
use crate::http::world_of;
use crate::record::{bundle, reader};
use crate::street::{START, Street, point};

const RETAIL: i64 = 288_000;
const FEED_IN: i64 = 123_100;
/// Home 0 exports 450 Wh in the slot; the others import.
const IMPORT: [i64; 4] = [0, 320, 390, 100];
const EXPORT: i64 = 450;

fn equal() -> Key {
    let keys = (0..4).map(|number| (point(number), 250_000)).collect();
    Key::Static { keys: Keys::new(keys).expect("everything"), rounds: Rounds::default() }
}

fn keys() -> Vec<Key> {
    let levels = Levels::new(vec![vec![point(3)], vec![point(1)]]).expect("once");
    vec![
        Key::None,
        Key::ProRata,
        equal(),
        Key::Cascade { levels },
        Key::Pairs { then: Box::new(Key::None) },
    ]
}

fn rules() -> Vec<Rule> {
    vec![
        Rule::None,
        Rule::Auction,
        Rule::MidMarket,
        Rule::SupplyDemand,
        Rule::BillSharing { per: Per::Interval },
        Rule::Allocated { price: Inside::Middle },
        Rule::Allocated { price: Inside::Fixed(Price::from_e5_per_kwh(15_000)) },
    ]
}

/// A street past its first readings, before the end of the first settled slot.
async fn open(sharing: Sharing) -> Street {
    let mut street = Street::open_sharing(4, sharing).await;
    pass(&mut street, START).await;
    let readings = street.homes.iter_mut().map(|home| home.reading(START, 0, 0)).collect();
    street.step(readings).await;
    street
}

/// Settles the slot after the first readings; the statements of the four homes.
async fn settle(street: &mut Street) -> Vec<Statement> {
    let slot = START.next();
    pass(street, slot).await;
    let readings = read_all(street, slot);
    street.step(readings).await;
    let statement = |home| street.delivery(home, slot).expect("settled").statement;
    (0..4).map(statement).collect()
}

fn line(statement: &Statement) -> &SharingLine {
    assert_eq!(statement.sharing.len(), 1);
    &statement.sharing[0]
}

#[tokio::test]
async fn every_rule_under_every_key_adds_up_and_verifies() {
    for rule in rules() {
        for key in keys() {
            let sharing = Sharing { rule, key };
            let needs_key = matches!(rule, Rule::Allocated { .. });
            if sharing == Sharing::default() || needs_key && sharing.key == Key::None {
                continue;
            }
            let what = format!("{rule} under {}", sharing.key.name());
            let mut street = open(sharing.clone()).await;
            let statements = settle(&mut street).await;
            sums_hold(&street, &sharing, &statements, &what).await;
            let report = check(bundle(&street, 1, 1).await.as_bytes());
            assert!(report.verified, "{what}:\n{}", told(&report));
        }
    }
}

/// Bills, ledger, allocation and header of the settled slot.
async fn sums_hold(street: &Street, sharing: &Sharing, statements: &[Statement], what: &str) {
    let slot = START.next();
    let header = street.delivery(0, slot).expect("settled").header;
    let balances = reader(street).await.balances(slot).await.expect("readable");
    assert_eq!(balances.get("pool").map_or(0, |one| one.nano()), 0, "{what}");
    assert_eq!(balances.values().map(|one| one.nano()).sum::<i64>(), 0, "{what}");
    let paid: i64 = statements.iter().map(|statement| statement.amount).sum();
    assert_eq!(paid, header.totals.supplier, "{what}");
    for statement in statements {
        let balance = balances.get(&format!("household:{}", statement.point));
        assert_eq!(balance.map_or(0, |one| -one.nano()), statement.amount, "{what}");
        let line = line(statement);
        let shortfall = line.legal.first().map_or(0, |legal| legal.shortfall);
        assert_eq!(statement.amount, line.pays - line.gets + shortfall, "{what}");
        assert_eq!(line.legal.len(), usize::from(sharing.key != Key::None), "{what}");
        for legal in &line.legal {
            let rest = (statement.import_wh - legal.taken_wh, statement.export_wh - legal.given_wh);
            assert_eq!(legal.residual, rest.0 * RETAIL - rest.1 * FEED_IN, "{what}");
            assert_eq!(statement.amount, legal.residual + legal.difference, "{what}");
        }
    }
    let rows = reader(street).await.allocation(slot, slot).await.expect("readable");
    assert_eq!(rows.len(), if sharing.key == Key::None { 0 } else { 4 }, "{what}");
    let (taken, given): (i64, i64) =
        rows.iter().fold((0, 0), |sum, row| (sum.0 + row.taken.wh(), sum.1 + row.given.wh()));
    assert_eq!(taken, given, "{what}");
    for (row, statement) in rows.iter().zip(statements) {
        let legal = &line(statement).legal[0];
        assert_eq!((row.taken.wh(), row.given.wh()), (legal.taken_wh, legal.given_wh), "{what}");
    }
    let all = match sharing.key {
        Key::ProRata | Key::Cascade { .. } => Some(EXPORT),
        // A quarter for each: home 0 needs nothing, home 3 only 100 Wh.
        Key::Static { .. } => Some(113 + 112 + 100),
        _ => None,
    };
    assert!(all.is_none_or(|all| (taken - all).abs() <= 1), "{what}: {taken}");
    // What the supplier bills is what the allocation, or else the rule, leaves to it.
    let inside = match (&sharing.key, sharing.rule) {
        (Key::None, Rule::None) => 0,
        (Key::None, _) => EXPORT,
        _ => taken,
    };
    let outside = (810 - inside) * RETAIL - (EXPORT - inside) * FEED_IN;
    assert_eq!(header.totals.supplier, outside, "{what}");
}

#[tokio::test]
async fn the_middle_is_paid_by_hand_and_nobody_orders() {
    let mut street = open(Sharing { rule: Rule::MidMarket, key: Key::ProRata }).await;
    // All orders of the round so far were refused, with what to do instead.
    let verdict = street.verdicts(1).pop().expect("answered");
    assert!(!verdict.accepted, "{verdict:?}");
    assert!(verdict.reason.contains("no auction") && verdict.reason.contains("mid-market"));
    assert_eq!(street.count("SELECT COUNT(*) FROM book_order").await, 0);
    let offer = street
        .sent
        .iter()
        .rfind(|sent| matches!(sent.topic, protocol::Topic::Public(protocol::Public::Offer)));
    let offer = Signed::<protocol::Offer>::parse(&offer.expect("offered").payload).expect("own");
    assert_eq!(offer.body.rule, "mid-market");

    let statements = settle(&mut street).await;
    let middle = (RETAIL + FEED_IN) / 2;
    let (roof, all) = (&statements[0], IMPORT.iter().sum::<i64>());
    assert_eq!(roof.amount, -EXPORT * middle, "all of the export stays inside");
    let collected = EXPORT * middle + (all - EXPORT) * RETAIL;
    for (statement, import) in statements.iter().zip(IMPORT) {
        let exact = i128::from(collected) * i128::from(import) / i128::from(all);
        let off = (i128::from(line(statement).pays) - exact).abs();
        assert!(off <= 1, "{}: {off}", statement.point);
        assert_eq!((statement.bought_wh, statement.sold_wh), (0, 0));
    }
    let header = street.delivery(0, START.next()).expect("settled").header;
    assert_eq!((header.short_wh, header.long_wh), (all, EXPORT), "the street's sums are public");
    assert_eq!(statements[0].reward_wh, EXPORT, "rewards go by the meters");
}

#[tokio::test]
async fn a_silent_meter_is_shared_with_when_it_speaks() {
    let mut street = open(Sharing { rule: Rule::Auction, key: equal() }).await;
    let slot = START.next();
    pass(&mut street, slot).await;
    let mut readings = read_all(&mut street, slot);
    let withheld = readings.pop().expect("four readings");
    street.step(readings).await;
    street.at(slot.end_ms() + 900_001).await;
    let silent = street.delivery(3, slot).expect("settled at the deadline").statement;
    assert!(!silent.measured && line(&silent).legal.is_empty());
    let rows = reader(&street).await.allocation(slot, slot).await.expect("readable");
    assert_eq!(rows.len(), 3, "unknown is not zero");
    assert_eq!(street.settled_balance().await["pool"], 0);
    let report = check(bundle(&street, 1, 1).await.as_bytes());
    assert!(report.verified, "{}", told(&report));

    // It speaks, and the slot is settled again as if it had spoken in time.
    let next = slot.next();
    street.at(next.end_ms() + 500).await;
    let mut readings = vec![withheld];
    readings.extend(read_all(&mut street, next));
    street.step(readings).await;
    let mut spoken = open(Sharing { rule: Rule::Auction, key: equal() }).await;
    let in_time = settle(&mut spoken).await;
    let again = street.deliveries().into_iter().filter(|delivery| {
        (delivery.statement.slot, delivery.statement.version) == (slot.number(), 2)
    });
    let again: Vec<Statement> = again.map(|delivery| delivery.statement).collect();
    assert_eq!(again.len(), 4);
    for (again, in_time) in again.iter().zip(&in_time) {
        let figures = |one: &Statement| (one.amount, one.sharing.clone(), one.import_wh);
        assert_eq!(figures(again), figures(in_time), "{}", again.point);
    }
    let rows = reader(&street).await.allocation(slot, slot).await.expect("readable");
    assert!(rows.len() == 4 && rows.iter().all(|row| row.version == 2), "{rows:?}");
    assert_eq!(street.settled_balance().await["pool"], 0);
    let report = check(bundle(&street, 1, 2).await.as_bytes());
    assert!(report.verified && report.counts.corrected == 1, "{}", told(&report));
}

#[tokio::test]
async fn the_grid_operator_gets_its_file_and_a_member_its_words() {
    let mut street = open(Sharing { rule: Rule::MidMarket, key: equal() }).await;
    settle(&mut street).await;
    let world = world_of(street).await;
    let slot = START.next().number();
    let range = format!("/api/v1/allocation?from={slot}&to={slot}");
    let rows = world.json(&range).await["allocation"].clone();
    let sum = |name: &str| -> i64 {
        rows.as_array().expect("a list").iter().map(|row| row[name].as_i64().expect(name)).sum()
    };
    assert_eq!((sum("import_wh"), sum("export_wh")), (810, EXPORT));
    assert_eq!(sum("taken_wh"), sum("given_wh"));
    let file = world.get(&format!("{range}&format=csv")).await.text();
    let lines: Vec<&str> = file.lines().collect();
    assert_eq!(lines.len(), 5, "{file}");
    assert!(lines[0].starts_with("slot,start,point,import_wh"), "{file}");
    assert!(lines[4].ends_with(",H03,100,0,100,0,0,0,1"), "{file}");
    assert_eq!(world.get("/api/v1/allocation?from=9&to=1").await.status, 400);

    let street = world.json("/api/v1/street").await["sharing"].clone();
    assert_eq!(
        (street["rule"].as_str(), street["key"].as_str()),
        (Some("mid-market"), Some("static"))
    );
    assert_eq!(street["takes_orders"], false);
    assert_eq!(street["form"]["key"]["static"]["keys"]["H02"], 250_000);
    // All of the export stays inside at the middle; of the import the supplier's part is dearer.
    let prices = world.json(&format!("/api/v1/slots/{slot}")).await["members"].clone();
    let middle = (RETAIL + FEED_IN) / 2;
    let buy = (EXPORT * middle + (810 - EXPORT) * RETAIL) / 810;
    assert_eq!(prices["sell"], middle);
    assert!(prices["buy"].as_i64().is_some_and(|shown| (shown - buy).abs() <= 1), "{prices}");
    let bill = world.json("/api/v1/households/H03").await["statements"][0].clone();
    let legal = &bill["sharing"]["legal"];
    assert_eq!((&legal["taken_wh"], &bill["local_import_wh"]), (&100.into(), &100.into()));
    let parts = ["residual_nano", "difference_nano"].map(|name| legal[name].as_i64().expect(name));
    assert_eq!(bill["amount_nano"].as_i64(), Some(parts.iter().sum()));
}

#[tokio::test]
async fn each_slot_keeps_the_rule_it_was_cleared_under() {
    let mut street = open(Sharing { rule: Rule::SupplyDemand, key: Key::ProRata }).await;
    // The slot is cleared; then the community decides otherwise, and the controller starts anew.
    let slot = START.next();
    street.share_by(Sharing { rule: Rule::Auction, key: Key::None });
    let mut street = street.crash().await;
    let first = settle(&mut street).await;
    assert_eq!(line(&first[0]).rule, "supply-demand");
    let next = slot.next();
    pass(&mut street, next).await;
    let readings = read_all(&mut street, next);
    street.step(readings).await;
    let second = street.delivery(0, next).expect("settled");
    assert!(second.statement.sharing.is_empty() && second.header.sharing.is_zero());
    assert!(second.statement.sold_wh > 0, "and orders are taken again");
    let text = bundle(&street, 1, 2).await;
    assert_eq!(text.matches("\"kind\":\"sharing\"").count(), 1);
    let report = check(text.as_bytes());
    assert!(report.verified, "{}", told(&report));
}

#[tokio::test]
async fn orders_of_an_auction_that_is_no_more_are_kept_and_not_used() {
    let mut street = Street::open(4).await;
    pass(&mut street, START).await;
    let readings = street.homes.iter_mut().map(|home| home.reading(START, 0, 0)).collect();
    street.step(readings).await;
    let slot = START.offset(2);
    street.at(slot.start_ms() - 300_000).await;
    let orders = vec![
        street.homes[0].order(slot, "sell", 500, 15_000),
        street.homes[1].order(slot, "buy", 300, 25_000),
    ];
    street.step(orders).await;
    street.share_by(Sharing { rule: Rule::MidMarket, key: Key::None });
    let mut street = street.crash().await;
    let first = START.next();
    street.at(slot.start_ms() - 60_000).await;
    street.at(first.end_ms() + 500).await;
    for slot in [first, slot] {
        street.at(slot.end_ms() + 500).await;
        let readings = read_all(&mut street, slot);
        street.step(readings).await;
    }
    let delivery = street.delivery(0, slot).expect("settled");
    assert_eq!((delivery.statement.sold_wh, delivery.header.scheduled_wh), (0, 0));
    let report = check(bundle(&street, 1, 2).await.as_bytes());
    assert!(report.verified, "{}", told(&report));
}

#[tokio::test]
async fn a_changed_allocation_rule_or_key_is_named() {
    let mut street = open(Sharing { rule: Rule::MidMarket, key: equal() }).await;
    settle(&mut street).await;
    let lines = lines(&bundle(&street, 1, 1).await);
    let forged = |kind: &str, nth: usize, from: &str, to: &str| {
        let mut lines = lines.clone();
        let at = find(&lines, kind, nth);
        let changed = lines[at].replacen(from, to, 1);
        assert_ne!(changed, lines[at], "{from} is in {}", lines[at]);
        lines[at] = changed;
        told(&check(seal_again(&lines).as_bytes()))
    };
    let legal =
        line(&street.delivery(1, START.next()).expect("settled").statement).legal[0].clone();
    let by_field: BTreeMap<&str, i64> = BTreeMap::from([
        ("taken_wh", legal.taken_wh),
        ("given_wh", legal.given_wh),
        ("residual", legal.residual),
        ("shortfall", legal.shortfall),
        ("difference", legal.difference),
    ]);
    for (field, value) in by_field {
        let (from, to) = (format!("\"{field}\":{value}"), format!("\"{field}\":{}", value + 1));
        let told = forged("statement", 1, &from, &to);
        assert!(told.contains(field) && told.contains("H01"), "{field}: {told}");
    }
    let told = forged("statement", 2, "\"mid-market\"", "\"none\"");
    assert!(told.contains("rule"), "{told}");
    // Another part for two members: the clearing names another digest, so nothing fits any more.
    let told =
        forged("sharing", 0, "\"H01\":250000,\"H02\":250000", "\"H01\":300000,\"H02\":200000");
    assert!(told.contains("names a sharing rule"), "{told}");
    let told = forged("sharing", 0, "\"H03\":250000", "\"H77\":250000");
    assert!(told.contains("not a metering point"), "{told}");
}
