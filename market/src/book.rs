//! The order book of one slot: sealed bids and asks, at most one of each per metering point.

use std::collections::BTreeMap;
use std::sync::Arc;

use units::{Energy, PointId, Price, Slot};

use crate::{Grid, Lot, MAX_QUANTITY, MAX_STEPS, Node, Order, Side, Terms};

/// Bounds that a community puts on its order book.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Limits {
    /// Most energy per order, all steps together, Wh. Values beyond [`MAX_QUANTITY`] act as that.
    pub max_quantity: Energy,
    /// Most orders in one book.
    pub max_orders: usize,
}

impl Default for Limits {
    /// The widest book that is still bounded: [`MAX_QUANTITY`] per order, a million orders.
    fn default() -> Self {
        Self { max_quantity: MAX_QUANTITY, max_orders: 1_000_000 }
    }
}

/// Why an order is not in the book.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Refusal {
    /// There is nothing to trade in the order.
    #[error("quantity {quantity} is not positive: order at least 1 Wh")]
    NotPositive {
        /// What was ordered.
        quantity: Energy,
    },
    /// The order has no step.
    #[error("the order has no step: give one quantity and one limit at least")]
    NoSteps,
    /// The price curve is longer than any order may be.
    #[error("{steps} steps are more than the {MAX_STEPS} of an order: leave out the smallest")]
    TooManySteps {
        /// How many there are.
        steps: usize,
    },
    /// A step is not worse than the one before it.
    #[error(
        "step {step} at {limit} follows one at {previous}: a buyer's limits must fall from step to \
         step, a seller's rise"
    )]
    NotMonotone {
        /// The later step of the two, counted from 1.
        step: usize,
        /// Its limit.
        limit: Price,
        /// The limit before it.
        previous: Price,
    },
    /// The quantities' sum or a pegged limit is beyond any number.
    #[error(
        "a limit or the sum of the quantities is out of range: use watt-hours and nano-currency"
    )]
    Overflow,
    /// The grid has no such node.
    #[error("{node} is not in the grid of {size} nodes")]
    UnknownNode {
        /// Where the order is.
        node: Node,
        /// Nodes of the grid.
        size: usize,
    },
    /// A metering point cannot be in two places.
    #[error("{node} is not {own}, where the point's own {side} order is")]
    OtherNode {
        /// Where the order is.
        node: Node,
        /// Side of the order that already stands.
        side: Side,
        /// Where that one is.
        own: Node,
    },
    /// The order is larger than the community allows.
    #[error("quantity {quantity} is more than the {most} allowed per order")]
    TooLarge {
        /// What was ordered.
        quantity: Energy,
        /// The community's bound.
        most: Energy,
    },
    /// The limit is not a multiple of 10⁻⁵ currency per kWh.
    #[error("limit {limit} is off the tick of {}", Price::TICK)]
    OffTick {
        /// What was offered.
        limit: Price,
    },
    /// The supplier is the better partner at such a limit, for one side or the other.
    #[error("limit {limit} is outside {floor} (feed-in) to {cap} (retail)")]
    OutsideTariff {
        /// What was offered.
        limit: Price,
        /// The feed-in price.
        floor: Price,
        /// The retail price.
        cap: Price,
    },
    /// Retail is not above feed-in in this slot, so that no local trade pays.
    #[error("no local trade in this slot: retail {retail} is not above feed-in {feed_in}")]
    NoRoom {
        /// The retail price.
        retail: Price,
        /// The feed-in price.
        feed_in: Price,
    },
    /// A household may not trade with itself: such a trade only moves the price.
    #[error("limit {limit} would trade with the point's own {side} order at {own}")]
    CrossesOwn {
        /// What was offered.
        limit: Price,
        /// Side of the order that already stands.
        side: Side,
        /// Limit of the order that already stands.
        own: Price,
    },
    /// The book has reached its depth.
    #[error("the book is full with {most} orders")]
    Full {
        /// The community's bound.
        most: usize,
    },
}

/// Both orders of one metering point.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Slip {
    buy: Option<Box<Order>>,
    sell: Option<Box<Order>>,
}

impl Slip {
    fn side(&self, side: Side) -> Option<&Order> {
        match side {
            Side::Buy => self.buy.as_deref(),
            Side::Sell => self.sell.as_deref(),
        }
    }

    fn side_mut(&mut self, side: Side) -> &mut Option<Box<Order>> {
        match side {
            Side::Buy => &mut self.buy,
            Side::Sell => &mut self.sell,
        }
    }
}

/// The orders of one slot under the supplier's terms, in a grid.
///
/// The book is kept in the order of the metering points, so that its content, not the order of
/// arrival, decides everything: there is no advantage in being first.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(try_from = "Page", into = "Page"))]
pub struct Book {
    slot: Slot,
    terms: Terms,
    limits: Limits,
    grid: Arc<Grid>,
    /// Why the grid is only a set of envelopes, when it is.
    unknown_topology: Option<String>,
    slips: BTreeMap<PointId, Slip>,
    len: usize,
}

impl Book {
    /// An empty book for a slot of a community that is at one node.
    #[must_use]
    pub fn open(slot: Slot, terms: Terms, limits: Limits) -> Self {
        Self::on_grid(slot, terms, limits, Arc::default())
    }

    /// An empty book for a slot of a community in a grid, whose caps and fees the clearing keeps.
    #[must_use]
    pub fn on_grid(slot: Slot, terms: Terms, limits: Limits, grid: Arc<Grid>) -> Self {
        let max_quantity = limits.max_quantity.min(MAX_QUANTITY);
        let limits = Limits { max_quantity, ..limits };
        let slips = BTreeMap::new();
        Self { slot, terms, limits, grid, unknown_topology: None, slips, len: 0 }
    }

    /// An empty book for a slot in which the topology is not known: each connection keeps to its
    /// own limits, as [`envelopes`](crate::envelopes) lays them out, and the clearing says why.
    #[must_use]
    pub fn on_envelopes(
        slot: Slot,
        terms: Terms,
        limits: Limits,
        envelopes: Arc<Grid>,
        reason: impl Into<String>,
    ) -> Self {
        let book = Self::on_grid(slot, terms, limits, envelopes);
        Self { unknown_topology: Some(reason.into()), ..book }
    }

    /// Takes an order; it replaces the point's earlier order of the same side, which is returned.
    ///
    /// # Errors
    /// [`Refusal`] says why; the book is then unchanged.
    pub fn place(&mut self, order: Order) -> Result<Option<Order>, Refusal> {
        self.check(&order)?;
        let slip = self.slips.entry(order.point.clone()).or_default();
        let replaced = slip.side_mut(order.side).replace(Box::new(order));
        if replaced.is_none() {
            self.len += 1;
        }
        Ok(replaced.map(|order| *order))
    }

    /// Takes an order back out, when there is one.
    pub fn withdraw(&mut self, point: &PointId, side: Side) -> Option<Order> {
        let slip = self.slips.get_mut(point)?;
        let withdrawn = slip.side_mut(side).take()?;
        if *slip == Slip::default() {
            self.slips.remove(point);
        }
        self.len -= 1;
        Some(*withdrawn)
    }

    fn check(&self, order: &Order) -> Result<(), Refusal> {
        if !self.grid.contains(order.node) {
            return Err(Refusal::UnknownNode { node: order.node, size: self.grid.size() });
        }
        self.check_quantities(order)?;
        let best = self.check_limits(order)?;
        if let Some(own) = self.order(&order.point, order.side.opposite()) {
            self.check_own(order, best, own)?;
        }
        if self.len >= self.limits.max_orders && self.order(&order.point, order.side).is_none() {
            return Err(Refusal::Full { most: self.limits.max_orders });
        }
        Ok(())
    }

    fn check_quantities(&self, order: &Order) -> Result<(), Refusal> {
        let steps = order.steps.as_slice();
        if let Some(step) = steps.iter().find(|step| !step.quantity.is_positive()) {
            return Err(Refusal::NotPositive { quantity: step.quantity });
        }
        let quantity = order.quantity().ok_or(Refusal::Overflow)?;
        if quantity > self.limits.max_quantity {
            return Err(Refusal::TooLarge { quantity, most: self.limits.max_quantity });
        }
        Ok(())
    }

    /// The most eager limit, after all of them are found in range and in order.
    fn check_limits(&self, order: &Order) -> Result<Price, Refusal> {
        let (floor, cap) = (self.terms.feed_in(), self.terms.retail());
        if !self.terms.leave_room() {
            return Err(Refusal::NoRoom { retail: cap, feed_in: floor });
        }
        let mut best = None;
        let mut last = None;
        for (step, number) in order.steps.as_slice().iter().zip(1..) {
            let limit = step.limit.under(self.terms).ok_or(Refusal::Overflow)?;
            if !limit.is_on_tick() {
                return Err(Refusal::OffTick { limit });
            }
            if !self.terms.contain(limit) {
                return Err(Refusal::OutsideTariff { limit, floor, cap });
            }
            if let Some(previous) = last
                && !order.side.is_less_eager(limit, previous)
            {
                return Err(Refusal::NotMonotone { step: number, limit, previous });
            }
            last = Some(limit);
            best = best.or(last);
        }
        best.ok_or(Refusal::NoSteps)
    }

    /// Against the point's own order of the other side.
    fn check_own(&self, order: &Order, best: Price, own: &Order) -> Result<(), Refusal> {
        if own.node != order.node {
            return Err(Refusal::OtherNode { node: order.node, side: own.side, own: own.node });
        }
        let theirs = self.limits_of(own).next().expect("an order has a step").1;
        let crosses = match order.side {
            Side::Buy => best >= theirs,
            Side::Sell => best <= theirs,
        };
        if crosses {
            return Err(Refusal::CrossesOwn { limit: best, side: own.side, own: theirs });
        }
        Ok(())
    }

    /// The slot that is traded.
    #[must_use]
    pub const fn slot(&self) -> Slot {
        self.slot
    }

    /// The supplier's terms in the slot.
    #[must_use]
    pub const fn terms(&self) -> Terms {
        self.terms
    }

    /// The community's bounds.
    #[must_use]
    pub const fn limits(&self) -> Limits {
        self.limits
    }

    /// The grid the orders are in; [`Grid::is_plate`] when it has one node.
    #[must_use]
    pub const fn grid(&self) -> &Arc<Grid> {
        &self.grid
    }

    /// Why the topology is unknown, when this book has only the limits of each connection.
    #[must_use]
    pub fn unknown_topology(&self) -> Option<&str> {
        self.unknown_topology.as_deref()
    }

    /// Number of orders.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether nobody has ordered.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The order of one point and side.
    #[must_use]
    pub fn order(&self, point: &PointId, side: Side) -> Option<&Order> {
        self.slips.get(point)?.side(side)
    }

    /// All orders by metering point, a point's bid before its ask.
    pub fn orders(&self) -> impl Iterator<Item = &Order> {
        self.slips
            .values()
            .flat_map(|slip| slip.buy.iter().chain(slip.sell.iter()))
            .map(|order| &**order)
    }

    /// An order's steps as quantity and price under this book's terms, the most eager first.
    ///
    /// Steps whose pegged limit is out of range are left out; an order of this book has none.
    pub fn limits_of(&self, order: &Order) -> impl Iterator<Item = (Energy, Price)> {
        let terms = self.terms;
        let steps = order.steps.as_slice().iter();
        steps.filter_map(move |step| Some((step.quantity, step.limit.under(terms)?)))
    }

    /// An order's steps as the clearing sees them.
    pub(crate) fn lots_of(&self, order: &Order) -> impl Iterator<Item = Lot> {
        let (node, side) = (order.node, order.side);
        self.limits_of(order).map(move |(quantity, limit)| Lot { node, side, quantity, limit })
    }

    /// Every step of every order as the clearing sees it, in the order of [`Book::orders`].
    #[must_use]
    pub fn lots(&self) -> Vec<Lot> {
        let mut lots = Vec::with_capacity(self.len);
        lots.extend(self.orders().flat_map(|order| self.lots_of(order)));
        lots
    }
}

/// A book as it is written down: reading it places every order again, under the same rules.
#[cfg(feature = "serde")]
#[derive(serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Page {
    slot: Slot,
    terms: Terms,
    limits: Limits,
    /// Left out when everybody is at one node.
    #[serde(default, skip_serializing_if = "Grid::is_plate")]
    grid: Grid,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    unknown_topology: Option<String>,
    orders: Vec<Order>,
}

#[cfg(feature = "serde")]
impl From<Book> for Page {
    fn from(book: Book) -> Self {
        Self {
            slot: book.slot,
            terms: book.terms,
            limits: book.limits,
            grid: Grid::clone(&book.grid),
            unknown_topology: book.unknown_topology.clone(),
            orders: book.orders().cloned().collect(),
        }
    }
}

#[cfg(feature = "serde")]
impl TryFrom<Page> for Book {
    type Error = PageFault;
    fn try_from(page: Page) -> Result<Self, PageFault> {
        let mut book = Self::on_grid(page.slot, page.terms, page.limits, Arc::new(page.grid));
        book.unknown_topology = page.unknown_topology;
        for order in page.orders {
            let (point, side) = (order.point.clone(), order.side);
            match book.place(order) {
                Ok(None) => {}
                Ok(Some(_)) => return Err(PageFault::Twice { point, side }),
                Err(refusal) => return Err(PageFault::Refused { point, side, refusal }),
            }
        }
        Ok(book)
    }
}

/// Why a written book is none.
#[cfg(feature = "serde")]
#[derive(Debug, thiserror::Error)]
enum PageFault {
    #[error("{side} order of {point}: {refusal}")]
    Refused { point: PointId, side: Side, refusal: Refusal },
    #[error("{point} has two {side} orders")]
    Twice { point: PointId, side: Side },
}
