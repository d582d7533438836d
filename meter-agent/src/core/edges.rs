//! Slot edges: which one is due, and what the registers were at those behind.

use std::collections::BTreeMap;

use protocol::B256;
use units::Slot;

use super::forecast::Measured;

/// Edges that are remembered: a good week.
const KEPT: usize = 800;

/// A journalled reading, as far as bids and audits need it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Edge {
    /// Sequence number of the reading.
    pub seq: u64,
    /// Its digest.
    pub digest: B256,
    /// Import register, Wh.
    pub import_wh: i64,
    /// Export register, Wh.
    pub export_wh: i64,
    /// Production of the own plant so far, Wh, where it is metered.
    pub produced_wh: Option<i64>,
    /// What went into a steered battery so far less what came out, mWh; none where none is.
    pub stored_mwh: Option<i64>,
    /// When the operator's receipt for it was signed; none while there is none.
    pub receipted_ms: Option<i64>,
}

/// Energy between two edges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flow {
    /// Energy from the grid, Wh.
    pub import_wh: i64,
    /// Energy to the grid, Wh.
    pub export_wh: i64,
}

/// The edges behind, and the one ahead.
#[derive(Debug, Clone)]
pub struct Edges {
    by_slot: BTreeMap<i64, Edge>,
    /// The first slot whose edge has neither been read nor given up.
    next: Slot,
    /// How long after an edge a reading still belongs to it, milliseconds.
    grace_ms: i64,
}

impl Edges {
    /// Starts at `now_ms` behind the edges of a journal. The edge just behind counts as due while
    /// it is within the grace time.
    #[must_use]
    pub fn new(behind: impl IntoIterator<Item = (Slot, Edge)>, now_ms: i64, grace_ms: i64) -> Self {
        let mut edges = Self {
            by_slot: behind.into_iter().map(|(slot, edge)| (slot.number(), edge)).collect(),
            next: Slot::at_ms(now_ms).previous(),
            grace_ms,
        };
        if let Some((&last, _)) = edges.by_slot.last_key_value() {
            edges.next = edges.next.max(Slot::new(last).next());
        }
        edges.trim();
        edges
    }

    /// Gives up edges whose time has passed; returns them (at most the ten newest).
    pub fn pass(&mut self, now_ms: i64) -> Vec<Slot> {
        let mut missed = Vec::new();
        let newest_ended = Slot::at_ms(now_ms).previous();
        // All but the newest are overtaken by it: its registers hold their energy too.
        let first_listed = newest_ended.offset(-10).max(self.next);
        if first_listed > self.next {
            self.next = first_listed;
        }
        while self.next < newest_ended
            || self.next == newest_ended && now_ms - self.next.end_ms() > self.grace_ms
        {
            missed.push(self.next);
            self.next = self.next.next();
        }
        missed
    }

    /// The edge to be read now, after [`Edges::pass`].
    #[must_use]
    pub fn due(&self, now_ms: i64) -> Option<Slot> {
        (self.next.end_ms() <= now_ms).then_some(self.next)
    }

    /// When something happens next by time alone: an edge, or the end of the time to read one.
    #[must_use]
    pub fn wake_ms(&self, now_ms: i64) -> i64 {
        match self.due(now_ms) {
            Some(slot) => slot.end_ms() + self.grace_ms + 1,
            None => self.next.end_ms(),
        }
    }

    /// Whether registers taken then belong to the edge of `slot`.
    #[must_use]
    pub fn belongs(&self, slot: Slot, taken_ms: i64) -> bool {
        (slot.end_ms()..=slot.end_ms() + self.grace_ms).contains(&taken_ms)
    }

    /// Gives up the edge of a slot.
    pub fn skip(&mut self, slot: Slot) {
        self.next = self.next.max(slot.next());
    }

    /// Remembers a journalled edge and moves on.
    pub fn record(&mut self, slot: Slot, edge: Edge) {
        self.by_slot.insert(slot.number(), edge);
        self.next = self.next.max(slot.next());
        self.trim();
    }

    /// Notes that the operator has everything up to `seq`.
    pub fn receipted(&mut self, seq: u64, time_ms: i64) {
        for edge in self
            .by_slot
            .values_mut()
            .rev()
            .take_while(|edge| edge.seq > seq || edge.receipted_ms.is_none())
        {
            if edge.seq <= seq {
                edge.receipted_ms = Some(time_ms);
            }
        }
    }

    /// The edge of a slot.
    #[must_use]
    pub fn at(&self, slot: Slot) -> Option<&Edge> {
        self.by_slot.get(&slot.number())
    }

    /// The newest edge.
    #[must_use]
    pub fn last(&self) -> Option<(Slot, &Edge)> {
        self.by_slot.last_key_value().map(|(&slot, edge)| (Slot::new(slot), edge))
    }

    /// The oldest edge that is remembered.
    #[must_use]
    pub fn first(&self) -> Option<Slot> {
        self.by_slot.first_key_value().map(|(&slot, _)| Slot::new(slot))
    }

    /// The reading with this sequence number, if it is remembered.
    #[must_use]
    pub fn with_seq(&self, seq: u64) -> Option<&Edge> {
        self.by_slot.values().rev().find(|edge| edge.seq == seq)
    }

    /// Energy of the `slots` slots that end with `slot`, when both outer edges are known and no
    /// reading lies between them.
    #[must_use]
    pub fn flow(&self, slot: Slot, slots: i64) -> Option<Flow> {
        let (from, to) = (self.at(slot.offset(-slots))?, self.at(slot)?);
        (to.seq == from.seq + 1).then(|| Flow {
            import_wh: to.import_wh - from.import_wh,
            export_wh: to.export_wh - from.export_wh,
        })
    }

    /// What was used and produced in a slot, when the readings at both its ends are known.
    #[must_use]
    pub fn measured(&self, slot: Slot) -> Option<Measured> {
        let flow = self.flow(slot, 1)?;
        let produced = |slot| self.at(slot)?.produced_wh;
        let sun_wh = produced(slot)
            .zip(produced(slot.previous()))
            .map(|(to, from)| to - from)
            .filter(|&sun_wh| sun_wh >= 0);
        let stored = |slot| self.at(slot)?.stored_mwh;
        // What a steered battery took is no load. Where it is known at one end only, nothing is.
        let stored_wh = match (stored(slot), stored(slot.previous())) {
            (None, None) => 0,
            (to, from) => (to? - from?) / 1_000,
        };
        let net_wh = flow.import_wh - flow.export_wh - stored_wh;
        Some(Measured { load_wh: net_wh + sun_wh.unwrap_or(0), sun_wh })
    }

    /// All that was measured slot by slot, oldest first.
    pub fn all_measured(&self) -> impl Iterator<Item = (Slot, Measured)> + '_ {
        self.by_slot
            .keys()
            .filter_map(|&slot| Some((Slot::new(slot), self.measured(Slot::new(slot))?)))
    }

    fn trim(&mut self) {
        while self.by_slot.len() > KEPT {
            self.by_slot.pop_first();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE: i64 = 60_000;

    fn edge(seq: u64, import_wh: i64) -> Edge {
        Edge {
            seq,
            digest: B256::ZERO,
            import_wh,
            export_wh: 0,
            produced_wh: None,
            stored_mwh: None,
            receipted_ms: None,
        }
    }

    #[test]
    fn an_edge_is_due_from_the_slots_end_until_the_grace_is_over() {
        let s = Slot::new(1_000);
        let check = |now_ms: i64, due: Option<Slot>, wake_ms: i64| {
            let mut edges = Edges::new([(s, edge(1, 5))], s.end_ms(), GRACE);
            edges.pass(now_ms);
            assert_eq!((edges.due(now_ms), edges.wake_ms(now_ms)), (due, wake_ms));
        };
        let end = s.next().end_ms();
        check(end - 1, None, end);
        check(end, Some(s.next()), end + GRACE + 1);
        check(end + GRACE, Some(s.next()), end + GRACE + 1);
        check(end + GRACE + 1, None, s.offset(2).end_ms());
        // After a long sleep only the newest edge can still be read.
        check(s.offset(40).end_ms() + 5, Some(s.offset(40)), s.offset(40).end_ms() + GRACE + 1);
    }

    #[test]
    fn a_fresh_start_on_an_edge_reads_it_and_a_late_one_does_not() {
        let s = Slot::new(1_000);
        for (now_ms, due) in [
            (s.end_ms(), Some(s)),
            (s.end_ms() + GRACE, Some(s)),
            (s.end_ms() + GRACE + 1, None),
            (s.end_ms() - 1, None),
        ] {
            let mut edges = Edges::new([], now_ms, GRACE);
            edges.pass(now_ms);
            assert_eq!(edges.due(now_ms), due, "{now_ms}");
        }
    }

    #[test]
    fn missed_edges_are_named_but_not_without_bound() {
        let s = Slot::new(1_000);
        let mut edges = Edges::new([(s, edge(1, 5))], s.end_ms(), GRACE);
        assert_eq!(edges.pass(s.offset(3).end_ms()), [s.offset(1), s.offset(2)]);
        assert_eq!(edges.pass(s.offset(3).end_ms()), []);
        assert_eq!(edges.pass(s.offset(900).end_ms()).len(), 10);
    }

    #[test]
    fn energy_is_known_between_neighbouring_readings_only() {
        let s = Slot::new(1_000);
        let behind = [(s, edge(1, 5)), (s.next(), edge(2, 9)), (s.offset(4), edge(3, 40))];
        let edges = Edges::new(behind, s.offset(5).start_ms(), GRACE);
        assert_eq!(edges.flow(s.next(), 1), Some(Flow { import_wh: 4, export_wh: 0 }));
        assert_eq!(edges.flow(s.offset(4), 3), Some(Flow { import_wh: 31, export_wh: 0 }));
        assert_eq!(edges.flow(s.offset(4), 1), None);
        assert_eq!(edges.flow(s.offset(4), 4), None, "a reading lies between");
    }

    #[test]
    fn receipts_mark_what_they_cover() {
        let s = Slot::new(1_000);
        let behind = (0..4).map(|i| (s.offset(i), edge(1 + i.unsigned_abs(), i)));
        let mut edges = Edges::new(behind, s.offset(5).start_ms(), GRACE);
        edges.receipted(2, 77);
        edges.receipted(3, 99);
        let marks: Vec<_> =
            (1..=4).map(|seq| edges.with_seq(seq).expect("kept").receipted_ms).collect();
        assert_eq!(marks, [Some(77), Some(77), Some(99), None]);
    }
}
