//! Small conversions between rows and values.

use market::Rung;
use protocol::B256;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;
use units::{Energy, PointId, Slot};

use super::StoreFault;
use crate::rules::Registers;

pub(super) fn hash(row: &SqliteRow, column: &str) -> Result<B256, StoreFault> {
    let bytes: Vec<u8> = row.try_get(column)?;
    B256::try_from(bytes.as_slice()).map_err(|_| StoreFault::damaged(format!("hash in {column}")))
}

pub(super) fn point(row: &SqliteRow) -> Result<PointId, StoreFault> {
    let text: String = row.try_get("point")?;
    PointId::new(text).map_err(StoreFault::damaged)
}

pub(super) fn slot(row: &SqliteRow, column: &str) -> Result<Slot, StoreFault> {
    Ok(Slot::new(row.try_get(column)?))
}

pub(super) fn registers(row: &SqliteRow, prefix: &str) -> Result<Registers, StoreFault> {
    let wh = |name: &str| -> Result<Option<i64>, StoreFault> {
        Ok(row.try_get(format!("{prefix}{name}_wh").as_str())?)
    };
    let missing = || StoreFault::damaged(format!("{prefix}import_wh is missing"));
    Ok(Registers {
        import: Energy::from_wh(wh("import")?.ok_or_else(missing)?),
        export: Energy::from_wh(wh("export")?.ok_or_else(missing)?),
        produced: wh("produced")?.map(Energy::from_wh),
    })
}

pub(super) fn json<T: serde::de::DeserializeOwned>(
    row: &SqliteRow,
    column: &str,
) -> Result<T, StoreFault> {
    let text: String = row.try_get(column)?;
    serde_json::from_str(&text).map_err(|error| StoreFault::damaged(format!("{column}: {error}")))
}

pub(super) fn unsigned(row: &SqliteRow, column: &str) -> Result<u64, StoreFault> {
    let value: i64 = row.try_get(column)?;
    u64::try_from(value).map_err(|_| StoreFault::damaged(format!("{column} is negative")))
}

/// Rungs of the ladder, as they stand in the record.
const RUNGS: [(&str, Rung); 4] = [
    ("lp", Rung::Lp),
    ("exact", Rung::Exact),
    ("envelopes", Rung::Envelopes),
    ("shared", Rung::Shared),
];

pub(super) fn rung_word(rung: Rung) -> &'static str {
    let known = RUNGS.iter().find(|(_, known)| *known == rung);
    known.map(|(word, _)| *word).expect("all rungs are listed")
}

pub(super) fn rung(word: &str) -> Option<Rung> {
    RUNGS.iter().find(|(known, _)| *known == word).map(|(_, rung)| *rung)
}

/// JSON of plain data.
pub(super) fn text<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("records are plain data")
}

/// A sequence number as SQLite stores it.
pub(super) fn stored(value: u64) -> i64 {
    i64::try_from(value).expect("sequence numbers stay far below 2^63")
}
