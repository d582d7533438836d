//! Devices that publish at a broker: by their announcements, and by what they say.
//!
//! Whatever has a map publishes on topics of a known form. Listening on these forms finds each such
//! device with its prefix and judges its figures as `probe` does; announcements name what is there but
//! has not spoken, or has no map of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rumqttc::v5::mqttbytes::QoS;
use serde::Serialize;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use super::super::fit::{Fit, judge};
use super::super::progress::Progress;
use crate::chance::Chance;
use crate::config::MqttConfig;
use crate::device::{DeviceMap, Identity, Inbox, Readout, Transport};
use crate::mqtt::{Account, AccountError, SessionEvent, keep_session};

/// Where devices announce themselves.
const ANNOUNCEMENTS: [&str; 6] = [
    "homeassistant/+/+/config",
    "homeassistant/+/+/+/config",
    "zigbee2mqtt/bridge/devices",
    "tasmota/discovery/#",
    "shellies/announce",
    "N/+/system/0/Serial",
];
/// Messages and bytes that are looked at, devices that are kept, announcements that are told.
const MOST_MESSAGES: usize = 5_000;
const MOST_BYTES: usize = 4 * 1024 * 1024;
const MOST_DEVICES: usize = 128;
const MOST_TOLD: usize = 40;

/// A device that publishes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Published {
    /// What stands for `{topic}` in its map.
    pub topic: String,
    /// Maps that its topics and figures fit, the best first.
    pub fits: Vec<Fit>,
}

/// What was heard at a broker.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Heard {
    /// Where.
    pub broker: String,
    /// Devices that publish on topics of known form.
    pub devices: Vec<Published>,
    /// What announced itself, in a sentence each.
    pub announced: Vec<String>,
    /// Messages that were looked at.
    pub messages: usize,
}

/// Why nothing could be heard.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Certificates or password.
    #[error(transparent)]
    Account(#[from] AccountError),
    /// No connection.
    #[error(
        "no connection to {url}: {reason}. Is the address right, does the broker want a user name \
         (--mqtt-user, --mqtt-password-file), and does it speak MQTT v5 (Mosquitto from 1.6 on)?"
    )]
    NoBroker {
        /// The broker.
        url: String,
        /// What the connection ended with.
        reason: String,
    },
}

/// Listens for so long; `only` is a device's topic when one is looked for.
///
/// # Errors
/// [`ListenError`].
pub async fn listen(
    broker: &MqttConfig,
    maps: &BTreeMap<String, DeviceMap>,
    only: Option<&str>,
    span: Duration,
    now_ms: i64,
    progress: &Progress,
) -> Result<Heard, ListenError> {
    let maps: Vec<&DeviceMap> =
        maps.values().filter(|map| map.transport == Transport::Mqtt).collect();
    let mut chance = Chance::from_system();
    let account = Account::of(broker, format!("streetwatt-look-{:08x}", chance.below(1 << 32)))?;
    let filters = filters(&maps, only).into_iter().map(|topic| (topic, QoS::AtMostOnce)).collect();
    let (sender, mut events) = mpsc::channel(64);
    let session = tokio::spawn(keep_session(account, filters, sender, chance));
    progress.tell(&format!("listening at {} for {} s", broker.url, span.as_secs()));
    let end = Instant::now() + span;
    let mut ear = Listener { maps, only, now_ms, ..Listener::default() };
    let (mut was_up, mut failure) = (false, None);
    while let Ok(Some(event)) = timeout_at(end, events.recv()).await {
        match event {
            SessionEvent::Up(_) => was_up = true,
            SessionEvent::Down(reason) if !was_up => {
                failure = Some(reason);
                break;
            }
            SessionEvent::Down(_) => {}
            SessionEvent::Message { topic, payload, retained } => {
                if !ear.hear(&topic, &payload, retained) {
                    progress.tell("that is a busy broker: enough was heard");
                    break;
                }
            }
        }
    }
    session.abort();
    match failure {
        Some(reason) => Err(ListenError::NoBroker { url: broker.url.clone(), reason }),
        None if !was_up => {
            let reason = "no answer in time".to_owned();
            Err(ListenError::NoBroker { url: broker.url.clone(), reason })
        }
        None => Ok(ear.told(broker.url.clone())),
    }
}

/// The topics to listen on: of every map with any prefix of one or two levels, or with that of one
/// device.
fn filters(maps: &[&DeviceMap], only: Option<&str>) -> BTreeSet<String> {
    let prefixes: Vec<&str> = only.map_or_else(|| vec!["+", "+/+"], |only| vec![only]);
    let mut filters: BTreeSet<String> = maps
        .iter()
        .flat_map(|map| &map.messages)
        .flat_map(|message| prefixes.iter().map(|prefix| message.topic.replace("{topic}", prefix)))
        .collect();
    if only.is_none() {
        filters.extend(ANNOUNCEMENTS.map(str::to_owned));
    }
    filters
}

/// What stands for `{topic}` when this topic is of that form.
fn prefix<'t>(form: &str, topic: &'t str) -> Option<&'t str> {
    let (before, after) = form.split_once("{topic}")?;
    let prefix = topic.strip_prefix(before)?.strip_suffix(after)?;
    let levels = prefix.split('/').count();
    (!prefix.is_empty() && levels <= 2).then_some(prefix)
}

/// What has been heard so far.
#[derive(Default)]
struct Listener<'a> {
    maps: Vec<&'a DeviceMap>,
    only: Option<&'a str>,
    now_ms: i64,
    inboxes: BTreeMap<(String, String), (Inbox, Readout, usize)>,
    announced: BTreeSet<String>,
    messages: usize,
    bytes: usize,
}

impl Listener<'_> {
    /// Takes a message; false when that was enough.
    fn hear(&mut self, topic: &str, payload: &[u8], retained: bool) -> bool {
        self.messages += 1;
        self.bytes = self.bytes.saturating_add(payload.len());
        if self.announced.len() < MOST_TOLD {
            self.announced.extend(hint_of(topic, payload).into_iter().take(MOST_TOLD));
        }
        for map in &self.maps {
            for message in &map.messages {
                let Some(prefix) = prefix(&message.topic, topic) else { continue };
                if self.only.is_some_and(|only| only != prefix) {
                    continue;
                }
                let key = (prefix.to_owned(), map.id.clone());
                if !self.inboxes.contains_key(&key) && self.inboxes.len() >= MOST_DEVICES {
                    continue;
                }
                let (inbox, readout, heard) = self
                    .inboxes
                    .entry(key)
                    .or_insert_with(|| (Inbox::new((*map).clone(), prefix), Readout::default(), 0));
                *heard += 1;
                // A payload of another form says that the map is not meant.
                if let Ok(Some(news)) = inbox.take(topic, payload, retained, self.now_ms) {
                    readout.merge(news);
                }
            }
        }
        self.messages < MOST_MESSAGES && self.bytes < MOST_BYTES
    }

    fn told(self, broker: String) -> Heard {
        let mut devices: BTreeMap<String, Vec<Fit>> = BTreeMap::new();
        for ((topic, id), (_, readout, _)) in self.inboxes {
            let Some(map) = self.maps.iter().find(|map| map.id == id) else { continue };
            let mut fit = judge(map, &readout, &Identity::default(), None);
            let told = fit.figures.iter().filter(|figure| figure.value.is_some()).count();
            if told == 0 || !fit.against.is_empty() {
                continue;
            }
            // Topics of a known form are half of the proof; every figure that is there adds to it.
            fit.score += 15 + i32::try_from(told).unwrap_or(0);
            fit.reasons
                .insert(0, format!("it publishes {told} figures where this map expects them"));
            fit.confidence = fit.confidence.max(super::super::fit::Confidence::Likely);
            devices.entry(topic).or_default().push(fit);
        }
        let devices = devices.into_iter().map(|(topic, mut fits)| {
            fits.sort_by_key(|fit| (std::cmp::Reverse(fit.score), fit.map.clone()));
            Published { topic, fits }
        });
        Heard {
            broker,
            devices: devices.collect(),
            announced: self.announced.into_iter().collect(),
            messages: self.messages,
        }
    }
}

/// What an announcement says, in sentences; nothing for other messages.
#[must_use]
pub fn hint_of(topic: &str, payload: &[u8]) -> Vec<String> {
    let clean =
        |text: &str| -> String { text.chars().filter(|c| !c.is_control()).take(80).collect() };
    let levels: Vec<&str> = topic.split('/').collect();
    if let ["N", portal, "system", "0", "Serial"] = levels[..] {
        return vec![format!(
            "Victron GX (portal {}): read it over Modbus TCP, meter-agent probe ITS_ADDRESS/100",
            clean(portal)
        )];
    }
    let is_announcement = topic == "zigbee2mqtt/bridge/devices"
        || topic == "shellies/announce"
        || topic.starts_with("tasmota/discovery/") && topic.ends_with("/config")
        || levels.first() == Some(&"homeassistant") && levels.last() == Some(&"config");
    if !is_announcement {
        return Vec::new();
    }
    let Ok(value) = serde_json::from_slice::<serde_json::Value>(payload) else { return Vec::new() };
    let text =
        |value: &serde_json::Value, key: &str| clean(value[key].as_str().unwrap_or_default());
    match levels[..] {
        ["zigbee2mqtt", ..] => {
            let devices = value.as_array().map(Vec::as_slice).unwrap_or_default();
            let measures = |device: &&serde_json::Value| {
                let exposes = device["definition"]["exposes"].to_string();
                exposes.contains("\"energy\"") || exposes.contains("\"power\"")
            };
            devices
                .iter()
                .filter(measures)
                .take(MOST_TOLD)
                .map(|device| {
                    let (name, model) =
                        (text(device, "friendly_name"), text(&device["definition"], "description"));
                    format!("zigbee2mqtt: {name} ({model}), topic {name}, map zigbee2mqtt")
                })
                .collect()
        }
        ["shellies", "announce"] => {
            let (id, model) = (text(&value, "id"), text(&value, "model"));
            vec![format!("Shelly of the first generation: {model}, topic {id}")]
        }
        ["tasmota", ..] => {
            let (name, topic) = (text(&value, "dn"), text(&value, "t"));
            vec![format!(
                "Tasmota: {name}, topic {topic}, map tasmota (tasmota-sml for a reading head)"
            )]
        }
        _ => {
            let class = value["device_class"].as_str().or_else(|| value["dev_cla"].as_str());
            if !class.is_some_and(|class| ["energy", "power"].contains(&class)) {
                return Vec::new();
            }
            let state = ["state_topic", "stat_t"].map(|key| text(&value, key)).join("");
            let unit =
                ["unit_of_measurement", "unit_of_meas"].map(|key| text(&value, key)).join("");
            vec![format!(
                "announced to Home Assistant: {} ({unit}) on {state}",
                text(&value, "name")
            )]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_of_known_form_have_a_prefix() {
        for (form, topic, expected) in [
            ("{topic}/status/em:0", "shellypro3em-1/status/em:0", Some("shellypro3em-1")),
            ("tele/{topic}/SENSOR", "tele/meter/SENSOR", Some("meter")),
            ("tele/{topic}/SENSOR", "tele/a/b/SENSOR", Some("a/b")),
            ("tele/{topic}/SENSOR", "tele/a/b/c/SENSOR", None),
            ("tele/{topic}/SENSOR", "tele//SENSOR", None),
            ("zigbee2mqtt/{topic}", "other/x", None),
        ] {
            assert_eq!(prefix(form, topic), expected, "{form} {topic}");
        }
    }

    #[test]
    fn announcements_are_read_and_garbage_is_not() {
        let zigbee = r#"[{"friendly_name":"washer","definition":{"description":"Plug",
            "exposes":[{"name":"energy"}]}},{"friendly_name":"lamp","definition":null}]"#;
        for (topic, payload, said) in [
            ("zigbee2mqtt/bridge/devices", zigbee, Some("washer (Plug)")),
            ("shellies/announce", r#"{"id":"shellyem-A1","model":"SHEM"}"#, Some("shellyem-A1")),
            ("tasmota/discovery/AABB/config", r#"{"dn":"Meter","t":"meter"}"#, Some("topic meter")),
            ("N/c0619ab1/system/0/Serial", r#"{"value":"c0"}"#, Some("Victron")),
            (
                "homeassistant/sensor/p1/import/config",
                r#"{"name":"Import","dev_cla":"energy","stat_t":"p1/e","unit_of_meas":"kWh"}"#,
                Some("Import (kWh) on p1/e"),
            ),
            ("homeassistant/light/x/config", r#"{"name":"Lamp"}"#, None),
            ("shellies/announce", "\u{0}garbage", None),
            ("zigbee2mqtt/bridge/devices", "{}", None),
            ("zigbee2mqtt/bridge/devices", "[1,null,\"x\"]", None),
            ("any/other", "{}", None),
        ] {
            let hints = hint_of(topic, payload.as_bytes());
            match said {
                Some(said) => assert!(hints.iter().any(|hint| hint.contains(said)), "{hints:?}"),
                None => assert!(hints.is_empty(), "{topic}: {hints:?}"),
            }
        }
        let many = format!("[{}]", vec![r#"{"definition":{"exposes":["energy"]}}"#; 500].join(","));
        let hints = hint_of("zigbee2mqtt/bridge/devices", many.as_bytes());
        assert!(hints.len() <= MOST_TOLD);
    }
}
