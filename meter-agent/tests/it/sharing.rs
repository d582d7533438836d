//! Streets that share in other ways than by an auction alone: no orders, and bills that are checked
//! as far as a household can.

use market::Terms;
use market::sharing::{Rule, Street, rates};
use protocol::{B256, Header, LegalLine, SharingLine, Statement};
use units::{Energy, Price, Slot};

use crate::bills::assert_finding_of;
use crate::support::operator::{FEED_IN, RETAIL};
use crate::support::world::{FIRST, World};

/// The slot whose bills are looked at; the first that was offered under the rule.
const SLOT: Slot = FIRST.offset(5);

/// A household in a street that shared by auctions and now shares by `rule`: up to the reading.
fn world(rule: &str) -> World {
    let mut world = World::new();
    let mut orders = world.honest_run(3);
    world.operator.rule = rule.to_owned();
    for i in 3..5 {
        let slot = FIRST.offset(i);
        let order = orders.remove(&slot.number());
        let next = world.honest_slot(slot, 125, 4, order.as_ref());
        assert_eq!(next.is_some(), rule == "auction", "{rule}: {next:?}");
    }
    world.edge(SLOT, 300, 40);
    world.receive();
    world
}

/// Turns an auction's bill without any trade into an honest one by another rule and key.
fn share(rule: &str, key: &str, statement: &mut Statement, header: &mut Header) {
    let rule: Rule = rule.parse().expect("a rule");
    let price = Price::from_nano_per_wh;
    let terms = Terms::new(price(RETAIL), price(FEED_IN)).expect("on the tick");
    let (import, export) = (statement.import_wh, statement.export_wh);
    // Two thirds of the import and half of the export are allocated, where there is a key.
    let (taken, given) = if key == "none" { (0, 0) } else { (import * 2 / 3, export / 2) };
    let (rest_in, rest_out) = (import - taken, export - given);
    let wh = Energy::from_wh;
    let street = Street { import: wh(header.short_wh), export: wh(header.long_wh) };
    let nano = |amount: i128| i64::try_from(amount).expect("small");
    let (pays, gets) = match (rule, rates(rule, terms, street).expect("in range")) {
        (Rule::Auction, _) => (statement.amount, 0),
        (Rule::Allocated { price }, _) => {
            let inside = price.price(terms).nano_per_wh();
            (taken * inside + rest_in * RETAIL, given * inside + rest_out * FEED_IN)
        }
        (_, Some(rates)) => (
            nano(rates.buy.times(import).expect("small")),
            nano(rates.sell.times(export).expect("small")),
        ),
        other => panic!("{other:?}"),
    };
    let residual = rest_in * RETAIL - rest_out * FEED_IN;
    let shortfall = if key == "none" { 0 } else { 1_000 };
    let difference = pays - gets + shortfall - residual;
    let legal = LegalLine { taken_wh: taken, given_wh: given, residual, shortfall, difference };
    let legal = if key == "none" { vec![] } else { vec![legal] };
    let line = SharingLine { rule: rule.to_string(), key: key.to_owned(), pays, gets, legal };
    statement.sharing = vec![line];
    statement.amount = pays - gets + shortfall;
    header.sharing = B256::repeat_byte(7);
}

/// The bill of the slot, honest or not; the verdict comes with it.
fn settle(world: &mut World, lie: impl FnOnce(&mut Statement, &mut Header)) {
    let mut digest = B256::ZERO;
    let mut round = world.operator.settle_with(SLOT, world.now_ms, None, |statement, header| {
        lie(statement, header);
        digest = header.sharing;
    });
    round.clearing.sharing = digest;
    world.hear_round(&round);
    world.hear_delivery(&round.delivery);
}

const HONEST: [(&str, &str); 9] = [
    ("none", "none"),
    ("none", "pro-rata"),
    ("mid-market", "none"),
    ("mid-market", "static"),
    ("supply-demand", "none"),
    ("supply-demand", "pairs"),
    ("bill-sharing per interval", "none"),
    ("allocated at the middle", "pro-rata"),
    ("allocated at 150000", "cascade"),
];

#[test]
fn nobody_bids_where_nothing_is_auctioned_and_honest_bills_hold() {
    for (rule, key) in HONEST {
        let mut world = world(rule);
        settle(&mut world, |statement, header| share(rule, key, statement, header));
        let audit = world.audits().pop().expect("a verdict");
        // With nothing to gain nothing of a shortfall may be borne.
        if (rule, key) == ("none", "pro-rata") {
            assert!(audit.reason.contains("for a gain of 0"), "{}", audit.reason);
        } else {
            assert!(audit.verified, "{rule} under {key}: {}", audit.reason);
        }
    }
}

#[test]
fn every_lie_about_the_sharing_is_found() {
    type Lie = fn(&mut Statement, &mut Header);
    let lies: &[(&str, &str, Lie, &str)] = &[
        ("mid-market", "static", |s, _| s.sharing.clear(), "digest of a rule"),
        ("mid-market", "static", |_, h| h.sharing = B256::ZERO, "digest of the auction alone"),
        ("mid-market", "static", |s, _| s.sharing.push(s.sharing[0].clone()), "number of ways"),
        ("mid-market", "static", |s, _| s.sharing[0].rule = "none".into(), "rule is"),
        ("mid-market", "static", |s, _| s.sharing[0].pays += 2, "import of 300 Wh"),
        ("mid-market", "static", |s, _| s.sharing[0].gets -= 2, "export of 40 Wh"),
        ("mid-market", "static", |_, h| h.short_wh += 9, "bill"),
        ("mid-market", "static", |s, _| s.sharing[0].legal.clear(), "legal allocation"),
        ("mid-market", "static", |s, _| s.sharing[0].legal[0].taken_wh = 301, "301 Wh taken"),
        ("mid-market", "static", |s, _| s.sharing[0].legal[0].given_wh = -1, "-1 Wh given"),
        ("mid-market", "static", |s, _| s.sharing[0].legal[0].taken_wh -= 1, "supplier's part"),
        ("mid-market", "static", |s, _| s.sharing[0].legal[0].residual += 1, "supplier's part"),
        ("mid-market", "static", |s, _| s.sharing[0].legal[0].difference -= 1, "difference"),
        ("mid-market", "static", |s, _| s.amount += 1, "amount is"),
        ("mid-market", "static", |s, _| s.bought_wh = 1, "bought"),
        (
            "mid-market",
            "static",
            |s, _| {
                let legal = &mut s.sharing[0].legal[0];
                (legal.shortfall, legal.difference) =
                    (legal.shortfall + 90_000_000, legal.difference + 90_000_000);
                s.amount += 90_000_000;
            },
            "for a gain of",
        ),
        ("allocated at 150000", "pro-rata", |s, _| s.sharing[0].pays -= 1, "allocated energy"),
        ("allocated at 150000", "none", |_, _| {}, "billed by allocated energy"),
        ("supply-demand", "none", |_, h| h.totals.local_wh -= 1, "header's sums"),
    ];
    for (rule, key, lie, finding) in lies {
        let mut world = world(rule);
        settle(&mut world, |statement, header| {
            share(rule, key, statement, header);
            lie(statement, header);
        });
        assert_finding_of(&world, &format!("{rule} {key}"), finding);
    }
}

#[test]
fn another_digest_than_the_clearings_is_found() {
    let mut world = world("auction");
    let order = world.orders().into_iter().find(|order| order.slot == SLOT.number());
    let round = world.operator.settle_with(SLOT, world.now_ms, order.as_ref(), |s, h| {
        share("auction", "none", s, h);
    });
    world.hear_round(&round);
    world.hear_delivery(&round.delivery);
    assert_finding_of(&world, "digest", "digest of the sharing rule");
}
