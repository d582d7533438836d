//! The rules that turn signed messages into a settled slot: pure functions that the desk applies and
//! the auditor applies again.

mod draw;
mod metering;

pub use draw::{digests_root, rank, salt, seed};
pub use metering::{Metering, Registers, Span, meter};
