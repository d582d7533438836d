//! From a household's signed order to the market's: the same words for the desk that takes it and
//! the auditor who takes it again.

use market::{Limit, Node, Order, Rank, Refusal, Side, Step, Steps};
use protocol::Peg;
use units::{Energy, PointId, Price};

/// What is wrong with the words of an order; whether the market takes it, its book decides.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OrderFault {
    /// A word that the protocol does not know.
    #[error("{0}")]
    Word(String),
    /// No step, or too many.
    #[error(transparent)]
    Steps(Refusal),
}

/// Which way an order trades.
///
/// # Errors
/// [`OrderFault::Word`].
pub fn side(order: &protocol::Order) -> Result<Side, OrderFault> {
    match order.side.parse::<protocol::Side>() {
        Ok(protocol::Side::Buy) => Ok(Side::Buy),
        Ok(protocol::Side::Sell) => Ok(Side::Sell),
        Err(why) => Err(OrderFault::Word(why)),
    }
}

/// The order in the market's words.
///
/// # Errors
/// [`OrderFault`].
pub fn to_market(
    order: &protocol::Order,
    point: &PointId,
    node: Node,
    rank: Rank,
) -> Result<Order, OrderFault> {
    let steps = order.steps.iter().map(step).collect::<Result<Vec<_>, _>>()?;
    let steps = Steps::new(steps).map_err(OrderFault::Steps)?;
    Ok(Order { point: point.clone(), node, side: side(order)?, steps, rank })
}

fn step(step: &protocol::Step) -> Result<Step, OrderFault> {
    let price = Price::from_nano_per_wh(step.limit);
    let limit = match step.peg.parse::<Peg>().map_err(OrderFault::Word)? {
        Peg::Fixed => Limit::At(price),
        Peg::BelowRetail => Limit::BelowRetail(price),
        Peg::AboveFeedIn => Limit::AboveFeedIn(price),
    };
    Ok(Step { quantity: Energy::from_wh(step.quantity_wh), limit })
}
