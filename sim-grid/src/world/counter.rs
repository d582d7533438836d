//! Energy registers that never lose a remainder.

/// A cumulative energy register: an exact sum of deciwatts (0.1 W) times milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Counter(u64);

impl Counter {
    /// Deciwatt-milliseconds in a watt-hour.
    pub const PER_WH: u64 = 36_000_000;

    /// A register that shows this many watt-hours.
    #[must_use]
    pub const fn from_wh(wh: u64) -> Self {
        Self(wh.saturating_mul(Self::PER_WH))
    }

    /// Counts a constant power for a while. 18 000 GWh fill the register; it then stands still.
    pub const fn add(&mut self, deciwatts: u64, ms: u64) {
        self.0 = self.0.saturating_add(deciwatts.saturating_mul(ms));
    }

    /// Whole watt-hours, as a display shows them.
    #[must_use]
    pub const fn wh(self) -> u64 {
        self.0 / Self::PER_WH
    }

    /// The exact sum, deciwatt-milliseconds.
    #[must_use]
    pub const fn exact(self) -> u64 {
        self.0
    }
}
