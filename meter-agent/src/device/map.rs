//! The form of a device map.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// What can be measured, with its canonical unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Quantity {
    /// Active power in mW, positive = into the device.
    Power,
    /// Cumulative energy from the grid, mWh.
    EnergyImport,
    /// Cumulative energy to the grid, mWh.
    EnergyExport,
    /// Cumulative production, mWh.
    EnergyProduced,
    /// State of charge in tenths of a percent.
    StateOfCharge,
    /// Line-to-neutral voltage of the first phase, mV.
    VoltageL1,
    /// Line-to-neutral voltage of the second phase, mV.
    VoltageL2,
    /// Line-to-neutral voltage of the third phase, mV.
    VoltageL3,
}

impl Quantity {
    /// Every quantity, in the order of tables.
    pub const ALL: [Self; 8] = [
        Self::Power,
        Self::EnergyImport,
        Self::EnergyExport,
        Self::EnergyProduced,
        Self::StateOfCharge,
        Self::VoltageL1,
        Self::VoltageL2,
        Self::VoltageL3,
    ];

    /// The word in a map.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Power => "power",
            Self::EnergyImport => "energy_import",
            Self::EnergyExport => "energy_export",
            Self::EnergyProduced => "energy_produced",
            Self::StateOfCharge => "state_of_charge",
            Self::VoltageL1 => "voltage_l1",
            Self::VoltageL2 => "voltage_l2",
            Self::VoltageL3 => "voltage_l3",
        }
    }

    /// The quantity of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|quantity| quantity.as_str() == name)
    }

    /// Whether this is a cumulative register.
    #[must_use]
    pub const fn is_energy(self) -> bool {
        matches!(self, Self::EnergyImport | Self::EnergyExport | Self::EnergyProduced)
    }

    /// The unit its values are in after decoding.
    #[must_use]
    pub const fn canonical_unit(self) -> &'static str {
        match self {
            Self::Power => "mW",
            Self::EnergyImport | Self::EnergyExport | Self::EnergyProduced => "mWh",
            Self::StateOfCharge => "permille",
            Self::VoltageL1 | Self::VoltageL2 | Self::VoltageL3 => "mV",
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
pub enum Unit {
    /// Watts.
    W,
    /// Kilowatts.
    #[serde(rename = "kW")]
    Kw,
    /// Milliwatts.
    #[serde(rename = "mW")]
    MilliW,
    /// Watt-hours.
    Wh,
    /// Kilowatt-hours.
    #[serde(rename = "kWh")]
    Kwh,
    /// Volts.
    V,
    /// Millivolts.
    #[serde(rename = "mV")]
    MilliV,
    /// Percent.
    #[serde(rename = "%")]
    Percent,
}

impl Unit {
    /// Power of ten from this unit to the canonical one.
    #[must_use]
    pub const fn exponent(self) -> i32 {
        match self {
            Self::MilliW | Self::MilliV => 0,
            Self::Percent => 1,
            Self::W | Self::Wh | Self::V => 3,
            Self::Kw | Self::Kwh => 6,
        }
    }

    /// The canonical unit it leads to.
    #[must_use]
    pub const fn canonical(self) -> &'static str {
        match self {
            Self::W | Self::Kw | Self::MilliW => "mW",
            Self::Wh | Self::Kwh => "mWh",
            Self::V | Self::MilliV => "mV",
            Self::Percent => "permille",
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

/// Type of a number in registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names say it")]
pub enum NumberType {
    Int16,
    Uint16,
    Int32,
    Uint32,
    Int64,
    Uint64,
    /// SunSpec accumulator: zero means "not available" unless the map says otherwise.
    Acc32,
    /// SunSpec accumulator of 64 bits.
    Acc64,
    Float32,
    Float64,
}

impl NumberType {
    /// Width in 16-bit registers.
    #[must_use]
    pub const fn registers(self) -> u16 {
        match self {
            Self::Int16 | Self::Uint16 => 1,
            Self::Int32 | Self::Uint32 | Self::Acc32 | Self::Float32 => 2,
            Self::Int64 | Self::Uint64 | Self::Acc64 | Self::Float64 => 4,
        }
    }

    /// Whether it is a binary float.
    #[must_use]
    pub const fn is_float(self) -> bool {
        matches!(self, Self::Float32 | Self::Float64)
    }
}

/// Order of the bytes of a number, A being the most significant pair's first byte.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum WordOrder {
    /// Most significant word first, as the standard says.
    #[default]
    Abcd,
    /// Least significant word first.
    Cdab,
    /// Most significant word first, bytes swapped within each.
    Badc,
    /// Everything reversed.
    Dcba,
}

/// What a zero in an accumulator means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Zero {
    /// Nothing has been counted yet.
    Value,
    /// The device does not count this.
    Absent,
}

/// One number in a block of registers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Field {
    /// A quantity, or any other name that `derived` refers to.
    pub key: String,
    /// Register address (SunSpec: offset from the model's first register).
    pub at: u16,
    /// Type of the number.
    #[serde(rename = "type")]
    pub kind: NumberType,
    /// Unit before scaling to the canonical one.
    pub unit: Unit,
    /// Fixed power of ten.
    #[serde(default)]
    pub scale10: i32,
    /// Where a signed power of ten stands (int16, −10 to 10), in the same block.
    #[serde(default)]
    pub scale_at: Option<u16>,
    /// Overrides the block's order.
    #[serde(default)]
    pub order: Option<WordOrder>,
    /// Raw values that mean "not available".
    #[serde(default)]
    pub sentinels: Vec<u64>,
    /// What zero means; only for accumulators, whose standard says absent.
    #[serde(default)]
    pub zero: Option<Zero>,
    /// What positive means; required for power.
    #[serde(default)]
    pub positive_means: Option<Direction>,
    /// Bits after which the raw counter starts again from zero.
    #[serde(default)]
    pub rolls_over_bits: Option<u8>,
}

/// Registers that are read in one transaction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Block {
    /// SunSpec models that have this block, the first found counts; empty = the model that the
    /// map's id stands for.
    #[serde(default)]
    pub models: Vec<u16>,
    /// First register (SunSpec: offset from the model's first register).
    #[serde(default)]
    pub address: u16,
    /// Number of registers.
    pub count: u16,
    /// Whether the device may lack it.
    #[serde(default)]
    pub optional: bool,
    /// Order of multi-register numbers.
    #[serde(default)]
    pub order: WordOrder,
    /// The numbers in it.
    #[serde(rename = "field")]
    pub fields: Vec<Field>,
}

/// One number in an MQTT payload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PayloadField {
    /// A quantity, or any other name that `derived` refers to.
    pub key: String,
    /// Where it stands in a JSON payload: names and array positions, joined by dots. Absent when
    /// the whole payload is the number.
    #[serde(default)]
    pub path: Option<String>,
    /// Unit before scaling to the canonical one.
    pub unit: Unit,
    /// Fixed power of ten.
    #[serde(default)]
    pub scale10: i32,
    /// What positive means; required for power.
    #[serde(default)]
    pub positive_means: Option<Direction>,
}

/// One kind of MQTT message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MessageMap {
    /// Topic; `{topic}` stands for the one in the configuration.
    pub topic: String,
    /// Where the payload says when it was true, if it does.
    #[serde(default)]
    pub time: Option<TimeField>,
    /// Whether a message that the broker kept for us counts (it has no time of its own).
    #[serde(default)]
    pub accept_retained: bool,
    /// The numbers in it.
    #[serde(rename = "field")]
    pub fields: Vec<PayloadField>,
}

/// Where and how a payload states its time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TimeField {
    /// Path in the JSON payload.
    pub path: String,
    /// Its form.
    pub form: TimeForm,
}

/// Forms of a time in a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimeForm {
    /// Seconds since 1970, possibly with a fraction.
    UnixSeconds,
}

/// A figure computed from others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Derived {
    /// The quantity.
    pub key: Quantity,
    /// Names that are added; all are required.
    #[serde(default)]
    pub plus: Vec<String>,
    /// Names that are subtracted; all are required.
    #[serde(default)]
    pub minus: Vec<String>,
    /// Names that are added when there.
    #[serde(default)]
    pub plus_optional: Vec<String>,
}

/// How registers are read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModbusRules {
    /// Function code: 3 (holding registers) or 4 (input registers).
    pub function: u8,
    /// Most registers in one request, at most 125.
    #[serde(default = "max_registers")]
    pub max_registers: u16,
    /// Whether address and count must be even.
    #[serde(default)]
    pub even: bool,
    /// How long to wait for an answer, milliseconds.
    #[serde(default = "modbus_timeout_ms")]
    pub timeout_ms: u64,
    /// How long to leave a fresh connection alone, milliseconds.
    #[serde(default)]
    pub connect_delay_ms: u64,
}

const fn max_registers() -> u16 {
    125
}

const fn modbus_timeout_ms() -> u64 {
    3_000
}

/// How a device is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Transport {
    /// Modbus TCP at fixed addresses.
    Modbus,
    /// Modbus TCP with SunSpec discovery.
    Sunspec,
    /// MQTT.
    Mqtt,
}

/// How far a map can be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// From the standard or the vendor's document.
    Documented,
    /// From several independent implementations.
    CrossChecked,
    /// Seen working on the device.
    Field,
    /// Nobody has checked it.
    Unverified,
}

/// A device map.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceMap {
    /// Name in configurations.
    #[serde(default)]
    pub id: String,
    /// SunSpec: further ids, each with the model number it stands for.
    #[serde(default)]
    pub ids: BTreeMap<String, u16>,
    /// For people.
    pub name: String,
    /// How it is reached.
    pub transport: Transport,
    /// How far it can be trusted.
    pub status: Status,
    /// Where the facts come from.
    pub sources: Vec<String>,
    /// What must be set up on the device, and known traps.
    #[serde(default)]
    pub notes: Vec<String>,
    /// For `modbus` and `sunspec`.
    #[serde(default)]
    pub modbus: Option<ModbusRules>,
    /// For `modbus` and `sunspec`.
    #[serde(default, rename = "block")]
    pub blocks: Vec<Block>,
    /// For `mqtt`.
    #[serde(default, rename = "message")]
    pub messages: Vec<MessageMap>,
    /// Figures computed from others.
    #[serde(default)]
    pub derived: Vec<Derived>,
}

impl DeviceMap {
    /// What positive power means, as the map says.
    #[must_use]
    pub fn positive_means(&self) -> Option<Direction> {
        let in_blocks = self.blocks.iter().flat_map(|block| &block.fields);
        let in_messages = self.messages.iter().flat_map(|message| &message.fields);
        in_blocks
            .filter(|field| field.key == Quantity::Power.as_str())
            .find_map(|field| field.positive_means)
            .or_else(|| {
                in_messages
                    .filter(|field| field.key == Quantity::Power.as_str())
                    .find_map(|field| field.positive_means)
            })
    }

    /// The same map for a device on which positive power means something else.
    #[must_use]
    pub fn with_positive_means(mut self, direction: Direction) -> Self {
        for field in self.blocks.iter_mut().flat_map(|block| &mut block.fields) {
            if field.key == Quantity::Power.as_str() {
                field.positive_means = Some(direction);
            }
        }
        for field in self.messages.iter_mut().flat_map(|message| &mut message.fields) {
            if field.key == Quantity::Power.as_str() {
                field.positive_means = Some(direction);
            }
        }
        self
    }
}
