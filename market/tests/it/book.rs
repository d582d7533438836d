//! What the order book takes and what it refuses.

use std::sync::Arc;

use market::{
    Book, Branch, Grid, Limit, Limits, MAX_PRICE, MAX_QUANTITY, Node, Order, Refusal, Side, Step,
    Steps, Terms, TermsFault, Tier,
};
use units::Price;

use crate::street::{Draw, SLOT, e5, point, terms, wh};

fn order(name: &str, side: Side, quantity: i64, limit: i64) -> Order {
    Draw { side, wh: quantity, e5: limit, rank: 0 }.order(name)
}

fn small_book() -> Book {
    let limits = Limits { max_quantity: wh(1_000), max_orders: 3 };
    Book::open(SLOT, terms(300, 100), limits)
}

#[test]
fn orders_outside_the_rules_are_refused_with_the_rule() {
    let mut book = small_book();
    book.place(order("A", Side::Buy, 10, 200)).expect("valid");
    let mut check = |order: Order, expected: Refusal| {
        assert_eq!(book.place(order), Err(expected));
        assert_eq!(book.len(), 1, "the book is unchanged");
    };
    for quantity in [0, -1, i64::MIN] {
        let expected = Refusal::NotPositive { quantity: wh(quantity) };
        check(order("B", Side::Buy, quantity, 200), expected);
    }
    let at = |limit, side| Order::plain(point("B"), side, wh(1), limit, [0; 32]);
    let (quantity, most) = (wh(1_001), wh(1_000));
    check(order("B", Side::Buy, 1_001, 200), Refusal::TooLarge { quantity, most });
    let limit = Price::from_nano_per_wh(2_001);
    check(at(limit, Side::Buy), Refusal::OffTick { limit });
    for limit in [99, 301, -200] {
        let (limit, floor, cap) = (e5(limit), e5(100), e5(300));
        let refusal = Refusal::OutsideTariff { limit, floor, cap };
        check(at(limit, Side::Sell), refusal);
    }
    for limit in [100, 199, 200] {
        let own = e5(200);
        let refusal = Refusal::CrossesOwn { limit: e5(limit), side: Side::Buy, own };
        check(order("A", Side::Sell, 1, limit), refusal);
    }
}

#[test]
fn a_household_does_not_trade_with_itself_from_either_side() {
    let mut book = small_book();
    book.place(order("A", Side::Sell, 10, 250)).expect("valid");
    for limit in [250, 251, 300] {
        let refusal = Refusal::CrossesOwn { limit: e5(limit), side: Side::Sell, own: e5(250) };
        assert_eq!(book.place(order("A", Side::Buy, 1, limit)), Err(refusal));
    }
    assert_eq!(book.place(order("A", Side::Buy, 1, 249)), Ok(None));
    assert_eq!(book.place(order("B", Side::Buy, 1, 300)), Ok(None), "others may");
}

/// An order of the point B with these steps in Wh.
fn curve(side: Side, steps: &[(i64, Limit)]) -> Order {
    let steps = steps.iter().map(|&(quantity, limit)| Step { quantity: wh(quantity), limit });
    let steps = Steps::new(steps.collect()).expect("a few steps");
    Order { steps, ..order("B", side, 1, 100) }
}

#[test]
fn price_curves_are_refused_with_the_rule() {
    use Limit::{AboveFeedIn, At, BelowRetail};
    let mut book = small_book();
    let (floor, cap) = (e5(100), e5(300));
    let huge = Price::from_nano_per_wh(i64::MIN);
    let check = |book: &mut Book, order: Order, expected: Refusal| {
        assert_eq!(book.place(order), Err(expected));
        assert!(book.is_empty(), "the book is unchanged");
    };
    let falls = |step, limit, previous| Refusal::NotMonotone {
        step,
        limit: e5(limit),
        previous: e5(previous),
    };
    for (side, steps, expected) in [
        (Side::Buy, vec![(1, At(e5(200))), (1, At(e5(201)))], falls(2, 201, 200)),
        (Side::Buy, vec![(1, At(e5(200))), (1, At(e5(200)))], falls(2, 200, 200)),
        (
            Side::Sell,
            vec![(1, At(e5(200))), (1, At(e5(240))), (1, At(e5(230)))],
            falls(3, 230, 240),
        ),
        // 300 − 90 = 210, and 100 + 90 = 190: only the tariff tells which is dearer.
        (Side::Sell, vec![(1, BelowRetail(e5(90))), (1, AboveFeedIn(e5(90)))], falls(2, 190, 210)),
        (
            Side::Buy,
            vec![(1, BelowRetail(e5(-1)))],
            Refusal::OutsideTariff { limit: e5(301), floor, cap },
        ),
        (
            Side::Sell,
            vec![(1, AboveFeedIn(e5(201)))],
            Refusal::OutsideTariff { limit: e5(301), floor, cap },
        ),
        (Side::Buy, vec![(1, BelowRetail(huge))], Refusal::Overflow),
        (
            Side::Buy,
            vec![(1, At(e5(200))), (0, At(e5(150)))],
            Refusal::NotPositive { quantity: wh(0) },
        ),
        (Side::Buy, vec![(i64::MAX, At(e5(200))), (1, At(e5(150)))], Refusal::Overflow),
        (
            Side::Buy,
            vec![(600, At(e5(200))), (401, At(e5(150)))],
            Refusal::TooLarge { quantity: wh(1_001), most: wh(1_000) },
        ),
    ] {
        check(&mut book, curve(side, &steps), expected);
    }
    let lost = Order { node: Node(1), ..order("B", Side::Buy, 1, 200) };
    check(&mut book, lost, Refusal::UnknownNode { node: Node(1), size: 1 });
    let step = Step { quantity: wh(1), limit: At(e5(200)) };
    assert_eq!(Steps::new(Vec::new()), Err(Refusal::NoSteps));
    assert_eq!(Steps::new(vec![step; 17]), Err(Refusal::TooManySteps { steps: 17 }));
    assert!(Steps::new(vec![step; 16]).is_ok(), "that they are equal is the book's to refuse");
}

#[test]
fn pegged_limits_follow_the_tariff_of_the_slot() {
    use Limit::{AboveFeedIn, At, BelowRetail};
    let bid =
        curve(Side::Buy, &[(5, BelowRetail(e5(0))), (7, At(e5(240))), (2, AboveFeedIn(e5(5)))]);
    let ask = curve(Side::Sell, &[(5, AboveFeedIn(e5(30)))]);
    for (retail, feed_in) in [(300, 100), (250, -40)] {
        let mut book = Book::open(SLOT, terms(retail, feed_in), Limits::default());
        assert_eq!(book.place(bid.clone()), Ok(None));
        let limits: Vec<_> = book.limits_of(&bid).collect();
        let expected = [(wh(5), e5(retail)), (wh(7), e5(240)), (wh(2), e5(feed_in + 5))];
        assert_eq!(limits, expected);
        let own = Order { point: point("C"), ..ask.clone() };
        assert_eq!(book.place(own), Ok(None));
        let expected =
            Refusal::CrossesOwn { limit: e5(feed_in + 30), side: Side::Buy, own: e5(retail) };
        assert_eq!(book.place(ask.clone()), Err(expected), "the most eager steps would trade");
        assert_eq!(book.lots().len(), 4);
    }
}

#[test]
fn orders_are_where_the_grid_has_a_node() {
    let branch = |name: &str, parent| Branch {
        name: name.to_owned(),
        parent,
        import_cap: wh(100),
        export_cap: wh(100),
        fee: e5(5),
        tier: Tier::Street,
    };
    let grid = Grid::new(vec![branch("a", Node(0)), branch("b", Node(1))]).expect("a tree");
    let mut book = Book::on_grid(SLOT, terms(300, 100), Limits::default(), Arc::new(grid));
    let at = |node, side, limit| Order { node, ..order("A", side, 10, limit) };
    assert_eq!(book.place(at(Node(2), Side::Buy, 150)), Ok(None));
    let unknown = Refusal::UnknownNode { node: Node(3), size: 3 };
    assert_eq!(book.place(at(Node(3), Side::Buy, 150)), Err(unknown));
    let other = Refusal::OtherNode { node: Node(1), side: Side::Buy, own: Node(2) };
    assert_eq!(book.place(at(Node(1), Side::Sell, 200)), Err(other));
    assert_eq!(book.place(at(Node(2), Side::Sell, 200)), Ok(None));
    let moved = book.place(at(Node(2), Side::Buy, 160)).expect("valid");
    assert_eq!(moved, Some(at(Node(2), Side::Buy, 150)));
    let nodes: Vec<Node> = book.lots().iter().map(|lot| lot.node).collect();
    assert_eq!(nodes, [Node(2), Node(2)]);
}

#[test]
fn a_later_order_replaces_the_earlier_one_of_its_side() {
    let mut book = small_book();
    let (first, second) = (order("A", Side::Buy, 10, 200), order("A", Side::Buy, 20, 150));
    assert_eq!(book.place(first.clone()), Ok(None));
    assert_eq!(book.place(order("A", Side::Sell, 5, 250)), Ok(None));
    assert_eq!(book.place(second.clone()), Ok(Some(first)));
    assert_eq!(book.len(), 2);
    assert_eq!(book.order(&point("A"), Side::Buy), Some(&second));
    assert_eq!(book.withdraw(&point("A"), Side::Buy), Some(second));
    assert_eq!(book.withdraw(&point("A"), Side::Buy), None);
    assert_eq!(book.withdraw(&point("B"), Side::Buy), None);
    assert_eq!(book.len(), 1);
    assert!(book.withdraw(&point("A"), Side::Sell).is_some());
    assert!(book.is_empty());
    assert_eq!(book, small_book(), "nothing is left behind");
}

#[test]
fn a_full_book_still_takes_replacements() {
    let mut book = small_book();
    for name in ["C", "A", "B"] {
        book.place(order(name, Side::Buy, 1, 200)).expect("room");
    }
    let refusal = Refusal::Full { most: 3 };
    assert_eq!(book.place(order("D", Side::Buy, 1, 200)), Err(refusal.clone()));
    assert_eq!(book.place(order("A", Side::Sell, 1, 250)), Err(refusal));
    assert!(book.place(order("A", Side::Buy, 2, 200)).is_ok());
    let names: Vec<&str> = book.orders().map(|order| order.point.as_str()).collect();
    assert_eq!(names, ["A", "B", "C"], "sorted by point, not by arrival");
}

#[test]
fn nothing_can_be_ordered_when_retail_is_not_above_feed_in() {
    for (retail, feed_in) in [(100, 100), (90, 110)] {
        let mut book = Book::open(SLOT, terms(retail, feed_in), Limits::default());
        let refusal = Refusal::NoRoom { retail: e5(retail), feed_in: e5(feed_in) };
        assert_eq!(book.place(order("A", Side::Buy, 1, 100)), Err(refusal));
    }
}

#[test]
fn limits_cannot_be_wider_than_the_library() {
    let limits = Limits { max_quantity: wh(i64::MAX), max_orders: 1 };
    let book = Book::open(SLOT, terms(300, 100), limits);
    assert_eq!(book.limits().max_quantity, MAX_QUANTITY);
}

#[test]
fn terms_are_on_the_tick_and_of_a_possible_size() {
    let check = |retail, feed_in, expected| assert_eq!(Terms::new(retail, feed_in), Err(expected));
    let (good, off) = (e5(300), Price::from_nano_per_wh(3_005));
    check(off, good, TermsFault::OffTick { name: "retail", price: off });
    check(good, off, TermsFault::OffTick { name: "feed-in", price: off });
    let (big, small) = (MAX_PRICE + Price::TICK, -MAX_PRICE - Price::TICK);
    check(big, good, TermsFault::TooLarge { name: "retail", price: big });
    check(good, small, TermsFault::TooLarge { name: "feed-in", price: small });
    assert_eq!(terms(301, 100).middle(), Price::from_nano_per_wh(2_005), "halfway, exactly");
    assert!(Terms::new(MAX_PRICE, -MAX_PRICE).is_ok());
}
