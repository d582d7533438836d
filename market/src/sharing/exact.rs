//! Fractions and their one rounding: where a price is a quotient, money is still a whole number.

use std::cmp::Ordering;

use units::{Money, split};

use super::SharingFault;
use crate::Rank;

/// An exact fraction of integers.
///
/// Local prices of some rules are quotients of sums over the street. They are published rounded,
/// and nothing is billed by the rounded figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Ratio {
    numerator: i128,
    denominator: i128,
}

impl Ratio {
    /// A whole number.
    pub(crate) const fn whole(value: i128) -> Self {
        Self { numerator: value, denominator: 1 }
    }

    /// `numerator / denominator`, where `denominator > 0`.
    pub(crate) const fn new(numerator: i128, denominator: i128) -> Self {
        debug_assert!(denominator > 0, "a fraction of something");
        Self { numerator, denominator }
    }

    /// This times `factor`, rounded half to even; nothing beyond the range of `i128`.
    #[must_use]
    pub fn times(self, factor: i64) -> Option<i128> {
        // Whole part and rest apart, so that only the result has to fit.
        let factor = i128::from(factor);
        let whole = self.numerator.div_euclid(self.denominator).checked_mul(factor)?;
        let rest = self.numerator.rem_euclid(self.denominator).checked_mul(factor)?;
        let floor = whole.checked_add(rest.div_euclid(self.denominator))?;
        floor.checked_add(half_even(floor, rest.rem_euclid(self.denominator), self.denominator))
    }
}

/// What rounding to the nearest whole number, halves to the even one, adds to a floor with
/// `rest/denominator` left over; `0 ≤ rest < denominator`.
pub(crate) fn half_even(floor: i128, rest: i128, denominator: i128) -> i128 {
    match rest.cmp(&(denominator - rest)) {
        Ordering::Less => 0,
        Ordering::Greater => 1,
        Ordering::Equal => floor.rem_euclid(2),
    }
}

/// Shares an amount of either sign in proportion to weights, exactly.
///
/// `units::split` shares what is there; an amount below zero (a negative feed-in price) is shared
/// as the debt that it is.
pub(crate) fn split_money(
    total: Money,
    weights: &[i64],
    rank: impl Fn(usize) -> Rank,
) -> Vec<Money> {
    let shares = split(total.abs().nano(), weights, rank);
    let sign = |nano: i64| if total < Money::ZERO { -nano } else { nano };
    shares.into_iter().map(|nano| Money::from_nano(sign(nano))).collect()
}

/// Money from a wide amount in nano-currency.
pub(crate) fn money(what: &'static str, nano: i128) -> Result<Money, SharingFault> {
    let fault = SharingFault::OutOfRange { what, value: nano };
    i64::try_from(nano).map(Money::from_nano).map_err(|_| fault)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_go_to_the_even_neighbour_on_both_sides_of_zero() {
        let table = [(5, 2, 2), (7, 2, 4), (-5, 2, -2), (-7, 2, -4), (1, 3, 0), (2, 3, 1)];
        for (numerator, denominator, rounded) in table {
            assert_eq!(Ratio::new(numerator, denominator).times(1), Some(rounded));
        }
        assert_eq!(Ratio::new(2, 3).times(3), Some(2));
        assert_eq!(Ratio::whole(i128::MAX).times(2), None);
    }

    #[test]
    fn debts_are_shared_like_gains() {
        let rank = |i: usize| [u8::try_from(i).expect("small"); 32];
        let nano = |total: i64| -> Vec<i64> {
            let shares = split_money(Money::from_nano(total), &[1, 2], rank);
            shares.into_iter().map(Money::nano).collect()
        };
        assert_eq!(nano(10), [3, 7]);
        assert_eq!(nano(-10), [-3, -7]);
        assert_eq!(nano(0), [0, 0]);
    }
}
