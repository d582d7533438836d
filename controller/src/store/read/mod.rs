//! Questions to the street's record: everything that the pages, the API and the export show.
//!
//! The connections are read-only and refuse to write (`query_only`), so that no request can ever
//! change what was settled. One file per subject; rows leave as plain structs.

mod allocation;
mod anchor;
mod household;
mod ledger;
mod meter;
mod record;
mod refusal;
mod slot;

use std::path::Path;
use std::time::Duration;

use protocol::B256;
use serde::de::DeserializeOwned;
use sqlx::SqlitePool;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};

pub use allocation::AllocationRow;
pub use anchor::{AnchorRow, AnchorState};
pub use household::{AllTime, AuditRow, StatementRow, VersionRow};
pub use meter::{MeterEventRow, MeterRow};
pub use record::{LogEntry, StoredEpoch, StoredOrder, StoredReading, StoredTransfer};
pub use refusal::{RefusalRow, Refusals};
pub use slot::{Level, SlotRow, SlotSpan};

/// Connections that answer questions; more would only queue inside SQLite's page cache.
const CONNECTIONS: u32 = 4;
/// How long a question waits for a free connection.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub enum ReadFault {
    /// The database does not answer.
    #[error("the database cannot be read: {0}")]
    Sql(#[from] sqlx::Error),
    /// A row is not what the controller writes.
    #[error("the database is damaged: {table} {key}: {why}")]
    Damaged {
        /// The table.
        table: &'static str,
        /// Which row.
        key: String,
        /// What is wrong with it.
        why: String,
    },
}

/// Read-only access to the street's record; clones share the connections.
#[derive(Debug, Clone)]
pub struct Reader {
    pool: SqlitePool,
}

impl Reader {
    /// Opens an existing database.
    ///
    /// # Errors
    /// [`ReadFault::Sql`] when the file does not exist or is no database.
    pub async fn open(path: &Path) -> Result<Self, ReadFault> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .read_only(true)
            .pragma("query_only", "ON")
            .busy_timeout(PATIENCE);
        let pool = SqlitePoolOptions::new()
            .max_connections(CONNECTIONS)
            .acquire_timeout(PATIENCE)
            .connect_with(options)
            .await?;
        Ok(Self { pool })
    }

    /// Whether the database answers at all.
    ///
    /// # Errors
    /// [`ReadFault::Sql`] when it does not.
    pub async fn ping(&self) -> Result<(), ReadFault> {
        sqlx::query("SELECT 1 FROM meta LIMIT 1").fetch_optional(&self.pool).await?;
        Ok(())
    }

    /// Closes all connections.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}

/// A stored JSON text as what it is.
fn json<T: DeserializeOwned>(
    table: &'static str,
    key: impl ToString,
    text: &str,
) -> Result<T, ReadFault> {
    serde_json::from_str(text).map_err(|error| damaged(table, key, error))
}

/// 32 stored bytes.
fn hash(table: &'static str, key: impl ToString, bytes: &[u8]) -> Result<B256, ReadFault> {
    B256::try_from(bytes).map_err(|_| damaged(table, key, "a hash has 32 bytes"))
}

fn damaged(table: &'static str, key: impl ToString, why: impl ToString) -> ReadFault {
    ReadFault::Damaged { table, key: key.to_string(), why: why.to_string() }
}
