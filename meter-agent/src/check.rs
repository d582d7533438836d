//! Reading every device once, to show a person what the agent would see.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use clock::Clock;
use serde::Serialize;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::agent::AgentError;
use crate::chance::Chance;
use crate::config::{Config, ConfigError, DeviceConfig, Role};
use crate::device::{Absence, Observed, Quantity, Readout};
use crate::modbus::Line;
use crate::poll::{self, Ask, Plan, Report, serve_broker, serve_line};
use crate::streams::serve_stream;

/// Quantities without which a device cannot play its role.
const NEEDED: [(Role, &[Quantity]); 3] = [
    (Role::Meter, &[Quantity::EnergyImport, Quantity::EnergyExport, Quantity::Power]),
    (Role::Pv, &[Quantity::EnergyProduced, Quantity::Power]),
    (Role::Battery, &[Quantity::Power, Quantity::StateOfCharge]),
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
    let trust: Vec<(String, Vec<String>)> =
        maps.iter().map(|map| (map.status.to_string(), map.unverified())).collect();
    let plan = Plan::of(config, maps)?;
    let mut pending_lines = plan.lines.len();
    let mut silent: BTreeSet<usize> =
        plan.brokers.iter().flat_map(|broker| broker.inboxes.iter().map(|(i, _)| *i)).collect();
    silent.extend(plan.streams.iter().map(|stream| stream.index));
    let (reports_in, mut reports) = mpsc::channel(64);
    let mut tasks = JoinSet::new();
    let mut asks = Vec::new();
    for line in plan.lines {
        let (ask, asked) = poll::asks();
        let _ = ask.try_send(Ask::Edge);
        asks.push(ask);
        let connection = Line::open(line.place.clone(), Chance::from_system());
        tasks.spawn(serve_line(line, connection, asked, reports_in.clone(), clock.clone()));
    }
    for broker in plan.brokers {
        let chance = Chance::from_system();
        tasks.spawn(serve_broker(broker, reports_in.clone(), clock.clone(), chance));
    }
    for stream in plan.streams {
        let chance = Chance::from_system();
        tasks.spawn(serve_stream(stream, reports_in.clone(), clock.clone(), chance));
    }
    let mut readouts: BTreeMap<usize, Readout> = BTreeMap::new();
    let mut failures: BTreeMap<usize, String> = BTreeMap::new();
    let collect = async {
        while pending_lines > 0 || !silent.is_empty() {
            match reports.recv().await {
                Some(Report::Device(index, Ok(readout))) => {
                    let known = readouts.entry(index).or_default();
                    known.merge(readout);
                    if problems(&config.devices[index], known).is_empty() {
                        silent.remove(&index);
                    }
                }
                Some(Report::Device(index, Err(reason))) => {
                    failures.insert(index, reason);
                }
                Some(Report::Done(_)) => pending_lines -= 1,
                None => break,
            }
        }
    };
    let _ = timeout(patience, collect).await;
    let check = |(index, (device, (map_status, unverified)))| {
        let readout = readouts.remove(&index).unwrap_or_default();
        let reason = failures.remove(&index);
        DeviceCheck { map_status, unverified, ..checked(device, &readout, reason) }
    };
    Ok(config.devices.iter().zip(trust).enumerate().map(check).collect())
}

/// What a device said, or why it said nothing.
fn checked(device: &DeviceConfig, readout: &Readout, reason: Option<String>) -> DeviceCheck {
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
