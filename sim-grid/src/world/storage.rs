//! A battery that serves its own house: it stores what the roof has left over, gives it back when
//! the house needs it, and never touches the grid.
//!
//! The power is decided at the start of a slot and holds for the whole slot, so that a run does
//! not depend on how often somebody looks. Whoever steers it leaves it a window of powers; then the power
//! is decided anew whenever time moves on, as the device does. What is stored follows from the two exact counters of
//! energy charged and discharged (on the AC side); nothing drifts. Self-discharge is left out.

use units::Slot;

use crate::scenario::BatteryRating;
use crate::world::counter::Counter;

/// One millionth, the unit of an efficiency.
const MILLION: i128 = 1_000_000;

/// The powers that whoever steers a battery leaves to it, deciwatts, positive = charging.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Least.
    pub least_dw: i64,
    /// Most; not below the least.
    pub most_dw: i64,
}

impl Window {
    /// Every power.
    pub const FREE: Self = Self { least_dw: i64::MIN, most_dw: i64::MAX };
}

/// A battery with its converter, seen from the AC side. It starts empty.
#[derive(Debug, Clone)]
pub struct Storage {
    rating: BatteryRating,
    charged: Counter,
    discharged: Counter,
}

impl Storage {
    /// An empty battery.
    #[must_use]
    pub const fn new(rating: BatteryRating) -> Self {
        let (charged, discharged) = (Counter::from_wh(0), Counter::from_wh(0));
        Self { rating, charged, discharged }
    }

    /// Its ratings.
    #[must_use]
    pub const fn rating(&self) -> &BatteryRating {
        &self.rating
    }

    /// Energy taken in so far.
    #[must_use]
    pub const fn charged(&self) -> Counter {
        self.charged
    }

    /// Energy given back so far.
    #[must_use]
    pub const fn discharged(&self) -> Counter {
        self.discharged
    }

    /// Stored energy in 1/(10^6 · efficiency_ppm) deciwatt-milliseconds, which keeps both
    /// directions whole numbers: charging x stores x·η, discharging x takes x/η.
    fn stored_fine(&self) -> i128 {
        let efficiency = i128::from(self.rating.efficiency_ppm);
        i128::from(self.charged.exact()) * efficiency * efficiency
            - i128::from(self.discharged.exact()) * MILLION * MILLION
    }

    fn capacity_fine(&self) -> i128 {
        i128::from(self.rating.energy_wh)
            * i128::from(Counter::PER_WH)
            * MILLION
            * i128::from(self.rating.efficiency_ppm)
    }

    /// Share of the capacity that is filled, 0 to 1.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a ratio for display")]
    pub fn state_of_charge(&self) -> f64 {
        let capacity = self.capacity_fine();
        if capacity == 0 { 0.0 } else { self.stored_fine() as f64 / capacity as f64 }
    }

    /// The power for a whole slot, deciwatts, positive = charging, when the house would otherwise
    /// draw `net` deciwatts from the grid (negative: feed in).
    #[must_use]
    pub fn decide(&self, net: i64) -> i64 {
        self.possible(net.saturating_neg(), Slot::LENGTH_MS.unsigned_abs())
    }

    /// The same within a window, for so many milliseconds.
    #[must_use]
    pub fn obey(&self, net: i64, window: Window, ms: u64) -> i64 {
        let wanted = net.saturating_neg().clamp(window.least_dw, window.most_dw);
        self.possible(wanted, ms)
    }

    /// The nearest power that rating and content allow for so many milliseconds.
    fn possible(&self, wanted: i64, ms: u64) -> i64 {
        let span = i128::from(ms.max(1));
        let rating = i128::from(self.rating.power_w) * 10;
        let most = if wanted > 0 {
            let efficiency = i128::from(self.rating.efficiency_ppm);
            let room = self.capacity_fine() - self.stored_fine();
            room / (efficiency * efficiency) / span
        } else {
            self.stored_fine() / (MILLION * MILLION) / span
        };
        let power = i128::from(wanted.unsigned_abs()).min(rating).min(most.max(0));
        let power = i64::try_from(power).expect("at most what was wanted, which is an i64");
        if wanted > 0 { power } else { -power }
    }

    /// Counts a constant power for a while.
    pub const fn count(&mut self, deciwatts: i64, ms: u64) {
        if deciwatts >= 0 {
            self.charged.add(deciwatts.unsigned_abs(), ms);
        } else {
            self.discharged.add(deciwatts.unsigned_abs(), ms);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLOT: u64 = Slot::LENGTH_MS.unsigned_abs();

    fn storage() -> Storage {
        Storage::new(BatteryRating { energy_wh: 1_000, power_w: 2_000, efficiency_ppm: 950_000 })
    }

    #[test]
    fn an_empty_battery_gives_nothing_and_a_full_one_takes_nothing() {
        let mut storage = storage();
        assert_eq!(storage.decide(5_000), 0);
        for _ in 0..20 {
            let power = storage.decide(-30_000);
            assert!((0..=20_000).contains(&power), "{power}");
            storage.count(power, SLOT);
        }
        assert!(storage.state_of_charge() <= 1.0);
        assert!(storage.state_of_charge() > 0.999_99);
        assert!(storage.decide(-30_000) <= 1);
    }

    #[test]
    fn whoever_steers_it_cannot_overfill_or_drain_it() {
        let mut storage = storage();
        let force = |power| Window { least_dw: power, most_dw: power };
        assert_eq!(storage.obey(5_000, force(-20_000), 60_000), 0, "it is empty");
        assert_eq!(storage.obey(5_000, force(30_000), 60_000), 20_000, "its rating");
        for _ in 0..200 {
            let power = storage.obey(5_000, force(20_000), 60_000);
            storage.count(power, 60_000);
            assert!(storage.state_of_charge() <= 1.0);
        }
        assert!(storage.state_of_charge() > 0.999);
        assert_eq!(storage.obey(0, force(-7_000), 60_000), -7_000);
        // A window that leaves it free is the house's need.
        let free = Window { least_dw: -20_000, most_dw: 20_000 };
        assert_eq!(storage.obey(1_234, free, 60_000), -1_234);
    }

    #[test]
    fn what_comes_out_is_what_went_in_times_both_efficiencies() {
        let mut storage = storage();
        let power = storage.decide(-10_000);
        storage.count(power, SLOT);
        let mut out = 0;
        for _ in 0..50 {
            let power = storage.decide(1_000);
            assert!((-1_000..=0).contains(&power), "{power}");
            storage.count(power, SLOT);
            out += power.unsigned_abs();
        }
        let expected = power.unsigned_abs() * 9_025 / 10_000;
        assert!(expected - out <= 1, "{out} of {expected}");
        assert!(storage.stored_fine() >= 0);
    }
}
