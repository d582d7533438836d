//! Solvers behind the portable layer good_lp: microlp always, HiGHS as a cargo feature.
//!
//! good_lp consumes a model when it solves it, so a re-solve states the program anew; stating it
//! is a few per cent of the work. What it reports as solved is turned down unless its status says
//! optimal: HiGHS, for one, answers with zeros and `TimeLimit` when its time is up.

use good_lp::{
    Expression, ProblemVariables, ResolutionError, Solution, SolutionStatus, SolverModel, Variable,
    WithTimeLimit, variable,
};

use crate::solver::lean::{self, Binding, Depth};
use crate::solver::{Patch, Program, ProgramFault, Solver, Status};

/// When a solver stops by itself, in seconds: long after any deadline of [`Watched`], so that a
/// thread that was given up ends some day.
///
/// [`Watched`]: crate::solver::Watched
const STOP_AFTER_S: f64 = 60.0;

/// The default solver: microlp, a simplex method in pure Rust.
#[derive(Debug, Clone, Default)]
pub struct MicroLp {
    program: Option<Program>,
    binding: Binding,
}

impl Solver for MicroLp {
    fn name(&self) -> &str {
        "microlp 0.6"
    }

    fn load(&mut self, program: Program) {
        self.program = Some(program);
    }

    fn patch(&mut self, patch: &Patch) -> Result<(), ProgramFault> {
        self.program.as_mut().ok_or(ProgramFault::NothingLoaded)?.patch(patch)
    }

    fn solve(&mut self) -> Status {
        solved(self.program.as_ref(), &mut self.binding, |stated| {
            let model = stated.problem.maximise(stated.objective).using(good_lp::microlp);
            finish(model.with_time_limit(STOP_AFTER_S), stated.constraints, &stated.columns)
        })
    }
}

/// HiGHS: much faster on large programs, a C++ library that needs cmake and clang to build.
#[cfg(feature = "highs")]
#[derive(Debug, Clone, Default)]
pub struct Highs {
    program: Option<Program>,
    binding: Binding,
}

#[cfg(feature = "highs")]
impl Solver for Highs {
    fn name(&self) -> &str {
        "HiGHS"
    }

    fn load(&mut self, program: Program) {
        self.program = Some(program);
    }

    fn patch(&mut self, patch: &Patch) -> Result<(), ProgramFault> {
        self.program.as_mut().ok_or(ProgramFault::NothingLoaded)?.patch(patch)
    }

    fn solve(&mut self) -> Status {
        solved(self.program.as_ref(), &mut self.binding, |stated| {
            let model = stated.problem.maximise(stated.objective).using(good_lp::highs);
            let model = model.set_option("threads", 1).set_option("random_seed", 0);
            finish(model.with_time_limit(STOP_AFTER_S), stated.constraints, &stated.columns)
        })
    }
}

/// A program in the words of good_lp.
struct Stated {
    problem: ProblemVariables,
    objective: Expression,
    constraints: Vec<good_lp::Constraint>,
    columns: Vec<Variable>,
}

/// States the program and hands it on; without columns or rows there is nothing to ask.
fn solved(
    program: Option<&Program>,
    binding: &mut Binding,
    mut solve: impl FnMut(Stated) -> Status,
) -> Status {
    let Some(program) = program else {
        return Status::Numerical(ProgramFault::NothingLoaded.to_string());
    };
    if let Err(fault) = program.check() {
        return Status::Numerical(fault.to_string());
    }
    lean::solve(program, Depth::Cuts, binding, |program| {
        if program.row_count() == 0 {
            let best = |c: &crate::solver::Column| if c.cost > 0.0 { c.upper } else { c.lower };
            return Status::Optimal(program.columns().iter().map(best).collect());
        }
        solve(state(program))
    })
}

fn state(program: &Program) -> Stated {
    let mut problem = ProblemVariables::new();
    let mut objective = Expression::with_capacity(program.columns().len());
    let columns: Vec<Variable> = program
        .columns()
        .iter()
        .map(|column| {
            let added = problem.add(variable().min(column.lower).max(column.upper));
            objective.add_mul(column.cost, added);
            added
        })
        .collect();
    let mut constraints = Vec::with_capacity(program.row_count());
    for row in 0..program.row_count() {
        let (lower, upper) = program.row_bounds(row);
        let mut sum = Expression::with_capacity(program.entries(row).len());
        for &(column, coefficient) in program.entries(row) {
            sum.add_mul(coefficient, columns[column]);
        }
        if lower == upper {
            constraints.push(sum.eq(upper));
            continue;
        }
        if lower.is_finite() {
            constraints.push(sum.clone().geq(lower));
        }
        if upper.is_finite() {
            constraints.push(sum.leq(upper));
        }
    }
    Stated { problem, objective, constraints, columns }
}

fn finish<M: SolverModel<Error = ResolutionError>>(
    mut model: M,
    constraints: Vec<good_lp::Constraint>,
    columns: &[Variable],
) -> Status {
    for constraint in constraints {
        model.add_constraint(constraint);
    }
    match model.solve() {
        Ok(solution) => match solution.status() {
            SolutionStatus::Optimal => {
                let values = columns.iter().map(|&column| solution.value(column)).collect();
                Status::optimal(values, columns.len())
            }
            SolutionStatus::TimeLimit => Status::Deadline,
            other => Status::Numerical(format!("stopped with {other:?}")),
        },
        Err(ResolutionError::Infeasible) => Status::Infeasible,
        Err(ResolutionError::Unbounded) => Status::Unbounded,
        Err(fault) => Status::Numerical(fault.to_string()),
    }
}
