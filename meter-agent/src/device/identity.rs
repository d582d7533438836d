//! Which device it is: its maker, model, serial number and software, as its registers tell.
//!
//! A gateway may answer for another unit than was asked, and a meter may be exchanged over night. A
//! map can name the registers that tell a device from others; they are read again after every new
//! connection, before any figure is trusted.

use std::collections::BTreeMap;
use std::fmt;

use super::map::{DeviceMap, Identify, Trait, TraitType, When};
use super::plan::Span;

/// Longest trait that is kept, in characters.
const MAX_TRAIT: usize = 64;

/// The traits of a device that are known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identity(BTreeMap<Trait, String>);

/// The device is another one than the map is for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "its {what} is {found:?}, but this map is for {}: choose another map, or check host and unit",
    expected.join(" or ")
)]
pub struct NotThisDevice {
    /// Which trait.
    pub what: Trait,
    /// What the device says.
    pub found: String,
    /// What the map wants.
    pub expected: Vec<String>,
}

impl fmt::Display for Trait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Manufacturer => "manufacturer",
            Self::Model => "model",
            Self::Serial => "serial number",
            Self::Firmware => "firmware",
        })
    }
}

impl Identity {
    /// One trait, when it is known.
    #[must_use]
    pub fn get(&self, which: Trait) -> Option<&str> {
        self.0.get(&which).map(String::as_str)
    }

    /// Everything that is known.
    pub fn iter(&self) -> impl Iterator<Item = (Trait, &str)> {
        self.0.iter().map(|(&which, text)| (which, text.as_str()))
    }

    /// Takes the registers of one trait. An empty text tells nothing.
    ///
    /// # Errors
    /// [`NotThisDevice`] when the map is for another device.
    pub fn learn(&mut self, identify: &Identify, words: &[u16]) -> Result<(), NotThisDevice> {
        let found = match (identify.kind, words) {
            (TraitType::Text, words) => text(words),
            (TraitType::Uint16, [word, ..]) => word.to_string(),
            (TraitType::Uint32, [high, low, ..]) => {
                (u32::from(*high) << 16 | u32::from(*low)).to_string()
            }
            _ => String::new(),
        };
        let fits = |pattern: &String| matches(pattern, &found);
        if !identify.expect.is_empty() && !identify.expect.iter().any(fits) {
            let expected = identify.expect.clone();
            return Err(NotThisDevice { what: identify.is, found, expected });
        }
        if !found.is_empty() {
            self.0.insert(identify.is, found);
        }
        Ok(())
    }

    /// The first trait in which this is another device than `before`: trait, then, now. New
    /// software makes no other device.
    #[must_use]
    pub fn differs_from<'a>(&'a self, before: &'a Self) -> Option<(Trait, &'a str, &'a str)> {
        self.iter()
            .filter(|(which, _)| *which != Trait::Firmware)
            .filter_map(|(which, now)| Some((which, before.get(which)?, now)))
            .find(|(_, then, now)| then != now)
    }
}

/// Where the registers of a trait are.
#[must_use]
pub const fn span(identify: &Identify) -> Span {
    let count = match identify.kind {
        TraitType::Text => identify.registers,
        TraitType::Uint16 => 1,
        TraitType::Uint32 => 2,
    };
    Span { address: identify.at, count }
}

/// Which function code reads a trait.
#[must_use]
pub fn function(map: &DeviceMap, identify: &Identify) -> u8 {
    identify.function.or(map.modbus.as_ref().map(|rules| rules.function)).unwrap_or(3)
}

/// Characters of registers, up to the first NUL; what cannot be shown becomes `?`.
fn text(words: &[u16]) -> String {
    let shown: String = words
        .iter()
        .flat_map(|word| word.to_be_bytes())
        .take_while(|&byte| byte != 0)
        .map(|byte| if (b' '..=b'~').contains(&byte) { char::from(byte) } else { '?' })
        .take(MAX_TRAIT)
        .collect();
    shown.trim().to_owned()
}

/// Whether a text is the pattern, where `*` at its end stands for anything. Capitals do not matter.
fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.to_ascii_lowercase(), text.to_ascii_lowercase());
    match pattern.strip_suffix('*') {
        Some(start) => text.starts_with(start),
        None => text == pattern,
    }
}

impl When {
    /// Whether the condition holds; what is not known holds nothing.
    #[must_use]
    pub fn holds(&self, identity: &Identity) -> bool {
        let model = identity.get(Trait::Model);
        let is_model =
            model.is_some_and(|model| self.model.iter().any(|pattern| matches(pattern, model)));
        let firmware = identity.get(Trait::Firmware).map(version);
        let is_from = |from: &String| firmware.as_ref().is_some_and(|own| *own >= version(from));
        let is_before = |end: &String| firmware.as_ref().is_some_and(|own| *own < version(end));
        (self.model.is_empty() || is_model)
            && self.firmware_from.as_ref().is_none_or(is_from)
            && self.firmware_before.as_ref().is_none_or(is_before)
    }
}

/// The numbers in a version, so that 1.10 comes after 1.9.
fn version(text: &str) -> Vec<u64> {
    text.split(|c: char| !c.is_ascii_digit())
        .filter(|part| !part.is_empty())
        .map(|part| part.parse().unwrap_or(u64::MAX))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(expect: &[&str]) -> Identify {
        Identify {
            is: Trait::Model,
            models: Vec::new(),
            function: None,
            at: 5,
            kind: TraitType::Text,
            registers: 4,
            expect: expect.iter().map(|&text| text.to_owned()).collect(),
        }
    }

    #[test]
    fn a_device_is_told_by_its_registers() {
        let words = [0x5355, 0x4e32, 0x3030, 0x3000];
        let mut identity = Identity::default();
        assert_eq!(identity.learn(&model(&["sun2000*"]), &words), Ok(()));
        assert_eq!(identity.get(Trait::Model), Some("SUN2000"));
        let other = identity.learn(&model(&["X", "Y*"]), &words).expect_err("another");
        assert_eq!(
            other.to_string(),
            "its model is \"SUN2000\", but this map is for X or Y*: choose another map, or check \
             host and unit"
        );
        assert_eq!(span(&model(&[])), Span { address: 5, count: 4 });
        let serial = Identify { is: Trait::Serial, kind: TraitType::Uint32, ..model(&[]) };
        identity.learn(&serial, &[1, 2]).expect("any");
        let mut next = identity.clone();
        assert_eq!(next.differs_from(&identity), None);
        next.learn(&serial, &[1, 3]).expect("any");
        assert_eq!(next.differs_from(&identity), Some((Trait::Serial, "65538", "65539")));
        // Registers that say nothing do not make it another device.
        assert_eq!(next.learn(&Identify { is: Trait::Firmware, ..model(&[]) }, &[0, 0]), Ok(()));
        assert_eq!(next.get(Trait::Firmware), None);
    }

    #[test]
    fn conditions_compare_models_and_versions() {
        let mut identity = Identity::default();
        let when = |model: &str, from: Option<&str>, before: Option<&str>| When {
            model: if model.is_empty() { Vec::new() } else { vec![model.to_owned()] },
            firmware_from: from.map(str::to_owned),
            firmware_before: before.map(str::to_owned),
        };
        assert!(!when("A*", None, None).holds(&identity), "an unknown model is none");
        assert!(!when("", Some("1"), None).holds(&identity));
        identity.0.insert(Trait::Model, "A7".to_owned());
        identity.0.insert(Trait::Firmware, "V1.10.2".to_owned());
        for (condition, holds) in [
            (when("A*", None, None), true),
            (when("A", None, None), false),
            (when("", Some("1.9"), None), true),
            (when("", Some("1.11"), None), false),
            (when("A7", None, Some("1.10.3")), true),
            (when("A7", None, Some("1.10.2")), false),
        ] {
            assert_eq!(condition.holds(&identity), holds, "{condition:?}");
        }
    }
}
