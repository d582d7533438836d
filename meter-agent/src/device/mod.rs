//! Devices as data: what a meter, an inverter or a battery says, decoded to exact integers.
//!
//! A [`DeviceMap`] (TOML, compiled in or from a user's folder) names registers or MQTT topics and
//! how to read them; the code here knows types, word orders, scale factors and sentinels, but no
//! vendor. Everything decoded is [`Observed`]: a value, absent for a reason, or a fault; unknown is
//! never zero. Power is positive when it flows into the device.

mod decimal;
mod decode;
mod library;
mod lint;
mod map;
mod message;
mod observed;
mod readout;
mod registers;
mod sunspec;

pub use library::{Library, LibraryError, built_in_ids};
pub use map::{
    Block, DeviceMap, Direction, Field, MessageMap, NumberType, Quantity, Transport, Unit,
    WordOrder, Zero,
};
pub use message::{Inbox, MessageFault};
pub use observed::{Absence, Observed};
pub use readout::{Figure, Figures, Readout, Resets};
pub use registers::{BlockAnswer, decode_block, readout};
pub use sunspec::{Chain, ChainFault, Model, Step, Walk};
