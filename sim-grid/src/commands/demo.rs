//! `sim-grid demo`: a whole street in one process, with its page.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use clock::{Clock, ClockConfig};
use controller::config::GridConfig;
use controller::http::events::Event;
use market::sharing::Rule;
use sim_grid::demo::{Demo, DemoOptions, KeyKind, RpcNode, SharingChoice};
use sim_grid::faces::BrokerUrl;
use sim_grid::scenario::parse_slot;
use tokio::sync::broadcast;
use units::Slot;

/// Trade a whole street: simulated devices, an agent per household, the controller and its page.
#[derive(Args)]
pub struct DemoArgs {
    /// Folder of the scenario.
    #[arg(long, default_value = super::SHIPPED)]
    scenario: PathBuf,
    /// Tariff of the scenario; the first one if left out.
    #[arg(long)]
    tariff: Option<String>,
    /// How much faster than real time the street runs (90: a quarter-hour in 10 seconds).
    #[arg(long, default_value_t = 90.0, value_parser = super::parse_speed)]
    speed: f64,
    /// First quarter-hour, UTC, for example 2016-07-23T07:00Z; a summer morning of the shipped
    /// street, otherwise the scenario's first.
    #[arg(long, value_parser = parse_slot)]
    from: Option<Slot>,
    /// Stop when this many quarter-hours are settled; otherwise run until Ctrl-C.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    slots: Option<u32>,
    /// Where the page is served; port 0 takes any free one.
    #[arg(long, default_value = "127.0.0.1:8080")]
    http: SocketAddr,
    /// An MQTT v5 broker, mqtt://host:port, instead of the one in the process.
    #[arg(long)]
    broker: Option<BrokerUrl>,
    /// An EVM node, http://host:port, instead of the one in the process.
    #[arg(long, requires = "rpc_key")]
    rpc: Option<String>,
    /// File with the key of an account on that node that pays for transactions.
    #[arg(long, requires = "rpc")]
    rpc_key: Option<PathBuf>,
    /// Leave the batteries to themselves; otherwise they follow what their homes traded.
    #[arg(long)]
    leave_batteries: bool,
    /// Settled slots per anchored epoch.
    #[arg(long, default_value_t = 4)]
    anchor_every_slots: u32,
    /// Fee for the street's cables in the auction, 10⁻⁵ currency per kWh; nobody trades more than
    /// they carry.
    #[arg(long, default_value_t = 150)]
    grid_fee: i64,
    /// What members pay each other: auction, mid-market, supply-demand, "bill-sharing per interval",
    /// "allocated at the middle", "allocated at 180000" (nano-currency per Wh) or none. Limits and
    /// fees of the grid are part of the auction only.
    #[arg(long, default_value_t = Rule::Auction)]
    rule: Rule,
    /// How the grid operator allocates: none, pro-rata, static (equal parts) or pairs.
    #[arg(long, default_value = "none")]
    key: KeyKind,
    /// A file with `rule` and `key` as in a controller's [sharing]: for keys that name members.
    #[arg(long, conflicts_with_all = ["rule", "key"])]
    sharing: Option<PathBuf>,
    /// Trade as if everybody were at one place, without limits and fees.
    #[arg(long, conflicts_with = "grid_fee")]
    plate: bool,
    /// Keep everything in this folder and go on from there at the next start; otherwise a temporary
    /// folder that is removed at the end.
    #[arg(long)]
    data: Option<PathBuf>,
    /// Seed of serial numbers, first register values, kinds of meters and bids.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Print JSON, one object per line.
    #[arg(long)]
    json: bool,
}

/// Runs until the last slot, Ctrl-C or SIGTERM.
pub async fn run(args: DemoArgs) -> anyhow::Result<()> {
    let temporary = match &args.data {
        Some(_) => None,
        None => Some(tempfile::tempdir().context("no temporary folder")?),
    };
    let folder = match (&args.data, &temporary) {
        (Some(folder), _) => folder.clone(),
        (None, Some(folder)) => folder.path().to_owned(),
        (None, None) => unreachable!("one of the two was just made"),
    };
    let from = match args.from {
        Some(from) => from,
        None => super::first_slot(&args.scenario)?,
    };
    let anchor = anchor(&folder, from, args.speed)?;
    let clock = Clock::from_config(Some(anchor));
    let sharing = match &args.sharing {
        Some(file) => SharingChoice::read(file)?,
        None => SharingChoice::Words(args.rule, args.key),
    };
    let options = DemoOptions {
        scenario: args.scenario.clone(),
        tariff: args.tariff.clone(),
        from,
        seed: args.seed,
        data_dir: folder.clone(),
        http: args.http,
        broker: args.broker.clone(),
        rpc: args
            .rpc
            .clone()
            .zip(args.rpc_key.clone())
            .map(|(url, key_file)| RpcNode { url, key_file }),
        grid: (!args.plate && sharing.takes_orders())
            .then(|| GridConfig { street_fee_e5: args.grid_fee, ..GridConfig::default() }),
        sharing,
        steer: !args.leave_batteries,
        anchor_every_slots: args.anchor_every_slots,
        clock: Some(anchor),
    };
    let mut demo = Demo::start(options, clock.clone()).await?;
    greet(&demo, &args, from, args.data.as_deref());
    let events = demo.controller.events.subscribe();
    let printer = tokio::spawn(controller::report::print(
        demo.controller.events.subscribe(),
        demo.controller.reader.clone(),
        args.json,
    ));
    let last = args.slots.map(|slots| from.offset(i64::from(slots)));
    let ended = tokio::select! {
        ended = follow(&mut demo, &clock, last, events) => ended,
        stopped = super::stop_signal() => stopped.map_err(Into::into),
    };
    printer.abort();
    farewell(&demo, args.json);
    demo.stop().await?;
    ended
}

/// The clock's anchor: now for a new folder, as before for one that is used again.
fn anchor(folder: &Path, from: Slot, speed: f64) -> anyhow::Result<ClockConfig> {
    let file = folder.join("clock.toml");
    if file.exists() {
        let text = std::fs::read_to_string(&file)?;
        return toml::from_str(&text)
            .with_context(|| format!("{} is not a clock of a demo", file.display()));
    }
    let anchor =
        ClockConfig { anchor_wall_ms: clock::wall_ms(), anchor_market_ms: from.start_ms(), speed };
    std::fs::create_dir_all(folder)?;
    std::fs::write(&file, toml::to_string(&anchor)?)?;
    Ok(anchor)
}

fn greet(demo: &Demo, args: &DemoArgs, from: Slot, kept: Option<&Path>) {
    if args.json {
        let told = serde_json::json!({
            "url": demo.url(),
            "households": demo.households.len(),
            "meters": demo.kinds(),
            "from_slot": from.number(),
            "speed": args.speed,
        });
        println!("{told}");
        return;
    }
    let kinds: Vec<String> =
        demo.kinds().into_iter().map(|(kind, count)| format!("{count} {kind}")).collect();
    println!();
    println!("  {} households trade from {from} on: {}", demo.households.len(), kinds.join(", "));
    println!("  one quarter-hour takes {:.1} s", 900.0 / args.speed);
    println!("  watch them at  {}", demo.url());
    if let Some(folder) = kept {
        println!("  everything is kept in {}", folder.display());
    }
    println!("  Ctrl-C stops");
    println!();
}

/// Moves the street with the clock; returns once `last` is settled, or never.
async fn follow(
    demo: &mut Demo,
    clock: &Clock,
    last: Option<Slot>,
    events: broadcast::Receiver<Event>,
) -> anyhow::Result<()> {
    let settled = async {
        match last {
            Some(last) => settled(events, last).await,
            None => std::future::pending().await,
        }
    };
    tokio::pin!(settled);
    tokio::select! {
        ended = demo.street.run(clock, None) => ended?,
        failed = demo.controller.failed() => failed?,
        () = &mut settled => return Ok(()),
    }
    tracing::info!("the scenario's slots are over; the page stays until Ctrl-C");
    tokio::select! {
        failed = demo.controller.failed() => failed?,
        () = &mut settled => {}
    }
    Ok(())
}

async fn settled(mut events: broadcast::Receiver<Event>, last: Slot) {
    loop {
        match events.recv().await {
            Ok(Event::Settled(slot)) if slot >= last => return,
            Err(broadcast::error::RecvError::Closed) => return,
            _ => {}
        }
    }
}

fn farewell(demo: &Demo, json: bool) {
    let (mut verified, mut failed) = (0, 0);
    for household in demo.households.values() {
        let status = household.status();
        verified += status.verified;
        failed += status.failed;
    }
    if json {
        let told =
            serde_json::json!({ "statements_verified": verified, "statements_failed": failed });
        println!("{told}");
    } else {
        println!("households verified {verified} of their own bills, {failed} did not hold");
    }
}
