//! Dates as people type them.

use units::Slot;

/// Reads `YYYY-MM-DD`, `YYYY-MM-DDTHH:MM`, with or without seconds and `Z`, as UTC; the moment must
/// be the start of a slot.
///
/// # Errors
/// A sentence for the person who typed it.
pub fn parse_slot(text: &str) -> Result<Slot, String> {
    match read(text) {
        Some((days, hour, minute)) if minute % 15 == 0 => {
            Ok(Slot::new(days * Slot::PER_DAY + hour * 4 + minute / 15))
        }
        _ => Err(format!(
            "{text:?} is no start of a quarter-hour in UTC; write 2016-01-18 or 2016-01-18T06:15Z"
        )),
    }
}

/// Reads the same, with any minute, as Unix milliseconds.
///
/// # Errors
/// A sentence for the person who typed it.
pub fn parse_minute(text: &str) -> Result<i64, String> {
    let (days, hour, minute) = read(text).ok_or_else(|| {
        format!("{text:?} is no minute in UTC; write 2016-01-18 or 2016-01-18T06:07Z")
    })?;
    Ok(((days * 24 + hour) * 60 + minute) * 60_000)
}

/// Days since 1970-01-01, hour and minute.
fn read(text: &str) -> Option<(i64, i64, i64)> {
    let plain = text.trim().trim_end_matches(['Z', 'z']);
    let (date, time) = plain.split_once(['T', 't', ' ']).unwrap_or((plain, "00:00"));
    let number = |part: &str, digits: usize| -> Option<i64> {
        let plausible = part.len() == digits && part.bytes().all(|byte| byte.is_ascii_digit());
        if plausible { part.parse().ok() } else { None }
    };
    let parts: Vec<&str> = date.split('-').collect();
    let [year, month, day] = parts[..] else { return None };
    let clock: Vec<&str> = time.split(':').collect();
    let (hour, minute, second) = match clock[..] {
        [hour, minute] => (hour, minute, "00"),
        [hour, minute, second] => (hour, minute, second),
        _ => return None,
    };
    number(second, 2).filter(|second| *second == 0)?;
    Some((
        days_from_civil(number(year, 4)?, number(month, 2)?, number(day, 2)?)?,
        number(hour, 2).filter(|hour| *hour < 24)?,
        number(minute, 2).filter(|minute| *minute < 60)?,
    ))
}

/// Days since 1970-01-01 of a date of the Gregorian calendar; `None` if there is no such day
/// (H. Hinnant, "chrono-compatible low-level date algorithms").
fn days_from_civil(year: i64, month: i64, day: i64) -> Option<i64> {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let length = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        _ => return None,
    };
    if !(1..=length).contains(&day) {
        return None;
    }
    let shifted_year = if month <= 2 { year - 1 } else { year };
    let era = shifted_year.div_euclid(400);
    let year_of_era = shifted_year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    Some(era * 146_097 + day_of_era - 719_468)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_quarter_hour_can_be_typed() {
        for number in (0..4_000_000).step_by(12_345).chain([1_612_896 + 59 * 96]) {
            let slot = Slot::new(number);
            assert_eq!(parse_slot(&slot.to_string()), Ok(slot), "{slot}");
        }
        for text in ["2016-01-18", "2016-01-18T00:00", "2016-01-18 00:00:00Z"] {
            assert_eq!(parse_slot(text), Ok(Slot::new(1_614_528)), "{text}");
        }
        for text in [
            "",
            "x",
            "2016-13-01",
            "2015-02-29",
            "2016-01-18T00:07",
            "2016-01-18T24:00",
            "2016-01-18T00:00:01",
            "18.01.2016",
            "2016-1-18",
            "+016-01-18",
            "2016-01-18T",
        ] {
            assert!(parse_slot(text).is_err(), "{text}");
        }
        assert_eq!(parse_minute("1970-01-02T00:07Z"), Ok((1_440 + 7) * 60_000));
        assert!(parse_minute("1970-01-02T00:60Z").is_err());
    }
}
