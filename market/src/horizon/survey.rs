//! What can be said about a slot before anything is solved.
//!
//! Most of a street's load is bought at the cap and most of its generation offered at nothing.
//! Where no cap on the way to the root can bind, whatever storage does, the supplier's prices and
//! the fees bound a node's price from both sides, and an offer whose limit lies outside is decided:
//! such offers never reach the solver. Nor do caps that the whole of what lies behind a branch
//! cannot fill.

use units::{Energy, Price};

use crate::horizon::problem::{Horizon, Period};
use crate::{Grid, Lot, Node, Side};

/// What a flow column has more room than anything could use, Wh.
const SPARE_WH: i64 = 1_000;

/// All offers of one node, side and limit that are still to be decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Level {
    pub node: Node,
    pub side: Side,
    pub limit: Price,
    pub quantity: Energy,
}

/// A slot, surveyed.
#[derive(Debug, Clone)]
pub(super) struct Surveyed {
    /// Offers to decide.
    pub open: Vec<Level>,
    /// Decided net consumption per node, Wh.
    pub decided: Vec<i64>,
    /// Most that may flow towards each node, cap included, Wh; for the root from the supplier.
    pub most_in: Vec<i64>,
    /// Most that may flow from each node, cap included, Wh.
    pub most_out: Vec<i64>,
    /// Whether the branch's import or export cap may bind.
    pub tight: Vec<bool>,
    /// Per node, room that a flow column gets inwards and outwards, Wh: the cap where it may bind,
    /// otherwise more than can flow, as a bound that only restates the offers must not carry a
    /// price.
    pub room: Vec<(i64, i64)>,
    /// How the net of all offers would flow without storage, Wh towards the node.
    pub guess: Vec<i64>,
    /// Least and most that may flow towards each node as far as caps are left out, Wh.
    pub span: Vec<(i64, i64)>,
}

/// Surveys every slot.
pub(super) fn survey(horizon: &Horizon) -> Vec<Surveyed> {
    let stores = stores(horizon);
    let all = horizon.periods.iter().enumerate();
    all.map(|(t, period)| survey_slot(horizon, period, |node| stores(t, node))).collect()
}

/// Most that storage and waiting loads at a node may draw and give in a slot.
fn stores(horizon: &Horizon) -> impl Fn(usize, usize) -> (i64, i64) {
    let (nodes, slots) = (horizon.grid.size(), horizon.periods.len());
    let mut draw = vec![vec![0; nodes]; slots];
    let mut give = vec![0; nodes];
    for battery in &horizon.batteries {
        give[battery.node.index()] += battery.discharge_cap.wh();
        for slot in &mut draw {
            slot[battery.node.index()] += battery.charge_cap.wh();
        }
    }
    for load in &horizon.deferrables {
        for slot in &mut draw[load.arrival..load.departure.min(slots)] {
            slot[load.node.index()] += load.cap.wh();
        }
    }
    move |t, node| (draw[t][node], give[node])
}

fn survey_slot(
    horizon: &Horizon,
    period: &Period,
    stores: impl Fn(usize) -> (i64, i64),
) -> Surveyed {
    let grid = &horizon.grid;
    let (mut most_in, mut most_out): (Vec<i64>, Vec<i64>) = (0..grid.size()).map(&stores).unzip();
    let mut guess = vec![0; grid.size()];
    for offer in &period.offers {
        let (node, quantity) = (offer.lot.node.index(), offer.lot.quantity.wh());
        match offer.lot.side {
            Side::Buy => {
                (most_in[node], guess[node]) = (most_in[node] + quantity, guess[node] + quantity)
            }
            Side::Sell => {
                (most_out[node], guess[node]) = (most_out[node] + quantity, guess[node] - quantity)
            }
        }
    }
    let mut tight_in = vec![false; grid.size()];
    let mut tight_out = vec![false; grid.size()];
    for node in (0..grid.size()).rev() {
        let (import_cap, export_cap) = caps(grid, period, node);
        tight_in[node] = most_in[node] > import_cap;
        tight_out[node] = most_out[node] > export_cap;
        if let Some(parent) = grid.parent(Node::at(node)) {
            // What lies behind a capped branch may still need all of its cap, and no more.
            most_in[parent.index()] += most_in[node].min(import_cap);
            most_out[parent.index()] += most_out[node].min(export_cap);
            guess[parent.index()] += guess[node];
        }
        most_in[node] = most_in[node].min(import_cap);
        most_out[node] = most_out[node].min(export_cap);
    }
    let room = |most: i64, tight: bool| if tight { most } else { most + SPARE_WH };
    let room = (0..grid.size())
        .map(|n| (room(most_in[n], tight_in[n]), room(most_out[n], tight_out[n])))
        .collect();
    let tight = tight_in.iter().zip(&tight_out).map(|(a, b)| *a || *b).collect();
    let ranges = ranges(horizon, period, &tight_in, &tight_out);
    let (open, decided) = decide(horizon, period, &ranges);
    let span = span(grid, &open, &decided, &stores);
    Surveyed { room, span, open, decided, most_in, most_out, tight, guess }
}

/// Between what the flow towards each node lies, caps left out.
fn span(
    grid: &Grid,
    open: &[Level],
    decided: &[i64],
    stores: impl Fn(usize) -> (i64, i64),
) -> Vec<(i64, i64)> {
    let mut span: Vec<(i64, i64)> = (0..grid.size())
        .map(|node| {
            let (draw, give) = stores(node);
            (decided[node] - give, decided[node] + draw)
        })
        .collect();
    for level in open {
        let (least, most) = &mut span[level.node.index()];
        match level.side {
            Side::Buy => *most += level.quantity.wh(),
            Side::Sell => *least -= level.quantity.wh(),
        }
    }
    for node in (1..grid.size()).rev() {
        let (least, most) = span[node];
        let above = &mut span[grid.branches()[node - 1].parent.index()];
        *above = (above.0 + least, above.1 + most);
    }
    span
}

fn caps(grid: &Grid, period: &Period, node: usize) -> (i64, i64) {
    grid.branch(Node::at(node))
        .map_or((period.supply.import_cap.wh(), period.supply.export_cap.wh()), |branch| {
            (branch.import_cap.wh(), branch.export_cap.wh())
        })
}

/// Lowest and highest price that each node can have, where the way to the root cannot be full.
fn ranges(
    horizon: &Horizon,
    period: &Period,
    tight_in: &[bool],
    tight_out: &[bool],
) -> Vec<(Option<Price>, Option<Price>)> {
    if horizon.voltage.is_some() {
        return vec![(None, None); horizon.grid.size()];
    }
    let supply = &period.supply;
    let mut ranges = Vec::with_capacity(horizon.grid.size());
    for node in 0..horizon.grid.size() {
        let (low, high) = match horizon.grid.branch(Node::at(node)) {
            None => (Some(supply.credited()), Some(supply.import)),
            Some(branch) => {
                let (low, high): (Option<Price>, Option<Price>) = ranges[branch.parent.index()];
                (low.map(|low| low - branch.fee), high.map(|high| high + branch.fee))
            }
        };
        ranges.push((low.filter(|_| !tight_out[node]), high.filter(|_| !tight_in[node])));
    }
    ranges
}

/// Takes what is decided by the price ranges out of the offers and sums up the rest by level.
fn decide(
    horizon: &Horizon,
    period: &Period,
    ranges: &[(Option<Price>, Option<Price>)],
) -> (Vec<Level>, Vec<i64>) {
    let mut decided = vec![0; horizon.grid.size()];
    let mut open: Vec<Lot> = Vec::new();
    for offer in &period.offers {
        let lot = offer.lot;
        let (low, high) = ranges[lot.node.index()];
        let (filled, empty) = match lot.side {
            Side::Buy => (high.is_some_and(|p| lot.limit >= p), low.is_some_and(|p| lot.limit < p)),
            Side::Sell => {
                (low.is_some_and(|p| lot.limit <= p), high.is_some_and(|p| lot.limit > p))
            }
        };
        match lot.side {
            _ if empty => {}
            Side::Buy if filled => decided[lot.node.index()] += lot.quantity.wh(),
            Side::Sell if filled => decided[lot.node.index()] -= lot.quantity.wh(),
            _ => open.push(lot),
        }
    }
    open.sort_by_key(|lot| (lot.node, lot.side, lot.limit));
    let levels = open.chunk_by(|a, b| (a.node, a.side, a.limit) == (b.node, b.side, b.limit));
    let levels = levels.map(|same| Level {
        node: same[0].node,
        side: same[0].side,
        limit: same[0].limit,
        quantity: same.iter().map(|lot| lot.quantity).sum(),
    });
    (levels.collect(), decided)
}
