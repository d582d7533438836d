//! From registers to the energy of a slot.
//!
//! Only differences of cumulative registers are settled, so whatever is late or missed is found
//! again in the next difference: energy is never lost and never counted twice.

use std::collections::BTreeMap;

use protocol::MAX_LATE_LINES;
use serde::{Deserialize, Serialize};
use units::{Energy, Slot};

/// What a meter showed at the end of a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registers {
    /// Cumulative energy from the grid.
    pub import: Energy,
    /// Cumulative energy to the grid.
    pub export: Energy,
    /// Cumulative production, when it is metered.
    pub produced: Option<Energy>,
}

/// Energy between two readings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// The slot in which the span ends.
    pub slot: Slot,
    /// How many slots it covers, at least 1.
    pub slots: i64,
    /// Energy from the grid.
    pub import: Energy,
    /// Energy to the grid.
    pub export: Energy,
    /// Production, when both readings have it.
    pub produced: Option<Energy>,
}

/// What is known about one metering point when a slot is settled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metering {
    /// The slot's own energy; none when an edge of the slot is not known.
    pub on_time: Option<Span>,
    /// Energy of earlier slots, and spans longer than a slot, that became known only now.
    pub late: Vec<Span>,
    /// Registers up to which everything is settled then.
    pub settled: Option<(Slot, Registers)>,
}

/// Meters a slot from what was settled before and the readings since.
///
/// Each reading closes a span from the one before. A span of exactly the slot is on time, every
/// other span up to the slot is late: its energy belongs to the slot in which it ends. The first
/// reading ever is where counting starts. Readings after the slot are left alone, and so is what is
/// more than [`MAX_LATE_LINES`] spans late: the next slot goes on there, so that a bill stays a
/// message however long a meter was away.
#[must_use]
pub fn meter(
    settled: Option<(Slot, Registers)>,
    edges: &BTreeMap<Slot, Registers>,
    slot: Slot,
) -> Metering {
    let mut metering = Metering { on_time: None, late: Vec::new(), settled };
    for (&edge, &registers) in edges.range(..=slot) {
        if let Some((from, before)) = metering.settled {
            if edge <= from {
                continue;
            }
            if metering.late.len() == MAX_LATE_LINES {
                break;
            }
            let span = span(from, before, edge, registers);
            if edge == slot && span.slots == 1 {
                metering.on_time = Some(span);
            } else {
                metering.late.push(span);
            }
        }
        metering.settled = Some((edge, registers));
    }
    metering
}

/// The first late span of exactly one slot, before `next`, that `takes` a slot of its own, with the
/// spans before it that do not. None when there is no such span, or more before it than fit into a
/// bill.
pub(super) fn meter_first(
    settled: Option<(Slot, Registers)>,
    edges: &BTreeMap<Slot, Registers>,
    next: Slot,
    takes: impl Fn(Slot) -> bool,
) -> Option<Metering> {
    let mut metering = Metering { on_time: None, late: Vec::new(), settled };
    for (&edge, &registers) in edges.range(..next) {
        let from = metering.settled;
        if from.is_some_and(|(from, _)| edge <= from) {
            continue;
        }
        metering.settled = Some((edge, registers));
        let Some((from, before)) = from else { continue };
        let span = span(from, before, edge, registers);
        if span.slots == 1 && takes(edge) {
            metering.on_time = Some(span);
            return Some(metering);
        }
        if metering.late.len() == MAX_LATE_LINES {
            return None;
        }
        metering.late.push(span);
    }
    None
}

fn span(from: Slot, before: Registers, edge: Slot, registers: Registers) -> Span {
    Span {
        slot: edge,
        slots: edge.number() - from.number(),
        import: registers.import - before.import,
        export: registers.export - before.export,
        produced: registers.produced.zip(before.produced).map(|(now, then)| now - then),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registers(import: i64) -> Registers {
        Registers { import: Energy::from_wh(import), export: Energy::ZERO, produced: None }
    }

    /// `edges` are (slot, import register); expected: on-time Wh, late (slot, Wh), settled slot.
    fn check(
        settled: Option<(i64, i64)>,
        edges: &[(i64, i64)],
        slot: i64,
        expected: (Option<i64>, &[(i64, i64)], Option<i64>),
    ) {
        let settled = settled.map(|(slot, wh)| (Slot::new(slot), registers(wh)));
        let edges = edges.iter().map(|&(slot, wh)| (Slot::new(slot), registers(wh))).collect();
        let metering = meter(settled, &edges, Slot::new(slot));
        let late: Vec<_> =
            metering.late.iter().map(|span| (span.slot.number(), span.import.wh())).collect();
        let found = (
            metering.on_time.map(|span| span.import.wh()),
            late.as_slice(),
            metering.settled.map(|(slot, _)| slot.number()),
        );
        assert_eq!(found, expected);
    }

    #[test]
    fn every_watt_hour_is_found_once() {
        // First reading ever: nothing yet. Then the slot after it.
        check(None, &[(5, 100)], 5, (None, &[], Some(5)));
        check(None, &[(5, 100), (6, 130)], 6, (Some(30), &[], Some(6)));
        check(Some((5, 100)), &[(6, 130)], 6, (Some(30), &[], Some(6)));
        // Nothing arrived; later the missed slot arrives together with the next.
        check(Some((5, 100)), &[], 6, (None, &[], Some(5)));
        check(Some((5, 100)), &[(6, 130), (7, 135)], 7, (Some(5), &[(6, 30)], Some(7)));
        // The missed edge never arrives: one long span, late.
        check(Some((5, 100)), &[(8, 190)], 8, (None, &[(8, 90)], Some(8)));
        // A late edge arrives while the present one is missing.
        check(Some((5, 100)), &[(6, 130)], 7, (None, &[(6, 30)], Some(6)));
        // What is late beyond a bill's bound waits for the next bill, the slot's own energy too.
        let all: Vec<(i64, i64)> = (0..=40).map(|number| (number, number * 10)).collect();
        let first: Vec<(i64, i64)> = (1..=32).map(|number| (number, 10)).collect();
        let rest: Vec<(i64, i64)> = (33..=39).map(|number| (number, 10)).collect();
        check(None, &all, 40, (None, &first, Some(32)));
        check(Some((32, 320)), &all[33..], 40, (Some(10), &rest, Some(40)));
        // Readings after the slot and before the settled edge do not count.
        check(Some((5, 100)), &[(4, 90), (6, 130), (7, 150)], 6, (Some(30), &[], Some(6)));
    }
}
