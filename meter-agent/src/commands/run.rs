//! `run`: the agent until a signal ends it.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clock::Clock;
use meter_agent::{Agent, Config, key_file};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::first_reading::FirstReading;

/// Marks an error that came while running, not while starting.
#[derive(Debug, thiserror::Error)]
#[error("the agent had to stop; what is on disk is safe")]
pub struct Running;

pub fn run(file: &Path, json: bool) -> Result<ExitCode> {
    let config = Config::load(file)?;
    for (device, map) in config.devices.iter().zip(config.maps()?) {
        let unverified = map.unverified();
        if !unverified.is_empty() {
            tracing::warn!(
                device = device.name,
                map = map.id,
                "nobody has checked parts of this map ({}): compare with the device's display",
                unverified.join(", ")
            );
        }
    }
    let clock = Clock::from_config(config.clock);
    let agent = Agent::open(&config, clock.clone())?;
    let key = key_file::load(&config.key_file())?.public_hex();
    let first = FirstReading::awaited(&config, &agent, key, &clock, json);
    // One thread is plenty for one household, and the smallest.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(2)
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(async {
        let (stop, stopped) = watch::channel(false);
        let mut terminate = signal(SignalKind::terminate()).context("cannot listen to signals")?;
        tokio::spawn(async move {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminate.recv() => {}
            }
            stop.send_replace(true);
        });
        tokio::spawn(first.tell());
        agent.run(stopped).await.context(Running)
    })?;
    Ok(ExitCode::SUCCESS)
}
