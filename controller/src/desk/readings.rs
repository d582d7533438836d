//! Readings: believed, linked, plausible, receipted.

use protocol::{Down, Reading, Receipt, Topic};
use units::{PointId, Slot};

use super::household::{Household, Mark};
use super::{BAD_SIGNATURE, Desk, Envelope, ReadingRecord, Record, Rejected, Step, parse};
use crate::rules::{self, Implausible, MAX_SKEW_MS, MAX_SLOT, Registers};

/// Most readings of one household that wait for settlement.
const MAX_EDGES: usize = 40_000;

impl Desk {
    pub(super) fn take_reading(
        &mut self,
        envelope: &Envelope<'_>,
        point: &PointId,
        step: &mut Step,
    ) -> Result<(), Rejected> {
        let signed = parse::<Reading>(envelope, point, |reading| &reading.point)?;
        let household = self.household(point);
        let at_ms = envelope.now_ms.max(signed.body.time_ms);
        let keys = household.keys.for_reading(signed.body.seq, at_ms);
        let reading = signed
            .verify_any(&self.setup.domain, keys)
            .map_err(|error| Rejected::new(BAD_SIGNATURE, error.to_string()))?;
        if !is_next(household, reading.body(), reading.digest())? {
            return Ok(());
        }
        let registers = rules::registers(reading.body())
            .map_err(|detail| Rejected::new("malformed", detail))?;
        let quarantine = implausible(household, reading.body(), registers, envelope.now_ms);
        let slot = Slot::new(reading.body().slot);
        let (seq, digest) = (reading.body().seq, reading.digest());

        let counts = slot >= self.first_slot.previous();
        let household = self.household_mut(point);
        household.reading_seq = seq;
        household.reading_head = digest;
        if quarantine.is_none() && counts {
            household.edges.insert(slot, registers);
            household.marks.insert(slot, Mark { seq, digest });
        }
        if quarantine.is_none() {
            household.last_slot = household.last_slot.max(Some(slot));
        }
        step.records.push(Record::Reading(Box::new(ReadingRecord {
            reading,
            received_ms: envelope.now_ms,
            quarantine: quarantine.as_ref().map(|rejected| rejected.detail.clone()),
        })));
        step.moved.insert(point.clone());
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
    if household.keys.head_before(reading.seq).is_some_and(|head| head != reading.prev) {
        let detail =
            format!("sequence {seq} is not the reading that the key was handed over after");
        return Err(Rejected::new("broken chain", detail));
    }
    if reading.prev != household.reading_head {
        let detail = format!("sequence {} links to {}", reading.seq, reading.prev);
        return Err(Rejected::new("broken chain", detail));
    }
    Ok(true)
}

/// Why registers cannot be true. Such a reading stays in the chain, for the record, but its
/// registers count for nothing: the next plausible reading closes the span.
fn implausible(
    household: &Household,
    reading: &Reading,
    registers: Registers,
    now_ms: i64,
) -> Option<Rejected> {
    let untimely = |detail: String| Some(Rejected::new("untimely", detail));
    let slot = Slot::new(reading.slot);
    if reading.slot.unsigned_abs() <= MAX_SLOT && slot.end_ms() > now_ms + MAX_SKEW_MS {
        return untimely(format!("slot {slot} has not ended"));
    }
    if household.edges.len() >= MAX_EDGES {
        return untimely(format!("{MAX_EDGES} readings wait for settlement"));
    }
    let connection = household.enrolment.connection();
    let (newest, last) = (household.newest(), household.last_slot);
    match rules::implausible(connection, newest, last, reading, registers)? {
        Implausible::Untimely(detail) => untimely(detail),
        Implausible::ImpossibleEnergy(detail) => Some(Rejected::new("impossible energy", detail)),
    }
}
