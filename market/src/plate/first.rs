//! Who has the smallest ranks, and whether somebody does.
//!
//! Ranks are hashes: their first eight bytes, one number, nearly always tell which is smaller. The
//! rest is looked at only where those are equal, so the answer is that of comparing all of it.

use crate::Rank;

/// Brings the `count` of these lots, at least one and not all, to the front that have the smallest
/// ranks; of one rank, those with the smallest index.
pub(super) fn bring_first(lots: &mut [usize], count: usize, rank: impl Fn(usize) -> Rank) {
    let mut leads: Vec<(u64, usize)> = lots.iter().map(|&lot| (lead(rank(lot)), lot)).collect();
    let (_, &mut (last, _), rest) = leads.select_nth_unstable_by_key(count - 1, |&(lead, _)| lead);
    if rest.iter().any(|&(lead, _)| lead == last) {
        lots.select_nth_unstable_by_key(count - 1, |&lot| (rank(lot), lot));
        return;
    }
    for (to, (_, lot)) in lots.iter_mut().zip(leads) {
        *to = lot;
    }
}

/// Whether every one of these lots has a smaller rank than every one of those; lots of one rank in
/// their order.
pub(super) fn are_before(these: &[u32], those: &[u32], rank: impl Fn(usize) -> Rank) -> bool {
    let lead_of = |&lot: &u32| lead(rank(lot as usize));
    let last = these.iter().map(lead_of).max();
    let first = those.iter().map(lead_of).min();
    let (Some(last), Some(first)) = (last, first) else { return true };
    if last != first {
        return last < first;
    }
    let at = |lots: &[u32]| {
        let lots = lots.iter().map(|&lot| (rank(lot as usize), lot));
        lots.filter(|&(rank, _)| lead(rank) == last).collect::<Vec<_>>()
    };
    at(these).into_iter().max() < at(those).into_iter().min()
}

/// The first eight bytes.
fn lead(rank: Rank) -> u64 {
    u64::from_be_bytes(*rank.first_chunk().expect("a rank is longer"))
}
