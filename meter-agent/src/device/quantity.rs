//! The words of a device map: what can be measured, in which units, which way it flows, and the
//! states a device can be in. The lists are closed, so that a misspelt word is an error.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! quantities {
    ($($(#[$doc:meta])* $name:ident $word:literal $unit:literal,)*) => {
        /// What can be measured, with its canonical unit.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum Quantity {
            $($(#[$doc])* #[serde(rename = $word)] $name,)*
        }

        impl Quantity {
            /// Every quantity, in the order of tables.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The word in a map.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $word,)* }
            }

            /// The unit its values are in after decoding.
            #[must_use]
            pub const fn canonical_unit(self) -> &'static str {
                match self { $(Self::$name => $unit,)* }
            }
        }
    };
}

quantities! {
    /// Active power in mW, positive = into the device.
    Power "power" "mW",
    /// Cumulative energy from the grid (or into a charging point), mWh.
    EnergyImport "energy_import" "mWh",
    /// Cumulative energy to the grid, mWh.
    EnergyExport "energy_export" "mWh",
    /// Cumulative production, mWh.
    EnergyProduced "energy_produced" "mWh",
    /// Cumulative energy into a battery, mWh.
    EnergyCharged "energy_charged" "mWh",
    /// Cumulative energy out of a battery, mWh.
    EnergyDischarged "energy_discharged" "mWh",
    /// State of charge in tenths of a percent.
    StateOfCharge "state_of_charge" "permille",
    /// State of health in tenths of a percent.
    StateOfHealth "state_of_health" "permille",
    /// Energy a full battery holds, mWh.
    EnergyCapacity "energy_capacity" "mWh",
    /// What the device is able to do at most, mW.
    RatedPower "rated_power" "mW",
    /// Limit of the active power that is set at present, tenths of a percent of the rating.
    ActiveLimit "active_limit" "permille",
    /// Line-to-neutral voltage of the first phase, mV.
    VoltageL1 "voltage_l1" "mV",
    /// Line-to-neutral voltage of the second phase, mV.
    VoltageL2 "voltage_l2" "mV",
    /// Line-to-neutral voltage of the third phase, mV.
    VoltageL3 "voltage_l3" "mV",
    /// Current of the first phase, mA; the sign is the device's own.
    CurrentL1 "current_l1" "mA",
    /// Current of the second phase, mA.
    CurrentL2 "current_l2" "mA",
    /// Current of the third phase, mA.
    CurrentL3 "current_l3" "mA",
    /// Active power of the first phase in mW, positive = into the device.
    PowerL1 "power_l1" "mW",
    /// Active power of the second phase in mW, positive = into the device.
    PowerL2 "power_l2" "mW",
    /// Active power of the third phase in mW, positive = into the device.
    PowerL3 "power_l3" "mW",
    /// Cumulative import on the first phase, mWh.
    EnergyImportL1 "energy_import_l1" "mWh",
    /// Cumulative import on the second phase, mWh.
    EnergyImportL2 "energy_import_l2" "mWh",
    /// Cumulative import on the third phase, mWh.
    EnergyImportL3 "energy_import_l3" "mWh",
    /// Cumulative export on the first phase, mWh.
    EnergyExportL1 "energy_export_l1" "mWh",
    /// Cumulative export on the second phase, mWh.
    EnergyExportL2 "energy_export_l2" "mWh",
    /// Cumulative export on the third phase, mWh.
    EnergyExportL3 "energy_export_l3" "mWh",
    /// Reactive power, mvar; the sign is the device's own.
    ReactivePower "reactive_power" "mvar",
    /// Apparent power, mVA.
    ApparentPower "apparent_power" "mVA",
    /// Power factor in thousandths; the sign is the device's own.
    PowerFactor "power_factor" "thousandths",
    /// Frequency, mHz.
    Frequency "frequency" "mHz",
    /// Power on the direct-current side, mW; the sign is the device's own.
    DcPower "dc_power" "mW",
    /// Power of the first string or tracker, mW.
    DcPower1 "dc_power_1" "mW",
    /// Power of the second string or tracker, mW.
    DcPower2 "dc_power_2" "mW",
    /// Power of the third string or tracker, mW.
    DcPower3 "dc_power_3" "mW",
    /// Power of the fourth string or tracker, mW.
    DcPower4 "dc_power_4" "mW",
    /// Voltage of the first string, or of a battery, mV.
    DcVoltage1 "dc_voltage_1" "mV",
    /// Voltage of the second string, mV.
    DcVoltage2 "dc_voltage_2" "mV",
    /// Voltage of the third string, mV.
    DcVoltage3 "dc_voltage_3" "mV",
    /// Voltage of the fourth string, mV.
    DcVoltage4 "dc_voltage_4" "mV",
    /// Temperature of the device, thousandths of a degree Celsius.
    Temperature "temperature" "mdegC",
    /// A [`State`] by its code.
    OperatingState "operating_state" "state",
}

impl Quantity {
    /// The quantity of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|quantity| quantity.as_str() == name)
    }

    /// Whether this is a power whose sign the market relies on.
    #[must_use]
    pub const fn is_signed_power(self) -> bool {
        matches!(self, Self::Power | Self::PowerL1 | Self::PowerL2 | Self::PowerL3)
    }

    /// A value in the unit that people use.
    #[must_use]
    pub fn shown(self, value: i64) -> String {
        let split = |places: usize, by: u64, unit: &str| {
            let (sign, size) = (if value < 0 { "-" } else { "" }, value.unsigned_abs());
            format!("{sign}{}.{:0places$}{unit}", size / by, size % by)
        };
        match self.canonical_unit() {
            "mW" => split(3, 1_000, " W"),
            "mWh" => split(6, 1_000_000, " kWh"),
            "mV" => split(3, 1_000, " V"),
            "mA" => split(3, 1_000, " A"),
            "mHz" => split(3, 1_000, " Hz"),
            "mvar" => split(3, 1_000, " var"),
            "mVA" => split(3, 1_000, " VA"),
            "mdegC" => split(3, 1_000, " °C"),
            "thousandths" => split(3, 1_000, ""),
            "permille" => split(1, 10, " %"),
            _ => State::of_code(value).map_or_else(|| value.to_string(), |state| state.to_string()),
        }
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The unit a device counts in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Unit {
    W,
    #[serde(rename = "kW")]
    Kw,
    #[serde(rename = "mW")]
    MilliW,
    Wh,
    #[serde(rename = "kWh")]
    Kwh,
    #[serde(rename = "mWh")]
    MilliWh,
    /// Watt-minutes; 60 of them are a watt-hour.
    #[serde(rename = "Wmin")]
    WattMinute,
    V,
    #[serde(rename = "mV")]
    MilliV,
    A,
    #[serde(rename = "mA")]
    MilliA,
    Hz,
    #[serde(rename = "var")]
    Var,
    #[serde(rename = "kvar")]
    Kvar,
    #[serde(rename = "VA")]
    Va,
    #[serde(rename = "kVA")]
    Kva,
    #[serde(rename = "%")]
    Percent,
    /// Degrees Celsius.
    #[serde(rename = "degC")]
    Celsius,
    /// A plain ratio, such as a power factor.
    #[serde(rename = "1")]
    One,
    /// A word out of `states` or `state_bits`.
    #[serde(rename = "state")]
    State,
}

impl Unit {
    /// Power of ten from this unit to the canonical one.
    #[must_use]
    pub const fn exponent(self) -> i32 {
        match self {
            Self::MilliW | Self::MilliWh | Self::MilliV | Self::MilliA | Self::State => 0,
            Self::Percent => 1,
            Self::W
            | Self::Wh
            | Self::WattMinute
            | Self::V
            | Self::A
            | Self::Hz
            | Self::Var
            | Self::Va
            | Self::Celsius
            | Self::One => 3,
            Self::Kw | Self::Kwh | Self::Kvar | Self::Kva => 6,
        }
    }

    /// What is divided by after the power of ten; 1 but for watt-minutes.
    #[must_use]
    pub const fn divisor(self) -> i64 {
        if matches!(self, Self::WattMinute) { 60 } else { 1 }
    }

    /// The canonical unit it leads to.
    #[must_use]
    pub const fn canonical(self) -> &'static str {
        match self {
            Self::W | Self::Kw | Self::MilliW => "mW",
            Self::Wh | Self::Kwh | Self::MilliWh | Self::WattMinute => "mWh",
            Self::V | Self::MilliV => "mV",
            Self::A | Self::MilliA => "mA",
            Self::Hz => "mHz",
            Self::Var | Self::Kvar => "mvar",
            Self::Va | Self::Kva => "mVA",
            Self::Percent => "permille",
            Self::Celsius => "mdegC",
            Self::One => "thousandths",
            Self::State => "state",
        }
    }
}

/// What a positive power means on a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// From the grid.
    Import,
    /// To the grid.
    Export,
    /// Into a battery.
    Charge,
    /// Out of a battery.
    Discharge,
    /// Into an appliance.
    Consume,
    /// Out of a generator.
    Produce,
}

impl Direction {
    /// +1 when positive means into the device, −1 when out of it.
    #[must_use]
    pub const fn sign(self) -> i64 {
        match self {
            Self::Import | Self::Charge | Self::Consume => 1,
            Self::Export | Self::Discharge | Self::Produce => -1,
        }
    }
}

/// What a device says it is doing, in words that all vendors share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Switched off.
    Off,
    /// Nothing to do, as an inverter at night.
    Asleep,
    /// Starting up.
    Starting,
    /// Working as it can.
    Running,
    /// Working at less than it could.
    Throttled,
    /// Going to sleep.
    ShuttingDown,
    /// Something is wrong with it.
    Fault,
    /// Ready and waiting.
    Standby,
    /// Neither charging nor discharging.
    Idle,
    /// Energy flows into it.
    Charging,
    /// Energy flows out of it.
    Discharging,
    /// A battery with nothing left to give.
    Empty,
    /// A battery that takes no more.
    Full,
    /// A battery that is kept where it is.
    Holding,
    /// Testing itself.
    Testing,
    /// No vehicle at a charging point.
    Unplugged,
    /// A vehicle that does not charge.
    Plugged,
}

impl State {
    const ALL: [Self; 17] = [
        Self::Off,
        Self::Asleep,
        Self::Starting,
        Self::Running,
        Self::Throttled,
        Self::ShuttingDown,
        Self::Fault,
        Self::Standby,
        Self::Idle,
        Self::Charging,
        Self::Discharging,
        Self::Empty,
        Self::Full,
        Self::Holding,
        Self::Testing,
        Self::Unplugged,
        Self::Plugged,
    ];

    /// The number that stands for it in a readout: its place in the list, from 1.
    #[must_use]
    pub fn code(self) -> i64 {
        let place = Self::ALL.iter().position(|&state| state == self);
        i64::try_from(place.expect("every state is in the list")).expect("a short list") + 1
    }

    /// The state of a code.
    #[must_use]
    pub fn of_code(code: i64) -> Option<Self> {
        usize::try_from(code.checked_sub(1)?).ok().and_then(|place| Self::ALL.get(place).copied())
    }

    /// Whether silence of all other figures is in order.
    #[must_use]
    pub const fn is_asleep(self) -> bool {
        matches!(self, Self::Off | Self::Asleep)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Off => "off",
            Self::Asleep => "asleep",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Throttled => "throttled",
            Self::ShuttingDown => "shutting_down",
            Self::Fault => "fault",
            Self::Standby => "standby",
            Self::Idle => "idle",
            Self::Charging => "charging",
            Self::Discharging => "discharging",
            Self::Empty => "empty",
            Self::Full => "full",
            Self::Holding => "holding",
            Self::Testing => "testing",
            Self::Unplugged => "unplugged",
            Self::Plugged => "plugged",
        })
    }
}
