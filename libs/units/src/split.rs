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
    split_choosing(total, weights, |equals, count| {
        let mut ranked: Vec<(K, usize)> = equals.iter().map(|&i| (rank(i), i)).collect();
        ranked.select_nth_unstable(count);
        for (to, (_, i)) in equals.iter_mut().zip(ranked) {
            *to = i;
        }
    })
}

/// The same as [`split`] for who has a faster way to find the smallest ranks than to compare them.
///
/// When it matters, `choose` gets the entries with the last remainder that counts, in order, and
/// how many of them, at least one and not all, to bring to the front.
///
/// # Panics
/// Like [`split`].
#[must_use]
pub fn split_choosing(
    total: i64,
    weights: &[i64],
    choose: impl FnOnce(&mut [usize], usize),
) -> Vec<i64> {
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
        Ok(sum) => {
            let proportion = Proportion::new(total, sum);
            shared(weights, |weight| proportion.of(weight), total, choose)
        }
        Err(_) => {
            let total = i128::from(total);
            let share = |weight: i64| {
                let product = total * i128::from(weight);
                (i64::try_from(product / sum).expect("at most the total"), product % sum)
            };
            shared(weights, share, i64::try_from(total).expect("it was one"), choose)
        }
    };
    debug_assert_eq!(shares.iter().sum::<i64>(), total);
    shares
}

/// Rounded-down shares, and one more for the entries with the largest remainders.
fn shared<R: Ord + Copy>(
    weights: &[i64],
    share: impl Fn(i64) -> (i64, R),
    total: i64,
    choose: impl FnOnce(&mut [usize], usize),
) -> Vec<i64> {
    let mut shares = Vec::with_capacity(weights.len());
    let mut left = total;
    let remainders: Vec<R> = weights
        .iter()
        .map(|&weight| {
            let (share, remainder) = share(weight);
            shares.push(share);
            left -= share;
            remainder
        })
        .collect();
    let left = usize::try_from(left).expect("remainders are non-negative");
    if left > 0 {
        round_up(&mut shares, &remainders, left, choose);
    }
    shares
}

/// `total` in proportion to weights, whose sum is known, weight by weight and without a division
/// for each of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Proportion {
    /// How often the sum is in the total, and what is left then.
    whole: i64,
    part: i64,
    sum: i64,
    /// `part · 2⁶⁴ / sum`, rounded down.
    reciprocal: u64,
}

impl Proportion {
    /// Prepares to share `total ≥ 0` between weights that add up to `sum > 0`.
    ///
    /// # Panics
    /// When either is out of range.
    #[must_use]
    pub fn new(total: i64, sum: i64) -> Self {
        assert!(total >= 0 && sum > 0, "{total} cannot be shared in {sum} parts");
        let (whole, part) = (total / sum, total % sum);
        let reciprocal = (u128::from(part.unsigned_abs()) << 64) / u128::from(sum.unsigned_abs());
        let reciprocal = u64::try_from(reciprocal).expect("the part is less than the sum");
        Self { whole, part, sum, reciprocal }
    }

    /// `total · weight / sum` of a weight in `0 ..= sum`, rounded down, and what is left of the
    /// division, less than the sum.
    #[must_use]
    #[inline]
    pub const fn of(self, weight: i64) -> (i64, i64) {
        debug_assert!(0 <= weight && weight <= self.sum);
        // The reciprocal is short by less than one 2⁻⁶⁴th, and a weight is below 2⁶³: the quotient
        // is right or one too small. Then what is left is below 2 · sum and so below 2⁶⁴, and
        // products may wrap.
        let product = (weight as u128) * (self.reciprocal as u128);
        let quotient = (product >> 64) as u64;
        let sum = self.sum as u64;
        let left =
            (self.part as u64).wrapping_mul(weight as u64).wrapping_sub(quotient.wrapping_mul(sum));
        let short = left >= sum;
        let left = if short { left - sum } else { left };
        (self.whole * weight + quotient as i64 + short as i64, left as i64)
    }
}

/// One more for the `count ≥ 1` entries with the largest remainders; they are fewer than there are
/// positive ones, because the remainders sum up to `count` units. Who of equals is asked only when
/// it matters.
fn round_up<R: Ord + Copy>(
    shares: &mut [i64],
    remainders: &[R],
    count: usize,
    choose: impl FnOnce(&mut [usize], usize),
) {
    let (_, &mut last, _) = remainders.to_vec().select_nth_unstable_by(count - 1, |a, b| b.cmp(a));
    // Without branches that a processor cannot foresee: about every second entry is rounded up.
    let mut equals = vec![0; remainders.len()];
    let (mut found, mut missing) = (0, count);
    for (i, (share, &remainder)) in shares.iter_mut().zip(remainders).enumerate() {
        let more = remainder > last;
        *share += i64::from(more);
        missing -= usize::from(more);
        equals[found] = i;
        found += usize::from(remainder == last);
    }
    equals.truncate(found);
    if missing < found {
        choose(&mut equals, missing);
    }
    equals[..missing].iter().for_each(|&i| shares[i] += 1);
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
    fn a_proportion_is_the_exact_quotient_at_every_scale() {
        let mut state = 0x5eed_u64;
        let mut next = move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            i64::try_from((state ^ state >> 33) >> 1 >> (state >> 59)).expect("below 2^63")
        };
        let check = |total: i64, weight: i64, sum: i64| {
            let product = i128::from(total) * i128::from(weight);
            let exact = (product / i128::from(sum), product % i128::from(sum));
            let (share, left) = Proportion::new(total, sum).of(weight);
            assert_eq!((i128::from(share), i128::from(left)), exact, "{total}·{weight}/{sum}");
        };
        for _ in 0..20_000 {
            let sum = next().max(1);
            let (total, weight) = (next(), next() % sum);
            check(total, weight, sum);
            check(total % sum, weight, sum);
            check(total, sum, sum);
            check(sum, weight, sum);
        }
        let most = i64::MAX;
        for (total, weight, sum) in [
            (0, 0, 1),
            (most, 1, 1),
            (most, most, most),
            (most - 1, most - 1, most),
            (most - 1, 1, most),
            (1, most - 1, most),
            (most / 2, 2, most),
        ] {
            check(total, weight, sum);
        }
    }

    #[test]
    fn who_chooses_is_asked_only_where_it_matters() {
        let never = |_: &mut [usize], _: usize| panic!("nothing to choose");
        assert_eq!(split_choosing(10, &[10, 1], never), [9, 1]);
        assert_eq!(split_choosing(5, &[2, 3], never), [2, 3]);
        let chosen = split_choosing(10, &[5, 5, 7, 5], |equals, count| {
            assert_eq!((&*equals, count), (&[0, 1, 3][..], 1));
            equals.swap(0, 1);
        });
        assert_eq!(chosen, [2, 3, 3, 2]);
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
