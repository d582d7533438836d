//! What can be wrong with a scenario folder.

use std::path::PathBuf;

use feeder::{NetworkError, Place, TableError};

/// Why a scenario was refused; every message names file, line and reason.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    /// The folder is not there.
    #[error("{} is no folder; a scenario is a folder with customers.csv, devices.csv, tariffs.csv, grid/ and ts/", .0.display())]
    NoFolder(PathBuf),
    /// A table could not be read.
    #[error(transparent)]
    Table(#[from] TableError),
    /// The network is no tree, or its numbers are impossible.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// A table was read, and what it says is impossible.
    #[error("{place}: {flaw}")]
    Invalid {
        /// Where.
        place: Place,
        /// What is wrong.
        flaw: Box<Flaw>,
    },
}

impl ScenarioError {
    pub(super) fn at(place: Place, flaw: Flaw) -> Self {
        Self::Invalid { place, flaw: Box::new(flaw) }
    }
}

/// What is wrong with one entry of a scenario.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Flaw {
    /// A file has a header and nothing else.
    #[error("there are no rows below the header")]
    Empty,
    /// An identifier is no identifier.
    #[error("{0}")]
    BadId(String),
    /// An identifier appears twice.
    #[error("{kind} {id} appears twice")]
    Duplicate {
        /// `customer` or `device`.
        kind: &'static str,
        /// The identifier.
        id: String,
    },
    /// A customer or device names a bus that does not exist.
    #[error("{owner} names bus {bus}, which grid/buses.csv does not have")]
    UnknownBus {
        /// The customer or device.
        owner: String,
        /// The bus.
        bus: String,
    },
    /// A device or a series names a customer that does not exist.
    #[error("{owner} names customer {customer}, which customers.csv does not have")]
    UnknownCustomer {
        /// The device or column.
        owner: String,
        /// The customer.
        customer: String,
    },
    /// A device sits at another bus than its owner.
    #[error(
        "device {device} sits at bus {bus}, but its customer {customer} at bus {home}; a customer has one metering point"
    )]
    OtherBus {
        /// The device.
        device: String,
        /// Where it is said to be.
        bus: String,
        /// Its owner.
        customer: String,
        /// Where the owner is.
        home: String,
    },
    /// A battery lacks a rating that it needs.
    #[error("device {device} needs {column} to run its battery")]
    MissingRating {
        /// The device.
        device: String,
        /// The empty column.
        column: &'static str,
    },
    /// A number is outside of what is possible.
    #[error("column {column}: {value} is outside of {range}")]
    OutOfRange {
        /// The column.
        column: String,
        /// What stands there.
        value: f64,
        /// What may.
        range: &'static str,
    },
    /// Energy cannot flow backwards through a series.
    #[error(
        "column {column}: {value} is negative; loads and generation are counted in files of their own, each from zero up"
    )]
    Negative {
        /// The column.
        column: String,
        /// What stands there.
        value: f64,
    },
    /// A device has no series.
    #[error(
        "the column {customer} is missing, but devices.csv gives {customer} a device of kind {kind}"
    )]
    NoSeries {
        /// The customer.
        customer: String,
        /// The kind of device.
        kind: &'static str,
    },
    /// A series has no device.
    #[error(
        "column {customer}: power without a device; devices.csv gives {customer} none of kind {kind}"
    )]
    NoDevice {
        /// The customer.
        customer: String,
        /// The kind of device.
        kind: &'static str,
    },
    /// Time does not advance.
    #[error("t is {t} after {previous}; time must advance")]
    NotAscending {
        /// This row.
        t: i64,
        /// The row before.
        previous: i64,
    },
    /// Steps are missing inside a day.
    #[error(
        "t jumps from {previous} to {t}: a gap in time; only whole UTC days may be left out (a jump from the last quarter-hour of a day to the first of another)"
    )]
    Gap {
        /// This row.
        t: i64,
        /// The row before.
        previous: i64,
    },
    /// Two files disagree about time.
    #[error(
        "t is {t}, but {master} has {expected} in this row; all series and tariffs must cover the same steps"
    )]
    OtherTime {
        /// This file.
        t: i64,
        /// The file that sets the steps.
        master: &'static str,
        /// Its value.
        expected: i64,
    },
    /// Two files cover different spans.
    #[error(
        "the file has {rows} rows, but {master} has {expected}; all series and tariffs must cover the same steps"
    )]
    OtherLength {
        /// This file.
        rows: usize,
        /// The file that sets the steps.
        master: &'static str,
        /// Its rows.
        expected: usize,
    },
    /// Number and text of a time disagree.
    #[error("t {t} is {expected}, but timestamp_utc says {found}")]
    OtherTimestamp {
        /// The step.
        t: i64,
        /// What it means.
        expected: String,
        /// What stands there.
        found: String,
    },
    /// The canonical energy contradicts the power series.
    #[error("column {customer}: {found} Wh, but the power series give {expected} Wh")]
    OtherEnergy {
        /// The customer.
        customer: String,
        /// What stands there.
        found: i64,
        /// n/40 of the sum in 0.1 W, half to even.
        expected: i64,
    },
    /// There is no tariff.
    #[error("there is no tariff; add the columns NAME_retail_e5 and NAME_feedin_e5")]
    NoTariff,
    /// An order stands in a step that the scenario does not have.
    #[error("t is {t}, which {master} does not have")]
    UnknownTime {
        /// The step.
        t: i64,
        /// The file that sets the steps.
        master: &'static str,
    },
    /// A customer has two orders of one side in one step.
    #[error("{customer} has two {side} orders at t {t}; a metering point has one order per side")]
    OrderTwice {
        /// The customer.
        customer: String,
        /// `buy` or `sell`.
        side: &'static str,
        /// The step.
        t: i64,
    },
    /// The market would refuse an order.
    #[error("the order of {customer}: {reason}")]
    OrderRefused {
        /// The customer.
        customer: String,
        /// The market's reason.
        reason: String,
    },
}
