//! The iterations of the dual simplex method: which column leaves, which enters, and the change.

use super::{DUAL, Place, Scratch, Stop, Tableau};

/// By how much a value may break its bound, kWh.
const PRIMAL: f64 = 1e-9;

/// Entries of a pivot row below this are no candidates.
const PIVOT: f64 = 1e-7;

/// Reduced costs that are wrong by more than this after renewing the factors flip their column's
/// bound; smaller ones are shifted away, ct/kWh.
const DRIFT: f64 = 1e-5;

/// Steepest-edge weights do not fall below this.
const LEAST_WEIGHT: f64 = 1e-4;

/// Column replacements between two factorings.
const RENEW_AFTER: usize = 100;

/// What leaves the basis: position, and by how much its value is outside, negative when below.
#[derive(Clone, Copy)]
struct Leaving {
    position: usize,
    over: f64,
}

impl Tableau<'_> {
    /// Pivots until every value is within its bounds.
    pub(super) fn iterate(&mut self) -> Result<(), Stop> {
        let mut fresh = false;
        for _ in 0..50 * (self.m + 1_000) {
            let (count, entries) = self.factors.updates();
            if count >= RENEW_AFTER || entries > 30 * self.m + 20_000 {
                self.renew()?;
            }
            let Some(leaving) = self.leaving() else {
                if self.factors.updates().0 == 0 {
                    return Ok(());
                }
                self.renew()?;
                continue;
            };
            self.pivot_row(leaving.position);
            let entering = self.entering(leaving.over);
            let known = entering.is_some();
            let stable = entering
                .is_some_and(|(entering, flipped)| self.change(leaving, entering, &flipped));
            for j in std::mem::take(&mut self.scratch.touched) {
                self.scratch.alpha[j] = 0.0;
            }
            if stable {
                self.iterations += 1;
                fresh = false;
            } else if fresh {
                return Err(if known { Stop::Failed("no stable pivot") } else { Stop::Infeasible });
            } else {
                // Believed only with factors that have seen no change.
                fresh = true;
                self.renew()?;
            }
        }
        Err(Stop::Failed("too many iterations"))
    }

    /// Factors anew and computes everything from it.
    fn renew(&mut self) -> Result<(), Stop> {
        self.factor()?;
        self.reprice();
        for j in 0..self.n + self.m {
            self.settle(j, DRIFT);
            if self.is_wrong(j, DUAL) {
                self.shift(j);
            }
        }
        self.revalue();
        Ok(())
    }

    /// The basic variable that is furthest outside its bounds, in steepest-edge norm.
    fn leaving(&self) -> Option<Leaving> {
        let (mut best, mut best_score) = (None, 0.0);
        for (position, &j) in self.head.iter().enumerate() {
            let (below, above) = (self.x[j] - self.lower[j], self.x[j] - self.upper[j]);
            let over = if below < -PRIMAL {
                below
            } else if above > PRIMAL {
                above
            } else {
                continue;
            };
            let score = over * over / self.weight[position];
            if score > best_score {
                (best, best_score) = (Some(Leaving { position, over }), score);
            }
        }
        best
    }

    /// The row of the inverse at a position, and its products with all other columns.
    fn pivot_row(&mut self, position: usize) {
        let Scratch { position: unit, rho, alpha, touched, .. } = &mut self.scratch;
        unit[position] = 1.0;
        self.factors.solve_transposed(unit, rho);
        for (row, &r) in rho.iter().enumerate() {
            if r.abs() < 1e-13 {
                continue;
            }
            for &(j, a) in self.program.entries(row) {
                if alpha[j] == 0.0 {
                    touched.push(j);
                }
                alpha[j] += r * a;
                if alpha[j] == 0.0 {
                    // Stays listed once.
                    alpha[j] = f64::MIN_POSITIVE;
                }
            }
            touched.push(self.n + row);
            alpha[self.n + row] = -r;
        }
    }

    /// Which column enters, and which flip to their other bound on the way: as long as the leaving
    /// value stays outside, passing a column's zero of the reduced cost pays.
    fn entering(&self, over: f64) -> Option<(usize, Vec<usize>)> {
        let mut candidates: Vec<(usize, f64, f64)> = Vec::new();
        for &j in &self.scratch.touched {
            let alpha = self.scratch.alpha[j] * over.signum();
            let moves = match self.place[j] {
                _ if self.lower[j] == self.upper[j] => false,
                Place::Lower => alpha > PIVOT,
                Place::Upper => alpha < -PIVOT,
                Place::Basic(_) => false,
            };
            if moves {
                candidates.push((j, alpha.abs(), self.d[j].abs() / alpha.abs()));
            }
        }
        let (mut slope, mut flipped) = (over.abs(), Vec::new());
        while !candidates.is_empty() {
            // Harris: everything within the tolerance of the first, then the largest pivot.
            let most = candidates.iter().map(|&(_, alpha, ratio)| ratio + DUAL / alpha);
            let most = most.fold(f64::INFINITY, f64::min);
            let first = candidates.iter().filter(|&&(_, _, ratio)| ratio <= most);
            let fall: f64 =
                first.clone().map(|&(j, alpha, _)| alpha * (self.upper[j] - self.lower[j])).sum();
            if slope < fall || first.clone().count() == candidates.len() {
                let larger = |a: &(usize, f64, f64), b: &(usize, f64, f64)| {
                    a.1.total_cmp(&b.1).then(b.0.cmp(&a.0))
                };
                return first.copied().max_by(larger).map(|(j, _, _)| (j, flipped));
            }
            slope -= fall;
            flipped.extend(first.map(|&(j, _, _)| j));
            candidates.retain(|&(_, _, ratio)| ratio > most);
        }
        None
    }

    /// One change of basis; false, and nothing changed, when the pivot is not to be trusted.
    fn change(&mut self, leaving: Leaving, entering: usize, flipped: &[usize]) -> bool {
        let Scratch { row, entering: column, alpha, .. } = &mut self.scratch;
        for &(i, a) in &self.columns[entering] {
            row[i] += a;
        }
        self.factors.solve(row, column);
        let (pivot, by_row) = (column[leaving.position], alpha[entering]);
        if pivot.abs() < 1e-9 || (pivot - by_row).abs() > 1e-6 * (1.0 + pivot.abs()) {
            return false;
        }
        self.flip(flipped);
        let out = self.head[leaving.position];
        let (target, place) = if leaving.over < 0.0 {
            (self.lower[out], Place::Lower)
        } else {
            (self.upper[out], Place::Upper)
        };
        let step = (self.x[out] - target) / pivot;
        for (&j, &entry) in self.head.iter().zip(&self.scratch.entering) {
            self.x[j] -= step * entry;
        }
        self.x[entering] += step;
        self.x[out] = target;
        self.reweigh(leaving.position, pivot);
        self.factors.replace(leaving.position, &self.scratch.entering);
        self.head[leaving.position] = entering;
        self.place[out] = place;
        self.redual(entering, out, by_row);
        self.place[entering] = Place::Basic(leaving.position);
        true
    }

    /// Moves columns to their other bound and the basis with them.
    fn flip(&mut self, flipped: &[usize]) {
        if flipped.is_empty() {
            return;
        }
        let Scratch { row, flips, .. } = &mut self.scratch;
        for &j in flipped {
            let (place, value) = match self.place[j] {
                Place::Lower => (Place::Upper, self.upper[j]),
                _ => (Place::Lower, self.lower[j]),
            };
            for &(i, a) in &self.columns[j] {
                row[i] += a * (value - self.x[j]);
            }
            (self.place[j], self.x[j]) = (place, value);
        }
        self.factors.solve(row, flips);
        for (&j, &change) in self.head.iter().zip(&*flips) {
            self.x[j] -= change;
        }
    }

    /// Reduced costs after the change; those that turn wrong by a rounding are shifted.
    fn redual(&mut self, entering: usize, out: usize, by_row: f64) {
        let step = self.d[entering] / by_row;
        self.d[entering] = 0.0;
        for k in 0..self.scratch.touched.len() {
            let j = self.scratch.touched[k];
            if j == entering || j == out || matches!(self.place[j], Place::Basic(_)) {
                continue;
            }
            self.d[j] -= step * self.scratch.alpha[j];
            if self.is_wrong(j, 0.0) {
                self.shift(j);
            }
        }
        self.d[out] = -step;
        if self.is_wrong(out, 0.0) {
            self.shift(out);
        }
    }

    /// Steepest-edge weights after the change (Forrest and Goldfarb, Math. Prog. 57 (1992) 341).
    fn reweigh(&mut self, position: usize, pivot: f64) {
        let Scratch { row, rho, tau, entering, .. } = &mut self.scratch;
        row.copy_from_slice(rho);
        self.factors.solve(row, tau);
        let own = self.weight[position].max(1e-10);
        let others = self.weight.iter_mut().zip(&*entering).zip(&*tau);
        for ((weight, &entry), &tau) in others {
            if entry != 0.0 {
                let ratio = entry / pivot;
                *weight = (*weight - 2.0 * ratio * tau + ratio * ratio * own).max(LEAST_WEIGHT);
            }
        }
        self.weight[position] = (own / (pivot * pivot)).max(LEAST_WEIGHT);
    }
}
