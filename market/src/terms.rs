//! What the supplier offers outside the local market: the two prices every trade is measured by.

use units::Price;

/// Largest size of a price, 100 currency per kWh.
///
/// Together with [`MAX_QUANTITY`](crate::MAX_QUANTITY) it keeps energy times price inside an
/// `i64`.
pub const MAX_PRICE: Price = Price::from_nano_per_wh(100_000_000);

/// Why two prices are no terms.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TermsFault {
    /// The price is not a multiple of 10⁻⁵ currency per kWh.
    #[error("{name} price {price} is off the tick of {}: round the tariff to it", Price::TICK)]
    OffTick {
        /// `retail` or `feed-in`.
        name: &'static str,
        /// The price that was given.
        price: Price,
    },
    /// The price is beyond [`MAX_PRICE`].
    #[error("{name} price {price} is beyond ±{MAX_PRICE}: check the unit of the tariff")]
    TooLarge {
        /// `retail` or `feed-in`.
        name: &'static str,
        /// The price that was given.
        price: Price,
    },
}

/// The supplier's prices in one slot, both on the tick and within ±[`MAX_PRICE`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(try_from = "Prices", into = "Prices"))]
pub struct Terms {
    retail: Price,
    feed_in: Price,
}

/// Terms as they are written down, before they are checked.
#[cfg(feature = "serde")]
#[derive(serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Prices {
    retail: Price,
    feed_in: Price,
}

#[cfg(feature = "serde")]
impl TryFrom<Prices> for Terms {
    type Error = TermsFault;
    fn try_from(prices: Prices) -> Result<Self, TermsFault> {
        Self::new(prices.retail, prices.feed_in)
    }
}

#[cfg(feature = "serde")]
impl From<Terms> for Prices {
    fn from(terms: Terms) -> Self {
        Self { retail: terms.retail, feed_in: terms.feed_in }
    }
}

impl Terms {
    /// From what energy costs at the supplier and what the supplier pays for it.
    ///
    /// # Errors
    /// [`TermsFault`] when a price is off the tick or beyond ±[`MAX_PRICE`]. A retail price below
    /// the feed-in price is fine: such slots exist, and nothing trades locally in them.
    pub fn new(retail: Price, feed_in: Price) -> Result<Self, TermsFault> {
        for (name, price) in [("retail", retail), ("feed-in", feed_in)] {
            if !(-MAX_PRICE..=MAX_PRICE).contains(&price) {
                return Err(TermsFault::TooLarge { name, price });
            }
            if !price.is_on_tick() {
                return Err(TermsFault::OffTick { name, price });
            }
        }
        Ok(Self { retail, feed_in })
    }

    /// What a household pays the supplier.
    #[must_use]
    pub const fn retail(self) -> Price {
        self.retail
    }

    /// What the supplier pays a household.
    #[must_use]
    pub const fn feed_in(self) -> Price {
        self.feed_in
    }

    /// Whether neighbours can gain from each other: retail above feed-in.
    #[must_use]
    pub fn leave_room(self) -> bool {
        self.retail > self.feed_in
    }

    /// The price halfway between the two, exact because both are on the tick.
    #[must_use]
    pub fn middle(self) -> Price {
        self.retail.middle(self.feed_in)
    }

    /// Whether a local price lies between feed-in and retail, so that nobody is worse off.
    #[must_use]
    pub fn contain(self, price: Price) -> bool {
        (self.feed_in..=self.retail).contains(&price)
    }
}
