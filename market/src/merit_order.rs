//! The exact merit order: dearest bid with cheapest ask, for as long as they agree.
//!
//! It needs no solver, cannot fail and takes time linear in the number of price levels. It is
//! the answer whenever the linear program has none that can be proven.

use std::cmp::Ordering;

use units::Energy;

use crate::allotment::Allotment;
use crate::level::Levels;

/// The welfare-maximal allotment with the most energy: a bid and an ask with the same limit trade,
/// too.
pub(crate) fn allot(levels: &Levels) -> Allotment {
    let mut bids = vec![Energy::ZERO; levels.bids.len()];
    let mut asks = vec![Energy::ZERO; levels.asks.len()];
    let (mut bid, mut ask) = (0, 0);
    while let (Some(best_bid), Some(best_ask)) = (levels.bids.get(bid), levels.asks.get(ask)) {
        if best_bid.price < best_ask.price {
            break;
        }
        let wanted = best_bid.quantity - bids[bid];
        let offered = best_ask.quantity - asks[ask];
        let energy = wanted.min(offered);
        bids[bid] += energy;
        asks[ask] += energy;
        match wanted.cmp(&offered) {
            Ordering::Less => bid += 1,
            Ordering::Greater => ask += 1,
            Ordering::Equal => {
                bid += 1;
                ask += 1;
            }
        }
    }
    Allotment { bids, asks }
}
