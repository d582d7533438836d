//! The exact clearing of a radial feeder: no solver, no floats, one answer.
//!
//! On a tree the welfare maximum can be computed by adding curves. What a subtree wants at a price
//! is a falling step curve; seen from the other end of its branch the curve is moved by the fee
//! (imports reach the subtree dearer, exports leave it cheaper) and cut at the caps. Summing the
//! children's curves and the node's own up to the root, the root's price is where the sum is
//! nothing, and one pass down gives every node its price ([`curve`]). For large books the same is
//! done on coarse prices first, which leaves only a small window of prices per node to look into
//! ([`search`]).
//!
//! The objective has four parts, one after the other, in integers:
//!
//! 1. welfare: what buyers would have paid, less what sellers would have taken, less the fees on
//!    every branch, less the supplier's bill;
//! 2. among those, most energy traded locally;
//! 3. among those, most energy for the orders at the margin (from or to the supplier);
//! 4. among those, equal shares: the fill ratios of the orders at the margin are as equal as the
//!    branches allow (lexicographically max-min, per connected zone), the last watt-hours by largest
//!    remainder, then by rank ([`ties`], [`rounding`]).
//!
//! Parts 1 to 3 are one comparison of integers: between two ticks of price there is room for four
//! positions, and at the same limit a buyer stands above the supplier's sale, that above the
//! supplier's purchase, and that above a seller ([`key`]). The moves that this adds to any exchange
//! along a path stay below a tick, so welfare is never given up, and in the end only orders of one
//! kind are left at the margin of a zone.
//!
//! Prices are not the search's: given fills and flows, the prices that support them are a system of
//! difference constraints, and every node gets its lowest and highest supporting price and, when
//! its zone trades, their middle ([`bounds`]). Anyone can check a result with
//! [`Radial::certify`], which shares no code with the search.

mod allot;
mod bounds;
mod certificate;
mod curve;
mod key;
mod rounding;
mod search;
mod ties;
mod tree;

use units::{Energy, Price};

pub use certificate::RadialViolation;

use crate::lots;
use crate::{Grid, Lot, LotFault, MAX_LOTS, MAX_PRICE, Node, Rank, Side, UNCAPPED};

/// A partner at the root that takes part in the clearing, for problems where all load and
/// generation is in the book. A local market has none: what it leaves over is settled outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
pub struct Supplier {
    /// What energy from the supplier costs, on the tick.
    pub import_price: Price,
    /// Most energy from the supplier, Wh, `0 ..= UNCAPPED`.
    pub import_cap: Energy,
    /// What the supplier pays, on the tick, at most `import_price`.
    pub export_price: Price,
    /// Most energy to the supplier, Wh, `0 ..= UNCAPPED`.
    pub export_cap: Energy,
}

/// Why lots cannot be cleared.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RadialFault {
    /// There are too many lots, or one is out of range.
    #[error(transparent)]
    Lot(#[from] LotFault),
    /// A lot is at a node that the grid does not have.
    #[error("lot {lot} is at {node}, but the grid has {nodes} nodes")]
    UnknownNode {
        /// Index of the lot.
        lot: usize,
        /// Its node.
        node: Node,
        /// Size of the grid.
        nodes: usize,
    },
    /// The supplier's terms are out of range.
    #[error("the supplier sells at {} and buys at {}, with caps {} and {}: prices must be on the \
             tick and within ±{MAX_PRICE}, the sale not below the purchase, caps 0 to {UNCAPPED}",
            .0.import_price, .0.export_price, .0.import_cap, .0.export_cap)]
    Supplier(Supplier),
}

/// A cleared feeder.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Radial {
    /// Energy per lot, Wh, in the order of the lots.
    pub fills: Vec<Energy>,
    /// Energy towards each node through its branch, Wh; negative away from it. The root's entry is
    /// what the supplier delivers.
    pub flows: Vec<Energy>,
    /// Lowest price per node that supports the result; none when nothing bounds it.
    pub low: Vec<Option<Price>>,
    /// Highest price per node that supports the result; none when nothing bounds it.
    pub high: Vec<Option<Price>>,
    /// The middle of both where the node's zone trades. A zone is what flowing branches, and free
    /// branches with room both ways, connect.
    pub price: Vec<Option<Price>>,
    /// What buyers would have paid, less what sellers would have taken, less fees and the
    /// supplier's bill; nano-currency.
    pub welfare: i128,
    /// Energy bought that local sellers delivered, Wh.
    pub traded: Energy,
}

/// Clears lots on a grid.
///
/// `rank` orders equals where a last watt-hour cannot be divided; with distinct ranks the result
/// does not depend on the order of the lots. Time grows linearly with the lots beyond a few
/// thousand, memory with 16 bytes per lot at most.
///
/// # Errors
/// [`RadialFault`] when a lot or the supplier is out of range.
pub fn clear(
    lots: &[Lot],
    grid: &Grid,
    supplier: Option<&Supplier>,
    rank: impl Fn(usize) -> Rank,
) -> Result<Radial, RadialFault> {
    let book = check(lots, grid, supplier)?;
    let tree = tree::Tree::of(grid);
    let levels = search::levels(lots, &tree, supplier, book);
    let mut allotment = allot::at_levels(lots, &levels, supplier);
    let flows = ties::settle(&mut allotment, lots, &tree, &rank);
    Ok(bounds::priced(allotment, flows, &tree, supplier))
}

/// What one pass over valid lots tells.
struct Book {
    totals: Vec<Totals>,
    /// Lowest and highest key of a lot.
    low: i32,
    high: i32,
}

/// Energy wanted and offered at a node.
#[derive(Clone, Copy, Default)]
struct Totals {
    wanted: i64,
    offered: i64,
}

/// Checks all numbers.
fn check(lots: &[Lot], grid: &Grid, supplier: Option<&Supplier>) -> Result<Book, RadialFault> {
    if lots.len() > MAX_LOTS {
        return Err(LotFault::TooMany { lots: lots.len() }.into());
    }
    if let Some(supplier) = supplier {
        let price = |price: Price| price.is_on_tick() && price.abs() <= MAX_PRICE;
        let cap = |cap: Energy| (Energy::ZERO..=UNCAPPED).contains(&cap);
        let fine = price(supplier.import_price)
            && price(supplier.export_price)
            && supplier.import_price >= supplier.export_price
            && cap(supplier.import_cap)
            && cap(supplier.export_cap);
        if !fine {
            return Err(RadialFault::Supplier(*supplier));
        }
    }
    let nodes = grid.size();
    let mut book = Book { totals: vec![Totals::default(); nodes], low: i32::MAX, high: i32::MIN };
    for (i, lot) in lots.iter().enumerate() {
        let fine = lots::is_in_range(lot);
        let Some(totals) = book.totals.get_mut(lot.node.index()).filter(|_| fine) else {
            return Err(fault(i, lot, nodes));
        };
        let buys = i64::from(lot.side == Side::Buy);
        totals.wanted += lot.quantity.wh() & -buys;
        totals.offered += lot.quantity.wh() & (buys - 1);
        let key = key::of_lot(lot);
        book.low = book.low.min(key);
        book.high = book.high.max(key);
    }
    Ok(book)
}

#[cold]
fn fault(index: usize, lot: &Lot, nodes: usize) -> RadialFault {
    let node = lot.node;
    if node.index() < nodes {
        lots::fault(index, lot).into()
    } else {
        RadialFault::UnknownNode { lot: index, node, nodes }
    }
}

/// `+1` for what takes energy at a node, `-1` for what gives it.
fn sign(side: Side) -> i64 {
    2 * i64::from(side == Side::Buy) - 1
}
