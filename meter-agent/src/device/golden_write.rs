//! Golden vectors of setpoints: what is wanted, and the exact requests that it becomes.

use serde::Deserialize;

use super::control::{Control, Facts, Frame};
use super::golden::ModelContent;
use super::map::DeviceMap;

/// One vector.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WriteCase {
    /// The maps it is for.
    pub maps: Vec<String>,
    /// What is going on, for people.
    pub says: String,
    /// What is wanted, canonical unit and the project's sign; none = the device back on its own.
    #[serde(default)]
    pub setpoint: Option<i64>,
    /// The device's watchdog, seconds.
    #[serde(default)]
    watchdog_s: u32,
    /// The models of a SunSpec device, the one that is written first.
    #[serde(default, rename = "model")]
    models: Vec<ModelContent>,
    /// What 100 % are, W, where percentages are written.
    #[serde(default)]
    full_w: Option<i64>,
    /// What must be sent, in this order: `16 @ 12: fc18 03e8` is function 16 at register 12 (SunSpec:
    /// offset in the model).
    requests: Vec<String>,
}

impl WriteCase {
    /// Whether it is about this way to steer.
    #[must_use]
    pub fn is_for(&self, control: &Control) -> bool {
        match self.models.first() {
            None => control.models.is_empty(),
            Some(model) => model.id.is_some_and(|id| control.models.contains(&id)),
        }
    }

    /// The requests, as text.
    ///
    /// # Errors
    /// A sentence about what cannot be made of it.
    pub fn requests(&self, map: &DeviceMap) -> Result<Vec<String>, String> {
        let control = map.controls.iter().find(|control| self.is_for(control));
        let control = control.ok_or("the map has no such way to steer")?;
        let model = match self.models.first() {
            Some(model) => model.content(model.id.ok_or("a model without id")?)?,
            None => Vec::new(),
        };
        let full_mw = self.full_w.map(|watts| watts * 1_000);
        let facts = Facts { model: &model, full_mw, most: None };
        let frames = control.frames(self.setpoint, self.watchdog_s, facts);
        let frames = frames.map_err(|fault| fault.to_string())?;
        let text = |Frame { at, words }: &Frame| {
            let words: Vec<String> = words.iter().map(|word| format!("{word:04x}")).collect();
            format!("{} @ {at}: {}", control.function, words.join(" "))
        };
        Ok(frames.iter().map(text).collect())
    }

    /// Everything that is not sent as it must be, as sentences; empty when all is well.
    #[must_use]
    pub fn problems(&self, map: &DeviceMap) -> Vec<String> {
        match self.requests(map) {
            Err(reason) => vec![reason],
            Ok(requests) if requests == self.requests => Vec::new(),
            Ok(requests) => vec![format!("sends {requests:?} instead of {:?}", self.requests)],
        }
    }
}
