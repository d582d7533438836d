//! `sim-grid backtest`: is it worth it for our street?

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use sim_grid::backtest::{
    Backtest, Community, Fees, Options, OrderSource, Report, Rule, page, table,
};
use sim_grid::scenario::{Scenario, Synthetic, parse_slot};
use units::Slot;

/// Tell what a street would have paid under other rules: same meters, same market, no waiting.
#[derive(Args)]
pub struct BacktestArgs {
    /// Folder of the scenario; the shipped street if left out.
    folder: Option<PathBuf>,
    /// Make a street instead, for example houses=100,days=7,pv=2,battery=4,seed=1.
    #[arg(long, conflicts_with = "folder", value_name = "STREET")]
    synthetic: Option<Synthetic>,
    /// Rules to test, separated by commas; all if left out, with own_key if there is a key.
    #[arg(long = "rule", value_delimiter = ',')]
    rules: Vec<Rule>,
    /// What the community wrote down: grid fees and limits ([grid]) and its key ([sharing]), as in a
    /// live street's street.toml; rules.toml of the scenario's folder if left out.
    #[arg(long = "rules", value_name = "FILE")]
    written: Option<PathBuf>,
    /// Tariff of the scenario; the first one if left out.
    #[arg(long)]
    tariff: Option<String>,
    /// Run the batteries behind raw PV: in the auctions as their households' policies decide,
    /// otherwise for the own house.
    #[arg(long)]
    batteries: bool,
    /// Where orders come from: `file` (orders_TARIFF.csv), `policy` (as the agents order), `auto`
    /// (the file on the days that it covers, the agents otherwise), or `pegged` (exact energy).
    #[arg(long, default_value = "auto")]
    orders: OrderSource,
    /// Let the auction trade as if cables had no limits.
    #[arg(long, conflicts_with = "fees")]
    copper_plate: bool,
    /// Grid fees in ct/kWh by tier, for example building=0.1,street=1.2,transformer=2,substation=0.5;
    /// instead of the written ones.
    #[arg(long, default_value = "")]
    fees: Fees,
    /// First quarter-hour, UTC, for example 2016-07-18; the scenario's first if left out.
    #[arg(long, value_parser = parse_slot)]
    from: Option<Slot>,
    /// First quarter-hour that is left out; the scenario's end if left out.
    #[arg(long, value_parser = parse_slot)]
    to: Option<Slot>,
    /// Seed of the households' policies and of last watt-hours.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// What the tariff's currency is called in the reports.
    #[arg(long, default_value = "EUR")]
    currency: String,
    /// Write the figures as JSON into this file; `-` prints them instead of the table.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write a page with pictures into this file; it needs no network to be read.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

/// Runs and reports.
pub fn run(args: &BacktestArgs) -> anyhow::Result<()> {
    let folder = args.folder.as_deref().unwrap_or_else(|| Path::new(super::SHIPPED));
    let (scenario, folder) = match &args.synthetic {
        Some(synthetic) => (synthetic.scenario(), None),
        None => (Scenario::load(folder).context("the scenario is refused")?, Some(folder)),
    };
    let community = match (&args.written, folder) {
        (Some(file), _) => Community::read(file)?,
        (None, Some(folder)) => Community::of_folder(folder)?,
        (None, None) => Community::default(),
    };
    let mut rules = args.rules.clone();
    if rules.is_empty() {
        rules.extend(Rule::ALL);
        rules.extend(community.has_key().then_some(Rule::OwnKey));
    }
    let options = Options {
        tariff: args.tariff.clone(),
        rules,
        orders: args.orders,
        batteries: args.batteries,
        on_feeder: !args.copper_plate,
        community: community.with_fees(&args.fees),
        from: args.from,
        to: args.to,
        seed: args.seed,
        currency: args.currency.clone(),
    };
    let backtest = Backtest::new(&scenario, folder, options)?;
    let report = follow(backtest)?;
    let to_stdout = args.json.as_deref() == Some(Path::new("-"));
    if to_stdout {
        println!("{}", json(&report)?);
    } else {
        print!("{}", table(&report));
    }
    if let Some(file) = args.json.as_deref().filter(|_| !to_stdout) {
        write(file, &json(&report)?)?;
    }
    if let Some(file) = &args.html {
        write(file, &page(&report))?;
    }
    Ok(())
}

fn json(report: &Report) -> anyhow::Result<String> {
    Ok(serde_json::to_string_pretty(report)?)
}

fn write(file: &Path, text: &str) -> anyhow::Result<()> {
    std::fs::write(file, text).with_context(|| format!("{} cannot be written", file.display()))
}

/// Runs to the end, with a bar where somebody looks.
fn follow(mut backtest: Backtest<'_>) -> anyhow::Result<Report> {
    let mut bar = Bar::new(backtest.len());
    while backtest.step()? {
        bar.show(backtest.done());
    }
    bar.clear();
    Ok(backtest.finish()?)
}

/// A progress bar on the terminal; silent elsewhere.
struct Bar {
    slots: usize,
    shown: Option<usize>,
}

/// Characters of a full bar.
const WIDTH: usize = 40;

impl Bar {
    fn new(slots: usize) -> Self {
        let shown = std::io::stderr().is_terminal().then_some(usize::MAX);
        Self { slots, shown }
    }

    fn show(&mut self, done: usize) {
        let per_mille = done * 1_000 / self.slots.max(1);
        if self.shown.is_none_or(|shown| shown == per_mille) {
            return;
        }
        self.shown = Some(per_mille);
        let full = per_mille * WIDTH / 1_000;
        let bar = "█".repeat(full) + &"░".repeat(WIDTH - full);
        eprint!("\r{bar} {:>3} %  {done} of {} slots", per_mille / 10, self.slots);
        // A bar that cannot be drawn is no reason to stop.
        let _ = std::io::stderr().flush();
    }

    fn clear(&self) {
        if self.shown.is_some() {
            eprint!("\r\x1b[2K");
        }
    }
}
