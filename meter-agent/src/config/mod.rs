//! The configuration file: TOML, unknown keys refused, everything checked before anything starts.

mod control;
mod device;
mod line;

use std::path::{Path, PathBuf};

use clock::ClockConfig;
use protocol::{Address, ClockStatus};
use serde::{Deserialize, Serialize};
use tls::BrokerUrl;
pub use tls::TlsConfig;
use units::{CommunityId, PointId};

use crate::bidding::BiddingConfig;
use crate::device::{DeviceMap, Library, LibraryError};
use crate::outlets::{HomeAssistantConfig, MetricsConfig, Outlets};
use crate::proxy::Proxies;

pub use control::ControlConfig;
pub use device::{DeviceConfig, DeviceMqttConfig, Role};
pub use line::LineTransport;

/// Largest configuration file that is read, in bytes.
const MAX_BYTES: u64 = 256 * 1024;

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
    /// The devices; exactly one is the meter at the grid connection. A new configuration has none yet.
    #[serde(default, rename = "device")]
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

    /// Whether the URL is one of a broker.
    #[must_use]
    pub fn is_an_address(&self) -> bool {
        BrokerUrl::parse(&self.url).is_some()
    }
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {}: {error}{}", path.display(), remedy(error))]
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

/// What to do about a file that cannot be read.
fn remedy(error: &std::io::Error) -> &'static str {
    match error.kind() {
        std::io::ErrorKind::NotFound => "; `meter-agent init` writes a new configuration",
        std::io::ErrorKind::PermissionDenied => {
            "; it belongs to another account: run this as that one (`ls -l` shows it)"
        }
        _ => "",
    }
}

impl Config {
    /// Reads and checks a file. Relative paths in it are relative to its folder.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let mut config = Self::parse(&Self::text(path)?, &path.display().to_string())?;
        config.anchor(path.parent().unwrap_or(Path::new(".")));
        config.check()?;
        Ok(config)
    }

    /// The same for a file whose devices may still be missing: for what is not about devices.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn load_settings(path: &Path) -> Result<Self, ConfigError> {
        let mut config = Self::parse(&Self::text(path)?, &path.display().to_string())?;
        config.anchor(path.parent().unwrap_or(Path::new(".")));
        config.check_settings()?;
        Ok(config)
    }

    /// The text of a file of bearable size.
    ///
    /// # Errors
    /// [`ConfigError::Unreadable`] and [`ConfigError::Malformed`].
    pub fn text(path: &Path) -> Result<String, ConfigError> {
        let unreadable = |error| ConfigError::Unreadable { path: path.to_owned(), error };
        let metadata = std::fs::metadata(path).map_err(unreadable)?;
        if !metadata.is_file() {
            return Err(unreadable(std::io::Error::other(
                "it is no file; name the agent.toml in it",
            )));
        }
        if metadata.len() > MAX_BYTES {
            let reason = format!("{} bytes is more than {MAX_BYTES}", metadata.len());
            return Err(ConfigError::Malformed { place: path.display().to_string(), reason });
        }
        std::fs::read_to_string(path).map_err(unreadable)
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
        self.check_settings()?;
        device::check_roles(self)?;
        self.check_each_device()
    }

    /// Checks everything but the devices, and what refers to them.
    ///
    /// # Errors
    /// As [`Self::check`].
    pub fn check_settings(&self) -> Result<(), ConfigError> {
        range("epoch", u64::from(self.epoch), 1, u64::from(u32::MAX))?;
        range("poll_interval_ms", self.poll_interval_ms, 100, 60_000)?;
        range("connection_w", self.connection_w.try_into().unwrap_or(0), 100, 100_000_000)?;
        if let Some(grace) = self.edge_grace_s {
            range("edge_grace_s", u64::from(grace), 1, 450)?;
        }
        range("journal.keep_days", u64::from(self.journal.keep_days), 1, 400)?;
        self.bidding.wishes()?;
        broker("mqtt", &self.mqtt)?;
        Outlets::check(self)
    }

    /// Checks the devices that there are, while more may follow, and what refers to them.
    ///
    /// # Errors
    /// As [`Self::check`].
    pub fn check_each_device(&self) -> Result<(), ConfigError> {
        device::check_devices(self)?;
        self.proxy.0.iter().try_for_each(|proxy| proxy.check(self))
    }

    /// Makes relative paths relative to `folder`.
    pub(crate) fn anchor(&mut self, folder: &Path) {
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
    Err(invalid_value(key, problem))
}

/// The same as an error.
pub(crate) fn invalid_value(key: &str, problem: String) -> ConfigError {
    ConfigError::Invalid { key: key.to_owned(), problem }
}
