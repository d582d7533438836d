//! Order books with results that an independent implementation computed: hand-made edge cases, and
//! eight days of a real street under two tariffs.

use std::collections::BTreeMap;
use std::path::Path;

use market::{
    Book, Clearing, Fallback, Flow, Limit, Limits, Metered, Method, Order, Side, Step, Terms,
    clear, propose, settle,
};
use units::{Money, PointId, Price, Slot};

use crate::street::{e5, point, rank, terms, wh};

/// Quarter-hours from the Unix epoch to the first one of the files.
const ORIGIN: i64 = 1_612_896;

type Row = BTreeMap<String, String>;

fn rows(file: &str) -> Vec<Row> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(file);
    let mut reader = csv::Reader::from_path(&path).unwrap_or_else(|e| panic!("{path:?}: {e}"));
    reader.deserialize().map(|row| row.unwrap_or_else(|e| panic!("{path:?}: {e}"))).collect()
}

fn int(row: &Row, column: &str) -> i64 {
    optional(row, column).unwrap_or_else(|| panic!("{column} is empty in {row:?}"))
}

fn optional(row: &Row, column: &str) -> Option<i64> {
    let text = row.get(column).unwrap_or_else(|| panic!("no column {column}"));
    (!text.is_empty()).then(|| text.parse().unwrap_or_else(|e| panic!("{column} {text:?}: {e}")))
}

/// Order rows by the value of a column.
fn grouped(rows: Vec<Row>, column: &str) -> BTreeMap<String, Vec<Row>> {
    let mut groups: BTreeMap<String, Vec<Row>> = BTreeMap::new();
    for row in rows {
        groups.entry(row[column].clone()).or_default().push(row);
    }
    groups
}

fn order_of(row: &Row, point: PointId) -> Order {
    let side = match row["side"].as_str() {
        "buy" => Side::Buy,
        "sell" => Side::Sell,
        other => panic!("side {other}"),
    };
    let (quantity, limit) = (wh(int(row, "qty_wh")), e5(int(row, "limit_e5")));
    let rank = rank(int(row, "order_id").unsigned_abs());
    Order::plain(point, side, quantity, limit, rank)
}

fn book_of(slot: Slot, terms: Terms, orders: &[Row], owner: &str) -> Book {
    let mut book = Book::open(slot, terms, Limits::default());
    for row in orders {
        let replaced = book.place(order_of(row, point(&row[owner]))).expect("a valid order");
        assert_eq!(replaced, None, "{row:?}");
    }
    book
}

/// Clears by both ways and compares every stated figure.
fn check(name: &str, book: &Book, expected: &Row, fills: &[Row], owners: &Owners) -> Clearing {
    let by_lp = clear(book, Some(propose(book)));
    assert_eq!(by_lp.method, Method::Lp, "{name}: the linear program is believed");
    let by_merit = clear(book, None);
    assert_eq!(by_merit.method, Method::Exact(Fallback::NotAsked));
    assert_eq!(Clearing { method: Method::Lp, ..by_merit }, by_lp, "{name}: both ways agree");
    by_lp.certify(book).unwrap_or_else(|violation| panic!("{name}: {violation}"));

    let price = |column: &str| optional(expected, column).map(Price::from_e5_per_kwh);
    assert_eq!(by_lp.cleared, wh(int(expected, "cleared_wh")), "{name}: cleared");
    let welfare_e5 = i128::from(int(expected, "welfare"));
    assert_eq!(by_lp.welfare, welfare_e5 * 10, "{name}: welfare in nano-currency");
    let interval = price("walras_lo_e5").zip(price("walras_hi_e5"));
    assert_eq!(by_lp.interval, interval, "{name}: interval");
    assert_eq!(by_lp.price, price("price_walras_e5"), "{name}: middle");
    assert_eq!(by_level(book, &by_lp), reference_by_level(fills, owners), "{name}: fills by level");
    by_lp
}

fn limit(order: &Order) -> Price {
    match *order.steps.as_slice() {
        [Step { limit: Limit::At(price), .. }] => price,
        _ => panic!("plain orders only: {order:?}"),
    }
}

type Owners = BTreeMap<i64, Order>;
type ByLevel = BTreeMap<(Side, Price), i64>;

/// Ties are broken in another way in the reference, so only sums per price level are comparable.
fn by_level(book: &Book, clearing: &Clearing) -> ByLevel {
    let mut levels = ByLevel::new();
    for fill in &clearing.fills {
        let order = book.order(&fill.point, fill.side).expect("a fill of an order");
        *levels.entry((fill.side, limit(order))).or_default() += fill.energy.wh();
    }
    levels
}

fn reference_by_level(fills: &[Row], owners: &Owners) -> ByLevel {
    let mut levels = ByLevel::new();
    for fill in fills {
        let order = &owners[&int(fill, "order_id")];
        *levels.entry((order.side, limit(order))).or_default() += int(fill, "filled_wh");
    }
    levels
}

fn owners(orders: &[Row], owner: &str) -> Owners {
    orders.iter().map(|row| (int(row, "order_id"), order_of(row, point(&row[owner])))).collect()
}

#[test]
fn edge_cases_clear_as_the_reference_says() {
    let orders = rows("edge/orders.csv");
    let owners = owners(&orders, "order_id");
    let books = grouped(orders, "case_id");
    let fills = grouped(rows("edge/fills.csv"), "case_id");
    let expected = rows("edge/expected.csv");
    assert_eq!(expected.len(), 76);
    for row in &expected {
        let name = &row["case_id"];
        // Wide enough for all limits: these books come without a supplier.
        let book = book_of(Slot::new(ORIGIN), terms(300_000, -1_000), &books[name], "order_id");
        let fills = fills.get(name).map_or(&[][..], Vec::as_slice);
        check(name, &book, row, fills, &owners);
    }
}

#[test]
fn a_real_street_clears_and_settles_as_the_reference_says_under_a_flat_tariff() {
    check_street("flat", 768);
}

#[test]
fn a_real_street_clears_and_settles_as_the_reference_says_under_a_dynamic_tariff() {
    check_street("dyn", 96);
}

fn check_street(tariff: &str, slots: usize) {
    let orders = rows(&format!("semiurb4/orders_{tariff}.csv"));
    let owners = owners(&orders, "customer_id");
    let books = grouped(orders, "t");
    let fills = grouped(rows(&format!("semiurb4/auction_fills_{tariff}.csv")), "t");
    let by_time = |file: &str| grouped(rows(file), "t");
    let tariffs = by_time("semiurb4/tariffs.csv");
    let intervals = by_time("semiurb4/community_intervals.csv");
    let expected = rows(&format!("semiurb4/auction_{tariff}.csv"));
    assert_eq!(expected.len(), slots);
    for row in &expected {
        let name = &row["t"];
        let prices = &tariffs[name][0];
        let terms = terms(
            int(prices, &format!("{tariff}_retail_e5")),
            int(prices, &format!("{tariff}_feedin_e5")),
        );
        let slot = Slot::new(ORIGIN + int(row, "t"));
        let book = book_of(slot, terms, &books[name], "customer_id");
        let fills = fills.get(name).map_or(&[][..], Vec::as_slice);
        let clearing = check(name, &book, row, fills, &owners);
        check_settlement(name, terms, &book, &clearing, &intervals[name][0]);
    }
}

/// Meters that read exactly the street's net energy: together all households pay what the street
/// draws from outside at retail, less what it gives at feed-in, whatever they traded.
fn check_settlement(name: &str, terms: Terms, book: &Book, clearing: &Clearing, street: &Row) {
    let metered: Vec<Metered> = book
        .orders()
        .map(|order| {
            let at = |side: Side| {
                if order.side == side { order.quantity().expect("small") } else { wh(0) }
            };
            let flow = Flow { import: at(Side::Buy), export: at(Side::Sell), produced: None };
            let point = order.point.clone();
            Metered { point, rank: order.rank, renewable: true, flow: Some(flow) }
        })
        .collect();
    let settlement = settle(clearing, terms, &metered, &[]).expect("a sound slot");
    let totals = settlement.totals;
    assert_eq!(totals.import, wh(int(street, "demand_net_wh")), "{name}");
    assert_eq!(totals.export, wh(int(street, "surplus_net_wh")), "{name}");
    assert_eq!(totals.grid_import, wh(int(street, "grid_import_wh")), "{name}");
    assert_eq!(totals.grid_export, wh(int(street, "grid_export_wh")), "{name}");
    let outside = totals.grid_import * terms.retail() - totals.grid_export * terms.feed_in();
    assert_eq!(totals.supplier, outside, "{name}: the street's bill");
    let paid: Money = settlement.bills.iter().map(|bill| bill.charges.amount).sum();
    assert_eq!(paid, outside, "{name}: the households' bills");
    // Everybody trades at most what is metered, so nobody is worse off than without neighbours.
    for bill in &settlement.bills {
        let (import, export) = (bill.charges.import.metered, bill.charges.export.metered);
        let alone = import * terms.retail() - export * terms.feed_in();
        assert!(bill.charges.amount <= alone, "{name}: {bill:?}");
    }
}
