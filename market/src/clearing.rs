//! The result of a slot's auction: one price, and how much of every order is filled.

use units::{Energy, PointId, Price, Slot, split};

use crate::allotment::{Allotment, Flaw};
use crate::level::Levels;
use crate::{Book, Lot, LpFault, Proposal, Side, merit_order};

/// How much of one order is filled.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Fill {
    /// Whose order.
    pub point: PointId,
    /// Which of its two orders.
    pub side: Side,
    /// Filled energy, Wh, positive and at most the order's quantity.
    pub energy: Energy,
    /// What a Wh of it costs the buyer, or earns the seller, at the order's node.
    pub price: Price,
}

/// Where an allotment came from.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Method {
    /// The linear program, rounded and proven.
    Lp,
    /// The exact merit order, because of this.
    MeritOrder(Fallback),
}

/// Why the merit order answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Fallback {
    /// Nobody asked a solver.
    #[error("no proposal was asked for")]
    NotAsked,
    /// The solver had no answer.
    #[error(transparent)]
    NoAnswer(LpFault),
    /// The solver's answer failed the exact check.
    #[error("the proposal is wrong: {0}")]
    Wrong(Flaw),
}

/// The auction's result for one slot.
///
/// It is a function of the book alone: linear program and merit order lead to the same price and
/// the same fills.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Clearing {
    /// The slot that was traded.
    pub slot: Slot,
    /// Energy that changes hands, Wh.
    pub cleared: Energy,
    /// What buyers would have paid at most minus what sellers would have taken at least,
    /// nano-currency.
    pub welfare: i128,
    /// The uniform price: the middle of `interval`. Absent when nothing is traded.
    pub price: Option<Price>,
    /// Lowest and highest price at which no unfilled quantity wants to trade (Walrasian
    /// interval). Absent when nothing is traded.
    pub interval: Option<(Price, Price)>,
    /// Filled orders by metering point, a point's purchase before its sale.
    pub fills: Vec<Fill>,
    /// How the result was found.
    pub method: Method,
}

impl Clearing {
    /// The filled energy of one point and side, zero when there is none.
    #[must_use]
    pub fn filled(&self, point: &PointId, side: Side) -> Energy {
        self.fills
            .binary_search_by(|fill| (&fill.point, fill.side).cmp(&(point, side)))
            .map_or(Energy::ZERO, |i| self.fills[i].energy)
    }
}

/// Clears a book: welfare-maximal, at one price, ties at the margin shared pro rata.
///
/// A proposal is rounded to whole Wh and proven in integers; with none, a failed or a wrong one,
/// the merit order answers and [`Clearing::method`] says why, so that a slot always clears. Orders
/// with the marginal limit share what is left for them in proportion to their quantity; the last
/// Wh go by largest remainder, then by the orders' [`Rank`](crate::Rank).
#[must_use]
pub fn clear(book: &Book, proposal: Option<Result<Proposal, LpFault>>) -> Clearing {
    let levels = Levels::of(book);
    let proven = match proposal {
        None => Err(Fallback::NotAsked),
        Some(Err(fault)) => Err(Fallback::NoAnswer(fault)),
        Some(Ok(proposal)) => Allotment::rounded(&proposal, &levels)
            .and_then(|allotment| Ok((allotment.prove(&levels)?, allotment)))
            .map_err(Fallback::Wrong),
    };
    let (outcome, allotment, method) = match proven {
        Ok((outcome, allotment)) => (outcome, allotment, Method::Lp),
        Err(fallback) => {
            let allotment = merit_order::allot(&levels);
            let outcome = allotment.prove(&levels).expect("the merit order is optimal");
            (outcome, allotment, Method::MeritOrder(fallback))
        }
    };
    let price = outcome.interval.map(|(lowest, highest)| lowest.middle(highest));
    Clearing {
        slot: book.slot(),
        cleared: outcome.cleared,
        welfare: outcome.welfare,
        price,
        interval: outcome.interval,
        fills: fills(&levels, &allotment, price),
        method,
    }
}

/// Shares every level's energy among its orders.
fn fills(levels: &Levels, allotment: &Allotment, price: Option<Price>) -> Vec<Fill> {
    let mut filled = vec![Energy::ZERO; levels.lots.len()];
    let bids = levels.bids.iter().zip(&allotment.bids);
    let asks = levels.asks.iter().zip(&allotment.asks);
    for (level, &energy) in bids.chain(asks) {
        let quantities: Vec<i64> =
            level.members.iter().map(|&i| levels.lots[i].0.quantity.wh()).collect();
        let shares = split(energy.wh(), &quantities, |k| levels.lots[level.members[k]].1.rank);
        for (&i, share) in level.members.iter().zip(shares) {
            filled[i] = Energy::from_wh(share);
        }
    }
    let Some(price) = price else { return Vec::new() };
    let mut fills: Vec<Fill> = Vec::new();
    for (&(Lot { side, .. }, order), energy) in levels.lots.iter().zip(filled) {
        match fills.last_mut() {
            _ if !energy.is_positive() => {}
            Some(fill) if fill.side == side && fill.point == order.point => fill.energy += energy,
            _ => fills.push(Fill { point: order.point.clone(), side, energy, price }),
        }
    }
    fills
}
