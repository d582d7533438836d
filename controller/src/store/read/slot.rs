//! Slots: cleared, settled, anchored.

use std::collections::BTreeMap;

use market::{LadderCounts, Nodal, Rung};
use protocol::{Header, Side};
use serde_json::Value;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;
use units::{Energy, Money, Price, Slot};

use super::super::rows::rung;
use super::{ReadFault, Reader, damaged, json};

/// One slot after its auction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotRow {
    /// The slot.
    pub slot: Slot,
    /// The supplier's price.
    pub retail: Price,
    /// What the supplier pays.
    pub feed_in: Price,
    /// Clearing price, when something was traded.
    pub price: Option<Price>,
    /// Lowest and highest market-clearing price.
    pub interval: Option<(Price, Price)>,
    /// Orders in the book.
    pub orders: u32,
    /// Energy traded.
    pub cleared: Energy,
    /// How the result was found.
    pub method: String,
    /// Which rung of the ladder found it.
    pub rung: Rung,
    /// The signed header, once the slot is settled.
    pub header: Option<Header>,
    /// What the metered plants produced; none when no production is metered at both edges.
    pub produced: Option<Energy>,
    /// The final epoch on the chain that contains the slot.
    pub anchored_seq: Option<u64>,
}

/// Sums over a range of settled slots.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SlotSpan {
    /// Settled slots in the range.
    pub slots: u32,
    /// Metered import.
    pub import: Energy,
    /// Metered export.
    pub export: Energy,
    /// Export that neighbours used.
    pub local: Energy,
    /// What the supplier got, less what it paid.
    pub supplier: Money,
    /// Energy that earned rewards.
    pub reward: Energy,
}

/// All orders of one side at one limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Level {
    /// The limit.
    pub price: Price,
    /// Energy ordered at exactly this limit.
    pub quantity: Energy,
}

const SELECT_SLOT: &str = "SELECT c.slot, c.cleared_wh, c.price, c.price_low, c.price_high, \
     c.retail, c.feed_in, c.orders, c.method, c.rung, h.header, \
     (SELECT SUM(n.produced_wh - b.produced_wh) FROM reading n \
      JOIN reading b ON b.slot = n.slot - 1 AND b.point = n.point AND b.epoch = n.epoch \
      WHERE n.slot = c.slot AND n.quarantine IS NULL AND b.quarantine IS NULL) AS produced_wh \
     FROM clearing c LEFT JOIN newest_header h ON h.slot = c.slot";

impl Reader {
    /// Slots before `before` (all when absent), newest first, at most `limit`.
    ///
    /// # Errors
    /// [`ReadFault`].
    pub async fn slots(&self, before: Option<Slot>, limit: u32) -> Result<Vec<SlotRow>, ReadFault> {
        let before = before.map_or(i64::MAX, Slot::number);
        let sql = format!("{SELECT_SLOT} WHERE c.slot < ?1 ORDER BY c.slot DESC LIMIT ?2");
        let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(before)
            .bind(limit)
            .fetch_all(&self.pool)
            .await?;
        let mut slots = rows.iter().map(slot_row).collect::<Result<Vec<_>, _>>()?;
        self.mark_anchored(&mut slots).await?;
        Ok(slots)
    }

    /// One slot, when its auction is over.
    ///
    /// # Errors
    /// [`ReadFault`].
    pub async fn slot(&self, slot: Slot) -> Result<Option<SlotRow>, ReadFault> {
        let sql = format!("{SELECT_SLOT} WHERE c.slot = ?1");
        let row = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(slot.number())
            .fetch_optional(&self.pool)
            .await?;
        let Some(row) = row else { return Ok(None) };
        let mut slots = vec![slot_row(&row)?];
        self.mark_anchored(&mut slots).await?;
        Ok(slots.pop())
    }

    async fn mark_anchored(&self, slots: &mut [SlotRow]) -> Result<(), ReadFault> {
        let index = |row: &SlotRow| row.header.as_ref().map(|header| header.index);
        let epochs = self.final_epochs(slots.iter().filter_map(index)).await?;
        for row in slots {
            row.anchored_seq = index(row).and_then(|index| epoch_of(&epochs, index));
        }
        Ok(())
    }

    /// (size of the log → seq) of the final epochs that contain one of these entries of the log.
    pub(super) async fn final_epochs(
        &self,
        entries: impl Iterator<Item = u64> + Clone,
    ) -> Result<BTreeMap<u64, u64>, ReadFault> {
        let (Some(first), Some(last)) = (entries.clone().min(), entries.max()) else {
            return Ok(BTreeMap::new());
        };
        let rows: Vec<(i64, i64)> = sqlx::query_as(
            "SELECT log_size, seq FROM anchor WHERE state = 'final' AND log_size > ?1 AND log_size \
             <= (SELECT COALESCE(MIN(log_size), ?2) FROM anchor WHERE log_size > ?2)",
        )
        .bind(i64::try_from(first).unwrap_or(i64::MAX))
        .bind(i64::try_from(last).unwrap_or(i64::MAX))
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter()
            .map(|(log_size, seq)| {
                let count = |value: i64| {
                    u64::try_from(value).map_err(|error| damaged("anchor", seq, error))
                };
                Ok((count(log_size)?, count(seq)?))
            })
            .collect()
    }

    /// The newest settled slot.
    ///
    /// # Errors
    /// [`ReadFault`].
    pub async fn last_settled(&self) -> Result<Option<Slot>, ReadFault> {
        let newest: Option<i64> =
            sqlx::query_scalar("SELECT MAX(slot) FROM header").fetch_one(&self.pool).await?;
        Ok(newest.map(Slot::new))
    }

    /// The newest header of a settled slot.
    ///
    /// # Errors
    /// [`ReadFault`].
    pub async fn header(&self, slot: Slot) -> Result<Option<Header>, ReadFault> {
        let text: Option<String> =
            sqlx::query_scalar("SELECT header FROM newest_header WHERE slot = ?1")
                .bind(slot.number())
                .fetch_optional(&self.pool)
                .await?;
        text.map(|text| json("header", slot.number(), &text)).transpose()
    }

    /// Headers of all settlements of a slot, the first one first.
    ///
    /// # Errors
    /// [`ReadFault`].
    pub async fn headers(&self, slot: Slot) -> Result<Vec<Header>, ReadFault> {
        let texts: Vec<String> =
            sqlx::query_scalar("SELECT header FROM header WHERE slot = ?1 ORDER BY version")
                .bind(slot.number())
                .fetch_all(&self.pool)
                .await?;
        texts.iter().map(|text| json("header", slot.number(), text)).collect()
    }

    /// Sums over the settled slots from `first` to `last`.
    ///
    /// # Errors
    /// [`ReadFault`].
    pub async fn span(&self, first: Slot, last: Slot) -> Result<SlotSpan, ReadFault> {
        let headers: Vec<(i64, String)> =
            sqlx::query_as("SELECT slot, header FROM newest_header WHERE slot BETWEEN ?1 AND ?2")
                .bind(first.number())
                .bind(last.number())
                .fetch_all(&self.pool)
                .await?;
        let mut span = SlotSpan::default();
        for (slot, text) in headers {
            let header: Header = json("header", slot, &text)?;
            span.slots += 1;
            span.import += Energy::from_wh(header.totals.import_wh);
            span.export += Energy::from_wh(header.totals.export_wh);
            span.local += Energy::from_wh(header.totals.local_wh);
            span.reward += Energy::from_wh(header.totals.reward_wh);
        }
        let supplier: i64 = sqlx::query_scalar(
            "SELECT COALESCE((SELECT SUM(amount) FROM transfer \
                 WHERE credit = 'supplier' AND slot BETWEEN ?1 AND ?2), 0) \
             - COALESCE((SELECT SUM(amount) FROM transfer \
                 WHERE debit = 'supplier' AND slot BETWEEN ?1 AND ?2), 0)",
        )
        .bind(first.number())
        .bind(last.number())
        .fetch_one(&self.pool)
        .await?;
        span.supplier = Money::from_nano(supplier);
        Ok(span)
    }

    /// Which rungs answered the slots from `first` to `last`.
    ///
    /// # Errors
    /// [`ReadFault`].
    pub async fn ladder(&self, first: Slot, last: Slot) -> Result<LadderCounts, ReadFault> {
        let rungs: Vec<(String, i64)> = sqlx::query_as(
            "SELECT rung, COUNT(*) FROM clearing WHERE slot BETWEEN ?1 AND ?2 GROUP BY rung",
        )
        .bind(first.number())
        .bind(last.number())
        .fetch_all(&self.pool)
        .await?;
        ladder_counts(&rungs)
    }

    /// Which rungs answered all slots ever.
    ///
    /// # Errors
    /// [`ReadFault`].
    pub async fn ladder_ever(&self) -> Result<LadderCounts, ReadFault> {
        // The index alone answers this.
        let rungs: Vec<(String, i64)> =
            sqlx::query_as("SELECT rung, COUNT(*) FROM clearing GROUP BY rung")
                .fetch_all(&self.pool)
                .await?;
        ladder_counts(&rungs)
    }

    /// The book of a slot by price level: bids dearest first, asks cheapest first.
    ///
    /// Only for cleared slots: orders are sealed until the gate closes.
    ///
    /// # Errors
    /// [`ReadFault`].
    pub async fn levels(&self, slot: Slot) -> Result<(Vec<Level>, Vec<Level>), ReadFault> {
        let rows: Vec<(String, i64, i64)> = sqlx::query_as(
            "SELECT side, limit_nano, quantity_wh FROM level WHERE slot = ?1 ORDER BY limit_nano",
        )
        .bind(slot.number())
        .fetch_all(&self.pool)
        .await?;
        let (mut bids, mut asks) = (Vec::new(), Vec::new());
        for (side, limit, quantity) in rows {
            let level = Level {
                price: Price::from_nano_per_wh(limit),
                quantity: Energy::from_wh(quantity),
            };
            match side.parse::<Side>() {
                Ok(Side::Buy) => bids.push(level),
                Ok(Side::Sell) => asks.push(level),
                Err(why) => return Err(damaged("level", slot.number(), why)),
            }
        }
        bids.reverse();
        Ok((bids, asks))
    }

    /// The signed clearing of a slot, as it was published.
    ///
    /// # Errors
    /// [`ReadFault`].
    pub async fn clearing(&self, slot: Slot) -> Result<Option<Value>, ReadFault> {
        let text: Option<String> =
            sqlx::query_scalar("SELECT message FROM clearing WHERE slot = ?1")
                .bind(slot.number())
                .fetch_optional(&self.pool)
                .await?;
        text.map(|text| json("clearing", slot.number(), &text)).transpose()
    }

    /// Prices by node and flows by branch of a slot that was cleared on a grid.
    ///
    /// # Errors
    /// [`ReadFault`].
    pub async fn nodal(&self, slot: Slot) -> Result<Option<Nodal>, ReadFault> {
        let text: Option<Option<String>> =
            sqlx::query_scalar("SELECT nodal FROM clearing WHERE slot = ?1")
                .bind(slot.number())
                .fetch_optional(&self.pool)
                .await?;
        text.flatten().map(|text| json("clearing", slot.number(), &text)).transpose()
    }

    /// The signed checkpoint of a slot's newest settlement.
    ///
    /// # Errors
    /// [`ReadFault`].
    pub async fn checkpoint(&self, slot: Slot) -> Result<Option<Value>, ReadFault> {
        let text: Option<String> =
            sqlx::query_scalar("SELECT checkpoint FROM newest_header WHERE slot = ?1")
                .bind(slot.number())
                .fetch_optional(&self.pool)
                .await?;
        text.map(|text| json("header", slot.number(), &text)).transpose()
    }
}

fn ladder_counts(rungs: &[(String, i64)]) -> Result<LadderCounts, ReadFault> {
    let mut counts = LadderCounts::default();
    for (word, count) in rungs {
        let count = u64::try_from(*count).unwrap_or_default();
        *match rung_of("all", word)? {
            Rung::Lp => &mut counts.lp,
            Rung::Exact => &mut counts.exact,
            Rung::Envelopes => &mut counts.envelopes,
            Rung::Shared => &mut counts.shared,
        } = count;
    }
    Ok(counts)
}

fn rung_of(slot: impl ToString, word: &str) -> Result<Rung, ReadFault> {
    rung(word).ok_or_else(|| damaged("clearing", slot, format!("{word:?} is no rung")))
}

/// The epoch that contains an entry of the log: the first whose log is longer.
pub(super) fn epoch_of(epochs: &BTreeMap<u64, u64>, index: u64) -> Option<u64> {
    epochs.range(index + 1..).next().map(|(_, &seq)| seq)
}

fn slot_row(row: &SqliteRow) -> Result<SlotRow, ReadFault> {
    let number: i64 = row.try_get("slot")?;
    let price = |name: &str| -> Result<Option<Price>, sqlx::Error> {
        Ok(row.try_get::<Option<i64>, _>(name)?.map(Price::from_nano_per_wh))
    };
    let header: Option<String> = row.try_get("header")?;
    let produced: Option<i64> = row.try_get("produced_wh")?;
    Ok(SlotRow {
        slot: Slot::new(number),
        retail: Price::from_nano_per_wh(row.try_get("retail")?),
        feed_in: Price::from_nano_per_wh(row.try_get("feed_in")?),
        price: price("price")?,
        interval: price("price_low")?.zip(price("price_high")?),
        orders: row.try_get("orders")?,
        cleared: Energy::from_wh(row.try_get("cleared_wh")?),
        method: row.try_get("method")?,
        rung: rung_of(number, &row.try_get::<String, _>("rung")?)?,
        header: header.map(|text| json("header", number, &text)).transpose()?,
        produced: produced.map(Energy::from_wh),
        anchored_seq: None,
    })
}
