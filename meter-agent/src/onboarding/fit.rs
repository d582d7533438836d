//! Whether a map is right for a device, judged by what the device says through it.
//!
//! Registers of the wrong device decode to numbers, too. What gives them away is physics: a mains
//! frequency is 50 or 60 Hz, a phase has some 230 V, the phases add up to the total, and no phase
//! carries more power than its voltage and current allow. A map whose numbers break such a rule is not
//! meant; one whose numbers keep several that chance would not keep, is.

use std::fmt;

use serde::Serialize;

use crate::check::{FigureCheck, figures, lacks};
use crate::config::Role;
use crate::device::{DeviceMap, Identity, Observed, Purpose, Quantity, Readout, Trait, Transport};

/// Powers below this say nothing about whether they add up, mW.
const FAINT_MW: i64 = 30_000;

/// How sure it is that a map is the right one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Confidence {
    /// Something speaks against it.
    No,
    /// Nothing speaks against it, and little for it.
    Possible,
    /// Several figures are what only the right registers would show.
    Likely,
    /// The device says itself that it is this one, or of this standard.
    Certain,
}

impl fmt::Display for Confidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::No => "does not fit",
            Self::Possible => "possible",
            Self::Likely => "likely",
            Self::Certain => "certain",
        })
    }
}

/// How a map fits a device.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Fit {
    /// The map.
    pub map: String,
    /// Its name, for people.
    pub name: String,
    /// How far the map itself can be trusted.
    pub status: String,
    /// Figures of the map that nobody has checked.
    pub unverified: Vec<String>,
    /// How sure it is.
    pub confidence: Confidence,
    /// The sum of what speaks for and against it.
    pub score: i32,
    /// What speaks for it.
    pub reasons: Vec<String>,
    /// What speaks against it.
    pub against: Vec<String>,
    /// What it could be to the household, by what it tells.
    pub roles: Vec<Role>,
    /// What it could be, by what the map is for.
    #[serde(skip)]
    pub suits: Vec<Role>,
    /// What the device says through it.
    pub figures: Vec<FigureCheck>,
}

/// Every role a device can have.
const ROLES: [Role; 4] = [Role::Meter, Role::Pv, Role::Battery, Role::Charger];

const fn suits(purpose: Option<Purpose>, role: Role) -> bool {
    match purpose {
        None => true,
        Some(purpose) => matches!(
            (purpose, role),
            (Purpose::Meter, Role::Meter)
                | (Purpose::Pv, Role::Pv)
                | (Purpose::Battery, Role::Battery)
                | (Purpose::Charger, Role::Charger)
        ),
    }
}

/// What speaks for and against, so far.
#[derive(Default)]
struct Evidence {
    score: i32,
    /// The device has said by name or standard what it is.
    named: bool,
    reasons: Vec<String>,
    against: Vec<String>,
}

impl Evidence {
    fn for_it(&mut self, points: i32, reason: String) {
        self.score += points;
        self.reasons.push(reason);
    }

    fn against_it(&mut self, reason: String) {
        self.score -= 40;
        self.against.push(reason);
    }
}

/// Judges a map by what a device said through it. `unit` is where the device was found.
#[must_use]
pub fn judge(map: &DeviceMap, told: &Readout, identity: &Identity, unit: Option<u8>) -> Fit {
    let mut evidence = Evidence::default();
    names(map, identity, &mut evidence);
    if unit.is_some_and(|unit| {
        map.modbus.as_ref().is_some_and(|rules| rules.units.first() == Some(&unit))
    }) {
        evidence.score += 1;
    }
    mains(told, &mut evidence);
    phases(told, &mut evidence);
    bounds(told, &mut evidence);
    let suits: Vec<Role> = ROLES.into_iter().filter(|&role| suits(map.purpose, role)).collect();
    let able = |role: &Role| lacks(*role, told).is_empty();
    let roles = suits.iter().copied().filter(able).collect();
    let confidence = match &evidence {
        Evidence { against, .. } if !against.is_empty() => Confidence::No,
        Evidence { named: true, .. } => Confidence::Certain,
        Evidence { score, .. } if *score >= 20 => Confidence::Likely,
        _ => Confidence::Possible,
    };
    Fit {
        map: map.id.clone(),
        name: map.name.clone(),
        status: map.status.to_string(),
        unverified: map.unverified(),
        confidence,
        score: evidence.score,
        reasons: evidence.reasons,
        against: evidence.against,
        roles,
        suits,
        figures: figures(told),
    }
}

/// The first word of a map's name, when it is a maker's.
pub(super) fn maker(map: &DeviceMap) -> Option<String> {
    let word = map.name.split([' ', ',', ':']).next().unwrap_or_default().to_lowercase();
    (!word.is_empty() && word != "sunspec").then_some(word)
}

/// What the device calls itself.
fn names(map: &DeviceMap, identity: &Identity, evidence: &mut Evidence) {
    let expected = |identify: &&crate::device::Identify| !identify.expect.is_empty();
    for identify in map.identify.iter().filter(expected) {
        // Another answer than the expected one would have ended the asking.
        if let Some(found) = identity.get(identify.is) {
            evidence.named = true;
            evidence.for_it(40, format!("its {} is {found:?}", identify.is));
        }
    }
    if map.transport != Transport::Sunspec {
        return;
    }
    evidence.named = true;
    evidence.for_it(30, "it has the SunSpec models".to_owned());
    let Some(maker) = maker(map) else { return };
    let Some(found) = identity.get(Trait::Manufacturer) else {
        // It may be of this maker; the standard's own map is the safer guess.
        evidence.score -= 20;
        return;
    };
    if found.to_lowercase().contains(&maker) {
        evidence.for_it(20, format!("its manufacturer is {found:?}"));
    } else {
        evidence.against_it(format!("its manufacturer is {found:?}, the map is for {maker}"));
    }
}

fn value(told: &Readout, quantity: Quantity) -> Option<i64> {
    told.observed(quantity).as_value().copied()
}

const VOLTAGES: [Quantity; 3] = [Quantity::VoltageL1, Quantity::VoltageL2, Quantity::VoltageL3];
const CURRENTS: [Quantity; 3] = [Quantity::CurrentL1, Quantity::CurrentL2, Quantity::CurrentL3];
const POWERS: [Quantity; 3] = [Quantity::PowerL1, Quantity::PowerL2, Quantity::PowerL3];

/// Frequency and voltages. Zero is what is not connected, and says nothing.
fn mains(told: &Readout, evidence: &mut Evidence) {
    if let Some(frequency) = value(told, Quantity::Frequency).filter(|&mhz| mhz != 0) {
        let shown = Quantity::Frequency.shown(frequency);
        if (45_000..=66_000).contains(&frequency) {
            evidence.for_it(12, format!("{shown} is a mains frequency"));
        } else {
            evidence.against_it(format!("{shown} is no mains frequency"));
        }
    }
    let mut seen = 0;
    for quantity in VOLTAGES {
        let Some(voltage) = value(told, quantity).filter(|&mv| mv != 0) else { continue };
        if (85_000..=300_000).contains(&voltage) {
            seen += 1;
        } else {
            let shown = quantity.shown(voltage);
            evidence.against_it(format!("{quantity} of {shown} is no mains voltage"));
        }
    }
    if seen > 0 {
        let many =
            if seen == 1 { "one phase has".to_owned() } else { format!("{seen} phases have") };
        evidence.for_it(8 + 2 * seen, format!("{many} a mains voltage"));
    }
}

/// Whether the phases and the total belong together.
fn phases(told: &Readout, evidence: &mut Evidence) {
    let powers: Vec<i64> = POWERS.iter().filter_map(|&phase| value(told, phase)).collect();
    if let Some(total) = value(told, Quantity::Power).filter(|_| !powers.is_empty()) {
        let sum: i64 = powers.iter().fold(0, |sum, &power| sum.saturating_add(power));
        let off = sum.saturating_sub(total).unsigned_abs();
        let size = sum.unsigned_abs().max(total.unsigned_abs());
        let faint = FAINT_MW.unsigned_abs();
        if off > (size / 10).max(2 * faint) {
            let (sum, total) = (Quantity::Power.shown(sum), Quantity::Power.shown(total));
            evidence.against_it(format!("the phases make {sum}, the total says {total}"));
        } else if size > faint && powers.len() > 1 {
            evidence.for_it(15, "the phases add up to the total".to_owned());
        }
    }
    for ((&power, &voltage), &current) in POWERS.iter().zip(&VOLTAGES).zip(&CURRENTS) {
        let (Some(power_mw), Some(voltage_mv), Some(current_ma)) =
            (value(told, power), value(told, voltage), value(told, current))
        else {
            continue;
        };
        let most = i128::from(voltage_mv) * i128::from(current_ma.abs()) / 1_000;
        let most = most + most / 5 + i128::from(2 * FAINT_MW);
        if i128::from(power_mw.abs()) > most {
            let shown = power.shown(power_mw);
            evidence.against_it(format!("{power} of {shown} is more than voltage times current"));
        } else if power_mw.abs() > FAINT_MW {
            evidence.score += 3;
        }
    }
}

/// Figures that no device can have.
fn bounds(told: &Readout, evidence: &mut Evidence) {
    for (quantity, figure) in told.iter() {
        let value = match &figure.value {
            Observed::Value(value) => *value,
            Observed::Absent(_) => continue,
            Observed::Fault(what) => {
                evidence.against_it(format!("{quantity}: {what}"));
                continue;
            }
        };
        let (least, most) = match quantity.canonical_unit() {
            // A megawatt and a terawatt-hour: no house has them.
            "mW" | "mvar" | "mVA" => (-1_000_000_000, 1_000_000_000),
            "mWh" => (0, 1_000_000_000_000_000),
            "permille" => (0, 1_000),
            "mA" => (-2_000_000, 2_000_000),
            "thousandths" => (-1_001, 1_001),
            "mdegC" => (-60_000, 200_000),
            _ => continue,
        };
        if !(least..=most).contains(&value) {
            evidence.against_it(format!("{quantity} cannot be {}", quantity.shown(value)));
        } else if quantity.canonical_unit() == "mWh" && value > 0 {
            evidence.score += 1;
        }
    }
}
