//! The simulated street, as a program.

use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

mod commands;

/// A street of simulated households with real Modbus and MQTT interfaces.
#[derive(Parser)]
#[command(name = "sim-grid", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Serve(commands::serve::ServeArgs),
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    match Cli::parse().command {
        Command::Serve(args) => commands::serve::run(args).await,
    }
}
