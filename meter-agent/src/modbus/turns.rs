//! Whose turn it is on a line: slot edges first, then the household's polls, then guests; and how
//! much of the line's time a unit may take from the others. Time is an argument.
//!
//! A unit that answers may take its part of the time (one over the number of units, never less than a
//! tenth); when it has taken more, it waits, and the others go on. A unit that is silent is left alone
//! for 2, 4, 8 … 300 s, about half of it by chance, and all silent units together get a tenth of the
//! time. The first silence costs nothing: that is a lost frame, and the next poll tries again.
//!
//! Guests have lanes of their own: what they ask for and get no answer to is not held against the
//! unit, and the time they take, they take from nobody who has something to ask.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::chance::Chance;

/// First and longest time that a silent unit is left alone.
const ALONE: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(300));
/// The longest when it takes the time from nobody.
const ALONE_WITHOUT_NEIGHBOURS: Duration = Duration::from_secs(30);
/// The part of the line's time that all silent units get together, per mille, and the least that a
/// unit which answers gets.
const TENTH: u64 = 100;
/// Most time that can be saved up, and most that can be owed.
const MOST_SAVED: Duration = Duration::from_secs(10);
const MOST_OWED: Duration = Duration::from_secs(30);
/// A try at a slot edge that would be shorter is not made.
const SHORTEST_TRY: Duration = Duration::from_millis(50);

/// How urgent a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rank {
    /// The meter's registers at the end of a slot.
    MeterEdge,
    /// Other registers at the end of a slot.
    Edge,
    /// A setpoint.
    Steer,
    /// The household's own poll.
    Poll,
    /// Somebody else reads through us.
    Guest,
}

impl Rank {
    const fn key(self, unit: u8) -> Key {
        (unit, matches!(self, Self::Guest))
    }

    const fn is_edge(self) -> bool {
        matches!(self, Self::MeterEdge | Self::Edge)
    }
}

/// Time on the line that may be taken; it grows at a rate.
#[derive(Debug, Clone)]
struct Allowance {
    /// Microseconds; negative when more was taken.
    left_us: i64,
    since: Instant,
}

impl Allowance {
    const fn full(now: Instant, left: Duration) -> Self {
        Self { left_us: micros(left), since: now }
    }

    /// Takes in what has grown since at `rate` per mille.
    fn grow(&mut self, now: Instant, rate: u64) {
        let grown = micros(now.duration_since(self.since)).saturating_mul(i64::from(rate as u32));
        self.left_us = self.left_us.saturating_add(grown / 1_000).min(micros(MOST_SAVED));
        self.since = now;
    }

    fn take(&mut self, spent: Duration) {
        self.left_us = self.left_us.saturating_sub(micros(spent)).max(-micros(MOST_OWED));
    }

    /// When `wanted` will be there; now when it is.
    fn ready(&self, now: Instant, wanted: Duration, rate: u64) -> Instant {
        let missing = micros(wanted.min(MOST_SAVED)).saturating_sub(self.left_us);
        match u64::try_from(missing) {
            Ok(missing) if missing > 0 => {
                now + Duration::from_micros(missing.saturating_mul(1_000) / rate.max(1))
            }
            _ => now,
        }
    }

    fn left(&self) -> Duration {
        Duration::from_micros(u64::try_from(self.left_us).unwrap_or(0))
    }
}

const fn micros(span: Duration) -> i64 {
    let micros = span.as_micros();
    if micros > i64::MAX as u128 { i64::MAX } else { micros as i64 }
}

/// A unit, as the household or as its guests ask it.
type Key = (u8, bool);

/// One unit's place on the line.
#[derive(Debug)]
struct Lane<J> {
    waiting: Vec<Waiting<J>>,
    /// Silences in a row.
    silences: u32,
    alone_until: Instant,
    /// When the last request ended.
    done: Instant,
    allowance: Allowance,
}

impl<J> Lane<J> {
    const fn is_silent(&self) -> bool {
        self.silences >= 2
    }
}

#[derive(Debug)]
struct Waiting<J> {
    rank: Rank,
    order: u64,
    not_before: Instant,
    timing: Timing,
    job: J,
}

/// How long a request may take, and how long the unit wants to be left alone before it.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// The answer may take so long.
    pub timeout: Duration,
    /// Since the answer before it.
    pub min_gap: Duration,
}

/// What to do next.
#[derive(Debug, PartialEq, Eq)]
pub enum Turn<J> {
    /// Ask, and wait for the answer so long at most.
    Go(J, Duration),
    /// Do not ask: the unit is left alone for so long.
    Refuse(J, Duration),
    /// Nothing before this time.
    Wait(Instant),
    /// Nothing waits.
    Idle,
}

/// The queue of a line.
#[derive(Debug)]
pub struct Turns<J> {
    lanes: BTreeMap<Key, Lane<J>>,
    /// For all silent units together.
    silence: Allowance,
    order: u64,
    chance: Chance,
}

impl<J> Turns<J> {
    /// An empty queue.
    pub fn new(now: Instant, chance: Chance) -> Self {
        let silence = Allowance::full(now, Duration::ZERO);
        Self { lanes: BTreeMap::new(), silence, order: 0, chance }
    }

    /// Queues a request. `not_before` may lie in the future: the unit has asked for patience.
    pub fn add(
        &mut self,
        unit: u8,
        rank: Rank,
        timing: Timing,
        job: J,
        now: Instant,
        not_before: Instant,
    ) {
        self.order += 1;
        let waiting = Waiting { rank, order: self.order, not_before, timing, job };
        self.lane(rank.key(unit), now).waiting.push(waiting);
    }

    fn lane(&mut self, key: Key, now: Instant) -> &mut Lane<J> {
        self.lanes.entry(key).or_insert_with(|| Lane {
            waiting: Vec::new(),
            silences: 0,
            alone_until: now,
            done: now,
            allowance: Allowance::full(now, MOST_SAVED / 5),
        })
    }

    /// Takes the next request out of the queue.
    pub fn next(&mut self, now: Instant) -> Turn<J> {
        let share = self.share();
        self.silence.grow(now, TENTH);
        for lane in self.lanes.values_mut() {
            lane.allowance.grow(now, share);
        }
        let mut wake: Option<Instant> = None;
        let own = self.lanes.keys().filter(|(_, guest)| !guest).count();
        let mut order: Vec<(Rank, u64, Key)> = self
            .lanes
            .iter()
            .flat_map(|(&key, lane)| lane.waiting.iter().map(move |w| (w.rank, w.order, key)))
            .collect();
        order.sort_unstable();
        for (rank, order, key) in order {
            let lane = &self.lanes[&key];
            let at = lane.waiting.iter().position(|w| w.order == order).expect("just listed");
            let waiting = &lane.waiting[at];
            let timeout = waiting.timing.timeout;
            let rested = waiting.not_before.max(self.done(key.0) + waiting.timing.min_gap);
            let ready = if lane.is_silent() {
                match self.admits(key, rank, timeout, now) {
                    Ok(limit) => return Turn::Go(self.remove(key, at), limit),
                    Err(wait) => return Turn::Refuse(self.remove(key, at), wait),
                }
            } else if rank.is_edge() || rank == Rank::Guest || own == 1 {
                rested
            } else {
                rested.max(lane.allowance.ready(now, Duration::ZERO, share))
            };
            if ready <= now {
                return Turn::Go(self.remove(key, at), timeout);
            }
            wake = Some(wake.map_or(ready, |wake| wake.min(ready)));
        }
        wake.map_or(Turn::Idle, Turn::Wait)
    }

    /// Whether a silent unit may be asked, and how long it has then; or how long it is left alone.
    fn admits(
        &self,
        key: Key,
        rank: Rank,
        timeout: Duration,
        now: Instant,
    ) -> Result<Duration, Duration> {
        let lane = &self.lanes[&key];
        if !self.has_neighbours(key) {
            return match lane.alone_until.checked_duration_since(now) {
                Some(wait) if !wait.is_zero() && !rank.is_edge() => Err(wait),
                _ => Ok(timeout),
            };
        }
        let wanted = if rank.is_edge() { SHORTEST_TRY } else { timeout };
        let paid = self.silence.ready(now, wanted, TENTH);
        let due = if rank.is_edge() { paid } else { paid.max(lane.alone_until) };
        match due.checked_duration_since(now) {
            Some(wait) if !wait.is_zero() => Err(wait),
            _ => Ok(timeout.min(self.silence.left().max(SHORTEST_TRY))),
        }
    }

    /// Whether other units answer, so that time on the line is worth something.
    fn has_neighbours(&self, key: Key) -> bool {
        self.lanes.iter().any(|(&other, lane)| other != key && !other.1 && lane.silences == 0)
    }

    /// When the unit was last asked by anybody.
    fn done(&self, unit: u8) -> Instant {
        let lanes = self.lanes.range((unit, false)..=(unit, true));
        lanes.map(|(_, lane)| lane.done).max().expect("the lane that asks is one of them")
    }

    fn share(&self) -> u64 {
        {
            let own = self.lanes.keys().filter(|(_, guest)| !guest).count() as u64;
            (1_000 / own.max(1)).max(TENTH)
        }
    }

    fn remove(&mut self, key: Key, at: usize) -> J {
        self.lanes.get_mut(&key).expect("just looked at").waiting.remove(at).job
    }

    /// Notes how a request went: what it took, and whether there was silence.
    pub fn note(&mut self, unit: u8, rank: Rank, now: Instant, spent: Duration, silent: bool) {
        let key = rank.key(unit);
        let neighbours = self.has_neighbours(key);
        let lane = self.lane(key, now);
        lane.allowance.take(spent);
        lane.done = now;
        if !silent {
            lane.silences = 0;
            return;
        }
        lane.silences = lane.silences.saturating_add(1);
        if let Some(times) = lane.silences.checked_sub(1).filter(|&times| times > 0) {
            let longest = if neighbours { ALONE.1 } else { ALONE_WITHOUT_NEIGHBOURS };
            let alone = self.chance.backoff(times, ALONE.0, longest);
            self.lane(key, now).alone_until = now + alone;
        }
        self.silence.take(spent);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_millis(1_000);
    const TIMING: Timing = Timing { timeout: TIMEOUT, min_gap: Duration::ZERO };
    const QUICK: Duration = Duration::from_millis(20);

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn turns(now: Instant) -> Turns<u8> {
        Turns::new(now, Chance::seeded(5))
    }

    #[test]
    fn edges_come_first_then_polls_then_guests_each_in_order() {
        let now = Instant::now();
        let mut turns = turns(now);
        for (job, unit, rank) in [
            (1, 1, Rank::Guest),
            (2, 1, Rank::Poll),
            (3, 2, Rank::Poll),
            (4, 2, Rank::Edge),
            (5, 1, Rank::MeterEdge),
            (6, 1, Rank::Poll),
        ] {
            turns.add(unit, rank, TIMING, job, now, now);
        }
        for expected in [5, 4, 2, 3, 6, 1] {
            assert_eq!(turns.next(now), Turn::Go(expected, TIMEOUT));
        }
        assert_eq!(turns.next(now), Turn::Idle);
    }

    #[test]
    fn a_unit_that_asks_for_patience_does_not_hold_up_the_others() {
        let now = Instant::now();
        let mut turns = turns(now);
        turns.add(1, Rank::Edge, TIMING, 1, now, now + ms(100));
        turns.add(2, Rank::Poll, TIMING, 2, now, now);
        assert_eq!(turns.next(now), Turn::Go(2, TIMEOUT));
        assert_eq!(turns.next(now), Turn::Wait(now + ms(100)));
        assert_eq!(turns.next(now + ms(100)), Turn::Go(1, TIMEOUT));
    }

    #[test]
    fn a_unit_is_left_alone_between_two_requests_for_as_long_as_it_wants() {
        let now = Instant::now();
        let mut turns = turns(now);
        turns.note(1, Rank::Poll, now, QUICK, false);
        let timing = Timing { min_gap: ms(70), ..TIMING };
        turns.add(1, Rank::MeterEdge, timing, 1, now, now);
        assert_eq!(turns.next(now), Turn::Wait(now + ms(70)));
        assert_eq!(turns.next(now + ms(70)), Turn::Go(1, TIMEOUT));
    }

    /// Polls of each unit in so many seconds, at one poll a second; a unit takes so long, and
    /// `None` means that it never answers.
    fn polls(units: &[Option<u64>], seconds: u64, neighbours_edge: bool) -> Vec<u64> {
        let start = Instant::now();
        let mut now = start;
        let mut turns = turns(start);
        let mut answered = vec![0; units.len()];
        let mut waiting = vec![false; units.len()];
        let mut second = 0;
        while now < start + Duration::from_secs(seconds) {
            while now >= start + Duration::from_secs(second) {
                for (unit, waits) in waiting.iter_mut().enumerate() {
                    let rank = if neighbours_edge { Rank::Edge } else { Rank::Poll };
                    if !std::mem::replace(waits, true) {
                        let unit = u8::try_from(unit).expect("few");
                        turns.add(unit, rank, TIMING, unit, now, now);
                    }
                }
                second += 1;
            }
            let next_second = start + Duration::from_secs(second);
            match turns.next(now) {
                Turn::Go(unit, limit) => {
                    let at = usize::from(unit);
                    let spent = units[at].map_or(limit, ms);
                    now += spent;
                    waiting[at] = false;
                    answered[at] += u64::from(units[at].is_some());
                    turns.note(unit, Rank::Poll, now, spent, units[at].is_none());
                }
                Turn::Refuse(unit, _) => waiting[usize::from(unit)] = false,
                Turn::Wait(until) => now = until.min(next_second),
                Turn::Idle => now = next_second,
            }
        }
        answered
    }

    #[test]
    fn two_silent_units_of_five_leave_the_others_nine_tenths_of_their_polls() {
        for edges in [false, true] {
            let answered = polls(&[Some(20), None, Some(20), None, Some(20)], 600, edges);
            for (unit, polls) in answered.into_iter().enumerate() {
                let silent = [1, 3].contains(&unit);
                assert!(silent || polls >= 540, "unit {unit}: {polls} of 600, edges {edges}");
            }
        }
    }

    #[test]
    fn what_guests_ask_for_in_vain_is_not_held_against_the_unit() {
        let now = Instant::now();
        let mut turns = turns(now);
        turns.note(1, Rank::Poll, now, QUICK, false);
        for _ in 0..3 {
            turns.note(1, Rank::Guest, now, TIMEOUT, true);
        }
        turns.add(1, Rank::Guest, TIMING, 1, now, now);
        turns.add(1, Rank::Poll, TIMING, 2, now, now);
        assert_eq!(turns.next(now), Turn::Go(2, TIMEOUT));
        assert!(matches!(turns.next(now), Turn::Refuse(1, wait) if wait > TIMEOUT));
    }

    #[test]
    fn a_slow_unit_takes_its_share_and_no_more() {
        let answered = polls(&[Some(20), Some(900), Some(20), Some(20), Some(20)], 600, false);
        assert!((110..=160).contains(&answered[1]), "a fifth of 600 s in pieces of 0.9 s");
        for unit in [0, 2, 3, 4] {
            assert!(answered[unit] >= 540, "unit {unit}: {} of 600", answered[unit]);
        }
        // Alone on a line it takes what it needs.
        assert!(polls(&[Some(900)], 600, false)[0] >= 590);
    }

    #[test]
    fn a_silent_unit_is_left_alone_longer_and_longer_and_tried_at_an_edge() {
        let mut now = Instant::now();
        let mut turns = turns(now);
        let ask = |turns: &mut Turns<u8>, rank, now| {
            turns.add(7, rank, TIMING, 7, now, now);
            turns.next(now)
        };
        turns.note(1, Rank::Poll, now, QUICK, false);
        turns.note(7, Rank::Poll, now, TIMEOUT, true);
        assert_eq!(ask(&mut turns, Rank::Poll, now), Turn::Go(7, TIMEOUT), "the first is free");
        for full in [2, 4, 8, 16, 32, 64, 128, 256, 300, 300] {
            turns.note(7, Rank::Poll, now, TIMEOUT, true);
            let Turn::Refuse(7, wait) = ask(&mut turns, Rank::Poll, now) else { panic!("asked") };
            let full = Duration::from_secs(full);
            assert!(wait >= full / 2 && wait <= full.max(ms(30_000)), "{full:?}: {wait:?}");
            now += wait;
            assert!(matches!(ask(&mut turns, Rank::Poll, now), Turn::Go(7, _)));
            turns.silence.grow(now, TENTH);
        }
        turns.note(7, Rank::Poll, now, TIMEOUT, true);
        now += ms(5_000);
        assert!(matches!(ask(&mut turns, Rank::Poll, now), Turn::Refuse(..)));
        assert!(matches!(ask(&mut turns, Rank::Edge, now), Turn::Go(7, limit) if limit > QUICK));
        turns.note(7, Rank::Poll, now, QUICK, false);
        assert_eq!(ask(&mut turns, Rank::Poll, now), Turn::Go(7, TIMEOUT), "and is back at once");
    }
}
