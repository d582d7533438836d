//! Explanations, every claim of which is tried out.

use std::sync::Arc;

use market::why::{Rest, SetBy, StepWhy, Why, explain, explain_at, would_have_traded};
use market::{Book, Clearing, Limit, Limits, Node, Order, Refusal, Side, Step, Steps, Tier, clear};
use proptest::prelude::*;
use units::{Energy, PointId, Price};

use crate::radial_street::{Market, tied, varied};
use crate::street::{Draw, SLOT, book_of, e5, point, rank, terms, wh};

/// Orders of up to three steps, and points with orders of both sides: lots are given to the point
/// before them as long as its rules allow.
fn book_of_curves(market: &Market) -> Book {
    let (terms, grid) = (terms(1_000, -1_000), Arc::new(market.grid()));
    let mut book = Book::on_grid(SLOT, terms, Limits::default(), grid);
    let mut last: Option<(PointId, Node)> = None;
    for (i, lot) in market.lots.iter().enumerate() {
        let step = Step { quantity: lot.quantity, limit: Limit::At(lot.limit) };
        if let Some((name, node)) = &last {
            let standing = book.order(name, lot.side).map(|order| order.steps.as_slice().to_vec());
            let mut steps = standing.unwrap_or_default();
            steps.push(step);
            let joined = Order {
                point: name.clone(),
                node: *node,
                side: lot.side,
                steps: Steps::new(steps).expect("a few"),
                rank: market.rank(i),
            };
            if joined.steps.as_slice().len() <= 3 && book.place(joined).is_ok() {
                continue;
            }
        }
        let name = point(format_args!("P{i:03}"));
        let order = Order::plain(name.clone(), lot.side, lot.quantity, lot.limit, market.rank(i));
        book.place(Order { node: lot.node, ..order }).expect("a new point");
        last = Some((name, lot.node));
    }
    book
}

/// The order with this limit for the step and all steps before it that are less eager.
fn raised(book: &Book, order: &Order, step: usize, limit: Price) -> Order {
    let less_eager = |one: Price, than: Price| match order.side {
        Side::Buy => one < than,
        Side::Sell => one > than,
    };
    let mut steps: Vec<(Energy, Price)> = Vec::new();
    for (k, (quantity, own)) in book.limits_of(order).enumerate() {
        let at = if k <= step && less_eager(own, limit) { limit } else { own };
        match steps.last_mut() {
            Some(last) if last.1 == at => last.0 += quantity,
            _ => steps.push((quantity, at)),
        }
    }
    let steps = steps.into_iter().map(|(quantity, at)| Step { quantity, limit: Limit::At(at) });
    Order { steps: Steps::new(steps.collect()).expect("no more than before"), ..order.clone() }
}

/// What the order would get with that limit.
fn tried(book: &Book, order: &Order, step: usize, limit: Price) -> Result<Energy, Refusal> {
    let mut book = book.clone();
    let order = raised(&book, order, step, limit);
    book.place(order.clone())?;
    Ok(clear(&book, None).filled(&order.point, order.side))
}

/// Every wish is granted at its limit and not a tick before; where there is none, nothing that the
/// rules allow would do.
fn check_wishes(book: &Book, order: &Order, filled: Energy, steps: &[StepWhy]) {
    let tick = if order.side == Side::Buy { Price::TICK } else { -Price::TICK };
    let mut before = Energy::ZERO;
    for (k, step) in steps.iter().enumerate() {
        let threshold = filled.max(before);
        before += step.quantity;
        if step.filled == step.quantity {
            assert_eq!((step.rest, step.would_trade_at), (None, None));
            continue;
        }
        assert!(step.rest.is_some());
        match step.would_trade_at {
            Some(limit) => {
                let at = |limit| tried(book, order, k, limit).expect("an allowed limit");
                assert!(at(limit) > threshold, "step {k} at {limit}: {order:?}");
                assert!(at(limit - tick) <= threshold, "step {k} below {limit}: {order:?}");
            }
            None => {
                let own = book.order(&order.point, order.side.opposite());
                let own = own.and_then(|own| book.limits_of(own).next());
                let most = match (order.side, own) {
                    (Side::Buy, None) => book.terms().retail(),
                    (Side::Sell, None) => book.terms().feed_in(),
                    (_, Some((_, own))) => own - tick,
                };
                let most = tried(book, order, k, most).expect("an allowed limit");
                assert!(most <= threshold, "step {k} would trade: {order:?}");
            }
        }
    }
}

fn check_set_by(book: &Book, clearing: &Clearing, why: &Why, set_by: SetBy, low: bool) {
    let keeps = (set_by.side == Side::Sell) == set_by.filled;
    assert_eq!(keeps, low, "{set_by:?}");
    let is_it = |order: &Order| {
        let fill = clearing.filled(&order.point, order.side);
        let mut before = Energy::ZERO;
        book.limits_of(order).any(|(quantity, limit)| {
            let touched = if set_by.filled { fill > before } else { fill < before + quantity };
            before += quantity;
            touched
                && limit == set_by.limit
                && order.side == set_by.side
                && (!set_by.own || order.point == why.point)
        })
    };
    assert!(book.orders().any(is_it), "nobody's order: {set_by:?}");
}

fn check(book: &Book) {
    let clearing = clear(book, None);
    let points: Vec<PointId> = book.orders().map(|order| order.point.clone()).collect();
    for name in points {
        let why = explain(book, &clearing, &name).expect("it has an order");
        assert_eq!((why.price, why.slot), (clearing.price_at(why.node), SLOT));
        assert_eq!(why.parts.map(|parts| parts.price()), why.price);
        let stated = clearing.nodal.as_ref().map(|nodal| nodal.prices[why.node.index()]);
        let stated = match (stated, clearing.interval) {
            (Some(node), _) => Some((node.low, node.high)),
            (None, Some((low, high))) => Some((Some(low), Some(high))),
            (None, None) => None,
        };
        let found = (why.low.map(|set| set.price), why.high.map(|set| set.price));
        if let Some(stated) = stated {
            assert_eq!(found, stated);
        }
        for (set_by, low) in [(why.low, true), (why.high, false)] {
            if let Some(set_by) = set_by {
                check_set_by(book, &clearing, &why, set_by, low);
            }
        }
        for told in &why.orders {
            let order = book.order(&name, told.side).expect("it is in the book");
            let filled = clearing.filled(&name, told.side);
            assert_eq!(told.steps.iter().map(|step| step.filled).sum::<Energy>(), filled);
            check_wishes(book, order, filled, &told.steps);
        }
    }
}

/// Whoever had stayed away learns the limit that would have traded, and nothing before it would.
fn check_absent(book: &Book) {
    let orders: Vec<Order> = book.orders().cloned().collect();
    for order in orders {
        let mut without = book.clone();
        without.withdraw(&order.point, order.side).expect("it is there");
        let (quantity, own) = book.limits_of(&order).next().expect("a step");
        let plain = |limit| {
            let plain = Order::plain(order.point.clone(), order.side, quantity, limit, order.rank);
            Order { node: order.node, ..plain }
        };
        let got = |limit| {
            let mut book = without.clone();
            book.place(plain(limit)).expect("an allowed limit");
            clear(&book, None).filled(&order.point, order.side)
        };
        let tick = if order.side == Side::Buy { Price::TICK } else { -Price::TICK };
        match would_have_traded(&without, plain(own)).expect("an allowed limit") {
            Some(limit) => {
                assert!(got(limit).is_positive(), "at {limit}: {order:?}");
                assert!(limit == own || !got(limit - tick).is_positive(), "{limit}: {order:?}");
            }
            None => assert!(!got(own).is_positive(), "{order:?}"),
        }
        let why = explain_at(&without, &clear(&without, None), &order.point, order.node);
        assert_eq!(
            why.orders.len(),
            without.order(&order.point, order.side.opposite()).iter().len()
        );
        assert_eq!(why.parts.map(|parts| parts.price()), why.price);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn what_an_absent_order_would_have_needed_is_exact(
        market in prop_oneof![tied(5, 9), varied(5, 9)]
    ) {
        check_absent(&book_of_curves(&market));
    }

    #[test]
    fn every_claim_on_a_grid_holds(market in prop_oneof![tied(7, 14), varied(7, 14)]) {
        check(&book_of_curves(&market));
    }

    #[test]
    fn every_claim_at_one_node_holds(market in prop_oneof![tied(1, 16), varied(1, 16)]) {
        check(&book_of_curves(&Market { branches: Vec::new(), ..at_root(market) }));
    }
}

fn at_root(mut market: Market) -> Market {
    market.lots.iter_mut().for_each(|lot| lot.node = Node::ROOT);
    market
}

#[test]
fn a_bid_that_was_too_low_learns_what_would_have_done() {
    let draw = |side, wh, e5| Draw { side, wh, e5, rank: 0 };
    let book = book_of(
        terms(300, 100),
        &[draw(Side::Buy, 10, 250), draw(Side::Buy, 10, 180), draw(Side::Sell, 12, 150)],
    );
    let clearing = clear(&book, None);
    let told = |name: &str| explain(&book, &clearing, &point(name)).expect("it has an order");
    let why = told("P001");
    // The 2 Wh left after P000 go to P001 at its own limit, which sets the price.
    assert_eq!(why.price, Some(e5(180)));
    let own = SetBy { price: e5(180), side: Side::Buy, limit: e5(180), filled: false, own: true };
    assert_eq!(why.low, Some(own));
    assert_eq!(why.high, Some(SetBy { filled: true, ..own }));
    let step = why.orders[0].steps[0];
    assert_eq!((step.filled, step.rest), (wh(2), Some(Rest::Volume)));
    // Only by taking the place of P000.
    assert_eq!(step.would_trade_at, Some(e5(250)));
    assert_eq!(told("P000").low.map(|set| set.own), Some(false));
    assert!(why.full.is_empty());
    assert_eq!(explain(&book, &clearing, &point("P009")), None);

    let book = book_of(terms(300, 100), &[draw(Side::Buy, 10, 150), draw(Side::Sell, 9, 200)]);
    let why = explain(&book, &clear(&book, None), &point("P000")).expect("it has an order");
    let step = why.orders[0].steps[0];
    assert_eq!(
        (why.price, step.rest, step.would_trade_at),
        (None, Some(Rest::NoTrade), Some(e5(200)))
    );
    let shared = Clearing::shared(SLOT, "the orders are lost");
    let why = explain(&book, &shared, &point("P000")).expect("it has an order");
    let step = why.orders[0].steps[0];
    assert_eq!((step.rest, step.would_trade_at), (Some(Rest::NoMarket), None));
}

#[test]
fn a_full_branch_is_named_from_both_sides() {
    let branch = |name: &str, parent, cap, fee| market::Branch {
        name: name.to_owned(),
        parent,
        import_cap: wh(cap),
        export_cap: wh(cap),
        fee: e5(fee),
        tier: Tier::Street,
    };
    let branches = vec![branch("a", Node(0), 1_000, 5), branch("b", Node(1), 30, 10)];
    let grid = Arc::new(market::Grid::new(branches).expect("a tree"));
    let mut book = Book::on_grid(SLOT, terms(300, 100), Limits::default(), grid);
    for (name, node, side, quantity, limit) in
        [("near", 1, Side::Buy, 100, 250), ("sun", 2, Side::Sell, 200, 120)]
    {
        let order = Order::plain(point(name), side, wh(quantity), e5(limit), rank(1));
        book.place(Order { node: Node(node), ..order }).expect("valid");
    }
    let clearing = clear(&book, None);
    let told = |name: &str| explain(&book, &clearing, &point(name)).expect("it has an order");
    let full = |name: &str| -> Vec<(String, Energy)> {
        told(name).full.into_iter().map(|branch| (branch.name, branch.inwards)).collect()
    };
    assert_eq!(full("near"), [("b".to_owned(), wh(30))]);
    assert_eq!(full("sun"), [("b".to_owned(), wh(-30))]);
    let step = told("near").orders[0].steps[0];
    assert_eq!(
        (step.rest, step.would_trade_at),
        (Some(Rest::Volume), None),
        "no price widens a cable"
    );
}
