//! The configuration file: TOML, unknown keys refused, everything checked before anything starts.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use clock::ClockConfig;
use protocol::{Address, ClockStatus};
use serde::{Deserialize, Serialize};
use tls::BrokerUrl;
pub use tls::TlsConfig;
use units::{CommunityId, PointId};

use crate::bidding::BiddingConfig;
use crate::device::{DeviceMap, Direction, Library, LibraryError, Transport, WordOrder};
use crate::modbus::Place;
use crate::outlets::{HomeAssistantConfig, MetricsConfig, Outlets};
use crate::proxy::Proxies;
use crate::serial::SerialConfig;

/// Largest configuration file that is read, in bytes.
const MAX_BYTES: u64 = 256 * 1024;
/// Most devices of a household.
const MAX_DEVICES: usize = 64;

/// What `meter-agent run --config FILE` reads.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Name of the community; part of every signature and topic.
    pub community: CommunityId,
    /// This household's metering point.
    pub point: PointId,
    /// Address that signs the operator's messages.
    pub operator: Address,
    /// Where key, journal, state and evidence live.
    pub data_dir: PathBuf,
    /// Counts up when the key or the meter is exchanged, from 1.
    #[serde(default = "first_epoch")]
    pub epoch: u32,
    /// How often devices are read for the live display, milliseconds of real time, 100 to 60 000.
    #[serde(default = "poll_interval_ms")]
    pub poll_interval_ms: u64,
    /// The most the grid connection can carry, W; registers that move faster are not believed.
    #[serde(default = "connection_w")]
    pub connection_w: i64,
    /// How long after a slot's end its registers may still be read, seconds of market time, 1 to
    /// 450. Without it: a minute, or two real seconds where a simulated street runs faster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub edge_grace_s: Option<u32>,
    /// How far the computer's clock can be trusted; `synchronised` only when a time service keeps
    /// it. Without it the agent looks for systemd's time service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock_status: Option<ClockStatus>,
    /// A folder with further device maps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub devices_dir: Option<PathBuf>,
    /// The household's key.
    #[serde(default)]
    pub key: KeyConfig,
    /// How much the journal holds.
    #[serde(default)]
    pub journal: JournalConfig,
    /// The operator's broker.
    pub mqtt: MqttConfig,
    /// Runs market time faster than the system's clock; only for simulated streets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock: Option<ClockConfig>,
    /// How to bid.
    #[serde(default)]
    pub bidding: BiddingConfig,
    /// Shows the household to its owner's Home Assistant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub home_assistant: Option<HomeAssistantConfig>,
    /// Serves counters and figures over HTTP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metrics: Option<MetricsConfig>,
    /// Lets other programs of the household read on through the agent.
    #[serde(default, skip_serializing_if = "Proxies::is_empty")]
    pub proxy: Proxies,
    /// The devices; exactly one is the meter at the grid connection.
    #[serde(rename = "device")]
    pub devices: Vec<DeviceConfig>,
}

const fn first_epoch() -> u32 {
    1
}

const fn poll_interval_ms() -> u64 {
    1_000
}

const fn connection_w() -> i64 {
    100_000
}

/// `[key]`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyConfig {
    /// File with the household's Ed25519 key; default `data_dir/household.key`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
}

/// `[journal]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JournalConfig {
    /// Days of readings that are kept, 1 to 400; about 120 kB each. While nobody has received so
    /// many, no more are made: their energy is in the first one after.
    #[serde(default = "keep_days")]
    pub keep_days: u32,
}

const fn keep_days() -> u32 {
    90
}

impl Default for JournalConfig {
    fn default() -> Self {
        Self { keep_days: keep_days() }
    }
}

impl JournalConfig {
    /// Readings that are kept.
    #[must_use]
    pub fn keep(&self) -> u64 {
        u64::from(self.keep_days) * 96
    }
}

/// `[mqtt]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MqttConfig {
    /// `mqtt://host:port`, or `mqtts://host:port` for TLS.
    pub url: String,
    /// User name at the broker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// File with the password, readable by its owner only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
    /// Whom to believe that it is the broker, and what to prove oneself with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsConfig>,
}

impl MqttConfig {
    /// A broker that asks nobody who they are.
    #[must_use]
    pub fn open(url: impl Into<String>) -> Self {
        Self { url: url.into(), username: None, password_file: None, tls: None }
    }
}

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

/// What goes over a TCP connection to a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LineTransport {
    /// Modbus TCP.
    Tcp,
    /// RTU frames: the gateway passes on the bytes of a serial line as they are.
    RtuOverTcp,
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

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {}: {error}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        error: std::io::Error,
    },
    /// No TOML of the expected form.
    #[error("{place}: {reason}")]
    Malformed {
        /// The file, or `configuration`.
        place: String,
        /// What the parser says, with line and column.
        reason: String,
    },
    /// A value makes no sense.
    #[error("{key}: {problem}")]
    Invalid {
        /// Where in the file.
        key: String,
        /// What is wrong and what would be right.
        problem: String,
    },
    /// No such device map, or a broken one.
    #[error(transparent)]
    Map(#[from] LibraryError),
}

impl Config {
    /// Reads and checks a file. Relative paths in it are relative to its folder.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let unreadable = |error| ConfigError::Unreadable { path: path.to_owned(), error };
        let size = std::fs::metadata(path).map_err(unreadable)?.len();
        let place = path.display().to_string();
        if size > MAX_BYTES {
            let reason = format!("{size} bytes is more than {MAX_BYTES}");
            return Err(ConfigError::Malformed { place, reason });
        }
        let text = std::fs::read_to_string(path).map_err(unreadable)?;
        let mut config = Self::parse(&text, &place)?;
        config.anchor(path.parent().unwrap_or(Path::new(".")));
        config.check()?;
        Ok(config)
    }

    /// Parses TOML text without checking what it means.
    ///
    /// # Errors
    /// [`ConfigError::Malformed`].
    pub fn parse(text: &str, place: &str) -> Result<Self, ConfigError> {
        toml::from_str(text).map_err(|error| ConfigError::Malformed {
            place: place.to_owned(),
            reason: error.to_string(),
        })
    }

    /// As TOML.
    #[must_use]
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("a configuration is plain data")
    }

    /// Where the household's key is.
    #[must_use]
    pub fn key_file(&self) -> PathBuf {
        self.key.file.clone().unwrap_or_else(|| self.data_dir.join("household.key"))
    }

    /// The map of each device, in the order of the devices.
    ///
    /// # Errors
    /// [`LibraryError`].
    pub fn maps(&self) -> Result<Vec<DeviceMap>, LibraryError> {
        let library = Library::load(self.devices_dir.as_deref())?;
        let map = |device: &DeviceConfig| {
            let map = library.find(&device.map)?;
            let map = match device.order {
                Some(order) => map.with_order(order),
                None => map,
            };
            Ok(match device.positive_means {
                Some(direction) => map.with_positive_means(direction),
                None => map,
            })
        };
        self.devices.iter().map(map).collect()
    }

    /// Checks every value.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`] for the first that makes no sense, or [`ConfigError::Map`].
    pub fn check(&self) -> Result<(), ConfigError> {
        range("epoch", u64::from(self.epoch), 1, u64::from(u32::MAX))?;
        range("poll_interval_ms", self.poll_interval_ms, 100, 60_000)?;
        range("connection_w", self.connection_w.try_into().unwrap_or(0), 100, 100_000_000)?;
        if let Some(grace) = self.edge_grace_s {
            range("edge_grace_s", u64::from(grace), 1, 450)?;
        }
        range("journal.keep_days", u64::from(self.journal.keep_days), 1, 400)?;
        self.bidding.wishes()?;
        broker("mqtt", &self.mqtt)?;
        Outlets::check(self)?;
        self.check_devices()?;
        self.proxy.0.iter().try_for_each(|proxy| proxy.check(self))
    }

    fn check_devices(&self) -> Result<(), ConfigError> {
        if self.devices.is_empty() || self.devices.len() > MAX_DEVICES {
            return invalid("device", format!("1 to {MAX_DEVICES} [[device]] entries are needed"));
        }
        let meters = self.devices.iter().filter(|device| device.role == Role::Meter).count();
        if meters != 1 {
            let problem = format!("{meters} devices have role = \"meter\"; exactly one must");
            return invalid("device", problem);
        }
        let mut names = BTreeSet::new();
        let mut places = BTreeMap::new();
        let mut lines: BTreeMap<String, (Place, &str)> = BTreeMap::new();
        for (device, map) in self.devices.iter().zip(self.maps()?) {
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

    /// Makes relative paths relative to `folder`.
    fn anchor(&mut self, folder: &Path) {
        let anchored = |path: &mut PathBuf| *path = folder.join(&*path);
        anchored(&mut self.data_dir);
        let brokers = self.devices.iter_mut().filter_map(|device| device.mqtt.as_mut());
        let home = self.home_assistant.as_mut().map(|home| &mut home.broker);
        let brokers = brokers.filter_map(|mqtt| mqtt.broker.as_mut()).chain([&mut self.mqtt]);
        let brokers = brokers.chain(home);
        let files = brokers.flat_map(|broker| {
            let tls = broker.tls.iter_mut().flat_map(TlsConfig::paths_mut);
            tls.chain(&mut broker.password_file)
        });
        files.chain(self.devices_dir.as_mut()).chain(self.key.file.as_mut()).for_each(anchored);
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
        )
    });
    if !fits {
        let problem = "positive_means: import or export for a meter, produce or consume for pv, \
                       charge or discharge for a battery";
        return invalid(key, problem.to_owned());
    }
    if device.no_export && device.role != Role::Meter {
        return invalid(key, "no_export belongs to the meter".to_owned());
    }
    Ok(())
}

/// Checks where and how a device is reached over a line.
fn check_line(key: &str, device: &DeviceConfig, through: Transport) -> Result<(), ConfigError> {
    let is_mqtt = through == Transport::Mqtt;
    let only_modbus = device.unit.is_some() || device.timeout_ms.is_some();
    if through.is_telegrams()
        && (device.place().is_none() || only_modbus || device.transport.is_some())
    {
        let problem = format!(
            "map {:?} needs host = \"address:port\" or serial = {{ path = …, baud = … }}, and no \
             unit, timeout_ms or transport: the meter speaks by itself",
            device.map
        );
        return invalid(key, problem);
    }
    let is_modbus = device.place().is_some() && device.unit.is_some();
    if through.is_modbus() && !is_modbus {
        let problem = format!(
            "map {:?} needs unit, and host = \"address:port\" or serial = {{ path = … }}",
            device.map
        );
        return invalid(key, problem);
    }
    if is_mqtt && (device.place().is_some() || device.unit.is_some() || device.timeout_ms.is_some())
    {
        let problem =
            format!("map {:?} is for MQTT: no host, serial, unit or timeout_ms", device.map);
        return invalid(key, problem);
    }
    if device.host.is_some() && device.serial.is_some() {
        return invalid(key, "has host and serial; it can only be on one of them".to_owned());
    }
    if device.transport.is_some() && device.host.is_none() {
        return invalid(key, "transport goes with host".to_owned());
    }
    if let Some(problem) = device.serial.as_ref().and_then(SerialConfig::problem) {
        return invalid(key, format!("serial.{problem}"));
    }
    if let Some(host) = &device.host
        && !has_port(host)
    {
        return invalid(
            key,
            format!("host {host:?} must be address:port, for example 192.0.2.7:502"),
        );
    }
    if let Some(timeout_ms) = device.timeout_ms {
        range(&format!("{key} timeout_ms"), timeout_ms, 50, 60_000)?;
    }
    Ok(())
}

/// Checks how a broker is reached.
///
/// # Errors
/// [`ConfigError::Invalid`].
pub(crate) fn broker(key: &str, broker: &MqttConfig) -> Result<(), ConfigError> {
    let Some(url) = BrokerUrl::parse(&broker.url) else {
        let problem = format!("{:?} must be mqtt://host:port or mqtts://host:port", broker.url);
        return invalid(&format!("{key}.url"), problem);
    };
    if let Some(Err(problem)) = broker.tls.as_ref().map(|tls| tls.check(&url)) {
        return invalid(&format!("{key}.tls"), problem.to_string());
    }
    if broker.password_file.is_some() && broker.username.is_none() {
        return invalid(&format!("{key}.username"), "is needed with a password_file".to_owned());
    }
    Ok(())
}

fn has_port(host: &str) -> bool {
    host.rsplit_once(':')
        .is_some_and(|(name, port)| !name.is_empty() && port.parse::<u16>().is_ok())
}

/// Checks that a value is in its range.
///
/// # Errors
/// [`ConfigError::Invalid`].
pub(crate) fn range(key: &str, value: u64, from: u64, to: u64) -> Result<(), ConfigError> {
    if (from..=to).contains(&value) {
        Ok(())
    } else {
        invalid(key, format!("{value} is not between {from} and {to}"))
    }
}

/// A value that makes no sense.
///
/// # Errors
/// Always.
pub(crate) fn invalid(key: &str, problem: String) -> Result<(), ConfigError> {
    Err(ConfigError::Invalid { key: key.to_owned(), problem })
}
