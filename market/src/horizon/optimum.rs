//! Solving the relaxed program until nothing is broken.

use crate::horizon::detail::Detail;
use crate::horizon::problem::Horizon;
use crate::horizon::relaxed::Relaxed;
use crate::horizon::survey::Surveyed;
use crate::solver::{Solver, Status};

/// Most times the program is stated more exactly and solved again. Each time at least one branch
/// is added for good; a dozen are far more than any street has needed.
const MOST_ROUNDS: usize = 24;

/// By how much values may break a row, kWh.
const FEASIBLE: f64 = 1e-5;

/// The optimum of the program in floats.
pub(super) struct Optimum {
    pub relaxed: Relaxed,
    pub values: Vec<f64>,
    /// Per slot and node, kWh towards it.
    pub flows: Vec<Vec<f64>>,
}

/// Finds the optimum, or says what the solver did instead.
pub(super) fn optimum(
    horizon: &Horizon,
    surveyed: &[Surveyed],
    mut detail: Detail,
    solver: &mut dyn Solver,
) -> Result<Optimum, String> {
    for _ in 0..MOST_ROUNDS {
        let relaxed = Relaxed::state(horizon, surveyed, &detail);
        solver.load(relaxed.program.clone());
        let values = match solver.solve() {
            Status::Optimal(values) => values,
            other => return Err(said(&other)),
        };
        let violation = relaxed.program.violation(&values);
        if violation > FEASIBLE {
            return Err(format!("the solver's optimum breaks a row by {violation:.3e} kWh"));
        }
        let flows = relaxed.flows(horizon, surveyed, &values);
        let broken = detail.refine(horizon, surveyed, &flows);
        if broken == 0 && detail.part(&relaxed, &values) == 0 {
            return Ok(Optimum { relaxed, values, flows });
        }
    }
    Err(format!("still breaking branches after {MOST_ROUNDS} rounds"))
}

/// What a solver answered instead of an optimum, in words.
pub(super) fn said(status: &Status) -> String {
    match status {
        Status::Optimal(_) => "the solver has an optimum".to_owned(),
        Status::Deadline => "the solver was late".to_owned(),
        Status::Infeasible => "the solver calls a feasible program infeasible".to_owned(),
        Status::Unbounded => "the solver calls a bounded program unbounded".to_owned(),
        Status::Numerical(detail) => format!("the solver failed: {detail}"),
    }
}
