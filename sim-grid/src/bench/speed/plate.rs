//! Clearing the copper plate, against the least that any clearing has to do: sorting the book.

use std::hint::black_box;
use std::time::Duration;

use anyhow::{Context, ensure};
use market::plate;

use super::{Figure, count};
use crate::bench::books::{Kind, book, rank, sort_and_match, yardstick};
use crate::bench::cpu_best;

/// Time for one thing that is measured.
const BUDGET: Duration = Duration::from_secs(1);
/// How many times as long as sorting it may take, with price, ties and proof.
const MOST_TIMES: f64 = 2.5;

/// How many times as long as sorting, and which part of it is the proof.
pub(super) fn measure(orders: usize, seed: u64) -> anyhow::Result<Vec<Figure>> {
    tracing::info!("clearing a copper plate with {orders} lots");
    let lots = book(Kind::Random, orders, seed);
    let rank = |lot: usize| rank(seed, lot);
    let cleared = plate::clear(&lots, rank)?;
    cleared.certify(&lots, rank).context("the plate's clearing is not proven")?;
    let best = sort_and_match(&lots).welfare;
    ensure!(cleared.welfare == best, "the plate is worth {}, sorting {best}", cleared.welfare);
    let sort = cpu_best(BUDGET, || yardstick(black_box(&lots)));
    let solve = cpu_best(BUDGET, || plate::clear(black_box(&lots), rank));
    let proof = cpu_best(BUDGET, || cleared.certify(black_box(&lots), rank));
    let goal = (orders >= 10_000).then_some(MOST_TIMES);
    let lots = count(orders);
    Ok(vec![
        Figure::times(format!("plate, {lots} lots, proven"), solve + proof, ("sort", sort), goal),
        Figure::share(format!("plate, {lots} lots, proof"), proof, ("clearing", solve), None),
    ])
}
