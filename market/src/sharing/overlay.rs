//! Two ledgers: what the grid operator allocates, and what the market settled on top of it.
//!
//! The supplier bills a member what the legal allocation leaves: `R·(import − taken) −
//! F·(export − given)`. The market says what the member should pay in all. The difference is paid
//! through the pool among the members, a contract for difference:
//!
//! ```text
//! difference = market + shortfall − residual
//! ```
//!
//! Where the allocation leaves energy unallocated that the market traded, or allocates where the
//! supplier's prices punish it (R < F), the supplier gets more than the market assumed. That
//! shortfall is shared among those who gained, in proportion to their gain, so that nobody ends
//! worse off than alone; without gains, by allocated energy. The pool is zero after every slot.

use std::collections::BTreeMap;

use units::{Energy, Money, PointId, Slot};

use super::exact::{money, split_money};
use super::{Allocation, SharingFault};
use crate::allotment::product;
use crate::{Account, Reason, Settlement, Terms, Transfer};

/// One member in both ledgers. Amounts are positive when the member pays.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct OverlayLine {
    /// Whose.
    pub point: PointId,
    /// Import that the supplier bills, Wh.
    pub residual_import: Energy,
    /// Export that the supplier pays for, Wh.
    pub residual_export: Energy,
    /// The supplier's bill under the legal allocation.
    pub residual: Money,
    /// What the market settled.
    pub market: Money,
    /// The member's part of what the allocation costs the market.
    pub shortfall: Money,
    /// What is paid into the pool (from it when negative): `market + shortfall − residual`.
    pub difference: Money,
}

/// A slot in both ledgers.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Overlay {
    /// The slot.
    pub slot: Slot,
    /// One line per member, by point.
    pub lines: Vec<OverlayLine>,
    /// What the supplier gets under the legal allocation.
    pub supplier: Money,
    /// What of it the market did not assume, ≥ 0.
    pub shortfall: Money,
}

/// Sets the market's result on top of the legal allocation of the same meters.
///
/// `market` is what every member pays by the community's rule, without late lines:
/// [`Shares::amounts`](super::Shares::amounts) or [`Settlement::amounts`].
///
/// # Errors
/// [`SharingFault`] when `market` names others than the allocation, or collects more than the
/// supplier gets.
pub fn overlay(
    terms: Terms,
    legal: &Allocation,
    market: &BTreeMap<PointId, Money>,
) -> Result<Overlay, SharingFault> {
    legal.prove()?;
    let is_there =
        |point: &PointId| legal.of(point).is_some() || legal.missing.binary_search(point).is_ok();
    if let Some(point) = market.keys().find(|point| !is_there(point)) {
        let point = point.clone();
        return Err(SharingFault::UnknownPoint { point, what: "a market amount" });
    }
    let mut lines = Vec::with_capacity(legal.lines.len());
    let mut gains = Vec::with_capacity(legal.lines.len());
    let mut locals = Vec::with_capacity(legal.lines.len());
    let mut ranks = Vec::with_capacity(legal.lines.len());
    for one in &legal.lines {
        let (import, export) = (one.import - one.taken, one.export - one.given);
        let bill = |import: Energy, export: Energy| {
            product(import, terms.retail()) - product(export, terms.feed_in())
        };
        let settled = market.get(&one.point).copied().unwrap_or_default();
        let gain = bill(one.import, one.export) - i128::from(settled.nano());
        gains.push(money("a member's gain", gain.max(0))?.nano());
        locals.push((one.taken + one.given).wh());
        ranks.push(one.rank);
        lines.push(OverlayLine {
            point: one.point.clone(),
            residual_import: import,
            residual_export: export,
            residual: money("a supplier's bill", bill(import, export))?,
            market: settled,
            shortfall: Money::ZERO,
            difference: Money::ZERO,
        });
    }
    for point in &legal.missing {
        // Without a meter there is no allocation, but the auction may have settled a deviation.
        let settled = market.get(point).copied().unwrap_or_default();
        lines.push(OverlayLine {
            point: point.clone(),
            residual_import: Energy::ZERO,
            residual_export: Energy::ZERO,
            residual: Money::ZERO,
            market: settled,
            shortfall: Money::ZERO,
            difference: Money::ZERO,
        });
    }
    let sum = |part: fn(&OverlayLine) -> Money| -> i128 {
        lines.iter().map(|line| i128::from(part(line).nano())).sum()
    };
    let (supplier, settled) = (sum(|line| line.residual), sum(|line| line.market));
    if settled > supplier {
        let what = "the market collects what the supplier gets";
        return Err(SharingFault::NotConserved { what, left: settled, right: supplier });
    }
    let shortfall = money("the shortfall", supplier - settled)?;
    let total_gain: i128 = gains.iter().map(|&gain| i128::from(gain)).sum();
    let weights = if total_gain >= i128::from(shortfall.nano()) { gains } else { locals };
    let parts = split_money(shortfall, &weights, |i| ranks[i]);
    for (line, part) in lines.iter_mut().zip(parts) {
        line.shortfall = part;
    }
    for line in &mut lines {
        line.difference = line.market + line.shortfall - line.residual;
    }
    lines.sort_by(|a, b| a.point.cmp(&b.point));
    let supplier = money("the supplier's sum", supplier)?;
    let overlay = Overlay { slot: legal.slot, lines, supplier, shortfall };
    overlay.prove()?;
    Ok(overlay)
}

impl Overlay {
    /// The transfers of both ledgers: members and supplier by the legal allocation, members and
    /// pool by the difference.
    #[must_use]
    pub fn transfers(&self) -> Vec<Transfer> {
        let slot = self.slot;
        let mut transfers = Vec::with_capacity(2 * self.lines.len());
        for line in &self.lines {
            let household = Account::Household(line.point.clone());
            for (account, amount, reason) in [
                (Account::Supplier, line.residual, Reason::Residual),
                (Account::Pool, line.difference - line.shortfall, Reason::Difference),
                (Account::Pool, line.shortfall, Reason::Shortfall),
            ] {
                transfers.extend(Transfer::of(slot, &household, &account, amount, reason));
            }
        }
        transfers
    }

    fn prove(&self) -> Result<(), SharingFault> {
        let left = self.lines.iter().map(|line| i128::from(line.difference.nano())).sum();
        if left == 0 {
            Ok(())
        } else {
            let what = "differences leave the pool empty";
            Err(SharingFault::NotConserved { what, left, right: 0 })
        }
    }
}

impl Settlement {
    /// What every member pays for the slot itself, by point, without energy of earlier times: one
    /// side of an [`overlay`].
    #[must_use]
    pub fn amounts(&self) -> BTreeMap<PointId, Money> {
        let own = |bill: &crate::Bill| {
            let late: Money = bill.charges.late.iter().map(|line| line.amount).sum();
            bill.charges.amount - late
        };
        self.bills.iter().map(|bill| (bill.point.clone(), own(bill))).collect()
    }
}
