//! Price levels: orders of one side and node with the same limit, which a solver need not tell apart.

use std::cmp::Reverse;

use units::{Energy, Price};

use crate::{Book, Lot, Node, Side};

/// All orders of one side at one node and limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Level {
    pub node: Node,
    pub price: Price,
    /// Sum of the orders.
    pub quantity: Energy,
}

/// A book by price: the best level of each side first, equals by node.
#[derive(Debug)]
pub(crate) struct Levels {
    /// Bids, highest first.
    pub bids: Vec<Level>,
    /// Asks, lowest first.
    pub asks: Vec<Level>,
}

impl Levels {
    pub fn of(book: &Book) -> Self {
        Self::of_lots(&book.lots())
    }

    pub fn of_lots(lots: &[Lot]) -> Self {
        let mut bids = levels(lots, Side::Buy);
        bids.sort_by_key(|level| Reverse(level.price)); // stable
        Self { bids, asks: levels(lots, Side::Sell) }
    }

    pub fn side(&self, side: Side) -> &[Level] {
        match side {
            Side::Buy => &self.bids,
            Side::Sell => &self.asks,
        }
    }
}

/// Cheapest first, equals by node.
fn levels(lots: &[Lot], side: Side) -> Vec<Level> {
    let of_side = lots.iter().filter(|lot| lot.side == side);
    let level = |lot: &Lot| Level { node: lot.node, price: lot.limit, quantity: lot.quantity };
    let mut levels: Vec<Level> = of_side.map(level).collect();
    levels.sort_unstable_by_key(|level| (level.price, level.node));
    levels.dedup_by(|next, kept| {
        let same = (next.price, next.node) == (kept.price, kept.node);
        if same {
            kept.quantity += next.quantity;
        }
        same
    });
    levels
}
