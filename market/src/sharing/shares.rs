//! One slot shared by a rule that needs meters only.

use std::collections::BTreeMap;

use units::{Energy, Money, PointId, Slot};

use super::exact::{money, split_money};
use super::rates::{Formula, Sums};
use super::{
    Allocation, Inside, Parties, Party, Per, Published, Rates, Rule, SharingFault, Street,
};
use crate::allotment::product;
use crate::{Account, Metered, Reason, Terms, Transfer};

/// One metering point's share of a slot.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Share {
    /// Whose share.
    pub point: PointId,
    /// Metered import, Wh.
    pub import: Energy,
    /// Metered export, Wh.
    pub export: Energy,
    /// What the import costs.
    pub pays: Money,
    /// What the export earns.
    pub gets: Money,
}

impl Share {
    /// What is to be paid in all; negative when it is income.
    #[must_use]
    pub fn amount(&self) -> Money {
        self.pays - self.gets
    }

    /// What the same energy costs without neighbours.
    #[must_use]
    pub fn alone(&self, terms: Terms) -> Money {
        self.import * terms.retail() - self.export * terms.feed_in()
    }
}

/// A slot shared by a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Shares {
    /// The slot.
    pub slot: Slot,
    /// The supplier's prices.
    pub terms: Terms,
    /// What is measured of the street.
    pub street: Street,
    /// What a Wh costs and earns; none where the rule has no single price.
    pub rates: Option<Rates>,
    /// One share per metered point, by point.
    pub shares: Vec<Share>,
    /// Who has no reading yet. Nothing is assumed about them, and nothing billed.
    pub missing: Vec<PointId>,
    /// What the supplier gets for what comes from outside.
    pub retail: Money,
    /// What the supplier pays for what goes outside.
    pub feed_in: Money,
}

impl Shares {
    /// The share of a metering point.
    #[must_use]
    pub fn of(&self, point: &PointId) -> Option<&Share> {
        let i = self.shares.binary_search_by(|share| share.point.cmp(point)).ok()?;
        Some(&self.shares[i])
    }

    /// The rates as they are published.
    #[must_use]
    pub fn published(&self) -> Option<Published> {
        self.rates.as_ref().map(Rates::published)
    }

    /// What the supplier gets in all: exactly what all shares together pay.
    #[must_use]
    pub fn supplier(&self) -> Money {
        self.retail - self.feed_in
    }

    /// The slot as transfers: import and export of every member with the pool, and the pool with
    /// the supplier. The pool is empty after them.
    #[must_use]
    pub fn transfers(&self) -> Vec<Transfer> {
        let mut transfers = Vec::with_capacity(self.shares.len() + 2);
        let mut pay = |from: &Account, to: &Account, amount: Money, reason: Reason| {
            transfers.extend(Transfer::of(self.slot, from, to, amount, reason));
        };
        for share in &self.shares {
            let household = Account::Household(share.point.clone());
            pay(&household, &Account::Pool, share.pays, Reason::Purchase);
            pay(&Account::Pool, &household, share.gets, Reason::Sale);
        }
        pay(&Account::Pool, &Account::Supplier, self.retail, Reason::Retail);
        pay(&Account::Supplier, &Account::Pool, self.feed_in, Reason::FeedIn);
        transfers
    }

    /// What everybody pays, by point: one side of an [`overlay`](super::overlay).
    #[must_use]
    pub fn amounts(&self) -> BTreeMap<PointId, Money> {
        self.shares.iter().map(|share| (share.point.clone(), share.amount())).collect()
    }

    fn prove(&self) -> Result<(), SharingFault> {
        let nano = |amount: Money| i128::from(amount.nano());
        let left = self.shares.iter().map(|share| nano(share.pays) - nano(share.gets)).sum();
        let right = nano(self.retail) - nano(self.feed_in);
        if left == right {
            Ok(())
        } else {
            let what = "members pay what the supplier gets";
            Err(SharingFault::NotConserved { what, left, right })
        }
    }
}

/// Shares a slot by a rule that needs nothing but its meters.
///
/// Every side's sum is shared in proportion to energy by largest remainder, so a bill differs from
/// energy times the exact rate by less than a nano-currency on each side. Under mid-market and
/// supply-demand nobody pays more than alone; bill sharing takes from exporters what importers
/// gain. The result does not depend on the order of `metered`. For [`Rule::Allocated`], `allocation` is the
/// key's allocation of the same meters; other rules do not look at it.
///
/// # Errors
/// [`SharingFault`] when inputs contradict each other or leave the range, and for rules that are
/// not computed from one slot's meters: the auction ([`settle`](crate::settle)) and bills shared
/// over a period ([`Period`](super::Period)).
pub fn share(
    rule: Rule,
    slot: Slot,
    terms: Terms,
    metered: &[Metered],
    allocation: Option<&Allocation>,
) -> Result<Shares, SharingFault> {
    let parties = Parties::of(metered)?;
    let street = parties.street();
    let other = |instead: &'static str| SharingFault::OtherRule { rule, instead };
    let Shared { shares, rates, retail, feed_in } = match rule {
        Rule::Auction => return Err(other("clear the book and settle the slot")),
        Rule::BillSharing { per: Per::Period } => {
            return Err(other("add the slots to a Period"));
        }
        Rule::Allocated { price } => {
            let allocation = allocation.ok_or_else(|| other("give the key's allocation"))?;
            by_allocation(price, terms, &parties, allocation)?
        }
        Rule::None => by_formula(Formula::Alone, terms, &parties)?,
        Rule::MidMarket => by_formula(Formula::MidMarket, terms, &parties)?,
        Rule::SupplyDemand => by_formula(Formula::SupplyDemand, terms, &parties)?,
        Rule::BillSharing { per: Per::Interval } => {
            by_formula(Formula::BillSharing, terms, &parties)?
        }
    };
    let missing = parties.missing();
    let shares = Shares { slot, terms, street, rates, shares, missing, retail, feed_in };
    shares.prove()?;
    Ok(shares)
}

/// What a rule makes of a slot.
struct Shared {
    shares: Vec<Share>,
    rates: Option<Rates>,
    retail: Money,
    feed_in: Money,
}

fn by_formula(formula: Formula, terms: Terms, parties: &Parties) -> Result<Shared, SharingFault> {
    let Sums { rates, collected, paid, retail, feed_in } =
        formula.apply(terms, parties.street())?;
    let side = |total: Money, energy: fn(&Party) -> Energy| -> Vec<Money> {
        let weights: Vec<i64> = parties.present.iter().map(|party| energy(party).wh()).collect();
        split_money(total, &weights, |i| parties.present[i].rank)
    };
    let pays = side(collected, |party| party.import);
    let gets = side(paid, |party| party.export);
    let shares = parties
        .present
        .iter()
        .zip(pays.into_iter().zip(gets))
        .map(|(party, (pays, gets))| Share {
            point: party.point.clone(),
            import: party.import,
            export: party.export,
            pays,
            gets,
        })
        .collect();
    Ok(Shared { shares, rates: Some(rates), retail, feed_in })
}

/// Allocated energy at the price inside, the rest at the supplier's: products of whole numbers.
fn by_allocation(
    price: Inside,
    terms: Terms,
    parties: &Parties,
    allocation: &Allocation,
) -> Result<Shared, SharingFault> {
    let price = price.price(terms);
    let mut shares = Vec::with_capacity(parties.present.len());
    let (mut all_retail, mut all_feed_in) = (0, 0);
    for party in &parties.present {
        let line = allocation
            .of(party.point)
            .filter(|line| line.import == party.import && line.export == party.export);
        let Some(line) = line else {
            let (point, what) = (party.point.clone(), "other meters than were allocated");
            return Err(SharingFault::UnknownPoint { point, what });
        };
        let (rest_in, rest_out) = (party.import - line.taken, party.export - line.given);
        let (retail, feed_in) =
            (product(rest_in, terms.retail()), product(rest_out, terms.feed_in()));
        all_retail += retail;
        all_feed_in += feed_in;
        shares.push(Share {
            point: party.point.clone(),
            import: party.import,
            export: party.export,
            pays: money("the import's cost", product(line.taken, price) + retail)?,
            gets: money("the export's income", product(line.given, price) + feed_in)?,
        });
    }
    let retail = money("the supplier's sum", all_retail)?;
    let feed_in = money("the supplier's sum", all_feed_in)?;
    Ok(Shared { shares, rates: None, retail, feed_in })
}
