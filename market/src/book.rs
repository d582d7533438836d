//! The order book of one slot: sealed bids and asks, at most one of each per metering point.

use std::collections::BTreeMap;

use units::{Energy, PointId, Price, Slot};

use crate::{MAX_QUANTITY, Order, Side, Terms};

/// Bounds that a community puts on its order book.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Limits {
    /// Most energy per order, Wh. Values beyond [`MAX_QUANTITY`] act as that.
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
    buy: Option<Order>,
    sell: Option<Order>,
}

impl Slip {
    fn side(&self, side: Side) -> Option<&Order> {
        match side {
            Side::Buy => self.buy.as_ref(),
            Side::Sell => self.sell.as_ref(),
        }
    }

    fn side_mut(&mut self, side: Side) -> &mut Option<Order> {
        match side {
            Side::Buy => &mut self.buy,
            Side::Sell => &mut self.sell,
        }
    }
}

/// The orders of one slot under the supplier's terms.
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
    slips: BTreeMap<PointId, Slip>,
    len: usize,
}

impl Book {
    /// An empty book for a slot.
    #[must_use]
    pub fn open(slot: Slot, terms: Terms, limits: Limits) -> Self {
        let max_quantity = limits.max_quantity.min(MAX_QUANTITY);
        let limits = Limits { max_quantity, ..limits };
        Self { slot, terms, limits, slips: BTreeMap::new(), len: 0 }
    }

    /// Takes an order; it replaces the point's earlier order of the same side, which is returned.
    ///
    /// # Errors
    /// [`Refusal`] says why; the book is then unchanged.
    pub fn place(&mut self, order: Order) -> Result<Option<Order>, Refusal> {
        self.check(&order)?;
        let slip = self.slips.entry(order.point.clone()).or_default();
        let replaced = slip.side_mut(order.side).replace(order);
        if replaced.is_none() {
            self.len += 1;
        }
        Ok(replaced)
    }

    /// Takes an order back out, when there is one.
    pub fn withdraw(&mut self, point: &PointId, side: Side) -> Option<Order> {
        let slip = self.slips.get_mut(point)?;
        let withdrawn = slip.side_mut(side).take()?;
        if *slip == Slip::default() {
            self.slips.remove(point);
        }
        self.len -= 1;
        Some(withdrawn)
    }

    fn check(&self, order: &Order) -> Result<(), Refusal> {
        let Order { quantity, limit, side, .. } = *order;
        if !quantity.is_positive() {
            return Err(Refusal::NotPositive { quantity });
        }
        if quantity > self.limits.max_quantity {
            return Err(Refusal::TooLarge { quantity, most: self.limits.max_quantity });
        }
        if !limit.is_on_tick() {
            return Err(Refusal::OffTick { limit });
        }
        let (floor, cap) = (self.terms.feed_in(), self.terms.retail());
        if !self.terms.leave_room() {
            return Err(Refusal::NoRoom { retail: cap, feed_in: floor });
        }
        if !self.terms.contain(limit) {
            return Err(Refusal::OutsideTariff { limit, floor, cap });
        }
        if let Some(own) = self.order(&order.point, side.opposite()) {
            let crosses = match side {
                Side::Buy => limit >= own.limit,
                Side::Sell => limit <= own.limit,
            };
            if crosses {
                return Err(Refusal::CrossesOwn { limit, side: own.side, own: own.limit });
            }
        }
        if self.len >= self.limits.max_orders && self.order(&order.point, side).is_none() {
            return Err(Refusal::Full { most: self.limits.max_orders });
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
        self.slips.values().flat_map(|slip| slip.buy.iter().chain(slip.sell.iter()))
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
    orders: Vec<Order>,
}

#[cfg(feature = "serde")]
impl From<Book> for Page {
    fn from(book: Book) -> Self {
        Self {
            slot: book.slot,
            terms: book.terms,
            limits: book.limits,
            orders: book.orders().cloned().collect(),
        }
    }
}

#[cfg(feature = "serde")]
impl TryFrom<Page> for Book {
    type Error = PageFault;
    fn try_from(page: Page) -> Result<Self, PageFault> {
        let mut book = Self::open(page.slot, page.terms, page.limits);
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
