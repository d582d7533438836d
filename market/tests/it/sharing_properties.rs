//! What must hold for every street, key and rule: nothing allocated beyond a meter, nothing lost,
//! nobody paying for another's arithmetic, and no word for the order of the input.

use std::collections::BTreeMap;

use market::sharing::{
    Allocation, Groups, Inside, Key, Keys, Levels, Per, Period, Quarter, Rounds, Rule, Scale,
    Trade, allocate, overlay, roll_up, share, trades,
};
use market::{Account, Balances, Metered, Rank, Terms, post, reposted, settle};
use proptest::prelude::*;
use units::{Energy, Money, PointId};

use crate::settlement::{World, flow, world};
use crate::street::{SLOT, point, rank, terms, wh};

fn name(i: usize) -> PointId {
    point(format_args!("P{i:03}"))
}

fn meters() -> impl Strategy<Value = Vec<Metered>> {
    prop::collection::vec((flow(), any::<u64>()), 1..14).prop_map(|meters| {
        let metered =
            |(i, (flow, tie))| Metered { point: name(i), rank: rank(tie), renewable: true, flow };
        meters.into_iter().enumerate().map(metered).collect()
    })
}

/// Retail above, at and below feed-in; negative ones too.
fn tariff() -> impl Strategy<Value = Terms> {
    (-400_i64..40_000, -400_i64..40_000).prop_map(|(retail, feed_in)| terms(retail, feed_in))
}

/// A partition of the points into at most four parts; some points are in none.
fn parts(points: usize) -> impl Strategy<Value = Vec<Vec<PointId>>> {
    prop::collection::vec(0_usize..5, points).prop_map(|homes| {
        let mut parts = vec![Vec::new(); 4];
        for (i, home) in homes.into_iter().enumerate() {
            if let Some(part) = parts.get_mut(home) {
                part.push(name(i));
            }
        }
        parts
    })
}

fn fixed(points: usize) -> impl Strategy<Value = Key> {
    (prop::collection::vec(0_i64..100, points), 1_u8..5).prop_map(|(mut weights, rounds)| {
        weights[0] += 1;
        let parts = units::split(1_000_000, &weights, |i| i);
        let keys = (0..).zip(parts).map(|(i, part)| (name(i), u32::try_from(part).expect("small")));
        let keys = Keys::new(keys.collect()).expect("a million");
        Key::Static { keys, rounds: Rounds::new(rounds).expect("few") }
    })
}

fn simple_key(points: usize) -> impl Strategy<Value = Key> {
    let groups = |parts: Vec<Vec<PointId>>| {
        let named = parts.into_iter().enumerate().map(|(i, part)| (i.to_string(), part));
        Groups::new(named.collect()).expect("a partition")
    };
    prop_oneof![
        1 => Just(Key::None),
        2 => Just(Key::ProRata),
        3 => fixed(points),
        2 => parts(points).prop_map(|levels| {
            Key::Cascade { levels: Levels::new(levels).expect("a partition") }
        }),
        2 => prop::collection::vec(parts(points).prop_map(groups), 0..3)
            .prop_map(|tiers| Key::Hierarchical { tiers }),
    ]
}

fn key(points: usize) -> impl Strategy<Value = Key> {
    prop_oneof![
        3 => simple_key(points),
        1 => simple_key(points).prop_map(|then| Key::Pairs { then: Box::new(then) }),
    ]
}

fn random_trades(points: usize) -> impl Strategy<Value = Vec<Trade>> {
    let trade = (0..points, 0..points, 1_i64..400).prop_map(|(producer, consumer, energy)| Trade {
        producer: name(producer),
        consumer: name(consumer),
        energy: wh(energy),
    });
    prop::collection::vec(trade, 0..20)
}

/// A slot with its key and trades.
#[derive(Debug, Clone)]
struct Case {
    metered: Vec<Metered>,
    key: Key,
    trades: Vec<Trade>,
    terms: Terms,
}

impl Case {
    fn allocated(&self) -> Allocation {
        allocate(&self.key, SLOT, &self.metered, &self.trades).expect("sound")
    }
}

fn case() -> impl Strategy<Value = Case> {
    meters().prop_flat_map(|metered| {
        let points = metered.len();
        (Just(metered), key(points), random_trades(points), tariff())
            .prop_map(|(metered, key, trades, terms)| Case { metered, key, trades, terms })
    })
}

/// Whether the key goes on until one side is used up.
fn is_dynamic(key: &Key) -> bool {
    match key {
        Key::None | Key::Static { .. } => false,
        Key::Pairs { then } => is_dynamic(then),
        Key::ProRata | Key::Cascade { .. } | Key::Hierarchical { .. } => true,
    }
}

fn sums(metered: &[Metered]) -> (Energy, Energy) {
    let flows = || metered.iter().filter_map(|one| one.flow);
    (flows().map(|flow| flow.import).sum(), flows().map(|flow| flow.export).sum())
}

const METER_RULES: [Rule; 4] =
    [Rule::None, Rule::MidMarket, Rule::SupplyDemand, Rule::BillSharing { per: Per::Interval }];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(250))]

    #[test]
    fn nobody_is_allocated_more_than_was_metered(case in case()) {
        let allocation = case.allocated();
        let (import, export) = sums(&case.metered);
        let mut taken = wh(0);
        for line in &allocation.lines {
            prop_assert!((wh(0)..=line.import).contains(&line.taken), "{:?}", line);
            prop_assert!((wh(0)..=line.export).contains(&line.given), "{:?}", line);
            taken += line.taken;
        }
        prop_assert_eq!(taken, allocation.total);
        prop_assert_eq!(allocation.lines.iter().map(|line| line.given).sum::<Energy>(), taken);
        prop_assert!(taken <= import.min(export));
        if is_dynamic(&case.key) {
            prop_assert_eq!(taken, import.min(export));
        }
        let known = allocation.lines.len() + allocation.missing.len();
        prop_assert_eq!(known, case.metered.len());
    }

    #[test]
    fn pairs_add_up_to_what_was_given_and_taken(case in case()) {
        let allocation = case.allocated();
        let mut sides: BTreeMap<(PointId, bool), Energy> = BTreeMap::new();
        for pair in allocation.pairs() {
            prop_assert!(pair.energy.is_positive());
            *sides.entry((pair.producer, true)).or_default() += pair.energy;
            *sides.entry((pair.consumer, false)).or_default() += pair.energy;
        }
        let side = |point: &PointId, gives| {
            sides.get(&(point.clone(), gives)).copied().unwrap_or_default()
        };
        for line in &allocation.lines {
            prop_assert_eq!(side(&line.point, true), line.given);
            prop_assert_eq!(side(&line.point, false), line.taken);
        }
    }

    #[test]
    fn coefficients_add_up_and_give_the_energy_back(case in case()) {
        let allocation = case.allocated();
        let (_, export) = sums(&case.metered);
        for scale in [Scale::Millionths, Scale::Billionths] {
            let Some(of) = allocation.coefficients(scale) else {
                prop_assert!(export.is_zero());
                continue;
            };
            let sum: i64 = of.parts.iter().map(|(_, part)| part).sum();
            prop_assert_eq!(sum + of.rest, scale.parts());
            for producer in allocation.pair_coefficients(scale) {
                let sum: i64 = producer.of.parts.iter().map(|(_, part)| part).sum();
                prop_assert_eq!(sum + producer.of.rest, scale.parts());
            }
        }
        let of = allocation.coefficients(Scale::Billionths);
        for (point, part) in of.iter().flat_map(|of| &of.parts) {
            let back = (i128::from(*part) * i128::from(export.wh()) + 500_000_000) / 1_000_000_000;
            let taken = allocation.of(point).expect("a line").taken;
            prop_assert_eq!(back, i128::from(taken.wh()));
        }
    }

    #[test]
    fn the_order_of_meters_and_trades_decides_nothing(
        (case, metered, trades) in case().prop_flat_map(|case| {
            let (metered, trades) = (case.metered.clone(), case.trades.clone());
            (Just(case), Just(metered).prop_shuffle(), Just(trades).prop_shuffle())
        })
    ) {
        let shuffled = Case { metered, trades, ..case.clone() };
        let (one, other) = (case.allocated(), shuffled.allocated());
        prop_assert_eq!(&one, &other);
        prop_assert_eq!(one.pairs(), other.pairs());
        let rules = METER_RULES.into_iter().chain([Rule::Allocated { price: Inside::Middle }]);
        for rule in rules {
            let shares = |case: &Case, allocation| {
                share(rule, SLOT, case.terms, &case.metered, Some(allocation)).expect("sound")
            };
            prop_assert_eq!(shares(&case, &one), shares(&shuffled, &other));
        }
    }

    #[test]
    fn members_pay_what_the_supplier_gets(case in case()) {
        let (import, export) = sums(&case.metered);
        let pooled = if case.terms.leave_room() { import.min(export) } else { wh(0) };
        let (retail, feed_in) = (case.terms.retail(), case.terms.feed_in());
        let outside = (import - pooled) * retail - (export - pooled) * feed_in;
        for rule in METER_RULES {
            let shares = share(rule, SLOT, case.terms, &case.metered, None).expect("sound");
            let paid: Money = shares.shares.iter().map(market::sharing::Share::amount).sum();
            prop_assert_eq!(paid, shares.supplier());
            let alone = import * retail - export * feed_in;
            prop_assert_eq!(paid, if rule == Rule::None { alone } else { outside });
            let balances = Balances::of(&shares.transfers()).expect("sound");
            prop_assert_eq!(balances.of_account(&Account::Pool), Money::ZERO);
            prop_assert_eq!(balances.of_account(&Account::Supplier), paid);
            for one in &shares.shares {
                let account = Account::Household(one.point.clone());
                prop_assert_eq!(balances.of_account(&account), Money::ZERO - one.amount());
            }
            let published = shares.published().expect("one price");
            for one in &shares.shares {
                // Half a unit of price per Wh, and less than one of money per side.
                let off = (i128::from(one.amount().nano()) * 1_000
                    - published.amount_e12(one.import, one.export)).abs();
                prop_assert!(off <= 2_000 + i128::from((one.import + one.export).wh()));
                let rational = matches!(rule, Rule::MidMarket | Rule::SupplyDemand | Rule::None);
                prop_assert!(!rational || one.amount() <= one.alone(case.terms), "{:?}", one);
            }
        }
    }

    #[test]
    fn allocated_energy_is_paid_for_inside_and_the_rest_outside(
        case in case(), price in prop::option::of(-400_i64..40_000)
    ) {
        let allocation = case.allocated();
        let price = price.map_or(Inside::Middle, |price| Inside::Fixed(crate::street::e5(price)));
        let rule = Rule::Allocated { price };
        let shares =
            share(rule, SLOT, case.terms, &case.metered, Some(&allocation)).expect("sound");
        let (import, export) = sums(&case.metered);
        let outside = (import - allocation.total) * case.terms.retail()
            - (export - allocation.total) * case.terms.feed_in();
        prop_assert_eq!(shares.supplier(), outside);
        for one in &shares.shares {
            let room = case.terms.leave_room();
            prop_assert!(!room || one.amount() <= one.alone(case.terms), "{:?}", one);
        }
    }

    #[test]
    fn both_ledgers_leave_the_pool_empty_and_nobody_worse_off(case in case()) {
        let legal = case.allocated();
        for rule in METER_RULES {
            let market = share(rule, SLOT, case.terms, &case.metered, None).expect("sound");
            let both = overlay(case.terms, &legal, &market.transfers()).expect("sound");
            let balances = Balances::of(&both.transfers()).expect("sound");
            prop_assert_eq!(balances.of_account(&Account::Pool), Money::ZERO);
            prop_assert_eq!(balances.of_account(&Account::Supplier), both.supplier);
            prop_assert_eq!(both.supplier, market.supplier() + both.shortfall);
            if rule != Rule::None && legal.total == sums(&case.metered).0.min(sums(&case.metered).1) && case.terms.leave_room() {
                prop_assert_eq!(both.shortfall, Money::ZERO);
            }
            for share in &market.shares {
                let account = Account::Household(share.point.clone());
                let paid = Money::ZERO - balances.of_account(&account);
                let alone = share.alone(case.terms);
                // Who gained pays at most the gain for the allocation's shortcomings.
                let most = share.amount().max(alone);
                prop_assert!(!case.terms.leave_room() || paid <= most, "{:?}", share);
            }
        }
    }

    #[test]
    fn an_auction_stands_on_top_of_any_allocation(world in world()) {
        let World { clearing, terms, metered, late } = &world;
        let settlement = settle(clearing, *terms, metered, late).expect("sound");
        let ranks: BTreeMap<&PointId, Rank> =
            metered.iter().map(|one| (&one.point, one.rank)).collect();
        let pairs = trades(clearing, |point| ranks[point]);
        prop_assert_eq!(pairs.iter().map(|pair| pair.energy).sum::<Energy>(), clearing.cleared);
        let posted = post(&settlement).expect("sound");
        for key in [Key::None, Key::ProRata, Key::Pairs { then: Box::new(Key::ProRata) }] {
            let legal = allocate(&key, clearing.slot, metered, &pairs).expect("sound");
            let both = overlay(*terms, &legal, &posted).expect("sound");
            let balances = Balances::of(&both.transfers()).expect("sound");
            prop_assert_eq!(balances.of_account(&Account::Pool), Money::ZERO);
            let supplier = settlement.totals.supplier - settlement.totals.late;
            prop_assert_eq!(both.supplier, supplier + both.shortfall);
            let late = settlement.totals.late;
            prop_assert_eq!(balances.of_account(&Account::Supplier), both.supplier + late);
            for (line, bill) in both.lines.iter().zip(&settlement.bills) {
                let account = Account::Household(bill.point.clone());
                let paid = Money::ZERO - balances.of_account(&account);
                prop_assert_eq!(paid, bill.charges.amount + line.shortfall);
            }
            if key != Key::None && terms.leave_room() {
                prop_assert_eq!(both.shortfall, Money::ZERO);
            }
        }
    }

    #[test]
    fn a_period_shares_one_bill(
        slots in prop::collection::vec((meters(), tariff()), 1..6), seed in any::<u64>()
    ) {
        let mut period = Period::default();
        let mut outside = 0_i128;
        for (i, (metered, terms)) in (0..).zip(&slots) {
            period.add(SLOT.offset(i), *terms, metered).expect("sound");
            let rule = Rule::BillSharing { per: Per::Interval };
            let shares = share(rule, SLOT, *terms, metered, None).expect("sound");
            outside += i128::from(shares.supplier().nano());
        }
        let bills = period.bills(|_| rank(seed)).expect("adds up");
        let paid: i128 = bills.iter().map(|bill| i128::from(bill.amount.nano())).sum();
        prop_assert_eq!(paid, outside);
        let posted: Vec<_> = bills.iter().filter_map(|bill| bill.transfer(SLOT)).collect();
        let pool = Balances::of(&posted).expect("sound").of_account(&Account::Pool);
        prop_assert_eq!(pool, period.supplier().expect("in range"));
        for bill in &bills {
            let off = (i128::from(bill.amount.nano()) * 1_000 - bill.exact_e12).abs();
            prop_assert!(off <= 2_000, "{:?}", bill);
        }
        let mut backwards = Period::default();
        for (i, (metered, terms)) in (0_i64..6).zip(&slots).collect::<Vec<_>>().into_iter().rev() {
            backwards.add(SLOT.offset(i), *terms, metered).expect("sound");
        }
        prop_assert_eq!(backwards.bills(|_| rank(seed)).expect("adds up"), bills);
    }

    #[test]
    fn a_corrected_meter_moves_only_differences_by_any_rule(
        case in case(), pick in any::<prop::sample::Index>(), flow in flow()
    ) {
        let mut corrected = case.clone();
        corrected.metered[pick.index(case.metered.len())].flow = flow;
        let (legal, legal_now) = (case.allocated(), corrected.allocated());
        let rules = METER_RULES.into_iter().chain([Rule::Allocated { price: Inside::Middle }]);
        for rule in rules {
            let posted = |case: &Case, legal: &Allocation| {
                let shares = share(rule, SLOT, case.terms, &case.metered, Some(legal));
                shares.expect("sound").transfers()
            };
            let (before, after) = (posted(&case, &legal), posted(&corrected, &legal_now));
            let moved = reposted(SLOT, 2, &before, &after).expect("sound");
            let pool = Balances::of(&moved).expect("sound").of_account(&Account::Pool);
            prop_assert_eq!(pool, Money::ZERO);
            let both = Balances::of(before.iter().chain(&moved)).expect("sound");
            for (account, balance) in Balances::of(&after).expect("sound").iter() {
                prop_assert_eq!(both.of_account(account), balance);
            }
            prop_assert_eq!(reposted(SLOT, 3, &after, &after), Ok(Vec::new()));
        }
    }

    #[test]
    fn parts_of_a_history_are_everything(cases in prop::collection::vec(case(), 0..5)) {
        let history: Vec<Allocation> = cases.iter().map(Case::allocated).collect();
        let taken: Energy = history.iter().map(|allocation| allocation.total).sum();
        let keys = Keys::of_history(&history);
        prop_assert_eq!(keys.is_some(), taken.is_positive());
        let parts: Option<BTreeMap<PointId, u32>> = keys.map(Into::into);
        if let Some(parts) = parts {
            prop_assert_eq!(parts.values().sum::<u32>(), market::sharing::KEYS_TOTAL);
        }
    }

    #[test]
    fn hours_keep_every_watt_hour_and_name_every_gap(
        slots in prop::collection::btree_map(0_i64..40, meters(), 1..12)
    ) {
        use market::sharing::HourLength::{HalfHour, Hour};
        let quarters: Vec<Quarter> = slots
            .iter()
            .map(|(&i, metered)| Quarter { slot: SLOT.offset(i), metered })
            .collect();
        for length in [HalfHour, Hour] {
            let hours = roll_up(length, &quarters).expect("in order");
            let all = |part: fn(&market::sharing::Hour) -> Energy| hours.iter().map(part).sum();
            let import: Energy = slots.values().map(|metered| sums(metered).0).sum();
            let export: Energy = slots.values().map(|metered| sums(metered).1).sum();
            prop_assert_eq!((import, export), (all(|hour| hour.withdrawn), all(|hour| hour.injected)));
            for hour in &hours {
                let within: Vec<&Quarter> =
                    quarters.iter().filter(|q| length.first(q.slot) == hour.first).collect();
                let given = i64::try_from(within.len()).expect("few");
                let absent = i64::try_from(hour.absent.len()).expect("few");
                prop_assert_eq!(given + absent, length.quarters());
                let least: Energy =
                    within.iter().map(|q| sums(q.metered)).map(|(m, x)| m.min(x)).sum();
                prop_assert!(hour.at_least() >= least);
                for point in &hour.points {
                    let known = within.iter().filter(|quarter| {
                        quarter.metered.iter().any(|one| {
                            one.point == point.point && one.flow.is_some()
                        })
                    });
                    let known = i64::try_from(known.count()).expect("few");
                    let missing = i64::try_from(point.missing.len()).expect("few");
                    prop_assert_eq!(known + missing, length.quarters());
                }
                prop_assert_eq!(hour.shared().is_some(), hour.is_complete());
            }
        }
    }
}

#[test]
fn the_random_cases_do_share() {
    // Guards the strategies above: cases in which nothing is ever shared would prove nothing.
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let (mut shared, mut partly, mut paired) = (0, 0, 0);
    for _ in 0..200 {
        let tree = case().new_tree(&mut runner).expect("a case");
        let case = proptest::strategy::ValueTree::current(&tree);
        let allocation = case.allocated();
        let (import, export) = sums(&case.metered);
        shared += usize::from(allocation.total.is_positive());
        partly +=
            usize::from(allocation.total.is_positive() && allocation.total < import.min(export));
        let follows = matches!(case.key, Key::Pairs { .. }) && !case.trades.is_empty();
        paired += usize::from(follows && allocation.total.is_positive());
    }
    assert!(shared > 80 && partly > 15 && paired > 20, "{shared} {partly} {paired}");
}
