//! Sharing rules and legal keys by hand: a small street in tables.

use std::collections::{BTreeMap, BTreeSet};

use market::sharing::{
    Allocation, Hour, HourLength, Inside, Key, Keys, Levels, Period, Premium, Quarter, Rounds,
    Rule, Scale, SharingFault, Trade, allocate, overlay, roll_up, share, trades,
};
use market::{Account, Balances, Metered, Reason, Side, Transfer};
use units::{Money, PointId, Price};

use crate::settlement::{clearing, metered, missing};
use crate::street::{SLOT, e5, point, rank, terms, wh};

/// Two roofs and three flats; ties go by letter.
fn street() -> Vec<Metered> {
    let mut street = vec![
        metered("A", 0, 1_000),
        metered("B", 0, 500),
        metered("C", 300, 0),
        metered("D", 900, 0),
        metered("E", 600, 0),
    ];
    for (number, one) in (0..).zip(&mut street) {
        one.rank = rank(number);
    }
    street
}

fn points(names: &str) -> Vec<PointId> {
    names.chars().map(point).collect()
}

fn fixed(parts: &[(char, u32)], rounds: u8) -> Key {
    let keys = parts.iter().map(|&(name, part)| (point(name), part)).collect();
    let keys = Keys::new(keys).expect("a million parts");
    Key::Static { keys, rounds: Rounds::new(rounds).expect("few rounds") }
}

fn groups(groups: &[(&str, &str)]) -> market::sharing::Groups {
    let named = groups.iter().map(|&(name, members)| (name.to_owned(), points(members))).collect();
    market::sharing::Groups::new(named).expect("disjoint")
}

/// `A -30 C 10`: what everybody gives (negative) and takes.
fn text(allocation: &Allocation) -> String {
    let line = |line: &market::sharing::Allocated| {
        let wh = (line.taken - line.given).wh();
        (wh != 0).then(|| format!("{} {wh}", line.point))
    };
    allocation.lines.iter().filter_map(line).collect::<Vec<_>>().join(" ")
}

fn pairs_text(trades: &[Trade]) -> String {
    let pair = |t: &Trade| format!("{}{} {}", t.producer, t.consumer, t.energy.wh());
    trades.iter().map(pair).collect::<Vec<_>>().join(" ")
}

fn trade(producer: &str, consumer: &str, energy: i64) -> Trade {
    Trade { producer: point(producer), consumer: point(consumer), energy: wh(energy) }
}

#[test]
fn every_key_allocates_as_by_hand() {
    let check = |name: &str, key: &Key, expected: &str, pairs: &str| {
        let allocation = allocate(key, SLOT, &street(), &[]).expect(name);
        assert_eq!(text(&allocation), expected, "{name}");
        assert_eq!(pairs_text(&allocation.pairs()), pairs, "{name}");
    };
    check("none", &Key::None, "", "");
    // 1500 of 1800 wanted: everybody five sixths.
    check(
        "pro rata",
        &Key::ProRata,
        "A -1000 B -500 C 250 D 750 E 500",
        "AC 167 AD 500 AE 333 BC 83 BD 250 BE 167",
    );
    // C is offered 750 and needs 300, D 375, E 375; what C leaves goes to the grid.
    let keys = [('C', 500_000), ('D', 250_000), ('E', 250_000)];
    check(
        "one round",
        &fixed(&keys, 1),
        "A -700 B -350 C 300 D 375 E 375",
        "AC 200 AD 250 AE 250 BC 100 BD 125 BE 125",
    );
    // 450 again, D and E half each: E needs 225 more exactly.
    check(
        "two rounds",
        &fixed(&keys, 2),
        "A -1000 B -500 C 300 D 600 E 600",
        "AC 200 AD 400 AE 400 BC 100 BD 200 BE 200",
    );
    let levels = Levels::new(vec![points("E"), points("C")]).expect("each once");
    check(
        "cascade: E, then C, then the others",
        &Key::Cascade { levels },
        "A -1000 B -500 C 300 D 600 E 600",
        "AC 200 AD 400 AE 400 BC 100 BD 200 BE 200",
    );
    // A's house first: C is full, 700 left there; B's house: D takes all 500; then D and E share
    // A's 700 as 400 to 600.
    let tiers = vec![groups(&[("first house", "AC"), ("second house", "BD")])];
    check(
        "hierarchical",
        &Key::Hierarchical { tiers },
        "A -1000 B -500 C 300 D 780 E 420",
        "AC 300 AD 280 AE 420 BD 500",
    );
}

#[test]
fn pairs_follow_the_market_as_far_as_the_meters_go() {
    let traded = [trade("A", "C", 600), trade("A", "D", 600), trade("B", "D", 100)];
    let check = |then: Key, expected: &str, pairs: &str| {
        let key = Key::Pairs { then: Box::new(then) };
        let allocation = allocate(&key, SLOT, &street(), &traded).expect("sound");
        assert_eq!(text(&allocation), expected);
        assert_eq!(pairs_text(&allocation.pairs()), pairs);
    };
    // A sold 1200 and gave 1000: 500 each. C needs 300 of its 500.
    check(Key::None, "A -800 B -100 C 300 D 600", "AC 300 AD 500 BD 100");
    // 200 of A's and 400 of B's are left for 300 of D's and 600 of E's.
    check(Key::ProRata, "A -1000 B -500 C 300 D 800 E 400", "AC 300 AD 567 AE 133 BD 233 BE 267");
}

#[test]
fn an_auction_is_taken_apart_into_pairs() {
    let fills =
        [("A", Side::Sell, 70), ("B", Side::Sell, 30), ("C", Side::Buy, 55), ("D", Side::Buy, 45)];
    let ranked = |point: &PointId| rank(u64::from(point.as_str().as_bytes()[0]));
    let pairs = trades(&clearing(Some(20_000), &fills), ranked);
    // 38.5 and 16.5, of which the half goes to A.
    assert_eq!(pairs_text(&pairs), "AC 39 AD 31 BC 16 BD 14");
    assert_eq!(trades(&clearing(None, &[]), ranked), []);
}

#[test]
fn who_has_no_meter_neither_gives_nor_takes() {
    let mut street = street();
    street[2] = missing("C");
    let keys = fixed(&[('C', 500_000), ('D', 250_000), ('E', 250_000)], 1);
    let allocation = allocate(&keys, SLOT, &street, &[]).expect("sound");
    // C's part of 750 stays with the producers: it is not the others' to take.
    assert_eq!(text(&allocation), "A -500 B -250 D 375 E 375");
    assert_eq!(allocation.missing, [point("C")]);
    let all = allocate(&Key::ProRata, SLOT, &street, &[]).expect("sound");
    assert_eq!(text(&all), "A -1000 B -500 D 900 E 600");
    let shares = share(Rule::MidMarket, SLOT, terms(30_000, 10_000), &street, None).expect("sound");
    assert_eq!(shares.missing, [point("C")]);
    assert_eq!(shares.of(&point("C")), None);
}

#[test]
fn coefficients_add_up_and_print() {
    let mut street = street();
    street.push(metered("F", 1, 0));
    let keys = fixed(&[('C', 333_333), ('D', 333_333), ('F', 333_334)], 1);
    let allocation = allocate(&keys, SLOT, &street, &[]).expect("sound");
    assert_eq!(text(&allocation), "A -534 B -267 C 300 D 500 F 1");
    let of = allocation.coefficients(Scale::Millionths).expect("there is export");
    let parts: Vec<String> = of
        .parts
        .iter()
        .map(|(point, part)| format!("{point} {}", of.scale.decimal(*part)))
        .collect();
    assert_eq!(parts, ["C 0.200000", "D 0.333333", "F 0.000667"]);
    assert_eq!(of.scale.decimal(of.rest), "0.466000");
    let pairs = allocation.pair_coefficients(Scale::Billionths);
    assert_eq!(pairs.len(), 2);
    for producer in &pairs {
        let sum: i64 = producer.of.parts.iter().map(|(_, part)| part).sum();
        assert_eq!(sum + producer.of.rest, 1_000_000_000, "{}", producer.producer);
    }
    let night = [metered("A", 5, 0)];
    let nothing = allocate(&Key::ProRata, SLOT, &night, &[]).expect("sound");
    assert_eq!(nothing.coefficients(Scale::Millionths), None);
    assert_eq!(Scale::Billionths.decimal(1_000_000_000), "1.000000000");
}

/// Nano-currency by point.
fn amounts(rule: Rule, retail: i64, feed_in: i64, key: &Key) -> Vec<(String, i64)> {
    let allocation = allocate(key, SLOT, &street(), &[]).expect("sound");
    let terms = terms(retail, feed_in);
    let shares = share(rule, SLOT, terms, &street(), Some(&allocation)).expect("sound");
    let paid: Money = shares.shares.iter().map(market::sharing::Share::amount).sum();
    assert_eq!(paid, shares.supplier());
    let row = |share: &market::sharing::Share| (share.point.to_string(), share.amount().nano());
    shares.shares.iter().map(row).collect()
}

#[test]
fn allocated_energy_has_the_price_that_was_agreed() {
    let check = |rule: Rule, prices: (i64, i64), key: &Key, expected: [i64; 5]| {
        let table = amounts(rule, prices.0, prices.1, key);
        let nano: Vec<i64> = table.iter().map(|(_, nano)| *nano).collect();
        assert_eq!(nano, expected, "{rule:?}");
    };
    let at = |price: i64| Rule::Allocated { price: Inside::Fixed(e5(price)) };
    let key = fixed(&[('C', 500_000), ('D', 250_000), ('E', 250_000)], 1);
    // A gives 700 inside at 12 ct and 300 at 10 ct; D takes 375 at 12 ct and 525 at 30 ct.
    let cents = |a: i64, b: i64, c: i64, d: i64, e: i64| [a, b, c, d, e].map(|x| x * 10_000);
    let expected = cents(
        -(700 * 12 + 300 * 10),
        -(350 * 12 + 150 * 10),
        300 * 12,
        375 * 12 + 525 * 30,
        375 * 12 + 225 * 30,
    );
    check(at(12_000), (30_000, 10_000), &key, expected);
    // A price nobody would agree on counts as the supplier's.
    assert_eq!(
        amounts(at(90_000), 30_000, 10_000, &key),
        amounts(Rule::None, 30_000, 10_000, &key)
            .into_iter()
            .map(|(name, nano)| {
                let given = if name == "A" {
                    700
                } else if name == "B" {
                    350
                } else {
                    0
                };
                (name, nano - given * 20 * 10_000)
            })
            .collect::<Vec<_>>()
    );
    let middle = Rule::Allocated { price: Inside::Middle };
    let all =
        cents(-1_000 * 20, -500 * 20, 250 * 20 + 50 * 30, 750 * 20 + 150 * 30, 500 * 20 + 100 * 30);
    check(middle, (30_000, 10_000), &Key::ProRata, all);
    check(Rule::MidMarket, (30_000, 10_000), &Key::None, all);
}

#[test]
fn supply_demand_has_its_ends_and_stays_between_them_below_zero() {
    let check = |retail: i64, feed_in: i64, import: i64, export: i64, buy: i64, sell: i64| {
        let street = [metered("A", 0, export), metered("B", import, 0)];
        let terms = terms(retail, feed_in);
        let shares = share(Rule::SupplyDemand, SLOT, terms, &street, None).expect("sound");
        let published = shares.published().expect("one price");
        assert_eq!((published.buy_e9, published.sell_e9), (buy * 10_000, sell * 10_000));
    };
    check(30_000, 10_000, 100, 100, 10_000, 10_000);
    check(30_000, 10_000, 100, 200, 10_000, 10_000);
    // k = 1/2: 300/(20/2 + 10) = 15 ct, and half at retail.
    check(30_000, 10_000, 100, 50, 22_500, 15_000);
    check(30_000, 0, 100, 50, 15_000, 0);
    // A straight line from 30 to -10 ct, however little below zero.
    check(30_002, -2, 100, 50, 22_501, 15_000);
    check(30_000, -10_000, 100, 50, 20_000, 10_000);
    check(-10_000, -30_000, 100, 50, -15_000, -20_000);
}

#[test]
fn a_period_publishes_its_exact_bills_rounded_once() {
    let street = [metered("A", 1, 0), metered("B", 3, 0), metered("C", 28, 0), metered("D", 0, 1)];
    let mut period = Period::default();
    period.add(SLOT, terms(1, 0), &street).expect("sound");
    // 31 Wh at 10 nano, shared by 32 Wh: 9687.5, 29062.5 and 271250 of 10⁻¹² currency.
    let bills = period.bills(|_| rank(0)).expect("adds up");
    let exact: Vec<i128> = bills.iter().map(|bill| bill.exact_e12).collect();
    assert_eq!(exact, [9_688, 29_062, 271_250, 0]);
    let billed: Vec<i64> = bills.iter().map(|bill| bill.amount.nano()).collect();
    assert_eq!(billed, [10, 29, 271, 0]);
    period.add(SLOT.next(), terms(1, 0), &[missing("A")]).expect("sound");
    assert_eq!(period.missing(), [(SLOT.next(), point("A"))]);
}

#[test]
fn rules_that_need_more_say_so() {
    let street = street();
    let terms = terms(30_000, 10_000);
    let check = |rule: Rule, text: &str| {
        let fault = share(rule, SLOT, terms, &street, None).expect_err(text);
        assert!(fault.to_string().contains(text), "{fault}");
    };
    check(Rule::Auction, "settle the slot");
    check(Rule::BillSharing { per: market::sharing::Per::Period }, "Period");
    check(Rule::Allocated { price: Inside::Middle }, "allocation");
    let twice = [metered("A", 1, 0), metered("A", 1, 0)];
    let fault = share(Rule::None, SLOT, terms, &twice, None).expect_err("twice");
    assert_eq!(fault, SharingFault::DuplicatePoint { point: point("A") });
    let fault = allocate(&Key::ProRata, SLOT, &[metered("A", -1, 0)], &[]).expect_err("negative");
    assert!(matches!(fault, SharingFault::ImpossibleEnergy { name: "import", .. }));
    let fault =
        allocate(&Key::Pairs { then: Box::new(Key::None) }, SLOT, &street, &[trade("A", "X", 1)]);
    let key = Key::Pairs { then: Box::new(Key::None) };
    let negative = allocate(&key, SLOT, &street, &[trade("A", "C", -1)]).expect_err("negative");
    assert!(matches!(negative, SharingFault::ImpossibleEnergy { name: "traded energy", .. }));
    let what = "a trade";
    assert_eq!(fault, Err(SharingFault::UnknownPoint { point: point("X"), what }));
    let other = allocate(&Key::ProRata, SLOT, &[metered("A", 0, 1)], &[]).expect("sound");
    let rule = Rule::Allocated { price: Inside::Middle };
    assert!(share(rule, SLOT, terms, &street, Some(&other)).is_err(), "of other meters");
    let huge: Vec<Metered> = (0..11).map(|i| metered(format!("P{i}"), 10_000_000_000, 0)).collect();
    let fault = share(Rule::MidMarket, SLOT, terms, &huge, None).expect_err("too much");
    assert!(matches!(fault, SharingFault::OutOfRange { what: "import", .. }), "{fault}");
}

#[test]
fn the_market_stands_on_top_of_another_allocation() {
    // The grid operator counts by fixed parts; the community settles at the middle.
    let key = fixed(&[('C', 500_000), ('D', 250_000), ('E', 250_000)], 1);
    let legal = allocate(&key, SLOT, &street(), &[]).expect("sound");
    let terms = terms(30_000, 10_000);
    let market = share(Rule::MidMarket, SLOT, terms, &street(), None).expect("sound");
    let both = overlay(terms, &legal, &market.transfers()).expect("sound");
    // 450 Wh stayed unallocated and cost 20 ct each.
    assert_eq!(both.shortfall, Money::from_nano(450 * 200_000));
    assert_eq!(both.supplier, market.supplier() + both.shortfall);
    let balances = Balances::of(&both.transfers()).expect("sound transfers");
    assert_eq!(balances.of_account(&Account::Pool), Money::ZERO);
    assert_eq!(balances.of_account(&Account::Supplier), both.supplier);
    for (line, share) in both.lines.iter().zip(&market.shares) {
        let paid = Money::ZERO - balances.of_account(&Account::Household(line.point.clone()));
        assert_eq!(paid, line.market + line.shortfall);
        assert!(paid <= share.alone(terms), "{line:?}");
    }
    // C gained 250 Wh at 10 ct of 3000 Wh at 10 ct: a twelfth of the shortfall.
    assert_eq!(both.lines[2].shortfall, Money::from_nano(450 * 200_000 / 12));
    let household = |name: &str| Account::Household(point(name));
    let moved = |debit: Account, credit: Account| {
        let (slot, amount, reason) = (SLOT, Money::from_nano(1), Reason::Purchase);
        Transfer { slot, debit, credit, amount, reason }
    };
    let check = |added: &[Transfer], text: &str| {
        let posted = [&market.transfers(), added].concat();
        let fault = overlay(terms, &legal, &posted).expect_err(text);
        assert!(fault.to_string().contains(text), "{fault}");
    };
    let around = [moved(household("X"), Account::Pool), moved(Account::Pool, household("C"))];
    check(&around, "X has a market amount");
    check(&around[1..], "leaves the pool empty");
    check(&[moved(household("C"), Account::Supplier)], "no part of a market's slot");
    check(&[moved(household("C"), household("D"))], "no part of a market's slot");
    // Somebody without a meter is paid out of nothing.
    let street = [metered("A", 10, 0), missing("M")];
    let legal = allocate(&Key::ProRata, SLOT, &street, &[]).expect("sound");
    let alone = share(Rule::None, SLOT, terms, &street, None).expect("sound");
    let mut posted = alone.transfers();
    let (debit, credit) = (Account::Pool, household("M"));
    let (amount, reason) = (Money::from_nano(5), Reason::Sale);
    posted.push(Transfer { slot: SLOT, debit, credit, amount, reason });
    let fault = overlay(terms, &legal, &posted).expect_err("out of nothing");
    assert!(matches!(fault, SharingFault::NotConserved { .. }), "{fault}");
}

#[test]
fn what_an_allocation_saves_is_the_members() {
    // Nobody trades, but the grid operator allocates: that is worth the middle to both sides.
    let legal = allocate(&Key::ProRata, SLOT, &street(), &[]).expect("sound");
    let terms = terms(30_000, 10_000);
    let alone = share(Rule::None, SLOT, terms, &street(), None).expect("sound");
    let both = overlay(terms, &legal, &alone.transfers()).expect("sound");
    assert_eq!(both.shortfall, Money::from_nano(-1_500 * 200_000));
    let middle = share(Rule::MidMarket, SLOT, terms, &street(), None).expect("sound");
    for (line, share) in both.lines.iter().zip(&middle.shares) {
        assert_eq!(line.residual + line.difference, share.amount(), "{line:?}");
    }
    // The other way round, all that a market assumed is lost, and everybody is alone.
    let nothing = allocate(&Key::None, SLOT, &street(), &[]).expect("sound");
    let both = overlay(terms, &nothing, &middle.transfers()).expect("sound");
    for (line, share) in both.lines.iter().zip(&middle.shares) {
        assert_eq!(line.residual + line.difference, share.alone(terms), "{line:?}");
    }
}

#[test]
fn an_allocation_at_inverted_prices_is_carried_by_those_it_names() {
    let legal = allocate(&Key::ProRata, SLOT, &street(), &[]).expect("sound");
    let inverted = terms(4_000, 4_640);
    let market = share(Rule::MidMarket, SLOT, inverted, &street(), None).expect("sound");
    assert_eq!(
        market.amounts(),
        share(Rule::None, SLOT, inverted, &street(), None).expect("sound").amounts()
    );
    let both = overlay(inverted, &legal, &market.transfers()).expect("sound");
    assert_eq!(both.shortfall, Money::from_nano(1_500 * 6_400));
    let parts: Vec<i64> = both.lines.iter().map(|line| line.shortfall.nano()).collect();
    assert_eq!(parts, [3_200_000, 1_600_000, 800_000, 2_400_000, 1_600_000]);
}

fn hours_of(length: HourLength, quarters: &[(i64, Vec<Metered>)]) -> Vec<Hour> {
    let quarters: Vec<Quarter> = quarters
        .iter()
        .map(|(offset, metered)| Quarter { slot: SLOT.offset(*offset), metered })
        .collect();
    roll_up(length, &quarters).expect("in order")
}

#[test]
fn hours_share_more_than_their_quarters_and_name_what_is_missing() {
    let noon = |import, export| vec![metered("A", 0, export), metered("B", import, 0)];
    let quarters = [(0, noon(100, 0)), (1, noon(0, 150)), (2, noon(100, 0)), (3, noon(0, 30))];
    let hours = hours_of(HourLength::Hour, &quarters);
    assert_eq!(hours.len(), 1);
    assert_eq!((hours[0].injected, hours[0].withdrawn), (wh(180), wh(200)));
    assert_eq!(hours[0].shared(), Some(wh(180)));
    let halves = hours_of(HourLength::HalfHour, &quarters);
    let shared: Vec<_> = halves.iter().map(Hour::shared).collect();
    assert_eq!(shared, [Some(wh(100)), Some(wh(30))]);

    // One quarter is absent, one meter silent in another.
    let mut gap = vec![quarters[0].clone(), quarters[1].clone(), quarters[3].clone()];
    gap[1].1[1] = missing("B");
    let hours = hours_of(HourLength::Hour, &gap);
    assert_eq!(hours[0].shared(), None);
    assert_eq!(hours[0].at_least(), wh(100));
    assert_eq!(hours[0].absent, [SLOT.offset(2)]);
    let missing: Vec<_> = hours[0].points.iter().map(|point| point.missing.clone()).collect();
    assert_eq!(missing, [vec![SLOT.offset(2)], vec![SLOT.offset(1), SLOT.offset(2)]]);
    let premium = Premium { price: Price::from_e5_per_kwh(12_000), producers_ppm: 400_000 };
    let nothing = hours[0].premium(premium).expect("in range");
    assert!(nothing.iter().all(|(_, amount)| amount.is_zero()), "not before it is known");

    // Hours are those of the clock, not of the first quarter.
    let across = hours_of(HourLength::Hour, &[(3, noon(5, 5)), (4, noon(7, 7))]);
    assert_eq!(across.iter().map(|hour| hour.first).collect::<Vec<_>>(), [SLOT, SLOT.offset(4)]);
    let late = noon(1, 1);
    let unordered = [(4, &late), (4, &late)]
        .map(|(offset, metered)| Quarter { slot: SLOT.offset(offset), metered });
    let fault = roll_up(HourLength::Hour, &unordered).expect_err("twice");
    assert!(matches!(fault, SharingFault::OutOfOrder { .. }));
}

#[test]
fn a_premium_is_divided_to_the_last_unit() {
    let hour =
        vec![metered("A", 0, 90), metered("B", 0, 10), metered("C", 30, 0), metered("D", 40, 0)];
    let quarters: Vec<(i64, Vec<Metered>)> = (0..4).map(|i| (i, hour.clone())).collect();
    let hours = hours_of(HourLength::Hour, &quarters);
    assert_eq!(hours[0].shared(), Some(wh(280)));
    let check = |price: i64, producers_ppm: u32, expected: [i64; 4]| {
        let premium = Premium { price: Price::from_nano_per_wh(price), producers_ppm };
        let shares = hours[0].premium(premium).expect("in range");
        let nano: Vec<i64> = shares.iter().map(|(_, amount)| amount.nano()).collect();
        assert_eq!(nano, expected);
        assert_eq!(nano.iter().sum::<i64>(), 280 * price);
    };
    check(100, 500_000, [12_600, 1_400, 6_000, 8_000]);
    check(1, 1_000_000, [252, 28, 0, 0]);
    check(1, 0, [0, 0, 120, 160]);
    for (price, ppm) in [(-1, 0), (1, 1_000_001)] {
        let premium = Premium { price: Price::from_nano_per_wh(price), producers_ppm: ppm };
        assert!(hours[0].premium(premium).is_err());
    }
}

#[test]
fn keys_that_cannot_be_right_are_refused() {
    let members: BTreeSet<PointId> = points("ABCDE").into_iter().collect();
    let sharing = |rule: Rule, key: Key| market::sharing::Sharing { rule, key };
    let check = |value: market::sharing::Sharing, text: &str| {
        let fault = value.check(&members).expect_err(text);
        assert!(fault.to_string().contains(text), "{fault}");
    };
    check(sharing(Rule::Allocated { price: Inside::Middle }, Key::None), "the key is \"none\"");
    check(sharing(Rule::Auction, fixed(&[('X', 1_000_000)], 1)), "names X");
    let pairs = |then: Key| Key::Pairs { then: Box::new(then) };
    check(sharing(Rule::Auction, pairs(pairs(Key::None))), "by pairs");
    check(sharing(Rule::Auction, pairs(fixed(&[('X', 1_000_000)], 1))), "names X");
    let levels = Levels::new(vec![points("AX")]).expect("once");
    check(sharing(Rule::None, Key::Cascade { levels }), "names X");
    let tiers = vec![groups(&[("g", "AX")])];
    check(sharing(Rule::None, Key::Hierarchical { tiers }), "names X");
    let good = sharing(Rule::Allocated { price: Inside::Middle }, fixed(&[('A', 1_000_000)], 8));
    assert_eq!(good.check(&members), Ok(()));

    let keys: BTreeMap<PointId, u32> = [(point('A'), 999_999)].into();
    assert!(Keys::new(keys).expect_err("short").to_string().contains("add up to 999999"));
    for rounds in [0, 9] {
        assert!(Rounds::new(rounds).is_err());
    }
    assert!(Levels::new(vec![points("AB"), points("A")]).is_err());
    assert!(market::sharing::Groups::new([("g".to_owned(), points("AA"))].into()).is_err());
}

#[cfg(feature = "serde")]
#[test]
fn a_community_writes_its_rule_down() {
    use market::sharing::{Per, Sharing};
    let read = |text: &str| toml::from_str::<Sharing>(text);
    let round_trip = |text: &str, expected: Sharing| {
        assert_eq!(read(text).expect(text), expected);
        let written = toml::to_string(&expected).expect("written");
        assert_eq!(read(&written).expect(&written), expected);
    };
    round_trip("", Sharing { rule: Rule::Auction, key: Key::None });
    round_trip(
        "rule = { bill-sharing = { per = \"period\" } }\nkey = \"pro-rata\"",
        Sharing { rule: Rule::BillSharing { per: Per::Period }, key: Key::ProRata },
    );
    round_trip(
        "rule = { allocated = { price = { fixed = 150_000 } } }\n\
         [key.static]\nrounds = 3\nkeys = { A = 250_000, B = 750_000 }",
        Sharing {
            rule: Rule::Allocated { price: Inside::Fixed(e5(15_000)) },
            key: fixed(&[('A', 250_000), ('B', 750_000)], 3),
        },
    );
    round_trip(
        "rule = \"supply-demand\"\nkey = { cascade = { levels = [[\"A\"], [\"B\", \"C\"]] } }",
        Sharing {
            rule: Rule::SupplyDemand,
            key: Key::Cascade {
                levels: Levels::new(vec![points("A"), points("BC")]).expect("once"),
            },
        },
    );
    round_trip(
        "[[key.hierarchical.tiers]]\n\"No 3\" = [\"A\", \"B\"]\n\"No 5\" = [\"C\"]",
        Sharing {
            rule: Rule::Auction,
            key: Key::Hierarchical { tiers: vec![groups(&[("No 3", "AB"), ("No 5", "C")])] },
        },
    );
    round_trip(
        "key = { pairs = { then = \"pro-rata\" } }",
        Sharing { rule: Rule::Auction, key: Key::Pairs { then: Box::new(Key::ProRata) } },
    );
    let refused = |text: &str, reason: &str| {
        let fault = read(text).expect_err(reason);
        assert!(fault.to_string().contains(reason), "{fault}");
    };
    refused("rule = \"lottery\"", "unknown variant `lottery`");
    refused("ruel = \"auction\"", "unknown field `ruel`");
    refused(
        "[key.static]\nkeys = { A = 1_000_000 }\nround = 2",
        "unexpected keys in table: round, available keys: keys, rounds",
    );
    refused("[key.static]\nkeys = { A = 900_000 }", "add up to 900000");
    refused("[key.static]\nkeys = { A = 1_000_000 }\nrounds = 9", "1 to 8");
    refused("[key.static]\nkeys = { \"A/B\" = 1_000_000 }", "metering point id");
    refused("key = { cascade = { levels = [[\"A\"], [\"A\"]] } }", "A is named twice");
    refused("[[key.hierarchical.tiers]]\nx = [\"A\"]\ny = [\"A\"]", "A is named twice");
}
