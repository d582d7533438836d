//! What a whole street costs: devices, agents, broker, desk, record and chain in one process, with
//! a clock that waits for nothing but them.

use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use serde::Serialize;
use units::Slot;

use crate::day::Day;
use crate::demo::{DemoOptions, SharingChoice};

/// Settled slots per anchored epoch, as in the demo.
const ANCHOR_EVERY_SLOTS: u32 = 4;

/// Which street, and for how long.
#[derive(Debug, Clone)]
pub struct StreetLoad {
    /// Folder of the scenario.
    pub scenario: PathBuf,
    /// The slot before the first one that is measured.
    pub from: Slot,
    /// Slots to measure.
    pub slots: u32,
    /// Seed of the world.
    pub seed: u64,
}

/// What it cost, and what was done for it.
#[derive(Debug, Serialize)]
pub struct StreetCost {
    /// Households with an agent and devices each.
    pub households: usize,
    /// Slots that were offered, ordered for, cleared, metered, settled and verified.
    pub slots: u32,
    /// From the first slot's start until the last one is verified and what was due is anchored.
    pub seconds: f64,
    /// Slots in a second of real time.
    pub slots_per_s: f64,
    /// Orders in these slots.
    pub orders: u32,
    /// Energy they traded, Wh.
    pub cleared_wh: i64,
    /// Bills that the households checked and found right.
    pub bills_verified: u64,
    /// Epochs that are final on the chain.
    pub epochs: u64,
}

/// Runs a street through its slots.
///
/// # Errors
/// What does not start, does not happen in time, or does not hold.
pub async fn measure(load: &StreetLoad, folder: &Path) -> anyhow::Result<StreetCost> {
    tracing::info!("starting a street");
    let mut day = start(load, folder).await?;
    day.open(load.from).await?;
    let started = clock::stopwatch();
    let verified_before = day.verified_bills();
    let last = load.from.offset(i64::from(load.slots));
    let mut slot = load.from.next();
    while slot <= last {
        tracing::info!("quarter-hour {slot}");
        day.pass(slot).await?;
        slot = slot.next();
    }
    let epochs = u64::from(load.slots / ANCHOR_EVERY_SLOTS);
    day.anchored(epochs).await?;
    let seconds = started.elapsed().as_secs_f64();
    let (mut orders, mut cleared_wh) = (0, 0);
    for count in 1..=load.slots {
        let slot = load.from.offset(i64::from(count));
        let row = day.demo.controller.reader.slot(slot).await?;
        let row = row.with_context(|| format!("{slot} is not in the record"))?;
        ensure!(row.header.is_some(), "{slot} is not settled");
        orders += row.orders;
        cleared_wh += row.cleared.wh();
    }
    let bills_verified = day.verified_bills() - verified_before;
    let households = day.demo.households.len();
    let refused = day.demo.controller.reader.refusals(1).await?;
    ensure!(refused.by_reason.is_empty(), "something was refused: {:?}", refused.by_reason);
    day.demo.stop().await?;
    Ok(StreetCost {
        households,
        slots: load.slots,
        seconds,
        slots_per_s: f64::from(load.slots) / seconds,
        orders,
        cleared_wh,
        bills_verified,
        epochs,
    })
}

async fn start(load: &StreetLoad, folder: &Path) -> anyhow::Result<Day> {
    let options = DemoOptions {
        scenario: load.scenario.clone(),
        tariff: None,
        from: load.from,
        seed: load.seed,
        data_dir: folder.to_owned(),
        http: ([127, 0, 0, 1], 0).into(),
        broker: None,
        rpc: None,
        grid: None,
        sharing: SharingChoice::default(),
        steer: false,
        anchor_every_slots: ANCHOR_EVERY_SLOTS,
        clock: None,
    };
    Day::start(options).await
}
