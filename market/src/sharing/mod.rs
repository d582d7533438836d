//! Sharing energy without an auction, and the legal allocation beside one.
//!
//! Two questions that are easily confused have two answers here:
//!
//! - **Who pays whom how much?** A [`Rule`]: the auction of this crate, or one of the rules that
//!   need nothing but meters ([`share`] for a slot, [`Period`] for a billing period).
//! - **Whose energy was whose, in law?** A [`Key`], by which a grid operator allocates, or by
//!   which it lets the community allocate: [`allocate`]. Its coefficients are whole numbers that
//!   add up ([`Allocation::coefficients`]).
//!
//! Where the grid operator's answer is not the market's, the two are kept as two ledgers, and
//! members settle the difference among themselves: [`overlay`]. Countries that count by the hour
//! get [`roll_up`].
//!
//! Energy is in Wh and money in nano-currency, as everywhere. Prices of some rules are fractions,
//! so a bill is an exact share of an exact sum (largest remainder, then rank), never a product
//! with a rounded price: what members pay together is what the supplier gets, to the last unit.

mod allocation;
mod coefficients;
mod exact;
mod hours;
mod overlay;
mod pairs;
mod period;
mod rates;
mod rule;
mod shares;

use units::{Energy, PointId};

use crate::{Account, MAX_QUANTITY, Metered, Rank};

pub use allocation::{Allocated, Allocation, allocate};
pub use coefficients::{Coefficients, PairCoefficients, Scale};
pub use exact::Ratio;
pub use hours::{Hour, HourLength, HourPoint, Premium, Quarter, roll_up};
pub use overlay::{Overlay, OverlayLine, overlay};
pub use pairs::{Trade, trades};
pub use period::{Period, PeriodBill};
pub use rates::{Published, Rates, Street, rates};
pub use rule::{
    Groups, Inside, KEYS_TOTAL, Key, KeyFault, Keys, Levels, MAX_ROUNDS, Per, Rounds, Rule,
    Sharing, UnknownRule,
};
pub use shares::{Share, Shares, share};

/// Why energy cannot be shared as given.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SharingFault {
    /// A metering point is there twice.
    #[error("metering point {point} is there twice")]
    DuplicatePoint {
        /// The point.
        point: PointId,
    },
    /// A trade or an amount of a point that does not take part.
    #[error("{point} has {what} but is not among the metering points")]
    UnknownPoint {
        /// The point.
        point: PointId,
        /// What it has.
        what: &'static str,
    },
    /// An energy is negative or beyond [`MAX_QUANTITY`].
    #[error("{name} of {point} is {energy}, not between nothing and {MAX_QUANTITY}")]
    ImpossibleEnergy {
        /// The point.
        point: PointId,
        /// Which energy.
        name: &'static str,
        /// Its value.
        energy: Energy,
    },
    /// A sum is beyond what is counted with.
    #[error("{what} of {value} is out of range: check registers and prices")]
    OutOfRange {
        /// Which sum.
        what: &'static str,
        /// Its value.
        value: i128,
    },
    /// The rule is computed elsewhere.
    #[error("the rule \"{rule}\" is not computed from one slot's meters: {instead}")]
    OtherRule {
        /// The rule.
        rule: Rule,
        /// What to do.
        instead: &'static str,
    },
    /// A market posts between members, pool and supplier, and from the pool to funds.
    #[error("a transfer from {debit} to {credit} is no part of a market's slot")]
    OtherTransfer {
        /// Who pays.
        debit: Account,
        /// Who gets.
        credit: Account,
    },
    /// The key does not fit the metering points.
    #[error(transparent)]
    Key(#[from] KeyFault),
    /// The quarter-hours of a roll-up are not in order.
    #[error("quarter-hour {slot} comes after {before}: give each once, in order")]
    OutOfOrder {
        /// The later one.
        slot: units::Slot,
        /// The one before it.
        before: units::Slot,
    },
    /// A sum that must hold does not.
    #[error("{what}: {left} is not {right}")]
    NotConserved {
        /// Which sum.
        what: &'static str,
        /// One side.
        left: i128,
        /// The other.
        right: i128,
    },
}

/// A metering point with a reading.
#[derive(Debug, Clone, Copy)]
struct Party<'a> {
    point: &'a PointId,
    rank: Rank,
    import: Energy,
    export: Energy,
}

/// The points of a slot by name: those with a reading, and those without.
struct Parties<'a> {
    present: Vec<Party<'a>>,
    missing: Vec<&'a PointId>,
}

impl<'a> Parties<'a> {
    fn of(metered: &'a [Metered]) -> Result<Self, SharingFault> {
        let mut by_point: Vec<&Metered> = metered.iter().collect();
        by_point.sort_by(|a, b| a.point.cmp(&b.point));
        if let Some(pair) = by_point.windows(2).find(|pair| pair[0].point == pair[1].point) {
            return Err(SharingFault::DuplicatePoint { point: pair[0].point.clone() });
        }
        let (mut present, mut missing) = (Vec::with_capacity(by_point.len()), Vec::new());
        for one in by_point {
            let point = &one.point;
            let Some(flow) = one.flow else {
                missing.push(point);
                continue;
            };
            for (name, energy) in [("import", flow.import), ("export", flow.export)] {
                if !(Energy::ZERO..=MAX_QUANTITY).contains(&energy) {
                    let point = point.clone();
                    return Err(SharingFault::ImpossibleEnergy { point, name, energy });
                }
            }
            let (import, export) = (flow.import, flow.export);
            present.push(Party { point, rank: one.rank, import, export });
        }
        Ok(Self { present, missing })
    }

    fn street(&self) -> Street {
        let import = self.present.iter().map(|party| party.import).sum();
        let export = self.present.iter().map(|party| party.export).sum();
        Street { import, export }
    }

    fn missing(&self) -> Vec<PointId> {
        self.missing.iter().map(|&point| point.clone()).collect()
    }
}
