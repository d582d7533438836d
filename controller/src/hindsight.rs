//! A cleared slot in hindsight: its book, its grid and its result, rebuilt from the signed record.
//!
//! What is explained to a household must be what happened. So the book is built from the orders as
//! they were signed, by the same rule as for the desk and the auditor, and cleared again; a result
//! that is not the published one is no explanation, but a fault of the record.

use market::sharing::Rule;
use market::{Book, Clearing, Limits, Rung, Standby, Terms};
use protocol::{Domain, Signed};
use units::{PointId, Price, Slot};

use crate::rules::{self, PriceTree, StreetGrid, rank};
use crate::store::read::{ReadFault, Reader, StoredOrder};

/// What the record has about a cleared slot's auction.
pub struct Past {
    slot: Slot,
    message: Signed<protocol::Clearing>,
    rung: Rung,
    orders: Vec<StoredOrder>,
    grid: StreetGrid,
    rule: Rule,
}

/// A cleared slot as it was.
pub struct Hindsight {
    /// All orders.
    pub book: Book,
    /// The result.
    pub clearing: Clearing,
    /// What it was found on.
    pub grid: StreetGrid,
    /// Which rung of the ladder answered.
    pub rung: Rung,
    /// What members pay each other; only the auction takes orders.
    pub rule: Rule,
}

/// Why the record does not lead to what was published.
#[derive(Debug, thiserror::Error)]
#[error("slot {} ({slot}) cannot be rebuilt from its orders: {what}", slot.number())]
pub struct HindsightFault {
    slot: Slot,
    what: String,
}

impl Past {
    /// Reads what a slot's auction went by; nothing when it is not cleared.
    ///
    /// # Errors
    /// [`ReadFault`].
    pub async fn read(reader: &Reader, slot: Slot) -> Result<Option<Self>, ReadFault> {
        let Some(row) = reader.slot(slot).await? else { return Ok(None) };
        let Some(message) = reader.signed_clearing(slot).await? else { return Ok(None) };
        // Where nothing is auctioned, orders from before the rule changed were not used.
        let sharing = reader.sharing(message.body.sharing).await?;
        let orders = if sharing.takes_orders() { reader.book(slot).await? } else { Vec::new() };
        let grid = reader.grid(message.body.grid).await?;
        let rule = sharing.form().rule;
        Ok(Some(Self { slot, message, rung: row.rung, orders, grid, rule }))
    }

    /// Builds the book and clears it again; takes as long as the clearing did.
    ///
    /// # Errors
    /// [`HindsightFault`].
    pub fn rebuild(self, domain: &Domain) -> Result<Hindsight, HindsightFault> {
        let slot = self.slot;
        let fault = |what: String| HindsightFault { slot, what };
        let book = self.book(domain).map_err(fault)?;
        let body = &self.message.body;
        let clearing = if self.rung == Rung::Shared {
            Clearing::shared(slot, reason(&body.method))
        } else {
            Standby::of(&book).clearing().clone()
        };
        if differs(&clearing, body, &self.grid, domain) {
            return Err(fault("another result follows from them than was published".to_owned()));
        }
        Ok(Hindsight { book, clearing, grid: self.grid, rung: self.rung, rule: self.rule })
    }

    fn book(&self, domain: &Domain) -> Result<Book, String> {
        let body = &self.message.body;
        let price = Price::from_nano_per_wh;
        let terms = Terms::new(price(body.retail), price(body.feed_in));
        let terms = terms.map_err(|fault| fault.to_string())?;
        let mut book = Book::on_grid(self.slot, terms, Limits::default(), self.grid.grid().clone());
        for StoredOrder { signed, .. } in &self.orders {
            let point = PointId::new(signed.body.point.as_str()).map_err(|e| e.to_string())?;
            let node = self.grid.place(&point).ok_or("somebody is not on the slot's grid")?;
            let rank = rank(body.seed, domain.digest(&signed.body).as_slice());
            rules::place(&mut book, &signed.body, (&point, node), rank)
                .map_err(|fault| fault.to_string())?;
        }
        Ok(book)
    }
}

impl Hindsight {
    /// How many members are behind each branch, that is in its node's part of the tree; the first
    /// number counts all.
    #[must_use]
    pub fn homes_behind(&self) -> Vec<u32> {
        let mut behind = vec![0; self.grid.grid().size()];
        for (_, node) in self.grid.homes() {
            behind[node.index()] += 1;
        }
        for (i, branch) in self.grid.grid().branches().iter().enumerate().rev() {
            behind[branch.parent.index()] += behind[i + 1];
        }
        behind
    }
}

/// Why there was no market, from the method as it was published.
fn reason(method: &str) -> &str {
    method.strip_prefix(rules::NO_MARKET).unwrap_or(method).trim()
}

/// Whether a result is another one than was signed.
fn differs(
    clearing: &Clearing,
    body: &protocol::Clearing,
    grid: &StreetGrid,
    domain: &Domain,
) -> bool {
    let interval = clearing.interval.map(|(low, high)| vec![low, high]).unwrap_or_default();
    let interval: Vec<i64> = interval.into_iter().map(Price::nano_per_wh).collect();
    clearing.cleared.wh() != body.cleared_wh
        || rules::on_wire(clearing.price) != body.price
        || interval != body.interval
        || PriceTree::of(grid, clearing, domain).root() != (body.prices_root, body.prices)
}
