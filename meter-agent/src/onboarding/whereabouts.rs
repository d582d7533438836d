//! Where a device is, on a line or behind a broker, and what is there.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::assign::{device_at, device_publishing};
use super::discover::{ListenError, listen};
use super::probe::{ProbeError, ProbeReport, UnitReport, probe};
use super::progress::Progress;
use super::target::{Target, TargetError};
use crate::config::{DeviceConfig, MqttConfig, Role};
use crate::device::DeviceMap;

/// How long a device that publishes is listened to.
const LISTENING: Duration = Duration::from_secs(15);

/// A device's address: as a [`Target`], or `mqtt://broker:1883/TOPIC`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whereabouts {
    /// On a line.
    Line(Target),
    /// Behind a broker.
    Broker {
        /// Where the broker is.
        url: String,
        /// What stands for `{topic}` in the device's map.
        topic: String,
    },
}

/// Why nothing was found there.
#[derive(Debug, thiserror::Error)]
pub enum LookError {
    /// On a line.
    #[error(transparent)]
    Probe(#[from] ProbeError),
    /// At a broker.
    #[error(transparent)]
    Listen(#[from] ListenError),
}

impl FromStr for Whereabouts {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let scheme = ["mqtt://", "mqtts://"].into_iter().find(|scheme| text.starts_with(scheme));
        let Some(scheme) = scheme else {
            return text.parse().map(Self::Line).map_err(|error: TargetError| error.to_string());
        };
        let (place, topic) = text[scheme.len()..].split_once('/').unwrap_or((text, ""));
        let url = format!("{scheme}{place}");
        if topic.is_empty() || topic.contains(['+', '#']) || topic.len() > 200 {
            return Err(format!(
                "which device? Write {scheme}BROKER/TOPIC; `meter-agent discover --mqtt` shows the topics"
            ));
        }
        if !MqttConfig::open(&url).is_an_address() {
            return Err(format!("{url:?} is no broker: write mqtt://192.0.2.10:1883/TOPIC"));
        }
        Ok(Self::Broker { url, topic: topic.to_owned() })
    }
}

impl fmt::Display for Whereabouts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(target) => target.fmt(f),
            Self::Broker { url, topic } => write!(f, "{url}/{topic}"),
        }
    }
}

impl Whereabouts {
    /// Looks what is there, with these maps in mind. `broker` tells how a broker is logged in to.
    ///
    /// # Errors
    /// [`LookError`].
    pub async fn look(
        &self,
        maps: &BTreeMap<String, DeviceMap>,
        broker: impl Fn(&str) -> MqttConfig,
        now_ms: i64,
        progress: &Progress,
    ) -> Result<ProbeReport, LookError> {
        match self {
            Self::Line(target) => {
                let mut maps = maps.clone();
                maps.retain(|_, map| map.transport.is_modbus());
                Ok(probe(target, &maps, now_ms, progress).await?)
            }
            Self::Broker { url, topic } => {
                let heard =
                    listen(&broker(url), maps, Some(topic), LISTENING, now_ms, progress).await?;
                let fits = heard.devices.into_iter().flat_map(|device| device.fits).collect();
                let unit = UnitReport { fits, ..UnitReport::default() };
                let target = self.to_string();
                Ok(ProbeReport { target, units: vec![unit], ..ProbeReport::default() })
            }
        }
    }

    /// The device as it stands in a configuration whose operator's broker is `operators`.
    #[must_use]
    pub fn device(
        &self,
        unit: u8,
        (name, role, map): (&str, Role, &str),
        broker: impl Fn(&str) -> MqttConfig,
        operators: &MqttConfig,
    ) -> DeviceConfig {
        match self {
            Self::Line(target) => device_at(target, unit, name, role, map),
            Self::Broker { url, topic } => {
                device_publishing(&broker(url), topic, operators, (name, role, map))
            }
        }
    }
}
