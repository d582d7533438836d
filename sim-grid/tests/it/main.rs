//! The simulated street from outside.

mod devices;
mod judge;
mod modbus;
mod mqtt;
mod program;
mod scenario;
mod small;
mod world;
