//! Clearing the copper plate, against the least that any clearing has to do: sorting the book.

use std::hint::black_box;
use std::time::Duration;

use anyhow::{Context, ensure};
use market::{Grid, Lot, Rank, plate};

use super::{Figure, LARGEST_PROGRAM, MOST_PROOF, count, program};
use crate::bench::books::{Kind, book, rank, sort_and_match, yardstick};
use crate::bench::cpu_best;

/// Time for one thing that is measured.
const BUDGET: Duration = Duration::from_secs(1);
/// How many times as long as sorting it may take, with price, ties and proof.
const MOST_TIMES: f64 = 2.5;
/// Lots from which on the goal counts: below, sorting is hardly any work.
const LEAST_LOTS: usize = 10_000;

/// Processor time of sorting, of clearing and of the proof.
struct Times {
    sort: Duration,
    solve: Duration,
    proof: Duration,
}

/// How many times as long as sorting, and which part of it is the proof.
pub(super) fn measure(orders: usize, seed: u64) -> anyhow::Result<Vec<Figure>> {
    let lots = book(Kind::Random, orders, seed);
    let Times { sort, solve, proof } = times(Kind::Random, &lots, seed)?;
    let goal = (orders >= LEAST_LOTS).then_some(MOST_TIMES);
    let name = |what: &str| format!("plate, {} lots, {what}", count(orders));
    let proven = Figure::times(name("proven"), solve + proof, ("sort", sort), goal);
    let clearing = ("clearing", solve);
    if orders > LARGEST_PROGRAM {
        return Ok(vec![proven, Figure::share(name("proof"), proof, clearing, None)]);
    }
    let node = Grid::new(Vec::new())?;
    program::agrees(&lots, &node, plate::clear(&lots, ranks(orders, seed))?.welfare)?;
    let program = ("microlp", cpu_best(BUDGET, || program::solve(black_box(&lots), &node)));
    let proof = Figure::share(name("proof"), proof, program, Some(MOST_PROOF)).also_of(clearing);
    Ok(vec![proven, proof])
}

/// The same where ties are many: a few limits, one limit, and one limit with buyers who want the
/// same.
pub(super) fn measure_ties(orders: usize, seed: u64) -> anyhow::Result<Vec<Figure>> {
    if orders < LEAST_LOTS {
        return Ok(Vec::new());
    }
    let one = |kind: Kind| {
        let lots = book(kind, orders, seed);
        let Times { sort, solve, proof } = times(kind, &lots, seed)?;
        let what = format!("plate, {} lots, {}, proven", count(orders), kind.name());
        Ok(Figure::times(what, solve + proof, ("sort", sort), Some(MOST_TIMES)))
    };
    [Kind::Ties, Kind::OnePrice, Kind::Alike].into_iter().map(one).collect()
}

fn times(kind: Kind, lots: &[Lot], seed: u64) -> anyhow::Result<Times> {
    tracing::info!("clearing a copper plate with {} lots, {}", lots.len(), kind.name());
    let rank = ranks(lots.len(), seed);
    let cleared = plate::clear(lots, &rank)?;
    cleared.certify(lots, &rank).context("the plate's clearing is not proven")?;
    let best = sort_and_match(lots).welfare;
    ensure!(cleared.welfare == best, "the plate is worth {}, sorting {best}", cleared.welfare);
    Ok(Times {
        sort: cpu_best(BUDGET, || yardstick(black_box(lots))),
        solve: cpu_best(BUDGET, || plate::clear(black_box(lots), &rank)),
        proof: cpu_best(BUDGET, || cleared.certify(black_box(lots), &rank)),
    })
}

/// Ranks that come with the orders, as in a book.
fn ranks(lots: usize, seed: u64) -> impl Fn(usize) -> Rank {
    let ranks: Vec<Rank> = (0..lots).map(|lot| rank(seed, lot)).collect();
    move |lot| ranks[lot]
}
