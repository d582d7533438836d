//! `sim-grid campaign`: a street that is treated badly, and a verdict.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use sim_grid::campaign::{CampaignOptions, run as run_campaign};
use sim_grid::scenario::parse_slot;
use units::Slot;

/// Run a street of separate processes whose devices misbehave while broker, controller and agents are
/// killed at random; then check that nothing was lost, doubled or made up. Exit code 1 if something
/// was.
#[derive(Args)]
pub struct CampaignArgs {
    /// Folder of the scenario.
    #[arg(long, default_value = super::SHIPPED)]
    scenario: PathBuf,
    /// First quarter-hour, UTC; the shipped street's morning or the scenario's first if left out.
    #[arg(long, value_parser = parse_slot)]
    from: Option<Slot>,
    /// Draws faults and kills.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How long, minutes of real time, 0.1 to 240.
    #[arg(long, default_value_t = 10.0, value_parser = parse_minutes)]
    minutes: f64,
    /// How much faster than real time the street runs.
    #[arg(long, default_value_t = 90.0, value_parser = super::parse_speed)]
    speed: f64,
    /// The program mosquitto, as a broker that can be killed by itself; otherwise the controller's.
    #[arg(long)]
    mosquitto: Option<PathBuf>,
    /// Keep journals, record and logs in this folder, which must be empty; otherwise a temporary one.
    #[arg(long)]
    data: Option<PathBuf>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

fn parse_minutes(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(minutes) if (0.1..=240.0).contains(&minutes) => Ok(minutes),
        _ => Err("write a number from 0.1 to 240".to_owned()),
    }
}

/// Runs to the end.
pub async fn run(args: CampaignArgs) -> anyhow::Result<()> {
    let temporary = tempfile::tempdir().context("no temporary folder")?;
    let data_dir = args.data.clone().unwrap_or_else(|| temporary.path().join("campaign"));
    if data_dir.read_dir().is_ok_and(|mut entries| entries.next().is_some()) {
        bail!("{} is not empty; a campaign starts from nothing", data_dir.display());
    }
    let from = match args.from {
        Some(from) => from,
        None => super::first_slot(&args.scenario)?,
    };
    let options = CampaignOptions {
        scenario: args.scenario,
        from,
        seed: args.seed,
        length: Duration::from_secs_f64(args.minutes * 60.0),
        speed: args.speed,
        data_dir: std::path::absolute(data_dir)?,
        mosquitto: args.mosquitto,
    };
    let (verdict, kills) = tokio::select! {
        ended = run_campaign(options) => ended?,
        stopped = super::stop_signal() => {
            stopped?;
            bail!("stopped before the end; nothing is checked");
        }
    };
    if args.json {
        println!(
            "{}",
            serde_json::json!({ "seed": args.seed, "kills": kills, "verdict": verdict })
        );
    } else {
        println!(
            "seed {}: {kills} kills, {} slots settled, {} readings of {} households: {} gaps, {} duplicates, \
             {} readings above what flowed, {} wrong bills; {} households have all of it in the end",
            args.seed,
            verdict.slots,
            verdict.readings,
            verdict.households,
            verdict.gaps,
            verdict.duplicates,
            verdict.too_much,
            verdict.wrong_bills,
            verdict.whole
        );
        for complaint in &verdict.complaints {
            println!("  {complaint}");
        }
    }
    if !verdict.holds() {
        bail!("the campaign of seed {} found {} faults", args.seed, verdict.complaints.len());
    }
    Ok(())
}
