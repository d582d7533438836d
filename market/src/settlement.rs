//! A slot's settlement: the auction's schedule against the meters, for everybody at once.
//!
//! The rule itself is in [`charge`]; here the deviations of the whole street are matched and
//! shared, every bill is written, and the sums are proven: the households together pay exactly
//! what the supplier gets, and every Wh is somebody's.

use std::collections::BTreeMap;

use units::{Energy, Money, PointId, Price, Slot, split};

use crate::allotment::product;
use crate::bill::{Basis, BillFault, Charges, Late, Own, charge, deviation, money};
use crate::{Clearing, Fill, MAX_QUANTITY, Rank, Side, Terms};

/// What the registers of a metering point advanced in a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Flow {
    /// From the grid, Wh ≥ 0.
    pub import: Energy,
    /// Into the grid, Wh ≥ 0.
    pub export: Energy,
    /// What the plant behind the meter produced, when that is metered, Wh ≥ 0.
    pub produced: Option<Energy>,
}

/// A metering point that takes part in a slot.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Metered {
    /// The point.
    pub point: PointId,
    /// Tie key for the last watt-hours of shared energy.
    pub rank: Rank,
    /// Whether what it exports comes from a renewable plant.
    pub renewable: bool,
    /// The measured energy, or nothing when the meter is missing at the deadline.
    pub flow: Option<Flow>,
}

/// One metering point's settlement of a slot.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Bill {
    /// Whose bill.
    pub point: PointId,
    /// Whether the meter was there; if not, its registers count as standing still until they
    /// arrive as [`Late`].
    pub measured: bool,
    /// The price of the trade at the point's own node.
    pub price: Option<Price>,
    /// The lines and their sum.
    pub charges: Charges,
    /// Exported renewable Wh that neighbours used in the slot: what rewards are paid for.
    pub eligible: Energy,
}

impl Bill {
    /// What [`charge`] needs to recompute this bill.
    #[must_use]
    pub fn own(&self) -> Own {
        let Charges { import, export, .. } = &self.charges;
        Own {
            bought: import.scheduled,
            sold: export.scheduled,
            price: self.price,
            import: import.metered,
            export: export.metered,
            import_local: import.local,
            export_local: export.local,
        }
    }
}

/// Sums over a slot. Energy in Wh; money is positive when the supplier gets it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Totals {
    /// Traded in the auction.
    pub scheduled: Energy,
    /// Σ import of the meters that are there.
    pub import: Energy,
    /// Σ export of the meters that are there.
    pub export: Energy,
    /// Used by neighbours: `min(import, export)`.
    pub local: Energy,
    /// From outside the street: `import − local`.
    pub grid_import: Energy,
    /// Out of the street: `export − local`.
    pub grid_export: Energy,
    /// Billed by the supplier at retail: `D⁻ − M`.
    pub supplied: Energy,
    /// Paid by the supplier at feed-in: `D⁺ − M`.
    pub taken: Energy,
    /// Import of earlier times, billed at retail.
    pub late_import: Energy,
    /// Export of earlier times, paid at feed-in.
    pub late_export: Energy,
    /// Reward-eligible energy of all producers, at most `local`.
    pub eligible: Energy,
    /// Metering points without a reading.
    pub missing: usize,
    /// `retail · supplied`.
    pub retail: Money,
    /// `feed-in · taken`, which the supplier pays.
    pub feed_in: Money,
    /// Σ late lines.
    pub late: Money,
    /// `retail − feed_in + late`: what the supplier gets, and what all households pay together.
    pub supplier: Money,
}

/// Everything that is decided about a slot after its delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Settlement {
    /// The public figures.
    pub basis: Basis,
    /// One bill per metering point, by point.
    pub bills: Vec<Bill>,
    /// The sums.
    pub totals: Totals,
}

/// Why a slot cannot be settled as given, or a settlement is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettlementFault {
    /// A metering point is there twice.
    #[error("metering point {point} is there twice")]
    DuplicatePoint {
        /// The point.
        point: PointId,
    },
    /// An order was filled twice.
    #[error("the {side} order of {point} is filled twice")]
    DuplicateFill {
        /// The point.
        point: PointId,
        /// The order's side.
        side: Side,
    },
    /// A fill or a late line of a point that does not take part.
    #[error("{point} has a {what} but is not among the metering points")]
    UnknownPoint {
        /// The point.
        point: PointId,
        /// `fill` or `late line`.
        what: &'static str,
    },
    /// The auction's purchases and sales differ.
    #[error("{bought} bought but {sold} sold in the auction")]
    Unbalanced {
        /// Σ purchases.
        bought: Energy,
        /// Σ sales.
        sold: Energy,
    },
    /// A meter's energy is negative or beyond [`MAX_QUANTITY`].
    #[error("{name} of {point} is {energy}, not between nothing and {MAX_QUANTITY}")]
    ImpossibleEnergy {
        /// The point.
        point: PointId,
        /// Which energy.
        name: &'static str,
        /// Its value.
        energy: Energy,
    },
    /// A late line of the future or of no slot at all.
    #[error("late line of {point} for {slots} slots up to {slot}, settled in {now}")]
    ImpossibleLate {
        /// The point.
        point: PointId,
        /// The line's slot.
        slot: Slot,
        /// The line's span.
        slots: u32,
        /// The slot being settled.
        now: Slot,
    },
    /// The public figures are wrong.
    #[error(transparent)]
    Basis(BillFault),
    /// A bill cannot be computed.
    #[error("bill of {point}: {fault}")]
    Bill {
        /// The point.
        point: PointId,
        /// The reason.
        fault: BillFault,
    },
    /// A stated bill is not the one that follows from its own figures.
    #[error("bill of {point} is not what its figures give")]
    WrongBill {
        /// The point.
        point: PointId,
    },
    /// The stated totals are not the sums of the bills.
    #[error("the stated totals are not the sums of the bills")]
    WrongTotals,
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

/// Settles a slot by the two-step rule of [`charge`].
///
/// `metered` lists every metering point that takes part, with or without a reading. `late` is
/// energy of earlier times that has become known since the last settlement. The result does not
/// depend on the order of either.
///
/// # Errors
/// [`SettlementFault`] when the inputs contradict each other; and, as a last line of defence, when
/// the result does not conserve energy and money.
pub fn settle(
    clearing: &Clearing,
    terms: Terms,
    metered: &[Metered],
    late: &[Late],
) -> Result<Settlement, SettlementFault> {
    // On a plate everybody has the one price, on a grid those who trade have their node's.
    let common = if clearing.nodal.is_none() { clearing.price } else { None };
    let mut parties = parties(metered, common)?;
    schedule(&mut parties, clearing)?;
    add_late(&mut parties, late, clearing.slot)?;
    let parties: Vec<Party> = parties.into_values().collect();

    let deviations: Vec<[Energy; 2]> = parties.iter().map(Party::deviations).collect();
    let sum = |part: fn(Energy) -> Energy| -> Energy {
        deviations.iter().flatten().map(|&deviation| part(deviation)).sum()
    };
    let (short, long) = (sum(short_part), sum(long_part));
    let matched = Basis::match_of(terms, short, long);
    let (fees, rent) = clearing.nodal.as_ref().map_or((0, 0), |nodal| (nodal.fees, nodal.rent));
    let surplus = |nano| money(nano).map_err(SettlementFault::Basis);
    let (grid_fees, congestion) = (surplus(fees)?, surplus(rent)?);
    let (slot, price) = (clearing.slot, clearing.price);
    let basis = Basis { slot, terms, price, grid_fees, congestion, short, long, matched };
    let given = shares(&parties, &deviations, matched, short_part);
    let taken = shares(&parties, &deviations, matched, long_part);
    let eligible = eligible(&parties);

    let bills = parties
        .into_iter()
        .enumerate()
        .map(|(i, party)| {
            // A leg is short or long, never both, so that one of the two shares is zero.
            let own = Own {
                import_local: given[2 * i] + taken[2 * i],
                export_local: given[2 * i + 1] + taken[2 * i + 1],
                ..party.own
            };
            let point = party.metered.point.clone();
            let charges = charge(&own, &basis, &party.late)
                .map_err(|fault| SettlementFault::Bill { point: point.clone(), fault })?;
            let measured = party.metered.flow.is_some();
            Ok(Bill { point, measured, price: own.price, charges, eligible: eligible[i] })
        })
        .collect::<Result<Vec<_>, SettlementFault>>()?;
    let totals = Totals::of(&basis, &bills)?;
    let settlement = Settlement { basis, bills, totals };
    settlement.check()?;
    Ok(settlement)
}

/// A metering point with all that concerns it.
struct Party<'a> {
    metered: &'a Metered,
    own: Own,
    late: Vec<Late>,
}

impl Party<'_> {
    /// δ of the import and the export leg.
    fn deviations(&self) -> [Energy; 2] {
        [
            deviation(Side::Buy, self.own.bought, self.own.import),
            deviation(Side::Sell, self.own.sold, self.own.export),
        ]
    }
}

fn parties(
    metered: &[Metered],
    price: Option<Price>,
) -> Result<BTreeMap<&PointId, Party<'_>>, SettlementFault> {
    let mut parties = BTreeMap::new();
    for metered in metered {
        let mut own = Own { price, ..Own::default() };
        if let Some(Flow { import, export, produced }) = metered.flow {
            let named =
                [("import", Some(import)), ("export", Some(export)), ("production", produced)];
            for (name, energy) in named {
                let energy = energy.unwrap_or_default();
                if !(Energy::ZERO..=MAX_QUANTITY).contains(&energy) {
                    let point = metered.point.clone();
                    return Err(SettlementFault::ImpossibleEnergy { point, name, energy });
                }
            }
            own = Own { import, export, ..own };
        }
        let party = Party { metered, own, late: Vec::new() };
        if parties.insert(&metered.point, party).is_some() {
            return Err(SettlementFault::DuplicatePoint { point: metered.point.clone() });
        }
    }
    Ok(parties)
}

fn schedule(
    parties: &mut BTreeMap<&PointId, Party<'_>>,
    clearing: &Clearing,
) -> Result<(), SettlementFault> {
    let (mut bought, mut sold) = (Energy::ZERO, Energy::ZERO);
    for Fill { point, side, energy, price } in &clearing.fills {
        let Some(party) = parties.get_mut(point) else {
            return Err(SettlementFault::UnknownPoint { point: point.clone(), what: "fill" });
        };
        if !(Energy::ZERO..=MAX_QUANTITY).contains(energy) {
            let (point, energy) = (point.clone(), *energy);
            return Err(SettlementFault::ImpossibleEnergy { point, name: "fill", energy });
        }
        let (scheduled, sum) = match side {
            Side::Buy => (&mut party.own.bought, &mut bought),
            Side::Sell => (&mut party.own.sold, &mut sold),
        };
        if !scheduled.is_zero() {
            return Err(SettlementFault::DuplicateFill { point: point.clone(), side: *side });
        }
        *scheduled = *energy;
        if clearing.nodal.is_some() {
            party.own.price = Some(*price);
        }
        *sum += *energy;
    }
    if bought != sold {
        return Err(SettlementFault::Unbalanced { bought, sold });
    }
    Ok(())
}

fn add_late(
    parties: &mut BTreeMap<&PointId, Party<'_>>,
    late: &[Late],
    now: Slot,
) -> Result<(), SettlementFault> {
    for line in late {
        let Late { slot, slots, .. } = *line;
        let point = line.point.clone();
        if slot > now || slots == 0 {
            return Err(SettlementFault::ImpossibleLate { point, slot, slots, now });
        }
        let Some(party) = parties.get_mut(&point) else {
            return Err(SettlementFault::UnknownPoint { point, what: "late line" });
        };
        party.late.push(line.clone());
    }
    for party in parties.values_mut() {
        party.late.sort_by_key(|line| (line.slot, line.slots, line.import, line.export));
    }
    Ok(())
}

pub(crate) fn short_part(deviation: Energy) -> Energy {
    deviation.max(Energy::ZERO)
}

pub(crate) fn long_part(deviation: Energy) -> Energy {
    (-deviation).max(Energy::ZERO)
}

/// The matched energy shared among one kind of deviations; two entries per party, import first.
fn shares(
    parties: &[Party],
    deviations: &[[Energy; 2]],
    matched: Energy,
    part: fn(Energy) -> Energy,
) -> Vec<Energy> {
    let weights: Vec<i64> =
        deviations.iter().flatten().map(|&deviation| part(deviation).wh()).collect();
    split(matched.wh(), &weights, |i| (parties[i / 2].metered.rank, i % 2))
        .into_iter()
        .map(Energy::from_wh)
        .collect()
}

/// What neighbours used, shared among the renewable exports, none above its own production.
///
/// Renewable exports count before others: the street uses its greenest energy first.
fn eligible(parties: &[Party]) -> Vec<Energy> {
    let import: Energy = parties.iter().map(|party| party.own.import).sum();
    let export: Energy = parties.iter().map(|party| party.own.export).sum();
    let green: Vec<i64> = parties
        .iter()
        .map(|party| {
            let produced = party.metered.flow.and_then(|flow| flow.produced);
            let export = party.own.export;
            if party.metered.renewable {
                produced.map_or(export, |p| p.min(export)).wh()
            } else {
                0
            }
        })
        .collect();
    let total = import.min(export).wh().min(green.iter().sum());
    split(total, &green, |i| parties[i].metered.rank).into_iter().map(Energy::from_wh).collect()
}

impl Totals {
    /// The sums over the bills.
    pub(crate) fn of(basis: &Basis, bills: &[Bill]) -> Result<Self, SettlementFault> {
        let sum = |part: fn(&Bill) -> Energy| -> Energy { bills.iter().map(part).sum() };
        let late = |part: fn(&Late) -> Energy| -> Energy {
            bills.iter().flat_map(|bill| &bill.charges.late).map(|line| part(&line.late)).sum()
        };
        let import = sum(|bill| bill.charges.import.metered);
        let export = sum(|bill| bill.charges.export.metered);
        let local = import.min(export);
        let (supplied, taken) = (basis.short - basis.matched, basis.long - basis.matched);
        let amount = |nano: i128| money(nano).map_err(SettlementFault::Basis);
        let late_nano: i128 = bills
            .iter()
            .flat_map(|bill| &bill.charges.late)
            .map(|line| i128::from(line.amount.nano()))
            .sum();
        let retail_nano = product(supplied, basis.terms.retail());
        let feed_in_nano = product(taken, basis.terms.feed_in());
        Ok(Self {
            scheduled: sum(|bill| bill.charges.import.scheduled),
            import,
            export,
            local,
            grid_import: import - local,
            grid_export: export - local,
            supplied,
            taken,
            late_import: late(|late| late.import),
            late_export: late(|late| late.export),
            eligible: sum(|bill| bill.eligible),
            missing: bills.iter().filter(|bill| !bill.measured).count(),
            retail: amount(retail_nano)?,
            feed_in: amount(feed_in_nano)?,
            late: amount(late_nano)?,
            supplier: amount(retail_nano - feed_in_nano + late_nano)?,
        })
    }
}

impl Settlement {
    /// The bill of a metering point.
    #[must_use]
    pub fn bill(&self, point: &PointId) -> Option<&Bill> {
        let i = self.bills.binary_search_by(|bill| bill.point.cmp(point)).ok()?;
        Some(&self.bills[i])
    }
}
