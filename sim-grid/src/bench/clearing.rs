//! What an auction costs: by linear program, by merit order, and by the least that could do.

use std::cmp::Reverse;
use std::hint::black_box;
use std::time::Duration;

use anyhow::{Context, ensure};
use market::{Book, Clearing, Limits, Method, Order, Side, Terms, clear, curves, propose};
use serde::Serialize;
use units::{Energy, PointId, Price, Slot};

use super::Spread;
use crate::world::chance::Chance;

/// Retail and feed-in of the books, 10⁻⁵ currency per kWh: the shipped street's flat tariff.
const TERMS_E5: (i64, i64) = (28_800, 12_310);
/// Orders are for 1 Wh up to this much less one: 20 kW for a quarter-hour.
const ORDER_END_WH: u64 = 5_000;
/// Time for one way of clearing one book.
const BUDGET: Duration = Duration::from_secs(2);

/// One book, cleared in three ways that agree.
#[derive(Debug, Serialize)]
pub struct ClearingCost {
    /// Orders in the book, half of them to buy.
    pub orders: usize,
    /// Different limits among the bids.
    pub bid_levels: usize,
    /// Different limits among the asks.
    pub ask_levels: usize,
    /// Energy that changes hands, Wh.
    pub cleared_wh: i64,
    /// `lp`, or why the linear program's answer was not taken.
    pub method: String,
    /// The linear program alone.
    pub solve: Spread,
    /// The linear program, its proof in integers and everybody's share.
    pub lp: Spread,
    /// The merit order, its proof and everybody's share.
    pub merit_order: Spread,
    /// Sorting limits and matching from both ends: no ties, no proof, nobody's share.
    pub sort_and_match: Spread,
    /// Median of the linear program by median of the merit order.
    pub lp_by_merit_order: f64,
    /// Median of the merit order by median of sorting and matching.
    pub merit_order_by_sort: f64,
}

/// Clears a drawn book of `orders` orders in every way.
///
/// # Errors
/// When the ways do not agree.
pub fn measure(orders: usize, seed: u64) -> anyhow::Result<ClearingCost> {
    tracing::info!("clearing {orders} orders");
    let book = book(orders, seed)?;
    let by_merit = clear(&book, None);
    let by_lp = clear(&book, Some(propose(&book)));
    agree(&by_lp, &by_merit)?;
    let by_sort = sort_and_match(&book);
    ensure!(
        by_sort == by_merit.cleared,
        "sorting trades {by_sort}, the merit order {}",
        by_merit.cleared
    );
    let curves = curves(&book);
    let timed = |once: &dyn Fn()| {
        Spread::measure(BUDGET, || {
            once();
            Ok(())
        })
    };
    let solve = timed(&|| drop(black_box(propose(black_box(&book)))))?;
    let lp = timed(&|| drop(black_box(clear(&book, Some(propose(black_box(&book)))))))?;
    let merit_order = timed(&|| drop(black_box(clear(black_box(&book), None))))?;
    let sort = timed(&|| {
        black_box(sort_and_match(black_box(&book)));
    })?;
    Ok(ClearingCost {
        orders,
        bid_levels: curves.bids.len(),
        ask_levels: curves.asks.len(),
        cleared_wh: by_lp.cleared.wh(),
        method: match by_lp.method {
            Method::Lp => "lp".to_owned(),
            Method::Exact(fallback) => fallback.to_string(),
            Method::Envelopes { reason } | Method::Shared { reason } => reason,
        },
        lp_by_merit_order: lp.median_us / merit_order.median_us,
        merit_order_by_sort: merit_order.median_us / sort.median_us,
        solve,
        lp,
        merit_order,
        sort_and_match: sort,
    })
}

/// A book with limits drawn evenly over all ticks from feed-in to retail, which is as many price
/// levels as there can be.
fn book(orders: usize, seed: u64) -> anyhow::Result<Book> {
    let mut chance = Chance::new(seed, "bench: orders");
    let (retail, feed_in) =
        (Price::from_e5_per_kwh(TERMS_E5.0), Price::from_e5_per_kwh(TERMS_E5.1));
    let terms = Terms::new(retail, feed_in)?;
    let mut book = Book::open(Slot::new(1_614_528), terms, Limits::default());
    let ticks = u64::try_from(TERMS_E5.0 - TERMS_E5.1).context("retail is above feed-in")?;
    for number in 0..orders {
        let mut rank = [0; 32];
        rank.chunks_exact_mut(8)
            .for_each(|part| part.copy_from_slice(&chance.bits().to_be_bytes()));
        let above = i64::try_from(chance.between(0, ticks + 1))?;
        book.place(Order::plain(
            PointId::new(format!("P{number:06}"))?,
            if number % 2 == 0 { Side::Buy } else { Side::Sell },
            Energy::from_wh(i64::try_from(chance.between(1, ORDER_END_WH))?),
            Price::from_e5_per_kwh(TERMS_E5.1 + above),
            rank,
        ))?;
    }
    Ok(book)
}

/// Both ways lead to the same clearing, but for how it was found.
fn agree(by_lp: &Clearing, by_merit: &Clearing) -> anyhow::Result<()> {
    let same = Clearing { method: by_merit.method.clone(), ..by_lp.clone() } == *by_merit;
    ensure!(same, "linear program and merit order disagree: {by_lp:?} and {by_merit:?}");
    Ok(())
}

/// Energy that trades when dearest bids meet cheapest asks: what any clearing has to do at least.
fn sort_and_match(book: &Book) -> Energy {
    let of = |side: Side| {
        let orders = book.orders().filter(move |order| order.side == side);
        orders
            .flat_map(|order| book.limits_of(order))
            .map(|(wh, limit)| (limit, wh))
            .collect::<Vec<_>>()
    };
    let (mut bids, mut asks) = (of(Side::Buy), of(Side::Sell));
    bids.sort_unstable_by_key(|&(limit, _)| Reverse(limit));
    asks.sort_unstable_by_key(|&(limit, _)| limit);
    let (mut bids, mut asks) = (bids.into_iter(), asks.into_iter());
    let (mut bid, mut ask) = (bids.next(), asks.next());
    let mut traded = Energy::ZERO;
    while let (Some((dearest, wanted)), Some((cheapest, offered))) = (&mut bid, &mut ask) {
        if *dearest < *cheapest {
            break;
        }
        let energy = (*wanted).min(*offered);
        traded += energy;
        *wanted -= energy;
        *offered -= energy;
        let (bid_is_full, ask_is_full) = (wanted.is_zero(), offered.is_zero());
        if bid_is_full {
            bid = bids.next();
        }
        if ask_is_full {
            ask = asks.next();
        }
    }
    traded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drawn_book_is_the_same_for_a_seed_and_clears_alike_in_every_way() {
        for seed in 0..20 {
            let drawn = book(101, seed).expect("orders are fine");
            assert_eq!(drawn, book(101, seed).expect("orders are fine"));
            let cleared = clear(&drawn, None);
            assert!(cleared.cleared.is_positive(), "such a book trades");
            assert_eq!(sort_and_match(&drawn), cleared.cleared, "seed {seed}");
        }
        assert_ne!(book(101, 1).expect("fine"), book(101, 2).expect("fine"));
        assert_eq!(sort_and_match(&book(0, 1).expect("empty")), Energy::ZERO);
    }
}
