//! The subcommands, one file each.

pub mod backtest;
pub mod bench;
pub mod bench_peers;
pub mod campaign;
pub mod demo;
pub mod serve;

use std::path::Path;

use anyhow::Context;
use sim_grid::scenario::{Scenario, parse_slot};
use units::Slot;

/// Where the shipped street is, seen from the checkout.
const SHIPPED: &str = "sim-grid/scenarios/semiurb4";
/// Where the shipped street starts: a sunny summer morning.
const SHIPPED_START: &str = "2016-07-23T07:00Z";

/// Where a scenario starts when nobody says: the shipped one on its morning, any other at its
/// beginning.
fn first_slot(scenario: &Path) -> anyhow::Result<Slot> {
    if scenario == Path::new(SHIPPED) {
        return parse_slot(SHIPPED_START).map_err(anyhow::Error::msg);
    }
    Ok(Scenario::load(scenario).context("the scenario is refused")?.timeline.first())
}

/// A clock speed as people type it.
fn parse_speed(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(speed) if (0.01..=100_000.0).contains(&speed) => Ok(speed),
        _ => Err("write a number from 0.01 to 100000".to_owned()),
    }
}

/// Returns on Ctrl-C or SIGTERM.
async fn stop_signal() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        pressed = tokio::signal::ctrl_c() => pressed,
        _ = terminate.recv() => Ok(()),
    }
}
