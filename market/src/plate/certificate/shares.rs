//! Proving that equal lots share in proportion to quantity, without sharing anything out.
//!
//! Of `total` Wh for lots that order `ordered` together, a lot of `q` with a fill of `f` is
//! `total·q − ordered·f` away from its exact part. The largest-remainder rule holds when that is
//! less than `ordered` either way, so that `f` is the part rounded down or up, and nobody is rounded
//! up before somebody with a larger remainder, or with an equal one and a smaller rank. There is no
//! other division of `total` of which this is true.

use units::{Energy, Price, split};

use super::PlateViolation;
use crate::plate::first::are_before;
use crate::{Lot, Rank, Side};

/// The lots of a side whose limit is the price.
pub(super) struct Tied<'a> {
    lots: &'a [Lot],
    fills: &'a [Energy],
    /// Their indices, in order.
    indices: Vec<u32>,
    /// What they get together, Wh.
    total: i128,
    /// What they order together, Wh; more than they get.
    ordered: i64,
}

impl<'a> Tied<'a> {
    pub(super) fn at(price: Price, side: Side, lots: &'a [Lot], fills: &'a [Energy]) -> Self {
        let mut indices = vec![0; lots.len()];
        let mut count = 0;
        let (mut total, mut ordered) = (0, 0);
        // Here and below without branches that a processor cannot foresee.
        for (index, (lot, fill)) in (0..).zip(lots.iter().zip(fills)) {
            let is_tied = (lot.limit == price) & (lot.side == side);
            let mask = -i64::from(is_tied);
            indices[count] = index;
            count += usize::from(is_tied);
            total += i128::from(fill.wh() & mask);
            ordered += i128::from(lot.quantity.wh() & mask);
        }
        indices.truncate(count);
        let ordered = i64::try_from(ordered).expect("MAX_LOTS times MAX_QUANTITY");
        Self { lots, fills, indices, total, ordered }
    }

    /// How much of its exact part a lot lacks, in parts of what is ordered: negative when it was
    /// rounded up.
    fn lacks(&self, index: u32) -> i128 {
        let index = index as usize;
        let (quantity, fill) = (self.lots[index].quantity.wh(), self.fills[index].wh());
        self.total * i128::from(quantity) - i128::from(self.ordered) * i128::from(fill)
    }

    pub(super) fn check(&self, rank: impl Fn(usize) -> Rank) -> Result<(), PlateViolation> {
        let (mut least_up, mut most_down, mut is_near) = (i64::MAX, -1, true);
        for &index in &self.indices {
            let lacks = self.lacks(index);
            #[expect(clippy::cast_possible_truncation, reason = "not when it is near")]
            let near = lacks as i64;
            is_near &= (i128::from(near) == lacks) & (-self.ordered < near) & (near < self.ordered);
            let is_up = near < 0;
            let remainder = near.wrapping_add(if is_up { self.ordered } else { 0 });
            least_up = least_up.min(if is_up { remainder } else { i64::MAX });
            most_down = most_down.max(if is_up { -1 } else { remainder });
        }
        let is_fair = is_near
            && (most_down < least_up || most_down == least_up && self.is_by_rank(most_down, &rank));
        if is_fair { Ok(()) } else { Err(self.unfair(rank)) }
    }

    /// Whether among the lots with this remainder those were rounded up that have the smallest
    /// ranks. Needs all of them near their exact part.
    fn is_by_rank(&self, remainder: i64, rank: impl Fn(usize) -> Rank) -> bool {
        let [mut ups, mut downs] = [(); 2].map(|()| vec![0; self.indices.len()]);
        let (mut up_count, mut down_count) = (0, 0);
        let down = i128::from(remainder);
        let up = down - i128::from(self.ordered);
        for &index in &self.indices {
            let lacks = self.lacks(index);
            (ups[up_count], downs[down_count]) = (index, index);
            up_count += usize::from(lacks == up);
            down_count += usize::from(lacks == down);
        }
        are_before(&ups[..up_count], &downs[..down_count], rank)
    }

    /// Names a lot whose fill is not its share.
    #[cold]
    fn unfair(&self, rank: impl Fn(usize) -> Rank) -> PlateViolation {
        let lot = |k: usize| self.indices[k] as usize;
        let quantities: Vec<i64> =
            (0..self.indices.len()).map(|k| self.lots[lot(k)].quantity.wh()).collect();
        let total = i64::try_from(self.total).expect("less than is ordered");
        let shares = split(total, &quantities, |k| rank(lot(k)));
        let unfair = (0..).zip(shares).find(|&(k, share)| self.fills[lot(k)].wh() != share);
        let (k, share) = unfair.expect("only exact shares are fair");
        let (lot, energy) = (lot(k), self.fills[lot(k)]);
        PlateViolation::NotProRata { lot, energy, exact: Energy::from_wh(share) }
    }
}
