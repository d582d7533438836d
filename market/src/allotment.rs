//! Energy per price level, and the exact proof that it is the best possible result.

use units::{Energy, Price};

use crate::level::{Level, Levels};
use crate::{Grid, Node, Proposal, Share, Side};

/// What an exact check found wrong with a proposed allotment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Flaw {
    /// The proposal names other price levels than the book has.
    #[error("the proposal has other {side} price levels than the book")]
    OtherLevels {
        /// The side where they differ.
        side: Side,
    },
    /// An energy is not finite.
    #[error("the proposal for {side} at {price} is not a number")]
    NotANumber {
        /// Side of the level.
        side: Side,
        /// Limit of the level.
        price: Price,
    },
    /// A level gets less than nothing or more than its orders want.
    #[error("{energy} for {side} at {price} is not between nothing and the {quantity} ordered")]
    OutOfBounds {
        /// Side of the level.
        side: Side,
        /// Limit of the level.
        price: Price,
        /// Proposed energy, rounded to Wh.
        energy: Energy,
        /// Sum of the level's orders.
        quantity: Energy,
    },
    /// More is bought than sold, or the other way round.
    #[error("{bought} bought but {sold} sold")]
    OffBalance {
        /// Sum over the bids.
        bought: Energy,
        /// Sum over the asks.
        sold: Energy,
    },
    /// Someone trades at a loss or is left out at a gain, whatever the price.
    #[error("no price supports it: at least {lowest} is needed, at most {highest} is possible")]
    NotSupported {
        /// Lower end of what would be a price interval.
        lowest: Price,
        /// Upper end of what would be a price interval.
        highest: Price,
    },
    /// Welfare is below its upper bound at the price (weak duality).
    #[error("welfare {welfare} is below its bound {bound} (nano-currency)")]
    Gap {
        /// Welfare of the allotment, nano-currency.
        welfare: i128,
        /// Dual bound at the price, nano-currency.
        bound: i128,
    },
    /// A branch would carry more than it may.
    #[error("{flow} towards {node} is more than its branch may carry")]
    Overload {
        /// The node that the branch feeds.
        node: Node,
        /// The flow towards it.
        flow: Energy,
    },
    /// Welfare is the best possible, but more energy could be traded at it.
    #[error("{energy} is traded where {most} could be at the same welfare")]
    LessEnergy {
        /// As proposed.
        energy: Energy,
        /// The most.
        most: Energy,
    },
    /// A bid and an ask with the same limit are both left unfilled.
    #[error("more could be traded at {price}")]
    NotMaximal {
        /// The limit of both.
        price: Price,
    },
}

/// Energy for every level of a book.
#[derive(Debug)]
pub(crate) struct Allotment {
    /// Per level of [`Levels::bids`].
    pub bids: Vec<Energy>,
    /// Per level of [`Levels::asks`].
    pub asks: Vec<Energy>,
}

/// What a proven allotment means.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub cleared: Energy,
    /// Nano-currency.
    pub welfare: i128,
    /// Interval of supporting prices, absent without a trade.
    pub interval: Option<(Price, Price)>,
}

impl Allotment {
    /// Rounds a proposal to whole watt-hours.
    pub fn rounded(proposal: &Proposal, levels: &Levels) -> Result<Self, Flaw> {
        let side = |shares: &[Share], side: Side| -> Result<Vec<Energy>, Flaw> {
            let levels = levels.side(side);
            let same = shares.len() == levels.len()
                && shares
                    .iter()
                    .zip(levels)
                    .all(|(share, level)| (share.price, share.node) == (level.price, level.node));
            if !same {
                return Err(Flaw::OtherLevels { side });
            }
            shares.iter().zip(levels).map(|(share, level)| round(share, level, side)).collect()
        };
        Ok(Self { bids: side(&proposal.bids, Side::Buy)?, asks: side(&proposal.asks, Side::Sell)? })
    }

    /// Proves in integers that the allotment keeps to the grid and is as good as a result that is
    /// known to be the best: as much welfare, and as much energy.
    ///
    /// On a tree the flows follow from the energies, so that caps and fees can be checked exactly.
    pub fn prove_on(&self, levels: &Levels, grid: &Grid, best: &Outcome) -> Result<(), Flaw> {
        let bought = within_bounds(&self.bids, &levels.bids, Side::Buy)?;
        let sold = within_bounds(&self.asks, &levels.asks, Side::Sell)?;
        if bought != sold {
            return Err(Flaw::OffBalance { bought, sold });
        }
        let mut taken = vec![Energy::ZERO; grid.size()];
        for (&energy, level) in self.bids.iter().zip(&levels.bids) {
            taken[level.node.index()] += energy;
        }
        for (&energy, level) in self.asks.iter().zip(&levels.asks) {
            taken[level.node.index()] -= energy;
        }
        let mut welfare = value(&self.bids, &levels.bids) - value(&self.asks, &levels.asks);
        for node in grid.nodes().rev() {
            let Some(branch) = grid.branch(node) else { continue };
            let flow = taken[node.index()];
            if flow > branch.import_cap || -flow > branch.export_cap {
                return Err(Flaw::Overload { node, flow });
            }
            welfare -= product(flow.abs(), branch.fee);
            taken[branch.parent.index()] += flow;
        }
        if welfare != best.welfare {
            return Err(Flaw::Gap { welfare, bound: best.welfare });
        }
        if bought != best.cleared {
            return Err(Flaw::LessEnergy { energy: bought, most: best.cleared });
        }
        Ok(())
    }

    /// Proves in integers that no other allotment has more welfare, and none with the same welfare
    /// trades more energy.
    ///
    /// The allotment is feasible when every level is within its bounds and both sides balance. For
    /// any price λ, `D(λ) = Σ q_b·max(0, v_b − λ) + Σ q_s·max(0, λ − c_s)` bounds the welfare of
    /// every feasible allotment from above (weak duality), so `W = D(λ)` proves the optimum. λ is
    /// the middle of the prices at which no unfilled quantity wants to trade.
    pub fn prove(&self, levels: &Levels) -> Result<Outcome, Flaw> {
        let bought = within_bounds(&self.bids, &levels.bids, Side::Buy)?;
        let sold = within_bounds(&self.asks, &levels.asks, Side::Sell)?;
        if bought != sold {
            return Err(Flaw::OffBalance { bought, sold });
        }
        let bids = Margin::of(&self.bids, &levels.bids);
        let asks = Margin::of(&self.asks, &levels.asks);
        if let (Some(bid), Some(ask)) = (bids.unfilled, asks.unfilled)
            && bid == ask
        {
            return Err(Flaw::NotMaximal { price: bid });
        }
        let (Some(last_bid), Some(last_ask)) = (bids.filled, asks.filled) else {
            // Nothing is traded: right exactly when the best bid is below the best ask.
            return match (bids.unfilled, asks.unfilled) {
                (Some(highest), Some(lowest)) if highest > lowest => {
                    Err(Flaw::NotSupported { lowest: highest, highest: lowest })
                }
                _ => Ok(Outcome { cleared: Energy::ZERO, welfare: 0, interval: None }),
            };
        };
        let lowest = bids.unfilled.map_or(last_ask, |unfilled| last_ask.max(unfilled));
        let highest = asks.unfilled.map_or(last_bid, |unfilled| last_bid.min(unfilled));
        if lowest > highest {
            return Err(Flaw::NotSupported { lowest, highest });
        }
        let welfare = value(&self.bids, &levels.bids) - value(&self.asks, &levels.asks);
        let price = lowest.middle(highest);
        let bound = dual(&levels.bids, Side::Buy, price) + dual(&levels.asks, Side::Sell, price);
        if welfare != bound {
            return Err(Flaw::Gap { welfare, bound });
        }
        Ok(Outcome { cleared: bought, welfare, interval: Some((lowest, highest)) })
    }
}

/// Watt-hours of a share in kWh. Floats end here.
#[expect(clippy::cast_possible_truncation, reason = "the value is rounded and its range checked")]
fn round(share: &Share, level: &Level, side: Side) -> Result<Energy, Flaw> {
    /// Beyond every level (`2⁶²`), and exact in both types.
    const RANGE_WH: f64 = 4_611_686_018_427_387_904.0;
    let wh = (share.kwh * 1_000.0).round();
    if !wh.is_finite() {
        return Err(Flaw::NotANumber { side, price: level.price });
    }
    Ok(Energy::from_wh(wh.clamp(-RANGE_WH, RANGE_WH) as i64))
}

fn within_bounds(energies: &[Energy], levels: &[Level], side: Side) -> Result<Energy, Flaw> {
    let mut sum = Energy::ZERO;
    for (&energy, level) in energies.iter().zip(levels) {
        let Level { price, quantity, .. } = *level;
        if energy < Energy::ZERO || energy > quantity {
            return Err(Flaw::OutOfBounds { side, price, energy, quantity });
        }
        sum += energy;
    }
    Ok(sum)
}

/// The prices where filling stops on one side.
struct Margin {
    /// Worst limit with any fill.
    filled: Option<Price>,
    /// Best limit with anything unfilled.
    unfilled: Option<Price>,
}

impl Margin {
    fn of(energies: &[Energy], levels: &[Level]) -> Self {
        let mut margin = Self { filled: None, unfilled: None };
        for (&energy, level) in energies.iter().zip(levels) {
            if energy.is_positive() {
                margin.filled = Some(level.price);
            }
            if energy < level.quantity && margin.unfilled.is_none() {
                margin.unfilled = Some(level.price);
            }
        }
        margin
    }
}

fn value(energies: &[Energy], levels: &[Level]) -> i128 {
    energies.iter().zip(levels).map(|(&energy, level)| product(energy, level.price)).sum()
}

/// One side's part of the dual bound at a price, nano-currency.
fn dual(levels: &[Level], side: Side, price: Price) -> i128 {
    levels
        .iter()
        .filter(|level| side.gains(level.price, price))
        .map(|level| product(level.quantity, (level.price - price).abs()))
        .sum()
}

/// Energy times price without a bound on the result, nano-currency.
pub(crate) fn product(energy: Energy, price: Price) -> i128 {
    i128::from(energy.wh()) * i128::from(price.nano_per_wh())
}
