//! Names of things: short, printable, and safe inside a topic, a path or a URL.

use std::fmt;

/// Why a text is no identifier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidId {
    kind: &'static str,
    text: String,
}

impl fmt::Display for InvalidId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?} is not a {}: use 1 to {MAX_LENGTH} letters, digits, '-', '_' or '.'",
            self.text, self.kind
        )
    }
}

impl std::error::Error for InvalidId {}

/// Longest identifier, in characters.
const MAX_LENGTH: usize = 48;

fn is_valid(text: &str) -> bool {
    (1..=MAX_LENGTH).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $kind:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
        #[cfg_attr(feature = "serde", serde(try_from = "String", into = "String"))]
        pub struct $name(String);

        impl $name {
            /// Accepts 1 to 48 ASCII letters, digits, `-`, `_` or `.`.
            ///
            /// # Errors
            /// [`InvalidId`] names the text and the rule.
            pub fn new(text: impl Into<String>) -> Result<Self, InvalidId> {
                let text = text.into();
                if is_valid(&text) {
                    Ok(Self(text))
                } else {
                    Err(InvalidId { kind: $kind, text })
                }
            }

            /// The identifier as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;
            fn try_from(text: String) -> Result<Self, InvalidId> {
                Self::new(text)
            }
        }

        impl std::str::FromStr for $name {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                Self::new(text)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0
            }
        }
    };
}

id!(
    /// A metering point: the grid connection of one household or business.
    PointId, "metering point id"
);
id!(
    /// A node of the low-voltage network.
    BusId, "bus id"
);
id!(
    /// An energy community: one market, one ledger, one log.
    CommunityId, "community id"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_short_plain_names_are_ids() {
        for good in ["C001", "DE-0001_x.2", "a"] {
            assert_eq!(PointId::new(good).expect("valid").as_str(), good);
        }
        for bad in ["", "a/b", "a+b", "#", "grün", " a", &"x".repeat(49)] {
            assert!(PointId::new(bad).is_err(), "{bad:?} must be refused");
        }
    }
}
