//! The maps at hand: those compiled in, and those in a user's folder.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::DeviceMap;
use super::lint;
use super::map::Transport;

/// Largest map file that is read, in bytes.
const MAX_FILE_BYTES: u64 = 256 * 1024;
/// Most files in a user's folder that are looked at.
const MAX_FILES: usize = 500;

const BUILT_IN: [(&str, &str); 9] = [
    ("sunspec-meter.toml", include_str!("../../devices/sunspec-meter.toml")),
    ("sunspec-meter-float.toml", include_str!("../../devices/sunspec-meter-float.toml")),
    ("sunspec-inverter.toml", include_str!("../../devices/sunspec-inverter.toml")),
    ("sunspec-battery.toml", include_str!("../../devices/sunspec-battery.toml")),
    ("eastron-sdm630.toml", include_str!("../../devices/eastron-sdm630.toml")),
    ("shelly-gen2.toml", include_str!("../../devices/shelly-gen2.toml")),
    ("tasmota.toml", include_str!("../../devices/tasmota.toml")),
    ("tasmota-sml.toml", include_str!("../../devices/tasmota-sml.toml")),
    ("dsmr-reader.toml", include_str!("../../devices/dsmr-reader.toml")),
];

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
pub struct Library(BTreeMap<String, DeviceMap>);

impl Library {
    /// The maps compiled in and, over them, the `*.toml` files of a folder.
    ///
    /// # Errors
    /// [`LibraryError`] for the first file that is unreadable, malformed or unsound.
    pub fn load(folder: Option<&Path>) -> Result<Self, LibraryError> {
        let mut library = Self(BTreeMap::new());
        for (file, text) in BUILT_IN {
            library.add(file, text)?;
        }
        if let Some(folder) = folder {
            for path in files(folder)? {
                let unreadable = |error| LibraryError::Unreadable { path: path.clone(), error };
                let size = std::fs::metadata(&path).map_err(unreadable)?.len();
                let file = path.display().to_string();
                if size > MAX_FILE_BYTES {
                    let reason = format!("{size} bytes is more than {MAX_FILE_BYTES}");
                    return Err(LibraryError::Malformed { file, reason });
                }
                let text = std::fs::read_to_string(&path).map_err(unreadable)?;
                library.add(&file, &text)?;
            }
        }
        Ok(library)
    }

    /// The map of this id.
    ///
    /// # Errors
    /// [`LibraryError::Unknown`].
    pub fn find(&self, id: &str) -> Result<&DeviceMap, LibraryError> {
        self.0.get(id).ok_or_else(|| LibraryError::Unknown {
            id: id.to_owned(),
            known: self.0.keys().cloned().collect(),
        })
    }

    /// All maps by id.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &DeviceMap)> {
        self.0.iter().map(|(id, map)| (id.as_str(), map))
    }

    fn add(&mut self, file: &str, text: &str) -> Result<(), LibraryError> {
        let map: DeviceMap = toml::from_str(text).map_err(|error| LibraryError::Malformed {
            file: file.to_owned(),
            reason: error.to_string(),
        })?;
        let mut problems = lint::problems(&map);
        if map.id.is_empty() == map.ids.is_empty() {
            problems.push("give the map either an id or, for SunSpec, ids".to_owned());
        }
        if !map.ids.is_empty() && map.transport != Transport::Sunspec {
            problems.push("ids belongs to SunSpec maps".to_owned());
        }
        if !problems.is_empty() {
            return Err(LibraryError::Unsound { file: file.to_owned(), problems });
        }
        if map.ids.is_empty() {
            self.0.insert(map.id.clone(), map);
            return Ok(());
        }
        for (id, model) in map.ids.clone() {
            let mut own = map.clone();
            own.id.clone_from(&id);
            own.ids.clear();
            for block in own.blocks.iter_mut().filter(|block| block.models.is_empty()) {
                block.models = vec![model];
            }
            self.0.insert(id, own);
        }
        Ok(())
    }
}

/// The ids of the maps compiled in.
#[must_use]
pub fn built_in_ids() -> Vec<String> {
    let library = Library::load(None).expect("a test loads and lints the maps compiled in");
    library.0.into_keys().collect()
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
