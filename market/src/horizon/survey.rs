//! What can be said about a slot before anything is solved.
//!
//! Most of a street's load is bought at the cap and most of its generation offered at nothing.
//! Where no cap on the way to the root can bind, whatever storage does, the supplier's prices and
//! the fees bound a node's price from both sides, and an offer whose limit lies outside is decided:
//! such offers never reach the solver. Nor do caps that the whole of what lies behind a branch
//! cannot fill.
//!
//! A battery *could* fill nearly every branch, but it would do so at prices at which no load gives
//! way. So the first survey only counts what offers and waiting loads can fill themselves
//! ([`Outlook::Likely`]); the prices of the answer show whether that held ([`upheld`]), and where
//! it did not, the slots are surveyed again with everything that storage could do.

use units::{Energy, Price};

use crate::horizon::problem::{Horizon, Period};
use crate::{Grid, Lot, Node, Side};

/// By how much prices may be off after rounding.
const ROUNDING: Price = Price::from_nano_per_wh(2);

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
    /// Per node, the prices between which it lies, where that is known.
    ranges: Vec<(Option<Price>, Option<Price>)>,
}

/// What is taken for granted about storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outlook {
    /// No battery makes a branch so scarce that an offer gives way. To be confirmed.
    Likely,
    /// Nothing.
    Certain,
}

/// Surveys every slot.
pub(super) fn survey(horizon: &Horizon, outlook: Outlook) -> Vec<Surveyed> {
    let stores = stores(horizon);
    let all = horizon.periods.iter().enumerate();
    all.map(|(t, period)| {
        let fills = match outlook {
            Outlook::Likely => waiting(horizon, t),
            Outlook::Certain => (0..horizon.grid.size()).map(|node| stores(t, node)).collect(),
        };
        survey_slot(horizon, period, |node| stores(t, node), fills)
    })
    .collect()
}

/// Whether every offer that was decided is so at these prices, too.
pub(super) fn upheld(horizon: &Horizon, surveyed: &[Surveyed], prices: &[Vec<Price>]) -> bool {
    let slots = horizon.periods.iter().zip(surveyed).zip(prices);
    slots.into_iter().all(|((period, slot), prices)| {
        period.offers.iter().all(|offer| {
            let (lot, price) = (offer.lot, prices[offer.lot.node.index()]);
            let gain = if lot.side == Side::Buy { lot.limit - price } else { price - lot.limit };
            match decided_by(&lot, slot.ranges[lot.node.index()]) {
                Some(true) => gain >= -ROUNDING,
                Some(false) => gain <= ROUNDING,
                None => true,
            }
        })
    })
}

/// Most that waiting loads at each node may draw in a slot; they give nothing.
fn waiting(horizon: &Horizon, t: usize) -> Vec<(i64, i64)> {
    let mut draw = vec![(0, 0); horizon.grid.size()];
    for load in &horizon.deferrables {
        if load.window(horizon.periods.len()).contains(&t) {
            draw[load.node.index()].0 += load.cap.wh();
        }
    }
    draw
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

/// Most that may flow towards and from each node without and with the caps below it, and whether
/// the node's own cap may bind.
struct Flows {
    inward: Vec<i64>,
    outward: Vec<i64>,
    tight_in: Vec<bool>,
    tight_out: Vec<bool>,
}

impl Flows {
    /// Of all offers together with what stores draw and give per node.
    fn most(grid: &Grid, period: &Period, stores: Vec<(i64, i64)>) -> Self {
        let (mut inward, mut outward): (Vec<i64>, Vec<i64>) = stores.into_iter().unzip();
        for offer in &period.offers {
            let (node, quantity) = (offer.lot.node.index(), offer.lot.quantity.wh());
            match offer.lot.side {
                Side::Buy => inward[node] += quantity,
                Side::Sell => outward[node] += quantity,
            }
        }
        let (mut tight_in, mut tight_out) = (vec![false; grid.size()], vec![false; grid.size()]);
        for node in (0..grid.size()).rev() {
            let (import_cap, export_cap) = caps(grid, period, node);
            tight_in[node] = inward[node] > import_cap;
            tight_out[node] = outward[node] > export_cap;
            // What lies behind a capped branch may still need all of its cap, and no more.
            inward[node] = inward[node].min(import_cap);
            outward[node] = outward[node].min(export_cap);
            if let Some(parent) = grid.parent(Node::at(node)) {
                inward[parent.index()] += inward[node];
                outward[parent.index()] += outward[node];
            }
        }
        Self { inward, outward, tight_in, tight_out }
    }
}

/// Surveys one slot. `stores` may draw and give at a node, `fills` are taken to.
fn survey_slot(
    horizon: &Horizon,
    period: &Period,
    stores: impl Fn(usize) -> (i64, i64),
    fills: Vec<(i64, i64)>,
) -> Surveyed {
    let grid = &horizon.grid;
    let most = Flows::most(grid, period, (0..grid.size()).map(&stores).collect());
    let mut guess = vec![0; grid.size()];
    for offer in &period.offers {
        let sign = if offer.lot.side == Side::Buy { 1 } else { -1 };
        guess[offer.lot.node.index()] += sign * offer.lot.quantity.wh();
    }
    for node in (1..grid.size()).rev() {
        guess[grid.branches()[node - 1].parent.index()] += guess[node];
    }
    let likely = Flows::most(grid, period, fills);
    let ranges = ranges(horizon, period, &likely.tight_in, &likely.tight_out);
    let Flows { inward: most_in, outward: most_out, tight_in, tight_out } = most;
    let room = |most: i64, tight: bool| if tight { most } else { most + SPARE_WH };
    let room = (0..grid.size())
        .map(|n| (room(most_in[n], tight_in[n]), room(most_out[n], tight_out[n])))
        .collect();
    let tight = tight_in.iter().zip(&tight_out).map(|(a, b)| *a || *b).collect();
    let (open, decided) = decide(horizon, period, &ranges);
    let span = span(grid, &open, &decided, &stores);
    Surveyed { room, span, open, decided, most_in, most_out, tight, guess, ranges }
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

/// Whether a lot is filled or left whatever the price between two; none when it depends.
fn decided_by(lot: &Lot, (low, high): (Option<Price>, Option<Price>)) -> Option<bool> {
    let (filled, empty) = match lot.side {
        Side::Buy => (high.is_some_and(|p| lot.limit >= p), low.is_some_and(|p| lot.limit < p)),
        Side::Sell => (low.is_some_and(|p| lot.limit <= p), high.is_some_and(|p| lot.limit > p)),
    };
    if empty { Some(false) } else { filled.then_some(true) }
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
        match (decided_by(&lot, ranges[lot.node.index()]), lot.side) {
            (Some(false), _) => {}
            (Some(true), Side::Buy) => decided[lot.node.index()] += lot.quantity.wh(),
            (Some(true), Side::Sell) => decided[lot.node.index()] -= lot.quantity.wh(),
            (None, _) => open.push(lot),
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
