//! Reading every device once, to show a person what the agent would see.

use std::time::Duration;

use clock::Clock;
use serde::Serialize;

use crate::agent::AgentError;
use crate::config::{Config, ConfigError, DeviceConfig, Role};
use crate::device::{Absence, DeviceMap, Observed, Quantity, Readout, Registration};
use crate::onboarding::{Track, Watching};

/// Quantities without which a device cannot play its role.
const NEEDED: [(Role, &[Quantity]); 4] = [
    (Role::Meter, &[Quantity::EnergyImport, Quantity::EnergyExport, Quantity::Power]),
    (Role::Pv, &[Quantity::EnergyProduced, Quantity::Power]),
    (Role::Battery, &[Quantity::Power, Quantity::StateOfCharge]),
    (Role::Charger, &[Quantity::Power, Quantity::EnergyImport]),
];

/// What one device said.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DeviceCheck {
    /// Name in the configuration.
    pub device: String,
    /// Its role.
    pub role: Role,
    /// Its map.
    pub map: String,
    /// How far that map can be trusted.
    pub map_status: String,
    /// Figures of the map that nobody has checked.
    pub unverified: Vec<String>,
    /// Everything it said, in the order of [`Quantity::ALL`].
    pub figures: Vec<FigureCheck>,
    /// What keeps it from playing its role; empty when it can.
    pub problems: Vec<String>,
}

/// One quantity of a device.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FigureCheck {
    /// Which.
    pub quantity: &'static str,
    /// The value in `unit`, when there is one.
    pub value: Option<i64>,
    /// Canonical unit.
    pub unit: &'static str,
    /// Why there is no value.
    pub note: Option<String>,
}

/// Reads every device of a configuration once, waiting up to `patience` for those that speak when
/// they like.
///
/// # Errors
/// [`AgentError`] when the configuration cannot be used; a silent device is a problem in its check.
pub async fn check_devices(
    config: &Config,
    clock: Clock,
    patience: Duration,
) -> Result<Vec<DeviceCheck>, AgentError> {
    let maps = config.maps().map_err(ConfigError::from)?;
    let mut watching = Watching::start(config, &clock)?;
    let tracks = watching
        .watch(patience, |tracks| {
            let all = config.devices.iter().zip(&maps).zip(tracks);
            all.into_iter().all(|((device, map), track)| {
                let last = track.samples.last();
                let is_asked = map.transport.is_modbus();
                // One that speaks when it likes may say the rest in another message.
                let is_whole = last.is_some_and(|last| problems(device, last).is_empty());
                is_whole || is_asked && (last.is_some() || track.failure.is_some())
            })
        })
        .await;
    let check = |((device, map), track): ((&DeviceConfig, &DeviceMap), Track)| DeviceCheck {
        map_status: map.status.to_string(),
        unverified: map.unverified(),
        ..checked(device, track)
    };
    Ok(config.devices.iter().zip(&maps).zip(tracks).map(check).collect())
}

/// What a person should know before the agent runs with these devices, that is no mistake.
#[must_use]
pub fn warnings(config: &Config, maps: &[DeviceMap]) -> Vec<String> {
    let mut warnings = crate::control::warnings(config, maps);
    let meters = config.devices.iter().zip(maps).filter(|(device, _)| device.role == Role::Meter);
    for (device, map) in meters {
        let name = &device.name;
        if map.counters_reset() && !device.allow_resetting {
            warnings.push(format!(
                "{name}: its counters start again by themselves (every day, or without power), so what \
                 flowed around that moment can be lost. It is not settled on unless you say \
                 allow_resetting = true for it"
            ));
        }
        match map.registration {
            Some(Registration::PerPhase) => warnings.push(format!(
                "{name}: it counts each phase on its own, and runs faster than your bill's meter when \
                 one phase feeds in while another draws"
            )),
            Some(Registration::Unknown) => warnings.push(format!(
                "{name}: nobody knows whether it sums its phases as your bill's meter does; `sign-test` \
                 shows it when phases flow in opposite directions"
            )),
            Some(Registration::Net) | None => {}
        }
    }
    warnings
}

/// What a device said, or why it said nothing.
fn checked(device: &DeviceConfig, track: Track) -> DeviceCheck {
    let Track { mut samples, failure: reason } = track;
    let readout = &samples.pop().unwrap_or_default();
    let problems = problems(device, readout);
    DeviceCheck {
        device: device.name.clone(),
        role: device.role,
        map: device.map.clone(),
        map_status: String::new(),
        unverified: Vec::new(),
        figures: figures(readout),
        problems: match reason {
            Some(reason) if !problems.is_empty() => vec![reason],
            _ => problems,
        },
    }
}

/// What a readout says, as a person should see it.
pub(crate) fn figures(readout: &Readout) -> Vec<FigureCheck> {
    let figure = |(quantity, figure): (Quantity, &crate::device::Figure)| FigureCheck {
        quantity: quantity.as_str(),
        value: figure.value.as_value().copied(),
        unit: quantity.canonical_unit(),
        note: match &figure.value {
            Observed::Value(_) => None,
            other => Some(other.to_string()),
        },
    };
    readout.iter().map(figure).collect()
}

/// What a device that says this lacks for a role.
pub(crate) fn lacks(role: Role, readout: &Readout) -> Vec<Quantity> {
    // A generator that sleeps will say it by day.
    let missing = |quantity: &Quantity| {
        let observed = readout.observed(*quantity);
        observed.as_value().is_none() && observed != Observed::Absent(Absence::Asleep)
    };
    needed(role).iter().copied().filter(missing).collect()
}

/// Quantities without which a device cannot play a role.
pub(crate) fn needed(role: Role) -> &'static [Quantity] {
    NEEDED.iter().find(|(known, _)| *known == role).map_or(&[], |(_, needed)| needed)
}

fn problems(device: &DeviceConfig, readout: &Readout) -> Vec<String> {
    needed(device.role)
        .iter()
        .filter(|&&quantity| match quantity {
            Quantity::EnergyExport => !device.no_export && !device.integrate_power,
            Quantity::EnergyImport => !device.integrate_power,
            _ => true,
        })
        .filter_map(|&quantity| match readout.observed(quantity) {
            Observed::Value(_) => None,
            other => Some(format!("{quantity}: {other}")),
        })
        .collect()
}
