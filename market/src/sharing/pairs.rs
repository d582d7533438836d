//! Who traded with whom, and what of it the meters bear out.
//!
//! An auction with one price has no partners: sellers give into a pool and buyers take from it.
//! Where law wants pairs, the pool is taken apart in proportion, exactly on both sides.

use std::collections::BTreeMap;

use units::{Energy, PointId, split};

use crate::{Clearing, Rank, Side};

/// Energy from a producer to a consumer.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Trade {
    /// Who gives.
    pub producer: PointId,
    /// Who takes.
    pub consumer: PointId,
    /// How much, Wh > 0.
    pub energy: Energy,
}

/// The pairs of an auction's result: every buyer bought from every seller in proportion to what
/// was sold, and each side adds up to its fills. By producer and consumer. `rank` decides the last watt-hours.
#[must_use]
pub fn trades(clearing: &Clearing, rank: impl Fn(&PointId) -> Rank) -> Vec<Trade> {
    let mut points: Vec<&PointId> = clearing.fills.iter().map(|fill| &fill.point).collect();
    points.sort();
    points.dedup();
    let ranks: Vec<Rank> = points.iter().map(|point| rank(point)).collect();
    let side = |side: Side| -> Vec<(usize, i64)> {
        let mut sums = vec![0; points.len()];
        for fill in clearing.fills.iter().filter(|fill| fill.side == side) {
            let i = points.binary_search(&&fill.point).expect("it is a point of a fill");
            sums[i] += fill.energy.wh();
        }
        sums.into_iter().enumerate().filter(|&(_, wh)| wh > 0).collect()
    };
    let trade = |(producer, consumer, wh): (usize, usize, i64)| Trade {
        producer: points[producer].clone(),
        consumer: points[consumer].clone(),
        energy: Energy::from_wh(wh),
    };
    let mut pairs = transport(&side(Side::Sell), &side(Side::Buy), |i| ranks[i]);
    pairs.sort_unstable();
    pairs.into_iter().map(trade).collect()
}

/// Takes a pool apart: `(producer, consumer, Wh)`, in proportion and exact on both sides.
///
/// The consumers, by rank, each take in proportion from what is left of the producers'; as both
/// sides have the same sum, the last one takes exactly the rest.
pub(crate) fn transport(
    given: &[(usize, i64)],
    taken: &[(usize, i64)],
    rank: impl Fn(usize) -> Rank,
) -> Vec<(usize, usize, i64)> {
    let mut left: Vec<i64> = given.iter().map(|&(_, wh)| wh).collect();
    let mut consumers = taken.to_vec();
    consumers.sort_by_key(|&(i, _)| (rank(i), i));
    let mut pairs = Vec::new();
    for (consumer, wh) in consumers {
        let shares = split(wh, &left, |i| rank(given[i].0));
        for ((&(producer, _), left), share) in given.iter().zip(&mut left).zip(shares) {
            *left -= share;
            if share > 0 {
                pairs.push((producer, consumer, share));
            }
        }
    }
    pairs
}

/// Producer and consumer.
type Pair = (usize, usize);

/// Trades scaled down to what producers and then consumers were metered for.
pub(crate) fn scaled(
    mut matrix: BTreeMap<Pair, i64>,
    export: &[i64],
    import: &[i64],
    ranks: &[Rank],
) -> Vec<(usize, usize, i64)> {
    let producer = |&(producer, _): &Pair| producer;
    let consumer = |&(_, consumer): &Pair| consumer;
    cap(&mut matrix, export, producer, |pair| ranks[consumer(pair)]);
    cap(&mut matrix, import, consumer, |pair| ranks[producer(pair)]);
    matrix.into_iter().filter(|&(_, wh)| wh > 0).map(|((i, j), wh)| (i, j, wh)).collect()
}

/// Scales every row or column that exceeds its cap, in proportion, down to it.
fn cap(
    matrix: &mut BTreeMap<Pair, i64>,
    caps: &[i64],
    line: impl Fn(&Pair) -> usize,
    rank: impl Fn(&Pair) -> Rank,
) {
    let mut lines: BTreeMap<usize, Vec<(Pair, i64)>> = BTreeMap::new();
    for (&pair, &wh) in matrix.iter() {
        lines.entry(line(&pair)).or_default().push((pair, wh));
    }
    for (i, pairs) in lines {
        let energies: Vec<i64> = pairs.iter().map(|&(_, wh)| wh).collect();
        if energies.iter().sum::<i64>() > caps[i] {
            let shares = split(caps[i], &energies, |k| rank(&pairs[k].0));
            matrix.extend(pairs.iter().map(|&(pair, _)| pair).zip(shares));
        }
    }
}
