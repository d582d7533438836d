//! The load: what people do, again and again, by the clock on their wall and the day of the week.

use super::history::History;
use super::mixture::{BANDS, Mixture, Rates, TRAINED_AT};
use super::{LEVELS, MEDIAN, Quantiles};
use crate::core::zone::Zone;

/// Experts: newest value, yesterday, profile, profile and recent error, newest value along the
/// profile, last hour or last week.
const EXPERTS: usize = 6;
/// Horizon up to which the last expert speaks for the last hour, then for the last week, slots.
const LAST_HOUR_FOR: i64 = 16;
const DAY: i64 = 96;
const WEEK: i64 = 7 * DAY;
/// Kinds of days: working day, Saturday, Sunday.
const KINDS: usize = 3;
/// A day weighs this much of the day after it.
const FADE: f64 = 0.97;
/// What a day of another kind says, compared with one of the same kind.
const LIKE_WEEKEND: f64 = 0.6;
const LIKE_WORKDAY: f64 = 0.1;
/// What the slots before and after say, compared with the slot itself.
const NEIGHBOUR: f64 = 0.5;
/// The household's mean stands for this many days where the profile knows nothing.
const PRIOR_DAYS: f64 = 0.3;
/// Half-lives, slots: of the slow error's memory and of its use, and of the household's mean.
const SLOW_HALF_LIFE: f64 = 24.0;
const MEAN_HALF_LIFE: f64 = 96.0;
/// The first guess of how much of an error is still there a slot later, and how much it counts.
const FIRST_PHI: f64 = 0.6;
const PHI_PRIOR: f64 = 500.0;
/// Smallest scale of errors, Wh.
const LEAST_SCALE: f64 = 2.0;
/// Gap after which the profile has faded by the days between and the recent errors are forgotten.
const LONG_GAP: i64 = DAY;

/// A weighted sum and its weight.
#[derive(Debug, Clone, Copy, Default)]
struct Mean {
    sum: f64,
    weight: f64,
}

impl Mean {
    fn fade(&mut self, factor: f64) {
        self.sum *= factor;
        self.weight *= factor;
    }

    fn add(&mut self, value: f64) {
        self.sum += value;
        self.weight += 1.0;
    }
}

/// Forecasts one household's load.
#[derive(Debug, Clone)]
pub struct LoadModel {
    zone: Zone,
    history: History,
    /// By kind of day and time of day, local time.
    profile: Box<[[Mean; DAY as usize]; KINDS]>,
    /// Size of the profile's errors by time of day.
    errors: Box<[Mean; DAY as usize]>,
    mean: Mean,
    mean_error: f64,
    /// The profile's error over the last hours, Wh.
    slow: f64,
    /// The newest error beyond the slow one, Wh.
    fast: f64,
    /// Sums of squares and of products of neighbouring fast errors.
    squares: f64,
    products: f64,
    mixture: Mixture<EXPERTS>,
    /// Whether a load below zero was ever seen: then it is a net of load and sun.
    is_net: bool,
}

/// What is the same for all slots of one forecast.
struct Now {
    newest: i64,
    value: f64,
    last_hour: f64,
    profile: f64,
    /// What is left of a fast error a slot later.
    phi: f64,
}

/// What is left of the recent errors some slots later.
#[derive(Clone, Copy)]
struct Left {
    slow: f64,
    fast: f64,
}

impl Left {
    fn after(slots: i64, now: &Now) -> Self {
        let steps = days(slots) * 96.0;
        Self { slow: half_life(steps, SLOW_HALF_LIFE), fast: now.phi.powf(steps) }
    }

    fn and_after(self, other: Self) -> Self {
        Self { slow: self.slow * other.slow, fast: self.fast * other.fast }
    }
}

impl LoadModel {
    pub fn new(zone: Zone) -> Self {
        // Near horizons start from the newest value, far ones from yesterday and the profile.
        let near = [0.40, 0.03, 0.03, 0.20, 0.20, 0.14];
        let far = [0.02, 0.30, 0.30, 0.20, 0.03, 0.15];
        let nearness = [1.0, 0.9, 0.7, 0.4, 0.2, 0.0, 0.0];
        let weights = |band: usize| -> [f64; EXPERTS] {
            let part: f64 = nearness[band];
            std::array::from_fn(|i| part * near[i] + (1.0 - part) * far[i])
        };
        let rates = Rates { weights: 0.02, quantiles: 0.02 };
        let offsets = [-0.8, -0.3, -0.1, 0.2, 1.0];
        Self {
            zone,
            history: History::new(),
            profile: Box::new([[Mean::default(); DAY as usize]; KINDS]),
            errors: Box::new([Mean::default(); DAY as usize]),
            mean: Mean::default(),
            mean_error: 0.0,
            slow: 0.0,
            fast: 0.0,
            squares: 0.0,
            products: 0.0,
            mixture: Mixture::new(rates, weights, offsets),
            is_net: false,
        }
    }

    pub const fn newest(&self) -> Option<i64> {
        self.history.newest()
    }

    pub fn learn(&mut self, slot: i64, wh: i64) {
        let before = self.newest();
        if before.is_some_and(|newest| slot <= newest) {
            return;
        }
        #[expect(clippy::cast_precision_loss, reason = "a register's advance in one slot")]
        let value = wh as f64;
        self.is_net |= wh < 0;
        self.mixture.learn(slot, value);
        if let Some(gap) = before.map(|newest| slot - newest) {
            if gap > LONG_GAP {
                self.sleep(gap);
            }
            self.learn_error(slot, gap, value);
        }
        let (kind, quarter) = self.place(slot);
        for profile in self.profile.iter_mut() {
            profile[quarter].fade(FADE);
        }
        self.profile[kind][quarter].add(value);
        self.mean.fade(half_life(1.0, MEAN_HALF_LIFE));
        self.mean.add(value);
        self.history.push(slot, wh);
        self.note();
    }

    /// A long gap: what was known is old, and what was just so is forgotten.
    fn sleep(&mut self, gap: i64) {
        let faded = FADE.powf(days(gap));
        self.profile.iter_mut().flatten().for_each(|mean| mean.fade(faded));
        self.mean.fade(faded);
        self.slow = 0.0;
        self.fast = 0.0;
    }

    /// Learns from the profile's error in a slot, `gap` slots after the newest known one.
    fn learn_error(&mut self, slot: i64, gap: i64, value: f64) {
        let (kind, quarter) = self.place(slot);
        let error = value - self.profile(kind, quarter);
        let beyond = error - self.slow;
        if gap == 1 {
            self.squares = self.squares * 0.999 + self.fast * self.fast;
            self.products = self.products * 0.999 + self.fast * beyond;
        }
        self.slow += (1.0 - half_life(1.0, SLOW_HALF_LIFE)) * beyond;
        self.fast = error - self.slow;
        self.mean_error += 0.02 * (error.abs() - self.mean_error);
        self.errors[quarter].fade(FADE);
        self.errors[quarter].add(error.abs());
    }

    /// Notes what is said now, so that it can be learned from when the slots have come.
    fn note(&mut self) {
        let Some(now) = self.now() else { return };
        let mut left = Left::after(TRAINED_AT[0], &now);
        for (band, ahead) in TRAINED_AT.into_iter().enumerate().take(BANDS) {
            if band > 0 {
                // Each is trained at twice the horizon of the one before.
                left = left.and_after(left);
            }
            let slot = now.newest + ahead;
            let place = self.place(slot);
            let said = self.experts(&now, slot, place, left);
            self.mixture.note(band, slot, said, self.scale(place.1));
        }
    }

    pub fn quantiles(&self, slot: i64) -> Option<Quantiles> {
        let now = self.now().filter(|now| slot > now.newest)?;
        let place = self.place(slot);
        let ahead = slot - now.newest;
        let said = self.experts(&now, slot, place, Left::after(ahead, &now));
        let mixed = self.mixture.mix(ahead, &said);
        let scale = self.scale(place.1);
        let quantile = |i| self.bounded(mixed + self.mixture.offset(ahead, i) * scale);
        let quantiles: [f64; LEVELS.len()] = std::array::from_fn(quantile);
        Some(quantiles)
    }

    /// Says the medians of `slots` slots from `from` on, in order; none when there are none.
    pub fn medians(&self, from: i64, slots: usize, mut say: impl FnMut(f64)) -> Option<()> {
        let now = self.now().filter(|now| from > now.newest)?;
        let one = Left::after(1, &now);
        let mut left = Left::after(from - now.newest, &now);
        for (slot, place) in (from..).zip(self.zone.quarters(from)).take(slots) {
            let ahead = slot - now.newest;
            let place = place_of(Some(place));
            let mixed = self.mixture.mix(ahead, &self.experts(&now, slot, place, left));
            left = left.and_after(one);
            let offset = self.mixture.offset(ahead, MEDIAN);
            say(self.bounded(mixed + offset * self.scale(place.1)));
        }
        Some(())
    }

    fn bounded(&self, wh: f64) -> f64 {
        if self.is_net { wh } else { wh.max(0.0) }
    }

    fn now(&self) -> Option<Now> {
        let newest = self.newest()?;
        let value = self.history.at(newest)?;
        let back = |slots: i64| self.history.at(newest - slots).unwrap_or(value);
        let (kind, quarter) = self.place(newest);
        let phi = (self.products + FIRST_PHI * PHI_PRIOR) / (self.squares + PHI_PRIOR);
        Some(Now {
            newest,
            value,
            last_hour: (value + back(1) + back(2) + back(3)) / 4.0,
            profile: self.profile(kind, quarter),
            phi: phi.clamp(0.0, 0.97),
        })
    }

    fn experts(&self, now: &Now, slot: i64, place: (usize, usize), left: Left) -> [f64; EXPERTS] {
        let ahead = slot - now.newest;
        let profile = self.profile(place.0, place.1);
        let recent = self.slow * left.slow + left.fast * (now.value - now.profile - self.slow);
        let last = if ahead > LAST_HOUR_FOR {
            self.history.at(slot - WEEK).unwrap_or(profile)
        } else {
            now.last_hour
        };
        [
            now.value,
            self.history.at(slot - DAY).unwrap_or(now.value),
            profile,
            self.bounded(profile + recent),
            self.bounded(now.value + profile - now.profile),
            last,
        ]
    }

    /// Weighted mean of the same slot and its neighbours on earlier days.
    fn profile(&self, kind: usize, quarter: usize) -> f64 {
        let household = if self.mean.weight > 0.0 { self.mean.sum / self.mean.weight } else { 0.0 };
        let mut found = Mean { sum: PRIOR_DAYS * household, weight: PRIOR_DAYS };
        let day = DAY as usize;
        let near = [
            (quarter, 1.0),
            ((quarter + 1) % day, NEIGHBOUR),
            ((quarter + day - 1) % day, NEIGHBOUR),
        ];
        for (other, means) in self.profile.iter().enumerate() {
            let alike = match (kind, other) {
                _ if kind == other => 1.0,
                (0, _) | (_, 0) => LIKE_WORKDAY,
                _ => LIKE_WEEKEND,
            };
            for (quarter, weight) in near {
                found.sum += alike * weight * means[quarter].sum;
                found.weight += alike * weight * means[quarter].weight;
            }
        }
        found.sum / found.weight
    }

    /// How large errors are at a time of day, Wh.
    fn scale(&self, quarter: usize) -> f64 {
        let mut found = Mean { sum: PRIOR_DAYS * self.mean_error, weight: PRIOR_DAYS };
        let day = DAY as usize;
        for shift in [0, 1, day - 1, 2, day - 2] {
            let near = self.errors[(quarter + shift) % day];
            found.sum += near.sum;
            found.weight += near.weight;
        }
        (found.sum / found.weight).max(LEAST_SCALE)
    }

    /// Kind of day and time of day.
    fn place(&self, slot: i64) -> (usize, usize) {
        place_of(self.zone.quarters(slot).next())
    }
}

/// From day of the week (Monday = 0) and quarter of the day to kind of day and quarter.
fn place_of(local: Option<(u8, u8)>) -> (usize, usize) {
    let (weekday, quarter) = local.expect("time has no end");
    (usize::from(weekday.saturating_sub(4)), usize::from(quarter))
}

/// What is left of a thing after `slots` slots.
fn half_life(slots: f64, half_life: f64) -> f64 {
    0.5_f64.powf(slots / half_life)
}

#[expect(clippy::cast_precision_loss, reason = "slots are far below 2^53")]
fn days(slots: i64) -> f64 {
    slots as f64 / 96.0
}
