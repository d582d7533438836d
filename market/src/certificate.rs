//! The proof that a clearing is right, from the orders alone.
//!
//! Nothing here is shared with the code that clears: an auditor or a household checks the result
//! against the definition, not against a second run of the same program.

use std::collections::BTreeMap;

use units::{Energy, PointId, Price, Slot, split};

use crate::allotment::product;
use crate::{Book, Clearing, Order, Side};

/// What is wrong with a clearing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Violation {
    /// The clearing belongs to another book.
    #[error("clearing of {clearing} against the book of {book}")]
    OtherSlot {
        /// Slot of the clearing.
        clearing: Slot,
        /// Slot of the book.
        book: Slot,
    },
    /// Fills are not in strict order of point and side, so that one may be there twice.
    #[error("{side} fill of {point} is out of order or there twice")]
    Disorder {
        /// Point of the fill.
        point: PointId,
        /// Side of the fill.
        side: Side,
    },
    /// There is no such order.
    #[error("{side} fill of {point} without an order")]
    NoOrder {
        /// Point of the fill.
        point: PointId,
        /// Side of the fill.
        side: Side,
    },
    /// A fill is not positive or exceeds its order.
    #[error("{side} fill of {point} is {energy} of {quantity} ordered")]
    OutOfBounds {
        /// Point of the fill.
        point: PointId,
        /// Side of the fill.
        side: Side,
        /// The fill.
        energy: Energy,
        /// The order.
        quantity: Energy,
    },
    /// The two sides, or the stated volume, differ.
    #[error("{bought} bought and {sold} sold, but {cleared} stated as cleared")]
    OffBalance {
        /// Sum of the purchases.
        bought: Energy,
        /// Sum of the sales.
        sold: Energy,
        /// The stated volume.
        cleared: Energy,
    },
    /// A buyer pays more, or a seller gets less, than the limit.
    #[error("{side} fill of {point} at {price:?} is worse than its limit {limit}")]
    WorseThanLimit {
        /// Point of the fill.
        point: PointId,
        /// Side of the fill.
        side: Side,
        /// The order's limit.
        limit: Price,
        /// The clearing price.
        price: Option<Price>,
    },
    /// The stated interval of supporting prices is not the one that follows from the fills.
    #[error("interval {stated:?} stated, {exact:?} follows from the orders and fills")]
    WrongInterval {
        /// As stated.
        stated: Option<(Price, Price)>,
        /// As it follows.
        exact: Option<(Price, Price)>,
    },
    /// The price is not the middle of the interval.
    #[error("price {stated:?} stated, {exact:?} is the middle of the interval")]
    WrongPrice {
        /// As stated.
        stated: Option<Price>,
        /// The middle.
        exact: Option<Price>,
    },
    /// The stated welfare is not that of the fills.
    #[error("welfare {stated} stated, {exact} follows from the fills (nano-currency)")]
    WrongWelfare {
        /// As stated, nano-currency.
        stated: i128,
        /// As it follows, nano-currency.
        exact: i128,
    },
    /// Another allotment would have more welfare.
    #[error("welfare {welfare} is below its bound {bound} (nano-currency)")]
    NotOptimal {
        /// Welfare of the fills, nano-currency.
        welfare: i128,
        /// Bound from weak duality, nano-currency.
        bound: i128,
    },
    /// A bid and an ask that agree are both left unfilled.
    #[error("unfilled bid at {bid} and unfilled ask at {ask} could trade")]
    NotMaximal {
        /// Best unfilled bid.
        bid: Price,
        /// Best unfilled ask.
        ask: Price,
    },
    /// Equal orders are not treated alike.
    #[error("{side} fill of {point} is {energy}, its pro-rata share at the margin is {exact}")]
    NotProRata {
        /// Point of the order.
        point: PointId,
        /// Side of the order.
        side: Side,
        /// The fill.
        energy: Energy,
        /// The right fill.
        exact: Energy,
    },
}

impl Clearing {
    /// Proves the clearing against its book, in integers.
    ///
    /// Checked are: every fill belongs to an order and is within its quantity and limit; both sides
    /// balance; price and interval are the ones that the fills imply; welfare equals its dual
    /// bound at the price, so that nothing better exists; nothing more can be traded; and equal
    /// orders at the margin are filled pro rata. [`Clearing::method`] is a remark, not a claim,
    /// and is not checked.
    ///
    /// # Errors
    /// The first [`Violation`] in that order.
    pub fn certify(&self, book: &Book) -> Result<(), Violation> {
        if self.slot != book.slot() {
            return Err(Violation::OtherSlot { clearing: self.slot, book: book.slot() });
        }
        let filled = self.matched_orders(book)?;
        let sum = |side: Side| -> Energy {
            filled.iter().filter(|(order, _)| order.side == side).map(|&(_, energy)| energy).sum()
        };
        let (bought, sold) = (sum(Side::Buy), sum(Side::Sell));
        if bought != sold || bought != self.cleared {
            return Err(Violation::OffBalance { bought, sold, cleared: self.cleared });
        }
        self.check_price(&filled)?;
        self.check_welfare(&filled)?;
        check_shares(&filled)
    }

    /// Every order with its fill, after checking each fill against its order.
    fn matched_orders<'a>(&self, book: &'a Book) -> Result<Vec<(&'a Order, Energy)>, Violation> {
        let mut last = None;
        for fill in &self.fills {
            let (point, side) = (fill.point.clone(), fill.side);
            if last >= Some((&fill.point, side)) {
                return Err(Violation::Disorder { point, side });
            }
            last = Some((&fill.point, side));
            let Some(order) = book.order(&point, side) else {
                return Err(Violation::NoOrder { point, side });
            };
            let Order { quantity, limit, .. } = *order;
            if !fill.energy.is_positive() || fill.energy > quantity {
                return Err(Violation::OutOfBounds { point, side, energy: fill.energy, quantity });
            }
            let fair = self.price.is_some_and(|price| match side {
                Side::Buy => price <= limit,
                Side::Sell => price >= limit,
            });
            if !fair {
                return Err(Violation::WorseThanLimit { point, side, limit, price: self.price });
            }
        }
        Ok(book.orders().map(|order| (order, self.filled(&order.point, order.side))).collect())
    }

    /// Interval, middle, and that no two unfilled orders agree.
    fn check_price(&self, filled: &[(&Order, Energy)]) -> Result<(), Violation> {
        let limits = |side: Side, keep: fn(&Order, Energy) -> bool| {
            filled
                .iter()
                .filter(move |(order, energy)| order.side == side && keep(order, *energy))
                .map(|(order, _)| order.limit)
        };
        let some: fn(&Order, Energy) -> bool = |_, energy| energy.is_positive();
        let rest: fn(&Order, Energy) -> bool = |order, energy| energy < order.quantity;
        let (rest_bid, rest_ask) = (limits(Side::Buy, rest).max(), limits(Side::Sell, rest).min());
        if let (Some(bid), Some(ask)) = (rest_bid, rest_ask)
            && bid >= ask
        {
            return Err(Violation::NotMaximal { bid, ask });
        }
        let lowest = limits(Side::Sell, some).max().max(rest_bid);
        let highest = limits(Side::Buy, some).chain(rest_ask).min();
        let exact = if self.cleared.is_zero() { None } else { lowest.zip(highest) };
        if self.interval != exact {
            return Err(Violation::WrongInterval { stated: self.interval, exact });
        }
        let middle = exact.map(|(lowest, highest)| lowest.middle(highest));
        if self.price != middle {
            return Err(Violation::WrongPrice { stated: self.price, exact: middle });
        }
        Ok(())
    }

    /// Stated welfare, and that it reaches the dual bound.
    fn check_welfare(&self, filled: &[(&Order, Energy)]) -> Result<(), Violation> {
        let exact: i128 = filled
            .iter()
            .map(|(order, energy)| match order.side {
                Side::Buy => product(*energy, order.limit),
                Side::Sell => -product(*energy, order.limit),
            })
            .sum();
        if self.welfare != exact {
            return Err(Violation::WrongWelfare { stated: self.welfare, exact });
        }
        let Some(price) = self.price else {
            return Ok(()); // nothing traded, and `check_price` has shown that no two orders agree
        };
        let bound: i128 = filled
            .iter()
            .filter(|(order, _)| order.side.gains(order.limit, price))
            .map(|(order, _)| product(order.quantity, (order.limit - price).abs()))
            .sum();
        if exact != bound {
            return Err(Violation::NotOptimal { welfare: exact, bound });
        }
        Ok(())
    }
}

/// Orders with the same side and limit share in proportion to their quantity.
fn check_shares(filled: &[(&Order, Energy)]) -> Result<(), Violation> {
    let mut equals: BTreeMap<(Side, Price), Vec<(&Order, Energy)>> = BTreeMap::new();
    for &(order, energy) in filled {
        equals.entry((order.side, order.limit)).or_default().push((order, energy));
    }
    for orders in equals.values() {
        let total: Energy = orders.iter().map(|&(_, energy)| energy).sum();
        let quantities: Vec<i64> = orders.iter().map(|(order, _)| order.quantity.wh()).collect();
        let shares = split(total.wh(), &quantities, |i| orders[i].0.rank);
        for (&(order, energy), share) in orders.iter().zip(shares) {
            let exact = Energy::from_wh(share);
            if energy != exact {
                let (point, side) = (order.point.clone(), order.side);
                return Err(Violation::NotProRata { point, side, energy, exact });
            }
        }
    }
    Ok(())
}
