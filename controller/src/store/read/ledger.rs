//! Balances of the ledger.

use std::collections::BTreeMap;

use units::{Money, Slot};

use super::{ReadFault, Reader};

impl Reader {
    /// Every account's balance (credits minus debits) after a slot; together they are zero.
    ///
    /// # Errors
    /// [`ReadFault`].
    pub async fn balances(&self, until: Slot) -> Result<BTreeMap<String, Money>, ReadFault> {
        let rows: Vec<(String, i64)> = sqlx::query_as(
            "SELECT account, SUM(change) FROM (\
             SELECT credit AS account, amount AS change FROM transfer WHERE slot <= ?1 \
             UNION ALL SELECT debit, -amount FROM transfer WHERE slot <= ?1) GROUP BY account",
        )
        .bind(until.number())
        .fetch_all(&self.pool)
        .await?;
        Ok(rows.into_iter().map(|(account, nano)| (account, Money::from_nano(nano))).collect())
    }
}
