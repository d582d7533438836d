//! Limits as small integers with room for what comes after welfare.
//!
//! Four keys to a tick: at one limit, sellers come lowest, then the supplier's purchase, then the
//! supplier's sale, then buyers. A node's level is a key, too: who stands above it buys, who
//! stands below it sells, and only who stands exactly on it is at the margin. Buyers above sellers
//! make trades between equal limits happen (most local energy); the supplier between them serves
//! a marginal buyer or seller only with what no neighbour offers.

use units::Price;

use super::Supplier;
use crate::{Lot, Side};

/// Keys per tick.
const PER_TICK: i64 = 4;

const SELLER: i64 = 0;
const SUPPLIER_BUYS: i64 = 1;
const SUPPLIER_SELLS: i64 = 2;
const BUYER: i64 = 3;

/// A price difference in keys.
pub(super) fn of_fee(fee: Price) -> i64 {
    fee.nano_per_wh() / Price::TICK.nano_per_wh() * PER_TICK
}

#[expect(clippy::cast_possible_truncation, reason = "±MAX_PRICE is ±10⁷ ticks, ±4·10⁷ keys")]
fn key(limit: Price, position: i64) -> i32 {
    (limit.nano_per_wh() / Price::TICK.nano_per_wh() * PER_TICK + position) as i32
}

/// Where a lot stands.
#[inline]
pub(super) fn of_lot(lot: &Lot) -> i32 {
    let position = match lot.side {
        Side::Buy => BUYER,
        Side::Sell => SELLER,
    };
    key(lot.limit, position)
}

/// Where the supplier's sale stands.
pub(super) fn of_import(supplier: &Supplier) -> i32 {
    key(supplier.import_price, SUPPLIER_SELLS)
}

/// Where the supplier's purchase stands.
pub(super) fn of_export(supplier: &Supplier) -> i32 {
    key(supplier.export_price, SUPPLIER_BUYS)
}
