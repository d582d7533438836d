//! A street for tests: short names for points, prices and orders, and random ones.

use market::{Book, Limit, Limits, Order, Rank, Side, Step, Terms};
use proptest::prelude::*;
use units::{Energy, PointId, Price, Slot};

pub const SLOT: Slot = Slot::new(1_612_896);

pub fn point(name: impl std::fmt::Display) -> PointId {
    PointId::new(name.to_string()).expect("a short name")
}

pub fn wh(value: i64) -> Energy {
    Energy::from_wh(value)
}

pub fn e5(value: i64) -> Price {
    Price::from_e5_per_kwh(value)
}

pub fn terms(retail_e5: i64, feed_in_e5: i64) -> Terms {
    Terms::new(e5(retail_e5), e5(feed_in_e5)).expect("on the tick")
}

/// A tie key that sorts like the number.
pub fn rank(number: u64) -> Rank {
    let mut rank = [0; 32];
    rank[..8].copy_from_slice(&number.to_be_bytes());
    rank
}

/// An order of a point of its own, as random books have them.
#[derive(Debug, Clone, Copy)]
pub struct Draw {
    pub side: Side,
    pub wh: i64,
    pub e5: i64,
    pub rank: u64,
}

impl Draw {
    pub fn step(self) -> Step {
        Step { quantity: wh(self.wh), limit: Limit::At(e5(self.e5)) }
    }

    pub fn order(self, name: impl std::fmt::Display) -> Order {
        Order::plain(point(name), self.side, wh(self.wh), e5(self.e5), rank(self.rank))
    }
}

/// The `i`-th draw is the order of the point `P<i>`.
pub fn book_of(terms: Terms, draws: &[Draw]) -> Book {
    let mut book = Book::open(SLOT, terms, Limits::default());
    for (i, draw) in draws.iter().enumerate() {
        book.place(draw.order(format_args!("P{i:03}"))).expect("a valid order");
    }
    book
}

/// A book under terms that are wide enough for every limit that [`draws`] makes.
pub fn wide_book(draws: &[Draw]) -> Book {
    book_of(terms(1_000, -1_000), draws)
}

pub fn side() -> impl Strategy<Value = Side> {
    prop_oneof![Just(Side::Buy), Just(Side::Sell)]
}

/// Orders with few price levels, so that ties, touches and full overlaps are common.
pub fn draws(max_orders: usize, max_wh: i64) -> impl Strategy<Value = Vec<Draw>> {
    (1_i64..40).prop_flat_map(move |levels| {
        let draw = (side(), 1..=max_wh, -levels..=levels, any::<u64>())
            .prop_map(|(side, wh, e5, rank)| Draw { side, wh, e5, rank });
        prop::collection::vec(draw, 0..=max_orders)
    })
}
