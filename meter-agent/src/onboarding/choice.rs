//! Which of the maps that fit is taken when nobody says.
//!
//! Only one that leaves no doubt: another map that fits as well and says something else about power or
//! energy needs a person's word. Where several say the same, the one that tells most is taken.

use super::fit::{Confidence, Fit};
use super::probe::{ProbeReport, UnitReport};
use crate::check::needed;
use crate::config::Role;
use crate::device::Quantity;

/// A map that scores so much less than the best is no rival.
const CLEARLY: i32 = 10;
/// Two readings of the same thing through two maps may differ by so much, per cent, because time goes
/// by; and by this in the canonical unit (100 W, 100 Wh).
const DRIFT_PERCENT: u64 = 10;
const DRIFT: u64 = 100_000;

/// What is looked for.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// What it shall be to the household.
    pub role: Role,
    /// The map that was named.
    pub map: Option<&'a str>,
    /// Export may be missing: nothing can flow back.
    pub no_export: bool,
    /// Counters may be missing: power is summed up.
    pub integrate_power: bool,
}

impl Wanted<'_> {
    /// Whether a map tells what the role needs.
    fn is_met_by(&self, fit: &Fit) -> bool {
        let lacks = |quantity: &Quantity| value(fit, *quantity).is_none();
        let forgiven = |quantity: &Quantity| match quantity {
            Quantity::EnergyExport => self.no_export || self.integrate_power,
            Quantity::EnergyImport => self.integrate_power,
            _ => false,
        };
        fit.roles.contains(&self.role)
            || fit.suits.contains(&self.role)
                && needed(self.role).iter().all(|quantity| !lacks(quantity) || forgiven(quantity))
    }
}

/// A map and the unit it was found at.
#[derive(Debug, Clone, PartialEq)]
pub struct Choice {
    /// Unit id.
    pub unit: u8,
    /// How it fits.
    pub fit: Fit,
    /// Further maps that say the same.
    pub same: Vec<String>,
}

/// Why no map was taken.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum NoChoice {
    /// Nothing here can play the role.
    #[error(
        "nothing at {place} can be the {role}: {found}. Name the right unit (…/2) or a map (--map, \
         see `meter-agent map list`) if you know better"
    )]
    Nothing {
        /// Where was looked.
        place: String,
        /// For what.
        role: &'static str,
        /// What was there instead.
        found: String,
    },
    /// Several could, and they do not agree.
    #[error(
        "several maps fit and do not say the same, so you have to choose: {}. Compare with the \
         device's display and say it again with --map and the unit",
        .0.join("; ")
    )]
    Several(Vec<String>),
    /// The map that was named does not fit.
    #[error("map {map:?} does not fit what is at {place}: {why}")]
    DoesNotFit {
        /// The map.
        map: String,
        /// Where was looked.
        place: String,
        /// What speaks against it.
        why: String,
    },
}

/// The word for a role in a sentence.
pub(super) const fn role_word(role: Role) -> &'static str {
    match role {
        Role::Meter => "meter",
        Role::Pv => "solar plant",
        Role::Battery => "battery",
        Role::Charger => "charging point",
    }
}

/// Takes a map for a role.
///
/// # Errors
/// [`NoChoice`].
pub fn choose(report: &ProbeReport, wanted: &Wanted<'_>) -> Result<Choice, NoChoice> {
    let role = wanted.role;
    let all = || report.units.iter().flat_map(|unit| unit.fits.iter().map(move |fit| (unit, fit)));
    if let Some(map) = wanted.map {
        return match all().filter(|(_, fit)| fit.map == map).max_by_key(|(_, fit)| fit.score) {
            Some((unit, fit)) if wanted.is_met_by(fit) => {
                Ok(Choice { unit: unit.unit, fit: fit.clone(), same: Vec::new() })
            }
            found => Err(does_not_fit(report, role, map, found.map(|(_, fit)| fit))),
        };
    }
    let mut able: Vec<(&UnitReport, &Fit)> = all()
        .filter(|(_, fit)| fit.confidence >= Confidence::Likely && wanted.is_met_by(fit))
        .collect();
    able.sort_by_key(|(unit, fit)| {
        let told = fit.figures.iter().filter(|figure| figure.value.is_some()).count();
        (std::cmp::Reverse((fit.score, told)), unit.unit, fit.map.clone())
    });
    let Some(&(unit, best)) = able.first() else { return Err(nothing(report, role)) };
    let rivals = able[1..].iter().filter(|(at, fit)| {
        let elsewhere = at.unit != unit.unit && !at.is_same_device(unit);
        elsewhere || fit.score > best.score - CLEARLY && !agree(best, fit)
    });
    let rivals: Vec<String> = rivals.map(|(at, fit)| told_of(at, fit)).collect();
    if rivals.is_empty() {
        let same = |(at, fit): &&(&UnitReport, &Fit)| at.unit == unit.unit && agree(best, fit);
        let same = able[1..].iter().filter(same).map(|(_, fit)| fit.map.clone()).collect();
        return Ok(Choice { unit: unit.unit, fit: best.clone(), same });
    }
    let several = std::iter::once(told_of(unit, best)).chain(rivals).collect();
    Err(NoChoice::Several(several))
}

fn told_of(unit: &UnitReport, fit: &Fit) -> String {
    let shown = |quantity: Quantity| {
        let value = value(fit, quantity)?;
        Some(format!("{quantity} {}", quantity.shown(value)))
    };
    let figures = [Quantity::Power, Quantity::EnergyImport, Quantity::EnergyProduced];
    let figures: Vec<String> = figures.into_iter().filter_map(shown).collect();
    format!("{} at unit {} ({})", fit.map, unit.unit, figures.join(", "))
}

fn does_not_fit(report: &ProbeReport, role: Role, map: &str, fit: Option<&Fit>) -> NoChoice {
    let place = report.target.clone();
    let why = match fit {
        Some(fit) => {
            let lacks = needed(role).iter().filter(|quantity| value(fit, **quantity).is_none());
            let lacks: Vec<&str> = lacks.map(|quantity| quantity.as_str()).collect();
            if lacks.is_empty() {
                format!("it is not for a {}", role_word(role))
            } else {
                format!(
                    "it does not tell {}, which a {} must (--no-export: nothing can flow back; \
                     --integrate-power: sum up its power)",
                    lacks.join(" and "),
                    role_word(role)
                )
            }
        }
        None => {
            let refused = report.units.iter().flat_map(|unit| {
                unit.refused.iter().filter(|(id, _)| id == map).map(|(_, why)| why.clone())
            });
            let refused: Vec<String> = refused.collect();
            if refused.is_empty() {
                "it is not for a device that is asked over this kind of line".to_owned()
            } else {
                refused.join("; ")
            }
        }
    };
    NoChoice::DoesNotFit { map: map.to_owned(), place, why }
}

fn nothing(report: &ProbeReport, role: Role) -> NoChoice {
    let of_unit = |unit: &UnitReport| match unit.fits.first() {
        Some(fit) if fit.confidence > Confidence::No => {
            format!("unit {} is {} ({})", unit.unit, fit.name, fit.confidence)
        }
        _ => format!("unit {} answers, but no map fits it", unit.unit),
    };
    let found: Vec<String> = report.units.iter().map(of_unit).collect();
    let found = if found.is_empty() { "no unit answers".to_owned() } else { found.join("; ") };
    NoChoice::Nothing { place: report.target.clone(), role: role_word(role), found }
}

fn value(fit: &Fit, quantity: Quantity) -> Option<i64> {
    fit.figures.iter().find(|figure| figure.quantity == quantity.as_str())?.value
}

/// Whether two maps say the same of what is settled and shown.
fn agree(one: &Fit, other: &Fit) -> bool {
    let matter = [
        Quantity::Power,
        Quantity::EnergyImport,
        Quantity::EnergyExport,
        Quantity::EnergyProduced,
        Quantity::StateOfCharge,
    ];
    matter.into_iter().all(|quantity| match (value(one, quantity), value(other, quantity)) {
        (Some(one), Some(other)) => {
            let size = one.unsigned_abs().max(other.unsigned_abs());
            one.abs_diff(other) <= (size / 100 * DRIFT_PERCENT).max(DRIFT)
        }
        _ => true,
    })
}
