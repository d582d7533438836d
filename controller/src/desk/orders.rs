//! Orders: believed, in time, within the tariff and the connection. One order has both sides.

use market::{Book, Limits};
use protocol::{B256, Down, Order, Signed, Topic, Verdict, Verified};
use units::{PointId, Slot};

use super::{Desk, Envelope, MAX_SLOTS_AHEAD, Record, Rejected, Step};
use crate::rules::{self, MAX_SLOT};

/// An accepted order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BookOrder {
    /// The order as it was signed.
    pub signed: Signed<Order>,
    /// Its digest.
    pub digest: B256,
}

impl Desk {
    pub(super) fn take_order(
        &mut self,
        envelope: &Envelope<'_>,
        point: &PointId,
        step: &mut Step,
    ) -> Result<(), Rejected> {
        let order = self.verify::<Order>(envelope, point, |order| &order.point)?;
        let slot = Slot::new(order.body().slot);
        if self.stands(point, slot, order.digest()) {
            self.send_verdict(envelope.now_ms, point, &order, Ok(()), step);
            return Ok(());
        }
        if let Err(rejected) = self.check_order(envelope.now_ms, point, order.body()) {
            let verdict = Err(&rejected);
            self.send_verdict(envelope.now_ms, point, &order, verdict, step);
            return Err(rejected);
        }
        let entry = BookOrder { signed: order.signed().clone(), digest: order.digest() };
        self.books.entry(slot).or_default().insert(point.clone(), entry);
        self.household_mut(point).order_seq = order.body().seq;
        self.send_verdict(envelope.now_ms, point, &order, Ok(()), step);
        step.records.push(Record::Order(Box::new(order), envelope.now_ms));
        step.moved.insert(point.clone());
        Ok(())
    }

    /// Whether this very order is in the book of its slot, open or closed: it was answered before,
    /// and the answer was lost.
    fn stands(&self, point: &PointId, slot: Slot, digest: B256) -> bool {
        let open = self.books.get(&slot).and_then(|book| book.get(point));
        let closed = self.closed.get(&slot).and_then(|book| book.get(point));
        open.map(|entry| &entry.digest).or(closed).is_some_and(|stands| *stands == digest)
    }

    fn check_order(&self, now_ms: i64, point: &PointId, order: &Order) -> Result<(), Rejected> {
        let household = self.household(point);
        let sharing = &self.setup.sharing;
        if !sharing.takes_orders() {
            let detail = format!(
                "members of this street share by \"{}\", from their meters alone: no orders are needed",
                sharing.form().rule
            );
            return Err(Rejected::new("no auction", detail));
        }
        if order.seq <= household.order_seq {
            let detail = format!("sequence {} after {}", order.seq, household.order_seq);
            return Err(Rejected::new("replayed", detail));
        }
        let slot = Slot::new(order.slot);
        if order.slot.unsigned_abs() > MAX_SLOT
            || slot > Slot::at_ms(now_ms).offset(MAX_SLOTS_AHEAD)
        {
            return Err(Rejected::new("untimely", format!("slot {} is too far", order.slot)));
        }
        let gate_ms = self.setup.market.gate_ms(slot);
        if now_ms >= gate_ms || slot < self.next_gate || self.is_solving(slot) {
            let late_ms = now_ms - gate_ms;
            return Err(Rejected::new("after the gate", format!("by {late_ms} ms for {slot}")));
        }
        let standing = self
            .books
            .get(&slot)
            .map_or(0, |book| if book.contains_key(point) { book.len() - 1 } else { book.len() });
        if standing >= self.setup.market.max_orders {
            return Err(Rejected::new("book is full", format!("{standing} orders")));
        }
        let mut alone = self.empty_book(slot);
        let place = (point, self.setup.grid.node(point));
        rules::place(&mut alone, order, place, [0; 32])
            .and_then(|()| rules::carried(order, household.enrolment.connection()))
            .map_err(|fault| {
                let reason = if fault.is_malformed() { "malformed" } else { "order" };
                Rejected::new(reason, fault.to_string())
            })
    }

    /// The book of a slot before anybody has ordered.
    pub(super) fn empty_book(&self, slot: Slot) -> Book {
        // One order has a curve for each side.
        let max_orders = self.setup.market.max_orders.saturating_mul(2);
        let limits = Limits { max_orders, ..Limits::default() };
        Book::on_grid(slot, self.terms(slot), limits, self.setup.grid.grid().clone())
    }

    fn send_verdict(
        &self,
        now_ms: i64,
        point: &PointId,
        order: &Verified<Order>,
        result: Result<(), &Rejected>,
        step: &mut Step,
    ) {
        let reason = result
            .err()
            .map(|rejected| format!("{}: {}", rejected.reason, rejected.detail))
            .unwrap_or_default();
        let verdict = Verdict {
            point: point.to_string(),
            slot: order.body().slot,
            seq: order.body().seq,
            order: order.digest(),
            accepted: result.is_ok(),
            reason,
            time_ms: now_ms,
        };
        self.send(Topic::Down(point.clone(), Down::Verdict), verdict, false, step);
    }
}
