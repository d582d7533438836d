//! The form of a device map.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::control::{Control, ControlKind};
use super::fields::{Block, MessageMap, ObisField};
use super::quantity::{Direction, Quantity, State};

/// What the energy registers of a meter count when one phase imports while another exports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Registration {
    /// The phases are summed first, as a billing meter does.
    Net,
    /// Each phase is counted on its own: both registers run faster than the bill's.
    PerPhase,
    /// Nobody knows.
    Unknown,
}

/// A part of a result that is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Keep {
    /// What is above zero; zero otherwise.
    Positive,
    /// The size of what is below zero; zero otherwise.
    Negative,
    /// The size.
    Size,
}

/// A sign that another figure tells.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignBy {
    /// The figure with unit `state`.
    pub state: String,
    /// In these states the result is negative.
    pub negative: Vec<State>,
    /// In these it is positive; in any other, only zero makes sense.
    pub positive: Vec<State>,
}

/// A figure computed from others.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Derived {
    /// A quantity, or a name for later derived figures.
    pub key: String,
    /// Names that are added; all are required.
    #[serde(default)]
    pub plus: Vec<String>,
    /// Names that are subtracted; all are required.
    #[serde(default)]
    pub minus: Vec<String>,
    /// Names that are added when there.
    #[serde(default)]
    pub plus_optional: Vec<String>,
    /// Names that are subtracted when there.
    #[serde(default)]
    pub minus_optional: Vec<String>,
    /// Instead of a sum: the first of these that has a value.
    #[serde(default)]
    pub first_of: Vec<String>,
    /// Which part of the result counts.
    #[serde(default)]
    pub keep: Option<Keep>,
    /// Where the sign of an unsigned result stands.
    #[serde(default)]
    pub sign_by: Option<SignBy>,
    /// What a positive result means; into the device when it is not said.
    #[serde(default)]
    pub positive_means: Option<Direction>,
}

/// Registers that must not be read, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hole {
    /// First register.
    pub from: u16,
    /// Last register.
    pub to: u16,
    /// Function code; every one when it is not said.
    #[serde(default)]
    pub function: Option<u8>,
}

/// How the device speaks on a serial line as delivered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SerialRules {
    /// Bits per second.
    pub baud: u32,
    /// `none`, `even` or `odd`.
    pub parity: String,
    /// 1 or 2.
    pub stop_bits: u8,
}

/// How registers are read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModbusRules {
    /// Function code of blocks that name none: 3 (holding registers) or 4 (input registers).
    pub function: u8,
    /// TCP port as delivered.
    #[serde(default = "port")]
    pub port: u16,
    /// Unit ids as delivered, the likeliest first.
    #[serde(default)]
    pub units: Vec<u8>,
    /// Serial line as delivered; none for devices without one.
    #[serde(default)]
    pub serial: Option<SerialRules>,
    /// What the addresses in this file count from: 0 for addresses as on the wire, 1 for documents
    /// that count registers from 1, 30001 or 40001 for reference numbers.
    #[serde(default)]
    pub address_base: Option<u16>,
    /// Most registers in one request, at most 125.
    #[serde(default = "max_registers")]
    pub max_registers: u16,
    /// Most registers that nobody wants within a request; a larger gap makes two requests.
    #[serde(default = "max_gap")]
    pub max_gap: u16,
    /// Registers that no request may cover.
    #[serde(default)]
    pub no_read: Vec<Hole>,
    /// Whether address and count must be even.
    #[serde(default)]
    pub even: bool,
    /// How long to wait for an answer, milliseconds.
    #[serde(default = "modbus_timeout_ms")]
    pub timeout_ms: u64,
    /// How long to leave a fresh connection alone, milliseconds.
    #[serde(default)]
    pub connect_delay_ms: u64,
    /// How long to leave the device alone between two requests, milliseconds.
    #[serde(default)]
    pub min_gap_ms: u64,
}

const fn port() -> u16 {
    502
}

const fn max_registers() -> u16 {
    125
}

const fn max_gap() -> u16 {
    24
}

const fn modbus_timeout_ms() -> u64 {
    3_000
}

/// How a device is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Transport {
    /// Modbus at fixed addresses.
    Modbus,
    /// Modbus with SunSpec discovery.
    Sunspec,
    /// MQTT.
    Mqtt,
    /// Telegrams of a DSMR P1 port, over a serial line or TCP.
    P1,
    /// SML telegrams, over a serial line or TCP.
    Sml,
}

impl Transport {
    /// Whether registers are read.
    #[must_use]
    pub const fn is_modbus(self) -> bool {
        matches!(self, Self::Modbus | Self::Sunspec)
    }

    /// Whether the device sends telegrams by itself on a line of its own.
    #[must_use]
    pub const fn is_telegrams(self) -> bool {
        matches!(self, Self::P1 | Self::Sml)
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Modbus => "modbus",
            Self::Sunspec => "sunspec",
            Self::Mqtt => "mqtt",
            Self::P1 => "p1",
            Self::Sml => "sml",
        })
    }
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

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Documented => "documented",
            Self::CrossChecked => "cross-checked",
            Self::Field => "field",
            Self::Unverified => "unverified",
        })
    }
}

/// What a map is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// A meter, wherever it is connected.
    Meter,
    /// A generator.
    Pv,
    /// A battery.
    Battery,
    /// A charging point for vehicles.
    Charger,
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Meter => "meter",
            Self::Pv => "pv",
            Self::Battery => "battery",
            Self::Charger => "charger",
        })
    }
}

/// Which trait of a device a register tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trait {
    /// Who made it.
    Manufacturer,
    /// What it is.
    Model,
    /// Which one it is; another serial number is another device.
    Serial,
    /// Version of its software.
    Firmware,
}

/// Type of a trait's registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names say it")]
pub enum TraitType {
    /// Characters, two to a register, ended by a NUL or by the length.
    Text,
    Uint16,
    Uint32,
}

/// A trait of the device, read again after every new connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identify {
    /// Which trait it is.
    pub is: Trait,
    /// SunSpec: the model that has it.
    #[serde(default)]
    pub models: Vec<u16>,
    /// Function code, if not the map's.
    #[serde(default)]
    pub function: Option<u8>,
    /// First register (SunSpec: offset from the model's first register).
    #[serde(default)]
    pub at: u16,
    /// Type.
    #[serde(rename = "type")]
    pub kind: TraitType,
    /// Registers of a text.
    #[serde(default)]
    pub registers: u16,
    /// What it must be, where `*` at the end stands for anything; empty = anything goes.
    #[serde(default)]
    pub expect: Vec<String>,
}

/// On which devices something counts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct When {
    /// Models, where `*` at the end stands for anything; empty = any.
    #[serde(default)]
    pub model: Vec<String>,
    /// First version of the firmware.
    #[serde(default)]
    pub firmware_from: Option<String>,
    /// First version of the firmware to which it no longer applies.
    #[serde(default)]
    pub firmware_before: Option<String>,
}

/// What a person has to know before the map works.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Onboarding {
    /// What must be set up on the device.
    #[serde(default)]
    pub requirements: Vec<String>,
    /// Known traps.
    #[serde(default)]
    pub caveats: Vec<String>,
    /// What to do when nothing comes.
    #[serde(default)]
    pub remedy: Vec<String>,
}

/// One of several maps in a file that share its head.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// Name in configurations.
    pub id: String,
    /// For people; the file's name when it is not said.
    #[serde(default)]
    pub name: Option<String>,
    /// What it is for.
    pub purpose: Purpose,
    /// If not the file's.
    #[serde(default)]
    pub status: Option<Status>,
    /// If not the file's.
    #[serde(default)]
    pub registration: Option<Registration>,
    /// Behind the file's notes.
    #[serde(default)]
    pub notes: Vec<String>,
    /// Behind the file's blocks.
    #[serde(default, rename = "block")]
    pub blocks: Vec<Block>,
    /// Behind the file's messages.
    #[serde(default, rename = "message")]
    pub messages: Vec<MessageMap>,
    /// Behind the file's derived figures.
    #[serde(default)]
    pub derived: Vec<Derived>,
    /// Behind the file's ways to steer.
    #[serde(default, rename = "control")]
    pub controls: Vec<Control>,
}

/// A device map.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceMap {
    /// Name in configurations.
    #[serde(default)]
    pub id: String,
    /// SunSpec: further ids, each with the model number it stands for; empty once loaded.
    #[serde(default)]
    pub ids: BTreeMap<String, u16>,
    /// Several maps with this head; empty once loaded.
    #[serde(default, rename = "part")]
    pub parts: Vec<Part>,
    /// For people.
    pub name: String,
    /// What it is for; none for what can be anything.
    #[serde(default)]
    pub purpose: Option<Purpose>,
    /// How it is reached.
    pub transport: Transport,
    /// How far it can be trusted.
    pub status: Status,
    /// Where the facts come from.
    pub sources: Vec<String>,
    /// What else a person should know.
    #[serde(default)]
    pub notes: Vec<String>,
    /// What has to be done first, and what can go wrong.
    #[serde(default)]
    pub onboarding: Onboarding,
    /// What the registers of a meter count.
    #[serde(default)]
    pub registration: Option<Registration>,
    /// For `modbus` and `sunspec`.
    #[serde(default)]
    pub modbus: Option<ModbusRules>,
    /// Which device it is, for `modbus` and `sunspec`.
    #[serde(default)]
    pub identify: Vec<Identify>,
    /// For `modbus` and `sunspec`.
    #[serde(default, rename = "block")]
    pub blocks: Vec<Block>,
    /// For `mqtt`.
    #[serde(default, rename = "message")]
    pub messages: Vec<MessageMap>,
    /// For `mqtt`: where the device says whether it is there.
    #[serde(default)]
    pub availability: Option<super::fields::Availability>,
    /// For `p1` and `sml`.
    #[serde(default)]
    pub obis: Vec<ObisField>,
    /// Figures computed from others, in this order.
    #[serde(default)]
    pub derived: Vec<Derived>,
    /// How the device can be steered, if its owner wants that.
    #[serde(default, rename = "control")]
    pub controls: Vec<Control>,
}

impl DeviceMap {
    /// Every key that a field of the map fills, with what positive means there.
    pub(super) fn keys(&self) -> impl Iterator<Item = (&str, Option<Direction>)> {
        let in_blocks = self.blocks.iter().flat_map(|block| &block.fields);
        let in_messages = self.messages.iter().flat_map(|message| &message.fields);
        in_blocks
            .map(|field| (field.key.as_str(), field.positive_means))
            .chain(in_messages.map(|field| (field.key.as_str(), field.positive_means)))
            .chain(self.obis.iter().map(|field| (field.key.as_str(), field.positive_means)))
    }

    /// Every quantity that the map can tell, in the order of [`Quantity::ALL`].
    #[must_use]
    pub fn quantities(&self) -> Vec<Quantity> {
        let told = |quantity: &Quantity| {
            self.keys().any(|(key, _)| key == quantity.as_str())
                || self.derived.iter().any(|derived| derived.key == quantity.as_str())
        };
        Quantity::ALL.iter().copied().filter(told).collect()
    }

    /// Whether a bill can rest on its import register: it counts what a billing meter counts, and
    /// never starts again by itself, as far as is known.
    #[must_use]
    pub fn has_lasting_counter(&self) -> bool {
        let blocks = self.blocks.iter().flat_map(|block| &block.fields);
        let messages = self.messages.iter().flat_map(|message| &message.fields);
        let counters = blocks.map(|field| field.counter);
        let counters = counters.chain(messages.map(|field| field.counter));
        let mut counters = counters.chain(self.obis.iter().map(|field| field.counter)).flatten();
        self.quantities().contains(&Quantity::EnergyImport)
            && self.registration != Some(Registration::PerPhase)
            && counters.all(|counter| counter.reset.resets() == super::Resets::Never)
    }

    /// What positive power means, as the map says.
    #[must_use]
    pub fn positive_means(&self) -> Option<Direction> {
        let power = Quantity::Power.as_str();
        let derived = self.derived.iter().find(|derived| derived.key == power);
        self.keys()
            .filter(|&(key, _)| key == power)
            .find_map(|(_, direction)| direction)
            .or_else(|| derived.and_then(|derived| derived.positive_means))
    }

    /// The same map for a device on which positive power means something else. The phases follow.
    #[must_use]
    pub fn with_positive_means(mut self, direction: Direction) -> Self {
        let signed = |key: &str| Quantity::named(key).is_some_and(Quantity::is_signed_power);
        let in_blocks = self.blocks.iter_mut().flat_map(|block| &mut block.fields);
        for field in in_blocks.filter(|field| signed(&field.key)) {
            field.positive_means = Some(direction);
        }
        let in_messages = self.messages.iter_mut().flat_map(|message| &mut message.fields);
        for field in in_messages.filter(|field| signed(&field.key)) {
            field.positive_means = Some(direction);
        }
        for field in self.obis.iter_mut().filter(|field| signed(&field.key)) {
            field.positive_means = Some(direction);
        }
        for derived in self.derived.iter_mut().filter(|derived| signed(&derived.key)) {
            // What is made of signed powers has turned with them.
            let terms = derived.plus.iter().chain(&derived.minus).chain(&derived.plus_optional);
            let turned = terms.chain(&derived.minus_optional).chain(&derived.first_of);
            if !turned.clone().any(|term| signed(term)) {
                derived.positive_means = Some(direction);
            }
        }
        self
    }

    /// The same map for a device whose order of bytes has been switched: the blocks that say
    /// `order_switchable`, or all when none does.
    #[must_use]
    pub fn with_order(mut self, order: super::WordOrder) -> Self {
        let any = self.blocks.iter().any(|block| block.order_switchable);
        for block in self.blocks.iter_mut().filter(|block| block.order_switchable || !any) {
            block.order = order;
            for field in &mut block.fields {
                field.order = None;
            }
        }
        self
    }

    /// Whether a counter that a bill is made from starts again by itself.
    #[must_use]
    pub fn counters_reset(&self) -> bool {
        let settled = |key: &str| {
            [Quantity::EnergyImport, Quantity::EnergyExport].iter().any(|own| own.as_str() == key)
        };
        let resets = |counter: Option<super::fields::Counter>| {
            counter.is_some_and(|counter| counter.reset.resets() != super::Resets::Never)
        };
        let in_blocks = self.blocks.iter().flat_map(|block| &block.fields);
        let in_messages = self.messages.iter().flat_map(|message| &message.fields);
        in_blocks.clone().any(|field| settled(&field.key) && resets(field.counter))
            || in_messages.clone().any(|field| settled(&field.key) && resets(field.counter))
    }

    /// The ways to steer one thing.
    pub fn controls_of(&self, kinds: &[ControlKind]) -> impl Iterator<Item = &Control> {
        self.controls.iter().filter(move |control| kinds.contains(&control.kind))
    }

    /// What nobody has checked yet, as a person should read it: the whole map, or single figures.
    #[must_use]
    pub fn unverified(&self) -> Vec<String> {
        if self.status == Status::Unverified {
            return vec!["all of it".to_owned()];
        }
        let in_blocks = self.blocks.iter().flat_map(|block| &block.fields);
        let in_messages = self.messages.iter().flat_map(|message| &message.fields);
        in_blocks
            .filter(|field| field.unverified)
            .map(|field| field.key.clone())
            .chain(in_messages.filter(|field| field.unverified).map(|field| field.key.clone()))
            .collect()
    }
}
