//! Prices by place: what a clearing on a grid says beside its fills.
//!
//! On a grid every node has a price of its own. Energy that passes a branch costs its fee, and
//! where a branch is full, the two sides part further: that is congestion. What buyers pay and
//! sellers do not get is exactly the fees on all flows and the rent of the full branches, both
//! never negative; the ledger posts them to accounts of their own.

use units::{Energy, Price};

use crate::{Branch, Grid, Node, Radial};

/// The price at one node and what it lies between.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
pub struct NodePrice {
    /// Lowest price that supports the result; none when nothing bounds it.
    pub low: Option<Price>,
    /// Highest price that supports the result; none when nothing bounds it.
    pub high: Option<Price>,
    /// The middle of both, where the node's zone trades.
    pub price: Option<Price>,
}

/// Prices and flows of a grid.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
pub struct Nodal {
    /// Per node of the grid, the root first.
    pub prices: Vec<NodePrice>,
    /// Energy towards each node through its branch, Wh, negative away from it; nothing at the
    /// root, where only what is left over goes to the supplier outside.
    pub flows: Vec<Energy>,
    /// Σ fee · |flow| over all branches, nano-currency.
    pub fees: i128,
    /// What full branches earn beyond their fees, nano-currency, never negative.
    pub rent: i128,
}

impl Nodal {
    /// Takes over prices and flows; adds up fees and rent.
    pub(crate) fn of(radial: &Radial, grid: &Grid) -> Self {
        let prices = (0..radial.price.len())
            .map(|node| NodePrice {
                low: radial.low[node],
                high: radial.high[node],
                price: radial.price[node],
            })
            .collect();
        let mut nodal = Self { prices, flows: radial.flows.clone(), fees: 0, rent: 0 };
        (nodal.fees, nodal.rent) = nodal.surplus(grid);
        nodal
    }

    /// Fees and rent as they follow from prices and flows, nano-currency.
    pub(crate) fn surplus(&self, grid: &Grid) -> (i128, i128) {
        let (mut fees, mut total) = (0, 0);
        for (node, branch) in (1..).zip(grid.branches()) {
            let flow = self.flows.get(node).map_or(0, |flow| i128::from(flow.wh()));
            fees += flow.abs() * i128::from(branch.fee.nano_per_wh());
            if let Some(rise) = self.rise(node, branch.parent.index()) {
                total += flow * i128::from(rise.nano_per_wh());
            }
        }
        (fees, total - fees)
    }

    /// By how much the price at a node is above its parent's.
    fn rise(&self, node: usize, parent: usize) -> Option<Price> {
        Some(self.prices.get(node)?.price? - self.prices.get(parent)?.price?)
    }

    /// What the branch that feeds a node adds to the price beyond its fee, because it is full;
    /// negative when it is full the other way. None at the root and where either end has no price.
    #[must_use]
    pub fn congestion(&self, grid: &Grid, node: Node) -> Option<Price> {
        let branch = grid.branch(node)?;
        let rise = self.rise(node.index(), branch.parent.index())?;
        Some(rise - self.fee_of(branch, node, rise))
    }

    /// The part of a rise that is the branch's fee.
    fn fee_of(&self, branch: &Branch, node: Node, rise: Price) -> Price {
        let flow = self.flows.get(node.index()).copied().unwrap_or_default();
        match flow.wh().signum() {
            1 => branch.fee,
            -1 => -branch.fee,
            // Without a flow the price may differ by up to the fee either way.
            _ => rise.clamp(-branch.fee, branch.fee),
        }
    }

    /// The price at a node in parts; none where there is none.
    pub(crate) fn parts(&self, grid: &Grid, node: Node) -> Option<PriceParts> {
        let price = self.prices.get(node.index())?.price?;
        let mut parts = PriceParts { reference: node, energy: price, ..PriceParts::default() };
        for at in grid.path(node) {
            let Some(branch) = grid.branch(at) else { break };
            let Some(rise) = self.rise(at.index(), branch.parent.index()) else { break };
            let fee = self.fee_of(branch, at, rise);
            parts.reference = branch.parent;
            parts.energy -= rise;
            parts.grid_fee += fee;
            parts.congestion += rise - fee;
        }
        Some(parts)
    }
}

/// A price as it is made up; the three parts add up to it exactly.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
pub struct PriceParts {
    /// Where the energy's own price is taken: the root, or the node nearest to it on the way that
    /// trades with this one.
    pub reference: Node,
    /// The price there.
    pub energy: Price,
    /// Fees of the branches from there; negative where energy flows towards the root, because a
    /// seller far out earns less.
    pub grid_fee: Price,
    /// What full branches on the way add, or take away.
    pub congestion: Price,
}

impl PriceParts {
    /// All three together: what a Wh costs or earns at the node.
    #[must_use]
    pub fn price(&self) -> Price {
        self.energy + self.grid_fee + self.congestion
    }
}
