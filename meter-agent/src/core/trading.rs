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
        let considered = self.book.open_offers(now_ms).map(|offer| offer.slot).max();
        self.status.considered_slot = self.status.considered_slot.max(considered);
        for (slot, wish) in wishes {
            // Market time keeps the numbers growing even when the state file was lost.
            self.order_seq = (self.order_seq + 1).max(now_ms.unsigned_abs());
            let order = Order {
                point: self.settings.point.to_string(),
                slot,
                seq: self.order_seq,
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
    }

    /// Sends orders again that the operator has not answered: the same bytes, so it is one order.
    pub(super) fn repeat_orders(&self, now_ms: i64, effects: &mut Vec<Effect>) {
        for order in self.book.unanswered(now_ms) {
            effects.push(Effect::Publish(Up::Order, self.sign(order.clone()).to_json()));
        }
    }
}
