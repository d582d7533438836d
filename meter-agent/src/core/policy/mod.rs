//! How a household bids: the owner's wish as a value, and what follows from it slot by slot.
//!
//! | policy | order |
//! |---|---|
//! | `passive` | the forecast at one price between the supplier's two |
//! | `ladder` | steps: what is certain at almost any price, what is doubtful only where it pays |
//! | `battery` | steps: what the house and its battery would do at every price |
//!
//! **Ladder.** Bought energy that is not used comes back at the feed-in price at worst, missing
//! energy costs the retail price at worst (the settlement's two-step rule). One more Wh at a
//! position q is therefore worth `retail · P(net > q) + feed-in · P(net ≤ q)`, and the quantiles of
//! the forecast are the steps. With this limit no step loses on average, whatever the price.
//!
//! **Battery.** [`Worth`] of stored energy at the slot's end, from the exact plan of the coming day
//! at the supplier's prices, says from which price on it pays to charge and to discharge. During the
//! slot [`Standing`] answers the house's real load with the same function; what it does is at the
//! supplier's prices never worse than leaving the battery alone.
//!
//! A forecast proposes and a plan proposes: what is ordered are whole Wh on the tick.

mod battery;
mod car;
mod position;
mod tariff;
mod worth;

use market::Terms;
use serde::{Deserialize, Serialize};
use units::{Energy, Slot};

use super::forecast::{Forecaster, HORIZON, MEDIAN, Measured, Quantiles, Site};
use super::limits::Keep;
use super::zone::Zone;
use position::Position;
use tariff::Tariff;

pub use battery::{Battery, Store};
pub use car::Car;
pub use position::{MAX_STEPS, Step};
pub use worth::{Outlook, Piece, Worth};

use car::Deadline;

/// Slots between the one whose start the store is known at and the one that is ordered, at most.
const MOST_AHEAD: i64 = 8;

/// Kind of policy.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Style {
    /// The forecast at one price.
    Passive,
    /// Steps by certainty.
    #[default]
    Ladder,
    /// Steps by the plan of a battery; without one like `ladder`.
    Battery,
}

/// What the owner decided.
#[derive(Debug, Clone, PartialEq)]
pub struct Wishes {
    /// Kind of policy.
    pub style: Style,
    /// The slider: part of the gain over the supplier's price that the household insists on, ppm.
    /// 0 trades whenever it is not worse than the supplier, 1 000 000 wants the whole difference
    /// between retail and feed-in.
    pub insist_ppm: i64,
    /// The clock on the wall.
    pub zone: Zone,
    /// Where the plant stands, when the owner says so.
    pub site: Option<Site>,
    /// The battery, when there is one that may be planned with.
    pub battery: Option<Battery>,
    /// What must stay in it.
    pub keep: Vec<Keep>,
    /// The car, when there is one that may be planned with.
    pub car: Option<Car>,
}

/// What is known when a slot is decided.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    /// The slot to order for.
    pub slot: Slot,
    /// The supplier's terms from that slot on, as far as they are known: at least its own.
    pub terms: &'a [Terms],
    /// The battery's content at the start of a slot, which is `slot` or one shortly before.
    pub stored: Option<(Slot, Store)>,
    /// How much the car that is plugged in lacks until it is full, AC.
    pub car_lacks: Option<Energy>,
    /// Net energy of a slot at the present power: the forecast of who knows nothing else.
    pub present: Option<Energy>,
}

/// What to order for a slot, and what to do in it.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// For which slot.
    pub slot: Slot,
    /// Steps of a bid, highest limit first.
    pub buy: Vec<Step>,
    /// Steps of an ask, lowest limit first.
    pub sell: Vec<Step>,
    /// Expected energy from the grid without battery and car (negative: into it).
    pub net: Energy,
    /// Energy to charge the car with in the slot, AC.
    pub car: Energy,
    /// What the battery should do in the slot, when there is one.
    pub battery: Option<Standing>,
}

/// What a battery does during a slot, whatever the load turns out to be.
#[derive(Debug, Clone, PartialEq)]
pub struct Standing {
    battery: Battery,
    /// Of stored energy at the slot's end.
    worth: Worth,
    floor: Store,
    terms: Terms,
    /// Charged energy (negative: discharged) at the expected load without a trade, AC.
    pub planned: Energy,
}

/// A household's bidding.
#[derive(Debug, Clone)]
pub struct Policy {
    wishes: Wishes,
    forecaster: Forecaster,
    tariff: Tariff,
    spare: Vec<Piece>,
}

impl Policy {
    /// Without any history.
    #[must_use]
    pub fn new(wishes: Wishes) -> Self {
        let forecaster = Forecaster::new(wishes.zone.clone(), wishes.site);
        Self { wishes, forecaster, tariff: Tariff::new(), spare: Vec::new() }
    }

    /// What the owner decided.
    #[must_use]
    pub const fn wishes(&self) -> &Wishes {
        &self.wishes
    }

    /// The forecasts behind the decisions.
    #[must_use]
    pub const fn forecaster(&self) -> &Forecaster {
        &self.forecaster
    }

    /// Takes over what was measured in a slot; slots must come in order. The battery's and the
    /// car's part, where it is known, must not be in it.
    pub fn learn(&mut self, slot: Slot, measured: Measured) {
        self.forecaster.learn(slot, measured);
    }

    /// Remembers the supplier's terms of a slot.
    pub fn learn_terms(&mut self, slot: Slot, terms: Terms) {
        self.tariff.learn(slot, terms);
    }

    /// What to order for a slot and what to do in it; none while nothing can be forecast, or when
    /// the view has no terms.
    pub fn decide(&mut self, view: &View) -> Option<Decision> {
        let terms = *view.terms.first()?;
        for (slot, &terms) in (view.slot.number()..).zip(view.terms) {
            self.tariff.learn(Slot::new(slot), terms);
        }
        let present = view.present.map(|energy| [worth::float(energy.wh()); 5]);
        let net = self.forecaster.net(view.slot).or(present)?;
        let car = self.charging(view, &net);
        let plan = match (self.wishes.battery, view.stored) {
            (Some(battery), Some((from, store))) if self.wishes.style == Style::Battery => {
                self.plan(view, battery, from, store, net[MEDIAN] + car)
            }
            _ => None,
        };
        let position = match (&plan, self.wishes.style) {
            (Some(plan), _) => plan.standing.position(plan.store, net[MEDIAN] + car),
            (None, Style::Passive) => Position::from(net[MEDIAN] + car),
            (None, _) => by_certainty(&net, car, terms),
        };
        let (buy, sell) = position.steps(terms, self.wishes.insist_ppm);
        Some(Decision {
            slot: view.slot,
            buy,
            sell,
            net: whole(net[MEDIAN]),
            car: whole(car),
            battery: plan.map(|plan| plan.standing),
        })
    }

    /// Plans the coming day at the supplier's prices, from the slot whose start the store is known
    /// at.
    fn plan(
        &mut self,
        view: &View,
        battery: Battery,
        from: Slot,
        store: Store,
        net_wh: f64,
    ) -> Option<Plan> {
        let ahead = view.slot.number() - from.number();
        if !(0..=MOST_AHEAD).contains(&ahead) {
            return None;
        }
        let ordered = usize::try_from(ahead).expect("checked");
        let mut slots = self.outlook(from, HORIZON)?;
        self.set_floors(&mut slots, &battery, from, store);
        slots[ordered].net_wh = net_wh;
        let mut worth =
            Worth::flat(&battery, slots[HORIZON - 1].floor_wh, end_value(&battery, &slots));
        let mut after = Vec::with_capacity(ordered + 1);
        for i in (1..HORIZON).rev() {
            worth = worth.before(&battery, &slots[i], slots[i - 1].floor_wh, &mut self.spare);
            if i <= ordered + 1 {
                after.push(worth.clone());
            }
        }
        let mut plan = None;
        let mut store = store;
        for (slot, worth) in slots.iter().zip(after.into_iter().rev()) {
            let floor = Store::of(whole(slot.floor_wh)).min(store);
            let terms = market_terms(slot)?;
            let mut standing = Standing { battery, worth, floor, terms, planned: Energy::ZERO };
            standing.planned = standing.charge(store, whole(slot.net_wh), Energy::ZERO);
            let next = battery.after(store, standing.planned);
            plan = Some(Plan { standing, store });
            store = next;
        }
        plan
    }

    /// Expected load, sun and prices from a slot on.
    fn outlook(&self, from: Slot, slots: usize) -> Option<Vec<Outlook>> {
        let first = self.forecaster.newest().map_or(from, |newest| from.max(newest.next()));
        let skipped = usize::try_from(first.number() - from.number()).ok()?;
        let mut medians = self.forecaster.medians(first, slots.checked_sub(skipped)?)?;
        // Slots that are over by now are as good as known; only their order of size matters.
        medians.splice(0..0, std::iter::repeat_n(medians[0], skipped));
        let quarters = self.wishes.zone.quarters(from.number());
        let slots =
            (from.number()..).zip(quarters).zip(medians).map(|((slot, local), (load, sun))| {
                let terms = self.tariff.at(slot, local.0)?;
                Some(Outlook {
                    net_wh: load - sun,
                    buy: worth::float(terms.retail().nano_per_wh()),
                    sell: worth::float(terms.feed_in().nano_per_wh()),
                    floor_wh: 0.0,
                })
            });
        slots.collect()
    }

    /// What the owner wants kept, as far as it can be there without buying it: at most what is in
    /// the store now, or comes from the roof while the span lasts.
    fn set_floors(&self, slots: &mut [Outlook], battery: &Battery, from: Slot, store: Store) {
        if self.wishes.keep.is_empty() {
            return;
        }
        let mut there = store.wh();
        for (number, slot) in (from.number()..).zip(slots) {
            let local = self.wishes.zone.local(Slot::new(number));
            let floors =
                self.wishes.keep.iter().filter_map(|keep| keep.floor(battery.capacity, local));
            match floors.max() {
                None => there = 0.0,
                Some(floor) => {
                    let left_over = (-slot.net_wh).max(0.0).min(worth::float(battery.charge.wh()));
                    let capacity = worth::float(battery.capacity.wh());
                    there = (there + left_over * battery.efficiency_in()).min(capacity);
                    slot.floor_wh = worth::float(floor.wh()).min(there);
                }
            }
        }
    }

    /// What the car is charged with in the slot, Wh.
    fn charging(&self, view: &View, net: &Quantiles) -> f64 {
        let (Some(car), Some(lacks)) = (&self.wishes.car, view.car_lacks) else { return 0.0 };
        let Some(mut slots) = self.outlook(view.slot, HORIZON) else { return 0.0 };
        slots[0].net_wh = net[MEDIAN];
        let mut deadlines = Vec::new();
        for (index, number) in (1..=HORIZON).zip(view.slot.number() + 1..) {
            let local = self.wishes.zone.local(Slot::new(number));
            for ready in car.ready.iter().filter(|ready| ready.is_due(local)) {
                let may_lack = car.capacity - ready.amount().of(car.capacity);
                let wh = worth::float((lacks - may_lack).max(Energy::ZERO).wh());
                deadlines.push(Deadline { index, wh });
            }
        }
        car::charging(car, &slots, &deadlines).first().copied().unwrap_or(0.0)
    }
}

/// What a plan says about the ordered slot.
struct Plan {
    standing: Standing,
    /// The store at the slot's start.
    store: Store,
}

/// What is left at the end of the plan is worth what it saves at least: buying it again at the
/// cheapest time, and never less than selling it.
fn end_value(battery: &Battery, slots: &[Outlook]) -> f64 {
    let cheapest = slots.iter().map(|slot| slot.buy).fold(f64::INFINITY, f64::min);
    let dearest = slots.iter().map(|slot| slot.sell).fold(f64::NEG_INFINITY, f64::max);
    let sold = dearest.min(cheapest) * battery.efficiency_out();
    f64::midpoint(sold, cheapest * battery.efficiency_out())
}

/// The terms behind an outlook.
fn market_terms(slot: &Outlook) -> Option<Terms> {
    #[expect(clippy::cast_possible_truncation, reason = "they come from whole numbers")]
    let price = |value: f64| units::Price::from_nano_per_wh(value as i64);
    Terms::new(price(slot.buy), price(slot.sell)).ok()
}

/// The curve of a household without a plan: between two quantiles one more Wh is needed with a
/// known probability.
fn by_certainty(net: &Quantiles, car: f64, terms: Terms) -> Position {
    let retail = worth::float(terms.retail().nano_per_wh());
    let room = retail - worth::float(terms.feed_in().nano_per_wh());
    let mut position = Position::from(net[0] + car);
    for (i, pair) in net.windows(2).enumerate() {
        let needless = f64::midpoint(super::forecast::LEVELS[i], super::forecast::LEVELS[i + 1]);
        position.go_on(pair[1] - pair[0], retail - needless * room);
    }
    position
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
        let wear = worth::float(self.battery.wear.nano_per_wh());
        let (retail, feed_in) = (self.terms.retail(), self.terms.feed_in());
        let is_short = short.is_positive();
        let [buy, sell] = [
            if is_short { retail } else { retail.max(feed_in) },
            if is_short { feed_in.min(retail) } else { feed_in },
        ]
        .map(|price| worth::float(price.nano_per_wh()));
        let left_over = (-short).max(Energy::ZERO);
        let charges = [(left_over.min(room), sell), (room - left_over.min(room), buy)];
        let charged = self.fill(store, charges, wear);
        if charged.is_positive() {
            return charged;
        }
        let lack = short.max(Energy::ZERO).min(supply);
        -self.draw(store, [(lack, buy), (supply - lack, sell)], wear)
    }

    /// How much of these offers (energy, price), cheapest first, is worth storing, AC.
    fn fill(&self, store: Store, offers: [(Energy, f64); 2], wear: f64) -> Energy {
        let eta = self.battery.efficiency_in();
        let mut pieces = self.worth.above(store.wh());
        let mut piece = pieces.next();
        let mut taken = 0.0;
        for (energy, price) in offers {
            let mut left = worth::float(energy.wh());
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
            let mut left = worth::float(energy.wh());
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
    fn position(&self, store: Store, net_wh: f64) -> Position {
        let wear = worth::float(self.battery.wear.nano_per_wh());
        let floor = self.floor.min(store);
        let (eta_in, eta_out) = (self.battery.efficiency_in(), self.battery.efficiency_out());
        let mut supply = worth::float(self.battery.supply(store, floor).wh());
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
        let mut room = worth::float(self.battery.room(store).wh());
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
fn whole(wh: f64) -> Energy {
    Energy::from_wh(wh.round() as i64)
}

/// Down to a whole Wh, a millionth below one counting as one.
#[expect(clippy::cast_possible_truncation, reason = "a household's energy in a slot")]
fn whole_down(wh: f64) -> Energy {
    Energy::from_wh((wh + 1e-6).floor() as i64)
}
