//! One household's agent, started from its configuration file.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clock::Clock;
use meter_agent::{Agent, AgentError, Config, Status};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// A running agent.
pub struct Household {
    file: PathBuf,
    clock: Clock,
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
        let agent = Agent::open(&config, clock.clone())
            .with_context(|| format!("agent of {}", config.point))?;
        let status = agent.status();
        let (shutdown, stopped) = watch::channel(false);
        let task = tokio::spawn(agent.run(stopped));
        Ok(Self { file, clock, status, shutdown, task })
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
