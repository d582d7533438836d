//! Reading registers over Modbus, with the defences that real devices and gateways ask for.
//!
//! A [`Line`] is one connection (TCP, RTU over TCP or a serial port) for the whole process: most
//! inverters accept a single client. Behind it a task serves the units one request at a time
//! ([`turns`] says whose turn it is), so that a silent or slow unit costs the others no more than
//! its share. [`steps`] keeps answers and questions in step: what a gateway delivers late is never
//! taken for the answer to something else. A [`Unit`] is one device with its map; a [`Sounding`] looks at a
//! place of which nothing is known yet.
//!
//! What a household and its guests ask for is a [`Read`], function 3 or 4. The one request that writes
//! ([`Write`]) can only be made with the owner's leave ([`crate::control::Enabled`]).

mod line;
mod overheard;
mod read;
mod sounding;
mod steer;
mod steps;
mod tap;
mod turns;
mod unit;
mod wire;
mod write;

pub use line::{Ask, Guest, Line};
pub use overheard::{Ear, Overheard};
pub use read::{Exception, Function, MAX_REGISTERS, Read, ReadError};
pub use sounding::Sounding;
pub use steer::{SteerError, Steered};
pub use turns::Rank;
pub use unit::Unit;
pub use wire::Place;
pub use write::Write;
