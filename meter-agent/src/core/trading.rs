//! Placing orders: once per offered slot, as soon as the newest edge is known, and again until the
//! operator has answered.

use market::sharing::Rule;
use market::{Limit, Steps, Terms};
use protocol::{Offer, Order, Peg, Side, Step, Up};
use units::{Energy, Price, Slot};

use super::policy::{Decision, View};
use super::{Core, Effect, Level};

/// Both curves of an order as they cross the wire, before it has a sequence number.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Curves {
    /// The bid's steps, the highest limit first; empty when there is nothing to buy.
    pub buy: Vec<Step>,
    /// The ask's steps, the lowest limit first; empty when there is nothing to sell.
    pub sell: Vec<Step>,
}

impl Curves {
    /// What a decision orders; none when it is nothing. What a forecast of much doubt would order
    /// beyond the connection's `most` is left out on either side: it cannot be delivered.
    #[must_use]
    pub fn of(decision: &Decision, most: Energy) -> Option<Self> {
        let within = |steps: Option<&Steps>| within(steps, most);
        let curves =
            Self { buy: within(decision.buy.as_ref()), sell: within(decision.sell.as_ref()) };
        (curves != Self::default()).then_some(curves)
    }
}

/// The most eager steps of a curve up to a sum of energy.
fn within(steps: Option<&Steps>, most: Energy) -> Vec<Step> {
    let mut left = most;
    let steps = steps.map_or(&[][..], Steps::as_slice).iter();
    let within = steps.map_while(|step| {
        let quantity = step.quantity.min(left);
        left -= quantity;
        quantity.is_positive().then_some(market::Step { quantity, ..*step })
    });
    within.map(|within| step(&within)).collect()
}

/// A step as it crosses the wire.
fn step(step: &market::Step) -> Step {
    let (peg, limit) = match step.limit {
        Limit::At(price) => (Peg::Fixed, price),
        Limit::BelowRetail(less) => (Peg::BelowRetail, less),
        Limit::AboveFeedIn(more) => (Peg::AboveFeedIn, more),
    };
    let (quantity_wh, limit) = (step.quantity.wh(), limit.nano_per_wh());
    Step { quantity_wh, peg: peg.to_string(), limit }
}

/// The supplier's prices; none where they are no terms, and then there is nothing to order.
fn terms(retail: i64, feed_in: i64) -> Option<Terms> {
    let price = Price::from_nano_per_wh;
    Terms::new(price(retail), price(feed_in)).ok()
}

impl Core {
    /// Answers every open offer for which a forecast exists.
    ///
    /// While an edge is still to be read the orders wait for it: its registers make the better
    /// forecast, and they come within the grace time or not at all.
    pub(super) fn place_orders(&mut self, now_ms: i64, effects: &mut Vec<Effect>) {
        if !self.is_connected() || self.edges.due(now_ms).is_some() {
            return;
        }
        for (slot, curves) in self.curves(now_ms) {
            let Some(Curves { buy, sell }) = curves else {
                self.book.decline(slot);
                continue;
            };
            let seq = self.next_order_seq(now_ms);
            let order = Order {
                point: self.settings.point.to_string(),
                slot,
                seq,
                buy,
                sell,
                time_ms: now_ms,
            };
            let [bid_wh, ask_wh] = [Side::Buy, Side::Sell].map(|side| order.quantity_wh(side));
            self.book.place(order.clone());
            self.status.orders += 1;
            self.status.ordered_slot = self.status.ordered_slot.max(Some(slot));
            effects.push(Effect::SaveState);
            effects.push(Effect::Publish(Up::Order, self.sign(order).to_json()));
            effects.push(Effect::AwaitAnswer);
            effects.push(Effect::Report(
                Level::Debug,
                format!(
                    "ordered to buy {bid_wh} Wh or sell {ask_wh} Wh in slot {}",
                    Slot::new(slot)
                ),
            ));
        }
        self.status.considered_slot =
            self.status.considered_slot.max(self.book.newest_settled_offer());
    }

    /// What to order for every open offer, none for nothing; an offer is left out while nothing can
    /// be forecast. A battery that serves its house by itself is part of the load that was learned,
    /// and is not planned with; one that is steered is.
    fn curves(&mut self, now_ms: i64) -> Vec<(i64, Option<Curves>)> {
        let arrives_ms = self.arrives_ms(now_ms);
        let Some(policy) = &mut self.policy else {
            return self.book.open_offers(arrives_ms).map(|offer| (offer.slot, None)).collect();
        };
        // W over a quarter of an hour.
        let most = Energy::from_wh(self.settings.connection_w / 4);
        let fresh_ms = now_ms - Slot::LENGTH_MS;
        let flows = self.flows.as_ref().filter(|flows| flows.taken_ms >= fresh_ms);
        // mW over a quarter of an hour: a quarter of as many mWh.
        let is_steered = self.settings.steering.is_some();
        let present = flows.and_then(|flows| {
            let battery_mw = if is_steered { flows.battery_mw? } else { 0 };
            Some(flows.power_mw? - battery_mw)
        });
        let present = present.map(|mw| Energy::from_wh((mw / 4 + 500 * mw.signum()) / 1_000));
        let (stored, helm) = (self.helm.store(), &mut self.helm);
        // Nothing that was ordered for the slot under way can be forgotten by the plan for the next.
        let traded = |slot: Slot| Some(self.book.order(slot)?.filled?.net());
        let scheduled: Vec<Energy> =
            stored.and_then(|(slot, _)| traded(slot)).into_iter().collect();
        let order = |offer: &Offer| {
            // Where members share by their meters alone, there is nothing to order.
            let is_auctioned = offer.rule == Rule::Auction.to_string();
            let terms = terms(offer.retail, offer.feed_in).filter(|_| is_auctioned);
            let Some(terms) = terms else { return Some((offer.slot, None)) };
            let slot = Slot::new(offer.slot);
            let view = View {
                slot,
                terms: &[terms],
                stored,
                scheduled: if stored.is_some_and(|(known, _)| known < slot) {
                    &scheduled
                } else {
                    &[]
                },
                car_lacks: None,
                present,
            };
            let mut decision = policy.decide(&view)?;
            helm.plan(slot, decision.battery.take());
            Some((offer.slot, Curves::of(&decision, most)))
        };
        self.book.open_offers(arrives_ms).filter_map(order).collect()
    }

    /// When an order that leaves now is with the operator at the latest.
    const fn arrives_ms(&self, now_ms: i64) -> i64 {
        now_ms.saturating_add(self.settings.order_lead_ms)
    }

    /// Whether an order could still be taken that the operator has not answered.
    pub(super) fn has_unanswered_orders(&self, now_ms: i64) -> bool {
        self.book.unanswered(self.arrives_ms(now_ms)).next().is_some()
    }

    /// Remembers the supplier's prices of a slot, for bills and for forecasts.
    pub(super) fn learn_terms(&mut self, slot: i64, retail: i64, feed_in: i64) {
        self.book.learn_terms(slot, retail, feed_in);
        if let (Some(policy), Some(terms)) = (&mut self.policy, terms(retail, feed_in)) {
            policy.learn_terms(Slot::new(slot), terms);
        }
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
        let arrives_ms = self.arrives_ms(now_ms);
        let orders = self.book.unanswered(arrives_ms).filter(|order| is_meant(order));
        for mut order in orders.cloned().collect::<Vec<Order>>() {
            if order.seq < self.order_seq {
                order.seq = self.next_order_seq(now_ms);
                self.book.place(order.clone());
                effects.push(Effect::SaveState);
            }
            effects.push(Effect::Publish(Up::Order, self.sign(order).to_json()));
            effects.push(Effect::AwaitAnswer);
        }
    }

    /// Market time keeps the numbers growing even when the state file was lost.
    fn next_order_seq(&mut self, now_ms: i64) -> u64 {
        self.order_seq = (self.order_seq + 1).max(now_ms.unsigned_abs());
        self.order_seq
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_side_of_an_order_exceeds_what_the_connection_carries() {
        let price = Price::from_e5_per_kwh;
        let step =
            |wh, e5| market::Step { quantity: Energy::from_wh(wh), limit: Limit::At(price(e5)) };
        let buy = Steps::new(vec![step(300, 20_000), step(200, 18_000), step(100, 16_000)]).ok();
        let sell = Steps::new(vec![step(400, 21_000), step(60, 25_000)]).ok();
        let (slot, zero) = (Slot::new(1), Energy::ZERO);
        let decision = Decision { slot, buy, sell, net: zero, car: zero, battery: None };
        let wh = |steps: &[Step]| steps.iter().map(|step| step.quantity_wh).collect::<Vec<i64>>();
        for (most, buy, sell) in [
            (1_000, &[300, 200, 100][..], &[400, 60][..]),
            (500, &[300, 200], &[400, 60]),
            (450, &[300, 150], &[400, 50]),
            (10, &[10], &[10]),
            (0, &[], &[]),
        ] {
            let curves = Curves::of(&decision, Energy::from_wh(most));
            assert_eq!(curves.is_none(), most == 0, "nothing to order is no order");
            let curves = curves.unwrap_or_default();
            assert_eq!((&wh(&curves.buy)[..], &wh(&curves.sell)[..]), (buy, sell), "{most}");
        }
        let one_side = Decision { buy: None, ..decision };
        let curves = Curves::of(&one_side, Energy::from_wh(1_000)).expect("an ask");
        assert_eq!((curves.buy, wh(&curves.sell)), (vec![], vec![400, 60]));
    }
}
