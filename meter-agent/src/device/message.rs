//! MQTT payloads to figures.
//!
//! A device may spread its figures over several topics. A derived figure is only new once every
//! topic it is made of has spoken again, so that a sum never mixes two moments.

use std::collections::BTreeMap;

use serde_json::Value;

use super::map::{DeviceMap, Direction, MessageMap, PayloadField, TimeForm};
use super::registers::readout;
use super::{Absence, Figure, Figures, Observed, Quantity, Readout, decimal};

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
        let topics =
            map.messages.iter().map(|message| message.topic.replace("{topic}", prefix)).collect();
        let (figures, heard, given) = Default::default();
        Self { map, topics, figures, heard, given }
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
        let mut updates: Vec<(String, Figure)> = Vec::new();
        for (message, own) in self.map.messages.iter().zip(&self.topics) {
            if own == topic {
                read(message, topic, payload, retained, now_ms, &mut updates)?;
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
        Ok(Some(self.news(&names)))
    }

    /// The quantities that the message completed.
    fn news(&mut self, names: &[String]) -> Readout {
        let all = readout(&self.map, &self.figures);
        let mut news = Readout::default();
        for (quantity, figure) in all.iter() {
            let derived = self.map.derived.iter().find(|derived| derived.key == quantity);
            let is_new = match derived {
                None => names.iter().any(|name| name == quantity.as_str()),
                Some(derived) => {
                    let terms = derived.plus.iter().chain(&derived.minus);
                    let heard: Vec<u64> =
                        terms.map(|name| self.heard.get(name).copied().unwrap_or(0)).collect();
                    let before = self.given.get(&quantity);
                    let complete = before.is_none_or(|before| {
                        heard.iter().zip(before).all(|(now, then)| now > then)
                    });
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
}

fn read(
    message: &MessageMap,
    topic: &str,
    payload: &[u8],
    retained: bool,
    now_ms: i64,
    updates: &mut Vec<(String, Figure)>,
) -> Result<(), MessageFault> {
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
    let stated_ms = message.time.as_ref().and_then(|time| match time.form {
        TimeForm::UnixSeconds => match at(&json, &time.path)? {
            Value::Number(number) => decimal::parse(&number.to_string(), 3),
            _ => None,
        },
    });
    let stale = retained && stated_ms.is_none() && !message.accept_retained;
    for field in &message.fields {
        let value = match &field.path {
            _ if stale => Observed::Absent(Absence::Stale),
            None => from_text(field, text),
            Some(path) => match at(&json, path) {
                None | Some(Value::Null) => Observed::Absent(Absence::Unsupported),
                Some(Value::Number(number)) => from_text(field, &number.to_string()),
                Some(Value::String(text)) => from_text(field, text),
                Some(other) => Observed::Fault(format!("{path} on {topic} is {}", kind(other))),
            },
        };
        let taken_ms = stated_ms.unwrap_or(now_ms);
        updates.push((field.key.clone(), Figure::plain(value, taken_ms)));
    }
    Ok(())
}

fn from_text(field: &PayloadField, text: &str) -> Observed<i64> {
    let word = text.trim().to_ascii_lowercase();
    if matches!(word.as_str(), "" | "unavailable" | "unknown" | "nan" | "null" | "none") {
        return Observed::Absent(Absence::Sentinel);
    }
    match decimal::parse(&word, field.scale10 + field.unit.exponent()) {
        Some(value) => Observed::Value(value * field.positive_means.map_or(1, Direction::sign)),
        None => {
            let shown: String = word.chars().take(24).collect();
            Observed::Fault(format!("{} is {shown:?}, no number in range", field.key))
        }
    }
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
