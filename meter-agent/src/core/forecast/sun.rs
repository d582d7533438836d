//! The sun: the shape of a clear day, dimmed like the last hours and days. No weather service.
//!
//! The *envelope* is what the plant gives under a clear sky. Without a site it is the brightest seen
//! per time of day (UTC, which the sun keeps better than people's clocks), slowly forgotten, so that
//! it follows the season. With a site it is the sun's elevation over the horizon (NOAA's solar
//! equations and air mass after Kasten and Young, 1989) times the brightest ratio seen to it,
//! which already fits on the first day and in the next season.

use super::history::History;
use super::mixture::{BANDS, Mixture, Rates, TRAINED_AT};
use super::{LEVELS, MEDIAN, Quantiles};

/// Experts: newest value, yesterday, envelope dimmed as lately, envelope dimmed as on the last
/// days, mean of the last days, envelope dimmed as just now, straight on from the last two values.
const EXPERTS: usize = 7;
const DAY: usize = 96;
/// A clear sky at a time of day is forgotten by this factor per day.
const FORGET: f64 = 0.97;
/// The mean of the last days weighs a day this much of the day after it.
const FADE: f64 = 0.8;
/// Half-lives of the recent and of the slow clearness, slots in daylight, and of the way from one
/// to the other, slots ahead.
const RECENT_HALF_LIFE: f64 = 4.0;
const SLOW_HALF_LIFE: f64 = 96.0;
const RETURN_HALF_LIFE: f64 = 12.0;
/// Clearness before any was seen.
const FIRST_CLEARNESS: f64 = 0.5;
/// Edges of clouds can be brighter than the clear sky.
const MOST_CLEARNESS: f64 = 1.3;
/// Below these parts of the peak nothing is learned about clearness, and about the mixture.
const DUSK: f64 = 0.05;
const NIGHT: f64 = 0.02;
/// Lowest sun at which a ratio to the clear sky says something, parts of the clear sky's peak.
const LOW_SUN: f64 = 0.15;
/// On the first day the newest value stands for so many slots.
const LOOK_BACK: i64 = 4;
/// The straight line of the last two values goes on for so many slots.
const STRAIGHT_FOR: f64 = 3.0;

/// Where a plant stands.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Site {
    /// Degrees north of the equator, −90 to 90.
    pub latitude: f64,
    /// Degrees east of Greenwich, −180 to 180.
    pub longitude: f64,
}

/// Forecasts one household's production.
#[derive(Debug, Clone)]
pub struct SunModel {
    site: Option<Site>,
    history: History,
    /// Brightest ratio to the clear sky (without a site: brightest energy, Wh) by time of day, UTC.
    brightest: Box<[f64; DAY]>,
    /// The same over all times of day.
    brightest_ever: f64,
    /// Most ever seen in a slot, Wh.
    peak: f64,
    recent: f64,
    slow: f64,
    /// Weighted sums and weights of the last days.
    days: Box<[(f64, f64); DAY]>,
    mixture: Mixture<EXPERTS>,
}

/// What is the same for all slots of one forecast.
struct Now {
    newest: i64,
    value: f64,
    before: f64,
    clearness: f64,
}

impl SunModel {
    pub fn new(site: Option<Site>) -> Self {
        let near = [0.25, 0.03, 0.03, 0.03, 0.03, 0.13, 0.50];
        let far = [0.03, 0.30, 0.15, 0.30, 0.20, 0.02, 0.00];
        let nearness = [1.0, 0.9, 0.7, 0.3, 0.1, 0.0, 0.0];
        let weights = |band: usize| -> [f64; EXPERTS] {
            let part: f64 = nearness[band];
            std::array::from_fn(|i| part * near[i] + (1.0 - part) * far[i])
        };
        let rates = Rates { weights: 0.03, quantiles: 0.01 };
        Self {
            site,
            history: History::new(),
            brightest: Box::new([0.0; DAY]),
            brightest_ever: 0.0,
            peak: 0.0,
            recent: FIRST_CLEARNESS,
            slow: FIRST_CLEARNESS,
            days: Box::new([(0.0, 0.0); DAY]),
            mixture: Mixture::new(rates, weights, [-0.3, -0.1, 0.0, 0.1, 0.3]),
        }
    }

    pub fn learn(&mut self, slot: i64, wh: i64) {
        let before = self.history.newest();
        if before.is_some_and(|newest| slot <= newest) {
            return;
        }
        #[expect(clippy::cast_precision_loss, reason = "a register's advance in one slot")]
        let value = wh as f64;
        if self.envelope(slot) > NIGHT * self.peak {
            self.mixture.learn(slot, value);
        }
        if let Some(gap) = before.map(|newest| slot - newest)
            && gap > 96
        {
            self.sleep(gap);
        }
        self.peak = self.peak.max(value);
        let quarter = quarter_of(slot);
        let clear = self.clear_sky(slot);
        let enough = if self.site.is_some() { LOW_SUN } else { 0.5 };
        if clear > enough {
            let ratio = value / clear;
            self.brightest[quarter] = (self.brightest[quarter] * FORGET).max(ratio);
            let forget = 1.0 - (1.0 - FORGET) / 96.0;
            self.brightest_ever = (self.brightest_ever * forget).max(ratio);
        }
        let envelope = self.envelope(slot);
        if envelope > DUSK * self.peak {
            let clearness = (value / envelope).min(MOST_CLEARNESS);
            self.recent += part(RECENT_HALF_LIFE) * (clearness - self.recent);
            self.slow += part(SLOW_HALF_LIFE) * (clearness - self.slow);
        }
        let (sum, weight) = &mut self.days[quarter];
        (*sum, *weight) = (*sum * FADE + value, *weight * FADE + 1.0);
        self.history.push(slot, wh);
        self.note();
    }

    /// A long gap: another season, unless the sun's path is known.
    fn sleep(&mut self, gap: i64) {
        #[expect(clippy::cast_precision_loss, reason = "slots are far below 2^53")]
        let gone = gap as f64 / 96.0;
        self.days.iter_mut().for_each(|(sum, weight)| {
            let kept = FADE.powf(gone);
            (*sum, *weight) = (*sum * kept, *weight * kept);
        });
        if self.site.is_none() {
            let kept = FORGET.powf(3.0 * gone);
            self.brightest.iter_mut().for_each(|brightest| *brightest *= kept);
        }
    }

    fn note(&mut self) {
        let Some(now) = self.now() else { return };
        for (band, ahead) in TRAINED_AT.into_iter().enumerate().take(BANDS) {
            let slot = now.newest + ahead;
            let envelope = self.envelope(slot);
            let said = self.experts(&now, slot, envelope, nearness(ahead));
            self.mixture.note(band, slot, said, self.scale(envelope));
        }
    }

    pub fn quantiles(&self, slot: i64) -> Option<Quantiles> {
        let now = self.now().filter(|now| slot > now.newest)?;
        let envelope = self.envelope(slot);
        let ahead = slot - now.newest;
        let said = self.experts(&now, slot, envelope, nearness(ahead));
        let mixed = self.mixture.mix(ahead, &said);
        Some(std::array::from_fn(|i| self.quantile(i, ahead, mixed, envelope)))
    }

    /// Fills in the medians beside the loads, for slots from `from` on.
    pub fn medians(&self, from: i64, medians: &mut [(f64, f64)]) {
        let Some(now) = self.now().filter(|now| from > now.newest) else { return };
        let one = nearness(1);
        let mut near = nearness(from - now.newest);
        for (slot, (_, sun)) in (from..).zip(medians) {
            let envelope = self.envelope(slot);
            if envelope > 0.0 {
                let ahead = slot - now.newest;
                let mixed = self.mixture.mix(ahead, &self.experts(&now, slot, envelope, near));
                *sun = self.quantile(MEDIAN, ahead, mixed, envelope);
            }
            near *= one;
        }
    }

    fn quantile(&self, level: usize, ahead: i64, mixed: f64, envelope: f64) -> f64 {
        if envelope <= 0.0 {
            return 0.0;
        }
        debug_assert!(level < LEVELS.len());
        let far = self.mixture.offset(ahead, level) * self.scale(envelope);
        (mixed + far).clamp(0.0, self.peak * MOST_CLEARNESS)
    }

    fn now(&self) -> Option<Now> {
        let newest = self.history.newest()?;
        let value = self.history.at(newest)?;
        let envelope = self.envelope(newest);
        let bright = envelope > 2.0 * DUSK * self.peak;
        Some(Now {
            newest,
            value,
            before: self.history.at(newest - 1).unwrap_or(value),
            clearness: if bright { (value / envelope).min(MOST_CLEARNESS) } else { self.recent },
        })
    }

    fn experts(&self, now: &Now, slot: i64, envelope: f64, near: f64) -> [f64; EXPERTS] {
        #[expect(clippy::cast_precision_loss, reason = "slots are far below 2^53")]
        let ahead = (slot - now.newest) as f64;
        let yesterday = self.history.at(slot - 96).unwrap_or(now.value);
        let (sum, weight) = self.days[quarter_of(slot)];
        let straight = now.value + (now.value - now.before) * ahead.min(STRAIGHT_FOR);
        [
            now.value,
            yesterday,
            envelope * (near * self.recent + (1.0 - near) * self.slow),
            envelope * self.slow,
            if weight > 0.0 { sum / weight } else { now.value },
            envelope * now.clearness,
            straight.clamp(0.0, self.peak),
        ]
    }

    /// Errors are measured in units of a clear sky.
    fn scale(&self, envelope: f64) -> f64 {
        envelope.max(self.peak / 1_000.0).max(1.0)
    }

    /// What a clear sky would give, Wh.
    fn envelope(&self, slot: i64) -> f64 {
        let clear = self.clear_sky(slot);
        if clear <= 0.0 {
            return 0.0;
        }
        let quarter = quarter_of(slot);
        let at = |shift: usize| self.brightest[(quarter + shift) % DAY];
        if self.site.is_none() {
            let seen = at(0).max(0.5 * (at(1) + at(DAY - 1)));
            // On the first day nothing is known of the hours to come: as bright as just now.
            let is_new = self.days[quarter].1 <= 0.0;
            return clear * if is_new { seen.max(self.just_before(slot)) } else { seen };
        }
        let near = [at(0), at(1), at(DAY - 1), at(2), at(DAY - 2)];
        let seen = near.iter().filter(|&&ratio| ratio > 0.0).count();
        if seen == 0 {
            return clear * self.brightest_ever;
        }
        #[expect(clippy::cast_precision_loss, reason = "at most five")]
        let local = near.iter().sum::<f64>() / seen as f64;
        clear * 0.5 * (local + self.brightest_ever)
    }

    /// The newest energy when it was measured within the last hour before a slot, Wh.
    fn just_before(&self, slot: i64) -> f64 {
        let newest =
            self.history.newest().filter(|newest| (1..=LOOK_BACK).contains(&(slot - newest)));
        newest.and_then(|newest| self.history.at(newest)).unwrap_or(0.0)
    }

    /// The clear sky at the site, parts of the brightest; 1 where the site is not known.
    fn clear_sky(&self, slot: i64) -> f64 {
        self.site.map_or(1.0, |site| site.clear_sky(slot))
    }
}

impl Site {
    /// Light on flat ground under a clear sky in the middle of a slot, about 1 with the sun
    /// overhead, 0 at night.
    #[must_use]
    pub fn clear_sky(&self, slot: i64) -> f64 {
        let sine = self.sine_of_elevation(slot);
        if sine <= 0.0 {
            return 0.0;
        }
        let degrees = sine.asin().to_degrees();
        let air_mass = 1.0 / (sine + 0.505_72 * (degrees + 6.079_95).powf(-1.636_4));
        let direct = 0.7_f64.powf(air_mass.powf(0.678)) * 1.1 / 0.7;
        sine * (direct + 0.1)
    }

    /// Sine of the sun's elevation in the middle of a slot; negative at night (NOAA's equations
    /// of 1997, within a degree for this century).
    fn sine_of_elevation(&self, slot: i64) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "slots are far below 2^53")]
        let days = (slot as f64 + 0.5) / 96.0;
        // The slot count starts at a new year; the year's length keeps it in step.
        let angle = std::f64::consts::TAU * days.rem_euclid(365.242_5) / 365.242_5;
        let declination = 0.006_918 - 0.399_912 * angle.cos() + 0.070_257 * angle.sin()
            - 0.006_758 * (2.0 * angle).cos()
            + 0.000_907 * (2.0 * angle).sin();
        let equation_of_time_min = 229.18
            * (0.000_075 + 0.001_868 * angle.cos()
                - 0.032_077 * angle.sin()
                - 0.014_615 * (2.0 * angle).cos()
                - 0.040_849 * (2.0 * angle).sin());
        let solar_min =
            days.rem_euclid(1.0) * 1_440.0 + equation_of_time_min + 4.0 * self.longitude;
        let hour_angle = (solar_min / 4.0 - 180.0).to_radians();
        let latitude = self.latitude.to_radians();
        latitude.sin() * declination.sin() + latitude.cos() * declination.cos() * hour_angle.cos()
    }
}

/// The part that a new value gets in a mean with this half-life.
fn part(half_life: f64) -> f64 {
    1.0 - 0.5_f64.powf(1.0 / half_life)
}

/// How much of the recent clearness is expected so many slots later; the rest is the slow one.
#[expect(clippy::cast_precision_loss, reason = "slots are far below 2^53")]
fn nearness(slots: i64) -> f64 {
    0.5_f64.powf(slots as f64 / RETURN_HALF_LIFE)
}

fn quarter_of(slot: i64) -> usize {
    usize::try_from(slot.rem_euclid(96)).expect("below 96")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sun_rises_stands_and_sets_where_the_almanac_says() {
        // Sunrise and sunset in Kassel on 2016-06-21: 03:06 and 19:42 UTC; on 2016-12-21: 07:23, 15:14.
        let site = Site { latitude: 51.3, longitude: 9.5 };
        for (day, rise, set, noon_degrees) in [(172, 3.1, 19.7, 62.1), (355, 7.4, 15.2, 15.2)] {
            let first = 1_612_896 + day * 96;
            let up: Vec<i64> =
                (first..first + 96).filter(|&slot| site.clear_sky(slot) > 0.0).collect();
            let hour = |slot: i64| f64::from(i32::try_from(slot - first).expect("small")) / 4.0;
            let (first_up, last_up) = (hour(up[0]), hour(*up.last().expect("day")) + 0.25);
            // The upper edge of a refracted sun shows some minutes before its middle.
            assert!((first_up - rise).abs() < 0.35, "{first_up} {rise}");
            assert!((last_up - set).abs() < 0.35, "{last_up} {set}");
            let highest = up.iter().map(|&slot| site.sine_of_elevation(slot)).fold(0.0, f64::max);
            let degrees = highest.asin().to_degrees();
            assert!((degrees - noon_degrees).abs() < 0.5, "{degrees} {noon_degrees}");
        }
    }

    #[test]
    fn on_the_first_day_the_sun_goes_on_as_it_is() {
        let mut sun = SunModel::new(None);
        let noon = 1_632_528;
        sun.learn(noon, 1_000);
        for ahead in 1..=LOOK_BACK {
            let median = sun.quantiles(noon + ahead).expect("one value is known")[MEDIAN];
            assert!((700.0..=1_100.0).contains(&median), "{ahead}: {median}");
        }
        let later = sun.quantiles(noon + LOOK_BACK + 2).expect("one value is known");
        assert!(later[MEDIAN] < 1.0, "of the evening nothing is known: {later:?}");
    }

    #[test]
    fn clear_days_are_expected_to_be_clear_and_nights_dark() {
        let mut model = SunModel::new(None);
        let shape = |slot: i64| {
            let hour = slot.rem_euclid(96) - 48;
            (1_000 - hour * hour * 2).max(0)
        };
        for slot in 0..5 * 96 {
            model.learn(slot, shape(slot));
        }
        for ahead in [1, 8, 40, 48, 96] {
            let slot = 5 * 96 - 1 + ahead;
            let median = model.quantiles(slot).expect("known")[MEDIAN];
            #[expect(clippy::cast_precision_loss, reason = "small")]
            let truth = shape(slot) as f64;
            assert!((median - truth).abs() <= 0.12 * truth + 1.0, "{ahead}: {median} {truth}");
        }
    }
}
