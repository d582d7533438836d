//! A household's agent: reads its devices, signs and journals what they say, bids for the next slot
//! and checks every bill.
//!
//! [`core`] decides and touches nothing; [`device`] turns registers and messages into exact numbers;
//! everything else carries bytes: Modbus ([`modbus`]), MQTT, the journal and the shell ([`Agent`])
//! that ties them together. Many agents can run in one process: nothing is global.

mod agent;
pub mod bidding;
mod chance;
mod check;
pub mod config;
pub mod control;
pub mod core;
pub mod device;
mod disk;
mod evidence;
mod house;
mod http;
pub mod journal;
pub mod key_copy;
pub mod key_file;
pub mod key_request;
mod link;
pub mod modbus;
mod mqtt;
pub mod ocmf;
pub mod onboarding;
pub mod outlets;
mod poll;
mod power_sum;
pub mod proxy;
mod running;
pub mod serial;
pub mod state_file;
mod streams;
mod terms;

pub use agent::{Agent, AgentError, CONFIRMATION};
pub use chance::Chance;
pub use check::{DeviceCheck, FigureCheck, check_devices, warnings};
pub use config::{Config, ConfigError};
pub use core::Status;
pub use disk::DiskError;
pub use outlets::OutletError;

use clock::Clock;
use tokio::sync::watch;

/// Opens an agent and runs it until `shutdown` becomes true or its sender is gone.
///
/// # Errors
/// [`AgentError`].
pub async fn run(
    config: Config,
    clock: Clock,
    shutdown: watch::Receiver<bool>,
) -> Result<(), AgentError> {
    Agent::open(&config, clock)?.run(shutdown).await
}
