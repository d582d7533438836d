//! One household's agent, started from its configuration file.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clock::Clock;
use meter_agent::config::DeviceConfig;
use meter_agent::{Agent, AgentError, Config, Status};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// A running agent.
pub struct Household {
    file: PathBuf,
    clock: Clock,
    steered: bool,
    status: watch::Receiver<Status>,
    shutdown: watch::Sender<bool>,
    task: JoinHandle<Result<(), AgentError>>,
}

impl Household {
    /// Starts the agent of a configuration file.
    ///
    /// # Errors
    /// What is wrong with the file, the key or the folder.
    pub fn start(file: PathBuf, clock: Clock) -> anyhow::Result<Self> {
        let config = Config::load(&file)?;
        let leave = |device: &DeviceConfig| device.control.as_ref().is_some_and(|own| own.enabled);
        let steered = config.devices.iter().any(leave);
        let agent = Agent::open(&config, clock.clone())
            .with_context(|| format!("agent of {}", config.point))?;
        let status = agent.status();
        let (shutdown, stopped) = watch::channel(false);
        let task = tokio::spawn(agent.run(stopped));
        Ok(Self { file, clock, steered, status, shutdown, task })
    }

    /// How the agent is doing.
    #[must_use]
    pub fn status(&self) -> Status {
        self.status.borrow().clone()
    }

    /// Follows how the agent is doing.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Status> {
        self.status.clone()
    }

    /// Whether its owner lets a device be steered.
    #[must_use]
    pub const fn is_steered(&self) -> bool {
        self.steered
    }

    /// Its configuration file.
    #[must_use]
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Stops the agent in an orderly way.
    pub async fn stop(self) {
        self.shutdown.send_replace(true);
        if let Ok(Err(fault)) = self.task.await {
            tracing::warn!(%fault, "an agent stopped with a fault");
        }
    }

    /// Ends the agent between two instructions, as a kill does.
    pub async fn kill(self) {
        self.task.abort();
        // It ends as it was told to; what it says no longer matters.
        let _ = self.task.await;
    }

    /// Ends the agent between two instructions, as a kill does, and starts it again from its files.
    ///
    /// # Errors
    /// As [`Household::start`].
    pub async fn kill_and_restart(self) -> anyhow::Result<Self> {
        self.task.abort();
        // The folder's lock is free once the task is gone.
        let _ = self.task.await;
        Self::start(self.file, self.clock)
    }
}
