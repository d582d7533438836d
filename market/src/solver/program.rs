//! A linear program as the project states it: bounded columns, sparse rows, maximised.

use std::collections::BTreeMap;

/// Why a program or a patch is refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ProgramFault {
    /// A number is not finite, or bounds are the wrong way round.
    #[error("{place} {index}: {problem}")]
    Number {
        /// `column` or `row`.
        place: &'static str,
        /// Which one.
        index: usize,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A column or row does not exist.
    #[error("{place} {index} does not exist: there are {count}")]
    Unknown {
        /// `column` or `row`.
        place: &'static str,
        /// Which one.
        index: usize,
        /// How many there are.
        count: usize,
    },
    /// A column does not follow from the row that is said to imply it.
    #[error("row {row} does not imply column {column}: {problem}")]
    Implied {
        /// Which column.
        column: usize,
        /// Which row.
        row: usize,
        /// Why not.
        problem: &'static str,
    },
    /// A patch came before a program.
    #[error("there is no program to patch: load one first")]
    NothingLoaded,
}

/// A variable: bounds and what one unit of it earns.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Column {
    /// Least value, finite.
    pub lower: f64,
    /// Largest value, finite: solvers have been seen to answer nonsense for open columns.
    pub upper: f64,
    /// What one unit adds to the objective, which is maximised.
    pub cost: f64,
}

/// A row: where its entries stand, and between what their sum has to stay.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Row {
    end: usize,
    lower: f64,
    upper: f64,
}

/// New numbers for a program that keeps its shape.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Patch {
    /// Column, least and largest value.
    pub bounds: Vec<(usize, f64, f64)>,
    /// Column and cost.
    pub costs: Vec<(usize, f64)>,
    /// Row, least and largest sum.
    pub rows: Vec<(usize, f64, f64)>,
}

/// What a column or row is, for a solver that remembers where it was in the last program. The
/// number is the caller's; equal labels must mean the same thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Label(pub u64);

/// `max Σ cost·x` over `lower ≤ x ≤ upper` and `lower ≤ Σ a·x ≤ upper` per row.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Program {
    columns: Vec<Column>,
    rows: Vec<Row>,
    entries: Vec<(usize, f64)>,
    column_labels: Vec<Option<Label>>,
    row_labels: Vec<Option<Label>>,
    implied: Vec<(usize, usize)>,
    twins: BTreeMap<usize, usize>,
}

impl Program {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a column and returns its index.
    pub fn column(&mut self, lower: f64, upper: f64, cost: f64) -> usize {
        self.columns.push(Column { lower, upper, cost });
        self.column_labels.push(None);
        self.columns.len() - 1
    }

    /// Adds a row over `(column, coefficient)` pairs, each column once, and returns its index. An
    /// infinite bound leaves that side open; equal bounds make an equation.
    pub fn row(
        &mut self,
        lower: f64,
        upper: f64,
        entries: impl IntoIterator<Item = (usize, f64)>,
    ) -> usize {
        self.entries.extend(entries);
        self.rows.push(Row { end: self.entries.len(), lower, upper });
        self.row_labels.push(None);
        self.rows.len() - 1
    }

    /// Says what a column is. Labels are unique among columns and rows together.
    pub fn label_column(&mut self, column: usize, label: Label) {
        self.column_labels[column] = Some(label);
    }

    /// Says what a row is. Labels are unique among columns and rows together.
    pub fn label_row(&mut self, row: usize, label: Label) {
        self.row_labels[row] = Some(label);
    }

    /// Says that `row`, an equation, implies `column` from its other columns. Of those, the ones
    /// that are implied themselves must have been said before. A solver may leave both out and
    /// bring the column's bounds back where they are broken.
    pub fn imply(&mut self, column: usize, row: usize) {
        self.implied.push((column, row));
    }

    /// Says that no useful answer has both columns above their lower bounds.
    pub fn exclude(&mut self, one: usize, other: usize) {
        self.twins.extend([(one, other), (other, one)]);
    }

    /// The column that excludes this one.
    #[must_use]
    pub fn twin(&self, column: usize) -> Option<usize> {
        self.twins.get(&column).copied()
    }

    /// Implied columns and their rows, in the order in which they were said.
    #[must_use]
    pub fn implied(&self) -> &[(usize, usize)] {
        &self.implied
    }

    /// Per column.
    #[must_use]
    pub fn column_labels(&self) -> &[Option<Label>] {
        &self.column_labels
    }

    /// Per row.
    #[must_use]
    pub fn row_labels(&self) -> &[Option<Label>] {
        &self.row_labels
    }

    /// All columns.
    #[must_use]
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// Number of rows.
    #[must_use]
    pub fn row_count(&self) -> usize {
        self.rows.len()
    }

    /// The entries of a row.
    #[must_use]
    pub fn entries(&self, row: usize) -> &[(usize, f64)] {
        let start = if row == 0 { 0 } else { self.rows[row - 1].end };
        &self.entries[start..self.rows[row].end]
    }

    /// Least and largest sum of a row.
    #[must_use]
    pub fn row_bounds(&self, row: usize) -> (f64, f64) {
        (self.rows[row].lower, self.rows[row].upper)
    }

    /// Checks every number of the program.
    ///
    /// # Errors
    /// [`ProgramFault`] for the first that no solver can take.
    pub fn check(&self) -> Result<(), ProgramFault> {
        for (index, column) in self.columns.iter().enumerate() {
            check_column(index, *column)?;
        }
        for (index, row) in self.rows.iter().enumerate() {
            check_row(index, row.lower, row.upper)?;
            for &(column, coefficient) in self.entries(index) {
                self.check_index("column", column, self.columns.len())?;
                if !coefficient.is_finite() {
                    let problem = "a coefficient is not finite";
                    return Err(ProgramFault::Number { place: "row", index, problem });
                }
            }
        }
        self.check_implied()
    }

    /// Whether every implied column follows from its row and from what was implied before it.
    fn check_implied(&self) -> Result<(), ProgramFault> {
        let mut order = vec![usize::MAX; self.columns.len()];
        let mut used = vec![false; self.rows.len()];
        for (i, &(column, row)) in self.implied.iter().enumerate() {
            self.check_index("column", column, self.columns.len())?;
            self.check_index("row", row, self.rows.len())?;
            let fault = |problem| Err(ProgramFault::Implied { column, row, problem });
            if order[column] != usize::MAX || used[row] {
                return fault("one of them is said twice");
            }
            (order[column], used[row]) = (i, true);
            if self.rows[row].lower != self.rows[row].upper {
                return fault("the row is no equation");
            }
            let own = self.entries(row).iter().find(|&&(j, _)| j == column);
            if own.is_none_or(|(_, a)| a.abs() < 1e-9) {
                return fault("the column is not in the row");
            }
        }
        for (i, &(column, row)) in self.implied.iter().enumerate() {
            let after = |&(j, _): &(usize, f64)| order[j] != usize::MAX && order[j] > i;
            if self.entries(row).iter().any(after) {
                let problem = "the row needs a column that is implied later";
                return Err(ProgramFault::Implied { column, row, problem });
            }
        }
        Ok(())
    }

    /// Changes numbers in place, all or none.
    ///
    /// # Errors
    /// [`ProgramFault`] when an index or a number is wrong; nothing is changed then.
    pub fn patch(&mut self, patch: &Patch) -> Result<(), ProgramFault> {
        for &(index, lower, upper) in &patch.bounds {
            self.check_index("column", index, self.columns.len())?;
            check_column(index, Column { lower, upper, cost: 0.0 })?;
        }
        for &(index, cost) in &patch.costs {
            self.check_index("column", index, self.columns.len())?;
            check_column(index, Column { lower: 0.0, upper: 0.0, cost })?;
        }
        for &(index, lower, upper) in &patch.rows {
            self.check_index("row", index, self.rows.len())?;
            check_row(index, lower, upper)?;
        }
        for &(index, lower, upper) in &patch.bounds {
            let column = &mut self.columns[index];
            (column.lower, column.upper) = (lower, upper);
        }
        for &(index, cost) in &patch.costs {
            self.columns[index].cost = cost;
        }
        for &(index, lower, upper) in &patch.rows {
            let row = &mut self.rows[index];
            (row.lower, row.upper) = (lower, upper);
        }
        Ok(())
    }

    /// The objective at these values.
    #[must_use]
    pub fn objective(&self, values: &[f64]) -> f64 {
        self.columns.iter().zip(values).map(|(column, value)| column.cost * value).sum()
    }

    /// By how much the values break a bound or a row at most; zero for a feasible point. Values
    /// that are no numbers are infinitely wrong.
    #[must_use]
    pub fn violation(&self, values: &[f64]) -> f64 {
        if values.len() != self.columns.len() || values.iter().any(|value| !value.is_finite()) {
            return f64::INFINITY;
        }
        let bounds = self.columns.iter().zip(values);
        let worst = bounds.map(|(c, &x)| (c.lower - x).max(x - c.upper)).fold(0.0, f64::max);
        (0..self.rows.len())
            .map(|row| {
                let sum: f64 = self.entries(row).iter().map(|&(j, a)| a * values[j]).sum();
                let (lower, upper) = self.row_bounds(row);
                (lower - sum).max(sum - upper)
            })
            .fold(worst, f64::max)
    }

    fn check_index(
        &self,
        place: &'static str,
        index: usize,
        count: usize,
    ) -> Result<(), ProgramFault> {
        if index < count { Ok(()) } else { Err(ProgramFault::Unknown { place, index, count }) }
    }
}

fn check_column(index: usize, column: Column) -> Result<(), ProgramFault> {
    let fault = |problem| Err(ProgramFault::Number { place: "column", index, problem });
    if !column.lower.is_finite() || !column.upper.is_finite() {
        return fault("a bound is not finite");
    }
    if column.lower > column.upper {
        return fault("the lower bound is above the upper one");
    }
    if !column.cost.is_finite() {
        return fault("the cost is not finite");
    }
    Ok(())
}

fn check_row(index: usize, lower: f64, upper: f64) -> Result<(), ProgramFault> {
    let fault = |problem| Err(ProgramFault::Number { place: "row", index, problem });
    if lower.is_nan() || upper.is_nan() || lower == f64::INFINITY || upper == f64::NEG_INFINITY {
        return fault("a bound is no number");
    }
    if lower > upper {
        return fault("the lower bound is above the upper one");
    }
    Ok(())
}
