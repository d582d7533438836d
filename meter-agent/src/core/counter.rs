//! From a device's counter to a register that never runs backwards.
//!
//! Counters roll over, drop to zero while a device restarts, jitter by a digit, show garbage, are
//! reset and exchanged. Each look is one of these, and each but plain counting is an event that the
//! next reading tells of. What is booked is only what the counter itself proves to have flowed and a
//! connection of the declared size can have moved in the time; everything else is held back until it
//! is plain what it is, and no change of the baseline invents energy.

use std::collections::VecDeque;

use protocol::EventKind;
use serde::{Deserialize, Serialize};
use units::Slot;

use super::sample::Count;
use crate::device::Resets;

/// A drop of up to this much is noise in the last digits, mWh.
const JITTER_MWH: i64 = 100_000;
/// An impossible value has to stay for so many looks …
const STAYS_LOOKS: u32 = 3;
/// … and for so long, milliseconds, before counting goes on from it.
const STAYS_MS: i64 = 300_000;
/// Zero on its own is no new baseline before a day is over: inverters show it all night.
const ZERO_STAYS_MS: i64 = 24 * 3_600_000;
/// A counter that was given up and comes back within a week is the old one.
const RETURNS_MS: i64 = 7 * 24 * 3_600_000;
/// Believed values that are remembered, to tell a blip that went up from a counter that fell.
const REMEMBERED: usize = 8;

/// The state of one register, as it is kept with every reading.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counter {
    /// What the device showed last and was believed, mWh.
    pub raw_mwh: i64,
    /// The register, mWh.
    pub total_mwh: i64,
    /// When the device's value last moved, Unix milliseconds.
    pub moved_ms: i64,
    /// Which device it is, by its own word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
    /// What impossible jumps were about, put aside until the owner says that they were true, mWh.
    #[serde(default)]
    pub aside_mwh: i64,
    /// The counter before it was given up, in case it comes back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub former: Option<Former>,
}

/// A counter that was given up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Former {
    /// What it showed last and was believed, mWh.
    pub raw_mwh: i64,
    /// The register then, mWh.
    pub total_mwh: i64,
    /// When it last moved, Unix milliseconds.
    pub moved_ms: i64,
    /// What was aside then, mWh.
    pub aside_mwh: i64,
}

impl Counter {
    /// A register that starts with what the device shows.
    #[must_use]
    pub const fn starting(raw_mwh: i64, now_ms: i64) -> Self {
        Self {
            raw_mwh,
            total_mwh: raw_mwh,
            moved_ms: now_ms,
            identity: None,
            aside_mwh: 0,
            former: None,
        }
    }
}

/// Bounds on what can be true.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// The most the connection can carry, W.
    pub limit_w: i64,
    /// How much older than it seems the last change may be, milliseconds: the device changes its
    /// counter between two looks, and a street that is stepped by hand moves a slot at once.
    pub slack_ms: i64,
}

impl Bounds {
    /// The most that can have flowed in the time, with a fifth on top, mWh.
    fn possible_mwh(self, elapsed_ms: i64) -> i64 {
        let span_ms = elapsed_ms.max(0).saturating_add(self.slack_ms);
        let mwh = i128::from(self.limit_w) * i128::from(span_ms) / 3_600 * 12 / 10;
        i64::try_from(mwh).unwrap_or(i64::MAX)
    }
}

/// How far a register can be used after a look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It is what flowed.
    Right,
    /// The counter stands below what it has shown: the register waits for it.
    Clamped,
    /// Not believed yet; the register stands still and must not be settled on.
    Held(String),
    /// It is right from here on; what flowed before is not known to the last.
    Rebased,
}

/// What to make of a look at a counter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    /// How far the register can be used.
    pub standing: Standing,
    /// What happened, and what the device showed before and after; none for plain counting.
    pub event: Option<(EventKind, i64, i64)>,
}

impl Look {
    /// Plain counting.
    #[must_use]
    pub const fn right() -> Self {
        Self { standing: Standing::Right, event: None }
    }

    /// Counting goes on from another value, and nobody has to be told.
    #[must_use]
    pub const fn rebased() -> Self {
        Self { standing: Standing::Rebased, event: None }
    }
}

/// A counter and what is suspicious about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watched {
    counter: Counter,
    suspect: Option<Suspect>,
    recent: VecDeque<(i64, i64)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Suspect {
    raw_mwh: i64,
    since_ms: i64,
    last_ms: i64,
    looks: u32,
}

impl Watched {
    /// A register that goes on where a journal left it, or starts.
    #[must_use]
    pub const fn resume(counter: Counter) -> Self {
        Self { counter, suspect: None, recent: VecDeque::new() }
    }

    /// The state to keep.
    #[must_use]
    pub const fn counter(&self) -> &Counter {
        &self.counter
    }

    /// The register in whole Wh (rounded to the nearest; never decreasing).
    #[must_use]
    pub const fn wh(&self) -> i64 {
        (self.counter.total_mwh + 500).div_euclid(1_000)
    }

    /// Takes a look at a count, which is not negative.
    pub fn look(
        &mut self,
        count: Count,
        identity: Option<&str>,
        now_ms: i64,
        bounds: Bounds,
    ) -> Look {
        let known = self.counter.identity.as_deref();
        if identity.is_some() && identity != known {
            let is_other = known.is_some();
            self.counter.identity = identity.map(ToOwned::to_owned);
            if is_other {
                // Another device has nothing to do with what the one before showed.
                (self.counter.former, self.counter.aside_mwh) = (None, 0);
                return self.rebase(EventKind::Exchange, count.mwh, now_ms);
            }
        }
        let Counter { raw_mwh, moved_ms, .. } = self.counter;
        let possible = bounds
            .possible_mwh(now_ms - moved_ms)
            .saturating_add(count.resolution_mwh.unwrap_or(0));
        let step = count.mwh.saturating_sub(raw_mwh);
        if step == 0 {
            self.suspect = None;
            return Look::right();
        }
        if let Some(look) = self.returns(count.mwh, now_ms, bounds) {
            return look;
        }
        if (0..=possible).contains(&step) {
            return self.book(count.mwh, step, now_ms);
        }
        if let Some(look) = self.starts_again(count, possible, now_ms) {
            return look;
        }
        if count.mwh > 0 && self.is_dip(count.mwh, now_ms, bounds) {
            self.suspect = None;
            let event = Some((EventKind::Dip, raw_mwh, count.mwh));
            return Look { standing: Standing::Clamped, event };
        }
        self.hold(count.mwh, now_ms, bounds)
    }

    /// Counting goes on from a value that has nothing to do with the ones before: the summing up of
    /// power begins anew with the process.
    pub fn begin_anew(&mut self, raw_mwh: i64, now_ms: i64) {
        (self.counter.raw_mwh, self.counter.moved_ms) = (raw_mwh, now_ms);
        (self.counter.former, self.suspect) = (None, None);
        self.recent.clear();
    }

    /// The other register of the meter starts anew from here, so this one does: what it shows has
    /// nothing to do with what it showed. Nothing is booked, and the way back stays open.
    pub fn follow(&mut self, kind: EventKind, raw_mwh: i64, now_ms: i64) -> Look {
        let from = self.counter.raw_mwh;
        self.remember();
        if kind == EventKind::Jump && raw_mwh > from {
            self.counter.aside_mwh = self.counter.aside_mwh.saturating_add(raw_mwh - from);
        }
        let look = self.rebase(kind, raw_mwh, now_ms);
        Look { event: look.event.filter(|_| raw_mwh != from), ..look }
    }

    /// The other register of the meter is the old one again, so this one is: what it advanced is
    /// counted from where it was given up.
    pub fn follow_back(&mut self, raw_mwh: i64, now_ms: i64, bounds: Bounds) -> Option<Look> {
        let former = self.counter.former.clone()?;
        self.resume_former(&former, raw_mwh, now_ms, bounds)
    }

    /// Whether a value that cannot be true was seen before and stays, or is a zero.
    #[must_use]
    pub fn is_steady(&self) -> bool {
        self.suspect.is_some_and(|suspect| suspect.raw_mwh == 0 || suspect.looks >= 2)
    }

    /// The owner says that the jumps were true; returns what was put aside and is counted now.
    pub fn confirm(&mut self) -> i64 {
        let aside = std::mem::take(&mut self.counter.aside_mwh);
        self.counter.total_mwh = self.counter.total_mwh.saturating_add(aside);
        self.counter.former = None;
        aside
    }

    fn book(&mut self, raw_mwh: i64, step: i64, now_ms: i64) -> Look {
        self.recent.push_back((self.counter.raw_mwh, self.counter.moved_ms));
        if self.recent.len() > REMEMBERED {
            self.recent.pop_front();
        }
        self.counter.raw_mwh = raw_mwh;
        self.counter.total_mwh = self.counter.total_mwh.saturating_add(step);
        self.counter.moved_ms = now_ms;
        self.suspect = None;
        Look::right()
    }

    /// A counter that was given up shows itself again: what it advanced since is counted, and what
    /// the wrong one made of it is left out where that can still be done.
    fn returns(&mut self, raw_mwh: i64, now_ms: i64, bounds: Bounds) -> Option<Look> {
        let former = self.counter.former.clone()?;
        let elapsed_ms = now_ms - former.moved_ms;
        if elapsed_ms > RETURNS_MS {
            self.counter.former = None;
            return None;
        }
        let before = self.counter.raw_mwh;
        let crosses = before < former.raw_mwh || raw_mwh < before;
        if crosses { self.resume_former(&former, raw_mwh, now_ms, bounds) } else { None }
    }

    fn resume_former(
        &mut self,
        former: &Former,
        raw_mwh: i64,
        now_ms: i64,
        bounds: Bounds,
    ) -> Option<Look> {
        let before = self.counter.raw_mwh;
        let advanced = raw_mwh.saturating_sub(former.raw_mwh);
        if !(0..=bounds.possible_mwh(now_ms - former.moved_ms)).contains(&advanced) {
            return None;
        }
        self.counter.former = None;
        let total = former.total_mwh.saturating_add(advanced);
        self.counter.total_mwh = self.counter.total_mwh.max(total);
        self.counter.aside_mwh = former.aside_mwh;
        (self.counter.raw_mwh, self.counter.moved_ms) = (raw_mwh, now_ms);
        self.suspect = None;
        self.recent.clear();
        let event = Some((EventKind::Return, before, raw_mwh));
        Some(Look { standing: Standing::Rebased, event })
    }

    /// It passed its end, or the hour came at which it starts again every day.
    fn starts_again(&mut self, count: Count, possible: i64, now_ms: i64) -> Option<Look> {
        let before = self.counter.raw_mwh;
        let (kind, step) = match (count.rolls_over_at, count.resets) {
            // Zero itself is what a restarting device shows: the next step tells the two apart.
            (Some(modulus), _) if before > modulus / 10 * 9 && count.mwh > 0 => {
                (EventKind::Rollover, count.mwh - before + modulus)
            }
            (_, Resets::Daily) if count.mwh < before => (EventKind::Reset, count.mwh),
            _ => return None,
        };
        if !(0..=possible).contains(&step) {
            return None;
        }
        let Look { standing, .. } = self.book(count.mwh, step, now_ms);
        self.recent.clear();
        Some(Look { standing, event: Some((kind, before, count.mwh)) })
    }

    /// Whether a value below the last one is noise, or a continuation of one before it that was
    /// followed by a blip.
    fn is_dip(&self, raw_mwh: i64, now_ms: i64, bounds: Bounds) -> bool {
        let drop = self.counter.raw_mwh.saturating_sub(raw_mwh);
        let continues = |&(earlier_mwh, at_ms): &(i64, i64)| {
            let possible = bounds.possible_mwh(now_ms - at_ms);
            (0..=possible).contains(&(raw_mwh - earlier_mwh))
        };
        drop > 0 && (drop <= JITTER_MWH || self.recent.iter().any(continues))
    }

    fn hold(&mut self, raw_mwh: i64, now_ms: i64, bounds: Bounds) -> Look {
        let before = self.suspect.filter(|suspect| {
            let step = raw_mwh.saturating_sub(suspect.raw_mwh);
            (0..=bounds.possible_mwh(now_ms - suspect.last_ms)).contains(&step)
        });
        let (since_ms, looks) = before.map_or((now_ms, 1), |s| (s.since_ms, s.looks + 1));
        let from = self.counter.raw_mwh;
        let stays_ms = if raw_mwh == 0 { ZERO_STAYS_MS } else { STAYS_MS };
        if looks >= STAYS_LOOKS && now_ms - since_ms >= stays_ms {
            return self.give_up(raw_mwh, now_ms);
        }
        self.suspect = Some(Suspect { raw_mwh, since_ms, last_ms: now_ms, looks });
        let kind = if raw_mwh == 0 { EventKind::Zero } else { EventKind::Implausible };
        let why = format!(
            "the counter went from {from} to {raw_mwh} mWh, which this connection cannot have moved"
        );
        Look { standing: Standing::Held(why), event: Some((kind, from, raw_mwh)) }
    }

    /// An impossible value has stayed: counting goes on from it, and the way back stays open.
    fn give_up(&mut self, raw_mwh: i64, now_ms: i64) -> Look {
        let Counter { raw_mwh: from, aside_mwh, .. } = self.counter;
        self.remember();
        if raw_mwh < from {
            return self.rebase(EventKind::Reset, raw_mwh, now_ms);
        }
        self.counter.aside_mwh = aside_mwh.saturating_add(raw_mwh - from);
        self.rebase(EventKind::Jump, raw_mwh, now_ms)
    }

    /// Keeps where the counter stands, in case that it comes back.
    fn remember(&mut self) {
        let Counter { raw_mwh, total_mwh, moved_ms, aside_mwh, .. } = self.counter;
        self.counter.former.get_or_insert(Former { raw_mwh, total_mwh, moved_ms, aside_mwh });
    }

    fn rebase(&mut self, kind: EventKind, raw_mwh: i64, now_ms: i64) -> Look {
        let before = self.counter.raw_mwh;
        (self.counter.raw_mwh, self.counter.moved_ms) = (raw_mwh, now_ms);
        self.suspect = None;
        self.recent.clear();
        Look { standing: Standing::Rebased, event: Some((kind, before, raw_mwh)) }
    }
}

/// What a street that is stepped by hand can move between two looks: a slot.
pub const HAND_SLACK_MS: i64 = Slot::LENGTH_MS;

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { limit_w: 40_000, slack_ms: 60_000 };
    const KWH: i64 = 1_000_000;

    fn count(mwh: i64) -> Count {
        Count { mwh, rolls_over_at: None, resolution_mwh: None, resets: Resets::Never }
    }

    fn starting(raw_mwh: i64) -> Watched {
        Watched::resume(Counter::starting(raw_mwh, 0))
    }

    /// Looks at (seconds, raw mWh) one after another; the booked mWh, the last standing, and the
    /// kinds of events in their order without repetitions.
    fn after(start: i64, traits: Count, looks: &[(i64, i64)]) -> (i64, Standing, Vec<EventKind>) {
        let mut watched = starting(start);
        let (mut last, mut kinds) = (Standing::Right, Vec::new());
        for &(second, mwh) in looks {
            let look = watched.look(Count { mwh, ..traits }, None, second * 1_000, BOUNDS);
            kinds.extend(look.event.map(|(kind, ..)| kind));
            last = look.standing;
        }
        kinds.dedup();
        (watched.counter().total_mwh - start, last, kinds)
    }

    type Case<'a> = (&'a str, Count, &'a [(i64, i64)], i64, Standing, &'a [EventKind]);

    fn check(start: i64, cases: &[Case<'_>]) {
        for (name, traits, looks, booked, standing, events) in cases {
            let found = after(start, *traits, looks);
            assert_eq!(found, (*booked, standing.clone(), events.to_vec()), "{name}");
        }
    }

    #[test]
    fn what_passes_by_is_named_and_everything_that_flowed_is_booked() {
        use EventKind::{Dip, Implausible, Reset, Zero};
        let plain = count(0);
        let daily = Count { resets: Resets::Daily, ..plain };
        let at = 10 * KWH;
        let right = || Standing::Right;
        let blip = [(10, at + 20), (20, at + 600_020), (30, at + 40), (900, at + 700_000)];
        check(
            at,
            &[
                ("plain", plain, &[(1, at + 5), (2, at + 7)], 7, right(), &[]),
                ("a gap of a day", plain, &[(86_400, 6 * at)], 5 * at, right(), &[]),
                ("zero", plain, &[(1, 0), (2, 0), (3, at + 900)], 900, right(), &[Zero]),
                ("a digit back", plain, &[(1, at - 100)], 0, Standing::Clamped, &[Dip]),
                ("and on", plain, &[(1, at - 100), (2, at + 50)], 50, right(), &[Dip]),
                ("a blip that went up", plain, &blip, 700_000, right(), &[Dip]),
                ("wild", plain, &[(1, 999 * at), (2, at + 1)], 1, right(), &[Implausible]),
                ("midnight", daily, &[(60, 90)], 90, right(), &[Reset]),
            ],
        );
    }

    #[test]
    fn a_counter_rolls_over_where_its_digits_end() {
        use EventKind::{Rollover, Zero};
        let modulo = |modulus| Count { rolls_over_at: Some(modulus), ..count(0) };
        // 32 bits of Wh, 23 bits of 0.1 Wh, 24 bits of Wh.
        for modulus in [4_294_967_296_000, 838_860_800, 16_777_216_000] {
            let right = || Standing::Right;
            let traits = modulo(modulus);
            check(
                modulus - 300,
                &[
                    ("at once", traits, &[(1, 200)], 500, right(), &[Rollover]),
                    ("over zero", traits, &[(1, 0), (2, 9)], 309, right(), &[Zero, Rollover]),
                    ("zero and back", traits, &[(1, 0), (2, modulus - 1)], 299, right(), &[Zero]),
                ],
            );
        }
    }

    #[test]
    fn what_stays_is_a_new_beginning_until_the_old_one_returns() {
        use EventKind::{Implausible, Jump, Reset, Return};
        let (plain, at) = (count(0), 10 * KWH);
        let drop = [1, 101, 201, 301].map(|second| (second, 499 + second)).to_vec();
        let jump = [1, 100, 200, 301].map(|second| (second, 900 * KWH + second)).to_vec();
        let then = |looks: &[(i64, i64)], more| [looks.to_vec(), vec![more]].concat();
        let (new, right) = (Standing::Rebased, Standing::Right);
        let goes_on = then(&drop, (310, 890));
        let drop_back = then(&drop, (400, at + 900));
        let jump_back = then(&jump, (400, at + 7));
        check(
            at,
            &[
                ("a drop", plain, &drop, 0, new.clone(), &[Implausible, Reset]),
                ("which counts", plain, &goes_on, 90, right, &[Implausible, Reset]),
                ("and back", plain, &drop_back, 900, new.clone(), &[Implausible, Reset, Return]),
                ("a jump", plain, &jump, 0, new.clone(), &[Implausible, Jump]),
                ("and back", plain, &jump_back, 7, new, &[Implausible, Jump, Return]),
            ],
        );
    }

    #[test]
    fn garbage_is_held_and_never_booked() {
        for raw in [0, 9 * KWH, 60 * KWH, i64::MAX / 4, i64::MAX] {
            let (energy, standing, _) = after(10 * KWH, count(0), &[(1, raw)]);
            assert_eq!(energy, 0);
            assert!(matches!(standing, Standing::Held(_)), "{raw}");
        }
        // Three looks within seconds are a restart, not a reset; and zero is none for a day.
        let zeros = [0, 1, 2, 3, 600, 86_000].map(|second| (second, 0));
        assert!(matches!(after(10 * KWH, count(0), &zeros).1, Standing::Held(_)));
        let day = [0, 1, 86_400].map(|second| (second, 0));
        assert_eq!(after(10 * KWH, count(0), &day).1, Standing::Rebased);
        // A counter in the middle of its range does not roll over.
        let modulus = Count { rolls_over_at: Some(100 * KWH), ..count(0) };
        assert!(matches!(after(50 * KWH, modulus, &[(1, 200)]).1, Standing::Held(_)));
    }

    #[test]
    fn another_serial_number_is_another_meter() {
        let mut watched = starting(10 * KWH);
        let mut look = |mwh, identity, second: i64| {
            let look = watched.look(count(mwh), identity, second * 1_000, BOUNDS);
            (watched.counter().total_mwh - 10 * KWH, look.event)
        };
        assert_eq!(look(10 * KWH + 5, Some("A1"), 1), (5, None));
        assert_eq!(look(10 * KWH + 6, None, 2), (6, None), "not read this time");
        // Even one that shows nearly the same.
        let exchange = Some((EventKind::Exchange, 10 * KWH + 6, 10 * KWH + 9));
        assert_eq!(look(10 * KWH + 9, Some("B2"), 3), (6, exchange));
        assert_eq!(look(10 * KWH + 19, Some("B2"), 4), (16, None));
        assert_eq!(look(4, Some("C3"), 5), (16, Some((EventKind::Exchange, 10 * KWH + 19, 4))));
        assert_eq!(look(10, Some("C3"), 6), (22, None));
    }

    #[test]
    fn a_jump_is_counted_when_the_owner_says_so() {
        let mut watched = starting(KWH);
        for second in [1, 100, 200, 301] {
            watched.look(count(900 * KWH), None, second * 1_000, BOUNDS);
        }
        assert_eq!((watched.counter().total_mwh, watched.counter().aside_mwh), (KWH, 899 * KWH));
        assert_eq!(watched.confirm(), 899 * KWH);
        assert_eq!((watched.counter().total_mwh, watched.confirm()), (900 * KWH, 0));
        watched.look(count(900 * KWH + 3), None, 302_000, BOUNDS);
        assert_eq!(watched.counter().total_mwh, 900 * KWH + 3);
    }

    #[test]
    fn a_coarse_register_may_step_by_its_resolution() {
        // 62.5 kWh at once would be impossible, were it not one step of a float.
        let coarse = Count { resolution_mwh: Some(62_500_000), ..count(0) };
        assert_eq!(after(KWH, coarse, &[(1, KWH + 62_500_000)]).0, 62_500_000);
        assert_eq!(after(KWH, count(0), &[(1, KWH + 62_500_000)]).0, 0);
    }

    /// A fault of the device or of the way to it.
    #[derive(Debug, Clone, Copy)]
    enum Fault {
        None,
        Zero,
        Silence,
        Wild,
        Low,
        Jitter,
        Restart,
    }

    fn faults() -> impl proptest::strategy::Strategy<Value = Vec<(Fault, i64, i64)>> {
        use Fault::{Jitter, Low, None, Restart, Silence, Wild, Zero};
        let kind =
            proptest::sample::select(vec![None, None, Zero, Silence, Wild, Low, Jitter, Restart]);
        // A fault, for how many looks it lasts, and what flows in each of them.
        proptest::collection::vec((kind, 1..60_i64, 0..100_000_i64), 1..40)
    }

    proptest::proptest! {
        /// Whatever lies between, no more is booked than flowed, and all of it once the counter is
        /// seen as it is; however often it rolled over.
        #[test]
        fn faults_neither_add_nor_lose_energy(faults in faults(), wraps in proptest::bool::ANY) {
            let modulus = 40 * KWH;
            let start = if wraps { modulus - KWH } else { 20 * KWH };
            let shown = |true_mwh: i64| if wraps { true_mwh % modulus } else { true_mwh };
            let traits = Count { rolls_over_at: wraps.then_some(modulus), ..count(0) };
            let mut watched = starting(start);
            let (mut true_mwh, mut now_ms) = (start, 0);
            for (fault, looks, step) in faults {
                for _ in 0..looks {
                    true_mwh += step;
                    now_ms += 10_000;
                    let mwh = match fault {
                        Fault::None => shown(true_mwh),
                        Fault::Zero => 0,
                        Fault::Silence => continue,
                        Fault::Wild => 900_000 * KWH + true_mwh,
                        // Just before the end nobody can tell a small number from a rollover.
                        Fault::Low if wraps => continue,
                        Fault::Low => 3 + step,
                        Fault::Jitter => (shown(true_mwh) - step % JITTER_MWH).max(1),
                        Fault::Restart => {
                            watched = Watched::resume(watched.counter().clone());
                            shown(true_mwh)
                        }
                    };
                    watched.look(Count { mwh, ..traits }, None, now_ms, BOUNDS);
                    proptest::prop_assert!(watched.counter().total_mwh <= true_mwh);
                }
            }
            if !wraps {
                watched.look(Count { mwh: true_mwh, ..traits }, None, now_ms + 1, BOUNDS);
                proptest::prop_assert_eq!(watched.counter().total_mwh, true_mwh);
            }
        }
    }
}
