//! The two-step settlement: a worked example by hand, and conservation on random slots.

use market::{
    Basis, BillFault, Clearing, Fallback, Fill, Flow, Late, Metered, Method, Own, Settlement,
    SettlementFault, Side, Terms, charge, clear, settle,
};
use proptest::prelude::*;
use units::{Energy, Money, Price};

use crate::street::{Draw, SLOT, book_of, draws, e5, point, rank, terms, wh};

pub fn metered(name: impl std::fmt::Display, import: i64, export: i64) -> Metered {
    let flow = Flow { import: wh(import), export: wh(export), produced: None };
    Metered { point: point(name), rank: rank(0), renewable: true, flow: Some(flow) }
}

pub fn missing(name: impl std::fmt::Display) -> Metered {
    Metered { point: point(name), rank: rank(0), renewable: true, flow: None }
}

pub fn clearing(price_e5: Option<i64>, fills: &[(&str, Side, i64)]) -> Clearing {
    let price = price_e5.map(e5);
    let fill = |&(name, side, energy): &(&str, Side, i64)| {
        let (point, price) = (point(name), price.unwrap_or_default());
        Fill { point, side, energy: wh(energy), price }
    };
    let fills: Vec<Fill> = fills.iter().map(fill).collect();
    let bought = fills.iter().filter(|fill| fill.side == Side::Buy).map(|fill| fill.energy).sum();
    Clearing {
        slot: SLOT,
        cleared: bought,
        welfare: 0,
        price,
        interval: price.zip(price),
        fills,
        nodal: None,
        method: Method::Exact(Fallback::NotAsked),
    }
}

fn late(name: &str, slots_ago: i64, import: i64, export: i64, terms: Terms) -> Late {
    let (point, slot) = (point(name), SLOT.offset(-slots_ago));
    Late { point, slot, slots: 1, import: wh(import), export: wh(export), terms }
}

/// 30 ct retail, 10 ct feed-in, traded at 20 ct (200 000 nano-currency per Wh).
pub fn example() -> (Clearing, Terms, Vec<Metered>, Vec<Late>) {
    let fills = [("A", Side::Buy, 1_000), ("B", Side::Buy, 500), ("C", Side::Sell, 1_500)];
    let mut street = vec![
        metered("A", 1_200, 0),
        metered("B", 400, 0),
        metered("C", 0, 1_450),
        metered("D", 0, 300),
        missing("E"),
    ];
    street[1].rank = rank(1); // B and D share 250 Wh as 62.5 : 187.5; D has the smaller rank
    let late = vec![late("E", 2, 70, 5, terms(31_000, 11_000))];
    (clearing(Some(20_000), &fills), terms(30_000, 10_000), street, late)
}

pub fn settled_example() -> Settlement {
    let (clearing, terms, metered, late) = example();
    settle(&clearing, terms, &metered, &late).expect("a sound slot")
}

#[test]
fn a_worked_example_settles_as_by_hand() {
    let settlement = settled_example();
    // Short: A uses 200 more, C delivers 50 less. Long: B uses 100 less, D delivers 300 unsold.
    let Basis { short, long, matched, .. } = settlement.basis;
    assert_eq!((short, long, matched), (wh(250), wh(400), wh(250)));
    // name, import (δ, local, trade, balancing), export likewise, total; nano-currency
    type Row = (&'static str, (i64, i64, i64, i64), (i64, i64, i64, i64), i64);
    let expected: [Row; 5] = [
        ("A", (200, 200, 200_000_000, 40_000_000), (0, 0, 0, 0), 240_000_000),
        ("B", (-100, 62, 100_000_000, -16_200_000), (0, 0, 0, 0), 83_800_000),
        ("C", (0, 0, 0, 0), (50, 50, -300_000_000, 10_000_000), -290_000_000),
        ("D", (0, 0, 0, 0), (-300, 188, 0, -48_800_000), -48_800_000),
        ("E", (0, 0, 0, 0), (0, 0, 0, 0), 70 * 310_000 - 5 * 110_000),
    ];
    let table: Vec<Row> = settlement
        .bills
        .iter()
        .zip(expected)
        .map(|(bill, (name, ..))| {
            assert_eq!(bill.point.as_str(), name);
            let row = |leg: &market::Leg| {
                let (trade, balancing) = (leg.trade.nano(), leg.balancing.nano());
                (leg.deviation.wh(), leg.local.wh(), trade, balancing)
            };
            let charges = &bill.charges;
            (name, row(&charges.import), row(&charges.export), charges.amount.nano())
        })
        .collect();
    assert_eq!(table, expected);

    let totals = settlement.totals;
    assert_eq!((totals.scheduled, totals.import, totals.export), (wh(1_500), wh(1_600), wh(1_750)));
    assert_eq!((totals.local, totals.grid_import, totals.grid_export), (wh(1_600), wh(0), wh(150)));
    assert_eq!((totals.supplied, totals.taken), (wh(0), wh(150)));
    assert_eq!((totals.late_import, totals.late_export), (wh(70), wh(5)));
    assert_eq!((totals.missing, totals.eligible), (1, wh(1_600)));
    let late = 70 * 310_000 - 5 * 110_000;
    assert_eq!(totals.supplier, Money::from_nano(-150 * 100_000 + late));
    assert_eq!(totals.late, Money::from_nano(late));
    assert!(!settlement.bill(&point("E")).expect("E takes part").measured);
    assert!(settlement.bill(&point("F")).is_none());
}

#[test]
fn without_a_trade_neighbours_still_share_at_the_middle() {
    let street = [metered("A", 100, 0), metered("B", 0, 40)];
    let settlement = settle(&clearing(None, &[]), terms(301, 100), &street, &[]).expect("sound");
    let amounts: Vec<i64> =
        settlement.bills.iter().map(|bill| bill.charges.amount.nano()).collect();
    assert_eq!(amounts, [40 * 2_005 + 60 * 3_010, -40 * 2_005]);
}

#[test]
fn where_the_supplier_is_the_better_partner_everything_is_the_suppliers() {
    let street = [metered("A", 100, 0), metered("B", 0, 40)];
    let settlement = settle(&clearing(None, &[]), terms(90, 100), &street, &[]).expect("sound");
    let amounts: Vec<i64> =
        settlement.bills.iter().map(|bill| bill.charges.amount.nano()).collect();
    assert_eq!(amounts, [100 * 900, -40 * 1_000]);
    assert_eq!(settlement.basis.matched, wh(0));
    let totals = settlement.totals;
    assert_eq!((totals.supplied, totals.taken), (wh(100), wh(40)));
    // The energy itself stays in the street all the same.
    assert_eq!((totals.local, totals.grid_import, totals.grid_export), (wh(40), wh(60), wh(0)));
}

#[test]
fn rewards_are_for_renewable_energy_that_neighbours_used() {
    let plant = |name: &str, export: i64, produced: Option<i64>, renewable: bool| {
        let flow = Flow { import: wh(0), export: wh(export), produced: produced.map(wh) };
        Metered { point: point(name), rank: rank(0), renewable, flow: Some(flow) }
    };
    let check = |import: i64, plants: &[Metered], expected: &[i64]| {
        let mut street = vec![metered("Z", import, 0)];
        street.extend_from_slice(plants);
        let settlement =
            settle(&clearing(None, &[]), terms(300, 100), &street, &[]).expect("sound");
        let eligible: Vec<i64> = settlement.bills.iter().map(|bill| bill.eligible.wh()).collect();
        assert_eq!(eligible[..plants.len()], *expected);
    };
    let three = [
        plant("A", 300, None, true),
        plant("B", 100, Some(40), true), // the other 60 come out of a battery that the grid filled
        plant("C", 500, None, false),
    ];
    check(1_000, &three, &[300, 40, 0]);
    check(170, &three, &[150, 20, 0]);
    check(0, &three, &[0, 0, 0]);
    check(1_000, &three[2..], &[0]);
    let mut absent = three.clone();
    absent[0].flow = None;
    check(1_000, &absent, &[0, 40, 0]);
}

#[test]
fn contradicting_inputs_are_refused_by_name() {
    let fill = |name, side, energy| (name, side, energy);
    let pair = [fill("A", Side::Buy, 10), fill("B", Side::Sell, 10)];
    let street = vec![metered("A", 10, 0), metered("B", 0, 10)];
    let good = clearing(Some(200), &pair);
    let refused = |clearing: &Clearing, street: &[Metered], late: &[Late]| {
        settle(clearing, terms(300, 100), street, late).expect_err("contradiction")
    };
    assert!(settle(&good, terms(300, 100), &street, &[]).is_ok());

    let twice = [street.clone(), street.clone()].concat();
    let expected = SettlementFault::DuplicatePoint { point: point("A") };
    assert_eq!(refused(&good, &twice, &[]), expected);
    let expected = SettlementFault::UnknownPoint { point: point("B"), what: "fill" };
    assert_eq!(refused(&good, &street[..1], &[]), expected);
    let stray = late("X", 1, 5, 0, terms(300, 100));
    let expected = SettlementFault::UnknownPoint { point: point("X"), what: "late line" };
    assert_eq!(refused(&good, &street, &[stray]), expected);
    for (ago, slots) in [(-1, 1), (1, 0)] {
        let line = Late { slots, ..late("A", ago, 5, 0, terms(300, 100)) };
        let fault = refused(&good, &street, &[line]);
        assert!(matches!(fault, SettlementFault::ImpossibleLate { .. }), "{fault}");
    }
    let line = late("A", 1, -5, 0, terms(300, 100));
    let fault = refused(&good, &street, &[line]);
    assert_eq!(fault.to_string().split(" of").next(), Some("bill"), "{fault}");

    let odd = clearing(Some(200), &[fill("A", Side::Buy, 10), fill("B", Side::Sell, 9)]);
    let expected = SettlementFault::Unbalanced { bought: wh(10), sold: wh(9) };
    assert_eq!(refused(&odd, &street, &[]), expected);
    let double = clearing(Some(200), &[pair[0], pair[0], pair[1]]);
    let expected = SettlementFault::DuplicateFill { point: point("A"), side: Side::Buy };
    assert_eq!(refused(&double, &street, &[]), expected);
    let negative = clearing(Some(200), &[fill("A", Side::Buy, -10), fill("B", Side::Sell, -10)]);
    let fault = refused(&negative, &street, &[]);
    assert!(matches!(fault, SettlementFault::ImpossibleEnergy { name: "fill", .. }), "{fault}");
    for (import, export) in [(-1, 0), (0, -1), (10_000_000_001, 0), (0, i64::MAX)] {
        let street = [metered("A", import, export), street[1].clone()];
        let fault = refused(&good, &street, &[]);
        assert!(matches!(fault, SettlementFault::ImpossibleEnergy { .. }), "{fault}");
    }
    for price in [Some(99), Some(301)] {
        let fault = refused(&clearing(price, &pair), &street, &[]);
        let outside = matches!(
            fault,
            SettlementFault::Bill { fault: BillFault::PriceOutsideTariff { .. }, .. }
        );
        assert!(outside, "{fault}");
    }
    let fault = refused(&clearing(None, &pair), &street, &[]);
    let no_price = matches!(fault, SettlementFault::Bill { fault: BillFault::NoPrice { .. }, .. });
    assert!(no_price, "{fault}");
}

#[test]
fn a_household_refuses_figures_that_cannot_be_right() {
    let settlement = settled_example();
    let basis = settlement.basis;
    let own = settlement.bill(&point("B")).expect("B takes part").own();
    assert!(charge(&own, &basis, &[]).is_ok());
    let check = |own: Own, basis: Basis, expected: fn(&BillFault) -> bool| {
        let fault = charge(&own, &basis, &[]).expect_err("impossible");
        assert!(expected(&fault), "{fault}");
    };
    let share = |fault: &BillFault| matches!(fault, BillFault::WrongShare { .. });
    // 62.5 Wh is the exact share: 62 and 63 are right, everything else is not.
    let with_share = |local: i64| Own { import_local: wh(local), ..own };
    assert!(charge(&with_share(63), &basis, &[]).is_ok());
    for local in [-1, 0, 61, 64, 100, 101] {
        check(with_share(local), basis, share);
    }
    check(Own { export_local: wh(1), ..own }, basis, share);
    // A whole share is exact: not a Wh more or less.
    let whole = settlement.bill(&point("A")).expect("A takes part").own();
    assert!(charge(&whole, &basis, &[]).is_ok());
    check(Own { import_local: wh(199), ..whole }, basis, share);
    // Less is long in the street than this household alone has.
    let short_of = Basis { short: wh(50), long: wh(50), matched: wh(50), ..basis };
    check(own, short_of, share);
    check(with_share(100), short_of, share);
    let matching = |fault: &BillFault| matches!(fault, BillFault::WrongMatch { .. });
    check(own, Basis { matched: wh(249), ..basis }, matching);
    check(own, Basis { terms: terms(100, 300), price: None, ..basis }, matching);
    check(own, Basis { long: wh(-1), ..basis }, matching);
    let outside = |fault: &BillFault| matches!(fault, BillFault::PriceOutsideTariff { .. });
    check(own, Basis { price: Some(e5(30_001)), ..basis }, outside);
    check(own, Basis { terms: terms(20_000, 20_000), ..basis }, outside);
    check(Own { price: None, ..own }, basis, |f| matches!(f, BillFault::NoPrice { .. }));
    check(Own { price: Some(e5(30_001)), ..own }, basis, outside);
    let negative = |fault: &BillFault| matches!(fault, BillFault::NegativeSurplus { .. });
    check(own, Basis { congestion: Money::from_nano(-1), ..basis }, negative);
    let bounds = |fault: &BillFault| matches!(fault, BillFault::OutOfBounds { .. });
    check(Own { import: wh(-1), ..own }, basis, bounds);
    check(Own { sold: wh(10_000_000_001), ..own }, basis, bounds);
}

#[test]
fn sums_that_agree_with_each_other_must_agree_with_the_bills() {
    let not_conserved = |settlement: &Settlement, sum: &str| {
        let fault = settlement.check().expect_err("tampered");
        let named = matches!(fault, SettlementFault::NotConserved { what, .. } if what == sum);
        assert!(named, "{fault}");
    };
    // More rewards than energy that neighbours used.
    let mut settlement = settled_example();
    settlement.bills[2].eligible += wh(10);
    settlement.totals.eligible += wh(10);
    not_conserved(&settlement, "rewards are for local energy");
    // As much more in as out, where both have the same price.
    let street = [metered("A", 100, 0), metered("B", 0, 40)];
    let mut settlement =
        settle(&clearing(None, &[]), terms(100, 100), &street, &[]).expect("sound");
    let money = wh(7) * e5(100);
    settlement.basis.short += wh(7);
    settlement.basis.long += wh(7);
    settlement.totals.supplied += wh(7);
    settlement.totals.taken += wh(7);
    settlement.totals.retail += money;
    settlement.totals.feed_in += money;
    not_conserved(&settlement, "the short legs add up");
}

#[test]
fn amounts_beyond_the_range_of_money_are_refused() {
    // Ten households at the bounds of energy and price: each bill fits, their sum does not.
    let terms = Terms::new(market::MAX_PRICE, Price::ZERO).expect("at the bound");
    let street: Vec<Metered> = (0..10).map(|i| metered(i, market::MAX_QUANTITY.wh(), 0)).collect();
    assert!(settle(&clearing(None, &[]), terms, &street[..9], &[]).is_ok());
    let fault = settle(&clearing(None, &[]), terms, &street, &[]).expect_err("too much");
    let out = matches!(fault, SettlementFault::Basis(BillFault::OutOfRange { .. }));
    assert!(out, "{fault}");
}

/// A random slot: orders of points P000…, meters near or far from them, and late lines.
#[derive(Debug, Clone)]
pub struct World {
    pub clearing: Clearing,
    pub terms: Terms,
    pub metered: Vec<Metered>,
    pub late: Vec<Late>,
}

pub fn flow() -> impl Strategy<Value = Option<Flow>> {
    let energy = prop_oneof![3 => 0_i64..300, 1 => Just(0), 1 => 0_i64..10_000_000];
    let produced = prop::option::of(0_i64..400);
    let flow = (energy.clone(), energy, produced).prop_map(|(import, export, produced)| Flow {
        import: wh(import),
        export: wh(export),
        produced: produced.map(wh),
    });
    prop::option::weighted(0.85, flow)
}

fn a_late_line(points: usize) -> impl Strategy<Value = Late> {
    let line = (0..points, 0_i64..100, 1_u32..9, 0_i64..1_000, 0_i64..1_000);
    (line, -100_i64..400, -100_i64..400).prop_map(|(line, retail, feed_in)| {
        let (i, ago, slots, import, export) = line;
        let (point, slot) = (point(format_args!("P{i:03}")), SLOT.offset(-ago));
        let terms = terms(retail, feed_in);
        Late { point, slot, slots, import: wh(import), export: wh(export), terms }
    })
}

pub fn world() -> impl Strategy<Value = World> {
    let books = prop_oneof![
        3 => (Just((45, -45)), draws(30, 200)),
        1 => ((-50_i64..50, -50_i64..50).prop_map(|(a, b)| (a.min(b), a.max(b))), Just(vec![])),
    ];
    (books, 1_usize..6).prop_flat_map(|(((retail, feed_in), draws), more)| {
        let points = draws.len() + more;
        let meters = prop::collection::vec((flow(), any::<u64>(), any::<bool>()), points);
        let late = prop::collection::vec(a_late_line(points), 0..6);
        (Just(draws), meters, late).prop_map(move |(draws, meters, late)| {
            let terms = terms(retail, feed_in);
            let metered = meters
                .into_iter()
                .enumerate()
                .map(|(i, (flow, tie, renewable))| {
                    let point = point(format_args!("P{i:03}"));
                    Metered { point, rank: rank(tie), renewable, flow }
                })
                .collect();
            World { clearing: clear(&book_of(terms, &draws), None), terms, metered, late }
        })
    })
}

pub fn settled(world: &World) -> Settlement {
    settle(&world.clearing, world.terms, &world.metered, &world.late).expect("a sound slot")
}

/// The rule again, as one line per leg, to compare with.
fn leg_nano(deviation: i64, local: i64, p_local: i64, terms: Terms) -> i128 {
    let (retail, feed_in) = (terms.retail().nano_per_wh(), terms.feed_in().nano_per_wh());
    let rest = i128::from(deviation.abs() - local);
    let near = i128::from(local) * i128::from(p_local);
    match deviation {
        1.. => near + rest * i128::from(retail),
        _ => -near - rest * i128::from(feed_in),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn money_and_energy_are_conserved(world in world()) {
        let settlement = settled(&world);
        let totals = settlement.totals;
        let (retail, feed_in) = (world.terms.retail(), world.terms.feed_in());
        let on_time = |part: fn(&Flow) -> Energy| -> Energy {
            world.metered.iter().filter_map(|m| m.flow.as_ref()).map(part).sum()
        };
        let (import, export) = (on_time(|f| f.import), on_time(|f| f.export));
        // The supplier's bill follows from the meters alone.
        let (drawn, given) = if retail > feed_in {
            ((import - export).max(wh(0)), (export - import).max(wh(0)))
        } else {
            (import, export)
        };
        let late: Money = world
            .late
            .iter()
            .map(|l| l.import * l.terms.retail() - l.export * l.terms.feed_in())
            .sum();
        prop_assert_eq!((totals.supplied, totals.taken), (drawn, given));
        prop_assert_eq!(totals.supplier, drawn * retail - given * feed_in + late);
        let paid: Money = settlement.bills.iter().map(|bill| bill.charges.amount).sum();
        prop_assert_eq!(paid, totals.supplier);
        prop_assert_eq!(totals.local + totals.grid_import, import);
        prop_assert_eq!(totals.local + totals.grid_export, export);
        prop_assert!(totals.grid_import.is_zero() || totals.grid_export.is_zero());
        prop_assert_eq!(totals.missing, world.metered.iter().filter(|m| m.flow.is_none()).count());
        prop_assert_eq!(settlement.bills.len(), world.metered.len());
    }

    #[test]
    fn every_bill_follows_the_rule(world in world()) {
        let settlement = settled(&world);
        let price = world.clearing.price;
        let middle =
            (world.terms.retail().nano_per_wh() + world.terms.feed_in().nano_per_wh()) / 2;
        let p_local = price.map_or(middle, Price::nano_per_wh);
        for (bill, metered) in settlement.bills.iter().zip(&world.metered) {
            prop_assert_eq!(&bill.point, &metered.point);
            let bought = world.clearing.filled(&bill.point, Side::Buy).wh();
            let sold = world.clearing.filled(&bill.point, Side::Sell).wh();
            let flow = metered.flow;
            let import = flow.map_or(0, |flow| flow.import.wh());
            let export = flow.map_or(0, |flow| flow.export.wh());
            let charges = &bill.charges;
            let nano = i128::from(bought - sold) * i128::from(price.unwrap_or_default().nano_per_wh())
                + leg_nano(import - bought, charges.import.local.wh(), p_local, world.terms)
                + leg_nano(sold - export, charges.export.local.wh(), p_local, world.terms)
                + charges.late.iter().map(|line| i128::from(line.amount.nano())).sum::<i128>();
            prop_assert_eq!(i128::from(charges.amount.nano()), nano);
            // Keeping to the schedule costs nothing beyond it.
            if import == bought && export == sold {
                prop_assert!(charges.import.balancing.is_zero());
                prop_assert!(charges.export.balancing.is_zero());
            }
            // And whoever trades no more than it meters is never worse off than alone.
            if import >= bought && export >= sold {
                let (retail, feed_in) = (world.terms.retail(), world.terms.feed_in());
                let alone = wh(import) * retail - wh(export) * feed_in;
                let late: Money = charges.late.iter().map(|line| line.amount).sum();
                prop_assert!(charges.amount - late <= alone);
            }
        }
    }

    #[test]
    fn a_household_recomputes_its_bill_from_its_own_figures(world in world()) {
        let settlement = settled(&world);
        for (bill, metered) in settlement.bills.iter().zip(&world.metered) {
            let own = Own {
                bought: world.clearing.filled(&bill.point, Side::Buy),
                sold: world.clearing.filled(&bill.point, Side::Sell),
                price: world.clearing.price,
                import: metered.flow.map_or(wh(0), |flow| flow.import),
                export: metered.flow.map_or(wh(0), |flow| flow.export),
                import_local: bill.charges.import.local,
                export_local: bill.charges.export.local,
            };
            let late: Vec<Late> = bill.charges.late.iter().map(|l| l.late.clone()).collect();
            prop_assert_eq!(charge(&own, &settlement.basis, &late), Ok(bill.charges.clone()));
            let mine = world.late.iter().filter(|line| line.point == bill.point).count();
            prop_assert_eq!(late.len(), mine);
        }
    }

    #[test]
    fn the_order_of_meters_decides_nothing(
        (world, metered, late) in world().prop_flat_map(|world| {
            let (metered, late) = (world.metered.clone(), world.late.clone());
            (Just(world), Just(metered).prop_shuffle(), Just(late).prop_shuffle())
        })
    ) {
        let shuffled = World { metered, late, ..world.clone() };
        let (one, other) = (settled(&world), settled(&shuffled));
        prop_assert_eq!(one.basis, other.basis);
        for (a, b) in one.bills.iter().zip(&other.bills) {
            prop_assert_eq!(a.own(), b.own());
            prop_assert_eq!((a.charges.amount, a.eligible), (b.charges.amount, b.eligible));
        }
        prop_assert_eq!(one.totals, other.totals);
    }

    #[test]
    fn rewards_never_exceed_what_was_exported_produced_or_used(world in world()) {
        let settlement = settled(&world);
        let mut green = wh(0);
        for (bill, metered) in settlement.bills.iter().zip(&world.metered) {
            let most = metered.flow.filter(|_| metered.renewable).map_or(wh(0), |flow| {
                flow.produced.map_or(flow.export, |produced| produced.min(flow.export))
            });
            prop_assert!(bill.eligible <= most);
            green += most;
        }
        let totals = settlement.totals;
        prop_assert_eq!(totals.eligible, totals.local.min(green));
    }

    #[test]
    fn a_tampered_settlement_does_not_check(
        world in world(), what in 0_u8..14, pick in any::<prop::sample::Index>(), by in 1_i64..5
    ) {
        let right = settled(&world);
        prop_assert_eq!(right.check(), Ok(()));
        let mut wrong = right.clone();
        let i = pick.index(wrong.bills.len());
        let (energy, money) = (wh(by), Money::from_nano(by));
        let bill = &mut wrong.bills[i];
        match what {
            0 => bill.charges.amount += money,
            1 => bill.charges.import.balancing += money,
            2 => bill.charges.export.trade += money,
            3 => bill.charges.import.metered += energy,
            4 => bill.charges.export.scheduled += energy,
            5 => bill.charges.export.deviation += energy,
            6 => bill.charges.import.local += energy,
            7 => bill.eligible += energy,
            8 => drop(wrong.bills.remove(i)),
            9 => wrong.totals.supplier += money,
            10 => wrong.totals.grid_export += energy,
            11 => wrong.basis.short += energy,
            12 => wrong.basis.matched += energy,
            _ => wrong.totals.missing += 1,
        }
        // A point where nothing happened, now or late, may be left out unnoticed, except for being
        // counted.
        let idle = Own { price: right.bills[i].own().price, ..Own::default() };
        let empty = what == 8
            && right.bills[i].own() == idle
            && right.bills[i].measured
            && right.bills[i].charges.late.iter().all(|line| {
                line.late.import.is_zero() && line.late.export.is_zero()
            });
        prop_assert_eq!(wrong.check().is_ok(), empty, "{:?}", right.bills[i]);
    }
}

#[test]
fn draws_of_the_random_slots_do_trade() {
    // Guards the strategies above: a street in which nothing ever trades would prove nothing.
    let draw = |side, e5| Draw { side, wh: 10, e5, rank: 0 };
    let book = book_of(terms(45, -45), &[draw(Side::Buy, 5), draw(Side::Sell, -5)]);
    assert_eq!(clear(&book, None).cleared, wh(10));
}
