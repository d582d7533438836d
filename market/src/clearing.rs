//! The result of a slot's auction: one price, and how much of every order is filled.

use units::{Energy, PointId, Price, Slot};

use crate::allotment::{Allotment, Flaw, Outcome};
use crate::level::Levels;
use crate::{Book, Lot, LpFault, Node, Order, Proposal, Rank, Side, plate};

/// How much of one order is filled.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Fill {
    /// Whose order.
    pub point: PointId,
    /// Which of its two orders.
    pub side: Side,
    /// Filled energy, Wh, positive and at most the order's quantity.
    pub energy: Energy,
    /// What a Wh of it costs the buyer, or earns the seller, at the order's node.
    pub price: Price,
}

/// Where a result came from.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Method {
    /// The linear program, rounded and proven.
    Lp,
    /// The exact clearing in integers, because of this.
    Exact(Fallback),
}

/// Why the linear program did not answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Fallback {
    /// Nobody asked a solver.
    #[error("no proposal was asked for")]
    NotAsked,
    /// The solver had no answer.
    #[error(transparent)]
    NoAnswer(LpFault),
    /// The solver's answer failed the exact check.
    #[error("the proposal is wrong: {0}")]
    Wrong(Flaw),
}

/// The auction's result for one slot.
///
/// It is a function of the book alone: linear program and exact clearing lead to the same price
/// and the same fills.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Clearing {
    /// The slot that was traded.
    pub slot: Slot,
    /// Energy that changes hands, Wh.
    pub cleared: Energy,
    /// What buyers would have paid at most minus what sellers would have taken at least,
    /// nano-currency.
    pub welfare: i128,
    /// The uniform price: the middle of `interval`. Absent when nothing is traded.
    pub price: Option<Price>,
    /// Lowest and highest price at which no unfilled quantity wants to trade (Walrasian
    /// interval). Absent when nothing is traded.
    pub interval: Option<(Price, Price)>,
    /// Filled orders by metering point, a point's purchase before its sale.
    pub fills: Vec<Fill>,
    /// How the result was found.
    pub method: Method,
}

impl Clearing {
    /// The filled energy of one point and side, zero when there is none.
    #[must_use]
    pub fn filled(&self, point: &PointId, side: Side) -> Energy {
        self.fills
            .binary_search_by(|fill| (&fill.point, fill.side).cmp(&(point, side)))
            .map_or(Energy::ZERO, |i| self.fills[i].energy)
    }
}

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

/// A slot's exact answer, there before any solver is asked.
///
/// Compute it when the gate closes, ask the solver for as long as there is time, and take the
/// [`answer`](Self::answer): the solver can only confirm what stands, and a slot always clears.
#[derive(Debug, Clone)]
pub struct Standby {
    lots: Vec<Lot>,
    clearing: Clearing,
}

impl Standby {
    /// Clears a book exactly.
    #[must_use]
    pub fn of(book: &Book) -> Self {
        let owners = Owners::of(book);
        let mut lots = Vec::with_capacity(owners.orders.len());
        lots.extend(owners.orders.iter().flat_map(|order| book.lots_of(order)));
        let plate = plate::clear(&lots, |lot| owners.rank(lot)).expect("the book checks its lots");
        let clearing = Clearing {
            slot: book.slot(),
            cleared: plate.cleared,
            welfare: plate.welfare,
            price: plate.price,
            interval: plate.interval,
            fills: owners.fills(&plate.fills, |_| plate.price),
            method: Method::Exact(Fallback::NotAsked),
        };
        Self { lots, clearing }
    }

    /// The result without a solver.
    #[must_use]
    pub const fn clearing(&self) -> &Clearing {
        &self.clearing
    }

    /// The result, with the solver's answer when it can be proven.
    #[must_use]
    pub fn answer(self, proposal: Option<Result<Proposal, LpFault>>) -> Clearing {
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

    /// A proven proposal means the same as what stands here, because the best result is unique.
    fn prove(&self, proposal: &Proposal) -> Result<(), Flaw> {
        let levels = Levels::of_lots(&self.lots);
        let outcome = Allotment::rounded(proposal, &levels)?.prove(&levels)?;
        let Clearing { cleared, welfare, interval, .. } = self.clearing;
        assert_eq!(outcome, Outcome { cleared, welfare, interval }, "two proven optima");
        Ok(())
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
