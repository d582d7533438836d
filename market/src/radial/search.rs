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
//! A level of the rounded book may lie outside the window of the round before; moving it to the
//! nearest end of that window keeps it supporting, by the same argument. Windows are as wide as a
//! power of two and consist of whole bins, so that the sums outside follow from the bins.
//!
//! Each round therefore keeps about two bins' worth of the lots, and the last round works on exact
//! keys. A book of a million lots takes one pass for the sums per node and bin, one to find who is
//! left, and a small clearing of those.

use super::curve::{self, Own, Step};
use super::tree::Tree;
use super::{Book, Supplier, Totals, key};
use crate::Lot;

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

/// Sums per node.
struct Sums {
    totals: Vec<Totals>,
    /// Quantity that is decided, on the lower and the upper side of the window.
    outside: Vec<(i64, i64)>,
}

/// The keys per node among which its level is: `1 << log_width` of them from the node's lowest.
struct Window {
    lows: Vec<i64>,
    log_width: u32,
}

/// Supporting levels of all nodes.
pub(super) fn levels(
    lots: &[Lot],
    tree: &Tree,
    supplier: Option<&Supplier>,
    book: Book,
) -> Vec<i64> {
    let size = tree.size();
    let mut sums = Sums { totals: book.totals, outside: vec![(0, 0); size] };
    let (mut low, mut high) = if lots.is_empty() { (0, 0) } else { (book.low, book.high) };
    let mut at_root = Vec::new();
    if let Some(supplier) = supplier {
        let (import, export) = (key::of_import(supplier), key::of_export(supplier));
        let (sale, purchase) = (supplier.import_cap.wh(), supplier.export_cap.wh());
        at_root.push(Entry { node: 0, key: import, wh: sale });
        at_root.push(Entry { node: 0, key: export, wh: purchase });
        sums.totals[0].offered += sale;
        sums.totals[0].wanted += purchase;
        low = low.min(export);
        high = high.max(import);
    }
    let keys = high.abs_diff(low) + 1;
    let window = Window {
        lows: vec![i64::from(low); size],
        log_width: keys.next_power_of_two().trailing_zeros(),
    };
    let entries = || lots.iter().map(Entry::of).chain(at_root.iter().copied());
    if lots.len() <= FEW {
        return exact(entries(), tree, &sums, &window);
    }
    let mut window = match coarse(entries(), lots.len(), tree, &mut sums, &window) {
        Round::Narrower(window) => window,
        Round::Exact(levels) => return levels,
    };
    let mut left: Vec<Entry> = entries().filter(|entry| window.holds(entry)).collect();
    while left.len() > FEW {
        window = match coarse(left.iter().copied(), left.len(), tree, &mut sums, &window) {
            Round::Narrower(window) => window,
            Round::Exact(levels) => return levels,
        };
        left.retain(|entry| window.holds(entry));
    }
    exact(left.iter().copied(), tree, &sums, &window)
}

impl Window {
    /// Whether an entry is still undecided.
    #[inline]
    fn holds(&self, entry: &Entry) -> bool {
        let place = i64::from(entry.key) - self.lows[entry.node as usize];
        place >> self.log_width == 0
    }
}

/// What a round leads to.
enum Round {
    Narrower(Window),
    Exact(Vec<i64>),
}

/// One round on keys that are rounded down to bins.
fn coarse(
    entries: impl Iterator<Item = Entry>,
    count: usize,
    tree: &Tree,
    sums: &mut Sums,
    window: &Window,
) -> Round {
    let log_bins = (count / (2 * tree.path_nodes)).clamp(BINS.0, BINS.1).ilog2();
    let log_bins = log_bins.min(window.log_width);
    let shift = window.log_width - log_bins;
    let mut bins = vec![0_i64; tree.size() << log_bins];
    for entry in entries {
        let node = entry.node as usize;
        let place = (i64::from(entry.key) - window.lows[node]) >> shift;
        bins[(node << log_bins) + place as usize] += entry.wh;
    }
    let levels = curve::levels(tree, &Binned { bins: &bins, log_bins, shift, sums, window });
    if shift == 0 {
        return Round::Exact(levels);
    }
    let last = (1_i64 << log_bins) - 2;
    let mut lows = Vec::with_capacity(tree.size());
    for (node, (level, &low)) in levels.into_iter().zip(&window.lows).enumerate() {
        // The exact level is in this bin or the next.
        let bin = ((level - low) >> shift).clamp(0, last);
        lows.push(low + (bin << shift));
        let (below, rest) = bins[node << log_bins..][..1 << log_bins].split_at(bin as usize);
        sums.outside[node].0 += below.iter().sum::<i64>();
        sums.outside[node].1 += rest[2..].iter().sum::<i64>();
    }
    Round::Narrower(Window { lows, log_width: shift + 1 })
}

/// A round's sums per node and bin.
struct Binned<'a> {
    bins: &'a [i64],
    log_bins: u32,
    shift: u32,
    sums: &'a Sums,
    window: &'a Window,
}

impl Own for Binned<'_> {
    fn totals(&self, node: usize) -> (i64, i64) {
        let Totals { wanted, offered } = self.sums.totals[node];
        (wanted, offered)
    }

    fn steps(&self, node: usize, onto: &mut Vec<Step>) {
        let (bins, low) = (&self.bins[node << self.log_bins..], self.window.lows[node]);
        let keys = (0..1 << self.log_bins).map(|bin: i64| low + (bin << self.shift));
        let own = keys.zip(bins).filter(|(_, wh)| **wh > 0).map(|(key, &wh)| Step { key, wh });
        self.sums.around(node, self.window, onto, own);
    }
}

impl Sums {
    /// The steps inside the window, and what is decided next to it.
    fn around(
        &self,
        node: usize,
        window: &Window,
        onto: &mut Vec<Step>,
        inside: impl Iterator<Item = Step>,
    ) {
        let low = window.lows[node];
        let (below, above) = self.outside[node];
        if below > 0 {
            onto.push(Step { key: low - 1, wh: below });
        }
        onto.extend(inside);
        if above > 0 {
            onto.push(Step { key: low + (1 << window.log_width), wh: above });
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
    for node in 0..tree.size() {
        let own = &mut steps[starts[node] as usize..starts[node + 1] as usize];
        own.sort_unstable_by_key(|step| step.key);
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
        let Totals { wanted, offered } = self.sums.totals[node];
        (wanted, offered)
    }

    fn steps(&self, node: usize, onto: &mut Vec<Step>) {
        let (from, to) = (self.starts[node] as usize, self.starts[node + 1] as usize);
        let own = self.steps[from..to].iter().copied().filter(|step| step.wh > 0);
        self.sums.around(node, self.window, onto, own);
    }
}
