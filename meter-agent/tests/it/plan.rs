//! The battery's own recursion against the market's linear program over time.

use market::Node;
use market::horizon::{
    Battery as Stored, Class, End, Horizon, Method, Offer, Period, Supply, plan,
};
use market::solver::MicroLp;
use meter_agent::core::policy::{Battery, Outlook, Worth};
use proptest::prelude::*;
use units::{Energy, Price, Slot};

const CAP: Price = Price::from_nano_per_wh(900_000);

fn wh(value: i64) -> Energy {
    Energy::from_wh(value)
}

#[expect(clippy::cast_precision_loss, reason = "a household's energy and money")]
fn float(value: i64) -> f64 {
    value as f64
}

/// Load, sun, retail and feed-in price of a slot, in Wh and ticks.
type Quarter = (i64, i64, i64, i64);

fn quarter() -> impl Strategy<Value = Quarter> {
    (0..1_500_i64, 0..2_500_i64, 0..30_000_i64, 0..15_000_i64, any::<bool>()).prop_map(
        |(load, sun, retail, less, is_day)| {
            (load, if is_day { sun } else { 0 }, retail, (retail - less).max(0))
        },
    )
}

/// Both answers to one household's problem: the program's welfare and bound, and the recursion's
/// value with the load's worth added.
fn both(
    quarters: &[Quarter],
    battery: &Battery,
    start: Energy,
    min: Energy,
    end: Price,
) -> [f64; 3] {
    let price = Price::from_e5_per_kwh;
    let periods = quarters.iter().map(|&(load, sun, retail, feed_in)| {
        let mut offers = Vec::new();
        if load > 0 {
            offers.push(Offer::load(Node::ROOT, wh(load), CAP));
        }
        if sun > 0 {
            offers.push(Offer::generation(Node::ROOT, wh(sun)));
        }
        Period { supply: Supply::at(price(retail), price(feed_in)), offers }
    });
    let stored = Stored {
        name: "B1".to_owned(),
        node: Node::ROOT,
        charge_cap: battery.charge,
        discharge_cap: battery.discharge,
        min,
        max: battery.capacity,
        start,
        charge_ppm: battery.efficiency_in_ppm,
        discharge_ppm: battery.efficiency_out_ppm,
        wear: battery.wear,
        end: End::Value(end),
        class: Class::Any,
    };
    let horizon = Horizon::household(Slot::new(1_612_800), periods.collect(), vec![stored]);
    let answer = plan(&horizon, &mut MicroLp::default(), None).expect("a right problem");
    assert!(matches!(answer.method, Method::Lp { .. }), "{:?}", answer.method);
    let slots: Vec<Outlook> = quarters
        .iter()
        .map(|&(load, sun, retail, feed_in)| Outlook {
            net_wh: float(load - sun),
            buy: float(price(retail).nano_per_wh()),
            sell: float(price(feed_in).nano_per_wh()),
            floor_wh: float(min.wh()),
        })
        .collect();
    let worth = Worth::over(battery, &slots, float(min.wh()), float(end.nano_per_wh()));
    let served: i64 = quarters.iter().map(|&(load, ..)| load).sum();
    let exact = worth.at(float(start.wh())) + float((wh(served) * CAP).nano());
    let nano = |value: i128| float(i64::try_from(value).expect("a household's day"));
    [nano(answer.welfare), exact, nano(answer.bound.expect("proven"))]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(24) })]

    #[test]
    fn the_recursion_is_the_linear_program(
        quarters in prop::collection::vec(quarter(), 1..40),
        capacity in 2_000..12_000_i64, charge in 100..1_500_i64, discharge in 100..1_500_i64,
        eta_in in 800_000..1_000_000_i64, eta_out in 800_000..1_000_000_i64,
        wear in 1..2_000_i64, end in 0..20_000_i64, filled in 0..=100_i64, kept in 0..=100_i64,
    ) {
        let battery = Battery {
            capacity: wh(capacity),
            charge: wh(charge),
            discharge: wh(discharge),
            efficiency_in_ppm: eta_in,
            efficiency_out_ppm: eta_out,
            wear: Price::from_e5_per_kwh(wear),
        };
        let start = capacity * filled / 100;
        let min = wh(start * kept / 100);
        let end = Price::from_e5_per_kwh(end);
        let [welfare, exact, bound] = both(&quarters, &battery, wh(start), min, end);
        // The program's plan is in whole Wh: it can miss a Wh's worth per slot.
        let rounding = 300_000.0 * 2.0 * float(i64::try_from(quarters.len()).expect("small"));
        prop_assert!(welfare <= exact + 1.0 && exact <= bound + 1.0, "{welfare} {exact} {bound}");
        prop_assert!(bound - welfare <= rounding, "{welfare} {exact} {bound}");
    }
}
