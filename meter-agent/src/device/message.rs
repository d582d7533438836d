//! MQTT payloads to figures.
//!
//! A device may spread its figures over several topics. A derived figure is only new once every
//! topic it is made of has spoken again, so that a sum never mixes two moments.

use std::collections::BTreeMap;

use serde_json::Value;

use super::decode::believed;
use super::fields::{MessageMap, PayloadField, TimeForm};
use super::map::DeviceMap;
use super::quantity::Direction;
use super::registers::readout;
use super::stamp;
use super::{Absence, Figure, Figures, Observed, Quantity, Readout, Resets, decimal};

/// Deepest path into a JSON payload.
const MAX_DEPTH: usize = 8;

/// Why a message tells nothing at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MessageFault {
    /// No JSON where the map expects it.
    #[error("the payload on {topic} is no JSON: {reason}")]
    NotJson {
        /// The topic.
        topic: String,
        /// What the parser says.
        reason: String,
    },
    /// No text.
    #[error("the payload on {topic} is no UTF-8 text")]
    NotText {
        /// The topic.
        topic: String,
    },
}

/// What one device has said over MQTT.
#[derive(Debug)]
pub struct Inbox {
    map: DeviceMap,
    /// Full topic of each message of the map.
    topics: Vec<String>,
    /// Full topic on which the device says whether it is there, behind the others in `topics`.
    availability: Option<String>,
    figures: Figures,
    /// Messages heard so far, for each name that a figure has.
    heard: BTreeMap<String, u64>,
    /// `heard` of the terms of each derived quantity when it was last given out.
    given: BTreeMap<Quantity, Vec<u64>>,
}

impl Inbox {
    /// An inbox for a device whose topics start with `prefix`.
    #[must_use]
    pub fn new(map: DeviceMap, prefix: &str) -> Self {
        let full = |topic: &String| topic.replace("{topic}", prefix);
        let availability = map.availability.as_ref().map(|own| full(&own.topic));
        let mut topics: Vec<String> = Vec::new();
        for topic in map.messages.iter().map(|message| full(&message.topic)) {
            topics.push(topic);
        }
        topics.extend(availability.clone());
        let (figures, heard, given) = Default::default();
        Self { map, topics, availability, figures, heard, given }
    }

    /// The topics to subscribe to.
    #[must_use]
    pub fn topics(&self) -> &[String] {
        &self.topics
    }

    /// Takes a message; returns what is new, or nothing when the topic is not this device's.
    ///
    /// `now_ms` is market time, Unix milliseconds. A message that the broker had kept is stale
    /// unless its payload has a time or the map accepts it.
    ///
    /// # Errors
    /// [`MessageFault`] when nothing in it can be read.
    pub fn take(
        &mut self,
        topic: &str,
        payload: &[u8],
        retained: bool,
        now_ms: i64,
    ) -> Result<Option<Readout>, MessageFault> {
        if self.availability.as_deref() == Some(topic) {
            return Ok(self.gone(payload, now_ms));
        }
        let mut updates: Vec<(String, Figure)> = Vec::new();
        let mut clock_ms = None;
        for (message, own) in self.map.messages.iter().zip(&self.topics) {
            if own == topic {
                let shown = read(message, topic, payload, retained, now_ms, &mut updates)?;
                clock_ms = shown.or(clock_ms);
            }
        }
        if updates.is_empty() {
            return Ok(None);
        }
        let names: Vec<String> = updates.iter().map(|(name, _)| name.clone()).collect();
        for (name, figure) in updates {
            *self.heard.entry(name.clone()).or_default() += 1;
            self.figures.insert(name, figure);
        }
        let mut news = self.news(&names);
        news.device_clock_ms = clock_ms.map(|clock_ms| (clock_ms, now_ms));
        Ok(Some(news))
    }

    /// Everything is stale when the device says, or the broker in its name, that it is gone.
    fn gone(&mut self, payload: &[u8], now_ms: i64) -> Option<Readout> {
        let offline = self.map.availability.as_ref()?.offline.as_bytes();
        if payload.trim_ascii() != offline {
            return None;
        }
        self.figures.clear();
        let mut news = Readout::default();
        for quantity in self.map.quantities() {
            news.set(quantity, Figure::plain(Observed::Absent(Absence::Stale), now_ms));
        }
        Some(news)
    }

    /// The quantities that the message completed.
    fn news(&mut self, names: &[String]) -> Readout {
        let all = readout(&self.map, &self.figures);
        let mut news = Readout::default();
        for (quantity, figure) in all.iter() {
            let is_derived = self.map.derived.iter().any(|own| own.key == quantity.as_str());
            let is_new = match is_derived {
                false => names.iter().any(|name| name == quantity.as_str()),
                true => {
                    let heard: Vec<u64> = self
                        .terms(quantity.as_str(), 0)
                        .iter()
                        .map(|name| self.heard.get(name).copied().unwrap_or(0))
                        .collect();
                    let before = self.given.get(&quantity);
                    let complete = match before {
                        None => true,
                        Some(before) if before.len() != heard.len() => true,
                        Some(before) => heard.iter().zip(before).all(|(now, then)| now > then),
                    };
                    if complete {
                        self.given.insert(quantity, heard);
                    }
                    complete
                }
            };
            if is_new {
                news.set(quantity, figure.clone());
            }
        }
        news
    }

    /// The fields that a figure is made of: the required ones, and the optional ones that have
    /// ever been heard.
    fn terms(&self, key: &str, depth: usize) -> Vec<String> {
        let derived = self.map.derived.iter().find(|derived| derived.key == key);
        let Some(derived) = derived.filter(|_| depth < MAX_DEPTH) else {
            return vec![key.to_owned()];
        };
        let required = derived.plus.iter().chain(&derived.minus);
        let optional = derived.plus_optional.iter().chain(&derived.minus_optional);
        let heard = optional.chain(&derived.first_of).filter(|&name| self.heard.contains_key(name));
        required.chain(heard).flat_map(|name| self.terms(name, depth + 1)).collect()
    }
}

/// Reads one message; returns what the device's clock shows, when it has just been sent.
fn read(
    message: &MessageMap,
    topic: &str,
    payload: &[u8],
    retained: bool,
    now_ms: i64,
    updates: &mut Vec<(String, Figure)>,
) -> Result<Option<i64>, MessageFault> {
    let needs_json = message.time.is_some() || message.fields.iter().any(|f| f.path.is_some());
    let (json, text) = if needs_json {
        let json: Value = serde_json::from_slice(payload).map_err(|error| {
            MessageFault::NotJson { topic: topic.to_owned(), reason: error.to_string() }
        })?;
        (json, "")
    } else {
        let text = std::str::from_utf8(payload)
            .map_err(|_| MessageFault::NotText { topic: topic.to_owned() })?;
        (Value::Null, text)
    };
    let stated_ms = message.time.as_ref().and_then(|time| {
        let text = match at(&json, &time.path)? {
            Value::Number(number) => number.to_string(),
            Value::String(text) => text.clone(),
            _ => return None,
        };
        match time.form {
            TimeForm::UnixSeconds => decimal::parse(&text, 3),
            TimeForm::Iso8601 => stamp::iso8601_ms(&text),
            TimeForm::Dsmr => stamp::dsmr_ms(&text),
        }
    });
    let stale = retained && stated_ms.is_none() && !message.accept_retained;
    // What has just been sent is true now, whatever the device's clock shows; what the broker had
    // kept is as old as it says.
    let taken_ms = stated_ms.filter(|_| retained).map_or(now_ms, |stated_ms| stated_ms.min(now_ms));
    for field in &message.fields {
        let plain = |value| Figure::plain(value, taken_ms);
        let figure = match &field.path {
            _ if stale => plain(Observed::Absent(Absence::Stale)),
            None => from_text(field, text, taken_ms),
            Some(path) => match at(&json, path) {
                None | Some(Value::Null) => plain(Observed::Absent(Absence::Unsupported)),
                Some(Value::Number(number)) => from_text(field, &number.to_string(), taken_ms),
                Some(Value::String(text)) => from_text(field, text, taken_ms),
                Some(other) => {
                    plain(Observed::Fault(format!("{path} on {topic} is {}", kind(other))))
                }
            },
        };
        updates.push((field.key.clone(), figure));
    }
    Ok(stated_ms.filter(|_| !retained))
}

fn from_text(field: &PayloadField, text: &str, taken_ms: i64) -> Figure {
    let word = text.trim().to_ascii_lowercase();
    if matches!(word.as_str(), "" | "unavailable" | "unknown" | "nan" | "null" | "none") {
        return Figure::plain(Observed::Absent(Absence::Sentinel), taken_ms);
    }
    let exponent = field.scale10 + field.unit.exponent();
    let value = match decimal::parse(&word, exponent) {
        Some(value) => {
            let value = decimal::divide_by(value, field.unit.divisor());
            believed(&field.key, value, field.valid, field.unit)
                .map(|value| value * field.positive_means.map_or(1, Direction::sign))
        }
        None => {
            let shown: String = word.chars().take(24).collect();
            Observed::Fault(format!("{} is {shown:?}, no number in range", field.key))
        }
    };
    let resolution = field.counter.and_then(|counter| counter.resolution_mwh);
    let resets = field.counter.map_or(Resets::Never, |counter| counter.reset.resets());
    Figure { resolution, resets, ..Figure::plain(value, taken_ms) }
}

/// The value at a path of names and array positions joined by dots.
fn at<'a>(json: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').take(MAX_DEPTH).try_fold(json, |value, step| match value {
        Value::Array(items) => items.get(step.parse::<usize>().ok()?),
        other => other.get(step),
    })
}

const fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list (several channels? name one, as in ENERGY.Power.0)",
        Value::Object(_) => "an object",
    }
}
