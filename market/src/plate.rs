//! The copper plate: the exact clearing of a community at one node.
//!
//! Dearest bids meet cheapest asks for as long as they agree. That needs no sorting: all that
//! matters is the one price level where the two sides cross. Everything more eager is filled,
//! everything less eager is not, and what is left for the level is shared in proportion to
//! quantity. The level is found by adding up energy per price in a table ([`level`]), so that time
//! grows linearly with the lots and a million of them take less than sorting them would.
//!
//! The result has the most welfare, among those the most energy (a bid and an ask at the same limit
//! trade, too), and one price, the middle of all prices that support it. [`Plate::certify`] proves
//! it from the lots alone.

mod certificate;
mod level;

use units::{Energy, Price, split};

pub use certificate::PlateViolation;

use crate::{Lot, LotFault, Rank, Side};

/// A cleared copper plate.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Plate {
    /// Energy per lot, Wh, in the order of the lots.
    pub fills: Vec<Energy>,
    /// Energy that changes hands, Wh.
    pub cleared: Energy,
    /// What buyers would have paid at most less what sellers would have taken at least,
    /// nano-currency.
    pub welfare: i128,
    /// Lowest and highest price at which no unfilled energy wants to trade; absent without a
    /// trade.
    pub interval: Option<(Price, Price)>,
    /// The middle of the interval.
    pub price: Option<Price>,
}

/// Clears lots at one node; their own nodes are not looked at.
///
/// `rank` orders equals where a last watt-hour cannot be divided; with distinct ranks the result
/// does not depend on the order of the lots. Takes time and memory linear in the lots: about
/// 8 bytes per lot beside them, and at most 2 MiB for the table of prices.
///
/// # Errors
/// [`LotFault`] when a lot is out of range.
pub fn clear(lots: &[Lot], rank: impl Fn(usize) -> Rank) -> Result<Plate, LotFault> {
    let Some(level) = level::crossing(lots)? else {
        let fills = vec![Energy::ZERO; lots.len()];
        return Ok(Plate { fills, cleared: Energy::ZERO, welfare: 0, interval: None, price: None });
    };
    let mut cut = Cut::new(level.price);
    let mut fills: Vec<Energy> = Vec::with_capacity(lots.len());
    fills.extend((0..).zip(lots).map(|(i, lot)| cut.fill(i, lot)));
    let level_bids = (level.cleared - level.bids_above, level.bids_at);
    let level_asks = (level.cleared - level.asks_below, level.asks_at);
    for (side, (energy, _)) in [(Side::Buy, level_bids), (Side::Sell, level_asks)] {
        let tied: Vec<usize> =
            cut.tied.iter().map(|&i| i as usize).filter(|&i| lots[i].side == side).collect();
        let quantities: Vec<i64> = tied.iter().map(|&i| lots[i].quantity.wh()).collect();
        for (&i, share) in tied.iter().zip(split(energy.wh(), &quantities, |k| rank(tied[k]))) {
            fills[i] = Energy::from_wh(share);
        }
    }
    let at_level = i128::from(level_bids.0.wh()) - i128::from(level_asks.0.wh());
    let welfare = cut.welfare + at_level * i128::from(level.price.nano_per_wh());
    let interval = cut.interval(level_bids, level_asks);
    let price = interval.0.middle(interval.1);
    let (interval, price) = (Some(interval), Some(price));
    Ok(Plate { fills, cleared: level.cleared, welfare, interval, price })
}

/// One pass over the lots, which are cut in two at a price.
struct Cut {
    price: i64,
    welfare: i128,
    /// Lots with this limit.
    tied: Vec<u32>,
    /// Per side, how much more eager than the price the least eager filled lot is, nano.
    nearest_in: [i64; 2],
    /// Per side, how much less eager than the price the most eager unfilled lot is, nano.
    nearest_out: [i64; 2],
}

impl Cut {
    fn new(price: Price) -> Self {
        let far = [i64::MAX; 2];
        let price = price.nano_per_wh();
        Self { price, welfare: 0, tied: Vec::new(), nearest_in: far, nearest_out: far }
    }

    /// All or nothing; nothing yet for a lot at the price. Written without branches that a
    /// processor cannot foresee.
    fn fill(&mut self, index: u32, lot: &Lot) -> Energy {
        let (side, sign) = match lot.side {
            Side::Buy => (0, 1),
            Side::Sell => (1, -1),
        };
        let limit = lot.limit.nano_per_wh();
        let eager = (limit - self.price) * sign;
        let inside = if eager > 0 { eager } else { i64::MAX };
        let outside = if eager < 0 { -eager } else { i64::MAX };
        self.nearest_in[side] = self.nearest_in[side].min(inside);
        self.nearest_out[side] = self.nearest_out[side].min(outside);
        if eager == 0 {
            self.tied.push(index);
        }
        let energy = if eager > 0 { lot.quantity.wh() } else { 0 };
        // Within an i64: MAX_QUANTITY times MAX_PRICE.
        self.welfare += i128::from(energy * limit * sign);
        Energy::from_wh(energy)
    }

    /// Lowest and highest supporting price, from what each side gets at the price and orders there.
    fn interval(&self, bids: (Energy, Energy), asks: (Energy, Energy)) -> (Price, Price) {
        let filled = |(energy, _): (Energy, Energy), side: usize| {
            if energy.is_positive() { 0 } else { self.nearest_in[side] }
        };
        let unfilled = |(energy, ordered): (Energy, Energy), side: usize| {
            if energy < ordered { 0 } else { self.nearest_out[side] }
        };
        let down = filled(asks, 1).min(unfilled(bids, 0));
        let up = filled(bids, 0).min(unfilled(asks, 1));
        (Price::from_nano_per_wh(self.price - down), Price::from_nano_per_wh(self.price + up))
    }
}
