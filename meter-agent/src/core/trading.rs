//! Placing orders: once per offered slot, as soon as the newest edge is known.

use protocol::{Order, Up};
use units::Slot;

use super::{Core, Effect, Level};

impl Core {
    /// Answers every open offer for which a forecast exists.
    ///
    /// While an edge is still to be read the orders wait for it: its registers make the better
    /// forecast, and they come within the grace time or not at all.
    pub(super) fn place_orders(&mut self, now_ms: i64, effects: &mut Vec<Effect>) {
        if !self.is_connected() || self.edges.due(now_ms).is_some() {
            return;
        }
        let fresh_ms = now_ms - Slot::LENGTH_MS;
        let flows = self.flows.as_ref().filter(|flows| flows.taken_ms >= fresh_ms);
        let power_mw = flows.and_then(|flows| flows.power_mw);
        let wishes: Vec<_> = self
            .book
            .open_offers(now_ms)
            .filter_map(|offer| {
                let wish = self.settings.strategy.wish(offer, &self.edges, power_mw)??;
                Some((offer.slot, wish))
            })
            .collect();
        for (slot, wish) in wishes {
            let seq = self.next_order_seq(now_ms);
            let order = Order {
                point: self.settings.point.to_string(),
                slot,
                seq,
                side: wish.side.to_string(),
                quantity_wh: wish.quantity_wh,
                limit: wish.limit,
                time_ms: now_ms,
            };
            self.book.place(order.clone());
            self.status.orders += 1;
            self.status.ordered_slot = self.status.ordered_slot.max(Some(slot));
            effects.push(Effect::SaveState);
            effects.push(Effect::Publish(Up::Order, self.sign(order).to_json()));
            effects.push(Effect::Report(
                Level::Debug,
                format!(
                    "ordered to {} {} Wh in slot {}",
                    wish.side,
                    wish.quantity_wh,
                    Slot::new(slot)
                ),
            ));
        }
        self.status.considered_slot =
            self.status.considered_slot.max(self.book.newest_settled_offer());
    }

    /// Sends orders again that the operator has not answered. The newest one is sent unchanged, so
    /// that it stays one order; one with others behind it needs a higher number to be taken, and
    /// replaces itself if it had arrived after all.
    pub(super) fn repeat_orders(
        &mut self,
        now_ms: i64,
        is_meant: impl Fn(&Order) -> bool,
        effects: &mut Vec<Effect>,
    ) {
        let orders = self.book.unanswered(now_ms).filter(|order| is_meant(order));
        for mut order in orders.cloned().collect::<Vec<Order>>() {
            if order.seq < self.order_seq {
                order.seq = self.next_order_seq(now_ms);
                self.book.place(order.clone());
                effects.push(Effect::SaveState);
            }
            effects.push(Effect::Publish(Up::Order, self.sign(order).to_json()));
        }
    }

    /// Market time keeps the numbers growing even when the state file was lost.
    fn next_order_seq(&mut self, now_ms: i64) -> u64 {
        self.order_seq = (self.order_seq + 1).max(now_ms.unsigned_abs());
        self.order_seq
    }
}
