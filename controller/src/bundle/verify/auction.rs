//! The auction of a slot: the book as it was signed, the draw that nobody could choose, and the one
//! result that follows.

use std::sync::Arc;

use market::{Book, Clearing, Fill, Limits, Method, Order, Side, Terms, clear};
use protocol::{B256, Statement};
use units::{Energy, PointId, Price, Slot};

use super::super::line::{ClearingLine, OrderLine, StatementLine};
use super::findings::Findings;
use super::state::State;
use crate::rules::{
    self, Cleared, PriceTree, StreetGrid, StreetSharing, digests_root, network, rank, seed,
};

/// Rebuilds a slot's auction; none when its terms are none.
pub fn check(
    state: &mut State,
    slot: Slot,
    (number, line): (u64, &ClearingLine),
    orders: &[(u64, OrderLine)],
    statements: &[(u64, StatementLine)],
    found: &mut Findings,
) -> Option<Cleared> {
    let body = &line.clearing.body;
    let mut complain = |what: String| found.slot(number, "clearing", slot, what);
    if let Err(error) = line.clearing.clone().verify_operator(&state.domain, state.operator) {
        complain(error.to_string());
    }
    if body.slot != slot.number() {
        complain(format!("is of slot {}", body.slot));
    }
    if body.time_ms < state.gate_ms(slot) {
        complain("was made before the gate had closed".to_owned());
    }
    if let Err(why) = check_log_root(state, slot, body) {
        complain(why);
    }
    let price = Price::from_nano_per_wh;
    let terms = match Terms::new(price(body.retail), price(body.feed_in)) {
        Ok(terms) => terms,
        Err(fault) => {
            complain(fault.to_string());
            return None;
        }
    };
    state.terms.insert(slot, terms);

    let digests = orders.iter().map(|(_, line)| state.domain.digest(&line.order.body));
    let orders_root = digests_root(digests);
    let drawn = seed(body.log_root, orders_root, slot);
    if body.orders_root != orders_root || usize::try_from(body.orders) != Ok(orders.len()) {
        complain("these orders are not the book that was cleared".to_owned());
    }
    if body.seed != drawn {
        complain("its seed does not follow from the log and the book".to_owned());
    }
    let grid = state.grids.get(&body.grid).cloned().unwrap_or_else(|| {
        let what = format!("names a grid {} that the bundle does not have", body.grid);
        found.slot(number, "clearing", slot, what);
        StreetGrid::default()
    });
    let sharing = state.sharings.get(&body.sharing).cloned().unwrap_or_else(|| {
        let what = format!("names a sharing rule {} that the bundle does not have", body.sharing);
        found.slot(number, "clearing", slot, what);
        StreetSharing::default()
    });
    let mut book = book(state, (slot, drawn), terms, &grid, orders, found);
    if !sharing.takes_orders() {
        // Orders from before the rule changed are kept and not used.
        book = Book::on_grid(slot, terms, Limits::default(), grid.grid().clone());
    }
    let clearing = clear(&book, None);
    compare(number, slot, body, (state, &grid, &clearing), found);
    certify(number, slot, body, (&book, &clearing), statements, found);
    let (grid, sharing) = (Arc::new(grid), Arc::new(sharing));
    Some(Cleared { clearing, orders_root, seed: drawn, terms, grid, sharing })
}

/// The seed must be drawn from the log as it was when the gate closed: an operator who could pick
/// an older root could pick the draw.
fn check_log_root(state: &State, slot: Slot, body: &protocol::Clearing) -> Result<(), String> {
    let known = state.roots.iter().rposition(|known| known.root == body.log_root);
    let Some(at) = known else {
        return Err(format!("refers to a log root {} that is not known", body.log_root));
    };
    let root = state.roots[at];
    if root.time_ms > body.time_ms {
        return Err("refers to a log that was signed after it".to_owned());
    }
    match state.roots.get(at + 1) {
        Some(next) if Some(next.size) != root.size.checked_add(1) => {
            Err(format!("the log that follows the {} leaves it draws from is missing", root.size))
        }
        Some(next) if next.time_ms < state.gate_ms(slot) => {
            Err(format!("draws from a log of {} leaves that was outdated at the gate", root.size))
        }
        _ => Ok(()),
    }
}

/// The book, order by order.
fn book(
    state: &State,
    (slot, seed): (Slot, B256),
    terms: Terms,
    grid: &StreetGrid,
    orders: &[(u64, OrderLine)],
    found: &mut Findings,
) -> Book {
    let mut book = Book::on_grid(slot, terms, Limits::default(), grid.grid().clone());
    let mut last: Option<&str> = None;
    for (number, line) in orders {
        let body = &line.order.body;
        let at = (body.point.as_str(), slot);
        if last.is_some_and(|last| last >= body.point.as_str()) {
            found.point(*number, "order", at, "is out of order or there twice");
        }
        last = Some(&body.point);
        found.counts.orders += 1;
        if let Err(why) = place((state, grid), &mut book, seed, line) {
            found.point(*number, "order", at, why);
        }
    }
    book
}

/// Puts an order into the book, if it is one of a member, in time and within the rules.
fn place(
    (state, grid): (&State, &StreetGrid),
    book: &mut Book,
    seed: B256,
    line: &OrderLine,
) -> Result<(), String> {
    let slot = book.slot();
    let body = &line.order.body;
    let member = state.member(&body.point).ok_or("is of nobody who is enrolled")?;
    let keys = member.keys.for_message(line.received_ms);
    let verified = line.order.clone().verify_any(&state.domain, keys);
    let digest = verified.map_err(|error| error.to_string())?.digest();
    if body.slot != slot.number() {
        return Err(format!("is for slot {}", body.slot));
    }
    if line.received_ms >= state.gate_ms(slot) {
        return Err("came after the gate".to_owned());
    }
    let point = &member.line.point;
    let node = grid.place(point).ok_or("is of somebody who is not on the slot's grid")?;
    let rank = rank(seed, digest.as_slice());
    rules::place(book, body, (point, node), rank)
        .and_then(|()| rules::carried(body, member.connection()))
        .map_err(|fault| fault.to_string())
}

/// The announced result against the one that follows.
fn compare(
    number: u64,
    slot: Slot,
    body: &protocol::Clearing,
    (state, grid, clearing): (&State, &StreetGrid, &Clearing),
    found: &mut Findings,
) {
    let nano = |price: Price| price.nano_per_wh();
    let price: Vec<i64> = clearing.price.map(nano).into_iter().collect();
    let interval = clearing.interval.map(|(low, high)| vec![nano(low), nano(high)]);
    let interval = interval.unwrap_or_default();
    let mut complain = |name: &str, stated: &dyn std::fmt::Debug, exact: &dyn std::fmt::Debug| {
        let what = format!("{name} is {stated:?} where {exact:?} follows from the orders");
        found.slot(number, "clearing", slot, what);
    };
    if body.cleared_wh != clearing.cleared.wh() {
        complain("cleared_wh", &body.cleared_wh, &clearing.cleared.wh());
    }
    if body.price != price {
        complain("price", &body.price, &price);
    }
    if body.interval != interval {
        complain("interval", &body.interval, &interval);
    }
    let prices = PriceTree::of(grid, clearing, &state.domain).root();
    if (body.prices_root, body.prices) != prices {
        complain("prices_root", &(body.prices_root, body.prices), &prices);
    }
    let network = network(clearing);
    if (body.grid_fees, body.congestion) != network {
        complain("grid_fees and congestion", &(body.grid_fees, body.congestion), &network);
    }
}

/// What was announced and billed against the definition of a right result, without clearing again.
fn certify(
    number: u64,
    slot: Slot,
    body: &protocol::Clearing,
    (book, exact): (&Book, &Clearing),
    statements: &[(u64, StatementLine)],
    found: &mut Findings,
) {
    let price = |nano: &i64| Price::from_nano_per_wh(*nano);
    // Without an announced price there may be no fill, and the certificate says so.
    let fills: Vec<Fill> = statements.iter().flat_map(|(_, line)| fills(&line.statement)).collect();
    let welfare: i128 = fills
        .iter()
        .filter_map(|fill| Some((fill, book.order(&fill.point, fill.side)?)))
        .map(|(fill, order)| {
            let value = order_value(book, order, fill.energy);
            if fill.side == Side::Buy { value } else { -value }
        })
        .sum();
    let clearing = Clearing {
        slot,
        cleared: Energy::from_wh(body.cleared_wh),
        welfare: welfare - exact.nodal.as_ref().map_or(0, |nodal| nodal.fees),
        price: body.price.first().map(price),
        interval: body.interval.first().map(price).zip(body.interval.get(1).map(price)),
        fills,
        method: Method::Lp,
        // Its prices were compared by their root.
        nodal: exact.nodal.clone(),
    };
    if let Err(violation) = clearing.certify(book) {
        found.slot(number, "clearing", slot, format!("is not a right result: {violation}"));
    }
}

/// What so much of an order is worth by its own limits, nano-currency.
fn order_value(book: &Book, order: &Order, mut left: Energy) -> i128 {
    let mut value = 0;
    for (quantity, limit) in book.limits_of(order) {
        let energy = left.min(quantity);
        left -= energy;
        value += i128::from(energy.wh()) * i128::from(limit.nano_per_wh());
    }
    value
}

/// What a bill says was bought and sold.
fn fills(statement: &Statement) -> Vec<Fill> {
    let price = statement.price.first().map_or(Price::ZERO, |nano| Price::from_nano_per_wh(*nano));
    let Ok(point) = PointId::new(statement.point.as_str()) else { return Vec::new() };
    [(Side::Buy, statement.bought_wh), (Side::Sell, statement.sold_wh)]
        .into_iter()
        .filter(|(_, wh)| *wh != 0)
        .map(|(side, wh)| Fill { point: point.clone(), side, energy: Energy::from_wh(wh), price })
        .collect()
}
