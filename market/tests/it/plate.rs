//! The copper plate's engine against sorting and matching, at all scales of price and quantity.

use market::{
    Lot, LotFault, MAX_PRICE, MAX_QUANTITY, Node, Plate, PlateViolation, Rank, Side, plate,
};
use proptest::prelude::*;
use units::{Energy, Price, split};

use crate::street::{e5, rank, side, wh};

const fn lot(side: Side, quantity: Energy, limit: Price) -> Lot {
    Lot { node: Node::ROOT, side, quantity, limit }
}

fn draw(index: usize) -> Rank {
    rank((index as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15))
}

/// Lots over a range of ticks that is narrow, wide, or as wide as prices go, clustered or not.
fn lots() -> impl Strategy<Value = Vec<Lot>> {
    let scales = (0_u32..24, 0_u32..34, 1_usize..400, any::<bool>());
    scales.prop_flat_map(|(price_bits, wh_bits, count, clustered)| {
        let range = 1_i64 << price_bits;
        let ticks = if clustered {
            prop_oneof![-range..=range, Just(range / 3), Just(range / 3 + 1)].boxed()
        } else {
            (-range..=range).boxed()
        };
        let most = MAX_QUANTITY.wh().min(1 << wh_bits);
        let one = (side(), ticks, 1..=most).prop_map(|(side, ticks, quantity)| {
            lot(side, wh(quantity), e5(ticks).clamp(-MAX_PRICE, MAX_PRICE))
        });
        prop::collection::vec(one, 0..count)
    })
}

/// What trades when dearest bids meet cheapest asks, and what it is worth.
fn sort_and_match(lots: &[Lot]) -> (Energy, i128) {
    let of = |side: Side| -> Vec<(Price, Energy)> {
        let lots = lots.iter().filter(|lot| lot.side == side);
        let mut lots: Vec<_> = lots.map(|lot| (lot.limit, lot.quantity)).collect();
        lots.sort();
        lots
    };
    let (mut bids, mut asks) = (of(Side::Buy), of(Side::Sell));
    asks.reverse();
    let (mut traded, mut welfare) = (Energy::ZERO, 0);
    while let (Some(bid), Some(ask)) = (bids.last_mut(), asks.last_mut()) {
        if bid.0 < ask.0 {
            break;
        }
        let energy = bid.1.min(ask.1);
        traded += energy;
        welfare += i128::from(energy.wh()) * i128::from((bid.0 - ask.0).nano_per_wh());
        bid.1 -= energy;
        ask.1 -= energy;
        let (bid, ask) = (bid.1, ask.1);
        if bid.is_zero() {
            bids.pop();
        }
        if ask.is_zero() {
            asks.pop();
        }
    }
    (traded, welfare)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn it_trades_what_sorting_and_matching_does(lots in lots()) {
        let plate = plate::clear(&lots, draw).expect("in range");
        prop_assert_eq!((plate.cleared, plate.welfare), sort_and_match(&lots));
        prop_assert_eq!(plate.certify(&lots, draw), Ok(()));
    }

    #[test]
    fn the_order_of_the_lots_decides_nothing(
        (lots, order) in lots().prop_flat_map(|lots| {
            let order: Vec<usize> = (0..lots.len()).collect();
            (Just(lots), Just(order).prop_shuffle())
        })
    ) {
        let one = plate::clear(&lots, draw).expect("in range");
        let shuffled: Vec<Lot> = order.iter().map(|&i| lots[i]).collect();
        let other = plate::clear(&shuffled, |i| draw(order[i])).expect("in range");
        let fills: Vec<Energy> = order.iter().map(|&i| one.fills[i]).collect();
        prop_assert_eq!(Plate { fills, ..one }, other);
    }

    #[test]
    fn no_other_result_certifies(
        lots in lots(), (i, k, by, what) in (any::<u16>(), any::<u16>(), 1_i64..9, 0_u8..8)
    ) {
        let plate = plate::clear(&lots, draw).expect("in range");
        prop_assume!(plate.cleared.is_positive());
        let (i, k) = (usize::from(i) % lots.len(), usize::from(k) % lots.len());
        let mut other = plate.clone();
        match what {
            0 => other.cleared += wh(by),
            1 => other.welfare -= i128::from(by),
            2 => other.price = other.price.map(|price| price + Price::from_nano_per_wh(5 * by)),
            3 => other.interval = other.interval.map(|(low, high)| (low - e5(by), high)),
            4 => other.fills[i] += wh(by),
            5 => drop(other.fills.pop()),
            6 => {
                other.fills[i] += wh(by);
                other.fills[k] -= wh(by);
            }
            _ => {
                // A Wh less on both sides: feasible, but not the most.
                for side in [Side::Buy, Side::Sell] {
                    let taken = (0..lots.len())
                        .find(|&i| lots[i].side == side && other.fills[i].is_positive());
                    other.fills[taken.expect("something is traded")] -= wh(1);
                    }
                other.cleared -= wh(1);
            }
        }
        prop_assert_eq!(other.certify(&lots, draw).is_ok(), other == plate);
    }
}

/// Lots at one price, of a few quantities, so that many remainders are equal.
fn at_one_price() -> impl Strategy<Value = Vec<Lot>> {
    let quantities = prop_oneof![
        prop::sample::select(vec![3_i64, 500, 1_000]).boxed(),
        (1_i64..40).boxed(),
        (1..=MAX_QUANTITY.wh()).boxed(),
    ];
    let one = (side(), quantities).prop_map(|(side, q)| lot(side, wh(q), e5(20_000)));
    prop::collection::vec(one, 2..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn lots_at_one_price_share_by_largest_remainder_and_rank(
        lots in at_one_price(),
        // Ranks that differ early, late, or not at all.
        (places, ways) in (prop::sample::select(vec![0_usize, 9, 31]), 1_u64..60),
        (i, k) in (any::<u16>(), any::<u16>()),
    ) {
        let rank = |lot: usize| {
            let mut rank = [7; 32];
            rank[places] = u8::try_from((lot as u64 * 37 + 11) % ways).expect("small");
            rank
        };
        let plate = plate::clear(&lots, rank).expect("in range");
        prop_assert_eq!(plate.certify(&lots, rank), Ok(()));
        for side in [Side::Buy, Side::Sell] {
            let own: Vec<usize> = (0..lots.len()).filter(|&i| lots[i].side == side).collect();
            let quantities: Vec<i64> = own.iter().map(|&i| lots[i].quantity.wh()).collect();
            let shares = split(plate.cleared.wh(), &quantities, |k| rank(own[k]));
            let fills: Vec<i64> = own.iter().map(|&i| plate.fills[i].wh()).collect();
            prop_assert_eq!(&fills, &shares);
            // A watt-hour for somebody else of the same side.
            let Some(&from) = own.get(usize::from(i) % own.len().max(1)) else { continue };
            let to = own[usize::from(k) % own.len()];
            if from != to && plate.fills[from].is_positive() && plate.fills[to] < lots[to].quantity {
                let mut other = plate.clone();
                other.fills[from] -= wh(1);
                other.fills[to] += wh(1);
                let lot = own.iter().copied().find(|&i| i == from || i == to).expect("both are");
                let (energy, exact) = (other.fills[lot], plate.fills[lot]);
                let expected = PlateViolation::NotProRata { lot, energy, exact };
                prop_assert_eq!(other.certify(&lots, rank), Err(expected));
            }
        }
    }
}

#[test]
fn a_hundred_thousand_lots_on_one_price_are_shared_to_the_watt_hour() {
    let count = 100_000;
    let lots: Vec<Lot> = (0..count)
        .map(|i| match i % 3 {
            0 => lot(Side::Sell, wh(1_000), e5(20_000)),
            _ => lot(Side::Buy, wh(700 + i % 7), e5(20_000)),
        })
        .collect();
    let plate = plate::clear(&lots, draw).expect("in range");
    assert_eq!(plate.certify(&lots, draw), Ok(()));
    let [bought, sold] = [Side::Buy, Side::Sell].map(|side| -> Energy {
        lots.iter().zip(&plate.fills).filter(|(lot, _)| lot.side == side).map(|(_, e)| e).sum()
    });
    assert_eq!((bought, sold), (plate.cleared, plate.cleared));
    assert_eq!(plate.price, Some(e5(20_000)));
}

#[test]
fn lots_out_of_range_are_named() {
    let good = lot(Side::Buy, wh(1), e5(100));
    let check = |bad: Lot, expected: LotFault| {
        assert_eq!(plate::clear(&[good, bad], draw), Err(expected));
    };
    for quantity in [wh(0), wh(-5), MAX_QUANTITY + wh(1), wh(i64::MAX)] {
        check(Lot { quantity, ..good }, LotFault::Quantity { lot: 1, quantity });
    }
    for limit in [Price::from_nano_per_wh(1_005), MAX_PRICE + Price::TICK, -MAX_PRICE - Price::TICK]
    {
        check(Lot { limit, ..good }, LotFault::Limit { lot: 1, limit });
    }
}

#[test]
fn a_result_for_other_lots_is_refused() {
    let lots = [lot(Side::Buy, wh(5), e5(20)), lot(Side::Sell, wh(5), e5(10))];
    let plate = plate::clear(&lots, draw).expect("in range");
    let shape = PlateViolation::Shape { fills: 2, lots: 1 };
    assert_eq!(plate.certify(&lots[..1], draw), Err(shape));
    let dearer = [lots[0], lot(Side::Sell, wh(5), e5(21))];
    assert!(plate.certify(&dearer, draw).is_err());
}
