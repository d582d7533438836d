//! The journal: every signed reading, on disk before anyone hears of it.
//!
//! One append-only file per epoch. A record is synced before its reading is published, so what is on
//! disk is what was said, and no sequence number is ever signed for two readings. Opening checks the
//! chain from reading to reading. A record that a power failure cut short was never published and is
//! cut off; damage anywhere else is an error that a person must look at. Receipted records older
//! than the retention are dropped by rewriting the file.

mod reader;
mod record;

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use protocol::{B256, Domain};
use serde::{Deserialize, Serialize};

use crate::core::Entry;
pub use reader::{epochs, read};
use record::Found;

/// Droppable records at which the file is rewritten: a tenth of what is kept, and a day at least.
const fn slack(keep: u64) -> u64 {
    let tenth = keep / 10;
    if tenth < 96 { 96 } else { tenth }
}
/// Largest file that is read.
const MAX_FILE_BYTES: u64 = 512 * 1024 * 1024;

/// Why the journal cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The system refuses.
    #[error("cannot {what} {}: {error}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's answer.
        error: io::Error,
    },
    /// Damage that no power failure explains.
    #[error(
        "{} is damaged at byte {offset}: {reason}. Restore it from a backup; if there is none, move \
         it away, raise epoch in the configuration and have the new epoch enrolled",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where.
        offset: u64,
        /// What is wrong.
        reason: String,
    },
    /// Readings of an agent from before they told of events.
    #[error(
        "{} was written by an older agent, whose readings are signed in an older form. Let the older \
         agent deliver what it holds, then move the file away, raise epoch in the configuration and \
         have the new epoch enrolled",
        path.display()
    )]
    Outdated {
        /// The file.
        path: PathBuf,
    },
    /// A reading out of turn: a bug.
    #[error("reading {found} cannot follow reading {last}")]
    OutOfTurn {
        /// Newest journalled.
        last: u64,
        /// Offered.
        found: u64,
    },
}

/// What opening found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Opened {
    /// Readings in the file.
    pub readings: u64,
    /// Bytes of an unfinished record that were cut off.
    pub cut_bytes: u64,
}

/// A line of the file: a reading, or where the file starts after older ones were dropped.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
enum Line {
    Start { seq: u64, head: B256 },
    Entry(Box<Entry>),
}

/// The open journal of one epoch.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    domain: Domain,
    file: File,
    /// Sequence number before the first record.
    base_seq: u64,
    base_head: B256,
    /// Where each record starts.
    offsets: Vec<u64>,
    end: u64,
    head: B256,
}

impl Journal {
    /// Opens or creates the journal of an epoch in `folder`.
    ///
    /// # Errors
    /// [`JournalError::Io`] or [`JournalError::Damaged`].
    pub fn open(
        folder: &Path,
        domain: &Domain,
        epoch: u32,
    ) -> Result<(Self, Opened), JournalError> {
        let path = folder.join(format!("readings-{epoch}.journal"));
        let is_new = !path.exists();
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(|error| io_error("open", &path, error))?;
        if is_new {
            sync_folder(folder)?;
        }
        let bytes = read_all(&mut file, &path)?;
        let mut journal = Self {
            path,
            domain: domain.clone(),
            file,
            base_seq: 0,
            base_head: B256::ZERO,
            offsets: Vec::new(),
            end: 0,
            head: B256::ZERO,
        };
        let cut_bytes = journal.scan(&bytes)?;
        if cut_bytes > 0 {
            journal.truncate()?;
        }
        let readings = journal.offsets.len() as u64;
        Ok((journal, Opened { readings, cut_bytes }))
    }

    /// The newest whole record of an epoch's journal, without opening it: another process may be
    /// writing to it.
    ///
    /// # Errors
    /// [`JournalError`].
    pub fn peek(folder: &Path, epoch: u32) -> Result<Option<Entry>, JournalError> {
        let path = folder.join(format!("readings-{epoch}.journal"));
        let mut file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io_error("open", &path, error)),
        };
        let bytes = read_all(&mut file, &path)?;
        let (mut at, mut newest) = (0, None);
        while let Found::Whole(content, size) = record::read(&bytes[at..]) {
            newest = Some((at, content));
            at += size;
        }
        let Some((offset, content)) = newest else { return Ok(None) };
        match parse(content) {
            Ok(Line::Entry(entry)) => Ok(Some(*entry)),
            Ok(Line::Start { .. }) => Ok(None),
            Err(_) if is_of_older_agent(content) => Err(JournalError::Outdated { path }),
            Err(reason) => {
                let offset = offset as u64;
                Err(JournalError::Damaged { path, offset, reason })
            }
        }
    }

    /// Sequence number of the newest reading (0 = none).
    #[must_use]
    pub fn last_seq(&self) -> u64 {
        self.base_seq + self.offsets.len() as u64
    }

    /// The newest `count` records, oldest first.
    ///
    /// # Errors
    /// [`JournalError`].
    pub fn newest(&self, count: u64) -> Result<Vec<Entry>, JournalError> {
        let last = self.last_seq();
        let first = last.saturating_sub(count).max(self.base_seq) + 1;
        (first..=last).map(|seq| self.entry(seq)).map(|found| found.map(|e| *e)).collect()
    }

    /// The record with this sequence number.
    ///
    /// # Errors
    /// [`JournalError`]; also when it is no longer kept.
    pub fn entry(&self, seq: u64) -> Result<Box<Entry>, JournalError> {
        let index = seq.checked_sub(self.base_seq + 1).and_then(|i| usize::try_from(i).ok());
        let Some((index, &offset)) = index.and_then(|i| Some((i, self.offsets.get(i)?))) else {
            let reason = format!("reading {seq} is not kept any more");
            return Err(JournalError::Damaged { path: self.path.clone(), offset: 0, reason });
        };
        let end = self.offsets.get(index + 1).copied().unwrap_or(self.end);
        let mut bytes = vec![0; usize::try_from(end - offset).unwrap_or(0)];
        self.file
            .read_exact_at(&mut bytes, offset)
            .map_err(|error| io_error("read", &self.path, error))?;
        let damaged = |reason| JournalError::Damaged { path: self.path.clone(), offset, reason };
        match record::read(&bytes) {
            Found::Whole(content, _) => match parse(content) {
                Ok(Line::Entry(entry)) => Ok(entry),
                Ok(Line::Start { .. }) => Err(damaged("a start where a reading was".into())),
                Err(reason) => Err(damaged(reason)),
            },
            _ => Err(damaged("the record changed since it was written".into())),
        }
    }

    /// Appends a reading and returns once it is durable.
    ///
    /// # Errors
    /// [`JournalError`]; the agent must stop then and start again from what is on disk.
    pub fn append(&mut self, entry: &Entry) -> Result<(), JournalError> {
        let reading = &entry.reading.body;
        let last = self.last_seq();
        if reading.seq != last + 1 || reading.prev != self.head {
            return Err(JournalError::OutOfTurn { last, found: reading.seq });
        }
        let head = self.domain.digest(reading);
        let record = record::frame(&content(&Line::Entry(Box::new(entry.clone()))));
        if let Err(error) = self.file.write_all_at(&record, self.end) {
            // A half-written record must not stay before the next one.
            self.truncate()?;
            return Err(io_error("write to", &self.path, error));
        }
        self.file.sync_data().map_err(|error| io_error("sync", &self.path, error))?;
        self.offsets.push(self.end);
        self.end += record.len() as u64;
        self.head = head;
        Ok(())
    }

    /// Drops records that are receipted and older than the newest `keep`, once that is worth it.
    ///
    /// # Errors
    /// [`JournalError`].
    pub fn release(&mut self, released_seq: u64, keep: u64) -> Result<(), JournalError> {
        let keep_from = self.last_seq().saturating_sub(keep).min(released_seq);
        if keep_from < self.base_seq + slack(keep) {
            return Ok(());
        }
        self.drop_until(keep_from)
    }

    /// Rewrites the file without the records up to `seq`.
    fn drop_until(&mut self, seq: u64) -> Result<(), JournalError> {
        let dropped = usize::try_from(seq - self.base_seq).unwrap_or(usize::MAX);
        let head = self.domain.digest(&self.entry(seq)?.reading.body);
        let from = self.offsets.get(dropped).copied().unwrap_or(self.end);
        let mut kept = vec![0; usize::try_from(self.end - from).unwrap_or(0)];
        self.file
            .read_exact_at(&mut kept, from)
            .map_err(|error| io_error("read", &self.path, error))?;
        let start = record::frame(&content(&Line::Start { seq, head }));

        let temporary = self.path.with_extension("new");
        let mut file = File::create(&temporary).map_err(|e| io_error("create", &temporary, e))?;
        file.write_all(&start)
            .and_then(|()| file.write_all(&kept))
            .and_then(|()| file.sync_all())
            .map_err(|error| io_error("write to", &temporary, error))?;
        std::fs::rename(&temporary, &self.path)
            .map_err(|error| io_error("replace", &self.path, error))?;
        if let Some(folder) = self.path.parent() {
            sync_folder(folder)?;
        }
        self.file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(&self.path)
            .map_err(|error| io_error("open", &self.path, error))?;
        let shift = start.len() as u64;
        self.offsets = self.offsets.split_off(dropped);
        self.offsets.iter_mut().for_each(|offset| *offset = *offset - from + shift);
        self.end = self.end - from + shift;
        (self.base_seq, self.base_head) = (seq, head);
        Ok(())
    }

    /// Reads all records; returns the bytes of a torn tail.
    fn scan(&mut self, bytes: &[u8]) -> Result<u64, JournalError> {
        let mut at = 0;
        loop {
            let offset = at as u64;
            let damaged = |path: &Path, reason: String| JournalError::Damaged {
                path: path.to_owned(),
                offset,
                reason,
            };
            let rest = &bytes[at..];
            match record::read(rest) {
                Found::Nothing => break,
                Found::Broken => {
                    if !is_torn_tail(rest) {
                        return Err(damaged(&self.path, "a record's check sum is wrong".into()));
                    }
                    self.end = offset;
                    return Ok(rest.len() as u64);
                }
                Found::Whole(content, size) => {
                    let line = match parse(content) {
                        Ok(line) => line,
                        Err(_) if is_of_older_agent(content) => {
                            return Err(JournalError::Outdated { path: self.path.clone() });
                        }
                        Err(reason) => return Err(damaged(&self.path, reason)),
                    };
                    self.link(line, offset).map_err(|reason| damaged(&self.path, reason))?;
                    at += size;
                }
            }
        }
        self.end = at as u64;
        Ok(0)
    }

    /// Checks that a line follows the ones before.
    fn link(&mut self, line: Line, offset: u64) -> Result<(), String> {
        match line {
            Line::Start { seq, head } if offset == 0 => {
                (self.base_seq, self.base_head, self.head) = (seq, head, head);
                Ok(())
            }
            Line::Start { .. } => Err("a start in the middle".to_owned()),
            Line::Entry(entry) => {
                let reading = &entry.reading.body;
                let expected = self.last_seq() + 1;
                if reading.seq != expected {
                    return Err(format!("reading {} where {expected} should be", reading.seq));
                }
                if reading.prev != self.head {
                    return Err(format!("reading {expected} does not link to the one before"));
                }
                self.head = self.domain.digest(reading);
                self.offsets.push(offset);
                Ok(())
            }
        }
    }

    fn truncate(&self) -> Result<(), JournalError> {
        self.file
            .set_len(self.end)
            .and_then(|()| self.file.sync_all())
            .map_err(|error| io_error("cut", &self.path, error))
    }
}

/// Whether bytes that are no record can be what a power failure left of the last one. Each record is
/// synced before the next is written, so a torn one is the last: no longer than a record, and no
/// whole record behind it.
fn is_torn_tail(rest: &[u8]) -> bool {
    let used = rest.len() - rest.iter().rev().take_while(|&&byte| byte == 0).count();
    let whole = |at: usize| match record::read(&rest[at..]) {
        Found::Whole(content, _) => parse(content).is_ok(),
        _ => false,
    };
    used <= record::FRAME_BYTES + record::MAX_CONTENT_BYTES && !(1..used).any(whole)
}

fn parse(content: &[u8]) -> Result<Line, String> {
    serde_json::from_slice(content).map_err(|error| format!("a record is no reading: {error}"))
}

/// Whether a whole record holds a reading from before readings told of events.
fn is_of_older_agent(content: &[u8]) -> bool {
    let Ok(value) = serde_json::from_slice::<serde_json::Value>(content) else { return false };
    let body = value.pointer("/entry/reading/body");
    body.is_some_and(|body| body.get("seq").is_some() && body.get("events").is_none())
}

fn content(line: &Line) -> Vec<u8> {
    serde_json::to_vec(line).expect("records are plain data")
}

fn read_all(file: &mut File, path: &Path) -> Result<Vec<u8>, JournalError> {
    let size = file.metadata().map_err(|error| io_error("look at", path, error))?.len();
    if size > MAX_FILE_BYTES {
        let reason = format!("{size} bytes is more than a journal ever has");
        return Err(JournalError::Damaged { path: path.to_owned(), offset: size, reason });
    }
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(0))
        .and_then(|_| file.read_to_end(&mut bytes))
        .map_err(|error| io_error("read", path, error))?;
    Ok(bytes)
}

fn io_error(what: &'static str, path: &Path, error: io::Error) -> JournalError {
    JournalError::Io { what, path: path.to_owned(), error }
}

/// Makes a new or renamed name durable.
fn sync_folder(folder: &Path) -> Result<(), JournalError> {
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(|error| io_error("sync", folder, error))
}
