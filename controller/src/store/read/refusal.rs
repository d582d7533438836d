//! What was not accepted, and why.

use std::collections::BTreeMap;

use sqlx::Row;

use super::{ReadFault, Reader, damaged};

/// One refused message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusalRow {
    /// Metering point of the topic it came on, when there was one.
    pub point: Option<String>,
    /// Kind of message.
    pub kind: String,
    /// Why it was refused, one of a few words.
    pub reason: String,
    /// The same in a sentence.
    pub detail: String,
    /// When, Unix milliseconds of market time.
    pub time_ms: i64,
}

/// All refusals by reason, and the newest one by one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Refusals {
    /// Count of every reason ever seen.
    pub by_reason: BTreeMap<String, u64>,
    /// The newest, newest first.
    pub recent: Vec<RefusalRow>,
}

impl Reader {
    /// Counts, and the newest `limit` refusals.
    ///
    /// # Errors
    /// [`ReadFault`].
    pub async fn refusals(&self, limit: u32) -> Result<Refusals, ReadFault> {
        let counts: Vec<(String, i64)> =
            sqlx::query_as("SELECT reason, count FROM refusal_count").fetch_all(&self.pool).await?;
        let by_reason = counts
            .into_iter()
            .map(|(reason, count)| match u64::try_from(count) {
                Ok(count) => Ok((reason, count)),
                Err(error) => Err(damaged("refusal_count", reason, error)),
            })
            .collect::<Result<_, _>>()?;
        let rows = sqlx::query(
            "SELECT point, kind, reason, detail, time_ms FROM refusal ORDER BY id DESC LIMIT ?1",
        )
        .bind(limit)
        .fetch_all(&self.pool)
        .await?;
        let recent = rows
            .iter()
            .map(|row| {
                Ok(RefusalRow {
                    point: row.try_get("point")?,
                    kind: row.try_get("kind")?,
                    reason: row.try_get("reason")?,
                    detail: row.try_get("detail")?,
                    time_ms: row.try_get("time_ms")?,
                })
            })
            .collect::<Result<_, ReadFault>>()?;
        Ok(Refusals { by_reason, recent })
    }

    /// How many messages were ever refused.
    ///
    /// # Errors
    /// [`ReadFault`].
    pub async fn refusal_count(&self) -> Result<u64, ReadFault> {
        let total: i64 = sqlx::query_scalar("SELECT COALESCE(SUM(count), 0) FROM refusal_count")
            .fetch_one(&self.pool)
            .await?;
        u64::try_from(total).map_err(|error| damaged("refusal_count", "sum", error))
    }
}
