//! Lots: what the clearing engines work on.
//!
//! An order's names, rules and reasons matter to the book; an engine only needs to know where,
//! which way, how much and at what limit. One lot is one price–quantity step of one order. Engines
//! take `&[Lot]` and answer with fills by the index of the lot.

use units::{Energy, Price};

use crate::{Node, Side};

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
