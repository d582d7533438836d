//! What a household asks of the market: one side, one quantity, one limit.

use units::{Energy, PointId, Price};

/// Most energy that one order or one slot's register difference may carry, in either direction.
///
/// 10 GWh in a quarter-hour is far beyond any street; together with
/// [`MAX_PRICE`](crate::MAX_PRICE) the bound keeps every product of the two inside an `i64`. A
/// community sets its own, smaller bound in [`Limits`](crate::Limits).
pub const MAX_QUANTITY: Energy = Energy::from_wh(10_000_000_000);

/// Key that orders equals, smaller first, where a single watt-hour cannot be divided further.
///
/// The caller derives it from hashes that neither the operator nor a household can choose, for
/// example over the order, the slot and a value published only after the gate.
pub type Rank = [u8; 32];

/// Which way the energy goes, seen from the household.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Side {
    /// The household imports: a bid.
    Buy,
    /// The household exports: an ask.
    Sell,
}

impl Side {
    /// The other side.
    #[must_use]
    pub const fn opposite(self) -> Self {
        match self {
            Self::Buy => Self::Sell,
            Self::Sell => Self::Buy,
        }
    }

    /// Whether an order of this side with this limit gains strictly at `price`.
    pub(crate) fn gains(self, limit: Price, price: Price) -> bool {
        match self {
            Self::Buy => limit > price,
            Self::Sell => limit < price,
        }
    }
}

impl std::fmt::Display for Side {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Buy => "buy",
            Self::Sell => "sell",
        })
    }
}

/// A divisible limit order for one slot: any part of `quantity` at `limit` or better.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Order {
    /// The metering point that will be billed.
    pub point: PointId,
    /// Buy or sell.
    pub side: Side,
    /// Most energy wanted, Wh, `0 < quantity ≤ Limits::max_quantity`.
    pub quantity: Energy,
    /// Worst acceptable price, on the tick and between feed-in and retail.
    pub limit: Price,
    /// Tie key among orders of the same side and limit.
    pub rank: Rank,
}
