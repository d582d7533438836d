//! The maps at hand: those compiled in, and those in a user's folder.
//!
//! Of the compiled-in files only those are parsed that somebody asks for; a household names three of
//! them, and its agent should start at once.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::DeviceMap;
use super::file::{self, FileFault};

/// Largest map file that is read, in bytes.
const MAX_FILE_BYTES: u64 = 256 * 1024;
/// Most files in a user's folder that are looked at.
const MAX_FILES: usize = 500;

macro_rules! built_in {
    ($($stem:literal,)*) => {
        /// Name without `.toml`, and content. Every id in a file starts with the file's name, or is
        /// found by looking into all of them.
        const BUILT_IN: &[(&str, &str)] = &[
            $(($stem, include_str!(concat!("../../devices/", $stem, ".toml"))),)*
        ];
    };
}

built_in! {
    "dsmr-reader",
    "eastron-sdm630",
    "shelly-gen2",
    "sunspec-battery",
    "sunspec-inverter",
    "sunspec-meter",
    "sunspec-meter-float",
    "tasmota",
    "tasmota-sml",
}

/// Why there is no map.
#[derive(Debug, thiserror::Error)]
pub enum LibraryError {
    /// A file or folder cannot be read.
    #[error("cannot read {}: {error}", path.display())]
    Unreadable {
        /// The file or folder.
        path: PathBuf,
        /// The system's answer.
        error: std::io::Error,
    },
    /// A file that is no map.
    #[error("{file}: {reason}")]
    Malformed {
        /// The file.
        file: String,
        /// What the parser says.
        reason: String,
    },
    /// A map that cannot be used as it is.
    #[error("{file}: {}", problems.join("; "))]
    Unsound {
        /// The file.
        file: String,
        /// What is wrong.
        problems: Vec<String>,
    },
    /// Nobody knows this id.
    #[error("there is no device map {id:?}; known are: {}", known.join(", "))]
    Unknown {
        /// What was asked for.
        id: String,
        /// What there is.
        known: Vec<String>,
    },
}

/// Device maps by id.
#[derive(Debug, Clone)]
pub struct Library {
    /// Those of the user's folder; they come before the compiled-in ones.
    own: BTreeMap<String, DeviceMap>,
}

impl Library {
    /// The maps compiled in and, over them, the `*.toml` files of a folder.
    ///
    /// # Errors
    /// [`LibraryError`] for the first file that is unreadable, malformed or unsound.
    pub fn load(folder: Option<&Path>) -> Result<Self, LibraryError> {
        let mut own = BTreeMap::new();
        if let Some(folder) = folder {
            for path in files(folder)? {
                own.extend(read(&path)?.into_iter().map(|map| (map.id.clone(), map)));
            }
        }
        Ok(Self { own })
    }

    /// The map of this id.
    ///
    /// # Errors
    /// [`LibraryError::Unknown`].
    pub fn find(&self, id: &str) -> Result<DeviceMap, LibraryError> {
        if let Some(map) = self.own.get(id) {
            return Ok(map.clone());
        }
        let (likely, others): (Vec<_>, Vec<_>) =
            BUILT_IN.iter().partition(|(stem, _)| id.starts_with(stem));
        for (stem, text) in likely.into_iter().chain(others) {
            if let Some(map) = built_in(stem, text)?.into_iter().find(|map| map.id == id) {
                return Ok(map);
            }
        }
        let known = self.all()?.into_keys().collect();
        Err(LibraryError::Unknown { id: id.to_owned(), known })
    }

    /// All maps by id. Parses every one.
    ///
    /// # Errors
    /// [`LibraryError`]; the maps compiled in are sound, a test parses them all.
    pub fn all(&self) -> Result<BTreeMap<String, DeviceMap>, LibraryError> {
        let mut all = BTreeMap::new();
        for (stem, text) in BUILT_IN {
            all.extend(built_in(stem, text)?.into_iter().map(|map| (map.id.clone(), map)));
        }
        all.extend(self.own.clone());
        Ok(all)
    }
}

fn built_in(stem: &str, text: &str) -> Result<Vec<DeviceMap>, LibraryError> {
    file::maps(text).map_err(|fault| named(format!("{stem}.toml"), fault))
}

fn named(file: String, fault: FileFault) -> LibraryError {
    match fault {
        FileFault::Malformed(reason) => LibraryError::Malformed { file, reason },
        FileFault::Unsound(problems) => LibraryError::Unsound { file, problems },
    }
}

/// The sound maps of one file.
///
/// # Errors
/// [`LibraryError`] when it is unreadable, malformed or unsound.
pub fn read(path: &Path) -> Result<Vec<DeviceMap>, LibraryError> {
    file::maps(&text(path)?).map_err(|fault| named(path.display().to_string(), fault))
}

/// The text of a file of bearable size.
pub(super) fn text(path: &Path) -> Result<String, LibraryError> {
    let unreadable = |error| LibraryError::Unreadable { path: path.to_owned(), error };
    let size = std::fs::metadata(path).map_err(unreadable)?.len();
    if size > MAX_FILE_BYTES {
        let reason = format!("{size} bytes is more than {MAX_FILE_BYTES}");
        return Err(LibraryError::Malformed { file: path.display().to_string(), reason });
    }
    std::fs::read_to_string(path).map_err(unreadable)
}

/// The ids of the maps compiled in.
#[must_use]
pub fn built_in_ids() -> Vec<String> {
    let library = Library { own: BTreeMap::new() };
    let all = library.all().expect("a test loads and lints the maps compiled in");
    all.into_keys().collect()
}

/// A compiled-in file as it is written, to start a map from: its name and its text.
#[must_use]
pub fn source_of(id: &str) -> Option<(&'static str, &'static str)> {
    let has = |text: &str| file::maps(text).is_ok_and(|maps| maps.iter().any(|map| map.id == id));
    BUILT_IN.iter().copied().find(|(_, text)| has(text))
}

fn files(folder: &Path) -> Result<Vec<PathBuf>, LibraryError> {
    let unreadable = |error| LibraryError::Unreadable { path: folder.to_owned(), error };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(unreadable)?.take(MAX_FILES) {
        let path = entry.map_err(unreadable)?.path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
