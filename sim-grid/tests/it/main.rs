//! The simulated street from outside.

mod backtest;
mod both_sides;
mod devices;
mod faults;
mod handover;
mod home;
mod judge;
mod modbus;
mod mqtt;
mod program;
mod scenario;
mod small;
mod world;
