//! Whatever a household goes through, its orders are valid and its battery stays within bounds.

use market::{Book, Limits, Node, Order, Side, Steps, Terms};
use meter_agent::core::forecast::Measured;
use meter_agent::core::limits::{Keep, Ready};
use meter_agent::core::policy::{Battery, Car, Policy, Store, Style, View, Wishes};
use meter_agent::core::zone::Zone;
use proptest::prelude::*;
use units::{Energy, PointId, Price, Slot};

fn wh(value: i64) -> Energy {
    Energy::from_wh(value)
}

/// What happens in a slot: load, sun, retail and feed-in in ticks, whether it is measured, and which
/// part of the order is filled, in percent.
type Quarter = (i64, i64, i64, i64, bool, i64);

fn quarter() -> impl Strategy<Value = Quarter> {
    (
        prop_oneof![0..2_000_i64, Just(0), 0..5_000_000_i64],
        prop_oneof![0..3_000_i64, Just(0)],
        -5_000..40_000_i64,
        -5_000..40_000_i64,
        prop::bool::weighted(0.9),
        0..=100_i64,
    )
}

fn battery() -> impl Strategy<Value = Battery> {
    (1..20_000_i64, 0..4_000_i64, 0..4_000_i64, 500_000..=1_000_000_i64, 0..30_000_i64).prop_map(
        |(capacity, charge, discharge, ppm, wear)| Battery {
            capacity: wh(capacity),
            charge: wh(charge),
            discharge: wh(discharge),
            efficiency_in_ppm: ppm,
            efficiency_out_ppm: 1_500_000 - ppm.max(500_000),
            wear: Price::from_nano_per_wh(wear),
        },
    )
}

fn wishes(style: Style, insist_ppm: i64, battery: Option<Battery>, keep: bool) -> Wishes {
    let keep = keep.then(|| Keep::parse("40 % from 6:00 until 22:00").expect("clear"));
    Wishes {
        style,
        insist_ppm,
        zone: Zone::parse("Europe/Berlin").expect("known"),
        site: None,
        battery,
        keep: keep.into_iter().collect(),
        car: Some(Car {
            capacity: wh(40_000),
            charge: wh(2_750),
            ready: vec![Ready::parse("full by 7:00").expect("clear")],
        }),
    }
}

fn total(steps: Option<&Steps>) -> Energy {
    steps.map_or(&[][..], Steps::as_slice).iter().map(|step| step.quantity).sum()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(120) })]

    #[test]
    fn orders_are_valid_and_the_battery_stays_within_its_bounds(
        quarters in prop::collection::vec(quarter(), 1..140),
        style in prop_oneof![Just(Style::Passive), Just(Style::Ladder), Just(Style::Battery)],
        insist_ppm in 0..=1_000_000_i64,
        battery in prop::option::of(battery()),
        keep: bool, known in 1..97_usize, behind in 0..3_i64, filled in 0..=100_i64,
    ) {
        let mut policy = Policy::new(wishes(style, insist_ppm, battery, keep));
        let zone = Zone::parse("Europe/Berlin").expect("known");
        let price = Price::from_e5_per_kwh;
        let terms: Vec<Terms> = quarters
            .iter()
            .map(|&(_, _, retail, feed_in, ..)| Terms::new(price(retail), price(feed_in)).expect("on the tick"))
            .collect();
        let capacity = battery.map_or(Energy::ZERO, |battery| battery.capacity);
        let mut store = Store::of(wh(capacity.wh() * filled / 100));
        let mut lacks = wh(30_000);
        for (row, &(load_wh, sun, .., is_measured, part)) in quarters.iter().enumerate() {
            let slot = Slot::new(1_612_896 + i64::try_from(row).expect("small"));
            let view = View {
                slot,
                terms: &terms[row..(row + known).min(terms.len())],
                stored: battery.map(|_| (slot.offset(-behind), store)),
                scheduled: &[],
                car_lacks: Some(lacks),
                present: Some(wh(100)),
            };
            let decision = policy.decide(&view).expect("at least the present power is known");
            let mut book = Book::open(slot, terms[row], Limits::default());
            for (side, steps) in [(Side::Buy, &decision.buy), (Side::Sell, &decision.sell)] {
                if let Some(steps) = steps.clone() {
                    let point = PointId::new("P1").expect("an id");
                    let order = Order { point, node: Node::ROOT, side, steps, rank: [0; 32] };
                    prop_assert_eq!(book.place(order), Ok(None), "{:?}", decision);
                }
            }
            prop_assert!((Energy::ZERO..=wh(2_750)).contains(&decision.car));
            lacks = (lacks - decision.car).max(Energy::ZERO);
            let bought = wh(total(decision.buy.as_ref()).wh() * part / 100);
            let sold = wh(total(decision.sell.as_ref()).wh() * (100 - part) / 100);
            if let (Some(battery), Some(standing)) = (battery, decision.battery) {
                let charged = standing.charge(store, wh(load_wh - sun), bought - sold);
                prop_assert!((-battery.discharge..=battery.room(store)).contains(&charged));
                let after = battery.after(store, charged);
                let floor = Keep::parse("40 % from 6:00 until 22:00")
                    .expect("clear")
                    .floor(capacity, zone.local(slot))
                    .filter(|_| keep);
                let least = Store::of(floor.unwrap_or_default()).min(store);
                prop_assert!(after >= least && after.energy() <= capacity, "{store:?} {after:?} {floor:?}");
                store = after;
            }
            if is_measured {
                policy.learn(slot, Measured { load_wh, sun_wh: Some(sun) });
            }
        }
    }
}
