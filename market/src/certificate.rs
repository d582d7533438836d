//! The proof that a clearing is right, from the orders alone.
//!
//! An auditor or a household checks the result against the definition, not against a second run
//! of the program that cleared: here every fill is matched with its order, and the engine's own
//! certificate, which shares no code with its search, proves the rest.

use units::{Energy, PointId, Price, Slot};

use crate::{
    Book, Clearing, Fill, Grid, Lot, Method, Nodal, Node, Order, Plate, PlateViolation, Radial,
    RadialViolation, Side,
};

/// What is wrong with a clearing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
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
    /// The clearing is of a grid and the book is not, or the other way round.
    #[error("a clearing with prices by node belongs to a grid; the book's has {nodes} nodes")]
    OtherGrid {
        /// Nodes of the book's grid; one on a copper plate.
        nodes: usize,
    },
    /// The result breaks a rule of the grid.
    #[error(transparent)]
    OnGrid(RadialViolation),
    /// Fees and rent are not what follows from prices and flows.
    #[error("fees and rent {stated:?} stated, {exact:?} follow from the flows (nano-currency)")]
    WrongSurplus {
        /// Fees and rent as stated.
        stated: (i128, i128),
        /// As they follow.
        exact: (i128, i128),
    },
    /// A slot that is said to have had no market has fills, a price or flows.
    #[error("something is traded in a slot without a market")]
    NoMarket,
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
    /// and is not checked, but for [`Method::Shared`]: then nothing may be traded at all.
    ///
    /// # Errors
    /// The first [`Violation`] in that order.
    pub fn certify(&self, book: &Book) -> Result<(), Violation> {
        if self.slot != book.slot() {
            return Err(Violation::OtherSlot { clearing: self.slot, book: book.slot() });
        }
        if let Method::Shared { .. } = self.method {
            let nothing = Self { method: self.method.clone(), ..Self::shared(self.slot, "") };
            return if *self == nothing { Ok(()) } else { Err(Violation::NoMarket) };
        }
        let orders = self.matched_orders(book)?;
        let mut lots = Vec::with_capacity(orders.len());
        let mut fills = Vec::with_capacity(orders.len());
        let mut owners = Vec::with_capacity(orders.len());
        for (order, energy) in orders {
            for step in steps_of(book, order, energy) {
                let (node, side) = (order.node, order.side);
                lots.push(Lot { node, side, quantity: step.quantity, limit: step.limit });
                fills.push(step.energy);
                owners.push(order);
            }
        }
        let rank = |lot: usize| owners[lot].rank;
        match &self.nodal {
            None if book.grid().is_plate() => {
                let plate = Plate {
                    fills,
                    cleared: self.cleared,
                    welfare: self.welfare,
                    interval: self.interval,
                    price: self.price,
                };
                let proven = plate.certify(&lots, rank);
                proven.map_err(|violation| Violation::of_plate(violation, &owners))
            }
            Some(nodal) if !book.grid().is_plate() => {
                let radial = self.radial(nodal, fills);
                radial.certify(&lots, book.grid(), None, rank).map_err(Violation::OnGrid)?;
                self.check_root(nodal)?;
                check_surplus(nodal, book.grid())
            }
            _ => Err(Violation::OtherGrid { nodes: book.grid().size() }),
        }
    }

    /// What the grid's engine states about this result.
    fn radial(&self, nodal: &Nodal, fills: Vec<Energy>) -> Radial {
        let prices = &nodal.prices;
        Radial {
            fills,
            flows: nodal.flows.clone(),
            low: prices.iter().map(|node| node.low).collect(),
            high: prices.iter().map(|node| node.high).collect(),
            price: prices.iter().map(|node| node.price).collect(),
            welfare: self.welfare,
            traded: self.cleared,
        }
    }

    /// Price and interval of the whole are those of the root.
    fn check_root(&self, nodal: &Nodal) -> Result<(), Violation> {
        let root = nodal.prices[Node::ROOT.index()];
        let exact = root.price.and_then(|_| root.low.zip(root.high));
        if self.interval != exact {
            return Err(Violation::WrongInterval { stated: self.interval, exact });
        }
        if self.price != root.price {
            return Err(Violation::WrongPrice { stated: self.price, exact: root.price });
        }
        Ok(())
    }

    /// Every order with its fill, after checking each fill against its order.
    fn matched_orders<'a>(&self, book: &'a Book) -> Result<Vec<(&'a Order, Energy)>, Violation> {
        let mut last: Option<&Fill> = None;
        let mut matched = Vec::with_capacity(book.len());
        let mut orders = book.orders();
        for fill in &self.fills {
            let (point, side) = (&fill.point, fill.side);
            if last.is_some_and(|last| (&last.point, last.side) >= (point, side)) {
                return Err(Violation::Disorder { point: point.clone(), side });
            }
            last = Some(fill);
            // Both are sorted, so that one walk over the book finds every order.
            let order = loop {
                match orders.next() {
                    Some(order) if (&order.point, order.side) < (point, side) => {
                        matched.push((order, Energy::ZERO));
                    }
                    Some(order) if order.side == side && order.point == *point => break order,
                    _ => return Err(Violation::NoOrder { point: point.clone(), side }),
                }
            };
            let (energy, quantity) = (fill.energy, order_sum(order));
            if !energy.is_positive() || energy > quantity {
                let point = point.clone();
                return Err(Violation::OutOfBounds { point, side, energy, quantity });
            }
            self.check_limits(book, order, fill)?;
            matched.push((order, energy));
        }
        matched.extend(orders.map(|order| (order, Energy::ZERO)));
        Ok(matched)
    }

    /// A fill at the announced price, which no step that it takes up is too timid for.
    fn check_limits(&self, book: &Book, order: &Order, fill: &Fill) -> Result<(), Violation> {
        let (point, side) = (&order.point, order.side);
        let worst = steps_of(book, order, fill.energy)
            .filter(|step| step.energy.is_positive())
            .map(|step| step.limit)
            .last()
            .expect("a positive fill takes up a step");
        let price = self.price_at(order.node);
        let fair = price.is_some_and(|price| match side {
            Side::Buy => price <= worst,
            Side::Sell => price >= worst,
        });
        if !fair {
            let (point, limit) = (point.clone(), worst);
            return Err(Violation::WorseThanLimit { point, side, limit, price });
        }
        if Some(fill.price) != price {
            let (point, stated, exact) = (point.clone(), fill.price, price);
            return Err(Violation::OtherPrice { point, side, stated, exact });
        }
        Ok(())
    }
}

fn check_surplus(nodal: &Nodal, grid: &Grid) -> Result<(), Violation> {
    let exact = nodal.surplus(grid);
    let stated = (nodal.fees, nodal.rent);
    if stated == exact { Ok(()) } else { Err(Violation::WrongSurplus { stated, exact }) }
}

impl Violation {
    /// In terms of orders instead of lots.
    fn of_plate(violation: PlateViolation, owners: &[&Order]) -> Self {
        let energy = |wh: i128| Energy::from_wh(i64::try_from(wh).unwrap_or(i64::MAX));
        match violation {
            PlateViolation::OffBalance { bought, sold, cleared } => {
                Self::OffBalance { bought: energy(bought), sold: energy(sold), cleared }
            }
            PlateViolation::NotMaximal { bid, ask } => Self::NotMaximal { bid, ask },
            PlateViolation::WrongInterval { stated, exact } => {
                Self::WrongInterval { stated, exact }
            }
            PlateViolation::WrongPrice { stated, exact } => Self::WrongPrice { stated, exact },
            PlateViolation::WrongWelfare { stated, exact } => Self::WrongWelfare { stated, exact },
            PlateViolation::NotOptimal { welfare, bound } => Self::NotOptimal { welfare, bound },
            PlateViolation::NotProRata { lot, energy, exact } => {
                let (point, side) = (owners[lot].point.clone(), owners[lot].side);
                Self::NotProRata { point, side, energy, exact }
            }
            PlateViolation::Shape { .. } | PlateViolation::OutOfBounds { .. } => {
                unreachable!("the fills were spread over the steps within their bounds")
            }
        }
    }
}

fn order_sum(order: &Order) -> Energy {
    order.quantity().expect("the book has checked the sum")
}

/// One step of an order and what it got.
pub(crate) struct Filled {
    pub quantity: Energy,
    pub limit: Price,
    pub energy: Energy,
}

/// An order's steps with its fill, which takes up the most eager step first.
pub(crate) fn steps_of(
    book: &Book,
    order: &Order,
    mut left: Energy,
) -> impl Iterator<Item = Filled> {
    book.limits_of(order).map(move |(quantity, limit)| {
        let energy = left.min(quantity);
        left -= energy;
        Filled { quantity, limit, energy }
    })
}
