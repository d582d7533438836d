//! The state file: replaced as a whole, so that it is always the old one or the new one.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use units::PointId;

use crate::core::State;

/// Largest file that is read, in bytes.
const MAX_BYTES: u64 = 8 * 1024 * 1024;

/// Why there is no usable state.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
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
    /// It is there but makes no sense.
    #[error(
        "{} cannot be used: {reason}. Move it away to start without it: orders and readings stay \
         safe, the log is then believed as first shown",
        path.display()
    )]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

/// Where the state is kept.
#[derive(Debug, Clone)]
pub struct StateFile(PathBuf);

impl StateFile {
    /// In the agent's folder.
    #[must_use]
    pub fn in_folder(folder: &Path) -> Self {
        Self(folder.join("state.json"))
    }

    /// The state of this household and epoch; none when there is no file.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn load(&self, point: &PointId, epoch: u32) -> Result<Option<State>, StateError> {
        let unusable = |reason| StateError::Unusable { path: self.0.clone(), reason };
        let size = match std::fs::metadata(&self.0) {
            Ok(metadata) => metadata.len(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.io("look at", error)),
        };
        if size > MAX_BYTES {
            return Err(unusable(format!("{size} bytes is more than {MAX_BYTES}")));
        }
        let bytes = std::fs::read(&self.0).map_err(|error| self.io("read", error))?;
        let state: State =
            serde_json::from_slice(&bytes).map_err(|error| unusable(error.to_string()))?;
        state.adopt(point, epoch).map(Some).map_err(|foreign| unusable(format!("it {foreign}")))
    }

    /// Replaces the state durably.
    ///
    /// # Errors
    /// [`StateError::Io`]; the old state is still there then.
    pub fn save(&self, state: &State) -> Result<(), StateError> {
        let bytes = serde_json::to_vec(state).expect("the state is plain data");
        let temporary = self.0.with_extension("new");
        let mut file = File::create(&temporary).map_err(|error| self.io("create", error))?;
        file.write_all(&bytes)
            .and_then(|()| file.sync_all())
            .map_err(|error| self.io("write", error))?;
        std::fs::rename(&temporary, &self.0).map_err(|error| self.io("replace", error))?;
        let folder = self.0.parent().unwrap_or(Path::new("."));
        File::open(folder)
            .and_then(|folder| folder.sync_all())
            .map_err(|error| self.io("sync the folder of", error))
    }

    fn io(&self, what: &'static str, error: io::Error) -> StateError {
        StateError::Io { what, path: self.0.clone(), error }
    }
}
