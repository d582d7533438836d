//! What a meter can do to its counters, and what the signed readings make of it: never more than
//! flowed, never a zero for what is unknown, and every strange thing told.

use meter_agent::core::{Count, Input, Registers, Summed};
use meter_agent::device::{Absence, Observed, Resets};
use protocol::{Down, Reading};

use crate::support::world::{FIRST, World};

const POLL_MS: i64 = 10_000;

/// A street-side view of a household whose meter is polled through each slot.
struct Metered {
    world: World,
    /// What truly flowed, mWh.
    true_mwh: i64,
    slots: i64,
}

impl Metered {
    /// Two slots of plain counting, 100 Wh each.
    fn new() -> Self {
        let mut world = World::new();
        world.honest_run(1);
        let true_mwh = world.import_wh * 1_000;
        Self { world, true_mwh, slots: 1 }
    }

    fn registers(&self, import: Observed<Count>) -> Registers {
        let export = Observed::Value(Count::plain(self.world.export_wh * 1_000));
        Registers::plain(self.world.now_ms, import, export)
    }

    /// Lets a slot pass: 100 Wh flow, and `shows` says what the meter makes of the true count at
    /// each poll (from 1 to 90) and at the edge (0).
    fn slot(&mut self, shows: impl Fn(i64, i64) -> Option<Shown>) {
        let slot = FIRST.offset(self.slots);
        self.slots += 1;
        for poll in 1..90 {
            self.world.now_ms = slot.start_ms() + poll * POLL_MS;
            let import = self.true_mwh + poll * 100_000 / 90;
            if let Some(shown) = shows(poll, import) {
                let registers = shown(self.registers(Observed::Value(Count::plain(import))));
                self.world.step(Input::Polled(Default::default(), Some(registers)));
            }
        }
        self.true_mwh += 100_000;
        self.world.now_ms = slot.end_ms();
        self.world.step(Input::Tick);
        if let Some(shown) = shows(0, self.true_mwh) {
            let registers = shown(self.registers(Observed::Value(Count::plain(self.true_mwh))));
            self.world.step(Input::Edge(slot, registers));
        }
        self.world.now_ms = slot.end_ms() + 60_001;
        self.world.step(Input::Tick);
    }

    fn last(&self) -> Reading {
        self.world.readings().last().expect("there are some").clone()
    }
}

/// What a meter makes of true registers.
type Shown = Box<dyn Fn(Registers) -> Registers>;

fn honest() -> Shown {
    Box::new(|registers| registers)
}

fn import(change: impl Fn(Count) -> Count + 'static) -> Shown {
    Box::new(move |registers| {
        let import = registers.import.clone().map(&change);
        Registers { import, ..registers }
    })
}

/// Runs one strange slot and two plain ones; the Wh between the readings, with the slots that each
/// spans, their qualities, and the kinds of events.
fn check(
    name: &str,
    shows: impl Fn(i64, i64) -> Option<Shown>,
    then: impl Fn() -> Shown,
    expected: &[(i64, i64, &str, &str)],
) {
    let mut metered = Metered::new();
    metered.slot(shows);
    metered.slot(|_, _| Some(then()));
    metered.slot(|_, _| Some(then()));
    let readings = metered.world.readings();
    let found: Vec<(i64, i64, String, String)> = readings
        .windows(2)
        .skip(1)
        .map(|pair| {
            let kinds: Vec<&str> = pair[1].events.iter().map(|event| event.kind.as_str()).collect();
            (
                i64::try_from(pair[1].import_wh - pair[0].import_wh).expect("small"),
                pair[1].slot - pair[0].slot,
                pair[1].quality.clone(),
                kinds.join(" "),
            )
        })
        .collect();
    let expected: Vec<_> = expected
        .iter()
        .map(|&(wh, slots, quality, kinds)| (wh, slots, quality.to_owned(), kinds.to_owned()))
        .collect();
    assert_eq!(found, expected, "{name}");
}

#[test]
fn every_slot_is_measured_or_says_how_it_came_about() {
    let plain = (100, 1, "measured", "");
    check("plain", |_, _| Some(honest()), honest, &[plain, plain, plain]);
    let silent = |poll, _| (poll > 0).then(honest);
    check("a missed edge", silent, honest, &[(200, 2, "bridged", ""), plain]);
    let dead = |_, _| None;
    check("a slot without an answer", dead, honest, &[(200, 2, "bridged", ""), plain]);
    let zero = |poll, _| Some(if poll > 20 { import(|_| Count::plain(0)) } else { honest() });
    check(
        "zero and back before the edge",
        zero,
        honest,
        &[(100, 1, "measured", "zero"), plain, plain],
    );
    let zero = |poll, _| Some(if poll == 0 { import(|_| Count::plain(0)) } else { honest() });
    check("zero at the edge", zero, honest, &[(200, 2, "bridged", "zero"), plain]);
    let absent: fn() -> Shown = || {
        Box::new(|registers| Registers { import: Observed::Absent(Absence::Sentinel), ..registers })
    };
    let asleep = |poll, _| Some(if poll == 0 { absent() } else { honest() });
    check("not available at the edge", asleep, honest, &[(200, 2, "bridged", ""), plain]);
    let dip = |poll, _| {
        let back = |count: Count| Count { mwh: count.mwh - 50_000, ..count };
        Some(if poll == 0 { import(back) } else { honest() })
    };
    check(
        "a dip at the edge",
        dip,
        honest,
        // What the highest value lacks at the edge comes with the next slot.
        &[(99, 1, "substituted", "dip"), (101, 1, "measured", ""), plain],
    );
    let wild = |poll, _| {
        let wild = |count: Count| Count { mwh: count.mwh + 35_900_000_000, ..count };
        Some(if poll == 7 { import(wild) } else { honest() })
    };
    check("one wild value", wild, honest, &[(100, 1, "measured", "implausible"), plain, plain]);
}

#[test]
fn a_meter_that_is_exchanged_loses_nothing_but_the_moment() {
    // A counter that starts from nothing, 20 polls into the slot.
    let start = Metered::new().true_mwh + 20 * 100_000 / 90;
    let new = move |count: Count| Count { mwh: count.mwh - start, ..count };
    let exchange = move |poll, _| Some(if poll == 0 || poll > 20 { import(new) } else { honest() });
    let mut metered = Metered::new();
    metered.slot(exchange);
    let reading = metered.last();
    let kinds: Vec<_> = reading.events.iter().map(|event| event.kind.as_str()).collect();
    assert_eq!(
        (kinds.join(" "), reading.quality.as_str()),
        ("implausible reset".into(), "bridged")
    );
    let reset = reading.events.last().expect("two");
    assert_eq!((reset.register.as_str(), reset.times), ("import", 1));
    // Between the last look at the old counter and the fifth minute of the new one.
    let lost = metered.true_mwh / 1_000 - i64::try_from(reading.import_wh).expect("small");
    assert!((30..=36).contains(&lost), "{lost} Wh");
    metered.slot(move |_, _| Some(import(new)));
    assert_eq!((metered.last().quality.as_str(), metered.last().events.len()), ("measured", 0));
    let after = metered.true_mwh / 1_000 - i64::try_from(metered.last().import_wh).expect("small");
    assert_eq!(after, lost, "and nothing more");
}

#[test]
fn another_serial_number_is_told_at_once() {
    let named = |serial: &'static str, back: i64| -> Shown {
        Box::new(move |registers| Registers {
            identity: Some(serial.to_owned()),
            import: registers.import.map(|count| Count { mwh: count.mwh - back, ..count }),
            ..registers
        })
    };
    let mut metered = Metered::new();
    metered.slot(|_, _| Some(named("A1", 0)));
    assert_eq!(metered.last().events, []);
    // The agent is started again in between: whose counter it was is in the journal.
    metered.world.restart();
    metered.slot(|poll, _| Some(named(if poll == 0 || poll > 44 { "B2" } else { "A1" }, 7)));
    let told: Vec<_> = metered
        .last()
        .events
        .iter()
        .map(|event| (event.register.clone(), event.kind.clone()))
        .collect();
    let exchange = |register: &str| (register.to_owned(), "exchange".to_owned());
    assert_eq!(told, [exchange("export"), exchange("import")]);
    assert_eq!(metered.last().quality, "bridged");
}

#[test]
fn what_jumps_is_put_aside_until_the_owner_says_that_it_is_true() {
    let jump = |count: Count| Count { mwh: count.mwh + 500_000_000, ..count };
    let mut metered = Metered::new();
    metered.slot(move |poll, _| Some(if poll == 0 || poll > 20 { import(jump) } else { honest() }));
    let before = metered.last();
    let kinds: Vec<_> = before.events.iter().map(|event| event.kind.as_str()).collect();
    assert_eq!(kinds, ["implausible", "jump"]);
    // Nobody says anything: it stays aside, also over a restart.
    metered.world.restart();
    metered.slot(move |_, _| Some(import(jump)));
    let aside = metered.last();
    assert_eq!(aside.import_wh - before.import_wh, 100);
    metered.world.step(Input::ConfirmJumps);
    metered.slot(move |_, _| Some(import(jump)));
    let confirmed = metered.last();
    assert!(confirmed.import_wh - aside.import_wh >= 500_000 + 100);
    assert_eq!(
        (confirmed.events[0].kind.as_str(), confirmed.quality.as_str()),
        ("confirmed", "bridged")
    );
    metered.world.step(Input::ConfirmJumps);
    let (_, said) = metered.world.reports.last().expect("said");
    assert!(said.contains("nothing to confirm"), "{said}");
}

#[test]
fn a_counter_that_starts_again_by_itself_is_not_settled_on() {
    for resets in [Resets::Daily, Resets::PowerCycle] {
        let mut metered = Metered::new();
        let readings = metered.world.readings().len();
        metered.slot(move |_, _| Some(import(move |count| Count { resets, ..count })));
        assert_eq!(metered.world.readings().len(), readings, "{resets:?}");
        let told =
            metered.world.reports.iter().filter(|(_, text)| text.contains("allow_resetting"));
        assert_eq!(told.count(), 1, "{resets:?}");
    }
}

#[test]
fn a_reading_says_how_fine_its_meter_is_and_how_its_clock_goes() {
    let coarse = || -> Shown {
        Box::new(|registers| {
            let fine = |count: Count, mwh| Count { resolution_mwh: Some(mwh), ..count };
            Registers {
                import: registers.import.map(|count| fine(count, 3_906)),
                export: registers.export.map(|count| fine(count, 61)),
                device_offset_ms: Some(-61_000),
                ..registers
            }
        })
    };
    let mut metered = Metered::new();
    metered.slot(|_, _| Some(coarse()));
    let reading = metered.last();
    assert_eq!((reading.resolution_mwh, reading.device_offset_ms), (vec![3_906], vec![-61_000]));
    // More than a minute apart: one of both is wrong, and the reading does not vouch for its own.
    assert_eq!(
        (reading.clock.as_str(), reading.events[0].kind.as_str()),
        ("informative", "clock drift")
    );
    metered.slot(|_, _| Some(honest()));
    assert_eq!(
        (metered.last().clock.as_str(), metered.last().resolution_mwh),
        ("synchronised", vec![])
    );
}

#[test]
fn power_is_summed_up_and_a_gap_makes_its_slot_missing() {
    let mut metered = Metered::new();
    let summed = |from_ms: i64, to_ms: i64| -> Shown {
        Box::new(move |registers| Registers {
            summed: Some(Summed { gap_ms: (from_ms, to_ms) }),
            ..registers
        })
    };
    let first = FIRST.offset(1);
    metered.slot(|_, _| Some(summed(0, first.start_ms())));
    assert_eq!(
        (metered.last().quality.as_str(), metered.last().slot),
        ("integrated", first.number())
    );
    // No power for half an hour within the next slot: nobody knows what flowed.
    let gap = (first.next().start_ms() + 60_000, first.next().start_ms() + 120_000);
    metered.slot(|_, _| Some(summed(gap.0, gap.1)));
    assert_eq!(metered.last().slot, first.number(), "missing, not zero");
    metered.slot(|_, _| Some(summed(gap.0, gap.1)));
    let reading = metered.last();
    assert_eq!((reading.quality.as_str(), reading.slot), ("integrated", first.offset(2).number()));
    let event = &reading.events[0];
    assert_eq!(
        (event.kind.as_str(), event.before, event.after, event.times),
        ("gap", gap.0, gap.1, 1)
    );
}

/// The household's page as the operator sees it: slots and sequence numbers of all readings.
fn spans(world: &World) -> Vec<(i64, u64)> {
    world.readings().iter().map(|reading| (reading.slot, reading.seq)).collect()
}

#[test]
fn a_full_journal_makes_no_readings_and_the_first_one_after_tells_since_when() {
    let mut metered = Metered::new();
    let full = 300 + metered.world.core.status().released_seq;
    while (metered.world.readings().len() as u64) < full {
        let slot = FIRST.offset(metered.slots);
        metered.slots += 1;
        metered.true_mwh += 1_000;
        metered.world.import_wh += 1;
        metered.world.now_ms = slot.end_ms();
        metered.world.step(Input::Tick);
        let registers = metered.world.registers();
        metered.world.step(Input::Edge(slot, registers));
    }
    let first_without = FIRST.offset(metered.slots).number();
    for _ in 0..3 {
        metered.slot(|poll, _| (poll == 0).then(honest));
        // However often it is started again meanwhile.
        metered.world.restart();
    }
    assert_eq!(metered.world.readings().len() as u64, full, "no more");
    let told = metered.world.reports.iter().filter(|(_, text)| text.contains("journal.keep_days"));
    assert_eq!(told.count(), 1);
    // The operator answers at last.
    let head = metered.last();
    let receipt = metered.world.operator.receipt(&head, metered.world.now_ms);
    let payload = metered.world.operator.sign(receipt).to_json();
    metered.world.hear(Down::Receipt, payload.clone());
    metered.slot(|poll, _| (poll == 0).then(honest));
    let reading = metered.last();
    let overflow = &reading.events[0];
    assert_eq!(
        (overflow.kind.as_str(), overflow.before, overflow.after, overflow.times),
        ("overflow", first_without, first_without + 2, 3)
    );
    assert_eq!((reading.seq, reading.quality.as_str()), (full + 1, "bridged"));
    assert_eq!(i64::try_from(reading.import_wh).expect("small") * 1_000, metered.true_mwh);
    // Told once: a restart after it tells nothing again.
    metered.world.restart();
    metered.world.hear(Down::Receipt, payload);
    metered.slot(|poll, _| (poll == 0).then(honest));
    assert_eq!(metered.last().events, []);
}

#[test]
fn both_changes_of_summer_time_have_their_slots_and_no_more() {
    // 2026-03-29 and 2026-10-25 in Central Europe: local midnight to local midnight, in UTC.
    for (from, to, slots) in [
        ("2026-03-28T23:00Z", "2026-03-29T22:00Z", 92),
        ("2026-06-20T22:00Z", "2026-06-21T22:00Z", 96),
        ("2026-10-24T22:00Z", "2026-10-25T23:00Z", 100),
    ] {
        let (first, last) = (parse(from), parse(to).previous());
        let mut world = World::new();
        world.now_ms = first.start_ms();
        world.restart();
        for slot in (0..slots).map(|count| first.offset(count)) {
            world.edge(slot, 10, 0);
        }
        let spans = spans(&world);
        assert_eq!(spans.len(), usize::try_from(slots).expect("small"), "{from}");
        assert_eq!(spans.last().map(|(slot, _)| *slot), Some(last.number()), "{from}");
        let expected = (first.number()..).zip(1..);
        assert!(spans.iter().copied().zip(expected).all(|(found, wanted)| found == wanted));
    }
}

/// A slot by its first minute, as `YYYY-MM-DDTHH:MMZ`.
fn parse(text: &str) -> units::Slot {
    let slots = 1_700_000..2_100_000;
    slots.map(units::Slot::new).find(|slot| slot.to_string() == text).expect("of this decade")
}

#[test]
fn a_clock_that_is_set_makes_no_slot_twice_and_loses_nothing() {
    for step_ms in [90_000_i64, -90_000] {
        let mut metered = Metered::new();
        metered.slot(|_, _| Some(honest()));
        // Right after an edge was read the clock is set, once over the next edge and once back over
        // this one.
        let before_ms = metered.world.now_ms;
        let at_edge = FIRST.offset(metered.slots).start_ms();
        metered.world.now_ms = at_edge + 30_000;
        let after_ms = metered.world.now_ms + step_ms;
        metered.world.step(Input::ClockStepped { before_ms, after_ms });
        metered.world.now_ms = after_ms;
        assert_eq!(metered.world.core.due_edge(after_ms), None, "{step_ms}");
        for _ in 0..3 {
            metered.slot(|_, _| Some(honest()));
        }
        let readings = metered.world.readings();
        let pairs = readings.windows(2);
        assert!(
            pairs.clone().all(|pair| pair[1].slot > pair[0].slot && pair[1].seq == pair[0].seq + 1)
        );
        let clocks: Vec<_> = readings.iter().skip(3).map(|r| r.clock.as_str()).collect();
        assert_eq!(clocks, ["informative", "synchronised", "synchronised"], "{step_ms}");
        let event = &readings[3].events[0];
        assert_eq!(
            (event.kind.as_str(), event.before, event.after),
            ("clock step", before_ms, after_ms)
        );
        let booked = i64::try_from(metered.last().import_wh).expect("small") * 1_000;
        assert_eq!(booked, metered.true_mwh, "{step_ms}");
    }
}
