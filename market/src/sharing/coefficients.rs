//! Coefficients as a grid operator reads them: whole numbers that add up to the whole.

use units::{PointId, split};

use super::Allocation;

/// How finely a whole is divided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
pub enum Scale {
    /// Millionths: six decimals.
    Millionths,
    /// Billionths: nine decimals. Up to 500 MWh in a slot, multiplying them back and rounding
    /// gives every allocated watt-hour.
    Billionths,
}

impl Scale {
    /// How many parts the whole has.
    #[must_use]
    pub const fn parts(self) -> i64 {
        match self {
            Self::Millionths => 1_000_000,
            Self::Billionths => 1_000_000_000,
        }
    }

    /// A coefficient with a decimal point, as files have it: `0.250000`.
    #[must_use]
    pub fn decimal(self, coefficient: i64) -> String {
        let digits = match self {
            Self::Millionths => 6,
            Self::Billionths => 9,
        };
        let (whole, rest) = (coefficient / self.parts(), coefficient % self.parts());
        format!("{whole}.{rest:0digits$}")
    }
}

/// Parts of a producer's or of the whole community's export: consumers' and the rest that goes to
/// the grid. They add up to [`Scale::parts`] exactly.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Coefficients {
    /// The whole.
    pub scale: Scale,
    /// By consumer; who takes nothing is not listed.
    pub parts: Vec<(PointId, i64)>,
    /// What no member took.
    pub rest: i64,
}

/// The coefficients of one producer's export.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct PairCoefficients {
    /// Whose export.
    pub producer: PointId,
    /// Its parts.
    pub of: Coefficients,
}

impl Allocation {
    /// Each consumer's part of the community's export; nothing when there was none.
    ///
    /// Rounded by largest remainder, equal ones by rank.
    #[must_use]
    pub fn coefficients(&self, scale: Scale) -> Option<Coefficients> {
        let export: i64 = self.lines.iter().map(|line| line.export.wh()).sum();
        let takers: Vec<_> = self.lines.iter().filter(|line| line.taken.is_positive()).collect();
        let parts: Vec<(PointId, i64, crate::Rank)> = takers
            .into_iter()
            .map(|line| (line.point.clone(), line.taken.wh(), line.rank))
            .collect();
        coefficients(scale, &parts, export)
    }

    /// Every producer's export by consumers, by producer.
    #[must_use]
    pub fn pair_coefficients(&self, scale: Scale) -> Vec<PairCoefficients> {
        let pairs = self.pairs();
        let mut rows = Vec::new();
        for line in self.lines.iter().filter(|line| line.export.is_positive()) {
            let parts: Vec<(PointId, i64, crate::Rank)> = pairs
                .iter()
                .filter(|pair| pair.producer == line.point)
                .map(|pair| {
                    let rank = self.of(&pair.consumer).map_or(line.rank, |line| line.rank);
                    (pair.consumer.clone(), pair.energy.wh(), rank)
                })
                .collect();
            let of = coefficients(scale, &parts, line.export.wh());
            let of = of.expect("the export is positive");
            rows.push(PairCoefficients { producer: line.point.clone(), of });
        }
        rows
    }
}

/// `parts` of a whole, with what is left of it as the rest; nothing of nothing.
fn coefficients(
    scale: Scale,
    parts: &[(PointId, i64, crate::Rank)],
    whole: i64,
) -> Option<Coefficients> {
    if whole == 0 {
        return None;
    }
    let mut weights: Vec<i64> = parts.iter().map(|&(_, wh, _)| wh).collect();
    weights.push(whole - weights.iter().sum::<i64>());
    // Ties go to members before the grid.
    let rank = |i: usize| parts.get(i).map_or([u8::MAX; 32], |&(_, _, rank)| rank);
    let mut shares = split(scale.parts(), &weights, rank);
    let rest = shares.pop().expect("the rest was pushed");
    let parts = parts.iter().map(|(point, ..)| point.clone()).zip(shares).collect();
    Some(Coefficients { scale, parts, rest })
}
