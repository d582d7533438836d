//! The supplier's prices as far as they are known, and as they probably go on.

use market::Terms;
use units::Slot;

/// Slots that are remembered: eight days.
const KEPT: i64 = 768;
const DAY: i64 = 96;
const WEEK: i64 = 7 * DAY;

/// Known terms by slot.
#[derive(Debug, Clone)]
pub struct Tariff {
    ring: Box<[Option<(i64, Terms)>]>,
    newest: Option<(i64, Terms)>,
}

impl Tariff {
    /// Nothing known.
    pub fn new() -> Self {
        Self { ring: vec![None; position(KEPT - 1) + 1].into_boxed_slice(), newest: None }
    }

    /// Remembers the terms of a slot.
    pub fn learn(&mut self, slot: Slot, terms: Terms) {
        let number = slot.number();
        let newest = self.newest.map_or(number, |(newest, _)| newest);
        if number > newest - KEPT {
            self.ring[position(number)] = Some((number, terms));
            if number >= newest {
                self.newest = Some((number, terms));
            }
        }
    }

    /// The terms of a slot where they are known, otherwise those of the same time on the last day
    /// of the same kind, otherwise of any day, otherwise the newest ones.
    pub fn at(&self, number: i64, weekday: u8) -> Option<Terms> {
        // Yesterday was another kind of day on Saturdays and Mondays; the day before on Sundays.
        let back = if weekday == 5 || weekday == 0 { [WEEK, DAY] } else { [DAY, WEEK] };
        self.known(number)
            .or_else(|| back.into_iter().find_map(|back| self.known(number - back)))
            .or_else(|| self.known(number - 2 * DAY))
            .or(self.newest.map(|(_, terms)| terms))
    }

    fn known(&self, number: i64) -> Option<Terms> {
        self.ring[position(number)].filter(|(of, _)| *of == number).map(|(_, terms)| terms)
    }
}

fn position(slot: i64) -> usize {
    usize::try_from(slot.rem_euclid(KEPT)).expect("a remainder of a positive number")
}

#[cfg(test)]
mod tests {
    use units::Price;

    use super::*;

    fn terms(e5: i64) -> Terms {
        Terms::new(Price::from_e5_per_kwh(e5), Price::ZERO).expect("on the tick")
    }

    #[test]
    fn prices_go_on_as_on_the_last_day_of_the_kind() {
        let mut tariff = Tariff::new();
        assert_eq!(tariff.at(0, 3), None);
        tariff.learn(Slot::new(1_000), terms(1));
        assert_eq!(tariff.at(5_000, 3), Some(terms(1)), "any is better than none");
        tariff.learn(Slot::new(1_001 + WEEK - DAY), terms(2));
        tariff.learn(Slot::new(1_000 + WEEK - DAY), terms(3));
        assert_eq!(tariff.at(1_000 + WEEK, 3), Some(terms(3)));
        assert_eq!(tariff.at(1_000 + WEEK, 5), Some(terms(1)));
        assert_eq!(tariff.at(1_001 + WEEK, 5), Some(terms(2)));
        assert_eq!(tariff.at(1_002 + WEEK, 3), Some(terms(2)), "the newest one");
    }
}
