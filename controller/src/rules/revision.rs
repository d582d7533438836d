//! A slot settled again because a meter came late.
//!
//! A meter that is silent at the deadline moves its neighbours' deviations too. When its readings
//! turn up and show the energy of exactly one slot, that slot is settled again in its own place: the
//! same auction, the same terms, the same draws, the same members; only the missing meter is there
//! now. What differs is posted on top. Desk and auditor find the same slots by the same function, so
//! that nobody can choose which late energy is settled where.

use std::collections::BTreeMap;
use std::sync::Arc;

use market::{Account, Clearing, Cumulative, Settlement, Terms, Transfer, reposted};
use protocol::{B256, Header, Totals, U256};
use units::{Energy, Money, PointId, Slot};

use super::{
    Member, Metering, Outcome, Registers, SettlingFault, SlotBasis, StreetGrid, StreetSharing,
    metering, settle_slot,
};

/// How far back slots can be settled again at most, whatever is configured: a month.
pub const MAX_CORRECT_WITHIN: u32 = 31 * 96;

/// An auction that was held: what every settlement of its slot goes by.
#[derive(Debug, Clone)]
pub struct Cleared {
    /// The result.
    pub clearing: Clearing,
    /// Root over the book.
    pub orders_root: B256,
    /// Seed of the draws.
    pub seed: B256,
    /// The supplier's terms in the slot, as they were published.
    pub terms: Terms,
    /// The grid that it was found on, which may not be today's.
    pub grid: Arc<StreetGrid>,
    /// How it is shared, which may not be today's way either.
    pub sharing: Arc<StreetSharing>,
}

/// The newest settlement of a slot in which a meter is missing that may still come.
#[derive(Debug, Clone)]
pub struct Revision {
    /// The auction.
    pub cleared: Cleared,
    /// Which settlement it is, from 1.
    pub version: u32,
    /// Who was billed, by metering point, with what was known of their meters.
    pub members: Vec<Member>,
    /// Energy that earned rewards in version 1; that stays.
    pub rewarded: BTreeMap<PointId, Energy>,
}

/// The next slot to settle again, and the meters that are there now.
#[derive(Debug, Clone)]
pub struct Found {
    /// The slot.
    pub slot: Slot,
    /// What was found, by metering point: `on_time` is the slot's own energy, `late` what comes
    /// before it and has no slot of its own.
    pub meters: BTreeMap<PointId, Metering>,
}

impl Revision {
    /// The slot.
    #[must_use]
    pub const fn slot(&self) -> Slot {
        self.cleared.clearing.slot
    }

    /// Whether a member's meter is missing in it.
    #[must_use]
    pub fn misses(&self, point: &PointId) -> bool {
        let member = self.members.binary_search_by(|member| member.point.cmp(point));
        member.is_ok_and(|at| self.members[at].metering.on_time.is_none())
    }

    /// Whether a meter that is missing can still come; `settled` tells up to which slot everything
    /// of a member is settled.
    #[must_use]
    pub fn is_open(&self, settled: impl Fn(&PointId) -> Option<Slot>) -> bool {
        let missing = self.members.iter().filter(|member| member.metering.on_time.is_none());
        missing.map(|member| settled(&member.point)).any(|to| to.is_none_or(|to| to < self.slot()))
    }

    /// The members with what was found; their late lines of before stay.
    #[must_use]
    pub fn members_with(&self, found: &Found) -> Vec<Member> {
        let mut members = self.members.clone();
        for member in &mut members {
            if let Some(meter) = found.meters.get(&member.point) {
                let late = [&member.metering.late[..], &meter.late[..]].concat();
                member.metering = Metering { late, ..meter.clone() };
            }
        }
        members
    }
}

/// The next slot before `next` that is to be settled again; none when nothing was found, or only
/// energy that has no slot of its own.
///
/// Each household's readings are taken in order: the first late span of exactly one slot in which
/// its meter is missing, with whatever comes before it. Of all households' first slots the oldest
/// is settled again, with everybody whose first slot it is; `within` is how many slots back that
/// may be.
#[must_use]
pub fn find<'a>(
    past: &BTreeMap<Slot, Revision>,
    next: Slot,
    within: u32,
    readings: impl Iterator<
        Item = (&'a PointId, Option<(Slot, Registers)>, &'a BTreeMap<Slot, Registers>),
    >,
) -> Option<Found> {
    let oldest = next.offset(-i64::from(within));
    let mut found: Option<Found> = None;
    for (point, settled, edges) in readings {
        let takes = |slot: Slot| {
            slot >= oldest && past.get(&slot).is_some_and(|revision| revision.misses(point))
        };
        let Some(meter) = metering::meter_first(settled, edges, next, takes) else { continue };
        let Some(slot) = meter.on_time.map(|span| span.slot) else { continue };
        match &mut found {
            Some(found) if found.slot < slot => {}
            Some(found) if found.slot == slot => {
                found.meters.insert(point.clone(), meter);
            }
            _ => found = Some(Found { slot, meters: BTreeMap::from([(point.clone(), meter)]) }),
        }
    }
    found
}

/// Settles a slot again, with the members in `basis` instead of those in `before`.
///
/// The transfers are the differences to the version before. Rewards stay as they stood: they pay
/// for energy that was proven in time, and what an epoch may add is bounded on the chain.
///
/// # Errors
/// [`SettlingFault`]; nothing may be booked then.
pub fn settle_again(
    basis: &SlotBasis<'_>,
    before: &Revision,
    rewards: &Cumulative,
) -> Result<Outcome, SettlingFault> {
    let slot = before.slot();
    let version = before.version.saturating_add(1);
    let old = settle_slot(&SlotBasis { members: &before.members, ..*basis }, rewards)?;
    let mut new = settle_slot(basis, rewards)?;
    new.version = version;
    new.transfers = reposted(slot, version, &old.transfers, &new.transfers)?;
    for bill in &mut new.settlement.bills {
        bill.eligible = before.rewarded.get(&bill.point).copied().unwrap_or_default();
    }
    new.rewards = rewards.clone();
    let through_pool = |side: fn(&Transfer) -> &Account| -> i64 {
        let pool = new.transfers.iter().filter(|transfer| *side(transfer) == Account::Pool);
        pool.map(|transfer| transfer.amount).sum::<Money>().nano()
    };
    let (debit, credit) =
        (through_pool(|transfer| &transfer.credit), through_pool(|transfer| &transfer.debit));
    let rewarded: Energy = before.rewarded.values().copied().sum();
    let totals = &mut new.totals;
    (totals.debit, totals.credit) = (debit, credit);
    totals.reward_wh = rewarded.wh();
    totals.reward_total = U256::from(rewards.total());
    let found = |part: fn(&Totals) -> i64| part(totals) - part(&old.totals);
    let (import_wh, export_wh) =
        (found(|totals| totals.import_wh), found(|totals| totals.export_wh));
    let supplier = found(|totals| totals.supplier);
    new.moved = Totals { supplier, ..found_energy(import_wh, export_wh, totals) };
    Ok(new)
}

/// The energy that earns rewards in a slot's first settlement, and so in all of them.
#[must_use]
pub fn rewarded(settlement: &Settlement) -> BTreeMap<PointId, Energy> {
    let rewarded = settlement.bills.iter().filter(|bill| bill.eligible.is_positive());
    rewarded.map(|bill| (bill.point.clone(), bill.eligible)).collect()
}

/// What a log entry adds to the sums of its epoch, as its header tells it; what the supplier gets by
/// a later version is not told there.
#[must_use]
pub fn moved(header: &Header) -> Totals {
    if header.version == 1 {
        return header.totals.clone();
    }
    found_energy(header.found_import_wh, header.found_export_wh, &header.totals)
}

/// On the chain an epoch's energy can only grow, so what was found counts as the supplier's there;
/// how the slot is divided now stands in the header.
fn found_energy(import_wh: i64, export_wh: i64, totals: &Totals) -> Totals {
    Totals {
        import_wh,
        export_wh,
        grid_import_wh: import_wh,
        grid_export_wh: export_wh,
        debit: totals.debit,
        credit: totals.credit,
        reward_total: totals.reward_total,
        ..Totals::default()
    }
}
