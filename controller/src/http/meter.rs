//! A household's meter: how far its readings have come, and what happened to it.

use serde::Serialize;
use utoipa::ToSchema;

use crate::store::read::{MeterEventRow, MeterRow};

/// The quality of a slot for which there is no reading.
pub const QUALITY_MISSING: &str = "missing";

/// How far a meter's readings have come.
#[derive(Serialize, ToSchema)]
pub struct MeterView {
    /// Highest sequence number without a gap before it.
    reading_seq: u64,
    /// When that reading was taken.
    last_reading_ms: Option<i64>,
    /// `measured`, `bridged`, `integrated` or `substituted`.
    quality: Option<String>,
    /// The smallest step of its registers, mWh; null when nobody knows.
    resolution_mwh: Option<i64>,
    /// What happened to it, newest first: at most 50.
    events: Vec<MeterEventView>,
}

/// Something that happened to a register and is not plain counting.
#[derive(Serialize, ToSchema)]
pub struct MeterEventView {
    /// The slot whose signed reading tells of it.
    slot: i64,
    /// `import`, `export`, `produced.` and a device's name, `power`, `clock` or `journal`.
    register: String,
    /// `rollover`, `zero`, `implausible`, `dip`, `reset`, `exchange`, `return`, `jump`, `confirmed`
    /// (before and after in mWh), `gap`, `clock step`, `clock drift` (milliseconds), `overflow`
    /// (slots) or `cut` (bytes).
    kind: String,
    /// What was before.
    before: i64,
    /// What came after.
    after: i64,
    /// How often it was seen until that reading.
    times: u32,
    /// When it was seen first, Unix milliseconds of market time.
    time_ms: i64,
}

impl MeterView {
    /// A meter and its newest events.
    #[must_use]
    pub fn new(row: Option<MeterRow>, events: Vec<MeterEventRow>) -> Self {
        let events = events.into_iter().map(MeterEventView::from).collect();
        let (reading_seq, last_reading_ms, quality, resolution_mwh) = row
            .map_or((0, None, None, None), |row| {
                (row.reading_seq, row.last_reading_ms, row.quality, row.resolution_mwh)
            });
        Self { reading_seq, last_reading_ms, quality, resolution_mwh, events }
    }
}

impl From<MeterEventRow> for MeterEventView {
    fn from(row: MeterEventRow) -> Self {
        let MeterEventRow { slot, register, kind, before, after, times, time_ms } = row;
        Self { slot, register, kind, before, after, times, time_ms }
    }
}
