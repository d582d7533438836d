//! Gates and offers: what is due because of the time.

use std::collections::BTreeMap;
use std::sync::Arc;

use market::{Book, Clearing, Fallback, LpFault, Method, Proposal, Side, Standby};
use protocol::{B256, Down, Fill, Offer, Public, Topic};
use units::{PointId, Price, Slot};

use super::{BookOrder, ClearedRecord, Desk, FillRecord, MAX_SLOTS_PER_STEP, Record, Step};
use crate::rules::{self, Cleared, PriceTree, digests_root, network, on_wire, rank, seed};

/// Books that are remembered after their gate.
const KEPT_CLOSED: usize = 4;

/// What decides ties in a slot, fixed when its gate closes.
#[derive(Debug, Clone, Copy)]
struct Draw {
    log_root: B256,
    orders_root: B256,
    seed: B256,
}

/// A closed book that the solver is looking at.
pub(super) struct Solving {
    book: Book,
    draw: Draw,
    /// The exact answer: whether the solver comes, comes late or is wrong, it stands.
    standby: Standby,
}

impl Desk {
    /// Offers the next slot whose gate is open, once.
    pub(super) fn offer(&mut self, now_ms: i64, step: &mut Step) {
        let slot = self.next_gate.max(Slot::at_ms(now_ms).next());
        if self.offered.is_some_and(|offered| offered >= slot) {
            return;
        }
        let terms = self.terms(slot);
        let gate_ms = self.setup.market.gate_ms(slot);
        if now_ms >= gate_ms {
            return;
        }
        let offer = Offer {
            slot: slot.number(),
            gate_ms,
            retail: terms.retail().nano_per_wh(),
            feed_in: terms.feed_in().nano_per_wh(),
            rule: self.setup.sharing.form().rule.to_string(),
            time_ms: now_ms,
        };
        self.offered = Some(slot);
        self.send(Topic::Public(Public::Offer), offer, true, step);
    }

    /// Closes the gates that are due: an empty book and one on a grid are cleared at once, any other
    /// goes to the solver.
    pub(super) fn close_gates(&mut self, now_ms: i64, step: &mut Step) {
        for _ in 0..MAX_SLOTS_PER_STEP {
            let slot = self.next_gate;
            if self.solving.is_some() || now_ms < self.setup.market.gate_ms(slot) {
                return;
            }
            let draw = self.draw(slot);
            let book = self.book(slot, draw.seed);
            // On a grid the exact clearing is the answer, and there is no program to ask.
            let solve = !book.is_empty() && book.grid().is_plate();
            let solving = Solving { standby: Standby::of(&book), book, draw };
            if solve {
                step.solve = Some(solving.book.clone());
                self.solving = Some(solving);
            } else {
                self.finish_clearing(now_ms, solving, None, step);
            }
        }
    }

    pub(super) fn is_solving(&self, slot: Slot) -> bool {
        self.solving.as_ref().is_some_and(|solving| solving.book.slot() == slot)
    }

    /// The solver proposes, integers dispose.
    pub(super) fn take_proposal(
        &mut self,
        now_ms: i64,
        slot: Slot,
        answer: Result<Proposal, LpFault>,
        solve_us: i64,
        step: &mut Step,
    ) {
        if !self.is_solving(slot) {
            return;
        }
        let solving = self.solving.take().expect("just checked");
        self.finish_clearing(now_ms, solving, Some((answer, solve_us)), step);
    }

    fn draw(&self, slot: Slot) -> Draw {
        let digests = self.books.get(&slot).into_iter().flat_map(BTreeMap::values);
        let orders_root = digests_root(digests.map(|order| order.digest));
        let log_root = self.log.root();
        Draw { log_root, orders_root, seed: seed(log_root, orders_root, slot) }
    }

    fn book(&self, slot: Slot, seed: B256) -> Book {
        let mut book = self.empty_book(slot);
        // Where nothing is auctioned, orders from before the rule changed are kept and not used.
        let orders = self.books.get(&slot).filter(|_| self.setup.sharing.takes_orders());
        for (point, order) in orders.into_iter().flatten() {
            let rank = rank(seed, order.digest.as_slice());
            let place = (point, self.setup.grid.node(point));
            rules::place(&mut book, &order.signed.body, place, rank)
                .expect("checked when it was accepted");
        }
        book
    }

    fn finish_clearing(
        &mut self,
        now_ms: i64,
        Solving { book, draw, standby }: Solving,
        proposal: Option<(Result<Proposal, LpFault>, i64)>,
        step: &mut Step,
    ) {
        let (answer, solve_us) = proposal.unzip();
        let clearing = standby.answer(answer);
        let slot = clearing.slot;
        let Draw { orders_root, seed, .. } = draw;
        let orders = self.books.remove(&slot).unwrap_or_default();
        let prices = PriceTree::of(&self.setup.grid, &clearing, &self.setup.domain);
        let message = self.announce(now_ms, (&clearing, prices.root()), draw, orders.len(), step);
        let fills = self.announce_fills(now_ms, (&clearing, &prices), &orders, step);
        step.records.push(Record::Cleared(Box::new(ClearedRecord {
            book,
            clearing: clearing.clone(),
            message,
            fills,
            solve_us,
        })));
        let (grid, terms) = (Arc::clone(&self.setup.grid), self.terms(slot));
        let sharing = Arc::clone(&self.setup.sharing);
        let cleared = Cleared { clearing, orders_root, seed, terms, grid, sharing };
        self.cleared.insert(slot, cleared);
        let digests = orders.into_iter().map(|(point, order)| (point, order.digest)).collect();
        self.closed.insert(slot, digests);
        while self.closed.len() > KEPT_CLOSED {
            self.closed.pop_first();
        }
        self.next_gate = slot.next();
    }

    fn announce(
        &self,
        now_ms: i64,
        (clearing, (prices_root, prices)): (&Clearing, (B256, u32)),
        draw: Draw,
        orders: usize,
        step: &mut Step,
    ) -> protocol::Signed<protocol::Clearing> {
        let terms = self.terms(clearing.slot);
        let interval = clearing.interval.map(|(low, high)| vec![low, high]).unwrap_or_default();
        let (grid_fees, congestion) = network(clearing);
        let body = protocol::Clearing {
            slot: clearing.slot.number(),
            orders_root: draw.orders_root,
            log_root: draw.log_root,
            seed: draw.seed,
            orders: u32::try_from(orders).unwrap_or(u32::MAX),
            cleared_wh: clearing.cleared.wh(),
            price: on_wire(clearing.price),
            interval: interval.into_iter().map(Price::nano_per_wh).collect(),
            retail: terms.retail().nano_per_wh(),
            feed_in: terms.feed_in().nano_per_wh(),
            grid: self.setup.grid.digest(),
            sharing: self.setup.sharing.digest(),
            prices_root,
            prices,
            grid_fees,
            congestion,
            method: self.method(clearing),
            time_ms: now_ms,
        };
        let signed = protocol::Signed::by_operator(body, &self.setup.domain, &self.setup.key);
        let topic = Topic::Public(Public::Clearing);
        let payload = signed.to_json();
        step.outgoing.push(super::Outgoing { topic, payload, retain: false });
        signed
    }

    /// How the result came about; without an auction there is none.
    fn method(&self, clearing: &Clearing) -> String {
        self.setup.sharing.method().unwrap_or_else(|| method(clearing))
    }

    fn announce_fills(
        &self,
        now_ms: i64,
        (clearing, prices): (&Clearing, &PriceTree),
        orders: &BTreeMap<PointId, BookOrder>,
        step: &mut Step,
    ) -> Vec<FillRecord> {
        let mut records = Vec::new();
        for (point, order) in orders {
            let body = &order.signed.body;
            let [bought, sold] = [Side::Buy, Side::Sell].map(|side| clearing.fill(point, side));
            // Its sides lie apart, so that at one price only one of them trades.
            let fill = bought.or(sold);
            let price = fill.map(|fill| fill.price);
            let wh = |fill: Option<&market::Fill>| fill.map_or(0, |fill| fill.energy.wh());
            // On a plate everybody hears the price, on a grid those who trade hear their own.
            let heard = if clearing.nodal.is_none() { clearing.price } else { price };
            let proof = price.and_then(|_| prices.proof(self.setup.grid.node(point)));
            let (bus, position, path) = match proof {
                Some((bus, position, path)) => (vec![bus], position, path),
                None => (Vec::new(), 0, Vec::new()),
            };
            let told = Fill {
                point: point.to_string(),
                slot: body.slot,
                seq: body.seq,
                order: order.digest,
                bought_wh: wh(bought),
                sold_wh: wh(sold),
                price: on_wire(heard),
                bus,
                position,
                path,
                time_ms: now_ms,
            };
            self.send(Topic::Down(point.clone(), Down::Fill), told, false, step);
            records.extend(fill.map(|fill| FillRecord {
                point: point.clone(),
                side: fill.side,
                quantity: fill.energy,
                price: fill.price,
                order: order.digest,
            }));
        }
        records
    }
}

/// How the result came about.
fn method(clearing: &Clearing) -> String {
    match &clearing.method {
        Method::Exact(_) if clearing.nodal.is_some() => "exact, on the grid".to_owned(),
        Method::Lp => "lp".to_owned(),
        Method::Exact(Fallback::NotAsked) => "merit order: the book is empty".to_owned(),
        Method::Exact(fallback) => format!("merit order: {fallback}"),
        Method::Envelopes { reason } => format!("limits of each connection: {reason}"),
        Method::Shared { reason } => format!("{}{reason}", rules::NO_MARKET),
    }
}
