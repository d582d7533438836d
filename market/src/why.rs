//! Why a slot went as it did for one metering point: the question that households ask first.
//!
//! [`explain`] tells facts, not sentences: the price in parts, which orders hold it up and down,
//! which branches are full, and for every step of the point's own orders what was filled, why the
//! rest was not, and the limit at which more would have traded. Other people's orders appear by side
//! and limit only.
//!
//! The last of these is not an estimate. Fills never fall when a limit gives way, so that the limit
//! is found by clearing the same book with other limits, and halving ([`wish`]).

mod bounds;
mod wish;

use units::{Energy, PointId, Price, Slot};

use crate::certificate::steps_of;
use crate::{Book, Clearing, Node, Order, PriceParts, Refusal, Side};

use bounds::Bounds;

/// What decided about one metering point in one slot.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Why {
    /// The slot.
    pub slot: Slot,
    /// Whose question it is.
    pub point: PointId,
    /// Where the point is.
    pub node: Node,
    /// What a Wh costs and earns at the node; none when nothing trades in its zone.
    pub price: Option<Price>,
    /// The price as energy, grid fee and congestion.
    pub parts: Option<PriceParts>,
    /// What keeps the price from being lower; none when nothing does.
    pub low: Option<SetBy>,
    /// What keeps the price from being higher; none when nothing does.
    pub high: Option<SetBy>,
    /// Full branches around the part of the grid in which the point can trade freely.
    pub full: Vec<FullBranch>,
    /// The point's orders, a bid before an ask.
    pub orders: Vec<OrderWhy>,
}

/// An order that bounds the price at a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct SetBy {
    /// The bound at the node that was asked about.
    pub price: Price,
    /// Side of the order.
    pub side: Side,
    /// Its limit, at its own node; the way between adds or takes the rest.
    pub limit: Price,
    /// Whether it is filled up to there, or left with energy that wants to trade.
    pub filled: bool,
    /// Whether it is an order of the point that asks.
    pub own: bool,
}

/// A branch that carries all it may.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct FullBranch {
    /// What people call it.
    pub name: String,
    /// The node that it feeds.
    pub node: Node,
    /// Energy into the part of the grid where the point is, Wh; negative out of it, and nothing
    /// where the branch carries nothing.
    pub inwards: Energy,
}

/// One of the point's orders.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct OrderWhy {
    /// Buy or sell.
    pub side: Side,
    /// Its steps, the most eager first.
    pub steps: Vec<StepWhy>,
}

/// One step of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct StepWhy {
    /// What was ordered.
    pub quantity: Energy,
    /// Its limit as a price.
    pub limit: Price,
    /// What of it was filled.
    pub filled: Energy,
    /// Why the rest was not; none when there is no rest.
    pub rest: Option<Rest>,
    /// The least eager limit at which more of the step would have traded, everybody else's orders
    /// as they were and the order's earlier steps no less eager. None when there is no rest, or when
    /// no limit that the tariff and the point's own other order allow would have done.
    pub would_trade_at: Option<Price>,
}

/// Why energy of a step was left over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
pub enum Rest {
    /// The price was worse than the limit.
    Limit,
    /// The limit was the price, and there was not enough for all who had it: they share pro rata.
    Volume,
    /// Nothing traded where the point is: no two orders agreed.
    NoTrade,
    /// There was no market in the slot.
    NoMarket,
}

/// Explains a clearing to a metering point; nothing when the point has no order in the book.
///
/// The clearing must be the book's. Takes about fifteen clearings of the book per side with
/// anything left over.
#[must_use]
pub fn explain(book: &Book, clearing: &Clearing, point: &PointId) -> Option<Why> {
    let node = own_orders(book, point).next()?.node;
    Some(explain_at(book, clearing, point, node))
}

/// Explains a clearing to a metering point at a node, whether it has an order in the book or not.
///
/// See [`explain`]. The node must be one of the book's grid, and that of the point's orders.
#[must_use]
pub fn explain_at(book: &Book, clearing: &Clearing, point: &PointId, node: Node) -> Why {
    let bounds = Bounds::of(book, clearing);
    let price = clearing.price_at(node);
    Why {
        slot: clearing.slot,
        point: point.clone(),
        node,
        price,
        parts: clearing.parts_at(book.grid(), node),
        low: bounds.low(node, point),
        high: bounds.high(node, point),
        full: bounds.full(node),
        orders: own_orders(book, point).map(|order| explain_order(book, clearing, order)).collect(),
    }
}

/// The least eager limit at which an order that is not in the book would have traded something,
/// everybody else's orders as they were: from its own limit to the most eager one that the tariff
/// allows. None when not even that one would have traded.
///
/// # Errors
/// [`Refusal`] when the book would not have taken the order; see [`Book::place`].
pub fn would_have_traded(book: &Book, order: Order) -> Result<Option<Price>, Refusal> {
    let mut book = book.clone();
    let (point, side) = (order.point.clone(), order.side);
    book.place(order)?;
    let order = book.order(&point, side).expect("just placed");
    let wish = wish::Wish::of(&book, order, Energy::ZERO);
    Ok(book.limits_of(order).next().and_then(|(_, limit)| wish.from(limit)))
}

fn own_orders<'a>(book: &'a Book, point: &PointId) -> impl Iterator<Item = &'a Order> {
    [Side::Buy, Side::Sell].into_iter().filter_map(|side| book.order(point, side))
}

fn explain_order(book: &Book, clearing: &Clearing, order: &Order) -> OrderWhy {
    let side = order.side;
    let price = clearing.price_at(order.node);
    let market = !matches!(clearing.method, crate::Method::Shared { .. });
    let filled = clearing.filled(&order.point, side);
    let mut wish = market.then(|| wish::Wish::of(book, order, filled));
    let steps = steps_of(book, order, filled)
        .map(|step| {
            let left = step.energy < step.quantity;
            let rest = match price {
                _ if !left => None,
                _ if !market => Some(Rest::NoMarket),
                None => Some(Rest::NoTrade),
                Some(price) if price == step.limit => Some(Rest::Volume),
                Some(_) => Some(Rest::Limit),
            };
            let would_trade_at =
                wish.as_mut().filter(|_| left).and_then(|wish| wish.for_step(step.limit));
            if let Some(wish) = &mut wish {
                wish.pass(step.quantity);
            }
            let (quantity, limit, filled) = (step.quantity, step.limit, step.energy);
            StepWhy { quantity, limit, filled, rest, would_trade_at }
        })
        .collect();
    OrderWhy { side, steps }
}
