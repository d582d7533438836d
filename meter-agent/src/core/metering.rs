//! From counters to signed readings, one per slot edge.

use protocol::{ClockStatus, Domain, EventKind, Live, MAX_SAMPLES, Quality, Reading, Up};
use units::Slot;

use super::counter::{Bounds, Counter, Look, Standing, Watched};
use super::edges::Edge;
use super::happenings::JOURNAL;
use super::pair::look_at_both;
use super::sample::{Count, Flows, Registers, Summed};
use super::{Core, Effect, Entry, Level};
use crate::device::{Observed, Resets};

/// Register of the energy from the grid.
pub const IMPORT: &str = "import";
/// Register of the energy to the grid.
pub const EXPORT: &str = "export";
/// Before the name of the generator whose production a register counts.
pub const PRODUCED: &str = "produced.";
/// Before the name of the charging point whose energy a register counts.
pub const CHARGED: &str = "charged.";

/// From where on a meter's clock is worth a warning, and from where on it casts doubt on ours.
const CLOCK_OFFSET_WARNING_MS: u64 = 5_000;
const MAX_CLOCK_OFFSET_MS: u64 = 60_000;

/// Whether a register stands in for a counter that is below it.
#[derive(Debug, Clone, Copy)]
struct Clamped(bool);

/// The edge that a reading documents.
pub fn edge_of(domain: &Domain, reading: &Reading) -> (Slot, Edge) {
    let wh = |wh: u64| i64::try_from(wh).unwrap_or(i64::MAX);
    let edge = Edge {
        seq: reading.seq,
        digest: domain.digest(reading),
        import_wh: wh(reading.import_wh),
        export_wh: wh(reading.export_wh),
        produced_wh: reading.produced_wh.first().copied().map(wh),
        stored_mwh: None,
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
        let stored_mwh = registers.as_ref().and_then(|registers| registers.stored_mwh);
        self.note_store(now_ms, &flows, stored_mwh);
        // While an edge is to be read its registers come first: they may be older than these.
        if let Some(registers) = registers.filter(|_| self.edges.due(now_ms).is_none()) {
            self.look(&registers, effects);
        }
        if self.is_connected() {
            self.show(now_ms, &flows, effects);
        }
        self.flows = Some(flows);
    }

    /// Shows the present flows to the operator.
    pub(super) fn show(&self, now_ms: i64, flows: &Flows, effects: &mut Vec<Effect>) {
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

    /// The time of day was set: until the next reading nobody vouches for it.
    pub(super) fn clock_stepped(
        &mut self,
        before_ms: i64,
        after_ms: i64,
        effects: &mut Vec<Effect>,
    ) {
        self.clock_stepped = true;
        self.happenings.add("clock", EventKind::ClockStep, before_ms, after_ms, after_ms);
        let text = format!(
            "the clock was set by {} ms (or the computer slept): readings go on with the next slot's \
             end by the new time",
            after_ms.saturating_sub(before_ms)
        );
        effects.push(Effect::Report(Level::Warning, text));
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
        if self.outbox.waiting() >= self.settings.max_waiting {
            self.overflow(slot, effects);
            return;
        }
        let look = self.look(registers, effects);
        if let Some(summed) = registers.summed
            && !self.is_whole(slot, summed, effects)
        {
            return;
        }
        let Some(use_of) = look else { return };
        let wh = |id: &str| self.counters.get(id).and_then(|c| u64::try_from(c.wh()).ok());
        let (Some(import_wh), Some(export_wh)) = (wh(IMPORT), wh(EXPORT)) else { return };
        let reading = Reading {
            point: self.settings.point.to_string(),
            epoch: self.settings.epoch,
            seq: self.last_seq + 1,
            prev: self.head,
            slot: slot.number(),
            time_ms: registers.taken_ms,
            clock: self.clock_status(registers).to_string(),
            import_wh,
            export_wh,
            produced_wh: self.produced_wh(registers).into_iter().collect(),
            power_w: registers.power_mw.map(to_w).into_iter().collect(),
            quality: self.quality(slot, use_of, registers).to_string(),
            resolution_mwh: resolution(registers).into_iter().collect(),
            device_offset_ms: registers.device_offset_ms.into_iter().collect(),
            samples: registers.samples.iter().take(MAX_SAMPLES).cloned().collect(),
            events: self.happenings.take(),
        };
        self.journal(slot, reading, registers.stored_mwh, effects);
    }

    /// The journal is full of readings that nobody has received: the registers go on counting, and
    /// the first reading after tells from when to when none was made.
    fn overflow(&mut self, slot: Slot, effects: &mut Vec<Effect>) {
        let (number, end_ms) = (slot.number(), slot.end_ms());
        self.edges.skip(slot);
        let is_first = self.happenings.add(JOURNAL, EventKind::Overflow, number, number, end_ms);
        // It may take weeks until a reading can tell of it, and restarts lie in between.
        effects.push(Effect::SaveState);
        if is_first {
            let days = self.settings.max_waiting / 96;
            let text = format!(
                "readings of {days} days wait for a receipt: no more are made until the operator \
                 answers; nothing is lost, but later slots will be billed as one. Raise \
                 journal.keep_days if there is room"
            );
            effects.push(Effect::Report(Level::Error, text));
        }
    }

    fn quality(&self, slot: Slot, clamped: Clamped, registers: &Registers) -> Quality {
        let before = self.edges.last().map(|(last, _)| last);
        if registers.summed.is_some() {
            Quality::Integrated
        } else if clamped.0 {
            Quality::Substituted
        } else if self.rebased || before.is_some_and(|last| last.next() != slot) {
            Quality::Bridged
        } else {
            Quality::Measured
        }
    }

    /// How far the clock can be trusted, seen beside the meter's own.
    const fn clock_status(&self, registers: &Registers) -> ClockStatus {
        if self.clock_stepped {
            return ClockStatus::Informative;
        }
        match registers.device_offset_ms {
            // One of both is wrong by more than a minute, and nobody here can say which.
            Some(offset) if offset.unsigned_abs() > MAX_CLOCK_OFFSET_MS => ClockStatus::Informative,
            _ => self.settings.clock,
        }
    }

    /// Whether power was measured all through the slot: what is not known is missing.
    fn is_whole(&mut self, slot: Slot, summed: Summed, effects: &mut Vec<Effect>) -> bool {
        let (from_ms, to_ms) = summed.gap_ms;
        if to_ms <= slot.start_ms() || self.last_seq == 0 {
            return true;
        }
        if self.happenings.add("power", EventKind::Gap, from_ms, to_ms, to_ms) {
            let gap_s = (to_ms - from_ms) / 1_000;
            let text = format!(
                "power was not measured for {gap_s} s: the energy of slot {slot} is missing"
            );
            effects.push(Effect::Report(Level::Warning, text));
        }
        false
    }

    fn journal(
        &mut self,
        slot: Slot,
        reading: Reading,
        stored_mwh: Option<i64>,
        effects: &mut Vec<Effect>,
    ) {
        let (_, edge) = edge_of(&self.settings.domain, &reading);
        let edge = Edge { stored_mwh, ..edge };
        (self.last_seq, self.head) = (reading.seq, edge.digest);
        self.rebased = false;
        self.clock_stepped = false;
        self.edges.record(slot, edge);
        if let (Some(policy), Some(measured)) = (&mut self.policy, self.edges.measured(slot)) {
            policy.learn(slot, measured);
        }
        self.outbox.appended(reading.seq);
        self.status.journalled_seq = reading.seq;
        self.status.journalled_slot = Some(slot.number());
        let counters =
            self.counters.iter().map(|(id, watched)| (id.clone(), watched.counter().clone()));
        let reading = self.sign_reading(reading);
        let entry = Entry { counters: counters.collect(), stored_mwh, reading };
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

    /// Looks at every counter; none when import and export cannot be settled on.
    fn look(&mut self, registers: &Registers, effects: &mut Vec<Effect>) -> Option<Clamped> {
        let settled = self.look_at_meter(registers, effects);
        for (device, seen) in &registers.produced {
            self.look_at(&format!("{PRODUCED}{device}"), seen, registers.taken_ms, effects);
        }
        for (device, seen) in &registers.charged {
            self.look_at(&format!("{CHARGED}{device}"), seen, registers.taken_ms, effects);
        }
        self.note_clocks(registers, effects);
        let mut clamped = Clamped(false);
        for standing in settled? {
            match standing {
                Standing::Right => {}
                Standing::Rebased => self.rebased = true,
                Standing::Clamped => clamped = Clamped(true),
                Standing::Held(_) => return None,
            }
        }
        Some(clamped)
    }

    /// Looks at both registers of the meter; none when one of them is not known or not to be used.
    fn look_at_meter(
        &mut self,
        registers: &Registers,
        effects: &mut Vec<Effect>,
    ) -> Option<[Standing; 2]> {
        let taken_ms = registers.taken_ms;
        let counts = [&registers.import, &registers.export].map(known);
        for (id, count) in [IMPORT, EXPORT].into_iter().zip(counts) {
            if count.is_some_and(|count| count.resets != Resets::Never)
                && !self.settings.allow_resetting
            {
                self.refuse_resetting(id, effects);
                return None;
            }
        }
        let [Some(import), Some(export)] = counts else { return None };
        let mut meter = [IMPORT, EXPORT].map(|id| self.counters.remove(id));
        let summing_anew = registers.summed.is_some() && !self.summing;
        let looks = match &mut meter {
            [Some(import_register), Some(export_register)] if summing_anew => {
                // The summing up of power begins with the process: both go on from there.
                import_register.begin_anew(import.mwh, taken_ms);
                export_register.begin_anew(export.mwh, taken_ms);
                self.summing = true;
                [Look::rebased(), Look::rebased()]
            }
            [Some(import_register), Some(export_register)] => {
                let pair = [import_register, export_register];
                let identity = registers.identity.as_deref();
                look_at_both(pair, [import, export], identity, taken_ms, self.bounds())
            }
            _ => {
                self.summing = true;
                let started = |count: Count| {
                    let identity = registers.identity.clone();
                    let counter = Counter { identity, ..Counter::starting(count.mwh, taken_ms) };
                    Some(Watched::resume(counter))
                };
                meter = [import, export].map(started);
                [Look::right(), Look::right()]
            }
        };
        for (id, watched) in [IMPORT, EXPORT].into_iter().zip(meter) {
            self.counters.extend(watched.map(|watched| (id.to_owned(), watched)));
        }
        let [import, export] = looks;
        Some([(IMPORT, import), (EXPORT, export)].map(|(id, look)| {
            if let Some(event) = look.event {
                self.tell(id, event, taken_ms, effects);
            }
            look.standing
        }))
    }

    const fn bounds(&self) -> Bounds {
        Bounds { limit_w: self.settings.connection_w, slack_ms: self.settings.slack_ms }
    }

    /// Looks at the counter of a generator or a charging point.
    fn look_at(
        &mut self,
        id: &str,
        seen: &Observed<Count>,
        taken_ms: i64,
        effects: &mut Vec<Effect>,
    ) {
        let Some(count) = known(seen) else { return };
        let bounds = self.bounds();
        let Some(watched) = self.counters.get_mut(id) else {
            let counter = Counter::starting(count.mwh, taken_ms);
            self.counters.insert(id.to_owned(), Watched::resume(counter));
            return;
        };
        if let Some(event) = watched.look(count, None, taken_ms, bounds).event {
            self.tell(id, event, taken_ms, effects);
        }
    }

    /// Counts what was put aside, because the owner says that it flowed.
    pub(super) fn confirm_jumps(&mut self, now_ms: i64, effects: &mut Vec<Effect>) {
        let mut confirmed = Vec::new();
        for (id, watched) in &mut self.counters {
            let before = watched.counter().total_mwh;
            let aside = watched.confirm();
            if aside > 0 {
                confirmed.push((id.clone(), before, before.saturating_add(aside)));
            }
        }
        if confirmed.is_empty() {
            let text = "no register has anything put aside: there is nothing to confirm".to_owned();
            effects.push(Effect::Report(Level::Warning, text));
        }
        for (id, before, after) in confirmed {
            self.rebased = true;
            self.happenings.add(&id, EventKind::Confirmed, before, after, now_ms);
            let text = format!(
                "{id} register: {} Wh that had been put aside are counted now",
                (after - before) / 1_000
            );
            effects.push(Effect::Report(Level::Info, text));
        }
    }

    /// Notes what happened to a register, and tells people the first time.
    fn tell(
        &mut self,
        id: &str,
        (kind, before, after): (EventKind, i64, i64),
        time_ms: i64,
        effects: &mut Vec<Effect>,
    ) {
        if !self.happenings.add(id, kind, before, after, time_ms) {
            return;
        }
        let level = match kind {
            EventKind::Rollover | EventKind::Dip => Level::Info,
            EventKind::Zero | EventKind::Implausible | EventKind::Return => Level::Warning,
            _ => Level::Error,
        };
        let consequence = match kind {
            EventKind::Rollover => "it rolled over; the difference is counted",
            EventKind::Dip => "it fell back a little; its highest value stands",
            EventKind::Zero => "it is held until the counter is back",
            EventKind::Implausible => "this connection cannot have moved that; it is held",
            EventKind::Reset => {
                "it stayed there: counting goes on from the new value, what flowed in between is \
                 not known"
            }
            EventKind::Exchange => {
                "the meter has another serial number: counting goes on from the new value"
            }
            EventKind::Return => "the old counter is back, and what it advanced is counted",
            EventKind::Jump => {
                "it stayed there: the difference is put aside until you say that it is true, with \
                 `meter-agent counters --confirm`; is connection_w right?"
            }
            _ => "noted",
        };
        let text = format!("{id} register went from {before} to {after} mWh: {consequence}");
        effects.push(Effect::Report(level, text));
    }

    fn refuse_resetting(&mut self, id: &str, effects: &mut Vec<Effect>) {
        if !std::mem::replace(&mut self.refused_resetting, true) {
            let text = format!(
                "the {id} register of the meter starts again by itself (every day or without power): \
                 no bill can rest on it, and no reading is made. Use another meter, or set \
                 allow_resetting = true for this device to accept that energy may be lost"
            );
            effects.push(Effect::Report(Level::Error, text));
        }
    }

    /// A meter whose clock is far off is told of.
    fn note_clocks(&mut self, registers: &Registers, effects: &mut Vec<Effect>) {
        let Some(offset_ms) = registers.device_offset_ms else { return };
        let off = offset_ms.unsigned_abs();
        if off > MAX_CLOCK_OFFSET_MS {
            let (kind, at_ms) = (EventKind::ClockDrift, registers.taken_ms);
            self.happenings.add("clock", kind, 0, offset_ms, at_ms);
        }
        let was_off = std::mem::replace(&mut self.clock_off, off > CLOCK_OFFSET_WARNING_MS);
        if self.clock_off && !was_off {
            let text = format!(
                "the meter's clock is {} s {} ours: it is not used, but one of the two is wrong",
                off / 1_000,
                if offset_ms > 0 { "ahead of" } else { "behind" }
            );
            effects.push(Effect::Report(Level::Warning, text));
        }
    }
}

/// A count that can be one.
fn known(seen: &Observed<Count>) -> Option<Count> {
    seen.as_value().copied().filter(|count| count.mwh >= 0)
}

/// The coarser one of both registers, when both are known.
fn resolution(registers: &Registers) -> Option<u64> {
    let of = |seen: &Observed<Count>| seen.as_value()?.resolution_mwh;
    let coarser = of(&registers.import)?.max(of(&registers.export)?);
    u64::try_from(coarser).ok()
}

/// To whole watts, half away from zero.
const fn to_w(mw: i64) -> i64 {
    (mw + 500 * mw.signum()) / 1_000
}
