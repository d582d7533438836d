//! Meters: how far they have come, how their readings came about, and what happened to them.

use std::collections::BTreeMap;

use sqlx::Row;
use sqlx::sqlite::SqliteRow;
use units::{PointId, Slot};

use super::{ReadFault, Reader, damaged};

/// How far a meter's readings have come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MeterRow {
    /// Metering point.
    pub point: PointId,
    /// Highest sequence number without a gap before it.
    pub reading_seq: u64,
    /// When that reading was taken, Unix milliseconds of market time.
    pub last_reading_ms: Option<i64>,
    /// How it came about.
    pub quality: Option<String>,
    /// The smallest step of its registers, mWh, when it is known.
    pub resolution_mwh: Option<i64>,
    /// All rewards so far, in 10⁻¹⁸ tokens.
    pub reward_total: u128,
}

/// Something that happened to a register of a household's meter, as its signed reading tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MeterEventRow {
    /// The slot whose reading tells of it.
    pub slot: i64,
    /// The register.
    pub register: String,
    /// The kind, as `protocol::EventKind` is written; it says what `before` and `after` are.
    pub kind: String,
    /// What was before.
    pub before: i64,
    /// What came after.
    pub after: i64,
    /// How often it was seen.
    pub times: u32,
    /// When it was seen first, Unix milliseconds of market time.
    pub time_ms: i64,
}

impl Reader {
    /// Every household's meter.
    ///
    /// # Errors
    /// [`ReadFault`].
    pub async fn meters(&self) -> Result<Vec<MeterRow>, ReadFault> {
        let rows = sqlx::query(
            "SELECT h.point, h.reading_seq, h.reward_total, r.time_ms, r.quality, r.resolution_mwh \
             FROM household h LEFT JOIN reading r \
             ON r.point = h.point AND r.epoch = h.epoch AND r.seq = h.reading_seq",
        )
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(meter_row).collect()
    }

    /// How the reading at the end of each slot came about, from `first` to `last`, of those that
    /// count.
    ///
    /// # Errors
    /// [`ReadFault`].
    pub async fn qualities(
        &self,
        point: &PointId,
        first: Slot,
        last: Slot,
    ) -> Result<BTreeMap<i64, String>, ReadFault> {
        let rows = sqlx::query(
            "SELECT slot, quality FROM reading WHERE point = ?1 AND slot BETWEEN ?2 AND ?3 \
             AND quarantine IS NULL",
        )
        .bind(point.as_str())
        .bind(first.number())
        .bind(last.number())
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(|row| Ok((row.try_get("slot")?, row.try_get("quality")?))).collect()
    }

    /// The newest events of a household's meter, newest first.
    ///
    /// # Errors
    /// [`ReadFault`].
    pub async fn meter_events(
        &self,
        point: &PointId,
        limit: u32,
    ) -> Result<Vec<MeterEventRow>, ReadFault> {
        let rows = sqlx::query(
            "SELECT slot, register, kind, before, after, times, time_ms FROM reading_event \
             WHERE point = ?1 ORDER BY slot DESC, seq DESC, place DESC LIMIT ?2",
        )
        .bind(point.as_str())
        .bind(limit)
        .fetch_all(&self.pool)
        .await?;
        rows.iter()
            .map(|row| {
                Ok(MeterEventRow {
                    slot: row.try_get("slot")?,
                    register: row.try_get("register")?,
                    kind: row.try_get("kind")?,
                    before: row.try_get("before")?,
                    after: row.try_get("after")?,
                    times: row.try_get("times")?,
                    time_ms: row.try_get("time_ms")?,
                })
            })
            .collect()
    }
}

fn meter_row(row: &SqliteRow) -> Result<MeterRow, ReadFault> {
    let point: String = row.try_get("point")?;
    let seq: i64 = row.try_get("reading_seq")?;
    let reward: String = row.try_get("reward_total")?;
    let fault = |why: String| damaged("household", &point, why);
    Ok(MeterRow {
        reading_seq: u64::try_from(seq).map_err(|why| fault(why.to_string()))?,
        last_reading_ms: row.try_get("time_ms")?,
        quality: row.try_get("quality")?,
        resolution_mwh: row.try_get("resolution_mwh")?,
        reward_total: reward.parse().map_err(|_| fault(format!("{reward:?} is no amount")))?,
        point: PointId::new(point.as_str()).map_err(|why| fault(why.to_string()))?,
    })
}
