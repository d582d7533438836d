//! Demand and supply as step curves, for people to look at.

use units::{Energy, Price};

use crate::Book;
use crate::level::{Level, Levels};

/// One step of a curve: a price level and what has been reached with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct CurveStep {
    /// The limit.
    pub price: Price,
    /// Energy ordered with exactly this limit, Wh.
    pub quantity: Energy,
    /// Energy ordered with this limit or a better one, Wh.
    pub cumulative: Energy,
}

/// Both curves of a book; they cross where it clears.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Curves {
    /// Demand, dearest first.
    pub bids: Vec<CurveStep>,
    /// Supply, cheapest first.
    pub asks: Vec<CurveStep>,
}

/// Sums a book up by price. Nobody's order can be told apart from others with the same limit.
#[must_use]
pub fn curves(book: &Book) -> Curves {
    let levels = Levels::of(book);
    Curves { bids: steps(&levels.bids), asks: steps(&levels.asks) }
}

fn steps(levels: &[Level]) -> Vec<CurveStep> {
    let mut cumulative = Energy::ZERO;
    let mut steps: Vec<CurveStep> = Vec::new();
    for &Level { price, quantity, .. } in levels {
        cumulative += quantity;
        match steps.last_mut() {
            // The same price at another node.
            Some(step) if step.price == price => {
                step.quantity += quantity;
                step.cumulative = cumulative;
            }
            _ => steps.push(CurveStep { price, quantity, cumulative }),
        }
    }
    steps
}
