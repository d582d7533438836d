//! From the records back to a desk: the same state as if nothing had happened.

use std::collections::BTreeMap;
use std::sync::Arc;

use market::{Clearing, Cumulative, Mint};
use protocol::{B256, Order, Signed, Totals, merkle};
use units::{PointId, Slot};

use super::household::Household;
use super::{AnchorDraft, BookOrder, Cleared, Desk, Setup, Watermark};
use crate::rules::{Registers, StreetGrid};

/// What the store knows; see the schema for the meaning of each part.
#[derive(Debug, Default)]
pub struct Saved {
    /// First slot that is settled at all; none before the first start.
    pub first_slot: Option<Slot>,
    /// Watermarks.
    pub households: Vec<Watermark>,
    /// Readings that count and are not settled.
    pub edges: Vec<(PointId, Slot, Registers, B256)>,
    /// Slot of each household's newest plausible reading.
    pub last_slots: Vec<(PointId, Slot)>,
    /// Orders of slots that are not cleared, oldest sequence first.
    pub orders: Vec<Signed<Order>>,
    /// Cleared slots that are not settled.
    pub clearings: Vec<SavedClearing>,
    /// Grids of these slots by digest.
    pub grids: BTreeMap<B256, StreetGrid>,
    /// Newest cleared slot.
    pub last_cleared: Option<Slot>,
    /// Newest settled slot and the log after it.
    pub log: Option<(Slot, merkle::Frontier)>,
    /// Number and last slot of the newest epoch that was handed to the chain.
    pub last_anchor: Option<(u64, Slot)>,
    /// Totals of the slots settled since.
    pub epoch: Vec<(Slot, Totals)>,
}

/// A cleared slot.
#[derive(Debug)]
pub struct SavedClearing {
    /// The result.
    pub clearing: Clearing,
    /// Root over the book.
    pub orders_root: B256,
    /// Seed of the draws.
    pub seed: B256,
    /// Digest of the grid; zero on a plate.
    pub grid: B256,
}

/// Why the records do not make a desk.
#[derive(Debug, thiserror::Error)]
pub enum RestoreFault {
    /// A member of the record is missing in the configuration.
    #[error(
        "metering point {0} has settled energy but is not enrolled any more; \
         enrol it again (it may have max_import_w = 0), its account must stay"
    )]
    NotEnrolled(PointId),
    /// A slot's grid is nowhere.
    #[error(
        "slot {} ({slot}) was cleared on grid {grid}, which is not on record; \
         start once more with the [grid] of that slot, so that it can be settled",
        slot.number()
    )]
    NoGrid {
        /// The slot.
        slot: Slot,
        /// Digest of its grid.
        grid: B256,
    },
    /// The rewards on record are out of range.
    #[error("rewards on record: {0}")]
    Rewards(#[from] market::RewardFault),
}

impl Desk {
    /// A desk that goes on where the records end; at its first start the first settled slot is the
    /// one after the present, whose start is the first moment that everybody's meter is asked for.
    ///
    /// # Errors
    /// [`RestoreFault`] when configuration and records contradict each other.
    pub fn restore(setup: Setup, saved: Saved, now_ms: i64) -> Result<Self, RestoreFault> {
        let first = saved.first_slot.unwrap_or_else(|| Slot::at_ms(now_ms).next());
        let next_settle = saved.log.as_ref().map_or(first, |(slot, _)| slot.next());
        let next_gate = saved.last_cleared.map_or(first, Slot::next);
        let (seq, from) = saved.last_anchor.map_or((1, first), |(seq, to)| (seq + 1, to.next()));
        let mut epoch = AnchorDraft::empty(seq, from);
        for (slot, totals) in &saved.epoch {
            epoch.add(*slot, totals);
        }
        let mut households: BTreeMap<PointId, Household> = setup
            .enrolments
            .iter()
            .map(|enrolment| (enrolment.point.clone(), Household::new(enrolment.clone())))
            .collect();
        let rewards = restore_households(&mut households, &saved)?;
        let mut desk = Self {
            households,
            books: BTreeMap::new(),
            cleared: BTreeMap::new(),
            solving: None,
            opened_ms: now_ms,
            first_slot: first,
            next_gate,
            next_settle,
            offered: None,
            log: saved.log.map(|(_, frontier)| frontier).unwrap_or_default(),
            rewards,
            epoch,
            setup,
        };
        for signed in saved.orders {
            let digest = desk.setup.domain.digest(&signed.body);
            let (slot, point) = (Slot::new(signed.body.slot), signed.body.point.clone());
            if let Ok(point) = PointId::new(point) {
                let order = BookOrder { signed, digest };
                desk.books.entry(slot).or_default().insert(point, order);
            }
        }
        let mut grids: BTreeMap<B256, Arc<StreetGrid>> =
            saved.grids.into_iter().map(|(digest, grid)| (digest, Arc::new(grid))).collect();
        grids.insert(B256::ZERO, Arc::default());
        grids.insert(desk.setup.grid.digest(), Arc::clone(&desk.setup.grid));
        for SavedClearing { clearing, orders_root, seed, grid } in saved.clearings {
            let slot = clearing.slot;
            let known = grids.get(&grid).map(Arc::clone);
            let grid = known.ok_or(RestoreFault::NoGrid { slot, grid })?;
            desk.cleared.insert(slot, Cleared { clearing, orders_root, seed, grid });
        }
        Ok(desk)
    }

    /// First slot that this desk settles or has to settle next; recorded at the first start.
    #[must_use]
    pub const fn first_open_slot(&self) -> Slot {
        self.next_settle
    }
}

fn restore_households(
    households: &mut BTreeMap<PointId, Household>,
    saved: &Saved,
) -> Result<Cumulative, RestoreFault> {
    let mut mints = Vec::new();
    for row in &saved.households {
        let Some(household) = households.get_mut(&row.point) else {
            if row.settled.is_some() {
                return Err(RestoreFault::NotEnrolled(row.point.clone()));
            }
            continue;
        };
        household.order_seq = row.order_seq;
        mints.push(Mint { point: row.point.clone(), wei: row.reward_total });
        // A new epoch is a new meter or key: its chain starts afresh, and so do its registers.
        if row.epoch == household.enrolment.epoch {
            household.reading_seq = row.reading_seq;
            household.reading_head = row.reading_head;
            household.settled = row.settled;
        }
    }
    for (point, slot, registers, digest) in &saved.edges {
        if saved.first_slot.is_some_and(|first| *slot < first.previous()) {
            continue;
        }
        if let Some(household) = households.get_mut(point).filter(|known| known.reading_seq > 0) {
            household.edges.insert(*slot, *registers);
            household.edge_digests.insert(*slot, *digest);
        }
    }
    for (point, slot) in &saved.last_slots {
        if let Some(household) = households.get_mut(point).filter(|known| known.reading_seq > 0) {
            household.last_slot = Some(*slot);
        }
    }
    let mut rewards = Cumulative::default();
    rewards.add(&mints)?;
    Ok(rewards)
}
