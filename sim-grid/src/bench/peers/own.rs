//! Our own engines, through the door that the controller uses, in the peers' table.

use std::hint::black_box;
use std::time::Duration;

use anyhow::Context;
use market::{Book, Clearing, Limits, Lot, Order, Terms, clear, propose};
use units::{PointId, Price, Slot};

use super::judge::Outcome;
use crate::bench::books::{CHEAPEST_E5, DEAREST_E5, rank};
use crate::bench::cpu_best;

/// One of our engines.
#[derive(Debug, Clone, Copy)]
pub struct Own {
    /// What the table calls it.
    pub method: &'static str,
    /// Largest book that is tried.
    pub most_orders: usize,
    clear: fn(&Book) -> Clearing,
}

/// All of them.
pub const OWN: [Own; 2] = [
    Own { method: "merit order", most_orders: usize::MAX, clear: |book| clear(book, None) },
    Own {
        method: "linear program",
        most_orders: 10_000,
        clear: |book| clear(book, Some(propose(book))),
    },
];

/// What an engine did with a book.
pub struct Answer {
    /// Processor time of the fastest run, seconds.
    pub seconds: f64,
    /// What each lot got.
    pub first: Outcome,
    /// The same of another run.
    pub again: Outcome,
    /// The same of a run on a shuffled book, in the order of the lots.
    pub shuffled: Outcome,
}

impl Own {
    /// Clears a book, again, and shuffled.
    pub fn ask(&self, lots: &[Lot], shuffle: &[usize], seed: u64) -> anyhow::Result<Answer> {
        let orders = orders(lots, seed)?;
        let book = book(orders.iter())?;
        let mixed = self::book(shuffle.iter().map(|&lot| &orders[lot]))?;
        let run = |book: &Book| outcome(&orders, &(self.clear)(book));
        let budget = Duration::from_millis(500);
        let best = cpu_best(budget, || (self.clear)(black_box(&book)));
        Ok(Answer {
            seconds: best.as_secs_f64(),
            first: run(&book),
            again: run(&book),
            shuffled: run(&mixed),
        })
    }
}

fn orders(lots: &[Lot], seed: u64) -> anyhow::Result<Vec<Order>> {
    let order = |(number, lot): (usize, &Lot)| {
        let point = PointId::new(format!("P{number:06}"))?;
        Ok(Order::plain(point, lot.side, lot.quantity, lot.limit, rank(seed, number)))
    };
    lots.iter().enumerate().map(order).collect()
}

fn book<'a>(orders: impl Iterator<Item = &'a Order>) -> anyhow::Result<Book> {
    let terms =
        Terms::new(Price::from_e5_per_kwh(DEAREST_E5), Price::from_e5_per_kwh(CHEAPEST_E5))?;
    let mut book = Book::open(Slot::new(1_614_528), terms, Limits::default());
    for order in orders {
        book.place(order.clone()).context("a drawn order is fine")?;
    }
    Ok(book)
}

fn outcome(orders: &[Order], clearing: &Clearing) -> Outcome {
    let mut outcome = Outcome { kwh: vec![0.0; orders.len()], ct: vec![0.0; orders.len()] };
    for fill in &clearing.fills {
        // Points are numbered, so they sort as the lots do.
        let lot = orders.binary_search_by(|order| order.point.cmp(&fill.point));
        let lot = lot.expect("every fill is of an order");
        let (wh, price) = (fill.energy.wh(), fill.price.nano_per_wh());
        #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
        {
            outcome.kwh[lot] = wh as f64 / 1e3;
            outcome.ct[lot] = (wh * price) as f64 / 1e7;
        }
    }
    outcome
}
