//! From levels to fills: who stands above or below the level of the node is decided.

use units::Energy;

use super::tree::Tree;
use super::{Supplier, key, sign};
use crate::{Lot, Side};

/// What the levels decide, and what they leave open.
pub(super) struct Allotment {
    /// Per lot; nothing for those at the margin.
    pub fills: Vec<Energy>,
    /// Lots that stand exactly on their node's level, in the order of the lots.
    pub margin: Vec<u32>,
    /// Energy that the decided lots take at each node, less what they give.
    pub taken: Vec<i64>,
    /// What the decided lots say about the price of each node.
    pub said: Said,
    /// Of the decided lots: what buyers would have paid less what sellers would have taken.
    pub value: i128,
    /// Of the decided lots: energy bought.
    pub bought: i64,
    /// Whether a decided lot of the node is filled.
    pub filled: Vec<bool>,
    /// What the supplier delivers (negative: takes) at the root.
    pub supply: Supply,
}

/// The highest limit that a node's price must reach and the lowest that it must not exceed.
pub(super) struct Said {
    pub at_least: Vec<i64>,
    pub at_most: Vec<i64>,
}

/// The supplier's part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Supply {
    /// Decided, Wh.
    Fixed(i64),
    /// The supplier stands at the margin: anything from the first to the second.
    Between(i64, i64),
}

impl Said {
    /// What one lot's fill says: a filled buyer or an unfilled seller caps the price, an unfilled
    /// buyer or a filled seller is a floor.
    pub fn hear(&mut self, lot: &Lot, fill: Energy) {
        let (node, limit) = (lot.node.index(), lot.limit.nano_per_wh());
        let (some, rest) = (fill.is_positive(), fill < lot.quantity);
        let (caps, floors) = match lot.side {
            Side::Buy => (some, rest),
            Side::Sell => (rest, some),
        };
        if caps {
            self.at_most[node] = self.at_most[node].min(limit);
        }
        if floors {
            self.at_least[node] = self.at_least[node].max(limit);
        }
    }
}

/// Fills everybody who gains at the level of the node.
pub(super) fn at_levels(
    lots: &[Lot],
    tree: &Tree,
    levels: &[i64],
    supplier: Option<&Supplier>,
) -> Allotment {
    let size = tree.size();
    let mut said = Said { at_least: vec![i64::MIN; size], at_most: vec![i64::MAX; size] };
    let mut taken = vec![0_i64; size];
    let mut fills = Vec::with_capacity(lots.len());
    let mut margin = Vec::new();
    let mut filled = vec![false; size];
    let (mut value, mut bought) = (0_i128, 0_i64);
    for (i, lot) in (0_u32..).zip(lots) {
        let node = lot.node.index();
        let (key, level) = (i64::from(key::of_lot(lot)), levels[node]);
        let limit = lot.limit.nano_per_wh();
        let gains = match key.cmp(&level) {
            std::cmp::Ordering::Greater => {
                said.at_most[node] = said.at_most[node].min(limit);
                lot.side == Side::Buy
            }
            std::cmp::Ordering::Less => {
                said.at_least[node] = said.at_least[node].max(limit);
                lot.side == Side::Sell
            }
            std::cmp::Ordering::Equal => {
                margin.push(i);
                false
            }
        };
        let fill = if gains { lot.quantity.wh() } else { 0 };
        taken[node] += sign(lot.side) * fill;
        filled[node] |= gains;
        bought += if lot.side == Side::Buy { fill } else { 0 };
        value += i128::from(sign(lot.side) * fill * limit);
        fills.push(Energy::from_wh(fill));
    }
    let supply = supplier.map_or(Supply::Fixed(0), |supplier| supply(supplier, levels[0]));
    Allotment { fills, margin, taken, said, value, bought, filled, supply }
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

/// What a lot at the margin adds to the value.
pub(super) fn worth(lot: &Lot, fill: Energy) -> i128 {
    i128::from(sign(lot.side) * fill.wh()) * i128::from(lot.limit.nano_per_wh())
}
