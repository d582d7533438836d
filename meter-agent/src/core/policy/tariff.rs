//! The supplier's prices as far as they are known, and as they probably go on.
//!
//! A price that is not known yet is expected as it was at the same time on the last day of the same
//! kind, drawn towards the mean by as much as such a look back has missed before: a timetable is
//! repeated, and of prices that follow no clock only the mean is expected.

use market::Terms;

/// Slots that are remembered: eight days.
const KEPT: i64 = 768;
const DAY: i64 = 96;
const WEEK: i64 = 7 * DAY;
/// What a slot weighs of the one after it in mean and merit: half after five days.
const FADE: f64 = 0.998_6;
/// Sum of squares that stands for the belief in a repetition before any was seen: (1 ct/kWh)².
const PRIOR: f64 = 1e8;

/// Known terms by slot.
#[derive(Debug, Clone)]
pub struct Tariff {
    ring: Box<[Option<(i64, Terms)>]>,
    newest: Option<i64>,
    /// Retail and feed-in.
    prices: [Price; 2],
}

/// One of the two prices: its mean, and how well it repeats.
#[derive(Debug, Clone, Copy, Default)]
struct Price {
    sum: f64,
    weight: f64,
    /// Sums of products of distances from the mean: then with now, and then with then.
    together: f64,
    then: f64,
}

impl Price {
    fn mean(&self) -> f64 {
        self.sum / self.weight.max(1e-9)
    }

    fn learn(&mut self, now: f64, then: Option<f64>) {
        if let Some(then) = then {
            let mean = self.mean();
            self.together = self.together * FADE + (now - mean) * (then - mean);
            self.then = self.then * FADE + (then - mean) * (then - mean);
        }
        self.sum = self.sum * FADE + now;
        self.weight = self.weight * FADE + 1.0;
    }

    /// What is expected when this was seen then.
    fn expect(&self, then: Option<f64>) -> f64 {
        let mean = self.mean();
        // Before anything could be compared a repetition is expected.
        let repeats = (self.together + PRIOR) / (self.then + PRIOR);
        then.map_or(mean, |then| mean + repeats.clamp(0.0, 1.0) * (then - mean))
    }
}

impl Tariff {
    /// Nothing known.
    pub fn new() -> Self {
        let ring = vec![None; position(KEPT - 1) + 1].into_boxed_slice();
        Self { ring, newest: None, prices: [Price::default(); 2] }
    }

    /// Remembers the terms of a slot on a day of the week (Monday = 0).
    pub fn learn(&mut self, number: i64, weekday: u8, terms: Terms) {
        let newest = self.newest.unwrap_or(number);
        if number <= newest - KEPT || self.known(number) == Some(terms) {
            return;
        }
        if self.newest.is_none_or(|newest| number > newest) {
            let then = self.then(number, weekday).map(plain);
            for (i, (price, now)) in self.prices.iter_mut().zip(plain(terms)).enumerate() {
                price.learn(now, then.map(|then| then[i]));
            }
            self.newest = Some(number);
        }
        self.ring[position(number)] = Some((number, terms));
    }

    /// Retail and feed-in price of a slot, nano-currency per Wh: as known, or as expected. None
    /// before any was known.
    pub fn at(&self, number: i64, weekday: u8) -> Option<[f64; 2]> {
        self.newest?;
        if let Some(terms) = self.known(number) {
            return Some(plain(terms));
        }
        let then = self.then(number, weekday).map(plain);
        Some([0, 1].map(|i| self.prices[i].expect(then.map(|then| then[i]))))
    }

    /// The terms at the same time on the last day of the same kind, or on another day.
    fn then(&self, number: i64, weekday: u8) -> Option<Terms> {
        // Before a Monday or a Saturday was another kind of day.
        let back = if weekday == 5 || weekday == 0 { [WEEK, DAY] } else { [DAY, WEEK] };
        back.into_iter().chain([2 * DAY]).find_map(|back| self.known(number - back))
    }

    fn known(&self, number: i64) -> Option<Terms> {
        self.ring[position(number)].filter(|(of, _)| *of == number).map(|(_, terms)| terms)
    }
}

#[expect(clippy::cast_precision_loss, reason = "prices are below 2^53")]
fn plain(terms: Terms) -> [f64; 2] {
    [terms.retail(), terms.feed_in()].map(|price| price.nano_per_wh() as f64)
}

fn position(slot: i64) -> usize {
    usize::try_from(slot.rem_euclid(KEPT)).expect("a remainder of a positive number")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terms(e5: i64) -> Terms {
        let price = units::Price::from_e5_per_kwh;
        Terms::new(price(e5), price(1_000)).expect("on the tick")
    }

    /// Learns the prices of whole days from a Monday on, and says what is expected of the next one.
    fn expected(days: i64, price: impl Fn(i64, i64) -> i64) -> Vec<f64> {
        let mut tariff = Tariff::new();
        let weekday = |day: i64| u8::try_from(day % 7).expect("small");
        for day in 0..days {
            for quarter in 0..DAY {
                tariff.learn(day * DAY + quarter, weekday(day), terms(price(day, quarter)));
            }
        }
        let next = (0..DAY).map(|quarter| tariff.at(days * DAY + quarter, weekday(days)));
        next.map(|prices| prices.expect("known")[0] / 10.0).collect()
    }

    #[test]
    fn a_timetable_is_repeated_and_of_chance_only_the_mean_is_expected() {
        assert!(Tariff::new().at(0, 3).is_none());
        assert!(expected(1, |_, _| 30_000).iter().all(|&price| (price - 30_000.0).abs() < 1e-6));
        let timetable = |day: i64, quarter: i64| match (day % 7 < 5, quarter / 32) {
            (true, 1) => 40_000,
            (true, _) => 20_000,
            (false, _) => 15_000,
        };
        for days in [7, 12] {
            for (quarter, price) in (0..).zip(expected(days, timetable)) {
                let truth = timetable(days, quarter);
                #[expect(clippy::cast_precision_loss, reason = "small")]
                let miss = (price - truth as f64).abs();
                assert!(miss < 5_000.0, "day {days}, quarter {quarter}: {price} {truth}");
            }
        }
        let mut state = 1_u64;
        let draws: Vec<i64> = (0..7 * DAY)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                i64::try_from(state >> 50).expect("14 bits") + 10_000
            })
            .collect();
        let index = |day: i64, quarter: i64| usize::try_from(day * DAY + quarter).expect("small");
        let chance = expected(7, |day, quarter| draws[index(day, quarter)]);
        for price in chance {
            assert!((price - 18_192.0).abs() < 3_000.0, "{price}");
        }
    }
}
