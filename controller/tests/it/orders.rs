//! Orders on the wire: both sides in one message, what is refused of them, and what of them trades.

use controller::bundle::{Trust, verify};
use controller::config::MarketConfig;
use controller::desk::{Desk, Input, Saved};
use protocol::{Down, Fill, Order, Signed, Step, Up};
use units::Slot;

use crate::desk::{copy, pass, read_all, with_baseline};
use crate::record::bundle;
use crate::street::{Home, START, Street, message, setup, steps};

#[tokio::test]
async fn a_price_curve_is_one_order_and_pegs_follow_the_tariff() {
    let mut street = with_baseline().await;
    let slot = START.offset(3);
    street.at(slot.start_ms() - 800_000).await;
    // Retail is 28.8 ct, feed-in 12.31 ct: the second step is worth 20 ct, the ask 15.31 ct.
    let bid = street.homes[1].curve(
        slot,
        "buy",
        &[(100, "fixed", 25_000), (200, "below retail", 8_800), (300, "fixed", 13_000)],
    );
    let ask = street.homes[0].curve(slot, "sell", &[(250, "above feed-in", 3_000)]);
    street.step(vec![bid, ask]).await;
    street.at(slot.start_ms() - 100_000).await;
    let cleared = "SELECT cleared_wh FROM clearing ORDER BY slot DESC LIMIT 1";
    assert_eq!(street.count(cleared).await, 250, "two steps of the bid take the whole ask");
    let price = "SELECT price FROM clearing ORDER BY slot DESC LIMIT 1";
    assert_eq!(street.count(price).await, 200_000, "the second step is filled in part");
    let levels = "SELECT SUM(limit_nano) FROM level WHERE slot = (SELECT MAX(slot) FROM level)";
    assert_eq!(street.count(levels).await, 250_000 + 200_000 + 130_000 + 153_100);
}

/// What home 3 would do in a slot: charge below 15 ct, discharge above 22 ct.
fn flexible(home: &mut Home, slot: Slot) -> Input {
    home.curves(
        slot,
        &[(200, "fixed", 15_000), (100, "above feed-in", 1_000)],
        &[(150, "fixed", 22_000), (150, "below retail", 4_000)],
    )
}

/// The newest fill that a home was told.
fn fill(street: &Street, home: usize) -> Fill {
    let Signed { body, .. } = street.down(home, Down::Fill).last().expect("told");
    body
}

#[tokio::test]
async fn one_order_trades_on_whichever_side_clears() {
    let mut street = with_baseline().await;
    // Its neighbour offers cheap sun, then asks for expensive energy, then something in between.
    for (number, (side, wh, limit), (bought, sold)) in [
        (2, ("sell", 250, 13_000), (250, 0)),
        (3, ("buy", 200, 26_000), (0, 200)),
        (4, ("buy", 200, 20_000), (0, 0)),
        (5, ("sell", 900, 12_310), (300, 0)),
        (6, ("buy", 900, 28_800), (0, 300)),
    ] {
        let slot = START.offset(number);
        street.at(slot.start_ms() - 300_000).await;
        let orders = vec![
            flexible(&mut street.homes[3], slot),
            street.homes[0].order(slot, side, wh, limit),
        ];
        street.step(orders).await;
        // A crash between order and gate loses neither side.
        let mut back = street.crash().await;
        back.at(slot.start_ms() - 60_000).await;
        let told = fill(&back, 3);
        assert_eq!((told.slot, told.bought_wh, told.sold_wh), (slot.number(), bought, sold));
        if bought + sold > 0 {
            let price = told.price[0];
            assert!(if bought > 0 { price <= 150_000 } else { price >= 220_000 }, "{price}");
        }
        let filled = "SELECT COUNT(*) FROM fill WHERE point = 'H03' \
                      AND slot = (SELECT MAX(slot) FROM clearing)";
        assert_eq!(back.count(filled).await, i64::from(bought + sold > 0));
        let orders = "SELECT orders FROM clearing ORDER BY slot DESC LIMIT 1";
        assert_eq!(back.count(orders).await, 2, "both sides are one order");

        back.at(slot.previous().end_ms() + 500).await;
        let readings = read_all(&mut back, slot.previous());
        back.step(readings).await;
        street = back;
    }
    street.at(START.offset(6).end_ms() + 500).await;
    let readings = read_all(&mut street, START.offset(6));
    street.step(readings).await;
    for (number, bought, sold) in [(2, 250, 0), (3, 0, 200), (4, 0, 0), (5, 300, 0), (6, 0, 300)] {
        let bill = street.delivery(3, START.offset(number)).expect("settled").statement;
        assert_eq!((bill.bought_wh, bill.sold_wh), (bought, sold), "slot {number}");
    }
    assert_eq!(street.settled_balance().await["pool"], 0);

    // Everything follows from the signed orders alone, and a changed side is named.
    let text = bundle(&street, 2, 6).await;
    let check =
        |text: &str| verify(text.as_bytes(), &Trust::default()).expect("memory can be read");
    let report = check(&text);
    assert!(report.verified, "{:?}", report.findings);
    assert_eq!(report.counts.orders, 10);
    for (from, to) in [
        (
            r#"{"quantity_wh":150,"peg":"fixed","limit":220000}"#,
            r#"{"quantity_wh":151,"peg":"fixed","limit":220000}"#,
        ),
        (
            r#""buy":[{"quantity_wh":200,"peg":"fixed","limit":150000},{"quantity_wh":100,"peg":"above feed-in","limit":10000}]"#,
            r#""buy":[]"#,
        ),
    ] {
        let changed = text.replacen(from, to, 1);
        assert_ne!(changed, text);
        let report = check(&changed);
        let named = report.findings.iter().any(|finding| finding.kind == "order");
        assert!(named, "{:?}", report.findings);
    }
}

#[tokio::test]
async fn a_book_holds_as_many_orders_as_it_says_whatever_sides_they_have() {
    let mut street = Street::open(4).await;
    let market = MarketConfig { max_orders: 3, ..MarketConfig::default() };
    let setup = setup(&street.homes, &street.grid, &market);
    street.desk = Desk::restore(setup, Saved::default(), street.now_ms).expect("nothing yet");
    let slot = START.offset(3);
    street.at(slot.start_ms() - 800_000).await;
    let orders: Vec<Input> = street.homes.iter_mut().map(|home| flexible(home, slot)).collect();
    street.step(orders).await;
    let again = flexible(&mut street.homes[0], slot);
    street.step(vec![again]).await;
    for (home, accepted) in [(0, true), (1, true), (2, true), (3, false)] {
        let verdict = street.verdicts(home).pop().expect("an answer");
        assert_eq!(verdict.accepted, accepted, "{home}: {}", verdict.reason);
        assert!(accepted || verdict.reason == "book is full: 3 orders", "{}", verdict.reason);
    }
    // Three orders are six curves.
    street.at(slot.start_ms() - 60_000).await;
    assert_eq!(street.count("SELECT orders FROM clearing ORDER BY slot DESC LIMIT 1").await, 3);
}

#[tokio::test]
async fn an_order_that_is_sent_again_gets_the_same_answer_even_after_its_gate() {
    let mut street = with_baseline().await;
    let slot = START.offset(3);
    street.at(slot.start_ms() - 800_000).await;
    let order = flexible(&mut street.homes[1], slot);
    let [again, late] = [copy(&order), copy(&order)];
    street.step(vec![order]).await;
    street.step(vec![again]).await;
    street.at(slot.start_ms() - 60_000).await;
    street.step(vec![late]).await;
    let verdicts = street.verdicts(1).split_off(1);
    assert_eq!(verdicts.iter().map(|verdict| verdict.accepted).collect::<Vec<_>>(), [true; 3]);
    assert_eq!(street.count("SELECT COUNT(*) FROM refusal").await, 0);
    // Another one is too late.
    let other = flexible(&mut street.homes[1], slot);
    street.step(vec![other]).await;
    let verdict = street.verdicts(1).pop().expect("an answer");
    assert!(verdict.reason.starts_with("after the gate"), "{}", verdict.reason);
}

/// What is wrong with an order, the reason it is counted by, and a part of the sentence.
type Flaw = (&'static str, Vec<Step>, Vec<Step>, &'static str, &'static str);

fn flaws_of_a_step() -> Vec<Flaw> {
    let many = |first: i64, rise: i64| -> Vec<(i64, &str, i64)> {
        (0..17).map(|step| (1, "fixed", first + rise * step)).collect()
    };
    let fixed = |wh, e5| steps(&[(wh, "fixed", e5)]);
    let nano = |limit| vec![Step::fixed(1, limit)];
    let none = Vec::new;
    vec![
        ("empty", none(), none(), "malformed", "neither buys nor sells"),
        ("long bid", steps(&many(25_000, -1)), fixed(1, 27_000), "malformed", "buy: 17 steps"),
        ("long ask", none(), steps(&many(20_000, 1)), "malformed", "sell: 17 steps"),
        ("unknown peg", steps(&[(1, "by feel", 20_000)]), none(), "malformed", "by feel"),
        (
            "unknown peg of the ask",
            fixed(1, 15_000),
            steps(&[(1, "", 20_000)]),
            "malformed",
            "\"\"",
        ),
        ("off tick", nano(200_005), none(), "order", "buy: limit 20.0005 ct/kWh is off"),
        ("ask off tick", none(), nano(200_001), "order", "off the tick"),
        ("below the floor", fixed(1, 12_309), none(), "order", "buy: limit 12.3090 ct"),
        ("above the cap", fixed(1, 28_801), none(), "order", "outside"),
        ("ask below the floor", none(), fixed(1, 12_309), "order", "sell: limit 12.3090 ct"),
        ("ask above the cap", none(), fixed(1, 28_801), "order", "outside"),
        ("negative price", none(), fixed(1, -1), "order", "outside"),
        ("peg beyond the cap", steps(&[(1, "below retail", -1)]), none(), "order", "outside"),
        ("nothing to buy", fixed(0, 20_000), none(), "order", "buy: quantity 0"),
        ("negative", fixed(-5, 20_000), none(), "order", "not positive"),
        ("ask for nothing", fixed(1, 15_000), fixed(0, 20_000), "order", "sell: quantity 0"),
    ]
}

/// The same for what is wrong between steps, between sides, or with their sum.
fn flaws_of_a_whole() -> Vec<Flaw> {
    let fixed = |wh, e5| steps(&[(wh, "fixed", e5)]);
    let none = Vec::new;
    vec![
        (
            "nothing in a later step",
            steps(&[(1, "fixed", 20_000), (0, "fixed", 19_000)]),
            none(),
            "order",
            "not positive",
        ),
        (
            "sum out of range",
            steps(&[(i64::MAX, "fixed", 20_000), (1, "fixed", 19_000)]),
            none(),
            "order",
            "out of range",
        ),
        (
            "peg out of range",
            steps(&[(1, "below retail", i64::MIN / 10)]),
            none(),
            "order",
            "out of range",
        ),
        (
            "ask's peg out of range",
            none(),
            steps(&[(1, "above feed-in", i64::MAX / 10)]),
            "order",
            "out of range",
        ),
        // 30 kW for a quarter-hour are 7500 Wh, and one for rounding.
        ("beyond the connection", fixed(7_502, 20_000), none(), "order", "buy: 7502 Wh are more"),
        ("ask beyond the connection", none(), fixed(7_502, 20_000), "order", "30000 W carries"),
        ("ask beyond any number", none(), fixed(i64::MAX, 20_000), "order", "allowed per order"),
        (
            "bid that does not fall",
            steps(&[(1, "fixed", 20_000), (1, "fixed", 20_000)]),
            none(),
            "order",
            "must fall",
        ),
        (
            "ask that does not rise",
            none(),
            steps(&[(1, "fixed", 20_000), (1, "fixed", 19_000)]),
            "order",
            "a seller's rise",
        ),
        ("crossed", fixed(100, 20_000), fixed(100, 19_000), "order", "own buy order"),
        ("touching", fixed(100, 20_000), fixed(100, 20_000), "order", "own buy order"),
        (
            "crossed by its pegs",
            steps(&[(100, "below retail", 5_000)]),
            steps(&[(100, "above feed-in", 5_000)]),
            "order",
            "sell: limit 17.3100 ct",
        ),
        (
            "crossed by the first step of each",
            steps(&[(1, "fixed", 21_000), (1, "fixed", 15_000)]),
            steps(&[(1, "fixed", 20_000), (1, "fixed", 25_000)]),
            "order",
            "own buy order",
        ),
    ]
}

#[tokio::test]
async fn every_flaw_of_an_order_is_named_and_leaves_the_one_that_stands() {
    let mut street = with_baseline().await;
    let slot = START.offset(3);
    street.at(slot.start_ms() - 800_000).await;
    let standing = flexible(&mut street.homes[1], slot);
    street.step(vec![standing]).await;
    for (name, buy, sell, counted, part) in flaws_of_a_step().into_iter().chain(flaws_of_a_whole())
    {
        let order = street.homes[1].next_order(slot, buy, sell);
        let order = street.homes[1].message(Up::Order, order);
        street.step(vec![order]).await;
        let verdict = street.verdicts(1).pop().expect("an answer");
        assert!(!verdict.accepted, "{name}");
        let (reason, detail) = verdict.reason.split_once(": ").expect("reason and detail");
        assert_eq!(reason, counted, "{name}: {detail}");
        assert!(detail.contains(part), "{name}: {detail:?} lacks {part:?}");
    }
    assert_eq!(street.count("SELECT COUNT(*) FROM book_order WHERE point = 'H01'").await, 2);
    // What stood before still trades.
    let offer = street.homes[0].order(slot, "sell", 50, 13_000);
    street.step(vec![offer]).await;
    street.at(slot.start_ms() - 60_000).await;
    assert_eq!(fill(&street, 1).bought_wh, 50);
}

#[tokio::test]
async fn an_order_for_another_time_or_place_is_refused() {
    let mut street = with_baseline().await;
    let slot = START.offset(3);
    let now = slot.start_ms() - 800_000;
    street.at(now).await;
    let home = &mut street.homes[1];
    let mut order = |slot: i64, change: fn(&mut Order)| {
        let mut order = home.next_order(START, steps(&[(1, "fixed", 15_000)]), vec![]);
        order.slot = slot;
        change(&mut order);
        order
    };
    let (past, far) = (START.number(), slot.number() + 10_000);
    let orders = [
        ("after the gate", order(past, |_| {})),
        ("after the gate", order(slot.number() - 1, |_| {})),
        ("untimely", order(far, |_| {})),
        ("untimely", order(i64::MAX, |_| {})),
        ("untimely", order(i64::MIN, |_| {})),
        ("another metering point", order(slot.number(), |order| order.point = "H02".into())),
        ("another metering point", order(slot.number(), |order| order.point = "L1".into())),
    ];
    for (reason, order) in orders {
        let told = format!("{order:?}");
        let order = street.homes[1].message(Up::Order, order);
        street.step(vec![order]).await;
        let refusal: Signed<protocol::Refusal> =
            street.down(1, Down::Refusal).last().expect("an answer");
        assert!(refusal.body.reason.starts_with(reason), "{told}: {}", refusal.body.reason);
    }
    // A household does not say where it is: its bus is the one it was enrolled at.
    let body = street.homes[1].next_order(slot, steps(&[(1, "fixed", 15_000)]), vec![]);
    let key = &street.homes[1].key;
    let signed = Signed::by_household(body, &crate::street::domain(), key).to_json();
    let text = String::from_utf8(signed).expect("JSON is text");
    let elsewhere = text.replacen("\"seq\"", "\"bus\":\"B2\",\"seq\"", 1);
    let order = message(&street.homes[1].point, Up::Order, elsewhere.into_bytes());
    street.step(vec![order]).await;
    let refusal: Signed<protocol::Refusal> =
        street.down(1, Down::Refusal).last().expect("an answer");
    assert!(refusal.body.reason.contains("unknown field `bus`"), "{}", refusal.body.reason);
    pass(&mut street, slot.previous()).await;
    assert_eq!(street.count("SELECT orders FROM clearing ORDER BY slot DESC LIMIT 1").await, 3);
}
