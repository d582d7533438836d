//! How the energy is shared, as far as a household can tell from its own meter and the street's sums.
//!
//! A rule's price follows from what all members together import and export, and those sums stand in
//! the header. What the grid operator allocates to whom needs everybody's meters: that is
//! recomputed from a bundle. Here it is checked that nothing is allocated that was not metered, and
//! that every amount follows from the allocated energy.

use market::sharing::{Rule, Street, rates};
use market::{Charges, Terms};
use protocol::{Header, LegalLine, SharingLine, Statement};
use units::{Energy, Money, Price, Slot};

use super::{Finding, Knowledge, same};

/// Checks how the energy of a slot is shared; returns what the household has to pay for it, without
/// late energy. `charges` are what the auction alone would charge.
pub fn amount(
    statement: &Statement,
    header: &Header,
    charges: &Charges,
    (terms, known): (Terms, &Knowledge<'_>),
) -> Result<i128, Finding> {
    let (import, export) = (&charges.import, &charges.export);
    let auction = [import.trade + import.balancing, -(export.trade + export.balancing)];
    let offered = known.book.rule(Slot::new(statement.slot));
    let Some(line) = statement.sharing.first() else {
        same("digest of a rule that the bill does not name", header.sharing.is_zero(), true)?;
        same("rule of the offer", offered.unwrap_or("auction"), "auction")?;
        return Ok(wide(auction[0]) - wide(auction[1]));
    };
    same("number of ways to share", statement.sharing.len(), 1)?;
    same("digest of the auction alone", header.sharing.is_zero(), false)?;
    if let Some(offered) = offered {
        same("rule", line.rule.as_str(), offered)?;
    }
    let rule: Rule = line.rule.parse().map_err(|fault| unlike(&fault))?;
    by_rule(rule, (statement, line), header, auction, terms)?;
    let market = i128::from(line.pays) - i128::from(line.gets);
    let is_due = line.key != "none" && statement.measured;
    same("legal allocation", line.legal.len(), usize::from(is_due))?;
    match line.legal.first() {
        None => Ok(market),
        Some(legal) => by_law((statement, legal), header, market, terms),
    }
}

/// What the import costs and the export earns by the rule.
fn by_rule(
    rule: Rule,
    (statement, line): (&Statement, &SharingLine),
    header: &Header,
    auction: [Money; 2],
    terms: Terms,
) -> Result<(), Finding> {
    let stated = [line.pays, line.gets];
    if rule == Rule::Auction {
        return same("amounts of the auction", stated, auction.map(Money::nano));
    }
    same(
        "energy bought and sold without an auction",
        (statement.bought_wh, statement.sold_wh),
        (0, 0),
    )?;
    let metered = [statement.import_wh, statement.export_wh];
    if !statement.measured {
        return same("amounts of a slot without meter", stated, [0, 0]);
    }
    if let Rule::Allocated { price } = rule {
        let Some(legal) = line.legal.first() else {
            return Err(Finding::Bill("billed by allocated energy, but none is stated".to_owned()));
        };
        let inside = [legal.taken_wh, legal.given_wh];
        let price = price.price(terms);
        let exact = [(0, terms.retail()), (1, terms.feed_in())].map(|(side, outside)| {
            product(inside[side], price)
                + product(metered[side].saturating_sub(inside[side]), outside)
        });
        return same("amounts for allocated energy", stated.map(i128::from), exact);
    }
    // Without an auction all that is imported is short of it, and all that is exported is long.
    let pooled = header.short_wh.min(header.long_wh);
    same("energy between neighbours", header.totals.local_wh, pooled)?;
    let wh = Energy::from_wh;
    let street = Street { import: wh(header.short_wh), export: wh(header.long_wh) };
    let rates = rates(rule, terms, street).map_err(|fault| unlike(&fault))?;
    let Some(rates) = rates else {
        return Err(Finding::Bill(format!("the rule \"{rule}\" is none for a single slot")));
    };
    for (what, stated, rate, wh) in [
        ("import", stated[0], rates.buy, metered[0]),
        ("export", stated[1], rates.sell, metered[1]),
    ] {
        // Bills are exact shares of a sum: whole numbers around the exact product.
        let exact = rate.times(wh);
        if exact.is_none_or(|exact| (exact - i128::from(stated)).abs() > 1) {
            let exact = exact.map_or_else(|| "out of range".to_owned(), |nano| nano.to_string());
            return Err(Finding::Bill(format!(
                "{what} of {wh} Wh at {stated} nano where the rule \"{rule}\" gives {exact}"
            )));
        }
    }
    Ok(())
}

/// What is paid when the grid operator allocates: the supplier's bill for the rest, and the
/// difference to the rule, with the neighbours.
fn by_law(
    (statement, legal): (&Statement, &LegalLine),
    header: &Header,
    market: i128,
    terms: Terms,
) -> Result<i128, Finding> {
    let LegalLine { taken_wh, given_wh, residual, shortfall, difference } = *legal;
    for (what, allocated, metered) in [
        ("taken from neighbours", taken_wh, statement.import_wh),
        ("given to neighbours", given_wh, statement.export_wh),
    ] {
        if !(0..=metered).contains(&allocated) {
            return Err(Finding::Bill(format!("{allocated} Wh {what} of {metered} Wh metered")));
        }
    }
    let supplied = |import: i64, export: i64| {
        product(import, terms.retail()) - product(export, terms.feed_in())
    };
    let (rest_in, rest_out) = (statement.import_wh - taken_wh, statement.export_wh - given_wh);
    same("the supplier's part", i128::from(residual), supplied(rest_in, rest_out))?;
    let (residual, shortfall) = (i128::from(residual), i128::from(shortfall));
    same("difference", i128::from(difference), market + shortfall - residual)?;
    // A shortfall is carried by who gained, up to the gain: nobody ends worse off than alone. Where
    // the network earned, or the supplier pays more than it asks, there may be more to carry.
    let totals = &header.totals;
    let is_plain = terms.leave_room() && totals.grid_fees == 0 && totals.congestion == 0;
    let gain = supplied(statement.import_wh, statement.export_wh) - market;
    if is_plain && shortfall > gain.max(0) {
        return Err(Finding::Bill(format!(
            "{shortfall} nano of the allocation's cost for a gain of {gain} nano"
        )));
    }
    Ok(market + shortfall)
}

fn wide(amount: Money) -> i128 {
    i128::from(amount.nano())
}

fn product(wh: i64, price: Price) -> i128 {
    i128::from(wh) * i128::from(price.nano_per_wh())
}

fn unlike(fault: &dyn std::fmt::Display) -> Finding {
    Finding::Bill(fault.to_string())
}
