//! How the members of a demo share, as a person types it.

use std::collections::BTreeMap;
use std::path::Path;
use std::str::FromStr;

use anyhow::Context;
use market::sharing::{KEYS_TOTAL, Key, Keys, Rounds, Rule, Sharing};
use units::{PointId, split};

/// What members pay each other, and how the grid operator allocates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SharingChoice {
    /// A rule, and a key by its kind.
    Words(Rule, KeyKind),
    /// As a community writes it down.
    Written(Sharing),
}

/// Keys that need no names of members.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum KeyKind {
    /// Nothing is allocated.
    #[default]
    None,
    /// In proportion to consumption.
    ProRata,
    /// The same fixed part for everybody, in one round.
    Static,
    /// As the auction traded, then in proportion.
    Pairs,
}

impl FromStr for KeyKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "none" => Ok(Self::None),
            "pro-rata" => Ok(Self::ProRata),
            "static" => Ok(Self::Static),
            "pairs" => Ok(Self::Pairs),
            _ => Err(
                "choose none, pro-rata, static (equal parts) or pairs; other keys name members \
                      and are written in a file for --sharing"
                    .to_owned(),
            ),
        }
    }
}

impl Default for SharingChoice {
    fn default() -> Self {
        Self::Words(Rule::default(), KeyKind::default())
    }
}

impl SharingChoice {
    /// Reads a file with `rule` and `key` as in a controller's `[sharing]`.
    ///
    /// # Errors
    /// What is wrong with the file, and where.
    pub fn read(file: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(file)
            .with_context(|| format!("cannot read {}", file.display()))?;
        let sharing = toml::from_str(&text)
            .with_context(|| format!("{} is no rule and key", file.display()))?;
        Ok(Self::Written(sharing))
    }

    /// Whether members place orders.
    #[must_use]
    pub const fn takes_orders(&self) -> bool {
        match self {
            Self::Words(rule, _) | Self::Written(Sharing { rule, .. }) => rule.takes_orders(),
        }
    }

    /// As the controller's configuration has it, for these members.
    #[must_use]
    pub fn of(&self, members: &[PointId]) -> Sharing {
        match self {
            Self::Written(sharing) => sharing.clone(),
            Self::Words(rule, kind) => Sharing { rule: *rule, key: kind.key(members) },
        }
    }
}

impl KeyKind {
    fn key(self, members: &[PointId]) -> Key {
        match self {
            Self::None => Key::None,
            Self::ProRata => Key::ProRata,
            Self::Static => Key::Static { keys: equal(members), rounds: Rounds::default() },
            Self::Pairs => Key::Pairs { then: Box::new(Key::ProRata) },
        }
    }
}

/// The same part for everybody, to the last millionth.
fn equal(members: &[PointId]) -> Keys {
    let parts = split(i64::from(KEYS_TOTAL), &vec![1; members.len()], |i| i);
    let part = |part: i64| u32::try_from(part).expect("at most a million");
    let keys: BTreeMap<PointId, u32> =
        members.iter().cloned().zip(parts.into_iter().map(part)).collect();
    Keys::new(keys).expect("a street has members, and their parts are everything")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_typed_is_what_the_street_shares_by() {
        let members: Vec<PointId> =
            ["A", "B", "C"].into_iter().map(|name| PointId::new(name).expect("valid")).collect();
        let typed = |rule: &str, key: &str| {
            let words = SharingChoice::Words(rule.parse().expect(rule), key.parse().expect(key));
            words.of(&members)
        };
        assert_eq!(typed("auction", "none"), Sharing::default());
        let equal = typed("mid-market", "static");
        assert_eq!(equal.rule, Rule::MidMarket);
        let Key::Static { keys, .. } = &equal.key else { panic!("{:?}", equal.key) };
        let parts: Vec<u32> = members.iter().map(|point| keys.part(point)).collect();
        assert_eq!((parts.iter().sum::<u32>(), parts[2]), (KEYS_TOTAL, 333_333));
        assert!("lottery".parse::<KeyKind>().is_err());

        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("sharing.toml");
        std::fs::write(&file, "rule = \"none\"\nkey = { cascade = { levels = [[\"A\"]] } }")
            .expect("written");
        let written = SharingChoice::read(&file).expect("read");
        assert!(!written.takes_orders());
        assert_eq!(written.of(&members).key.name(), "cascade");
        std::fs::write(&file, "rule = \"lottery\"").expect("written");
        let told = format!("{:#}", SharingChoice::read(&file).expect_err("no rule"));
        assert!(told.contains("sharing.toml") && told.contains("lottery"), "{told}");
    }
}
