//! A look into journals that another process may be writing at this moment.
//!
//! Nothing is opened for writing, nothing is cut or locked: an unfinished record at the end is one
//! that the agent is just writing, and is left out.

use std::fs::File;
use std::path::Path;

use protocol::Domain;

use super::record::{self, Found};
use super::{JournalError, Line, io_error, is_torn_tail, parse, read_all};
use crate::core::Entry;

/// The epochs whose journals are in a folder, oldest first.
///
/// # Errors
/// [`JournalError::Io`] when the folder cannot be read.
pub fn epochs(folder: &Path) -> Result<Vec<u32>, JournalError> {
    let failed = |error| io_error("look into", folder, error);
    let mut epochs = Vec::new();
    for file in std::fs::read_dir(folder).map_err(failed)? {
        let name = file.map_err(failed)?.file_name();
        let name = name.to_string_lossy();
        let number = name.strip_prefix("readings-").and_then(|name| name.strip_suffix(".journal"));
        epochs.extend(number.and_then(|number| number.parse::<u32>().ok()));
    }
    epochs.sort_unstable();
    Ok(epochs)
}

/// All records of an epoch that are kept, oldest first, with the chain between them checked.
///
/// # Errors
/// [`JournalError`].
pub fn read(folder: &Path, domain: &Domain, epoch: u32) -> Result<Vec<Entry>, JournalError> {
    let path = folder.join(format!("readings-{epoch}.journal"));
    let mut file = File::open(&path).map_err(|error| io_error("open", &path, error))?;
    let bytes = read_all(&mut file, &path)?;
    entries(&bytes, domain, &path)
}

fn entries(bytes: &[u8], domain: &Domain, path: &Path) -> Result<Vec<Entry>, JournalError> {
    let mut entries: Vec<Entry> = Vec::new();
    let (mut at, mut before) = (0, None);
    loop {
        let damaged = |reason: String| JournalError::Damaged {
            path: path.to_owned(),
            offset: at as u64,
            reason,
        };
        let (content, size) = match record::read(&bytes[at..]) {
            Found::Nothing => return Ok(entries),
            Found::Broken if is_torn_tail(&bytes[at..]) => return Ok(entries),
            Found::Broken => return Err(damaged("a record's check sum is wrong".to_owned())),
            Found::Whole(content, size) => (content, size),
        };
        match parse(content).map_err(damaged)? {
            Line::Start { seq, head } => before = Some((seq, head)),
            Line::Entry(entry) => {
                let reading = &entry.reading.body;
                if before.is_some_and(|(seq, head)| (reading.seq, reading.prev) != (seq + 1, head))
                {
                    let reason = format!("reading {} does not follow the one before", reading.seq);
                    return Err(damaged(reason));
                }
                before = Some((reading.seq, domain.digest(reading)));
                entries.push(*entry);
            }
        }
        at += size;
    }
}
