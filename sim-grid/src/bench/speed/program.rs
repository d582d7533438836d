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
    use market::radial;

    #[test]
    fn the_linear_program_finds_what_the_curves_find() {
        for seed in 1..=3 {
            let (lots, grid) = super::super::feeder_problem(300, seed).expect("drawn");
            let exact = radial::clear(&lots, &grid, None, |lot| rank(seed, lot)).expect("fine");
            let solved = solve(&lots, &grid).expect("an optimum");
            #[expect(clippy::cast_precision_loss, reason = "compared to six digits")]
            let welfare = exact.welfare as f64;
            assert!((solved / welfare - 1.0).abs() < 1e-6, "{solved} and {welfare}");
        }
    }
}
