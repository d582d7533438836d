//! Large, deep, wide and extreme feeders: what random small ones do not reach.

use market::radial::{self, Supplier};
use market::{Branch, Grid, Lot, MAX_PRICE, MAX_QUANTITY, Node, Radial, Side, UNCAPPED};
use units::Price;

use crate::radial_street::{Market, branch};
use crate::street::{e5, wh};

/// A small generator whose seed is its whole story.
struct Draws(u64);

impl Draws {
    fn below(&mut self, bound: i64) -> i64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let bound = u64::try_from(bound).expect("positive");
        i64::try_from((self.0 >> 33) % bound).expect("small")
    }

    fn side(&mut self) -> Side {
        if self.below(2) == 0 { Side::Buy } else { Side::Sell }
    }

    fn node(&mut self, nodes: usize) -> Node {
        Node(u32::try_from(self.below(i64::try_from(nodes).expect("small"))).expect("small"))
    }

    fn lots(
        &mut self,
        lots: usize,
        nodes: usize,
        price: impl Fn(&mut Self, Side) -> i64,
    ) -> Vec<Lot> {
        let lot = |_| {
            let (node, side) = (self.node(nodes), self.side());
            let (quantity, limit) = (wh(10 + self.below(1_491)), e5(price(self, side)));
            Lot { node, side, quantity, limit }
        };
        (0..lots).map(lot).collect()
    }

    /// A random tree; about one branch in ten has a cap.
    fn branches(&mut self, nodes: usize, max_cap: i64, max_fee: i64) -> Vec<Branch> {
        let one = |i: usize| {
            let parent = self.node(i).index();
            let cap = if self.below(10) == 0 { self.below(max_cap + 1) } else { UNCAPPED.wh() };
            branch(i, parent, cap, cap, 10 * self.below(max_fee / 10 + 1))
        };
        (1..nodes).map(one).collect()
    }
}

/// Draws a limit for a side.
type PriceOf = dyn Fn(&mut Draws, Side) -> i64;

/// Buyers 12 to 30 ct, sellers 8 to 26 ct, on a grid of `tick`.
fn market_price(tick: i64) -> impl Fn(&mut Draws, Side) -> i64 {
    move |draws, side| {
        let low = if side == Side::Buy { 12_000 } else { 8_000 };
        (low + draws.below(18_001)) / tick * tick
    }
}

fn market(branches: Vec<Branch>, lots: Vec<Lot>, supplier: Option<Supplier>) -> Market {
    let ranks =
        (0..).take(lots.len()).map(|i: u64| i.wrapping_mul(0x9E37_79B9_7F4A_7C15)).collect();
    Market { branches, lots, ranks, supplier }
}

fn flowing(result: &Radial) -> usize {
    result.flows.iter().filter(|flow| !flow.is_zero()).count()
}

#[test]
fn windows_of_prices_find_what_sorting_finds() {
    // Above the size at which lots are binned before they are sorted; every distribution ends in
    // another round.
    let prices: [&PriceOf; 6] = [
        &market_price(1),
        &market_price(100),
        &market_price(2_000),
        &|_, _| 15_000,
        &|draws, side| 15_000 + if side == Side::Buy { draws.below(2) } else { -draws.below(2) },
        // Half of the lots far away, the others next to each other: narrow windows at first sight.
        &|draws, _| if draws.below(2) == 0 { draws.below(9_000_000) } else { draws.below(50) },
    ];
    for (seed, price) in (1..).zip(prices) {
        for (nodes, lots) in [(1, 3_000), (12, 9_000), (150, 30_000)] {
            let mut draws = Draws(seed);
            let branches = draws.branches(nodes, 200_000, 200);
            let lots = draws.lots(lots, nodes, price);
            let one = market(branches, lots, None);
            let result = one.cleared();
            assert!(result.traded.is_positive());
            // The same with a supplier who takes part.
            let supplier = Supplier {
                import_price: e5(25_000),
                import_cap: wh(500_000),
                export_price: e5(9_000),
                export_cap: UNCAPPED,
            };
            Market { supplier: Some(supplier), ..one }.cleared();
        }
    }
}

#[test]
fn a_book_in_parts_of_a_lot_clears_like_the_book() {
    // Ten copies of each lot are binned, the lots themselves are sorted; ten times everything.
    let mut draws = Draws(77);
    let branches = draws.branches(40, 30_000, 300);
    let lots = draws.lots(1_500, 40, market_price(50));
    let copies: Vec<Lot> = lots.iter().flat_map(|lot| [*lot; 10]).collect();
    let wider = branches.iter().map(|branch| Branch {
        import_cap: wh(branch.import_cap.wh().saturating_mul(10)).min(UNCAPPED),
        export_cap: wh(branch.export_cap.wh().saturating_mul(10)).min(UNCAPPED),
        ..branch.clone()
    });
    let ten = market(wider.collect(), copies, None).cleared();
    let one = market(branches, lots, None).cleared();
    assert_eq!(ten.welfare, one.welfare * 10);
    assert_eq!((ten.price, ten.low, ten.high), (one.price, one.low, one.high));
}

#[test]
fn a_chain_of_a_thousand_nodes_clears() {
    let mut draws = Draws(5);
    let cap = |draws: &mut Draws| if draws.below(20) == 0 { 5_000 } else { UNCAPPED.wh() };
    let branches: Vec<Branch> =
        (1..1_000).map(|i| branch(i, i - 1, cap(&mut draws), cap(&mut draws), 10)).collect();
    for lots in [500, 20_000] {
        let lots = draws.lots(lots, 1_000, market_price(10));
        let result = market(branches.clone(), lots, None).cleared();
        assert!(flowing(&result) > 500);
    }
}

#[test]
fn a_star_of_a_thousand_houses_clears() {
    let mut draws = Draws(6);
    let branches: Vec<Branch> =
        (1..=1_000).map(|i| branch(i, 0, 800 + draws.below(2_000), 1_000, 20)).collect();
    for lots in [1_500, 20_000] {
        let lots = draws.lots(lots, 1_001, market_price(10));
        let result = market(branches.clone(), lots, None).cleared();
        assert!(flowing(&result) > 500);
    }
}

#[test]
fn equal_orders_share_along_a_deep_street_with_full_branches() {
    // One seller at the root, the same buyer at each of 300 nodes in a chain, and every tenth
    // branch smaller than what is behind it: the further away, the less there is.
    let nodes = 300;
    let branches: Vec<Branch> = (1..nodes)
        .map(|i| {
            let behind = i64::try_from(nodes - i).expect("small");
            let cap = if i % 10 == 0 { behind * behind / 10 } else { UNCAPPED.wh() };
            branch(i, i - 1, cap, cap, 0)
        })
        .collect();
    let buyer = |i: usize| Lot {
        node: Node(u32::try_from(i).expect("small")),
        side: Side::Buy,
        quantity: wh(100),
        limit: e5(20_000),
    };
    let mut lots: Vec<Lot> = (0..nodes).map(buyer).collect();
    lots.push(Lot { node: Node(0), side: Side::Sell, quantity: wh(8_000), limit: e5(10_000) });
    let result = market(branches, lots, None).cleared();
    assert_eq!(result.traded, wh(8_000));
    let last = result.fills[nodes - 1];
    assert!(last.is_positive() && last < result.fills[0], "{last} of {}", result.fills[0]);
}

#[test]
fn the_largest_numbers_stay_exact() {
    let lot = |node: u32, side: Side, limit: Price| Lot {
        node: Node(node),
        side,
        quantity: MAX_QUANTITY,
        limit,
    };
    let branches = vec![
        Branch { fee: MAX_PRICE, ..branch(1, 0, UNCAPPED.wh(), UNCAPPED.wh(), 0) },
        branch(2, 0, UNCAPPED.wh(), UNCAPPED.wh(), 0),
    ];
    let mut lots = Vec::new();
    for _ in 0..4_000 {
        lots.push(lot(1, Side::Buy, MAX_PRICE));
        lots.push(lot(2, Side::Sell, -MAX_PRICE));
    }
    let supplier = Supplier {
        import_price: MAX_PRICE,
        import_cap: UNCAPPED,
        export_price: -MAX_PRICE,
        export_cap: UNCAPPED,
    };
    for supplier in [None, Some(supplier)] {
        let result = market(branches.clone(), lots.clone(), supplier).cleared();
        let energy = 4_000 * i128::from(MAX_QUANTITY.wh());
        assert_eq!(i128::from(result.traded.wh()), energy);
        // The fee eats half of the difference of twice the largest price.
        assert_eq!(result.welfare, energy * i128::from(MAX_PRICE.nano_per_wh()));
    }
}

#[test]
fn what_is_out_of_range_is_refused_with_the_lot() {
    let grid = Grid::plate();
    let fine = Lot { node: Node(0), side: Side::Buy, quantity: wh(1), limit: e5(1) };
    let supplier =
        Supplier { import_price: e5(1), import_cap: wh(1), export_price: e5(1), export_cap: wh(1) };
    let check = |lot: Lot, supplier: Supplier, message: &str| {
        let fault = radial::clear(&[fine, lot], &grid, Some(&supplier), |_| [0; 32]);
        let fault = fault.expect_err("must be refused").to_string();
        assert!(fault.contains(message), "{fault}");
    };
    check(Lot { node: Node(1), ..fine }, supplier, "lot 1 is at node 1, but the grid has 1 nodes");
    check(Lot { quantity: wh(0), ..fine }, supplier, "lot 1: quantity 0 Wh is not between 1 Wh");
    check(Lot { quantity: MAX_QUANTITY + wh(1), ..fine }, supplier, "10000000001 Wh is not");
    let off = Price::from_nano_per_wh(15);
    check(Lot { limit: off, ..fine }, supplier, "lot 1: limit 0.0015 ct/kWh is beyond");
    check(Lot { limit: -MAX_PRICE - Price::TICK, ..fine }, supplier, "lot 1: limit -10000.0010");
    check(fine, Supplier { export_price: e5(2), ..supplier }, "the sale not below the purchase");
    check(fine, Supplier { import_cap: wh(-1), ..supplier }, "caps 0 to");
    assert!(radial::clear(&[fine], &grid, Some(&supplier), |_| [0; 32]).is_ok());
}
