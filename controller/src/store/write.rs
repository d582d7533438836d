//! One step, one transaction.

use protocol::{Header, LateLine, Statement};
use sqlx::query_builder::Separated;
use sqlx::sqlite::SqliteConnection;
use sqlx::{Connection, QueryBuilder, Sqlite};
use units::{Energy, Money, Price};

use super::rows::{rung_word, stored, text};
use super::{Store, StoreFault};
use crate::desk::{
    AnchorDraft, ClearedRecord, ReadingRecord, Record, RefusalRecord, SettledRecord,
    StatementRecord, Watermark,
};
use crate::rules::{KeyChangeRecord, KeyRevocationRecord};

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
        let readings: Vec<&ReadingRecord> = records.iter().filter_map(as_reading).collect();
        insert_readings(&mut transaction, &readings).await?;
        for record in records {
            apply(&mut transaction, record).await?;
        }
        let watermarks: Vec<&Watermark> = records.iter().filter_map(as_watermark).collect();
        insert_watermarks(&mut transaction, &watermarks).await?;
        transaction.commit().await?;
        Ok(())
    }
}

fn as_reading(record: &Record) -> Option<&ReadingRecord> {
    if let Record::Reading(record) = record { Some(record) } else { None }
}

fn as_watermark(record: &Record) -> Option<&Watermark> {
    if let Record::Watermark(record) = record { Some(record) } else { None }
}

/// Rows of a statement that inserts many. Each size is a statement of its own, which stays
/// prepared; a cascade of few sizes covers every count.
const ROWS: [usize; 4] = [64, 16, 4, 1];

/// Inserts rows, as many in a statement as there are: `head` names table and columns, `tail`
/// follows the values, and `bind` pushes one row's values in the columns' order.
async fn insert<T>(
    db: &mut SqliteConnection,
    head: &str,
    tail: &str,
    mut rows: &[T],
    bind: impl Fn(Separated<'_, Sqlite, &'static str>, &T),
) -> Result<(), StoreFault> {
    for size in ROWS {
        while rows.len() >= size {
            let (now, later) = rows.split_at(size);
            let mut query = QueryBuilder::<Sqlite>::new(head);
            query.push_values(now, &bind).push(tail);
            query.build().execute(&mut *db).await?;
            rows = later;
        }
    }
    Ok(())
}

/// Writes what is not written together with its like.
async fn apply(db: &mut SqliteConnection, record: &Record) -> Result<(), StoreFault> {
    match record {
        Record::Reading(_) | Record::Watermark(_) => Ok(()),
        Record::Order(order, received_ms) => {
            let body = order.body();
            sqlx::query(
                "INSERT INTO book_order (point, seq, slot, received_ms, digest, message) \
                 VALUES (?, ?, ?, ?, ?, ?)",
            )
            .bind(&body.point)
            .bind(stored(body.seq))
            .bind(body.slot)
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
                "INSERT INTO audit (point, slot, version, verified, reason, time_ms, message) \
                 VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET verified = excluded.verified, \
                 reason = excluded.reason, time_ms = excluded.time_ms, message = excluded.message",
            )
            .bind(&body.point)
            .bind(body.slot)
            .bind(body.version)
            .bind(body.verified)
            .bind(&body.reason)
            .bind(body.time_ms)
            .bind(text(audit.signed()))
            .execute(db)
            .await?;
            Ok(())
        }
        Record::KeyChange(record) => key_change(db, record).await,
        Record::KeyRevocation(record) => key_revocation(db, record).await,
        Record::Refusal(record) => refusal(db, record).await,
        Record::Anchor(record) => anchor(db, record).await,
    }
}

async fn insert_readings(
    db: &mut SqliteConnection,
    readings: &[&ReadingRecord],
) -> Result<(), StoreFault> {
    let head = "INSERT INTO reading (point, epoch, seq, slot, time_ms, received_ms, import_wh, \
                export_wh, produced_wh, power_w, quality, resolution_mwh, quarantine, digest, message) ";
    insert(db, head, "", readings, |mut row, record| {
        let body = record.reading.body();
        row.push_bind(body.point.clone())
            .push_bind(body.epoch)
            .push_bind(stored(body.seq))
            .push_bind(body.slot)
            .push_bind(body.time_ms)
            .push_bind(record.received_ms)
            .push_bind(stored(body.import_wh))
            .push_bind(stored(body.export_wh))
            .push_bind(body.produced_wh.first().copied().map(stored))
            .push_bind(body.power_w.first().copied())
            .push_bind(body.quality.clone())
            .push_bind(body.resolution_mwh.first().copied().map(stored))
            .push_bind(record.quarantine.clone())
            .push_bind(record.reading.digest().to_vec())
            .push_bind(text(record.reading.signed()));
    })
    .await?;
    let events: Vec<_> = readings
        .iter()
        .map(|record| record.reading.body())
        .flat_map(|body| {
            (0_i64..).zip(&body.events).map(move |(place, event)| (body, place, event))
        })
        .collect();
    let head = "INSERT INTO reading_event (point, epoch, seq, place, slot, register, kind, before, \
                after, times, time_ms) ";
    insert(db, head, "", &events, |mut row, (body, place, event)| {
        row.push_bind(body.point.clone())
            .push_bind(body.epoch)
            .push_bind(stored(body.seq))
            .push_bind(*place)
            .push_bind(body.slot)
            .push_bind(event.register.clone())
            .push_bind(event.kind.clone())
            .push_bind(event.before)
            .push_bind(event.after)
            .push_bind(event.times)
            .push_bind(event.time_ms);
    })
    .await
}

async fn cleared(db: &mut SqliteConnection, record: &ClearedRecord) -> Result<(), StoreFault> {
    let body = &record.message.body;
    sqlx::query(
        "INSERT INTO clearing (slot, cleared_wh, price, price_low, price_high, retail, feed_in, \
         orders, method, rung, solve_us, time_ms, grid, nodal, message) \
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
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
    .bind(rung_word(record.clearing.method.rung()))
    .bind(record.solve_us)
    .bind(body.time_ms)
    .bind(body.grid.to_vec())
    .bind(record.clearing.nodal.as_ref().map(text))
    .bind(text(&record.message))
    .execute(&mut *db)
    .await?;
    let curves = market::curves(&record.book);
    let bids = curves.bids.iter().map(|level| (market::Side::Buy, level));
    let levels: Vec<_> =
        bids.chain(curves.asks.iter().map(|level| (market::Side::Sell, level))).collect();
    let head = "INSERT INTO level (slot, side, limit_nano, quantity_wh) ";
    insert(db, head, "", &levels, |mut row, (side, level)| {
        row.push_bind(body.slot)
            .push_bind(side.to_string())
            .push_bind(level.price.nano_per_wh())
            .push_bind(level.quantity.wh());
    })
    .await?;
    let head = "INSERT INTO fill (slot, point, side, quantity_wh, price, order_digest) ";
    insert(db, head, "", &record.fills, |mut row, fill| {
        row.push_bind(body.slot)
            .push_bind(fill.point.to_string())
            .push_bind(fill.side.to_string())
            .push_bind(fill.quantity.wh())
            .push_bind(fill.price.nano_per_wh())
            .push_bind(fill.order.to_vec());
    })
    .await
}

async fn settled(db: &mut SqliteConnection, record: &SettledRecord) -> Result<(), StoreFault> {
    let header = &record.header;
    sqlx::query(
        "INSERT INTO header (slot, version, log_index, leaf, root, header, checkpoint, frontier, \
         moved, members, time_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(header.slot)
    .bind(header.version)
    .bind(stored(header.index))
    .bind(record.leaf.to_vec())
    .bind(record.frontier.root().to_vec())
    .bind(text(header))
    .bind(text(&record.checkpoint))
    .bind(text(&record.frontier))
    .bind(text(&record.moved))
    .bind(record.members.as_ref().map(text))
    .bind(header.time_ms)
    .execute(&mut *db)
    .await?;
    insert_statements(db, &record.statements).await?;
    let transfers: Vec<_> = record.transfers.iter().enumerate().collect();
    let head = "INSERT INTO transfer (slot, version, number, debit, credit, amount, reason) ";
    insert(db, head, "", &transfers, |mut row, (number, transfer)| {
        row.push_bind(header.slot)
            .push_bind(header.version)
            .push_bind(stored(*number as u64))
            .push_bind(transfer.debit.to_string())
            .push_bind(transfer.credit.to_string())
            .push_bind(transfer.amount.nano())
            .push_bind(reason(&transfer.reason));
    })
    .await?;
    let allocated = record.allocation.as_ref().map_or(&[][..], |allocation| &allocation.lines);
    let head = "INSERT INTO allocation (slot, version, point, import_wh, export_wh, taken_wh, \
                given_wh) ";
    insert(db, head, "", allocated, |mut row, line| {
        row.push_bind(header.slot)
            .push_bind(header.version)
            .push_bind(line.point.to_string())
            .push_bind(line.import.wh())
            .push_bind(line.export.wh())
            .push_bind(line.taken.wh())
            .push_bind(line.given.wh());
    })
    .await
}

async fn insert_statements(
    db: &mut SqliteConnection,
    statements: &[StatementRecord],
) -> Result<(), StoreFault> {
    let head = "INSERT INTO statement (slot, point, version, log_index, position, measured, \
                import_wh, export_wh, bought_wh, sold_wh, amount, alone, reward_wh, reading_seq, leaf, \
                delivery) ";
    insert(db, head, "", statements, |mut row, record| {
        let statement = &record.delivery.statement;
        row.push_bind(statement.slot)
            .push_bind(statement.point.clone())
            .push_bind(statement.version)
            .push_bind(stored(record.delivery.header.index))
            .push_bind(stored(record.delivery.position))
            .push_bind(statement.measured)
            .push_bind(statement.import_wh)
            .push_bind(statement.export_wh)
            .push_bind(statement.bought_wh)
            .push_bind(statement.sold_wh)
            .push_bind(statement.amount)
            .push_bind(alone(statement, &record.delivery.header).nano())
            .push_bind(statement.reward_wh)
            .push_bind(stored(record.reading_seq))
            .push_bind(record.leaf.to_vec())
            .push_bind(text(&record.delivery));
    })
    .await
}

/// What a household would have paid the supplier without the community.
fn alone(statement: &Statement, header: &Header) -> Money {
    let at = |import_wh: i64, export_wh: i64, retail: i64, feed_in: i64| {
        let price = Price::from_nano_per_wh;
        Energy::from_wh(import_wh) * price(retail) - Energy::from_wh(export_wh) * price(feed_in)
    };
    let Statement { import_wh, export_wh, late, .. } = statement;
    let late = late.iter().map(|line| {
        let LateLine { import_wh, export_wh, retail, feed_in, .. } = *line;
        at(import_wh, export_wh, retail, feed_in)
    });
    at(*import_wh, *export_wh, header.retail, header.feed_in) + late.sum()
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
        market::Reason::GridFees => "grid fees".to_owned(),
        market::Reason::Congestion => "congestion".to_owned(),
        market::Reason::Residual => "residual".to_owned(),
        market::Reason::Difference => "difference".to_owned(),
        market::Reason::Shortfall => "shortfall".to_owned(),
        market::Reason::Correction { slot, version } => {
            format!("correction {} version {version}", slot.number())
        }
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

async fn insert_watermarks(
    db: &mut SqliteConnection,
    watermarks: &[&Watermark],
) -> Result<(), StoreFault> {
    let head = "INSERT INTO household (point, epoch, reading_seq, reading_head, order_seq, \
                settled_slot, settled_import_wh, settled_export_wh, settled_produced_wh, \
                settled_seq, reward_total) ";
    let tail = " ON CONFLICT DO UPDATE SET epoch = excluded.epoch, \
                reading_seq = excluded.reading_seq, reading_head = excluded.reading_head, \
                order_seq = excluded.order_seq, settled_slot = excluded.settled_slot, \
                settled_import_wh = excluded.settled_import_wh, \
                settled_export_wh = excluded.settled_export_wh, \
                settled_produced_wh = excluded.settled_produced_wh, \
                settled_seq = excluded.settled_seq, \
                reward_total = excluded.reward_total";
    insert(db, head, tail, watermarks, |mut row, record| {
        let registers = record.settled.map(|(_, registers)| registers);
        row.push_bind(record.point.to_string())
            .push_bind(record.epoch)
            .push_bind(stored(record.reading_seq))
            .push_bind(record.reading_head.to_vec())
            .push_bind(stored(record.order_seq))
            .push_bind(record.settled.map(|(slot, _)| slot.number()))
            .push_bind(registers.map(|registers| registers.import.wh()))
            .push_bind(registers.map(|registers| registers.export.wh()))
            .push_bind(registers.and_then(|registers| registers.produced).map(Energy::wh))
            .push_bind(stored(record.settled_seq))
            .push_bind(record.reward_total.to_string());
    })
    .await
}

async fn key_change(db: &mut SqliteConnection, record: &KeyChangeRecord) -> Result<(), StoreFault> {
    let body = &record.change.body;
    sqlx::query(
        "INSERT INTO key_change (point, epoch, number, received_ms, message) VALUES (?, ?, ?, ?, ?)",
    )
    .bind(&body.point)
    .bind(body.epoch)
    .bind(body.number)
    .bind(record.received_ms)
    .bind(text(&record.change))
    .execute(db)
    .await?;
    Ok(())
}

async fn key_revocation(
    db: &mut SqliteConnection,
    record: &KeyRevocationRecord,
) -> Result<(), StoreFault> {
    let body = &record.revocation.body;
    sqlx::query(
        "INSERT INTO key_revocation (point, epoch, key, received_ms, reading_seq, message) \
         VALUES (?, ?, ?, ?, ?, ?)",
    )
    .bind(&body.point)
    .bind(body.epoch)
    .bind(body.key.to_vec())
    .bind(record.received_ms)
    .bind(stored(record.reading_seq))
    .bind(text(&record.revocation))
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
