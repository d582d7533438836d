//! The durable outbox: what goes to the chain is written here before it is sent.

use chain::{EpochHeader, Fees, TxState};
use protocol::{Address, B256};
use serde::{Deserialize, Serialize};
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::rows::{hash, json, stored, text, unsigned};
use super::{Store, StoreFault};
use crate::desk::AnchorDraft;

/// Which outbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outbox {
    /// Epoch headers.
    Anchor,
    /// Reward claims.
    Claim,
}

impl Outbox {
    const fn table(self) -> &'static str {
        match self {
            Self::Anchor => "anchor",
            Self::Claim => "claim",
        }
    }
}

/// A transaction's way, stored beside its signed bytes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Progress {
    /// Where the rules stand.
    pub state: TxState,
    /// Fees of the newest signed variant.
    pub fees: Fees,
    /// Gas limit of every variant.
    pub gas_limit: u64,
}

/// A signed transaction in the outbox.
#[derive(Debug, Clone)]
pub struct Posted {
    /// Nonce it uses.
    pub nonce: u64,
    /// The signed bytes.
    pub raw: Vec<u8>,
    /// Its hash.
    pub tx_hash: B256,
    /// How far it is.
    pub progress: Progress,
}

/// An epoch in the outbox.
#[derive(Debug)]
pub struct PendingAnchor {
    /// The epoch.
    pub draft: AnchorDraft,
    /// The header that was signed, when one was.
    pub epoch_header: Option<EpochHeader>,
    /// Its transaction, when one was signed.
    pub posted: Option<Posted>,
}

/// A claim in the outbox.
#[derive(Debug)]
pub struct PendingClaim {
    /// Number of the claim.
    pub seq: u64,
    /// Who is paid.
    pub account: Address,
    /// Rewards since the beginning, 10⁻¹⁸ tokens.
    pub cumulative: u128,
    /// Epoch whose tree proves it.
    pub anchor_seq: u64,
    /// Its transaction, when one was signed.
    pub posted: Option<Posted>,
}

impl Store {
    /// The oldest epoch that is not final.
    ///
    /// # Errors
    /// [`StoreFault`].
    pub async fn pending_anchor(&mut self) -> Result<Option<PendingAnchor>, StoreFault> {
        let row = sqlx::query("SELECT * FROM anchor WHERE state <> 'final' ORDER BY seq LIMIT 1")
            .fetch_optional(&mut self.connection)
            .await?;
        let Some(row) = row else { return Ok(None) };
        let written: Option<String> = row.try_get("epoch_header")?;
        let epoch_header =
            written.map(|_| json::<EpochHeader>(&row, "epoch_header")).transpose()?;
        Ok(Some(PendingAnchor {
            draft: json(&row, "header")?,
            epoch_header,
            posted: posted(&row)?,
        }))
    }

    /// An epoch by number.
    ///
    /// # Errors
    /// [`StoreFault`].
    pub async fn anchor_draft(&mut self, seq: u64) -> Result<Option<AnchorDraft>, StoreFault> {
        let row = sqlx::query("SELECT header FROM anchor WHERE seq = ?")
            .bind(stored(seq))
            .fetch_optional(&mut self.connection)
            .await?;
        row.map(|row| json(&row, "header")).transpose()
    }

    /// The newest final epoch.
    ///
    /// # Errors
    /// [`StoreFault`].
    pub async fn newest_final_anchor(&mut self) -> Result<Option<AnchorDraft>, StoreFault> {
        let row = sqlx::query(
            "SELECT header FROM anchor WHERE state = 'final' ORDER BY seq DESC LIMIT 1",
        )
        .fetch_optional(&mut self.connection)
        .await?;
        row.map(|row| json(&row, "header")).transpose()
    }

    /// Hash of the header of an epoch that was signed.
    ///
    /// # Errors
    /// [`StoreFault`].
    pub async fn anchor_hash(&mut self, seq: u64) -> Result<Option<B256>, StoreFault> {
        let row =
            sqlx::query("SELECT header_hash FROM anchor WHERE seq = ? AND header_hash IS NOT NULL")
                .bind(stored(seq))
                .fetch_optional(&mut self.connection)
                .await?;
        row.map(|row| hash(&row, "header_hash")).transpose()
    }

    /// Writes the header that is about to be signed.
    ///
    /// # Errors
    /// [`StoreFault`].
    pub async fn set_epoch_header(&mut self, header: &EpochHeader) -> Result<(), StoreFault> {
        sqlx::query("UPDATE anchor SET epoch_header = ?, header_hash = ? WHERE seq = ?")
            .bind(text(header))
            .bind(header.hash().to_vec())
            .bind(stored(header.seq))
            .execute(&mut self.connection)
            .await?;
        Ok(())
    }

    /// Queues a claim, unless one of the account is on its way or has claimed as much.
    ///
    /// # Errors
    /// [`StoreFault`].
    pub async fn queue_claim(
        &mut self,
        account: Address,
        cumulative: u128,
        anchor_seq: u64,
        now_ms: i64,
    ) -> Result<bool, StoreFault> {
        let queued = sqlx::query(
            "INSERT INTO claim (account, cumulative, anchor_seq, state, queued_ms) \
             SELECT ?1, ?2, ?3, 'queued', ?4 WHERE NOT EXISTS (SELECT 1 FROM claim \
             WHERE account = ?1 AND (state <> 'final' OR cumulative = ?2))",
        )
        .bind(account.to_string())
        .bind(cumulative.to_string())
        .bind(stored(anchor_seq))
        .bind(now_ms)
        .execute(&mut self.connection)
        .await?;
        Ok(queued.rows_affected() > 0)
    }

    /// The oldest claim that is not final.
    ///
    /// # Errors
    /// [`StoreFault`].
    pub async fn pending_claim(&mut self) -> Result<Option<PendingClaim>, StoreFault> {
        let row = sqlx::query("SELECT * FROM claim WHERE state <> 'final' ORDER BY seq LIMIT 1")
            .fetch_optional(&mut self.connection)
            .await?;
        let Some(row) = row else { return Ok(None) };
        let account: String = row.try_get("account")?;
        let cumulative: String = row.try_get("cumulative")?;
        Ok(Some(PendingClaim {
            seq: unsigned(&row, "seq")?,
            account: account.parse().map_err(StoreFault::damaged)?,
            cumulative: cumulative.parse().map_err(StoreFault::damaged)?,
            anchor_seq: unsigned(&row, "anchor_seq")?,
            posted: posted(&row)?,
        }))
    }

    /// Writes a signed transaction; must be done before it is sent.
    ///
    /// # Errors
    /// [`StoreFault`].
    pub async fn post(
        &mut self,
        table: Outbox,
        seq: u64,
        posted: &Posted,
    ) -> Result<(), StoreFault> {
        let sql = format!(
            "UPDATE {} SET state = ?, nonce = ?, raw = ?, tx_hash = ?, progress = ?, \
             attempts = attempts + 1, error = NULL WHERE seq = ?",
            table.table()
        );
        sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(state_word(posted.progress.state))
            .bind(stored(posted.nonce))
            .bind(&posted.raw)
            .bind(posted.tx_hash.to_vec())
            .bind(text(&posted.progress))
            .bind(stored(seq))
            .execute(&mut self.connection)
            .await?;
        Ok(())
    }

    /// Writes how far a transaction is.
    ///
    /// # Errors
    /// [`StoreFault`].
    pub async fn progress(
        &mut self,
        table: Outbox,
        seq: u64,
        progress: &Progress,
        block: Option<u64>,
        final_ms: Option<i64>,
    ) -> Result<(), StoreFault> {
        let sql = format!(
            "UPDATE {} SET state = ?, progress = ?, block = COALESCE(?, block), final_ms = ? \
             WHERE seq = ?",
            table.table()
        );
        sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(state_word(progress.state))
            .bind(text(progress))
            .bind(block.map(stored))
            .bind(final_ms)
            .bind(stored(seq))
            .execute(&mut self.connection)
            .await?;
        Ok(())
    }

    /// Puts a failed transaction back to the start of its way, with the reason.
    ///
    /// # Errors
    /// [`StoreFault`].
    pub async fn requeue(
        &mut self,
        table: Outbox,
        seq: u64,
        error: &str,
    ) -> Result<(), StoreFault> {
        let sql = format!(
            "UPDATE {} SET state = 'queued', nonce = NULL, raw = NULL, tx_hash = NULL, \
             progress = NULL, error = ? WHERE seq = ?",
            table.table()
        );
        sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(error)
            .bind(stored(seq))
            .execute(&mut self.connection)
            .await?;
        Ok(())
    }
}

const fn state_word(state: TxState) -> &'static str {
    match state {
        TxState::Prepared => "prepared",
        TxState::Sent { .. } => "sent",
        TxState::Included { .. } => "included",
        TxState::Final => "final",
        TxState::Failed { .. } => "failed",
    }
}

fn posted(row: &SqliteRow) -> Result<Option<Posted>, StoreFault> {
    let written: Option<String> = row.try_get("progress")?;
    if written.is_none() {
        return Ok(None);
    }
    Ok(Some(Posted {
        nonce: unsigned(row, "nonce")?,
        raw: row.try_get("raw")?,
        tx_hash: hash(row, "tx_hash")?,
        progress: json(row, "progress")?,
    }))
}
