//! The simulated street, as a program.

#[macro_use]
extern crate terminal;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

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
    Backtest(commands::backtest::BacktestArgs),
    Bench(commands::bench::BenchArgs),
    BenchPeers(commands::bench_peers::BenchPeersArgs),
    Campaign(commands::campaign::CampaignArgs),
    Demo(commands::demo::DemoArgs),
    Serve(commands::serve::ServeArgs),
}

#[tokio::main]
async fn main() -> ExitCode {
    terminal::log("warn,sim_grid=info,rumqttd=off");
    let ended = match Cli::parse().command {
        Command::Backtest(args) => commands::backtest::run(&args),
        Command::Bench(args) => commands::bench::run(args).await,
        Command::BenchPeers(args) => commands::bench_peers::run(&args),
        Command::Campaign(args) => commands::campaign::run(args).await,
        Command::Demo(args) => commands::demo::run(args).await,
        Command::Serve(args) => commands::serve::run(args).await,
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", controller::report::sentence(&error));
            ExitCode::FAILURE
        }
    }
}
