//! Written down and read back: what a controller stores between two steps, and what an auditor
//! gets in a bundle.

use market::{Book, Clearing, Cumulative, Mint, Settlement, Terms, clear, post, propose};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::settlement::settled_example;
use crate::street::{Draw, point, terms, wide_book};

fn round_trip<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(value: &T) {
    let text = serde_json::to_string(value).expect("written");
    assert_eq!(serde_json::from_str::<T>(&text).expect(&text), *value);
}

fn book() -> Book {
    let draw = |side, wh, e5| Draw { side, wh, e5, rank: 7 };
    wide_book(&[
        draw(market::Side::Buy, 10, 30),
        draw(market::Side::Buy, 5, -20),
        draw(market::Side::Sell, 8, -40),
    ])
}

#[test]
fn everything_reads_back_as_it_was_written() {
    let book = book();
    round_trip(&book);
    let proposal = propose(&book);
    round_trip(&proposal.clone().expect("a small program"));
    round_trip::<Clearing>(&clear(&book, Some(proposal)));
    round_trip::<Clearing>(&clear(&book, None));
    let settlement = settled_example();
    round_trip::<Settlement>(&settlement);
    round_trip(&post(&settlement).expect("sound"));
    round_trip(&market::Balances::of(&post(&settlement).expect("sound")).expect("sound"));
    let mut totals = Cumulative::default();
    totals.add(&[Mint { point: point("A"), wei: u128::MAX / 2 }]).expect("in range");
    round_trip(&totals);
    round_trip(&terms(300, 100));
}

#[test]
fn a_written_book_is_held_to_the_same_rules() {
    let text = serde_json::to_string(&book()).expect("written");
    let check = |from: &str, to: &str, reason: &str| {
        assert!(text.contains(from), "{from} is in {text}");
        let fault = serde_json::from_str::<Book>(&text.replacen(from, to, 1)).expect_err(to);
        assert!(fault.to_string().contains(reason), "{fault}");
    };
    check("\"quantity\":10", "\"quantity\":0", "P000: quantity 0 Wh is not positive");
    check("\"at\":300", "\"at\":301", "off the tick");
    check("\"retail\":10000", "\"retail\":-20000", "no local trade");
    check("\"retail\":10000", "\"retail\":10005", "off the tick");
    check("\"P001\"", "\"P000\"", "two buy orders");
    check("\"slot\"", "\"slott\"", "unknown field");
    assert!(serde_json::from_str::<Terms>("{\"retail\":1,\"feed_in\":0}").is_err());
}
