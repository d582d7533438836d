//! One step, one transaction.

use sqlx::Connection;
use sqlx::sqlite::SqliteConnection;

use super::rows::{stored, text};
use super::{Store, StoreFault};
use crate::desk::{
    AnchorDraft, ClearedRecord, ReadingRecord, Record, RefusalRecord, SettledRecord, Watermark,
};

/// How many refused messages are kept in full; all are counted.
const KEPT_REFUSALS: i64 = 10_000;

impl Store {
    /// Writes all records of a step, or none of them. When this returns, they are on the disk.
    ///
    /// # Errors
    /// [`StoreFault::Database`]; the caller must stop then, for nothing it sent later could be
    /// trusted.
    pub async fn write(&mut self, records: &[Record]) -> Result<(), StoreFault> {
        if records.is_empty() {
            return Ok(());
        }
        let mut transaction = self.connection.begin_with("BEGIN IMMEDIATE").await?;
        for record in records {
            apply(&mut transaction, record).await?;
        }
        transaction.commit().await?;
        Ok(())
    }
}

async fn apply(db: &mut SqliteConnection, record: &Record) -> Result<(), StoreFault> {
    match record {
        Record::Reading(record) => reading(db, record).await,
        Record::Order(order, received_ms) => {
            let body = order.body();
            sqlx::query(
                "INSERT INTO book_order (point, seq, slot, side, quantity_wh, limit_nano, \
                 received_ms, digest, message) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            )
            .bind(&body.point)
            .bind(stored(body.seq))
            .bind(body.slot)
            .bind(&body.side)
            .bind(body.quantity_wh)
            .bind(body.limit)
            .bind(received_ms)
            .bind(order.digest().to_vec())
            .bind(text(order.signed()))
            .execute(db)
            .await?;
            Ok(())
        }
        Record::Cleared(record) => cleared(db, record).await,
        Record::Settled(record) => settled(db, record).await,
        Record::Audit(audit) => {
            let body = audit.body();
            sqlx::query(
                "INSERT INTO audit (point, slot, verified, reason, time_ms, message) \
                 VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET verified = excluded.verified, \
                 reason = excluded.reason, time_ms = excluded.time_ms, message = excluded.message",
            )
            .bind(&body.point)
            .bind(body.slot)
            .bind(body.verified)
            .bind(&body.reason)
            .bind(body.time_ms)
            .bind(text(audit.signed()))
            .execute(db)
            .await?;
            Ok(())
        }
        Record::Refusal(record) => refusal(db, record).await,
        Record::Watermark(record) => watermark(db, record).await,
        Record::Anchor(record) => anchor(db, record).await,
    }
}

async fn reading(db: &mut SqliteConnection, record: &ReadingRecord) -> Result<(), StoreFault> {
    let body = record.reading.body();
    sqlx::query(
        "INSERT INTO reading (point, epoch, seq, slot, time_ms, received_ms, import_wh, export_wh, \
         produced_wh, power_w, quality, quarantine, digest, message) \
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(&body.point)
    .bind(body.epoch)
    .bind(stored(body.seq))
    .bind(body.slot)
    .bind(body.time_ms)
    .bind(record.received_ms)
    .bind(stored(body.import_wh))
    .bind(stored(body.export_wh))
    .bind(body.produced_wh.first().copied().map(stored))
    .bind(body.power_w.first())
    .bind(&body.quality)
    .bind(&record.quarantine)
    .bind(record.reading.digest().to_vec())
    .bind(text(record.reading.signed()))
    .execute(db)
    .await?;
    Ok(())
}

async fn cleared(db: &mut SqliteConnection, record: &ClearedRecord) -> Result<(), StoreFault> {
    let body = &record.message.body;
    sqlx::query(
        "INSERT INTO clearing (slot, cleared_wh, price, price_low, price_high, retail, feed_in, \
         orders, method, solve_us, time_ms, message) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(body.slot)
    .bind(body.cleared_wh)
    .bind(body.price.first())
    .bind(body.interval.first())
    .bind(body.interval.get(1))
    .bind(body.retail)
    .bind(body.feed_in)
    .bind(body.orders)
    .bind(&body.method)
    .bind(record.solve_us)
    .bind(body.time_ms)
    .bind(text(&record.message))
    .execute(&mut *db)
    .await?;
    for fill in &record.fills {
        sqlx::query(
            "INSERT INTO fill (slot, point, side, quantity_wh, order_digest) VALUES (?, ?, ?, ?, ?)",
        )
        .bind(body.slot)
        .bind(fill.point.as_str())
        .bind(fill.side)
        .bind(fill.quantity.wh())
        .bind(fill.order.to_vec())
        .execute(&mut *db)
        .await?;
    }
    Ok(())
}

async fn settled(db: &mut SqliteConnection, record: &SettledRecord) -> Result<(), StoreFault> {
    let header = &record.header;
    sqlx::query(
        "INSERT INTO header (slot, log_index, leaf, root, header, checkpoint, frontier, time_ms) \
         VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(header.slot)
    .bind(stored(header.index))
    .bind(record.leaf.to_vec())
    .bind(record.frontier.root().to_vec())
    .bind(text(header))
    .bind(text(&record.checkpoint))
    .bind(text(&record.frontier))
    .bind(header.time_ms)
    .execute(&mut *db)
    .await?;
    for record in &record.statements {
        let statement = &record.delivery.statement;
        sqlx::query(
            "INSERT INTO statement (slot, point, position, measured, import_wh, export_wh, \
             bought_wh, sold_wh, amount, reward_wh, leaf, delivery) \
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(statement.slot)
        .bind(&statement.point)
        .bind(stored(record.delivery.position))
        .bind(statement.measured)
        .bind(statement.import_wh)
        .bind(statement.export_wh)
        .bind(statement.bought_wh)
        .bind(statement.sold_wh)
        .bind(statement.amount)
        .bind(statement.reward_wh)
        .bind(record.leaf.to_vec())
        .bind(text(&record.delivery))
        .execute(&mut *db)
        .await?;
    }
    for (number, transfer) in record.transfers.iter().enumerate() {
        sqlx::query(
            "INSERT INTO transfer (slot, number, debit, credit, amount, reason) \
             VALUES (?, ?, ?, ?, ?, ?)",
        )
        .bind(header.slot)
        .bind(stored(number as u64))
        .bind(transfer.debit.to_string())
        .bind(transfer.credit.to_string())
        .bind(transfer.amount.nano())
        .bind(reason(&transfer.reason))
        .execute(&mut *db)
        .await?;
    }
    Ok(())
}

/// What a transfer was for, as it stands in the ledger.
pub(crate) fn reason(reason: &market::Reason) -> String {
    match reason {
        market::Reason::Purchase => "purchase".to_owned(),
        market::Reason::Sale => "sale".to_owned(),
        market::Reason::ImportDeviation => "import deviation".to_owned(),
        market::Reason::ExportDeviation => "export deviation".to_owned(),
        market::Reason::Retail => "retail".to_owned(),
        market::Reason::FeedIn => "feed-in".to_owned(),
        market::Reason::Late(slot) => format!("late {}", slot.number()),
    }
}

async fn refusal(db: &mut SqliteConnection, record: &RefusalRecord) -> Result<(), StoreFault> {
    sqlx::query(
        "INSERT INTO refusal_count (reason, count) VALUES (?, 1) \
         ON CONFLICT DO UPDATE SET count = count + 1",
    )
    .bind(record.reason)
    .execute(&mut *db)
    .await?;
    let inserted = sqlx::query(
        "INSERT INTO refusal (point, kind, reason, detail, message_hash, message, time_ms) \
         VALUES (?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(record.point.as_ref().map(units::PointId::as_str))
    .bind(record.kind)
    .bind(record.reason)
    .bind(&record.detail)
    .bind(record.message_hash.to_vec())
    .bind(&record.message)
    .bind(record.time_ms)
    .execute(&mut *db)
    .await?;
    sqlx::query("DELETE FROM refusal WHERE id <= ?")
        .bind(inserted.last_insert_rowid() - KEPT_REFUSALS)
        .execute(db)
        .await?;
    Ok(())
}

async fn watermark(db: &mut SqliteConnection, record: &Watermark) -> Result<(), StoreFault> {
    let registers = record.settled.map(|(_, registers)| registers);
    sqlx::query(
        "INSERT INTO household (point, epoch, reading_seq, reading_head, order_seq, settled_slot, \
         settled_import_wh, settled_export_wh, settled_produced_wh, reward_total) \
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET epoch = excluded.epoch, \
         reading_seq = excluded.reading_seq, reading_head = excluded.reading_head, \
         order_seq = excluded.order_seq, settled_slot = excluded.settled_slot, \
         settled_import_wh = excluded.settled_import_wh, \
         settled_export_wh = excluded.settled_export_wh, \
         settled_produced_wh = excluded.settled_produced_wh, reward_total = excluded.reward_total",
    )
    .bind(record.point.as_str())
    .bind(record.epoch)
    .bind(stored(record.reading_seq))
    .bind(record.reading_head.to_vec())
    .bind(stored(record.order_seq))
    .bind(record.settled.map(|(slot, _)| slot.number()))
    .bind(registers.map(|registers| registers.import.wh()))
    .bind(registers.map(|registers| registers.export.wh()))
    .bind(registers.and_then(|registers| registers.produced).map(units::Energy::wh))
    .bind(record.reward_total.to_string())
    .execute(db)
    .await?;
    Ok(())
}

async fn anchor(db: &mut SqliteConnection, draft: &AnchorDraft) -> Result<(), StoreFault> {
    sqlx::query(
        "INSERT INTO anchor (seq, from_slot, to_slot, log_size, log_root, rewards_root, header, \
         rewards, state, queued_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?, 'queued', ?)",
    )
    .bind(stored(draft.seq))
    .bind(draft.from_slot.number())
    .bind(draft.to_slot.number())
    .bind(stored(draft.log_size))
    .bind(draft.log_root.to_vec())
    .bind(draft.rewards_tree().root().to_vec())
    .bind(text(draft))
    .bind(text(&draft.rewards))
    .bind(draft.time_ms)
    .execute(db)
    .await?;
    Ok(())
}
