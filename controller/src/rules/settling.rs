//! The settlement of one slot, from meterings and a clearing to statements and a header.

use std::collections::BTreeMap;

use market::sharing::{Allocation, SharingFault};
use market::{
    Account, Balances, Clearing, Cumulative, Eligible, Flow, Late, LedgerFault, Metered, Policy,
    RewardFault, Settlement, SettlementFault, Terms, Transfer, mint, post, settle,
};
use protocol::{B256, BusPrice, Header, LateLine, SharingLine, Statement, Totals, U256, merkle};
use serde::{Deserialize, Serialize};
use units::{Energy, Money, PointId, Slot};

use super::{Metering, Shared, StreetGrid, StreetSharing, on_wire, rank};

/// One metering point as a slot's settlement sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// The metering point.
    pub point: PointId,
    /// Whether its export earns rewards.
    pub renewable: bool,
    /// What is known of its registers.
    pub metering: Metering,
}

/// Everything a slot's settlement depends on.
#[derive(Clone, Copy)]
pub struct SlotBasis<'a> {
    /// The slot's clearing.
    pub clearing: &'a Clearing,
    /// The seed of the slot's draws.
    pub seed: B256,
    /// The supplier's terms in any slot.
    pub terms: &'a dyn Fn(Slot) -> Terms,
    /// How rewards are earned.
    pub policy: Policy,
    /// The grid that they trade on.
    pub grid: &'a StreetGrid,
    /// What members pay each other, and whose energy was whose in law.
    pub sharing: &'a StreetSharing,
    /// All members, with or without readings.
    pub members: &'a [Member],
}

/// Why a slot cannot be settled: inputs that contradict each other, or a sum that does not hold.
#[derive(Debug, thiserror::Error)]
pub enum SettlingFault {
    /// The settlement itself.
    #[error(transparent)]
    Settlement(#[from] SettlementFault),
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerFault),
    /// The rewards.
    #[error(transparent)]
    Reward(#[from] RewardFault),
    /// The sharing rule or the legal key.
    #[error(transparent)]
    Sharing(Box<SharingFault>),
}

/// A slot's settlement before it is signed.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Which settlement of the slot, from 1.
    pub version: u32,
    /// The energy of the slot, and its bills as the auction alone would make them, proven to
    /// conserve energy and money.
    pub settlement: Settlement,
    /// The ledger entries, pool empty after them.
    pub transfers: Vec<Transfer>,
    /// What every metering point has to pay by them; negative when it receives.
    pub amounts: BTreeMap<PointId, Money>,
    /// Whose energy was whose in law; none without a key.
    pub allocation: Option<Allocation>,
    /// What each household is told of how its energy is shared; nothing where the auction says all.
    pub sharing: BTreeMap<PointId, SharingLine>,
    /// Digest of rule and key.
    pub sharing_digest: B256,
    /// The public totals.
    pub totals: Totals,
    /// What it adds to the sums of its epoch; the totals, unless it is a later version.
    pub moved: Totals,
    /// All rewards after this slot.
    pub rewards: Cumulative,
    /// What the prices of those who traded on a grid are made of.
    pub buses: BTreeMap<PointId, BusPrice>,
}

/// Settles a slot.
///
/// # Errors
/// [`SettlingFault`]; nothing may be booked then.
pub fn settle_slot(basis: &SlotBasis<'_>, rewards: &Cumulative) -> Result<Outcome, SettlingFault> {
    let slot = basis.clearing.slot;
    let metered: Vec<Metered> = basis.members.iter().map(|member| metered(basis, member)).collect();
    let late: Vec<Late> =
        basis.members.iter().flat_map(|member| late_lines(basis, member)).collect();
    let settlement = settle(basis.clearing, (basis.terms)(slot), &metered, &late)?;
    let auction = post(&settlement)?;
    let drawn = (basis.clearing, basis.seed);
    let Shared { transfers, balances, allocation, lines } =
        basis.sharing.apply(drawn, &settlement, auction, &metered)?;
    let pays = |bill: &market::Bill| {
        let account = Account::Household(bill.point.clone());
        (bill.point.clone(), -balances.of_account(&account))
    };
    let amounts = settlement.bills.iter().map(pays).collect();

    let eligible: Vec<Eligible> = settlement
        .bills
        .iter()
        .filter(|bill| bill.eligible.is_positive())
        .map(|bill| Eligible {
            point: bill.point.clone(),
            energy: bill.eligible,
            rank: rank(basis.seed, bill.point.as_str().as_bytes()),
        })
        .collect();
    let mut rewards = rewards.clone();
    rewards.add(&mint(basis.policy, &eligible)?)?;
    let totals = totals(&settlement, (&transfers, &balances), &rewards);
    let buses = settlement.bills.iter().filter_map(|bill| {
        bill.price?;
        let price = basis.grid.bus_price(basis.clearing, basis.grid.node(&bill.point))?;
        Some((bill.point.clone(), price))
    });
    let buses = buses.collect();
    let moved = totals.clone();
    Ok(Outcome {
        version: 1,
        settlement,
        transfers,
        amounts,
        allocation,
        sharing: lines,
        sharing_digest: basis.sharing.digest(),
        totals,
        moved,
        rewards,
        buses,
    })
}

fn metered(basis: &SlotBasis<'_>, member: &Member) -> Metered {
    let flow = member.metering.on_time.map(|span| Flow {
        import: span.import,
        export: span.export,
        produced: span.produced,
    });
    Metered {
        point: member.point.clone(),
        rank: rank(basis.seed, member.point.as_str().as_bytes()),
        renewable: member.renewable,
        flow,
    }
}

fn late_lines<'a>(basis: &'a SlotBasis<'_>, member: &'a Member) -> impl Iterator<Item = Late> + 'a {
    member.metering.late.iter().map(|span| Late {
        point: member.point.clone(),
        slot: span.slot,
        slots: u32::try_from(span.slots).unwrap_or(u32::MAX),
        import: span.import,
        export: span.export,
        terms: (basis.terms)(span.slot),
    })
}

fn totals(
    settlement: &Settlement,
    (transfers, balances): (&[Transfer], &Balances),
    rewards: &Cumulative,
) -> Totals {
    let sums = &settlement.totals;
    let through_pool = |side: fn(&Transfer) -> &Account| -> i64 {
        transfers
            .iter()
            .filter(|transfer| *side(transfer) == Account::Pool)
            .map(|transfer| transfer.amount)
            .sum::<units::Money>()
            .nano()
    };
    let wh = |a: Energy, b: Energy| (a + b).wh();
    Totals {
        import_wh: wh(sums.import, sums.late_import),
        export_wh: wh(sums.export, sums.late_export),
        grid_import_wh: wh(sums.grid_import, sums.late_import),
        grid_export_wh: wh(sums.grid_export, sums.late_export),
        local_wh: sums.local.wh(),
        debit: through_pool(|transfer| &transfer.credit),
        credit: through_pool(|transfer| &transfer.debit),
        supplier: balances.of_account(&Account::Supplier).nano(),
        grid_fees: balances.of_account(&Account::GridFees).nano(),
        congestion: balances.of_account(&Account::Congestion).nano(),
        reward_wh: sums.eligible.wh(),
        reward_total: U256::from(rewards.total()),
    }
}

impl Outcome {
    /// The statements of the slot, by metering point; `salt` gives each its salt.
    #[must_use]
    pub fn statements(&self, salt: impl Fn(&PointId) -> B256) -> Vec<Statement> {
        let slot = self.settlement.basis.slot;
        let statement = |bill: &market::Bill| {
            let market::Charges { import, export, late, .. } = &bill.charges;
            Statement {
                point: bill.point.to_string(),
                slot: slot.number(),
                version: self.version,
                salt: salt(&bill.point),
                measured: bill.measured,
                import_wh: import.metered.wh(),
                export_wh: export.metered.wh(),
                bought_wh: import.scheduled.wh(),
                sold_wh: export.scheduled.wh(),
                price: on_wire(bill.price),
                bus: self.buses.get(&bill.point).cloned().into_iter().collect(),
                import_deviation_wh: import.deviation.wh(),
                export_deviation_wh: export.deviation.wh(),
                import_local_wh: import.local.wh(),
                export_local_wh: export.local.wh(),
                late: late.iter().map(|line| late_line(&line.late)).collect(),
                sharing: self.sharing.get(&bill.point).cloned().into_iter().collect(),
                amount: self.amounts[&bill.point].nano(),
                reward_wh: bill.eligible.wh(),
                reward_total: U256::from(self.rewards.of(&bill.point)),
            }
        };
        self.settlement.bills.iter().map(statement).collect()
    }

    /// The slot's header at its place in the log.
    #[must_use]
    pub fn header(&self, place: &Place) -> Header {
        let market::Basis { slot, terms, price, short, long, matched, .. } = self.settlement.basis;
        let count = |n: usize| u32::try_from(n).expect("bounded by the enrolment");
        Header {
            slot: slot.number(),
            version: self.version,
            index: place.index,
            previous_root: place.previous_root,
            orders_root: place.orders_root,
            readings_root: place.readings_root,
            statements_root: merkle::root(&place.statement_leaves),
            statements: count(place.statement_leaves.len()),
            missing: count(self.settlement.totals.missing),
            retail: terms.retail().nano_per_wh(),
            feed_in: terms.feed_in().nano_per_wh(),
            price: on_wire(price),
            scheduled_wh: self.settlement.totals.scheduled.wh(),
            short_wh: short.wh(),
            long_wh: long.wh(),
            matched_wh: matched.wh(),
            found_import_wh: self.moved.import_wh,
            found_export_wh: self.moved.export_wh,
            sharing: self.sharing_digest,
            totals: self.totals.clone(),
            time_ms: place.time_ms,
        }
    }
}

/// Where a header stands, and the roots under it.
#[derive(Debug, Clone)]
pub struct Place {
    /// Position in the log.
    pub index: u64,
    /// Root of the log before.
    pub previous_root: B256,
    /// Root over the orders in the book.
    pub orders_root: B256,
    /// Root over the readings that were settled.
    pub readings_root: B256,
    /// Leaf hashes of the statements, by metering point.
    pub statement_leaves: Vec<B256>,
    /// When it was settled.
    pub time_ms: i64,
}

fn late_line(late: &Late) -> LateLine {
    LateLine {
        slot: late.slot.number(),
        slots: late.slots,
        import_wh: late.import.wh(),
        export_wh: late.export.wh(),
        retail: late.terms.retail().nano_per_wh(),
        feed_in: late.terms.feed_in().nano_per_wh(),
    }
}
