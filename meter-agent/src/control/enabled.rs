//! The owner's leave, as a value that cannot be had otherwise, and setpoints within its limits.

use crate::config::{ConfigError, ControlConfig, DeviceConfig, Role, invalid_value, range};
use crate::device::{Control, ControlKind, DeviceMap};

/// Longest and usual time without a message of the operator, seconds of market time: messages come
/// with every slot.
const OPERATOR_TIMEOUT_S: (u32, u32) = (7_200, 1_000);
/// How often a device without a watchdog is written to again, seconds.
const REPEATED_S: u32 = 60;
/// Least current that a car takes, mA (IEC 61851).
const LEAST_MA: i64 = 6_000;

/// The owner's leave to steer one device within limits. There is no other way to one than
/// [`Enabled::of`] with a configuration that says `enabled = true`:
///
/// ```compile_fail
/// let forged = meter_agent::control::Enabled { controls: Vec::new() };
/// ```
///
/// and no way to a writing request without one:
///
/// ```compile_fail
/// let write = meter_agent::modbus::Write { unit: 1, function: 6, address: 5, words: vec![0] };
/// ```
///
/// ```compile_fail
/// // The side that reads knows two functions, 3 and 4.
/// let function = meter_agent::modbus::Function::WriteMultiple;
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Enabled {
    kind: ControlKind,
    controls: Vec<Control>,
    /// Least and most of a setpoint, canonical unit.
    least: i64,
    most: i64,
    min_soc_permille: i64,
    max_soc_permille: i64,
    watchdog_s: Option<u32>,
    operator_timeout_ms: i64,
    max_export_mw: i64,
    phases: i64,
}

/// A setpoint within the owner's limits, canonical unit (mW or mA), in the project's sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setpoint(i64);

impl Setpoint {
    /// The number: mW (positive into the device, or from the grid), or mA.
    #[must_use]
    pub const fn value(self) -> i64 {
        self.0
    }
}

impl Enabled {
    /// The leave that a device's configuration gives; none when it does not.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`] when it is given for a device that cannot be steered, or without limits.
    pub fn of(device: &DeviceConfig, map: &DeviceMap) -> Result<Option<Self>, ConfigError> {
        let Some(config) = &device.control else { return Ok(None) };
        let key = format!("device {:?} control", device.name);
        let kinds: &[ControlKind] = match device.role {
            Role::Battery => &[ControlKind::BatteryPower, ControlKind::GridPower],
            Role::Pv => &[ControlKind::PvLimit],
            Role::Charger => &[ControlKind::CurrentLimit],
            Role::Meter => &[],
        };
        let controls: Vec<Control> = map.controls_of(kinds).cloned().collect();
        let Some(first) = controls.first() else {
            let problem = format!(
                "map {:?} has no way to steer this; remove the table or choose a map that has one \
                 (`meter-agent map show ID` says)",
                device.map
            );
            return Err(invalid_value(&key, problem));
        };
        check_numbers(&key, config, first)?;
        let (least, most) = limits(&key, config, first.kind)?;
        let kind = first.kind;
        if !config.enabled {
            return Ok(None);
        }
        let watchdog_s = controls
            .iter()
            .find_map(|control| control.watchdog)
            .map(|watchdog| config.watchdog_s.unwrap_or(watchdog.usual_s));
        let timeout_s = config.operator_timeout_s.unwrap_or(OPERATOR_TIMEOUT_S.1);
        Ok(Some(Self {
            kind,
            controls,
            least,
            most,
            min_soc_permille: i64::from(config.min_soc_percent.unwrap_or(0)) * 10,
            max_soc_permille: i64::from(config.max_soc_percent.unwrap_or(100)) * 10,
            watchdog_s,
            operator_timeout_ms: i64::from(timeout_s) * 1_000,
            max_export_mw: milli(config.max_export_w),
            phases: i64::from(config.phases.unwrap_or(3)),
        }))
    }

    /// What may be steered.
    #[must_use]
    pub const fn kind(&self) -> ControlKind {
        self.kind
    }

    /// The ways to do it, the best first.
    #[must_use]
    pub fn controls(&self) -> &[Control] {
        &self.controls
    }

    /// Most power into a battery, mW.
    #[must_use]
    pub const fn most(&self) -> i64 {
        self.most
    }

    /// Least setpoint: most power out of a battery, as a negative number, mW.
    #[must_use]
    pub const fn least(&self) -> i64 {
        self.least
    }

    /// A battery is neither discharged at or below the first of these nor charged at or above the
    /// second, tenths of a percent.
    #[must_use]
    pub const fn soc_permille(&self) -> (i64, i64) {
        (self.min_soc_permille, self.max_soc_permille)
    }

    /// The device's watchdog, seconds of real time; none when it has none.
    #[must_use]
    pub const fn watchdog_s(&self) -> Option<u32> {
        self.watchdog_s
    }

    /// After how much real time a setpoint is written again, milliseconds: a third of the watchdog.
    #[must_use]
    pub fn refresh_ms(&self) -> u64 {
        match self.watchdog_s {
            Some(seconds) => u64::from(seconds) * 1_000 / 3,
            None => u64::from(REPEATED_S) * 1_000,
        }
    }

    /// How old the newest message of the operator may be, milliseconds of market time.
    #[must_use]
    pub const fn operator_timeout_ms(&self) -> i64 {
        self.operator_timeout_ms
    }

    /// The most that the household may feed in, mW.
    #[must_use]
    pub const fn max_export_mw(&self) -> i64 {
        self.max_export_mw
    }

    /// Phases that a car charges on.
    #[must_use]
    pub const fn phases(&self) -> i64 {
        self.phases
    }

    /// The nearest setpoint that the owner allows, for limits of production and of current.
    #[must_use]
    pub fn within(&self, wanted: i64) -> Setpoint {
        Setpoint(wanted.clamp(self.least, self.most))
    }

    /// The setpoint for the nearest power of a battery that the owner allows while so much is in it.
    /// Where the device regulates the grid connection, what the house itself takes comes on top, mW.
    #[must_use]
    pub fn battery(&self, wanted_mw: i64, soc_permille: i64, house_mw: i64) -> Setpoint {
        let least = if soc_permille <= self.min_soc_permille { 0 } else { self.least };
        let most = if soc_permille >= self.max_soc_permille { 0 } else { self.most };
        let battery_mw = wanted_mw.clamp(least, most);
        match self.kind {
            ControlKind::GridPower => Setpoint(house_mw.saturating_add(battery_mw)),
            _ => Setpoint(battery_mw),
        }
    }
}

const fn milli(watts: Option<u32>) -> i64 {
    match watts {
        Some(watts) => watts as i64 * 1_000,
        None => 0,
    }
}

/// Least and most of a setpoint, as the owner has set them.
fn limits(key: &str, config: &ControlConfig, kind: ControlKind) -> Result<(i64, i64), ConfigError> {
    let needs = |name: &str| {
        let problem = format!("{name} is missing: nothing is steered without a limit");
        invalid_value(key, problem)
    };
    match kind {
        ControlKind::BatteryPower | ControlKind::GridPower => {
            let charge = config.max_charge_w.ok_or_else(|| needs("max_charge_w"))?;
            let discharge = config.max_discharge_w.ok_or_else(|| needs("max_discharge_w"))?;
            Ok((-milli(Some(discharge)), milli(Some(charge))))
        }
        ControlKind::PvLimit => {
            config.max_export_w.ok_or_else(|| needs("max_export_w"))?;
            let rated = config.rated_w.ok_or_else(|| needs("rated_w"))?;
            let least = milli(config.min_production_w);
            if least > milli(Some(rated)) {
                let problem = "min_production_w is more than rated_w".to_owned();
                return Err(invalid_value(key, problem));
            }
            Ok((least, milli(Some(rated))))
        }
        ControlKind::CurrentLimit => {
            let most = config.max_current_a.ok_or_else(|| needs("max_current_a"))?;
            range(&format!("{key} max_current_a"), u64::from(most), 6, 80)?;
            Ok((0, (i64::from(most) * 1_000).max(LEAST_MA)))
        }
    }
}

fn check_numbers(key: &str, config: &ControlConfig, control: &Control) -> Result<(), ConfigError> {
    let powers = [
        ("max_charge_w", config.max_charge_w),
        ("max_discharge_w", config.max_discharge_w),
        ("max_export_w", config.max_export_w),
        ("min_production_w", config.min_production_w),
        ("rated_w", config.rated_w),
    ];
    for (name, power) in powers {
        if let Some(power) = power {
            range(&format!("{key} {name}"), u64::from(power), 0, 10_000_000)?;
        }
    }
    let (min, max) = (config.min_soc_percent.unwrap_or(0), config.max_soc_percent.unwrap_or(100));
    if min >= max || max > 100 {
        let problem = "min_soc_percent must be below max_soc_percent, both 0 to 100".to_owned();
        return Err(invalid_value(key, problem));
    }
    if let Some(phases) = config.phases {
        range(&format!("{key} phases"), u64::from(phases), 1, 3)?;
    }
    if let Some(timeout_s) = config.operator_timeout_s {
        let most = u64::from(OPERATOR_TIMEOUT_S.0);
        range(&format!("{key} operator_timeout_s"), u64::from(timeout_s), 60, most)?;
    }
    match (config.watchdog_s, control.watchdog) {
        (Some(seconds), Some(own)) => {
            let (from, to) = (u64::from(own.from_s), u64::from(own.to_s));
            range(&format!("{key} watchdog_s"), u64::from(seconds), from, to)
        }
        (Some(_), None) => {
            let problem = "watchdog_s: this device has no watchdog".to_owned();
            Err(invalid_value(key, problem))
        }
        (None, _) => Ok(()),
    }
}
