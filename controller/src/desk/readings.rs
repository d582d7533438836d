//! Readings: believed, linked, plausible, receipted.

use protocol::{Down, Quality, Reading, Receipt, Topic};
use units::{Energy, PointId, Slot};

use super::household::Household;
use super::{Desk, Envelope, ReadingRecord, Record, Rejected, Step, energy_bound};
use crate::rules::Registers;

/// Largest register value: beyond it a float could no longer count single Wh.
const MAX_REGISTER_WH: u64 = 1 << 53;
/// How far a reading's time may be from the edge it belongs to.
const MAX_SKEW_MS: i64 = Slot::LENGTH_MS / 2;
/// Tolerance on the declared connection power, percent.
const POWER_MARGIN_PERCENT: i64 = 120;
/// Most readings of one household that wait for settlement.
const MAX_EDGES: usize = 40_000;

impl Desk {
    pub(super) fn take_reading(
        &mut self,
        envelope: &Envelope<'_>,
        point: &PointId,
        step: &mut Step,
    ) -> Result<(), Rejected> {
        let reading = self.verify::<Reading>(envelope, point, |reading| &reading.point)?;
        let household = self.household(point);
        if !is_next(household, reading.body(), reading.digest())? {
            return Ok(());
        }
        let registers = registers(reading.body())?;
        let quarantine = implausible(household, reading.body(), registers, envelope.now_ms);
        let slot = Slot::new(reading.body().slot);
        let (seq, digest) = (reading.body().seq, reading.digest());

        let household = self.household_mut(point);
        household.reading_seq = seq;
        household.reading_head = digest;
        if quarantine.is_none() {
            household.edges.insert(slot, registers);
            household.edge_digests.insert(slot, digest);
        }
        household.last_slot = household.last_slot.max(Some(slot));
        step.records.push(Record::Reading(Box::new(ReadingRecord {
            reading,
            received_ms: envelope.now_ms,
            quarantine: quarantine.as_ref().map(|rejected| rejected.detail.clone()),
        })));
        self.record_watermark(point, step);
        quarantine.map_or(Ok(()), Err)
    }

    pub(super) fn send_receipt(&self, now_ms: i64, point: &PointId, step: &mut Step) {
        let household = self.household(point);
        let receipt = Receipt {
            point: point.to_string(),
            epoch: household.enrolment.epoch,
            seq: household.reading_seq,
            head: household.reading_head,
            time_ms: now_ms,
        };
        self.send(Topic::Down(point.clone(), Down::Receipt), receipt, false, step);
    }

    pub(super) fn record_watermark(&self, point: &PointId, step: &mut Step) {
        let watermark = self.household(point).watermark(self.rewards.of(point));
        step.records.push(Record::Watermark(watermark));
    }
}

/// Whether the reading is the next of the chain; a repetition is fine and changes nothing.
fn is_next(
    household: &Household,
    reading: &Reading,
    digest: protocol::B256,
) -> Result<bool, Rejected> {
    let (epoch, seq) = (household.enrolment.epoch, household.reading_seq);
    if reading.epoch != epoch {
        let detail = format!("epoch {} where {epoch} is enrolled", reading.epoch);
        return Err(Rejected::new("unknown epoch", detail));
    }
    if reading.seq < seq || (reading.seq == seq && digest == household.reading_head) {
        return Ok(false);
    }
    if reading.seq == seq {
        let detail = format!("a second, different reading with sequence {seq}");
        return Err(Rejected::new("equivocation", detail));
    }
    if reading.seq != seq + 1 {
        let detail = format!("sequence {} where {} is next", reading.seq, seq + 1);
        return Err(Rejected::new("gap", detail));
    }
    if reading.prev != household.reading_head {
        let detail = format!("sequence {} links to {}", reading.seq, reading.prev);
        return Err(Rejected::new("broken chain", detail));
    }
    Ok(true)
}

fn registers(reading: &Reading) -> Result<Registers, Rejected> {
    let energy = |wh: u64| match i64::try_from(wh) {
        Ok(value) if wh <= MAX_REGISTER_WH => Ok(Energy::from_wh(value)),
        _ => Err(Rejected::new("malformed", format!("a register of {wh} Wh"))),
    };
    let produced = match reading.produced_wh.as_slice() {
        [] => None,
        [wh] => Some(energy(*wh)?),
        _ => return Err(Rejected::new("malformed", "more than one production register")),
    };
    if reading.power_w.len() > 1 || reading.quality.parse::<Quality>().is_err() {
        return Err(Rejected::new("malformed", "power_w or quality"));
    }
    let (import, export) = (energy(reading.import_wh)?, energy(reading.export_wh)?);
    Ok(Registers { import, export, produced })
}

/// Why registers cannot be true. Such a reading stays in the chain, for the record, but its
/// registers count for nothing: the next plausible reading closes the span.
fn implausible(
    household: &Household,
    reading: &Reading,
    registers: Registers,
    now_ms: i64,
) -> Option<Rejected> {
    let slot = Slot::new(reading.slot);
    let untimely = |detail: String| Some(Rejected::new("untimely", detail));
    let impossible = |detail: String| Some(Rejected::new("impossible energy", detail));
    if reading.slot.abs() > 1 << 32 || (reading.time_ms - slot.end_ms()).abs() > MAX_SKEW_MS {
        return untimely(format!("time {} for the end of slot {}", reading.time_ms, reading.slot));
    }
    if slot.end_ms() > now_ms + MAX_SKEW_MS {
        return untimely(format!("slot {slot} has not ended"));
    }
    if household.last_slot.is_some_and(|last| slot <= last) {
        return untimely(format!("slot {slot} has been read before"));
    }
    if household.edges.len() >= MAX_EDGES {
        return untimely(format!("{MAX_EDGES} readings wait for settlement"));
    }
    let (from, before) = household.newest()?;
    let elapsed_ms = reading.time_ms - from.end_ms() + MAX_SKEW_MS / 15;
    let limits = [
        ("import", before.import, registers.import, household.enrolment.max_import_w),
        ("export", before.export, registers.export, household.enrolment.max_export_w),
    ];
    for (name, old, new, power_w) in limits {
        if new < old {
            return impossible(format!("{name} register fell from {old} to {new}"));
        }
        let bound = energy_bound(power_w * POWER_MARGIN_PERCENT / 100, elapsed_ms);
        if new - old > bound {
            let most = format!("{bound} is possible at {power_w} W");
            return impossible(format!("{name} of {} since slot {from}, {most}", new - old));
        }
    }
    if let (Some(old), Some(new)) = (before.produced, registers.produced)
        && new < old
    {
        return impossible(format!("production register fell from {old} to {new}"));
    }
    None
}
