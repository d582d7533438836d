//! Properties of the clearing on a radial feeder.

use market::radial::Supplier;
use market::{Branch, Lot, Node, Radial, Side, UNCAPPED};
use proptest::prelude::*;
use proptest::sample::Index;
use units::{Energy, Price};

use crate::radial_street::{Market, Shape, branch, markets, sign, tied, varied};
use crate::street::{e5, wh};

/// Largest welfare in e5·Wh and the most local energy that reaches it, by trying everything.
fn brute_force(market: &Market) -> (i64, i64) {
    let e5 = |price: Price| price.nano_per_wh() / 10;
    let mut best = (i64::MIN, 0);
    let mut fills = vec![0; market.lots.len()];
    loop {
        let mut taken = vec![0; market.branches.len() + 1];
        let (mut welfare, mut bought) = (0, 0);
        for (lot, fill) in market.lots.iter().zip(&fills) {
            let signed = sign(lot.side) * fill;
            taken[lot.node.index()] += signed;
            welfare += signed * e5(lot.limit);
            bought += signed.max(0);
        }
        let mut fits = true;
        for (i, branch) in market.branches.iter().enumerate().rev() {
            let flow: i64 = taken[i + 1];
            fits &= -branch.export_cap.wh() <= flow && flow <= branch.import_cap.wh();
            welfare -= flow.abs() * e5(branch.fee);
            taken[branch.parent.index()] += flow;
        }
        let supply = taken[0];
        match &market.supplier {
            None => fits &= supply == 0,
            Some(supplier) => {
                fits &= -supplier.export_cap.wh() <= supply && supply <= supplier.import_cap.wh();
                welfare -= supply.max(0) * e5(supplier.import_price)
                    + supply.min(0) * e5(supplier.export_price);
            }
        }
        if fits {
            best = best.max((welfare, bought - supply.max(0)));
        }
        // Count up in a mixed radix: digit i runs from 0 to the lot's quantity.
        let Some(i) = (0..fills.len()).find(|&i| fills[i] < market.lots[i].quantity.wh()) else {
            return best;
        };
        fills[i] += 1;
        fills[..i].fill(0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn nothing_beats_the_clearing_of_a_tiny_street(
        market in markets(Shape { nodes: 4, lots: 5, max_wh: 4, levels: 4, max_cap: 6, max_fee: 2 })
    ) {
        let result = market.cleared();
        let (welfare, traded) = brute_force(&market);
        prop_assert_eq!((result.welfare, result.traded.wh()), (i128::from(welfare) * 10, traded));
    }

    #[test]
    fn every_clearing_with_ties_certifies(market in tied(12, 40)) {
        market.cleared();
    }

    #[test]
    fn every_clearing_of_many_prices_certifies(market in varied(30, 80)) {
        market.cleared();
    }
}

/// What the fills of a node's lots come to at a price.
fn payments(market: &Market, result: &Radial) -> i128 {
    market
        .lots
        .iter()
        .zip(&result.fills)
        .filter(|(_, fill)| !fill.is_zero())
        .map(|(lot, fill)| {
            let price = result.price[lot.node.index()].expect("a node that trades has a price");
            i128::from(sign(lot.side) * fill.wh()) * i128::from(price.nano_per_wh())
        })
        .sum()
}

/// All fees, and all rent: what a flow earns beyond its fee between the prices at its ends.
fn fees_and_rent(market: &Market, result: &Radial) -> (i128, i128) {
    let (mut fees, mut rent) = (0, 0);
    for (i, branch) in market.branches.iter().enumerate() {
        let flow = i128::from(result.flows[i + 1].wh());
        if flow != 0 {
            let price = |node: usize| {
                let price = result.price[node].expect("both ends of a flow have a price");
                i128::from(price.nano_per_wh())
            };
            let fee = flow.abs() * i128::from(branch.fee.nano_per_wh());
            let earned = flow * (price(i + 1) - price(branch.parent.index())) - fee;
            assert!(earned >= 0, "{} loses money", branch.name);
            fees += fee;
            rent += earned;
        }
    }
    (fees, rent)
}

/// A supplier seen in the mirror that swaps buying and selling.
fn mirrored(supplier: &Supplier) -> Supplier {
    Supplier {
        import_price: -supplier.export_price,
        import_cap: supplier.export_cap,
        export_price: -supplier.import_price,
        export_cap: supplier.import_cap,
    }
}

fn capped(wh: i64, factor: i64) -> Energy {
    Energy::from_wh(if wh == UNCAPPED.wh() { wh } else { wh * factor })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn a_free_feeder_with_room_is_a_copper_plate(market in varied(12, 40), tie in any::<bool>()) {
        let mut market = market;
        market.supplier = None;
        for branch in &mut market.branches {
            (branch.import_cap, branch.export_cap) = (UNCAPPED, UNCAPPED);
            branch.fee = Price::ZERO;
        }
        if tie {
            for lot in &mut market.lots {
                lot.limit = e5(lot.limit.nano_per_wh() / 1_000);
            }
        }
        let feeder = market.cleared();
        let mut plate = market.clone();
        plate.branches.clear();
        for lot in &mut plate.lots {
            lot.node = Node(0);
        }
        let plate = plate.cleared();
        prop_assert_eq!((feeder.welfare, feeder.traded), (plate.welfare, plate.traded));
        prop_assert!(feeder.price.iter().all(|price| *price == plate.price[0]));
        for (one, other) in feeder.fills.iter().zip(&plate.fills) {
            prop_assert!((one.wh() - other.wh()).abs() <= 1);
        }
    }

    #[test]
    fn a_branch_without_room_isolates_what_is_behind_it(market in tied(8, 30)) {
        let mut market = market;
        market.supplier = None;
        for branch in &mut market.branches {
            (branch.import_cap, branch.export_cap) = (Energy::ZERO, Energy::ZERO);
        }
        let together = market.cleared();
        for node in 0..=market.branches.len() {
            let here: Vec<usize> =
                (0..market.lots.len()).filter(|&i| market.lots[i].node.index() == node).collect();
            let alone = Market {
                branches: Vec::new(),
                lots: here.iter().map(|&i| Lot { node: Node(0), ..market.lots[i] }).collect(),
                ranks: here.iter().map(|&i| market.ranks[i]).collect(),
                supplier: None,
            };
            let alone = alone.cleared();
            prop_assert_eq!(alone.price[0], together.price[node]);
            for (&i, fill) in here.iter().zip(&alone.fills) {
                prop_assert_eq!(*fill, together.fills[i]);
            }
        }
    }

    #[test]
    fn nothing_crosses_a_fee_above_the_spread(market in tied(8, 30), pick in any::<Index>()) {
        let mut market = market;
        if market.branches.is_empty() {
            return Ok(());
        }
        let i = pick.index(market.branches.len());
        market.branches[i].fee = e5(20);
        prop_assert_eq!(market.cleared().flows[i + 1], Energy::ZERO);
    }

    #[test]
    fn arrival_decides_nothing(
        (market, order) in tied(8, 30).prop_flat_map(|market| {
            let order: Vec<usize> = (0..market.lots.len()).collect();
            (Just(market), Just(order).prop_shuffle())
        })
    ) {
        let shuffled = Market {
            lots: order.iter().map(|&i| market.lots[i]).collect(),
            ranks: order.iter().map(|&i| market.ranks[i]).collect(),
            ..market.clone()
        };
        let (one, other) = (market.cleared(), shuffled.cleared());
        let fills: Vec<Energy> = order.iter().map(|&i| one.fills[i]).collect();
        prop_assert_eq!(&fills, &other.fills);
        prop_assert_eq!(Radial { fills, ..one }, other);
    }

    #[test]
    fn splitting_an_order_changes_nothing_but_rounding(
        market in tied(8, 30), pick in any::<Index>(), part in any::<Index>()
    ) {
        if market.lots.is_empty() {
            return Ok(());
        }
        let i = pick.index(market.lots.len());
        let whole = market.lots[i].quantity.wh();
        if whole < 2 {
            return Ok(());
        }
        let first = 1 + i64::try_from(part.index(usize::try_from(whole - 1).unwrap())).unwrap();
        let mut split = market.clone();
        split.lots[i].quantity = wh(first);
        split.lots.push(Lot { quantity: wh(whole - first), ..market.lots[i] });
        split.ranks.push(u64::MAX);
        let (one, other) = (market.cleared(), split.cleared());
        prop_assert_eq!((one.welfare, one.traded), (other.welfare, other.traded));
        prop_assert_eq!((&one.low, &one.high), (&other.low, &other.high));
        let parts = other.fills[i] + other.fills[market.lots.len()];
        prop_assert!((parts - one.fills[i]).abs() <= wh(2));
        for other_lot in (0..market.lots.len()).filter(|&lot| lot != i) {
            prop_assert!((other.fills[other_lot] - one.fills[other_lot]).abs() <= wh(1));
        }
    }

    #[test]
    fn scale_and_origin_of_prices_do_not_matter(
        market in tied(8, 30), factor in 2_i64..50, shift in -500_i64..500
    ) {
        let one = market.cleared();
        let mut scaled = market.clone();
        for lot in &mut scaled.lots {
            lot.quantity = capped(lot.quantity.wh(), factor);
        }
        for branch in &mut scaled.branches {
            branch.import_cap = capped(branch.import_cap.wh(), factor);
            branch.export_cap = capped(branch.export_cap.wh(), factor);
        }
        if let Some(supplier) = &mut scaled.supplier {
            supplier.import_cap = capped(supplier.import_cap.wh(), factor);
            supplier.export_cap = capped(supplier.export_cap.wh(), factor);
        }
        let large = scaled.cleared();
        prop_assert_eq!(large.welfare, one.welfare * i128::from(factor));
        prop_assert_eq!(large.traded.wh(), one.traded.wh() * factor);
        // A zone of a few Wh may trade in one of them only; where both do, at the same price.
        prop_assert_eq!((&one.low, &one.high), (&large.low, &large.high));
        for (small, large) in one.price.iter().zip(&large.price) {
            prop_assert!(small == large || small.is_none() || large.is_none());
        }
        for (small, large) in one.fills.iter().zip(&large.fills) {
            prop_assert!((small.wh() * factor - large.wh()).abs() <= factor);
        }
        let mut shifted = market.clone();
        for lot in &mut shifted.lots {
            lot.limit += e5(shift);
        }
        if let Some(supplier) = &mut shifted.supplier {
            supplier.import_price += e5(shift);
            supplier.export_price += e5(shift);
        }
        let moved = shifted.cleared();
        let back = |prices: &[Option<Price>]| -> Vec<Option<Price>> {
            prices.iter().map(|price| price.map(|price| price - e5(shift))).collect()
        };
        let back = Radial {
            low: back(&moved.low),
            high: back(&moved.high),
            price: back(&moved.price),
            ..moved.clone()
        };
        prop_assert_eq!(back, one);
    }

    #[test]
    fn buyers_and_sellers_are_mirror_images(market in tied(8, 30)) {
        let mut mirror = market.clone();
        for lot in &mut mirror.lots {
            (lot.side, lot.limit) = (lot.side.opposite(), -lot.limit);
        }
        for branch in &mut mirror.branches {
            (branch.import_cap, branch.export_cap) = (branch.export_cap, branch.import_cap);
        }
        mirror.supplier = mirror.supplier.as_ref().map(mirrored);
        let (one, other) = (market.cleared(), mirror.cleared());
        let turned = |prices: &[Option<Price>]| -> Vec<Option<Price>> {
            prices.iter().map(|price| price.map(|price| -price)).collect()
        };
        // Sold less exported is bought less imported.
        prop_assert_eq!(Radial {
            flows: other.flows.iter().map(|&flow| -flow).collect(),
            low: turned(&other.high),
            high: turned(&other.low),
            price: turned(&other.price),
            ..other
        }, one);
    }

    #[test]
    fn nobody_loses_and_the_pool_keeps_fees_and_rent(market in varied(12, 40)) {
        let result = market.cleared();
        for (lot, fill) in market.lots.iter().zip(&result.fills) {
            let Some(price) = result.price[lot.node.index()] else {
                prop_assert!(fill.is_zero());
                continue;
            };
            let (loses, gains) = match lot.side {
                Side::Buy => (price > lot.limit, price < lot.limit),
                Side::Sell => (price < lot.limit, price > lot.limit),
            };
            prop_assert!(!loses || fill.is_zero());
            prop_assert!(!gains || *fill == lot.quantity);
        }
        let (fees, rent) = fees_and_rent(&market, &result);
        let supply = i128::from(result.flows[0].wh());
        let reference = result.price[0].map_or(0, |price| i128::from(price.nano_per_wh()));
        prop_assert_eq!(payments(&market, &result) - supply * reference, fees + rent);
        if let Some(supplier) = &market.supplier {
            // What the supplier gets is never more than the pool has for it.
            let bill = supply.max(0) * i128::from(supplier.import_price.nano_per_wh())
                + supply.min(0) * i128::from(supplier.export_price.nano_per_wh());
            prop_assert!(supply * reference >= bill);
        }
    }

    #[test]
    fn a_better_offer_never_gets_less(market in tied(8, 30), pick in any::<Index>(), by in 1_i64..4) {
        if market.lots.is_empty() {
            return Ok(());
        }
        let i = pick.index(market.lots.len());
        let mut better = market.clone();
        better.lots[i].limit += e5(by * sign(market.lots[i].side));
        prop_assert!(better.cleared().fills[i] >= market.cleared().fills[i]);
    }

    #[test]
    fn a_changed_result_is_refused(
        market in prop_oneof![tied(8, 30), varied(12, 40)],
        what in 0..6, pick in any::<Index>(), by in prop_oneof![Just(-1_i64), Just(1), Just(40)]
    ) {
        let mut result = market.cleared();
        let node = pick.index(result.flows.len());
        match what {
            0 if !market.lots.is_empty() => {
                result.fills[pick.index(market.lots.len())] += wh(by);
            }
            1 => result.flows[node] += wh(by),
            2 => result.price[node] = Some(result.price[node].unwrap_or_default() + e5(by)),
            3 => result.low[node] = Some(result.low[node].unwrap_or_default() + e5(by)),
            4 => result.welfare += i128::from(by),
            _ => result.traded += wh(by),
        }
        prop_assert!(market.certify(&result).is_err());
    }

    #[test]
    fn a_moved_watt_hour_is_refused(market in prop_oneof![tied(1, 12), tied(6, 30)]) {
        // From one order to another of the same side at the same node: balance, flows and often
        // welfare stay as they are. On a plate the line decides about every watt-hour; next to a
        // full branch it is checked up to rounding.
        let result = market.cleared();
        for (from, to) in (0..market.lots.len()).flat_map(|i| (0..i).flat_map(move |j| [(i, j), (j, i)])) {
            let (a, b) = (market.lots[from], market.lots[to]);
            let movable = result.fills[from].is_positive() && result.fills[to] < b.quantity;
            if !movable || a.node != b.node || a.side != b.side {
                continue;
            }
            let mut moved = result.clone();
            moved.fills[from] -= wh(1);
            moved.fills[to] += wh(1);
            moved.welfare -=
                i128::from(sign(a.side)) * i128::from((a.limit - b.limit).nano_per_wh());
            let refused = market.certify(&moved).is_err();
            let rounding = !market.branches.is_empty() && close(&market, &moved, from, to);
            prop_assert!(refused || rounding, "{} to {}", from, to);
        }
    }
}

/// Whether both ratios are within one watt-hour of each other, as rounding leaves them.
fn close(market: &Market, result: &Radial, one: usize, other: usize) -> bool {
    let (a, b) = (result.fills[one].wh(), result.fills[other].wh());
    let (qa, qb) = (market.lots[one].quantity.wh(), market.lots[other].quantity.wh());
    (a - 1) * qb < (b + 1) * qa && (b - 1) * qa < (a + 1) * qb
}

fn lot(node: u32, side: Side, quantity: i64, limit: i64) -> Lot {
    Lot { node: Node(node), side, quantity: wh(quantity), limit: e5(limit) }
}

fn street(branches: Vec<Branch>, lots: Vec<Lot>) -> Market {
    let ranks = (0..).take(lots.len()).collect();
    Market { branches, lots, ranks, supplier: None }
}

fn fills(result: &Radial) -> Vec<i64> {
    result.fills.iter().map(|fill| fill.wh()).collect()
}

#[test]
fn shares_are_as_equal_as_a_full_branch_allows() {
    // 90 Wh for buyers who want 100, 100 and 100, two of them behind a branch for 30.
    let lots = vec![
        lot(0, Side::Sell, 90, 10),
        lot(0, Side::Buy, 100, 20),
        lot(1, Side::Buy, 100, 20),
        lot(2, Side::Buy, 100, 20),
    ];
    let narrow = street(vec![branch(1, 0, 30, 30, 0), branch(2, 1, 99, 99, 0)], lots.clone());
    assert_eq!(fills(&narrow.cleared()), [90, 60, 15, 15]);
    // With room for 60 the branch is full, but nobody is worse off than the others.
    let wide = street(vec![branch(1, 0, 60, 60, 0), branch(2, 1, 99, 99, 0)], lots.clone());
    assert_eq!(fills(&wide.cleared()), [90, 30, 30, 30]);
    // Room for 35 behind room for 20: three parts with ratios 5, 15 and 55 %.
    let mut nested = lots;
    nested[0].quantity = wh(75);
    let nested = street(vec![branch(1, 0, 20, 20, 0), branch(2, 1, 5, 5, 0)], nested);
    assert_eq!(fills(&nested.cleared()), [75, 55, 15, 5]);
}

#[test]
fn who_cannot_deliver_does_not_count() {
    // The seller at node 1 is at the margin, too, but nothing can leave node 1: the others share
    // as if it were not there.
    let lots = vec![
        lot(1, Side::Sell, 1, 10),
        lot(0, Side::Buy, 18, 20),
        lot(0, Side::Sell, 41, 10),
        lot(0, Side::Sell, 18, 10),
    ];
    let market = street(vec![branch(1, 0, 1, 0, 0)], lots);
    assert_eq!(fills(&market.cleared()), [0, 18, 13, 5]);
}

#[test]
fn last_watt_hours_go_around_a_full_branch() {
    // Seven equal buyers share 10 Wh: one each and three more. Rank would give all three to the
    // buyers behind the branch, which has room for one more.
    let buyers = |node| (0..4).map(move |_| lot(node, Side::Buy, 5, 20));
    let mut lots: Vec<Lot> = buyers(1).collect();
    lots.extend(buyers(0).take(3));
    lots.push(lot(0, Side::Sell, 10, 10));
    let free = street(vec![branch(1, 0, 9, 9, 0)], lots.clone());
    assert_eq!(fills(&free.cleared()), [2, 2, 2, 1, 1, 1, 1, 10]);
    let full = street(vec![branch(1, 0, 6, 6, 0)], lots);
    assert_eq!(fills(&full.cleared()), [2, 2, 1, 1, 2, 1, 1, 10]);
}

#[test]
fn fees_and_caps_make_prices() {
    // A seller at the root, buyers behind a branch with a fee of 2 and room for 50.
    let market = street(
        vec![branch(1, 0, 50, 50, 2)],
        vec![lot(0, Side::Sell, 80, 10), lot(1, Side::Buy, 60, 20), lot(1, Side::Buy, 30, 16)],
    );
    let result = market.cleared();
    assert_eq!(fills(&result), [50, 50, 0]);
    // Supply is left over at the root, demand behind the full branch: 10 there, 20 here; the fee
    // is 2 and the rest of the difference is rent.
    assert_eq!(result.price, [Some(e5(10)), Some(e5(20))]);
    assert_eq!(result.flows, [wh(0), wh(50)]);
    assert_eq!(result.welfare, 50 * 10 * (20 - 10 - 2));
    // With more room the buyer at 16 sets the upper end, less the fee at the root.
    let wide = Market { branches: vec![branch(1, 0, 85, 85, 2)], ..market };
    let result = wide.cleared();
    assert_eq!(fills(&result), [80, 60, 20]);
    assert_eq!(result.price, [Some(e5(14)), Some(e5(16))]);
}

#[test]
fn without_trade_there_are_intervals_and_no_price() {
    let market = street(
        vec![branch(1, 0, 50, 0, 3)],
        vec![lot(0, Side::Buy, 10, 10), lot(0, Side::Sell, 10, 12), lot(1, Side::Buy, 5, 14)],
    );
    let result = market.cleared();
    assert_eq!(result.price, [None, None]);
    assert_eq!((result.low[0], result.high[0]), (Some(e5(11)), Some(e5(12))));
    // Nothing can leave node 1, so its price has no relation to a floor at the root.
    assert_eq!((result.low[1], result.high[1]), (Some(e5(14)), Some(e5(15))));
    let empty = street(vec![branch(1, 0, 50, 0, 3)], Vec::new()).cleared();
    assert_eq!((&empty.low, &empty.high), (&vec![None, None], &vec![None, None]));
}

#[test]
fn a_supplier_serves_what_neighbours_do_not() {
    let supplier = Supplier {
        import_price: e5(30),
        import_cap: wh(100),
        export_price: e5(8),
        export_cap: wh(5),
    };
    let mut market = street(
        vec![branch(1, 0, 500, 500, 1)],
        vec![
            lot(1, Side::Buy, 20, 31),
            lot(1, Side::Sell, 10, 5),
            lot(0, Side::Sell, 6, 30),
            lot(0, Side::Buy, 3, 30),
        ],
    );
    market.supplier = Some(supplier);
    let result = market.cleared();
    // At 30 a neighbour sells before the supplier does, and the supplier serves the rest.
    assert_eq!(fills(&result), [20, 10, 6, 3]);
    assert_eq!((result.flows[0], result.traded), (wh(7), wh(16)));
    // Without demand the export is full and the price falls to the seller's limit and the fee.
    market.lots.truncate(2);
    market.lots.remove(0);
    market.ranks.truncate(1);
    let result = market.cleared();
    assert_eq!((fills(&result), result.flows[0]), (vec![5], wh(-5)));
    assert_eq!(result.price, [Some(e5(6)), Some(e5(5))]);
}
