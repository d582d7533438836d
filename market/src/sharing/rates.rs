//! The local prices of a slot by each rule, as exact fractions, and what they collect and pay.
//!
//! With M what all members import, X what they export, P = min(M, X), retail R and feed-in F:
//!
//! ```text
//! mid-market     mid = (R + F)/2
//!                buy = (mid·P + R·(M − P))/M          sell = (mid·P + F·(X − P))/X
//! supply-demand  k = X/M ≤ 1: sell = R·F/((R − F)·k + F), buy = sell·k + R·(1 − k)
//!                k > 1: both F
//! bill sharing   buy = R·(M − P)/M                    sell = F·(X − P)/X
//! alone          buy = R                              sell = F
//! ```
//!
//! Without imports, without exports or where R ≤ F, nothing pays inside and every rule is "alone".
//! The supply-demand price is harmonic between R and F (Liu et al., IEEE Transactions on Power
//! Systems 32(5), 2017), which has no meaning below zero; under a negative feed-in price it is the
//! straight line `sell = R − (R − F)·k` with the same ends.
//!
//! Every rule but the last collects exactly `R·(M − P) − F·(X − P)` more than it pays: the
//! street's bill outside. Only the supply-demand price is a quotient that its sums do not divide out of; the
//! exporters' sum is rounded half to even to a nano-currency then, and the importers' sum follows.

use units::{Energy, Money, Price};

use super::exact::{Ratio, money};
use super::{Per, Rule, SharingFault};
use crate::Terms;
use crate::allotment::product;

/// Most energy of a street in a slot, either way, 100 GWh: it keeps every fraction inside an
/// `i128`.
pub(crate) const MAX_STREET: Energy = Energy::from_wh(100_000_000_000);

/// What a Wh costs and earns in a slot, in nano-currency per Wh: exact fractions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Rates {
    /// Paid for import.
    pub buy: Ratio,
    /// Got for export.
    pub sell: Ratio,
}

/// Rates as they are published: 10⁻⁹ currency per kWh (10⁻¹² per Wh), rounded half to even.
///
/// For display and comparison. Bills are exact shares of exact sums and do not come from these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Published {
    /// Paid for import.
    pub buy_e9: i64,
    /// Got for export.
    pub sell_e9: i64,
}

impl Published {
    /// What energy would cost at the published figures, 10⁻¹² currency; positive when it is paid.
    #[must_use]
    pub fn amount_e12(&self, import: Energy, export: Energy) -> i128 {
        i128::from(import.wh()) * i128::from(self.buy_e9)
            - i128::from(export.wh()) * i128::from(self.sell_e9)
    }
}

impl Rates {
    /// The rates to nine decimals of a currency unit per kWh.
    #[must_use]
    pub fn published(&self) -> Published {
        let rounded = |rate: Ratio| {
            let figure = rate.times(1_000).expect("bounded with the street's energy");
            i64::try_from(figure).expect("between the supplier's prices or zero")
        };
        Published { buy_e9: rounded(self.buy), sell_e9: rounded(self.sell) }
    }
}

/// Which of the rules that need meters only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Formula {
    Alone,
    MidMarket,
    SupplyDemand,
    BillSharing,
}

/// What a Wh costs and earns by a rule when the street as a whole imports and exports so much: what
/// a member needs to check its own share, which differs by less than a nano-currency per side.
///
/// None for rules without one price for all: the auction, allocated energy, and bills of a period.
///
/// # Errors
/// [`SharingFault::OutOfRange`].
pub fn rates(rule: Rule, terms: Terms, street: Street) -> Result<Option<Rates>, SharingFault> {
    let formula = match rule {
        Rule::None => Formula::Alone,
        Rule::MidMarket => Formula::MidMarket,
        Rule::SupplyDemand => Formula::SupplyDemand,
        Rule::BillSharing { per: Per::Interval } => Formula::BillSharing,
        Rule::Auction | Rule::Allocated { .. } | Rule::BillSharing { per: Per::Period } => {
            return Ok(None);
        }
    };
    Ok(Some(formula.apply(terms, street)?.rates))
}

/// What all members together import and export in a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Street {
    /// M, Wh.
    pub import: Energy,
    /// X, Wh.
    pub export: Energy,
}

impl Street {
    /// P = min(M, X): what stays inside, Wh.
    #[must_use]
    pub fn pooled(&self) -> Energy {
        self.import.min(self.export)
    }

    /// What the supplier gets when `inside` does not leave the street, nano-currency:
    /// `R·(M − inside) − F·(X − inside)`.
    pub(crate) fn outside(&self, terms: Terms, inside: Energy) -> i128 {
        product(self.import - inside, terms.retail())
            - product(self.export - inside, terms.feed_in())
    }
}

/// The exact rates and sums of one slot by one rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sums {
    pub rates: Rates,
    /// From all importers.
    pub collected: Money,
    /// To all exporters.
    pub paid: Money,
    /// To the supplier, for what comes from outside.
    pub retail: Money,
    /// From the supplier, for what goes outside.
    pub feed_in: Money,
}

impl Formula {
    /// Rates and sums in a slot, proven to leave what the supplier gets.
    pub fn apply(self, terms: Terms, street: Street) -> Result<Sums, SharingFault> {
        for (what, energy) in [("import", street.import), ("export", street.export)] {
            if energy > MAX_STREET {
                let value = i128::from(energy.wh());
                return Err(SharingFault::OutOfRange { what, value });
            }
        }
        let (retail, feed_in) = (terms.retail(), terms.feed_in());
        let (demand, supply) = (street.import, street.export);
        let pooled = street.pooled();
        let local = pooled.is_positive() && terms.leave_room();
        let formula = if local { self } else { Self::Alone };
        let outside_in = product(demand - pooled, retail);
        let outside_out = product(supply - pooled, feed_in);
        let inside = product(pooled, terms.middle());
        let (collected, paid, rates) = match formula {
            Self::Alone => {
                let rates = Rates { buy: whole(retail), sell: whole(feed_in) };
                (product(demand, retail), product(supply, feed_in), rates)
            }
            Self::MidMarket => by_energy(street, inside + outside_in, inside + outside_out),
            Self::BillSharing => by_energy(street, outside_in, outside_out),
            Self::SupplyDemand if supply > demand => {
                let rates = Rates { buy: whole(feed_in), sell: whole(feed_in) };
                (product(demand, feed_in), product(supply, feed_in), rates)
            }
            Self::SupplyDemand => supply_demand(terms, street)?,
        };
        let stays = if formula == Self::Alone { Energy::ZERO } else { pooled };
        let (left, right) = (collected - paid, street.outside(terms, stays));
        if left != right {
            let what = "the street's bill outside";
            return Err(SharingFault::NotConserved { what, left, right });
        }
        Ok(Sums {
            rates,
            collected: money("the importers' sum", collected)?,
            paid: money("the exporters' sum", paid)?,
            retail: money("the supplier's sum", product(demand - stays, retail))?,
            feed_in: money("the supplier's sum", product(supply - stays, feed_in))?,
        })
    }
}

fn whole(price: Price) -> Ratio {
    Ratio::whole(i128::from(price.nano_per_wh()))
}

/// Both sums per Wh of their side; there are imports and exports.
fn by_energy(street: Street, collected: i128, paid: i128) -> (i128, i128, Rates) {
    let per = |sum: i128, energy: Energy| Ratio::new(sum, i128::from(energy.wh()));
    let rates = Rates { buy: per(collected, street.import), sell: per(paid, street.export) };
    (collected, paid, rates)
}

/// `0 < X ≤ M`, R > F.
fn supply_demand(terms: Terms, street: Street) -> Result<(i128, i128, Rates), SharingFault> {
    // In ticks, so that the products below stay far inside an i128.
    let tick = i128::from(Price::TICK.nano_per_wh());
    let ticks = |price: Price| i128::from(price.nano_per_wh()) / tick;
    let (retail, feed_in) = (ticks(terms.retail()), ticks(terms.feed_in()));
    let (demand, supply) = (i128::from(street.import.wh()), i128::from(street.export.wh()));
    let spread = retail - feed_in;
    let (numerator, denominator) = if feed_in >= 0 {
        (retail * feed_in * demand * tick, spread * supply + feed_in * demand)
    } else {
        ((retail * demand - spread * supply) * tick, demand)
    };
    let sell = Ratio::new(numerator, denominator);
    let rest = product(street.import - street.export, terms.retail());
    let paid = sell.times(street.export.wh());
    let fault = SharingFault::OutOfRange { what: "the exporters' sum", value: numerator };
    let paid = paid.ok_or(fault)?;
    // buy = (sell·X + R·(M − X))/M over the common denominator.
    let buy = Ratio::new(numerator * supply + rest * denominator, denominator * demand);
    Ok((paid + rest, paid, Rates { buy, sell }))
}
