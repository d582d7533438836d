//! What is really the case in the street: the measure for everything that devices report.

use units::PointId;

/// The state of one customer at the end of a span. Powers are means of the span in deciwatts
/// (0.1 W); positive = from the grid into the house.
#[derive(Debug, Clone, PartialEq)]
pub struct CustomerTruth {
    /// The metering point.
    pub id: PointId,
    /// Market time, Unix milliseconds.
    pub at_ms: i64,
    /// Through the meter.
    pub net_dw: i64,
    /// Used by loads, heat pumps and EV chargers.
    pub load_dw: i64,
    /// Reactive power through the meter, 0.1 var.
    pub reactive_dvar: i64,
    /// Import register of the meter, whole Wh.
    pub import_wh: u64,
    /// Export register of the meter, whole Wh.
    pub export_wh: u64,
    /// Import at the low tariff (part of `import_wh`), whole Wh.
    pub low_import_wh: u64,
    /// Export at the low tariff (part of `export_wh`), whole Wh.
    pub low_export_wh: u64,
    /// Reactive import register, whole varh.
    pub reactive_import_varh: u64,
    /// Reactive export register, whole varh.
    pub reactive_export_varh: u64,
    /// Whether the meter is at its low tariff.
    pub low_tariff: bool,
    /// Voltage between phase and neutral, V.
    pub voltage_v: f64,
    /// Voltage per unit of the bus's nominal voltage.
    pub vm_pu: f64,
    /// PV, if the house has one.
    pub solar: Option<SolarTruth>,
    /// Battery, if the simulation runs one here.
    pub battery: Option<BatteryTruth>,
}

/// The state of a PV system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SolarTruth {
    /// AC output, deciwatts, never negative.
    pub power_dw: i64,
    /// AC energy register, whole Wh.
    pub produced_wh: u64,
}

/// The state of all batteries of a house together.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BatteryTruth {
    /// AC power, deciwatts, positive = charging.
    pub power_dw: i64,
    /// Filled share of the capacity, 0 to 1.
    pub state_of_charge: f64,
    /// AC energy taken in, whole Wh.
    pub charged_wh: u64,
    /// AC energy given back, whole Wh.
    pub discharged_wh: u64,
}

impl CustomerTruth {
    /// Before the first measurement.
    pub(crate) const fn unmeasured(id: PointId) -> Self {
        Self {
            id,
            at_ms: 0,
            net_dw: 0,
            load_dw: 0,
            reactive_dvar: 0,
            import_wh: 0,
            export_wh: 0,
            low_import_wh: 0,
            low_export_wh: 0,
            reactive_import_varh: 0,
            reactive_export_varh: 0,
            low_tariff: false,
            voltage_v: 0.0,
            vm_pu: 0.0,
            solar: None,
            battery: None,
        }
    }

    /// Power through the meter in W, positive = from the grid.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
    pub fn net_w(&self) -> f64 {
        self.net_dw as f64 / 10.0
    }

    /// Reactive power through the meter in var.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
    pub fn reactive_var(&self) -> f64 {
        self.reactive_dvar as f64 / 10.0
    }

    /// Apparent power through the meter in VA.
    #[must_use]
    pub fn apparent_va(&self) -> f64 {
        self.net_w().hypot(self.reactive_var())
    }
}

/// The state of the network.
#[derive(Debug, Clone, PartialEq)]
pub struct GridTruth {
    /// Voltage per bus, per unit, in the order of the network.
    pub vm_pu: Vec<f64>,
    /// Loading per line, %.
    pub line_loading_pct: Vec<f64>,
    /// Loading per transformer, %.
    pub transformer_loading_pct: Vec<f64>,
    /// Delivered by the grid above, kW; negative = fed back.
    pub slack_kw: f64,
    /// Lost in lines and transformers, kW.
    pub loss_kw: f64,
    /// PV output over PV rating of the whole street.
    pub sun: f64,
}
