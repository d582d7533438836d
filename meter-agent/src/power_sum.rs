//! Energy as the sum of power, for meters that have no register.
//!
//! Power between two measurements is taken as a straight line. Over a longer time without one
//! nothing is summed up: what flowed then is unknown, and the gap says so.

/// Milliwatt-milliseconds in a milliwatt-hour.
const PER_MWH: i128 = 3_600_000;

/// Two registers that grow with the power that is shown to them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PowerSum {
    /// Longest time between two measurements that is summed up over, milliseconds.
    max_gap_ms: i64,
    /// mW·ms, doubled, so that the mean of two powers is whole.
    import: i128,
    export: i128,
    last: Option<(i64, i64)>,
    gap_ms: (i64, i64),
}

impl PowerSum {
    /// Nothing is known so far.
    #[must_use]
    pub const fn new(max_gap_ms: i64) -> Self {
        Self { max_gap_ms, import: 0, export: 0, last: None, gap_ms: (0, i64::MAX) }
    }

    /// Takes the power at a time, mW, positive = import. What is not newer than the last one counts
    /// for nothing.
    pub fn take(&mut self, time_ms: i64, power_mw: i64) {
        let Some((from_ms, before_mw)) = self.last else {
            self.gap_ms = (0, time_ms);
            self.last = Some((time_ms, power_mw));
            return;
        };
        let span_ms = time_ms - from_ms;
        if span_ms <= 0 {
            return;
        }
        self.last = Some((time_ms, power_mw));
        if span_ms > self.max_gap_ms {
            self.gap_ms = (from_ms, time_ms);
            return;
        }
        let (before, after) = (i128::from(before_mw), i128::from(power_mw));
        let span = i128::from(span_ms);
        if before.signum() * after.signum() >= 0 {
            let area = (before + after) * span;
            self.import += area.max(0);
            self.export += (-area).max(0);
            return;
        }
        // The line crosses zero: a triangle on each side.
        let width = before.abs() + after.abs();
        for power in [before, after] {
            let area = power * power * span / width;
            if power > 0 { self.import += area } else { self.export += area }
        }
    }

    /// Import and export so far, mWh.
    #[must_use]
    pub fn mwh(&self) -> (i64, i64) {
        let whole = |doubled: i128| i64::try_from(doubled / 2 / PER_MWH).unwrap_or(i64::MAX);
        (whole(self.import), whole(self.export))
    }

    /// The newest time without a measurement that was too long, from and to.
    #[must_use]
    pub const fn gap_ms(&self) -> (i64, i64) {
        self.gap_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Import and export of measurements at (seconds, W), Wh, and the newest gap in seconds.
    fn check(measurements: &[(i64, i64)], expected: (i64, i64), gap: (i64, i64)) {
        let mut sum = PowerSum::new(20_000);
        for &(second, watts) in measurements {
            sum.take(second * 1_000, watts * 1_000);
        }
        let (import, export) = sum.mwh();
        assert_eq!((import / 1_000, export / 1_000), expected, "{measurements:?}");
        let found = sum.gap_ms();
        assert_eq!((found.0 / 1_000, found.1 / 1_000), gap, "{measurements:?}");
    }

    #[test]
    fn energy_is_the_area_under_the_line_and_nothing_over_a_gap() {
        check(&[(100, 3_600)], (0, 0), (0, 100));
        check(&[(100, 3_600), (110, 3_600)], (10, 0), (0, 100));
        check(&[(100, 0), (110, 7_200)], (10, 0), (0, 100));
        check(&[(100, -3_600), (110, -3_600)], (0, 10), (0, 100));
        // Across zero: two triangles.
        check(&[(100, 14_400), (120, -14_400)], (20, 20), (0, 100));
        // The same moment twice, and one that comes late.
        check(&[(100, 3_600), (100, 9_999), (90, 5), (110, 3_600)], (10, 0), (0, 100));
        // 21 s is too long; what follows counts again.
        check(&[(100, 3_600), (121, 3_600), (131, 3_600)], (10, 0), (100, 121));
    }
}
