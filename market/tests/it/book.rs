//! What the order book takes and what it refuses.

use market::{Book, Limits, MAX_PRICE, MAX_QUANTITY, Order, Refusal, Side, Terms, TermsFault};
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
    let (quantity, most) = (wh(1_001), wh(1_000));
    check(order("B", Side::Buy, 1_001, 200), Refusal::TooLarge { quantity, most });
    let limit = Price::from_nano_per_wh(2_001);
    check(Order { limit, ..order("B", Side::Buy, 1, 0) }, Refusal::OffTick { limit });
    for limit in [99, 301, -200] {
        let (limit, floor, cap) = (e5(limit), e5(100), e5(300));
        let refusal = Refusal::OutsideTariff { limit, floor, cap };
        check(Order { limit, ..order("B", Side::Sell, 1, 0) }, refusal);
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
