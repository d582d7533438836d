//! Readings and orders: made once, sent until they are signed for, and never two for one number.

use meter_agent::core::{Input, Level};
use protocol::{Domain, Down, OperatorKey, Peg, Public, Receipt, Signed, Step, Up};
use units::CommunityId;

use crate::support::operator::{Operator, domain, point};
use crate::support::world::{FIRST, World};

#[test]
fn readings_form_a_chain_over_the_slots() {
    let mut world = World::new();
    world.honest_run(3);
    let readings = world.readings();
    assert_eq!(readings.len(), 4);
    let mut prev = protocol::B256::ZERO;
    for (reading, i) in readings.iter().zip(0..) {
        assert_eq!(reading.seq, u64::try_from(i + 1).expect("small"));
        assert_eq!(reading.slot, FIRST.offset(i - 1).number());
        assert_eq!(reading.prev, prev);
        assert_eq!(reading.quality, "measured");
        assert_eq!(reading.clock, "synchronised");
        prev = domain().digest(reading);
    }
    assert_eq!(world.sent, [1, 2, 3, 4], "each is sent once when receipts come");
    assert_eq!(world.core.status().released_seq, 4);
    assert!(!world.awaits);
}

#[test]
fn unreceipted_readings_are_sent_again_after_silence_and_reconnect() {
    let mut world = World::new();
    world.edge(FIRST.previous(), 0, 0);
    world.edge(FIRST, 10, 0);
    assert_eq!(world.sent, [1], "the second waits until somebody has answered");
    assert!(world.awaits);
    world.step(Input::Overdue);
    assert_eq!(world.sent, [1, 1]);
    world.step(Input::Disconnected);
    world.edge(FIRST.next(), 10, 0);
    assert_eq!(world.sent.len(), 2, "nothing is sent while the link is down");
    world.step(Input::Connected);
    assert_eq!(world.sent, [1, 1, 1]);
    let first = world.readings().swap_remove(0);
    let receipt = world.operator.receipt(&first, world.now_ms);
    let payload = world.operator.sign(receipt).to_json();
    world.hear(Down::Receipt, payload);
    assert_eq!(world.sent[3..], [2, 3]);
    world.receive();
    assert_eq!(world.core.status().released_seq, 3);
    world.step(Input::Overdue);
    assert_eq!(world.sent.len(), 5);
}

#[test]
fn a_restart_goes_on_with_the_next_number_and_sends_what_is_open() {
    let mut world = World::new();
    world.honest_run(2);
    world.edge(FIRST.offset(2), 10, 0);
    world.restart();
    world.sent.clear();
    world.step(Input::Connected);
    // The receipt watermark is saved with the next audit or order, so a restart may repeat some.
    assert!(world.sent.first().is_some_and(|&first| (3..=4).contains(&first)), "{:?}", world.sent);
    world.receive();
    assert_eq!(world.core.status().released_seq, 4);
    world.edge(FIRST.offset(3), 10, 0);
    let readings = world.readings();
    assert_eq!(readings.iter().map(|r| r.seq).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
    assert_eq!(readings[4].prev, domain().digest(&readings[3]));
    assert_eq!(readings[4].import_wh - readings[3].import_wh, 10);
}

#[test]
fn a_restart_within_the_grace_time_still_reads_the_edge_and_a_later_one_bridges() {
    let mut world = World::new();
    world.honest_run(2);
    world.now_ms = FIRST.offset(2).end_ms() + 30_000;
    world.restart();
    world.step(Input::Tick);
    assert_eq!(world.core.due_edge(world.now_ms), Some(FIRST.offset(2)));

    world.now_ms += 40_000;
    world.restart();
    world.step(Input::Tick);
    assert_eq!(world.core.due_edge(world.now_ms), None);
    world.edge(FIRST.offset(3), 10, 0);
    let last = world.readings().pop().expect("read");
    assert_eq!((last.quality.as_str(), last.slot), ("bridged", FIRST.offset(3).number()));
}

#[test]
fn registers_of_another_time_do_not_make_a_reading() {
    let mut world = World::new();
    world.honest_run(1);
    let slot = FIRST.next();
    world.now_ms = slot.end_ms();
    world.step(Input::Tick);
    for taken_ms in [slot.end_ms() - 1, slot.end_ms() + 60_001] {
        let mut registers = world.registers();
        registers.taken_ms = taken_ms;
        world.step(Input::Edge(slot, registers));
    }
    let registers = world.registers();
    world.step(Input::Edge(slot.previous(), registers.clone()));
    assert_eq!(world.readings().len(), 2);
    world.step(Input::Edge(slot, registers.clone()));
    world.step(Input::Edge(slot, registers));
    assert_eq!(world.readings().len(), 3, "one edge, one reading");
}

#[test]
fn registers_that_run_wild_are_held_and_the_edge_is_missed() {
    let mut world = World::new();
    world.honest_run(2);
    let slot = FIRST.offset(2);
    let right = world.import_wh;
    for wild in [right + 1_000_000, 0] {
        world.import_wh = wild;
        world.now_ms = slot.end_ms();
        world.step(Input::Tick);
        let registers = world.registers();
        world.step(Input::Edge(slot, registers));
        assert_eq!(world.readings().len(), 3, "{wild}");
    }
    assert!(world.reports.iter().any(|(level, text)| {
        *level == Level::Warning && text.contains("import register went from")
    }));
    world.now_ms += 60_001;
    world.step(Input::Tick);
    assert_eq!(world.core.status().missed_edges, 1);
    world.import_wh = right;
    world.edge(slot.next(), 40, 0);
    let readings = world.readings();
    assert_eq!(readings[3].quality, "bridged");
    assert_eq!(readings[3].import_wh - readings[2].import_wh, 40);
}

#[test]
fn forged_foreign_and_contradicting_receipts_release_nothing() {
    let mut world = World::new();
    world.edge(FIRST.previous(), 0, 0);
    world.edge(FIRST, 10, 0);
    let readings = world.readings();
    let good = world.operator.receipt(&readings[1], world.now_ms);
    let with = |change: fn(&mut Receipt)| {
        let mut receipt = good.clone();
        change(&mut receipt);
        receipt
    };
    let foreign = Domain::new(CommunityId::new("other-street").expect("valid"));
    let key = OperatorKey::from_bytes(&[1; 32]).expect("a key");
    let mut flipped = world.operator.sign(good.clone());
    flipped.body.seq = 1;
    let refused = [
        Operator::new(2).sign(good.clone()).to_json(),
        Signed::by_operator(good.clone(), &foreign, &key).to_json(),
        flipped.to_json(),
        b"not json".to_vec(),
        vec![b' '; 17_000],
    ];
    for payload in refused {
        world.hear(Down::Receipt, payload);
    }
    assert_eq!(world.core.status().refused, 5);
    assert!(world.evidence.is_empty(), "what nobody signed proves nothing");

    for (receipt, evidence) in [
        (with(|r| r.point = "C002".into()), 0),
        (with(|r| r.epoch = 2), 0),
        (with(|r| r.seq = 3), 1),
        (with(|r| r.head = protocol::B256::ZERO), 2),
    ] {
        let payload = world.operator.sign(receipt).to_json();
        world.hear(Down::Receipt, payload);
        assert_eq!(world.evidence.len(), evidence);
    }
    assert_eq!(world.core.status().released_seq, 0);
    let payload = world.operator.sign(good).to_json();
    world.hear(Down::Receipt, payload);
    assert_eq!(world.core.status().released_seq, 2);
}

#[test]
fn an_operator_that_lost_readings_gets_them_again() {
    let mut world = World::new();
    world.honest_run(3);
    world.sent.clear();
    let readings = world.readings();
    world.now_ms += 1;
    let receipt = world.operator.receipt(&readings[0], world.now_ms);
    let payload = world.operator.sign(receipt).to_json();
    world.hear(Down::Receipt, payload);
    assert_eq!(world.sent, [2, 3, 4]);
}

#[test]
fn each_offer_is_answered_once_when_the_newest_edge_is_known() {
    let mut world = World::new();
    assert_eq!(world.offer(FIRST.next()), None, "the edge just behind is still to be read");
    world.edge(FIRST.previous(), 0, 0);
    assert!(world.orders().is_empty(), "nothing is known of the consumption");
    assert_eq!(world.core.status().considered_slot, None, "so that nothing is decided");
    world.poll(2_000_000);
    let orders = world.orders();
    assert_eq!(orders.len(), 1);
    let pegged = |quantity_wh, peg: Peg| Step { quantity_wh, peg: peg.to_string(), limit: 16_490 };
    assert_eq!(
        (orders[0].buy.as_slice(), orders[0].sell.as_slice()),
        (&[pegged(500, Peg::BelowRetail)][..], &[][..])
    );
    world.poll(2_000_000);
    assert_eq!(world.offer(FIRST.next()), None);

    world.edge(FIRST, 0, 80);
    let order = world.offer(FIRST.offset(2)).expect("the last slot is known");
    assert_eq!(
        (order.buy.as_slice(), order.sell.as_slice()),
        (&[][..], &[pegged(80, Peg::AboveFeedIn)][..])
    );
    assert!(order.seq > orders[0].seq);
    world.restart();
    world.step(Input::Connected);
    // The restart remembers the order, but not whether it was answered.
    assert_eq!(world.offer(FIRST.offset(2)), Some(order));
    assert_eq!(world.offer(FIRST.offset(2)), None);
}

#[test]
fn a_slot_is_considered_once_its_order_is_answered() {
    let mut world = World::new();
    world.edge(FIRST.previous(), 0, 0);
    world.poll(1_000_000);
    let slot = FIRST.next();
    let offer = world.operator.offer(slot, world.now_ms);
    let payload = world.operator.sign(offer).to_json();
    world.hear_public(Public::Offer, payload);
    assert_eq!(world.core.status().considered_slot, None);
    let order = world.orders().pop().expect("placed");
    let verdict = world.operator.verdict(&order, false, world.now_ms);
    let payload = world.operator.sign(verdict).to_json();
    world.hear(Down::Verdict, payload);
    assert_eq!(world.core.status().considered_slot, Some(slot.number()));
    // Nothing to order counts as well.
    world.edge(FIRST, 5, 5);
    assert_eq!(world.offer(FIRST.offset(2)), None);
    assert_eq!(world.core.status().considered_slot, Some(FIRST.offset(2).number()));
}

#[test]
fn what_is_decided_is_not_thought_about_again_unless_the_terms_change() {
    let mut world = World::new();
    world.edge(FIRST.previous(), 0, 0);
    world.poll(0);
    let slot = FIRST.next();
    world.hear_offer(slot);
    assert_eq!(
        world.core.status().considered_slot,
        Some(slot.number()),
        "there is nothing to order"
    );
    // A kettle just before the gate is no reason for an order that comes too late.
    world.now_ms += 60_000;
    world.poll(2_000_000);
    world.hear_offer(slot);
    assert!(world.orders().is_empty());
    let dearer =
        protocol::Offer { retail: 300_000, ..world.operator.offer(slot, world.now_ms + 1) };
    let payload = world.operator.sign(dearer).to_json();
    world.hear_public(Public::Offer, payload);
    assert_eq!(world.orders().len(), 1);
}

#[test]
fn an_order_is_sent_again_until_it_is_answered() {
    let mut world = World::new();
    world.edge(FIRST.previous(), 0, 0);
    world.receive();
    assert!(!world.awaits);
    world.poll(1_000_000);
    let slot = FIRST.offset(2);
    world.hear_offer(slot);
    let placed = world.orders().pop().expect("an order");
    assert!(world.awaits, "an acknowledgement of the broker is no answer");
    for times in 2..5 {
        world.step(Input::Overdue);
        assert_eq!(world.orders(), vec![placed.clone(); times]);
        assert!(world.awaits);
    }
    // A receipt is an answer, but not to this.
    world.receive();
    world.now_ms += 1;
    world.edge(FIRST, 10, 0);
    world.receive();
    assert!(world.awaits);
    // The operator was away: it offers again.
    world.now_ms += 1;
    world.hear_offer(slot);
    assert_eq!(world.orders().len(), 5);
    world.hear_offer(slot);
    assert_eq!(world.orders().len(), 5, "the same offer once more, as a broker keeps it");
    world.hear_verdict(&placed, true);
    assert!(!world.awaits);
    world.step(Input::Overdue);
    assert_eq!(world.orders().len(), 5);
    // A repetition that came after the gate is refused; the order stands all the same.
    world.hear_verdict(&placed, false);
    world.hear_offer(slot.next());
    let saved = world.saved.as_ref().expect("saved").content();
    assert_eq!(saved.orders[&slot.number()].accepted, Some(true));
}

#[test]
fn what_would_come_after_its_gate_is_not_sent() {
    let slot = FIRST.next();
    let gate_ms = slot.start_ms() - 120_000;
    // An order may be on its way for a second.
    for (before_ms, orders) in [(1_001, 1), (1_000, 0), (1, 0)] {
        let mut world = World::new();
        world.edge(FIRST.previous(), 0, 0);
        world.now_ms = gate_ms - before_ms;
        world.poll(1_000_000);
        world.hear_offer(slot);
        assert_eq!(world.orders().len(), orders, "{before_ms} ms before the gate");
    }
    let mut world = World::new();
    world.edge(FIRST.previous(), 0, 0);
    world.poll(1_000_000);
    world.hear_offer(slot);
    assert_eq!(world.orders().len(), 1);
    world.now_ms = gate_ms - 1_000;
    world.step(Input::Overdue);
    world.step(Input::Disconnected);
    world.step(Input::Connected);
    assert_eq!(world.orders().len(), 1, "a repetition is no better");
}

#[test]
fn an_order_that_may_never_have_left_is_sent_after_a_restart() {
    let mut world = World::new();
    world.edge(FIRST.previous(), 0, 0);
    world.poll(1_000_000);
    let offer = |world: &World, slot| {
        let offer = world.operator.offer(slot, world.now_ms);
        world.operator.sign(offer).to_json()
    };
    for slot in [FIRST.next(), FIRST.offset(2)] {
        let payload = offer(&world, slot);
        world.hear_public(Public::Offer, payload);
    }
    let placed = world.orders();
    assert_eq!(placed.len(), 2);
    world.restart();
    world.step(Input::Connected);
    assert_eq!(world.orders().len(), 2, "the gates are not known yet");
    for slot in [FIRST.offset(2), FIRST.next()] {
        let payload = offer(&world, slot);
        world.hear_public(Public::Offer, payload);
    }
    let again = world.orders()[2..].to_vec();
    // The newest goes out unchanged; the older one needs a higher number to be taken.
    assert_eq!(again[0], placed[1]);
    assert_eq!((again[1].slot, &again[1].buy), (placed[0].slot, &placed[0].buy));
    assert!(again[1].seq > placed[1].seq);
    let seqs: std::collections::BTreeSet<u64> = world.orders().iter().map(|o| o.seq).collect();
    let saved = world.saved.as_ref().expect("saved").content().order_seq;
    assert_eq!(seqs.last(), Some(&saved), "every number is reserved before it is signed");
}

#[test]
fn unanswered_orders_are_repeated_unchanged_after_a_reconnect() {
    let mut world = World::new();
    world.edge(FIRST.previous(), 0, 0);
    world.poll(1_000_000);
    let offer = world.operator.offer(FIRST.next(), world.now_ms);
    let payload = world.operator.sign(offer).to_json();
    world.hear_public(Public::Offer, payload);
    world.step(Input::Disconnected);
    world.step(Input::Connected);
    let orders = world.orders();
    assert_eq!(orders.len(), 2);
    assert_eq!(orders[0], orders[1]);
    world.now_ms = FIRST.next().start_ms() - 120_000;
    world.step(Input::Disconnected);
    world.step(Input::Connected);
    assert_eq!(world.orders().len(), 2, "the gate is closed");
}

#[test]
fn implausible_and_late_offers_are_not_answered() {
    let mut world = World::new();
    world.edge(FIRST.previous(), 0, 0);
    world.poll(1_000_000);
    let honest = world.operator.offer(FIRST.next(), world.now_ms);
    type Change = fn(&mut protocol::Offer);
    let changes: [Change; 6] = [
        |offer| offer.slot = i64::MAX,
        |offer| offer.slot = -5,
        |offer| offer.slot += 10_000,
        |offer| offer.gate_ms = i64::MAX,
        |offer| offer.gate_ms = 0,
        |offer| offer.feed_in = offer.retail,
    ];
    for change in changes {
        let mut offer = honest.clone();
        change(&mut offer);
        let payload = world.operator.sign(offer).to_json();
        world.hear_public(Public::Offer, payload);
    }
    assert!(world.orders().is_empty());
    let payload = Operator::new(2).sign(honest.clone()).to_json();
    world.hear_public(Public::Offer, payload);
    assert!(world.orders().is_empty(), "another operator's offer");
    let payload = world.operator.sign(honest).to_json();
    world.hear_public(Public::Offer, payload);
    assert_eq!(world.orders().len(), 1);
}

#[test]
fn live_flows_are_shown_only_while_connected_and_unknown_stays_unknown() {
    let mut world = World::new();
    world.poll(-1_234_567);
    let live = world.lives().pop().expect("shown");
    assert_eq!(live.point, point().to_string());
    assert_eq!(live.power_w, [-1_235]);
    assert!(live.pv_w.is_empty() && live.battery_w.is_empty() && live.soc_permille.is_empty());
    world.step(Input::Disconnected);
    world.poll(1);
    assert_eq!(world.lives().len(), 1);
}

#[test]
fn a_day_of_backlog_is_paced_and_keeps_no_live_message_waiting() {
    let mut world = World::new();
    world.honest_run(1);
    world.step(Input::Disconnected);
    for number in 1..=96 {
        world.edge(FIRST.offset(number), 100, 0);
    }
    let head = world.journal.len() as u64;
    world.sent.clear();
    let lives = world.lives().len();
    world.step(Input::Connected);
    let mut stored = world.core.status().released_seq;
    let mut seconds = 0;
    while stored < head {
        // A poll each second, and a receipt for everything that came.
        world.now_ms += 1_000;
        seconds += 1;
        let published = world.published.len();
        world.poll(1_000_000);
        let (kind, _) = &world.published[published];
        assert_eq!(*kind, Up::Live, "the present goes first");
        let before = world.sent.len();
        while world.sent.last().is_some_and(|&last| last > stored) {
            stored = *world.sent.last().expect("sent");
            let reading = world.journal[usize::try_from(stored).expect("small") - 1].clone();
            let receipt = world.operator.receipt(&reading.reading.body, world.now_ms);
            let payload = world.operator.sign(receipt).to_json();
            world.hear(Down::Receipt, payload);
        }
        assert!(world.sent.len() - before <= 32 + 8, "{} at once", world.sent.len() - before);
        assert!(seconds < 60, "{stored} of {head}");
    }
    assert!(world.sent.is_sorted(), "the oldest first");
    assert_eq!(world.lives().len() - lives, seconds, "one for each poll");
    println!("{} readings in {seconds} s", world.sent.len());
    assert!((5..=20).contains(&seconds), "{seconds}");
}
