//! Times as payloads and telegrams spell them, to Unix milliseconds.
//!
//! A time counts only with its zone: one that leaves it open may be an hour off, twice a year for
//! certain.

/// Milliseconds of `2026-03-29T01:59:59Z`, also with a fraction, a blank instead of `T`, or an
/// offset such as `+02:00`; `None` for anything else, and for a time without a zone.
#[must_use]
pub fn iso8601_ms(text: &str) -> Option<i64> {
    let text = text.trim();
    let (date, rest) = text.split_once(['T', ' '])?;
    let mut parts = date.split('-');
    let mut part = |digits: usize| number(parts.next()?, digits);
    let days = days(part(4)?, part(2)?, part(2)?)?;
    let (clock, offset_s) = match rest.strip_suffix(['Z', 'z']) {
        Some(clock) => (clock, 0),
        None => {
            let at = rest.rfind(['+', '-'])?;
            let (hours, minutes) = rest[at + 1..].split_once(':')?;
            let (hours, minutes) = (number(hours, 2)?, number(minutes, 2)?);
            let size = hours * 3_600 + minutes * 60;
            let fits = hours <= 15 && minutes < 60;
            let sign = if rest[at..].starts_with('-') { -1 } else { 1 };
            (&rest[..at], fits.then_some(sign * size)?)
        }
    };
    let (whole, fraction) = clock.split_once('.').unwrap_or((clock, "0"));
    let mut parts = whole.split(':');
    let mut part = || number(parts.next()?, 2);
    let (hour, minute, second) = (part()?, part()?, part()?);
    let ms = number(fraction.get(..fraction.len().min(3))?, fraction.len().min(3))?;
    let ms = ms * [0, 100, 10, 1][fraction.len().min(3)];
    let fits = hour < 24 && minute < 60 && second <= 60;
    let seconds = days * 86_400 + hour * 3_600 + minute * 60 + second - offset_s;
    fits.then_some(seconds * 1_000 + ms)
}

/// Milliseconds of `YYMMDDhhmmssW` (winter, UTC+1) or `…S` (summer, UTC+2), as the meters of the
/// Netherlands and Belgium say it. The letter tells the two hours that look alike in October apart.
#[must_use]
pub fn dsmr_ms(text: &str) -> Option<i64> {
    let text = text.trim();
    let (digits, season) = text.split_at_checked(12)?;
    let offset_s = match season {
        "W" => 3_600,
        "S" => 7_200,
        _ => return None,
    };
    let part = |at: usize| number(&digits[at..at + 2], 2);
    if !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let days = days(2_000 + part(0)?, part(2)?, part(4)?)?;
    let (hour, minute, second) = (part(6)?, part(8)?, part(10)?);
    let fits = hour < 24 && minute < 60 && second <= 60;
    fits.then_some((days * 86_400 + hour * 3_600 + minute * 60 + second - offset_s) * 1_000)
}

fn number(text: &str, digits: usize) -> Option<i64> {
    let fits = text.len() == digits && text.bytes().all(|b| b.is_ascii_digit());
    if fits { text.parse().ok() } else { None }
}

/// Days from 1970-01-01 in the Gregorian calendar (years 1970 to 9999).
fn days(year: i64, month: i64, day: i64) -> Option<i64> {
    let leap = year % 4 == 0 && year % 100 != 0 || year % 400 == 0;
    let lengths = [31, if leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let index = usize::try_from(month.checked_sub(1)?).ok()?;
    let fits = (1_970..=9_999).contains(&year) && (1..=*lengths.get(index)?).contains(&day);
    let before = year - 1;
    let leaps = |year: i64| year / 4 - year / 100 + year / 400;
    let years = (year - 1_970) * 365 + leaps(before) - leaps(1_969);
    fits.then(|| years + lengths[..index].iter().sum::<i64>() + day - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_with_a_zone_are_read_and_those_without_are_not() {
        for (text, expected) in [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("2026-03-29T00:59:59.5Z", Some(1_774_745_999_500)),
            ("2026-03-29T01:59:59+01:00", Some(1_774_745_999_000)),
            ("2026-03-29 03:00:00+02:00", Some(1_774_746_000_000)),
            ("2024-02-29T12:00:00-05:30", Some(1_709_227_800_000)),
            ("2026-02-29T12:00:00Z", None),
            ("2026-03-29T01:59:59", None),
            ("2026-03-29T25:00:00Z", None),
            ("2026-13-01T00:00:00Z", None),
            ("yesterday", None),
            ("", None),
        ] {
            assert_eq!(iso8601_ms(text), expected, "{text}");
        }
    }

    #[test]
    fn the_letter_tells_the_doubled_hour_apart() {
        let summer = dsmr_ms("261025023000S").expect("a time");
        let winter = dsmr_ms("261025023000W").expect("a time");
        assert_eq!(summer, 1_792_888_200_000);
        assert_eq!(winter - summer, 3_600_000);
        // The switch in spring: the second after 01:59:59 winter time is 03:00:00 summer time.
        let before = dsmr_ms("260329015959W").expect("a time");
        assert_eq!(dsmr_ms("260329030000S"), Some(before + 1_000));
        for odd in
            ["", "261025023000", "261025023000X", "26102502300", "261332000000W", "é61025023000W"]
        {
            assert_eq!(dsmr_ms(odd), None, "{odd}");
        }
    }
}
