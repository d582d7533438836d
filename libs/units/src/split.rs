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

    let exact = |weight: i64| i128::from(total) * i128::from(weight);
    let mut shares: Vec<i64> = weights
        .iter()
        .map(|&weight| i64::try_from(exact(weight) / sum).expect("at most the total"))
        .collect();
    let left = total - shares.iter().sum::<i64>();

    let mut order: Vec<usize> = (0..weights.len()).filter(|&i| weights[i] > 0).collect();
    order.sort_by_cached_key(|&i| (std::cmp::Reverse(exact(weights[i]) % sum), rank(i), i));
    let left = usize::try_from(left).expect("remainders are non-negative");
    for &i in order.iter().take(left) {
        shares[i] += 1;
    }
    debug_assert_eq!(shares.iter().sum::<i64>(), total);
    shares
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
