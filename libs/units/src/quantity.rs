//! Energy, power, price and money as `i64` newtypes.
//!
//! Arithmetic that leaves the range of `i64` is a bug of the caller and panics in every build;
//! values from outside are bounded where they are parsed.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Mul, Neg, Sub, SubAssign};

macro_rules! quantity {
    ($(#[$doc:meta])* $name:ident, $from:ident, $get:ident, $unit:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
        #[cfg_attr(feature = "serde", serde(transparent))]
        pub struct $name(i64);

        impl $name {
            /// Nothing.
            pub const ZERO: Self = Self(0);

            #[doc = concat!("From a number of ", $unit, ".")]
            #[must_use]
            pub const fn $from(value: i64) -> Self {
                Self(value)
            }

            #[doc = concat!("As a number of ", $unit, ".")]
            #[must_use]
            pub const fn $get(self) -> i64 {
                self.0
            }

            /// Whether this is exactly zero.
            #[must_use]
            pub const fn is_zero(self) -> bool {
                self.0 == 0
            }

            /// Whether this is greater than zero.
            #[must_use]
            pub const fn is_positive(self) -> bool {
                self.0 > 0
            }

            /// The size without the sign.
            #[must_use]
            pub fn abs(self) -> Self {
                Self(self.0.checked_abs().expect("in range: bounded at the edge"))
            }

            /// The sum, or `None` beyond the range.
            #[must_use]
            pub fn checked_add(self, other: Self) -> Option<Self> {
                self.0.checked_add(other.0).map(Self)
            }

            /// The difference, or `None` beyond the range.
            #[must_use]
            pub fn checked_sub(self, other: Self) -> Option<Self> {
                self.0.checked_sub(other.0).map(Self)
            }
        }

        impl Add for $name {
            type Output = Self;
            fn add(self, other: Self) -> Self {
                self.checked_add(other).expect("in range: bounded at the edge")
            }
        }

        impl Sub for $name {
            type Output = Self;
            fn sub(self, other: Self) -> Self {
                self.checked_sub(other).expect("in range: bounded at the edge")
            }
        }

        impl Neg for $name {
            type Output = Self;
            fn neg(self) -> Self {
                Self(self.0.checked_neg().expect("in range: bounded at the edge"))
            }
        }

        impl AddAssign for $name {
            fn add_assign(&mut self, other: Self) {
                *self = *self + other;
            }
        }

        impl SubAssign for $name {
            fn sub_assign(&mut self, other: Self) {
                *self = *self - other;
            }
        }

        impl Sum for $name {
            fn sum<I: Iterator<Item = Self>>(items: I) -> Self {
                items.fold(Self::ZERO, |total, item| total + item)
            }
        }

        impl<'a> Sum<&'a $name> for $name {
            fn sum<I: Iterator<Item = &'a Self>>(items: I) -> Self {
                items.copied().sum()
            }
        }
    };
}

quantity!(
    /// Energy in watt-hours.
    Energy, from_wh, wh, "watt-hours"
);
quantity!(
    /// Power in watts; positive = from the grid into what is measured.
    Power, from_w, w, "watts"
);
quantity!(
    /// A price in nano-currency per watt-hour (1 ct/kWh = 10 000).
    Price, from_nano_per_wh, nano_per_wh, "nano-currency per watt-hour"
);
quantity!(
    /// Money in nano-currency (10⁻⁹ of the community's currency).
    Money, from_nano, nano, "nano-currency"
);

impl Price {
    /// The tick of order limits and tariffs, 10⁻⁵ currency per kWh; half a tick is still a whole
    /// number, so the middle of any two prices on the tick is exact.
    pub const TICK: Price = Price(10);

    /// From 10⁻⁵ currency per kWh, the unit of tariff files.
    #[must_use]
    pub fn from_e5_per_kwh(value: i64) -> Self {
        Self(value.checked_mul(Self::TICK.0).expect("in range: bounded at the edge"))
    }

    /// The middle between two prices, rounded towards zero to a whole nano-currency per Wh.
    #[must_use]
    pub fn middle(self, other: Self) -> Self {
        Self(i64::midpoint(self.0.min(other.0), self.0.max(other.0)))
    }

    /// Whether this lies on the order tick.
    #[must_use]
    pub const fn is_on_tick(self) -> bool {
        self.0 % Self::TICK.0 == 0
    }
}

impl Mul<Price> for Energy {
    type Output = Money;
    fn mul(self, price: Price) -> Money {
        Money(self.0.checked_mul(price.0).expect("in range: bounded at the edge"))
    }
}

impl fmt::Display for Energy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} Wh", self.0)
    }
}

impl fmt::Display for Power {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} W", self.0)
    }
}

impl fmt::Display for Price {
    /// In hundredths of the currency per kWh, the unit of household tariffs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let size = self.0.unsigned_abs();
        write!(f, "{sign}{}.{:04} ct/kWh", size / 10_000, size % 10_000)
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let size = self.0.unsigned_abs();
        write!(f, "{sign}{}.{:09}", size / 1_000_000_000, size % 1_000_000_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn energy_times_price_is_exact_money() {
        let price = Price::from_e5_per_kwh(28_800);
        assert_eq!(price.nano_per_wh(), 288_000);
        assert_eq!((Energy::from_wh(1_000) * price).nano(), 288_000_000);
        assert_eq!(price.to_string(), "28.8000 ct/kWh");
        assert_eq!(Money::from_nano(-288_000_001).to_string(), "-0.288000001");
    }

    #[test]
    fn the_middle_of_two_ticks_is_exact() {
        let check = |a: i64, b: i64, middle_nano: i64| {
            let middle = Price::from_e5_per_kwh(a).middle(Price::from_e5_per_kwh(b));
            assert_eq!(middle.nano_per_wh(), middle_nano);
        };
        check(100, 105, 1_025);
        check(105, 100, 1_025);
        check(-40, -20, -300);
        check(-1, 2, 5);
    }
}
