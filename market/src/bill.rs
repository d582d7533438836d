//! One household's bill for one slot: the two-step rule, as a function that both sides compute.
//!
//! Import and export register are two legs, settled separately. Step 1 settles the schedule at
//! the price p of the point's own node, which on a plate is the same for all. Step 2 settles what the meter says beyond or below it:
//!
//! ```text
//! import leg   δ = import − bought        export leg   δ = sold − export
//! δ > 0, short: pays     local·p_loc + (δ − local)·retail
//! δ < 0, long:  receives local·p_loc + (|δ| − local)·feed-in
//! ```
//!
//! D⁻ is the sum of what is short, D⁺ of what is long, and M = min(D⁻, D⁺) is matched between
//! neighbours (nothing when retail is not above feed-in). `local` is the leg's part of M. p_loc is
//! the clearing price or, without a trade, the middle of retail and feed-in. Summed over a street
//! step 2 leaves `retail·(D⁻ − M) − feed-in·(D⁺ − M)`, which is exactly the supplier's bill, and as
//! feed-in ≤ p_loc ≤ retail, nobody gains at given prices by ordering something else than needed.

use units::{Energy, Money, PointId, Price, Slot};

use crate::allotment::product;
use crate::{MAX_QUANTITY, Side, Terms};

/// The public figures of a slot that every bill is computed from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Basis {
    /// The slot that is settled.
    pub slot: Slot,
    /// The supplier's terms in the slot.
    pub terms: Terms,
    /// The clearing price, at the root of a grid; absent when nothing was traded there.
    pub price: Option<Price>,
    /// What buyers pay more than sellers get for the use of the grid; nothing on a plate.
    pub grid_fees: Money,
    /// What they pay more because branches are full; nothing on a plate.
    pub congestion: Money,
    /// D⁻, Wh: used beyond or delivered below the schedule, summed over all legs.
    pub short: Energy,
    /// D⁺, Wh: used below or delivered beyond the schedule, summed over all legs.
    pub long: Energy,
    /// M, Wh: what of both is matched between neighbours.
    pub matched: Energy,
}

impl Basis {
    /// The price of energy that neighbours give each other beyond their schedules.
    #[must_use]
    pub fn local_price(&self) -> Price {
        self.price.unwrap_or_else(|| self.terms.middle())
    }

    /// M as it follows from the two sums and the terms.
    pub(crate) fn match_of(terms: Terms, short: Energy, long: Energy) -> Energy {
        if terms.leave_room() { short.min(long) } else { Energy::ZERO }
    }

    /// Whether the figures fit together.
    ///
    /// # Errors
    /// [`BillFault::PriceOutsideTariff`] or [`BillFault::WrongMatch`].
    pub fn check(&self) -> Result<(), BillFault> {
        let Self { terms, price, short, long, matched, .. } = *self;
        if let Some(price) = price
            && !(terms.leave_room() && terms.contain(price))
        {
            let (floor, cap) = (terms.feed_in(), terms.retail());
            return Err(BillFault::PriceOutsideTariff { price, floor, cap });
        }
        for amount in [self.grid_fees, self.congestion] {
            if amount < Money::ZERO {
                return Err(BillFault::NegativeSurplus { amount });
            }
        }
        let exact = Self::match_of(terms, short, long);
        if short < Energy::ZERO || long < Energy::ZERO || matched != exact {
            return Err(BillFault::WrongMatch { short, long, matched, exact });
        }
        Ok(())
    }
}

/// What is particular to one metering point in a slot.
///
/// While a meter is missing, its import and export are zero: nothing is known to be delivered or
/// used yet, and what arrives later is billed as [`Late`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Own {
    /// Energy bought in the auction, Wh ≥ 0.
    pub bought: Energy,
    /// Energy sold in the auction, Wh ≥ 0.
    pub sold: Energy,
    /// What a Wh of either cost, at the point's own node; absent when nothing was traded.
    pub price: Option<Price>,
    /// What the import register advanced in the slot, Wh ≥ 0.
    pub import: Energy,
    /// What the export register advanced in the slot, Wh ≥ 0.
    pub export: Energy,
    /// The import leg's part of the matched deviations, Wh ≥ 0.
    pub import_local: Energy,
    /// The export leg's part of the matched deviations, Wh ≥ 0.
    pub export_local: Energy,
}

/// Energy of an earlier time that became known only now; it is the supplier's, at the terms given.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Late {
    /// Whose energy.
    pub point: PointId,
    /// The slot it is booked to.
    pub slot: Slot,
    /// How many slots, ending with `slot`, the registers span: 1 when the energy is known for the
    /// slot itself, more when only the sum over a gap is known (bridged).
    pub slots: u32,
    /// Imported energy, Wh ≥ 0.
    pub import: Energy,
    /// Exported energy, Wh ≥ 0.
    pub export: Energy,
    /// The supplier's terms in `slot`.
    pub terms: Terms,
}

/// One register's side of a bill. Amounts are positive when the household pays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Leg {
    /// Energy traded in the auction, Wh.
    pub scheduled: Energy,
    /// What the register advanced, Wh.
    pub metered: Energy,
    /// δ, Wh: positive when the leg is short, negative when it is long.
    pub deviation: Energy,
    /// The part of |δ| that neighbours took or gave, Wh.
    pub local: Energy,
    /// Step 1: the schedule at the clearing price.
    pub trade: Money,
    /// Step 2: the deviation at the local price and the supplier's.
    pub balancing: Money,
}

/// A late line and what it costs.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct LateCharge {
    /// The energy.
    pub late: Late,
    /// Import at retail minus export at feed-in; positive when the household pays.
    pub amount: Money,
}

/// What one metering point pays or gets for a slot, line by line.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Charges {
    /// The import register: purchases.
    pub import: Leg,
    /// The export register: sales.
    pub export: Leg,
    /// Energy of earlier times.
    pub late: Vec<LateCharge>,
    /// The sum of all lines; positive when the household pays.
    pub amount: Money,
}

/// Why there is no bill.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BillFault {
    /// The price cannot be right under these terms.
    #[error("price {price} is not between {floor} (feed-in) and {cap} (retail)")]
    PriceOutsideTariff {
        /// The stated price.
        price: Price,
        /// The feed-in price.
        floor: Price,
        /// The retail price.
        cap: Price,
    },
    /// The published sums do not belong together.
    #[error("{matched} matched of {short} short and {long} long, where {exact} would be right")]
    WrongMatch {
        /// D⁻.
        short: Energy,
        /// D⁺.
        long: Energy,
        /// M as stated.
        matched: Energy,
        /// M as it follows.
        exact: Energy,
    },
    /// A network cannot earn less than nothing.
    #[error("the network earns {amount}")]
    NegativeSurplus {
        /// The amount.
        amount: Money,
    },
    /// Energy is traded without a price.
    #[error("{scheduled} traded in a slot without a clearing price")]
    NoPrice {
        /// What was traded.
        scheduled: Energy,
    },
    /// An energy is negative or beyond [`MAX_QUANTITY`].
    #[error("{name} of {energy} is not between nothing and {MAX_QUANTITY}")]
    OutOfBounds {
        /// Which energy.
        name: &'static str,
        /// Its value.
        energy: Energy,
    },
    /// The leg's part of the matched deviations is off by a watt-hour or more.
    #[error(
        "{local} of a deviation of {deviation} are settled locally, which is not its share \
         of {matched} matched among {total}"
    )]
    WrongShare {
        /// The stated part.
        local: Energy,
        /// δ.
        deviation: Energy,
        /// M.
        matched: Energy,
        /// D⁻ for a short leg, D⁺ for a long one.
        total: Energy,
    },
    /// An amount leaves the range of money.
    #[error("an amount of {nano} nano-currency is out of range: check the registers and prices")]
    OutOfRange {
        /// The amount.
        nano: i128,
    },
}

/// Computes a bill from one's own registers, fills and shares and the public figures.
///
/// The controller settles with this function and a household checks with it: the same inputs give
/// the same bill, to the nano-currency. A household takes its registers from its own journal, its
/// fills from the clearing, and believes the stated shares only because they are checked here to
/// be within one Wh of `M·|δ|/D`. `late` are the lines of this metering point.
///
/// # Errors
/// [`BillFault`] when the figures contradict each other or are out of range.
pub fn charge(own: &Own, basis: &Basis, late: &[Late]) -> Result<Charges, BillFault> {
    basis.check()?;
    if let Some(price) = own.price
        && !(basis.terms.leave_room() && basis.terms.contain(price))
        && !(own.bought.is_zero() && own.sold.is_zero())
    {
        let (floor, cap) = (basis.terms.feed_in(), basis.terms.retail());
        return Err(BillFault::PriceOutsideTariff { price, floor, cap });
    }
    let import = leg(Side::Buy, own.bought, own.import, (own.price, own.import_local), basis)?;
    let export = leg(Side::Sell, own.sold, own.export, (own.price, own.export_local), basis)?;
    let late = late.iter().map(late_charge).collect::<Result<Vec<_>, _>>()?;
    let amount = money(
        [import.trade, import.balancing, export.trade, export.balancing]
            .into_iter()
            .chain(late.iter().map(|line| line.amount))
            .map(|amount| i128::from(amount.nano()))
            .sum(),
    )?;
    Ok(Charges { import, export, late, amount })
}

/// δ of a leg: positive when short.
pub(crate) fn deviation(side: Side, scheduled: Energy, metered: Energy) -> Energy {
    match side {
        Side::Buy => metered - scheduled,
        Side::Sell => scheduled - metered,
    }
}

fn leg(
    side: Side,
    scheduled: Energy,
    metered: Energy,
    (price, local): (Option<Price>, Energy),
    basis: &Basis,
) -> Result<Leg, BillFault> {
    bounded("scheduled energy", scheduled)?;
    bounded("metered energy", metered)?;
    let deviation = deviation(side, scheduled, metered);
    check_share(deviation, local, basis)?;
    let price = match price {
        Some(price) => price,
        None if scheduled.is_zero() => Price::ZERO,
        None => return Err(BillFault::NoPrice { scheduled }),
    };
    let trade = match side {
        Side::Buy => product(scheduled, price),
        Side::Sell => -product(scheduled, price),
    };
    let near = product(local, basis.local_price());
    let rest = deviation.abs() - local;
    let balancing = if deviation.is_positive() {
        near + product(rest, basis.terms.retail())
    } else {
        -(near + product(rest, basis.terms.feed_in()))
    };
    let (trade, balancing) = (money(trade)?, money(balancing)?);
    Ok(Leg { scheduled, metered, deviation, local, trade, balancing })
}

/// The share is non-negative, at most |δ|, and strictly within one Wh of M·|δ|/D.
fn check_share(deviation: Energy, local: Energy, basis: &Basis) -> Result<(), BillFault> {
    let total = if deviation.is_positive() { basis.short } else { basis.long };
    let size = deviation.abs();
    let wide = |energy: Energy| i128::from(energy.wh());
    let exact = wide(basis.matched) * wide(size);
    let within_one = if size.is_zero() {
        local.is_zero()
    } else {
        (wide(local) * wide(total) - exact).abs() < wide(total)
    };
    if local < Energy::ZERO || local > size || size > total && !size.is_zero() || !within_one {
        return Err(BillFault::WrongShare { local, deviation, matched: basis.matched, total });
    }
    Ok(())
}

fn late_charge(late: &Late) -> Result<LateCharge, BillFault> {
    bounded("late import", late.import)?;
    bounded("late export", late.export)?;
    let Late { import, export, terms, .. } = *late;
    let amount = money(product(import, terms.retail()) - product(export, terms.feed_in()))?;
    Ok(LateCharge { late: late.clone(), amount })
}

fn bounded(name: &'static str, energy: Energy) -> Result<(), BillFault> {
    if (Energy::ZERO..=MAX_QUANTITY).contains(&energy) {
        Ok(())
    } else {
        Err(BillFault::OutOfBounds { name, energy })
    }
}

pub(crate) fn money(nano: i128) -> Result<Money, BillFault> {
    i64::try_from(nano).map(Money::from_nano).map_err(|_| BillFault::OutOfRange { nano })
}
