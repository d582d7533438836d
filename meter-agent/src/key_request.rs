//! What an owner asks of the running agent about its key: a file in the agent's folder.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use protocol::B256;
use serde::{Deserialize, Serialize};

const NAME: &str = "key-request.json";
/// Largest request, bytes.
const MAX_BYTES: u64 = 4_096;

/// A wish about one key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyRequest {
    /// The public half of the key that it is about, so that it cannot be done twice.
    pub key: B256,
    /// Another key takes its place, and it counts so long beside that, seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotate: Option<u32>,
    /// It counts no more once another is in its place, and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoke: Option<String>,
}

impl KeyRequest {
    fn path(folder: &Path) -> PathBuf {
        folder.join(NAME)
    }

    /// Leaves the request for the agent; it is whole or not there.
    ///
    /// # Errors
    /// The system's answer; [`io::ErrorKind::AlreadyExists`] while an earlier one waits.
    pub fn leave(&self, folder: &Path) -> io::Result<()> {
        let (part, path) = (folder.join("key-request.part"), Self::path(folder));
        if path.exists() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let text = serde_json::to_vec(self).expect("plain data");
        let mut file = fs::File::create(&part)?;
        io::Write::write_all(&mut file, &text)?;
        file.sync_all()?;
        fs::rename(&part, &path)?;
        fs::File::open(folder)?.sync_all()
    }

    /// Whether a request waits to be done.
    #[must_use]
    pub fn is_waiting(folder: &Path) -> bool {
        Self::path(folder).exists()
    }

    /// The request that waits; none, nearly always.
    pub(crate) fn waiting(folder: &Path) -> Option<Result<Self, String>> {
        let path = Self::path(folder);
        let size = fs::metadata(&path).ok()?.len();
        if size > MAX_BYTES {
            return Some(Err(format!("{size} bytes is more than {MAX_BYTES}")));
        }
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) => return Some(Err(error.to_string())),
        };
        Some(serde_json::from_slice(&text).map_err(|error| error.to_string()))
    }

    /// It is done.
    pub(crate) fn done(folder: &Path) {
        // One that stays is looked at again and found to be done.
        let _ = fs::remove_file(Self::path(folder));
    }

    /// It makes no sense, and is kept for whoever wrote it.
    pub(crate) fn set_aside(folder: &Path) {
        let _ = fs::rename(Self::path(folder), folder.join("key-request.bad"));
    }
}
