//! Clearing a radial feeder, against the least that any clearing has to do: sorting the book.

use std::hint::black_box;
use std::time::Duration;

use anyhow::Context;
use market::{Grid, Lot, radial};
use units::Energy;

use super::{Figure, LARGEST_PROGRAM, MOST_PROOF, program};
use crate::bench::books::{Kind, cap_some, rank, spread, street, yardstick};
use crate::bench::cpu_best;

/// Nodes of the street.
const NODES: u32 = 100;
/// Lots whose flows decide about caps; those of larger books are scaled.
const SAMPLE: usize = 10_000;
/// Time for one thing that is measured.
const BUDGET: Duration = Duration::from_secs(1);

/// A book on a street with fees on every branch and caps on some.
pub(in crate::bench) fn problem(orders: usize, seed: u64) -> anyhow::Result<(Vec<Lot>, Grid)> {
    let mut branches = street(NODES, seed);
    let open = Grid::new(branches.clone())?;
    let sample = spread(Kind::Random, orders.min(SAMPLE), NODES, seed);
    let scale = i64::try_from((orders / SAMPLE).max(1))?;
    let free = radial::clear(&sample, &open, None, |lot| rank(seed, lot))?;
    let flows: Vec<Energy> =
        free.flows.iter().map(|flow| Energy::from_wh(flow.wh() * scale)).collect();
    cap_some(&mut branches, &flows, seed);
    Ok((spread(Kind::Random, orders, NODES, seed), Grid::new(branches)?))
}

/// How many times as long as sorting, and which part of it is the proof.
pub(super) fn measure(orders: usize, seed: u64) -> anyhow::Result<Vec<Figure>> {
    tracing::info!("clearing a feeder of {NODES} nodes with {orders} lots");
    let (lots, grid) = problem(orders, seed)?;
    let rank = |lot: usize| rank(seed, lot);
    let cleared = radial::clear(&lots, &grid, None, rank)?;
    cleared.certify(&lots, &grid, None, rank).context("the feeder's clearing is not proven")?;
    let sort = cpu_best(BUDGET, || yardstick(black_box(&lots)));
    let solve = cpu_best(BUDGET, || radial::clear(black_box(&lots), &grid, None, rank));
    let proof = cpu_best(BUDGET, || cleared.certify(black_box(&lots), &grid, None, rank));
    let goal = match orders {
        1_000 => Some(8.0),
        10_000 => Some(4.0),
        1_000_000 => Some(2.0),
        _ => None,
    };
    let name = |what: &str| format!("feeder, {} lots, {what}", super::count(orders));
    let proven = Figure::times(name("proven"), solve + proof, ("sort", sort), goal);
    let clearing = ("clearing", solve);
    if orders > LARGEST_PROGRAM {
        return Ok(vec![proven, Figure::share(name("proof"), proof, clearing, None)]);
    }
    tracing::info!("the same as a linear program");
    program::agrees(&lots, &grid, cleared.welfare)?;
    let solver = ("microlp", cpu_best(BUDGET, || program::solve(black_box(&lots), &grid)));
    Ok(vec![
        proven,
        Figure::faster(name("linear program"), solve, solver, Some(20.0)),
        Figure::share(name("proof"), proof, solver, Some(MOST_PROOF)).also_of(clearing),
    ])
}
