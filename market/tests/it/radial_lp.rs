//! The same markets as linear programs: an independent statement of what the clearing maximises.

use good_lp::{Expression, ProblemVariables, Solution, SolverModel, Variable, microlp, variable};
use market::{Side, UNCAPPED};
use proptest::prelude::*;
use units::Price;

use crate::radial_street::{Market, sign, varied};

#[expect(clippy::cast_precision_loss, reason = "a test's numbers are small")]
fn float(value: i64) -> f64 {
    value as f64
}

fn e5(price: Price) -> i64 {
    price.nano_per_wh() / 10
}

/// Rounds a value of a vertex.
#[expect(clippy::cast_possible_truncation, reason = "a test's numbers are small")]
fn whole(value: f64) -> i64 {
    assert!((value - value.round()).abs() < 1e-4, "{value} is no vertex of a network");
    value.round() as i64
}

/// Welfare of the program's optimum in nano-currency, recomputed from its rounded flows.
fn by_program(market: &Market) -> i128 {
    let bound = |wh: i64| float(if wh == UNCAPPED.wh() { 10_000_000 } else { wh });
    let mut problem = ProblemVariables::new();
    let mut column = |most: i64| problem.add(variable().min(0.0).max(bound(most)));
    let fills: Vec<Variable> = market.lots.iter().map(|lot| column(lot.quantity.wh())).collect();
    // Per node: towards it and away from it, at a price per Wh each.
    let mut flows: Vec<(Variable, i64, Variable, i64)> = Vec::new();
    match &market.supplier {
        Some(s) => flows.push((
            column(s.import_cap.wh()),
            e5(s.import_price),
            column(s.export_cap.wh()),
            -e5(s.export_price),
        )),
        None => flows.push((column(0), 0, column(0), 0)),
    }
    for branch in &market.branches {
        let (there, back) = (column(branch.import_cap.wh()), column(branch.export_cap.wh()));
        flows.push((there, e5(branch.fee), back, e5(branch.fee)));
    }
    let mut welfare = Expression::default();
    let mut balance = vec![Expression::default(); flows.len()];
    for (lot, &fill) in market.lots.iter().zip(&fills) {
        welfare.add_mul(float(sign(lot.side) * e5(lot.limit)), fill);
        balance[lot.node.index()].add_mul(float(sign(lot.side)), fill);
    }
    for (node, &(there, in_price, back, out_price)) in flows.iter().enumerate() {
        welfare.add_mul(-float(in_price), there);
        welfare.add_mul(-float(out_price), back);
        balance[node].add_mul(-1.0, there);
        balance[node].add_mul(1.0, back);
        if let Some(branch) = node.checked_sub(1).map(|i| &market.branches[i]) {
            balance[branch.parent.index()].add_mul(1.0, there);
            balance[branch.parent.index()].add_mul(-1.0, back);
        }
    }
    let mut model = problem.maximise(welfare).using(microlp);
    for balance in balance {
        model = model.with(balance.eq(0.0));
    }
    let solution = model.solve().expect("nothing traded is feasible");
    let value = |column: Variable| i128::from(whole(solution.value(column)));
    let lots: i128 = market
        .lots
        .iter()
        .zip(&fills)
        .map(|(lot, &fill)| i128::from(sign(lot.side) * e5(lot.limit)) * value(fill))
        .sum();
    let paid: i128 = flows
        .iter()
        .map(|&(there, in_price, back, out_price)| {
            i128::from(in_price) * value(there) + i128::from(out_price) * value(back)
        })
        .sum();
    (lots - paid) * 10
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn curves_reach_what_the_linear_program_reaches(market in varied(20, 60)) {
        prop_assume!(market.lots.iter().any(|lot| lot.side == Side::Buy));
        prop_assert_eq!(market.cleared().welfare, by_program(&market));
    }
}
