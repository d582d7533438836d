//! What the supplier asks and pays: `tariffs.csv`, any number of tariffs.

use std::io::Read;

use feeder::TableReader;

use super::error::{Flaw, ScenarioError};
use super::timeline::{MASTER, Timeline, check_timestamp};

/// Largest price, 1e-5 currency per kWh: 1 000 currency per kWh.
const LARGEST_E5: i64 = 100_000_000;

/// Prices of one supplier, a value per row of the timeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tariff {
    /// Its name, the NAME of `NAME_retail_e5`.
    pub name: String,
    /// What a kWh from the grid costs, 1e-5 currency.
    pub retail_e5: Vec<i32>,
    /// What a kWh into the grid earns, 1e-5 currency.
    pub feed_in_e5: Vec<i32>,
}

const RETAIL: &str = "_retail_e5";
const FEED_IN: &str = "_feedin_e5";

/// Reads `tariffs.csv`, which also sets the steps of the scenario.
pub(super) fn read_tariffs<R: Read>(source: R) -> Result<(Timeline, Vec<Tariff>), ScenarioError> {
    let mut table = TableReader::new(MASTER, source)?;
    let (t, timestamp) = (table.column("t")?, table.optional_column("timestamp_utc"));
    let mut tariffs = Vec::new();
    let mut columns = Vec::new();
    for column in table.header() {
        let (name, partner) = match (column.strip_suffix(RETAIL), column.strip_suffix(FEED_IN)) {
            (Some(name), _) => (name, FEED_IN),
            (_, Some(name)) => (name, RETAIL),
            _ => continue,
        };
        let partner = table.column(&format!("{name}{partner}"))?;
        if column.ends_with(RETAIL) {
            columns.push((table.column(column)?, partner));
            let (retail_e5, feed_in_e5) = (Vec::new(), Vec::new());
            tariffs.push(Tariff { name: name.to_owned(), retail_e5, feed_in_e5 });
        }
    }
    if tariffs.is_empty() {
        return Err(ScenarioError::at(feeder::Place::new(MASTER, 1), Flaw::NoTariff));
    }
    let mut timeline = Timeline::default();
    while let Some(row) = table.next_row()? {
        timeline.push(&row, t)?;
        check_timestamp(&row, t, timestamp)?;
        for (tariff, (retail, feed_in)) in tariffs.iter_mut().zip(&columns) {
            tariff.retail_e5.push(price(&row, *retail)?);
            tariff.feed_in_e5.push(price(&row, *feed_in)?);
        }
    }
    if timeline.is_empty() {
        return Err(ScenarioError::at(feeder::Place::new(MASTER, 1), Flaw::Empty));
    }
    Ok((timeline, tariffs))
}

fn price(row: &feeder::Row<'_>, column: usize) -> Result<i32, ScenarioError> {
    let value = row.integer(column)?;
    let in_range = value.abs() <= LARGEST_E5;
    match i32::try_from(value) {
        Ok(value) if in_range => Ok(value),
        _ => Err(row.bad_field(column, "a price of at most 1 000 currency per kWh").into()),
    }
}
