//! A program without the columns that its other columns imply.
//!
//! Most rows of a plan over time only say what something is: what a battery holds after a slot,
//! what flows through a branch. Such a column is a sum of others, and neither it nor its row has to
//! be in the program; its bounds have to hold, but few of them ever bind. So what a program calls
//! implied ([`Program::imply`]) is left out, the rest is solved, and each bound that the answer
//! breaks comes back as a row over the columns that are left. When none is broken the answer is
//! optimal for the whole program: it was optimal with fewer limits and keeps them all.
//!
//! One kind of bound needs no row at all. Where only one battery lies behind a branch, what flows
//! the other way is what the battery gives beyond its house's own need: a part of one column at a
//! worse price. There the column is cut in two (`Lean::cut`). A solver that starts from nothing in
//! every round gets only this ([`Depth`]).

use std::collections::{BTreeMap, BTreeSet};

use crate::solver::{Label, Patch, Program, Status};

/// Most times that broken bounds are added. Each time there is at least one more; a day takes one
/// or two dozen.
const MOST_ROUNDS: usize = 400;

/// Bounds broken by less are kept, kWh: a tenth of a milli-Wh.
const WITHIN: f64 = 1e-7;

/// Sums that are longer than this are no candidates for cutting a column.
const SHORT: usize = 8;

/// Which bound of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Bound {
    Lower,
    Upper,
}

/// Bounds of implied columns that held back the last optimum: the next program of the kind will
/// probably need them, and starts with them.
pub(super) type Binding = BTreeSet<(Label, Bound)>;

/// Where a column of the whole program is.
#[derive(Debug, Clone)]
enum Place {
    /// The sum of these columns: one, or the parts it was cut into.
    Kept(Vec<usize>),
    /// Number in the order in which columns are implied.
    Implied(usize),
}

/// How much is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Depth {
    /// All that is implied: few rows, some of them long, in a dozen or two rounds. For solvers that
    /// go on from where they were.
    All,
    /// Only what cut columns stand for, which hardly ever takes a second round. For solvers that
    /// start from nothing.
    Cuts,
}

/// Per column that is cut, from which values on which others grow with it.
type Cuts = BTreeMap<usize, Vec<(f64, usize)>>;

/// Where columns can be cut.
#[derive(Default)]
struct Found {
    cuts: Cuts,
    /// Implied columns that need no row for their lower bound then, and what implies them.
    implied: Vec<(usize, usize)>,
    /// Those of them whose upper bound may still bind.
    may_fill: BTreeSet<usize>,
}

/// A sum over columns of the whole program, and a constant.
type Sum = (BTreeMap<usize, f64>, f64);

struct Lean<'a> {
    whole: &'a Program,
    /// What is left out: columns and the rows that imply them, each after those it needs.
    implied: Vec<(usize, usize)>,
    places: Vec<Place>,
    /// What a unit of each kept column earns, with all that it implies.
    costs: Vec<f64>,
    /// What is solved.
    program: Program,
    /// Implied columns that have a row.
    rows: BTreeMap<usize, Stated>,
}

/// A row for the bounds of an implied column.
#[derive(Debug, Clone, Copy)]
struct Stated {
    row: usize,
    /// What the row leaves out of the column.
    constant: f64,
    lower: bool,
    upper: bool,
}

/// Solves a program with a solver of programs that imply nothing.
pub(super) fn solve(
    whole: &Program,
    depth: Depth,
    binding: &mut Binding,
    mut inner: impl FnMut(&Program) -> Status,
) -> Status {
    if whole.implied().is_empty() {
        return inner(whole);
    }
    let mut lean = Lean::of(whole, depth);
    lean.recall(binding);
    for _ in 0..MOST_ROUNDS {
        let values = match inner(&lean.program) {
            Status::Optimal(values) => lean.expand(&values),
            other => return other,
        };
        let broken = lean.broken(&values);
        if broken.is_empty() {
            *binding = lean.binding(&values);
            return Status::optimal(values, whole.columns().len());
        }
        for (implied, bound) in broken {
            lean.state(implied, bound);
        }
    }
    Status::Numerical(format!("bounds are still broken after {MOST_ROUNDS} rounds"))
}

impl<'a> Lean<'a> {
    fn of(whole: &'a Program, depth: Depth) -> Self {
        let mut lean = Self::without(whole, whole.implied().to_vec());
        let found = lean.find_cuts();
        if depth == Depth::Cuts {
            lean = Self::without(whole, found.implied);
        }
        lean.state_columns(&found.cuts);
        let defines: BTreeSet<usize> = lean.implied.iter().map(|&(_, row)| row).collect();
        for row in (0..whole.row_count()).filter(|row| !defines.contains(row)) {
            let (sum, constant) = lean.reduced(whole.entries(row), usize::MAX).expect("no limit");
            let (lower, upper) = whole.row_bounds(row);
            let entries = lean.entries(&sum);
            let there = lean.program.row(lower - constant, upper - constant, entries);
            if let Some(label) = whole.row_labels()[row] {
                lean.program.label_row(there, label);
            }
        }
        if depth == Depth::Cuts {
            let full = |&(column, _): &(usize, usize)| found.may_fill.contains(&column);
            let full: Vec<usize> =
                (0..lean.implied.len()).filter(|&i| full(&lean.implied[i])).collect();
            full.into_iter().for_each(|i| lean.state(i, Bound::Upper));
        }
        lean
    }

    /// Nothing stated yet; what the implied columns earn is shared out to those that imply them.
    fn without(whole: &'a Program, implied: Vec<(usize, usize)>) -> Self {
        let mut places = vec![Place::Kept(Vec::new()); whole.columns().len()];
        let mut costs: Vec<f64> = whole.columns().iter().map(|column| column.cost).collect();
        for (i, &(column, row)) in implied.iter().enumerate().rev() {
            places[column] = Place::Implied(i);
            let scale = costs[column] / coefficient(whole, column, row);
            for &(j, a) in whole.entries(row) {
                costs[j] -= scale * a;
            }
        }
        Self { whole, implied, places, costs, program: Program::new(), rows: BTreeMap::new() }
    }

    /// States the columns that are kept, cut where that saves a row.
    fn state_columns(&mut self, cuts: &Cuts) {
        let beyond: BTreeSet<usize> = cuts.values().flatten().map(|&(_, extra)| extra).collect();
        for j in 0..self.places.len() {
            if matches!(self.places[j], Place::Implied(_)) || beyond.contains(&j) {
                continue;
            }
            match cuts.get(&j) {
                Some(cuts) => self.cut(j, cuts),
                _ => {
                    let column = self.whole.columns()[j];
                    self.part(&[j], column.lower, column.upper, self.costs[j], j);
                }
            }
        }
    }

    /// Adds a column that is part of all of `of`.
    fn part(&mut self, of: &[usize], lower: f64, upper: f64, cost: f64, label: usize) {
        let there = self.program.column(lower, upper, cost);
        if let Some(label) = self.whole.column_labels()[label] {
            self.program.label_column(there, label);
        }
        for &j in of {
            match &mut self.places[j] {
                Place::Kept(parts) => parts.push(there),
                Place::Implied(_) => unreachable!("implied columns are not stated"),
            }
        }
    }

    /// Cuts a column where, from some value on, another one has to grow with it: up to there it
    /// is one column, from there on another that earns less.
    fn cut(&mut self, column: usize, cuts: &[(f64, usize)]) {
        let most = |&(from, extra): &(f64, usize)| from + self.whole.columns()[extra].upper;
        let upper = cuts.iter().map(most).fold(self.whole.columns()[column].upper, f64::min);
        let (mut of, mut from, mut cost, mut label) =
            (vec![column], 0.0, self.costs[column], column);
        for &(until, extra) in cuts {
            let until = until.min(upper);
            self.part(&of, 0.0, until - from, cost, label);
            of.push(extra);
            cost += self.costs[extra];
            (from, label) = (until, extra);
        }
        self.part(&of, 0.0, upper - from, cost, label);
    }

    /// Columns that can be cut: where, and what grows from there on.
    ///
    /// The pattern is an implied column that may not be negative and is `c + e − x` or
    /// `c + e − x + y`: with `c ≥ 0`, with `e` costing something and of use for nothing else, and
    /// with `x` and `y` never both positive. Then `e` is what `x` is beyond `c`.
    fn find_cuts(&self) -> Found {
        let mut found = Found::default();
        let columns = self.whole.columns();
        for &(column, row) in &self.implied {
            let Some((sum, constant)) = self.reduced(&[(column, 1.0)], SHORT) else { continue };
            if columns[column].lower != 0.0 || constant < 0.0 || sum.len() > 3 {
                continue;
            }
            let is = |j: usize, a: f64| (sum[&j] - a).abs() < 1e-12;
            let Some((&x, _)) = sum.iter().find(|&(&j, _)| is(j, -1.0)) else { continue };
            let twin = self.whole.twin(x);
            let others: Vec<usize> =
                sum.keys().copied().filter(|&j| j != x && Some(j) != twin).collect();
            let &[extra] = &others[..] else { continue };
            let fits = is(extra, 1.0) && twin.is_none_or(|y| !sum.contains_key(&y) || is(y, 1.0));
            let idle = columns[extra].lower == 0.0 && columns[x].lower == 0.0;
            if fits && idle && self.costs[extra] < 0.0 {
                found.cuts.entry(x).or_default().push((constant, extra));
                found.implied.push((column, row));
                let most = twin.filter(|y| sum.contains_key(y)).map_or(0.0, |y| columns[y].upper);
                if constant + most > columns[column].upper {
                    found.may_fill.insert(column);
                }
            }
        }
        for cuts in found.cuts.values_mut() {
            cuts.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        }
        found
    }

    /// A sum over the whole program's columns as one over those that are kept; none when it gets
    /// longer than `most`.
    fn reduced(&self, entries: &[(usize, f64)], most: usize) -> Option<Sum> {
        let mut sums: BTreeMap<usize, f64> = entries.iter().copied().collect();
        let mut constant = 0.0;
        let mut pending: BTreeSet<usize> = BTreeSet::new();
        let note = |j: usize, pending: &mut BTreeSet<usize>| {
            if let Place::Implied(i) = self.places[j] {
                pending.insert(i);
            }
        };
        entries.iter().for_each(|&(j, _)| note(j, &mut pending));
        // What a column is implied by comes before it: the last one first, then none comes again.
        while let Some(i) = pending.pop_last() {
            let (column, row) = self.implied[i];
            let Some(weight) = sums.remove(&column) else { continue };
            let scale = weight / coefficient(self.whole, column, row);
            constant += scale * self.whole.row_bounds(row).0;
            for &(j, a) in self.whole.entries(row).iter().filter(|&&(j, _)| j != column) {
                let sum = sums.entry(j).or_insert(0.0);
                *sum -= scale * a;
                if sum.abs() < 1e-12 {
                    sums.remove(&j);
                } else {
                    note(j, &mut pending);
                }
            }
            if sums.len() > most {
                return None;
            }
        }
        Some((sums, constant))
    }

    /// The same sum over the columns that are solved for.
    fn entries(&self, sum: &BTreeMap<usize, f64>) -> Vec<(usize, f64)> {
        let mut entries: BTreeMap<usize, f64> = BTreeMap::new();
        for (&j, &a) in sum {
            match &self.places[j] {
                Place::Kept(parts) => {
                    parts.iter().for_each(|&part| *entries.entry(part).or_insert(0.0) += a);
                }
                Place::Implied(_) => unreachable!("sums are over columns that are kept"),
            }
        }
        entries.into_iter().filter(|(_, a)| a.abs() > 1e-12).collect()
    }

    /// Values of the whole program's columns.
    fn expand(&self, values: &[f64]) -> Vec<f64> {
        let of = |place: &Place| match place {
            Place::Kept(parts) => parts.iter().map(|&part| values[part]).sum(),
            Place::Implied(_) => 0.0,
        };
        let mut all: Vec<f64> = self.places.iter().map(of).collect();
        for &(column, row) in &self.implied {
            let others = self.whole.entries(row).iter().filter(|&&(j, _)| j != column);
            let sum: f64 = others.map(|&(j, a)| a * all[j]).sum();
            let rest = self.whole.row_bounds(row).0 - sum;
            all[column] = rest / coefficient(self.whole, column, row);
        }
        all
    }

    /// Bounds that are broken and not stated yet: of columns that are implied by each other, like
    /// a battery's content from slot to slot, the one that is broken most.
    fn broken(&self, values: &[f64]) -> Vec<(usize, Bound)> {
        let implied = &self.implied;
        let over = |&(column, _): &(usize, usize)| {
            let (bounds, value) = (self.whole.columns()[column], values[column]);
            (value - bounds.lower).min(0.0) + (value - bounds.upper).max(0.0)
        };
        let over: Vec<f64> = implied.iter().map(over).collect();
        let mut worse_beside = vec![false; implied.len()];
        for (i, &(_, row)) in implied.iter().enumerate() {
            for &(j, _) in self.whole.entries(row) {
                match self.places[j] {
                    Place::Implied(k) if k != i && over[i] * over[k] > 0.0 => {
                        let less = if over[k].abs() > over[i].abs() { i } else { k };
                        worse_beside[less] = true;
                    }
                    _ => {}
                }
            }
        }
        let candidates = over.into_iter().zip(worse_beside).enumerate();
        let candidates = candidates.filter(|&(_, (over, worse))| over.abs() > WITHIN && !worse);
        let broken = candidates
            .map(|(i, (over, _))| (i, if over < 0.0 { Bound::Lower } else { Bound::Upper }));
        broken.filter(|&(i, bound)| !self.is_stated(i, bound)).collect()
    }

    fn is_stated(&self, implied: usize, bound: Bound) -> bool {
        self.rows.get(&implied).is_some_and(|stated| match bound {
            Bound::Lower => stated.lower,
            Bound::Upper => stated.upper,
        })
    }

    /// States a bound of an implied column as a row.
    fn state(&mut self, implied: usize, bound: Bound) {
        let (column, _) = self.implied[implied];
        if !self.rows.contains_key(&implied) {
            let (sum, constant) = self.reduced(&[(column, 1.0)], usize::MAX).expect("no limit");
            let entries = self.entries(&sum);
            let row = self.program.row(f64::NEG_INFINITY, f64::INFINITY, entries);
            if let Some(label) = self.whole.column_labels()[column] {
                self.program.label_row(row, label);
            }
            self.rows.insert(implied, Stated { row, constant, lower: false, upper: false });
        }
        let stated = self.rows.get_mut(&implied).expect("there is one now");
        match bound {
            Bound::Lower => stated.lower = true,
            Bound::Upper => stated.upper = true,
        }
        let bounds = self.whole.columns()[column];
        let lower = if stated.lower { bounds.lower - stated.constant } else { f64::NEG_INFINITY };
        let upper = if stated.upper { bounds.upper - stated.constant } else { f64::INFINITY };
        let patch = Patch { rows: vec![(stated.row, lower, upper)], ..Patch::default() };
        self.program.patch(&patch).expect("bounds of a checked program");
    }

    /// States what held back the last optimum.
    fn recall(&mut self, binding: &Binding) {
        for i in 0..self.implied.len() {
            let (column, _) = self.implied[i];
            let Some(label) = self.whole.column_labels()[column] else { continue };
            for bound in [Bound::Lower, Bound::Upper] {
                if binding.contains(&(label, bound)) {
                    self.state(i, bound);
                }
            }
        }
    }

    /// Which stated bounds these values lie on.
    fn binding(&self, values: &[f64]) -> Binding {
        let mut binding = Binding::new();
        for (&i, stated) in &self.rows {
            let (column, _) = self.implied[i];
            let (bounds, value) = (self.whole.columns()[column], values[column]);
            let Some(label) = self.whole.column_labels()[column] else { continue };
            if stated.lower && value <= bounds.lower + WITHIN {
                binding.insert((label, Bound::Lower));
            }
            if stated.upper && value >= bounds.upper - WITHIN {
                binding.insert((label, Bound::Upper));
            }
        }
        binding
    }
}

/// The coefficient of an implied column in the row that implies it.
fn coefficient(program: &Program, column: usize, row: usize) -> f64 {
    let entry = program.entries(row).iter().find(|&&(j, _)| j == column);
    entry.map_or(1.0, |&(_, a)| a)
}
