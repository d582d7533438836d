//! The household's clock on the wall: offset from UTC and daylight-saving time.
//!
//! A zone is a rule as POSIX writes it (`CET-1CEST,M3.5.0,M10.5.0/3`): names, offsets, and on which
//! Sunday the clocks change. It holds as long as the law does, which is what an owner's "until
//! 22:00" needs; a database of every change since 1970 would be larger than the agent's core.
//! Names of European zones are known; elsewhere the owner writes the rule, which is the last
//! line of the file that `/etc/localtime` points to.

use units::Slot;

/// Zones by name, with their rules.
const NAMED: [(&str, &str); 7] = [
    ("UTC Etc/UTC", "UTC0"),
    (
        "Europe/London Europe/Belfast Europe/Jersey Europe/Guernsey Europe/Isle_of_Man",
        "GMT0BST,M3.5.0/1,M10.5.0",
    ),
    ("Europe/Dublin", "GMT0IST,M3.5.0/1,M10.5.0"),
    ("Europe/Lisbon Atlantic/Madeira Atlantic/Canary Atlantic/Faroe", "WET0WEST,M3.5.0/1,M10.5.0"),
    ("Atlantic/Reykjavik", "GMT0"),
    (
        "Europe/Berlin Europe/Vienna Europe/Zurich Europe/Paris Europe/Madrid Europe/Rome \
         Europe/Amsterdam Europe/Brussels Europe/Luxembourg Europe/Copenhagen Europe/Oslo \
         Europe/Stockholm Europe/Prague Europe/Warsaw Europe/Budapest Europe/Bratislava \
         Europe/Ljubljana Europe/Zagreb Europe/Belgrade Europe/Sarajevo Europe/Skopje \
         Europe/Podgorica Europe/Tirane Europe/Malta Europe/Andorra Europe/Monaco Europe/Vaduz \
         Europe/San_Marino Europe/Vatican Europe/Gibraltar",
        "CET-1CEST,M3.5.0,M10.5.0/3",
    ),
    (
        "Europe/Athens Europe/Helsinki Europe/Tallinn Europe/Riga Europe/Vilnius Europe/Sofia \
         Europe/Bucharest Europe/Kyiv Europe/Mariehamn Asia/Nicosia",
        "EET-2EEST,M3.5.0/3,M10.5.0/4",
    ),
];
const DAY_S: i64 = 86_400;
const QUARTER_S: i64 = 900;

/// Why a text names no zone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no time zone I know: give a European one (\"Europe/Berlin\"), or a rule as POSIX writes it \
     (\"CET-1CEST,M3.5.0,M10.5.0/3\", the last line of the file that /etc/localtime points to), with \
     offsets in whole quarter-hours"
)]
pub struct UnknownZone(String);

/// A local time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Zone {
    name: String,
    standard_s: i64,
    daylight: Option<Daylight>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Daylight {
    offset_s: i64,
    begins: Change,
    ends: Change,
}

/// A weekday of a month at a time of day: POSIX's `Mm.w.d/time`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Change {
    month: i64,
    /// Which one in the month, 5 = the last.
    week: i64,
    /// Sunday = 0.
    weekday: i64,
    time_s: i64,
}

/// A slot on the local clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Local {
    /// Days since 1970-01-01, local time.
    pub day: i64,
    /// Quarter-hours since local midnight when the slot starts, 0 to 95.
    pub quarter: u8,
}

impl Local {
    /// Day of the week, Monday = 0.
    #[must_use]
    pub fn weekday(self) -> u8 {
        // 1970-01-01 was a Thursday.
        u8::try_from((self.day + 3).rem_euclid(7)).expect("below 7")
    }
}

impl Default for Zone {
    fn default() -> Self {
        Self { name: "UTC".to_owned(), standard_s: 0, daylight: None }
    }
}

impl Zone {
    /// A zone by name, or by its rule.
    ///
    /// # Errors
    /// [`UnknownZone`].
    pub fn parse(text: &str) -> Result<Self, UnknownZone> {
        let unknown = || UnknownZone(text.to_owned());
        let named = NAMED.iter().find(|(names, _)| names.split(' ').any(|name| name == text));
        let rule = named.map_or(text, |&(_, rule)| rule);
        let zone = Self { name: text.to_owned(), ..Self::posix(rule).ok_or_else(unknown)? };
        let offsets = [Some(zone.standard_s), zone.daylight.map(|daylight| daylight.offset_s)];
        let fits = |offset: i64| offset % QUARTER_S == 0 && offset.abs() <= DAY_S;
        if offsets.into_iter().flatten().all(fits) { Ok(zone) } else { Err(unknown()) }
    }

    /// As it was given.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A slot on the local clock.
    #[must_use]
    pub fn local(&self, slot: Slot) -> Local {
        on_clock(slot, self.offset_s(slot).0)
    }

    /// Day of the week (Monday = 0) and quarter of the day, for a slot and all that follow.
    pub(crate) fn quarters(&self, from: i64) -> impl Iterator<Item = (u8, u8)> + '_ {
        let (mut offset_s, mut until) = (0, from);
        (from..).map(move |number| {
            if number >= until {
                (offset_s, until) = self.offset_s(Slot::new(number));
            }
            let local = on_clock(Slot::new(number), offset_s);
            (local.weekday(), local.quarter)
        })
    }

    /// Seconds that local time is ahead of UTC at the start of a slot, and the first slot in which
    /// that has to be asked again.
    fn offset_s(&self, slot: Slot) -> (i64, i64) {
        let Some(daylight) = &self.daylight else { return (self.standard_s, i64::MAX) };
        let utc_s = slot.start_ms() / 1_000;
        let year = year_of((utc_s + self.standard_s).div_euclid(DAY_S));
        let begins_s = daylight.begins.local_s(year) - self.standard_s;
        let ends_s = daylight.ends.local_s(year) - daylight.offset_s;
        let is_daylight = if begins_s < ends_s {
            (begins_s..ends_s).contains(&utc_s)
        } else {
            !(ends_s..begins_s).contains(&utc_s)
        };
        let new_year_s = days_of(year + 1, 1) * DAY_S - self.standard_s;
        let until_s = [begins_s, ends_s, new_year_s].into_iter().filter(|&s| s > utc_s).min();
        let until =
            until_s.map_or(slot.number() + 1, |s| (s + QUARTER_S - 1).div_euclid(QUARTER_S));
        (if is_daylight { daylight.offset_s } else { self.standard_s }, until)
    }

    fn posix(rule: &str) -> Option<Self> {
        let mut parts = rule.split(',');
        let rest = skip_name(parts.next()?)?;
        let (standard_s, rest) = offset(rest)?;
        // POSIX counts westwards.
        let standard_s = -standard_s;
        if rest.is_empty() {
            let zone = Self { name: String::new(), standard_s, daylight: None };
            return parts.next().is_none().then_some(zone);
        }
        let rest = skip_name(rest)?;
        let offset_s = if rest.is_empty() {
            standard_s + 3_600
        } else {
            let (west_s, rest) = offset(rest)?;
            if !rest.is_empty() {
                return None;
            }
            -west_s
        };
        let (begins, ends) = (Change::parse(parts.next()?)?, Change::parse(parts.next()?)?);
        let daylight = Some(Daylight { offset_s, begins, ends });
        parts.next().is_none().then_some(Self { name: String::new(), standard_s, daylight })
    }
}

/// A slot on a clock that is so many seconds ahead of UTC.
fn on_clock(slot: Slot, offset_s: i64) -> Local {
    let quarters = slot.number() + offset_s / QUARTER_S;
    Local {
        day: quarters.div_euclid(Slot::PER_DAY),
        quarter: u8::try_from(quarters.rem_euclid(Slot::PER_DAY)).expect("below 96"),
    }
}

impl Change {
    fn parse(text: &str) -> Option<Self> {
        let (date, time) = text.split_once('/').unwrap_or((text, "2"));
        let mut numbers = date.strip_prefix('M')?.split('.').map(str::parse::<i64>);
        let mut next = || numbers.next()?.ok();
        let (month, week, weekday) = (next()?, next()?, next()?);
        let (time_s, rest) = offset(time)?;
        let fits =
            (1..=12).contains(&month) && (1..=5).contains(&week) && (0..7).contains(&weekday);
        (fits && next().is_none() && rest.is_empty()).then_some(Self {
            month,
            week,
            weekday,
            time_s,
        })
    }

    /// Seconds since 1970 on the local clock before the change.
    fn local_s(&self, year: i64) -> i64 {
        let first = days_of(year, self.month);
        // 1970-01-01 was a Thursday.
        let weekday_of_first = (first + 4).rem_euclid(7);
        let mut day = first + (self.weekday - weekday_of_first).rem_euclid(7) + 7 * (self.week - 1);
        let after =
            if self.month == 12 { days_of(year + 1, 1) } else { days_of(year, self.month + 1) };
        if day >= after {
            day -= 7;
        }
        day * DAY_S + self.time_s
    }
}

/// What follows a zone's name: three letters or more, or anything between `<` and `>`.
fn skip_name(text: &str) -> Option<&str> {
    if let Some(quoted) = text.strip_prefix('<') {
        return quoted.split_once('>').map(|(_, rest)| rest);
    }
    let rest = text.trim_start_matches(|c: char| c.is_ascii_alphabetic());
    (text.len() - rest.len() >= 3).then_some(rest)
}

/// `[+-]h[h[h]][:mm[:ss]]` in seconds, and what follows it.
fn offset(text: &str) -> Option<(i64, &str)> {
    let (sign, text) = match text.as_bytes().first()? {
        b'-' => (-1, &text[1..]),
        b'+' => (1, &text[1..]),
        _ => (1, text),
    };
    let end = text.find(|c: char| !c.is_ascii_digit() && c != ':').unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    let mut seconds = 0;
    for (i, part) in digits.split(':').enumerate() {
        let number: i64 = part.parse().ok()?;
        let (most, unit) = *[(167, 3_600), (59, 60), (59, 1)].get(i)?;
        if number > most {
            return None;
        }
        seconds += number * unit;
    }
    Some((sign * seconds, rest))
}

/// Days from 1970-01-01 to the first of a month (H. Hinnant's algorithm).
fn days_of(year: i64, month: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// The year of a day since 1970-01-01.
fn year_of(day: i64) -> i64 {
    let mut year = 1970 + day.div_euclid(366);
    while days_of(year + 1, 1) <= day {
        year += 1;
    }
    year
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Slot that contains a moment of 2016.
    fn slot(month: i64, day: i64, hour: i64, minute: i64) -> Slot {
        let days = days_of(2016, month) + day - 1;
        Slot::new(days * 96 + hour * 4 + minute / 15)
    }

    fn clock(zone: &Zone, slot: Slot) -> String {
        let local = zone.local(slot);
        let (day, quarter) = (local.weekday(), local.quarter);
        format!("{day} {:02}:{:02}", quarter / 4, quarter % 4 * 15)
    }

    #[test]
    fn clocks_change_where_the_law_says() {
        for (zone, at, expected) in [
            ("Europe/Berlin", slot(1, 18, 0, 0), "0 01:00"),
            ("Europe/Berlin", slot(3, 27, 0, 45), "6 01:45"),
            ("Europe/Berlin", slot(3, 27, 1, 0), "6 03:00"),
            ("Europe/Berlin", slot(10, 30, 0, 45), "6 02:45"),
            ("Europe/Berlin", slot(10, 30, 1, 0), "6 02:00"),
            ("Europe/Berlin", slot(12, 31, 23, 0), "6 00:00"),
            ("Europe/London", slot(3, 27, 1, 0), "6 02:00"),
            ("Europe/Lisbon", slot(7, 1, 12, 0), "4 13:00"),
            ("Europe/Helsinki", slot(7, 1, 12, 0), "4 15:00"),
            ("UTC", slot(7, 1, 12, 15), "4 12:15"),
            // New York, Adelaide (southern summer) and Kathmandu (45 minutes, no change).
            ("EST5EDT,M3.2.0,M11.1.0", slot(3, 13, 7, 0), "6 03:00"),
            ("EST5EDT,M3.2.0,M11.1.0", slot(11, 6, 6, 0), "6 01:00"),
            ("ACST-9:30ACDT,M10.1.0,M4.1.0/3", slot(1, 1, 0, 0), "4 10:30"),
            ("ACST-9:30ACDT,M10.1.0,M4.1.0/3", slot(7, 1, 0, 0), "4 09:30"),
            ("<+0545>-5:45", slot(7, 1, 0, 0), "4 05:45"),
        ] {
            let zone = Zone::parse(zone).expect(zone);
            assert_eq!(clock(&zone, at), expected, "{} {at}", zone.name());
        }
    }

    #[test]
    fn a_day_of_change_has_92_or_100_quarters() {
        let zone = Zone::parse("Europe/Berlin").expect("known");
        for (month, day, expected) in [(3, 27, 92), (10, 30, 100), (6, 1, 96)] {
            let days = days_of(2016, month) + day - 1;
            let near = slot(month, day, 0, 0).offset(-96).number();
            let in_day = (near..near + 300).filter(|&n| zone.local(Slot::new(n)).day == days);
            assert_eq!(in_day.count(), expected);
            let walked: Vec<_> = zone.quarters(near).take(300).collect();
            let asked = (near..near + 300).map(|n| zone.local(Slot::new(n)));
            assert!(asked.map(|l| (l.weekday(), l.quarter)).eq(walked));
        }
    }

    #[test]
    fn what_is_no_zone_is_refused_with_a_way_out() {
        for text in [
            "",
            "Berlin",
            "CET",
            "CET-1CEST",
            "CET-1CEST,M3.5.0",
            "CET-1CEST,M13.5.0,M10.5.0",
            "CET-1:10",
            "CET-1CEST,M3.5.0,M10.5.0/3,x",
            "CET-99",
            "CET-1CEST,J60,J300",
        ] {
            let error = Zone::parse(text).expect_err(text).to_string();
            assert!(
                error.contains(&format!("{text:?}")) && error.contains("Europe/Berlin"),
                "{error}"
            );
        }
    }
}
