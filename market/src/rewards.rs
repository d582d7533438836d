//! Tokens for producers: an epoch's mint, shared by eligible energy, under a cap.
//!
//! Amounts are in the token's smallest unit ("wei") and as large as the chain's, so they are
//! `u128`. All arithmetic is exact.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use units::{Energy, PointId};

use crate::{MAX_QUANTITY, Rank};

/// How many tokens an epoch may bring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Policy {
    /// Tokens per eligible watt-hour, wei.
    pub rate_wei_per_wh: u128,
    /// Most tokens per epoch, wei.
    pub cap_wei: u128,
}

/// A producer's eligible energy in an epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Eligible {
    /// The producer.
    pub point: PointId,
    /// Σ of [`Bill::eligible`](crate::Bill::eligible) over the epoch, Wh ≥ 0.
    pub energy: Energy,
    /// Tie key for the last wei.
    pub rank: Rank,
}

/// A producer's tokens of one epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Mint {
    /// The producer.
    pub point: PointId,
    /// Tokens, wei.
    pub wei: u128,
}

/// Why nothing is minted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RewardFault {
    /// A producer is there twice.
    #[error("producer {point} is there twice: sum its energy up first")]
    Duplicate {
        /// The producer.
        point: PointId,
    },
    /// Energy is negative or more than any epoch can have.
    #[error("{energy} of {point} is not between nothing and {EPOCH_BOUND} in an epoch")]
    ImpossibleEnergy {
        /// The producer.
        point: PointId,
        /// Its energy.
        energy: Energy,
    },
    /// The energy or the tokens of all producers together are more than can be counted.
    #[error("with {point} the sum of all producers is out of range")]
    OutOfRange {
        /// The producer.
        point: PointId,
    },
}

/// Most eligible energy of one producer in an epoch: [`MAX_QUANTITY`] in each of a million slots.
const EPOCH_BOUND: Energy = Energy::from_wh(MAX_QUANTITY.wh() * 1_000_000);

/// Shares an epoch's tokens: `min(cap, rate · Σ energy)`, in proportion to the energy.
///
/// Below the cap everybody gets exactly `rate · energy`. Above it the cap is shared by the
/// largest-remainder method, the last wei by [`Rank`]. The result is by metering point, without
/// those who get nothing, and its sum is exact.
///
/// # Errors
/// [`RewardFault`] when a producer is there twice or energy is impossible.
pub fn mint(policy: Policy, eligible: &[Eligible]) -> Result<Vec<Mint>, RewardFault> {
    let mut producers: Vec<&Eligible> = eligible.iter().collect();
    producers.sort_by(|a, b| a.point.cmp(&b.point));
    if let Some(pair) = producers.windows(2).find(|pair| pair[0].point == pair[1].point) {
        return Err(RewardFault::Duplicate { point: pair[0].point.clone() });
    }
    let mut weights = Vec::with_capacity(producers.len());
    let mut sum = 0_u64;
    for Eligible { point, energy, .. } in &producers {
        let wh = u64::try_from(energy.wh()).ok().filter(|_| *energy <= EPOCH_BOUND);
        let Some(wh) = wh else {
            return Err(RewardFault::ImpossibleEnergy { point: point.clone(), energy: *energy });
        };
        let out_of_range = || RewardFault::OutOfRange { point: point.clone() };
        sum = sum.checked_add(wh).ok_or_else(out_of_range)?;
        weights.push(u128::from(wh));
    }
    let sum = u128::from(sum);
    // A product beyond 128 bits is certainly above the cap.
    let total = policy
        .rate_wei_per_wh
        .checked_mul(sum)
        .map_or(policy.cap_wei, |uncapped| uncapped.min(policy.cap_wei));
    let shares = split_wei(total, &weights, sum, |i| producers[i].rank);
    Ok(producers
        .into_iter()
        .zip(shares)
        .filter(|&(_, wei)| wei > 0)
        .map(|(producer, wei)| Mint { point: producer.point.clone(), wei })
        .collect())
}

/// Largest remainder as in [`units::split`], for 128-bit totals. `sum` is that of the weights.
fn split_wei(total: u128, weights: &[u128], sum: u128, rank: impl Fn(usize) -> Rank) -> Vec<u128> {
    if total == 0 || sum == 0 {
        return vec![0; weights.len()];
    }
    // total·w/sum without the 256-bit product: with total = q·sum + r it is q·w + r·w/sum, where
    // r and w are at most sum, which fits 64 bits.
    let (q, r) = (total / sum, total % sum);
    let mut shares: Vec<u128> = weights.iter().map(|w| q * w + r * w / sum).collect();
    let left = total - shares.iter().sum::<u128>();
    let mut order: Vec<usize> = (0..weights.len()).filter(|&i| weights[i] > 0).collect();
    order.sort_by_cached_key(|&i| (Reverse(r * weights[i] % sum), rank(i), i));
    let left = usize::try_from(left).expect("less than one per producer");
    for &i in order.iter().take(left) {
        shares[i] += 1;
    }
    assert_eq!(shares.iter().sum::<u128>(), total, "shares add up");
    shares
}

/// Tokens since the beginning: what a cumulative claim states.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(transparent))]
pub struct Cumulative {
    wei: BTreeMap<PointId, u128>,
}

impl Cumulative {
    /// Adds an epoch's mint.
    ///
    /// # Errors
    /// [`RewardFault::OutOfRange`]; nothing is added then.
    pub fn add(&mut self, mints: &[Mint]) -> Result<(), RewardFault> {
        let mut next = self.clone();
        let mut total = self.total();
        for Mint { point, wei } in mints {
            let out_of_range = || RewardFault::OutOfRange { point: point.clone() };
            total = total.checked_add(*wei).ok_or_else(out_of_range)?;
            *next.wei.entry(point.clone()).or_default() += wei;
        }
        *self = next;
        Ok(())
    }

    /// Tokens of a producer so far, wei.
    #[must_use]
    pub fn of(&self, point: &PointId) -> u128 {
        self.wei.get(point).copied().unwrap_or_default()
    }

    /// Tokens of all producers so far, wei.
    #[must_use]
    pub fn total(&self) -> u128 {
        self.wei.values().sum()
    }

    /// All producers that ever got tokens, by metering point.
    pub fn iter(&self) -> impl Iterator<Item = (&PointId, u128)> {
        self.wei.iter().map(|(point, &wei)| (point, wei))
    }
}
