//! Evidence: messages that prove something wrong, each in a file of its own, the oldest dropped
//! beyond a bound.

use std::io;
use std::path::{Path, PathBuf};

use crate::core::Evidence;

/// Most files that are kept.
const MAX_FILES: usize = 200;

/// The folder with the files.
#[derive(Debug, Clone)]
pub struct EvidenceFolder {
    folder: PathBuf,
    kept: usize,
}

impl EvidenceFolder {
    /// Keeps up to 200 files in `data_dir/evidence`.
    #[must_use]
    pub fn in_folder(data_dir: &Path) -> Self {
        Self { folder: data_dir.join("evidence"), kept: MAX_FILES }
    }

    /// Writes a piece of evidence and returns its file.
    ///
    /// # Errors
    /// The system's answer.
    pub fn keep(&self, evidence: &Evidence) -> io::Result<PathBuf> {
        std::fs::create_dir_all(&self.folder)?;
        let names = self.names()?;
        for name in names.iter().take((names.len() + 1).saturating_sub(self.kept)) {
            std::fs::remove_file(self.folder.join(name))?;
        }
        let next = names.last().and_then(|name| number(name)).map_or(1, |last| last + 1);
        let slot = evidence.slot.map_or_else(|| "none".to_owned(), |slot| slot.to_string());
        let path = self.folder.join(format!("{next:06}-{}-{slot}.json", evidence.kind));
        let bytes = serde_json::to_vec_pretty(evidence).expect("evidence is plain data");
        std::fs::write(&path, bytes)?;
        Ok(path)
    }

    /// File names in the order of their numbers.
    fn names(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.folder)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if number(&name).is_some() {
                names.push(name);
            }
        }
        names.sort_by_key(|name| number(name));
        Ok(names)
    }
}

fn number(name: &str) -> Option<u64> {
    name.split('-').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_evidence_makes_room() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut keeper = EvidenceFolder::in_folder(folder.path());
        keeper.kept = 3;
        for slot in 1..=5 {
            let evidence = Evidence {
                time_ms: 0,
                kind: "statement",
                slot: Some(slot),
                reason: "wrong".into(),
                message: serde_json::json!({"amount": slot}),
            };
            keeper.keep(&evidence).expect("written");
        }
        let names = keeper.names().expect("there");
        assert_eq!(
            names,
            ["000003-statement-3.json", "000004-statement-4.json", "000005-statement-5.json"]
        );
    }
}
