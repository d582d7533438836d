//! The grid in the units of the search: keys, watt-hours and flat lists.

use super::key;
use crate::Grid;

/// A grid prepared for passes up and down.
pub(super) struct Tree {
    /// Parent per node; the root is its own.
    pub parent: Vec<u32>,
    /// Most energy towards the node; none for the root.
    pub import_cap: Vec<i64>,
    /// Most energy away from the node; none for the root.
    pub export_cap: Vec<i64>,
    /// Fee of the node's branch in keys.
    pub fee_keys: Vec<i64>,
    /// Fee of the node's branch, nano-currency per Wh.
    pub fee_nano: Vec<i64>,
    /// Nodes with all children before them, and the children of one node side by side.
    pub upwards: Vec<u32>,
    /// Number of children per node.
    pub children: Vec<u32>,
    /// Sum over all nodes of the nodes on the path to the root: what one pass of curves costs per
    /// step of a node.
    pub path_nodes: usize,
}

impl Tree {
    pub fn of(grid: &Grid) -> Self {
        let size = grid.size();
        let branches = grid.branches();
        let mut parent = Vec::with_capacity(size);
        parent.push(0);
        parent.extend(branches.iter().map(|branch| branch.parent.0));
        let with_root = |of: &dyn Fn(usize) -> i64| -> Vec<i64> {
            std::iter::once(0).chain((0..branches.len()).map(of)).collect()
        };
        let mut children = vec![0_u32; size];
        let mut depth = vec![1_usize; size];
        for node in 1..size {
            let up = parent[node] as usize;
            children[up] += 1;
            depth[node] = depth[up] + 1;
        }
        Self {
            import_cap: with_root(&|i| branches[i].import_cap.wh()),
            export_cap: with_root(&|i| branches[i].export_cap.wh()),
            fee_keys: with_root(&|i| key::of_fee(branches[i].fee)),
            fee_nano: with_root(&|i| branches[i].fee.nano_per_wh()),
            upwards: upwards(&parent, &children),
            path_nodes: depth.iter().sum(),
            parent,
            children,
        }
    }

    pub fn size(&self) -> usize {
        self.parent.len()
    }

    /// All nodes but the root, parents first, with their parent.
    pub fn branches(&self) -> impl DoubleEndedIterator<Item = (usize, usize)> {
        (1..self.size()).map(|node| (node, self.parent[node] as usize))
    }
}

/// Depth-first order from the leaves to the root: positions follow from the sizes of the subtrees.
fn upwards(parent: &[u32], children: &[u32]) -> Vec<u32> {
    let size = parent.len();
    let mut subtree = vec![1_u32; size];
    for node in (1..size).rev() {
        subtree[parent[node] as usize] += subtree[node];
    }
    // A node stands last in its block of the order; its children's blocks fill the block before it
    // from the back.
    let mut last = vec![0_u32; size];
    let mut free_before = vec![0_u32; size];
    last[0] = subtree[0] - 1;
    free_before[0] = last[0];
    for node in 1..size {
        let up = parent[node] as usize;
        last[node] = free_before[up] - 1;
        free_before[up] -= subtree[node];
        free_before[node] = last[node];
    }
    debug_assert!(children.iter().zip(&subtree).all(|(&c, &s)| (c == 0) == (s == 1)));
    let mut order = vec![0_u32; size];
    for (node, &place) in (0_u32..).zip(&last) {
        order[place as usize] = node;
    }
    order
}
