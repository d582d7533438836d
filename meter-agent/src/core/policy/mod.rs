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
mod standing;
mod tariff;
mod worth;

use market::{Limit, Side, Step, Steps, Terms};
use serde::{Deserialize, Serialize};
use units::{Energy, Slot};

use super::forecast::{Forecaster, HORIZON, MEDIAN, Measured, Quantiles, Site};
use super::limits::Keep;
use super::zone::Zone;
use position::{Position, Rung};
use standing::whole;
use tariff::Tariff;

pub use battery::{Battery, Store};
pub use car::Car;
pub use standing::Standing;
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
    /// What was traded for the slots from that one on, as far as it is known.
    pub scheduled: &'a [Energy],
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
    /// The bid, when there is something to buy.
    pub buy: Option<Steps>,
    /// The ask, when there is something to sell.
    pub sell: Option<Steps>,
    /// Expected energy from the grid without battery and car (negative: into it).
    pub net: Energy,
    /// Energy to charge the car with in the slot, AC.
    pub car: Energy,
    /// What the battery should do in the slot, when there is one.
    pub battery: Option<Standing>,
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
        let weekday = self.wishes.zone.local(slot).weekday();
        self.tariff.learn(slot.number(), weekday, terms);
    }

    /// What to order for a slot and what to do in it; none while nothing can be forecast, or when
    /// the view has no terms.
    pub fn decide(&mut self, view: &View) -> Option<Decision> {
        let terms = *view.terms.first()?;
        let first = view.slot.number();
        let quarters = self.wishes.zone.quarters(first);
        for ((slot, local), &terms) in (first..).zip(quarters).zip(view.terms) {
            self.tariff.learn(slot, local.0, terms);
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
            (None, Style::Passive) => Position::from(self.through_battery(view, net[MEDIAN] + car)),
            (None, _) => by_certainty(&net.map(|net| self.through_battery(view, net + car)), terms),
        };
        let (bid, ask) = position.steps(terms, self.wishes.insist_ppm);
        let is_pegged = self.wishes.style == Style::Passive;
        Some(Decision {
            slot: view.slot,
            buy: steps(&bid, Side::Buy, terms, is_pegged),
            sell: steps(&ask, Side::Sell, terms, is_pegged),
            net: whole(net[MEDIAN]),
            car: whole(car),
            battery: plan.map(|plan| plan.standing),
        })
    }

    /// What the meter will see of a net load when the battery, without a plan, serves the house.
    fn through_battery(&self, view: &View, net_wh: f64) -> f64 {
        match (self.wishes.battery, view.stored) {
            (Some(battery), Some((_, store))) => {
                net_wh + worth::float(battery.serve_house(store, whole(net_wh)).wh())
            }
            _ => net_wh,
        }
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
        let mut scheduled = view.scheduled.iter().copied();
        for ((slot, worth), number) in
            slots.iter().zip(after.into_iter().rev()).zip(from.number()..)
        {
            let floor = Store::of(self.kept(&battery, Slot::new(number)).unwrap_or_default());
            let terms = market_terms(slot)?;
            let mut standing = Standing { battery, worth, floor, terms, planned: Energy::ZERO };
            standing.planned = match scheduled.next() {
                Some(traded) => standing.follow(store, whole(slot.net_wh), traded),
                None => standing.charge(store, whole(slot.net_wh), Energy::ZERO),
            };
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
                let [buy, sell] = self.tariff.at(slot, local.0)?;
                Some(Outlook { net_wh: load - sun, buy, sell, floor_wh: 0.0 })
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
            match self.kept(battery, Slot::new(number)) {
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

    /// What the owner wants kept during a slot, if anything.
    fn kept(&self, battery: &Battery, slot: Slot) -> Option<Energy> {
        if self.wishes.keep.is_empty() {
            return None;
        }
        let local = self.wishes.zone.local(slot);
        self.wishes.keep.iter().filter_map(|keep| keep.floor(battery.capacity, local)).max()
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

/// An order's curve; pegged limits hang on the supplier's price that they are measured from.
fn steps(rungs: &[Rung], side: Side, terms: Terms, is_pegged: bool) -> Option<Steps> {
    let limit = |price: units::Price| match side {
        _ if !is_pegged => Limit::At(price),
        Side::Buy => Limit::BelowRetail(terms.retail() - price),
        Side::Sell => Limit::AboveFeedIn(price - terms.feed_in()),
    };
    let step = |rung: &Rung| Step { quantity: rung.quantity, limit: limit(rung.limit) };
    Steps::new(rungs.iter().map(step).collect()).ok()
}

/// The terms behind an outlook.
fn market_terms(slot: &Outlook) -> Option<Terms> {
    #[expect(clippy::cast_possible_truncation, reason = "they come from whole numbers")]
    let price = |value: f64| units::Price::from_e5_per_kwh((value / 10.0).round() as i64);
    Terms::new(price(slot.buy), price(slot.sell)).ok()
}

/// The curve of a household without a plan: between two quantiles one more Wh is needed with a
/// known probability.
fn by_certainty(net: &Quantiles, terms: Terms) -> Position {
    let retail = worth::float(terms.retail().nano_per_wh());
    let room = retail - worth::float(terms.feed_in().nano_per_wh());
    let mut position = Position::from(net[0]);
    for (i, pair) in net.windows(2).enumerate() {
        let needless = f64::midpoint(super::forecast::LEVELS[i], super::forecast::LEVELS[i + 1]);
        position.go_on(pair[1] - pair[0], retail - needless * room);
    }
    position
}

#[cfg(test)]
mod tests {
    use units::Price;

    use super::*;

    /// 2016-01-18, a Monday, 00:00 UTC.
    const START: i64 = 1_612_896 + 17 * 96;

    fn terms(retail_e5: i64, feed_in_e5: i64) -> Terms {
        let price = Price::from_e5_per_kwh;
        Terms::new(price(retail_e5), price(feed_in_e5)).expect("on the tick")
    }

    fn wishes(style: Style, insist_ppm: i64) -> Wishes {
        let zone = Zone::parse("Europe/Berlin").expect("known");
        Wishes { style, insist_ppm, zone, site: None, battery: None, keep: vec![], car: None }
    }

    fn battery() -> Battery {
        let wh = Energy::from_wh;
        Battery {
            capacity: wh(5_000),
            charge: wh(600),
            discharge: wh(600),
            efficiency_in_ppm: 950_000,
            efficiency_out_ppm: 950_000,
            wear: Price::ZERO,
        }
    }

    /// A policy that saw a week of a steady load of 100 Wh and of sun of 500 Wh from 9 to 15 UTC.
    fn after_a_week(wishes: Wishes) -> Policy {
        let mut policy = Policy::new(wishes);
        for slot in START..START + 7 * 96 {
            let sun_wh = if (36..60).contains(&slot.rem_euclid(96)) { 500 } else { 0 };
            policy.learn(Slot::new(slot), Measured { load_wh: 100, sun_wh: Some(sun_wh) });
        }
        policy
    }

    fn view(slot: i64, terms: &[Terms], stored_wh: Option<i64>) -> View<'_> {
        let slot = Slot::new(slot);
        let stored = stored_wh.map(|wh| (slot, Store::of(Energy::from_wh(wh))));
        View { slot, terms, stored, scheduled: &[], car_lacks: None, present: None }
    }

    fn plain(steps: Option<&Steps>) -> Vec<(i64, Limit)> {
        steps.map_or(&[][..], Steps::as_slice).iter().map(|s| (s.quantity.wh(), s.limit)).collect()
    }

    #[test]
    fn without_history_the_present_power_is_the_forecast_and_without_that_there_is_none() {
        let flat = [terms(28_800, 12_310)];
        let mut policy = Policy::new(wishes(Style::Passive, 100_000));
        assert_eq!(policy.decide(&view(START, &flat, None)), None);
        let present = View { present: Some(Energy::from_wh(-70)), ..view(START, &flat, None) };
        let decision = policy.decide(&present).expect("the present power");
        assert_eq!((decision.buy, decision.net), (None, Energy::from_wh(-70)));
        let above = Limit::AboveFeedIn(Price::from_e5_per_kwh(1_649));
        assert_eq!(plain(decision.sell.as_ref()), [(70, above)]);
        policy.learn(Slot::new(START - 2), Measured { load_wh: 40, sun_wh: None });
        let decision = policy.decide(&view(START, &flat, None)).expect("one value is known");
        let below = Limit::BelowRetail(Price::from_e5_per_kwh(1_649));
        let steps = plain(decision.buy.as_ref());
        assert!(steps.len() == 1 && steps[0].1 == below && (30..=50).contains(&steps[0].0));
        // No room between the prices, no order.
        let inverted = policy.decide(&view(START, &[terms(3_990, 4_640)], None)).expect("known");
        assert_eq!((inverted.buy, inverted.sell), (None, None));
    }

    #[test]
    fn a_ladder_wants_the_certain_at_a_high_price_and_the_doubtful_at_a_low_one() {
        let mut policy = after_a_week(wishes(Style::Ladder, 0));
        // Doubt: the last day was anything but steady.
        for slot in START + 7 * 96..START + 8 * 96 {
            let load_wh = 60 + 80 * (slot % 2);
            policy.learn(Slot::new(slot), Measured { load_wh, sun_wh: Some(0) });
        }
        let flat = [terms(30_000, 10_000)];
        let decision = policy.decide(&view(START + 8 * 96 + 1, &flat, None)).expect("known");
        let steps = plain(decision.buy.as_ref());
        let limits: Vec<i64> = steps
            .iter()
            .map(|(_, limit)| limit.under(flat[0]).expect("a price").nano_per_wh())
            .collect();
        // One step for what is needed for sure, then one between each two quantiles.
        let all = [300_000, 260_000, 220_000, 180_000, 140_000];
        assert!(limits.len() >= 3 && limits[0] == all[0], "{steps:?}");
        assert!(limits.iter().all(|limit| all.contains(limit)), "{steps:?}");
        assert!(limits.windows(2).all(|pair| pair[0] > pair[1]), "{steps:?}");
        let net = policy.forecaster().net(Slot::new(START + 8 * 96 + 1)).expect("known");
        let total: i64 = steps.iter().map(|(wh, _)| wh).sum();
        assert_eq!(total, whole(net[net.len() - 1]).wh());
    }

    #[test]
    fn a_battery_keeps_the_roof_for_the_night_and_buys_what_is_cheaper_than_tomorrow() {
        let mut policy =
            after_a_week(Wishes { battery: Some(battery()), ..wishes(Style::Battery, 0) });
        let flat = [terms(28_800, 12_310)];
        // At noon with 400 Wh left over: stores it, would buy from neighbours below retail, and
        // sells only dear.
        let noon = START + 7 * 96 + 48;
        let decision = policy.decide(&view(noon, &flat, Some(1_000))).expect("known");
        let standing = decision.battery.clone().expect("a battery");
        let wh = Energy::from_wh;
        assert!((wh(380)..=wh(400)).contains(&standing.planned), "{:?}", standing.planned);
        let store = Store::of(wh(1_000));
        assert_eq!(standing.charge(store, wh(-250), wh(0)), wh(250));
        assert_eq!(standing.charge(store, wh(150), wh(0)), wh(-150));
        // What was bought for the slot is stored, what was sold is not.
        assert_eq!(standing.charge(store, wh(-250), wh(200)), wh(450));
        assert_eq!(standing.charge(store, wh(-250), wh(-200)), wh(50));
        // A full battery sells, an empty one at night buys.
        let full = policy.decide(&view(noon, &flat, Some(5_000))).expect("known");
        assert!(full.sell.is_some_and(|steps| steps.as_slice()[0].quantity >= wh(390)));
        let night = policy.decide(&view(START + 7 * 96 + 4, &flat, Some(0))).expect("known");
        assert!(night.buy.is_some_and(|steps| steps.as_slice()[0].quantity >= wh(95)));
    }

    #[test]
    fn what_the_owner_keeps_is_not_taken_out() {
        let keep = vec![Keep::parse("40 % until 22:00").expect("clear")];
        let mut policy =
            after_a_week(Wishes { battery: Some(battery()), keep, ..wishes(Style::Battery, 0) });
        let wh = Energy::from_wh;
        let flat = [terms(28_800, 12_310)];
        // Slots in UTC; Berlin is an hour ahead in winter.
        for (quarter, stored, expected) in
            [(72, 2_000, 0), (72, 2_100, -95), (72, 900, 0), (84, 900, -100)]
        {
            let slot = START + 7 * 96 + quarter;
            let decision = policy.decide(&view(slot, &flat, Some(stored))).expect("known");
            let standing = decision.battery.expect("a battery");
            let charged = standing.charge(Store::of(wh(stored)), wh(100), wh(0));
            assert_eq!(charged, wh(expected), "{quarter} {stored}");
        }
    }

    #[test]
    fn the_car_is_charged_in_the_cheapest_slots_before_its_time() {
        let ready = vec![super::super::limits::Ready::parse("full by 7:00").expect("clear")];
        let car = Car { capacity: Energy::from_wh(40_000), charge: Energy::from_wh(2_750), ready };
        let mut policy = after_a_week(Wishes { car: Some(car), ..wishes(Style::Passive, 0) });
        // From 0:00 UTC on: dear for two hours, cheap for two, dear again. 7:00 in Berlin is 6:00.
        let prices: Vec<Terms> = (0..40)
            .map(|i| terms(if (8..16).contains(&i) { 15_000 } else { 30_000 }, 8_000))
            .collect();
        let mut charged = Vec::new();
        let mut lacks = Energy::from_wh(9_000);
        for i in 0..26 {
            let slot = START + 7 * 96 + i;
            let known = &prices[usize::try_from(i).expect("small")..];
            let view = View { car_lacks: Some(lacks), ..view(slot, known, None) };
            let decision = policy.decide(&view).expect("known");
            lacks -= decision.car;
            charged.push(decision.car.wh());
            policy.learn(Slot::new(slot), Measured { load_wh: 100, sun_wh: Some(0) });
        }
        let cheap = [2_750, 2_750, 2_750, 750];
        assert_eq!((&charged[8..12], charged.iter().sum::<i64>()), (&cheap[..], 9_000));
    }
}
