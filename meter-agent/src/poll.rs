//! The tasks that talk to devices: one per Modbus line, one per broker with device topics.

use std::collections::BTreeMap;

use clock::Clock;
use rumqttc::v5::mqttbytes::QoS;
use tokio::sync::mpsc;

use crate::chance::Chance;
use crate::config::{Config, MqttConfig, Role, parse_url};
use crate::device::{DeviceMap, Inbox, Readout, Transport};
use crate::key_file::{self, KeyError};
use crate::modbus::{Line, Unit};
use crate::mqtt::{Account, SessionEvent, keep_session};

/// Requests that may wait at a line.
const QUEUE: usize = 2;
/// Most polls that a silent unit is left alone.
const MAX_SKIPS: u64 = 32;

/// What a line is asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// Read every unit that is not being left alone.
    Poll,
    /// Read every unit now: a slot has ended.
    Edge,
}

/// What comes back from the tasks.
#[derive(Debug)]
pub enum Report {
    /// A device was read, or not.
    Device(usize, Result<Readout, String>),
    /// A line has done what it was asked.
    Done(Ask),
}

/// A device behind a line.
pub struct LineUnit {
    index: usize,
    unit: Unit,
    failures: u32,
    skips: u64,
}

/// All devices of a line, the meter first: its registers are wanted right after the edge.
pub struct LinePlan {
    /// `host:port`.
    pub host: String,
    /// Who is behind it.
    pub units: Vec<LineUnit>,
}

/// All devices behind one broker.
pub struct BrokerPlan {
    /// Where.
    pub account: Account,
    /// Who publishes there.
    pub inboxes: Vec<(usize, Inbox)>,
}

/// Which tasks a configuration needs.
pub struct Plan {
    /// Modbus lines.
    pub lines: Vec<LinePlan>,
    /// Brokers.
    pub brokers: Vec<BrokerPlan>,
}

impl Plan {
    /// Groups the devices by line and broker.
    ///
    /// # Errors
    /// [`KeyError`] when a password file cannot be used.
    pub fn of(config: &Config, maps: Vec<DeviceMap>) -> Result<Self, KeyError> {
        let mut lines: BTreeMap<String, Vec<LineUnit>> = BTreeMap::new();
        let mut brokers: BTreeMap<String, BrokerPlan> = BTreeMap::new();
        for (index, (device, map)) in config.devices.iter().zip(maps).enumerate() {
            if map.transport == Transport::Mqtt {
                let Some(mqtt) = &device.mqtt else { continue };
                let broker = mqtt.broker.as_ref().unwrap_or(&config.mqtt);
                if !brokers.contains_key(&broker.url) {
                    let client_id =
                        format!("streetwatt-{}-devices-{}", config.point, brokers.len());
                    let plan =
                        BrokerPlan { account: account(broker, client_id)?, inboxes: Vec::new() };
                    brokers.insert(broker.url.clone(), plan);
                }
                let plan = brokers.get_mut(&broker.url).expect("just inserted");
                plan.inboxes.push((index, Inbox::new(map, &mqtt.topic)));
            } else if let (Some(host), Some(unit)) = (&device.host, device.unit) {
                let unit = Unit::new(unit, map, device.timeout_ms);
                let unit = LineUnit { index, unit, failures: 0, skips: 0 };
                lines.entry(host.clone()).or_default().push(unit);
            }
        }
        let is_meter = |unit: &LineUnit| config.devices[unit.index].role == Role::Meter;
        let lines = lines.into_iter().map(|(host, mut units)| {
            units.sort_by_key(|unit| (!is_meter(unit), unit.index));
            LinePlan { host, units }
        });
        Ok(Self { lines: lines.collect(), brokers: brokers.into_values().collect() })
    }
}

/// Account at a broker, with the password from its file.
///
/// # Errors
/// [`KeyError`] when the password file cannot be used.
pub fn account(broker: &MqttConfig, client_id: String) -> Result<Account, KeyError> {
    let (host, port) = parse_url(&broker.url).expect("checked with the configuration");
    let login = match (&broker.username, &broker.password_file) {
        (Some(user), Some(file)) => {
            Some((user.clone(), key_file::secret(file)?.trim_end().to_owned()))
        }
        (Some(user), None) => Some((user.clone(), String::new())),
        (None, _) => None,
    };
    Ok(Account { client_id, host, port, login, will: None })
}

/// A line's inbox.
#[must_use]
pub fn asks() -> (mpsc::Sender<Ask>, mpsc::Receiver<Ask>) {
    mpsc::channel(QUEUE)
}

/// Serves a line until nobody asks any more.
///
/// A unit that does not answer is left alone for a growing number of polls, so that it does not take
/// the line's time from the others; at a slot edge it is tried all the same.
pub async fn serve_line(
    plan: LinePlan,
    mut asks: mpsc::Receiver<Ask>,
    reports: mpsc::Sender<Report>,
    clock: Clock,
    mut chance: Chance,
) {
    let LinePlan { host, mut units } = plan;
    let mut line = Line::new(host, Chance::seeded(chance.below(u64::MAX)));
    while let Some(ask) = asks.recv().await {
        for unit in &mut units {
            if ask == Ask::Poll && unit.skips > 0 {
                unit.skips -= 1;
                continue;
            }
            let outcome = unit.unit.read(&mut line, clock.now_ms()).await;
            unit.failures = if outcome.is_ok() { 0 } else { unit.failures.saturating_add(1) };
            // The first failure costs nothing; then 1, 2, 4 … polls, about half of it by chance.
            unit.skips = match unit.failures {
                0 | 1 => 0,
                failures => {
                    let full = (1_u64 << (failures - 2).min(16)).min(MAX_SKIPS);
                    full - chance.below(full / 2 + 1)
                }
            };
            let outcome = outcome.map_err(|error| error.to_string());
            if reports.send(Report::Device(unit.index, outcome)).await.is_err() {
                return;
            }
        }
        if reports.send(Report::Done(ask)).await.is_err() {
            return;
        }
    }
}

/// Listens to the devices behind a broker until nobody wants their reports any more.
pub async fn serve_broker(
    plan: BrokerPlan,
    reports: mpsc::Sender<Report>,
    clock: Clock,
    chance: Chance,
) {
    let BrokerPlan { account, mut inboxes } = plan;
    let filters: Vec<(String, QoS)> = inboxes
        .iter()
        .flat_map(|(_, inbox)| inbox.topics())
        .map(|topic| (topic.clone(), QoS::AtLeastOnce))
        .collect();
    let (sender, mut events) = mpsc::channel(64);
    let session = keep_session(account, filters, sender, chance);
    let dispatch = async {
        while let Some(event) = events.recv().await {
            for report in heard(&event, &mut inboxes, clock.now_ms()) {
                if reports.send(report).await.is_err() {
                    return;
                }
            }
        }
    };
    // Whichever ends first ends the other: both live as long as the reports are wanted.
    tokio::select! {
        () = session => {}
        () = dispatch => {}
        () = reports.closed() => {}
    }
}

fn heard(event: &SessionEvent, inboxes: &mut [(usize, Inbox)], now_ms: i64) -> Vec<Report> {
    match event {
        SessionEvent::Up(_) => Vec::new(),
        SessionEvent::Down(reason) => inboxes
            .iter()
            .map(|(index, _)| Report::Device(*index, Err(format!("no broker: {reason}"))))
            .collect(),
        SessionEvent::Message { topic, payload, retained } => inboxes
            .iter_mut()
            .filter_map(|(index, inbox)| match inbox.take(topic, payload, *retained, now_ms) {
                Ok(None) => None,
                Ok(Some(readout)) => Some(Report::Device(*index, Ok(readout))),
                Err(fault) => Some(Report::Device(*index, Err(fault.to_string()))),
            })
            .collect(),
    }
}
