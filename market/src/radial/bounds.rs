//! Which prices support a result, and which of them is the price.
//!
//! Fills and flows bound the price of a node from both sides: an unfilled buyer or a filled seller
//! is a floor, a filled buyer or an unfilled seller a cap, and a branch ties the prices at its ends
//! together:
//!
//! | the branch | price at the node − price at the parent |
//! |---|---|
//! | could carry more towards the node | ≤ fee |
//! | carries something towards the node | ≥ fee |
//! | could carry more away from it | ≥ −fee |
//! | carries something away from it | ≤ −fee |
//!
//! Such a system is a lattice: there are a lowest and a highest solution, two passes over the tree
//! find each, and their middle is a solution, too.

use units::{Energy, Price};

use super::allot::Allotment;
use super::tree::Tree;
use super::{Radial, Supplier};

/// Adds intervals, prices and totals to fills and flows.
pub(super) fn priced(
    allotment: Allotment,
    flows: Vec<i64>,
    tree: &Tree,
    supplier: Option<&Supplier>,
) -> Radial {
    let Allotment { fills, nodes, mut value, .. } = allotment;
    let mut low: Vec<i64> = nodes.iter().map(|node| node.at_least).collect();
    let mut high: Vec<i64> = nodes.iter().map(|node| node.at_most).collect();
    let supply = flows[0];
    let mut traded: i64 = nodes.iter().map(|node| node.bought).sum();
    if let Some(supplier) = supplier {
        let (import, export) =
            (supplier.import_price.nano_per_wh(), supplier.export_price.nano_per_wh());
        if supply > 0 {
            low[0] = low[0].max(import);
            value -= i128::from(supply) * i128::from(import);
            traded -= supply;
        } else {
            value -= i128::from(supply) * i128::from(export);
        }
        if supply < supplier.import_cap.wh() {
            high[0] = high[0].min(import);
        }
        if supply < 0 {
            high[0] = high[0].min(export);
        }
        if -supply < supplier.export_cap.wh() {
            low[0] = low[0].max(export);
        }
    }
    let ties = Tie::of_branches(tree, &flows);
    for (node, parent) in tree.branches().rev() {
        let tie = ties[node];
        low[parent] = low[parent].max(less(low[node], tie.at_most));
        high[parent] = high[parent].min(less(high[node], tie.at_least));
    }
    for (node, parent) in tree.branches() {
        let tie = ties[node];
        low[node] = low[node].max(plus(low[parent], tie.at_least));
        high[node] = high[node].min(plus(high[parent], tie.at_most));
    }
    for (node, _) in tree.branches() {
        value -= i128::from(flows[node].abs()) * i128::from(tree.fee_nano[node]);
    }
    let trades = trading(tree, &flows, nodes.iter().map(|node| node.filled).collect());
    let bound = |wh: i64| (wh != i64::MIN && wh != i64::MAX).then(|| Price::from_nano_per_wh(wh));
    let low: Vec<Option<Price>> = low.into_iter().map(bound).collect();
    let high: Vec<Option<Price>> = high.into_iter().map(bound).collect();
    let price = (0..tree.size())
        .map(|node| trades[node].then_some(low[node]?.middle(high[node]?)))
        .collect();
    let flows = flows.into_iter().map(Energy::from_wh).collect();
    Radial { fills, flows, low, high, price, welfare: value, traded: Energy::from_wh(traded) }
}

/// How far the price at a node may be from its parent's; the ends of `i64` are no bound.
#[derive(Clone, Copy)]
struct Tie {
    at_least: i64,
    at_most: i64,
}

impl Tie {
    fn of_branches(tree: &Tree, flows: &[i64]) -> Vec<Self> {
        let mut ties = vec![Self { at_least: i64::MIN, at_most: i64::MAX }; tree.size()];
        for (node, _) in tree.branches() {
            let (flow, fee) = (flows[node], tree.fee_nano[node]);
            let tie = &mut ties[node];
            if flow < tree.import_cap[node] {
                tie.at_most = fee;
            }
            if flow > 0 {
                tie.at_least = fee;
            }
            if -flow < tree.export_cap[node] {
                tie.at_least = tie.at_least.max(-fee);
            }
            if flow < 0 {
                tie.at_most = tie.at_most.min(-fee);
            }
        }
        ties
    }
}

/// A bound moved by another; no bound where one of them is none.
fn plus(bound: i64, by: i64) -> i64 {
    match (bound, by) {
        (i64::MIN | i64::MAX, _) => bound,
        (_, i64::MIN | i64::MAX) => by,
        _ => bound + by,
    }
}

/// A bound moved back by another.
fn less(bound: i64, by: i64) -> i64 {
    match (bound, by) {
        (i64::MIN | i64::MAX, _) => bound,
        (_, i64::MAX) => i64::MIN,
        (_, i64::MIN) => i64::MAX,
        _ => bound - by,
    }
}

/// Whether the zone of each node trades, from whether something is filled at the node itself.
fn trading(tree: &Tree, flows: &[i64], mut trades: Vec<bool>) -> Vec<bool> {
    for (node, parent) in tree.branches() {
        if flows[node] != 0 {
            trades[node] = true;
            trades[parent] = true;
        }
    }
    // Only free branches are left that connect zones; flowing ones join nodes that trade anyway.
    let free = |node: usize| {
        tree.fee_nano[node] == 0 && tree.import_cap[node] > 0 && tree.export_cap[node] > 0
    };
    for (node, parent) in tree.branches().rev().filter(|&(node, _)| free(node)) {
        trades[parent] |= trades[node];
    }
    for (node, parent) in tree.branches().filter(|&(node, _)| free(node)) {
        trades[node] |= trades[parent];
    }
    trades
}
