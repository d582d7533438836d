//! The network as the market sees it: a tree of branches with room and a fee.
//!
//! A local market may only sell what the cables can carry, and members pay for the part of the
//! network that their energy uses. Both are properties of a branch: how much energy it takes per
//! slot in either direction, and what a watt-hour through it costs. Everything else about a cable
//! (impedance, voltage, reactive power) belongs to [`feeder`], whose exact sweep checks afterwards
//! what the caps here only promise.
//!
//! The tree is stored flat: branch `i` feeds node `i + 1`, and a parent's number is always smaller
//! than its child's, so that one loop upwards or downwards visits every node in order.

mod feeder_rules;

use std::collections::BTreeSet;

use units::{Energy, Price};

pub use feeder_rules::{GridRules, RulesFault, TierRule};

use crate::MAX_PRICE;

/// Most nodes of a grid: the low-voltage networks below one substation, with room to spare.
pub const MAX_NODES: usize = 65_536;

/// Most branches between a node and the root.
pub const MAX_DEPTH: usize = 1_024;

/// Room of a branch that has no limit of its own; also the largest that may be stated.
///
/// A hundred million orders of [`MAX_QUANTITY`](crate::MAX_QUANTITY) do not exceed it.
pub const UNCAPPED: Energy = Energy::from_wh(1_000_000_000_000_000_000);

/// Number of a bus in a [`Grid`]; 0 is the root, on the side of the substation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(transparent))]
pub struct Node(pub u32);

impl Node {
    /// The side of the substation, where the reference price is.
    pub const ROOT: Self = Self(0);

    /// As a position in a list with one entry per node.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// The node at a position of such a list.
    pub(crate) fn at(index: usize) -> Self {
        Self(u32::try_from(index).expect("a grid has at most MAX_NODES nodes"))
    }
}

impl std::fmt::Display for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "node {}", self.0)
    }
}

/// Which part of the network a branch belongs to; tariffs differ by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
pub enum Tier {
    /// Inside one building, behind its connection.
    Building,
    /// A cable of the street, below one transformer.
    Street,
    /// A transformer between the street and the medium voltage.
    Transformer,
    /// The medium voltage up to the substation.
    Substation,
}

/// One cable or transformer, seen from the node that it feeds.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
pub struct Branch {
    /// What people call it; unique in a grid.
    pub name: String,
    /// The node on the side of the root.
    pub parent: Node,
    /// Most energy per slot towards the node that it feeds, Wh, `0 ..= UNCAPPED`.
    pub import_cap: Energy,
    /// Most energy per slot from that node, Wh, `0 ..= UNCAPPED`.
    pub export_cap: Energy,
    /// Price of one Wh through the branch, either way: grid fee and fixed losses. On the tick,
    /// not negative.
    pub fee: Price,
    /// Which part of the network it is.
    pub tier: Tier,
}

/// Why a list of branches is no grid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum GridFault {
    /// There are too many branches.
    #[error("{nodes} nodes are more than the {MAX_NODES} of a grid: give each substation its own")]
    TooManyNodes {
        /// Nodes with the root.
        nodes: usize,
    },
    /// A branch starts at a node that no branch before it feeds.
    #[error(
        "branch {name} feeds {node} from {parent}: list every branch after the one that feeds \
             its parent"
    )]
    Order {
        /// The branch.
        name: String,
        /// The node that it feeds by its place in the list.
        node: Node,
        /// The parent that it states.
        parent: Node,
    },
    /// A node is too far from the root.
    #[error("branch {name} is {depth} branches deep, more than {MAX_DEPTH}")]
    TooDeep {
        /// The branch.
        name: String,
        /// Branches up to the root with this one.
        depth: usize,
    },
    /// Two branches have one name.
    #[error("two branches are called {name:?}: bills and reports could not tell them apart")]
    Duplicate {
        /// The name.
        name: String,
    },
    /// A cap is negative or beyond [`UNCAPPED`].
    #[error("branch {name}: {direction} cap {cap} is not between 0 and {UNCAPPED} (no limit)")]
    Cap {
        /// The branch.
        name: String,
        /// `import` or `export`.
        direction: &'static str,
        /// The cap.
        cap: Energy,
    },
    /// A fee is negative or off the tick.
    #[error("branch {name}: fee {fee} is negative or off the tick of {}", Price::TICK)]
    Fee {
        /// The branch.
        name: String,
        /// The fee.
        fee: Price,
    },
    /// The fees from the root to a node add up to more than any price may be.
    #[error("branch {name}: the fees up to the root add up to {fees}, beyond {MAX_PRICE}")]
    PathFees {
        /// The branch where the sum leaves the range.
        name: String,
        /// The sum.
        fees: Price,
    },
    /// The rules for a network are out of range.
    #[error(transparent)]
    Rules(#[from] RulesFault),
}

/// A validated tree of branches below one substation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(try_from = "Vec<Branch>", into = "Vec<Branch>"))]
pub struct Grid {
    branches: Vec<Branch>,
}

#[cfg(feature = "serde")]
impl TryFrom<Vec<Branch>> for Grid {
    type Error = GridFault;
    fn try_from(branches: Vec<Branch>) -> Result<Self, GridFault> {
        Self::new(branches)
    }
}

#[cfg(feature = "serde")]
impl From<Grid> for Vec<Branch> {
    fn from(grid: Grid) -> Self {
        grid.branches
    }
}

impl Grid {
    /// From branches in which branch `i` feeds node `i + 1`.
    ///
    /// # Errors
    /// [`GridFault`] when the list is no tree with parents first, or a number is out of range.
    pub fn new(branches: Vec<Branch>) -> Result<Self, GridFault> {
        let nodes = branches.len() + 1;
        if nodes > MAX_NODES {
            return Err(GridFault::TooManyNodes { nodes });
        }
        let mut names = BTreeSet::new();
        let mut reach: Vec<(usize, Price)> = vec![(0, Price::ZERO)];
        for (i, branch) in branches.iter().enumerate() {
            let name = || branch.name.clone();
            if !names.insert(branch.name.as_str()) {
                return Err(GridFault::Duplicate { name: name() });
            }
            check_numbers(branch)?;
            let Some(&(depth, fees)) = reach.get(branch.parent.index()) else {
                let (node, parent) = (Node::at(i + 1), branch.parent);
                return Err(GridFault::Order { name: name(), node, parent });
            };
            let (depth, fees) = (depth + 1, fees + branch.fee);
            if depth > MAX_DEPTH {
                return Err(GridFault::TooDeep { name: name(), depth });
            }
            if fees > MAX_PRICE {
                return Err(GridFault::PathFees { name: name(), fees });
            }
            reach.push((depth, fees));
        }
        Ok(Self { branches })
    }

    /// The copper plate: one node that everybody is at.
    #[must_use]
    pub const fn plate() -> Self {
        Self { branches: Vec::new() }
    }

    /// Whether everybody is at one node.
    #[must_use]
    pub const fn is_plate(&self) -> bool {
        self.branches.is_empty()
    }

    /// Number of nodes, at least one.
    #[must_use]
    pub const fn size(&self) -> usize {
        self.branches.len() + 1
    }

    /// All nodes, parents before children.
    pub fn nodes(&self) -> impl DoubleEndedIterator<Item = Node> + use<> {
        (0..self.size()).map(Node::at)
    }

    /// Whether the grid has this node.
    #[must_use]
    pub const fn contains(&self, node: Node) -> bool {
        node.index() < self.size()
    }

    /// All branches; the `i`-th feeds node `i + 1`.
    #[must_use]
    pub fn branches(&self) -> &[Branch] {
        &self.branches
    }

    /// The branch that feeds a node; none for the root and for nodes that the grid does not have.
    #[must_use]
    pub fn branch(&self, node: Node) -> Option<&Branch> {
        self.branches.get(node.index().checked_sub(1)?)
    }

    /// The node on the way to the root.
    #[must_use]
    pub fn parent(&self, node: Node) -> Option<Node> {
        self.branch(node).map(|branch| branch.parent)
    }

    /// The nodes from this one to the root, both included; nothing for a node that the grid does
    /// not have.
    pub fn path(&self, node: Node) -> impl Iterator<Item = Node> {
        std::iter::successors(self.contains(node).then_some(node), |&node| self.parent(node))
    }

    /// Sum of the fees between a node and the root, per Wh.
    #[must_use]
    pub fn fees_to_root(&self, node: Node) -> Price {
        self.path(node).filter_map(|node| self.branch(node)).map(|branch| branch.fee).sum()
    }
}

fn check_numbers(branch: &Branch) -> Result<(), GridFault> {
    for (direction, cap) in [("import", branch.import_cap), ("export", branch.export_cap)] {
        if !(Energy::ZERO..=UNCAPPED).contains(&cap) {
            return Err(GridFault::Cap { name: branch.name.clone(), direction, cap });
        }
    }
    if branch.fee < Price::ZERO || branch.fee > MAX_PRICE || !branch.fee.is_on_tick() {
        return Err(GridFault::Fee { name: branch.name.clone(), fee: branch.fee });
    }
    Ok(())
}
