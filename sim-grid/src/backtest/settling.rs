//! One slot settled by one rule, with the market's own code.

use std::collections::BTreeMap;
use std::sync::Arc;

use market::sharing::{self, Inside, Key, Keys, Per, Period, Rounds, Shares, SharingFault};
use market::{
    Book, Clearing, Grid, Limits, Metered, Order, Settlement, Side, Terms, clear, settle,
};
use units::{Energy, Money, PointId, Price, Slot, split};

use super::community::Community;
use super::error::BacktestError;
use super::metering::Quarter;
use super::rule::Rule;

/// What a rule made of a slot; all lists by customer of the scenario.
#[derive(Debug, Clone, Default)]
pub(super) struct Settled {
    /// To be paid; negative when it is income.
    pub amounts: Vec<Money>,
    /// Import from neighbours, Wh.
    pub bought: Vec<Energy>,
    /// Export to neighbours, Wh.
    pub sold: Vec<Energy>,
    /// What buyers paid for the local energy, nano-currency.
    pub paid_nano: i128,
    /// What sellers got for it, nano-currency.
    pub earned_nano: i128,
}

impl Settled {
    pub fn new(customers: usize) -> Self {
        Self {
            amounts: vec![Money::ZERO; customers],
            bought: vec![Energy::ZERO; customers],
            sold: vec![Energy::ZERO; customers],
            ..Self::default()
        }
    }

    /// Takes back from the side that claims more neighbourly energy than the other side gave: a
    /// seller who delivered less than it sold was served by the supplier, and its buyer with it.
    fn balance(&mut self, metered: &[Metered]) {
        let wh = |energies: &[Energy]| -> Vec<i64> {
            energies.iter().map(|energy| energy.wh()).collect()
        };
        let (bought, sold) = (wh(&self.bought), wh(&self.sold));
        let local = bought.iter().sum::<i64>().min(sold.iter().sum());
        for (list, weights) in [(&mut self.bought, bought), (&mut self.sold, sold)] {
            for (energy, wh) in list.iter_mut().zip(split(local, &weights, |i| metered[i].rank)) {
                *energy = Energy::from_wh(wh);
            }
        }
    }

    /// Values everybody's local energy at a price of its own.
    fn value(&mut self, prices: Vec<Price>) {
        let of = |energies: &[Energy]| -> i128 {
            let values = energies
                .iter()
                .zip(&prices)
                .map(|(energy, price)| i128::from(energy.wh()) * i128::from(price.nano_per_wh()));
            values.sum()
        };
        (self.paid_nano, self.earned_nano) = (of(&self.bought), of(&self.sold));
    }
}

/// Positions of the customers in the order of their names, which is the market's order.
pub(super) fn by_point(metered: &[Metered]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..metered.len()).collect();
    order.sort_by(|&a, &b| metered[a].point.cmp(&metered[b].point));
    order
}

fn flow_of(metered: &Metered) -> (Energy, Energy) {
    let flow = metered.flow.expect("the back-test reads every meter");
    (flow.import, flow.export)
}

/// How a rule comes to its bills.
enum Way {
    Alone,
    Auction,
    AuctionStrict,
    /// From the meters of a slot.
    Shared(sharing::Rule, Option<Key>),
    /// From the meters of all slots.
    Period(Box<Period>),
}

/// Settles every slot of a run by one rule.
pub(super) struct Settler {
    pub rule: Rule,
    way: Way,
    by_point: Vec<usize>,
    pub settled: Settled,
}

impl Settler {
    pub fn new(rule: Rule, metered: &[Metered], community: &Community) -> Self {
        let allocated = sharing::Rule::Allocated { price: Inside::Middle };
        let way = match rule {
            Rule::None => Way::Alone,
            Rule::Auction => Way::Auction,
            Rule::AuctionStrict => Way::AuctionStrict,
            Rule::Mmr => Way::Shared(sharing::Rule::MidMarket, None),
            Rule::Sdr => Way::Shared(sharing::Rule::SupplyDemand, None),
            Rule::BillSharing => {
                Way::Shared(sharing::Rule::BillSharing { per: Per::Interval }, None)
            }
            Rule::BillSharingPeriod => Way::Period(Box::default()),
            Rule::ProRata => Way::Shared(allocated, Some(Key::ProRata)),
            Rule::StaticKeys => Way::Shared(allocated, Some(equal_keys(metered))),
            Rule::OwnKey => {
                let rule = sharing::Rule::Allocated { price: community.price() };
                Way::Shared(rule, Some(community.sharing.key.clone()))
            }
        };
        Self { rule, way, by_point: by_point(metered), settled: Settled::new(metered.len()) }
    }

    /// Settles a slot into [`Self::settled`]. `clearing` is the auction's, for the rules that have
    /// one.
    pub fn settle(
        &mut self,
        quarter: &Quarter<'_>,
        clearing: Option<&Clearing>,
    ) -> Result<(), BacktestError> {
        let settled = &mut self.settled;
        (settled.paid_nano, settled.earned_nano) = (0, 0);
        let sharing_fault =
            |source| BacktestError::Sharing { when: format!("slot {}", quarter.slot), source };
        let (slot, terms, metered) = (quarter.slot, quarter.terms, quarter.metered);
        match (&mut self.way, clearing) {
            (Way::Auction, Some(clearing)) => {
                let fault = |source| BacktestError::Settlement { slot, source };
                let settlement = settle(clearing, terms, metered, &[]).map_err(fault)?;
                self.take(&settlement, metered);
                self.prove(quarter, clearing)?;
                self.settled.value(self.priced(metered, clearing, settlement.basis.local_price()));
            }
            (Way::AuctionStrict, Some(clearing)) => {
                self.strict(quarter, clearing);
                self.settled.balance(metered);
                self.settled.value(self.priced(metered, clearing, terms.middle()));
            }
            (Way::Shared(rule, key), _) => {
                let rule = *rule;
                let allocation = key.as_ref().map(|key| sharing::allocate(key, slot, metered, &[]));
                let allocation = allocation.transpose().map_err(sharing_fault)?;
                let shares = sharing::share(rule, slot, terms, metered, allocation.as_ref());
                let shares = shares.map_err(sharing_fault)?;
                match &allocation {
                    Some(allocation) => self.take_allocated(allocation),
                    None => self.take_pooled(quarter),
                }
                self.take_shares(quarter, &shares);
            }
            (Way::Period(period), _) => {
                period.add(slot, terms, metered).map_err(sharing_fault)?;
                self.settled.amounts.fill(Money::ZERO);
                self.take_pooled(quarter);
            }
            (Way::Alone | Way::Auction | Way::AuctionStrict, _) => {
                alone(quarter, &mut self.settled);
            }
        }
        Ok(())
    }

    /// The bills that are only known at the end, by customer.
    pub fn close(&self) -> Result<Option<Vec<Money>>, SharingFault> {
        let Way::Period(period) = &self.way else { return Ok(None) };
        let mut amounts = vec![Money::ZERO; self.by_point.len()];
        let bills = period.bills(|_| [0; 32])?;
        for (bill, &i) in bills.iter().zip(&self.by_point) {
            amounts[i] = bill.amount;
        }
        Ok(Some(amounts))
    }

    /// Everybody's part of what stayed inside, in proportion to energy.
    fn take_pooled(&mut self, quarter: &Quarter<'_>) {
        let flows = quarter.metered.iter().map(flow_of);
        let (imports, exports): (Vec<i64>, Vec<i64>) =
            flows.map(|(import, export)| (import.wh(), export.wh())).unzip();
        let pooled = if quarter.terms.leave_room() {
            imports.iter().sum::<i64>().min(exports.iter().sum())
        } else {
            0
        };
        let rank = |i: usize| quarter.metered[i].rank;
        for (list, weights) in
            [(&mut self.settled.bought, imports), (&mut self.settled.sold, exports)]
        {
            for (energy, wh) in list.iter_mut().zip(split(pooled, &weights, rank)) {
                *energy = Energy::from_wh(wh);
            }
        }
    }

    fn take_allocated(&mut self, allocation: &sharing::Allocation) {
        for (line, &i) in allocation.lines.iter().zip(&self.by_point) {
            (self.settled.bought[i], self.settled.sold[i]) = (line.taken, line.given);
        }
    }

    /// Amounts, and what of them was for local energy: everything but the supplier's part.
    fn take_shares(&mut self, quarter: &Quarter<'_>, shares: &Shares) {
        for (share, &i) in shares.shares.iter().zip(&self.by_point) {
            let (bought, sold) = (self.settled.bought[i], self.settled.sold[i]);
            let supplied = (share.import - bought) * quarter.terms.retail();
            let taken = (share.export - sold) * quarter.terms.feed_in();
            self.settled.amounts[i] = share.amount();
            self.settled.paid_nano += i128::from((share.pays - supplied).nano());
            self.settled.earned_nano += i128::from((share.gets - taken).nano());
        }
    }

    fn take(&mut self, settlement: &Settlement, metered: &[Metered]) {
        for (bill, &i) in settlement.bills.iter().zip(&self.by_point) {
            let (import, export) = (&bill.charges.import, &bill.charges.export);
            self.settled.amounts[i] = bill.charges.amount;
            self.settled.bought[i] = near(import.scheduled, import.deviation, import.local);
            self.settled.sold[i] = near(export.scheduled, -export.deviation, export.local);
        }
        self.settled.balance(metered);
    }

    /// What local energy costs everybody, by customer: the price of the own fill, on a grid the own
    /// node's, else the one of energy beyond the schedules.
    fn priced(&self, metered: &[Metered], clearing: &Clearing, beyond: Price) -> Vec<Price> {
        let mut prices = vec![beyond; metered.len()];
        let mut fills = clearing.fills.iter().peekable();
        for &i in &self.by_point {
            while let Some(fill) = fills.next_if(|fill| fill.point == metered[i].point) {
                prices[i] = fill.price;
            }
        }
        prices
    }

    /// Everything that is paid goes to the supplier, for what did not stay inside, or to the grid.
    fn prove(&self, quarter: &Quarter<'_>, clearing: &Clearing) -> Result<(), BacktestError> {
        let nano = |energy: Energy, price: Price| {
            i128::from(energy.wh()) * i128::from(price.nano_per_wh())
        };
        let flows = quarter.metered.iter().map(flow_of);
        let net: Energy = flows.map(|(import, export)| import - export).sum();
        let price =
            if net.is_positive() { quarter.terms.retail() } else { quarter.terms.feed_in() };
        // Without room between the prices everybody is alone, which is another sum.
        if !quarter.terms.leave_room() {
            return Ok(());
        }
        let due = nano(net, price) + clearing.surplus();
        let paid = self.settled.amounts.iter().map(|amount| i128::from(amount.nano())).sum();
        let slot = quarter.slot;
        if paid == due { Ok(()) } else { Err(BacktestError::NotConserved { slot, paid, due }) }
    }

    /// The auction's fills at its price, everything else at the supplier's.
    fn strict(&mut self, quarter: &Quarter<'_>, clearing: &Clearing) {
        alone(quarter, &mut self.settled);
        let terms = quarter.terms;
        let mut fills = clearing.fills.iter().peekable();
        for &i in &self.by_point {
            let point = &quarter.metered[i].point;
            let (import, export) = flow_of(&quarter.metered[i]);
            while let Some(fill) = fills.next_if(|fill| fill.point == *point) {
                let amount = &mut self.settled.amounts[i];
                let price = fill.price;
                match fill.side {
                    Side::Buy => {
                        let over = (fill.energy - import).max(Energy::ZERO);
                        let used = fill.energy - over;
                        *amount +=
                            fill.energy * price - used * terms.retail() - over * terms.feed_in();
                        self.settled.bought[i] = used;
                    }
                    Side::Sell => {
                        let lacking = (fill.energy - export).max(Energy::ZERO);
                        let given = fill.energy - lacking;
                        *amount += given * terms.feed_in() + lacking * terms.retail()
                            - fill.energy * price;
                        self.settled.sold[i] = given;
                    }
                }
            }
        }
    }
}

/// How much of a leg's metered energy a neighbour may have been on the other side of: the schedule
/// as far as it was kept, and the matched part of what went `beyond` it.
fn near(scheduled: Energy, beyond: Energy, local: Energy) -> Energy {
    if beyond.is_positive() { scheduled + local } else { scheduled + beyond }
}

/// Everybody with the supplier.
pub(super) fn alone(quarter: &Quarter<'_>, settled: &mut Settled) {
    for (i, metered) in quarter.metered.iter().enumerate() {
        let (import, export) = flow_of(metered);
        settled.amounts[i] = import * quarter.terms.retail() - export * quarter.terms.feed_in();
        settled.bought[i] = Energy::ZERO;
        settled.sold[i] = Energy::ZERO;
    }
}

/// The auction of a slot: every order goes through the book, and the answer proves itself.
pub(super) fn auction(
    slot: Slot,
    terms: Terms,
    orders: &[Order],
    grid: Option<&Arc<Grid>>,
) -> Result<Clearing, BacktestError> {
    let limits = Limits::default();
    let mut book = match grid {
        None => Book::open(slot, terms, limits),
        Some(grid) => Book::on_grid(slot, terms, limits, Arc::clone(grid)),
    };
    for order in orders {
        let refused = |source| refused(slot, &order.point, source);
        book.place(order.clone()).map_err(refused)?;
    }
    let clearing = clear(&book, None);
    clearing.certify(&book).map_err(|source| BacktestError::Clearing { slot, source })?;
    Ok(clearing)
}

fn refused(slot: Slot, point: &PointId, source: market::Refusal) -> BacktestError {
    BacktestError::Refused { slot, customer: point.to_string(), source }
}

/// Equal parts for everybody, a million in all.
fn equal_keys(metered: &[Metered]) -> Key {
    let weights = vec![1; metered.len()];
    let parts = split(i64::from(sharing::KEYS_TOTAL), &weights, |i| i);
    let keys: BTreeMap<PointId, u32> = metered
        .iter()
        .zip(parts)
        .map(|(metered, part)| (metered.point.clone(), u32::try_from(part).expect("a part")))
        .collect();
    let keys = Keys::new(keys).expect("the parts are everything");
    Key::Static { keys, rounds: Rounds::default() }
}
