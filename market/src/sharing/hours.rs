//! Half-hours and hours from quarter-hours, for countries that count by these.
//!
//! What is shared in an hour is `min(injected, withdrawn)` of the hour's sums, which is more than
//! the sum of the quarters' minima: noon's surplus covers the same hour's need. Readings that are
//! not there are named. They are not taken for nothing: an hour with a gap has no shared energy
//! yet, only a lower bound, because both sums can only grow.

use units::{Energy, Money, PointId, Slot, split};

use super::exact::{money, split_money};
use super::{KEYS_TOTAL, Parties, SharingFault};
use crate::allotment::product;
use crate::{Metered, Rank};
use units::Price;

/// The interval that is rolled up to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
pub enum HourLength {
    /// Two quarters.
    HalfHour,
    /// Four quarters.
    Hour,
}

impl HourLength {
    /// Number of quarter-hours.
    #[must_use]
    pub const fn quarters(self) -> i64 {
        match self {
            Self::HalfHour => 2,
            Self::Hour => 4,
        }
    }

    /// The first quarter of the interval that contains a slot. Hours of UTC are hours of every
    /// time zone in Europe.
    #[must_use]
    pub fn first(self, slot: Slot) -> Slot {
        slot.offset(-slot.number().rem_euclid(self.quarters()))
    }
}

/// The meters of one quarter-hour.
#[derive(Debug, Clone, Copy)]
pub struct Quarter<'a> {
    /// Which one.
    pub slot: Slot,
    /// All members, with or without readings.
    pub metered: &'a [Metered],
}

/// One point's sums in an hour.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct HourPoint {
    /// Whose.
    pub point: PointId,
    /// Tie key: that of the hour's first reading.
    pub rank: Rank,
    /// Known import, Wh.
    pub import: Energy,
    /// Known export, Wh.
    pub export: Energy,
    /// Quarters without a reading.
    pub missing: Vec<Slot>,
}

/// An hour (or half-hour) of the community.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Hour {
    /// First quarter.
    pub first: Slot,
    /// How long.
    pub length: HourLength,
    /// Known export of all points, Wh.
    pub injected: Energy,
    /// Known import of all points, Wh.
    pub withdrawn: Energy,
    /// The points, by point.
    pub points: Vec<HourPoint>,
    /// Quarters of the hour of which nothing at all was given.
    pub absent: Vec<Slot>,
}

impl Hour {
    /// Whether every quarter has a reading of every point.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.absent.is_empty() && self.points.iter().all(|point| point.missing.is_empty())
    }

    /// `min(injected, withdrawn)`, once everything is known.
    #[must_use]
    pub fn shared(&self) -> Option<Energy> {
        self.is_complete().then(|| self.at_least())
    }

    /// What is shared at least, whatever is still to come.
    #[must_use]
    pub fn at_least(&self) -> Energy {
        self.injected.min(self.withdrawn)
    }

    /// Shares the premium that a state pays for a complete hour's shared energy: `producers_ppm`
    /// millionths of it among who injected, the rest among who withdrew, each in proportion.
    /// Nothing is paid for an hour with gaps.
    ///
    /// # Errors
    /// [`SharingFault::OutOfRange`] when the premium is negative or too large, or there are more
    /// than a million millionths.
    pub fn premium(&self, premium: Premium) -> Result<Vec<(PointId, Money)>, SharingFault> {
        let Premium { price, producers_ppm } = premium;
        if producers_ppm > KEYS_TOTAL {
            let (what, value) = ("the producers' millionths", i128::from(producers_ppm));
            return Err(SharingFault::OutOfRange { what, value });
        }
        let sum = product(self.shared().unwrap_or_default(), price);
        if sum < 0 {
            return Err(SharingFault::OutOfRange { what: "the premium", value: sum });
        }
        let sum = money("the premium", sum)?;
        let parts = [i64::from(producers_ppm), i64::from(KEYS_TOTAL - producers_ppm)];
        let halves = split(sum.nano(), &parts, |i| i);
        let share = |nano: i64, energy: fn(&HourPoint) -> Energy| -> Vec<Money> {
            let weights: Vec<i64> = self.points.iter().map(|point| energy(point).wh()).collect();
            split_money(Money::from_nano(nano), &weights, |i| self.points[i].rank)
        };
        let give = share(halves[0], |point| point.export);
        let take = share(halves[1], |point| point.import);
        let points = self.points.iter().map(|point| point.point.clone());
        Ok(points.zip(give.into_iter().zip(take).map(|(give, take)| give + take)).collect())
    }
}

/// What a state pays for energy shared within an hour, and how the community divides it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
pub struct Premium {
    /// Per shared Wh, ≥ 0.
    pub price: Price,
    /// What of it goes to who injected, millionths.
    pub producers_ppm: u32,
}

/// Adds quarter-hours up to hours or half-hours.
///
/// `quarters` are in order of time, each once; gaps are fine and named. Points that appear in only
/// some of the hour's quarters miss the others.
///
/// # Errors
/// [`SharingFault`] when quarters are out of order or their meters contradict each other.
pub fn roll_up(length: HourLength, quarters: &[Quarter<'_>]) -> Result<Vec<Hour>, SharingFault> {
    for pair in quarters.windows(2) {
        let (before, slot) = (pair[0].slot, pair[1].slot);
        if slot <= before {
            return Err(SharingFault::OutOfOrder { slot, before });
        }
    }
    let same = |a: &Quarter, b: &Quarter| length.first(a.slot) == length.first(b.slot);
    quarters.chunk_by(same).map(|quarters| hour(length, quarters)).collect()
}

/// One hour of at most four quarters.
fn hour(length: HourLength, quarters: &[Quarter<'_>]) -> Result<Hour, SharingFault> {
    let first = length.first(quarters[0].slot);
    let slots = || (0..length.quarters()).map(|i| first.offset(i));
    let is_given = |slot: &Slot| quarters.iter().any(|quarter| quarter.slot == *slot);
    let absent: Vec<Slot> = slots().filter(|slot| !is_given(slot)).collect();
    let mut points = std::collections::BTreeMap::<&PointId, (HourPoint, Vec<Slot>)>::new();
    for quarter in quarters {
        let parties = Parties::of(quarter.metered)?;
        for party in &parties.present {
            let (point, known) = points.entry(party.point).or_insert_with(|| {
                let point = HourPoint {
                    point: party.point.clone(),
                    rank: party.rank,
                    import: Energy::ZERO,
                    export: Energy::ZERO,
                    missing: Vec::new(),
                };
                (point, Vec::new())
            });
            point.import += party.import;
            point.export += party.export;
            known.push(quarter.slot);
        }
        for (one, rank) in quarter.metered.iter().map(|one| (&one.point, one.rank)) {
            points.entry(one).or_insert_with(|| {
                let (import, export) = (Energy::ZERO, Energy::ZERO);
                let (point, missing) = (one.clone(), Vec::new());
                (HourPoint { point, rank, import, export, missing }, Vec::new())
            });
        }
    }
    let points: Vec<HourPoint> = points
        .into_values()
        .map(|(point, known)| {
            let missing = slots().filter(|slot| !known.contains(slot)).collect();
            HourPoint { missing, ..point }
        })
        .collect();
    let injected = points.iter().map(|point| point.export).sum();
    let withdrawn = points.iter().map(|point| point.import).sum();
    Ok(Hour { first, length, injected, withdrawn, points, absent })
}
