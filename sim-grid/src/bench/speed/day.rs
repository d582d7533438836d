//! A whole day planned at once: a hundred households with batteries and cars on a feeder.

use market::horizon::{
    Battery, Class, Deferrable, End, Horizon, Method, Offer, Period, Plan, Supply, plan,
};
use market::solver::{MicroLp, Simplex, Solver};
use market::{Grid, Node, radial};
use units::{Energy, Price, Slot};

use super::{Figure, Goal, Unit};
use crate::bench::books::{cap_some, rank, street};
use crate::world::chance::Chance;

const HOUSEHOLDS: u32 = 100;
const SLOTS: usize = 96;
/// Every third household has a battery, every fifth a car, every second a roof.
const BATTERY_EVERY: u32 = 3;
const CAR_EVERY: u32 = 5;
const ROOF_EVERY: u32 = 2;
/// Planning the day from nothing.
const MOST_S: f64 = 5.0;
/// Planning it again a slot later, as a part of that.
const MOST_AGAIN: f64 = 0.1;

/// The day from nothing by each of the default solvers, and a slot later with other forecasts by
/// the one that goes on from where it was.
pub(super) fn measure(seed: u64) -> anyhow::Result<Vec<Figure>> {
    let (today, later) = (problem(seed, 0)?, problem(seed, 1)?);
    let mut figures = by(("own simplex", &mut Simplex::default()), &today, Some(&later))?;
    figures.extend(by(("microlp", &mut MicroLp::default()), &today, None)?);
    Ok(figures)
}

fn by(
    (name, solver): (&str, &mut dyn Solver),
    today: &Horizon,
    later: Option<&Horizon>,
) -> anyhow::Result<Vec<Figure>> {
    tracing::info!("planning a day of {HOUSEHOLDS} households with {name}");
    let started = clock::processor_time();
    let plan_today = plan(today, solver, None)?;
    let spent = clock::processor_time().saturating_sub(started);
    let what = format!("day, {HOUSEHOLDS} households, {name}");
    let day = Figure::new(what, spent.as_secs_f64(), Unit::Seconds, Some(Goal::AtMost(MOST_S)));
    let flaw = flaw(&plan_today);
    let (None, Some(later)) = (&flaw, later) else { return Ok(vec![day.flawed(flaw)]) };
    let started = clock::processor_time();
    let plan_later = plan(later, solver, Some(&plan_today))?;
    let rolling = clock::processor_time().saturating_sub(started);
    let what = format!("  a slot later, +-5 %, {name}");
    let again = Figure::share(what, rolling, ("cold", spent), Some(MOST_AGAIN));
    Ok(vec![day, again.flawed(self::flaw(&plan_later))])
}

/// Why a plan is not the solver's and proven.
fn flaw(plan: &Plan) -> Option<String> {
    match &plan.method {
        Method::LastStorage { because } => Some(because.clone()),
        Method::Lp { .. } if plan.bound.is_none() => Some("the plan is not proven".to_owned()),
        Method::Lp { .. } => None,
    }
}

/// The day that begins `later` slots after the first; every slot later, forecasts move.
fn problem(seed: u64, later: usize) -> anyhow::Result<Horizon> {
    let nodes = HOUSEHOLDS + 1;
    let mut branches = street(nodes, seed);
    let shapes = Shapes::draw(seed);
    let periods: Vec<Period> = (later..later + SLOTS).map(|t| shapes.period(t, later)).collect();
    // Caps where much flows at noon.
    let noon: Vec<_> = shapes.period(SLOTS / 2, 0).offers.iter().map(|offer| offer.lot).collect();
    let supply = radial::Supplier {
        import_price: import_price(SLOTS / 2),
        import_cap: market::UNCAPPED,
        export_price: ct_e3(8_000),
        export_cap: market::UNCAPPED,
    };
    let open = Grid::new(branches.clone())?;
    let free = radial::clear(&noon, &open, Some(&supply), |lot| rank(seed, lot))?;
    cap_some(&mut branches, &free.flows, seed);
    Ok(Horizon {
        first: Slot::new(1_614_528).offset(i64::try_from(later)?),
        grid: Grid::new(branches)?,
        periods,
        batteries: shapes.batteries(),
        deferrables: shapes.cars(later),
        voltage: None,
    })
}

/// What the households are like, drawn once.
struct Shapes {
    seed: u64,
    /// Base load, Wh per slot.
    base: Vec<i64>,
    /// Peak of the roof, Wh per slot; 0 without one.
    roof: Vec<i64>,
}

impl Shapes {
    fn draw(seed: u64) -> Self {
        let mut chance = Chance::new(seed, "bench: households");
        let mut draw = |low, end| i64::try_from(chance.between(low, end)).expect("small");
        let base = (0..HOUSEHOLDS).map(|_| draw(50, 150)).collect();
        let roof = (0..HOUSEHOLDS).map(|i| if i % ROOF_EVERY == 0 { draw(800, 2_000) } else { 0 });
        let roof = roof.collect();
        Self { seed, base, roof }
    }

    /// What is forecast for slot `t` of the day when `seen` slots have passed: within 5 %.
    fn period(&self, t: usize, seen: usize) -> Period {
        let mut chance = Chance::new(self.seed + 1_000 * seen as u64 + t as u64, "bench: forecast");
        let mut about =
            |wh: i64| wh * (950 + i64::try_from(chance.between(0, 101)).expect("small")) / 1_000;
        let mut offers = Vec::new();
        for (i, (&base, &roof)) in self.base.iter().zip(&self.roof).enumerate() {
            let node = Node(u32::try_from(i).expect("a household") + 1);
            let load = about(base * load_percent(t) / 100).max(1);
            offers.push(Offer::load(node, Energy::from_wh(load), ct_e3(90_000)));
            let sun = about(roof * sun_percent(t) / 100);
            if sun > 0 {
                offers.push(Offer::generation(node, Energy::from_wh(sun)));
            }
        }
        Period { supply: Supply::at(import_price(t), ct_e3(8_000)), offers }
    }

    fn batteries(&self) -> Vec<Battery> {
        let battery = |i: u32| Battery {
            name: format!("battery {i}"),
            node: Node(i + 1),
            charge_cap: Energy::from_wh(1_250),
            discharge_cap: Energy::from_wh(1_250),
            min: Energy::from_wh(500),
            max: Energy::from_wh(10_000),
            start: Energy::from_wh(2_000 + i64::from(i) * 40),
            charge_ppm: 950_000,
            discharge_ppm: 950_000,
            wear: ct_e3(1_000),
            end: End::Value(ct_e3(10_000)),
            class: Class::Any,
        };
        (0..HOUSEHOLDS).filter(|i| i % BATTERY_EVERY == 0).map(battery).collect()
    }

    /// Cars that come home in the evening and leave at the end of the day.
    fn cars(&self, later: usize) -> Vec<Deferrable> {
        let car = |i: u32| Deferrable {
            name: format!("car {i}"),
            node: Node(i + 1),
            arrival: 68 + (i as usize / CAR_EVERY as usize) % 8 - later,
            departure: SLOTS,
            need: Energy::from_wh(6_000 + i64::from(i) * 30),
            cap: Energy::from_wh(2_750),
            value: ct_e3(40_000),
            penalty: ct_e3(60_000),
        };
        (0..HOUSEHOLDS).filter(|i| i % CAR_EVERY == 0).map(car).collect()
    }
}

/// 10⁻³ ct/kWh.
fn ct_e3(value: i64) -> Price {
    Price::from_e5_per_kwh(value)
}

/// Cheap at night, dear in the evening.
fn import_price(t: usize) -> Price {
    ct_e3(match t % SLOTS {
        0..24 => 24_000,
        68..84 => 36_000,
        _ => 30_000,
    })
}

/// A morning and an evening.
const fn load_percent(t: usize) -> i64 {
    match t % SLOTS {
        0..24 => 60,
        24..36 => 160,
        68..88 => 240,
        _ => 110,
    }
}

/// A parabola from six to six.
fn sun_percent(t: usize) -> i64 {
    let from_noon = i64::try_from(t % SLOTS).expect("small") - 48;
    (100 - from_noon * from_noon * 100 / 576).max(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drawn_day_is_a_valid_problem_that_moves_with_its_forecasts() {
        let (today, later) = (problem(1, 0).expect("drawn"), problem(1, 1).expect("drawn"));
        for horizon in [&today, &later] {
            horizon.check().expect("every number is in range");
            assert_eq!((horizon.periods.len(), horizon.grid.size()), (96, 101));
            assert_eq!((horizon.batteries.len(), horizon.deferrables.len()), (34, 20));
        }
        assert_eq!(today.grid, later.grid);
        assert_ne!(today.periods[1], later.periods[0]);
    }
}
