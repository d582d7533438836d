//! The signed record, slot by slot, for the export.

use std::collections::BTreeMap;

use chain::EpochHeader;
use protocol::{
    Address, B256, Checkpoint, Clearing, Header, Order, Reading, Signed, Statement, merkle,
};
use serde::Deserialize;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;
use units::{PointId, Slot};

use super::{ReadFault, Reader, damaged, hash, json};
use crate::desk::AnchorDraft;
use crate::rules::{GridForm, KeyChangeRecord, KeyRevocationRecord, StreetGrid};

/// Readings of one household per question.
const READINGS_PER_QUESTION: u32 = 256;

/// A settled slot's place in the log.
#[derive(Debug, Clone)]
pub struct LogEntry {
    /// The header.
    pub header: Header,
    /// The operator's signature under the log that ends with it.
    pub checkpoint: Signed<Checkpoint>,
    /// The log after it.
    pub frontier: merkle::Frontier,
}

/// An accepted order.
#[derive(Debug, Clone)]
pub struct StoredOrder {
    /// The order.
    pub signed: Signed<Order>,
    /// When it arrived, Unix milliseconds of market time.
    pub received_ms: i64,
}

/// An accepted reading.
#[derive(Debug, Clone)]
pub struct StoredReading {
    /// The reading.
    pub signed: Signed<Reading>,
    /// Its digest.
    pub digest: B256,
    /// When it arrived, Unix milliseconds of market time.
    pub received_ms: i64,
    /// Why its registers do not count.
    pub quarantine: Option<String>,
}

/// A ledger entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredTransfer {
    /// Who pays.
    pub debit: String,
    /// Who gets.
    pub credit: String,
    /// How much, nano-currency.
    pub amount: i64,
    /// What for.
    pub reason: String,
}

/// An epoch whose header was signed.
#[derive(Debug, Clone)]
pub struct StoredEpoch {
    /// As the chain gets it.
    pub header: EpochHeader,
    /// Rewards so far by payout account, 10⁻¹⁸ tokens as decimal text.
    pub rewards: BTreeMap<Address, String>,
}

/// The part of a stored delivery that an export needs.
#[derive(Deserialize)]
struct Slip {
    statement: Statement,
}

impl Reader {
    /// The operator whose record this is.
    ///
    /// # Errors
    /// [`ReadFault`].
    pub async fn operator(&self) -> Result<Address, ReadFault> {
        let text: Option<String> =
            sqlx::query_scalar("SELECT value FROM meta WHERE key = 'operator'")
                .fetch_optional(&self.pool)
                .await?;
        let text = text.ok_or_else(|| damaged("meta", "operator", "it is missing"))?;
        text.parse().map_err(|error| damaged("meta", "operator", error))
    }

    /// First and last settled slot; none before the first.
    ///
    /// # Errors
    /// [`ReadFault`].
    pub async fn settled_range(&self) -> Result<Option<(Slot, Slot)>, ReadFault> {
        let (first, last): (Option<i64>, Option<i64>) =
            sqlx::query_as("SELECT MIN(slot), MAX(slot) FROM header").fetch_one(&self.pool).await?;
        Ok(first.zip(last).map(|(first, last)| (Slot::new(first), Slot::new(last))))
    }

    /// The log's entry of a slot's first settlement.
    ///
    /// # Errors
    /// [`ReadFault`].
    pub async fn log_entry(&self, slot: Slot) -> Result<Option<LogEntry>, ReadFault> {
        let row = sqlx::query(
            "SELECT slot, header, checkpoint, frontier FROM header \
             WHERE slot = ?1 AND version = 1",
        )
        .bind(slot.number())
        .fetch_optional(&self.pool)
        .await?;
        row.as_ref().map(log_entry).transpose()
    }

    /// The log's entry at a position.
    ///
    /// # Errors
    /// [`ReadFault`].
    pub async fn log_entry_at(&self, index: u64) -> Result<Option<LogEntry>, ReadFault> {
        let row = sqlx::query(
            "SELECT slot, header, checkpoint, frontier FROM header WHERE log_index = ?1",
        )
        .bind(i64::try_from(index).unwrap_or(i64::MAX))
        .fetch_optional(&self.pool)
        .await?;
        row.as_ref().map(log_entry).transpose()
    }

    /// Position of the log's entry after which it has this root.
    ///
    /// # Errors
    /// [`ReadFault`].
    pub async fn index_of_root(&self, root: B256) -> Result<Option<u64>, ReadFault> {
        let index: Option<i64> = sqlx::query_scalar(
            "SELECT log_index FROM header WHERE root = ?1 ORDER BY log_index LIMIT 1",
        )
        .bind(root.as_slice())
        .fetch_optional(&self.pool)
        .await?;
        index
            .map(|index| u64::try_from(index).map_err(|why| damaged("header", index, why)))
            .transpose()
    }

    /// The signed clearing of a slot.
    ///
    /// # Errors
    /// [`ReadFault`].
    pub async fn signed_clearing(&self, slot: Slot) -> Result<Option<Signed<Clearing>>, ReadFault> {
        let text: Option<String> =
            sqlx::query_scalar("SELECT message FROM clearing WHERE slot = ?1")
                .bind(slot.number())
                .fetch_optional(&self.pool)
                .await?;
        text.map(|text| json("clearing", slot.number(), &text)).transpose()
    }

    /// The book of a slot: every household's last order, by metering point.
    ///
    /// # Errors
    /// [`ReadFault`].
    pub async fn book(&self, slot: Slot) -> Result<Vec<StoredOrder>, ReadFault> {
        let rows: Vec<(i64, String)> = sqlx::query_as(
            "SELECT received_ms, message FROM book_order o WHERE slot = ?1 \
             AND seq = (SELECT MAX(seq) FROM book_order n \
                 WHERE n.slot = o.slot AND n.point = o.point) ORDER BY point",
        )
        .bind(slot.number())
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter()
            .map(|(received_ms, text)| {
                let signed = json("book_order", slot.number(), &text)?;
                Ok(StoredOrder { signed, received_ms })
            })
            .collect()
    }

    /// The grids that slots of a range were cleared on, by digest.
    ///
    /// # Errors
    /// [`ReadFault`], also when one of them is not on record.
    pub async fn grids_between(&self, first: Slot, last: Slot) -> Result<Vec<GridForm>, ReadFault> {
        let digests: Vec<Vec<u8>> = sqlx::query_scalar(
            "SELECT DISTINCT grid FROM clearing WHERE slot BETWEEN ?1 AND ?2 ORDER BY grid",
        )
        .bind(first.number())
        .bind(last.number())
        .fetch_all(&self.pool)
        .await?;
        let mut forms = Vec::new();
        for digest in digests {
            let digest = hash("clearing", format!("{first} to {last}"), &digest)?;
            forms.extend(self.grid(digest).await?.form());
        }
        Ok(forms)
    }

    /// The grid with a digest; the plate for zero.
    ///
    /// # Errors
    /// [`ReadFault`], also when it is not on record.
    pub async fn grid(&self, digest: B256) -> Result<StreetGrid, ReadFault> {
        if digest.is_zero() {
            return Ok(StreetGrid::default());
        }
        let form: Option<String> = sqlx::query_scalar("SELECT form FROM grid WHERE digest = ?1")
            .bind(digest.as_slice())
            .fetch_optional(&self.pool)
            .await?;
        let form = form.ok_or_else(|| damaged("grid", digest, "it is missing"))?;
        let grid = StreetGrid::parse(&form).map_err(|fault| damaged("grid", digest, fault))?;
        if grid.digest() == digest {
            return Ok(grid);
        }
        Err(damaged("grid", digest, "its form has another digest"))
    }

    /// The keys that a household has handed over in an epoch, by number.
    ///
    /// # Errors
    /// [`ReadFault`].
    pub async fn key_changes(
        &self,
        point: &PointId,
        epoch: u32,
    ) -> Result<Vec<KeyChangeRecord>, ReadFault> {
        let rows = sqlx::query(
            "SELECT received_ms, message FROM key_change WHERE point = ?1 AND epoch = ?2 \
             ORDER BY number",
        )
        .bind(point.as_str())
        .bind(epoch)
        .fetch_all(&self.pool)
        .await?;
        let record = |row: &SqliteRow| {
            let message: String = row.try_get("message")?;
            let change = json("key_change", point, &message)?;
            Ok(KeyChangeRecord { received_ms: row.try_get("received_ms")?, change })
        };
        rows.iter().map(record).collect()
    }

    /// The keys of a household in an epoch that count no more, in the order in which that was said.
    ///
    /// # Errors
    /// [`ReadFault`].
    pub async fn key_revocations(
        &self,
        point: &PointId,
        epoch: u32,
    ) -> Result<Vec<KeyRevocationRecord>, ReadFault> {
        let rows = sqlx::query(
            "SELECT received_ms, reading_seq, message FROM key_revocation \
             WHERE point = ?1 AND epoch = ?2 ORDER BY received_ms, key",
        )
        .bind(point.as_str())
        .bind(epoch)
        .fetch_all(&self.pool)
        .await?;
        let record = |row: &SqliteRow| {
            let reading_seq: i64 = row.try_get("reading_seq")?;
            let message: String = row.try_get("message")?;
            Ok(KeyRevocationRecord {
                received_ms: row.try_get("received_ms")?,
                reading_seq: u64::try_from(reading_seq).unwrap_or_default(),
                revocation: json("key_revocation", point, &message)?,
            })
        };
        rows.iter().map(record).collect()
    }

    /// The next readings of a household after `seq`, in order; a bounded number of them.
    ///
    /// # Errors
    /// [`ReadFault`].
    pub async fn readings_after(
        &self,
        point: &PointId,
        epoch: u32,
        seq: u64,
    ) -> Result<Vec<StoredReading>, ReadFault> {
        let rows = sqlx::query(
            "SELECT seq, digest, received_ms, quarantine, message FROM reading \
             WHERE point = ?1 AND epoch = ?2 AND seq > ?3 ORDER BY seq LIMIT ?4",
        )
        .bind(point.as_str())
        .bind(epoch)
        .bind(i64::try_from(seq).unwrap_or(i64::MAX))
        .bind(READINGS_PER_QUESTION)
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(|row| stored_reading(row, point)).collect()
    }

    /// How far the household's readings were settled after an entry of the log: the newest one that
    /// was; 0 for none.
    ///
    /// # Errors
    /// [`ReadFault`].
    pub async fn settled_seq(&self, point: &PointId, index: u64) -> Result<u64, ReadFault> {
        let seq: Option<i64> = sqlx::query_scalar(
            "SELECT reading_seq FROM statement WHERE point = ?1 AND log_index <= ?2 \
             ORDER BY log_index DESC LIMIT 1",
        )
        .bind(point.as_str())
        .bind(i64::try_from(index).unwrap_or(i64::MAX))
        .fetch_optional(&self.pool)
        .await?;
        let seq = seq.unwrap_or(0);
        u64::try_from(seq).map_err(|why| damaged("statement", format!("{point} {index}"), why))
    }

    /// All statements of an entry of the log, by position, each with the household's newest reading
    /// that is settled after it (0 = none).
    ///
    /// # Errors
    /// [`ReadFault`].
    pub async fn statements_of(&self, index: u64) -> Result<Vec<(Statement, u64)>, ReadFault> {
        let rows: Vec<(String, i64)> = sqlx::query_as(
            "SELECT delivery, reading_seq FROM statement WHERE log_index = ?1 ORDER BY position",
        )
        .bind(i64::try_from(index).unwrap_or(i64::MAX))
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter()
            .map(|(text, seq)| {
                let slip: Slip = json("statement", index, &text)?;
                let seq = u64::try_from(seq).map_err(|why| damaged("statement", index, why))?;
                Ok((slip.statement, seq))
            })
            .collect()
    }

    /// The newest bills of a slot, by position.
    ///
    /// # Errors
    /// [`ReadFault`].
    pub async fn bills_of(&self, slot: Slot) -> Result<Vec<Statement>, ReadFault> {
        let texts: Vec<String> =
            sqlx::query_scalar("SELECT delivery FROM bill WHERE slot = ?1 ORDER BY position")
                .bind(slot.number())
                .fetch_all(&self.pool)
                .await?;
        texts
            .iter()
            .map(|text| json::<Slip>("statement", slot.number(), text).map(|slip| slip.statement))
            .collect()
    }

    /// A household's newest statement before an entry of the log.
    ///
    /// # Errors
    /// [`ReadFault`].
    pub async fn statement_before(
        &self,
        point: &PointId,
        index: u64,
    ) -> Result<Option<Statement>, ReadFault> {
        let text: Option<String> = sqlx::query_scalar(
            "SELECT delivery FROM statement WHERE point = ?1 AND log_index < ?2 \
             ORDER BY log_index DESC LIMIT 1",
        )
        .bind(point.as_str())
        .bind(i64::try_from(index).unwrap_or(i64::MAX))
        .fetch_optional(&self.pool)
        .await?;
        let slip: Option<Slip> = text.map(|text| json("statement", point, &text)).transpose()?;
        Ok(slip.map(|slip| slip.statement))
    }

    /// All ledger entries of a version of a slot, in order.
    ///
    /// # Errors
    /// [`ReadFault`].
    pub async fn transfers(
        &self,
        slot: Slot,
        version: u32,
    ) -> Result<Vec<StoredTransfer>, ReadFault> {
        let rows: Vec<(String, String, i64, String)> = sqlx::query_as(
            "SELECT debit, credit, amount, reason FROM transfer \
             WHERE slot = ?1 AND version = ?2 ORDER BY number",
        )
        .bind(slot.number())
        .bind(version)
        .fetch_all(&self.pool)
        .await?;
        let transfer =
            |(debit, credit, amount, reason)| StoredTransfer { debit, credit, amount, reason };
        Ok(rows.into_iter().map(transfer).collect())
    }

    /// Epochs that were signed and end between two slots, in order.
    ///
    /// # Errors
    /// [`ReadFault`].
    pub async fn epochs_ending_between(
        &self,
        first: Slot,
        last: Slot,
    ) -> Result<Vec<StoredEpoch>, ReadFault> {
        let rows: Vec<(i64, String, String)> = sqlx::query_as(
            "SELECT seq, epoch_header, header FROM anchor WHERE epoch_header IS NOT NULL \
             AND to_slot BETWEEN ?1 AND ?2 ORDER BY seq",
        )
        .bind(first.number())
        .bind(last.number())
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter()
            .map(|(seq, header, draft)| {
                let draft: AnchorDraft = json("anchor", seq, &draft)?;
                Ok(StoredEpoch { header: json("anchor", seq, &header)?, rewards: draft.rewards })
            })
            .collect()
    }
}

fn log_entry(row: &SqliteRow) -> Result<LogEntry, ReadFault> {
    let slot: i64 = row.try_get("slot")?;
    let text = |name: &str| row.try_get::<String, _>(name);
    Ok(LogEntry {
        header: json("header", slot, &text("header")?)?,
        checkpoint: json("header", slot, &text("checkpoint")?)?,
        frontier: json("header", slot, &text("frontier")?)?,
    })
}

fn stored_reading(row: &SqliteRow, point: &PointId) -> Result<StoredReading, ReadFault> {
    let seq: i64 = row.try_get("seq")?;
    let key = || format!("{point} {seq}");
    let (digest, message): (Vec<u8>, String) = (row.try_get("digest")?, row.try_get("message")?);
    Ok(StoredReading {
        signed: json("reading", key(), &message)?,
        digest: hash("reading", key(), &digest)?,
        received_ms: row.try_get("received_ms")?,
        quarantine: row.try_get("quarantine")?,
    })
}
