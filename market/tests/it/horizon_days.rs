//! Drawn days of a street: all of them proven, by either solver, and the next slot for little.

use market::horizon::{
    Battery, Class, Deferrable, End, Horizon, Method, Offer, PPM, Period, Plan, Supply, plan,
};
use market::solver::{MicroLp, Simplex, Solver};
use market::{Branch, Grid, Node, Tier, UNCAPPED};
use units::{Energy, Price, Slot};

use crate::horizon::{check, wh};

const HOUSES: i64 = 24;
const SLOTS: i64 = 48;

/// Xorshift: a seed and nothing else.
struct Draws(u64);

impl Draws {
    fn within(&mut self, low: i64, end: i64) -> i64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        let width = u64::try_from(end - low).expect("a range");
        low + i64::try_from((self.0 >> 16) % width).expect("below the width")
    }
}

fn e3(value: i64) -> Price {
    Price::from_e5_per_kwh(value)
}

fn node(i: i64) -> Node {
    Node(u32::try_from(i).expect("a street"))
}

/// A day of half-hours from slot `later` on. Every battery loses something else on its way, so that hardly any
/// energy of the optimum is whole; every eighth branch is too narrow for its neighbourhood.
fn day(seed: u64, later: i64) -> Horizon {
    let mut draws = Draws(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    let branches = (1..=HOUSES).map(|i| {
        let cap = if draws.within(0, 8) == 0 { wh(draws.within(900, 2_000)) } else { UNCAPPED };
        Branch {
            name: format!("L{i}"),
            parent: node(draws.within(0, i)),
            import_cap: cap,
            export_cap: cap,
            fee: e3(10 * draws.within(0, 30)),
            tier: Tier::Street,
        }
    });
    let grid = Grid::new(branches.collect()).expect("a tree");
    let base: Vec<i64> = (0..HOUSES).map(|_| draws.within(100, 300)).collect();
    let roof: Vec<i64> = (0..HOUSES).map(|i| (i % 2) * draws.within(1_500, 4_000)).collect();
    let batteries = (1..=HOUSES).step_by(3).map(|i| Battery {
        name: format!("B{i}"),
        node: node(i),
        charge_cap: wh(2_500),
        discharge_cap: wh(2_500),
        min: wh(500),
        max: wh(draws.within(6_000, 12_000)),
        start: wh(draws.within(500, 6_000)),
        charge_ppm: draws.within(880_000, PPM + 1),
        discharge_ppm: draws.within(880_000, PPM + 1),
        wear: e3(1_000),
        end: End::Value(e3(10_000)),
        class: Class::Any,
    });
    let batteries = batteries.collect();
    let cars = (1..=HOUSES).step_by(5).map(|i| Deferrable {
        name: format!("C{i}"),
        node: node(i),
        arrival: usize::try_from(34 + i % 4 - later).expect("in the evening"),
        departure: usize::try_from(SLOTS).expect("small"),
        need: wh(draws.within(4_000, 9_000)),
        cap: wh(5_500),
        value: e3(40_000),
        penalty: e3(60_000),
    });
    let deferrables = cars.collect();
    let periods = (later..later + SLOTS).map(|t| {
        let mut draws =
            Draws(seed.wrapping_add(u64::try_from(1 + t + 1_000 * later).expect("small")) << 8);
        let hour = t % SLOTS;
        let (load, sun) =
            (if (34..44).contains(&hour) { 240 } else { 110 }, 100 - (hour - 24).pow(2));
        let mut offers = Vec::new();
        for (i, (base, roof)) in (1..).zip(base.iter().zip(&roof)) {
            let mut about = |wh: i64| Energy::from_wh(wh * draws.within(950, 1_051) / 1_000);
            offers.push(Offer::load(node(i), about(base * load / 100), e3(90_000)));
            let sun = about(roof * sun.max(0) / 100);
            if sun.is_positive() {
                offers.push(Offer::generation(node(i), sun));
            }
        }
        let import = if (34..42).contains(&hour) { 36_000 } else { 27_000 };
        Period { supply: Supply::at(e3(import), e3(8_000)), offers }
    });
    let periods = periods.collect();
    let first = Slot::new(1_612_800).offset(later);
    Horizon { first, grid, periods, batteries, deferrables, voltage: None }
}

fn proven(seed: u64, horizon: &Horizon, solver: &mut dyn Solver, last: Option<&Plan>) -> Plan {
    let planned = plan(horizon, solver, last).expect("a valid horizon");
    check(horizon, &planned);
    let by_program = matches!(planned.method, Method::Lp { .. });
    assert!(by_program, "seed {seed}, {}: {:?}", solver.name(), planned.method);
    planned
}

#[test]
fn every_drawn_day_is_proven_and_the_next_slot_takes_a_fraction_of_the_work() {
    let (mut cold, mut rolling) = (0, 0);
    for seed in 1..=8 {
        let (today, later) = (day(seed, 0), day(seed, 1));
        let mut own = Simplex::default();
        let planned = proven(seed, &today, &mut own, None);
        let spent = own.iterations();
        cold += spent;
        let other = proven(seed, &today, &mut MicroLp::default(), None);
        assert!(planned.welfare <= other.bound.expect("proven"), "seed {seed}");
        assert!(other.welfare <= planned.bound.expect("proven"), "seed {seed}");
        proven(seed, &later, &mut own, Some(&planned));
        rolling += own.iterations() - spent;
    }
    assert!(rolling * 6 <= cold, "{rolling} changes of basis after {cold}");
}
