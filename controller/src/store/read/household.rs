//! Households: their bills, what their own agents found, and their meters.

use protocol::Statement;
use serde::Deserialize;
use serde_json::Value;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;
use units::{Energy, Money, PointId, Price, Slot};

use super::slot::epoch_of;
use super::{ReadFault, Reader, damaged, json};

/// One household's bill for one slot, with all that the pages say about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatementRow {
    /// The bill as the household has it.
    pub statement: Statement,
    /// The supplier's price in the slot.
    pub retail: Price,
    /// What the supplier paid.
    pub feed_in: Price,
    /// What the same energy costs with the supplier alone.
    pub alone: Money,
    /// Position of the slot's header in the log.
    pub log_index: u64,
    /// What the household's agent found.
    pub audit: Option<AuditRow>,
    /// The final epoch on the chain that contains the slot.
    pub anchored_seq: Option<u64>,
}

/// One settlement of a slot, as a household has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionRow {
    /// The bill.
    pub statement: Statement,
    /// Meters that were missing in it, of all households.
    pub missing: u32,
    /// Position of its header in the log.
    pub log_index: u64,
    /// The slot with or before whose first settlement it was entered; none while that is to come.
    pub found_in: Option<Slot>,
    /// When it was settled, Unix milliseconds of market time.
    pub time_ms: i64,
}

/// A household's own verdict on a bill.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditRow {
    /// Whether everything held.
    pub verified: bool,
    /// What did not; empty when verified.
    pub reason: String,
    /// When, Unix milliseconds of market time.
    pub time_ms: i64,
}

/// Everything ever settled with one household.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AllTime {
    /// Settled slots.
    pub slots: u64,
    /// Metered import.
    pub import: Energy,
    /// Metered export.
    pub export: Energy,
    /// Bought in auctions.
    pub bought: Energy,
    /// Sold in auctions.
    pub sold: Energy,
    /// Sum of the bills; positive = has paid.
    pub amount: Money,
    /// What the same energy would have cost with the supplier alone.
    pub alone: Money,
    /// Energy that earned rewards.
    pub reward: Energy,
}

impl StatementRow {
    /// The part of the metered import that came from neighbours: what was bought and used, and what
    /// was matched beyond that.
    #[must_use]
    pub fn local_import(&self) -> Energy {
        if let Some([taken_wh, _]) = self.shared() {
            return Energy::from_wh(taken_wh);
        }
        let Statement { import_wh, import_deviation_wh, import_local_wh, .. } = self.statement;
        Energy::from_wh(local_part(import_wh, import_deviation_wh, import_local_wh))
    }

    /// The part of the metered export that neighbours used.
    #[must_use]
    pub fn local_export(&self) -> Energy {
        if let Some([_, given_wh]) = self.shared() {
            return Energy::from_wh(given_wh);
        }
        // The export leg is long when more was fed in than sold, so its sign is the other one.
        let Statement { export_wh, export_deviation_wh, export_local_wh, .. } = self.statement;
        Energy::from_wh(local_part(export_wh, -export_deviation_wh, export_local_wh))
    }
}

impl StatementRow {
    /// Import from and export to neighbours where law or rule say so, Wh.
    fn shared(&self) -> Option<[i64; 2]> {
        let line = self.statement.sharing.first()?;
        let legal = line.legal.first().map(|legal| [legal.taken_wh, legal.given_wh]);
        // Without a key and a rule, everything is the supplier's.
        legal.or_else(|| (line.rule == "none").then_some([0, 0]))
    }
}

/// What is metered, less what went beyond the schedule and was not matched either.
fn local_part(metered_wh: i64, beyond_wh: i64, matched_wh: i64) -> i64 {
    if beyond_wh > 0 { metered_wh - beyond_wh + matched_wh } else { metered_wh }
}

/// The part of a stored delivery that a row needs.
#[derive(Deserialize)]
struct Slip {
    statement: Statement,
    header: HeaderSlip,
}

#[derive(Deserialize)]
struct HeaderSlip {
    index: u64,
    missing: u32,
    time_ms: i64,
    retail: i64,
    feed_in: i64,
}

const SELECT_STATEMENT: &str = "SELECT s.slot, s.point, s.delivery, s.alone, a.verified, a.reason, \
     a.time_ms FROM bill s LEFT JOIN audit a \
     ON a.slot = s.slot AND a.point = s.point AND a.version = s.version";

impl Reader {
    /// A household's newest statements before `before` (all when absent), newest first.
    ///
    /// # Errors
    /// [`ReadFault`].
    pub async fn statements(
        &self,
        point: &PointId,
        before: Option<Slot>,
        limit: u32,
    ) -> Result<Vec<StatementRow>, ReadFault> {
        let sql = format!(
            "{SELECT_STATEMENT} WHERE s.point = ?1 AND s.slot < ?2 ORDER BY s.slot DESC LIMIT ?3"
        );
        let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(point.as_str())
            .bind(before.map_or(i64::MAX, Slot::number))
            .bind(limit)
            .fetch_all(&self.pool)
            .await?;
        self.statement_rows(&rows).await
    }

    /// All households' statements of the slots from `first` to `last`.
    ///
    /// # Errors
    /// [`ReadFault`].
    pub async fn statements_between(
        &self,
        first: Slot,
        last: Slot,
    ) -> Result<Vec<StatementRow>, ReadFault> {
        let sql =
            format!("{SELECT_STATEMENT} WHERE s.slot BETWEEN ?1 AND ?2 ORDER BY s.slot, s.point");
        let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(first.number())
            .bind(last.number())
            .fetch_all(&self.pool)
            .await?;
        self.statement_rows(&rows).await
    }

    async fn statement_rows(&self, rows: &[SqliteRow]) -> Result<Vec<StatementRow>, ReadFault> {
        let mut statements = rows.iter().map(statement_row).collect::<Result<Vec<_>, _>>()?;
        let entries = statements.iter().map(|row| row.log_index);
        let epochs = self.final_epochs(entries).await?;
        for row in &mut statements {
            row.anchored_seq = epoch_of(&epochs, row.log_index);
        }
        Ok(statements)
    }

    /// All versions of a household's bills for the slots from `first` to `last` that were settled
    /// more than once, by slot and version.
    ///
    /// # Errors
    /// [`ReadFault`].
    pub async fn versions(
        &self,
        point: &PointId,
        first: Slot,
        last: Slot,
    ) -> Result<Vec<VersionRow>, ReadFault> {
        let rows = sqlx::query(
            "SELECT s.slot, s.delivery, (SELECT MIN(slot) FROM header WHERE version = 1 \
             AND log_index >= s.log_index) AS found_in FROM statement s WHERE s.point = ?1 AND s.slot BETWEEN ?2 \
             AND ?3 AND EXISTS (SELECT 1 FROM statement n \
             WHERE n.slot = s.slot AND n.point = s.point AND n.version > 1) \
             ORDER BY s.slot, s.version",
        )
        .bind(point.as_str())
        .bind(first.number())
        .bind(last.number())
        .fetch_all(&self.pool)
        .await?;
        rows.iter()
            .map(|row| {
                let slot: i64 = row.try_get("slot")?;
                let delivery: String = row.try_get("delivery")?;
                let slip: Slip = json("statement", format!("{slot} {point}"), &delivery)?;
                let HeaderSlip { index, missing, time_ms, .. } = slip.header;
                let (statement, log_index) = (slip.statement, index);
                let found_in: Option<i64> = row.try_get("found_in")?;
                let found_in = found_in.map(Slot::new);
                Ok(VersionRow { statement, missing, log_index, found_in, time_ms })
            })
            .collect()
    }

    /// What was sent to a household for one slot: one of its versions, or the newest.
    ///
    /// # Errors
    /// [`ReadFault`].
    pub async fn delivery(
        &self,
        point: &PointId,
        slot: Slot,
        version: Option<u32>,
    ) -> Result<Option<Value>, ReadFault> {
        let text: Option<String> = sqlx::query_scalar(
            "SELECT delivery FROM statement WHERE slot = ?1 AND point = ?2 \
             AND (?3 IS NULL OR version = ?3) ORDER BY version DESC LIMIT 1",
        )
        .bind(slot.number())
        .bind(point.as_str())
        .bind(version)
        .fetch_optional(&self.pool)
        .await?;
        text.map(|text| json("statement", format!("{} {point}", slot.number()), &text)).transpose()
    }

    /// Everything ever settled with one household, from sums that the database makes.
    ///
    /// # Errors
    /// [`ReadFault`].
    pub async fn all_time(&self, point: &PointId) -> Result<AllTime, ReadFault> {
        let row = sqlx::query(
            "SELECT COUNT(*) AS slots, COALESCE(SUM(import_wh), 0) AS import_wh, \
             COALESCE(SUM(export_wh), 0) AS export_wh, COALESCE(SUM(bought_wh), 0) AS bought_wh, \
             COALESCE(SUM(sold_wh), 0) AS sold_wh, COALESCE(SUM(amount), 0) AS amount, \
             COALESCE(SUM(reward_wh), 0) AS reward_wh, \
             COALESCE(SUM(alone), 0) AS alone FROM bill WHERE point = ?1",
        )
        .bind(point.as_str())
        .fetch_one(&self.pool)
        .await?;
        let energy = |name: &str| row.try_get(name).map(Energy::from_wh);
        let money = |name: &str| row.try_get(name).map(Money::from_nano);
        let slots: i64 = row.try_get("slots")?;
        Ok(AllTime {
            slots: u64::try_from(slots).map_err(|why| damaged("statement", point, why))?,
            import: energy("import_wh")?,
            export: energy("export_wh")?,
            bought: energy("bought_wh")?,
            sold: energy("sold_wh")?,
            amount: money("amount")?,
            alone: money("alone")?,
            reward: energy("reward_wh")?,
        })
    }
}

fn statement_row(row: &SqliteRow) -> Result<StatementRow, ReadFault> {
    let slot: i64 = row.try_get("slot")?;
    let point: String = row.try_get("point")?;
    let delivery: String = row.try_get("delivery")?;
    let slip: Slip = json("statement", format!("{slot} {point}"), &delivery)?;
    let verified: Option<bool> = row.try_get("verified")?;
    let audit = match verified {
        None => None,
        Some(verified) => Some(AuditRow {
            verified,
            reason: row.try_get("reason")?,
            time_ms: row.try_get("time_ms")?,
        }),
    };
    Ok(StatementRow {
        statement: slip.statement,
        retail: Price::from_nano_per_wh(slip.header.retail),
        feed_in: Price::from_nano_per_wh(slip.header.feed_in),
        alone: Money::from_nano(row.try_get("alone")?),
        log_index: slip.header.index,
        audit,
        anchored_seq: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `[metered, bought or sold, matched]` of a leg and the part of it that was local.
    #[test]
    fn local_and_grid_parts_of_a_leg_add_up_to_what_was_metered() {
        for (metered, scheduled, matched, local) in [
            (500, 300, 0, 300),
            (500, 300, 150, 450),
            (500, 500, 0, 500),
            (200, 300, 40, 200),
            (500, 0, 0, 0),
        ] {
            assert_eq!(local_part(metered, metered - scheduled, matched), local);
        }
    }
}
