//! The network as a tree: buses, lines, transformers, and the order in which power reaches them.

use std::collections::BTreeMap;
use std::io::{self, Read};

use crate::error::{NetworkError, Place};
use crate::grid_files;
use crate::tree;

/// A node of the network.
#[derive(Debug, Clone, PartialEq)]
pub struct Bus {
    /// Its name.
    pub id: String,
    /// Nominal line-to-line voltage, kV.
    pub vn_kv: f64,
}

/// A cable or overhead line: totals over its length, positive sequence.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    /// Its name.
    pub id: String,
    /// The bus at one end; the results count power as it enters here.
    pub from_bus: String,
    /// The bus at the other end.
    pub to_bus: String,
    /// Length, m; none when it is not known. Nothing is computed from it.
    pub length_m: Option<f64>,
    /// Series resistance, ohm.
    pub r_ohm: f64,
    /// Series reactance, ohm.
    pub x_ohm: f64,
    /// Current it may carry for ever (all parallel systems), kA.
    pub max_i_ka: f64,
}

/// A two-winding transformer as an ideal ratio and a series impedance on the low-voltage side.
#[derive(Debug, Clone, PartialEq)]
pub struct Transformer {
    /// Its name.
    pub id: String,
    /// The bus on the side of the slack.
    pub hv_bus: String,
    /// The bus on the side of the street.
    pub lv_bus: String,
    /// Rated apparent power, kVA.
    pub sn_kva: f64,
    /// Rated voltage of the high-voltage winding, kV.
    pub vn_hv_kv: f64,
    /// Rated voltage of the low-voltage winding, kV.
    pub vn_lv_kv: f64,
    /// Ratio per unit of the bus voltages: (vn_hv·tap / vn_bus_hv) / (vn_lv / vn_bus_lv).
    pub ratio_pu: f64,
    /// Series resistance seen from the low-voltage side, ohm.
    pub r_lv_ohm: f64,
    /// Series reactance seen from the low-voltage side, ohm.
    pub x_lv_ohm: f64,
}

/// A bus whose voltage the grid above holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Slack {
    /// The bus.
    pub bus: String,
    /// Held voltage, per unit of the bus's nominal voltage.
    pub vm_pu: f64,
    /// Held angle, degrees.
    pub va_degree: f64,
}

/// What a network is built from.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct NetworkParts {
    /// All buses.
    pub buses: Vec<Bus>,
    /// All lines.
    pub lines: Vec<Line>,
    /// All transformers.
    pub transformers: Vec<Transformer>,
    /// The buses that the grid above feeds.
    pub slacks: Vec<Slack>,
}

/// Which element a branch of the tree is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Element {
    Line(usize),
    Transformer(usize),
}

/// One edge of the tree, seen from the slack.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Branch {
    pub(crate) element: Element,
    /// Index of the bus on the side of the slack.
    pub parent: usize,
    /// Index of the bus that this branch feeds.
    pub child: usize,
    /// Series resistance at the child's voltage level, ohm.
    pub r_ohm: f64,
    /// Series reactance at the child's voltage level, ohm.
    pub x_ohm: f64,
    /// Transformer ratio per unit; 1 for a line.
    pub ratio_pu: f64,
}

/// Where the parts were written, list by list.
#[derive(Debug, Clone, Default)]
pub(crate) struct Places {
    pub buses: Vec<Place>,
    pub lines: Vec<Place>,
    pub transformers: Vec<Place>,
    pub slacks: Vec<Place>,
}

impl Places {
    /// Places of lists that were built in code: the name of the list and the entry.
    fn of_lists(parts: &NetworkParts) -> Self {
        let entries = |list: &str, count: usize| -> Vec<Place> {
            (1..=count as u64).map(|line| Place::new(format!("list of {list}"), line)).collect()
        };
        Self {
            buses: entries("buses", parts.buses.len()),
            lines: entries("lines", parts.lines.len()),
            transformers: entries("transformers", parts.transformers.len()),
            slacks: entries("slacks", parts.slacks.len()),
        }
    }
}

/// A validated tree: every bus is fed from a slack by exactly one path, and every number is finite
/// and physical.
#[derive(Debug, Clone)]
pub struct Network {
    parts: NetworkParts,
    index: BTreeMap<String, usize>,
    /// Parents before children.
    branches: Vec<Branch>,
    /// Bus index of each slack.
    roots: Vec<usize>,
}

impl Network {
    /// Builds and checks a network. Complaints name the list and the entry.
    ///
    /// # Errors
    /// [`NetworkError::Invalid`] for anything that is no tree with sensible numbers.
    pub fn new(parts: NetworkParts) -> Result<Self, NetworkError> {
        let places = Places::of_lists(&parts);
        Self::build(parts, &places)
    }

    /// Reads `grid/buses.csv`, `grid/lines.csv`, `grid/transformers.csv` and `grid/slack.csv`.
    /// `open` gets these names and returns the text; the crate itself opens nothing. A line may
    /// stand in either direction, a transformer's high-voltage bus must face the slack.
    ///
    /// # Errors
    /// [`NetworkError`] with file and line.
    pub fn read<R: Read>(open: impl FnMut(&str) -> io::Result<R>) -> Result<Self, NetworkError> {
        let (parts, places) = grid_files::read(open)?;
        Self::build(parts, &places)
    }

    fn build(parts: NetworkParts, places: &Places) -> Result<Self, NetworkError> {
        let tree::Tree { index, branches, roots } = tree::grow(&parts, places)?;
        Ok(Self { parts, index, branches, roots })
    }

    /// All buses; every slice of bus values has this order.
    #[must_use]
    pub fn buses(&self) -> &[Bus] {
        &self.parts.buses
    }

    /// All lines; [`crate::PowerFlow::lines`] has this order.
    #[must_use]
    pub fn lines(&self) -> &[Line] {
        &self.parts.lines
    }

    /// All transformers; [`crate::PowerFlow::transformers`] has this order.
    #[must_use]
    pub fn transformers(&self) -> &[Transformer] {
        &self.parts.transformers
    }

    /// The buses that the grid above feeds.
    #[must_use]
    pub fn slacks(&self) -> &[Slack] {
        &self.parts.slacks
    }

    /// The position of a bus in [`Self::buses`].
    #[must_use]
    pub fn bus_index(&self, id: &str) -> Option<usize> {
        self.index.get(id).copied()
    }

    /// The edges of the tree, each after the one that feeds it.
    #[must_use]
    pub fn branches(&self) -> &[Branch] {
        &self.branches
    }

    /// The name of the line or transformer that a branch is.
    #[must_use]
    pub fn branch_id(&self, branch: &Branch) -> &str {
        match branch.element {
            Element::Line(i) => &self.parts.lines[i].id,
            Element::Transformer(i) => &self.parts.transformers[i].id,
        }
    }

    pub(crate) fn roots(&self) -> impl Iterator<Item = (usize, &Slack)> {
        self.roots.iter().copied().zip(&self.parts.slacks)
    }
}
