//! The form of a map's numbers: where each stands, in registers, payloads and telegrams.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Resets;
use super::map::When;
use super::quantity::{Direction, State, Unit};

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

/// Which raw values mean "not available" in a whole block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sentinels {
    /// The smallest signed number and all ones unsigned, as SunSpec and SMA have it.
    Sunspec,
    /// The largest signed number and all ones unsigned, as Huawei has it.
    Largest,
    /// All ones in every type.
    Ones,
}

/// When a counter starts again from zero, other than by running over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reset {
    /// Never, as far as its maker says.
    Never,
    /// Every day.
    Daily,
    /// When the power fails, or it falls back to what was saved last.
    PowerCycle,
    /// Nobody knows.
    Unknown,
}

impl Reset {
    /// What is done about it; of what nobody knows the best is hoped, and the register is watched.
    #[must_use]
    pub const fn resets(self) -> Resets {
        match self {
            Self::Never | Self::Unknown => Resets::Never,
            Self::Daily => Resets::Daily,
            Self::PowerCycle => Resets::PowerCycle,
        }
    }
}

/// What a cumulative register is worth as a counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counter {
    /// Its smallest step, mWh; may be left out where it follows from the number itself (floats, and
    /// numbers with a scale factor).
    #[serde(default)]
    pub resolution_mwh: Option<i64>,
    /// When it starts again.
    pub reset: Reset,
}

/// Whole numbers between which a value is believed, in the field's own unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Valid {
    /// Smallest.
    pub min: i64,
    /// Largest.
    pub max: i64,
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
    /// Added to the raw number before scaling.
    #[serde(default)]
    pub offset: i64,
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
    /// What is known of a cumulative register; required for energy.
    #[serde(default)]
    pub counter: Option<Counter>,
    /// What is believed; anything else is a fault.
    #[serde(default)]
    pub valid: Option<Valid>,
    /// For unit `state`: what each number means.
    #[serde(default)]
    pub states: BTreeMap<String, State>,
    /// For unit `state`: what each bit means; the lowest one that is set counts, none is idle.
    #[serde(default)]
    pub state_bits: BTreeMap<u8, State>,
    /// Whether the device may lack it.
    #[serde(default)]
    pub optional: bool,
    /// Whether nobody has checked this one.
    #[serde(default)]
    pub unverified: bool,
    /// On which devices it is there.
    #[serde(default)]
    pub when: Option<When>,
}

/// Registers that belong together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Block {
    /// SunSpec models that have this block, the first found counts; empty = the model that the
    /// map's id stands for.
    #[serde(default)]
    pub models: Vec<u16>,
    /// Function code, if not the map's.
    #[serde(default)]
    pub function: Option<u8>,
    /// First register (SunSpec: offset from the model's first register).
    #[serde(default)]
    pub address: u16,
    /// Number of registers that are read in one request; 0 leaves it to the planner.
    #[serde(default)]
    pub count: u16,
    /// Whether the device may lack it.
    #[serde(default)]
    pub optional: bool,
    /// Order of multi-register numbers.
    #[serde(default)]
    pub order: WordOrder,
    /// Whether the owner can switch that order in the device.
    #[serde(default)]
    pub order_switchable: bool,
    /// Which raw values mean "not available"; SunSpec maps have that standard's anyway.
    #[serde(default)]
    pub sentinels: Option<Sentinels>,
    /// On which devices it is there.
    #[serde(default)]
    pub when: Option<When>,
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
    /// What is known of a cumulative register; required for energy.
    #[serde(default)]
    pub counter: Option<Counter>,
    /// What is believed; anything else is a fault.
    #[serde(default)]
    pub valid: Option<Valid>,
    /// Whether nobody has checked this one.
    #[serde(default)]
    pub unverified: bool,
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

/// Where a device says whether it is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Availability {
    /// Topic; `{topic}` stands for the one in the configuration.
    pub topic: String,
    /// The payload that means it is gone.
    pub offline: String,
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
    /// `2026-03-29T01:59:59Z`, or with an offset such as `+01:00`.
    Iso8601,
    /// `260329015959W`: winter or summer time of the Netherlands and Belgium.
    Dsmr,
}

/// One number of a telegram.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ObisField {
    /// A quantity, or any other name that `derived` refers to.
    pub key: String,
    /// Which object, as in `1-0:1.8.0`.
    pub code: String,
    /// The unit that the telegram must state.
    pub unit: Unit,
    /// What positive means; required for power.
    #[serde(default)]
    pub positive_means: Option<Direction>,
    /// What is known of a cumulative register; required for energy.
    #[serde(default)]
    pub counter: Option<Counter>,
}
