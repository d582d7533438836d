//! Plans over time: households with batteries, faulty solvers.

use market::horizon::{
    Battery, Class, End, Horizon, Method, Offer, PPM, Period, Plan, Supply, plan,
};
use market::solver::{MicroLp, Patch, Program, ProgramFault, Solver, Status};
use market::{Node, Side};
use units::{Energy, Price, Slot};

pub fn ct(tenths: i64) -> Price {
    Price::from_e5_per_kwh(tenths * 100)
}

pub fn wh(value: i64) -> Energy {
    Energy::from_wh(value)
}

/// 10 kWh, 1.25 kWh per slot, 95 % each way.
pub fn battery() -> Battery {
    Battery {
        name: "B1".to_owned(),
        node: Node::ROOT,
        charge_cap: wh(1_250),
        discharge_cap: wh(1_250),
        min: wh(500),
        max: wh(10_000),
        start: wh(2_000),
        charge_ppm: 950_000,
        discharge_ppm: 950_000,
        wear: ct(1),
        end: End::Value(ct(80)),
        class: Class::Any,
    }
}

fn small(count: usize) -> i64 {
    i64::try_from(count).expect("small")
}

/// A sunny day of one house: `import` per slot in tenths of a ct, export at 8 ct.
pub fn house(import: impl Fn(usize) -> i64, batteries: Vec<Battery>) -> Horizon {
    let periods = (0..96).map(|t| {
        let sun = (1_400 - (small(t) - 50).pow(2)).max(0);
        let load = 200 + small(t * 37 % 50);
        let mut offers = vec![Offer::load(Node::ROOT, wh(load), ct(900))];
        if sun > 0 {
            offers.push(Offer::generation(Node::ROOT, wh(sun)));
        }
        Period { supply: Supply::at(ct(import(t)), ct(80)), offers }
    });
    Horizon::household(Slot::new(1_612_800), periods.collect(), batteries)
}

/// Everything a plan promises, checked from the outside.
pub fn check(horizon: &Horizon, plan: &Plan) {
    for (t, (period, dispatch)) in horizon.periods.iter().zip(&plan.periods).enumerate() {
        let mut net = vec![0; horizon.grid.size()];
        for (offer, &fill) in period.offers.iter().zip(&dispatch.fills) {
            assert!((Energy::ZERO..=offer.lot.quantity).contains(&fill), "slot {t}");
            let sign = if offer.lot.side == Side::Buy { 1 } else { -1 };
            net[offer.lot.node.index()] += sign * fill.wh();
            if let (true, Some(price)) =
                (fill.is_positive(), dispatch.prices[offer.lot.node.index()].price)
            {
                let gain = (offer.lot.limit - price).nano_per_wh() * sign;
                assert!(gain >= 0, "slot {t}: {offer:?} loses at {price}");
            }
        }
        for (battery, steps) in horizon.batteries.iter().zip(&plan.batteries) {
            net[battery.node.index()] += steps[t].net().wh();
        }
        for (load, got) in horizon.deferrables.iter().zip(&plan.deferrables) {
            net[load.node.index()] += got.energy[t].wh();
        }
        for node in horizon.grid.nodes().rev() {
            let flow = dispatch.flows[node.index()];
            assert_eq!(flow.wh(), net[node.index()], "slot {t}, {node}");
            let (most_in, most_out) = match horizon.grid.branch(node) {
                Some(branch) => {
                    net[branch.parent.index()] += flow.wh();
                    (branch.import_cap, branch.export_cap)
                }
                None => (period.supply.import_cap, period.supply.export_cap),
            };
            assert!((-most_out..=most_in).contains(&flow), "slot {t}, {node}: {flow}");
        }
    }
    for (battery, steps) in horizon.batteries.iter().zip(&plan.batteries) {
        // Micro-Wh by the discharge efficiency: every step is a whole number of these.
        let per_given = i128::from(PPM) * i128::from(PPM);
        let [start, charge, discharge] =
            [battery.start.wh(), battery.charge_ppm, battery.discharge_ppm].map(i128::from);
        let mut stored = start * i128::from(PPM) * discharge;
        for (t, step) in steps.iter().enumerate() {
            assert!(step.charge.is_zero() || step.discharge.is_zero(), "slot {t}: both");
            assert!((Energy::ZERO..=battery.charge_cap).contains(&step.charge), "slot {t}");
            assert!((Energy::ZERO..=battery.discharge_cap).contains(&step.discharge), "slot {t}");
            stored += i128::from(step.charge.wh()) * charge * discharge;
            stored -= i128::from(step.discharge.wh()) * per_given;
            assert_eq!(stored.div_euclid(discharge), i128::from(step.stored_uwh), "slot {t}");
            let floor = battery.min.min(battery.start);
            let unit = i128::from(PPM) * discharge;
            assert!(stored <= i128::from(battery.max.wh()) * unit, "slot {t}: {step:?}");
            assert!((floor..=battery.max).contains(&step.stored()), "slot {t}: {step:?}");
        }
    }
    if let Some(bound) = plan.bound {
        assert!(plan.welfare <= bound);
    }
}

#[test]
fn a_battery_keeps_the_sun_for_the_evening() {
    let evening = house(|t| if t > 68 { 360 } else { 280 }, vec![battery()]);
    let planned = plan(&evening, &mut MicroLp::default(), None).unwrap();
    check(&evening, &planned);
    assert!(matches!(planned.method, Method::Lp { .. }), "{:?}", planned.method);
    // Every Wh of the evening comes from the battery, as 8 ct in the sun is all it costs.
    let imported: Vec<i64> = (70..96).map(|t| planned.periods[t].flows[0].wh()).collect();
    assert!(imported.iter().all(|&wh| wh <= 0), "{imported:?}");
    let given: Energy = planned.batteries[0].iter().map(|step| step.discharge).sum();
    assert!(given > wh(1_500), "{given}");
    assert!(planned.shortfalls.is_empty());
}

#[test]
fn nothing_is_gained_at_a_flat_price() {
    let mut flat = house(|_| 80, vec![battery()]);
    flat.batteries[0].end = End::Value(Price::ZERO);
    flat.batteries[0].start = flat.batteries[0].min;
    let planned = plan(&flat, &mut MicroLp::default(), None).unwrap();
    check(&flat, &planned);
    assert!(planned.batteries[0].iter().all(|step| step.net().is_zero()));
}

#[test]
fn a_battery_that_gives_a_little_often_still_gives_all_it_holds() {
    // 740 Wh less 5 % are 703 Wh: 37 a slot for 19 slots, each of them 38.947... Wh of the content,
    // which must not be rounded on the way, or the last Wh is missing.
    let offers = vec![Offer::load(Node::ROOT, wh(37), ct(900))];
    let period = Period { supply: Supply::at(ct(300), ct(80)), offers };
    let mut battery = battery();
    (battery.start, battery.end) = (wh(500 + 740), End::Value(Price::ZERO));
    let horizon = Horizon::household(Slot::new(1_612_800), vec![period; 19], vec![battery]);
    let planned = plan(&horizon, &mut MicroLp::default(), None).unwrap();
    check(&horizon, &planned);
    assert!(planned.batteries[0].iter().all(|step| step.discharge == wh(37)));
    assert_eq!(planned.batteries[0][18].stored_uwh, 500_000_000);
    assert_eq!(planned.bound, Some(planned.welfare));
}

/// Answers with whatever it was told to.
struct Says(Box<dyn Fn(&Program) -> Status>, Program);

impl Solver for Says {
    fn name(&self) -> &str {
        "says"
    }
    fn load(&mut self, program: Program) {
        self.1 = program;
    }
    fn patch(&mut self, patch: &Patch) -> Result<(), ProgramFault> {
        self.1.patch(patch)
    }
    fn solve(&mut self) -> Status {
        (self.0)(&self.1)
    }
}

#[test]
fn wrong_answers_never_become_a_plan() {
    let horizon = house(|t| if t > 68 { 360 } else { 280 }, vec![battery()]);
    let good = plan(&horizon, &mut MicroLp::default(), None).unwrap();
    let idle =
        plan(&house(|t| if t > 68 { 360 } else { 280 }, vec![]), &mut MicroLp::default(), None);
    let check = |name: &str, answer: Box<dyn Fn(&Program) -> Status>| {
        let alone = plan(&horizon, &mut Says(answer, Program::new()), None).unwrap();
        self::check(&horizon, &alone);
        assert!(matches!(alone.method, Method::LastStorage { .. }), "{name}: {:?}", alone.method);
        assert!(alone.bound.is_none() && alone.welfare < good.welfare, "{name}");
        assert!(alone.welfare >= idle.as_ref().unwrap().welfare, "{name}");
    };
    let columns = |program: &Program| program.columns().len();
    check("zeros", Box::new(move |p| Status::Optimal(vec![0.0; columns(p)])));
    check("NaN", Box::new(move |p| Status::Optimal(vec![f64::NAN; columns(p)])));
    check("too few", Box::new(|_| Status::Optimal(vec![])));
    check("huge", Box::new(move |p| Status::Optimal(vec![1e300; columns(p)])));
    check("late", Box::new(|_| Status::Deadline));
    check("infeasible", Box::new(|_| Status::Infeasible));
    check("unbounded", Box::new(|_| Status::Unbounded));
    // The last plan's storage is as good as it was.
    let late = Box::new(|_: &Program| Status::Deadline);
    let kept = plan(&horizon, &mut Says(late, Program::new()), Some(&good)).unwrap();
    assert_eq!(kept.batteries, good.batteries);
    // Without prices to keep, it may serve the Wh that the rounding had left.
    assert!(kept.welfare >= good.welfare);
}
