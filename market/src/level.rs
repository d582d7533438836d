//! Price levels: orders of one side with the same limit, which the clearing treats as one.

use units::{Energy, Price};

use crate::{Book, Lot, Order, Side};

/// All orders of one side at one limit.
#[derive(Debug)]
pub(crate) struct Level {
    pub price: Price,
    /// Sum of the orders.
    pub quantity: Energy,
    /// Indices into [`Levels::lots`].
    pub members: Vec<usize>,
}

/// A book by price: the best level of each side first.
#[derive(Debug)]
pub(crate) struct Levels<'a> {
    /// Every step with its order, in the order of the book.
    pub lots: Vec<(Lot, &'a Order)>,
    /// Bids, highest first.
    pub bids: Vec<Level>,
    /// Asks, lowest first.
    pub asks: Vec<Level>,
}

impl<'a> Levels<'a> {
    pub fn of(book: &'a Book) -> Self {
        let steps =
            book.orders().flat_map(|order| order.steps.as_slice().iter().map(move |_| order));
        let lots: Vec<(Lot, &Order)> = book.lots().into_iter().zip(steps).collect();
        let bids = levels(&lots, Side::Buy);
        let asks = levels(&lots, Side::Sell);
        Self { lots, bids, asks }
    }

    pub fn side(&self, side: Side) -> &[Level] {
        match side {
            Side::Buy => &self.bids,
            Side::Sell => &self.asks,
        }
    }
}

fn levels(lots: &[(Lot, &Order)], side: Side) -> Vec<Level> {
    let mut indices: Vec<usize> = (0..lots.len()).filter(|&i| lots[i].0.side == side).collect();
    // Stable, so that members stay in the order of the book.
    indices.sort_by_key(|&i| lots[i].0.limit);
    let mut levels: Vec<Level> = indices
        .chunk_by(|&a, &b| lots[a].0.limit == lots[b].0.limit)
        .map(|members| Level {
            price: lots[members[0]].0.limit,
            quantity: members.iter().map(|&i| lots[i].0.quantity).sum(),
            members: members.to_vec(),
        })
        .collect();
    if side == Side::Buy {
        levels.reverse();
    }
    levels
}
