//! A simulated street with real interfaces.

pub mod scenario;
