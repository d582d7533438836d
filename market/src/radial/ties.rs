//! Who gets what at the margin.
//!
//! With the levels fixed, every branch has a range for its flow: none where the levels differ by
//! less than the fee, its cap where they differ by more, anything up to the cap where they differ
//! by exactly the fee. Branches with a range connect nodes into zones. Within a zone all marginal
//! orders are of one kind (see [`super::key`]), and what they get together is what the zone's
//! balance leaves. The feasible shares form the bases of a polymatroid, so the lexicographically
//! fairest point is the same from below and from above, and is found by decomposition: give
//! everybody the same ratio; if branches cannot carry that, the set of nodes that misses its energy
//! most has full branches around it and is a part of its own, with a lower ratio, and so is the
//! rest, with a higher one. Each step fixes at least one branch, so it ends.
//!
//! The usual zone has one marginal order and none of this.

use units::Energy;

use super::allot::{Allotment, Supply};
use super::rounding::{self, Candidate};
use super::sign;
use super::tree::Tree;
use crate::{Lot, Rank};

/// A zone, or a part of it, on its own: nodes with parents first.
///
/// Everything is seen from buyers. Where the marginal orders are sellers, all signs are turned.
pub(super) struct Part {
    pub nodes: Vec<PartNode>,
}

/// A node of a part.
pub(super) struct PartNode {
    /// Position of the parent in the part; none for its top.
    pub parent: Option<usize>,
    /// Least and most energy towards this node from its parent.
    pub room: (i64, i64),
    /// Energy that the node takes without its marginal orders.
    pub taken: i64,
    /// Sum of its marginal orders.
    pub ordered: i64,
    /// Its marginal orders, as a range of the list sorted by node.
    pub orders: std::ops::Range<usize>,
}

/// Fills the marginal lots; returns the flows, from the supplier at the root.
pub(super) fn settle(
    allotment: &mut Allotment,
    lots: &[Lot],
    tree: &Tree,
    rank: &impl Fn(usize) -> Rank,
) -> Vec<i64> {
    let mut margin = std::mem::take(&mut allotment.margin);
    margin.sort_by_key(|&i| lots[i as usize].node);
    let zones = zones(tree, allotment, &margin, lots);
    for zone in zones {
        share_out(zone, lots, &margin, rank, &mut allotment.fills);
    }
    for i in margin {
        allotment.fill(&lots[i as usize], i as usize);
    }
    let mut flows: Vec<i64> = allotment.nodes.iter().map(|node| node.taken).collect();
    for (node, parent) in tree.branches().rev() {
        flows[parent] += flows[node];
    }
    flows
}

/// Least and most flow towards every node that its level and its parent's allow.
fn rooms(tree: &Tree, allotment: &Allotment) -> Vec<(i64, i64)> {
    let mut rooms = Vec::with_capacity(tree.size());
    rooms.push(match allotment.supply {
        Supply::Fixed(wh) => (wh, wh),
        Supply::Between(low, high) => (low, high),
    });
    for (node, parent) in tree.branches() {
        let rise = allotment.nodes[node].level - allotment.nodes[parent].level;
        let fee = tree.fee_keys[node];
        let (import, export) = (tree.import_cap[node], -tree.export_cap[node]);
        let low = if rise > fee {
            import
        } else if rise <= -fee {
            export
        } else {
            0
        };
        let high = if rise < -fee {
            export
        } else if rise >= fee {
            import
        } else {
            0
        };
        rooms.push((low, high));
    }
    rooms
}

/// The zones with marginal orders. `margin` is sorted by node.
fn zones(tree: &Tree, allotment: &Allotment, margin: &[u32], lots: &[Lot]) -> Vec<Part> {
    if margin.is_empty() {
        return Vec::new();
    }
    let rooms = rooms(tree, allotment);
    // Zone of every node, and what it takes once flows that are fixed are counted.
    let size = tree.size();
    let mut taken: Vec<i64> = allotment.nodes.iter().map(|node| node.taken).collect();
    let mut zone: Vec<u32> = (0_u32..).take(size).collect();
    for (node, parent) in tree.branches() {
        let (low, high) = rooms[node];
        if low < high {
            zone[node] = zone[parent];
        } else {
            taken[node] -= low;
            taken[parent] += low;
        }
    }
    if rooms[0].0 == rooms[0].1 {
        taken[0] -= rooms[0].0;
    }
    // Zones that have marginal orders, and the orders of each node.
    let mut orders: Vec<std::ops::Range<usize>> = vec![0..0; size];
    let mut part_of = vec![usize::MAX; size];
    let (mut parts, mut turns) = (Vec::new(), Vec::new());
    let mut from = 0;
    for same in margin.chunk_by(|&a, &b| lots[a as usize].node == lots[b as usize].node) {
        let lot = &lots[same[0] as usize];
        orders[lot.node.index()] = from..from + same.len();
        from += same.len();
        let part = &mut part_of[zone[lot.node.index()] as usize];
        if *part == usize::MAX {
            *part = parts.len();
            parts.push(Part { nodes: Vec::new() });
            turns.push(sign(lot.side));
        }
    }
    let mut place = vec![0_usize; size];
    for node in 0..size {
        let index = part_of[zone[node] as usize];
        let Some(part) = parts.get_mut(index) else {
            continue;
        };
        let turn = turns[index];
        let top = zone[node] as usize == node;
        let (low, high) = rooms[node];
        place[node] = part.nodes.len();
        part.nodes.push(PartNode {
            parent: (!top).then(|| place[tree.parent[node] as usize]),
            room: if turn > 0 { (low, high) } else { (-high, -low) },
            taken: turn * taken[node],
            ordered: margin[orders[node].clone()]
                .iter()
                .map(|&i| lots[i as usize].quantity.wh())
                .sum(),
            orders: orders[node].clone(),
        });
    }
    parts
}

/// Shares out one zone, splitting it where branches cannot carry equal ratios.
fn share_out(
    zone: Part,
    lots: &[Lot],
    margin: &[u32],
    rank: &impl Fn(usize) -> Rank,
    fills: &mut [Energy],
) {
    let mut waiting = vec![zone];
    while let Some(part) = waiting.pop() {
        let ordered: i64 = part.nodes.iter().map(|node| node.ordered).sum();
        if ordered == 0 {
            continue;
        }
        let total = -part.nodes.iter().map(|node| node.taken).sum::<i64>();
        assert!((0..=ordered).contains(&total), "levels support the balance of every zone");
        let choice = 0 < total && total < ordered;
        if choice && !part.carries_equal(total, ordered) {
            let inside = part.starved(total, ordered);
            waiting.extend(part.split(&inside));
            continue;
        }
        let mut candidates = candidates(&part, lots, margin);
        rounding::by_largest_remainder(&mut candidates, total, ordered, rank);
        if choice && !part.carries(&candidates) {
            rounding::within_rooms(&part, &mut candidates, total, ordered, rank);
        }
        for candidate in &candidates {
            fills[candidate.lot] = Energy::from_wh(candidate.share);
        }
    }
}

fn candidates(part: &Part, lots: &[Lot], margin: &[u32]) -> Vec<Candidate> {
    let mut candidates = Vec::new();
    for (place, node) in part.nodes.iter().enumerate() {
        for &i in &margin[node.orders.clone()] {
            let lot = i as usize;
            let quantity = lots[lot].quantity.wh();
            candidates.push(Candidate { place, lot, quantity, share: 0, remainder: 0 });
        }
    }
    candidates
}

impl Part {
    /// Whether every flow has room when all orders are filled in the ratio `total / ordered`.
    fn carries_equal(&self, total: i64, ordered: i64) -> bool {
        let scale = i128::from(ordered);
        let taken = self.nodes.iter().map(|node| {
            i128::from(node.taken) * scale + i128::from(total) * i128::from(node.ordered)
        });
        self.has_room(taken.collect(), scale)
    }

    /// Whether every flow that the shares lead to has room.
    fn carries(&self, candidates: &[Candidate]) -> bool {
        let mut taken: Vec<i128> = self.nodes.iter().map(|node| node.taken.into()).collect();
        for candidate in candidates {
            taken[candidate.place] += i128::from(candidate.share);
        }
        self.has_room(taken, 1)
    }

    /// Whether every flow has room when the nodes take this, in units of 1/`scale` Wh.
    fn has_room(&self, mut taken: Vec<i128>, scale: i128) -> bool {
        for (place, node) in self.nodes.iter().enumerate().rev() {
            let Some(parent) = node.parent else {
                continue;
            };
            let (low, high) = (i128::from(node.room.0) * scale, i128::from(node.room.1) * scale);
            if taken[place] < low || taken[place] > high {
                return false;
            }
            taken[parent] += taken[place];
        }
        true
    }

    /// The set of nodes that misses most energy when all marginal orders are filled in the ratio
    /// `total / ordered`, and branches do not carry that. A minimum cut, in units of 1/`ordered` Wh.
    fn starved(&self, total: i64, ordered: i64) -> Vec<bool> {
        let scale = i128::from(ordered);
        // What a subtree can get less what it should get, with its top inside or outside the set.
        let mut inside = vec![0_i128; self.nodes.len()];
        let mut outside = vec![0_i128; self.nodes.len()];
        for (place, node) in self.nodes.iter().enumerate().rev() {
            inside[place] -=
                i128::from(node.taken) * scale + i128::from(total) * i128::from(node.ordered);
            if let Some(parent) = node.parent {
                let (off_inside, off_outside) = node.across(scale);
                inside[parent] += inside[place].min(outside[place] + off_inside);
                outside[parent] += outside[place].min(inside[place] + off_outside);
            }
        }
        assert!(inside[0].min(outside[0]) < 0, "what branches do not carry is missing somewhere");
        let mut chosen: Vec<bool> = Vec::with_capacity(self.nodes.len());
        for (place, node) in self.nodes.iter().enumerate() {
            let (off_inside, off_outside) = node.across(scale);
            chosen.push(match node.parent.map(|parent| chosen[parent]) {
                None => inside[place] < outside[place],
                Some(true) => inside[place] <= outside[place] + off_inside,
                Some(false) => inside[place] + off_outside < outside[place],
            });
        }
        chosen
    }

    /// Cuts the part where a branch leaves the set: such branches carry all they can into it.
    fn split(mut self, inside: &[bool]) -> Vec<Self> {
        let mut part_of: Vec<usize> = Vec::with_capacity(self.nodes.len());
        let mut place_of: Vec<usize> = Vec::with_capacity(self.nodes.len());
        let mut parts: Vec<Self> = Vec::new();
        for place in 0..self.nodes.len() {
            let kept = self.nodes[place].parent.filter(|&up| inside[up] == inside[place]);
            if let (Some(parent), None) = (self.nodes[place].parent, kept) {
                let (low, high) = self.nodes[place].room;
                let flow = if inside[place] { high } else { low };
                self.nodes[place].taken -= flow;
                self.nodes[parent].taken += flow;
            }
            let part = kept.map_or(parts.len(), |parent| part_of[parent]);
            if part == parts.len() {
                parts.push(Self { nodes: Vec::new() });
            }
            part_of.push(part);
            place_of.push(parts[part].nodes.len());
            let node = &self.nodes[place];
            parts[part].nodes.push(PartNode {
                parent: kept.map(|parent| place_of[parent]),
                orders: node.orders.clone(),
                ..*node
            });
        }
        // A parent's flow to a cut child was counted after the parent was copied.
        for (place, node) in self.nodes.iter().enumerate() {
            parts[part_of[place]].nodes[place_of[place]].taken = node.taken;
        }
        parts
    }
}

impl PartNode {
    /// What crosses the branch at most into a set that ends here: with the parent inside, and
    /// with this node inside.
    fn across(&self, scale: i128) -> (i128, i128) {
        let (low, high) = self.room;
        (-i128::from(low) * scale, i128::from(high) * scale)
    }
}
