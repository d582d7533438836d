//! What the tests share.

pub mod broker;
pub mod desk;
pub mod device;
pub mod gateway;
pub mod listener;
pub mod operator;
pub mod world;

/// The two devices that many tests have, behind `127.0.0.1:5020`.
pub const DEVICES: &str = include_str!("devices.toml");
/// The example configuration with these devices.
pub const HOUSEHOLD: &str =
    concat!(include_str!("../../../example.toml"), include_str!("devices.toml"));
