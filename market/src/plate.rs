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
mod first;
mod level;

use units::{Energy, Price, split_choosing};

pub use certificate::PlateViolation;

use crate::{Lot, LotFault, Rank, Side};
use first::bring_first;
use level::{Level, Margin};

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
/// 12 bytes per lot beside them, up to 56 more for each that shares at the price, and at most 2 MiB
/// for the table of prices.
///
/// # Errors
/// [`LotFault`] when a lot is out of range.
pub fn clear(lots: &[Lot], rank: impl Fn(usize) -> Rank) -> Result<Plate, LotFault> {
    let Some(level) = level::crossing(lots)? else {
        let fills = vec![Energy::ZERO; lots.len()];
        return Ok(Plate { fills, cleared: Energy::ZERO, welfare: 0, interval: None, price: None });
    };
    let mut cut = Cut::new(&level, lots.len());
    let mut fills: Vec<Energy> = Vec::with_capacity(lots.len());
    fills.extend(lots.iter().map(|lot| cut.fill(lot)));
    let (bids, asks) = (level.bids, level.asks);
    // One side at most is short at the level.
    for margin in [bids, asks].into_iter().filter(|margin| margin.is_short()) {
        let tied = cut.tied();
        let quantities: Vec<i64> = tied.iter().map(|&i| lots[i as usize].quantity.wh()).collect();
        let shares = split_choosing(margin.energy, &quantities, |equals, count| {
            bring_first(equals, count, |k| rank(tied[k] as usize))
        });
        for (&i, share) in tied.iter().zip(shares) {
            fills[i as usize] = Energy::from_wh(share);
        }
    }
    let at_level = i128::from(bids.energy_if_short()) - i128::from(asks.energy_if_short());
    let welfare = cut.welfare + at_level * i128::from(level.price.nano_per_wh());
    let interval = cut.interval(bids, asks);
    let price = interval.0.middle(interval.1);
    let (interval, price) = (Some(interval), Some(price));
    Ok(Plate { fills, cleared: level.cleared, welfare, interval, price })
}

/// One pass over the lots, which are cut in two at a price.
struct Cut {
    price: i64,
    /// Per side, how eager a lot must be to be filled as a whole.
    whole: [i64; 2],
    /// Per side, how eager a lot is that shares in what is left; no lot is, where all are filled.
    shares: [i64; 2],
    welfare: i128,
    /// The nearest limits beyond the price, in nano; far away without any.
    below: i64,
    above: i64,
    /// Indices of the lots that share in what is left, and room for more.
    tied: Vec<u32>,
    /// How many they are.
    ties: usize,
    seen: u32,
}

impl Cut {
    fn new(level: &Level, lots: usize) -> Self {
        let sides = [level.bids, level.asks];
        Self {
            price: level.price.nano_per_wh(),
            whole: sides.map(|side| i64::from(side.is_short())),
            shares: sides.map(|side| if side.is_short() { 0 } else { i64::MIN }),
            welfare: 0,
            below: i64::MIN,
            above: i64::MAX,
            tied: vec![0; lots],
            ties: 0,
            seen: 0,
        }
    }

    /// All or nothing; nothing yet for a lot that shares. Written without branches that a processor
    /// cannot foresee.
    #[inline]
    fn fill(&mut self, lot: &Lot) -> Energy {
        let (side, sign) = match lot.side {
            Side::Buy => (0, 1),
            Side::Sell => (1, -1),
        };
        let limit = lot.limit.nano_per_wh();
        let eager = (limit - self.price) * sign;
        self.below = self.below.max(if limit < self.price { limit } else { i64::MIN });
        self.above = self.above.min(if limit > self.price { limit } else { i64::MAX });
        self.tied[self.ties] = self.seen;
        self.ties += usize::from(eager == self.shares[side]);
        self.seen += 1;
        let energy = if eager >= self.whole[side] { lot.quantity.wh() } else { 0 };
        // Within an i64: MAX_QUANTITY times MAX_PRICE.
        self.welfare += i128::from(energy * limit * sign);
        Energy::from_wh(energy)
    }

    fn tied(&self) -> &[u32] {
        &self.tied[..self.ties]
    }

    /// Lowest and highest supporting price, from what each side gets at the price and orders there.
    /// What lies beyond the price is filled or not as a whole, whatever its side.
    fn interval(&self, bids: Margin, asks: Margin) -> (Price, Price) {
        let held_up = asks.energy > 0 || bids.is_short();
        let held_down = bids.energy > 0 || asks.is_short();
        let low = if held_up { self.price } else { self.below };
        let high = if held_down { self.price } else { self.above };
        (Price::from_nano_per_wh(low), Price::from_nano_per_wh(high))
    }
}
