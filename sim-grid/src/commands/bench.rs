//! `sim-grid bench`: what the street costs on this machine.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Args, ValueEnum};
use sim_grid::bench::{Machine, Report, agent, clearing, readings, speed, street, table};

/// Sizes of the books that are cleared.
const BOOKS: [usize; 4] = [100, 1_000, 10_000, 100_000];

/// Measure clearing, readings, a whole street and one agent's process on this machine; about two
/// minutes.
#[derive(Args)]
pub struct BenchArgs {
    /// What to measure; everything if left out.
    #[arg(long, value_delimiter = ',')]
    only: Vec<Part>,
    /// Folder of the scenario.
    #[arg(long, default_value = super::SHIPPED)]
    scenario: PathBuf,
    /// Slots of the street to measure.
    #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(u32).range(1..=960))]
    slots: u32,
    /// Folder on the disk to measure; its parts are removed at the end. The system's temporary
    /// folder if left out.
    #[arg(long)]
    folder: Option<PathBuf>,
    /// Seed of books, readings and the street.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Print one JSON object instead of a table.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Figures that have a goal.
    Speed,
    /// Memory of clearing a large book.
    Memory,
    /// The auction, by linear program and by merit order.
    Clearing,
    /// Readings verified, stored and settled.
    Readings,
    /// A whole street, slots per second.
    Street,
    /// One agent's process and the size of the programs.
    Agent,
}

/// Measures and prints.
pub async fn run(args: BenchArgs) -> anyhow::Result<()> {
    let started = clock::stopwatch();
    let machine = Machine::here();
    if machine.build == "debug" {
        tracing::warn!("this is a debug build, whose figures mean little; use `make bench`");
    }
    let mut report = Report::of(machine);
    let wants = |part: Part| args.only.is_empty() || args.only.contains(&part);
    if wants(Part::Memory) {
        report.memory = Some(match args.only[..] {
            [Part::Memory] => speed::memory(args.seed)?,
            _ => speed::memory_in_a_process_of_its_own(args.seed)?,
        });
    }
    if wants(Part::Speed) {
        report.speed = Some(speed::measure(&args.scenario, args.seed)?);
    }
    if wants(Part::Clearing) {
        let costs = BOOKS.into_iter().map(|orders| clearing::measure(orders, args.seed));
        report.clearing = Some(costs.collect::<anyhow::Result<_>>()?);
    }
    if wants(Part::Readings) {
        let load = readings::ReadingLoad { households: 200, slots: 50, seed: args.seed };
        let folder = folder(args.folder.as_deref())?;
        report.readings = Some(readings::measure(load, folder.path()).await?);
    }
    if wants(Part::Street) {
        let load = street::StreetLoad {
            scenario: args.scenario.clone(),
            from: super::first_slot(&args.scenario)?,
            slots: args.slots,
            seed: args.seed,
        };
        let folder = folder(args.folder.as_deref())?;
        report.street = Some(street::measure(&load, folder.path()).await?);
    }
    if wants(Part::Agent) {
        let program = std::env::current_exe()?;
        let load = agent::AgentLoad {
            scenario: args.scenario.clone(),
            slot: super::first_slot(&args.scenario)?,
            seed: args.seed,
            programs: program.parent().context("a program is in a folder")?.to_owned(),
        };
        let folder = folder(args.folder.as_deref())?;
        report.agent = Some(agent::measure(&load, folder.path()).await?);
    }
    report.seconds = started.elapsed().as_secs_f64();
    if args.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        print!("{}", table(&report));
    }
    Ok(())
}

/// A folder that is removed afterwards.
fn folder(within: Option<&Path>) -> anyhow::Result<tempfile::TempDir> {
    match within {
        Some(within) => tempfile::tempdir_in(within)
            .with_context(|| format!("no folder can be made in {}", within.display())),
        None => tempfile::tempdir().context("no temporary folder"),
    }
}
