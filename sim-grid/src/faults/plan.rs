//! Which device misbehaves when: read from a file, checked against the street.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::Fault;
use super::wire::Active;
use crate::faces::{Face, FaceKind, UnitRole};
use crate::scenario::parse_minute;

/// Most spells of a plan.
const MAX_SPELLS: usize = 10_000;
/// Largest file that is read, bytes.
const MAX_BYTES: u64 = 1 << 20;

/// Why a plan is refused.
#[derive(Debug, thiserror::Error)]
pub enum FaultsError {
    /// The file cannot be read.
    #[error("{}: {source}", file.display())]
    Read {
        /// Which.
        file: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It is no TOML, or has keys and values that nobody knows.
    #[error("{}, line {line}: {reason}; docs/faults.md lists every fault and its keys", file.display())]
    Syntax {
        /// Which file.
        file: PathBuf,
        /// Line, from 1.
        line: usize,
        /// What is wrong.
        reason: String,
    },
    /// It can be read, and what it says is impossible.
    #[error("{}, fault {number}: {key}: {reason}", file.display())]
    Impossible {
        /// Which file.
        file: PathBuf,
        /// Which fault, from 1 in the order of the file.
        number: usize,
        /// The key.
        key: &'static str,
        /// What is wrong, and what to do.
        reason: String,
    },
}

/// One fault of one or several devices over a span of time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spell {
    /// The customer; none: every house that it suits.
    pub customer: Option<String>,
    /// The device; none: all of the house.
    pub device: Option<UnitRole>,
    /// When it begins, market time, Unix milliseconds.
    pub from_ms: i64,
    /// When it is over.
    pub until_ms: i64,
    /// Share of the requests or messages that it happens to, percent.
    pub chance_percent: u8,
    /// What it is.
    pub fault: Fault,
}

impl Spell {
    /// A fault that happens every time, from the start to the end of time, to every house.
    #[must_use]
    pub const fn always(fault: Fault) -> Self {
        let (from_ms, until_ms) = (i64::MIN, i64::MAX);
        Self { customer: None, device: None, from_ms, until_ms, chance_percent: 100, fault }
    }

    /// Whether it lasts at a moment.
    #[must_use]
    pub const fn lasts_at(&self, market_ms: i64) -> bool {
        self.from_ms <= market_ms && market_ms < self.until_ms
    }

    /// Whether it is one of this house, and suits it.
    #[must_use]
    pub fn concerns(&self, face: &Face) -> bool {
        let named = self.customer.as_ref().is_none_or(|name| name == face.customer.as_str());
        named && self.misfit(face).is_none()
    }

    /// Why it cannot happen in a house, if it cannot.
    fn misfit(&self, face: &Face) -> Option<(&'static str, String)> {
        let units = face.kind.units();
        let Some(device) = self.device else { return self.unsuited(&face.kind) };
        let has_units = !units.is_empty() || device == UnitRole::Meter;
        if !has_units || !units.is_empty() && face.kind.unit_of(device).is_none() {
            let has: Vec<String> = units.iter().map(|unit| unit.role.to_string()).collect();
            let has = if has.is_empty() { "a meter".to_owned() } else { has.join(", ") };
            return Some(("device", format!("{} has no {device}; it has: {has}", face.customer)));
        }
        if self.fault.is_of_the_port() {
            let reason = "this fault is one of the port; leave the device out".to_owned();
            return Some(("device", reason));
        }
        self.unsuited(&face.kind)
    }

    fn unsuited(&self, kind: &FaceKind) -> Option<(&'static str, String)> {
        let speaks_sunspec = match (kind, self.device) {
            (FaceKind::SunSpec { .. }, _) => true,
            (FaceKind::Sdm630 { .. }, Some(device)) => device != UnitRole::Meter,
            _ => kind.unit_of(UnitRole::Inverter).is_some(),
        };
        let is_of_inverters = matches!(self.fault, Fault::AsleepAtNight {});
        let wanted = if is_of_inverters
            && (self.device.is_some_and(|device| device != UnitRole::Inverter)
                || kind.unit_of(UnitRole::Inverter).is_none())
        {
            "an inverter"
        } else if self.fault.is_on_the_wire() && kind.modbus_addr().is_none() {
            "a device that is asked over Modbus"
        } else if self.fault.is_of_messages() && kind.modbus_addr().is_some() {
            "a meter that publishes"
        } else if matches!(self.fault, Fault::DeviceClock { .. })
            && !matches!(kind, FaceKind::Tasmota { .. } | FaceKind::Dsmr { .. })
        {
            "a meter with a clock in its messages"
        } else if matches!(self.fault, Fault::WordOrder {}) && kind.modbus_addr().is_none() {
            "a device that is asked over Modbus"
        } else if self.fault.is_of_sunspec() && !speaks_sunspec {
            "a SunSpec device"
        } else {
            return None;
        };
        Some(("what", format!("it needs {wanted}, and this house speaks {}", kind.name())))
    }

    /// The unit concerned in a house; none for all.
    pub(crate) fn unit(&self, kind: &FaceKind) -> Option<u8> {
        self.device.and_then(|device| kind.unit_of(device))
    }
}

impl fmt::Display for Spell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.device {
            Some(device) => write!(f, "the {device} {}", self.fault)?,
            None => write!(f, "every device {}", self.fault)?,
        }
        if self.chance_percent < 100 {
            write!(f, ", {} % of the time", self.chance_percent)?;
        }
        Ok(())
    }
}

/// All that goes wrong in a street.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FaultPlan {
    /// Draws what happens only now and then.
    pub seed: u64,
    /// The faults.
    pub spells: Vec<Spell>,
    /// Where they were read.
    file: PathBuf,
    /// Draws further faults for every house, up to this moment.
    campaign: Option<(u64, i64)>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    seed: u64,
    #[serde(default)]
    fault: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    customer: Option<String>,
    device: Option<UnitRole>,
    from: Option<String>,
    until: Option<String>,
    chance_percent: Option<u8>,
    what: Fault,
}

impl FaultPlan {
    /// Nothing goes wrong.
    #[must_use]
    pub const fn none() -> Self {
        Self { seed: 0, spells: Vec::new(), file: PathBuf::new(), campaign: None }
    }

    /// A plan of these faults.
    #[must_use]
    pub fn new(seed: u64, spells: Vec<Spell>) -> Self {
        Self { seed, spells, file: PathBuf::from("the campaign"), campaign: None }
    }

    /// A plan that is drawn when the street is known: all over it, until a moment of market time.
    #[must_use]
    pub fn campaign(seed: u64, until_ms: i64) -> Self {
        Self { seed, campaign: Some((seed, until_ms)), ..Self::none() }
    }

    /// The same plan with what its campaign draws for these houses from a moment on.
    pub(crate) fn drawn(mut self, faces: &[Face], from_ms: i64) -> Self {
        if let Some((seed, until_ms)) = self.campaign.take() {
            self.spells.extend(Self::draw(seed, faces, from_ms, until_ms).spells);
        }
        self
    }

    /// Reads a file.
    ///
    /// # Errors
    /// [`FaultsError`].
    pub fn load(file: &Path) -> Result<Self, FaultsError> {
        let fault = |source| FaultsError::Read { file: file.to_owned(), source };
        let size = std::fs::metadata(file).map_err(fault)?.len();
        if size > MAX_BYTES {
            let reason = format!("it has {size} bytes; a plan of faults has at most {MAX_BYTES}");
            return Err(fault(std::io::Error::other(reason)));
        }
        Self::parse(&std::fs::read_to_string(file).map_err(fault)?, file)
    }

    /// Reads the text of a file.
    ///
    /// # Errors
    /// [`FaultsError`], which names `file`.
    pub fn parse(text: &str, file: &Path) -> Result<Self, FaultsError> {
        let parsed: File = toml::from_str(text).map_err(|error| {
            let before = error.span().map_or(0, |span| span.start).min(text.len());
            FaultsError::Syntax {
                file: file.to_owned(),
                line: 1 + text.as_bytes()[..before].iter().filter(|byte| **byte == b'\n').count(),
                reason: error.message().to_owned(),
            }
        })?;
        let mut plan = Self { seed: parsed.seed, file: file.to_owned(), ..Self::none() };
        for (number, entry) in (1..).zip(parsed.fault) {
            let refuse = |(key, reason)| plan.impossible(number, key, reason);
            let spell = entry.spell().map_err(refuse)?;
            if number > MAX_SPELLS {
                return Err(refuse(("fault", format!("a plan has at most {MAX_SPELLS}"))));
            }
            plan.spells.push(spell);
        }
        Ok(plan)
    }

    fn impossible(&self, number: usize, key: &'static str, reason: String) -> FaultsError {
        FaultsError::Impossible { file: self.file.clone(), number, key, reason }
    }

    /// Checks that every fault can happen in this street.
    ///
    /// # Errors
    /// [`FaultsError::Impossible`].
    pub fn check(&self, faces: &[Face]) -> Result<(), FaultsError> {
        for (number, spell) in (1..).zip(&self.spells) {
            let Some(name) = &spell.customer else {
                if !faces.iter().any(|face| spell.concerns(face)) {
                    let reason = "no house of this street has a device that it suits".to_owned();
                    return Err(self.impossible(number, "what", reason));
                }
                continue;
            };
            let Some(face) = faces.iter().find(|face| face.customer.as_str() == name) else {
                let reason = format!("there is no {name}; customers.csv lists who there is");
                return Err(self.impossible(number, "customer", reason));
            };
            if let Some((key, reason)) = spell.misfit(face) {
                return Err(self.impossible(number, key, reason));
            }
        }
        Ok(())
    }

    /// What is the matter in a house at a moment, with the number of each spell.
    pub(crate) fn at<'p>(
        &'p self,
        face: &'p Face,
        market_ms: i64,
    ) -> impl Iterator<Item = (usize, &'p Spell)> {
        let lasts =
            move |(_, spell): &(usize, &Spell)| spell.lasts_at(market_ms) && spell.concerns(face);
        self.spells.iter().enumerate().filter(lasts)
    }

    /// What happens on the wire of a house at a moment, or to its messages.
    pub(crate) fn on_the_wire(&self, face: &Face, market_ms: i64) -> Vec<Active> {
        self.at(face, market_ms)
            .filter(|(_, spell)| spell.fault.is_on_the_wire() || spell.fault.is_of_messages())
            .map(|(_, spell)| Active {
                unit: spell.unit(&face.kind),
                fault: spell.fault.clone(),
                chance_percent: spell.chance_percent,
            })
            .collect()
    }

    /// Spells of this street by customer, as sentences for people.
    #[must_use]
    pub fn told(&self, faces: &[Face]) -> BTreeMap<String, Vec<String>> {
        let mut told: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for spell in &self.spells {
            for face in faces.iter().filter(|face| spell.concerns(face)) {
                told.entry(face.customer.to_string()).or_default().push(spell.to_string());
            }
        }
        told
    }
}

impl Entry {
    fn spell(self) -> Result<Spell, (&'static str, String)> {
        let moment = |key: &'static str, text: Option<String>, otherwise: i64| match text {
            None => Ok(otherwise),
            Some(text) => parse_minute(&text).map_err(|reason| (key, reason)),
        };
        let from_ms = moment("from", self.from, i64::MIN)?;
        if from_ms > i64::MIN && matches!(self.what, Fault::Rollover { .. }) {
            let reason = "a counter cannot begin to be near its end; leave it out".to_owned();
            return Err(("from", reason));
        }
        let until_ms = moment("until", self.until, i64::MAX)?;
        if until_ms <= from_ms {
            return Err(("until", "it is over before it begins".to_owned()));
        }
        let chance_percent = self.chance_percent.unwrap_or(100);
        if !(1..=100).contains(&chance_percent) {
            let reason = format!("{chance_percent} is not between 1 and 100");
            return Err(("chance_percent", reason));
        }
        if let Some(reason) = self.what.flaw() {
            return Err(("what", reason));
        }
        let (customer, device, fault) = (self.customer, self.device, self.what);
        Ok(Spell { customer, device, from_ms, until_ms, chance_percent, fault })
    }
}
