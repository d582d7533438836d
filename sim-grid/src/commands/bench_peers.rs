//! `sim-grid bench-peers`: the same books through other people's market software.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use sim_grid::bench::peers::{Setup, compare, table};

/// Clear the same drawn books with our engines and with peers from the Python registry, and judge
/// all of them alike; about ten minutes. `make bench-peers` installs the peers first.
#[derive(Args)]
pub struct BenchPeersArgs {
    /// Folder with one virtual environment per peer.
    #[arg(long, default_value = "target/peers")]
    environments: PathBuf,
    /// Folder with the peers' drivers.
    #[arg(long, default_value = "sim-grid/peers")]
    drivers: PathBuf,
    /// Folder of the scenario whose surplus is shared.
    #[arg(long, default_value = super::SHIPPED)]
    scenario: PathBuf,
    /// Seconds that a peer may take for one book in all its runs.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    limit: u64,
    /// Seed of the books.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Print one JSON object instead of a table.
    #[arg(long)]
    json: bool,
}

/// Compares and prints.
pub fn run(args: &BenchPeersArgs) -> anyhow::Result<()> {
    let comparison = compare(&Setup {
        environments: std::path::absolute(&args.environments)?,
        drivers: args.drivers.clone(),
        scenario: args.scenario.clone(),
        limit: Duration::from_secs(args.limit),
        seed: args.seed,
    })?;
    if args.json {
        println!("{}", serde_json::to_string(&comparison)?);
    } else {
        print!("{}", table(&comparison));
    }
    Ok(())
}
