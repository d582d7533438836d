//! Slots as people write them on a command line.

use crate::Slot;

/// The slots that a text names: a slot's number, `YYYY-MM-DDTHH:MMZ` for the slot that starts
/// then, or `YYYY-MM-DD` for all slots of a day (UTC).
///
/// # Errors
/// What is wrong with the text, and what would be right.
pub fn slots(text: &str) -> Result<(Slot, Slot), String> {
    let unknown = || {
        format!(
            "{text:?} is no slot: use its number, YYYY-MM-DD for a day, or YYYY-MM-DDTHH:MMZ for \
             one quarter of an hour (UTC)"
        )
    };
    if let Ok(number) = text.parse() {
        return Ok((Slot::new(number), Slot::new(number)));
    }
    let (date, time) = match text.split_once('T') {
        Some((date, time)) => (date, Some(time)),
        None => (text, None),
    };
    let midnight = days(date).ok_or_else(unknown)? * Slot::PER_DAY;
    let Some(time) = time else {
        return Ok((Slot::new(midnight), Slot::new(midnight + Slot::PER_DAY - 1)));
    };
    let (hour, minute) =
        time.strip_suffix('Z').and_then(|time| time.split_once(':')).ok_or_else(unknown)?;
    let hour = digits(hour, 2).filter(|hour| *hour < 24).ok_or_else(unknown)?;
    let minute =
        digits(minute, 2).filter(|minute| *minute < 60 && minute % 15 == 0).ok_or_else(unknown)?;
    let slot = Slot::new(midnight + hour * 4 + minute / 15);
    Ok((slot, slot))
}

fn digits(text: &str, count: usize) -> Option<i64> {
    let valid = text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit());
    if valid { text.parse().ok() } else { None }
}

/// Days since 1970-01-01 of a proleptic Gregorian date (H. Hinnant, "chrono-compatible low-level
/// date algorithms"); only dates that exist.
fn days(date: &str) -> Option<i64> {
    let mut parts = date.split('-');
    let year = digits(parts.next()?, 4)?;
    let month = digits(parts.next()?, 2).filter(|month| (1..=12).contains(month))?;
    let day = digits(parts.next()?, 2)?;
    if parts.next().is_some() {
        return None;
    }
    let shifted = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (shifted.div_euclid(400), shifted.rem_euclid(400));
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    let days = era * 146_097 + day_of_era - 719_468;
    // Printing it again finds dates like 30 February.
    let printed = Slot::new(days * Slot::PER_DAY).to_string();
    printed.starts_with(date).then_some(days)
}

#[cfg(test)]
mod tests {
    use super::slots;

    #[test]
    fn slots_are_read_as_people_write_them() {
        let day = 1_612_896;
        for (text, expected) in [
            ("1612896", Some((day, day))),
            ("2016-01-01", Some((day, day + 95))),
            ("2016-01-01T00:00Z", Some((day, day))),
            ("2016-01-01T23:45Z", Some((day + 95, day + 95))),
            ("2016-02-29", Some((day + 59 * 96, day + 59 * 96 + 95))),
            ("1970-01-01", Some((0, 95))),
            ("2015-02-29", None),
            ("2016-13-01", None),
            ("2016-00-01", None),
            ("2016-01-00", None),
            ("2016-01-01T24:00Z", None),
            ("2016-01-01T00:10Z", None),
            ("2016-01-01T00:00", None),
            ("2016-1-1", None),
            ("yesterday", None),
            ("", None),
        ] {
            let found = slots(text).ok().map(|(a, b)| (a.number(), b.number()));
            assert_eq!(found, expected, "{text:?}");
        }
    }
}
