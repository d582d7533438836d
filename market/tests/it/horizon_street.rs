//! Plans for small streets: brute force, branches, cars, reserves and voltage.

use market::horizon::{
    Battery, Class, Deferrable, End, Horizon, Method, Offer, PPM, Period, Shortfall, Supply,
    Voltage, Wish, plan,
};
use market::solver::{MicroLp, Simplex};
use market::{Branch, Grid, GridRules, Lot, Node, Side, Tier, TierRule, UNCAPPED};
use proptest::prelude::*;
use units::{Energy, Price, Slot};

use crate::horizon::{check, ct, wh};

const FIRST: Slot = Slot::new(1_612_800);

fn branch(i: usize, parent: u32, cap: Energy, fee: Price) -> Branch {
    let tier = Tier::Street;
    Branch {
        name: format!("L{i}"),
        parent: Node(parent),
        import_cap: cap,
        export_cap: cap,
        fee,
        tier,
    }
}

fn small_battery(node: u32, max: i64, start: i64) -> Battery {
    Battery {
        name: format!("at {node}"),
        node: Node(node),
        charge_cap: wh(2),
        discharge_cap: wh(3),
        min: wh(0),
        max: wh(max),
        start: wh(start),
        charge_ppm: PPM,
        discharge_ppm: PPM,
        wear: ct(1),
        end: End::Value(ct(50)),
        class: Class::Any,
    }
}

/// What one node can earn from `from` Wh in the battery on, by trying everything.
fn best(horizon: &Horizon, t: usize, stored: i64) -> i128 {
    let battery = &horizon.batteries[0];
    let Some(period) = horizon.periods.get(t) else {
        return i128::from(stored) * 50 * 1_000;
    };
    let step = |net: i64| {
        let wear = i128::from(net.abs()) * i128::from(battery.wear.nano_per_wh());
        alone(period, net) - wear + best(horizon, t + 1, stored + net)
    };
    let least = -battery.discharge_cap.wh().min(stored);
    let most = battery.charge_cap.wh().min(battery.max.wh() - stored);
    (least..=most).map(step).max().expect("idling is possible")
}

/// Welfare of one slot at one node that draws `net`: load is dearer than anything, sun is free.
fn alone(period: &Period, net: i64) -> i128 {
    let of = |side| period.offers.iter().filter(move |o| o.lot.side == side).map(|o| o.lot);
    let demand: i64 = of(Side::Buy).map(|lot| lot.quantity.wh()).sum::<i64>() + net;
    let sun: i64 = of(Side::Sell).map(|lot| lot.quantity.wh()).sum();
    let worth: i128 = of(Side::Buy).map(|l| i128::from((l.quantity * l.limit).nano())).sum();
    let root = demand - sun;
    let price = if root > 0 { period.supply.import } else { period.supply.credited() };
    // Sun that would be paid for is curtailed.
    let root = if price < Price::ZERO { root.max(0) } else { root };
    worth - i128::from(root) * i128::from(price.nano_per_wh())
}

fn periods(nodes: u32, slots: usize) -> impl Strategy<Value = Vec<Period>> {
    let load = prop::collection::vec((0..nodes, 1..6_i64), 0..4);
    let sun = prop::collection::vec((0..nodes, 1..8_i64), 0..3);
    let period = (load, sun, 10..40_i64, 0..20_i64).prop_map(|(load, sun, import, below)| {
        let load = load.into_iter().map(|(node, q)| Offer::load(Node(node), wh(q), ct(900)));
        let sun = sun.into_iter().map(|(node, q)| Offer::generation(Node(node), wh(q)));
        let supply = Supply::at(ct(10 * import), ct(10 * (import - below).max(0)));
        Period { supply, offers: load.chain(sun).collect() }
    });
    prop::collection::vec(period, slots)
}

proptest! {
    #[test]
    fn a_small_household_is_planned_as_brute_force_does(
        periods in periods(1, 5), max in 0..6_i64, start in 0..6_i64,
    ) {
        let battery = small_battery(0, max, start.min(max));
        let horizon = Horizon::household(FIRST, periods, vec![battery]);
        let planned = plan(&horizon, &mut Simplex::default(), None).expect("valid");
        check(&horizon, &planned);
        prop_assert!(matches!(planned.method, Method::Lp { .. }), "{:?}", planned.method);
        let best = best(&horizon, 0, horizon.batteries[0].start.wh());
        // 50 tenths of a ct per Wh left: without losses everything is whole, and exact.
        prop_assert_eq!(planned.welfare, best);
    }

    #[test]
    fn a_small_street_is_planned_and_proven_by_either_solver(
        periods in periods(5, 6),
        caps in prop::collection::vec(prop_oneof![2 => Just(UNCAPPED), 3 => (0..12_i64).prop_map(wh)], 4),
        fees in prop::collection::vec((0..6_i64).prop_map(|fee| ct(10 * fee)), 4),
        losses in 900_000..=PPM,
        need in 0..20_i64,
    ) {
        let parents = [0, 1, 1, 0];
        let branches = (0..4).map(|i| branch(i, parents[i], caps[i], fees[i])).collect();
        let mut batteries = vec![small_battery(2, 6, 2), small_battery(4, 5, 0)];
        batteries[0].charge_ppm = losses;
        batteries[1].discharge_ppm = losses;
        let car = Deferrable {
            name: "car".to_owned(), node: Node(3), arrival: 1, departure: 5, need: wh(need),
            cap: wh(4), value: ct(300), penalty: ct(100),
        };
        let grid = Grid::new(branches).expect("a tree");
        let horizon = Horizon {
            first: FIRST, grid, periods, batteries, deferrables: vec![car], voltage: None,
        };
        let own = plan(&horizon, &mut Simplex::default(), None).expect("valid");
        let other = plan(&horizon, &mut MicroLp::default(), None).expect("valid");
        for planned in [&own, &other] {
            check(&horizon, planned);
            prop_assert!(matches!(planned.method, Method::Lp { .. }), "{:?}", planned.method);
            let unmet = planned.deferrables[0].unmet;
            let named = Shortfall::Unmet { name: "car".to_owned(), missing: unmet };
            prop_assert_eq!(unmet.is_positive(), planned.shortfalls.contains(&named));
        }
        prop_assert!(own.welfare <= other.bound.expect("proven"));
        prop_assert!(other.welfare <= own.bound.expect("proven"));
    }
}

#[test]
fn a_car_that_leaves_too_early_is_named() {
    let car = Deferrable {
        name: "C7".to_owned(),
        node: Node::ROOT,
        arrival: 1,
        departure: 3,
        need: wh(9_000),
        cap: wh(2_750),
        value: ct(300),
        penalty: ct(500),
    };
    let period = Period { supply: Supply::at(ct(300), ct(80)), offers: vec![] };
    let mut horizon = Horizon::household(FIRST, vec![period; 4], vec![]);
    horizon.deferrables.push(car);
    let planned = plan(&horizon, &mut Simplex::default(), None).expect("valid");
    check(&horizon, &planned);
    assert_eq!(planned.deferrables[0].energy, [wh(0), wh(2_750), wh(2_750), wh(0)]);
    let missing = wh(3_500);
    assert_eq!(planned.shortfalls, [Shortfall::Unmet { name: "C7".to_owned(), missing }]);
}

#[test]
fn a_reserve_is_filled_up_and_a_target_out_of_reach_is_named() {
    let period = Period { supply: Supply::at(ct(300), ct(80)), offers: vec![] };
    let mut battery = small_battery(0, 10, 1);
    (battery.min, battery.end) = (wh(4), End::Target(wh(9)));
    let horizon = Horizon::household(FIRST, vec![period; 3], vec![battery]);
    let planned = plan(&horizon, &mut Simplex::default(), None).expect("valid");
    check(&horizon, &planned);
    let stored: Vec<Energy> =
        planned.batteries[0].iter().map(market::horizon::Step::stored).collect();
    assert_eq!(stored, [wh(3), wh(5), wh(7)]);
    let missing = wh(2);
    let named = Shortfall::BelowReserve { name: "at 0".to_owned(), slot: FIRST.offset(2), missing };
    assert_eq!(planned.shortfalls, [named]);
}

#[test]
fn a_negative_price_does_not_burn_energy_in_a_battery() {
    let period = |e5| Period {
        supply: Supply::at(Price::from_e5_per_kwh(e5), Price::from_e5_per_kwh(e5)),
        offers: vec![],
    };
    let mut battery = super::horizon::battery();
    battery.start = wh(9_900);
    let horizon = Horizon::household(
        FIRST,
        vec![period(-9_000), period(-9_000), period(20_000)],
        vec![battery],
    );
    let planned = plan(&horizon, &mut Simplex::default(), None).expect("valid");
    check(&horizon, &planned);
    assert!(planned.batteries[0].iter().all(|s| s.charge.is_zero() || s.discharge.is_zero()));
}

fn network() -> feeder::Network {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../sim-grid/scenarios/semiurb4");
    feeder::Network::read(|name| std::fs::File::open(format!("{root}/{name}"))).expect("a network")
}

fn with_voltage(low: f64, high: f64) -> (feeder::Network, Horizon) {
    let network = network();
    let free = TierRule { fee: ct(1), loss_ppm: 0 };
    let rules = GridRules {
        building: TierRule::default(),
        street: free,
        transformer: free,
        substation: free,
        loss_price: Price::ZERO,
        power_factor_ppm: 1_000_000,
        margin_ppm: 0,
    };
    let (grid, _) = Grid::from_network(&network, &rules).expect("a grid");
    let voltage = Voltage::of_network(&network, (low, high), 0.2, ct(100_000)).expect("in range");
    // Sun at the far ends, much more than the street takes.
    let periods = (0..3_i64).map(|t| {
        let offers = grid.nodes().skip(2).flat_map(|node| {
            let sun = wh(900 + 10 * i64::from(node.0) + 100 * t);
            [Offer::load(node, wh(40), ct(900)), Offer::generation(node, sun)]
        });
        Period { supply: Supply::at(ct(300), ct(80)), offers: offers.collect() }
    });
    let periods = periods.collect();
    let far = Node(u32::try_from(grid.size() - 1).expect("few"));
    let mut battery = super::horizon::battery();
    battery.node = far;
    let horizon = Horizon {
        first: FIRST,
        grid,
        periods,
        batteries: vec![battery],
        deferrables: vec![],
        voltage: Some(voltage),
    };
    (network, horizon)
}

/// Squared voltages of a plan's slot by the feeder's own linear power flow.
fn voltages(network: &feeder::Network, flows: &[Energy]) -> Vec<f64> {
    let mut powers = vec![feeder::BusPower::default(); network.buses().len()];
    for (i, branch) in network.branches().iter().enumerate() {
        let kw = f64::from(i32::try_from(flows[i + 1].wh()).expect("a street")) * 4.0 / 1_000.0;
        powers[branch.child].p_kw += kw;
        powers[branch.parent].p_kw -= kw;
    }
    for power in &mut powers {
        power.q_kvar = 0.2 * power.p_kw;
    }
    network.lin_dist(&powers).expect("finite").vm_pu
}

#[test]
fn voltage_limits_curtail_the_sun_and_agree_with_the_linear_power_flow() {
    let (network, wide) = with_voltage(0.5, 2.0);
    let free = plan(&wide, &mut Simplex::default(), None).expect("valid");
    check(&wide, &free);
    let highest = |plan: &market::horizon::Plan| {
        let all = plan.periods.iter().flat_map(|dispatch| voltages(&network, &dispatch.flows));
        all.fold(0.0, f64::max)
    };
    let above = highest(&free);
    let voltage = wide.voltage.as_ref().expect("set");
    let kw: Vec<f64> = free.periods[0]
        .flows
        .iter()
        .map(|f| f64::from(i32::try_from(f.wh()).expect("few")) / 250.0)
        .collect();
    let own = voltage.squared(&wide.grid, &kw).into_iter().skip(1);
    let feeder = voltages(&network, &free.periods[0].flows);
    for (own, branch) in own.zip(network.branches()) {
        assert!((own.sqrt() - feeder[branch.child]).abs() < 1e-9);
    }
    // A limit half way between the source and what the sun would do.
    let limit = f64::midpoint(voltage.source, above);
    let (_, narrow) = with_voltage(0.9, limit);
    let planned = plan(&narrow, &mut Simplex::default(), None).expect("valid");
    check(&narrow, &planned);
    assert!(matches!(planned.method, Method::Lp { .. }), "{:?}", planned.method);
    assert!(planned.welfare < free.welfare);
    assert!(highest(&planned) < limit + 1e-5, "{} above {limit}", highest(&planned));
    assert!(planned.shortfalls.is_empty(), "{:?}", planned.shortfalls);
    // Without a plan the breach is there, and named.
    let late = market::solver::Watched::new(std::time::Duration::ZERO, Simplex::default);
    let standing = plan(&narrow, &mut { late }, None).expect("valid");
    check(&narrow, &standing);
    assert!(standing.shortfalls.iter().any(|s| matches!(s, Shortfall::Voltage { .. })));
}

#[test]
fn what_is_wrong_with_a_horizon_is_said() {
    let period = Period { supply: Supply::at(ct(300), ct(80)), offers: vec![] };
    let good = Horizon::household(FIRST, vec![period], vec![small_battery(0, 5, 1)]);
    let refused = |change: &dyn Fn(&mut Horizon), says: &str| {
        let mut horizon = good.clone();
        change(&mut horizon);
        let refusal = plan(&horizon, &mut Simplex::default(), None).expect_err(says);
        assert!(refusal.to_string().contains(says), "{refusal}");
    };
    let lot = |node, q, limit| Lot { node: Node(node), side: Side::Buy, quantity: wh(q), limit };
    refused(&|h| h.periods.clear(), "0 slots");
    refused(&|h| h.periods[0].offers.push(Offer::plain(lot(3, 1, ct(1)))), "node 3");
    refused(&|h| h.periods[0].offers.push(Offer::plain(lot(0, 0, ct(1)))), "quantity");
    refused(
        &|h| h.periods[0].offers.push(Offer::plain(lot(0, 1, Price::from_nano_per_wh(7)))),
        "tick",
    );
    refused(&|h| h.batteries[0].start = wh(6), "energy at the start");
    refused(&|h| h.batteries[0].charge_ppm = 0, "efficiency");
    refused(&|h| h.batteries[0].wear = ct(-1), "negative");
    let load = Deferrable {
        name: "x".to_owned(),
        node: Node::ROOT,
        arrival: 1,
        departure: 1,
        need: wh(1),
        cap: wh(1),
        value: ct(1),
        penalty: ct(1),
    };
    refused(&|h| h.deferrables.push(load.clone()), "arrives");
}

/// Two streets of one house each below their transformers, a plant at the root.
fn two_streets() -> Grid {
    let transformer =
        |i, parent| Branch { tier: Tier::Transformer, ..branch(i, parent, UNCAPPED, ct(0)) };
    let house = |i, parent| branch(i, parent, UNCAPPED, ct(0));
    Grid::new(vec![transformer(1, 0), house(2, 1), transformer(3, 0), house(4, 3)]).expect("a tree")
}

fn wishes(quantity: i64, node: u32, wish: Option<(Class, i64)>) -> Offer {
    let wish = wish.map(|(class, premium)| Wish { class, premium: ct(premium) });
    Offer { wish, ..Offer::load(Node(node), wh(quantity), ct(900)) }
}

fn sun(quantity: i64, node: u32, class: Class) -> Offer {
    Offer { class, ..Offer::generation(Node(node), wh(quantity)) }
}

#[test]
fn better_classes_count_as_lesser_ones_and_streets_are_apart() {
    let offers = vec![
        sun(100, 2, Class::OwnStreet),
        sun(50, 0, Class::Plant),
        sun(70, 4, Class::Any),
        wishes(60, 2, Some((Class::OwnStreet, 20))),
        wishes(60, 4, Some((Class::OwnStreet, 90))),
        wishes(200, 4, Some((Class::Plant, 10))),
        wishes(40, 4, Some((Class::Green, 30))),
        wishes(500, 2, None),
    ];
    let period = Period { supply: Supply::at(ct(300), ct(80)), offers };
    let horizon =
        Horizon { grid: two_streets(), ..Horizon::household(FIRST, vec![period], vec![]) };
    let planned = plan(&horizon, &mut Simplex::default(), None).expect("valid");
    check(&horizon, &planned);
    let traded = planned.periods[0].attributes.as_ref().expect("asked for");
    // 150 Wh are special: 60 for the own street, 40 at 3 ct as green, the last 50 at 1 ct. The
    // other street has sun, too, but nobody says of which kind.
    let energy: Vec<i64> = traded.energy.iter().map(|e| e.wh()).collect();
    assert_eq!(energy, [100, 50, 0, 60, 0, 50, 40, 0]);
    let premium = |class| traded.premiums.iter().find(|p| p.class == class).map(|p| p.price);
    assert_eq!(premium(Class::Plant), Some(ct(10)));
    assert_eq!(premium(Class::Green), Some(ct(10)));
    assert_eq!(premium(Class::OwnStreet), Some(ct(10)));
}

#[test]
fn a_battery_passes_on_only_what_it_got() {
    let mut battery = small_battery(2, 100, 50);
    (battery.charge_cap, battery.discharge_cap, battery.class) = (wh(80), wh(80), Class::Green);
    battery.end = End::Value(Price::ZERO);
    let noon =
        Period { supply: Supply::at(ct(300), ct(0)), offers: vec![sun(30, 2, Class::Green)] };
    let evening = Period {
        supply: Supply::at(ct(300), ct(0)),
        offers: vec![wishes(70, 2, Some((Class::Green, 50)))],
    };
    let horizon = Horizon {
        grid: two_streets(),
        ..Horizon::household(FIRST, vec![noon, evening], vec![battery])
    };
    let planned = plan(&horizon, &mut Simplex::default(), None).expect("valid");
    check(&horizon, &planned);
    assert_eq!(planned.batteries[0][1].discharge, wh(70));
    let charged = planned.batteries[0][0].charge;
    assert!(charged.is_positive());
    let traded = planned.periods[1].attributes.as_ref().expect("asked for");
    assert_eq!(traded.energy, [charged]);
}
