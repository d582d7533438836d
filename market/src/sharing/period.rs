//! Bill sharing over a billing period: one bill of the street, shared by energy.
//!
//! Over all slots in which retail is above feed-in, `Σ R·(M − P)` is shared among the imports of
//! these slots and `Σ F·(X − P)` among the exports. Other slots are everybody's own.

use std::collections::BTreeMap;

use units::{Energy, Money, PointId, Slot};

use super::exact::{half_even, money, split_money};
use super::rates::{Formula, MAX_STREET};
use super::{Parties, SharingFault};
use crate::allotment::product;
use crate::{Account, Metered, Rank, Reason, Terms, Transfer};

/// Most energy of a member in a period, 10 TWh: it keeps every fraction inside an `i128`.
const MAX_MEMBER: i64 = 10_000_000_000_000;

/// What one member has used and given so far.
#[derive(Debug, Clone, Default)]
struct Member {
    /// In slots that are shared.
    import: Energy,
    /// In slots that are shared.
    export: Energy,
    /// Nano-currency of the slots that are everybody's own.
    own: i128,
}

/// A billing period that is being shared: add its slots, in any order, then read the bills.
#[derive(Debug, Clone, Default)]
pub struct Period {
    members: BTreeMap<PointId, Member>,
    /// Nano-currency.
    collected: i128,
    /// Nano-currency.
    paid: i128,
    /// Nano-currency the supplier gets in the slots that are everybody's own.
    own: i128,
    missing: Vec<(Slot, PointId)>,
}

/// One member's bill for a period.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct PeriodBill {
    /// Whose bill.
    pub point: PointId,
    /// Imported in slots that are shared, Wh.
    pub import: Energy,
    /// Exported in slots that are shared, Wh.
    pub export: Energy,
    /// The share of the street's purchases outside.
    pub pays: Money,
    /// The share of the street's sales outside.
    pub gets: Money,
    /// The slots that are not shared.
    pub own: Money,
    /// `pays − gets + own`; positive when it is to be paid.
    pub amount: Money,
    /// The exact amount before it became whole nano-currencies, 10⁻¹² currency, rounded half to
    /// even: a published figure.
    pub exact_e12: i128,
}

impl Period {
    /// Adds a slot. Points without a reading are noted and not billed for it.
    ///
    /// # Errors
    /// [`SharingFault`] when the meters contradict each other or leave the range; nothing is added
    /// then.
    pub fn add(
        &mut self,
        slot: Slot,
        terms: Terms,
        metered: &[Metered],
    ) -> Result<(), SharingFault> {
        let parties = Parties::of(metered)?;
        let street = parties.street();
        let sums = Formula::BillSharing.apply(terms, street)?;
        for party in &parties.present {
            let before = self
                .members
                .get(party.point)
                .map_or(0, |member| member.import.wh().max(member.export.wh()));
            if before > MAX_MEMBER - MAX_STREET.wh() {
                let (what, value) = ("a member's energy in the period", i128::from(before));
                return Err(SharingFault::OutOfRange { what, value });
            }
        }
        let shared = terms.leave_room();
        let (collected, paid) = (i128::from(sums.collected.nano()), i128::from(sums.paid.nano()));
        if shared {
            self.collected += collected;
            self.paid += paid;
        } else {
            self.own += collected - paid;
        }
        for party in &parties.present {
            let member = self.members.entry(party.point.clone()).or_default();
            if shared {
                member.import += party.import;
                member.export += party.export;
            } else {
                member.own +=
                    product(party.import, terms.retail()) - product(party.export, terms.feed_in());
            }
        }
        self.missing.extend(parties.missing.iter().map(|&point| (slot, point.clone())));
        Ok(())
    }

    /// Slots and points without a reading: the bills are preliminary while there are any.
    #[must_use]
    pub fn missing(&self) -> &[(Slot, PointId)] {
        &self.missing
    }

    /// What the supplier gets for the period.
    ///
    /// # Errors
    /// [`SharingFault::OutOfRange`].
    pub fn supplier(&self) -> Result<Money, SharingFault> {
        money("the supplier's sum", self.collected - self.paid + self.own)
    }

    /// The bills, by point; together they are exactly what the supplier gets. `rank` decides who
    /// gets the last nano-currency.
    ///
    /// # Errors
    /// [`SharingFault`] when an amount leaves the range, or the bills do not add up.
    pub fn bills(&self, rank: impl Fn(&PointId) -> Rank) -> Result<Vec<PeriodBill>, SharingFault> {
        let members: Vec<(&PointId, &Member)> = self.members.iter().collect();
        let ranks: Vec<Rank> = members.iter().map(|&(point, _)| rank(point)).collect();
        let imports: Vec<i64> = members.iter().map(|(_, member)| member.import.wh()).collect();
        let exports: Vec<i64> = members.iter().map(|(_, member)| member.export.wh()).collect();
        let collected = money("the street's purchases", self.collected)?;
        let paid = money("the street's sales", self.paid)?;
        let pays = split_money(collected, &imports, |i| ranks[i]);
        let gets = split_money(paid, &exports, |i| ranks[i]);
        let (all_in, all_out) = (sum(&imports), sum(&exports));
        let mut bills = Vec::with_capacity(members.len());
        for (i, (point, member)) in members.into_iter().enumerate() {
            let bought = fraction(self.collected, imports[i], all_in);
            let sold = fraction(self.paid, exports[i], all_out);
            let own = money("a member's own slots", member.own)?;
            bills.push(PeriodBill {
                point: point.clone(),
                import: member.import,
                export: member.export,
                pays: pays[i],
                gets: gets[i],
                own,
                amount: pays[i] - gets[i] + own,
                exact_e12: difference(bought, sold) + member.own * 1_000,
            });
        }
        let left = bills.iter().map(|bill| i128::from(bill.amount.nano())).sum();
        let right = self.collected - self.paid + self.own;
        if left == right {
            Ok(bills)
        } else {
            let what = "members pay what the supplier gets";
            Err(SharingFault::NotConserved { what, left, right })
        }
    }
}

impl PeriodBill {
    /// The bill as a transfer with the pool, booked to the period's last slot; none when nothing is
    /// to be paid. Together with the supplier's from the pool they leave it empty.
    #[must_use]
    pub fn transfer(&self, last: Slot) -> Option<Transfer> {
        let household = Account::Household(self.point.clone());
        Transfer::of(last, &household, &Account::Pool, self.amount, Reason::Purchase)
    }
}

fn sum(energies: &[i64]) -> i128 {
    energies.iter().map(|&energy| i128::from(energy)).sum()
}

/// `total · part / all` in 10⁻¹² currency: whole part, rest and denominator.
fn fraction(total: i128, part: i64, all: i128) -> (i128, i128, i128) {
    if all == 0 {
        return (0, 0, 1);
    }
    let numerator = total * i128::from(part) * 1_000;
    (numerator.div_euclid(all), numerator.rem_euclid(all), all)
}

/// The difference of two fractions, rounded once.
fn difference(a: (i128, i128, i128), b: (i128, i128, i128)) -> i128 {
    let (numerator, denominator) = (a.1 * b.2 - b.1 * a.2, a.2 * b.2);
    let floor = a.0 - b.0 + numerator.div_euclid(denominator);
    floor + half_even(floor, numerator.rem_euclid(denominator), denominator)
}
