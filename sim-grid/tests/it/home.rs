//! Bidding at home, measured on the scenario's four weeks: how good the forecasts are, and what a
//! month costs.
//!
//! `cargo test -p sim-grid --test it home -- --nocapture` prints the tables.

use std::path::Path;
use std::thread;

use market::{Book, Limits, Metered, Node, Order, Side, Steps, Terms, clear, settle};
use meter_agent::core::forecast::{Forecaster, LEVELS, MEDIAN, Measured, Quantiles, Site};
use meter_agent::core::policy::{Battery, Decision, Policy, Store, Style, View, Wishes};
use meter_agent::core::zone::Zone;
use sim_grid::scenario::{Scenario, wh_of_slot};
use units::{Energy, Money, PointId, Price, Slot};

/// Slots between the newest reading and the slot that is ordered: orders go out while the slot
/// before is still running.
const ORDERED_AHEAD: usize = 2;

struct House {
    point: PointId,
    /// Wh per row of the scenario.
    load: Vec<i64>,
    sun: Vec<i64>,
    has_sun: bool,
    battery: Option<Battery>,
}

fn scenario() -> Scenario {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios/semiurb4");
    Scenario::load(&folder).expect("the scenario is right")
}

fn houses(scenario: &Scenario, slots: &[Slot]) -> Vec<House> {
    let customers = scenario.customers.iter().enumerate();
    let house = |(i, customer): (usize, &sim_grid::scenario::Customer)| {
        let profiles = &scenario.profiles[i];
        let rows = 0..slots.len();
        let rating = scenario.devices.iter().find(|d| d.customer == i && d.battery.is_some());
        let battery = rating.and_then(|device| device.battery).map(|rating| Battery {
            capacity: Energy::from_wh(rating.energy_wh.into()),
            charge: Energy::from_wh(i64::from(rating.power_w) / 4),
            discharge: Energy::from_wh(i64::from(rating.power_w) / 4),
            efficiency_in_ppm: rating.efficiency_ppm.into(),
            efficiency_out_ppm: rating.efficiency_ppm.into(),
            wear: Price::ZERO,
        });
        House {
            point: customer.id.clone(),
            load: rows.clone().map(|row| wh_of_slot(profiles.load(row))).collect(),
            sun: rows.map(|row| wh_of_slot(profiles.generation(row))).collect(),
            has_sun: profiles.pv.is_some() || profiles.pv_battery.is_some(),
            battery,
        }
    };
    customers.map(house).collect()
}

fn slots(scenario: &Scenario) -> Vec<Slot> {
    (0..).map_while(|row| scenario.timeline.slot_of(row)).collect()
}

fn zone() -> Zone {
    Zone::parse("Europe/Berlin").expect("known")
}

/// Sums of errors of one method over many forecasts.
#[derive(Default)]
struct Score {
    persistence: f64,
    yesterday: f64,
    median: f64,
    pinball: f64,
    below: [f64; LEVELS.len()],
    count: f64,
}

impl Score {
    fn add(&mut self, truth: f64, newest: f64, yesterday: f64, said: Quantiles) {
        self.persistence += (newest - truth).abs();
        self.yesterday += (yesterday - truth).abs();
        self.median += (said[MEDIAN] - truth).abs();
        for (i, level) in LEVELS.into_iter().enumerate() {
            let over = said[i] - truth;
            let pinball = if over < 0.0 { -over * level } else { over * (1.0 - level) };
            // Twice the mean pinball loss of a single value is its absolute error.
            self.pinball += 2.0 * pinball / 5.0;
            self.below[i] += f64::from(u8::from(over >= 0.0));
        }
        self.count += 1.0;
    }

    fn line(&self, name: &str, ahead: &str) {
        let mean = |sum: f64| sum / self.count;
        let below: Vec<String> =
            self.below.iter().map(|&below| format!("{:3.0}", 100.0 * mean(below))).collect();
        println!(
            "{name:12} {ahead:>6} {:>12.1} {:>10.1} {:>8.1} {:>11.1}   {} %",
            mean(self.persistence),
            mean(self.yesterday),
            mean(self.median),
            mean(self.pinball),
            below.join(" ")
        );
    }
}

/// Scores for the slot that is ordered, and for the coming day.
fn scores(slots: &[Slot], series: &[&[i64]], site: Option<Site>, is_sun: bool) -> [Score; 2] {
    let mut scores = [Score::default(), Score::default()];
    #[expect(clippy::cast_precision_loss, reason = "Wh of a slot")]
    let float = |wh: i64| wh as f64;
    for values in series {
        let row_of = |slot: Slot| slots.binary_search(&slot).ok();
        let at = |slot: Slot| row_of(slot).map(|row| float(values[row]));
        let mut forecaster = Forecaster::new(zone(), site);
        for (row, &slot) in slots.iter().enumerate() {
            let measured = if is_sun {
                Measured { load_wh: 0, sun_wh: Some(values[row]) }
            } else {
                Measured { load_wh: values[row], sun_wh: None }
            };
            forecaster.learn(slot, measured);
            let far = (1..=96).step_by(7).filter(|_| row % 11 == 0);
            for (which, ahead) in [(0, 2)].into_iter().chain(far.map(|ahead| (1, ahead))) {
                let Some(truth) = at(slot.offset(ahead)) else { continue };
                let newest = float(values[row]);
                let yesterday = at(slot.offset(ahead - 96)).unwrap_or(newest);
                let target = slot.offset(ahead);
                let said = if is_sun {
                    forecaster.sun(target)
                } else {
                    forecaster.load(target).expect("learned")
                };
                scores[which].add(truth, newest, yesterday, said);
            }
        }
    }
    scores
}

#[test]
fn forecasts_beat_persistence_and_yesterday() {
    let scenario = scenario();
    let slots = slots(&scenario);
    let houses = houses(&scenario, &slots);
    let loads: Vec<&[i64]> = houses.iter().map(|house| &house.load[..]).collect();
    let suns: Vec<&[i64]> =
        houses.iter().filter(|house| house.has_sun).map(|house| &house.sun[..]).collect();
    let site = Some(Site { latitude: 51.3, longitude: 9.5 });
    let [load, sun, sun_at_site] = thread::scope(|scope| {
        [
            scope.spawn(|| scores(&slots, &loads, None, false)),
            scope.spawn(|| scores(&slots, &suns, None, true)),
            scope.spawn(|| scores(&slots, &suns, site, true)),
        ]
        .map(|thread| thread.join().expect("no panic"))
    });
    println!(
        "mean absolute errors, Wh per slot; in the last columns how often the truth was below 10, 30, 50, 70, 90 %"
    );
    println!("               ahead  persistence  yesterday   median  2 × pinball");
    for (name, scores) in [("load", &load), ("sun", &sun), ("sun at site", &sun_at_site)] {
        scores[0].line(name, "2");
        scores[1].line(name, "1-96");
    }
    let [near, day] = &load;
    assert!(near.median < 0.95 * near.persistence && near.median < 0.75 * near.yesterday);
    assert!(day.median < 0.92 * day.yesterday && day.median < 0.55 * day.persistence);
    // As quantiles, against the pinball loss of the better of the two values.
    assert!(near.pinball < 0.80 * near.persistence && day.pinball < 0.75 * day.yesterday);
    for score in [near, day] {
        for (below, level) in score.below.iter().zip(LEVELS) {
            assert!((below / score.count - level).abs() < 0.05, "{level}");
        }
    }
    for [near, day] in [&sun, &sun_at_site] {
        assert!(near.median < 0.55 * near.persistence && near.median < 0.25 * near.yesterday);
        assert!(day.median < 0.96 * day.yesterday && day.median < 0.35 * day.persistence);
        assert!(near.pinball < 0.60 * near.persistence && day.pinball < 0.80 * day.yesterday);
    }
}

/// What four weeks cost a household.
#[derive(Clone, Default)]
struct Cost {
    /// In the street, settled by the meters.
    street: [Money; 4],
    /// With the same flows at the supplier's prices.
    same_flows: Money,
    /// Staying alone, the battery serving the house.
    alone: [Money; 4],
    /// Stored at the end, in the street and alone.
    left: [Store; 2],
    /// Bought and sold in auctions.
    traded: Energy,
}

fn sum(weeks: [Money; 4]) -> Money {
    weeks.into_iter().sum()
}

fn at_supplier(terms: Terms, net: Energy) -> Money {
    net * if net.is_positive() { terms.retail() } else { terms.feed_in() }
}

/// How much of what a policy says is ordered.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ordered {
    /// All of it: what would be bought, and what would be sold.
    BothSides,
    /// The side with the larger product of energy and room to the supplier's other price: what an
    /// order that trades one way can carry, to compare with.
    OneSide,
}

/// The most that the first steps of a curve together, at the limit of the last of them, leave to
/// gain.
fn promise(steps: &Steps, terms: Terms, other: Price) -> i128 {
    let mut quantity = Energy::ZERO;
    let parts = steps.as_slice().iter().filter_map(|step| {
        quantity += step.quantity;
        let room = (step.limit.under(terms)? - other).abs();
        Some(i128::from(room.nano_per_wh()) * i128::from(quantity.wh()))
    });
    parts.max().unwrap_or_default()
}

/// One of the policies' months.
struct Month<'a> {
    slots: &'a [Slot],
    houses: &'a [House],
    terms: &'a [Terms],
    style: Style,
    /// Slots from the ordered one on whose prices are known.
    known: usize,
    ordered: Ordered,
}

impl Month<'_> {
    fn run(&self) -> Vec<Cost> {
        let mut policies: Vec<Policy> =
            self.houses.iter().map(|house| Policy::new(self.wishes(house))).collect();
        let mut costs = vec![Cost::default(); self.houses.len()];
        for (row, &slot) in self.slots.iter().enumerate() {
            if let Some(newest) = row.checked_sub(ORDERED_AHEAD) {
                for (policy, house) in policies.iter_mut().zip(self.houses) {
                    let sun_wh = house.has_sun.then_some(house.sun[newest]);
                    let load_wh = house.load[newest];
                    policy.learn(self.slots[newest], Measured { load_wh, sun_wh });
                }
            }
            self.slot(row, slot, &mut policies, &mut costs);
        }
        self.credit_what_is_left(&mut costs);
        costs
    }

    fn wishes(&self, house: &House) -> Wishes {
        Wishes {
            style: self.style,
            insist_ppm: 0,
            zone: zone(),
            site: None,
            battery: house.battery,
            keep: Vec::new(),
            car: None,
        }
    }

    /// The auction, the delivery and the settlement of a slot.
    fn slot(&self, row: usize, slot: Slot, policies: &mut [Policy], costs: &mut [Cost]) {
        let terms = self.terms[row];
        let ahead = self.slots[row..].iter().zip(slot.number()..).take(self.known);
        let known = ahead.take_while(|(slot, number)| slot.number() == *number).count();
        let mut book = Book::open(slot, terms, Limits::default());
        let mut decisions = Vec::with_capacity(self.houses.len());
        for ((policy, house), (i, cost)) in
            policies.iter_mut().zip(self.houses).zip((0_u8..).zip(&*costs))
        {
            let stored = house.battery.map(|_| (slot, cost.left[0]));
            let terms = &self.terms[row..row + known];
            let decision = policy.decide(&View {
                slot,
                terms,
                stored,
                scheduled: &[],
                car_lacks: None,
                present: None,
            });
            for (side, steps) in self.curves(decision.as_ref(), terms[0]) {
                let (point, node) = (house.point.clone(), Node::ROOT);
                let order = Order { point, node, side, steps, rank: [i; 32] };
                book.place(order).expect("a policy's order is valid");
            }
            decisions.push(decision);
        }
        let clearing = clear(&book, None);
        let mut metered = Vec::with_capacity(self.houses.len());
        for ((house, cost), decision) in self.houses.iter().zip(&mut *costs).zip(decisions) {
            let net = Energy::from_wh(house.load[row] - house.sun[row]);
            let filled = |side| clearing.filled(&house.point, side);
            let scheduled = filled(Side::Buy) - filled(Side::Sell);
            cost.traded += scheduled.abs();
            let [mut with, mut alone] = [net; 2];
            if let Some(battery) = &house.battery {
                let standing = decision.and_then(|decision| decision.battery);
                let charged = standing.map_or_else(
                    || battery.serve_house(cost.left[0], net),
                    |standing| standing.charge(cost.left[0], net, scheduled),
                );
                cost.left[0] = battery.after(cost.left[0], charged);
                with += charged;
                let charged = battery.serve_house(cost.left[1], net);
                cost.left[1] = battery.after(cost.left[1], charged);
                alone += charged;
            }
            cost.same_flows += at_supplier(terms, with);
            cost.alone[row / 672] += at_supplier(terms, alone);
            let flow = market::Flow {
                import: with.max(Energy::ZERO),
                export: (-with).max(Energy::ZERO),
                produced: None,
            };
            let (point, renewable) = (house.point.clone(), house.has_sun);
            metered.push(Metered { point, rank: [0; 32], renewable, flow: Some(flow) });
        }
        let settlement = settle(&clearing, terms, &metered, &[]).expect("settles");
        for (house, cost) in self.houses.iter().zip(costs) {
            let bill = settlement.bill(&house.point).expect("everybody has one");
            cost.street[row / 672] += bill.charges.amount;
        }
    }

    /// What goes into the book of a decision.
    fn curves(&self, decision: Option<&Decision>, terms: Terms) -> Vec<(Side, Steps)> {
        let Some(Decision { buy, sell, .. }) = decision else { return Vec::new() };
        let bid = buy.clone().map(|steps| (Side::Buy, steps, terms.feed_in()));
        let ask = sell.clone().map(|steps| (Side::Sell, steps, terms.retail()));
        let mut curves: Vec<_> = bid.into_iter().chain(ask).collect();
        if self.ordered == Ordered::OneSide {
            curves.sort_by_key(|(side, steps, other)| {
                (std::cmp::Reverse(promise(steps, terms, *other)), *side)
            });
            curves.truncate(1);
        }
        curves.into_iter().map(|(side, steps, _)| (side, steps)).collect()
    }

    /// What is in a battery at the end is worth what selling it brings.
    fn credit_what_is_left(&self, costs: &mut [Cost]) {
        let feed_in = self.terms.last().expect("slots").feed_in();
        for (house, cost) in self.houses.iter().zip(costs) {
            let Some(battery) = house.battery else { continue };
            let out = |store: Store| {
                let wh = store.energy().wh() * battery.efficiency_out_ppm / 1_000_000;
                Energy::from_wh(wh) * feed_in
            };
            let [street, alone] = cost.left.map(out);
            cost.street[3] += -street;
            cost.same_flows += -street;
            cost.alone[3] += -alone;
        }
    }
}

fn euro(money: Money) -> String {
    let cents = money.nano() / 10_000_000;
    format!("{}{}.{:02}", if cents < 0 { "-" } else { "" }, cents.abs() / 100, cents.abs() % 100)
}

/// For every household, every tariff and every policy the month in the street costs at most what
/// it costs alone.
///
/// *The same:* load, roof, battery with its losses, prices. *Alone:* the battery serves the house, all
/// else is the supplier's. *In the street:* the policy orders with what was known then, the book
/// clears, the battery answers the real load, the market's own settlement bills the real meters.
/// What is left in the battery is credited to both at what selling it brings.
///
/// Why it holds. At given flows a trade costs nobody more than the supplier's prices do as far as
/// it is delivered, and what is not delivered is settled between the supplier's prices: a policy can
/// lose on a slot only by what its forecast misses, times the distance of the price from the
/// supplier's less favourable one. That is little where the price lies near that one, and where it does
/// not the delivered part gains more. A battery's schedule can lose by foresight: it buys for a
/// need that does not come. Over single weeks it does (the table counts them: energy carried from one week
/// into the next counts there, too), over the month it must not.
#[test]
fn no_policy_makes_a_household_worse_off_over_the_month() {
    let scenario = scenario();
    let slots = slots(&scenario);
    let houses = houses(&scenario, &slots);
    let price = |e5: i32| Price::from_e5_per_kwh(e5.into());
    let tariffs: Vec<(String, Vec<Terms>)> = scenario
        .tariffs
        .iter()
        .map(|tariff| {
            let prices = tariff.retail_e5.iter().zip(&tariff.feed_in_e5);
            let terms = prices.map(|(&r, &f)| Terms::new(price(r), price(f)).expect("on the tick"));
            (tariff.name.clone(), terms.collect())
        })
        .collect();
    assert_eq!(tariffs.len(), 4);
    let runs = [
        (Style::Passive, "passive", 1, Ordered::BothSides),
        (Style::Ladder, "ladder", 1, Ordered::BothSides),
        (Style::Ladder, "ladder, one side", 1, Ordered::OneSide),
        (Style::Battery, "battery, prices of a day known", 96, Ordered::BothSides),
        (Style::Battery, "battery, one side", 96, Ordered::OneSide),
        (Style::Battery, "battery, prices expected", 1, Ordered::BothSides),
    ];
    let tables: Vec<Vec<Vec<Cost>>> = thread::scope(|scope| {
        let (slots, houses) = (&slots, &houses);
        let threads: Vec<_> = tariffs
            .iter()
            .map(|(_, terms)| {
                scope.spawn(move || {
                    let run = |(style, _, known, ordered)| {
                        Month { slots, houses, terms, style, known, ordered }.run()
                    };
                    runs.into_iter().map(run).collect()
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    });
    println!(
        "tariff  policy                              alone   in the street   least gain  worse weeks   traded kWh"
    );
    let mut losers = Vec::new();
    for ((tariff, _), runs_of) in tariffs.iter().zip(&tables) {
        for ((_, name, ..), costs) in runs.iter().zip(runs_of) {
            let gains = costs.iter().map(|cost| sum(cost.alone) - sum(cost.street));
            let weeks = costs.iter().flat_map(|cost| cost.alone.into_iter().zip(cost.street));
            println!(
                "{tariff:7} {name:31} {:>9} {:>15} {:>12} {:>5} of {} {:>12}",
                euro(costs.iter().map(|cost| sum(cost.alone)).sum()),
                euro(costs.iter().map(|cost| sum(cost.street)).sum()),
                euro(gains.clone().min().expect("houses")),
                weeks.filter(|(alone, street)| street > alone).count(),
                4 * costs.len(),
                traded(costs).wh() / 1_000,
            );
            for ((house, cost), gain) in houses.iter().zip(costs).zip(gains) {
                if gain < Money::ZERO || sum(cost.street) > cost.same_flows {
                    losers.push(format!("{tariff}, {name}: {} loses {gain}", house.point));
                }
            }
        }
    }
    assert!(losers.is_empty(), "{losers:#?}");
    both_sides_trade_more(&tariffs, &tables);
}

/// An order of one side leaves out trades with every tariff. Without batteries that moves money between
/// neighbours only: flows and supplier stay. A battery's plan gains by it or, where its foresight
/// errs, loses; over the tariffs it gains.
fn both_sides_trade_more(tariffs: &[(String, Vec<Terms>)], tables: &[Vec<Vec<Cost>>]) {
    let mut gain = Money::ZERO;
    for ((tariff, _), runs_of) in tariffs.iter().zip(tables) {
        let street = |run: usize| runs_of[run].iter().map(|cost| sum(cost.street)).sum::<Money>();
        for (both, one) in [(1, 2), (3, 4)] {
            assert!(traded(&runs_of[both]) > traded(&runs_of[one]), "{tariff}");
        }
        assert_eq!(street(1), street(2), "{tariff}: the same flows");
        gain += street(4) - street(3);
    }
    assert!(gain > Money::ZERO, "{gain}");
}

fn traded(costs: &[Cost]) -> Energy {
    costs.iter().map(|cost| cost.traded).sum()
}
