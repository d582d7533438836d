//! From levels to fills: who stands above or below the level of the node is decided.

use std::hint::select_unpredictable;

use units::Energy;

use super::{Supplier, key, sign};
use crate::{Lot, Side};

/// What the levels decide, and what they leave open.
pub(super) struct Allotment {
    /// Per lot; nothing for those at the margin.
    pub fills: Vec<Energy>,
    /// Lots that stand exactly on their node's level, in the order of the lots.
    pub margin: Vec<u32>,
    /// What the filled lots of each node come to.
    pub nodes: Vec<AtNode>,
    /// What buyers would have paid less what sellers would have taken.
    pub value: i128,
    /// What the supplier delivers (negative: takes) at the root.
    pub supply: Supply,
}

/// What the lots of a node come to.
#[derive(Clone, Copy)]
pub(super) struct AtNode {
    /// The level that decides.
    pub level: i64,
    /// Energy taken, less energy given.
    pub taken: i64,
    /// Energy bought.
    pub bought: i64,
    /// The highest limit that the node's price must reach; `i64::MIN` for none.
    pub at_least: i64,
    /// The lowest limit that it must not exceed; `i64::MAX` for none.
    pub at_most: i64,
    /// Whether anything is filled.
    pub filled: bool,
}

/// The supplier's part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Supply {
    /// Decided, Wh.
    Fixed(i64),
    /// The supplier stands at the margin: anything from the first to the second.
    Between(i64, i64),
}

impl Allotment {
    /// Fills a lot at the margin. A filled buyer or an unfilled seller caps the price, an unfilled
    /// buyer or a filled seller is a floor.
    pub fn fill(&mut self, lot: &Lot, index: usize) {
        let (fill, limit) = (self.fills[index], lot.limit.nano_per_wh());
        let here = &mut self.nodes[lot.node.index()];
        let (some, rest) = (fill.is_positive(), fill < lot.quantity);
        let (caps, floors) = match lot.side {
            Side::Buy => (some, rest),
            Side::Sell => (rest, some),
        };
        if caps {
            here.at_most = here.at_most.min(limit);
        }
        if floors {
            here.at_least = here.at_least.max(limit);
        }
        let signed = sign(lot.side) * fill.wh();
        here.taken += signed;
        here.bought += signed.max(0);
        here.filled |= some;
        self.value += i128::from(signed) * i128::from(limit);
    }
}

/// Fills everybody who gains at the level of the node.
pub(super) fn at_levels(lots: &[Lot], levels: &[i64], supplier: Option<&Supplier>) -> Allotment {
    let mut nodes: Vec<AtNode> = levels.iter().map(|&level| AtNode::new(level)).collect();
    let mut fills = vec![Energy::ZERO; lots.len()];
    let mut margin = Vec::new();
    let mut value = 0_i128;
    // Without branches that depend on the lot, except for the few at the margin: which way they go
    // is a coin toss for every lot.
    for (i, (lot, fill)) in (0_u32..).zip(lots.iter().zip(&mut fills)) {
        let here = &mut nodes[lot.node.index()];
        let key = i64::from(key::of_lot(lot));
        if key == here.level {
            margin.push(i);
            continue;
        }
        let above = key > here.level;
        let gains = above == (lot.side == Side::Buy);
        let limit = lot.limit.nano_per_wh();
        let wh = select_unpredictable(gains, lot.quantity.wh(), 0);
        let signed = wh * sign(lot.side);
        here.at_most = here.at_most.min(select_unpredictable(above, limit, i64::MAX));
        here.at_least = here.at_least.max(select_unpredictable(above, i64::MIN, limit));
        here.taken += signed;
        here.bought += signed.max(0);
        here.filled |= gains;
        value += i128::from(signed * limit);
        *fill = Energy::from_wh(wh);
    }
    let supply = supplier.map_or(Supply::Fixed(0), |supplier| supply(supplier, levels[0]));
    Allotment { fills, margin, nodes, value, supply }
}

impl AtNode {
    fn new(level: i64) -> Self {
        let (at_least, at_most) = (i64::MIN, i64::MAX);
        Self { level, taken: 0, bought: 0, at_least, at_most, filled: false }
    }
}

fn supply(supplier: &Supplier, level: i64) -> Supply {
    let (sale, purchase) = (supplier.import_cap.wh(), supplier.export_cap.wh());
    let (import, export) =
        (i64::from(key::of_import(supplier)), i64::from(key::of_export(supplier)));
    if level == import {
        Supply::Between(0, sale)
    } else if level == export {
        Supply::Between(-purchase, 0)
    } else if level > import {
        Supply::Fixed(sale)
    } else if level < export {
        Supply::Fixed(-purchase)
    } else {
        Supply::Fixed(0)
    }
}
