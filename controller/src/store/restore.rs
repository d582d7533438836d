//! Reads back what the desk needs to go on.

use std::collections::BTreeMap;

use protocol::{B256, Signed, merkle};
use sqlx::Row;
use sqlx::sqlite::SqliteRow;
use units::{Energy, PointId, Price, Slot};

use super::rows::{hash, json, point, registers, slot, stored, unsigned};
use super::{Store, StoreFault};
use crate::desk::{Saved, SavedClearing, SavedEdge, SavedRevision, Watermark};
use crate::rules::{
    KeyChangeRecord, KeyRevocationRecord, MAX_CORRECT_WITHIN, StreetGrid, StreetSharing,
};

impl Store {
    /// Everything that is not finished, and the watermarks of what is.
    ///
    /// # Errors
    /// [`StoreFault`]: the database's refusal, or a row that makes no sense.
    pub async fn load(&mut self) -> Result<Saved, StoreFault> {
        let first_slot = match self.meta("first_slot").await? {
            None => None,
            Some(text) => Some(Slot::new(text.parse().map_err(StoreFault::damaged)?)),
        };
        let log = self.load_log().await?;
        let last_cleared: Option<i64> = sqlx::query("SELECT MAX(slot) FROM clearing")
            .fetch_one(&mut self.connection)
            .await?
            .get(0);
        let last_cleared = last_cleared.map(Slot::new);
        let settled = log.as_ref().map(|(slot, _)| *slot).or(first_slot.map(Slot::previous));
        let (last_anchor, anchored) = self.load_last_anchor().await?.unzip();
        let past = self.load_past(settled).await?;
        let oldest = past.first().map(|revision| revision.clearing.clearing.slot.previous());
        Ok(Saved {
            households: self.load_households().await?,
            key_changes: self.load_key_changes().await?,
            key_revocations: self.load_key_revocations().await?,
            edges: self.load_edges(first_slot).await?,
            last_slots: self.load_last_slots().await?,
            orders: self.load_orders(last_cleared.or(settled)).await?,
            clearings: self.load_clearings(settled).await?,
            grids: self.load_grids(oldest.or(settled)).await?,
            sharings: self.load_sharings().await?,
            epoch: self.load_epoch(anchored.unwrap_or(0)).await?,
            past,
            first_slot,
            last_cleared,
            log,
            last_anchor,
        })
    }

    /// Statements that a household asks for again, as they were sent, in the order of the log.
    ///
    /// # Errors
    /// [`StoreFault`].
    pub async fn deliveries(
        &mut self,
        point: &PointId,
        from_index: u64,
        from_slot: Slot,
        most: i64,
    ) -> Result<Vec<String>, StoreFault> {
        let rows = sqlx::query(
            "SELECT delivery FROM statement WHERE point = ?1 AND log_index >= MAX(?2, \
             (SELECT MIN(log_index) FROM header WHERE version = 1 AND slot >= ?3)) \
             ORDER BY log_index LIMIT ?4",
        )
        .bind(point.as_str())
        .bind(i64::try_from(from_index).unwrap_or(i64::MAX))
        .bind(from_slot.number())
        .bind(most)
        .fetch_all(&mut self.connection)
        .await?;
        rows.iter().map(|row| Ok(row.try_get("delivery")?)).collect()
    }

    /// Statements among the log's `newest` entries before `until` that nobody has audited, of one
    /// household or of all, as they were sent, in the order of the log.
    ///
    /// # Errors
    /// [`StoreFault`].
    pub async fn unaudited(
        &mut self,
        point: Option<&PointId>,
        (newest, until): (u64, u64),
        most: i64,
    ) -> Result<Vec<(PointId, String)>, StoreFault> {
        let index = |index: u64| i64::try_from(index).unwrap_or(i64::MAX);
        let rows = sqlx::query(
            "SELECT point, delivery FROM statement s WHERE (?1 IS NULL OR point = ?1) \
             AND log_index >= ?2 AND log_index < ?3 AND NOT EXISTS (SELECT 1 FROM audit a \
             WHERE a.slot = s.slot AND a.point = s.point AND a.version = s.version) \
             ORDER BY log_index, point LIMIT ?4",
        )
        .bind(point.map(PointId::as_str))
        .bind(index(until.saturating_sub(newest)))
        .bind(index(until))
        .bind(most)
        .fetch_all(&mut self.connection)
        .await?;
        rows.iter().map(|row| Ok((self::point(row)?, row.try_get("delivery")?))).collect()
    }

    async fn load_log(&mut self) -> Result<Option<(Slot, merkle::Frontier)>, StoreFault> {
        let row = sqlx::query(
            "SELECT (SELECT MAX(slot) FROM header) AS slot, frontier FROM header \
             ORDER BY log_index DESC LIMIT 1",
        )
        .fetch_optional(&mut self.connection)
        .await?;
        row.map(|row| Ok((slot(&row, "slot")?, json(&row, "frontier")?))).transpose()
    }

    /// Number and last slot of the newest epoch, and the size of its log.
    async fn load_last_anchor(&mut self) -> Result<Option<((u64, Slot), u64)>, StoreFault> {
        let row =
            sqlx::query("SELECT seq, to_slot, log_size FROM anchor ORDER BY seq DESC LIMIT 1")
                .fetch_optional(&mut self.connection)
                .await?;
        row.map(|row| {
            Ok(((unsigned(&row, "seq")?, slot(&row, "to_slot")?), unsigned(&row, "log_size")?))
        })
        .transpose()
    }

    /// Newest settlements of slots in which a meter is missing that may still come, oldest first.
    async fn load_past(&mut self, settled: Option<Slot>) -> Result<Vec<SavedRevision>, StoreFault> {
        let Some(settled) = settled else { return Ok(Vec::new()) };
        let oldest = settled.next().offset(-i64::from(MAX_CORRECT_WITHIN));
        let rows = sqlx::query(
            "SELECT h.version, h.members, c.nodal, c.message FROM newest_header h \
             JOIN clearing c ON c.slot = h.slot \
             WHERE h.members IS NOT NULL AND h.slot >= ? ORDER BY h.slot",
        )
        .bind(oldest.number())
        .fetch_all(&mut self.connection)
        .await?;
        let mut past = Vec::with_capacity(rows.len());
        for row in rows {
            let clearing = self.load_clearing(&row).await?;
            let rewarded = self.load_rewarded(clearing.clearing.slot).await?;
            let (version, members) = (row.try_get("version")?, json(&row, "members")?);
            past.push(SavedRevision { clearing, version, members, rewarded });
        }
        Ok(past)
    }

    async fn load_rewarded(&mut self, slot: Slot) -> Result<BTreeMap<PointId, Energy>, StoreFault> {
        let rows = sqlx::query(
            "SELECT point, reward_wh FROM statement \
             WHERE slot = ? AND version = 1 AND reward_wh > 0",
        )
        .bind(slot.number())
        .fetch_all(&mut self.connection)
        .await?;
        let energy = |row| Ok((point(row)?, Energy::from_wh(row.try_get("reward_wh")?)));
        rows.iter().map(energy).collect()
    }

    async fn load_households(&mut self) -> Result<Vec<Watermark>, StoreFault> {
        let rows = sqlx::query("SELECT * FROM household").fetch_all(&mut self.connection).await?;
        rows.iter()
            .map(|row| {
                let settled_slot: Option<i64> = row.try_get("settled_slot")?;
                let settled = settled_slot
                    .map(|slot| Ok::<_, StoreFault>((Slot::new(slot), registers(row, "settled_")?)))
                    .transpose()?;
                let reward_total: String = row.try_get("reward_total")?;
                let epoch: i64 = row.try_get("epoch")?;
                Ok(Watermark {
                    point: point(row)?,
                    epoch: u32::try_from(epoch).map_err(StoreFault::damaged)?,
                    reading_seq: unsigned(row, "reading_seq")?,
                    reading_head: hash(row, "reading_head")?,
                    order_seq: unsigned(row, "order_seq")?,
                    settled,
                    settled_seq: unsigned(row, "settled_seq")?,
                    reward_total: reward_total.parse().map_err(StoreFault::damaged)?,
                })
            })
            .collect()
    }

    async fn load_key_changes(&mut self) -> Result<Vec<KeyChangeRecord>, StoreFault> {
        let rows = sqlx::query(
            "SELECT received_ms, message FROM key_change ORDER BY point, epoch, number",
        )
        .fetch_all(&mut self.connection)
        .await?;
        let record = |row: &SqliteRow| {
            let change = json(row, "message")?;
            Ok(KeyChangeRecord { received_ms: row.try_get("received_ms")?, change })
        };
        rows.iter().map(record).collect()
    }

    async fn load_key_revocations(&mut self) -> Result<Vec<KeyRevocationRecord>, StoreFault> {
        let rows = sqlx::query("SELECT * FROM key_revocation ORDER BY point, epoch, received_ms")
            .fetch_all(&mut self.connection)
            .await?;
        let record = |row: &SqliteRow| {
            Ok(KeyRevocationRecord {
                received_ms: row.try_get("received_ms")?,
                reading_seq: unsigned(row, "reading_seq")?,
                revocation: json(row, "message")?,
            })
        };
        rows.iter().map(record).collect()
    }

    async fn load_edges(&mut self, first_slot: Option<Slot>) -> Result<Vec<SavedEdge>, StoreFault> {
        let rows = sqlx::query(
            "SELECT r.point, r.seq, r.slot, r.import_wh, r.export_wh, r.produced_wh, r.digest \
             FROM household h JOIN reading r ON r.point = h.point AND r.epoch = h.epoch \
             WHERE r.quarantine IS NULL \
             AND r.slot >= ? AND (h.settled_slot IS NULL OR r.slot > h.settled_slot) \
             ORDER BY r.point, r.seq",
        )
        .bind(first_slot.map_or(i64::MIN, |slot| slot.previous().number()))
        .fetch_all(&mut self.connection)
        .await?;
        rows.iter()
            .map(|row| {
                Ok(SavedEdge {
                    point: point(row)?,
                    slot: slot(row, "slot")?,
                    registers: registers(row, "")?,
                    seq: unsigned(row, "seq")?,
                    digest: hash(row, "digest")?,
                })
            })
            .collect()
    }

    async fn load_last_slots(&mut self) -> Result<Vec<(PointId, Slot)>, StoreFault> {
        let rows = sqlx::query(
            "SELECT h.point AS point, MAX(r.slot) AS slot FROM household h \
             JOIN reading r ON r.point = h.point AND r.epoch = h.epoch \
             WHERE r.quarantine IS NULL GROUP BY h.point",
        )
        .fetch_all(&mut self.connection)
        .await?;
        rows.iter().map(|row| Ok((point(row)?, slot(row, "slot")?))).collect()
    }

    async fn load_orders(
        &mut self,
        after: Option<Slot>,
    ) -> Result<Vec<Signed<protocol::Order>>, StoreFault> {
        let rows = sqlx::query("SELECT message FROM book_order WHERE slot > ? ORDER BY point, seq")
            .bind(after.map_or(i64::MIN, Slot::number))
            .fetch_all(&mut self.connection)
            .await?;
        rows.iter().map(|row| json(row, "message")).collect()
    }

    async fn load_clearings(
        &mut self,
        settled: Option<Slot>,
    ) -> Result<Vec<SavedClearing>, StoreFault> {
        let rows = sqlx::query("SELECT nodal, message FROM clearing WHERE slot > ? ORDER BY slot")
            .bind(settled.map_or(i64::MIN, Slot::number))
            .fetch_all(&mut self.connection)
            .await?;
        let mut clearings = Vec::with_capacity(rows.len());
        for row in rows {
            clearings.push(self.load_clearing(&row).await?);
        }
        Ok(clearings)
    }

    async fn load_clearing(&mut self, row: &SqliteRow) -> Result<SavedClearing, StoreFault> {
        let message: Signed<protocol::Clearing> = json(row, "message")?;
        let fills = self.load_fills(message.body.slot).await?;
        let nodal: Option<String> = row.try_get("nodal")?;
        let nodal = nodal.map(|text| serde_json::from_str(&text)).transpose();
        saved_clearing(&message.body, fills, nodal.map_err(StoreFault::damaged)?)
    }

    /// Grids of the slots that were cleared after `settled`.
    async fn load_grids(
        &mut self,
        settled: Option<Slot>,
    ) -> Result<BTreeMap<B256, StreetGrid>, StoreFault> {
        let rows = sqlx::query(
            "SELECT digest, form FROM grid \
             WHERE digest IN (SELECT grid FROM clearing WHERE slot > ?)",
        )
        .bind(settled.map_or(i64::MIN, Slot::number))
        .fetch_all(&mut self.connection)
        .await?;
        rows.iter()
            .map(|row| {
                let digest = hash(row, "digest")?;
                let form: String = row.try_get("form")?;
                let grid = StreetGrid::parse(&form).map_err(StoreFault::damaged)?;
                if grid.digest() == digest {
                    return Ok((digest, grid));
                }
                Err(StoreFault::damaged(format!("grid {digest} is not what its digest says")))
            })
            .collect()
    }

    /// All rules and keys; a community has few in its life.
    async fn load_sharings(&mut self) -> Result<Vec<StreetSharing>, StoreFault> {
        let rows =
            sqlx::query("SELECT digest, form FROM sharing").fetch_all(&mut self.connection).await?;
        rows.iter()
            .map(|row| {
                let digest = hash(row, "digest")?;
                let form: String = row.try_get("form")?;
                let sharing = StreetSharing::parse(&form).map_err(StoreFault::damaged)?;
                if sharing.digest() == digest {
                    return Ok(sharing);
                }
                Err(StoreFault::damaged(format!("sharing {digest} is not what its digest says")))
            })
            .collect()
    }

    async fn load_fills(&mut self, slot: i64) -> Result<Vec<market::Fill>, StoreFault> {
        let rows = sqlx::query(
            "SELECT point, side, quantity_wh, price FROM fill WHERE slot = ? ORDER BY point",
        )
        .bind(slot)
        .fetch_all(&mut self.connection)
        .await?;
        rows.iter()
            .map(|row| {
                let side: String = row.try_get("side")?;
                let side = match side.as_str() {
                    "buy" => market::Side::Buy,
                    "sell" => market::Side::Sell,
                    other => return Err(StoreFault::damaged(format!("side {other:?}"))),
                };
                let energy = Energy::from_wh(row.try_get("quantity_wh")?);
                let price = Price::from_nano_per_wh(row.try_get("price")?);
                Ok(market::Fill { point: point(row)?, side, energy, price })
            })
            .collect()
    }

    async fn load_epoch(
        &mut self,
        from_index: u64,
    ) -> Result<Vec<(Slot, u32, protocol::Totals)>, StoreFault> {
        let rows = sqlx::query(
            "SELECT slot, version, moved FROM header WHERE log_index >= ? ORDER BY log_index",
        )
        .bind(stored(from_index))
        .fetch_all(&mut self.connection)
        .await?;
        rows.iter()
            .map(|row| Ok((slot(row, "slot")?, row.try_get("version")?, json(row, "moved")?)))
            .collect()
    }
}

fn saved_clearing(
    body: &protocol::Clearing,
    fills: Vec<market::Fill>,
    nodal: Option<market::Nodal>,
) -> Result<SavedClearing, StoreFault> {
    let price = |nano: &i64| Price::from_nano_per_wh(*nano);
    let interval = match body.interval.as_slice() {
        [] => None,
        [low, high] => Some((price(low), price(high))),
        _ => return Err(StoreFault::damaged(format!("interval of slot {}", body.slot))),
    };
    let clearing = market::Clearing {
        slot: Slot::new(body.slot),
        cleared: Energy::from_wh(body.cleared_wh),
        // Welfare and method are for the record of the clearing itself; a settlement uses neither.
        welfare: 0,
        price: body.price.first().map(price),
        interval,
        fills,
        method: market::Method::Lp,
        nodal,
    };
    let (orders_root, seed) = (body.orders_root, body.seed);
    let (grid, sharing) = (body.grid, body.sharing);
    let terms = market::Terms::new(price(&body.retail), price(&body.feed_in));
    let terms = terms.map_err(StoreFault::damaged)?;
    Ok(SavedClearing { clearing, orders_root, seed, terms, grid, sharing })
}
