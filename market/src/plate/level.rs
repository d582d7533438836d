//! Finding the price level at which demand and supply cross.
//!
//! Let D(p) be what is bid at `p` or more and S(p) what is asked at `p` or less. The level is the
//! lowest price `p` on the tick with `D(p + tick) < S(p)`: above it there is too little demand for
//! the supply so far. The volume is then the smaller of D(p) and S(p), and either all bids or all
//! asks at the level itself are filled. Energy is summed up in buckets of prices, as wide as needed
//! to have no more of them than a table of moderate size; the bucket of the crossing is then looked
//! into again.

use units::{Energy, Price};

use crate::lots::{MAX_LOTS, check, is_in_range};
use crate::{Lot, LotFault, Side};

/// Most buckets of the table: 16 bytes each, so that they stay in a processor's second cache.
const MAX_BUCKETS: u64 = 1 << 15;

/// The level where the two sides cross.
pub(super) struct Level {
    pub price: Price,
    /// Energy that trades.
    pub cleared: Energy,
    /// Bids at the level. They or the asks there are all filled, or both are.
    pub bids: Margin,
    /// Asks at the level.
    pub asks: Margin,
}

/// One side's lots at the level.
#[derive(Clone, Copy)]
pub(super) struct Margin {
    /// What they get, Wh.
    pub energy: i64,
    /// What they order, Wh.
    pub ordered: i64,
}

impl Margin {
    /// Whether there is less than is ordered.
    pub fn is_short(self) -> bool {
        self.energy < self.ordered
    }

    /// What they get when it has to be shared, Wh.
    pub fn energy_if_short(self) -> i64 {
        if self.is_short() { self.energy } else { 0 }
    }
}

/// Prices between which lots can trade, in ticks, and the energy outside that counts.
struct Window {
    low: i64,
    ticks: u64,
    bids_above: i64,
    asks_below: i64,
}

/// The level, or nothing when no bid reaches an ask.
///
/// # Errors
/// [`LotFault`] for the first lot that is out of range.
pub(super) fn crossing(lots: &[Lot]) -> Result<Option<Level>, LotFault> {
    let Some((lowest_ask, highest_bid)) = trading_range(lots)? else { return Ok(None) };
    let ticks = highest_bid.abs_diff(lowest_ask) + 1;
    let mut window = Window { low: lowest_ask, ticks, bids_above: 0, asks_below: 0 };
    let mut pool: Vec<Lot> = Vec::new();
    loop {
        let lots = if pool.is_empty() { lots } else { pool.as_slice() };
        let width_log2 = width_log2(window.ticks, lots.len());
        let buckets = Buckets::of(lots, &window, width_log2);
        let (at, [bids, asks]) = buckets.crossing(&mut window);
        if width_log2 == 0 {
            return Ok(Some(level(&window, bids, asks)));
        }
        pool = lots.iter().filter(|lot| buckets.index(lot) == at).copied().collect();
    }
}

/// The lowest ask and the highest bid in ticks, when they agree.
fn trading_range(lots: &[Lot]) -> Result<Option<(i64, i64)>, LotFault> {
    if lots.len() > MAX_LOTS {
        return Err(LotFault::TooMany { lots: lots.len() });
    }
    let (mut lowest_ask, mut highest_bid, mut in_range) = (i64::MAX, i64::MIN, true);
    for lot in lots {
        let limit = lot.limit.nano_per_wh();
        let (bid, ask) = match lot.side {
            Side::Buy => (limit, i64::MAX),
            Side::Sell => (i64::MIN, limit),
        };
        lowest_ask = lowest_ask.min(ask);
        highest_bid = highest_bid.max(bid);
        in_range &= is_in_range(lot);
    }
    if !in_range {
        check(lots)?;
    }
    let range = (lowest_ask / TICK, highest_bid / TICK);
    Ok((lowest_ask <= highest_bid).then_some(range))
}

const TICK: i64 = Price::TICK.nano_per_wh();

fn tick(lot: &Lot) -> i64 {
    lot.limit.nano_per_wh() / TICK
}

/// Width of a bucket as a power of two: about two lots per bucket, if the prices go that far.
fn width_log2(ticks: u64, lots: usize) -> u32 {
    let most = (lots as u64 / 2).clamp(64, MAX_BUCKETS);
    (0..).find(|&log2| (ticks - 1) >> log2 < most).expect("any number is shifted out")
}

fn level(window: &Window, bids: i64, asks: i64) -> Level {
    let Window { low, bids_above, asks_below, .. } = *window;
    let cleared = (bids_above + bids).min(asks_below + asks);
    Level {
        price: Price::from_nano_per_wh(low * TICK),
        cleared: Energy::from_wh(cleared),
        bids: Margin { energy: cleared - bids_above, ordered: bids },
        asks: Margin { energy: cleared - asks_below, ordered: asks },
    }
}

/// Energy of bids and asks per range of prices, with a bucket on either end for what is outside.
struct Buckets {
    low: i64,
    width_log2: u32,
    /// Bids and asks in Wh. Below an i64, as there are bounds to both a lot and their number.
    energy: Vec<[i64; 2]>,
}

impl Buckets {
    fn of(lots: &[Lot], window: &Window, width_log2: u32) -> Self {
        let count = ((window.ticks - 1) >> width_log2) + 3;
        let count = usize::try_from(count).expect("at most MAX_BUCKETS and the two ends");
        let mut buckets = Self { low: window.low, width_log2, energy: vec![[0; 2]; count] };
        for lot in lots {
            let index = buckets.index(lot);
            let side = match lot.side {
                Side::Buy => 0,
                Side::Sell => 1,
            };
            buckets.energy[index][side] += lot.quantity.wh();
        }
        buckets
    }

    fn index(&self, lot: &Lot) -> usize {
        let last = self.energy.len() - 1;
        let bucket = ((tick(lot) - self.low) >> self.width_log2) + 1;
        usize::try_from(bucket.max(0)).expect("not negative").min(last)
    }

    /// The bucket of the crossing and its energy; narrows the window to it.
    fn crossing(&self, window: &mut Window) -> (usize, [i64; 2]) {
        let inner = 1..self.energy.len() - 1;
        let bids: i64 = self.energy[inner.clone()].iter().map(|energy| energy[0]).sum();
        let (mut demand, mut supply) = (window.bids_above + bids, window.asks_below);
        for index in inner {
            let [bids, asks] = self.energy[index];
            demand -= bids;
            if demand < supply + asks {
                let inside = i64::try_from(index - 1).expect("a small table");
                let ticks = 1 << self.width_log2;
                let low = self.low + (inside << self.width_log2);
                *window = Window { low, ticks, bids_above: demand, asks_below: supply };
                return (index, [bids, asks]);
            }
            supply += asks;
        }
        unreachable!("the highest bid has no demand above it and an ask below it")
    }
}
