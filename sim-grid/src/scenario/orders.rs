//! The orders that a pack brings along: `orders_TARIFF.csv`, one row per order.
//!
//! Such a file usually covers some days only. A day (UTC) with at least one order counts as
//! covered: in its other slots, or for a customer without a row, nobody ordered.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use feeder::{Row, TableError, TableReader};
use market::Side;
use units::{Energy, Price, Slot};

use super::error::{Flaw, ScenarioError};
use super::timeline::{EPOCH, MASTER};
use super::{Scenario, Tariff};

/// What one customer orders in a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wish {
    /// Position of the customer in the scenario.
    pub customer: usize,
    /// Buy or sell.
    pub side: Side,
    /// How much, Wh > 0.
    pub quantity: Energy,
    /// Highest price to pay or lowest to accept, on the tick.
    pub limit: Price,
}

/// The orders of a file, by row of the timeline.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Orders {
    by_row: BTreeMap<usize, Vec<Wish>>,
    /// Days since the epoch with at least one order.
    days: BTreeSet<i64>,
}

impl Orders {
    /// Reads the orders that a folder has for a tariff of its scenario; `None` without such a file.
    ///
    /// # Errors
    /// [`ScenarioError`] with file, line and reason.
    pub fn load(
        folder: &Path,
        scenario: &Scenario,
        tariff: &Tariff,
    ) -> Result<Option<Self>, ScenarioError> {
        let file = format!("orders_{}.csv", tariff.name);
        match File::open(folder.join(&file)) {
            Ok(source) => Self::read(&file, BufReader::new(source), scenario, tariff).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(TableError::Open { file, source }.into()),
        }
    }

    fn read<R: Read>(
        file: &str,
        source: R,
        scenario: &Scenario,
        tariff: &Tariff,
    ) -> Result<Self, ScenarioError> {
        let mut table = TableReader::new(file, source)?;
        let columns = Columns {
            t: table.column("t")?,
            customer: table.column("customer_id")?,
            side: table.column("side")?,
            quantity: table.column("qty_wh")?,
            limit: table.column("limit_e5")?,
        };
        let names: BTreeMap<&str, usize> = (scenario.customers.iter().enumerate())
            .map(|(i, customer)| (customer.id.as_str(), i))
            .collect();
        let mut orders = Self::default();
        while let Some(row) = table.next_row()? {
            let (at, wish) = read_wish(&row, &columns, scenario, tariff, &names)?;
            let slot = scenario.timeline.slot_of(at).expect("a row of the timeline");
            orders.days.insert(slot.number().div_euclid(Slot::PER_DAY));
            let wishes = orders.by_row.entry(at).or_default();
            if wishes.iter().any(|other| (other.customer, other.side) == (wish.customer, wish.side))
            {
                let customer = scenario.customers[wish.customer].id.to_string();
                let side = side_name(wish.side);
                let flaw = Flaw::OrderTwice { customer, side, t: row.integer(columns.t)? };
                return Err(ScenarioError::at(row.place(), flaw));
            }
            wishes.push(wish);
        }
        Ok(orders)
    }

    /// The orders of a slot in the order of the file; `None` on a day that the file does not cover.
    #[must_use]
    pub fn of(&self, row: usize, slot: Slot) -> Option<&[Wish]> {
        let covered = self.days.contains(&slot.number().div_euclid(Slot::PER_DAY));
        covered.then(|| self.by_row.get(&row).map_or(&[][..], Vec::as_slice))
    }

    /// Number of orders.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_row.values().map(Vec::len).sum()
    }

    /// Whether the file has a header only.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_row.is_empty()
    }
}

struct Columns {
    t: usize,
    customer: usize,
    side: usize,
    quantity: usize,
    limit: usize,
}

fn side_name(side: Side) -> &'static str {
    match side {
        Side::Buy => "buy",
        Side::Sell => "sell",
    }
}

/// One order and the row of the timeline that it stands for, checked as the market's book would.
fn read_wish(
    row: &Row<'_>,
    columns: &Columns,
    scenario: &Scenario,
    tariff: &Tariff,
    names: &BTreeMap<&str, usize>,
) -> Result<(usize, Wish), ScenarioError> {
    let t = row.integer(columns.t)?;
    let slot = EPOCH.number().checked_add(t).map(Slot::new);
    let Some(at) = slot.and_then(|slot| scenario.timeline.row_of(slot)) else {
        return Err(ScenarioError::at(row.place(), Flaw::UnknownTime { t, master: MASTER }));
    };
    let name = row.text(columns.customer);
    let Some(&customer) = names.get(name) else {
        let (owner, customer) = ("the order".to_owned(), name.to_owned());
        return Err(ScenarioError::at(row.place(), Flaw::UnknownCustomer { owner, customer }));
    };
    let side = match row.text(columns.side) {
        "buy" => Side::Buy,
        "sell" => Side::Sell,
        _ => return Err(row.bad_field(columns.side, "buy or sell").into()),
    };
    let refused = |reason: String| {
        let flaw = Flaw::OrderRefused { customer: name.to_owned(), reason };
        ScenarioError::at(row.place(), flaw)
    };
    let quantity = Energy::from_wh(row.integer(columns.quantity)?);
    if !(quantity.is_positive() && quantity <= market::MAX_QUANTITY) {
        return Err(refused(format!(
            "{quantity} is not between 1 Wh and {}",
            market::MAX_QUANTITY
        )));
    }
    let (retail, feed_in) = (tariff.retail_e5[at], tariff.feed_in_e5[at]);
    let limit_e5 = row.integer(columns.limit)?;
    if !(i64::from(feed_in)..=i64::from(retail)).contains(&limit_e5) {
        return Err(refused(format!(
            "limit {limit_e5} is outside {feed_in} (feed-in) to {retail} (retail), all in 1e-5 per kWh"
        )));
    }
    Ok((at, Wish { customer, side, quantity, limit: Price::from_e5_per_kwh(limit_e5) }))
}
