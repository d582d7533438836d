//! `[[device]]`: what a device is to the household, and whether that can be.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::line::{LineTransport, check_line};
use super::{Config, ConfigError, ControlConfig, MqttConfig, broker, invalid, range};
use crate::control::Enabled;
use crate::device::{DeviceMap, Direction, Transport, WordOrder};
use crate::modbus::Place;
use crate::serial::SerialConfig;

/// Most devices of a household.
const MAX_DEVICES: usize = 256;

/// What a device is to the household.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The meter at the grid connection.
    Meter,
    /// A generator.
    Pv,
    /// A battery.
    Battery,
    /// A charging point for a vehicle.
    Charger,
}

/// `[[device]]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceConfig {
    /// Name in messages to people, and of its registers in the journal.
    pub name: String,
    /// What it is to the household.
    pub role: Role,
    /// Id of a device map.
    pub map: String,
    /// Modbus over TCP: `host:port`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Modbus over TCP: what goes over the connection; Modbus TCP when it is not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transport: Option<LineTransport>,
    /// Modbus on a serial port of this computer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<SerialConfig>,
    /// Modbus: unit id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<u8>,
    /// Modbus: how long to wait for an answer, milliseconds, instead of the map's time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// MQTT: where it publishes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mqtt: Option<DeviceMqttConfig>,
    /// What positive power means on this device, when the map has it the other way round.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub positive_means: Option<Direction>,
    /// Order of bytes, when it has been switched in the device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<WordOrder>,
    /// The meter has no export register because nothing can flow back: export counts as zero.
    #[serde(default)]
    pub no_export: bool,
    /// The meter has no energy registers at all: its power is summed up, and a slot in which it was
    /// not measured all the time is missing.
    #[serde(default)]
    pub integrate_power: bool,
    /// The meter may be settled on although its counter starts again by itself, every day or without
    /// power: what flowed around that moment can be lost.
    #[serde(default)]
    pub allow_resetting: bool,
    /// The owner's leave to steer it, and its limits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub control: Option<ControlConfig>,
}

impl DeviceConfig {
    /// A device of which nothing is known yet but what it is.
    #[must_use]
    pub fn new(name: &str, role: Role, map: &str) -> Self {
        Self {
            name: name.to_owned(),
            role,
            map: map.to_owned(),
            host: None,
            transport: None,
            serial: None,
            unit: None,
            timeout_ms: None,
            mqtt: None,
            positive_means: None,
            order: None,
            no_export: false,
            integrate_power: false,
            allow_resetting: false,
            control: None,
        }
    }

    /// Where its Modbus line leads; none without one.
    #[must_use]
    pub fn place(&self) -> Option<Place> {
        match (&self.serial, &self.host, self.transport) {
            (Some(serial), _, _) => Some(Place::Serial(serial.clone())),
            (None, Some(host), Some(LineTransport::RtuOverTcp)) => {
                Some(Place::RtuOverTcp(host.clone()))
            }
            (None, Some(host), _) => Some(Place::Tcp(host.clone())),
            (None, None, _) => None,
        }
    }
}

/// `[device.mqtt]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceMqttConfig {
    /// What stands for `{topic}` in the map.
    pub topic: String,
    /// Another broker than the operator's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub broker: Option<MqttConfig>,
    /// Messages older than this are stale, seconds of market time.
    #[serde(default = "max_age_s")]
    pub max_age_s: u32,
}

const fn max_age_s() -> u32 {
    300
}

/// Checks that there are devices, and exactly one that is the meter.
///
/// # Errors
/// [`ConfigError::Invalid`].
pub(super) fn check_roles(config: &Config) -> Result<(), ConfigError> {
    if config.devices.is_empty() {
        let problem = "there is no device yet: 1 to 64 [[device]] entries are needed. `meter-agent \
                       assign --config FILE --role meter ADDRESS` finds out what is at an address and \
                       writes it down";
        return invalid("device", problem.to_owned());
    }
    let meters = config.devices.iter().filter(|device| device.role == Role::Meter).count();
    if meters == 0 {
        let problem = "0 devices have role = \"meter\"; exactly one must: the one at the grid \
                       connection. `meter-agent assign --config FILE --role meter ADDRESS` finds it";
        return invalid("device", problem.to_owned());
    }
    if meters != 1 {
        let problem = format!("{meters} devices have role = \"meter\"; exactly one must");
        return invalid("device", problem);
    }
    Ok(())
}

/// Checks all devices, each by itself and against the others.
///
/// # Errors
/// [`ConfigError::Invalid`] for the first that cannot be used, or [`ConfigError::Map`].
pub(super) fn check_devices(config: &Config) -> Result<(), ConfigError> {
    if config.devices.len() > MAX_DEVICES {
        return invalid("device", format!("more than {MAX_DEVICES} [[device]] entries"));
    }
    check_steered(config)?;
    let mut names = BTreeSet::new();
    let mut places = BTreeMap::new();
    let mut lines: BTreeMap<String, (Place, &str)> = BTreeMap::new();
    for (device, map) in config.devices.iter().zip(config.maps()?) {
        let key = format!("device {:?}", device.name);
        let named = (1..=48).contains(&device.name.len())
            && device.name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
        if !named {
            return invalid(&key, "name: use 1 to 48 letters, digits, '-' or '_'".to_owned());
        }
        if !names.insert(device.name.as_str()) {
            return invalid(&key, "the name is there twice".to_owned());
        }
        check_device(&key, device, &map)?;
        let (Some(place), Some(unit)) = (device.place(), device.unit) else { continue };
        let address = place.address().to_owned();
        if let Some(other) = places.insert((address.clone(), unit, &device.map), &device.name) {
            return invalid(&key, format!("reads the same registers as {other:?}"));
        }
        let (known, other) = lines.entry(address).or_insert((place.clone(), &device.name));
        if *known != place {
            let problem = format!(
                "is on the same line as {other:?}, {place}, with other settings; one line has \
                 one transport and one set of serial settings"
            );
            return invalid(&key, problem);
        }
    }
    Ok(())
}

/// What the house takes is what the grid brings less what the battery takes: with one battery that
/// can be told.
fn check_steered(config: &Config) -> Result<(), ConfigError> {
    let batteries = || config.devices.iter().filter(|device| device.role == Role::Battery);
    let steered = batteries().find(|device| device.control.as_ref().is_some_and(|own| own.enabled));
    match steered {
        Some(device) if batteries().count() > 1 => {
            let key = format!("device {:?} control", device.name);
            let problem = "a battery can only be steered where it is the household's only one";
            invalid(&key, problem.to_owned())
        }
        _ => Ok(()),
    }
}

fn check_device(key: &str, device: &DeviceConfig, map: &DeviceMap) -> Result<(), ConfigError> {
    let is_mqtt = map.transport == Transport::Mqtt;
    match (&device.mqtt, is_mqtt) {
        (None, true) => {
            return invalid(key, format!("map {:?} needs mqtt = {{ topic = … }}", device.map));
        }
        (Some(_), false) => {
            let what = if map.transport.is_modbus() { "Modbus" } else { "a meter's own line" };
            return invalid(key, format!("map {:?} is for {what} and has no mqtt", device.map));
        }
        (Some(mqtt), true) => {
            if mqtt.topic.is_empty() || mqtt.topic.contains(['+', '#']) {
                return invalid(key, "mqtt.topic: give a topic without wildcards".to_owned());
            }
            range("mqtt.max_age_s", u64::from(mqtt.max_age_s), 1, 86_400)?;
            if let Some(other) = &mqtt.broker {
                broker("mqtt.broker", other)?;
            }
        }
        (None, false) => {}
    }
    check_line(key, device, map.transport)?;
    let fits = device.positive_means.is_none_or(|direction| {
        matches!(
            (device.role, direction),
            (Role::Meter, Direction::Import | Direction::Export)
                | (Role::Pv, Direction::Produce | Direction::Consume)
                | (Role::Battery, Direction::Charge | Direction::Discharge)
                | (Role::Charger, Direction::Consume | Direction::Produce)
        )
    });
    if !fits {
        let problem = "positive_means: import or export for a meter, produce or consume for pv, \
                       charge or discharge for a battery, consume or produce for a charger";
        return invalid(key, problem.to_owned());
    }
    if device.no_export && device.role != Role::Meter {
        return invalid(key, "no_export belongs to the meter".to_owned());
    }
    if device.integrate_power && map.has_lasting_counter() {
        let problem = format!(
            "integrate_power is for meters without counters, but map {:?} reads them: they lose \
             nothing while nobody looks, a sum of power does. Leave integrate_power out",
            device.map
        );
        return invalid(key, problem);
    }
    Enabled::of(device, map)?;
    Ok(())
}
