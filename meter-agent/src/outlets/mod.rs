//! What the household's own programs get to see: Home Assistant over its owner's broker, Prometheus
//! and whoever reads JSON over HTTP.
//!
//! All outlets show one [`Picture`] that the agent draws after every poll. None of them can ask the
//! agent for anything, and none of them leaves the house: the operator's broker never sees a picture.

pub mod csv;
pub mod home_assistant;
mod http;
pub mod metrics;

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};

use clock::Clock;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::chance::Chance;
use crate::config::{Config, ConfigError, Role};
use crate::core::{Core, EXPORT, Flows, IMPORT, PRODUCED, Status};
use crate::mqtt::{Account, AccountError};
pub use home_assistant::{Discovery, HomeAssistantConfig};
use home_assistant::{Home, Setup};

/// `[metrics]`: counters for Prometheus, figures as JSON, and a health check, over HTTP.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MetricsConfig {
    /// Where to listen. Whoever reaches this address can read the household's figures.
    pub listen: SocketAddr,
}

/// Why an outlet cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OutletError {
    /// The address cannot be listened on.
    #[error(
        "cannot listen on {listen} for [metrics]: {error}; give another address there, for example \
         127.0.0.1:9501"
    )]
    Listen {
        /// The address.
        listen: SocketAddr,
        /// The system's answer.
        error: std::io::Error,
    },
    /// Password, certificates or key for the owner's broker.
    #[error("[home_assistant] broker {0}")]
    Account(AccountError),
}

/// The household at one moment, for people and their programs.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Picture {
    /// Market time at which it was drawn, Unix milliseconds.
    pub taken_ms: i64,
    /// Present flows.
    pub flows: Flows,
    /// The registers that never run backwards, Wh: `import`, `export` and `produced.DEVICE`.
    pub registers_wh: BTreeMap<String, i64>,
    /// How the agent is doing.
    pub status: Status,
    /// The devices in the order of the configuration.
    pub devices: Vec<DevicePicture>,
}

/// How one device is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DevicePicture {
    /// Name in the configuration.
    pub name: String,
    /// What it is to the household.
    pub role: Role,
    /// Its map.
    pub map: String,
    /// Answers since the start.
    pub answers: u64,
    /// Questions without a usable answer since the start.
    pub failures: u64,
    /// Market time of the newest answer, Unix milliseconds.
    pub answered_ms: Option<i64>,
    /// Figures older than this are stale, milliseconds of market time.
    pub max_age_ms: i64,
    /// Why it cannot be read, while it cannot.
    pub fault: Option<String>,
}

impl DevicePicture {
    /// How old its newest answer is, milliseconds of market time.
    #[must_use]
    pub fn age_ms(&self, now_ms: i64) -> Option<i64> {
        self.answered_ms.map(|answered_ms| (now_ms - answered_ms).max(0))
    }

    /// Whether it has answered lately.
    #[must_use]
    pub fn is_present(&self, now_ms: i64) -> bool {
        self.age_ms(now_ms).is_some_and(|age_ms| age_ms <= self.max_age_ms)
    }
}

impl Picture {
    /// Readings that wait for the operator's receipt.
    #[must_use]
    pub const fn waiting(&self) -> u64 {
        self.status.journalled_seq.saturating_sub(self.status.released_seq)
    }

    /// Wh of a register, when it is known.
    fn wh(&self, register: &str) -> Option<i64> {
        self.registers_wh.get(register).copied()
    }

    /// The figures as one JSON object: the state topic of Home Assistant and the answer to
    /// `GET /figures`. What is not known is `null`.
    #[must_use]
    pub fn to_json(&self) -> String {
        let number =
            |value: Option<i64>| value.map_or_else(|| "null".to_owned(), |n| n.to_string());
        let watts = |mw: Option<i64>| number(mw.map(to_whole));
        let decimal = |value: Option<i64>, digits| {
            value.map_or_else(|| "null".to_owned(), |value| decimal(value, digits))
        };
        let produced = self.registers_wh.iter().filter_map(|(register, wh)| {
            Some(format!("{:?}:{wh}", register.strip_prefix(PRODUCED)?))
        });
        let produced: Vec<String> = produced.collect();
        let Flows { power_mw, pv_mw, battery_mw, charger_mw, soc_permille, voltage_mv, .. } =
            self.flows;
        let fields = [
            ("time_ms", self.taken_ms.to_string()),
            ("power_w", watts(power_mw)),
            ("pv_w", watts(pv_mw)),
            ("battery_w", watts(battery_mw)),
            ("charger_w", watts(charger_mw)),
            ("soc_percent", decimal(soc_permille, 1)),
            ("voltage_v", decimal(voltage_mv, 3)),
            ("import_wh", number(self.wh(IMPORT))),
            ("export_wh", number(self.wh(EXPORT))),
            ("produced_wh", format!("{{{}}}", produced.join(","))),
            ("operator_connected", self.status.connected.to_string()),
            ("readings_waiting", self.waiting().to_string()),
            ("bills_verified", self.status.verified.to_string()),
            ("bills_failed", self.status.failed.to_string()),
        ];
        let fields = fields.map(|(key, value)| format!("\"{key}\":{value}"));
        format!("{{{}}}", fields.join(","))
    }
}

/// Thousandths to whole units, half away from zero.
const fn to_whole(thousandths: i64) -> i64 {
    (thousandths + 500 * thousandths.signum()) / 1_000
}

/// A whole number of parts as a decimal with so many digits after the point.
fn decimal(value: i64, digits: usize) -> String {
    let sign = if value < 0 { "-" } else { "" };
    let text = format!("{:0width$}", value.unsigned_abs(), width = digits + 1);
    let (whole, part) = text.split_at(text.len() - digits);
    format!("{sign}{whole}.{part}")
}

/// The outlets that a configuration asks for, before and while they run.
pub struct Outlets {
    picture: Option<watch::Sender<Picture>>,
    devices: Vec<DevicePicture>,
    metrics: Option<TcpListener>,
    home: Option<(Setup, Account)>,
}

impl Outlets {
    /// Checks what does not need a network.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`].
    pub fn check(config: &Config) -> Result<(), ConfigError> {
        config.home_assistant.as_ref().map_or(Ok(()), HomeAssistantConfig::check)
    }

    /// Opens what is configured; `max_age_ms` says for each device how long its figures count.
    ///
    /// # Errors
    /// [`OutletError`].
    pub fn open(config: &Config, max_age_ms: &[i64]) -> Result<Self, OutletError> {
        let listen = |metrics: &MetricsConfig| {
            let listen = metrics.listen;
            TcpListener::bind(listen)
                .and_then(|listener| listener.set_nonblocking(true).map(|()| listener))
                .map_err(|error| OutletError::Listen { listen, error })
        };
        let metrics = config.metrics.as_ref().map(listen).transpose()?;
        let home = config.home_assistant.as_ref().map(|home| {
            let setup = Setup::of(home, config);
            let account = Account::of(&home.broker, setup.client_id())?;
            Ok((setup, account))
        });
        let home = home.transpose().map_err(OutletError::Account)?;
        let devices =
            config.devices.iter().zip(max_age_ms).map(|(device, &max_age_ms)| DevicePicture {
                name: device.name.clone(),
                role: device.role,
                map: device.map.clone(),
                answers: 0,
                failures: 0,
                answered_ms: None,
                max_age_ms,
                fault: None,
            });
        let devices: Vec<DevicePicture> = devices.collect();
        let wanted = metrics.is_some() || home.is_some();
        let picture =
            || watch::Sender::new(Picture { devices: devices.clone(), ..Picture::default() });
        Ok(Self { picture: wanted.then(picture), devices, metrics, home })
    }

    /// Where metrics are served.
    #[must_use]
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics.as_ref()?.local_addr().ok()
    }

    /// Starts the tasks that serve the outlets; they end when [`Self::close`] was called.
    pub fn start(&mut self, tasks: &mut JoinSet<()>, clock: &Clock, chance: &mut Chance) {
        let Some(picture) = &self.picture else { return };
        if let Some(listener) = self.metrics.take() {
            tasks.spawn(http::serve(listener, picture.subscribe(), clock.clone()));
        }
        if let Some((setup, account)) = self.home.take() {
            let chance = Chance::seeded(chance.below(u64::MAX));
            tasks.spawn(Home::new(setup, picture.subscribe()).run(account, chance));
        }
    }

    /// Notes an answer of a device, or why there is none.
    pub fn heard(&mut self, index: usize, fault: Option<&str>, now_ms: i64) {
        let Some(device) = self.devices.get_mut(index) else { return };
        match fault {
            None => {
                device.answers += 1;
                device.answered_ms = Some(now_ms);
                device.fault = None;
            }
            Some(reason) => {
                device.failures += 1;
                device.fault = Some(reason.to_owned());
            }
        }
    }

    /// Draws a new picture, when somebody may look.
    pub fn show(&self, now_ms: i64, core: &Core) {
        let Some(picture) = &self.picture else { return };
        picture.send_replace(Picture {
            taken_ms: now_ms,
            flows: core.flows().cloned().unwrap_or_default(),
            registers_wh: core.registers_wh(),
            status: core.status().clone(),
            devices: self.devices.clone(),
        });
    }

    /// Lets the tasks take their leave.
    pub fn close(&mut self) {
        self.picture = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_keep_every_digit() {
        for (value, digits, expected) in [
            (0, 1, "0.0"),
            (640, 1, "64.0"),
            (5, 1, "0.5"),
            (230_015, 3, "230.015"),
            (-7, 3, "-0.007"),
        ] {
            assert_eq!(decimal(value, digits), expected);
        }
    }

    #[test]
    fn what_is_unknown_is_null_and_never_zero() {
        let empty: serde_json::Value =
            serde_json::from_str(&Picture::default().to_json()).expect("JSON");
        for key in ["power_w", "pv_w", "battery_w", "soc_percent", "import_wh", "export_wh"] {
            assert!(empty[key].is_null(), "{key}: {}", empty[key]);
        }
        let picture = Picture {
            flows: Flows { power_mw: Some(-1_500), soc_permille: Some(645), ..Flows::default() },
            registers_wh: BTreeMap::from([
                (IMPORT.to_owned(), 1_234_567),
                (format!("{PRODUCED}roof-1"), 9),
            ]),
            ..Picture::default()
        };
        let json: serde_json::Value = serde_json::from_str(&picture.to_json()).expect("JSON");
        assert_eq!(json["power_w"], -2);
        assert_eq!(json["soc_percent"], serde_json::json!(64.5));
        assert_eq!(json["import_wh"], 1_234_567);
        assert_eq!(json["produced_wh"]["roof-1"], 9);
    }
}
