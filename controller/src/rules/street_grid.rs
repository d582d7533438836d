//! The grid a street trades on: limits and fees, and who is connected where.
//!
//! Desk and auditor hold the same grid: its digest stands in every clearing, so that nobody can
//! change a fee, a limit or a home's place afterwards. Grids change between slots, when a fee does
//! or somebody moves in; each slot keeps the one that its clearing names.

use std::collections::BTreeMap;
use std::sync::Arc;

use market::{Clearing, Grid, Node};
use protocol::{B256, BusPrice, Domain, keccak256, merkle};
use serde::{Deserialize, Serialize};
use units::{PointId, Price};

/// A grid as it is written down; its digest is that of its JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GridForm {
    /// Names of the buses by node, the root first.
    pub buses: Vec<String>,
    /// Their branches, limits and fees.
    pub grid: Grid,
    /// The bus of every home.
    pub homes: BTreeMap<PointId, String>,
}

/// Where the members of a street trade.
#[derive(Debug, Clone, Default)]
pub struct StreetGrid {
    grid: Arc<Grid>,
    buses: Vec<String>,
    nodes: BTreeMap<PointId, Node>,
    digest: B256,
}

/// Why a grid and its members do not fit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StreetGridFault {
    /// Every node has one name.
    #[error("{names} names for {nodes} buses")]
    Names {
        /// How many names there are.
        names: usize,
        /// How many nodes.
        nodes: usize,
    },
    /// The text is none of a grid.
    #[error("it cannot be read: {0}")]
    Text(String),
    /// A member is at a bus that is not there.
    #[error("{point} is at bus {bus}, which is not in the grid")]
    UnknownBus {
        /// Whose.
        point: PointId,
        /// The bus.
        bus: String,
    },
}

impl StreetGrid {
    /// The grid of a form.
    ///
    /// # Errors
    /// [`StreetGridFault`].
    pub fn new(form: GridForm) -> Result<Self, StreetGridFault> {
        let (names, size) = (form.buses.len(), form.grid.size());
        if names != size {
            return Err(StreetGridFault::Names { names, nodes: size });
        }
        let text = serde_json::to_string(&form).expect("a grid is plain data");
        let known: BTreeMap<&str, Node> =
            form.grid.nodes().zip(&form.buses).map(|(node, bus)| (bus.as_str(), node)).collect();
        let mut nodes = BTreeMap::new();
        for (point, bus) in &form.homes {
            let Some(node) = known.get(bus.as_str()) else {
                let (point, bus) = (point.clone(), bus.clone());
                return Err(StreetGridFault::UnknownBus { point, bus });
            };
            nodes.insert(point.clone(), *node);
        }
        let digest = keccak256(text.as_bytes());
        Ok(Self { grid: Arc::new(form.grid), buses: form.buses, nodes, digest })
    }

    /// The grid of a form's JSON.
    ///
    /// # Errors
    /// [`StreetGridFault`].
    pub fn parse(text: &str) -> Result<Self, StreetGridFault> {
        let form = serde_json::from_str(text);
        Self::new(form.map_err(|error| StreetGridFault::Text(error.to_string()))?)
    }

    /// The grid; a plate when the community has none.
    #[must_use]
    pub const fn grid(&self) -> &Arc<Grid> {
        &self.grid
    }

    /// Commits to limits, fees and everybody's place; zero for a plate.
    #[must_use]
    pub const fn digest(&self) -> B256 {
        self.digest
    }

    /// Where a metering point is connected: on a plate all at the root, on a grid none but those
    /// who are on it.
    #[must_use]
    pub fn place(&self, point: &PointId) -> Option<Node> {
        let node = self.nodes.get(point).copied();
        node.or_else(|| self.grid.is_plate().then_some(Node::ROOT))
    }

    /// Where a member is connected; the root for whoever is not on the grid.
    #[must_use]
    pub fn node(&self, point: &PointId) -> Node {
        self.place(point).unwrap_or(Node::ROOT)
    }

    /// The homes that are connected, with their nodes.
    pub fn homes(&self) -> impl Iterator<Item = (&PointId, Node)> {
        self.nodes.iter().map(|(point, node)| (point, *node))
    }

    /// The name of a node's bus; empty on a plate.
    #[must_use]
    pub fn bus(&self, node: Node) -> &str {
        self.buses.get(node.index()).map_or("", String::as_str)
    }

    /// As it is written down; none for a plate.
    #[must_use]
    pub fn form(&self) -> Option<GridForm> {
        if self.grid.is_plate() {
            return None;
        }
        let homes = self.homes().map(|(point, node)| (point.clone(), self.bus(node).to_owned()));
        let (homes, buses) = (homes.collect(), self.buses.clone());
        Some(GridForm { buses, grid: Grid::clone(&self.grid), homes })
    }

    /// The price at a node and its parts; none where nothing is traded, and on a plate.
    #[must_use]
    pub fn bus_price(&self, clearing: &Clearing, node: Node) -> Option<BusPrice> {
        clearing.nodal.as_ref()?;
        let parts = clearing.parts_at(&self.grid, node)?;
        Some(BusPrice {
            slot: clearing.slot.number(),
            bus: self.bus(node).to_owned(),
            price: parts.price().nano_per_wh(),
            energy: parts.energy.nano_per_wh(),
            grid_fee: parts.grid_fee.nano_per_wh(),
            congestion: parts.congestion.nano_per_wh(),
        })
    }
}

/// The prices of all buses that trade, as a tree whose root stands in the clearing.
#[derive(Debug, Clone, Default)]
pub struct PriceTree {
    prices: Vec<(Node, BusPrice)>,
    leaves: Vec<B256>,
}

impl PriceTree {
    /// The prices of a clearing.
    #[must_use]
    pub fn of(grid: &StreetGrid, clearing: &Clearing, domain: &Domain) -> Self {
        let at = |node: Node| Some((node, grid.bus_price(clearing, node)?));
        let prices: Vec<(Node, BusPrice)> = grid.grid.nodes().filter_map(at).collect();
        let leaves = prices.iter().map(|(_, price)| merkle::leaf(domain.digest(price))).collect();
        Self { prices, leaves }
    }

    /// Its root, and how many prices are under it.
    #[must_use]
    pub fn root(&self) -> (B256, u32) {
        let count = u32::try_from(self.leaves.len()).expect("a grid has at most 65536 nodes");
        (merkle::root(&self.leaves), count)
    }

    /// The price of a node, its position, and the siblings up to the root.
    #[must_use]
    pub fn proof(&self, node: Node) -> Option<(BusPrice, u64, Vec<B256>)> {
        let position = self.prices.binary_search_by_key(&node, |(node, _)| *node).ok()?;
        let path = merkle::path(&self.leaves, position);
        Some((self.prices[position].1.clone(), position as u64, path))
    }
}

/// What the network earns by a clearing: fees and congestion, nano-currency.
///
/// # Panics
/// When that leaves the range of money, which no settlement could be made of either: it is at most
/// what a street of bounded orders pays.
#[must_use]
pub fn network(clearing: &Clearing) -> (i64, i64) {
    let nano = |amount: i128| i64::try_from(amount).expect("bounded by connections and tariff");
    clearing.nodal.as_ref().map_or((0, 0), |nodal| (nano(nodal.fees), nano(nodal.rent)))
}

/// How the method of a slot without a market begins.
pub const NO_MARKET: &str = "no market: ";

/// A price on the wire, none or one.
#[must_use]
pub fn on_wire(price: Option<Price>) -> Vec<i64> {
    price.map(Price::nano_per_wh).into_iter().collect()
}
