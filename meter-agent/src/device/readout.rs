//! What one device said at one time, in canonical units.

use std::collections::BTreeMap;

use super::{Absence, Observed, Quantity};

/// When a counter starts again by itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Resets {
    /// Never, as far as the map knows.
    #[default]
    Never,
    /// Every day.
    Daily,
    /// When it loses power it falls back to what it saved last, or to nothing.
    PowerCycle,
}

/// One decoded quantity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Figure {
    /// The value in the quantity's canonical unit.
    pub value: Observed<i64>,
    /// Where a counter starts again from zero, in the canonical unit; none when it never does or
    /// nobody knows.
    pub rolls_over_at: Option<i64>,
    /// The smallest step that the value can show, in the canonical unit; none when nobody knows.
    pub resolution: Option<i64>,
    /// Whether a counter starts again by itself.
    pub resets: Resets,
    /// Market time at which it was true, Unix milliseconds.
    pub taken_ms: i64,
}

impl Figure {
    /// A value of which nothing more is known.
    #[must_use]
    pub const fn plain(value: Observed<i64>, taken_ms: i64) -> Self {
        Self { value, rolls_over_at: None, resolution: None, resets: Resets::Never, taken_ms }
    }
}

/// Named intermediate and final figures of one device.
pub type Figures = BTreeMap<String, Figure>;

/// The newest figures of one device, by quantity.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Readout {
    figures: BTreeMap<Quantity, Figure>,
    /// Which device it is, by its own word: a serial number, or model and serial number.
    pub identity: Option<String>,
    /// What the device's own clock showed, Unix milliseconds UTC, and the market time of that look.
    pub device_clock_ms: Option<(i64, i64)>,
}

impl Readout {
    /// Sets one quantity.
    pub fn set(&mut self, quantity: Quantity, figure: Figure) {
        self.figures.insert(quantity, figure);
    }

    /// Everything there is.
    pub fn iter(&self) -> impl Iterator<Item = (Quantity, &Figure)> {
        self.figures.iter().map(|(&quantity, figure)| (quantity, figure))
    }

    /// One quantity with its time.
    #[must_use]
    pub fn figure(&self, quantity: Quantity) -> Option<&Figure> {
        self.figures.get(&quantity)
    }

    /// What is known of one quantity.
    #[must_use]
    pub fn observed(&self, quantity: Quantity) -> Observed<i64> {
        self.figures
            .get(&quantity)
            .map_or(Observed::Absent(Absence::NotYet), |figure| figure.value.clone())
    }

    /// Takes over what `newer` knows; quantities it does not mention stay.
    pub fn merge(&mut self, newer: Self) {
        self.figures.extend(newer.figures);
        self.identity = newer.identity.or(self.identity.take());
        self.device_clock_ms = newer.device_clock_ms.or(self.device_clock_ms);
    }
}
