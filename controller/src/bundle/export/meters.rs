//! Which reading was settled in which entry of the log.
//!
//! Each bill on record says how far its household's readings were settled after it, so the readings
//! of an entry are those between two such marks. The header's root over them is checked again here:
//! a bundle that does not verify should not be written in the first place.

use std::collections::{BTreeMap, VecDeque};

use protocol::Header;
use units::{PointId, Slot};

use super::super::line::{MemberLine, ReadingLine, TOO_EARLY};
use super::ExportFault;
use crate::rules::digests_root;
use crate::store::read::{ReadFault, Reader, StoredReading};

/// All members' readings, in step with the log.
pub struct Meters {
    homes: Vec<Home>,
    /// Counting starts with the edge before the first slot that was ever settled.
    origin: Slot,
}

/// One member's readings, in order.
struct Home {
    point: PointId,
    epoch: u32,
    /// The last reading that is settled; 0 = none.
    settled_seq: u64,
    /// Readings after it that were fetched and are not written.
    queue: VecDeque<StoredReading>,
    /// The last reading that was fetched.
    fetched_seq: u64,
}

impl Meters {
    /// The meters as they stood before an entry of the log.
    ///
    /// # Errors
    /// [`ReadFault`].
    pub async fn before(
        reader: &Reader,
        members: &[MemberLine],
        (first, index): (Slot, u64),
    ) -> Result<Self, ReadFault> {
        let origin = reader.settled_range().await?.map_or(first, |(ever, _)| ever).previous();
        let mut homes = Vec::with_capacity(members.len());
        for MemberLine { point, epoch, .. } in members {
            let settled_seq = match index.checked_sub(1) {
                None => 0,
                Some(before) => reader.settled_seq(point, before).await?,
            };
            homes.push(Home {
                point: point.clone(),
                epoch: *epoch,
                settled_seq,
                queue: VecDeque::new(),
                fetched_seq: settled_seq,
            });
        }
        Ok(Self { homes, origin })
    }

    /// The readings that stand before the first entry, for the links and the first differences.
    ///
    /// # Errors
    /// [`ReadFault`].
    pub async fn baselines(&self, reader: &Reader) -> Result<Vec<ReadingLine>, ReadFault> {
        let mut lines = Vec::new();
        for home in &self.homes {
            let Some(before) = home.settled_seq.checked_sub(1) else { continue };
            let readings = reader.readings_after(&home.point, home.epoch, before).await?;
            lines.extend(readings.into_iter().next().map(line));
        }
        Ok(lines)
    }

    /// The readings that an entry's settlement used, and those before them that it could not use, by
    /// metering point. `until` tells each household's newest settled reading after the entry.
    ///
    /// # Errors
    /// [`ExportFault`] when they are not those of the header's root.
    pub async fn used_in(
        &mut self,
        reader: &Reader,
        header: &Header,
        until: &BTreeMap<String, u64>,
    ) -> Result<Vec<ReadingLine>, ExportFault> {
        let inconsistent = || {
            let what = "the readings on record do not give its readings root (was a key or a \
                        meter exchanged since?)";
            ExportFault::Inconsistent { slot: Slot::new(header.slot), what: what.to_owned() }
        };
        let mut used = Vec::new();
        for home in &mut self.homes {
            let Some(&until) = until.get(home.point.as_str()) else { continue };
            let readings = home.take(reader, self.origin, until).await?;
            used.extend(readings.ok_or_else(inconsistent)?);
        }
        let counting = used.iter().filter(|reading| reading.quarantine.is_none());
        if digests_root(counting.map(|reading| reading.digest)) != header.readings_root {
            return Err(inconsistent());
        }
        Ok(used.into_iter().map(line).collect())
    }
}

impl Home {
    /// The readings up to one; none when they are not all there.
    async fn take(
        &mut self,
        reader: &Reader,
        origin: Slot,
        until_seq: u64,
    ) -> Result<Option<Vec<StoredReading>>, ReadFault> {
        if until_seq < self.settled_seq {
            return Ok(None);
        }
        while self.fetched_seq < until_seq {
            let readings = reader.readings_after(&self.point, self.epoch, self.fetched_seq).await?;
            let Some(last) = readings.last() else { return Ok(None) };
            self.fetched_seq = last.signed.body.seq;
            self.queue.extend(readings);
        }
        self.settled_seq = until_seq;
        let later = self.queue.partition_point(|reading| reading.signed.body.seq <= until_seq);
        let taken = self.queue.drain(..later).map(|mut reading| {
            if reading.signed.body.slot < origin.number() {
                reading.quarantine.get_or_insert_with(|| TOO_EARLY.to_owned());
            }
            reading
        });
        Ok(Some(taken.collect()))
    }
}

fn line(reading: StoredReading) -> ReadingLine {
    ReadingLine { quarantine: reading.quarantine, reading: reading.signed }
}
