//! Exact sharing: the one place where something whole is divided.

/// Shares `total` in proportion to `weights` by the largest-remainder (Hamilton) method.
///
/// Every share is the rounded-down exact share, plus one for the entries with the largest
/// remainders until nothing is left. Equal remainders are ordered by `rank` (smaller first), which
/// the caller derives from something no party can choose. The shares sum to `total` exactly, differ
/// from the exact share by less than one, and never exceed their weight when `total` is at most the
/// sum of the weights.
///
/// Ranges: `total ≥ 0`, every weight `≥ 0`; when all weights are zero, `total` must be zero.
///
/// # Panics
/// On a negative input, or a positive total without any weight: a bug of the caller.
#[must_use]
pub fn split<K: Ord>(total: i64, weights: &[i64], rank: impl Fn(usize) -> K) -> Vec<i64> {
    assert!(total >= 0, "only a non-negative total can be shared, not {total}");
    assert!(weights.iter().all(|&weight| weight >= 0), "weights are non-negative");
    let sum: i128 = weights.iter().map(|&weight| i128::from(weight)).sum();
    if total == 0 {
        return vec![0; weights.len()];
    }
    assert!(sum > 0, "nobody to share {total} between");

    if i128::from(total) == sum {
        return weights.to_vec();
    }
    let shares = match i64::try_from(sum) {
        Ok(sum) => shared(weights, |weight| proportion(total, weight, sum), total, rank),
        Err(_) => {
            let total = i128::from(total);
            let share = |weight: i64| {
                let product = total * i128::from(weight);
                (i64::try_from(product / sum).expect("at most the total"), product % sum)
            };
            shared(weights, share, i64::try_from(total).expect("it was one"), rank)
        }
    };
    debug_assert_eq!(shares.iter().sum::<i64>(), total);
    shares
}

/// Rounded-down shares, and one more for the entries with the largest remainders.
fn shared<R: Ord + Copy, K: Ord>(
    weights: &[i64],
    share: impl Fn(i64) -> (i64, R),
    total: i64,
    rank: impl Fn(usize) -> K,
) -> Vec<i64> {
    let (mut shares, remainders): (Vec<i64>, Vec<R>) =
        weights.iter().map(|&weight| share(weight)).unzip();
    let left = total - shares.iter().sum::<i64>();
    let left = usize::try_from(left).expect("remainders are non-negative");
    if left > 0 {
        for i in largest(&remainders, left, rank) {
            shares[i] += 1;
        }
    }
    shares
}

/// `total · weight / sum`, rounded down, and what is left of the division.
///
/// # Panics
/// Unless `0 ≤ weight ≤ sum`, `0 < sum` and `0 ≤ total`, or the quotient fits an `i64` anyway.
#[must_use]
#[inline]
pub fn proportion(total: i64, weight: i64, sum: i64) -> (i64, i64) {
    // Both ways give the same; the first one is a machine's own.
    if let Some(product) = total.checked_mul(weight) {
        return (product / sum, product % sum);
    }
    let (product, sum) = (i128::from(total) * i128::from(weight), i128::from(sum));
    let whole = |value: i128| i64::try_from(value).expect("at most the total or the sum");
    (whole(product / sum), whole(product % sum))
}

/// The `count ≥ 1` entries with the largest remainders, equals by rank; fewer than there are
/// positive ones, because the remainders sum up to `count` units.
fn largest<R: Ord + Copy, K: Ord>(
    remainders: &[R],
    count: usize,
    rank: impl Fn(usize) -> K,
) -> Vec<usize> {
    let mut sorted = remainders.to_vec();
    let (_, &mut last, _) = sorted.select_nth_unstable_by(count - 1, |a, b| b.cmp(a));
    let mut chosen: Vec<usize> = (0..remainders.len()).filter(|&i| remainders[i] > last).collect();
    let mut equals: Vec<(K, usize)> =
        (0..remainders.len()).filter(|&i| remainders[i] == last).map(|i| (rank(i), i)).collect();
    let missing = count - chosen.len();
    if missing < equals.len() {
        equals.select_nth_unstable(missing);
    }
    chosen.extend(equals.into_iter().take(missing).map(|(_, i)| i));
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(total: i64, weights: &[i64], expected: &[i64]) {
        assert_eq!(split(total, weights, |i| i), expected, "{total} by {weights:?}");
    }

    #[test]
    fn shares_are_exact_and_fair() {
        check(10, &[1, 1, 1], &[4, 3, 3]);
        check(7, &[3, 3, 3, 0], &[3, 2, 2, 0]);
        check(0, &[0, 0], &[0, 0]);
        check(5, &[2, 3], &[2, 3]);
        check(1, &[1, 2], &[0, 1]);
        check(i64::MAX, &[1, 1], &[i64::MAX / 2 + 1, i64::MAX / 2]);
    }

    #[test]
    fn equal_remainders_follow_the_given_rank() {
        let rank = [2, 0, 1];
        assert_eq!(split(10, &[1, 1, 1], |i| rank[i]), [3, 4, 3]);
    }

    #[test]
    fn shares_never_exceed_their_weight_and_always_sum_up() {
        // A small linear congruential generator keeps this crate free of dependencies.
        let mut state = 0x5eed_u64;
        let mut next = move |bound: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) % bound
        };
        for _ in 0..2_000 {
            let count = next(12) + 1;
            let weights: Vec<i64> =
                (0..count).map(|_| i64::try_from(next(50)).expect("small")).collect();
            let sum: i64 = weights.iter().sum();
            if sum == 0 {
                continue;
            }
            let total =
                i64::try_from(next(u64::try_from(sum).expect("positive") + 1)).expect("small");
            let shares = split(total, &weights, |i| i);
            assert_eq!(shares.iter().sum::<i64>(), total);
            for (share, weight) in shares.iter().zip(&weights) {
                assert!(share <= weight, "{shares:?} of {weights:?}");
                let exact = i128::from(total) * i128::from(*weight);
                let scaled = i128::from(*share) * i128::from(sum);
                assert!((exact - scaled).abs() < i128::from(sum));
            }
        }
    }
}
