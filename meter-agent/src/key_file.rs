//! The household's key files: 64 hexadecimal digits each, readable by their owner only.
//!
//! `household.key` signs. While the key is exchanged the new one waits in `household.key.next`, and the
//! old one stays in `household.key.former` until the overlap is over. Which of them signs is not said by
//! the names but by the agent's state, which is written before anything is renamed: whatever moment
//! the power fails at, one of the files holds the key that the state names.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use protocol::{B256, HouseholdKey, InvalidKey, KeyText};

use crate::core::{KeyHistory, Keys};

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// There is none yet.
    #[error(
        "there is no key at {path}: `meter-agent key import` brings one back, and `meter-agent key new \
         --out {path}` makes one for a household that has signed nothing yet",
        path = path.display()
    )]
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
    /// The files hold other keys than the one that signs.
    #[error(
        "{path} holds the key {found}, but since the last change of key {wanted} signs: bring that one \
         back (`meter-agent key import`)",
        path = path.display()
    )]
    Other {
        /// The file.
        path: PathBuf,
        /// The public half of what is there.
        found: String,
        /// The public half of what should be.
        wanted: String,
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
    write_new(path, &format!("{}\n", hex::encode(bytes)))?;
    Ok(HouseholdKey::from_bytes(&bytes))
}

/// Writes a secret into a new file that only its owner can read; returns once it is durable.
///
/// # Errors
/// [`KeyError`]; an existing file is never touched.
pub fn write_new(path: &Path, text: &str) -> Result<(), KeyError> {
    let io = |what, error| KeyError::Io { what, path: path.to_owned(), error };
    let mut file = match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            return Err(KeyError::Exists { path: path.to_owned() });
        }
        Err(error) => return Err(io("create", error)),
    };
    file.write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .and_then(|()| sync_folder(path))
        .map_err(|error| io("write", error))
}

/// Makes a new or renamed name durable.
fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

/// The places of a household's keys.
#[derive(Debug, Clone)]
pub struct KeyFiles {
    main: PathBuf,
}

impl KeyFiles {
    /// Beside this file, which holds the key that signs.
    #[must_use]
    pub const fn at(main: PathBuf) -> Self {
        Self { main }
    }

    fn beside(&self, end: &str) -> PathBuf {
        let mut name = self.main.clone().into_os_string();
        name.push(end);
        PathBuf::from(name)
    }

    /// The key that signs.
    #[must_use]
    pub fn main(&self) -> &Path {
        &self.main
    }

    /// The one that is to sign next.
    #[must_use]
    pub fn next(&self) -> PathBuf {
        self.beside(".next")
    }

    /// The one that signed before.
    #[must_use]
    pub fn former(&self) -> PathBuf {
        self.beside(".former")
    }

    /// The keys by what the state says of them, finishing an exchange that was cut short. Where
    /// nothing was ever signed (`may_create`), a missing key is made; whether it was is told.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn open(&self, history: &KeyHistory, may_create: bool) -> Result<(Keys, bool), KeyError> {
        let (Some(current), Some(former)) = (history.current(), history.former()) else {
            return match load(&self.main) {
                Ok(key) => Ok((Keys::only(key), false)),
                Err(KeyError::Missing { .. }) if may_create => {
                    Ok((Keys::only(create(&self.main)?), true))
                }
                Err(error) => Err(error),
            };
        };
        let is = |key: &HouseholdKey, wanted: B256| key.public().to_bytes() == wanted.0;
        let waiting = load(&self.next()).ok();
        if waiting.is_some_and(|key| is(&key, current)) {
            self.promote()?;
        }
        let key = load(&self.main)?;
        if !is(&key, current) {
            return Err(KeyError::Other {
                path: self.main.clone(),
                found: key.public_hex(),
                wanted: hex::encode(current),
            });
        }
        let former = load(&self.former()).ok().filter(|key| is(key, former));
        Ok((Keys { current: Arc::new(key), former: former.map(Arc::new) }, false))
    }

    /// The key that is to sign next: a new one, or the one that was made for an exchange that was cut
    /// short before anybody heard of it.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn prepare(&self) -> Result<HouseholdKey, KeyError> {
        match load(&self.next()) {
            Err(KeyError::Missing { .. }) => create(&self.next()),
            other => other,
        }
    }

    /// The next key takes the place of the present one, which becomes the former. Done again, it
    /// changes nothing; cut short, it goes on.
    ///
    /// # Errors
    /// [`KeyError`]; the present key is in its place until the next one is.
    pub fn promote(&self) -> Result<(), KeyError> {
        let io = |what, path: &Path, error| KeyError::Io { what, path: path.to_owned(), error };
        let (next, former, part) = (self.next(), self.former(), self.beside(".part"));
        if !next.exists() {
            return Ok(());
        }
        let present = secret(&self.main)?;
        match std::fs::remove_file(&part) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(io("remove", &part, error));
            }
            _ => {}
        }
        write_new(&part, &present)?;
        std::fs::rename(&part, &former).map_err(|error| io("replace", &former, error))?;
        std::fs::rename(&next, &self.main).map_err(|error| io("replace", &self.main, error))?;
        sync_folder(&self.main).map_err(|error| io("sync", &self.main, error))
    }

    /// Removes the former key, which is of no more use; whether there was one.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn forget_former(&self) -> Result<bool, KeyError> {
        let path = self.former();
        match std::fs::remove_file(&path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(KeyError::Io { what: "remove", path, error }),
        }
    }
}
