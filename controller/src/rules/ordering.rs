//! From a household's signed order to the market's book: the same words, bounds and steps for the
//! desk that takes an order and for the auditor who takes it again.
//!
//! One signed order carries both curves of a household, and the book holds one of each side: it
//! takes both or neither.

use market::{Book, Limit, Node, Order, Rank, Refusal, Side, Step, Steps};
use protocol::Peg;
use units::{Energy, PointId, Price, Slot};

use super::{Connection, energy_bound};

/// Why an order is not in the book.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OrderFault {
    /// A word that the protocol does not know.
    #[error("{0}")]
    Word(String),
    /// Neither side has a step.
    #[error("neither buys nor sells: give one step on one side at least")]
    Empty,
    /// More than the connection can carry in a slot.
    #[error(
        "{side}: {quantity} are more than the {most} that a connection of {power_w} W carries in a \
         slot"
    )]
    BeyondConnection {
        /// Which curve.
        side: Side,
        /// What it adds up to.
        quantity: Energy,
        /// What is possible.
        most: Energy,
        /// Power of the connection that way, W.
        power_w: i64,
    },
    /// The market's book does not take a curve.
    #[error("{side}: {refusal}")]
    Refused {
        /// Which curve.
        side: Side,
        /// Why.
        refusal: Refusal,
    },
}

impl OrderFault {
    /// Whether it is already wrong as a message, whatever the market's rules are.
    #[must_use]
    pub const fn is_malformed(&self) -> bool {
        match self {
            Self::Word(_) | Self::Empty => true,
            Self::Refused { refusal, .. } => matches!(refusal, Refusal::TooManySteps { .. }),
            Self::BeyondConnection { .. } => false,
        }
    }
}

/// Puts both curves of an order into a book, or neither. `node` is where the metering point is in the
/// book's grid, `rank` decides among equals.
///
/// # Errors
/// [`OrderFault`]; the book is then without an order of this household.
pub fn place(
    book: &mut Book,
    order: &protocol::Order,
    (point, node): (&PointId, Node),
    rank: Rank,
) -> Result<(), OrderFault> {
    if order.buy.is_empty() && order.sell.is_empty() {
        return Err(OrderFault::Empty);
    }
    let placed = [(Side::Buy, &order.buy), (Side::Sell, &order.sell)].into_iter().try_for_each(
        |(side, steps)| {
            if steps.is_empty() {
                return Ok(());
            }
            let refused = |refusal| OrderFault::Refused { side, refusal };
            let steps = steps.iter().map(step).collect::<Result<Vec<_>, _>>()?;
            let steps = Steps::new(steps).map_err(refused)?;
            let order = Order { point: point.clone(), node, side, steps, rank };
            book.place(order).map(|_| ()).map_err(refused)
        },
    );
    if placed.is_err() {
        for side in [Side::Buy, Side::Sell] {
            book.withdraw(point, side);
        }
    }
    placed
}

/// Checks that a connection can carry all that either side adds up to.
///
/// # Errors
/// [`OrderFault::BeyondConnection`].
pub fn carried(order: &protocol::Order, connection: Connection) -> Result<(), OrderFault> {
    for (side, wh, power_w) in [
        (Side::Buy, order.quantity_wh(protocol::Side::Buy), connection.max_import_w),
        (Side::Sell, order.quantity_wh(protocol::Side::Sell), connection.max_export_w),
    ] {
        let (quantity, most) = (Energy::from_wh(wh), energy_bound(power_w, Slot::LENGTH_MS));
        if quantity > most {
            return Err(OrderFault::BeyondConnection { side, quantity, most, power_w });
        }
    }
    Ok(())
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
