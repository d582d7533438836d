//! The time series of `ts/`: one file per kind, one column per customer, mean power of each slot.

use std::io::Read;

use feeder::{Place, Row, TableReader};

use super::error::{Flaw, ScenarioError};
use super::people::Customer;
use super::timeline::{Timeline, check_timestamp};

/// Mean power per slot in units of 0.1 W (0.1 var), the resolution of the packs.
pub type Series = Vec<i32>;

/// Largest power of one column: 100 MW, which fits 32 bits of 0.1 W.
const LARGEST_KW: f64 = 100_000.0;

/// Whether a series may go below zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sign {
    /// Active power: consumption and generation have files of their own.
    NotNegative,
    /// Reactive power.
    Any,
}

/// A file of series: its name and, per customer, the column.
pub(super) struct SeriesFile {
    pub file: &'static str,
    pub columns: Vec<Option<Series>>,
}

impl SeriesFile {
    /// A file that is not there, and need not be.
    pub fn absent(file: &'static str, customers: usize) -> Self {
        Self { file, columns: vec![None; customers] }
    }

    /// Reads a file of powers in kW or kvar.
    pub fn read<R: Read>(
        file: &'static str,
        source: R,
        customers: &[Customer],
        timeline: &Timeline,
        sign: Sign,
    ) -> Result<Self, ScenarioError> {
        let mut columns: Vec<Option<Series>> = vec![None; customers.len()];
        scan(file, source, customers, timeline, |row, column, customer| {
            let series =
                columns[customer].get_or_insert_with(|| Vec::with_capacity(timeline.len()));
            series.push(tenth_watts(row, column, &customers[customer], sign)?);
            Ok(())
        })?;
        Ok(Self { file, columns })
    }

    /// Gives the column of a customer to the device that needs it.
    pub fn claim(
        &mut self,
        customer: usize,
        customers: &[Customer],
        kind: &'static str,
    ) -> Result<Series, ScenarioError> {
        self.columns[customer].take().ok_or_else(|| {
            let customer = customers[customer].id.to_string();
            ScenarioError::at(Place::new(self.file, 1), Flaw::NoSeries { customer, kind })
        })
    }

    /// Refuses power that no device claimed; columns of zeros are harmless.
    pub fn check_all_claimed(
        &self,
        customers: &[Customer],
        kind: &'static str,
    ) -> Result<(), ScenarioError> {
        for (series, customer) in self.columns.iter().zip(customers) {
            if let Some(series) = series
                && let Some(row) = series.iter().position(|power| *power != 0)
            {
                let place = Place::new(self.file, row as u64 + 2);
                let customer = customer.id.to_string();
                return Err(ScenarioError::at(place, Flaw::NoDevice { customer, kind }));
            }
        }
        Ok(())
    }
}

/// Walks a file with the columns `t`, perhaps `timestamp_utc`, and one per customer.
pub(super) fn scan<R: Read>(
    file: &'static str,
    source: R,
    customers: &[Customer],
    timeline: &Timeline,
    mut visit: impl FnMut(&Row<'_>, usize, usize) -> Result<(), ScenarioError>,
) -> Result<(), ScenarioError> {
    let mut table = TableReader::new(file, source)?;
    let (t, timestamp) = (table.column("t")?, table.optional_column("timestamp_utc"));
    let mut columns = Vec::new();
    for (column, name) in table.header().iter().enumerate() {
        if column == t || Some(column) == timestamp {
            continue;
        }
        match customers.iter().position(|customer| customer.id.as_str() == name) {
            Some(customer) => columns.push((column, customer)),
            None => {
                let flaw =
                    Flaw::UnknownCustomer { owner: "a column".to_owned(), customer: name.clone() };
                return Err(ScenarioError::at(Place::new(file, 1), flaw));
            }
        }
    }
    let mut rows = 0;
    while let Some(row) = table.next_row()? {
        timeline.check(rows, &row, t)?;
        check_timestamp(&row, t, timestamp)?;
        for (column, customer) in &columns {
            visit(&row, *column, *customer)?;
        }
        rows += 1;
    }
    if rows != timeline.len() {
        let flaw =
            Flaw::OtherLength { rows, master: super::timeline::MASTER, expected: timeline.len() };
        return Err(ScenarioError::at(Place::new(file, rows as u64 + 1), flaw));
    }
    Ok(())
}

fn tenth_watts(
    row: &Row<'_>,
    column: usize,
    customer: &Customer,
    sign: Sign,
) -> Result<i32, ScenarioError> {
    let value = row.number(column)?;
    if value < 0.0 && sign == Sign::NotNegative {
        let flaw = Flaw::Negative { column: customer.id.to_string(), value };
        return Err(ScenarioError::at(row.place(), flaw));
    }
    if value.abs() > LARGEST_KW {
        let column = customer.id.to_string();
        let flaw = Flaw::OutOfRange { column, value, range: "100 MW" };
        return Err(ScenarioError::at(row.place(), flaw));
    }
    #[expect(clippy::cast_possible_truncation, reason = "at most 10^9")]
    Ok((value * 10_000.0).round() as i32)
}

/// Energy of one slot at a mean power in 0.1 W: n / 40, halves to the even Wh.
#[must_use]
pub fn wh_of_slot(tenth_watts: i64) -> i64 {
    let (whole, rest) = (tenth_watts.div_euclid(40), tenth_watts.rem_euclid(40));
    let up = rest > 20 || (rest == 20 && whole % 2 != 0);
    whole + i64::from(up)
}
