//! The low-voltage network of a street: its tree of cables and transformers, and the flow of
//! power through it.
//!
//! - [`Network`] is a validated tree: whoever holds one knows that every bus is fed by exactly one
//!   path from a slack bus and that every impedance makes sense.
//! - [`Network::sweep`] solves the exact power flow (backward/forward sweep).
//! - [`Network::lin_dist`] solves LinDistFlow, the linear approximation that fits into an LP.
//! - [`TableReader`] reads a CSV table and names file, line and column of whatever is wrong.
//!
//! The model is the balanced positive sequence at 50 Hz with constant-power loads; a branch is its
//! series impedance and, for a transformer, its ratio. Line charging, iron losses and the phase
//! shift of vector groups are left out (they move voltages of the shipped feeder by less than
//! 2·10⁻⁵ pu). The crate is pure: it opens no file, reads no clock and logs nothing.

#![warn(missing_docs)]

mod complex;
mod error;
mod grid_files;
mod lin_dist;
mod network;
mod sweep;
mod table;
mod tree;

pub use error::{Fault, NetworkError, Place};
pub use lin_dist::{LinDistFlow, LinearBranch};
pub use network::{Branch, Bus, Line, Network, NetworkParts, Slack, Transformer};
pub use sweep::{BusPower, BusVoltage, LineFlow, PowerFlow, PowerFlowError, TransformerFlow};
pub use table::{Row, TableError, TableReader};
