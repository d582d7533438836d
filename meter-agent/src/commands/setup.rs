//! `setup`: all steps of onboarding in a browser.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Args;
use meter_agent::onboarding::setup::Setup;
use serde_json::json;

use super::target::runtime;

/// Arguments of `setup`.
#[derive(Debug, Args)]
pub struct SetupPage {
    /// Configuration file, as `init` writes it.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Where to listen. On 0.0.0.0 other computers of your network can open the page, unencrypted, if they
    /// know its address with the token.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8088")]
    listen: SocketAddr,
}

impl SetupPage {
    pub fn execute(&self, json: bool) -> Result<ExitCode> {
        runtime()?.block_on(async {
            let setup = Setup::open(&self.config, self.listen).await?;
            let url = setup.url()?;
            if json {
                println!("{}", json!({ "url": url }));
            } else {
                println!("Open this address in your browser; whoever has it can use the page:");
                println!("  {url}");
                if !self.listen.ip().is_loopback() {
                    println!("Other computers of your network can reach it, unencrypted.");
                }
                println!("Ctrl-C ends it; so does an hour without anybody.");
            }
            tokio::select! {
                () = setup.serve() => {}
                stopped = tokio::signal::ctrl_c() => stopped.context("cannot listen to signals")?,
            }
            Ok(ExitCode::SUCCESS)
        })
    }
}
