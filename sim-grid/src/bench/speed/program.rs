//! The feeder's welfare problem as a linear program, the way one would state it for a solver.

use market::solver::{MicroLp, Program, Solver, Status};
use market::{Grid, Lot, Side};

/// Solves the book as it stands, without anything that is known about trees. Returns the objective
/// in nano-currency.
///
/// # Errors
/// When the solver finds no optimum.
pub(super) fn solve(lots: &[Lot], grid: &Grid) -> anyhow::Result<f64> {
    let mut solver = MicroLp::default();
    let program = program(lots, grid);
    solver.load(program.clone());
    match solver.solve() {
        // kWh and ct: 10⁷ nano-currency are a ct.
        Status::Optimal(values) => Ok(program.objective(&values) * 1e7),
        other => anyhow::bail!("the linear program of {} lots ends as {other:?}", lots.len()),
    }
}

/// Lets the solver check an exact answer, to six digits.
///
/// # Errors
/// When the two are apart, or the solver finds no optimum.
pub(super) fn agrees(lots: &[Lot], grid: &Grid, welfare: i128) -> anyhow::Result<()> {
    let optimum = solve(lots, grid)?;
    #[expect(clippy::cast_precision_loss, reason = "compared to six digits")]
    let apart = (optimum / welfare as f64 - 1.0).abs();
    anyhow::ensure!(apart < 1e-6, "the linear program finds {optimum}, the exact engine {welfare}");
    Ok(())
}

/// Columns: a fill per lot and, per branch, the flow towards its node and away from it. Rows: a
/// balance per node. kWh and ct, so that all numbers are of one size.
fn program(lots: &[Lot], grid: &Grid) -> Program {
    #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
    let (kwh, ct) = (|wh: i64| wh as f64 / 1e3, |nano: i64| nano as f64 / 1e4);
    let mut program = Program::new();
    let mut balance: Vec<Vec<(usize, f64)>> = vec![Vec::new(); grid.size()];
    for lot in lots {
        let sign = if lot.side == Side::Buy { 1.0 } else { -1.0 };
        let worth = sign * ct(lot.limit.nano_per_wh());
        let fill = program.column(0.0, kwh(lot.quantity.wh()), worth);
        balance[lot.node.index()].push((fill, sign));
    }
    let everything = kwh(lots.iter().map(|lot| lot.quantity.wh()).sum());
    for (number, branch) in grid.branches().iter().enumerate() {
        let fee = -ct(branch.fee.nano_per_wh());
        for (cap, way) in [(branch.import_cap, 1.0), (branch.export_cap, -1.0)] {
            // Every column has a bound: solvers are at their worst without.
            let flow = program.column(0.0, kwh(cap.wh()).min(everything), fee);
            balance[branch.parent.index()].push((flow, way));
            balance[number + 1].push((flow, -way));
        }
    }
    for entries in balance {
        program.row(0.0, 0.0, entries);
    }
    program
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::books::rank;
    use market::{Node, plate, radial};

    #[test]
    fn the_linear_program_finds_what_the_curves_find() {
        for seed in 1..=3 {
            let (lots, grid) = super::super::feeder_problem(300, seed).expect("drawn");
            let exact = radial::clear(&lots, &grid, None, |lot| rank(seed, lot)).expect("fine");
            agrees(&lots, &grid, exact.welfare).expect("to six digits");
            agrees(&lots, &grid, exact.welfare * 101 / 100).expect_err("a hundredth is too much");
            let (plate, node) = (plate::clear(&lots, |lot| rank(seed, lot)), Grid::new(Vec::new()));
            let (plate, node) = (plate.expect("fine"), node.expect("a tree of one"));
            let on_it: Vec<Lot> = lots.iter().map(|lot| Lot { node: Node::ROOT, ..*lot }).collect();
            agrees(&on_it, &node, plate.welfare).expect("the plate's, too");
        }
    }
}
