//! Writing a found device into `agent.toml`.

use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::choice::role_word;
use super::config_text::{self, EditError};
use super::target::Target;
use crate::config::{
    Config, ConfigError, DeviceConfig, DeviceMqttConfig, LineTransport, MqttConfig, Role,
};
use crate::modbus::Place;

/// Why nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum AssignError {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The text cannot be changed.
    #[error(transparent)]
    Edit(#[from] EditError),
    /// There can be only one.
    #[error(
        "{name:?} is the meter at the grid connection already, and there can be only one: exchange it \
         with --replace {name}, or give this device another role"
    )]
    SecondMeter {
        /// The device that has the role.
        name: String,
    },
    /// Nothing to replace.
    #[error("there is no device {name:?} to replace; there are: {known}")]
    NobodyToReplace {
        /// The name that was given.
        name: String,
        /// The devices that are there.
        known: String,
    },
    /// The file cannot be written.
    #[error("cannot write {}: {error}; nothing was changed", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        error: io::Error,
    },
}

impl AssignError {
    /// Says which devices there are instead.
    #[must_use]
    pub fn nobody_to_replace(name: &str, config: &Config) -> Self {
        let known: Vec<&str> = config.devices.iter().map(|device| device.name.as_str()).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        Self::NobodyToReplace { name: name.to_owned(), known }
    }
}

/// A configuration file as it is, and what is in it.
#[derive(Debug, Clone)]
pub struct Draft {
    path: PathBuf,
    before: String,
    text: String,
}

impl Draft {
    /// Reads a file; it may have no devices yet.
    ///
    /// # Errors
    /// [`AssignError::Config`].
    pub fn open(path: &Path) -> Result<Self, AssignError> {
        let text = Config::text(path)?;
        Config::parse(&text, &path.display().to_string())?.check_settings()?;
        Ok(Self { path: path.to_owned(), before: text.clone(), text })
    }

    /// What it says now, with paths as they are written.
    #[must_use]
    pub fn config(&self) -> Config {
        Config::parse(&self.text, "agent.toml").expect("it was parsed when it was read or changed")
    }

    /// The folder with the household's own maps, if there is one.
    #[must_use]
    pub fn devices_dir(&self) -> Option<PathBuf> {
        let folder = self.path.parent().unwrap_or(Path::new("."));
        self.config().devices_dir.map(|own| folder.join(own))
    }

    /// The lines that went and came since it was read.
    #[must_use]
    pub fn changes(&self) -> Vec<String> {
        config_text::changes(&self.before, &self.text)
    }

    /// Puts a device in, instead of another one if one is named.
    ///
    /// # Errors
    /// [`AssignError`]; the draft is as before.
    pub fn assign(
        &mut self,
        device: &DeviceConfig,
        replace: Option<&str>,
        remark: &str,
    ) -> Result<(), AssignError> {
        let config = self.config();
        let mut text = self.text.clone();
        if let Some(name) = replace {
            let index = config.devices.iter().position(|device| device.name == name);
            let Some(index) = index else {
                return Err(AssignError::nobody_to_replace(name, &config));
            };
            text = config_text::without_device(&text, index)?;
        }
        let others = config.devices.iter().filter(|other| Some(other.name.as_str()) != replace);
        let meter = others.clone().find(|other| other.role == Role::Meter);
        if let (Role::Meter, Some(meter)) = (device.role, meter) {
            return Err(AssignError::SecondMeter { name: meter.name.clone() });
        }
        text = config_text::with_device(&text, device, remark)?;
        self.checked(text)
    }

    /// Puts `key = value` into a device, which then is `device`.
    ///
    /// # Errors
    /// [`AssignError`]; the draft is as before.
    pub fn set(
        &mut self,
        index: usize,
        key: (&str, &str),
        device: &DeviceConfig,
    ) -> Result<(), AssignError> {
        let text = config_text::with_key(&self.text, index, key, device)?;
        self.checked(text)
    }

    /// Takes a text whose devices get along with each other. A meter may still be missing.
    fn checked(&mut self, text: String) -> Result<(), AssignError> {
        let mut config = Config::parse(&text, "agent.toml")?;
        config.anchor(self.path.parent().unwrap_or(Path::new(".")));
        config.check_settings()?;
        config.check_each_device()?;
        self.text = text;
        Ok(())
    }

    /// Writes the file, whole or not at all, with the permissions it had.
    ///
    /// # Errors
    /// [`AssignError::Io`].
    pub fn save(&mut self) -> Result<(), AssignError> {
        let io = |error| AssignError::Io { path: self.path.clone(), error };
        let mut beside = self.path.clone().into_os_string();
        beside.push(".new");
        let beside = PathBuf::from(beside);
        let mode = std::fs::metadata(&self.path).map_err(io)?.permissions().mode() & 0o777;
        let options = || {
            std::fs::OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(mode)
                .open(&beside)
        };
        let written = options().and_then(|mut file| {
            file.write_all(self.text.as_bytes())?;
            file.sync_all()?;
            std::fs::rename(&beside, &self.path)
        });
        if let Err(error) = written {
            // What is left of it is of no use.
            let _ = std::fs::remove_file(&beside);
            return Err(io(error));
        }
        self.before.clone_from(&self.text);
        Ok(())
    }

    /// A name that no device has: `wish`, or the role's word with a number behind it.
    #[must_use]
    pub fn free_name(&self, role: Role) -> String {
        let config = self.config();
        let taken = |name: &str| config.devices.iter().any(|device| device.name == name);
        let word = match role {
            Role::Meter => "grid",
            Role::Pv => "roof",
            Role::Battery => "battery",
            Role::Charger => "charger",
        };
        let numbered = (2..).map(|number| format!("{word}{number}"));
        let mut names = std::iter::once(word.to_owned()).chain(numbered);
        names.find(|name| !taken(name)).expect("a list has an end")
    }
}

/// A device at a place, as it stands in a configuration.
#[must_use]
pub fn device_at(target: &Target, unit: u8, name: &str, role: Role, map: &str) -> DeviceConfig {
    let mut device = DeviceConfig::new(name, role, map);
    device.unit = Some(unit);
    match &target.place {
        Place::Tcp(host) => device.host = Some(host.clone()),
        Place::RtuOverTcp(host) => {
            device.host = Some(host.clone());
            device.transport = Some(LineTransport::RtuOverTcp);
        }
        Place::Serial(port) => device.serial = Some(port.clone()),
    }
    device
}

/// A device that publishes, as it stands in a configuration whose operator's broker is `operators`.
#[must_use]
pub fn device_publishing(
    broker: &MqttConfig,
    topic: &str,
    operators: &MqttConfig,
    (name, role, map): (&str, Role, &str),
) -> DeviceConfig {
    let mut device = DeviceConfig::new(name, role, map);
    let other = (broker != operators).then(|| broker.clone());
    let mqtt = DeviceMqttConfig { topic: topic.to_owned(), broker: other, max_age_s: 300 };
    device.mqtt = Some(mqtt);
    device
}

/// What is still missing before the agent can run, in words; none when nothing is.
#[must_use]
pub fn still_missing(config: &Config) -> Option<String> {
    let has_meter = config.devices.iter().any(|device| device.role == Role::Meter);
    (!has_meter).then(|| {
        format!("a {} at the grid connection: assign --role meter ADDRESS", role_word(Role::Meter))
    })
}
