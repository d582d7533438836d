//! What a whole street costs: devices, agents, broker, desk, record and chain in one process, with
//! a clock that waits for nothing but them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use clock::{Clock, ManualHand};
use controller::http::events::Event;
use controller::store::read::AnchorState;
use serde::Serialize;
use tokio::sync::broadcast;
use units::Slot;

use crate::demo::{Demo, DemoOptions};

/// Longest wait for one step of the street, real time.
const PATIENCE: Duration = Duration::from_secs(30);
/// Pause between two looks into the record.
const LOOK: Duration = Duration::from_millis(2);
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
    let mut day = Day::start(load, folder).await?;
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

/// A street whose clock is moved by hand.
struct Day {
    demo: Demo,
    hand: ManualHand,
    events: broadcast::Receiver<Event>,
}

impl Day {
    async fn start(load: &StreetLoad, folder: &Path) -> anyhow::Result<Self> {
        let (clock, hand) = Clock::manual(load.from.start_ms());
        let options = DemoOptions {
            scenario: load.scenario.clone(),
            tariff: None,
            from: load.from,
            seed: load.seed,
            data_dir: folder.to_owned(),
            http: ([127, 0, 0, 1], 0).into(),
            broker: None,
            rpc: None,
            anchor_every_slots: ANCHOR_EVERY_SLOTS,
            clock: None,
        };
        let demo = Demo::start(options, clock).await?;
        let events = demo.controller.events.subscribe();
        Ok(Self { demo, hand, events })
    }

    /// The slot in which the street opens: nobody could order for it, and its end is where every
    /// meter starts to count.
    async fn open(&mut self, slot: Slot) -> anyhow::Result<()> {
        self.trade(slot).await?;
        for (point, household) in &self.demo.households {
            let mut status = household.watch();
            let receipted = status.wait_for(|status| {
                let read = status.journalled_slot.is_some_and(|s| s >= slot.number());
                read && status.released_seq == status.journalled_seq
            });
            let waited = tokio::time::timeout(PATIENCE, receipted).await;
            waited.with_context(|| format!("{point} gets no receipt for {slot}"))??;
        }
        Ok(())
    }

    /// One slot from its start to its verified settlement.
    async fn pass(&mut self, slot: Slot) -> anyhow::Result<()> {
        self.trade(slot).await?;
        self.event(Event::Settled(slot)).await?;
        self.verified(slot).await
    }

    /// A slot passes while the next one is ordered and cleared.
    async fn trade(&mut self, slot: Slot) -> anyhow::Result<()> {
        self.go(slot.start_ms() + 300_000).await?;
        self.ordered(slot.next()).await?;
        self.go(slot.end_ms() - 60_000).await?;
        self.event(Event::Cleared(slot.next())).await?;
        self.go(slot.end_ms()).await
    }

    /// Moves world and clock to a moment; what a device publishes counts from when it arrives, so
    /// it publishes once more.
    async fn go(&mut self, moment_ms: i64) -> anyhow::Result<()> {
        self.demo.street.advance_to(moment_ms).await?;
        self.hand.advance_to(moment_ms);
        self.demo.street.publish_again().await;
        Ok(())
    }

    /// Waits until every household has thought about an order for `slot`, and until the orders have
    /// arrived: the gate must not close on those that are still on their way.
    async fn ordered(&self, slot: Slot) -> anyhow::Result<()> {
        let mut orders = 0;
        for (point, household) in &self.demo.households {
            let mut status = household.watch();
            let wanted = status
                .wait_for(|status| status.considered_slot.is_some_and(|s| s >= slot.number()));
            let waited = tokio::time::timeout(PATIENCE, wanted).await;
            let status = waited.with_context(|| format!("{point} does not consider {slot}"))??;
            orders += usize::from(status.ordered_slot.is_some_and(|s| s >= slot.number()));
        }
        let waiting = clock::stopwatch();
        while self.demo.controller.reader.book(slot).await?.len() < orders {
            ensure!(waiting.elapsed() < PATIENCE, "not all {orders} orders for {slot} arrive");
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }

    /// Waits until every household has checked its bill of `slot`.
    async fn verified(&self, slot: Slot) -> anyhow::Result<()> {
        for (point, household) in &self.demo.households {
            let mut status = household.watch();
            let wanted = status.wait_for(|status| {
                status.failed > 0 || status.verified_slot.is_some_and(|s| s >= slot.number())
            });
            let waited = tokio::time::timeout(PATIENCE, wanted).await;
            let status = waited.with_context(|| format!("{point} does not verify {slot}"))??;
            ensure!(
                status.failed == 0,
                "a bill of {point} does not hold: {:?}",
                status.last_finding
            );
        }
        Ok(())
    }

    /// Waits until the controller says that something happened.
    async fn event(&mut self, wanted: Event) -> anyhow::Result<()> {
        let found = async {
            while self.events.recv().await? != wanted {}
            Ok::<_, broadcast::error::RecvError>(())
        };
        let waited = tokio::time::timeout(PATIENCE, found).await;
        Ok(waited.with_context(|| format!("{wanted:?} does not happen"))??)
    }

    /// Waits until an epoch is final on the chain.
    async fn anchored(&self, seq: u64) -> anyhow::Result<()> {
        if seq == 0 {
            return Ok(());
        }
        let waiting = clock::stopwatch();
        loop {
            let row = self.demo.controller.reader.anchor(seq).await?;
            if row.is_some_and(|row| row.state == AnchorState::Final) {
                return Ok(());
            }
            if waiting.elapsed() > PATIENCE {
                bail!("epoch {seq} is not anchored");
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    fn verified_bills(&self) -> u64 {
        self.demo.households.values().map(|household| household.status().verified).sum()
    }
}
