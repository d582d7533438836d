//! Which reading was settled in which slot.
//!
//! The record keeps when each reading arrived, and each header the root over the readings that its
//! settlement used. A reading is used by the first settlement after its arrival that reaches its
//! slot. Only readings that arrived in the very millisecond of a settlement could belong to either
//! side of it; there the root decides.

use std::collections::VecDeque;

use protocol::{B256, Header};
use units::{PointId, Slot};

use super::super::line::{MemberLine, ReadingLine, TOO_EARLY};
use super::ExportFault;
use crate::rules::digests_root;
use crate::store::read::{ReadFault, Reader, StoredReading};

/// Most ways to divide the readings of one millisecond that are tried.
const MAX_TRIES: u64 = 20_000;

/// All members' readings, in step with the settlement.
pub struct Meters {
    cursors: Vec<Cursor>,
    /// Counting starts with the edge before the first slot that was ever settled.
    origin: Slot,
}

/// One member's readings, in order.
struct Cursor {
    point: PointId,
    epoch: u32,
    /// The last reading that counts and is settled.
    baseline: Option<StoredReading>,
    /// Whether the baseline was settled in the slot before the first.
    baseline_is_fresh: bool,
    /// Readings after the baseline that are not written.
    queue: VecDeque<StoredReading>,
    /// Sequence number up to which readings are in the queue or before it.
    fetched: u64,
    complete: bool,
}

/// Which of a member's queued readings a settlement used: of the first `taken` that count, all but
/// the first `skipped`, which the settlement before had used.
#[derive(Debug, Clone, Copy)]
struct Choice {
    skipped: usize,
    taken: usize,
}

impl Meters {
    /// The meters as they stood before a slot.
    ///
    /// # Errors
    /// [`ExportFault`] when the record does not say which readings were settled.
    pub async fn before(
        reader: &Reader,
        members: &[MemberLine],
        first: Slot,
    ) -> Result<Self, ExportFault> {
        let cursors = members.iter().map(|member| Cursor::new(&member.point, member.epoch));
        let origin = reader.settled_range().await?.map_or(first, |(ever, _)| ever).previous();
        let mut meters = Self { cursors: cursors.collect(), origin };
        let Some(entry) = reader.log_entry(first.previous()).await? else { return Ok(meters) };
        // Everything that arrived before the settlement of the slot before last is settled, if its
        // slot was reached; the settlement of the last slot before the first is replayed.
        let replayed = first.previous();
        let horizon = reader.log_entry(replayed.previous()).await?;
        let horizon_ms = horizon.map_or(i64::MIN, |entry| entry.header.time_ms);
        for cursor in &mut meters.cursors {
            cursor.start(reader, origin, replayed, horizon_ms).await?;
        }
        meters.settle(reader, replayed, &entry.header, Some(horizon_ms)).await?;
        Ok(meters)
    }

    /// The readings that stand before the first slot, for the links and the first differences.
    pub fn baselines(&self) -> Vec<ReadingLine> {
        self.cursors.iter().filter_map(|cursor| cursor.baseline.clone()).map(line).collect()
    }

    /// The readings that a slot's settlement used, and those it could not use, by metering point.
    ///
    /// # Errors
    /// [`ExportFault`] when no choice of readings gives the header's root.
    pub async fn settled_in(
        &mut self,
        reader: &Reader,
        slot: Slot,
        header: &Header,
    ) -> Result<Vec<ReadingLine>, ExportFault> {
        self.settle(reader, slot, header, None).await
    }

    async fn settle(
        &mut self,
        reader: &Reader,
        slot: Slot,
        header: &Header,
        horizon_ms: Option<i64>,
    ) -> Result<Vec<ReadingLine>, ExportFault> {
        let mut options = Vec::with_capacity(self.cursors.len());
        for cursor in &mut self.cursors {
            cursor.fetch(reader, self.origin, header.time_ms).await?;
            options.push(cursor.options(slot, header.time_ms, horizon_ms));
        }
        let choice = self.find(&options, header.readings_root).ok_or_else(|| {
            let what = "no choice of the readings on record gives its readings root (was a key or \
                        a meter exchanged since?)";
            ExportFault::Inconsistent { slot, what: what.to_owned() }
        })?;
        let mut lines = Vec::new();
        for (cursor, choice) in self.cursors.iter_mut().zip(choice) {
            // Before the first slot nothing is written, so what does not count stays in the queue.
            let until_ms = if horizon_ms.is_some() { i64::MIN } else { header.time_ms };
            lines.extend(cursor.take(choice, until_ms).into_iter().map(line));
        }
        Ok(lines)
    }

    /// The likeliest choice whose readings give the root.
    fn find(&self, options: &[Vec<Choice>], root: B256) -> Option<Vec<Choice>> {
        let pick = |better: fn(&Choice, &Choice) -> bool| -> Vec<Choice> {
            let best = |options: &Vec<Choice>| {
                let first = options[0];
                options
                    .iter()
                    .fold(first, |best, next| if better(next, &best) { *next } else { best })
            };
            options.iter().map(best).collect()
        };
        // Readings of one millisecond mostly come in one step: all before a settlement or all after.
        let likely = [
            pick(|_, _| false),
            pick(|a, b| (a.taken, b.skipped) < (b.taken, a.skipped)),
            pick(|a, b| a.skipped < b.skipped),
            pick(|a, b| (a.taken, a.skipped) < (b.taken, b.skipped)),
        ];
        let likely = likely.into_iter().find(|choice| self.gives(choice, root));
        likely.or_else(|| self.search(options, root))
    }

    fn gives(&self, choice: &[Choice], root: B256) -> bool {
        let digests = self.cursors.iter().zip(choice);
        digests_root(digests.flat_map(|(cursor, choice)| cursor.digests(*choice))) == root
    }

    /// Tries all combinations, up to a bound.
    fn search(&self, options: &[Vec<Choice>], root: B256) -> Option<Vec<Choice>> {
        let mut digits = vec![0_usize; options.len()];
        for _ in 0..MAX_TRIES {
            let choice: Vec<Choice> =
                options.iter().zip(&digits).map(|(options, &digit)| options[digit]).collect();
            if self.gives(&choice, root) {
                return Some(choice);
            }
            // Counts like an odometer, the first member's options fastest.
            let next = digits.iter().zip(options).position(|(digit, o)| digit + 1 < o.len())?;
            digits[next] += 1;
            digits[..next].fill(0);
        }
        None
    }
}

impl Cursor {
    fn new(point: &PointId, epoch: u32) -> Self {
        Self {
            point: point.clone(),
            epoch,
            baseline: None,
            baseline_is_fresh: false,
            queue: VecDeque::new(),
            fetched: 0,
            complete: false,
        }
    }

    async fn start(
        &mut self,
        reader: &Reader,
        origin: Slot,
        replayed: Slot,
        horizon_ms: i64,
    ) -> Result<(), ReadFault> {
        let newest = reader.newest_reading(&self.point, self.epoch, replayed, horizon_ms).await?;
        if let Some(reading) = newest.filter(|found| found.signed.body.slot >= origin.number()) {
            self.fetched = reading.signed.body.seq;
            self.baseline_is_fresh = reading.signed.body.slot == replayed.number();
            self.baseline = Some(reading);
        }
        Ok(())
    }

    /// Reads on until the queue ends with a reading that arrived after a moment.
    async fn fetch(
        &mut self,
        reader: &Reader,
        origin: Slot,
        until_ms: i64,
    ) -> Result<(), ReadFault> {
        while !self.complete && self.queue.back().is_none_or(|last| last.received_ms <= until_ms) {
            let readings = reader.readings_after(&self.point, self.epoch, self.fetched).await?;
            match readings.last() {
                None => self.complete = true,
                Some(last) => self.fetched = last.signed.body.seq,
            }
            self.queue.extend(readings.into_iter().map(|mut reading| {
                if reading.signed.body.slot < origin.number() {
                    reading.quarantine.get_or_insert_with(|| TOO_EARLY.to_owned());
                }
                reading
            }));
        }
        Ok(())
    }

    fn counting(&self) -> impl Iterator<Item = &StoredReading> {
        self.queue.iter().filter(|reading| reading.quarantine.is_none())
    }

    /// What a settlement at `time_ms` may have used, the likeliest first. `horizon_ms` is the time
    /// of the settlement before, when it is not known what that one used.
    fn options(&self, slot: Slot, time_ms: i64, horizon_ms: Option<i64>) -> Vec<Choice> {
        let reached = |reading: &&StoredReading| {
            reading.signed.body.slot <= slot.number() && reading.received_ms <= time_ms
        };
        let most = self.counting().take_while(reached).count();
        let certain =
            self.counting().take_while(reached).filter(|r| r.received_ms < time_ms).count();
        let before = |reading: &&StoredReading| {
            Some(reading.received_ms) == horizon_ms && reading.signed.body.slot < slot.number()
        };
        let most_skipped = self.counting().take_while(before).count();
        let mut options = Vec::new();
        for taken in (certain..=most).rev() {
            for skipped in (0..=most_skipped.min(taken)).rev() {
                options.push(Choice { skipped, taken });
            }
        }
        options
    }

    /// Digests of the readings that a choice settles.
    fn digests(&self, choice: Choice) -> Vec<B256> {
        let baseline = self.baseline.iter().filter(|_| self.baseline_is_fresh);
        let chosen = self.counting().take(choice.taken).skip(choice.skipped);
        baseline.chain(chosen).map(|reading| reading.digest).collect()
    }

    /// Takes the chosen readings, those that do not count before them, and those that do not count
    /// after them and had arrived by `until_ms`.
    fn take(&mut self, choice: Choice, until_ms: i64) -> Vec<StoredReading> {
        self.baseline_is_fresh = false;
        let mut taken = Vec::new();
        let mut counted = 0;
        while let Some(next) = self.queue.front() {
            let counts = next.quarantine.is_none();
            let wanted = counted < choice.taken || !counts && next.received_ms <= until_ms;
            if !wanted {
                break;
            }
            counted += usize::from(counts);
            taken.extend(self.queue.pop_front());
        }
        if let Some(last) = taken.iter().rev().find(|reading| reading.quarantine.is_none()) {
            self.baseline = Some(last.clone());
        }
        taken
    }
}

fn line(reading: StoredReading) -> ReadingLine {
    ReadingLine { quarantine: reading.quarantine, reading: reading.signed }
}
