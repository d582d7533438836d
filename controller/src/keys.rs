//! The controller's secrets: made on the first start, readable by their owner only.

use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use protocol::KeyText;

/// Why a secret cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyFault {
    /// The file cannot be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// Others can read the file.
    #[error(
        "{} can be read by others (mode {mode:o}); run: chmod 600 {}",
        path.display(),
        path.display()
    )]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// The content is no key.
    #[error("{}: {reason}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The system has no random numbers.
    #[error("no random numbers: {0}")]
    Random(String),
}

/// Reads 32 secret bytes, creating the file with new ones when there is none.
///
/// # Errors
/// [`KeyFault`]; permissions that let others read are refused with the command that mends them.
pub fn load_or_create(path: &Path) -> Result<[u8; 32], KeyFault> {
    if !path.exists() {
        create(path)?;
    }
    load(path)
}

/// Reads 32 secret bytes.
///
/// # Errors
/// [`KeyFault`].
pub fn load(path: &Path) -> Result<[u8; 32], KeyFault> {
    let fault = |source| KeyFault::File { path: path.to_owned(), source };
    let mode = std::fs::metadata(path).map_err(fault)?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(KeyFault::Exposed { path: path.to_owned(), mode });
    }
    let text = std::fs::read_to_string(path).map_err(fault)?;
    let content = |reason: String| KeyFault::Content { path: path.to_owned(), reason };
    KeyText::parse(&text).map_err(|error| content(error.to_string()))?;
    let mut secret = [0; 32];
    let digits = text.trim().trim_start_matches("0x");
    hex::decode_to_slice(digits, &mut secret).map_err(|error| content(error.to_string()))?;
    Ok(secret)
}

fn create(path: &Path) -> Result<(), KeyFault> {
    let mut secret = [0_u8; 32];
    getrandom::fill(&mut secret).map_err(|error| KeyFault::Random(error.to_string()))?;
    let fault = |source| KeyFault::File { path: path.to_owned(), source };
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(fault)?;
    }
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(fault)?;
    writeln!(file, "{}", hex::encode(secret)).and_then(|()| file.sync_all()).map_err(fault)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_made_once_and_must_stay_private() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("new/operator.key");
        let secret = load_or_create(&path).expect("made");
        assert_eq!(load_or_create(&path).expect("read"), secret);

        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).expect("chmod");
        let refused = load_or_create(&path).expect_err("others can read it").to_string();
        assert!(refused.contains("chmod 600"), "{refused}");

        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("chmod");
        std::fs::write(&path, "not a key").expect("write");
        assert!(load_or_create(&path).is_err());
    }
}
