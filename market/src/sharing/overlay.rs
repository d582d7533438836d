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
//! worse off than alone; beyond all gains, by allocated energy. Where the allocation saves more
//! than the market assumed, the shortfall is negative and shared by allocated energy. The pool is
//! zero after every slot.

use std::collections::BTreeMap;

use units::{Energy, Money, PointId, Slot};

use super::exact::{money, split_money};
use super::{Allocated, Allocation, SharingFault};
use crate::allotment::product;
use crate::{Account, Rank, Reason, Terms, Transfer};

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
    /// What of it the market did not assume; negative when the allocation saves more.
    pub shortfall: Money,
    /// What the market posted that no allocation touches: energy of earlier times, and what the
    /// pool gives to funds (grid fees, congestion).
    pub kept: Vec<Transfer>,
}

/// Sets the market's result on top of the legal allocation of the same meters.
///
/// `market` is what the community's rule posted: [`post`](crate::post) of a settlement or
/// [`Shares::transfers`](super::Shares::transfers). [`Overlay::transfers`] replaces it.
///
/// # Errors
/// [`SharingFault`] when `market` names others than the allocation, moves money in a way that is
/// neither the members' nor a fund's, or does not leave the pool empty.
pub fn overlay(
    terms: Terms,
    legal: &Allocation,
    market: &[Transfer],
) -> Result<Overlay, SharingFault> {
    legal.prove()?;
    let market = Market::of(market)?;
    let is_there =
        |point: &PointId| legal.of(point).is_some() || legal.missing.binary_search(point).is_ok();
    if let Some(point) = market.amounts.keys().find(|point| !is_there(point)) {
        let point = point.clone();
        return Err(SharingFault::UnknownPoint { point, what: "a market amount" });
    }
    let (mut lines, mut weights) = (Vec::new(), Vec::new());
    for one in &legal.lines {
        let line = OverlayLine::of(terms, one, market.amount(&one.point)?)?;
        let alone = supplied(terms, one.import, one.export);
        let gain = money("a member's gain", (alone - i128::from(line.market.nano())).max(0))?;
        let (local, metered) = (one.taken + one.given, one.import + one.export);
        weights.push(Weight { gain: gain.nano(), local: local.wh(), metered: metered.wh() });
        lines.push(line);
    }
    let supplier: i128 = lines.iter().map(|line| i128::from(line.residual.nano())).sum();
    let collected: i128 = market.amounts.values().sum();
    let shortfall = money("the shortfall", supplier + market.surplus - collected)?;
    let parts = Weight::parts(&weights, shortfall, |i| legal.lines[i].rank)?;
    for (line, part) in lines.iter_mut().zip(parts) {
        line.shortfall = part;
        line.difference = line.market + part - line.residual;
    }
    // Without a meter there is no allocation, but the auction may have settled a deviation.
    for point in &legal.missing {
        lines.push(OverlayLine::missing(point, market.amount(point)?));
    }
    lines.sort_by(|a, b| a.point.cmp(&b.point));
    let supplier = money("the supplier's sum", supplier)?;
    let overlay = Overlay { slot: legal.slot, lines, supplier, shortfall, kept: market.kept };
    overlay.prove(market.surplus)?;
    Ok(overlay)
}

/// What the community's rule posted, taken apart.
#[derive(Default)]
struct Market {
    /// What members pay for the slot, nano-currency.
    amounts: BTreeMap<PointId, i128>,
    /// What the pool gives to funds, nano-currency.
    surplus: i128,
    /// What the pool gives to the supplier, nano-currency.
    supplied: i128,
    kept: Vec<Transfer>,
}

impl Market {
    fn of(transfers: &[Transfer]) -> Result<Self, SharingFault> {
        let mut market = Self::default();
        for transfer in transfers {
            let amount = i128::from(transfer.amount.nano());
            match (&transfer.debit, &transfer.credit) {
                _ if matches!(transfer.reason, Reason::Late(_)) => {
                    market.kept.push(transfer.clone());
                }
                (Account::Household(point), Account::Pool) => market.add(point, amount),
                (Account::Pool, Account::Household(point)) => market.add(point, -amount),
                // Replaced by what the allocation leaves to the supplier.
                (Account::Pool, Account::Supplier) => market.supplied += amount,
                (Account::Supplier, Account::Pool) => market.supplied -= amount,
                // Every other account beside the pool is a fund's.
                (Account::Pool, fund) if *fund != Account::Pool => {
                    market.surplus += amount;
                    market.kept.push(transfer.clone());
                }
                (debit, credit) => {
                    let (debit, credit) = (debit.clone(), credit.clone());
                    return Err(SharingFault::OtherTransfer { debit, credit });
                }
            }
        }
        let (left, right) = (market.amounts.values().sum(), market.supplied + market.surplus);
        if left != right {
            let what = "the market leaves the pool empty";
            return Err(SharingFault::NotConserved { what, left, right });
        }
        Ok(market)
    }

    fn add(&mut self, point: &PointId, amount: i128) {
        *self.amounts.entry(point.clone()).or_default() += amount;
    }

    fn amount(&self, point: &PointId) -> Result<Money, SharingFault> {
        money("a market amount", self.amounts.get(point).copied().unwrap_or_default())
    }
}

/// What a member's part of the shortfall may go by.
struct Weight {
    /// Nano-currency gained from the market against being alone.
    gain: i64,
    /// Allocated Wh, either way.
    local: i64,
    /// Metered Wh, either way.
    metered: i64,
}

impl Weight {
    /// The shortfall's parts: by gain as far as gains go, the rest by allocated energy or, where
    /// nothing is allocated, by metered energy. What is saved is shared by the latter two.
    fn parts(
        weights: &[Self],
        shortfall: Money,
        rank: impl Fn(usize) -> Rank,
    ) -> Result<Vec<Money>, SharingFault> {
        let of = |part: fn(&Self) -> i64| -> Vec<i64> { weights.iter().map(part).collect() };
        let sum = |parts: &[i64]| -> i128 { parts.iter().map(|&part| i128::from(part)).sum() };
        let gains = of(|weight| weight.gain);
        let borne = money("the gains", sum(&gains).min(i128::from(shortfall.nano())).max(0))?;
        let rest = shortfall - borne;
        let by = [of(|weight| weight.local), of(|weight| weight.metered)]
            .into_iter()
            .find(|weights| sum(weights) > 0);
        let others = match by {
            Some(weights) => split_money(rest, &weights, &rank),
            None if rest.is_zero() => vec![Money::ZERO; weights.len()],
            None => {
                let what = "without metered energy the market collects what the supplier gets";
                let left = i128::from(rest.nano());
                return Err(SharingFault::NotConserved { what, left, right: 0 });
            }
        };
        let by_gain = split_money(borne, &gains, &rank);
        Ok(by_gain.into_iter().zip(others).map(|(gain, other)| gain + other).collect())
    }
}

/// What the supplier bills for energy, nano-currency.
fn supplied(terms: Terms, import: Energy, export: Energy) -> i128 {
    product(import, terms.retail()) - product(export, terms.feed_in())
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
    /// pool by the difference, and what no allocation touches.
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
        transfers.extend(self.kept.iter().cloned());
        transfers
    }

    fn prove(&self, surplus: i128) -> Result<(), SharingFault> {
        let left = self.lines.iter().map(|line| i128::from(line.difference.nano())).sum();
        if left == surplus {
            Ok(())
        } else {
            let what = "differences leave the pool empty";
            Err(SharingFault::NotConserved { what, left, right: surplus })
        }
    }
}
