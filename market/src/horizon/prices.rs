//! The project's own prices: the middle of what supports the optimum, never a solver's duals.
//!
//! With the primal values fixed, complementary slackness is a system of linear conditions on the
//! prices (one per balance row, one per battery and slot for stored energy): a column at its lower
//! bound may not gain, one at its upper bound may not lose, one in between does neither. The
//! lowest and the highest price vector are found by two linear programs, `min` and `max Σ w·λ`
//! with distinct weights w so that the answer is unique; the price is their middle, which supports
//! the optimum, too, because the set is convex.
//!
//! Most conditions are equations between two prices (a flow inside its cap, energy carried from
//! slot to slot). They are eliminated first: every price becomes `scale · θ + shift` of one of a
//! few free parameters, and only those are left to the solver.

use std::collections::BTreeMap;

use crate::solver::{Program, Solver, Status};

/// Values this close to a bound lie on it, kWh.
const ON_BOUND: f64 = 2e-6;

/// Conditions may be off by this much, ct/kWh: a hundredth of what prices are rounded to.
const SLACK_CT: f64 = 1e-6;

/// Lowest and highest supporting price per row, ct/kWh.
#[derive(Debug, Clone)]
pub(super) struct Range {
    pub low: Vec<f64>,
    pub high: Vec<f64>,
}

/// A price as a function of a free parameter.
#[derive(Debug, Clone, Copy)]
struct Affine {
    parameter: usize,
    scale: f64,
    shift: f64,
}

/// Rows of `Σ a·θ` between two numbers, as entries, least, largest.
type Condition = (Vec<(usize, f64)>, f64, f64);

struct Prices {
    of_row: Vec<Affine>,
    /// Least and largest value per parameter; equal once it is known.
    bounds: Vec<(f64, f64)>,
}

/// Finds the supporting prices of an optimum; `widest` bounds their size. `weight` says how much a
/// row counts: distinct positive numbers.
pub(super) fn supporting(
    program: &Program,
    values: &[f64],
    widest: f64,
    weight: impl Fn(usize) -> f64,
    solver: &mut dyn Solver,
) -> Result<Range, String> {
    let (mut prices, mut conditions) = conditions(program, values, widest);
    prices.eliminate(&mut conditions)?;
    let rows = prices.reduce(conditions);
    let mut program = Program::new();
    for &(low, high) in &prices.bounds {
        program.column(low, high, 0.0);
    }
    for (entries, (low, high)) in rows {
        let entries =
            entries.into_iter().map(|(parameter, bits)| (parameter, f64::from_bits(bits)));
        program.row(low - SLACK_CT, high + SLACK_CT, entries);
    }
    let mut towards = vec![0.0; prices.bounds.len()];
    for (row, price) in prices.of_row.iter().enumerate() {
        towards[price.parameter] += weight(row) * price.scale;
    }
    let low = prices.extreme(&program, &towards, -1.0, solver)?;
    let high = prices.extreme(&program, &towards, 1.0, solver)?;
    Ok(Range { low, high })
}

/// Complementary slackness, one condition per column; rows with one bound limit their price's sign.
fn conditions(program: &Program, values: &[f64], widest: f64) -> (Prices, Vec<Condition>) {
    let mut by_column: Vec<Vec<(usize, f64)>> = vec![Vec::new(); program.columns().len()];
    let mut bounds = Vec::with_capacity(program.row_count());
    for row in 0..program.row_count() {
        let mut sum = 0.0;
        for &(column, coefficient) in program.entries(row) {
            by_column[column].push((row, coefficient));
            sum += coefficient * values[column];
        }
        let (least, most) = program.row_bounds(row);
        let low = if sum <= least + ON_BOUND { -widest } else { 0.0 };
        let high = if sum >= most - ON_BOUND { widest } else { 0.0 };
        bounds.push((low, high));
    }
    let conditions = program.columns().iter().zip(values).zip(by_column);
    let conditions = conditions.filter_map(|((column, &value), entries)| {
        let (at_lower, at_upper) =
            (value <= column.lower + ON_BOUND, value >= column.upper - ON_BOUND);
        let least = if at_upper { f64::NEG_INFINITY } else { column.cost };
        let most = if at_lower { f64::INFINITY } else { column.cost };
        (!(at_lower && at_upper)).then_some((entries, least, most))
    });
    let conditions = conditions.collect();
    let of_row = (0..program.row_count())
        .map(|row| Affine { parameter: row, scale: 1.0, shift: 0.0 })
        .collect();
    (Prices { of_row, bounds }, conditions)
}

impl Prices {
    /// Uses up equations between at most two parameters until none is left.
    fn eliminate(&mut self, conditions: &mut Vec<Condition>) -> Result<(), String> {
        let mut members: Vec<Vec<usize>> = (0..self.of_row.len()).map(|row| vec![row]).collect();
        loop {
            let before = conditions.len();
            let mut kept = Vec::with_capacity(before);
            for condition in std::mem::take(conditions) {
                let (entries, least, most) = self.substituted(&condition);
                match entries[..] {
                    [] => {
                        if least > SLACK_CT || most < -SLACK_CT {
                            let off = least.max(-most);
                            return Err(format!("prices contradict each other by {off:.3e} ct"));
                        }
                    }
                    [(parameter, scale)] => self.bound(parameter, scale, least, most),
                    [(a, scale_a), (b, scale_b)] if least == most => {
                        let (a, scale_a, b, scale_b) = if members[a].len() <= members[b].len() {
                            (a, scale_a, b, scale_b)
                        } else {
                            (b, scale_b, a, scale_a)
                        };
                        self.merge(a, b, -scale_b / scale_a, least / scale_a, &mut members);
                    }
                    _ => kept.push((entries, least, most, condition)),
                }
            }
            *conditions = kept.into_iter().map(|(_, _, _, condition)| condition).collect();
            if conditions.len() == before {
                return Ok(());
            }
        }
    }

    /// A condition on rows as one on parameters that are not known yet.
    fn substituted(&self, condition: &Condition) -> Condition {
        let mut sums: BTreeMap<usize, f64> = BTreeMap::new();
        let mut shift = 0.0;
        for &(row, coefficient) in &condition.0 {
            let price = self.of_row[row];
            let (low, high) = self.bounds[price.parameter];
            shift += coefficient * price.shift;
            if low == high {
                shift += coefficient * price.scale * low;
            } else {
                *sums.entry(price.parameter).or_default() += coefficient * price.scale;
            }
        }
        let entries = sums.into_iter().filter(|(_, scale)| scale.abs() > 1e-9).collect();
        (entries, condition.1 - shift, condition.2 - shift)
    }

    /// Keeps `scale · θ` between two numbers.
    fn bound(&mut self, parameter: usize, scale: f64, least: f64, most: f64) {
        let (least, most) = if scale > 0.0 { (least, most) } else { (most, least) };
        let (low, high) = &mut self.bounds[parameter];
        *low = low.max(least / scale);
        *high = high.min(most / scale);
        if *high - *low < SLACK_CT {
            // One point, or none by a rounding error.
            let middle = f64::midpoint(*low, *high);
            (*low, *high) = (middle, middle);
        }
    }

    /// Replaces parameter `a` by `scale · b + shift`.
    fn merge(&mut self, a: usize, b: usize, scale: f64, shift: f64, members: &mut [Vec<usize>]) {
        for row in std::mem::take(&mut members[a]) {
            let price = &mut self.of_row[row];
            price.shift += price.scale * shift;
            price.scale *= scale;
            price.parameter = b;
            members[b].push(row);
        }
        let (low, high) = self.bounds[a];
        self.bounds[a] = (0.0, 0.0);
        self.bound(b, scale, low - shift, high - shift);
    }

    /// The conditions that are left, the tightest of those with the same coefficients.
    fn reduce(&mut self, conditions: Vec<Condition>) -> BTreeMap<Key, (f64, f64)> {
        let mut rows: BTreeMap<Key, (f64, f64)> = BTreeMap::new();
        for condition in conditions {
            let (entries, least, most) = self.substituted(&condition);
            match entries[..] {
                [] => {}
                [(parameter, scale)] => self.bound(parameter, scale, least, most),
                [(_, first), ..] => {
                    let scaled: Key =
                        entries.iter().map(|&(p, a)| (p, (a / first).to_bits())).collect();
                    let (least, most) = (least / first, most / first);
                    let (least, most) = (least.min(most), least.max(most));
                    let row = rows.entry(scaled).or_insert((f64::NEG_INFINITY, f64::INFINITY));
                    *row = (row.0.max(least), row.1.min(most));
                }
            }
        }
        rows.retain(|_, (low, high)| {
            if *low > *high {
                std::mem::swap(low, high);
            }
            true
        });
        rows
    }

    /// The price per row at one end of the weighted sum.
    fn extreme(
        &self,
        program: &Program,
        towards: &[f64],
        sign: f64,
        solver: &mut dyn Solver,
    ) -> Result<Vec<f64>, String> {
        let mut program = program.clone();
        let costs = towards.iter().enumerate().map(|(i, &w)| (i, sign * w)).collect();
        let patch = crate::solver::Patch { costs, ..Default::default() };
        program.patch(&patch).map_err(|fault| fault.to_string())?;
        let parameters = if program.row_count() == 0 {
            let best = |c: &crate::solver::Column| if c.cost > 0.0 { c.upper } else { c.lower };
            program.columns().iter().map(best).collect()
        } else {
            solver.load(program.clone());
            match solver.solve() {
                Status::Optimal(values) if program.violation(&values) < 1e-4 => values,
                Status::Optimal(_) => return Err("prices that break their conditions".to_owned()),
                other => return Err(format!("no prices: {}", super::optimum::said(&other))),
            }
        };
        let of = |price: &Affine| price.scale * parameters[price.parameter] + price.shift;
        Ok(self.of_row.iter().map(of).collect())
    }
}

/// Parameters with their coefficients relative to the first, as bits so that they have an order.
type Key = Vec<(usize, u64)>;
