//! Books on a grid: prices by node, the money between them, and the linear program beside it.

use std::sync::Arc;

use market::{
    Book, Branch, Clearing, Flaw, Grid, Limits, Method, Node, Order, PriceParts, Proposal, Side,
    Tier, Violation, clear, plate, propose, radial,
};
use proptest::prelude::*;
use units::{Energy, Price};

use crate::radial_street::{Market, tied, varied};
use crate::street::{SLOT, e5, point, terms, wh};

/// One order per lot of the market.
pub fn book_on(market: &Market) -> Book {
    let (terms, grid) = (terms(1_000, -1_000), Arc::new(market.grid()));
    let mut book = Book::on_grid(SLOT, terms, Limits::default(), grid);
    for (i, lot) in market.lots.iter().enumerate() {
        let name = point(format_args!("P{i:03}"));
        let order = Order::plain(name, lot.side, lot.quantity, lot.limit, market.rank(i));
        book.place(Order { node: lot.node, ..order }).expect("a valid order");
    }
    book
}

/// The same street where no branch has a limit or a fee.
fn free(market: &Market) -> Market {
    let branches = market.branches.iter().map(|branch| Branch {
        fee: Price::ZERO,
        import_cap: market::UNCAPPED,
        export_cap: market::UNCAPPED,
        ..branch.clone()
    });
    Market { branches: branches.collect(), supplier: None, ..market.clone() }
}

fn payments(clearing: &Clearing) -> i128 {
    let pays = |fill: &market::Fill| {
        let value = i128::from(fill.energy.wh()) * i128::from(fill.price.nano_per_wh());
        if fill.side == Side::Buy { value } else { -value }
    };
    clearing.fills.iter().map(pays).sum()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn a_book_clears_as_its_lots_do_and_the_money_adds_up(
        market in prop_oneof![tied(9, 24), varied(12, 40)]
    ) {
        let book = book_on(&market);
        let clearing = clear(&book, None);
        prop_assert_eq!(clearing.certify(&book), Ok(()));
        if market.branches.is_empty() {
            prop_assert_eq!(&clearing.nodal, &None);
        } else {
            let engine =
                radial::clear(&market.lots, book.grid(), None, |i| market.rank(i)).expect("fine");
            for (i, lot) in market.lots.iter().enumerate() {
                let fill = clearing.filled(&point(format_args!("P{i:03}")), lot.side);
                prop_assert_eq!(fill, engine.fills[i]);
            }
            let nodal = clearing.nodal.as_ref().expect("on a grid");
            prop_assert!(nodal.fees >= 0 && nodal.rent >= 0, "{nodal:?}");
        }
        prop_assert_eq!(payments(&clearing), clearing.surplus());
        for node in book.grid().nodes() {
            let parts = clearing.parts_at(book.grid(), node);
            prop_assert_eq!(parts.map(|parts| parts.price()), clearing.price_at(node));
            if let Some(PriceParts { reference, energy, .. }) = parts {
                prop_assert_eq!(Some(energy), clearing.price_at(reference));
            }
        }
    }

    #[test]
    fn linear_program_and_tree_merge_agree(market in prop_oneof![tied(8, 20), varied(10, 30)]) {
        let book = book_on(&market);
        let by_lp = clear(&book, Some(propose(&book)));
        prop_assert_eq!(&by_lp.method, &Method::Lp);
        let exact = clear(&book, None);
        prop_assert_eq!(Clearing { method: Method::Lp, ..exact }, by_lp);
    }

    #[test]
    fn a_free_feeder_is_a_copper_plate(market in tied(9, 24)) {
        let market = free(&market);
        let clearing = clear(&book_on(&market), None);
        let plate = plate::clear(&market.lots, |i| market.rank(i)).expect("in range");
        prop_assert_eq!((clearing.cleared, clearing.welfare), (plate.cleared, plate.welfare));
        for (i, lot) in market.lots.iter().enumerate() {
            let fill = clearing.filled(&point(format_args!("P{i:03}")), lot.side);
            prop_assert_eq!(fill, plate.fills[i]);
        }
        prop_assert_eq!((clearing.price, clearing.interval), (plate.price, plate.interval));
        prop_assert_eq!(clearing.surplus(), 0);
    }

    #[test]
    fn a_false_proposal_changes_nothing_but_the_remark(
        market in tied(8, 20), i in any::<prop::sample::Index>(), by in -0.05_f64..0.05,
        k in any::<prop::sample::Index>(), what in 0..4
    ) {
        let book = book_on(&market);
        let mut proposal = propose(&book).expect("a small program");
        let Proposal { bids, asks } = &mut proposal;
        let mut shares: Vec<_> = bids.iter_mut().chain(asks.iter_mut()).collect();
        prop_assume!(!shares.is_empty());
        let count = shares.len();
        match what {
            0 => shares[i.index(count)].kwh += by,
            1 => shares[i.index(count)].kwh = f64::NAN,
            2 => shares[i.index(count)].node = Node(u32::MAX),
            _ => {
                shares[i.index(count)].kwh += by;
                shares[k.index(count)].kwh -= by;
            }
        }
        let clearing = clear(&book, Some(Ok(proposal)));
        prop_assert_eq!(clearing.certify(&book), Ok(()));
        let exact = clear(&book, None);
        prop_assert_eq!(Clearing { method: exact.method.clone(), ..clearing }, exact);
    }

    #[test]
    fn a_tampered_clearing_does_not_certify(
        market in varied(8, 30), at in any::<prop::sample::Index>(), by in 1_i64..9, what in 0..9
    ) {
        let book = book_on(&market);
        let clearing = clear(&book, None);
        prop_assume!(clearing.cleared.is_positive() && clearing.nodal.is_some());
        let mut other = clearing.clone();
        let nodal = other.nodal.as_mut().expect("on a grid");
        let node = at.index(nodal.prices.len());
        let fills = other.fills.len();
        match what {
            0 => nodal.flows[node] += wh(by),
            1 => nodal.prices[node].low = nodal.prices[node].low.map(|low| low - e5(by)),
            2 => nodal.prices[node].price = nodal.prices[node].price.map(|price| price + e5(by)),
            3 => nodal.fees += i128::from(by),
            4 => nodal.rent -= i128::from(by),
            5 => drop(nodal.prices.pop()),
            6 => other.fills[at.index(fills)].energy += wh(by),
            7 => other.fills[at.index(fills)].price += e5(by),
            _ => other.interval = Some((e5(-1_000), e5(1_000))),
        }
        prop_assert_eq!(other.certify(&book).is_ok(), other == clearing);
    }
}

/// Root – A – B: a seller at the far end, buyers at both nodes, and 30 Wh of room between them.
fn two_streets() -> Book {
    let branch = |name: &str, parent, cap, fee| Branch {
        name: name.to_owned(),
        parent,
        import_cap: wh(cap),
        export_cap: wh(cap),
        fee: e5(fee),
        tier: Tier::Street,
    };
    let branches = vec![branch("a", Node(0), 1_000, 5), branch("b", Node(1), 30, 10)];
    let grid = Arc::new(Grid::new(branches).expect("a tree"));
    let mut book = Book::on_grid(SLOT, terms(300, 100), Limits::default(), grid);
    for (name, node, side, quantity, limit) in [
        ("near", 1, Side::Buy, 100, 250),
        ("far", 2, Side::Buy, 20, 240),
        ("sun", 2, Side::Sell, 200, 120),
    ] {
        let order = Order::plain(point(name), side, wh(quantity), e5(limit), [0; 32]);
        book.place(Order { node: Node(node), ..order }).expect("valid");
    }
    book
}

#[test]
fn a_full_branch_parts_the_prices_and_its_rent_is_the_difference() {
    let book = two_streets();
    let clearing = clear(&book, Some(propose(&book)));
    assert_eq!((clearing.certify(&book), clearing.method.clone()), (Ok(()), Method::Lp));
    assert_eq!(clearing.cleared, wh(50));
    let fill = |name: &str, side| clearing.filled(&point(name), side);
    assert_eq!((fill("near", Side::Buy), fill("far", Side::Buy)), (wh(30), wh(20)));
    // The near buyer is short at 25.0, the seller has more at 12.0: each side sets its own price.
    assert_eq!(clearing.price_at(Node(1)), Some(e5(250)));
    assert_eq!(clearing.price_at(Node(2)), Some(e5(120)));
    let nodal = clearing.nodal.as_ref().expect("on a grid");
    assert_eq!(nodal.flows, [wh(0), wh(0), wh(-30)]);
    let tick = i128::from(Price::TICK.nano_per_wh());
    assert_eq!((nodal.fees, nodal.rent), (30 * 10 * tick, 30 * 120 * tick));
    // Nothing is traded at the root, so that the street itself is what prices are told from.
    assert_eq!(clearing.price, None);
    let parts = clearing.parts_at(book.grid(), Node(2)).expect("it trades");
    let expected =
        PriceParts { reference: Node(1), energy: e5(250), grid_fee: e5(-10), congestion: e5(-120) };
    assert_eq!(parts, expected);
}

#[test]
fn a_proposal_that_overloads_a_branch_is_told_which() {
    let book = two_streets();
    let mut proposal = propose(&book).expect("a small program");
    for share in proposal.bids.iter_mut().chain(&mut proposal.asks) {
        if share.node == Node(1) || share.price == e5(120) {
            share.kwh += 0.010;
        }
    }
    let clearing = clear(&book, Some(Ok(proposal)));
    let flaw = Flaw::Overload { node: Node(2), flow: wh(-40) };
    assert_eq!(clearing.method, Method::Exact(market::Fallback::Wrong(flaw)));
    let mut less = propose(&book).expect("a small program");
    less.bids.iter_mut().chain(&mut less.asks).for_each(|share| share.kwh = 0.0);
    let clearing = clear(&book, Some(Ok(less)));
    assert!(matches!(
        clearing.method,
        Method::Exact(market::Fallback::Wrong(Flaw::Gap { welfare: 0, .. }))
    ));
}

#[test]
fn a_clearing_belongs_to_its_kind_of_grid() {
    let book = two_streets();
    let mut clearing = clear(&book, None);
    clearing.nodal = None;
    clearing.fills.clear();
    assert_eq!(clearing.certify(&book), Err(Violation::OtherGrid { nodes: 3 }));
    assert_eq!(clear(&book, None).price_at(Node(3)), None);
    assert_eq!(clear(&book, None).filled(&point("nobody"), Side::Buy), Energy::ZERO);
}

#[cfg(feature = "serde")]
#[test]
fn a_book_on_a_grid_and_its_clearing_read_back_as_written() {
    let book = two_streets();
    let text = serde_json::to_string(&book).expect("written");
    assert_eq!(serde_json::from_str::<Book>(&text).expect(&text), book);
    let clearing = clear(&book, None);
    let text = serde_json::to_string(&clearing).expect("written");
    assert_eq!(serde_json::from_str::<Clearing>(&text).expect(&text), clearing);
    let lost = serde_json::to_string(&book).expect("written").replace("\"node\":2", "\"node\":9");
    let fault = serde_json::from_str::<Book>(&lost).expect_err("no such node");
    assert!(fault.to_string().contains("node 9 is not in the grid of 3 nodes"), "{fault}");
}
