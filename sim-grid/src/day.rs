//! A running street whose clock is moved by hand, step by step, and waits for nothing but the
//! street itself: how a whole day passes in seconds, for measurements and for the day's test.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use clock::{Clock, ManualHand};
use controller::http::events::Event;
use controller::store::read::AnchorState;
use tokio::sync::broadcast;
use units::{PointId, Slot};

use crate::demo::{Demo, DemoOptions, Household};
use crate::street::Street;

/// Longest wait for one step of the street, real time.
const PATIENCE: Duration = Duration::from_secs(60);
/// After this devices publish once more while an agent is waited for.
const AGAIN: Duration = Duration::from_secs(2);
/// Pause between two looks into the record.
const LOOK: Duration = Duration::from_millis(2);

/// A street whose clock is moved by hand.
pub struct Day {
    /// The street.
    pub demo: Demo,
    hand: ManualHand,
    events: broadcast::Receiver<Event>,
}

impl Day {
    /// Starts a street at the start of `options.from`; its own clock setting is not used.
    ///
    /// # Errors
    /// What cannot start, and why.
    pub async fn start(options: DemoOptions) -> anyhow::Result<Self> {
        let (clock, hand) = Clock::manual(options.from.start_ms());
        let demo = Demo::start(options, clock).await?;
        let events = demo.controller.events.subscribe();
        Ok(Self { demo, hand, events })
    }

    /// The slot in which the street opens: nobody could order for it, and its end is where every
    /// meter starts to count.
    ///
    /// # Errors
    /// What does not happen in time.
    pub async fn open(&mut self, slot: Slot) -> anyhow::Result<()> {
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
    ///
    /// # Errors
    /// What does not happen in time.
    pub async fn pass(&mut self, slot: Slot) -> anyhow::Result<()> {
        self.trade(slot).await?;
        self.event(Event::Settled(slot)).await?;
        self.verified(slot).await
    }

    /// A slot passes while the next one is ordered and cleared.
    ///
    /// # Errors
    /// What does not happen in time.
    pub async fn trade(&mut self, slot: Slot) -> anyhow::Result<()> {
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
        self.steered(moment_ms).await
    }

    /// Waits until every battery that is steered goes by what its house shows now.
    async fn steered(&self, moment_ms: i64) -> anyhow::Result<()> {
        for (point, household) in self.demo.households.iter().filter(|(_, home)| home.is_steered())
        {
            let mut status = household.watch();
            let wanted = status.wait_for(|status| status.steered_ms >= Some(moment_ms));
            let waited = tokio::time::timeout(PATIENCE, wanted).await;
            waited.with_context(|| format!("{point} does not steer its battery"))??;
        }
        Ok(())
    }

    /// Waits until every household has thought about an order for `slot`, and until the orders have
    /// arrived: the gate must not close on those that are still on their way.
    ///
    /// Devices that publish do so again meanwhile, as they do in a street whose time runs: an agent
    /// that listens only now would wait for ever in one that stands still.
    async fn ordered(&mut self, slot: Slot) -> anyhow::Result<()> {
        let mut orders = 0;
        let Demo { households, street, .. } = &mut self.demo;
        for (point, household) in households {
            let mut status = household.watch();
            let considered = async {
                loop {
                    let wanted = status.wait_for(|status| {
                        status.considered_slot.is_some_and(|s| s >= slot.number())
                    });
                    match tokio::time::timeout(AGAIN, wanted).await {
                        Ok(found) => return found.map(|status| status.clone()),
                        Err(_) => street.publish_again().await,
                    }
                }
            };
            let waited = tokio::time::timeout(PATIENCE, considered).await;
            let status = waited.with_context(|| format!("{point} does not consider {slot}"))??;
            orders += usize::from(status.ordered_slot.is_some_and(|s| s >= slot.number()));
        }
        let waiting = clock::stopwatch();
        while self.demo.controller.reader.book(slot).await?.len() < orders {
            if waiting.elapsed() > PATIENCE {
                let refused = self.demo.controller.reader.refusals(3).await?.recent;
                bail!("not all {orders} orders for {slot} arrive; refused: {refused:?}");
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }

    /// Which batteries somebody steers at this moment, by their homes.
    #[must_use]
    pub fn steered_batteries(&self) -> Vec<PointId> {
        self.demo.street.steered()
    }

    /// Stops the controller and lets market time pass for devices and households alone. They stay as
    /// long as the hand is kept.
    ///
    /// # Errors
    /// When the record cannot be closed, or the street does not go on.
    pub async fn silence(
        self,
        ms: i64,
    ) -> anyhow::Result<(Street, BTreeMap<PointId, Household>, ManualHand)> {
        let Self { demo, hand, .. } = self;
        let Demo { mut street, controller, households, .. } = demo;
        controller.stop().await?;
        let moment_ms = street.world().now_ms() + ms;
        street.advance_to(moment_ms).await?;
        hand.advance_to(moment_ms);
        Ok((street, households, hand))
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
    ///
    /// # Errors
    /// What does not happen in time.
    pub async fn anchored(&self, seq: u64) -> anyhow::Result<()> {
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

    /// Bills that the households checked and found right.
    #[must_use]
    pub fn verified_bills(&self) -> u64 {
        self.demo.households.values().map(|household| household.status().verified).sum()
    }
}
