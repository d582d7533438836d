//! From the records back to a desk: the same state as if nothing had happened.

use std::collections::BTreeMap;
use std::sync::Arc;

use market::{Clearing, Cumulative, Mint, Terms};
use protocol::{B256, Domain, Order, Signed, Totals, merkle};
use units::{Energy, PointId, Slot};

use super::household::{Household, Mark};
use super::{AnchorDraft, BookOrder, Cleared, Desk, Enrolment, Setup, Watermark};
use crate::rules::{
    KeyChangeRecord, KeyRevocationRecord, KeyRing, Member, Registers, Revision, StreetGrid,
    StreetSharing,
};

/// What the store knows; see the schema for the meaning of each part.
#[derive(Debug, Default)]
pub struct Saved {
    /// First slot that is settled at all; none before the first start.
    pub first_slot: Option<Slot>,
    /// Watermarks.
    pub households: Vec<Watermark>,
    /// Every change of a key, by number.
    pub key_changes: Vec<KeyChangeRecord>,
    /// Every revocation of a key.
    pub key_revocations: Vec<KeyRevocationRecord>,
    /// Readings that count and are not settled.
    pub edges: Vec<SavedEdge>,
    /// Slot of each household's newest plausible reading.
    pub last_slots: Vec<(PointId, Slot)>,
    /// Orders of slots that are not cleared, oldest sequence first.
    pub orders: Vec<Signed<Order>>,
    /// Cleared slots that are not settled.
    pub clearings: Vec<SavedClearing>,
    /// Newest settlements of slots in which a meter is missing.
    pub past: Vec<SavedRevision>,
    /// Grids of these slots by digest.
    pub grids: BTreeMap<B256, StreetGrid>,
    /// Every sharing rule and legal key that the street ever had.
    pub sharings: Vec<StreetSharing>,
    /// Newest cleared slot.
    pub last_cleared: Option<Slot>,
    /// Newest settled slot, and the log as it stands.
    pub log: Option<(Slot, merkle::Frontier)>,
    /// Number and last slot of the newest epoch that was handed to the chain.
    pub last_anchor: Option<(u64, Slot)>,
    /// The log's entries since: slot, version, and what each moved.
    pub epoch: Vec<(Slot, u32, Totals)>,
}

/// A reading that counts and is not settled.
#[derive(Debug)]
pub struct SavedEdge {
    /// Metering point.
    pub point: PointId,
    /// The slot that it ends.
    pub slot: Slot,
    /// What the meter showed.
    pub registers: Registers,
    /// Its sequence number.
    pub seq: u64,
    /// Its digest.
    pub digest: B256,
}

/// The newest settlement of a slot.
#[derive(Debug)]
pub struct SavedRevision {
    /// Its auction.
    pub clearing: SavedClearing,
    /// Which settlement it is.
    pub version: u32,
    /// Who was billed, with which meters.
    pub members: Vec<Member>,
    /// Energy that earned rewards in version 1.
    pub rewarded: BTreeMap<PointId, Energy>,
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
    /// The supplier's terms, as they were published.
    pub terms: Terms,
    /// Digest of the grid; zero on a plate.
    pub grid: B256,
    /// Digest of sharing rule and legal key; zero for the auction alone.
    pub sharing: B256,
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
    /// A slot's rule and key are nowhere.
    #[error(
        "slot {} ({slot}) was cleared under the sharing rule {sharing}, which is not on record; \
         start once more with the [sharing] of that slot, so that it can be settled",
        slot.number()
    )]
    NoSharing {
        /// The slot.
        slot: Slot,
        /// Digest of its rule and key.
        sharing: B256,
    },
    /// A key in the configuration and those on record contradict each other.
    #[error(
        "household {point}: its key in the configuration does not go with the changes of key on \
         record: {reason}. Put back the key that it was enrolled with, or the newest one; a \
         household that lost its key is enrolled anew with the next epoch"
    )]
    Keys {
        /// The household.
        point: PointId,
        /// What is wrong.
        reason: String,
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
        for (slot, version, totals) in &saved.epoch {
            epoch.add(*slot, *version, totals);
        }
        let mut households: BTreeMap<PointId, Household> = setup
            .enrolments
            .iter()
            .map(|enrolment| (enrolment.point.clone(), Household::new(enrolment.clone())))
            .collect();
        let rewards = restore_households(&mut households, &saved)?;
        restore_keys(&setup.domain, &mut households, &saved)?;
        let mut desk = Self {
            households,
            books: BTreeMap::new(),
            closed: BTreeMap::new(),
            cleared: BTreeMap::new(),
            past: BTreeMap::new(),
            is_behind: false,
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
        let mut sharings: BTreeMap<B256, Arc<StreetSharing>> =
            saved.sharings.into_iter().map(|one| (one.digest(), Arc::new(one))).collect();
        sharings.insert(B256::ZERO, Arc::default());
        sharings.insert(desk.setup.sharing.digest(), Arc::clone(&desk.setup.sharing));
        let as_cleared = |saved: SavedClearing| {
            let SavedClearing { clearing, orders_root, seed, terms, grid, sharing } = saved;
            let slot = clearing.slot;
            let known = grids.get(&grid).map(Arc::clone);
            let grid = known.ok_or(RestoreFault::NoGrid { slot, grid })?;
            let known = sharings.get(&sharing).map(Arc::clone);
            let sharing = known.ok_or(RestoreFault::NoSharing { slot, sharing })?;
            Ok::<_, RestoreFault>(Cleared { clearing, orders_root, seed, terms, grid, sharing })
        };
        for saved in saved.clearings {
            let cleared = as_cleared(saved)?;
            desk.cleared.insert(cleared.clearing.slot, cleared);
        }
        for SavedRevision { clearing, version, members, rewarded } in saved.past {
            let cleared = as_cleared(clearing)?;
            let revision = Revision { cleared, version, members, rewarded };
            if desk.is_open(&revision) {
                desk.past.insert(revision.slot(), revision);
            }
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
            household.settled_seq = row.settled_seq;
        }
    }
    for SavedEdge { point, slot, registers, seq, digest } in &saved.edges {
        if saved.first_slot.is_some_and(|first| *slot < first.previous()) {
            continue;
        }
        if let Some(household) = households.get_mut(point).filter(|known| known.reading_seq > 0) {
            household.edges.insert(*slot, *registers);
            household.marks.insert(*slot, Mark { seq: *seq, digest: *digest });
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

/// Gives every household the keys that it has had in this epoch.
fn restore_keys(
    domain: &Domain,
    households: &mut BTreeMap<PointId, Household>,
    saved: &Saved,
) -> Result<(), RestoreFault> {
    for (point, household) in households {
        let Enrolment { key, epoch, .. } = household.enrolment;
        let ours = |name: &str, of: u32| name == point.as_str() && of == epoch;
        let changes = saved.key_changes.iter();
        let changes: Vec<_> = changes
            .filter(|record| ours(&record.change.body.point, record.change.body.epoch))
            .collect();
        let revocations = saved
            .key_revocations
            .iter()
            .filter(|record| ours(&record.revocation.body.point, record.revocation.body.epoch));
        household.keys =
            KeyRing::recorded(domain, (key, epoch), &changes, revocations).map_err(|fault| {
                RestoreFault::Keys { point: point.clone(), reason: fault.to_string() }
            })?;
    }
    Ok(())
}
