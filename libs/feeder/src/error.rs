//! What can be wrong with a network, and where.

use std::fmt;

use crate::table::TableError;

/// Where something was written: a file (or the name of a list that was built in code) and its
/// line (or entry), counted from 1.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// File as it was named to the reader, for example `grid/lines.csv`.
    pub file: String,
    /// Line of the file, counted from 1; the header is line 1.
    pub line: u64,
}

impl Place {
    /// A line of a file.
    #[must_use]
    pub fn new(file: impl Into<String>, line: u64) -> Self {
        Self { file: file.into(), line }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, line {}", self.file, self.line)
    }
}

/// Why a network was refused.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// A table could not be read.
    #[error(transparent)]
    Table(#[from] TableError),
    /// A table was read, and what it says is impossible.
    #[error("{place}: {fault}")]
    Invalid {
        /// Where the offending entry stands.
        place: Place,
        /// What is wrong with it.
        fault: Fault,
    },
}

/// What is wrong with one entry of a network.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Fault {
    /// The list of buses is empty.
    #[error("there is no bus; a network needs at least one bus")]
    NoBus,
    /// No bus is a slack.
    #[error("there is no slack bus; name the bus that the grid feeds")]
    NoSlack,
    /// An identifier is empty.
    #[error("a {kind} has an empty id")]
    EmptyId {
        /// `bus`, `line` or `transformer`.
        kind: &'static str,
    },
    /// An identifier appears twice.
    #[error("{kind} {id} appears twice (first: {first})")]
    Duplicate {
        /// `bus`, `line`, `transformer` or `slack`.
        kind: &'static str,
        /// The identifier.
        id: String,
        /// Where it stands for the first time.
        first: Place,
    },
    /// A branch or a slack names a bus that does not exist.
    #[error("{owner} names bus {bus}, which the list of buses does not have")]
    UnknownBus {
        /// The line, transformer or slack.
        owner: String,
        /// The missing bus.
        bus: String,
    },
    /// Bus roles and the list of slacks contradict each other.
    #[error("bus {bus} has the role {role}, but the list of slacks says otherwise")]
    RoleMismatch {
        /// The bus.
        bus: String,
        /// `slack` or `bus`.
        role: String,
    },
    /// A number is NaN or infinite.
    #[error("{owner}: {quantity} is {value}, which is no finite number")]
    NotFinite {
        /// The bus, line, transformer or slack.
        owner: String,
        /// The quantity, with its unit.
        quantity: &'static str,
        /// What it is.
        value: f64,
    },
    /// A quantity that must be greater than zero is not.
    #[error("{owner}: {quantity} is {value}, but must be greater than zero")]
    NotPositive {
        /// The bus, line, transformer or slack.
        owner: String,
        /// The quantity, with its unit.
        quantity: &'static str,
        /// What it is.
        value: f64,
    },
    /// A resistance is below zero.
    #[error("{owner}: the resistance {value} ohm is negative")]
    NegativeResistance {
        /// The line or transformer.
        owner: String,
        /// What it is, in ohm.
        value: f64,
    },
    /// A branch starts and ends at the same bus.
    #[error("{owner} starts and ends at bus {bus}")]
    SelfLoop {
        /// The line or transformer.
        owner: String,
        /// The bus.
        bus: String,
    },
    /// A line joins two voltage levels.
    #[error(
        "{owner} joins bus {from} ({from_kv} kV) and bus {to} ({to_kv} kV); that takes a transformer"
    )]
    VoltageLevels {
        /// The line.
        owner: String,
        /// One end.
        from: String,
        /// Its nominal voltage, kV.
        from_kv: f64,
        /// The other end.
        to: String,
        /// Its nominal voltage, kV.
        to_kv: f64,
    },
    /// A branch closes a loop.
    #[error(
        "{owner} closes a cycle: buses {from} and {to} are already connected to a slack without it"
    )]
    Cycle {
        /// The line or transformer.
        owner: String,
        /// One end.
        from: String,
        /// The other end.
        to: String,
    },
    /// A transformer is fed from its low-voltage side.
    #[error(
        "{owner} is fed from its low-voltage bus {lv_bus}; the high-voltage side must face the slack"
    )]
    Backwards {
        /// The transformer.
        owner: String,
        /// Its low-voltage bus.
        lv_bus: String,
    },
    /// No path leads from a slack to a bus.
    #[error(
        "bus {bus} is disconnected: no path of lines and transformers leads to it from a slack"
    )]
    Disconnected {
        /// The bus.
        bus: String,
    },
}
