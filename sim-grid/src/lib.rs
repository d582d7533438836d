//! A simulated street with real interfaces.
//!
//! - [`scenario`] reads and checks the folder that describes a street.
//! - [`world`] is the street itself, as entities: loads, roofs, batteries, meters, the feeder.
//! - [`demo`] joins it with agents and controller, [`day`] moves that by hand.
//! - [`devices`] is what inverters, meters and batteries show of it: SunSpec and Eastron registers,
//!   Shelly, Tasmota and DSMR-reader telegrams.
//! - [`faces`] opens them to the outside: Modbus TCP ports and MQTT clients.
//! - [`faults`] is what goes wrong with them.
//! - [`street`] moves world and faces through time.
//! - [`backtest`] tells what a street would have paid under another rule.
//! - [`campaign`] treats all of it badly and looks what is left.
//! - [`bench`] measures what all of it costs.

pub mod backtest;
pub mod bench;
pub mod campaign;
pub mod day;
pub mod demo;
pub mod devices;
pub mod faces;
pub mod faults;
pub mod scenario;
pub mod street;
pub mod world;
