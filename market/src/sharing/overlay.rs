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
use super::{Allocated, Allocation, SharingFault};
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
    let amount_of = |point: &PointId| market.get(point).copied().unwrap_or_default();
    let (mut lines, mut weights) = (Vec::new(), Vec::new());
    for one in &legal.lines {
        let line = OverlayLine::of(terms, one, amount_of(&one.point))?;
        let alone = supplied(terms, one.import, one.export);
        let gain = money("a member's gain", (alone - i128::from(line.market.nano())).max(0))?;
        weights.push(Weight { gain: gain.nano(), local: (one.taken + one.given).wh() });
        lines.push(line);
    }
    let shortfall = shortfall(&lines, legal, amount_of)?;
    let all_gains: i128 = weights.iter().map(|weight| i128::from(weight.gain)).sum();
    let enough = all_gains >= i128::from(shortfall.nano());
    let weights: Vec<i64> =
        weights.iter().map(|weight| if enough { weight.gain } else { weight.local }).collect();
    let parts = split_money(shortfall, &weights, |i| legal.lines[i].rank);
    for (line, part) in lines.iter_mut().zip(parts) {
        line.shortfall = part;
        line.difference = line.market + part - line.residual;
    }
    // Without a meter there is no allocation, but the auction may have settled a deviation.
    lines.extend(legal.missing.iter().map(|point| OverlayLine::missing(point, amount_of(point))));
    lines.sort_by(|a, b| a.point.cmp(&b.point));
    let supplier = lines.iter().map(|line| i128::from(line.residual.nano())).sum();
    let supplier = money("the supplier's sum", supplier)?;
    let overlay = Overlay { slot: legal.slot, lines, supplier, shortfall };
    overlay.prove()?;
    Ok(overlay)
}

/// What a member's part of the shortfall may go by.
struct Weight {
    /// Nano-currency gained from the market against being alone.
    gain: i64,
    /// Allocated Wh, either way.
    local: i64,
}

/// What the supplier bills for energy, nano-currency.
fn supplied(terms: Terms, import: Energy, export: Energy) -> i128 {
    product(import, terms.retail()) - product(export, terms.feed_in())
}

/// What the supplier gets beyond what the market collects.
fn shortfall(
    lines: &[OverlayLine],
    legal: &Allocation,
    amount_of: impl Fn(&PointId) -> Money,
) -> Result<Money, SharingFault> {
    let supplier: i128 = lines.iter().map(|line| i128::from(line.residual.nano())).sum();
    let present: i128 = lines.iter().map(|line| i128::from(line.market.nano())).sum();
    let missing: i128 = legal.missing.iter().map(|p| i128::from(amount_of(p).nano())).sum();
    let settled = present + missing;
    if settled > supplier {
        let what = "the market collects what the supplier gets";
        return Err(SharingFault::NotConserved { what, left: settled, right: supplier });
    }
    money("the shortfall", supplier - settled)
}

impl OverlayLine {
    fn of(terms: Terms, one: &Allocated, market: Money) -> Result<Self, SharingFault> {
        let (import, export) = (one.import - one.taken, one.export - one.given);
        Ok(Self {
            point: one.point.clone(),
            residual_import: import,
            residual_export: export,
            residual: money("a supplier's bill", supplied(terms, import, export))?,
            market,
            shortfall: Money::ZERO,
            difference: Money::ZERO,
        })
    }

    fn missing(point: &PointId, market: Money) -> Self {
        Self {
            point: point.clone(),
            residual_import: Energy::ZERO,
            residual_export: Energy::ZERO,
            residual: Money::ZERO,
            market,
            shortfall: Money::ZERO,
            difference: market,
        }
    }
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
