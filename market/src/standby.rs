//! The exact answer, which stands before any solver is asked.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use units::{Energy, Price};

use crate::allotment::{Allotment, Outcome};
use crate::level::Levels;
use crate::{
    Book, Clearing, Fallback, Fill, Flaw, Grid, Lot, LpFault, Method, Nodal, Node, Order, Plate,
    Proposal, Radial, Rank, plate, radial,
};

/// Clears a book: welfare-maximal, at one price, ties at the margin shared pro rata.
///
/// The answer is computed exactly in integers. A proposal is rounded to whole Wh and proven to be
/// as good; with none, a failed or a wrong one, [`Clearing::method`] says so, and nothing else
/// changes. Orders with the marginal limit share what is left for them in proportion to their
/// quantity; the last Wh go by largest remainder, then by the orders' [`Rank`](crate::Rank).
#[must_use]
pub fn clear(book: &Book, proposal: Option<Result<Proposal, LpFault>>) -> Clearing {
    Standby::of(book).answer(proposal)
}

/// A slot's exact answer, there and proven before any solver is asked.
///
/// Compute it when the gate closes, ask the solver for as long as there is time, and take the
/// [`answer`](Self::answer): the solver can only confirm what stands, and a slot always clears.
#[derive(Debug, Clone)]
pub struct Standby {
    lots: Vec<Lot>,
    grid: Arc<Grid>,
    clearing: Clearing,
}

impl Standby {
    /// Clears a book exactly and proves the result.
    ///
    /// Should the result ever fail its proof, or the engine its own assertions, then nothing is
    /// traded in the slot and [`Method::Shared`] says why, rather than anything wrong be posted.
    #[must_use]
    pub fn of(book: &Book) -> Self {
        Self::by(book, exact)
    }

    fn by(book: &Book, engine: Engine) -> Self {
        let owners = Owners::of(book);
        let mut lots = Vec::with_capacity(owners.orders.len());
        lots.extend(owners.orders.iter().flat_map(|order| book.lots_of(order)));
        // The engine only reads what it is given: nothing half-done is left behind by a panic.
        let answered = catch_unwind(AssertUnwindSafe(|| engine(book, &owners, &lots)));
        let clearing = match answered {
            Ok(Ok(clearing)) => clearing,
            Ok(Err(reason)) => Clearing::shared(book.slot(), reason),
            Err(_) => Clearing::shared(book.slot(), "the exact clearing stopped on an assertion"),
        };
        Self { lots, grid: Arc::clone(book.grid()), clearing }
    }

    /// The result without a solver.
    #[must_use]
    pub const fn clearing(&self) -> &Clearing {
        &self.clearing
    }

    /// The result, with the solver's answer when it can be proven.
    #[must_use]
    pub fn answer(self, proposal: Option<Result<Proposal, LpFault>>) -> Clearing {
        if !matches!(self.clearing.method, Method::Exact(_)) {
            return self.clearing; // further down the ladder, no solver leads up again
        }
        let method = match proposal {
            None => Method::Exact(Fallback::NotAsked),
            Some(Err(fault)) => Method::Exact(Fallback::NoAnswer(fault)),
            Some(Ok(proposal)) => match self.prove(&proposal) {
                Ok(()) => Method::Lp,
                Err(flaw) => Method::Exact(Fallback::Wrong(flaw)),
            },
        };
        Clearing { method, ..self.clearing }
    }

    /// A proven proposal means the same as what stands here: the best welfare is one number, and
    /// who gets what among equals is not the solver's to choose.
    fn prove(&self, proposal: &Proposal) -> Result<(), Flaw> {
        let levels = Levels::of_lots(&self.lots);
        let allotment = Allotment::rounded(proposal, &levels)?;
        let Clearing { cleared, welfare, interval, .. } = self.clearing;
        let best = Outcome { cleared, welfare, interval };
        if !self.grid.is_plate() {
            return allotment.prove_on(&levels, &self.grid, &best);
        }
        let outcome = allotment.prove(&levels)?;
        assert_eq!(outcome, best, "two proven optima");
        Ok(())
    }
}

/// What clears lots exactly, or says why its result is not to be believed.
type Engine = fn(&Book, &Owners, &[Lot]) -> Result<Clearing, String>;

/// Clears and proves.
fn exact(book: &Book, owners: &Owners, lots: &[Lot]) -> Result<Clearing, String> {
    let rank = |lot| owners.rank(lot);
    let unproven = |why: &dyn std::fmt::Display| format!("the exact clearing is unproven: {why}");
    if book.grid().is_plate() {
        let plate = plate::clear(lots, rank).map_err(|fault| unproven(&fault))?;
        plate.certify(lots, rank).map_err(|violation| unproven(&violation))?;
        return Ok(at_one_node(book, owners, &plate));
    }
    let radial = radial::clear(lots, book.grid(), None, rank).map_err(|fault| unproven(&fault))?;
    let proven = radial.certify(lots, book.grid(), None, rank);
    proven.map_err(|violation| unproven(&violation))?;
    Ok(on_grid(book, owners, &radial))
}

fn at_one_node(book: &Book, owners: &Owners, plate: &Plate) -> Clearing {
    Clearing {
        slot: book.slot(),
        cleared: plate.cleared,
        welfare: plate.welfare,
        price: plate.price,
        interval: plate.interval,
        fills: owners.fills(&plate.fills, |_| plate.price),
        nodal: None,
        method: method(book),
    }
}

fn on_grid(book: &Book, owners: &Owners, radial: &Radial) -> Clearing {
    let nodal = Nodal::of(radial, book.grid());
    let root = nodal.prices[Node::ROOT.index()];
    Clearing {
        slot: book.slot(),
        cleared: radial.traded,
        welfare: radial.welfare,
        price: root.price,
        interval: root.price.and_then(|_| root.low.zip(root.high)),
        fills: owners.fills(&radial.fills, |node| nodal.prices[node.index()].price),
        nodal: Some(nodal),
        method: method(book),
    }
}

/// How an exact answer for this book is found.
fn method(book: &Book) -> Method {
    match book.unknown_topology() {
        Some(reason) => Method::Envelopes { reason: reason.to_owned() },
        None => Method::Exact(Fallback::NotAsked),
    }
}

/// Whose a lot is.
struct Owners<'a> {
    orders: Vec<&'a Order>,
    /// Per order, the index of its first lot; empty when every order has one lot.
    first: Vec<usize>,
}

impl<'a> Owners<'a> {
    fn of(book: &'a Book) -> Self {
        let orders: Vec<&Order> = book.orders().collect();
        let mut first = Vec::new();
        if orders.iter().any(|order| order.steps.as_slice().len() > 1) {
            let mut lots = 0;
            first.extend(orders.iter().map(|order| {
                lots += order.steps.as_slice().len();
                lots - order.steps.as_slice().len()
            }));
        }
        Self { orders, first }
    }

    fn rank(&self, lot: usize) -> Rank {
        if self.first.is_empty() {
            return self.orders[lot].rank;
        }
        let order = self.first.partition_point(|&first| first <= lot) - 1;
        self.orders[order].rank
    }

    /// Fills of orders from those of their steps.
    fn fills(&self, energies: &[Energy], price_at: impl Fn(Node) -> Option<Price>) -> Vec<Fill> {
        let mut energies = energies.iter();
        let filled = |&order: &&Order| -> Option<Fill> {
            let steps = order.steps.as_slice().len();
            let energy: Energy = energies.by_ref().take(steps).sum();
            if !energy.is_positive() {
                return None;
            }
            let price = price_at(order.node)?;
            Some(Fill { point: order.point.clone(), side: order.side, energy, price })
        };
        self.orders.iter().filter_map(filled).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Limits, Rung, Side, Terms};
    use units::{PointId, Slot};

    fn book() -> Book {
        let e5 = Price::from_e5_per_kwh;
        let terms = Terms::new(e5(300), e5(100)).expect("on the tick");
        let mut book = Book::open(Slot::new(7), terms, Limits::default());
        for (name, side, limit) in [("A", Side::Buy, 250), ("B", Side::Sell, 150)] {
            let point = PointId::new(name).expect("short");
            let order = Order::plain(point, side, Energy::from_wh(10), e5(limit), [0; 32]);
            book.place(order).expect("valid");
        }
        book
    }

    #[test]
    fn an_engine_that_fails_leaves_a_slot_without_trades() {
        let unproven: Engine = |_, _, _| Err("the exact clearing is unproven: a gap".to_owned());
        let broken: Engine = |_, _, _| panic!("an index out of range");
        for (engine, expected) in [
            (unproven, "the exact clearing is unproven: a gap"),
            (broken, "the exact clearing stopped on an assertion"),
        ] {
            let book = book();
            let clearing = Standby::by(&book, engine).answer(Some(Err(LpFault::Late)));
            assert_eq!(clearing, Clearing::shared(book.slot(), expected));
            assert_eq!(clearing.method.rung(), Rung::Shared);
            assert_eq!(clearing.certify(&book), Ok(()));
        }
        assert!(Standby::of(&book()).clearing().cleared.is_positive(), "the real one trades");
    }
}
