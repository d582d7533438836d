//! `controller`: the street's desk as a program.

#[macro_use]
extern crate terminal;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use clock::Clock;
use controller::config::Config;
use controller::report;

/// Runs the energy market of a street: settles every quarter-hour, keeps the books, lets everyone check.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the street until interrupted.
    Run {
        /// Configuration file (TOML).
        #[arg(long)]
        config: PathBuf,
        /// Print one JSON object per slot instead of a sentence.
        #[arg(long)]
        json: bool,
    },
    /// Check a configuration without starting anything.
    Check {
        /// Configuration file (TOML).
        #[arg(long)]
        config: PathBuf,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Write settled slots as a bundle that anyone can verify.
    Export(controller::bundle::ExportArguments),
    /// Rebuild everything that a bundle claims, from the bundle alone, and name what does not hold.
    Verify(controller::bundle::VerifyArguments),
    /// Revoke a household's key, at once.
    RevokeKey(controller::revocation::RevokeArguments),
    /// Print the operator's address, which every household's agent is given; makes the key on first use.
    Operator {
        /// Configuration file (TOML).
        #[arg(long)]
        config: PathBuf,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

fn main() -> ExitCode {
    terminal::log("info,rumqttd=off,rumqttc=warn");
    match execute(Arguments::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {}", report::sentence(&error));
            ExitCode::FAILURE
        }
    }
}

fn execute(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Run { config, json } => run(&config, json),
        Command::Check { config, json } => check(&config, json),
        Command::Export(arguments) => runtime()?.block_on(arguments.run()),
        Command::Verify(arguments) => runtime()?.block_on(arguments.run()),
        Command::RevokeKey(arguments) => runtime()?.block_on(arguments.run()),
        Command::Operator { config, json } => {
            let config = Config::load(&config)?;
            let address = controller::run::operator_address(&config)?;
            if json {
                println!("{}", serde_json::json!({ "operator": address }));
            } else {
                println!("{address}");
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn check(path: &Path, json: bool) -> anyhow::Result<ExitCode> {
    let config = Config::load(path)?;
    controller::tariff::Tariff::load(&config.tariff)?;
    let households = config.households.len();
    if json {
        let found = serde_json::json!({ "community": config.community, "households": households });
        println!("{found}");
    } else {
        println!("{}: community {}, {households} households", path.display(), config.community);
    }
    Ok(ExitCode::SUCCESS)
}

fn run(path: &Path, json: bool) -> anyhow::Result<ExitCode> {
    let config = Config::load(path)?;
    runtime()?.block_on(async {
        let clock = Clock::from_config(config.clock);
        let mut running = controller::run::start(config, clock).await?;
        let reporter =
            tokio::spawn(report::print(running.events.subscribe(), running.reader.clone(), json));
        let stopped = tokio::select! {
            ended = running.failed() => ended.map(|()| false),
            () = interrupted() => Ok(true),
        };
        reporter.abort();
        if stopped? {
            eprintln!("stopping …");
            running.stop().await?;
        }
        Ok(ExitCode::SUCCESS)
    })
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Runtime::new().context("no threads")
}

/// Returns when the process is asked to stop.
async fn interrupted() {
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())
        .expect("the system has signals");
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
}
