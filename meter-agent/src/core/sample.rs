//! What the household's devices say together at one time.

use std::collections::BTreeMap;

use crate::device::Observed;

/// A cumulative register as the device shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count {
    /// What it shows, mWh.
    pub mwh: i64,
    /// Where it starts again from zero, mWh; none when it never does or nobody knows.
    pub rolls_over_at: Option<i64>,
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
    /// State of charge in tenths of a percent.
    pub soc_permille: Option<i64>,
    /// Line-to-neutral voltage of the first phase, mV.
    pub voltage_mv: Option<i64>,
}
