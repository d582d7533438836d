//! Proving a copper plate's result without trusting whoever computed it.
//!
//! For any price λ, `D(λ) = Σ q_b·max(0, v_b − λ) + Σ q_s·max(0, λ − c_s)` bounds the welfare of
//! every balanced allotment from above (weak duality), so welfare equal to `D(λ)` proves the
//! optimum. Nothing here is shared with the search, and all sums are `i128`. The cost is one pass
//! over the lots, and a second look at those whose limit is the price.

use units::{Energy, Price, split};

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
        let [bought, sold] = sums.energy;
        if bought != sold || bought != i128::from(self.cleared.wh()) {
            return Err(PlateViolation::OffBalance { bought, sold, cleared: self.cleared });
        }
        self.check_price(&sums)?;
        self.check_welfare(&sums)?;
        self.check_shares(lots, rank)
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

    fn check_welfare(&self, sums: &Sums) -> Result<(), PlateViolation> {
        if self.welfare != sums.welfare {
            let (stated, exact) = (self.welfare, sums.welfare);
            return Err(PlateViolation::WrongWelfare { stated, exact });
        }
        // Without a price nothing is traded, and no unfilled bid reaches an unfilled ask.
        if self.price.is_some() && sums.welfare != sums.bound {
            let (welfare, bound) = (sums.welfare, sums.bound);
            return Err(PlateViolation::NotOptimal { welfare, bound });
        }
        Ok(())
    }

    /// With welfare at its bound everything more eager than the price is filled and everything
    /// less eager is not: only lots with this limit share.
    fn check_shares(
        &self,
        lots: &[Lot],
        rank: impl Fn(usize) -> Rank,
    ) -> Result<(), PlateViolation> {
        let Some(price) = self.price else { return Ok(()) };
        for side in [Side::Buy, Side::Sell] {
            let tied: Vec<usize> = (0..lots.len())
                .filter(|&i| lots[i].limit == price && lots[i].side == side)
                .collect();
            let total: Energy = tied.iter().map(|&i| self.fills[i]).sum();
            let quantities: Vec<i64> = tied.iter().map(|&i| lots[i].quantity.wh()).collect();
            let shares = split(total.wh(), &quantities, |k| rank(tied[k]));
            for (&lot, share) in tied.iter().zip(shares) {
                let (energy, exact) = (self.fills[lot], Energy::from_wh(share));
                if energy != exact {
                    return Err(PlateViolation::NotProRata { lot, energy, exact });
                }
            }
        }
        Ok(())
    }
}

/// What one pass over lots and fills finds. Prices are in nano-currency per Wh, far away where
/// there are none.
struct Sums {
    /// Bought and sold, Wh.
    energy: [i128; 2],
    welfare: i128,
    /// Dual bound at the price.
    bound: i128,
    worst_filled_bid: i64,
    worst_filled_ask: i64,
    best_unfilled_bid: i64,
    best_unfilled_ask: i64,
}

impl Sums {
    fn of(lots: &[Lot], fills: &[Energy], price: Option<Price>) -> Result<Self, PlateViolation> {
        let mut sums = Self {
            energy: [0; 2],
            welfare: 0,
            bound: 0,
            worst_filled_bid: i64::MAX,
            worst_filled_ask: i64::MIN,
            best_unfilled_bid: i64::MIN,
            best_unfilled_ask: i64::MAX,
        };
        let at = i128::from(price.unwrap_or_default().nano_per_wh());
        for (index, (lot, fill)) in lots.iter().zip(fills).enumerate() {
            let (energy, quantity) = (fill.wh(), lot.quantity.wh());
            if energy < 0 || energy > quantity {
                let (energy, quantity) = (*fill, lot.quantity);
                return Err(PlateViolation::OutOfBounds { lot: index, energy, quantity });
            }
            let limit = lot.limit.nano_per_wh();
            let value = i128::from(energy) * i128::from(limit);
            let gain = i128::from(limit) - at;
            match lot.side {
                Side::Buy => {
                    sums.energy[0] += i128::from(energy);
                    sums.welfare += value;
                    sums.bound += i128::from(quantity) * gain.max(0);
                    let (full, none) = (energy == quantity, energy == 0);
                    let filled = if none { i64::MAX } else { limit };
                    let unfilled = if full { i64::MIN } else { limit };
                    sums.worst_filled_bid = sums.worst_filled_bid.min(filled);
                    sums.best_unfilled_bid = sums.best_unfilled_bid.max(unfilled);
                }
                Side::Sell => {
                    sums.energy[1] += i128::from(energy);
                    sums.welfare -= value;
                    sums.bound += i128::from(quantity) * (-gain).max(0);
                    let (full, none) = (energy == quantity, energy == 0);
                    let filled = if none { i64::MIN } else { limit };
                    let unfilled = if full { i64::MAX } else { limit };
                    sums.worst_filled_ask = sums.worst_filled_ask.max(filled);
                    sums.best_unfilled_ask = sums.best_unfilled_ask.min(unfilled);
                }
            }
        }
        Ok(sums)
    }
}
