//! Bills are believed when everything holds, and only then.

use meter_agent::core::policy::Style;
use meter_agent::core::{Filled, Input};
use proptest::prelude::*;
use protocol::{
    Audit, B256, Delivery, Down, Header, Order, Public, Side, Statement, Step, Topic, U256, merkle,
};
use units::Slot;

use crate::support::operator::{Operator, RETAIL, point};
use crate::support::world::{FIRST, World};

#[test]
fn honest_bills_of_all_kinds_hold() {
    let mut world = World::new();
    let orders = world.honest_run(12);
    assert!(orders.len() >= 9, "trades: {}", orders.len());
    let audits = world.audits();
    let wrong: Vec<_> = audits.iter().filter(|audit| !audit.verified).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
    assert_eq!(audits.len(), 12);
    let status = world.core.status();
    assert_eq!((status.verified, status.failed), (12, 0));
    assert_eq!(status.verified_slot, Some(FIRST.offset(11).number()));
    assert!(world.evidence.is_empty());
}

#[test]
fn a_missed_edge_is_billed_late_and_a_second_time_it_is_not_accepted() {
    let mut world = World::new();
    world.honest_run(3);
    // Two edges are missed; nothing is measured for their slots, and the third bridges them.
    for i in 3..5 {
        let slot = FIRST.offset(i);
        world.now_ms = slot.end_ms() + 400_000;
        world.step(Input::Tick);
        let round = world.operator.settle(slot, world.now_ms, None);
        assert!(!round.delivery.statement.measured);
        world.hear_delivery(&round.delivery);
    }
    world.edge(FIRST.offset(5), 700, 0);
    assert_eq!(world.readings().last().map(|r| r.quality.clone()), Some("bridged".into()));
    world.receive();
    let round = world.operator.settle(FIRST.offset(5), world.now_ms, None);
    assert_eq!(round.delivery.statement.late[0].slots, 3);
    world.hear_delivery(&round.delivery);
    assert_eq!(world.core.status().failed, 0, "{:?}", world.core.status().last_finding);

    // The same energy once more is found out.
    let late = round.delivery.statement.late.clone();
    world.edge(FIRST.offset(6), 10, 0);
    world.receive();
    let again = world.operator.settle_with(FIRST.offset(6), world.now_ms, None, |statement, _| {
        statement.amount += 700 * RETAIL;
        statement.late = late;
    });
    world.hear_delivery(&again.delivery);
    assert_finding(&world, "was billed up to slot");
}

#[test]
fn an_edge_that_the_operator_signed_for_cannot_be_called_missing() {
    let mut world = World::new();
    world.honest_run(2);
    let slot = FIRST.offset(2);
    world.edge(slot, 50, 0);
    let before = world.operator.fork();
    world.receive();
    world.operator = before;
    let round = world.operator.settle(slot, world.now_ms + 900_000, None);
    assert!(!round.delivery.statement.measured);
    world.hear_delivery(&round.delivery);
    assert_finding(&world, "had signed for both edges");
}

/// A lie of the operator: it signs a log in which something is wrong.
type Lie = fn(&mut Statement, &mut Header);

#[test]
fn every_lie_in_a_statement_or_header_is_found() {
    let lies: &[(&str, Lie, &str)] = &[
        ("someone else's", |s, _| s.point = "C002".into(), "point of the statement"),
        ("other slot", |s, _| s.slot += 1, "slot of the statement"),
        ("other version", |s, _| s.version += 1, "version of the statement"),
        ("version of nothing", |_, h| h.version = 2, "rewritten"),
        ("less found", |_, h| h.found_import_wh -= 1, "energy found"),
        ("not measured", |s, _| s.measured = false, "import of a slot without meter"),
        ("more import", |s, _| s.import_wh += 1, "import, Wh,"),
        ("less export", |s, _| s.export_wh -= 1, "export, Wh,"),
        ("bought more", |s, _| s.bought_wh += 1, "told of"),
        ("sold as well", |s, _| s.sold_wh = 1, "bought and"),
        ("other price", |s, _| s.price[0] += 10, "price is"),
        ("no price", |s, _| s.price.clear(), "price is"),
        ("import deviation", |s, _| s.import_deviation_wh += 1, "import deviation"),
        ("export deviation", |s, _| s.export_deviation_wh -= 1, "export deviation"),
        ("smaller share", |s, _| s.import_local_wh = -1, "bill:"),
        ("smaller share out", |s, _| s.export_local_wh = 1_000, "bill:"),
        ("amount", |s, _| s.amount += 1, "amount is"),
        ("more reward than export", |s, _| s.reward_wh = s.export_wh + 1, "rewards:"),
        ("negative reward", |s, _| s.reward_wh = -1, "rewards:"),
        ("reward beyond all", |s, _| s.reward_total = U256::MAX, "rewards:"),
        ("invented late energy", invent_late, "billed up to"),
        ("header of another slot", |_, h| h.slot += 1, "slot of the statement"),
        ("index", |_, h| h.index += 1, "size of the log"),
        ("other history", |_, h| h.previous_root = B256::repeat_byte(1), "rewritten"),
        ("other orders", |_, h| h.orders_root = B256::ZERO, "orders root"),
        ("other statements", |_, h| h.statements_root = B256::repeat_byte(2), "not among"),
        ("fewer statements", |_, h| h.statements = 1, "not among"),
        ("retail", |_, h| h.retail += 10, "retail price"),
        ("feed-in", |_, h| h.feed_in -= 10, "feed-in price"),
        ("header price", |_, h| h.price[0] += 10, "clearing price"),
        ("scheduled", |_, h| h.scheduled_wh += 1, "scheduled energy"),
        ("short", |_, h| h.short_wh += 40, "bill:"),
        ("long", |_, h| h.long_wh += 40, "bill:"),
        ("matched", |_, h| h.matched_wh += 1, "bill:"),
        ("money", |_, h| h.totals.debit += 1, "money into and out"),
        ("import sum", |_, h| h.totals.import_wh += 1, "import and its sources"),
        ("export sum", |_, h| h.totals.export_wh += 1, "export and its uses"),
        ("local", |_, h| h.totals.local_wh += 1, "import and its sources"),
        ("grid import", |_, h| h.totals.grid_import_wh += 1, "import and its sources"),
        ("grid export", |_, h| h.totals.grid_export_wh += 1, "export and its uses"),
        ("rewards of all", |_, h| h.totals.reward_wh = h.totals.local_wh + 1, "rewards:"),
    ];
    for (name, lie, finding) in lies {
        let mut world = World::new();
        let orders = world.honest_run(4);
        let slot = FIRST.offset(4);
        let order = orders.get(&slot.number()).expect("an order to lie about");
        world.edge(slot, 130, 3);
        world.receive();
        let honest = world.operator.fork().settle(slot, world.now_ms, Some(order));
        assert!(honest.delivery.statement.bought_wh > 0, "the lies are about a trade");
        world.hear_round(&honest);
        let round = world.operator.settle_with(slot, world.now_ms, Some(order), lie);
        world.hear_delivery(&round.delivery);
        assert_finding_of(&world, name, finding);
        assert_eq!(world.core.status().verified, 4, "{name}");
    }
}

/// Slots in which the ladder of a household that now buys and now sells has both sides.
fn both_sides(world: &World) -> Vec<Order> {
    let orders = world.orders().into_iter();
    orders.filter(|order| !order.buy.is_empty() && !order.sell.is_empty()).collect()
}

#[test]
fn a_household_in_doubt_orders_both_sides_and_every_bill_of_them_holds() {
    let mut world = World::bidding(Style::Ladder);
    let orders = world.honest_run(40);
    let both = both_sides(&world);
    assert!(both.len() > 20, "{} of {} orders have both sides", both.len(), orders.len());
    for order in &both {
        let limits = |steps: &[Step]| steps.iter().map(|step| step.limit).collect::<Vec<i64>>();
        let (highest, lowest) = (limits(&order.buy)[0], limits(&order.sell)[0]);
        assert!(highest < lowest, "buys at {highest}, sells at {lowest}");
    }
    let status = world.core.status();
    assert_eq!((status.verified, status.failed), (40, 0), "{:?}", status.last_finding);
    // The neighbour took each side in turn.
    let filled: Vec<Filled> = {
        let saved = world.saved.as_ref().expect("saved").content();
        let with_both = both.iter().filter_map(|order| saved.orders.get(&order.slot));
        with_both.filter_map(|order| order.filled).collect()
    };
    assert!(filled.iter().any(|filled| filled.bought_wh > 0 && filled.sold_wh == 0));
    assert!(filled.iter().any(|filled| filled.sold_wh > 0 && filled.bought_wh == 0));
}

#[test]
fn every_lie_about_an_order_with_both_sides_is_found() {
    // What is found when it has bought, and when it has sold.
    let better = "had better limits than the price";
    let lies: &[(&str, Lie, [&str; 2])] = &[
        ("nothing", |s, _| (s.bought_wh, s.sold_wh) = (0, 0), [better; 2]),
        ("a bid", |s, _| (s.bought_wh, s.sold_wh) = (1, 0), [better, "against a limit"]),
        ("both", |s, _| (s.bought_wh, s.sold_wh) = (1, 1), ["at once"; 2]),
        ("negative", |s, _| s.sold_wh = -1, ["at once"; 2]),
        ("much bought", |s, _| (s.bought_wh, s.sold_wh) = (9_999, 0), ["an order to buy"; 2]),
        ("much sold", |s, _| (s.bought_wh, s.sold_wh) = (0, 9_999), [better, "order to sell"]),
    ];
    for parity in [0, 1] {
        for (name, lie, finding) in lies {
            let (mut world, order) = before_a_slot_of_both_sides(parity);
            lie_about(&mut world, &order, parity, *lie);
            assert_finding_of(&world, name, finding[usize::try_from(parity).expect("0 or 1")]);
        }
    }
}

#[test]
fn an_order_that_did_not_stand_in_the_book_need_not_trade() {
    let (mut world, order) = before_a_slot_of_both_sides(0);
    // The agent makes another one, which is refused.
    let state = world.saved.take().expect("saved");
    let state = serde_json::to_string(&state).expect("plain data");
    let unanswered = state.replace("\"accepted\":true", "\"accepted\":null");
    world.saved = Some(serde_json::from_str(&unanswered).expect("the same form"));
    world.restart();
    world.step(Input::Connected);
    world.hear_verdict(&order, false);
    lie_about(&mut world, &order, 0, |s, _| (s.bought_wh, s.sold_wh) = (0, 0));
    // The trade is not missed; only the bill still has it.
    assert_finding(&world, "bill:");
}

/// An agent whose order for the coming slot has both sides; by `parity` the neighbour sells or buys.
fn before_a_slot_of_both_sides(parity: i64) -> (World, Order) {
    let mut world = World::bidding(Style::Ladder);
    let mut orders = world.honest_run(20);
    for i in 20..60 {
        let slot = FIRST.offset(i);
        let order = orders.remove(&slot.number()).expect("an order");
        let (side, other) =
            if parity == 0 { (Side::Buy, Side::Sell) } else { (Side::Sell, Side::Buy) };
        let first_wh = order.curve(side).first().map_or(0, |step| step.quantity_wh);
        // The neighbour's 60 % reach into the second step, so that the first one gains.
        let gains = 0 < first_wh && first_wh < order.quantity_wh(side) / 2;
        if gains && !order.curve(other).is_empty() && slot.number() % 2 == parity {
            return (world, order);
        }
        let (import, export) = if i % 5 < 3 { (120 + i, 3) } else { (2, 200 + i) };
        let next = world.honest_slot(slot, import, export, Some(&order));
        orders.extend(next.map(|order| (order.slot, order)));
    }
    panic!("no order has both sides");
}

/// Bills the order's slot with a lie. The price is known, what the order got is not: the bill has to
/// be right by itself.
fn lie_about(world: &mut World, order: &Order, parity: i64, lie: Lie) {
    let slot = Slot::new(order.slot);
    world.edge(slot, 100, 100);
    world.receive();
    let honest = world.operator.fork().settle(slot, world.now_ms, Some(order));
    let statement = &honest.delivery.statement;
    let traded = (statement.bought_wh > 0, statement.sold_wh > 0);
    assert_eq!(traded, (parity == 0, parity == 1), "one of the two has traded");
    let clearing = world.operator.sign(honest.clearing.clone()).to_json();
    world.hear_public(Public::Clearing, clearing);
    let round = world.operator.settle_with(slot, world.now_ms, Some(order), lie);
    world.hear_delivery(&round.delivery);
}

fn invent_late(statement: &mut Statement, _: &mut Header) {
    statement.late.push(protocol::LateLine {
        slot: statement.slot - 1,
        slots: 1,
        import_wh: 100,
        export_wh: 0,
        retail: RETAIL,
        feed_in: 0,
    });
    statement.amount += 100 * RETAIL;
}

#[test]
fn whatever_is_changed_on_the_way_is_found() {
    type Change = fn(&mut Delivery);
    let changes: &[(&str, Change, &str)] = &[
        ("statement", |d| d.statement.amount -= 1, "not among"),
        ("salt", |d| d.statement.salt = B256::ZERO, "not among"),
        ("position", |d| d.position = 1, "not among"),
        ("path", |d| d.path[0] = B256::ZERO, "not among"),
        ("path cut", |d| d.path.clear(), "not among"),
        ("header", |d| d.header.time_ms += 1, "not the last leaf"),
        ("log path", |d| d.log_path.push(B256::ZERO), "not the last leaf"),
        ("checkpoint", |d| d.checkpoint.body.root = B256::ZERO, "not signed by the operator"),
        ("size", |d| d.checkpoint.body.size += 1, "not signed by the operator"),
        ("another operator", resign, "not signed by the operator"),
    ];
    for (name, change, finding) in changes {
        let mut world = World::new();
        world.honest_run(3);
        let slot = FIRST.offset(3);
        world.edge(slot, 130, 3);
        world.receive();
        let round = world.operator.settle(slot, world.now_ms, None);
        let mut changed = round.delivery.clone();
        change(&mut changed);
        world.hear_delivery(&changed);
        assert_finding_of(&world, name, finding);
        // The true one still counts afterwards, and only once.
        world.hear_delivery(&round.delivery);
        world.hear_delivery(&round.delivery);
        assert_eq!(world.core.status().verified, 4, "{name}");
        // A repetition is answered again, as the first answer may be lost, but not counted again.
        assert_eq!(world.audits().len(), 6, "{name}");
        assert_eq!(world.audits()[5], world.audits()[4], "{name}");
    }
}

fn resign(delivery: &mut Delivery) {
    let other = Operator::new(99);
    delivery.checkpoint = other.sign(delivery.checkpoint.body.clone());
}

#[test]
fn a_second_story_about_a_settled_slot_is_evidence() {
    let mut world = World::new();
    world.honest_run(3);
    let slot = FIRST.offset(3);
    world.edge(slot, 130, 3);
    world.receive();
    let mut fork = world.operator.fork();
    let round = world.operator.settle(slot, world.now_ms, None);
    world.hear_delivery(&round.delivery);
    let other =
        fork.settle_with(slot, world.now_ms, None, |statement, _| statement.salt = B256::ZERO);
    world.hear_delivery(&other.delivery);
    assert_finding(&world, "second, different statement");

    // The fork goes on: its next entry does not follow the history that was seen.
    world.operator = fork;
    world.edge(slot.next(), 10, 0);
    world.receive();
    let round = world.operator.settle(slot.next(), world.now_ms, None);
    world.hear_delivery(&round.delivery);
    assert_finding(&world, "rewritten");
}

#[test]
fn a_statement_that_is_shown_again_gets_the_same_verdict_again() {
    let mut world = World::new();
    world.honest_run(3);
    let mut shown = Vec::new();
    for (i, lie) in [(3, 0), (4, 1)] {
        let slot = FIRST.offset(i);
        world.edge(slot, 130, 3);
        world.receive();
        let cheat = |statement: &mut Statement, _: &mut Header| statement.amount += lie;
        let order = world.orders().into_iter().find(|order| order.slot == slot.number());
        let round = world.operator.settle_with(slot, world.now_ms, order.as_ref(), cheat);
        world.hear_round(&round);
        world.hear_delivery(&round.delivery);
        shown.push(round.delivery);
    }
    let said = world.audits().split_off(3);
    assert_eq!(said.iter().map(|audit| audit.verified).collect::<Vec<_>>(), [true, false]);
    assert_eq!(world.evidence.len(), 1);

    // The verdicts were lost on their way; they are known even after a restart.
    world.restart();
    for delivery in &shown {
        world.hear_delivery(delivery);
    }
    let again = world.audits().split_off(5);
    let content = |audits: &[Audit]| -> Vec<(i64, bool, String, B256)> {
        let content = |a: &Audit| (a.slot, a.verified, a.reason.clone(), a.statement);
        audits.iter().map(content).collect()
    };
    assert_eq!(content(&again), content(&said));
    assert_eq!(world.evidence.len(), 1, "no second evidence");
    assert_eq!((world.core.status().verified, world.core.status().failed), (0, 0));
}

/// A street whose neighbour, and then this household too, were missing in slots 3 and 4.
fn with_missing_meters() -> World {
    let mut world = World::new();
    world.honest_run(3);
    world.operator.neighbour_is_silent = true;
    for i in 3..5 {
        let slot = FIRST.offset(i);
        world.edge(slot, 130 + i, 3);
        let order = world.orders().into_iter().find(|order| order.slot == slot.number());
        if i == 3 {
            world.receive();
        }
        let round = world.operator.settle(slot, world.now_ms, order.as_ref());
        world.hear_round(&round);
        world.hear_delivery(&round.delivery);
        assert_eq!(round.delivery.statement.measured, i == 3);
    }
    assert_eq!((world.core.status().verified, world.core.status().failed), (5, 0));
    world.operator.neighbour_is_silent = false;
    world.now_ms += 900_000;
    world.receive();
    world
}

#[test]
fn a_slot_that_is_settled_again_with_the_missing_meters_holds() {
    let mut world = with_missing_meters();
    let amounts: Vec<i64> = (3..5)
        .map(|i| {
            let delivery = world.operator.settle_again(FIRST.offset(i), world.now_ms, |_, _| {});
            assert_eq!((delivery.header.version, delivery.header.missing), (2, 0));
            assert!(delivery.statement.measured);
            if i == 4 {
                world.restart();
            }
            world.hear_delivery(&delivery);
            world.hear_delivery(&delivery);
            delivery.statement.amount
        })
        .collect();
    assert_ne!(amounts, [0, 0]);
    let finding = world.core.status().last_finding.clone();
    assert_eq!(world.core.status().failed, 0, "{finding:?}");
    let versions: Vec<_> =
        world.audits().iter().map(|audit| (audit.version, audit.verified)).collect();
    assert_eq!(versions[5..], [(2, true); 4], "told twice, judged once");
    // The next slot goes on where the later version ended.
    world.edge(FIRST.offset(5), 40, 1);
    world.receive();
    let round = world.operator.settle(FIRST.offset(5), world.now_ms, None);
    assert!(round.delivery.statement.measured && round.delivery.statement.late.is_empty());
    world.hear_delivery(&round.delivery);
    assert_eq!(world.core.status().failed, 0, "{:?}", world.core.status().last_finding);
}

#[test]
fn every_lie_in_a_later_version_is_found() {
    let lies: &[(&str, i64, Lie, &str)] = &[
        ("version 3", 3, |s, h| (s.version, h.version) = (3, 3), "version of the slot"),
        ("other trade", 3, |s, _| s.bought_wh -= 1, "another trade"),
        ("other price", 3, |_, h| h.feed_in += 10, "another trade"),
        ("other rule", 3, |_, h| h.sharing = B256::repeat_byte(1), "another trade"),
        ("more reward", 3, |s, _| s.reward_wh += 1, "another trade"),
        ("late reward", 3, |s, _| s.reward_total += U256::ONE, "nothing is earned late"),
        ("own meter changed", 3, |s, _| s.import_wh += 1, "own meter"),
        ("own meter gone", 3, |s, _| s.measured = false, "own meter"),
        ("found more", 3, |_, h| h.found_import_wh += 1, "energy found"),
        ("found less", 4, |_, h| h.found_export_wh -= 1, "energy found"),
        ("found nothing", 3, |_, h| h.missing = 1, "meters missing"),
        ("own meter wrong", 4, |s, _| s.import_wh += 1, "import, Wh,"),
        ("own meter still gone", 4, still_missing, "had signed for both edges"),
        ("invented late energy", 3, invent_late, "own meter"),
        ("amount", 3, |s, _| s.amount += 1, "amount is"),
    ];
    for &(name, at, lie, finding) in lies {
        let mut world = with_missing_meters();
        if at == 4 {
            let honest = world.operator.settle_again(FIRST.offset(3), world.now_ms, |_, _| {});
            world.hear_delivery(&honest);
        }
        world.now_ms += 1_000;
        let delivery = world.operator.settle_again(FIRST.offset(at), world.now_ms, lie);
        world.hear_delivery(&delivery);
        assert_finding_of(&world, name, finding);
    }
}

fn still_missing(statement: &mut Statement, _: &mut Header) {
    (statement.measured, statement.import_wh, statement.export_wh) = (false, 0, 0);
}

#[test]
fn a_complete_slot_is_never_settled_again() {
    let mut world = with_missing_meters();
    let delivery = world.operator.settle_again(FIRST.offset(1), world.now_ms, |_, _| {});
    world.hear_delivery(&delivery);
    assert_finding(&world, "no meter was missing");
}

#[test]
fn a_gap_is_asked_for_and_filled_in_order() {
    let mut world = World::new();
    world.honest_run(3);
    let mut kept = Vec::new();
    for i in 3..8 {
        world.edge(FIRST.offset(i), 20, 1);
        world.receive();
        let round = world.operator.settle(FIRST.offset(i), world.now_ms, None);
        world.hear_round(&round);
        kept.push(round.delivery);
    }
    let asked_before = world.asks().len();
    world.hear_delivery(&kept[4]);
    let asks = world.asks();
    assert_eq!(asks.len(), asked_before + 1);
    assert_eq!(asks.last().map(|ask| ask.from_index), Some(3), "three entries were seen");
    assert!(world.awaits);
    world.hear_delivery(&kept[4]);
    assert_eq!(world.asks().len(), asked_before + 1, "not asked twice at once");
    for delivery in &kept {
        world.hear_delivery(delivery);
    }
    assert_eq!((world.core.status().verified, world.core.status().failed), (8, 0));
    assert!(!world.awaits);
}

#[test]
fn a_gap_that_is_never_filled_is_a_finding_and_life_goes_on() {
    let mut world = World::new();
    world.honest_run(3);
    world.edge(FIRST.offset(3), 20, 1);
    world.receive();
    world.operator.settle(FIRST.offset(3), world.now_ms, None);
    world.edge(FIRST.offset(4), 20, 1);
    world.receive();
    let round = world.operator.settle(FIRST.offset(4), world.now_ms, None);
    for _ in 0..3 {
        world.hear_delivery(&round.delivery);
        assert_eq!(world.core.status().failed, 0);
        world.step(Input::Overdue);
    }
    world.hear_delivery(&round.delivery);
    assert_finding(&world, "was not shown");
    assert_eq!(world.core.status().verified, 3, "a bill behind a hidden part does not count");
    world.edge(FIRST.offset(5), 20, 1);
    world.receive();
    let round = world.operator.settle(FIRST.offset(5), world.now_ms, None);
    world.hear_delivery(&round.delivery);
    assert_eq!((world.core.status().verified, world.core.status().failed), (4, 1));
}

#[test]
fn a_household_may_join_an_old_log() {
    let mut world = World::new();
    let mut old = Operator::new(1);
    for i in 0..5 {
        old.settle(Slot::new(1_000 + i), 0, None);
    }
    world.operator = old;
    world.honest_run(4);
    assert_eq!((world.core.status().verified, world.core.status().failed), (4, 0));
}

#[test]
fn bills_are_checked_across_a_restart() {
    let mut world = World::new();
    let orders = world.honest_run(5);
    let slot = FIRST.offset(5);
    world.restart();
    world.step(Input::Connected);
    assert_eq!(world.asks().last().map(|ask| ask.from_index), Some(5), "five entries were seen");
    let order = orders.get(&slot.number()).expect("placed before the restart");
    world.honest_slot(slot, 130, 2, Some(order));
    let status = world.core.status();
    assert_eq!((status.verified, status.failed), (1, 0), "{:?}", status.last_finding);
    // An invented trade in a slot without an order is found although the agent was restarted.
    for i in 6..9 {
        let slot = FIRST.offset(i);
        world.edge(slot, 100, 0);
        world.receive();
        let order = world.orders().into_iter().find(|order| order.slot == slot.number());
        assert_eq!(order.is_none(), i == 8);
        let lie = |statement: &mut Statement, _: &mut Header| {
            if i == 8 {
                statement.sold_wh = 50;
            }
        };
        let round = world.operator.settle_with(slot, world.now_ms, order.as_ref(), lie);
        world.hear_round(&round);
        world.hear_delivery(&round.delivery);
        assert_eq!(world.core.status().failed, u64::from(i == 8));
    }
    assert_finding(&world, "nothing was ordered");
}

#[test]
fn malformed_statements_are_refused_and_harm_nothing() {
    let mut world = World::new();
    world.honest_run(2);
    world.edge(FIRST.offset(2), 1, 1);
    world.receive();
    let round = world.operator.settle(FIRST.offset(2), world.now_ms, None);
    let mut far = round.delivery.clone();
    far.header.slot = i64::MIN;
    let refused = world.core.status().refused;
    let garbage: [Vec<u8>; 4] = [
        b"{}".to_vec(),
        vec![b'x'; 20_000],
        vec![0xff, 0xfe],
        serde_json::to_vec(&far).expect("plain data"),
    ];
    for payload in garbage {
        world.hear(Down::Statement, payload);
    }
    assert_eq!(world.core.status().refused, refused + 4);
    world.hear_delivery(&round.delivery);
    assert_eq!((world.core.status().verified, world.core.status().failed), (3, 0));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    /// Whatever arrives on whatever topic: no panic, nothing believed, nothing released.
    #[test]
    fn mangled_messages_change_nothing(
        topic in 0..7_usize,
        kind in 0..3_usize,
        position in any::<prop::sample::Index>(),
        bytes in prop::collection::vec(any::<u8>(), 1..40),
    ) {
        let mut world = World::new();
        world.honest_run(1);
        world.edge(FIRST.next(), 30, 0);
        let reading = world.readings().pop().expect("read");
        for entry in &world.journal {
            world.operator.store(&entry.reading.body);
        }
        let receipt = world.operator.receipt(&reading, world.now_ms);
        let round = world.operator.settle(FIRST.next(), world.now_ms, None);
        let honest = match kind {
            0 => serde_json::to_vec(&round.delivery).expect("plain data"),
            1 => world.operator.sign(receipt).to_json(),
            _ => world.operator.sign(world.operator.offer(FIRST.offset(2), world.now_ms)).to_json(),
        };
        let mut mangled = honest.clone();
        let at = position.index(mangled.len());
        mangled.splice(at..(at + bytes.len() / 2).min(mangled.len()), bytes);
        let same = |bytes: &[u8]| serde_json::from_slice::<serde_json::Value>(bytes).ok();
        prop_assume!(same(&mangled) != same(&honest));
        let topics = [
            Topic::Down(point(), Down::Receipt),
            Topic::Down(point(), Down::Verdict),
            Topic::Down(point(), Down::Fill),
            Topic::Down(point(), Down::Statement),
            Topic::Down(point(), Down::Refusal),
            Topic::Public(Public::Offer),
            Topic::Public(Public::Clearing),
        ];
        let before = world.core.status().clone();
        world.step(Input::Message(topics[topic].clone(), mangled));
        let after = world.core.status();
        prop_assert_eq!(after.verified, before.verified);
        prop_assert_eq!(after.released_seq, before.released_seq);
        prop_assert_eq!(after.orders, before.orders);
    }
}

#[test]
fn the_log_path_of_the_last_leaf_is_the_frontier_before_it() {
    let mut log = merkle::Frontier::default();
    for i in 0..9_u8 {
        let before = log.clone();
        let path = log.append(merkle::leaf(B256::repeat_byte(i)));
        assert_eq!(merkle::Frontier::before_last(u64::from(i), &path), Some(before));
    }
}

fn assert_finding(world: &World, expected: &str) {
    assert_finding_of(world, "", expected);
}

/// The newest verdict is a failed audit for this reason, with evidence.
pub fn assert_finding_of(world: &World, name: &str, expected: &str) {
    let audits = world.audits();
    let audit = audits.last().expect("an audit");
    assert!(!audit.verified, "{name}: not found");
    assert!(audit.reason.contains(expected), "{name}: {:?} lacks {expected:?}", audit.reason);
    let evidence = world.evidence.last().expect("evidence");
    assert_eq!(evidence.reason, audit.reason, "{name}");
    assert!(world.core.status().failed > 0);
}
