//! The household's key file: 64 hexadecimal digits, readable by its owner only.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use protocol::{HouseholdKey, InvalidKey, KeyText};

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// There is none yet.
    #[error("there is no key at {path}: make one with `meter-agent keygen --out {path}`", path = path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// Others can read it.
    #[error("others can read {path} (mode {mode:04o}): run `chmod 600 {path}`", path = path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// It holds no key.
    #[error("{}: {error}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        error: InvalidKey,
    },
    /// A new key would overwrite it.
    #[error("{} is there already: a key is never overwritten; move it away if it is not needed", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The system gives no randomness.
    #[error("the system gives no randomness: {0}")]
    NoRandomness(getrandom::Error),
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
}

/// Reads a key that nobody else can read.
///
/// # Errors
/// [`KeyError`].
pub fn load(path: &Path) -> Result<HouseholdKey, KeyError> {
    let text = secret(path)?;
    let text = KeyText::parse(&text)
        .map_err(|error| KeyError::Malformed { path: path.to_owned(), error })?;
    Ok(HouseholdKey::from_text(&text))
}

/// Reads a file with a secret, refusing one that others can read.
///
/// # Errors
/// [`KeyError`].
pub fn secret(path: &Path) -> Result<String, KeyError> {
    let io = |what, error| KeyError::Io { what, path: path.to_owned(), error };
    let metadata = match std::fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(KeyError::Missing { path: path.to_owned() });
        }
        Err(error) => return Err(io("look at", error)),
    };
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(KeyError::Open { path: path.to_owned(), mode });
    }
    if metadata.len() > 4_096 {
        let error = io::Error::other("it is too large for a secret");
        return Err(io("read", error));
    }
    std::fs::read_to_string(path).map_err(|error| io("read", error))
}

/// Makes a new key in a new file.
///
/// # Errors
/// [`KeyError`]; an existing file is never touched.
pub fn create(path: &Path) -> Result<HouseholdKey, KeyError> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(KeyError::NoRandomness)?;
    let text = format!("{}\n", hex::encode(bytes));
    let mut file = match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            return Err(KeyError::Exists { path: path.to_owned() });
        }
        Err(error) => return Err(KeyError::Io { what: "create", path: path.to_owned(), error }),
    };
    file.write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .map_err(|error| KeyError::Io { what: "write", path: path.to_owned(), error })?;
    Ok(HouseholdKey::from_bytes(&bytes))
}
