//! The simulated street from outside.

mod devices;
mod scenario;
mod small;
mod world;
