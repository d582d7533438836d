//! What the household's devices say together at one time.

use std::collections::BTreeMap;

use protocol::RawSample;

use crate::device::{Observed, Resets};

/// A cumulative register as the device shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count {
    /// What it shows, mWh.
    pub mwh: i64,
    /// Where it starts again from zero, mWh; none when it never does or nobody knows.
    pub rolls_over_at: Option<i64>,
    /// The smallest step it can show, mWh; none when nobody knows.
    pub resolution_mwh: Option<i64>,
    /// Whether it starts again by itself.
    pub resets: Resets,
}

impl Count {
    /// A count of which nothing more is known.
    #[must_use]
    pub const fn plain(mwh: i64) -> Self {
        Self { mwh, rolls_over_at: None, resolution_mwh: None, resets: Resets::Never }
    }
}

/// The registers of the grid connection and of the household's own plant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registers {
    /// Market time at which they were true, Unix milliseconds.
    pub taken_ms: i64,
    /// Energy from the grid.
    pub import: Observed<Count>,
    /// Energy to the grid.
    pub export: Observed<Count>,
    /// Production, by device; empty without a plant of its own.
    pub produced: BTreeMap<String, Observed<Count>>,
    /// Power at the grid connection then, mW, positive = from the grid, when it was measured too.
    pub power_mw: Option<i64>,
    /// Energy that vehicles were charged with, by charging point.
    pub charged: BTreeMap<String, Observed<Count>>,
    /// What went into a steered battery less what came out of it, ever, mWh.
    pub stored_mwh: Option<i64>,
    /// Which device the meter is, by its own word.
    pub identity: Option<String>,
    /// The meter's own clock less ours, milliseconds.
    pub device_offset_ms: Option<i64>,
    /// What the meter said on both sides of an edge that lies between.
    pub samples: Vec<RawSample>,
    /// The registers are sums of power, for the meter has none.
    pub summed: Option<Summed>,
}

/// What is known of registers that are sums of power.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summed {
    /// The newest time without a measurement that was too long to be summed up over, from and to,
    /// Unix milliseconds: before the first measurement nothing is known.
    pub gap_ms: (i64, i64),
}

impl Registers {
    /// Registers of which nothing more is known.
    #[must_use]
    pub const fn plain(taken_ms: i64, import: Observed<Count>, export: Observed<Count>) -> Self {
        Self {
            taken_ms,
            import,
            export,
            produced: BTreeMap::new(),
            power_mw: None,
            stored_mwh: None,
            charged: BTreeMap::new(),
            identity: None,
            device_offset_ms: None,
            samples: Vec::new(),
            summed: None,
        }
    }
}

/// The present flows, for display and for a first forecast.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Flows {
    /// Market time of the measurement, Unix milliseconds.
    pub taken_ms: i64,
    /// At the grid connection, mW, positive = from the grid.
    pub power_mw: Option<i64>,
    /// Production, mW, positive = producing.
    pub pv_mw: Option<i64>,
    /// Battery, mW, positive = charging.
    pub battery_mw: Option<i64>,
    /// Charging points, mW, positive = charging a vehicle.
    pub charger_mw: Option<i64>,
    /// State of charge in tenths of a percent.
    pub soc_permille: Option<i64>,
    /// Line-to-neutral voltage of the first phase, mV.
    pub voltage_mv: Option<i64>,
    /// When the oldest of the figures was taken that a steered battery goes by; none without one, and
    /// while one of them is not known.
    pub oldest_ms: Option<i64>,
}
