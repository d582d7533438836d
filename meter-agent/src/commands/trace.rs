//! `trace`: every byte between agent and devices for a while, for a report of a defect.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::Args;
use clock::Clock;
use meter_agent::Config;
use meter_agent::onboarding::{trace, trace_text};
use serde_json::json;

use super::target::runtime;

/// Arguments of `trace`.
#[derive(Debug, Args)]
pub struct Trace {
    /// Configuration file.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Only this device.
    #[arg(long, value_name = "NAME")]
    device: Option<String>,
    /// How long to listen to each device, seconds.
    #[arg(long, value_name = "S", default_value_t = 12,
        value_parser = clap::value_parser!(u64).range(1..=300))]
    seconds: u64,
    /// Take out serial numbers, addresses and topics: for showing it to others.
    #[arg(long)]
    redact: bool,
    /// Write it into a new file instead of printing it.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Why there is no trace.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// No such device.
    #[error("there is no device {name:?} in the configuration; there are: {known}")]
    NoDevice {
        /// The name that was given.
        name: String,
        /// Those that are there.
        known: String,
    },
    /// The file cannot be written.
    #[error("cannot write {}: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        error: std::io::Error,
    },
}

impl Trace {
    pub fn execute(&self, json: bool) -> Result<ExitCode> {
        let config = Config::load(&self.config)?;
        let names: Vec<&str> = config.devices.iter().map(|device| device.name.as_str()).collect();
        if let Some(name) = self.device.as_deref().filter(|name| !names.contains(name)) {
            let known = names.join(", ");
            return Err(TraceError::NoDevice { name: name.to_owned(), known }.into());
        }
        let count = self.device.as_ref().map_or(names.len(), |_| 1);
        eprintln!("Listening to {count} devices, {} s each.", self.seconds);
        let clock = Clock::from_config(config.clock);
        let span = Duration::from_secs(self.seconds);
        let traces = runtime()?.block_on(trace(&config, &clock, self.device.as_deref(), span))?;
        let text = trace_text(&config, &traces, self.redact);
        match &self.out {
            None if json => println!("{}", json!({ "redacted": self.redact, "trace": text })),
            None => print!("{text}"),
            Some(path) => {
                let io = |error| TraceError::Io { path: path.clone(), error };
                let mut options = OpenOptions::new();
                let file = options.write(true).create_new(true).mode(0o600).open(path);
                file.and_then(|mut file| file.write_all(text.as_bytes())).map_err(io)?;
                if json {
                    println!("{}", json!({ "redacted": self.redact, "file": path }));
                } else {
                    println!("written to {}; look through it before you show it", path.display());
                }
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}
