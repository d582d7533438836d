//! The level of every node, without sorting a large book.
//!
//! Rounding all keys of a book down to a multiple of a width lowers some of them by less than the
//! width, so the levels that clear the rounded book are at most that much too low: there are
//! supporting levels of the exact book in `[rounded, rounded + width)` at every node at once. (The
//! dual function of the clearing is L♮-convex, so its minimisers move in the direction of the keys
//! as a lattice.) Whatever stands outside that window is decided and only counts as a sum on one
//! side of it; the dual function with those sums moved next to the window never lies below the true
//! one and meets it around the window, so that its minimisers are true ones.
//!
//! Each round therefore keeps about one bin's worth of the lots, and the last rounds work on exact
//! keys. A book of a million lots takes one pass for the sums per node and bin, one to find who is
//! left, and a small clearing of those.

use super::curve::{self, Own, Step};
use super::tree::Tree;
use super::{Supplier, key};
use crate::{Lot, Side};

/// Up to this many lots, sorting them is faster than counting them first.
const FEW: usize = 2_048;

/// Fewest and most bins of a node in one round.
const BINS: (usize, usize) = (8, 1_024);

/// An undecided lot.
#[derive(Clone, Copy)]
struct Entry {
    node: u32,
    key: i32,
    wh: i64,
}

impl Entry {
    #[inline]
    fn of(lot: &Lot) -> Self {
        Self { node: lot.node.0, key: key::of_lot(lot), wh: lot.quantity.wh() }
    }
}

/// Sums per node that do not change from round to round, and what has been decided.
struct Sums {
    wanted: Vec<i64>,
    offered: Vec<i64>,
    /// Quantity on the lower and upper side of the window.
    below: Vec<i64>,
    above: Vec<i64>,
}

/// Supporting levels of all nodes. `range` is the lowest and highest key of a lot.
pub(super) fn levels(
    lots: &[Lot],
    tree: &Tree,
    supplier: Option<&Supplier>,
    range: Option<(i32, i32)>,
) -> Vec<i64> {
    let size = tree.size();
    let mut sums = Sums {
        wanted: vec![0; size],
        offered: vec![0; size],
        below: vec![0; size],
        above: vec![0; size],
    };
    for lot in lots {
        let total = match lot.side {
            Side::Buy => &mut sums.wanted,
            Side::Sell => &mut sums.offered,
        };
        total[lot.node.index()] += lot.quantity.wh();
    }
    let (mut low, mut high) = range.unwrap_or((0, 0));
    let mut at_root = Vec::new();
    if let Some(supplier) = supplier {
        let (import, export) = (key::of_import(supplier), key::of_export(supplier));
        let (sale, purchase) = (supplier.import_cap.wh(), supplier.export_cap.wh());
        at_root.push(Entry { node: 0, key: import, wh: sale });
        at_root.push(Entry { node: 0, key: export, wh: purchase });
        sums.offered[0] += sale;
        sums.wanted[0] += purchase;
        low = low.min(export);
        high = high.max(import);
    }
    let window =
        Window { lows: vec![i64::from(low); size], width: i64::from(high) - i64::from(low) + 1 };
    if lots.len() <= FEW {
        return exact(lots.iter().map(Entry::of).chain(at_root), tree, &sums, &window);
    }
    let entries = || lots.iter().map(Entry::of).chain(at_root.iter().copied());
    let (mut window, mut levels) = coarse(entries(), lots.len(), tree, &sums, &window);
    let mut left: Vec<Entry> = Vec::new();
    left.extend(entries().filter(|entry| window.holds(entry, &mut sums)));
    while window.width > 1 {
        if left.len() <= FEW {
            return exact(left.iter().copied(), tree, &sums, &window);
        }
        (window, levels) = coarse(left.iter().copied(), left.len(), tree, &sums, &window);
        left.retain(|entry| window.holds(entry, &mut sums));
    }
    levels
}

/// The keys per node among which its level is: `width` of them from the node's lowest.
struct Window {
    lows: Vec<i64>,
    width: i64,
}

impl Window {
    /// Whether an entry is still undecided; counts it otherwise.
    #[inline]
    fn holds(&self, entry: &Entry, sums: &mut Sums) -> bool {
        let node = entry.node as usize;
        let place = i64::from(entry.key) - self.lows[node];
        if place < 0 {
            sums.below[node] += entry.wh;
        } else if place >= self.width {
            sums.above[node] += entry.wh;
        } else {
            return true;
        }
        false
    }
}

/// One round on keys that are rounded down: the window around the levels it finds, and these.
fn coarse(
    entries: impl Iterator<Item = Entry>,
    count: usize,
    tree: &Tree,
    sums: &Sums,
    window: &Window,
) -> (Window, Vec<i64>) {
    let most = (count / (2 * tree.path_nodes)).clamp(BINS.0, BINS.1);
    let mut shift = 0_u32;
    while bins(window.width, shift) > most {
        shift += 1;
    }
    let per_node = bins(window.width, shift);
    let mut binned = vec![0_i64; per_node * tree.size()];
    for entry in entries {
        let node = entry.node as usize;
        let place = (i64::from(entry.key) - window.lows[node]) >> shift;
        binned[node * per_node + place as usize] += entry.wh;
    }
    let levels = curve::levels(tree, &Binned { binned, per_node, shift, sums, window });
    (Window { lows: levels.clone(), width: 1 << shift }, levels)
}

fn bins(width: i64, shift: u32) -> usize {
    usize::try_from(((width - 1) >> shift) + 1).expect("keys are small and the width positive")
}

/// A round's sums per node and bin.
struct Binned<'a> {
    binned: Vec<i64>,
    per_node: usize,
    shift: u32,
    sums: &'a Sums,
    window: &'a Window,
}

impl Own for Binned<'_> {
    fn totals(&self, node: usize) -> (i64, i64) {
        (self.sums.wanted[node], self.sums.offered[node])
    }

    fn steps(&self, node: usize, onto: &mut Vec<Step>) {
        self.sums.outside(node, self.window, onto);
        let bins = &self.binned[node * self.per_node..][..self.per_node];
        let mut key = self.window.lows[node];
        for &wh in bins {
            if wh > 0 {
                onto.push(Step { key, wh });
            }
            key += 1 << self.shift;
        }
    }
}

impl Sums {
    /// Steps for what is decided, next to the window.
    fn outside(&self, node: usize, window: &Window, onto: &mut Vec<Step>) {
        let low = window.lows[node];
        for (key, wh) in [(low - 1, self.below[node]), (low + window.width, self.above[node])] {
            if wh > 0 {
                onto.push(Step { key, wh });
            }
        }
    }
}

/// The last round: the entries themselves.
fn exact(
    entries: impl Iterator<Item = Entry> + Clone,
    tree: &Tree,
    sums: &Sums,
    window: &Window,
) -> Vec<i64> {
    let mut starts = vec![0_u32; tree.size() + 1];
    for entry in entries.clone() {
        starts[entry.node as usize + 1] += 1;
    }
    for node in 0..tree.size() {
        starts[node + 1] += starts[node];
    }
    let mut next = starts.clone();
    let mut steps = vec![Step { key: 0, wh: 0 }; starts[tree.size()] as usize];
    for entry in entries {
        let place = &mut next[entry.node as usize];
        steps[*place as usize] = Step { key: i64::from(entry.key), wh: entry.wh };
        *place += 1;
    }
    curve::levels(tree, &Listed { steps, starts, sums, window })
}

/// Entries by node.
struct Listed<'a> {
    steps: Vec<Step>,
    starts: Vec<u32>,
    sums: &'a Sums,
    window: &'a Window,
}

impl Own for Listed<'_> {
    fn totals(&self, node: usize) -> (i64, i64) {
        (self.sums.wanted[node], self.sums.offered[node])
    }

    fn steps(&self, node: usize, onto: &mut Vec<Step>) {
        self.sums.outside(node, self.window, onto);
        let (from, to) = (self.starts[node] as usize, self.starts[node + 1] as usize);
        onto.extend(self.steps[from..to].iter().filter(|step| step.wh > 0));
    }
}
