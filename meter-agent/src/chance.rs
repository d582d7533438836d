//! Jitter, so that a street of agents does not come back all at once. Seeded by the caller.

use std::time::Duration;

/// A small generator (splitmix64); good for spreading load, for nothing else.
#[derive(Debug, Clone)]
pub struct Chance(u64);

impl Chance {
    /// The same seed gives the same sequence.
    #[must_use]
    pub const fn seeded(seed: u64) -> Self {
        Self(seed)
    }

    /// Seeded by the system's randomness.
    #[must_use]
    pub fn from_system() -> Self {
        Self(getrandom::u64().unwrap_or(0x5eed))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Between 0 and `bound − 1`; 0 for no bound.
    pub fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 { 0 } else { self.next() % bound }
    }

    /// Waiting time before attempt number `failures + 1`: doubling from `first` to `longest`, with
    /// up to half of it taken off by chance.
    pub fn backoff(&mut self, failures: u32, first: Duration, longest: Duration) -> Duration {
        let full = first.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(longest);
        let half_ms = u64::try_from(full.as_millis() / 2).unwrap_or(u64::MAX);
        full.saturating_sub(Duration::from_millis(self.below(half_ms.saturating_add(1))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_doubles_to_its_limit_and_never_falls_below_half() {
        let mut chance = Chance::seeded(7);
        let (first, longest) = (Duration::from_millis(100), Duration::from_secs(2));
        for (failures, full_ms) in [(1, 100), (2, 200), (3, 400), (6, 2_000), (60, 2_000)] {
            for _ in 0..50 {
                let wait = chance.backoff(failures, first, longest);
                let full = Duration::from_millis(full_ms);
                assert!((full / 2..=full).contains(&wait), "{failures}: {wait:?}");
            }
        }
    }
}
