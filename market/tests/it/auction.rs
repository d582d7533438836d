//! Properties of the clearing on random books.

use std::collections::BTreeMap;

use market::{Clearing, CurveStep, Fallback, Method, Order, Side, Steps, clear, curves, propose};
use proptest::prelude::*;
use units::Energy;

use crate::street::{Draw, SLOT, book_of, draws, e5, point, rank, terms, wh, wide_book};

fn merit(draws: &[Draw]) -> Clearing {
    clear(&wide_book(draws), None)
}

/// Largest welfare (in e5·Wh) and the most energy that reaches it, by trying everything.
fn brute_force(draws: &[Draw]) -> (i64, i64) {
    let mut best = (0, 0);
    let mut fills = vec![0; draws.len()];
    loop {
        let signed = |side: Side| -> i64 {
            draws.iter().zip(&fills).filter(|(d, _)| d.side == side).map(|(_, fill)| fill).sum()
        };
        if signed(Side::Buy) == signed(Side::Sell) {
            let welfare = draws
                .iter()
                .zip(&fills)
                .map(|(d, fill)| if d.side == Side::Buy { fill * d.e5 } else { -fill * d.e5 })
                .sum();
            best = best.max((welfare, signed(Side::Buy)));
        }
        // Count up in a mixed radix: digit i runs from 0 to the order's quantity.
        let Some(i) = (0..draws.len()).find(|&i| fills[i] < draws[i].wh) else {
            return best;
        };
        fills[i] += 1;
        fills[..i].fill(0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn linear_program_and_merit_order_agree(draws in draws(60, 5_000)) {
        let book = wide_book(&draws);
        let by_lp = clear(&book, Some(propose(&book)));
        prop_assert_eq!(&by_lp.method, &Method::Lp);
        let by_merit = clear(&book, None);
        prop_assert_eq!(&by_merit.method, &Method::Exact(Fallback::NotAsked));
        prop_assert_eq!(Clearing { method: Method::Lp, ..by_merit }, by_lp);
    }

    #[test]
    fn large_quantities_survive_the_floats(draws in draws(12, 10_000_000_000)) {
        let book = wide_book(&draws);
        let by_lp = clear(&book, Some(propose(&book)));
        prop_assert_eq!(&by_lp.method, &Method::Lp);
        prop_assert_eq!(by_lp.certify(&book), Ok(()));
    }

    #[test]
    fn nothing_beats_the_clearing_of_a_tiny_book(draws in draws(6, 3)) {
        let clearing = merit(&draws);
        let (welfare, cleared) = brute_force(&draws);
        prop_assert_eq!(clearing.welfare, i128::from(welfare) * 10);
        prop_assert_eq!(clearing.cleared, wh(cleared));
    }

    #[test]
    fn every_clearing_certifies(draws in draws(40, 200)) {
        let book = wide_book(&draws);
        prop_assert_eq!(clear(&book, None).certify(&book), Ok(()));
    }

    #[test]
    fn nobody_trades_at_a_loss(draws in draws(40, 200)) {
        let clearing = merit(&draws);
        for (i, draw) in draws.iter().enumerate() {
            let fill = clearing.filled(&point(format_args!("P{i:03}")), draw.side);
            prop_assert!(fill <= wh(draw.wh));
            if let Some(price) = clearing.price {
                let (gain, left) = match draw.side {
                    Side::Buy => (e5(draw.e5) >= price, e5(draw.e5) > price),
                    Side::Sell => (e5(draw.e5) <= price, e5(draw.e5) < price),
                };
                prop_assert!(gain || fill.is_zero(), "order {} trades at a loss", i);
                prop_assert!(!left || fill == wh(draw.wh), "order {} is left out", i);
            }
        }
    }

    #[test]
    fn arrival_and_names_decide_nothing(
        (draws, order) in draws(40, 200).prop_flat_map(|mut draws| {
            for (i, draw) in (0_u64..).zip(&mut draws) {
                draw.rank = i.wrapping_mul(0x9E37_79B9_7F4A_7C15); // distinct ranks
            }
            let order: Vec<usize> = (0..draws.len()).collect();
            (Just(draws), Just(order).prop_shuffle())
        })
    ) {
        let clearing = merit(&draws);
        // The shuffled book arrives in another order and under other names.
        let shuffled: Vec<Draw> = order.iter().map(|&i| draws[i]).collect();
        let other = merit(&shuffled);
        prop_assert_eq!((clearing.cleared, clearing.price), (other.cleared, other.price));
        for (new, &old) in order.iter().enumerate() {
            let side = draws[old].side;
            prop_assert_eq!(
                clearing.filled(&point(format_args!("P{old:03}")), side),
                other.filled(&point(format_args!("P{new:03}")), side)
            );
        }
    }

    #[test]
    fn equal_orders_get_equal_parts(draws in draws(40, 200)) {
        let clearing = merit(&draws);
        let mut levels: BTreeMap<(Side, i64), Vec<(i64, i64)>> = BTreeMap::new();
        for (i, draw) in draws.iter().enumerate() {
            let fill = clearing.filled(&point(format_args!("P{i:03}")), draw.side);
            levels.entry((draw.side, draw.e5)).or_default().push((draw.wh, fill.wh()));
        }
        for orders in levels.values() {
            let quantity: i64 = orders.iter().map(|order| order.0).sum();
            let filled: i64 = orders.iter().map(|order| order.1).sum();
            for (wh, fill) in orders {
                prop_assert!((fill * quantity - wh * filled).abs() < quantity, "{orders:?}");
            }
        }
    }

    #[test]
    fn splitting_an_order_changes_its_fill_by_the_rounding_only(
        draws in draws(20, 200), pick in any::<prop::sample::Index>(), part in 0.0..1.0
    ) {
        prop_assume!(!draws.is_empty());
        let i = pick.index(draws.len());
        let whole = draws[i];
        prop_assume!(whole.wh >= 2);
        #[expect(clippy::cast_possible_truncation, reason = "a part of a small number")]
        #[expect(clippy::cast_precision_loss, reason = "a small number")]
        let first = ((whole.wh as f64 * part) as i64).clamp(1, whole.wh - 1);
        let mut split = draws.clone();
        split[i].wh = first;
        split.push(Draw { wh: whole.wh - first, ..whole });
        let (before, after) = (merit(&draws), merit(&split));
        prop_assert_eq!((before.cleared, before.price), (after.cleared, after.price));
        let fill = |clearing: &Clearing, i: usize| {
            clearing.filled(&point(format_args!("P{i:03}")), whole.side).wh()
        };
        let parts = fill(&after, i) + fill(&after, draws.len());
        prop_assert!((fill(&before, i) - parts).abs() <= 2);
    }

    #[test]
    fn the_steps_of_an_order_clear_like_orders_of_their_own(
        draws in draws(24, 200), each in 1_usize..6
    ) {
        // Runs of draws with one side become one order; its steps keep its rank when they stand
        // alone.
        let mut curves: Vec<Vec<Draw>> = Vec::new();
        for run in draws.chunks(each) {
            let (side, rank) = (run[0].side, run[0].rank);
            let mut steps: Vec<Draw> =
                run.iter().map(|draw| Draw { side, rank, ..*draw }).collect();
            steps.sort_by_key(|step| if side == Side::Buy { -step.e5 } else { step.e5 });
            steps.dedup_by_key(|step| step.e5);
            curves.push(steps);
        }
        let mut whole = book_of(terms(1_000, -1_000), &[]);
        let mut parts = whole.clone();
        for (i, steps) in curves.iter().enumerate() {
            let curve = Steps::new(steps.iter().map(|step| step.step()).collect()).expect("few");
            let order = Order { steps: curve, ..steps[0].order(format_args!("P{i:03}")) };
            prop_assert_eq!(whole.place(order), Ok(None));
            for (k, step) in steps.iter().enumerate() {
                prop_assert_eq!(parts.place(step.order(format_args!("P{i:03}.{k}"))), Ok(None));
            }
        }
        let (one, many) = (clear(&whole, None), clear(&parts, None));
        prop_assert_eq!(one.certify(&whole), Ok(()));
        prop_assert_eq!((one.cleared, one.welfare), (many.cleared, many.welfare));
        prop_assert_eq!((one.price, one.interval), (many.price, many.interval));
        for (i, steps) in curves.iter().enumerate() {
            let side = steps[0].side;
            let sum: Energy = (0..steps.len())
                .map(|k| many.filled(&point(format_args!("P{i:03}.{k}")), side))
                .sum();
            prop_assert_eq!(one.filled(&point(format_args!("P{i:03}")), side), sum);
        }
    }

    #[test]
    fn buyers_and_sellers_are_mirror_images(draws in draws(40, 200)) {
        let mirrored: Vec<Draw> = draws
            .iter()
            .map(|draw| Draw { side: draw.side.opposite(), e5: -draw.e5, ..*draw })
            .collect();
        let (one, other) = (merit(&draws), merit(&mirrored));
        prop_assert_eq!((one.cleared, one.welfare), (other.cleared, other.welfare));
        prop_assert_eq!(one.price, other.price.map(|price| -price));
        prop_assert_eq!(one.interval, other.interval.map(|(lowest, highest)| (-highest, -lowest)));
        for (a, b) in one.fills.iter().zip(&other.fills) {
            prop_assert_eq!((&a.point, a.side, a.energy), (&b.point, b.side.opposite(), b.energy));
        }
    }

    #[test]
    fn a_better_offer_never_gets_less(
        draws in draws(40, 200), pick in any::<prop::sample::Index>(), better in 1_i64..50
    ) {
        prop_assume!(!draws.is_empty());
        let i = pick.index(draws.len());
        let mut improved = draws.clone();
        improved[i].e5 += if draws[i].side == Side::Buy { better } else { -better };
        let fill = |draws: &[Draw]| {
            merit(draws).filled(&point(format_args!("P{i:03}")), draws[i].side)
        };
        prop_assert!(fill(&improved) >= fill(&draws));
    }

    #[test]
    fn more_supply_never_raises_the_price(
        draws in draws(40, 200), wh in 1_i64..300, e5 in -40_i64..40
    ) {
        let mut more = draws.clone();
        more.push(Draw { side: Side::Sell, wh, e5, rank: 0 });
        let (before, after) = (merit(&draws), merit(&more));
        prop_assert!(after.cleared >= before.cleared);
        if let (Some(before), Some(after)) = (before.interval, after.interval) {
            prop_assert!(after.0 <= before.0 && after.1 <= before.1);
        }
    }

    #[test]
    fn scale_and_origin_of_prices_do_not_matter(
        draws in draws(40, 200), factor in 2_i64..50, shift in -500_i64..500
    ) {
        let scaled: Vec<Draw> =
            draws.iter().map(|draw| Draw { wh: draw.wh * factor, ..*draw }).collect();
        let shifted: Vec<Draw> =
            draws.iter().map(|draw| Draw { e5: draw.e5 + shift, ..*draw }).collect();
        let (base, scaled, shifted) = (merit(&draws), merit(&scaled), merit(&shifted));
        prop_assert_eq!(scaled.cleared.wh(), base.cleared.wh() * factor);
        prop_assert_eq!(scaled.price, base.price);
        for (i, draw) in draws.iter().enumerate() {
            let name = point(format_args!("P{i:03}"));
            let fill = base.filled(&name, draw.side).wh() * factor;
            prop_assert!((scaled.filled(&name, draw.side).wh() - fill).abs() <= factor);
        }
        let energies = |clearing: &Clearing| -> Vec<Energy> {
            clearing.fills.iter().map(|fill| fill.energy).collect()
        };
        prop_assert_eq!(energies(&shifted), energies(&base));
        prop_assert_eq!(shifted.price, base.price.map(|price| price + e5(shift)));
        prop_assert_eq!(shifted.welfare, base.welfare);
    }

    #[test]
    fn curves_add_up_and_cross_where_the_book_clears(draws in draws(40, 200)) {
        let book = wide_book(&draws);
        let curves = curves(&book);
        let last = |steps: &[CurveStep]| steps.last().map_or(Energy::ZERO, |step| step.cumulative);
        let ordered = |side: Side| -> Energy {
            book.orders().filter(|order| order.side == side).filter_map(Order::quantity).sum()
        };
        prop_assert_eq!(last(&curves.bids), ordered(Side::Buy));
        prop_assert_eq!(last(&curves.asks), ordered(Side::Sell));
        prop_assert!(curves.bids.windows(2).all(|pair| pair[0].price > pair[1].price));
        prop_assert!(curves.asks.windows(2).all(|pair| pair[0].price < pair[1].price));
        let clearing = clear(&book, None);
        if let Some(price) = clearing.price {
            let at = |steps: &[CurveStep], within: &dyn Fn(&CurveStep) -> bool| {
                steps.iter().filter(|step| within(step)).last().map_or(Energy::ZERO, |s| s.cumulative)
            };
            let demand = at(&curves.bids, &|step| step.price >= price);
            let supply = at(&curves.asks, &|step| step.price <= price);
            prop_assert_eq!(clearing.cleared, demand.min(supply));
        }
    }
}

#[test]
fn the_last_watt_hour_goes_by_rank() {
    // Ten Wh for three equal buyers: 4 + 3 + 3, and the rank says who gets the fourth.
    for lucky in 0..3 {
        let mut draws: Vec<Draw> = (0..3)
            .map(|i| Draw { side: Side::Buy, wh: 5, e5: 20, rank: if i == lucky { 0 } else { 9 } })
            .collect();
        draws.push(Draw { side: Side::Sell, wh: 10, e5: 10, rank: 0 });
        let clearing = merit(&draws);
        for i in 0..3 {
            let expected = if i == lucky { 4 } else { 3 };
            assert_eq!(clearing.filled(&point(format_args!("P{i:03}")), Side::Buy), wh(expected));
        }
    }
    assert!(rank(1) < rank(256), "tie keys sort like numbers");
}

#[test]
fn nothing_is_traded_where_the_supplier_is_the_better_partner() {
    for (retail, feed_in) in [(100, 100), (100, 101), (-5, 7)] {
        let book = book_of(terms(retail, feed_in), &[]);
        for clearing in [clear(&book, Some(propose(&book))), clear(&book, None)] {
            assert_eq!((clearing.slot, clearing.cleared, clearing.price), (SLOT, wh(0), None));
            assert_eq!((clearing.interval, clearing.fills.len()), (None, 0));
            assert_eq!(clearing.certify(&book), Ok(()));
        }
    }
}
