//! Everything the agent keeps, behind one lock: journal, state and evidence of one process.

use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use protocol::Domain;
use units::PointId;

use crate::core::{Entry, Evidence, Recovered, State};
use crate::evidence::EvidenceFolder;
use crate::journal::{Journal, JournalError, Opened};
use crate::state_file::{StateError, StateFile};

/// Journal records that are looked at again at a start: a good week.
const RECOVERED: u64 = 800;

/// An agent that is just ending gets a second to let go of the folder.
const LOCK_TRIES: u32 = 20;
const LOCK_WAIT: Duration = Duration::from_millis(50);

/// Why the agent's folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// The folder cannot be made or locked.
    #[error("cannot use {}: {error}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// The system's answer.
        error: io::Error,
    },
    /// Another agent uses it.
    #[error("{} is in use by another agent: two agents must never share a key", path.display())]
    InUse {
        /// The folder.
        path: PathBuf,
    },
    /// The journal is shorter than it was.
    #[error(
        "{} held readings up to {known} of epoch {epoch}, but the journal ends at {found}. Restore \
         the journal from a backup; if there is none, raise epoch in the configuration and have the \
         new epoch enrolled: signing the same numbers again would be proof of fraud",
        path.display()
    )]
    JournalLost {
        /// The folder.
        path: PathBuf,
        /// The epoch.
        epoch: u32,
        /// Readings that were there.
        known: u64,
        /// Readings that are there.
        found: u64,
    },
    /// The journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The state file.
    #[error(transparent)]
    State(#[from] StateError),
}

/// The open folder; clones share it. Dropping the last one lets another process in.
#[derive(Debug, Clone)]
pub struct Disk(Arc<Mutex<Content>>);

#[derive(Debug)]
struct Content {
    journal: Journal,
    /// Receipted readings that are kept.
    keep: u64,
    state: StateFile,
    evidence: EvidenceFolder,
    _lock: File,
}

impl Disk {
    /// Opens the folder for this household and epoch, and finds what is there. The newest `keep`
    /// readings stay on the disk when they are receipted.
    ///
    /// # Errors
    /// [`DiskError`].
    pub fn open(
        folder: &Path,
        domain: &Domain,
        point: &PointId,
        epoch: u32,
        keep: u64,
    ) -> Result<(Self, Recovered, Opened), DiskError> {
        let lock = lock(folder)?;
        let (journal, opened) = Journal::open(folder, domain, epoch)?;
        let state_file = StateFile::in_folder(folder);
        let state = state_file.load(point, epoch)?;
        let known = state.as_ref().map_or(0, |state| state.content().journal_seq);
        let found = journal.last_seq();
        if found < known {
            return Err(DiskError::JournalLost { path: folder.to_owned(), epoch, known, found });
        }
        let entries = journal.newest(RECOVERED)?;
        let evidence = EvidenceFolder::in_folder(folder);
        let content = Content { journal, keep, state: state_file, evidence, _lock: lock };
        let recovered = Recovered { entries, state, cut_bytes: opened.cut_bytes };
        Ok((Self(Arc::new(Mutex::new(content))), recovered, opened))
    }

    /// Appends to the journal; returns once it is durable.
    ///
    /// # Errors
    /// [`DiskError::Journal`]; the agent must stop then.
    pub async fn append(&self, entry: Box<Entry>) -> Result<(), DiskError> {
        self.blocking(move |content| Ok(content.journal.append(&entry)?)).await
    }

    /// Replaces the state; returns once it is durable.
    ///
    /// # Errors
    /// [`DiskError::State`]; the agent must stop then.
    pub async fn save(&self, state: State) -> Result<(), DiskError> {
        self.blocking(move |content| Ok(content.state.save(&state)?)).await
    }

    /// Notes what the operator has for good, so that old records can go.
    ///
    /// # Errors
    /// [`DiskError::Journal`]; the agent must stop then.
    pub async fn release(&self, seq: u64) -> Result<(), DiskError> {
        self.blocking(move |content| Ok(content.journal.release(seq, content.keep)?)).await
    }

    /// Journalled readings as they are sent, first to last.
    ///
    /// # Errors
    /// [`DiskError::Journal`].
    pub async fn readings(&self, first: u64, last: u64) -> Result<Vec<Vec<u8>>, DiskError> {
        self.blocking(move |content| {
            let json = |seq| Ok(content.journal.entry(seq)?.reading.to_json());
            (first..=last).map(json).collect()
        })
        .await
    }

    /// Keeps evidence.
    ///
    /// # Errors
    /// The system's answer; the agent goes on.
    pub async fn keep(&self, evidence: Evidence) -> io::Result<PathBuf> {
        self.blocking(move |content| Ok(content.evidence.keep(&evidence))).await?
    }

    /// Runs file work off the async threads.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Content) -> Result<T, DiskError> + Send + 'static,
    ) -> Result<T, DiskError> {
        let content = Arc::clone(&self.0);
        let done = tokio::task::spawn_blocking(move || {
            work(&mut content.lock().unwrap_or_else(PoisonError::into_inner))
        });
        done.await.expect("file work does not panic and is not cancelled")
    }
}

impl From<DiskError> for io::Error {
    fn from(error: DiskError) -> Self {
        Self::other(error)
    }
}

fn lock(folder: &Path) -> Result<File, DiskError> {
    let failed = |error| DiskError::Folder { path: folder.to_owned(), error };
    std::fs::create_dir_all(folder).map_err(failed)?;
    let file = File::options()
        .write(true)
        .create(true)
        .truncate(false)
        .open(folder.join("lock"))
        .map_err(failed)?;
    for _ in 0..LOCK_TRIES {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_WAIT),
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
    }
    Err(DiskError::InUse { path: folder.to_owned() })
}
