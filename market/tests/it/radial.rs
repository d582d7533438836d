//! Properties of the clearing on a radial feeder.

use proptest::prelude::*;

use crate::radial_street::{Market, Shape, markets, sign, tied, varied};

/// Largest welfare in e5·Wh and the most local energy that reaches it, by trying everything.
fn brute_force(market: &Market) -> (i64, i64) {
    let e5 = |price: units::Price| price.nano_per_wh() / 10;
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
