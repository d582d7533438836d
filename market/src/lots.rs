//! Lots: what the clearing engines work on.
//!
//! An order's names, rules and reasons matter to the book; an engine only needs to know where,
//! which way, how much and at what limit. One lot is one price–quantity step of one order. Engines
//! take `&[Lot]` and answer with fills by the index of the lot.

use units::{Energy, Price};

use crate::{MAX_PRICE, MAX_QUANTITY, Node, Side};

/// Most lots of one clearing: their energies together stay far inside an `i64`.
pub const MAX_LOTS: usize = 100_000_000;

/// One divisible step: any part of `quantity` at `limit` or better.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Lot {
    /// Where the energy is taken or given.
    pub node: Node,
    /// Buy or sell.
    pub side: Side,
    /// Most energy, Wh, `1 ..= MAX_QUANTITY`.
    pub quantity: Energy,
    /// Worst acceptable price at the node, on the tick, within ±`MAX_PRICE`.
    pub limit: Price,
}

/// Why lots cannot be cleared.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum LotFault {
    /// There are too many lots.
    #[error("{lots} lots are more than {MAX_LOTS}: clear the streets one by one")]
    TooMany {
        /// Their number.
        lots: usize,
    },
    /// A lot's quantity is out of range.
    #[error("lot {lot}: quantity {quantity} is not between 1 Wh and {MAX_QUANTITY}")]
    Quantity {
        /// Index of the lot.
        lot: usize,
        /// Its quantity.
        quantity: Energy,
    },
    /// A lot's limit is out of range.
    #[error("lot {lot}: limit {limit} is beyond ±{MAX_PRICE} or off the tick of {}", Price::TICK)]
    Limit {
        /// Index of the lot.
        lot: usize,
        /// Its limit.
        limit: Price,
    },
}

/// Checks quantities, limits and number.
///
/// # Errors
/// The first [`LotFault`].
pub(crate) fn check(lots: &[Lot]) -> Result<(), LotFault> {
    if lots.len() > MAX_LOTS {
        return Err(LotFault::TooMany { lots: lots.len() });
    }
    match lots.iter().position(|lot| !is_in_range(lot)) {
        None => Ok(()),
        Some(index) => Err(fault(index, &lots[index])),
    }
}

/// Whether quantity and limit are in range.
#[inline]
pub(crate) fn is_in_range(lot: &Lot) -> bool {
    (1..=MAX_QUANTITY.wh()).contains(&lot.quantity.wh())
        & (-MAX_PRICE..=MAX_PRICE).contains(&lot.limit)
        & lot.limit.is_on_tick()
}

/// What is out of range.
#[cold]
pub(crate) fn fault(lot: usize, &Lot { quantity, limit, .. }: &Lot) -> LotFault {
    if (1..=MAX_QUANTITY.wh()).contains(&quantity.wh()) {
        LotFault::Limit { lot, limit }
    } else {
        LotFault::Quantity { lot, quantity }
    }
}
