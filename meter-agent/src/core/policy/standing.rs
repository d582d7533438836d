//! What a battery does while a slot lasts.
//!
//! The plan does not say "charge 500 Wh": it says what stored energy is worth at the slot's end, and
//! the battery answers the load that really comes. It stores what costs less than it is worth and
//! gives what brings more, so that a cloud or a kettle changes the flows and not the sense of the
//! plan.

use market::Terms;
use units::Energy;

use super::battery::{Battery, Store};
use super::position::Position;
use super::worth::{Piece, Worth, float};

/// Prices that differ by less are equal, nano-currency per Wh. Between equals the battery serves the
/// house now, and stores now what the roof has left over: the later sun and the later need, which
/// would be as good, may not come.
const EQUAL: f64 = 1e-3;
/// What a battery does during a slot, whatever the load turns out to be.
#[derive(Debug, Clone, PartialEq)]
pub struct Standing {
    pub(super) battery: Battery,
    /// Of stored energy at the slot's end.
    pub(super) worth: Worth,
    /// What the owner wants kept during the slot.
    pub(super) floor: Store,
    pub(super) terms: Terms,
    /// Charged energy (negative: discharged) at the expected load without a trade, AC.
    pub planned: Energy,
}

impl Standing {
    /// Energy to charge (negative: discharge), AC, when the house needs `net` without the battery
    /// and `scheduled` was bought for the slot (negative: sold).
    ///
    /// What is bought is there to be used: only beyond it energy costs the retail price, and only
    /// what is left of it goes at the feed-in price. The answer never exceeds what fits, what is
    /// there, or what the owner wants kept.
    #[must_use]
    pub fn charge(&self, store: Store, net: Energy, scheduled: Energy) -> Energy {
        let floor = self.floor.min(store);
        let room = self.battery.room(store);
        let supply = self.battery.supply(store, floor);
        let short = net - scheduled;
        let wear = float(self.battery.wear.nano_per_wh());
        let (retail, feed_in) = (self.terms.retail(), self.terms.feed_in());
        let is_short = short.is_positive();
        let [buy, sell] = [
            if is_short { retail } else { retail.max(feed_in) },
            if is_short { feed_in.min(retail) } else { feed_in },
        ]
        .map(|price| float(price.nano_per_wh()));
        let left_over = (-short).max(Energy::ZERO);
        let stored = left_over.min(room);
        let charges = [(stored, sell - EQUAL), (room - stored, buy + EQUAL)];
        let charged = self.fill(store, charges, wear);
        if charged.is_positive() {
            return charged;
        }
        let lack = short.max(Energy::ZERO).min(supply);
        -self.draw(store, [(lack, buy + EQUAL), (supply - lack, sell - EQUAL)], wear)
    }

    /// The same for a household that keeps to what it traded: what is left over of it is stored as far
    /// as it fits, and what is missing comes out of the battery unless that is worth more later.
    #[must_use]
    pub fn follow(&self, store: Store, net: Energy, scheduled: Energy) -> Energy {
        let even = scheduled - net;
        let even = if even.is_positive() {
            even.min(self.battery.room(store))
        } else {
            -(-even).min(self.battery.supply(store, self.floor.min(store)))
        };
        self.charge(store, net, scheduled).max(even)
    }

    /// How much of these offers (energy, price), cheapest first, is worth storing, AC.
    fn fill(&self, store: Store, offers: [(Energy, f64); 2], wear: f64) -> Energy {
        let eta = self.battery.efficiency_in();
        let mut pieces = self.worth.above(store.wh());
        let mut piece = pieces.next();
        let mut taken = 0.0;
        for (energy, price) in offers {
            let mut left = float(energy.wh());
            while left > 0.0
                && let Some(Piece { wh, slope }) = &mut piece
                && *slope * eta > price + wear
            {
                let part = left.min(*wh / eta);
                (left, taken, *wh) = (left - part, taken + part, *wh - part * eta);
                if *wh <= 1e-9 {
                    piece = pieces.next();
                }
            }
        }
        let offered = offers[0].0 + offers[1].0;
        whole_down(taken).min(offered)
    }

    /// How much of these demands (energy, price), dearest first, is worth serving, AC.
    fn draw(&self, store: Store, demands: [(Energy, f64); 2], wear: f64) -> Energy {
        let eta = self.battery.efficiency_out();
        let mut pieces = self.worth.below(store.wh());
        let mut piece = pieces.next();
        let mut given = 0.0;
        for (energy, price) in demands {
            let mut left = float(energy.wh());
            while left > 0.0
                && let Some(Piece { wh, slope }) = &mut piece
                && (price - wear) * eta > *slope
            {
                let part = left.min(*wh * eta);
                (left, given, *wh) = (left - part, given + part, *wh - part / eta);
                if *wh <= 1e-9 {
                    piece = pieces.next();
                }
            }
        }
        let demanded = demands[0].0 + demands[1].0;
        whole_down(given).min(demanded)
    }

    /// What one more Wh is worth to house and battery together.
    pub(super) fn position(&self, store: Store, net_wh: f64) -> Position {
        let wear = float(self.battery.wear.nano_per_wh());
        let floor = self.floor.min(store);
        let (eta_in, eta_out) = (self.battery.efficiency_in(), self.battery.efficiency_out());
        let mut supply = float(self.battery.supply(store, floor).wh());
        let mut discharges = Vec::new();
        for piece in self.worth.below(store.wh()) {
            let part = supply.min(piece.wh * eta_out);
            supply -= part;
            discharges.push((part, piece.slope / eta_out + wear));
        }
        let given: f64 = discharges.iter().map(|(part, _)| part).sum();
        let mut position = Position::from(net_wh - given);
        for (part, price) in discharges.into_iter().rev() {
            position.go_on(part, price);
        }
        let mut room = float(self.battery.room(store).wh());
        for piece in self.worth.above(store.wh()) {
            let part = room.min(piece.wh / eta_in);
            room -= part;
            position.go_on(part, piece.slope * eta_in - wear);
        }
        position
    }
}

/// To the nearest whole Wh.
#[expect(clippy::cast_possible_truncation, reason = "a household's energy in a slot")]
pub(super) fn whole(wh: f64) -> Energy {
    Energy::from_wh(wh.round() as i64)
}

/// Down to a whole Wh, a millionth below one counting as one.
#[expect(clippy::cast_possible_truncation, reason = "a household's energy in a slot")]
fn whole_down(wh: f64) -> Energy {
    Energy::from_wh((wh + 1e-6).floor() as i64)
}
