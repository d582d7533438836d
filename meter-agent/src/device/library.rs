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

/// A file that is compiled in.
#[derive(Debug, Clone, Copy)]
pub struct BuiltIn {
    /// Its name without `.toml`. Every id in it starts so, or is found by looking into all files.
    pub name: &'static str,
    /// What is in it.
    pub map: &'static str,
    /// The golden vectors of its maps.
    pub golden: &'static str,
}

macro_rules! built_in {
    ($($name:literal,)*) => {
        const BUILT_IN: &[BuiltIn] = &[$(BuiltIn {
            name: $name,
            map: include_str!(concat!("../../devices/", $name, ".toml")),
            golden: include_str!(concat!("../../devices/golden/", $name, ".toml")),
        },)*];
    };
}

built_in! {
    "alfen",
    "deye",
    "dsmr-p1",
    "dsmr-reader",
    "eastron-sdm120",
    "eastron-sdm630",
    "eastron-sdm72",
    "esphome",
    "fronius-gen24",
    "goodwe-et",
    "growatt-hybrid",
    "heidelberg-ec",
    "home-assistant",
    "huawei-sun2000",
    "keba",
    "kostal-plenticore",
    "phoenix-charx",
    "shelly-gen1",
    "shelly-gen2",
    "shelly-pro-3em-modbus",
    "sma",
    "sml",
    "sofar-g3",
    "solaredge",
    "solaredge-meter",
    "sungrow-sh",
    "sunspec-battery",
    "sunspec-der",
    "sunspec-inverter",
    "sunspec-inverter-float",
    "sunspec-meter",
    "sunspec-meter-float",
    "sunspec-pv",
    "tasmota",
    "tasmota-sml",
    "victron-gx",
    "zigbee2mqtt",
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
        let (likely, others): (Vec<&BuiltIn>, Vec<&BuiltIn>) =
            BUILT_IN.iter().partition(|file| id.starts_with(file.name));
        for file in likely.into_iter().chain(others) {
            if let Some(map) = file.maps()?.into_iter().find(|map| map.id == id) {
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
        for file in BUILT_IN {
            all.extend(file.maps()?.into_iter().map(|map| (map.id.clone(), map)));
        }
        all.extend(self.own.clone());
        Ok(all)
    }
}

impl BuiltIn {
    /// The maps in it.
    ///
    /// # Errors
    /// [`LibraryError`]; a test parses them all.
    pub fn maps(&self) -> Result<Vec<DeviceMap>, LibraryError> {
        file::maps(self.map).map_err(|fault| named(format!("{}.toml", self.name), fault))
    }
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
///
/// # Errors
/// [`LibraryError`] when it is unreadable or too large.
pub fn text(path: &Path) -> Result<String, LibraryError> {
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

/// The files compiled in, by name.
#[must_use]
pub const fn built_in_files() -> &'static [BuiltIn] {
    BUILT_IN
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
