//! Whole watt-hours from equal ratios.
//!
//! Everybody gets the rounded-down share, and what is left goes one by one to the largest
//! remainders, equals by rank. Where a branch has no room for where these last watt-hours fall, the
//! next in line get them: for every subtree the number of last watt-hours is between two bounds,
//! nested like the subtrees are, and on such a family taking the first in line that still fits is
//! the best choice.

use std::cmp::Ordering;

use units::Proportion;

use super::ties::Part;
use crate::Rank;

/// A marginal order and its share.
pub(super) struct Candidate {
    /// Position of its node in the part.
    pub place: usize,
    /// Index of the lot.
    pub lot: usize,
    pub quantity: i64,
    pub share: i64,
    /// What rounding down took, in parts of all that is ordered.
    pub remainder: i64,
}

impl Candidate {
    /// Who is first in line for a watt-hour. Without distinct ranks, only lots that are alike in
    /// everything depend on their order in the book.
    fn line(&self, other: &Self, rank: &impl Fn(usize) -> Rank) -> Ordering {
        other
            .remainder
            .cmp(&self.remainder)
            .then_with(|| rank(self.lot).cmp(&rank(other.lot)))
            .then_with(|| (self.place, self.quantity).cmp(&(other.place, other.quantity)))
            .then_with(|| self.lot.cmp(&other.lot))
    }
}

/// Shares `total` of `ordered` in proportion to the quantities.
pub(super) fn by_largest_remainder(
    candidates: &mut [Candidate],
    total: i64,
    ordered: i64,
    rank: &impl Fn(usize) -> Rank,
) {
    let mut left = total;
    let proportion = Proportion::new(total, ordered);
    for candidate in candidates.iter_mut() {
        (candidate.share, candidate.remainder) = proportion.of(candidate.quantity);
        left -= candidate.share;
    }
    let Ok(left) = usize::try_from(left) else {
        unreachable!("rounded down");
    };
    if left == 0 {
        return;
    }
    let mut line: Vec<usize> =
        (0..candidates.len()).filter(|&i| candidates[i].remainder > 0).collect();
    let order = |&a: &usize, &b: &usize| candidates[a].line(&candidates[b], rank);
    line.select_nth_unstable_by(left - 1, order);
    line.truncate(left);
    for i in line {
        candidates[i].share += 1;
    }
}

/// Gives out the last watt-hours anew, within what every branch has room for. Equal ratios must fit
/// before rounding.
pub(super) fn within_rooms(
    part: &Part,
    candidates: &mut [Candidate],
    total: i64,
    ordered: i64,
    rank: &impl Fn(usize) -> Rank,
) {
    let mut left = total;
    let proportion = Proportion::new(total, ordered);
    let mut taken: Vec<i64> = part.nodes.iter().map(|node| node.taken).collect();
    for candidate in candidates.iter_mut() {
        candidate.share = proportion.of(candidate.quantity).0;
        taken[candidate.place] += candidate.share;
        left -= candidate.share;
    }
    let mut line: Vec<usize> =
        (0..candidates.len()).filter(|&i| candidates[i].remainder > 0).collect();
    line.sort_unstable_by(|&a, &b| candidates[a].line(&candidates[b], rank));
    // Per subtree, who may still get one: those who must come first, then in line.
    let mut hopeful: Vec<Vec<(bool, usize)>> = vec![Vec::new(); part.nodes.len()];
    for (turn, &i) in line.iter().enumerate() {
        hopeful[candidates[i].place].push((true, turn));
    }
    for (place, node) in part.nodes.iter().enumerate().rev() {
        let mut here = std::mem::take(&mut hopeful[place]);
        here.sort_unstable();
        let Some(parent) = node.parent else {
            let left = usize::try_from(left).expect("rounded down");
            assert!(left <= here.len(), "equal ratios fit, so their rounding does");
            for &(_, turn) in &here[..left] {
                candidates[line[turn]].share += 1;
            }
            continue;
        };
        let count = |wh: i64| usize::try_from(wh.max(0)).expect("not negative");
        let (must, may) = (count(node.room.0 - taken[place]), count(node.room.1 - taken[place]));
        assert!(must <= here.len().min(may), "equal ratios fit, so their rounding does");
        here.truncate(may);
        for (later, _) in &mut here[..must] {
            *later = false;
        }
        taken[parent] += taken[place];
        hopeful[parent].append(&mut here);
    }
}
