//! `sim-grid serve`: the devices of a street and nothing else, for agents that run elsewhere.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, bail};
use clap::Args;
use clock::{Clock, ClockConfig};
use serde::Serialize;
use sim_grid::faces::{BrokerUrl, Face};
use sim_grid::faults::FaultPlan;
use sim_grid::scenario::{Scenario, parse_slot};
use sim_grid::street::{Street, StreetOptions};
use units::Slot;

/// Offer the simulated devices of a street: inverters, meters and batteries over Modbus TCP, and
/// meters that publish over MQTT.
#[derive(Args)]
pub struct ServeArgs {
    /// Folder of the scenario.
    #[arg(long, default_value = super::SHIPPED)]
    scenario: PathBuf,
    /// Tariff of the scenario, shown with the devices; the first one if left out.
    #[arg(long)]
    tariff: Option<String>,
    /// How much faster than real time the street runs (90: a quarter-hour in 10 seconds).
    #[arg(long, default_value_t = 90.0, value_parser = super::parse_speed)]
    speed: f64,
    /// First quarter-hour, UTC, for example 2016-07-18T06:00Z; the scenario's first if left out.
    #[arg(long, value_parser = parse_slot)]
    from: Option<Slot>,
    /// Stop after this many quarter-hours; otherwise at the end of the scenario's block.
    #[arg(long)]
    slots: Option<u32>,
    /// Modbus port of the first customer, the next one for the second and so on; any free ports if
    /// left out.
    #[arg(long)]
    base_port: Option<u16>,
    /// Address to listen on.
    #[arg(long, default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    bind: IpAddr,
    /// MQTT broker for meters that publish, mqtt://[user:password@]host[:port]; without one every
    /// meter speaks Modbus.
    #[arg(long)]
    broker: Option<BrokerUrl>,
    /// Seed of serial numbers, first register values and kinds of meters.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// What goes wrong (docs/faults.md); faults.toml of the scenario's folder if left out and there.
    #[arg(long)]
    faults: Option<PathBuf>,
    /// Draw faults for every house from this seed instead, as `sim-grid campaign` does.
    #[arg(long, conflicts_with = "faults")]
    campaign: Option<u64>,
    /// Print where everything is as one JSON document instead of a table.
    #[arg(long)]
    json: bool,
}

/// What `--json` prints: enough to configure agents and controller of other processes.
#[derive(Serialize)]
struct Offer<'s> {
    scenario: &'s str,
    tariff: &'s str,
    seed: u64,
    first_slot: i64,
    end_slot: i64,
    /// The `[clock]` section of every process of this street.
    clock: ClockConfig,
    broker: Option<String>,
    houses: &'s [Face],
    /// What goes wrong, by customer.
    faults: BTreeMap<String, Vec<String>>,
}

/// Runs until the last slot, Ctrl-C or SIGTERM.
pub async fn run(args: ServeArgs) -> anyhow::Result<()> {
    let scenario = Arc::new(Scenario::load(&args.scenario).context("the scenario is refused")?);
    let tariffs: Vec<&str> = scenario.tariffs.iter().map(|tariff| tariff.name.as_str()).collect();
    let Some(tariff) = scenario.tariff(args.tariff.as_deref()).map(|tariff| tariff.name.clone())
    else {
        bail!("there is no such tariff; the scenario has: {}", tariffs.join(", "));
    };
    let from = args.from.unwrap_or_else(|| scenario.timeline.first());
    let options = StreetOptions {
        bind: args.bind,
        base_port: args.base_port,
        broker: args.broker.clone(),
        faults: faults(&args)?,
        ..StreetOptions::new(args.seed, from)
    };
    let mut street = Street::start(Arc::clone(&scenario), &options).await?;
    let anchor = ClockConfig {
        anchor_wall_ms: clock::wall_ms(),
        anchor_market_ms: from.start_ms(),
        speed: args.speed,
    };
    let block_end = Slot::at_ms(street.world().end_ms());
    let end = args.slots.map_or(block_end, |slots| from.offset(i64::from(slots)).min(block_end));
    let offer = Offer {
        scenario: &scenario.name,
        tariff: &tariff,
        seed: args.seed,
        first_slot: from.number(),
        end_slot: end.number(),
        clock: anchor,
        broker: args.broker.as_ref().map(ToString::to_string),
        houses: street.faces(),
        faults: street.faults().told(street.faces()),
    };
    if args.json {
        println!("{}", serde_json::to_string_pretty(&offer)?);
    } else {
        print_table(&offer, from, end);
    }
    let clock = Clock::from_config(Some(anchor));
    tokio::select! {
        ended = follow(&mut street, &clock, from, end) => ended?,
        stopped = super::stop_signal() => {
            stopped?;
            tracing::info!("stopped");
            return Ok(());
        }
    }
    if args.slots.is_none() {
        tracing::info!("the scenario's slots are over; the devices stay as they are until Ctrl-C");
        super::stop_signal().await?;
    }
    Ok(())
}

/// What goes wrong, if anybody says so.
fn faults(args: &ServeArgs) -> anyhow::Result<FaultPlan> {
    if let Some(seed) = args.campaign {
        return Ok(FaultPlan::campaign(seed, i64::MAX));
    }
    let usual = args.scenario.join("faults.toml");
    let file = match &args.faults {
        Some(file) => file,
        None if usual.exists() => &usual,
        None => return Ok(FaultPlan::none()),
    };
    Ok(FaultPlan::load(file)?)
}

fn print_table(offer: &Offer<'_>, from: Slot, end: Slot) {
    println!(
        "{}, tariff {}, {from} to {end}, {} times real time",
        offer.scenario, offer.tariff, offer.clock.speed
    );
    println!(
        "[clock] anchor_wall_ms = {}, anchor_market_ms = {}, speed = {}",
        offer.clock.anchor_wall_ms, offer.clock.anchor_market_ms, offer.clock.speed
    );
    match &offer.broker {
        Some(broker) => println!("telegrams go to {broker}"),
        None => println!("no broker: every meter speaks Modbus"),
    }
    println!("{:<10} {:<8} {:<8} {:>8} {:>9}  where", "customer", "bus", "meter", "PV kW", "kWh");
    for face in offer.houses {
        let kilo = |watts: Option<u32>| {
            watts.map_or_else(String::new, |watts| format!("{:.1}", f64::from(watts) / 1_000.0))
        };
        println!(
            "{:<10} {:<8} {:<8} {:>8} {:>9}  {}",
            face.customer,
            face.bus,
            face.kind.name(),
            kilo(face.pv_rated_w),
            kilo(face.battery_wh),
            face.kind
        );
    }
    for (customer, faults) in &offer.faults {
        println!("{customer}: {}", faults.join("; "));
    }
}

/// Runs the street slot by slot, with a line for each.
async fn follow(street: &mut Street, clock: &Clock, from: Slot, end: Slot) -> anyhow::Result<()> {
    let mut slot = from;
    while slot < end {
        street.run(clock, Some(slot.end_ms())).await?;
        let grid = street.world().grid();
        let lowest = grid.vm_pu.iter().copied().fold(f64::INFINITY, f64::min);
        let highest = grid.vm_pu.iter().copied().fold(0.0, f64::max);
        tracing::info!(
            "{slot}: grid {:+.1} kW, losses {:.2} kW, sun {:.0} %, voltage {lowest:.3} to {highest:.3} pu",
            grid.slack_kw,
            grid.loss_kw,
            grid.sun * 100.0,
        );
        slot = slot.next();
    }
    Ok(())
}
