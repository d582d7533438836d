//! From a device's counter to a register that never runs backwards.
//!
//! Counters roll over, drop to zero while a device restarts, jitter by a digit, show garbage, and
//! are exchanged. The register carried here books only what a connection of the declared size can
//! have moved in the time; anything else is held back until it is plain what it is, and an exchange
//! moves the baseline without inventing energy.

use serde::{Deserialize, Serialize};
use units::Slot;

use super::sample::Count;

/// A drop of up to this much is noise in the last digits, mWh.
const JITTER_MWH: i64 = 100_000;
/// An implausible value has to stay for so many looks …
const EXCHANGE_LOOKS: u32 = 3;
/// … and for so long, milliseconds, before it counts as a new baseline.
const EXCHANGE_MS: i64 = 300_000;

/// The state of one register, as it is kept with every reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counter {
    /// What the device showed last and was believed, mWh.
    pub raw_mwh: i64,
    /// The register, mWh.
    pub total_mwh: i64,
    /// When the device's value last moved, Unix milliseconds.
    pub moved_ms: i64,
}

/// What to make of a look at a counter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Look {
    /// Booked; the register is right.
    Plain,
    /// Not believed yet; the register stands still and must not be settled on.
    Held(String),
    /// Given up: the counter was exchanged or reset; counting goes on from the new value.
    Exchanged(String),
}

/// A counter and what is suspicious about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watched {
    counter: Counter,
    suspect: Option<Suspect>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Suspect {
    raw_mwh: i64,
    since_ms: i64,
    last_ms: i64,
    looks: u32,
}

impl Watched {
    /// A register that starts with what the device shows.
    #[must_use]
    pub const fn new(count: Count, now_ms: i64) -> Self {
        let counter = Counter { raw_mwh: count.mwh, total_mwh: count.mwh, moved_ms: now_ms };
        Self { counter, suspect: None }
    }

    /// A register that goes on where a journal left it.
    #[must_use]
    pub const fn resume(counter: Counter) -> Self {
        Self { counter, suspect: None }
    }

    /// The state to keep.
    #[must_use]
    pub const fn counter(&self) -> Counter {
        self.counter
    }

    /// Whether the last look was held back.
    #[must_use]
    pub const fn is_suspect(&self) -> bool {
        self.suspect.is_some()
    }

    /// The register in whole Wh (rounded to the nearest; never decreasing).
    #[must_use]
    pub const fn wh(&self) -> i64 {
        (self.counter.total_mwh + 500).div_euclid(1_000)
    }

    /// Takes a look. `limit_w` is the most the connection can carry.
    pub fn look(&mut self, count: Count, now_ms: i64, limit_w: i64) -> Look {
        let Counter { raw_mwh, moved_ms, .. } = self.counter;
        let possible = possible_mwh(limit_w, now_ms - moved_ms);
        let step = count.mwh - raw_mwh;
        if step == 0 {
            self.suspect = None;
            return Look::Plain;
        }
        if (0..=possible).contains(&step) {
            return self.book(count.mwh, step, now_ms);
        }
        if let Some(modulus) = count.rolls_over_at {
            let around = step + modulus;
            if raw_mwh > modulus / 10 * 9 && (0..=possible).contains(&around) {
                return self.book(count.mwh, around, now_ms);
            }
        }
        if (-JITTER_MWH..0).contains(&step) && count.mwh > 0 {
            self.suspect = None;
            return Look::Plain;
        }
        self.hold(count.mwh, now_ms, limit_w)
    }

    fn book(&mut self, raw_mwh: i64, step: i64, now_ms: i64) -> Look {
        self.counter.raw_mwh = raw_mwh;
        self.counter.total_mwh = self.counter.total_mwh.saturating_add(step);
        self.counter.moved_ms = now_ms;
        self.suspect = None;
        Look::Plain
    }

    fn hold(&mut self, raw_mwh: i64, now_ms: i64, limit_w: i64) -> Look {
        let before = self.suspect.filter(|suspect| {
            let step = raw_mwh - suspect.raw_mwh;
            (0..=possible_mwh(limit_w, now_ms - suspect.last_ms)).contains(&step)
        });
        let (since_ms, looks) = before.map_or((now_ms, 1), |s| (s.since_ms, s.looks + 1));
        let from = self.counter.raw_mwh;
        if looks >= EXCHANGE_LOOKS && now_ms - since_ms >= EXCHANGE_MS {
            self.counter.raw_mwh = raw_mwh;
            self.counter.moved_ms = now_ms;
            self.suspect = None;
            return Look::Exchanged(format!(
                "the counter went from {from} to {raw_mwh} mWh and stayed there: counting goes on \
                 from the new value, what flowed in between is not booked"
            ));
        }
        self.suspect = Some(Suspect { raw_mwh, since_ms, last_ms: now_ms, looks });
        Look::Held(format!(
            "the counter went from {from} to {raw_mwh} mWh, which this connection cannot have moved"
        ))
    }
}

/// The most that can have flowed, with a slot to spare and a fifth on top: the time of the last
/// change is only known to a poll, and a street that is stepped by hand moves a slot at once.
fn possible_mwh(limit_w: i64, elapsed_ms: i64) -> i64 {
    let span_ms = elapsed_ms.max(0).saturating_add(Slot::LENGTH_MS);
    let mwh = i128::from(limit_w) * i128::from(span_ms) / 3_600 * 12 / 10;
    i64::try_from(mwh).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT_W: i64 = 40_000;
    const KWH: i64 = 1_000_000;

    /// Looks at (seconds, raw mWh) one after another; returns the booked mWh and the last look.
    fn after(start: i64, modulus: Option<i64>, looks: &[(i64, i64)]) -> (i64, Look) {
        let mut watched = Watched::new(Count { mwh: start, rolls_over_at: modulus }, 0);
        let mut last = Look::Plain;
        for &(second, mwh) in looks {
            last = watched.look(Count { mwh, rolls_over_at: modulus }, second * 1_000, LIMIT_W);
        }
        (watched.counter().total_mwh - start, last)
    }

    #[test]
    fn only_what_is_possible_is_booked() {
        let booked = |looks: &[(i64, i64)]| {
            let (energy, look) = after(10 * KWH, None, looks);
            assert_eq!(look, Look::Plain, "{looks:?}");
            energy
        };
        assert_eq!(booked(&[(1, 10 * KWH)]), 0);
        assert_eq!(booked(&[(1, 10 * KWH + 5), (2, 10 * KWH + 7)]), 7);
        // A gap of a day with a plausible amount is bridged.
        assert_eq!(booked(&[(86_400, 60 * KWH)]), 50 * KWH);
        // A digit back is noise: the high-water mark stands.
        assert_eq!(booked(&[(1, 10 * KWH - 100), (2, 10 * KWH + 50)]), 50);
        // Zero while the device restarts: what flowed meanwhile is booked once it is back.
        assert_eq!(booked(&[(1, 0), (2, 0), (3, 10 * KWH + 900)]), 900);
    }

    #[test]
    fn garbage_is_held_and_never_booked() {
        for raw in [0, 9 * KWH, 10 * KWH + 50 * KWH, i64::MAX / 4] {
            let (energy, look) = after(10 * KWH, None, &[(1, raw)]);
            assert_eq!(energy, 0);
            assert!(matches!(look, Look::Held(_)), "{raw}");
        }
        // A single wild value does not disturb what follows.
        assert_eq!(after(10 * KWH, None, &[(1, 9_999 * KWH), (2, 10 * KWH + 1)]).0, 1);
    }

    #[test]
    fn an_exchange_moves_the_baseline_without_energy() {
        let stays = [(0, 500), (100, 600), (200, 650), (300, 700)];
        let (energy, look) = after(10 * KWH, None, &stays);
        assert_eq!(energy, 0);
        assert!(matches!(look, Look::Exchanged(_)), "{look:?}");
        let mut goes_on = stays.to_vec();
        goes_on.push((301, 790));
        assert_eq!(after(10 * KWH, None, &goes_on), (90, Look::Plain));
        // Three looks within seconds are a restart, not an exchange.
        let (_, look) = after(10 * KWH, None, &[(0, 0), (1, 0), (2, 0), (3, 0)]);
        assert!(matches!(look, Look::Held(_)));
    }

    #[test]
    fn a_counter_may_roll_over() {
        let modulus = 4_294_967_296_000;
        let near = modulus - 300;
        assert_eq!(after(near, Some(modulus), &[(1, 200)]), (500, Look::Plain));
        assert!(matches!(after(near, None, &[(1, 200)]).1, Look::Held(_)));
        assert!(matches!(after(modulus / 2, Some(modulus), &[(1, 200)]).1, Look::Held(_)));
    }

    proptest::proptest! {
        /// Whatever glitches lie between, no more is booked than flowed, and all of it once the
        /// counter is seen as it is.
        #[test]
        fn glitches_neither_add_nor_lose_energy(
            looks in proptest::collection::vec((0..4_u8, 0..10_000_i64), 1..60),
        ) {
            let start = 50 * KWH;
            let mut watched = Watched::new(Count { mwh: start, rolls_over_at: None }, 0);
            let (mut true_mwh, mut now_ms) = (start, 0);
            for (kind, step) in looks {
                true_mwh += step;
                now_ms += 1_000;
                let seen = match kind {
                    0 => true_mwh,
                    1 => 0,
                    2 => true_mwh + 500 * KWH + step,
                    _ => true_mwh - step.min(JITTER_MWH),
                };
                watched.look(Count { mwh: seen, rolls_over_at: None }, now_ms, LIMIT_W);
                proptest::prop_assert!(watched.counter().total_mwh <= true_mwh);
            }
            watched.look(Count { mwh: true_mwh, rolls_over_at: None }, now_ms + 1, LIMIT_W);
            proptest::prop_assert_eq!(watched.counter().total_mwh, true_mwh);
        }
    }
}
