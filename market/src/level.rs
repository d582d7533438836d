//! Price levels: orders of one side with the same limit, which the clearing treats as one.

use units::{Energy, Price};

use crate::{Book, Order, Side};

/// All orders of one side at one limit.
#[derive(Debug)]
pub(crate) struct Level {
    pub price: Price,
    /// Sum of the orders.
    pub quantity: Energy,
    /// Indices into [`Levels::orders`].
    pub members: Vec<usize>,
}

/// A book by price: the best level of each side first.
#[derive(Debug)]
pub(crate) struct Levels<'a> {
    /// The orders in the order of the book.
    pub orders: Vec<&'a Order>,
    /// Bids, highest first.
    pub bids: Vec<Level>,
    /// Asks, lowest first.
    pub asks: Vec<Level>,
}

impl<'a> Levels<'a> {
    pub fn of(book: &'a Book) -> Self {
        let orders: Vec<&Order> = book.orders().collect();
        let bids = levels(&orders, Side::Buy);
        let asks = levels(&orders, Side::Sell);
        Self { orders, bids, asks }
    }

    pub fn side(&self, side: Side) -> &[Level] {
        match side {
            Side::Buy => &self.bids,
            Side::Sell => &self.asks,
        }
    }
}

fn levels(orders: &[&Order], side: Side) -> Vec<Level> {
    let mut indices: Vec<usize> = (0..orders.len()).filter(|&i| orders[i].side == side).collect();
    // Stable, so that members stay in the order of the book.
    indices.sort_by_key(|&i| orders[i].limit);
    let mut levels: Vec<Level> = indices
        .chunk_by(|&a, &b| orders[a].limit == orders[b].limit)
        .map(|members| Level {
            price: orders[members[0]].limit,
            quantity: members.iter().map(|&i| orders[i].quantity).sum(),
            members: members.to_vec(),
        })
        .collect();
    if side == Side::Buy {
        levels.reverse();
    }
    levels
}
