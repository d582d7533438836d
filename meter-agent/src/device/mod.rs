//! Devices as data: what a meter, an inverter or a battery says, decoded to exact integers.
//!
//! A [`DeviceMap`] (TOML, compiled in or from a user's folder) names registers or MQTT topics and
//! how to read them; the code here knows types, word orders, scale factors and sentinels, but no
//! vendor. Everything decoded is [`Observed`]: a value, absent for a reason, or a fault; unknown is
//! never zero. Power is positive when it flows into the device.

mod blueprint;
mod control;
mod decimal;
mod decode;
mod fields;
mod file;
mod golden;
mod golden_write;
mod identity;
mod library;
mod lint;
mod map;
mod message;
pub mod obis;
mod observed;
mod p1;
mod plan;
mod quantity;
mod readout;
mod registers;
mod sml;
mod stamp;
mod sunspec;
mod telegram;

pub use blueprint::blueprint;
pub use control::{Control, ControlFault, ControlKind, Facts, Frame, Full, Put, PutFrom, Watchdog};
pub use fields::{
    Availability, Block, Counter, Field, MessageMap, NumberType, ObisField, PayloadField, Reset,
    Sentinels, TimeField, TimeForm, Valid, WordOrder, Zero,
};
pub use golden::{Case, Image, Sent, cases as golden_cases, write_cases as golden_write_cases};
pub use golden_write::WriteCase;
pub use identity::{Identity, NotThisDevice, function as identify_function, span as identify_span};
pub use library::{
    BuiltIn, Library, LibraryError, built_in_files, built_in_ids, read as read_map_file,
    text as map_text,
};
pub use map::{
    Derived, DeviceMap, Hole, Identify, Keep, ModbusRules, Onboarding, Part, Purpose, Registration,
    SerialRules, SignBy, Status, Trait, TraitType, Transport, When,
};
pub use message::{Inbox, MessageFault};
pub use observed::{Absence, Observed};
pub use plan::{Read, Span, plan, plan_for};
pub use quantity::{Direction, Quantity, State, Unit};
pub use readout::{Figure, Figures, Readout, Resets};
pub use registers::{BlockAnswer, decode_block, readout};
pub use sunspec::{Chain, ChainFault, Model, Step, Walk};
pub use telegram::{Amount, Telegram, TelegramFault, Telegrams};
