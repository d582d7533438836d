//! Linear programs and those who solve them.
//!
//! Solvers differ in what they call an answer: some report `Optimal` with values that break the
//! rows, some return zeros when their time is up. Whatever stands behind [`Solver`], values exist
//! only inside [`Status::Optimal`], every one of them is finite, and [`Watched`] cuts a solver
//! short from outside: it runs on a thread of its own, an answer that comes late is thrown away,
//! and a panic is a [`Status::Numerical`] like any other failure. Even then an answer is only a
//! proposal; what is believed is proven in integers by the caller.

mod factors;
mod good_lp;
mod lean;
mod program;
mod simplex;
mod watched;

#[cfg(feature = "highs")]
pub use good_lp::Highs;
pub use good_lp::MicroLp;
pub use program::{Column, Label, Patch, Program, ProgramFault};
pub use simplex::Simplex;
pub use watched::Watched;

/// How a solver's work ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Status {
    /// One value per column, all finite, which the solver holds to be optimal.
    Optimal(Vec<f64>),
    /// Time was up.
    Deadline,
    /// No values satisfy the rows, says the solver.
    Infeasible,
    /// The objective has no bound, says the solver.
    Unbounded,
    /// The solver gave up, crashed, or answered with something that is no number.
    Numerical(String),
}

impl Status {
    /// An answer's values, turned down unless there is one finite value per column.
    #[must_use]
    pub fn optimal(values: Vec<f64>, columns: usize) -> Self {
        if values.len() != columns {
            let count = values.len();
            return Self::Numerical(format!("{count} values for {columns} columns"));
        }
        match values.iter().position(|value| !value.is_finite()) {
            Some(i) => Self::Numerical(format!("the value of column {i} is {}", values[i])),
            None => Self::Optimal(values),
        }
    }
}

/// Something that maximises a [`Program`]: load one, patch it, solve it as often as needed.
pub trait Solver {
    /// Name and version for the record.
    fn name(&self) -> &str;

    /// Takes a program and forgets the one before.
    fn load(&mut self, program: Program);

    /// Changes costs, bounds and right-hand sides of the loaded program.
    ///
    /// # Errors
    /// [`ProgramFault`] when nothing is loaded or the patch does not fit; nothing is changed then.
    fn patch(&mut self, patch: &Patch) -> Result<(), ProgramFault>;

    /// Maximises the loaded program.
    fn solve(&mut self) -> Status;
}

impl<S: Solver + ?Sized> Solver for Box<S> {
    fn name(&self) -> &str {
        (**self).name()
    }

    fn load(&mut self, program: Program) {
        (**self).load(program);
    }

    fn patch(&mut self, patch: &Patch) -> Result<(), ProgramFault> {
        (**self).patch(patch)
    }

    fn solve(&mut self) -> Status {
        (**self).solve()
    }
}
