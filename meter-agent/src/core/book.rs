//! Offers, own orders with their verdicts and fills, and clearings, as far as they matter to the
//! slots at hand.

use std::collections::{BTreeMap, BTreeSet};

use protocol::{B256, BusPrice, Clearing, Fill, Offer, Order};
use serde::{Deserialize, Serialize};
use units::{Energy, Slot};

/// Slots of which orders and clearings are remembered: two days.
const KEPT: usize = 192;
/// Slots of which the tariff is remembered, for late energy: a good week.
const KEPT_TERMS: usize = 800;

/// An order that was placed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Placed {
    /// As it was signed.
    pub body: Order,
    /// Whether it stands in the book; none until the operator says so.
    pub accepted: Option<bool>,
    /// What it got; none until the operator says so.
    pub filled: Option<Filled>,
    /// The price at the household's bus as it was told with the fill, and its place in the
    /// clearing's tree of prices; none without a trade on a grid.
    #[serde(default)]
    pub bus: Option<ToldPrice>,
}

/// What an order got; at most one of the two is more than zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Filled {
    /// Energy bought, Wh.
    pub bought_wh: i64,
    /// Energy sold, Wh.
    pub sold_wh: i64,
}

impl Filled {
    /// What was bought, less what was sold.
    #[must_use]
    pub const fn net(self) -> Energy {
        Energy::from_wh(self.bought_wh - self.sold_wh)
    }
}

/// A price with its proof.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToldPrice {
    /// The price and its parts.
    pub price: BusPrice,
    /// Its position in the tree.
    pub position: u64,
    /// Siblings up to the root.
    pub path: Vec<B256>,
}

/// What is known of the market.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Book {
    offers: BTreeMap<i64, Offer>,
    /// Offered slots for which it is decided that there is nothing to order.
    declined: BTreeSet<i64>,
    orders: BTreeMap<i64, Placed>,
    clearings: BTreeMap<i64, Clearing>,
    terms: BTreeMap<i64, (i64, i64)>,
    /// Orders of slots from here on cannot have been forgotten.
    orders_known_from: i64,
}

impl Book {
    /// Goes on with remembered orders.
    #[must_use]
    pub fn resume(orders: BTreeMap<i64, Placed>, orders_known_from: i64) -> Self {
        Self { orders, orders_known_from, ..Self::default() }
    }

    /// The orders to remember.
    #[must_use]
    pub const fn orders(&self) -> &BTreeMap<i64, Placed> {
        &self.orders
    }

    /// From which slot on all own orders are remembered.
    #[must_use]
    pub const fn orders_known_from(&self) -> i64 {
        self.orders_known_from
    }

    /// Takes an offer of the operator; a newer one for the same slot replaces it, and other terms are
    /// thought about again. Whether it is news: the first for its slot, or made later than the known
    /// one, because the operator was away.
    pub fn offer(&mut self, offer: Offer) -> bool {
        let known = self.offers.get(&offer.slot);
        if known.is_some_and(|known| known.time_ms > offer.time_ms || *known == offer) {
            return false;
        }
        let same = |known: &Offer| Offer { time_ms: offer.time_ms, ..known.clone() } == offer;
        if !known.is_some_and(same) {
            self.declined.remove(&offer.slot);
        }
        self.learn_terms(offer.slot, offer.retail, offer.feed_in);
        self.offers.insert(offer.slot, offer);
        trim(&mut self.offers, KEPT);
        true
    }

    /// Notes that there is nothing to order for a slot.
    pub fn decline(&mut self, slot: i64) {
        self.declined.insert(slot);
        while self.declined.len() > KEPT {
            self.declined.pop_first();
        }
    }

    /// Newest offered slot that needs nothing more: it is decided that there is nothing to order, or
    /// the operator has answered the order.
    #[must_use]
    pub fn newest_settled_offer(&self) -> Option<i64> {
        let answered =
            |slot: &i64| self.orders.get(slot).is_some_and(|order| order.accepted.is_some());
        let settled = |slot: &&i64| self.declined.contains(slot) || answered(slot);
        self.offers.keys().rev().find(settled).copied()
    }

    /// Remembers the supplier's prices of a slot.
    pub fn learn_terms(&mut self, slot: i64, retail: i64, feed_in: i64) {
        self.terms.insert(slot, (retail, feed_in));
        trim(&mut self.terms, KEPT_TERMS);
    }

    /// Offers that have not been thought about and that what arrives at a moment is in time for.
    pub fn open_offers(&self, arrives_ms: i64) -> impl Iterator<Item = &Offer> {
        self.offers.values().filter(move |offer| {
            arrives_ms < offer.gate_ms
                && !self.orders.contains_key(&offer.slot)
                && !self.declined.contains(&offer.slot)
        })
    }

    /// Notes an own order.
    pub fn place(&mut self, body: Order) {
        self.orders.insert(body.slot, Placed { body, accepted: None, filled: None, bus: None });
        trim(&mut self.orders, KEPT);
    }

    /// Notes that the operator took or refused an order; whether it was ours. What it signed to have
    /// taken stays taken, even if it refuses a repetition.
    pub fn verdict(&mut self, slot: i64, seq: u64, accepted: bool) -> bool {
        let order = self.orders.get_mut(&slot).filter(|order| order.body.seq == seq);
        let note = |order: &mut Placed| {
            order.accepted = Some(accepted || order.accepted == Some(true));
        };
        order.map(note).is_some()
    }

    /// Notes what an order got; whether it was ours.
    pub fn fill(&mut self, fill: &Fill) -> bool {
        let order = self.orders.get_mut(&fill.slot).filter(|order| order.body.seq == fill.seq);
        let Some(order) = order else { return false };
        order.filled = Some(Filled { bought_wh: fill.bought_wh, sold_wh: fill.sold_wh });
        order.bus = fill.bus.first().map(|price| ToldPrice {
            price: price.clone(),
            position: fill.position,
            path: fill.path.clone(),
        });
        true
    }

    /// Notes the public result of an auction.
    pub fn clear(&mut self, clearing: Clearing) {
        self.clearings.insert(clearing.slot, clearing);
        trim(&mut self.clearings, KEPT);
    }

    /// Orders that the operator has not answered and that are in time when they arrive at a moment.
    pub fn unanswered(&self, arrives_ms: i64) -> impl Iterator<Item = &Order> {
        self.orders.values().filter_map(move |order| {
            let gate_ms = self.offers.get(&order.body.slot)?.gate_ms;
            (order.accepted.is_none() && arrives_ms < gate_ms).then_some(&order.body)
        })
    }

    /// Own order for a slot, if one was placed.
    #[must_use]
    pub fn order(&self, slot: Slot) -> Option<&Placed> {
        self.orders.get(&slot.number())
    }

    /// Whether "no order" for this slot means that none was placed.
    #[must_use]
    pub fn knows_orders_of(&self, slot: Slot) -> bool {
        let remembered = self.orders.len() < KEPT
            || self.orders.first_key_value().is_some_and(|(&first, _)| first <= slot.number());
        slot.number() >= self.orders_known_from && remembered
    }

    /// The public result of a slot's auction, if it was heard.
    #[must_use]
    pub fn clearing(&self, slot: Slot) -> Option<&Clearing> {
        self.clearings.get(&slot.number())
    }

    /// What members pay each other in a slot, if its offer was heard.
    #[must_use]
    pub fn rule(&self, slot: Slot) -> Option<&str> {
        self.offers.get(&slot.number()).map(|offer| offer.rule.as_str())
    }

    /// Retail and feed-in price of a slot, nano-currency per Wh.
    #[must_use]
    pub fn terms(&self, slot: Slot) -> Option<(i64, i64)> {
        self.terms.get(&slot.number()).copied()
    }
}

fn trim<T>(map: &mut BTreeMap<i64, T>, kept: usize) {
    while map.len() > kept {
        map.pop_first();
    }
}
