//! The record on disk: SQLite, one writer, one transaction per step.
//!
//! The only room that knows SQL. SQLite is bundled, because versions before 3.51.3 can corrupt a
//! write-ahead log, and `synchronous` is FULL, because anything less loses acknowledged commits when
//! the power fails.

pub mod outbox;
pub mod read;
mod restore;
mod rows;
mod write;

pub(crate) use write::reason as transfer_reason;

use std::path::{Path, PathBuf};
use std::str::FromStr;

use protocol::Address;
use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteLockingMode, SqliteSynchronous,
};
use sqlx::{ConnectOptions, Connection, Row, SqlSafeStr};
use units::{CommunityId, Slot};

use crate::rules::{StreetGrid, StreetSharing};

/// Oldest SQLite whose write-ahead log is sound.
const OLDEST_SQLITE: [u32; 3] = [3, 51, 3];
/// How long a lock of another process is waited for.
const BUSY_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(5);

/// Why the record cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreFault {
    /// The database refused or failed.
    #[error("database: {0}")]
    Database(#[from] sqlx::Error),
    /// The schema could not be brought up to date.
    #[error("database schema: {0}")]
    Schema(#[from] sqlx::migrate::MigrateError),
    /// The record is of a controller from before versioned settlements.
    #[error(
        "{}: the record was written by an older controller, whose settlements have no versions; keep \
         the folder for its history and start with another data_dir",
        path.display()
    )]
    Outdated {
        /// The database.
        path: PathBuf,
    },
    /// The record is of a controller from before readings told of events.
    #[error(
        "{}: the record was written by an older controller, whose readings are signed in an older \
         form that cannot be checked any more; keep the folder for its history and start with \
         another data_dir",
        path.display()
    )]
    OldReadings {
        /// The database.
        path: PathBuf,
    },
    /// The library linked in is too old.
    #[error("SQLite {0} can corrupt a write-ahead log; 3.51.3 or newer is needed")]
    OldSqlite(String),
    /// Another process has the record open.
    #[error("{} is in use by another controller ({reason}); stop it first", path.display())]
    InUse {
        /// The lock file.
        path: PathBuf,
        /// The system's reason.
        reason: std::io::Error,
    },
    /// The record belongs to someone else.
    #[error("{}: the record is of {found}, not of {expected}; use another data_dir", path.display())]
    Foreign {
        /// The database.
        path: PathBuf,
        /// Who it belongs to.
        found: String,
        /// Who it should belong to.
        expected: String,
    },
    /// A row does not make sense.
    #[error("the record is damaged: {0}; restore it from a backup")]
    Damaged(String),
}

impl StoreFault {
    fn damaged(what: impl std::fmt::Display) -> Self {
        Self::Damaged(what.to_string())
    }
}

/// The writer: the only connection that changes the record.
pub struct Store {
    connection: SqliteConnection,
    path: PathBuf,
    /// Held for as long as the store is open; the system drops it with the process.
    _lock: std::fs::File,
}

/// Connection options that every reader and writer of a record uses.
fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::from_str("sqlite://")
        .expect("a constant")
        .filename(path)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .locking_mode(SqliteLockingMode::Normal)
        .busy_timeout(BUSY_TIMEOUT)
        .foreign_keys(true)
        .disable_statement_logging()
}

impl Store {
    /// Opens the record, creating it when it is new, and takes the lock that keeps a second
    /// controller out.
    ///
    /// # Errors
    /// [`StoreFault`]: in use, damaged, foreign, or the system's refusal.
    pub async fn open(
        path: &Path,
        community: &CommunityId,
        operator: Address,
    ) -> Result<Self, StoreFault> {
        let lock = lock(path)?;
        let mut connection = options(path).create_if_missing(true).connect().await?;
        check_version(&mut connection).await?;
        check_readings(&mut connection, path).await?;
        migrations().run(&mut connection).await.map_err(|fault| match fault {
            MigrateError::VersionMismatch(_) => StoreFault::Outdated { path: path.to_owned() },
            other => other.into(),
        })?;
        let mut store = Self { connection, path: path.to_owned(), _lock: lock };
        store.own("community", community.as_str()).await?;
        store.own("operator", &operator.to_string()).await?;
        Ok(store)
    }

    /// Where the record is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes who the record belongs to, or checks it.
    async fn own(&mut self, key: &str, expected: &str) -> Result<(), StoreFault> {
        match self.meta(key).await? {
            None => self.set_meta(key, expected).await,
            Some(found) if found == expected => Ok(()),
            Some(found) => Err(StoreFault::Foreign {
                path: self.path.clone(),
                found: format!("{key} {found}"),
                expected: format!("{key} {expected}"),
            }),
        }
    }

    /// A remembered word.
    ///
    /// # Errors
    /// [`StoreFault::Database`].
    pub async fn meta(&mut self, key: &str) -> Result<Option<String>, StoreFault> {
        let row = sqlx::query("SELECT value FROM meta WHERE key = ?")
            .bind(key)
            .fetch_optional(&mut self.connection)
            .await?;
        Ok(row.map(|row| row.get(0)))
    }

    /// Remembers a word.
    ///
    /// # Errors
    /// [`StoreFault::Database`].
    pub async fn set_meta(&mut self, key: &str, value: &str) -> Result<(), StoreFault> {
        sqlx::query("INSERT INTO meta (key, value) VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value")
            .bind(key)
            .bind(value)
            .execute(&mut self.connection)
            .await?;
        Ok(())
    }

    /// Remembers the first slot that is ever settled.
    ///
    /// # Errors
    /// [`StoreFault::Database`].
    pub async fn begin_at(&mut self, slot: Slot) -> Result<(), StoreFault> {
        if self.meta("first_slot").await?.is_none() {
            self.set_meta("first_slot", &slot.number().to_string()).await?;
        }
        Ok(())
    }

    /// Keeps the grid that members trade on from now on, for whoever asks about its slots later.
    ///
    /// # Errors
    /// [`StoreFault::Database`].
    pub async fn keep_grid(&mut self, grid: &StreetGrid) -> Result<(), StoreFault> {
        let Some(form) = grid.form() else { return Ok(()) };
        sqlx::query("INSERT INTO grid (digest, form) VALUES (?, ?) ON CONFLICT DO NOTHING")
            .bind(grid.digest().to_vec())
            .bind(rows::text(&form))
            .execute(&mut self.connection)
            .await?;
        Ok(())
    }

    /// Keeps how members share from now on, for whoever asks about its slots later.
    ///
    /// # Errors
    /// [`StoreFault::Database`].
    pub async fn keep_sharing(&mut self, sharing: &StreetSharing) -> Result<(), StoreFault> {
        if sharing.digest().is_zero() {
            return Ok(());
        }
        sqlx::query("INSERT INTO sharing (digest, form) VALUES (?, ?) ON CONFLICT DO NOTHING")
            .bind(sharing.digest().to_vec())
            .bind(sharing.text())
            .execute(&mut self.connection)
            .await?;
        Ok(())
    }

    /// Closes the record in an orderly way.
    ///
    /// # Errors
    /// [`StoreFault::Database`].
    pub async fn close(self) -> Result<(), StoreFault> {
        Ok(self.connection.close().await?)
    }
}

/// The schema's history. A step that has been released never changes; the next one is added. (The
/// macro that would collect them builds a second SQLite for the compiler alone.)
fn migrations() -> Migrator {
    let step = |version: i64, name: &'static str, sql: &'static str| {
        Migration::new(version, name.into(), MigrationType::Simple, sql.into_sql_str(), false)
    };
    Migrator::with_migrations(vec![
        step(1, "street", include_str!("../../migrations/0001_street.sql")),
        step(2, "grid", include_str!("../../migrations/0002_grid.sql")),
        step(3, "sharing", include_str!("../../migrations/0003_sharing.sql")),
        step(4, "meter events", include_str!("../../migrations/0004_meter_events.sql")),
        step(5, "keys", include_str!("../../migrations/0005_keys.sql")),
    ])
}

fn lock(path: &Path) -> Result<std::fs::File, StoreFault> {
    let lock_path = path.with_extension("lock");
    let fault = |reason| StoreFault::InUse { path: lock_path.clone(), reason };
    let file = std::fs::OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&lock_path)
        .map_err(fault)?;
    file.try_lock().map_err(|error| fault(error.into()))?;
    Ok(file)
}

/// Refuses a record with readings from before they told of events: their digests are of another form.
async fn check_readings(connection: &mut SqliteConnection, path: &Path) -> Result<(), StoreFault> {
    let tables: i64 = sqlx::query_scalar(
        "SELECT COUNT(*) + SUM(name = 'reading_event') FROM sqlite_master \
         WHERE type = 'table' AND name IN ('reading', 'reading_event')",
    )
    .fetch_optional(&mut *connection)
    .await?
    .flatten()
    .unwrap_or(0);
    // 0: a new record. 3: both tables are there. 1: readings alone.
    if tables != 1 {
        return Ok(());
    }
    let readings: i64 =
        sqlx::query_scalar("SELECT COUNT(*) FROM reading").fetch_one(connection).await?;
    if readings > 0 { Err(StoreFault::OldReadings { path: path.to_owned() }) } else { Ok(()) }
}

async fn check_version(connection: &mut SqliteConnection) -> Result<(), StoreFault> {
    let version: String =
        sqlx::query("SELECT sqlite_version()").fetch_one(connection).await?.get(0);
    let mut found = version.split('.').map(|part| part.parse().unwrap_or(0));
    let found = [(); 3].map(|()| found.next().unwrap_or(0));
    if found < OLDEST_SQLITE { Err(StoreFault::OldSqlite(version)) } else { Ok(()) }
}
