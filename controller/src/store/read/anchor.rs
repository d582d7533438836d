//! Epochs on their way to the chain.

use std::str::FromStr;

use chain::EpochHeader;
use protocol::{Address, B256};
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::{ReadFault, Reader, damaged, hash, json};
use crate::desk::AnchorDraft;

/// How far an epoch has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum AnchorState {
    /// Written down.
    Queued,
    /// Signed, with a nonce.
    Prepared,
    /// Handed to a node.
    Sent,
    /// In a block that may still be replaced.
    Included,
    /// In a block that stays.
    Final,
    /// Failed; it will be queued again.
    Failed,
}

impl AnchorState {
    /// The word in the record.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Prepared => "prepared",
            Self::Sent => "sent",
            Self::Included => "included",
            Self::Final => "final",
            Self::Failed => "failed",
        }
    }
}

impl FromStr for AnchorState {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        use AnchorState::{Failed, Final, Included, Prepared, Queued, Sent};
        [Queued, Prepared, Sent, Included, Final, Failed]
            .into_iter()
            .find(|state| state.as_str() == text)
            .ok_or_else(|| format!("{text:?} is no state of an anchor"))
    }
}

/// One epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnchorRow {
    /// Slots, log and sums.
    pub draft: AnchorDraft,
    /// Root of the rewards tree.
    pub rewards_root: B256,
    /// What the chain gets, once it is signed.
    pub header: Option<EpochHeader>,
    /// How far it has come.
    pub state: AnchorState,
    /// The transaction, once signed.
    pub tx_hash: Option<B256>,
    /// The block, once final.
    pub block: Option<u64>,
    /// When it was written down, Unix milliseconds of market time.
    pub queued_ms: i64,
    /// When it was seen to be final.
    pub final_ms: Option<i64>,
}

const COLUMNS: &str =
    "seq, header, rewards_root, epoch_header, state, tx_hash, block, queued_ms, final_ms";

impl Reader {
    /// The newest epochs, newest first.
    ///
    /// # Errors
    /// [`ReadFault`].
    pub async fn anchors(
        &self,
        before: Option<u64>,
        limit: u32,
    ) -> Result<Vec<AnchorRow>, ReadFault> {
        let before = before.and_then(|seq| i64::try_from(seq).ok()).unwrap_or(i64::MAX);
        let sql = format!("SELECT {COLUMNS} FROM anchor WHERE seq < ?1 ORDER BY seq DESC LIMIT ?2");
        let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(before)
            .bind(limit)
            .fetch_all(&self.pool)
            .await?;
        rows.iter().map(anchor_row).collect()
    }

    /// One epoch.
    ///
    /// # Errors
    /// [`ReadFault`].
    pub async fn anchor(&self, seq: u64) -> Result<Option<AnchorRow>, ReadFault> {
        let before = seq.saturating_add(1);
        let newest = self.anchors(Some(before), 1).await?.pop();
        Ok(newest.filter(|row| row.draft.seq == seq))
    }

    /// The epoch that contains an entry of the log, in whatever state: the first whose log is longer.
    ///
    /// # Errors
    /// [`ReadFault`].
    pub async fn anchor_of(&self, log_index: u64) -> Result<Option<AnchorRow>, ReadFault> {
        let sql = format!("SELECT {COLUMNS} FROM anchor WHERE log_size > ?1 ORDER BY seq LIMIT 1");
        let row = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(i64::try_from(log_index).unwrap_or(i64::MAX))
            .fetch_optional(&self.pool)
            .await?;
        row.as_ref().map(anchor_row).transpose()
    }

    /// What an account has earned according to the newest rewards root on the chain.
    ///
    /// # Errors
    /// [`ReadFault`].
    pub async fn anchored_reward(&self, account: Address) -> Result<u128, ReadFault> {
        let newest: Option<(i64, String)> = sqlx::query_as(
            "SELECT seq, header FROM anchor WHERE state = 'final' ORDER BY seq DESC LIMIT 1",
        )
        .fetch_optional(&self.pool)
        .await?;
        let Some((seq, text)) = newest else { return Ok(0) };
        let draft: AnchorDraft = json("anchor", seq, &text)?;
        draft.rewards.get(&account).map_or(Ok(0), |earned| {
            earned.parse().map_err(|_| damaged("anchor", seq, format!("{earned:?} is no amount")))
        })
    }
}

fn anchor_row(row: &SqliteRow) -> Result<AnchorRow, ReadFault> {
    let seq: i64 = row.try_get("seq")?;
    let state: String = row.try_get("state")?;
    let draft: String = row.try_get("header")?;
    let header: Option<String> = row.try_get("epoch_header")?;
    let rewards_root: Vec<u8> = row.try_get("rewards_root")?;
    let tx_hash: Option<Vec<u8>> = row.try_get("tx_hash")?;
    let block: Option<i64> = row.try_get("block")?;
    let block = block.map(u64::try_from).transpose().map_err(|why| damaged("anchor", seq, why))?;
    Ok(AnchorRow {
        draft: json("anchor", seq, &draft)?,
        rewards_root: hash("anchor", seq, &rewards_root)?,
        header: header.map(|text| json("anchor", seq, &text)).transpose()?,
        state: state.parse().map_err(|why: String| damaged("anchor", seq, why))?,
        tx_hash: tx_hash.map(|bytes| hash("anchor", seq, &bytes)).transpose()?,
        block,
        queued_ms: row.try_get("queued_ms")?,
        final_ms: row.try_get("final_ms")?,
    })
}
