//! The margin: that no watt-hour can be moved to where the rules would rather have it.
//!
//! Moving a watt-hour from one node to another costs nothing exactly when every branch between
//! them is at the edge of its fee and has room (or a flow that can be taken back). For every node
//! the best that could come to it is collected in one pass up and one down the tree, and compared
//! with what is there.

use units::{Energy, Price};

use super::{RadialViolation, Supplier};
use crate::{Grid, Lot, Node, Radial, Rank, Side};

/// A fraction of an order; `of` is positive.
#[derive(Clone, Copy)]
struct Ratio {
    wh: i64,
    of: i64,
    lot: u32,
}

impl Ratio {
    fn exceeds(self, other: Self) -> bool {
        i128::from(self.wh) * i128::from(other.of) > i128::from(other.wh) * i128::from(self.of)
    }
}

/// What could come to a node without changing welfare.
#[derive(Clone, Copy, Default)]
struct Reach {
    /// Node of a seller with something left.
    seller: Option<Node>,
    /// The supplier could deliver more, or take less.
    supplier: bool,
    /// The buyer with the largest ratio after giving a watt-hour back.
    richest: Option<Ratio>,
    /// The seller with the smallest ratio after selling a watt-hour more.
    poorest: Option<Ratio>,
}

impl Reach {
    fn join(&mut self, other: Self) {
        self.seller = self.seller.or(other.seller);
        self.supplier |= other.supplier;
        if let Some(ratio) = other.richest
            && self.richest.is_none_or(|mine| ratio.exceeds(mine))
        {
            self.richest = Some(ratio);
        }
        if let Some(ratio) = other.poorest
            && self.poorest.is_none_or(|mine| mine.exceeds(ratio))
        {
            self.poorest = Some(ratio);
        }
    }
}

/// What one more and one less towards a node could do at the margin.
#[derive(Clone, Copy)]
struct Slack {
    /// How much more could flow towards the node.
    more: i64,
    /// How much less.
    less: i64,
}

/// Checks everything about lots whose limit is the price. `margin` lists them.
pub(super) fn check(
    result: &Radial,
    lots: &[Lot],
    grid: &Grid,
    supplier: Option<&Supplier>,
    prices: &[i64],
    margin: &[u32],
    rank: impl Fn(usize) -> Rank,
) -> Result<(), RadialViolation> {
    if margin.is_empty() {
        return Ok(());
    }
    let slacks: Vec<Slack> = grid.nodes().map(|node| slack(result, grid, prices, node)).collect();
    let margin = Margin { result, lots, grid, lots_at: margin, slacks };
    let mut reach = margin.own(prices);
    let at_root = supplier.map(|supplier| AtRoot::of(result, supplier, prices[0]));
    reach[0].supplier = at_root.as_ref().is_some_and(|root| root.gives);
    for node in grid.nodes().rev() {
        if let Some(parent) = grid.parent(node)
            && margin.slacks[node.index()].less > 0
        {
            let here = reach[node.index()];
            reach[parent.index()].join(here);
        }
    }
    if let (Some(root), Some(seller)) = (at_root, reach[0].seller)
        && root.takes
    {
        return Err(RadialViolation::NotMaximal { seller, buyer: Node::ROOT });
    }
    for node in grid.nodes() {
        if let Some(parent) = grid.parent(node)
            && margin.slacks[node.index()].more > 0
        {
            let above = reach[parent.index()];
            reach[node.index()].join(above);
        }
    }
    margin.check_exchanges(&reach)?;
    if margin.lots_at.len() < 2 {
        return Ok(());
    }
    margin.check_last(&rank)
}

/// How far a flow can move with the fee at its edge.
fn slack(result: &Radial, grid: &Grid, prices: &[i64], node: Node) -> Slack {
    let Some(branch) = grid.branch(node) else {
        return Slack { more: 0, less: 0 };
    };
    let rise = prices[node.index()] - prices[branch.parent.index()];
    let (fee, flow) = (branch.fee.nano_per_wh(), result.flows[node.index()].wh());
    let (mut most, mut least) = (flow, flow);
    if rise == fee && flow >= 0 {
        (most, least) = (branch.import_cap.wh(), least.min(0));
    }
    if rise == -fee && flow <= 0 {
        (most, least) = (most.max(0), -branch.export_cap.wh());
    }
    if rise == 0 && fee == 0 {
        (most, least) = (branch.import_cap.wh(), -branch.export_cap.wh());
    }
    Slack { more: most - flow, less: flow - least }
}

/// The supplier, as far as it stands at the margin.
struct AtRoot {
    /// It could deliver more or take less.
    gives: bool,
    /// It could take more or deliver less.
    takes: bool,
}

impl AtRoot {
    fn of(result: &Radial, supplier: &Supplier, price: i64) -> Self {
        let supply = result.flows[0];
        let at = |other: Price| other.nano_per_wh() == price;
        let (import, export) = (at(supplier.import_price), at(supplier.export_price));
        let (delivers, collects) = (supply.is_positive(), supply < Energy::ZERO);
        Self {
            gives: (import && !collects && supply < supplier.import_cap) || (export && collects),
            takes: (export && !delivers && -supply < supplier.export_cap) || (import && delivers),
        }
    }
}

struct Margin<'a> {
    result: &'a Radial,
    lots: &'a [Lot],
    grid: &'a Grid,
    lots_at: &'a [u32],
    slacks: Vec<Slack>,
}

impl Margin<'_> {
    /// What each node has itself.
    fn own(&self, prices: &[i64]) -> Vec<Reach> {
        let mut reach = vec![Reach::default(); prices.len()];
        for &i in self.lots_at {
            let (lot, fill) = (&self.lots[i as usize], self.result.fills[i as usize]);
            let (wh, of) = (fill.wh(), lot.quantity.wh());
            let own = match lot.side {
                Side::Buy if wh > 0 => {
                    Reach { richest: Some(Ratio { wh: wh - 1, of, lot: i }), ..Reach::default() }
                }
                Side::Sell if wh < of => Reach {
                    seller: Some(lot.node),
                    poorest: Some(Ratio { wh: wh + 1, of, lot: i }),
                    ..Reach::default()
                },
                _ => continue,
            };
            reach[lot.node.index()].join(own);
        }
        reach
    }

    fn check_exchanges(&self, reach: &[Reach]) -> Result<(), RadialViolation> {
        for &i in self.lots_at {
            let (lot, fill) = (&self.lots[i as usize], self.result.fills[i as usize]);
            let (wh, of) = (fill.wh(), lot.quantity.wh());
            let here = reach[lot.node.index()];
            if lot.side == Side::Buy && wh < of {
                let seller = here.seller.or(here.supplier.then_some(Node::ROOT));
                if let Some(seller) = seller {
                    return Err(RadialViolation::NotMaximal { seller, buyer: lot.node });
                }
                let mine = Ratio { wh: wh + 1, of, lot: i };
                if let Some(richest) = here.richest
                    && !mine.exceeds(richest)
                {
                    return Err(self.unequal(i, richest.lot));
                }
            }
            if lot.side == Side::Sell && wh > 0 {
                let mine = Ratio { wh: wh - 1, of, lot: i };
                if let Some(poorest) = here.poorest
                    && !poorest.exceeds(mine)
                {
                    return Err(self.unequal(poorest.lot, i));
                }
            }
        }
        Ok(())
    }

    fn unequal(&self, less: u32, more: u32) -> RadialViolation {
        let (less, more) = (less as usize, more as usize);
        let (less_fill, more_fill) = (self.result.fills[less], self.result.fills[more]);
        RadialViolation::Unequal { less, less_fill, more, more_fill }
    }

    /// Where every branch of a zone has room to spare, the last watt-hours go strictly in line.
    fn check_last(&self, rank: &impl Fn(usize) -> Rank) -> Result<(), RadialViolation> {
        let spare = i64::try_from(self.lots_at.len()).expect("an index fits");
        let size = self.grid.size();
        let mut zone: Vec<usize> = Vec::with_capacity(size);
        let mut roomy = vec![true; size];
        for node in self.grid.nodes() {
            let Slack { more, less } = self.slacks[node.index()];
            let up = self.grid.parent(node).filter(|_| more > 0 || less > 0);
            zone.push(up.map_or(node.index(), |up| zone[up.index()]));
            roomy[zone[node.index()]] &= up.is_none() || more.min(less) >= spare;
        }
        let mut line_of = vec![[usize::MAX; 2]; size];
        let mut lines: Vec<Line> = Vec::new();
        let stands = |i: u32| {
            let lot = &self.lots[i as usize];
            let zone = zone[lot.node.index()];
            roomy[zone].then_some((lot, zone, usize::from(lot.side == Side::Buy)))
        };
        for &i in self.lots_at {
            if let Some((lot, zone, side)) = stands(i) {
                let line = &mut line_of[zone][side];
                if *line == usize::MAX {
                    *line = lines.len();
                    lines.push(Line::default());
                }
                lines[*line].total += i128::from(self.result.fills[i as usize].wh());
                lines[*line].ordered += i128::from(lot.quantity.wh());
            }
        }
        for &i in self.lots_at {
            if let Some((lot, zone, side)) = stands(i) {
                let fill = i128::from(self.result.fills[i as usize].wh());
                lines[line_of[zone][side]].stand(i as usize, lot, fill, rank)?;
            }
        }
        Ok(())
    }
}

/// Place in line: large remainders, then small ranks first.
type Place = (std::cmp::Reverse<i128>, Rank, u32, i64, usize);

/// The line for last watt-hours of one side of a zone.
#[derive(Clone, Default)]
struct Line {
    total: i128,
    ordered: i128,
    /// The last that got one, and the first that did not.
    last: Option<Place>,
    first: Option<Place>,
}

impl Line {
    fn stand(
        &mut self,
        i: usize,
        lot: &Lot,
        fill: i128,
        rank: &impl Fn(usize) -> Rank,
    ) -> Result<(), RadialViolation> {
        let exact = self.total * i128::from(lot.quantity.wh());
        let (share, remainder) = (exact / self.ordered, exact % self.ordered);
        if fill < share || fill > share + i128::from(remainder > 0) {
            let (fill, share) = (wh(fill), wh(share));
            return Err(RadialViolation::Share { lot: i, fill, share });
        }
        if remainder == 0 {
            return Ok(());
        }
        let place = (std::cmp::Reverse(remainder), rank(i), lot.node.0, lot.quantity.wh(), i);
        if fill > share {
            self.last = Some(self.last.map_or(place, |last| last.max(place)));
        } else {
            self.first = Some(self.first.map_or(place, |first| first.min(place)));
        }
        match (self.first, self.last) {
            (Some(first), Some(last)) if first < last => {
                Err(RadialViolation::LastWattHour { lot: first.4, other: last.4 })
            }
            _ => Ok(()),
        }
    }
}

/// Both are at most a lot's quantity.
fn wh(value: i128) -> Energy {
    Energy::from_wh(i64::try_from(value).expect("at most a lot's quantity"))
}
