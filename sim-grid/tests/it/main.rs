//! The simulated street from outside.

mod scenario;
mod small;
