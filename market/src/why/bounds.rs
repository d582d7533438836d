//! What holds a price up and down: the order behind each end of its interval.
//!
//! A filled ask and an unfilled bid keep the price at their node from falling; a filled bid and an
//! unfilled ask keep it from rising. Branches pass both on: energy that could still go from one
//! node to another at a fee keeps their prices within the fee of each other, and energy that goes
//! keeps them exactly that far apart. Bounds are passed up and down the tree once, and then followed
//! back from the node that asks to the order they came from.

use std::collections::VecDeque;

use units::{Energy, PointId, Price};

use super::{FullBranch, SetBy};
use crate::certificate::steps_of;
use crate::{Book, Clearing, Node, Order, Side};

/// An order's step that bounds the price at its node.
#[derive(Clone, Copy)]
struct Source<'a> {
    order: &'a Order,
    limit: Price,
    filled: bool,
}

/// What holds at a node.
#[derive(Clone, Default)]
struct Place<'a> {
    /// The strongest own bounds.
    floor: Option<Source<'a>>,
    ceiling: Option<Source<'a>>,
    /// Bounds with those of other nodes.
    low: Option<Price>,
    high: Option<Price>,
}

/// A branch as a bound between the prices at its ends.
struct Link {
    parent: usize,
    /// The price at the far end is at least this much above the parent's.
    at_least: Option<Price>,
    /// And at most this much.
    at_most: Option<Price>,
    flow: Energy,
    full: bool,
}

pub(super) struct Bounds<'a> {
    book: &'a Book,
    places: Vec<Place<'a>>,
    /// The `i`-th feeds node `i + 1`.
    links: Vec<Link>,
    children: Vec<Vec<usize>>,
}

impl<'a> Bounds<'a> {
    pub fn of(book: &'a Book, clearing: &Clearing) -> Self {
        let mut places = vec![Place::default(); book.grid().size()];
        for order in book.orders() {
            let place = &mut places[order.node.index()];
            let energy = clearing.filled(&order.point, order.side);
            for step in steps_of(book, order, energy) {
                let source = |filled| Source { order, limit: step.limit, filled };
                if step.energy.is_positive() {
                    place.add(source(true));
                }
                if step.energy < step.quantity {
                    place.add(source(false));
                }
            }
        }
        let links = links(book, clearing);
        let mut children = vec![Vec::new(); places.len()];
        for (link, child) in links.iter().zip(1..) {
            children[link.parent].push(child);
        }
        let mut bounds = Self { book, places, links, children };
        bounds.spread();
        bounds
    }

    /// Up the tree and down again.
    fn spread(&mut self) {
        for place in &mut self.places {
            place.low = place.floor.map(|source| source.limit);
            place.high = place.ceiling.map(|source| source.limit);
        }
        for (link, node) in self.links.iter().zip(1..self.places.len()).rev() {
            let (low, high) = (self.places[node].low, self.places[node].high);
            let parent = &mut self.places[link.parent];
            parent.low = parent.low.max(less(low, link.at_most));
            parent.high = lower(parent.high, less(high, link.at_least));
        }
        for (link, node) in self.links.iter().zip(1..self.places.len()) {
            let (low, high) = (self.places[link.parent].low, self.places[link.parent].high);
            let place = &mut self.places[node];
            place.low = place.low.max(more(low, link.at_least));
            place.high = lower(place.high, more(high, link.at_most));
        }
    }

    /// The order that keeps the price at a node from being lower.
    pub fn low(&self, node: Node, asks: &PointId) -> Option<SetBy> {
        self.places.get(node.index())?.low?;
        self.origin(node, asks, true)
    }

    /// The order that keeps the price at a node from being higher.
    pub fn high(&self, node: Node, asks: &PointId) -> Option<SetBy> {
        self.places.get(node.index())?.high?;
        self.origin(node, asks, false)
    }

    /// Follows a bound back to where it comes from, the nearest first.
    fn origin(&self, node: Node, asks: &PointId, low: bool) -> Option<SetBy> {
        let bound = |at: usize| if low { self.places[at].low } else { self.places[at].high };
        let price = bound(node.index())?;
        let mut seen = vec![false; self.places.len()];
        let mut queue = VecDeque::from([node.index()]);
        seen[node.index()] = true;
        while let Some(at) = queue.pop_front() {
            let place = &self.places[at];
            let source = if low { place.floor } else { place.ceiling };
            if let Some(Source { order, limit, filled }) = source
                && Some(limit) == bound(at)
            {
                let own = order.point == *asks;
                return Some(SetBy { price, side: order.side, limit, filled, own });
            }
            for (next, passed) in self.neighbours(at, low) {
                if !seen[next] && passed.is_some() && passed == bound(at) {
                    seen[next] = true;
                    queue.push_back(next);
                }
            }
        }
        None
    }

    /// Every neighbour and the bound that it passes on to a node.
    fn neighbours(&self, at: usize, low: bool) -> Vec<(usize, Option<Price>)> {
        let mut found = Vec::new();
        if let Some(link) = at.checked_sub(1).map(|i| &self.links[i]) {
            let parent = &self.places[link.parent];
            let passed =
                if low { more(parent.low, link.at_least) } else { more(parent.high, link.at_most) };
            found.push((link.parent, passed));
        }
        for &child in &self.children[at] {
            let (link, place) = (&self.links[child - 1], &self.places[child]);
            let passed =
                if low { less(place.low, link.at_most) } else { less(place.high, link.at_least) };
            found.push((child, passed));
        }
        found
    }

    /// Full branches at the edge of what is connected with a node by branches that are not full.
    pub fn full(&self, node: Node) -> Vec<FullBranch> {
        let mut inside = vec![false; self.places.len()];
        inside[node.index()] = true;
        // Up to the part's own top, and from there down into all of it.
        for (link, child) in self.links.iter().zip(1..self.places.len()).rev() {
            inside[link.parent] |= inside[child] && !link.full;
        }
        for (link, child) in self.links.iter().zip(1..) {
            inside[child] |= inside[link.parent] && !link.full;
        }
        let edge = |(link, (child, branch)): (&Link, (usize, &crate::Branch))| {
            let inwards = match (inside[link.parent], inside[child]) {
                (false, true) => link.flow,
                (true, false) => -link.flow,
                _ => return None,
            };
            Some(FullBranch { name: branch.name.clone(), node: Node::at(child), inwards })
        };
        let branches = (1..).zip(self.book.grid().branches());
        self.links.iter().zip(branches).filter_map(edge).collect()
    }
}

impl<'a> Place<'a> {
    /// Keeps the strongest bound of each kind, a filled order before one that is left over.
    fn add(&mut self, source: Source<'a>) {
        let floor = (source.order.side == Side::Sell) == source.filled;
        let (kept, stronger): (_, fn(Price, Price) -> bool) = if floor {
            (&mut self.floor, |new, old| new > old)
        } else {
            (&mut self.ceiling, |new, old| new < old)
        };
        if kept.is_none_or(|kept| stronger(source.limit, kept.limit)) {
            *kept = Some(source);
        }
    }
}

fn links(book: &Book, clearing: &Clearing) -> Vec<Link> {
    let flow_to = |node: usize| {
        let nodal = clearing.nodal.as_ref();
        nodal.and_then(|nodal| nodal.flows.get(node).copied()).unwrap_or_default()
    };
    let link = |(node, branch): (usize, &crate::Branch)| {
        let (flow, fee) = (flow_to(node), branch.fee);
        let (import, export) = (flow < branch.import_cap, -flow < branch.export_cap);
        let (inwards, outwards) = (flow.is_positive(), (-flow).is_positive());
        let at_most = match (outwards, import) {
            (true, _) => Some(-fee),
            (false, true) => Some(fee),
            (false, false) => None,
        };
        let at_least = match (inwards, export) {
            (true, _) => Some(fee),
            (false, true) => Some(-fee),
            (false, false) => None,
        };
        Link { parent: branch.parent.index(), at_least, at_most, flow, full: !(import && export) }
    };
    (1..).zip(book.grid().branches()).map(link).collect()
}

fn more(price: Option<Price>, by: Option<Price>) -> Option<Price> {
    Some(price? + by?)
}

fn less(price: Option<Price>, by: Option<Price>) -> Option<Price> {
    Some(price? - by?)
}

/// The lower of two bounds from above.
fn lower(one: Option<Price>, other: Option<Price>) -> Option<Price> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        _ => one.or(other),
    }
}
