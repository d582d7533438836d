//! Price levels: orders of one side with the same limit, which a solver need not tell apart.

use units::{Energy, Price};

use crate::{Book, Lot, Side};

/// All orders of one side at one limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Level {
    pub price: Price,
    /// Sum of the orders.
    pub quantity: Energy,
}

/// A book by price: the best level of each side first.
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
        bids.reverse();
        Self { bids, asks: levels(lots, Side::Sell) }
    }

    pub fn side(&self, side: Side) -> &[Level] {
        match side {
            Side::Buy => &self.bids,
            Side::Sell => &self.asks,
        }
    }
}

/// Cheapest first.
fn levels(lots: &[Lot], side: Side) -> Vec<Level> {
    let of_side = lots.iter().filter(|lot| lot.side == side);
    let mut levels: Vec<Level> =
        of_side.map(|lot| Level { price: lot.limit, quantity: lot.quantity }).collect();
    levels.sort_unstable_by_key(|level| level.price);
    levels.dedup_by(|next, kept| {
        let same = next.price == kept.price;
        if same {
            kept.quantity += next.quantity;
        }
        same
    });
    levels
}
