//! Factors of a sparse basis, for solving with it and its transpose.
//!
//! Bases of networks over time are nearly triangular: peeling off columns and rows with a single
//! entry leaves a small nucleus, and only that fills in. The nucleus is factored column by column
//! (Gilbert and Peierls, SIAM J. Sci. Stat. Comput. 9 (1988) 862) with threshold pivoting. Changes
//! of single columns are kept as eta vectors until there are too many of them.

/// Pivots below this are treated as zero.
const TINY: f64 = 1e-9;

/// A nucleus pivot must have at least this share of the largest candidate's size.
const THRESHOLD: f64 = 0.1;

type Entry = (usize, f64);

#[derive(Debug, Clone, Copy)]
struct Pivot {
    row: usize,
    position: usize,
    value: f64,
}

/// One replaced column: the basis position, its pivot, and the other entries by position.
#[derive(Debug)]
struct Eta {
    position: usize,
    pivot: f64,
    entries: Vec<Entry>,
}

/// A factored basis of `m` columns.
#[derive(Debug, Default)]
pub(super) struct Factors {
    pivots: Vec<Pivot>,
    /// Per pivot row with something below: row, and multipliers by row.
    below: Vec<(usize, Vec<Entry>)>,
    /// Per pivot in order: entries of its column in rows that were pivoted before.
    upper_columns: Vec<Vec<Entry>>,
    /// Per row: entries of its pivot row by basis position.
    upper_rows: Vec<Vec<Entry>>,
    etas: Vec<Eta>,
    eta_entries: usize,
}

/// Basis positions without a pivot and the rows left over, in equal number.
#[derive(Debug, Default)]
pub(super) struct Deficit {
    pub positions: Vec<usize>,
    pub rows: Vec<usize>,
}

/// What is peeled and what is left while factoring.
struct Peeling<'a> {
    columns: &'a [&'a [Entry]],
    row_members: Vec<Vec<usize>>,
    row_count: Vec<usize>,
    column_count: Vec<usize>,
    row_done: Vec<bool>,
    column_done: Vec<bool>,
}

impl Factors {
    /// Factors the columns, given by row and value. Where they are dependent, says which are left
    /// without a pivot; the factors are of no use then.
    pub fn of(columns: &[&[Entry]]) -> (Self, Deficit) {
        let m = columns.len();
        let mut factors = Self { upper_rows: vec![Vec::new(); m], ..Self::default() };
        let mut peeling = Peeling::new(columns);
        peeling.peel(&mut factors);
        factors.nucleus(&mut peeling);
        let left = |done: &[bool]| (0..m).filter(|&i| !done[i]).collect();
        let deficit =
            Deficit { positions: left(&peeling.column_done), rows: left(&peeling.row_done) };
        if deficit.positions.is_empty() {
            for (pivot, column) in factors.pivots.iter().zip(&factors.upper_columns) {
                for &(row, value) in column {
                    factors.upper_rows[row].push((pivot.position, value));
                }
            }
        }
        (factors, deficit)
    }

    /// Number of columns replaced since, and entries that they carry.
    pub fn updates(&self) -> (usize, usize) {
        (self.etas.len(), self.eta_entries)
    }

    /// Eliminates what peeling could not reach.
    fn nucleus(&mut self, peeling: &mut Peeling) {
        let mut order: Vec<usize> =
            (0..peeling.columns.len()).filter(|&c| !peeling.column_done[c]).collect();
        order.sort_by_key(|&c| (peeling.column_count[c], c));
        let first = self.below.len();
        let mut work = vec![0.0; peeling.columns.len()];
        let mut touched: Vec<usize> = Vec::new();
        for column in order {
            for &(row, value) in peeling.columns[column] {
                work[row] = value;
                touched.push(row);
            }
            for (row, entries) in &self.below[first..] {
                let value = work[*row];
                if value != 0.0 {
                    for &(i, multiplier) in entries {
                        if work[i] == 0.0 {
                            touched.push(i);
                        }
                        work[i] -= multiplier * value;
                    }
                }
            }
            touched.sort_unstable();
            touched.dedup();
            let open = || touched.iter().copied().filter(|&row| !peeling.row_done[row]);
            let largest = open().map(|row| work[row].abs()).fold(0.0, f64::max);
            let eligible = open().filter(|&row| work[row].abs() >= THRESHOLD * largest);
            let pivot = eligible.min_by_key(|&row| (peeling.row_count[row], row));
            if let (Some(row), true) = (pivot, largest > TINY) {
                self.pivot(row, column, touched.iter().map(|&i| (i, work[i])), &peeling.row_done);
                peeling.row_done[row] = true;
                peeling.column_done[column] = true;
            }
            for row in touched.drain(..) {
                work[row] = 0.0;
            }
        }
    }

    /// Takes a column as pivot: entries in finished rows go above, in open ones below.
    fn pivot(
        &mut self,
        row: usize,
        position: usize,
        entries: impl Iterator<Item = Entry>,
        row_done: &[bool],
    ) {
        let (mut above, mut below, mut value) = (Vec::new(), Vec::new(), 0.0);
        for (i, entry) in entries {
            if i == row {
                value = entry;
            } else if row_done[i] {
                above.push((i, entry));
            } else if entry != 0.0 {
                below.push((i, entry));
            }
        }
        above.retain(|&(_, entry)| entry != 0.0);
        if !below.is_empty() {
            for (_, entry) in &mut below {
                *entry /= value;
            }
            self.below.push((row, below));
        }
        self.pivots.push(Pivot { row, position, value });
        self.upper_columns.push(above);
    }

    /// Solves `B·x = b`: takes `b` by row and leaves zeros, writes `x` by basis position.
    pub fn solve(&self, b: &mut [f64], x: &mut [f64]) {
        for (row, entries) in &self.below {
            let value = b[*row];
            if value != 0.0 {
                for &(i, multiplier) in entries {
                    b[i] -= multiplier * value;
                }
            }
        }
        for (pivot, above) in self.pivots.iter().zip(&self.upper_columns).rev() {
            let value = std::mem::take(&mut b[pivot.row]);
            if value.abs() < 1e-14 {
                x[pivot.position] = 0.0;
                continue;
            }
            let value = value / pivot.value;
            x[pivot.position] = value;
            for &(i, entry) in above {
                b[i] -= entry * value;
            }
        }
        for eta in &self.etas {
            let value = x[eta.position];
            if value != 0.0 {
                let value = value / eta.pivot;
                x[eta.position] = value;
                for &(i, entry) in &eta.entries {
                    x[i] -= entry * value;
                }
            }
        }
    }

    /// Solves `Bᵀ·y = c`: takes `c` by basis position and leaves zeros, writes `y` by row.
    pub fn solve_transposed(&self, c: &mut [f64], y: &mut [f64]) {
        for eta in self.etas.iter().rev() {
            let sum: f64 = eta.entries.iter().map(|&(i, entry)| entry * c[i]).sum();
            c[eta.position] = (c[eta.position] - sum) / eta.pivot;
        }
        for pivot in &self.pivots {
            let value = std::mem::take(&mut c[pivot.position]);
            if value.abs() < 1e-14 {
                y[pivot.row] = 0.0;
                continue;
            }
            let value = value / pivot.value;
            y[pivot.row] = value;
            for &(position, entry) in &self.upper_rows[pivot.row] {
                c[position] -= entry * value;
            }
        }
        for (row, entries) in self.below.iter().rev() {
            let sum: f64 = entries.iter().map(|&(i, multiplier)| multiplier * y[i]).sum();
            y[*row] -= sum;
        }
    }

    /// Replaces the column at a position; `column` is the new one, solved with the basis.
    pub fn replace(&mut self, position: usize, column: &[f64]) {
        let entries = column.iter().copied().enumerate();
        let entries: Vec<Entry> =
            entries.filter(|&(i, value)| i != position && value.abs() > 1e-14).collect();
        self.eta_entries += entries.len();
        self.etas.push(Eta { position, pivot: column[position], entries });
    }
}

impl<'a> Peeling<'a> {
    fn new(columns: &'a [&'a [Entry]]) -> Self {
        let m = columns.len();
        let mut row_members = vec![Vec::new(); m];
        for (column, entries) in columns.iter().enumerate() {
            for &(row, _) in *entries {
                row_members[row].push(column);
            }
        }
        Self {
            columns,
            row_count: row_members.iter().map(Vec::len).collect(),
            column_count: columns.iter().map(|entries| entries.len()).collect(),
            row_members,
            row_done: vec![false; m],
            column_done: vec![false; m],
        }
    }

    /// Pivots on columns, then rows, with one open entry as long as there are any.
    fn peel(&mut self, factors: &mut Factors) {
        let m = self.columns.len();
        let mut columns: Vec<usize> = (0..m).filter(|&c| self.column_count[c] == 1).collect();
        let mut rows: Vec<usize> = (0..m).filter(|&r| self.row_count[r] == 1).collect();
        loop {
            if let Some(column) = columns.pop() {
                if !self.column_done[column] && self.column_count[column] == 1 {
                    let mut open =
                        self.columns[column].iter().filter(|&&(row, _)| !self.row_done[row]);
                    let &(row, value) = open.next().expect("one entry is open");
                    if value.abs() > TINY {
                        self.take(row, column, factors, &mut columns, &mut rows);
                    }
                }
            } else if let Some(row) = rows.pop() {
                if !self.row_done[row] && self.row_count[row] == 1 {
                    let mut open =
                        self.row_members[row].iter().filter(|&&column| !self.column_done[column]);
                    let &column = open.next().expect("one entry is open");
                    let entries = self.columns[column];
                    let size = |&(_, value): &Entry| value.abs();
                    let open = entries.iter().filter(|&&(i, _)| !self.row_done[i]);
                    let largest = open.map(size).fold(0.0, f64::max);
                    let own = entries.iter().find(|&&(i, _)| i == row).map_or(0.0, size);
                    if own > TINY && own >= 0.01 * largest {
                        self.take(row, column, factors, &mut columns, &mut rows);
                    }
                }
            } else {
                return;
            }
        }
    }

    fn take(
        &mut self,
        row: usize,
        column: usize,
        factors: &mut Factors,
        columns: &mut Vec<usize>,
        rows: &mut Vec<usize>,
    ) {
        factors.pivot(row, column, self.columns[column].iter().copied(), &self.row_done);
        self.row_done[row] = true;
        self.column_done[column] = true;
        for &(i, _) in self.columns[column] {
            self.row_count[i] -= 1;
            if self.row_count[i] == 1 && !self.row_done[i] {
                rows.push(i);
            }
        }
        for &c in &self.row_members[row] {
            self.column_count[c] -= 1;
            if self.column_count[c] == 1 && !self.column_done[c] {
                columns.push(c);
            }
        }
    }
}
