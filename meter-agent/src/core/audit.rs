//! Checking a delivered statement against everything the household knows itself.
//!
//! In this order: the operator's signature under the log; the header in the log; the log only
//! appended to; the statement under the header; the sums of the header; the household's own
//! registers, order and fill, and what an earlier version of the slot said; and the bill, recomputed to the nano-currency with the function that
//! the market publishes for it. The first thing that does not hold is the finding.

mod sharing;

use market::{Basis, Late, Own, Terms, charge};
use protocol::merkle::{self, Frontier};
use protocol::{
    Address, Delivery, Domain, Header, LateLine, MAX_LATE_LINES, Peg, Side, Statement, Step,
    keccak256,
};
use units::{Energy, Money, PointId, Price, Slot};

use super::book::{Book, Filled, Placed};
use super::edges::Edges;
use super::witness::{Slip, Witness};

/// What does not hold in a delivery.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Finding {
    /// The delivery is for someone else, or its parts speak of different slots.
    #[error("{what} is {stated}, expected {expected}")]
    Mismatch {
        /// Which figure.
        what: &'static str,
        /// As delivered.
        stated: String,
        /// As it should be.
        expected: String,
    },
    /// The checkpoint is not signed by the operator.
    #[error("the checkpoint is not signed by the operator {operator}")]
    NotTheOperator {
        /// The operator in the configuration.
        operator: Address,
    },
    /// The header is not in the log that was signed.
    #[error("the header is not the last leaf of the signed log")]
    NotInLog,
    /// The log was rewritten.
    #[error("the log was rewritten: {0}")]
    Rewritten(String),
    /// Part of the log was never shown.
    #[error("the log between {from} and {to} entries was not shown, although asked for")]
    Withheld {
        /// Size of the log as far as it is known.
        from: u64,
        /// Where it goes on.
        to: u64,
    },
    /// The statement is not under the header.
    #[error("the statement is not among the header's {statements} statements")]
    NotUnderHeader {
        /// How many there are.
        statements: u32,
    },
    /// The header contradicts itself.
    #[error("the header's sums do not hold: {0}")]
    Sums(String),
    /// The registers say something else.
    #[error("registers: {0}")]
    Registers(String),
    /// The order or the fill says something else.
    #[error("order: {0}")]
    Order(String),
    /// The bill cannot be computed from the stated figures.
    #[error("bill: {0}")]
    Bill(String),
    /// A later version of a slot changes what it may not.
    #[error("settled again: {0}")]
    Version(String),
    /// The rewards are wrong.
    #[error("rewards: {0}")]
    Rewards(String),
}

/// What the household knows.
pub struct Knowledge<'a> {
    /// The community's signing domain.
    pub domain: &'a Domain,
    /// The operator in the configuration.
    pub operator: Address,
    /// This household.
    pub point: &'a PointId,
    /// What of the log was seen before.
    pub witness: &'a Witness,
    /// The journal's registers.
    pub edges: &'a Edges,
    /// Offers, orders, fills and clearings.
    pub book: &'a Book,
}

/// Checks that the operator signed a log with this header as its last leaf.
///
/// # Errors
/// The first [`Finding`].
pub fn authentic(delivery: &Delivery, known: &Knowledge<'_>) -> Result<(), Finding> {
    let Delivery { statement, header, log_path, checkpoint, .. } = delivery;
    let signed = checkpoint
        .clone()
        .verify_operator(known.domain, known.operator)
        .map_err(|_| Finding::NotTheOperator { operator: known.operator })?;
    let checkpoint = signed.body();
    same("point of the statement", statement.point.as_str(), known.point.as_str())?;
    same("slot of the statement", statement.slot, header.slot)?;
    same("slot of the checkpoint", checkpoint.slot, header.slot)?;
    same("size of the log", checkpoint.size, header.index.saturating_add(1))?;

    let leaf = merkle::leaf(known.domain.digest(header));
    if !merkle::includes(checkpoint.root, checkpoint.size, header.index, leaf, log_path) {
        return Err(Finding::NotInLog);
    }
    Ok(())
}

/// Checks that an authentic delivery continues the log as it is known and that the statement stands
/// under its header; returns the grown log.
///
/// # Errors
/// The first [`Finding`].
pub fn follows(delivery: &Delivery, known: &Knowledge<'_>) -> Result<Frontier, Finding> {
    let Delivery { statement, position, path, header, .. } = delivery;
    let leaf = merkle::leaf(known.domain.digest(header));
    let frontier = extend(delivery, known.witness, leaf)?;
    let leaf = merkle::leaf(known.domain.digest(statement));
    let count = u64::from(header.statements);
    if !merkle::includes(header.statements_root, count, *position, leaf, path) {
        return Err(Finding::NotUnderHeader { statements: header.statements });
    }
    Ok(frontier)
}

/// Appends the header to the log as it is known; the first log ever seen is believed.
fn extend(
    delivery: &Delivery,
    witness: &Witness,
    leaf: protocol::B256,
) -> Result<Frontier, Finding> {
    let Delivery { header, log_path, checkpoint, .. } = delivery;
    let before = if witness.frontier.size() == header.index {
        witness.frontier.clone()
    } else if witness.frontier.size() == 0 {
        Frontier::before_last(header.index, log_path).ok_or(Finding::NotInLog)?
    } else {
        let to = header.index;
        return Err(Finding::Withheld { from: witness.frontier.size(), to });
    };
    if before.root() != header.previous_root {
        let known = format!("entry {} follows another history than the one seen", header.index);
        return Err(Finding::Rewritten(known));
    }
    if let Some(last) = witness.last_slot
        && (header.slot <= last) != (header.version > 1)
    {
        let Header { slot, version, .. } = header;
        let what = format!("version {version} of slot {slot} comes after slot {last}");
        return Err(Finding::Rewritten(what));
    }
    let mut frontier = before;
    frontier.append(leaf);
    if frontier.root() == checkpoint.body.root {
        Ok(frontier)
    } else {
        Err(Finding::Rewritten(format!("appending entry {} gives another root", header.index)))
    }
}

/// Checks the bill of a delivery whose log part holds.
///
/// # Errors
/// The first [`Finding`].
pub fn bill(delivery: &Delivery, known: &Knowledge<'_>) -> Result<(), Finding> {
    let Delivery { statement, header, .. } = delivery;
    sums(header)?;
    version(delivery, known.witness)?;
    published(header, known)?;
    registers(statement, header, known)?;
    price(statement, header, known)?;
    order(statement, header, known)?;
    amount(statement, header, known)?;
    rewards(statement, header, known.witness)
}

/// A later version finds meters that were missing, and changes nothing else.
fn version(delivery: &Delivery, witness: &Witness) -> Result<(), Finding> {
    let Delivery { statement, header, .. } = delivery;
    let finding = |text: String| Err(Finding::Version(text));
    same("version of the statement", statement.version, header.version)?;
    let totals = &header.totals;
    let (all_import, all_export) = (totals.import_wh, totals.export_wh);
    let found = (header.found_import_wh, header.found_export_wh);
    if header.version == 1 {
        return same("energy found, Wh,", found, (all_import, all_export));
    }
    if found.0 < 0 || found.1 < 0 || found.0 > all_import || found.1 > all_export {
        return finding(format!("{found:?} Wh found of {:?}", (all_import, all_export)));
    }
    let slot = header.slot;
    let Some(slip) = witness.open.get(&slot) else {
        // What was settled before the household looked on, or too long ago, it cannot know.
        return match witness.seen_from {
            Some(from) if slot >= from => finding("no meter was missing in the slot".to_owned()),
            _ => Ok(()),
        };
    };
    same("version of the slot", header.version, slip.version.saturating_add(1))?;
    let now = Slip::of(delivery);
    if now.fixed != slip.fixed {
        return finding("another trade, price, fee or reward than before".to_owned());
    }
    if now.missing >= slip.missing {
        return finding(format!("{} meters missing of {} before", now.missing, slip.missing));
    }
    let before = (slip.street_import_wh, slip.street_export_wh);
    same("energy found, Wh,", Some(found.0), all_import.checked_sub(before.0))?;
    same("energy found, Wh,", Some(found.1), all_export.checked_sub(before.1))?;
    if now.late.get(..slip.late.len()) != Some(slip.late.as_slice()) {
        return finding("late energy that was billed with the slot is another now".to_owned());
    }
    if slip.measured {
        let own = |slip: &Slip| (slip.measured, slip.import_wh, slip.export_wh, slip.late.len());
        return same("own meter, settled again,", own(&now), own(slip));
    }
    Ok(())
}

fn sums(header: &Header) -> Result<(), Finding> {
    let totals = &header.totals;
    let wide = i128::from;
    let (used, fed) = (wide(totals.import_wh), wide(totals.export_wh));
    for (what, left, right) in [
        ("money into and out of the pool", wide(totals.debit), wide(totals.credit)),
        ("import and its sources", used, wide(totals.local_wh) + wide(totals.grid_import_wh)),
        ("export and its uses", fed, wide(totals.local_wh) + wide(totals.grid_export_wh)),
    ] {
        if left != right {
            return Err(Finding::Sums(format!("{what}: {left} is not {right}")));
        }
    }
    Ok(())
}

/// The header repeats what was offered and cleared.
fn published(header: &Header, known: &Knowledge<'_>) -> Result<(), Finding> {
    let slot = Slot::new(header.slot);
    if let Some((retail, feed_in)) = known.book.terms(slot) {
        same("retail price", header.retail, retail)?;
        same("feed-in price", header.feed_in, feed_in)?;
    }
    if let Some(clearing) = known.book.clearing(slot) {
        same("clearing price", header.price.as_slice(), clearing.price.as_slice())?;
        same("orders root", header.orders_root, clearing.orders_root)?;
        same("digest of the sharing rule", header.sharing, clearing.sharing)?;
        same("scheduled energy", header.scheduled_wh, clearing.cleared_wh)?;
        same("grid fees", header.totals.grid_fees, clearing.grid_fees)?;
        same("congestion", header.totals.congestion, clearing.congestion)?;
        // Whoever could choose the seed could choose who gets the last watt-hours of a tie.
        let (log, orders) = (clearing.log_root.as_slice(), clearing.orders_root.as_slice());
        let seed = keccak256([log, orders, &header.slot.to_be_bytes()].concat());
        same("seed of the draws", clearing.seed, seed)?;
    }
    Ok(())
}

fn registers(statement: &Statement, header: &Header, known: &Knowledge<'_>) -> Result<(), Finding> {
    let slot = Slot::new(statement.slot);
    let mut billed_to = known.witness.billed_to;
    let fresh = known.witness.fresh(statement);
    for line in fresh.late {
        late_line(line, known, &mut billed_to)?;
    }
    if !statement.measured {
        same("import of a slot without meter", statement.import_wh, 0)?;
        same("export of a slot without meter", statement.export_wh, 0)?;
        // A full bill ends before the slot; the slot is settled again when its turn has come.
        let is_full = statement.late.len() >= MAX_LATE_LINES;
        return if is_full { Ok(()) } else { withheld_reading(slot, header, known) };
    }
    if fresh.measured {
        continues(billed_to, slot.previous(), "the slot's own energy")?;
    }
    match known.edges.flow(slot, 1) {
        Some(flow) => {
            same("import, Wh,", statement.import_wh, flow.import_wh)?;
            same("export, Wh,", statement.export_wh, flow.export_wh)
        }
        None if forgotten(slot.previous(), known) => Ok(()),
        None => Err(Finding::Registers(format!(
            "billed as measured, but the journal does not have both edges of slot {}",
            slot.number()
        ))),
    }
}

/// A line of earlier energy covers exactly the readings behind what was billed before.
fn late_line(
    line: &LateLine,
    known: &Knowledge<'_>,
    billed_to: &mut Option<i64>,
) -> Result<(), Finding> {
    let (slot, slots) = (Slot::new(line.slot), i64::from(line.slots));
    let from = slot.offset(-slots);
    continues(*billed_to, from, "late energy")?;
    match known.edges.flow(slot, slots) {
        Some(flow) => {
            same("late import, Wh,", line.import_wh, flow.import_wh)?;
            same("late export, Wh,", line.export_wh, flow.export_wh)?;
        }
        None if forgotten(from, known) => {}
        None => {
            return Err(Finding::Registers(format!(
                "late energy of {slots} slots up to slot {} is not between two readings",
                line.slot
            )));
        }
    }
    if let Some((retail, feed_in)) = known.book.terms(slot) {
        same("late retail price", line.retail, retail)?;
        same("late feed-in price", line.feed_in, feed_in)?;
    }
    *billed_to = Some(line.slot);
    Ok(())
}

/// Billed energy starts where the last bill ended: nothing twice, nothing left out.
fn continues(billed_to: Option<i64>, from: Slot, what: &str) -> Result<(), Finding> {
    match billed_to {
        Some(to) if to != from.number() => Err(Finding::Registers(format!(
            "{what} starts at the end of slot {}, but was billed up to slot {to}",
            from.number()
        ))),
        _ => Ok(()),
    }
}

/// Whether the journal no longer reaches back to this edge.
fn forgotten(slot: Slot, known: &Knowledge<'_>) -> bool {
    known.edges.first().is_none_or(|first| slot < first)
}

/// A slot is not "without meter" when the operator had signed for both edges before settling it.
fn withheld_reading(slot: Slot, header: &Header, known: &Knowledge<'_>) -> Result<(), Finding> {
    let had = |slot: Slot| {
        let receipted = known.edges.at(slot).and_then(|edge| edge.receipted_ms);
        receipted.is_some_and(|time_ms| time_ms < header.time_ms)
    };
    if known.edges.flow(slot, 1).is_some() && had(slot.previous()) && had(slot) {
        return Err(Finding::Registers(format!(
            "billed as not measured, but the operator had signed for both edges of slot {} before",
            slot.number()
        )));
    }
    Ok(())
}

fn order(statement: &Statement, header: &Header, known: &Knowledge<'_>) -> Result<(), Finding> {
    let slot = Slot::new(statement.slot);
    let finding = |text: String| Err(Finding::Order(text));
    let (bought, sold) = (statement.bought_wh, statement.sold_wh);
    if bought < 0 || sold < 0 || bought > 0 && sold > 0 {
        return finding(format!("{bought} Wh bought and {sold} Wh sold at once"));
    }
    let Some(order) = known.book.order(slot) else {
        if known.book.knows_orders_of(slot) && (bought, sold) != (0, 0) {
            return finding(format!("{bought} Wh bought, {sold} Wh sold, but nothing was ordered"));
        }
        return Ok(());
    };
    if let Some(Filled { bought_wh, sold_wh }) = order.filled
        && (bought_wh, sold_wh) != (bought, sold)
    {
        return finding(format!(
            "told of {bought_wh} Wh bought and {sold_wh} Wh sold, billed with {bought} Wh and {sold} Wh"
        ));
    }
    // On a grid the price at the own bus is known to those who traded there.
    let is_plate = known.book.clearing(slot).is_some_and(|clearing| clearing.grid.is_zero());
    let is_own = is_plate || (bought, sold) != (0, 0);
    let price = statement.price.first().copied().filter(|_| is_own);
    for (side, traded) in [(Side::Buy, bought), (Side::Sell, sold)] {
        curve(side, traded, order, price, header)?;
    }
    Ok(())
}

/// One side of an order: no more than it wanted, at no worse price, and all that the price promised
/// to an order that stood in the book.
fn curve(
    side: Side,
    traded_wh: i64,
    order: &Placed,
    price: Option<i64>,
    header: &Header,
) -> Result<(), Finding> {
    let finding = |text: String| Err(Finding::Order(text));
    let most_wh = order.body.quantity_wh(side);
    if traded_wh > most_wh {
        return finding(format!("{traded_wh} Wh on an order to {side} {most_wh} Wh"));
    }
    let is_worse = |limit: i64, price: i64| match side {
        Side::Buy => price > limit,
        Side::Sell => price < limit,
    };
    let (mut up_to_wh, mut due_wh) = (0_i64, 0_i64);
    for step in order.body.curve(side) {
        let (from_wh, limit) = (up_to_wh, limit(step, header));
        up_to_wh = up_to_wh.saturating_add(step.quantity_wh);
        if from_wh < traded_wh
            && price.zip(limit).is_none_or(|(price, limit)| is_worse(limit, price))
        {
            return finding(format!("traded at {price:?} against a limit of {limit:?}"));
        }
        if price.zip(limit).is_some_and(|(price, limit)| price != limit && !is_worse(limit, price))
        {
            due_wh = up_to_wh;
        }
    }
    if order.accepted == Some(true) && traded_wh < due_wh {
        return finding(format!(
            "{traded_wh} Wh where an order to {side} {due_wh} Wh had better limits than the price {price:?}"
        ));
    }
    Ok(())
}

/// The limit of a step as a price; none for words that are no limit.
fn limit(step: &Step, header: &Header) -> Option<i64> {
    match step.peg.parse().ok()? {
        Peg::Fixed => Some(step.limit),
        Peg::BelowRetail => header.retail.checked_sub(step.limit),
        Peg::AboveFeedIn => header.feed_in.checked_add(step.limit),
    }
}

/// The price of the trade: the slot's, or on a grid the one that the clearing has for the own bus.
fn price(statement: &Statement, header: &Header, known: &Knowledge<'_>) -> Result<(), Finding> {
    let slot = Slot::new(statement.slot);
    let clearing = known.book.clearing(slot);
    let is_grid = clearing.map(|clearing| !clearing.grid.is_zero());
    let Some(bus) = statement.bus.first() else {
        // Nobody has a price on a grid without a trade, and everybody has the slot's on a plate.
        let traded = statement.bought_wh != 0 || statement.sold_wh != 0;
        if is_grid == Some(true) && traded {
            let what = "a trade on the grid without the price of its bus";
            return Err(Finding::Bill(what.to_owned()));
        }
        if is_grid != Some(false) && !traded && statement.price.is_empty() {
            return Ok(());
        }
        return same("price", statement.price.as_slice(), header.price.as_slice());
    };
    same("number of own buses", statement.bus.len(), 1)?;
    same("buses on a plate", is_grid == Some(false), false)?;
    same("slot of the price", bus.slot, statement.slot)?;
    same("price", statement.price.as_slice(), [bus.price].as_slice())?;
    let parts = [bus.energy, bus.grid_fee, bus.congestion].map(i128::from);
    same("price, by its parts,", i128::from(bus.price), parts.iter().sum())?;
    let told = known.book.order(slot).and_then(|order| order.bus.as_ref());
    if let Some(told) = told {
        same("price of the bus", bus, &told.price)?;
    }
    if let (Some(told), Some(clearing)) = (told, clearing) {
        let leaf = merkle::leaf(known.domain.digest(bus));
        let (root, count) = (clearing.prices_root, u64::from(clearing.prices));
        if !merkle::includes(root, count, told.position, leaf, &told.path) {
            return Err(Finding::Bill(format!(
                "the price at bus {} is not among the {count} of the clearing",
                bus.bus
            )));
        }
    }
    Ok(())
}

fn amount(statement: &Statement, header: &Header, known: &Knowledge<'_>) -> Result<(), Finding> {
    let fault = |error: &dyn std::fmt::Display| Finding::Bill(error.to_string());
    let terms = |retail: i64, feed_in: i64| {
        Terms::new(Price::from_nano_per_wh(retail), Price::from_nano_per_wh(feed_in))
            .map_err(|error| fault(&error))
    };
    let basis = Basis {
        slot: Slot::new(header.slot),
        terms: terms(header.retail, header.feed_in)?,
        price: header.price.first().copied().map(Price::from_nano_per_wh),
        grid_fees: Money::from_nano(header.totals.grid_fees),
        congestion: Money::from_nano(header.totals.congestion),
        short: Energy::from_wh(header.short_wh),
        long: Energy::from_wh(header.long_wh),
        matched: Energy::from_wh(header.matched_wh),
    };
    let own = Own {
        bought: Energy::from_wh(statement.bought_wh),
        sold: Energy::from_wh(statement.sold_wh),
        price: statement.price.first().copied().map(Price::from_nano_per_wh),
        import: Energy::from_wh(statement.import_wh),
        export: Energy::from_wh(statement.export_wh),
        import_local: Energy::from_wh(statement.import_local_wh),
        export_local: Energy::from_wh(statement.export_local_wh),
    };
    let late = statement.late.iter().map(|line| {
        Ok(Late {
            point: known.point.clone(),
            slot: Slot::new(line.slot),
            slots: line.slots,
            import: Energy::from_wh(line.import_wh),
            export: Energy::from_wh(line.export_wh),
            terms: terms(line.retail, line.feed_in)?,
        })
    });
    let late = late.collect::<Result<Vec<_>, Finding>>()?;
    let charges = charge(&own, &basis, &late).map_err(|error| fault(&error))?;
    same("import deviation", statement.import_deviation_wh, charges.import.deviation.wh())?;
    same("export deviation", statement.export_deviation_wh, charges.export.deviation.wh())?;
    let late: i128 = charges.late.iter().map(|line| i128::from(line.amount.nano())).sum();
    let shared = sharing::amount(statement, header, &charges, (basis.terms, known))?;
    same("amount", i128::from(statement.amount), shared + late)
}

fn rewards(statement: &Statement, header: &Header, witness: &Witness) -> Result<(), Finding> {
    let finding = |text: String| Err(Finding::Rewards(text));
    let (own, all) = (statement.reward_wh, header.totals.reward_wh);
    if own < 0 || own > statement.export_wh || own > all || all > header.totals.local_wh {
        return finding(format!(
            "{own} Wh of {all} Wh rewarded, with {} Wh exported and {} Wh used locally",
            statement.export_wh, header.totals.local_wh
        ));
    }
    let (total, before) = (statement.reward_total, witness.reward_total);
    if header.version > 1 && witness.last_slot.is_some() && total != before {
        return finding(format!(
            "a total of {total} after {before}, though nothing is earned late"
        ));
    }
    if total < before || total > header.totals.reward_total {
        let all = header.totals.reward_total;
        return finding(format!("a total of {total} after {before}, of {all} for all"));
    }
    Ok(())
}

fn same<T: PartialEq + std::fmt::Debug>(
    what: &'static str,
    stated: T,
    expected: T,
) -> Result<(), Finding> {
    if stated == expected {
        Ok(())
    } else {
        let (stated, expected) = (format!("{stated:?}"), format!("{expected:?}"));
        Err(Finding::Mismatch { what, stated, expected })
    }
}
