//! From counters to signed readings, one per slot edge.

use protocol::{Domain, Live, Quality, Reading, Up};
use units::Slot;

use super::counter::{Look, Watched};
use super::edges::Edge;
use super::sample::{Count, Flows, Registers};
use super::{Core, Effect, Entry, Level, MAX_WAITING};
use crate::device::Observed;

/// Register of the energy from the grid.
pub const IMPORT: &str = "import";
/// Register of the energy to the grid.
pub const EXPORT: &str = "export";
/// Before the name of the generator whose production a register counts.
pub const PRODUCED: &str = "produced.";

/// The edge that a reading documents.
pub fn edge_of(domain: &Domain, reading: &Reading) -> (Slot, Edge) {
    let wh = |wh: u64| i64::try_from(wh).unwrap_or(i64::MAX);
    let edge = Edge {
        seq: reading.seq,
        digest: domain.digest(reading),
        import_wh: wh(reading.import_wh),
        export_wh: wh(reading.export_wh),
        produced_wh: reading.produced_wh.first().copied().map(wh),
        receipted_ms: None,
    };
    (Slot::new(reading.slot), edge)
}

impl Core {
    /// Notes present flows and registers between the edges, and shows them live.
    pub(super) fn polled(
        &mut self,
        now_ms: i64,
        flows: Flows,
        registers: Option<Registers>,
        effects: &mut Vec<Effect>,
    ) {
        // While an edge is to be read its registers come first: they may be older than these.
        if let Some(registers) = registers.filter(|_| self.edges.due(now_ms).is_none()) {
            self.look(&registers, effects);
        }
        if self.is_connected() {
            let list = |value: Option<i64>| value.into_iter().collect::<Vec<i64>>();
            let watts = |mw: Option<i64>| list(mw.map(to_w));
            let live = Live {
                point: self.settings.point.to_string(),
                time_ms: now_ms,
                power_w: watts(flows.power_mw),
                pv_w: watts(flows.pv_mw),
                battery_w: watts(flows.battery_mw),
                soc_permille: list(flows.soc_permille),
                voltage_mv: list(flows.voltage_mv),
            };
            effects.push(Effect::Publish(Up::Live, self.sign(live).to_json()));
        }
        self.flows = Some(flows);
    }

    /// Makes the reading of the edge that is due, if the registers are known and belong to it.
    pub(super) fn edge(
        &mut self,
        now_ms: i64,
        slot: Slot,
        registers: &Registers,
        effects: &mut Vec<Effect>,
    ) {
        if self.edges.due(now_ms) != Some(slot) || !self.edges.belongs(slot, registers.taken_ms) {
            return;
        }
        if self.outbox.waiting() >= MAX_WAITING {
            effects.push(Effect::Report(
                Level::Error,
                format!("{MAX_WAITING} readings wait for a receipt: no more are made until the operator answers"),
            ));
            return;
        }
        if !self.look(registers, effects) {
            return;
        }
        let wh = |id: &str| self.counters.get(id).and_then(|c| u64::try_from(c.wh()).ok());
        let (Some(import_wh), Some(export_wh)) = (wh(IMPORT), wh(EXPORT)) else { return };
        let before = self.edges.last().map(|(last, _)| last);
        let bridges = before.is_some_and(|last| last.next() != slot) || self.exchanged;
        let quality = if bridges { Quality::Bridged } else { Quality::Measured };
        let reading = Reading {
            point: self.settings.point.to_string(),
            epoch: self.settings.epoch,
            seq: self.last_seq + 1,
            prev: self.head,
            slot: slot.number(),
            time_ms: registers.taken_ms,
            clock: self.settings.clock.to_string(),
            import_wh,
            export_wh,
            produced_wh: self.produced_wh(registers).into_iter().collect(),
            power_w: registers.power_mw.map(to_w).into_iter().collect(),
            quality: quality.to_string(),
        };
        self.journal(slot, reading, effects);
    }

    fn journal(&mut self, slot: Slot, reading: Reading, effects: &mut Vec<Effect>) {
        let (_, edge) = edge_of(&self.settings.domain, &reading);
        (self.last_seq, self.head) = (reading.seq, edge.digest);
        self.exchanged = false;
        self.edges.record(slot, edge);
        if let (Some(policy), Some(measured)) = (&mut self.policy, self.edges.measured(slot)) {
            policy.learn(slot, measured);
        }
        self.outbox.appended(reading.seq);
        self.status.journalled_seq = reading.seq;
        self.status.journalled_slot = Some(slot.number());
        let counters = self.counters.iter().map(|(id, watched)| (id.clone(), watched.counter()));
        let entry = Entry { counters: counters.collect(), reading: self.sign(reading) };
        effects.push(Effect::Append(Box::new(entry)));
    }

    /// Production of all plants together, when every one of them is known.
    fn produced_wh(&self, registers: &Registers) -> Option<u64> {
        if registers.produced.is_empty() {
            return None;
        }
        registers.produced.iter().try_fold(0_u64, |sum, (device, seen)| {
            seen.as_value()?;
            let watched = self.counters.get(&format!("{PRODUCED}{device}"))?;
            sum.checked_add(u64::try_from(watched.wh()).ok()?)
        })
    }

    /// Looks at every counter; whether import and export can be settled on.
    fn look(&mut self, registers: &Registers, effects: &mut Vec<Effect>) -> bool {
        let taken_ms = registers.taken_ms;
        let import = self.look_at(IMPORT, &registers.import, taken_ms, effects);
        let export = self.look_at(EXPORT, &registers.export, taken_ms, effects);
        for (device, seen) in &registers.produced {
            self.look_at(&format!("{PRODUCED}{device}"), seen, taken_ms, effects);
        }
        import && export
    }

    fn look_at(
        &mut self,
        id: &str,
        seen: &Observed<Count>,
        taken_ms: i64,
        effects: &mut Vec<Effect>,
    ) -> bool {
        let Some(&count) = seen.as_value().filter(|count| count.mwh >= 0) else { return false };
        let Some(watched) = self.counters.get_mut(id) else {
            self.counters.insert(id.to_owned(), Watched::new(count, taken_ms));
            return true;
        };
        let known = watched.is_suspect();
        match watched.look(count, taken_ms, self.settings.connection_w) {
            Look::Plain => true,
            Look::Held(why) => {
                if !known {
                    let text = format!("{id} register held: {why}");
                    effects.push(Effect::Report(Level::Warning, text));
                }
                false
            }
            Look::Exchanged(why) => {
                self.exchanged = true;
                effects.push(Effect::Report(Level::Error, format!("{id} register: {why}")));
                true
            }
        }
    }
}

/// To whole watts, half away from zero.
const fn to_w(mw: i64) -> i64 {
    (mw + 500 * mw.signum()) / 1_000
}
