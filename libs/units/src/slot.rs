//! The market's interval: a quarter of an hour, counted from the Unix epoch in UTC.

use std::fmt;

/// A quarter-hour `[start, end)`, numbered since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(transparent))]
pub struct Slot(i64);

impl Slot {
    /// Length of a slot in milliseconds.
    pub const LENGTH_MS: i64 = 900_000;
    /// Slots in a day (UTC has no daylight-saving time).
    pub const PER_DAY: i64 = 96;

    /// The slot with this number.
    #[must_use]
    pub const fn new(number: i64) -> Self {
        Self(number)
    }

    /// Quarter-hours since the Unix epoch.
    #[must_use]
    pub const fn number(self) -> i64 {
        self.0
    }

    /// The slot that contains this moment (Unix milliseconds, UTC).
    #[must_use]
    pub const fn at_ms(unix_ms: i64) -> Self {
        Self(unix_ms.div_euclid(Self::LENGTH_MS))
    }

    /// First moment of the slot, Unix milliseconds.
    #[must_use]
    pub const fn start_ms(self) -> i64 {
        self.0 * Self::LENGTH_MS
    }

    /// First moment after the slot, Unix milliseconds.
    #[must_use]
    pub const fn end_ms(self) -> i64 {
        self.start_ms() + Self::LENGTH_MS
    }

    /// The slot `count` quarter-hours later (earlier when negative).
    #[must_use]
    pub const fn offset(self, count: i64) -> Self {
        Self(self.0 + count)
    }

    /// The following slot.
    #[must_use]
    pub const fn next(self) -> Self {
        self.offset(1)
    }

    /// The preceding slot.
    #[must_use]
    pub const fn previous(self) -> Self {
        self.offset(-1)
    }
}

impl fmt::Display for Slot {
    /// Start of the slot as `YYYY-MM-DDTHH:MMZ`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = civil_from_days(self.0.div_euclid(Self::PER_DAY));
        let quarter = self.0.rem_euclid(Self::PER_DAY);
        let text =
            format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}Z", quarter / 4, quarter % 4 * 15);
        f.pad(&text)
    }
}

/// Proleptic Gregorian date of a day count since 1970-01-01 (H. Hinnant, "chrono-compatible
/// low-level date algorithms").
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_shifted + 2) / 5 + 1;
    let month = if month_shifted < 10 { month_shifted + 3 } else { month_shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_print_their_start_in_utc() {
        for (number, text) in [
            (0, "1970-01-01T00:00Z"),
            (1_612_896, "2016-01-01T00:00Z"),
            (1_612_896 + 1_632, "2016-01-18T00:00Z"),
            (1_612_896 + 59 * 96 + 95, "2016-02-29T23:45Z"),
            (-1, "1969-12-31T23:45Z"),
        ] {
            assert_eq!(Slot::new(number).to_string(), text);
        }
    }

    #[test]
    fn a_moment_belongs_to_the_slot_that_contains_it() {
        let slot = Slot::new(1_612_896);
        assert_eq!(Slot::at_ms(slot.start_ms()), slot);
        assert_eq!(Slot::at_ms(slot.end_ms() - 1), slot);
        assert_eq!(Slot::at_ms(slot.end_ms()), slot.next());
        assert_eq!(Slot::at_ms(-1), Slot::new(-1));
    }
}
