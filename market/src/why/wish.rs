//! The limit that would have traded, found by clearing the book with other limits.

use units::{Energy, Price};

use crate::{Book, Lot, Order, Side, plate, radial};

/// The search for one order.
pub(super) struct Wish<'a> {
    book: &'a Book,
    side: Side,
    /// The order's own lots in `lots`.
    own: std::ops::Range<usize>,
    lots: Vec<Lot>,
    ranks: Vec<crate::Rank>,
    /// What the order has in fact got.
    filled: Energy,
    /// What its steps before the one in question order.
    before: Energy,
    /// The most eager limit that the point may state.
    most_eager: Option<Price>,
}

impl<'a> Wish<'a> {
    pub fn of(book: &'a Book, order: &Order, filled: Energy) -> Self {
        let (mut lots, mut ranks, mut own) = (Vec::with_capacity(book.len()), Vec::new(), 0..0);
        for other in book.orders() {
            let start = lots.len();
            lots.extend(book.lots_of(other));
            ranks.resize(lots.len(), other.rank);
            if other.point == order.point && other.side == order.side {
                own = start..lots.len();
            }
        }
        let most_eager = most_eager(book, order);
        Self { book, side: order.side, own, lots, ranks, filled, before: Energy::ZERO, most_eager }
    }

    /// Goes on to the next step.
    pub fn pass(&mut self, quantity: Energy) {
        self.before += quantity;
    }

    /// The least eager limit, this one included, at which anything of the first step would trade.
    pub fn from(&self, limit: Price) -> Option<Price> {
        if self.trades_more(limit) { Some(limit) } else { self.for_step(limit) }
    }

    /// The least eager limit beyond the step's own at which more of it would trade.
    pub fn for_step(&self, limit: Price) -> Option<Price> {
        let most_eager = self.most_eager?;
        let (mut no, mut yes) = (self.ticks(limit), self.ticks(most_eager));
        if yes <= no || !self.trades_more(most_eager) {
            return None;
        }
        while no + 1 < yes {
            let middle = i64::midpoint(no, yes);
            if self.trades_more(self.at(middle)) {
                yes = middle;
            } else {
                no = middle;
            }
        }
        Some(self.at(yes))
    }

    /// A limit on a scale on which more is more eager.
    const fn ticks(&self, limit: Price) -> i64 {
        let ticks = limit.nano_per_wh() / Price::TICK.nano_per_wh();
        match self.side {
            Side::Buy => ticks,
            Side::Sell => -ticks,
        }
    }

    fn at(&self, ticks: i64) -> Price {
        let ticks = if self.side == Side::Buy { ticks } else { -ticks };
        Price::from_nano_per_wh(ticks * Price::TICK.nano_per_wh())
    }

    /// Whether the order gets more of the step with this limit for it and for the steps before it.
    fn trades_more(&self, limit: Price) -> bool {
        let curve = self.raised(limit);
        let own = self.own.start..self.own.start + curve.len();
        let mut lots = Vec::with_capacity(self.lots.len());
        lots.extend_from_slice(&self.lots[..self.own.start]);
        lots.extend(curve);
        lots.extend_from_slice(&self.lots[self.own.end..]);
        let gone = self.lots.len() - lots.len();
        let rank = |lot: usize| self.ranks[if lot < own.end { lot } else { lot + gone }];
        let fills = if self.book.grid().is_plate() {
            plate::clear(&lots, rank).map(|plate| plate.fills).ok()
        } else {
            radial::clear(&lots, self.book.grid(), None, rank).map(|radial| radial.fills).ok()
        };
        let fills = fills.expect("the lots are those of a book, with limits inside its terms");
        let filled: Energy = fills[own.clone()].iter().sum();
        filled > self.filled.max(self.before)
    }

    /// The order's lots with this limit at least, up to the step; steps that become alike are one.
    fn raised(&self, limit: Price) -> Vec<Lot> {
        let mut curve: Vec<Lot> = Vec::with_capacity(self.own.len());
        let mut before = Energy::ZERO;
        for mut lot in self.lots[self.own.clone()].iter().copied() {
            if before <= self.before && self.side.is_less_eager(lot.limit, limit) {
                lot.limit = limit;
            }
            before += lot.quantity;
            match curve.last_mut() {
                Some(last) if last.limit == lot.limit => last.quantity += lot.quantity,
                _ => curve.push(lot),
            }
        }
        curve
    }
}

/// Retail for a buyer and feed-in for a seller, as far as the point's own order of the other side
/// leaves room.
fn most_eager(book: &Book, order: &Order) -> Option<Price> {
    let own = book.order(&order.point, order.side.opposite());
    let own = own.and_then(|own| book.limits_of(own).next()).map(|(_, limit)| limit);
    match (order.side, own) {
        (Side::Buy, None) => Some(book.terms().retail()),
        (Side::Sell, None) => Some(book.terms().feed_in()),
        (Side::Buy, Some(ask)) => ask.checked_sub(Price::TICK),
        (Side::Sell, Some(bid)) => bid.checked_add(Price::TICK),
    }
}
