//! The result of a slot's auction: one price, and how much of every order is filled.

use units::{Energy, PointId, Price, Slot};

use crate::{Flaw, Grid, LpFault, Nodal, Node, PriceParts, Side};

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

/// Where a result came from.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Method {
    /// The linear program, rounded and proven.
    Lp,
    /// The exact clearing in integers, because of this.
    Exact(Fallback),
    /// The exact clearing within the limits of each connection, because the topology is unknown.
    Envelopes {
        /// Why it is unknown.
        reason: String,
    },
    /// Nobody: there was no market, and energy is shared afterwards.
    Shared {
        /// Why there was none.
        reason: String,
    },
}

/// Why the linear program did not answer.
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
/// It is a function of the book alone: linear program and exact clearing lead to the same price
/// and the same fills.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Clearing {
    /// The slot that was traded.
    pub slot: Slot,
    /// Energy that changes hands, Wh.
    pub cleared: Energy,
    /// What buyers would have paid at most minus what sellers would have taken at least,
    /// less the fees on all branches, nano-currency.
    pub welfare: i128,
    /// The price: the middle of `interval`. On a grid it is the one at the root, where the supplier
    /// is, and [`Clearing::price_at`] tells the others. Absent when nothing is traded.
    pub price: Option<Price>,
    /// Lowest and highest price at which no unfilled quantity wants to trade (Walrasian
    /// interval), at the root of a grid. Absent when nothing is traded.
    pub interval: Option<(Price, Price)>,
    /// Filled orders by metering point, a point's purchase before its sale.
    pub fills: Vec<Fill>,
    /// Prices by node and flows by branch, when the community is in a grid.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
    pub nodal: Option<Nodal>,
    /// How the result was found.
    pub method: Method,
}

impl Clearing {
    /// What one point and side got, when it got anything.
    #[must_use]
    pub fn fill(&self, point: &PointId, side: Side) -> Option<&Fill> {
        let at = self.fills.binary_search_by(|fill| (&fill.point, fill.side).cmp(&(point, side)));
        at.ok().map(|i| &self.fills[i])
    }

    /// The filled energy of one point and side, zero when there is none.
    #[must_use]
    pub fn filled(&self, point: &PointId, side: Side) -> Energy {
        self.fill(point, side).map_or(Energy::ZERO, |fill| fill.energy)
    }

    /// What a Wh costs and earns at a node: everywhere the same on a copper plate. None where
    /// nothing is traded, and at nodes that the grid does not have.
    #[must_use]
    pub fn price_at(&self, node: Node) -> Option<Price> {
        match &self.nodal {
            None => self.price,
            Some(nodal) => nodal.prices.get(node.index())?.price,
        }
    }

    /// The price at a node as energy, grid fee and congestion; `grid` must be the book's.
    #[must_use]
    pub fn parts_at(&self, grid: &Grid, node: Node) -> Option<PriceParts> {
        match &self.nodal {
            None => {
                let energy = self.price?;
                Some(PriceParts { energy, ..PriceParts::default() })
            }
            Some(nodal) => nodal.parts(grid, node),
        }
    }

    /// What buyers pay and sellers do not get: grid fees and congestion rent, nano-currency.
    #[must_use]
    pub fn surplus(&self) -> i128 {
        self.nodal.as_ref().map_or(0, |nodal| nodal.fees + nodal.rent)
    }
}
