//! Wrong answers of a solver, and wrong clearings: nothing false is ever believed.

use market::{
    Clearing, Fallback, Fill, Flaw, LpFault, Method, Node, Proposal, Share, Side, Violation, clear,
    propose,
};
use proptest::prelude::*;
use units::Price;

use crate::street::{Draw, book_of, draws, e5, point, terms, wh, wide_book};

const BUY: Side = Side::Buy;
const SELL: Side = Side::Sell;

fn draw(side: Side, wh: i64, e5: i64) -> Draw {
    Draw { side, wh, e5, rank: 0 }
}

/// 10 Wh wanted at 30 and 5 at 20; 8 offered at 10 and 9 at 20. Clears 15 at 20.
fn example() -> Vec<Draw> {
    vec![draw(BUY, 10, 30), draw(BUY, 5, 20), draw(SELL, 8, 10), draw(SELL, 9, 20)]
}

/// kWh per level from Wh, in the order of the book's levels.
fn proposal(bids: &[(i64, f64)], asks: &[(i64, f64)]) -> Proposal {
    let shares = |side: &[(i64, f64)]| {
        side.iter()
            .map(|&(price, wh)| Share { node: Node::ROOT, price: e5(price), kwh: wh / 1_000.0 })
            .collect()
    };
    Proposal { bids: shares(bids), asks: shares(asks) }
}

#[test]
fn each_wrong_proposal_is_refused_for_its_reason() {
    let right = proposal(&[(30, 10.0), (20, 5.0)], &[(10, 8.0), (20, 7.0)]);
    let with = |change: fn(&mut Proposal)| {
        let mut proposal = right.clone();
        change(&mut proposal);
        proposal
    };
    let out = |side, price, energy, quantity| Flaw::OutOfBounds {
        side,
        price: e5(price),
        energy: wh(energy),
        quantity: wh(quantity),
    };
    let cases = [
        (with(|p| p.bids.clear()), Flaw::OtherLevels { side: BUY }),
        (with(|p| p.asks.push(p.asks[0])), Flaw::OtherLevels { side: SELL }),
        (with(|p| p.asks[1].price = e5(19)), Flaw::OtherLevels { side: SELL }),
        (with(|p| p.bids.reverse()), Flaw::OtherLevels { side: BUY }),
        (with(|p| p.bids[0].kwh = f64::NAN), Flaw::NotANumber { side: BUY, price: e5(30) }),
        (with(|p| p.asks[0].kwh = f64::INFINITY), Flaw::NotANumber { side: SELL, price: e5(10) }),
        (with(|p| p.bids[0].kwh = 0.011), out(BUY, 30, 11, 10)),
        (with(|p| p.bids[1].kwh = -0.001), out(BUY, 20, -1, 5)),
        (with(|p| p.asks[0].kwh = 1e300), out(SELL, 10, 1 << 62, 8)),
        (with(|p| p.asks[1].kwh = 0.006), Flaw::OffBalance { bought: wh(15), sold: wh(14) }),
        (
            proposal(&[(30, 0.0), (20, 0.0)], &[(10, 0.0), (20, 0.0)]),
            Flaw::NotSupported { lowest: e5(30), highest: e5(10) },
        ),
        (
            proposal(&[(30, 9.0), (20, 5.0)], &[(10, 8.0), (20, 6.0)]),
            Flaw::NotSupported { lowest: e5(30), highest: e5(20) },
        ),
        (
            proposal(&[(30, 10.0), (20, 4.0)], &[(10, 8.0), (20, 6.0)]),
            Flaw::NotMaximal { price: e5(20) },
        ),
    ];
    let book = wide_book(&example());
    let expected = clear(&book, None);
    assert_eq!((expected.cleared, expected.price), (wh(15), Some(e5(20))));
    assert_eq!(clear(&book, Some(Ok(right.clone()))).method, Method::Lp);
    for (proposal, flaw) in cases {
        let clearing = clear(&book, Some(Ok(proposal)));
        assert_eq!(clearing.method, Method::Exact(Fallback::Wrong(flaw)));
        assert_eq!(Clearing { method: expected.method.clone(), ..clearing }, expected);
    }
    for fault in [LpFault::Late, LpFault::Solver { detail: "singular matrix".to_owned() }] {
        let clearing = clear(&book, Some(Err(fault.clone())));
        assert_eq!(clearing.method, Method::Exact(Fallback::NoAnswer(fault)));
        assert_eq!(Clearing { method: expected.method.clone(), ..clearing }, expected);
    }
}

#[test]
fn a_program_beyond_the_solver_clears_by_merit_order() {
    let limits = |i: i64| if i % 2 == 0 { (BUY, i) } else { (SELL, -i) };
    let draws: Vec<Draw> =
        (0..100_001).map(limits).map(|(side, limit)| draw(side, 1, limit)).collect();
    let book = book_of(terms(200_000, -200_000), &draws);
    let too_large = LpFault::TooLarge { columns: 100_001 };
    assert_eq!(propose(&book), Err(too_large.clone()));
    let clearing = clear(&book, Some(propose(&book)));
    assert_eq!(clearing.method, Method::Exact(Fallback::NoAnswer(too_large)));
    assert_eq!(clearing.cleared, wh(50_000));
}

#[test]
fn a_trade_at_a_loss_is_refused() {
    let book = wide_book(&[draw(BUY, 5, 10), draw(SELL, 5, 30)]);
    let clearing = clear(&book, Some(Ok(proposal(&[(10, 5.0)], &[(30, 5.0)]))));
    let flaw = Flaw::NotSupported { lowest: e5(30), highest: e5(10) };
    assert_eq!(clearing.method, Method::Exact(Fallback::Wrong(flaw)));
    assert_eq!(clearing.cleared, wh(0));
}

#[test]
fn noise_below_half_a_watt_hour_is_rounded_away() {
    let book = wide_book(&example());
    let noisy = proposal(&[(30, 10.0 - 0.4), (20, 5.3)], &[(10, 8.0 + 1e-7), (20, 7.49)]);
    assert_eq!(clear(&book, Some(Ok(noisy))).method, Method::Lp);
}

#[derive(Debug, Clone)]
enum Mutation {
    Scale(f64),
    Set(prop::sample::Index, f64),
    Move(prop::sample::Index, prop::sample::Index, f64),
    Drop,
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let index = any::<prop::sample::Index>;
    let value = prop_oneof![
        Just(0.0),
        Just(f64::NAN),
        Just(f64::NEG_INFINITY),
        Just(1e18),
        -1.0..1.0_f64,
        0.0..0.2_f64,
    ];
    prop_oneof![
        (0.0..2.0).prop_map(Mutation::Scale),
        (index(), value).prop_map(|(i, value)| Mutation::Set(i, value)),
        (index(), index(), 0.0..0.05).prop_map(|(i, k, kwh)| Mutation::Move(i, k, kwh)),
        Just(Mutation::Drop),
    ]
}

fn mutate(proposal: &mut Proposal, mutation: &Mutation) {
    let count = proposal.bids.len() + proposal.asks.len();
    if count == 0 {
        return;
    }
    let bids = proposal.bids.len();
    let at = |proposal: &mut Proposal, i: usize, change: &dyn Fn(f64) -> f64| {
        let share = if i < bids { &mut proposal.bids[i] } else { &mut proposal.asks[i - bids] };
        share.kwh = change(share.kwh);
    };
    match mutation {
        Mutation::Scale(factor) => (0..count).for_each(|i| at(proposal, i, &|kwh| kwh * factor)),
        Mutation::Set(i, value) => at(proposal, i.index(count), &|_| *value),
        Mutation::Move(i, k, kwh) => {
            at(proposal, i.index(count), &|old| old - kwh);
            at(proposal, k.index(count), &|old| old + kwh);
        }
        Mutation::Drop => drop(proposal.bids.pop().or_else(|| proposal.asks.pop())),
    }
}

/// Changes to a clearing; fills are changed so that the two sides often still balance.
fn tampered(clearing: &Clearing, i: usize, k: usize, by: i64, what: u8) -> Clearing {
    let mut clearing = clearing.clone();
    let fills = clearing.fills.len();
    match what {
        0 => clearing.slot = clearing.slot.next(),
        1 => clearing.cleared += wh(by),
        2 => clearing.welfare += i128::from(by),
        3 => clearing.price = clearing.price.map(|price| price + e5(by)),
        4 => clearing.price = None,
        5 => clearing.interval = clearing.interval.map(|(lo, hi)| (lo, hi + e5(by))),
        6 => clearing.fills[i % fills].energy += wh(by),
        7 => {
            clearing.fills[i % fills].energy += wh(by);
            clearing.fills[k % fills].energy -= wh(by);
        }
        8 => drop(clearing.fills.remove(i % fills)),
        9 => {
            let fill = clearing.fills[i % fills].clone();
            clearing.fills.insert(i % fills, fill);
        }
        10 => clearing.fills.swap(i % fills, k % fills),
        11 => clearing.fills[i % fills].point = point("stranger"),
        _ => {
            // Everybody loses a Wh of both sides where possible.
            for side in [BUY, SELL] {
                if let Some(fill) = clearing.fills.iter_mut().find(|fill| fill.side == side) {
                    fill.energy -= wh(1);
                }
            }
            clearing.cleared -= wh(1);
        }
    }
    clearing
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn a_false_proposal_never_changes_the_result(
        draws in draws(30, 100), mutations in prop::collection::vec(mutation(), 1..4)
    ) {
        let book = wide_book(&draws);
        let mut proposal = propose(&book).expect("a small program");
        for mutation in &mutations {
            mutate(&mut proposal, mutation);
        }
        let clearing = clear(&book, Some(Ok(proposal)));
        prop_assert_eq!(clearing.certify(&book), Ok(()));
        let expected = clear(&book, None);
        prop_assert_eq!(Clearing { method: expected.method.clone(), ..clearing }, expected);
    }

    #[test]
    fn a_tampered_clearing_does_not_certify(
        draws in draws(30, 100),
        (i, k, by, what) in (any::<u16>(), any::<u16>(), 1_i64..9, 0_u8..13),
        negative in any::<bool>(),
    ) {
        let book = wide_book(&draws);
        let clearing = clear(&book, None);
        prop_assume!(clearing.cleared.is_positive());
        let by = if negative { -by } else { by };
        let tampered = tampered(&clearing, i.into(), k.into(), by, what);
        // The result is unique, so that every other one is wrong.
        prop_assert_eq!(tampered.certify(&book).is_ok(), tampered == clearing);
    }

    #[test]
    fn an_empty_clearing_certifies_only_where_nobody_agrees(draws in draws(8, 5)) {
        let book = wide_book(&draws);
        let clearing = clear(&book, None);
        let nothing = Clearing {
            cleared: wh(0),
            welfare: 0,
            price: None,
            interval: None,
            fills: Vec::new(),
            ..clearing.clone()
        };
        prop_assert_eq!(nothing.certify(&book).is_ok(), clearing.cleared.is_zero());
    }
}

/// Another price everywhere.
fn at_price(clearing: &mut Clearing, price: Price) {
    clearing.price = Some(price);
    clearing.fills.iter_mut().for_each(|fill| fill.price = price);
}

#[test]
fn the_certificate_names_what_is_wrong() {
    let book = wide_book(&example());
    let right = clear(&book, None);
    let check = |change: fn(&mut Clearing), expected: fn(&Violation) -> bool| {
        let mut clearing = right.clone();
        change(&mut clearing);
        let violation = clearing.certify(&book).expect_err("tampered");
        assert!(expected(&violation), "{violation}");
    };
    check(|c| c.slot = c.slot.next(), |v| matches!(v, Violation::OtherSlot { .. }));
    check(|c| c.fills.reverse(), |v| matches!(v, Violation::Disorder { .. }));
    check(|c| c.fills[0].side = SELL, |v| matches!(v, Violation::NoOrder { .. }));
    check(|c| c.fills[0].energy = wh(11), |v| matches!(v, Violation::OutOfBounds { .. }));
    check(|c| c.fills[0].energy = wh(0), |v| matches!(v, Violation::OutOfBounds { .. }));
    check(|c| at_price(c, e5(21)), |v| matches!(v, Violation::WorseThanLimit { .. }));
    check(|c| c.price = Some(e5(19)), |v| matches!(v, Violation::OtherPrice { .. }));
    check(|c| c.fills[0].price = e5(19), |v| matches!(v, Violation::OtherPrice { .. }));
    check(|c| c.fills[0].energy = wh(9), |v| matches!(v, Violation::OffBalance { .. }));
    check(|c| c.cleared = wh(14), |v| matches!(v, Violation::OffBalance { .. }));
    check(|c| c.interval = None, |v| matches!(v, Violation::WrongInterval { .. }));
    check(|c| c.welfare += 1, |v| matches!(v, Violation::WrongWelfare { .. }));
    let shrunk = |c: &mut Clearing| {
        c.fills[1].energy -= wh(1);
        c.fills[3].energy -= wh(1);
        c.cleared -= wh(1);
    };
    check(shrunk, |v| matches!(v, Violation::NotMaximal { .. }));

    let book = wide_book(&[draw(BUY, 8, 20), draw(BUY, 8, 20), draw(SELL, 8, 10)]);
    let mut unfair = clear(&book, None);
    let price = unfair.fills[0].price;
    unfair.fills = vec![
        Fill { point: point("P000"), side: BUY, energy: wh(8), price },
        Fill { point: point("P002"), side: SELL, energy: wh(8), price },
    ];
    assert!(matches!(unfair.certify(&book), Err(Violation::NotProRata { .. })));

    let book = wide_book(&[draw(BUY, 5, 30), draw(BUY, 5, 20), draw(SELL, 5, 10)]);
    let mut wrong = clear(&book, None);
    at_price(&mut wrong, e5(15));
    wrong.interval = Some((e5(10), e5(20)));
    assert!(matches!(wrong.certify(&book), Err(Violation::WrongInterval { .. })));
    let mut off_middle = clear(&book, None);
    at_price(&mut off_middle, e5(21));
    assert!(matches!(off_middle.certify(&book), Err(Violation::WrongPrice { .. })));
}
