//! The project's own solver: a dual simplex method that remembers where it stood.
//!
//! Solvers behind good_lp start from nothing every time. Planning asks nearly the same question
//! again and again (the next slot, a forecast a few per cent off), and a simplex method that
//! starts from its last basis answers that in a fraction of the time; microlp keeps its basis to
//! itself, and HiGHS cannot be required. A column or row is known again by its [`Label`].
//!
//! The project's programs suit the dual method: every column has finite bounds, so every basis is
//! made dual feasible by putting the other columns on the right bound, and no first phase is
//! needed. What is used is textbook (Koberstein, The dual simplex method, Paderborn 2005):
//! steepest-edge pricing, a ratio test that flips bounds on its way, small cost shifts against
//! stalling that are taken back in the end, and factors that are renewed regularly
//! ([`Factors`]). Variables are the columns and one slack per row, which equals the row's sum.

mod pivoting;

use std::collections::BTreeMap;

use crate::solver::factors::Factors;
use crate::solver::lean::{self, Binding, Depth};
use crate::solver::{Label, Patch, Program, ProgramFault, Solver, Status};

/// A reduced cost with the wrong sign below this is none, ct/kWh.
const DUAL: f64 = 1e-9;

/// How far costs are shifted at the start, relative to their size: enough to tell equal columns
/// apart, and taken back before the answer.
const SHIFT: f64 = 1e-6;

/// Rounds of taking cost shifts back before the answer is refused.
const CLEAN_UPS: usize = 20;

/// Where a variable is: on a bound, or at a position of the basis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Lower,
    Upper,
    Basic(usize),
}

/// Why there is no optimum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stop {
    Infeasible,
    Failed(&'static str),
}

/// The solver; see the module.
#[derive(Debug, Default)]
pub struct Simplex {
    program: Option<Program>,
    /// Where labelled columns and rows were at the last optimum.
    remembered: BTreeMap<Label, Place>,
    /// What held back the last optimum.
    binding: Binding,
    iterations: usize,
}

impl Simplex {
    /// Changes of basis so far.
    #[must_use]
    pub const fn iterations(&self) -> usize {
        self.iterations
    }
}

impl Solver for Simplex {
    fn name(&self) -> &str {
        "dual simplex"
    }

    fn load(&mut self, program: Program) {
        self.program = Some(program);
    }

    fn patch(&mut self, patch: &Patch) -> Result<(), ProgramFault> {
        self.program.as_mut().ok_or(ProgramFault::NothingLoaded)?.patch(patch)
    }

    fn solve(&mut self) -> Status {
        let Some(program) = &self.program else {
            return Status::Numerical(ProgramFault::NothingLoaded.to_string());
        };
        if let Err(fault) = program.check() {
            return Status::Numerical(fault.to_string());
        }
        let Self { remembered, iterations, .. } = self;
        lean::solve(program, Depth::All, &mut self.binding, |program| {
            let mut tableau = Tableau::new(program);
            tableau.start(remembered);
            let outcome = tableau.optimise();
            *iterations += tableau.iterations;
            match outcome {
                Ok(()) => {
                    if let Some(places) = tableau.labelled() {
                        *remembered = places;
                    }
                    let columns = program.columns().len();
                    Status::optimal(tableau.x[..columns].to_vec(), columns)
                }
                Err(Stop::Infeasible) => Status::Infeasible,
                Err(Stop::Failed(why)) => Status::Numerical(why.to_owned()),
            }
        })
    }
}

/// A program being solved. Variables are counted columns first, then rows.
struct Tableau<'a> {
    program: &'a Program,
    /// Number of columns.
    n: usize,
    /// Number of rows.
    m: usize,
    /// Per variable, entries by row.
    columns: Vec<Vec<(usize, f64)>>,
    lower: Vec<f64>,
    upper: Vec<f64>,
    /// To be minimised, shifts included.
    cost: Vec<f64>,
    shifted: bool,
    x: Vec<f64>,
    /// Reduced costs.
    d: Vec<f64>,
    place: Vec<Place>,
    /// The variable at each position of the basis.
    head: Vec<usize>,
    /// Squared norm of each row of the inverse, the steepest-edge weight.
    weight: Vec<f64>,
    factors: Factors,
    iterations: usize,
    scratch: Scratch,
}

/// Vectors that are filled anew in every step.
#[derive(Default)]
struct Scratch {
    /// By row, zero between uses.
    row: Vec<f64>,
    /// By position, zero between uses.
    position: Vec<f64>,
    /// By row: the inverse's row that leaves.
    rho: Vec<f64>,
    /// By variable: rho times its column; zero but for `touched`.
    alpha: Vec<f64>,
    touched: Vec<usize>,
    /// By position: the entering column.
    entering: Vec<f64>,
    tau: Vec<f64>,
    flips: Vec<f64>,
}

impl<'a> Tableau<'a> {
    fn new(program: &'a Program) -> Self {
        let (n, m) = (program.columns().len(), program.row_count());
        let mut columns = vec![Vec::new(); n + m];
        let mut lower: Vec<f64> = program.columns().iter().map(|column| column.lower).collect();
        let mut upper: Vec<f64> = program.columns().iter().map(|column| column.upper).collect();
        let mut cost: Vec<f64> = program.columns().iter().map(|column| -column.cost).collect();
        cost.resize(n + m, 0.0);
        for row in 0..m {
            let (mut least, mut most) = (0.0, 0.0);
            for &(j, a) in program.entries(row) {
                columns[j].push((row, a));
                let (one, other) = (a * lower[j], a * upper[j]);
                least += one.min(other);
                most += one.max(other);
            }
            columns[n + row].push((row, -1.0));
            // An open side is closed where the columns cannot reach.
            let (low, high) = program.row_bounds(row);
            lower.push(if low.is_finite() { low } else { least.min(high) - 1.0 });
            upper.push(if high.is_finite() { high } else { most.max(low) + 1.0 });
        }
        let zeros = |count: usize| vec![0.0; count];
        let scratch = Scratch {
            row: zeros(m),
            position: zeros(m),
            rho: zeros(m),
            alpha: zeros(n + m),
            touched: Vec::new(),
            entering: zeros(m),
            tau: zeros(m),
            flips: zeros(m),
        };
        Self {
            program,
            n,
            m,
            columns,
            lower,
            upper,
            cost,
            shifted: false,
            x: zeros(n + m),
            d: zeros(n + m),
            place: vec![Place::Lower; n + m],
            head: Vec::new(),
            weight: vec![1.0; m],
            factors: Factors::default(),
            iterations: 0,
            scratch,
        }
    }

    fn labels(&self) -> impl Iterator<Item = Option<Label>> {
        self.program.column_labels().iter().chain(self.program.row_labels()).copied()
    }

    /// Starts from the slack basis, or from where labelled columns and rows were before.
    fn start(&mut self, remembered: &BTreeMap<Label, Place>) {
        let before = |label: Option<Label>| label.and_then(|label| remembered.get(&label).copied());
        let places: Vec<Option<Place>> = self.labels().map(before).collect();
        if places.iter().all(Option::is_none) {
            self.shift_apart();
        }
        let mut basic = Vec::with_capacity(self.m);
        for (j, place) in places.into_iter().enumerate() {
            let unknown = if j < self.n { Place::Lower } else { Place::Basic(0) };
            self.place[j] = place.unwrap_or(unknown);
            if matches!(self.place[j], Place::Basic(_)) {
                basic.push(j);
            }
        }
        // Too many: the last slacks leave. Too few: the first that are not basic enter.
        while basic.len() > self.m {
            let out = basic.pop().expect("there are more than rows");
            self.place[out] = Place::Lower;
        }
        let spare =
            (self.n..self.n + self.m).filter(|&j| !matches!(self.place[j], Place::Basic(_)));
        let spare: Vec<usize> = spare.take(self.m - basic.len()).collect();
        basic.extend(spare);
        self.head = basic;
        for (position, &j) in self.head.iter().enumerate() {
            self.place[j] = Place::Basic(position);
        }
    }

    /// Where labelled columns and rows are; none when nothing is labelled.
    fn labelled(&self) -> Option<BTreeMap<Label, Place>> {
        let places = self.labels().zip(&self.place);
        let places: BTreeMap<Label, Place> =
            places.filter_map(|(label, &place)| Some((label?, place))).collect();
        (!places.is_empty()).then_some(places)
    }

    /// Makes costs differ a little, always the same way.
    fn shift_apart(&mut self) {
        let mut state = 0x9E37_79B9_u32;
        for cost in &mut self.cost[..self.n] {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            let share = 0.5 + 0.5 * f64::from(state) / f64::from(u32::MAX);
            *cost += (SHIFT * share * (1.0 + cost.abs())).copysign(*cost);
        }
        self.shifted = true;
    }

    /// Solves, takes cost shifts back, and solves again until there are none.
    fn optimise(&mut self) -> Result<(), Stop> {
        self.factor()?;
        for _ in 0..CLEAN_UPS {
            self.reprice();
            for j in 0..self.n + self.m {
                self.settle(j, DUAL);
            }
            self.revalue();
            self.iterate()?;
            if !self.shifted {
                return Ok(());
            }
            for (cost, column) in self.cost.iter_mut().zip(self.program.columns()) {
                *cost = -column.cost;
            }
            self.cost[self.n..].fill(0.0);
            self.shifted = false;
            self.reprice();
            if (0..self.n + self.m).all(|j| !self.is_wrong(j, 10.0 * DUAL)) {
                return Ok(());
            }
        }
        Err(Stop::Failed("cost shifts could not be taken back"))
    }

    /// Whether a reduced cost asks for the other bound.
    fn is_wrong(&self, j: usize, tolerance: f64) -> bool {
        match self.place[j] {
            _ if self.lower[j] == self.upper[j] => false,
            Place::Lower => self.d[j] < -tolerance,
            Place::Upper => self.d[j] > tolerance,
            Place::Basic(_) => false,
        }
    }

    /// Puts a column on the bound that its reduced cost asks for.
    fn settle(&mut self, j: usize, tolerance: f64) {
        if self.is_wrong(j, tolerance) {
            self.place[j] = if self.place[j] == Place::Lower { Place::Upper } else { Place::Lower };
        }
    }

    /// Lets a column stay where it is by shifting its cost.
    fn shift(&mut self, j: usize) {
        self.cost[j] -= self.d[j];
        self.d[j] = 0.0;
        self.shifted = true;
    }

    /// Factors the basis; columns that depend on others make room for slacks.
    fn factor(&mut self) -> Result<(), Stop> {
        for _ in 0..3 {
            let columns: Vec<&[(usize, f64)]> =
                self.head.iter().map(|&j| &*self.columns[j]).collect();
            let (factors, deficit) = Factors::of(&columns);
            if deficit.positions.is_empty() {
                self.factors = factors;
                return Ok(());
            }
            for (&position, &row) in deficit.positions.iter().zip(&deficit.rows) {
                let (out, slack) = (self.head[position], self.n + row);
                self.place[out] = if self.d[out] < 0.0 { Place::Upper } else { Place::Lower };
                self.place[slack] = Place::Basic(position);
                self.head[position] = slack;
                self.weight[position] = 1.0;
            }
        }
        Err(Stop::Failed("the basis stays singular"))
    }

    /// Reduced costs of all columns from the costs.
    fn reprice(&mut self) {
        for (position, &j) in self.head.iter().enumerate() {
            self.scratch.position[position] = self.cost[j];
        }
        let Scratch { position, rho, .. } = &mut self.scratch;
        self.factors.solve_transposed(position, rho);
        for (j, column) in self.columns.iter().enumerate() {
            self.d[j] = match self.place[j] {
                Place::Basic(_) => 0.0,
                _ => self.cost[j] - column.iter().map(|&(i, a)| a * rho[i]).sum::<f64>(),
            };
        }
    }

    /// Values of all variables from those on bounds.
    fn revalue(&mut self) {
        let Scratch { row, tau, .. } = &mut self.scratch;
        for (j, column) in self.columns.iter().enumerate() {
            self.x[j] = match self.place[j] {
                Place::Lower => self.lower[j],
                Place::Upper => self.upper[j],
                Place::Basic(_) => continue,
            };
            for &(i, a) in column {
                row[i] -= a * self.x[j];
            }
        }
        self.factors.solve(row, tau);
        for (&j, &value) in self.head.iter().zip(&*tau) {
            self.x[j] = value;
        }
    }
}
