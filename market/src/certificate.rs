//! The proof that a clearing is right, from the orders alone.
//!
//! Nothing here is shared with the code that clears: an auditor or a household checks the result
//! against the definition, not against a second run of the same program.

use std::collections::BTreeMap;

use units::{Energy, PointId, Price, Slot, split};

use crate::allotment::product;
use crate::{Book, Clearing, Fill, Order, Side};

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
    /// A fill is at another price than the one that holds where the order is.
    #[error("{side} fill of {point} is at {stated}, but the price there is {exact:?}")]
    OtherPrice {
        /// Point of the fill.
        point: PointId,
        /// Side of the fill.
        side: Side,
        /// The fill's price.
        stated: Price,
        /// The price at its node.
        exact: Option<Price>,
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
            filled.iter().filter(|step| step.side() == side).map(|step| step.energy).sum()
        };
        let (bought, sold) = (sum(Side::Buy), sum(Side::Sell));
        if bought != sold || bought != self.cleared {
            return Err(Violation::OffBalance { bought, sold, cleared: self.cleared });
        }
        self.check_price(&filled)?;
        self.check_welfare(&filled)?;
        check_shares(&filled)
    }

    /// Every step with its fill, after checking each fill against its order.
    fn matched_orders<'a>(&self, book: &'a Book) -> Result<Vec<Filled<'a>>, Violation> {
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
            let quantity = order.quantity().expect("the book has checked the sum");
            if !fill.energy.is_positive() || fill.energy > quantity {
                return Err(Violation::OutOfBounds { point, side, energy: fill.energy, quantity });
            }
            self.check_limits(book, order, fill)?;
        }
        let mut filled = Vec::with_capacity(book.len());
        let mut fills = self.fills.iter().peekable();
        for order in book.orders() {
            let own = |fill: &&Fill| fill.side == order.side && fill.point == order.point;
            let energy = fills.next_if(own).map_or(Energy::ZERO, |fill| fill.energy);
            filled.extend(steps_of(book, order, energy));
        }
        Ok(filled)
    }

    /// A fill at the announced price, which no step that it takes up is too timid for.
    fn check_limits(&self, book: &Book, order: &Order, fill: &Fill) -> Result<(), Violation> {
        let (point, side) = (&order.point, order.side);
        let worst = steps_of(book, order, fill.energy)
            .filter(|step| step.energy.is_positive())
            .map(|step| step.limit)
            .last()
            .expect("a positive fill takes up a step");
        let fair = self.price.is_some_and(|price| match side {
            Side::Buy => price <= worst,
            Side::Sell => price >= worst,
        });
        if !fair {
            let (point, limit, price) = (point.clone(), worst, self.price);
            return Err(Violation::WorseThanLimit { point, side, limit, price });
        }
        if Some(fill.price) != self.price {
            let (point, stated, exact) = (point.clone(), fill.price, self.price);
            return Err(Violation::OtherPrice { point, side, stated, exact });
        }
        Ok(())
    }

    /// Interval, middle, and that no two unfilled orders agree.
    fn check_price(&self, filled: &[Filled]) -> Result<(), Violation> {
        let limits = |side: Side, keep: fn(&Filled) -> bool| {
            filled
                .iter()
                .filter(move |step| step.side() == side && keep(step))
                .map(|step| step.limit)
        };
        let some: fn(&Filled) -> bool = |step| step.energy.is_positive();
        let rest: fn(&Filled) -> bool = |step| step.energy < step.quantity;
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
    fn check_welfare(&self, filled: &[Filled]) -> Result<(), Violation> {
        let exact: i128 = filled
            .iter()
            .map(|step| match step.side() {
                Side::Buy => product(step.energy, step.limit),
                Side::Sell => -product(step.energy, step.limit),
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
            .filter(|step| step.side().gains(step.limit, price))
            .map(|step| product(step.quantity, (step.limit - price).abs()))
            .sum();
        if exact != bound {
            return Err(Violation::NotOptimal { welfare: exact, bound });
        }
        Ok(())
    }
}

/// One step of an order and what it got.
struct Filled<'a> {
    order: &'a Order,
    quantity: Energy,
    limit: Price,
    energy: Energy,
}

impl Filled<'_> {
    const fn side(&self) -> Side {
        self.order.side
    }
}

/// An order's steps with its fill, which takes up the most eager step first.
fn steps_of<'a>(
    book: &Book,
    order: &'a Order,
    mut left: Energy,
) -> impl Iterator<Item = Filled<'a>> {
    book.limits_of(order).map(move |(quantity, limit)| {
        let energy = left.min(quantity);
        left -= energy;
        Filled { order, quantity, limit, energy }
    })
}

/// Steps with the same side and limit share in proportion to their quantity.
fn check_shares(filled: &[Filled]) -> Result<(), Violation> {
    let mut equals: BTreeMap<(Side, Price), Vec<&Filled>> = BTreeMap::new();
    for step in filled {
        equals.entry((step.side(), step.limit)).or_default().push(step);
    }
    for steps in equals.values() {
        let total: Energy = steps.iter().map(|step| step.energy).sum();
        let quantities: Vec<i64> = steps.iter().map(|step| step.quantity.wh()).collect();
        let shares = split(total.wh(), &quantities, |i| steps[i].order.rank);
        for (step, share) in steps.iter().zip(shares) {
            let (energy, exact) = (step.energy, Energy::from_wh(share));
            if energy != exact {
                let (point, side) = (step.order.point.clone(), step.side());
                return Err(Violation::NotProRata { point, side, energy, exact });
            }
        }
    }
    Ok(())
}
