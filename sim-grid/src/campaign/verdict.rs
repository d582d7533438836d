//! What is left of a campaign, and whether it is right: journals of the households, record of the
//! controller, and what really flowed.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context;
use controller::store::read::Reader;
use meter_agent::journal::Journal;
use protocol::{Domain, Reading};
use serde::Serialize;
use units::PointId;

/// What the meters really counted at the end of a slot: import and export by household, Wh.
pub(super) type Truth = BTreeMap<i64, BTreeMap<PointId, (u64, u64)>>;

/// Most complaints that are kept.
const MOST_COMPLAINTS: usize = 100;
/// Most statements of a household that are read at once.
const STATEMENTS: u32 = 1_000;

/// What became of a campaign.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Verdict {
    /// Households looked at.
    pub households: usize,
    /// Readings in their journals.
    pub readings: usize,
    /// Of these, what the controller does not have.
    pub gaps: usize,
    /// What the controller has twice, or without a journal's record.
    pub duplicates: usize,
    /// Readings that show more than flowed.
    pub too_much: usize,
    /// Households whose registers show all that flowed, in the end.
    pub whole: usize,
    /// Slots settled.
    pub slots: i64,
    /// Bills that the household's own agent has found wrong.
    pub wrong_bills: usize,
    /// What is wrong, in words; the first hundred.
    pub complaints: Vec<String>,
}

impl Verdict {
    /// Whether nothing is wrong.
    #[must_use]
    pub const fn holds(&self) -> bool {
        self.complaints.is_empty()
    }

    fn complain(&mut self, complaint: String) {
        if self.complaints.len() < MOST_COMPLAINTS {
            self.complaints.push(complaint);
        }
    }

    /// Judges what is on disk, after everybody has stopped in good order.
    pub(super) async fn of(
        points: &[PointId],
        households: &Path,
        database: &Path,
        domain: &Domain,
        truth: &Truth,
    ) -> anyhow::Result<Self> {
        let reader = Reader::open(database).await.context("the controller's record")?;
        let mut verdict = Self { households: points.len(), ..Self::default() };
        if let Some((first, last)) = reader.settled_range().await? {
            verdict.slots = last.number() - first.number() + 1;
        }
        for point in points {
            let (journal, _) = Journal::open(&households.join(point.as_str()), domain, 1)
                .with_context(|| format!("the journal of {point}"))?;
            let entries = journal.newest(u64::MAX)?;
            let readings: Vec<Reading> =
                entries.into_iter().map(|entry| entry.reading.body).collect();
            verdict.readings += readings.len();
            verdict.delivery(&reader, point, &readings).await?;
            verdict.energy(point, &readings, truth);
            verdict.bills(&reader, point).await?;
        }
        reader.close().await;
        Ok(verdict)
    }

    /// Every journalled reading is in the record, in order, once, and nothing else is.
    async fn delivery(
        &mut self,
        reader: &Reader,
        point: &PointId,
        journal: &[Reading],
    ) -> anyhow::Result<()> {
        let mut stored: BTreeMap<u64, usize> = BTreeMap::new();
        let mut count = 0;
        loop {
            let next = reader.readings_after(point, 1, count).await?;
            if next.is_empty() {
                break;
            }
            for one in next {
                count = count.max(one.signed.body.seq);
                *stored.entry(one.signed.body.seq).or_default() += 1;
                if !journal.contains(&one.signed.body) {
                    self.duplicates += 1;
                    self.complain(format!("{point}: the record has a reading {count} of its own"));
                }
            }
        }
        for reading in journal {
            match stored.get(&reading.seq) {
                Some(1) => {}
                Some(times) => {
                    self.duplicates += times - 1;
                    self.complain(format!(
                        "{point}: reading {} is there {times} times",
                        reading.seq
                    ));
                }
                None => {
                    self.gaps += 1;
                    self.complain(format!("{point}: reading {} is not in the record", reading.seq));
                }
            }
        }
        Ok(())
    }

    /// Registers never show more than flowed, never run backwards, and show all of it in the end.
    fn energy(&mut self, point: &PointId, journal: &[Reading], truth: &Truth) {
        let at = |slot: i64| truth.get(&slot).and_then(|all| all.get(point)).copied();
        for pair in journal.windows(2) {
            let falls =
                pair[1].import_wh < pair[0].import_wh || pair[1].export_wh < pair[0].export_wh;
            if falls || pair[1].slot <= pair[0].slot {
                self.complain(format!("{point}: a register runs backwards: {pair:?}"));
            }
        }
        for reading in journal {
            // A reading is taken within the slot after its edge.
            let Some((import_wh, export_wh)) = at(reading.slot + 1) else { continue };
            if reading.import_wh > import_wh + 1 || reading.export_wh > export_wh + 1 {
                self.too_much += 1;
                self.complain(format!(
                    "{point}: {reading:?} shows more than the {import_wh} and {export_wh} Wh that flowed"
                ));
            }
        }
        let Some(last) = journal.last() else {
            self.complain(format!("{point} has read nothing"));
            return;
        };
        match at(last.slot) {
            Some((import_wh, export_wh))
                if last.import_wh + 1 >= import_wh && last.export_wh + 1 >= export_wh =>
            {
                self.whole += 1;
            }
            flowed => {
                let reason = format!("{point}: in the end {last:?} misses some of {flowed:?} Wh");
                self.complain(reason);
            }
        }
    }

    /// No household has found a bill of its own that does not hold.
    async fn bills(&mut self, reader: &Reader, point: &PointId) -> anyhow::Result<()> {
        for row in reader.statements(point, None, STATEMENTS).await? {
            if let Some(audit) = row.audit.filter(|audit| !audit.verified) {
                self.wrong_bills += 1;
                self.complain(format!("{point}: slot {}: {}", row.statement.slot, audit.reason));
            }
        }
        Ok(())
    }
}
