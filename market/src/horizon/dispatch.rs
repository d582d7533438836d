//! One slot in whole watt-hours: storage is decided, the exact clearing does the rest.
//!
//! Once every battery and waiting load has its energy, the slots have nothing to do with each
//! other, and each is a market like any other: offers on a grid with the supplier at the root. The
//! exact engine clears it. Given prices, only what does not lose at them takes part, so that
//! nobody pays more than their limit, no branch carries energy whose price does not cover its
//! fee, and a watt-hour of storage that only fits by breaking this is given back instead.

use units::{Energy, Price};

use crate::horizon::problem::Horizon;
use crate::horizon::schedule::truncated;
use crate::radial::{self, Supplier};
use crate::{Branch, Grid, Lot, MAX_PRICE, Node, Rank, Side};

/// What a store draws in a slot (negative: gives), and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Draw {
    pub node: Node,
    /// Wh.
    pub net: i64,
    /// Most it pays; what is planned is drawn at any price.
    pub limit: Price,
}

/// A dispatched slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Dispatched {
    /// Per offer, Wh.
    pub fills: Vec<Energy>,
    /// Per node, Wh towards it; the root's from the supplier.
    pub flows: Vec<Energy>,
    /// Per draw, what it got, with the sign of its net, Wh.
    pub drawn: Vec<i64>,
    /// Lowest, highest and middle price per node that support this slot alone.
    pub prices: Vec<(Option<Price>, Option<Price>, Option<Price>)>,
}

/// What a dispatch keeps to.
#[derive(Debug, Clone)]
pub(super) struct Guide {
    /// Per node: who takes part.
    pub prices: Vec<Price>,
    /// Per node, kWh towards it: where the voltage is at its limit no branch carries more.
    pub flows: Option<Vec<f64>>,
}

/// Dispatches slot `t`. Without a guide everybody takes part.
pub(super) fn dispatch(
    horizon: &Horizon,
    t: usize,
    draws: &[Draw],
    guide: Option<&Guide>,
) -> Dispatched {
    let prices = guide.map(|guide| &*guide.prices);
    let period = &horizon.periods[t];
    let gains = |lot: &Lot| {
        prices.is_none_or(|prices| match lot.side {
            Side::Buy => lot.limit >= prices[lot.node.index()],
            Side::Sell => lot.limit <= prices[lot.node.index()],
        })
    };
    let of_draw = |draw: &Draw| Lot {
        node: draw.node,
        side: if draw.net > 0 { Side::Buy } else { Side::Sell },
        quantity: Energy::from_wh(draw.net.abs()),
        limit: if draw.net > 0 { draw.limit } else { -MAX_PRICE },
    };
    let offers: Vec<usize> =
        (0..period.offers.len()).filter(|&i| gains(&period.offers[i].lot)).collect();
    let stores: Vec<usize> = (0..draws.len()).filter(|&i| draws[i].net != 0).collect();
    let lots: Vec<Lot> = offers
        .iter()
        .map(|&i| period.offers[i].lot)
        .chain(stores.iter().map(|&i| of_draw(&draws[i])))
        .collect();
    let supplier = supplier(horizon, t, prices);
    let grid = guide.and_then(|guide| match &guide.flows {
        Some(flows) => Some(narrowed(&horizon.grid, flows)),
        None => paying(&horizon.grid, &guide.prices),
    });
    let grid = grid.as_ref().unwrap_or(&horizon.grid);
    let cleared = radial::clear(&lots, grid, Some(&supplier), rank)
        .expect("a checked horizon has lots and terms in range");
    let mut fills = vec![Energy::ZERO; period.offers.len()];
    let mut drawn = vec![0; draws.len()];
    for (&i, &fill) in offers.iter().zip(&cleared.fills) {
        fills[i] = fill;
    }
    for (&i, fill) in stores.iter().zip(&cleared.fills[offers.len()..]) {
        drawn[i] = fill.wh() * draws[i].net.signum();
    }
    let prices = cleared.low.into_iter().zip(cleared.high).zip(cleared.price);
    let prices = prices.map(|((low, high), price)| (low, high, price)).collect();
    Dispatched { fills, flows: cleared.flows, drawn, prices }
}

fn supplier(horizon: &Horizon, t: usize, prices: Option<&[Price]>) -> Supplier {
    let supply = &horizon.periods[t].supply;
    let mut supplier = Supplier {
        import_price: supply.import,
        import_cap: supply.import_cap,
        export_price: supply.credited(),
        export_cap: supply.export_cap,
    };
    if let Some(&root) = prices.and_then(<[Price]>::first) {
        if supplier.import_price > root {
            supplier.import_cap = Energy::ZERO;
        }
        if supplier.export_price < root {
            supplier.export_cap = Energy::ZERO;
        }
    }
    supplier
}

/// The grid without the directions whose price does not cover the fee; none when all do.
fn paying(grid: &Grid, prices: &[Price]) -> Option<Grid> {
    let mut shut = false;
    let branches = (1..).zip(grid.branches()).map(|(node, branch)| {
        let gain = prices[node] - prices[branch.parent.index()];
        let mut branch: Branch = branch.clone();
        if gain < branch.fee && branch.import_cap.is_positive() {
            (branch.import_cap, shut) = (Energy::ZERO, true);
        }
        if -gain < branch.fee && branch.export_cap.is_positive() {
            (branch.export_cap, shut) = (Energy::ZERO, true);
        }
        branch
    });
    let branches = branches.collect();
    shut.then(|| Grid::new(branches).expect("smaller caps leave a grid a grid"))
}

/// The grid with no more room than these flows take.
fn narrowed(grid: &Grid, flows: &[f64]) -> Grid {
    let branches = (1..).zip(grid.branches()).map(|(node, branch)| {
        let mut branch: Branch = branch.clone();
        let wh = |kwh: f64| Energy::from_wh(truncated((kwh * 1_000.0).max(0.0).round()));
        branch.import_cap = branch.import_cap.min(wh(flows[node]));
        branch.export_cap = branch.export_cap.min(wh(-flows[node]));
        branch
    });
    Grid::new(branches.collect()).expect("smaller caps leave a grid a grid")
}

/// Equal offers get their last watt-hours in the order in which they are listed.
pub(super) fn rank(index: usize) -> Rank {
    let mut rank = [0; 32];
    rank[24..].copy_from_slice(&(index as u64).to_be_bytes());
    rank
}
