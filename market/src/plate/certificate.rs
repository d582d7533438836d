//! Proving a copper plate's result without trusting whoever computed it.
//!
//! For any price λ, `D(λ) = Σ q_b·max(0, v_b − λ) + Σ q_s·max(0, λ − c_s)` bounds the welfare of
//! every balanced allotment from above (weak duality), so welfare equal to `D(λ)` proves the
//! optimum. Both are sums over the lots, and of a balanced allotment they are equal only lot by
//! lot: who gains at λ is filled, who loses gets nothing. So there is one product per lot, for the
//! stated welfare. Nothing here is shared with the search, and all sums are `i128`. The cost is one
//! pass over the lots, and another look at those whose limit is the price when they have to share
//! ([`shares`]).

mod shares;

use units::{Energy, Price};

use self::shares::Tied;
use super::Plate;
use crate::{Lot, Rank, Side};

/// What is wrong with a result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum PlateViolation {
    /// There is not one fill per lot.
    #[error("{fills} fills for {lots} lots")]
    Shape {
        /// Fills of the result.
        fills: usize,
        /// Lots there are.
        lots: usize,
    },
    /// A fill is negative or more than its lot.
    #[error("lot {lot} gets {energy} of {quantity}")]
    OutOfBounds {
        /// Index of the lot.
        lot: usize,
        /// Its fill.
        energy: Energy,
        /// What it orders.
        quantity: Energy,
    },
    /// Purchases, sales and the stated volume differ.
    #[error("{bought} Wh bought and {sold} Wh sold, but {cleared} stated as cleared")]
    OffBalance {
        /// Sum of the purchases, Wh.
        bought: i128,
        /// Sum of the sales, Wh.
        sold: i128,
        /// The stated volume.
        cleared: Energy,
    },
    /// A bid and an ask that agree both have unfilled energy.
    #[error("unfilled bid at {bid} and unfilled ask at {ask} could trade")]
    NotMaximal {
        /// Best unfilled bid.
        bid: Price,
        /// Best unfilled ask.
        ask: Price,
    },
    /// The stated interval of supporting prices is not the one that follows from the fills.
    #[error("interval {stated:?} stated, {exact:?} follows from the lots and fills")]
    WrongInterval {
        /// As stated.
        stated: Option<(Price, Price)>,
        /// As it follows.
        exact: Option<(Price, Price)>,
    },
    /// The price is not the middle of the interval.
    #[error("price {stated:?} stated, {exact:?} is the middle of the interval")]
    WrongPrice {
        /// As stated.
        stated: Option<Price>,
        /// The middle.
        exact: Option<Price>,
    },
    /// The stated welfare is not that of the fills.
    #[error("welfare {stated} stated, {exact} follows from the fills (nano-currency)")]
    WrongWelfare {
        /// As stated, nano-currency.
        stated: i128,
        /// As it follows, nano-currency.
        exact: i128,
    },
    /// Another allotment would have more welfare: somebody trades at a loss or is left out at a
    /// gain.
    #[error("welfare {welfare} is below its bound {bound} (nano-currency)")]
    NotOptimal {
        /// Welfare of the fills, nano-currency.
        welfare: i128,
        /// Bound from weak duality, nano-currency.
        bound: i128,
    },
    /// Equal lots did not share in proportion to their quantity.
    #[error("lot {lot} gets {energy}, its share among equals is {exact}")]
    NotProRata {
        /// Index of the lot.
        lot: usize,
        /// Its fill.
        energy: Energy,
        /// Its share.
        exact: Energy,
    },
}

impl Plate {
    /// Proves the result: quantities, balance, interval and price, welfare equal to its dual bound,
    /// as much energy as possible at that welfare, and equal shares at the margin.
    ///
    /// `rank` must be what the lots were cleared with; it decides about single watt-hours.
    ///
    /// # Errors
    /// The first [`PlateViolation`] found.
    pub fn certify(
        &self,
        lots: &[Lot],
        rank: impl Fn(usize) -> Rank,
    ) -> Result<(), PlateViolation> {
        if self.fills.len() != lots.len() {
            let (fills, lots) = (self.fills.len(), lots.len());
            return Err(PlateViolation::Shape { fills, lots });
        }
        let sums = Sums::of(lots, &self.fills, self.price)?;
        let (bought, sold) = (sums.bought(), sums.sold());
        if bought != sold || bought != i128::from(self.cleared.wh()) {
            return Err(PlateViolation::OffBalance { bought, sold, cleared: self.cleared });
        }
        self.check_price(&sums)?;
        self.check_welfare(&sums, lots)?;
        self.check_shares(&sums, lots, rank)
    }

    fn check_price(&self, sums: &Sums) -> Result<(), PlateViolation> {
        let price = Price::from_nano_per_wh;
        let (bid, ask) = (sums.best_unfilled_bid, sums.best_unfilled_ask);
        if bid >= ask {
            return Err(PlateViolation::NotMaximal { bid: price(bid), ask: price(ask) });
        }
        let low = sums.worst_filled_ask.max(bid);
        let high = sums.worst_filled_bid.min(ask);
        let exact = (!self.cleared.is_zero()).then_some((price(low), price(high)));
        if self.interval != exact {
            return Err(PlateViolation::WrongInterval { stated: self.interval, exact });
        }
        let middle = exact.map(|(low, high)| low.middle(high));
        if self.price != middle {
            return Err(PlateViolation::WrongPrice { stated: self.price, exact: middle });
        }
        Ok(())
    }

    fn check_welfare(&self, sums: &Sums, lots: &[Lot]) -> Result<(), PlateViolation> {
        if self.welfare != sums.welfare {
            let (stated, exact) = (self.welfare, sums.welfare);
            return Err(PlateViolation::WrongWelfare { stated, exact });
        }
        // Without a price nothing is traded, and no unfilled bid reaches an unfilled ask.
        match self.price {
            Some(price) if sums.is_loose => {
                let (welfare, bound) = (sums.welfare, bound(lots, price));
                Err(PlateViolation::NotOptimal { welfare, bound })
            }
            _ => Ok(()),
        }
    }

    /// With welfare at its bound everything more eager than the price is filled and everything
    /// less eager is not: only lots with this limit share, and only on a side where some of them
    /// get energy and some want more.
    fn check_shares(
        &self,
        sums: &Sums,
        lots: &[Lot],
        rank: impl Fn(usize) -> Rank,
    ) -> Result<(), PlateViolation> {
        let Some(price) = self.price else { return Ok(()) };
        let at = price.nano_per_wh();
        for (side, worst_filled, best_unfilled) in [
            (Side::Buy, sums.worst_filled_bid, sums.best_unfilled_bid),
            (Side::Sell, sums.worst_filled_ask, sums.best_unfilled_ask),
        ] {
            if worst_filled == at && best_unfilled == at {
                Tied::at(price, side, lots, &self.fills).check(&rank)?;
            }
        }
        Ok(())
    }
}

/// The dual bound at a price, nano-currency.
#[cold]
fn bound(lots: &[Lot], price: Price) -> i128 {
    let gain = |lot: &Lot| {
        let gain = i128::from(lot.limit.nano_per_wh()) - i128::from(price.nano_per_wh());
        if lot.side == Side::Buy { gain } else { -gain }
    };
    lots.iter().map(|lot| i128::from(lot.quantity.wh()) * gain(lot).max(0)).sum()
}

/// What one pass over lots and fills finds. Prices are in nano-currency per Wh, far away where
/// there are none.
struct Sums {
    /// Energy of all fills, and bought less sold, Wh.
    moved: i128,
    net: i128,
    welfare: i128,
    /// Whether somebody gains at the price and wants more, or gets something at a loss.
    is_loose: bool,
    worst_filled_bid: i64,
    worst_filled_ask: i64,
    best_unfilled_bid: i64,
    best_unfilled_ask: i64,
}

impl Sums {
    fn of(lots: &[Lot], fills: &[Energy], price: Option<Price>) -> Result<Self, PlateViolation> {
        let at = price.unwrap_or_default().nano_per_wh();
        let mut sums = Self {
            moved: 0,
            net: 0,
            welfare: 0,
            is_loose: false,
            worst_filled_bid: i64::MAX,
            worst_filled_ask: i64::MIN,
            best_unfilled_bid: i64::MIN,
            best_unfilled_ask: i64::MAX,
        };
        for (index, (lot, fill)) in lots.iter().zip(fills).enumerate() {
            if fill.wh() < 0 || *fill > lot.quantity {
                let (energy, quantity) = (*fill, lot.quantity);
                return Err(PlateViolation::OutOfBounds { lot: index, energy, quantity });
            }
            sums.add(lot, fill.wh(), at);
        }
        Ok(sums)
    }

    /// Written without branches that a processor cannot foresee.
    #[inline]
    fn add(&mut self, lot: &Lot, energy: i64, at: i64) {
        let limit = lot.limit.nano_per_wh();
        let buys = lot.side == Side::Buy;
        let (gets_some, wants_more) = (energy > 0, energy < lot.quantity.wh());
        let (above, below) = (limit > at, limit < at);
        let (gains, loses) = if buys { (above, below) } else { (below, above) };
        self.is_loose |= (gains & wants_more) | (loses & gets_some);
        let signed = if buys { energy } else { -energy };
        self.moved += i128::from(energy);
        self.net += i128::from(signed);
        self.welfare += i128::from(signed) * i128::from(limit);
        let or = |is: bool, far: i64| if is { limit } else { far };
        self.worst_filled_bid = self.worst_filled_bid.min(or(buys & gets_some, i64::MAX));
        self.best_unfilled_bid = self.best_unfilled_bid.max(or(buys & wants_more, i64::MIN));
        self.worst_filled_ask = self.worst_filled_ask.max(or(!buys & gets_some, i64::MIN));
        self.best_unfilled_ask = self.best_unfilled_ask.min(or(!buys & wants_more, i64::MAX));
    }

    const fn bought(&self) -> i128 {
        i128::midpoint(self.moved, self.net)
    }

    const fn sold(&self) -> i128 {
        i128::midpoint(self.moved, -self.net)
    }
}
