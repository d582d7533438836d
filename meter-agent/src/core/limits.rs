//! What the owner wants kept or done, in plain words.
//!
//! ```text
//! keep   =  ["keep"] amount ["in the battery"] [span] [days]
//! ready  =  ["the car is"] ("full" | amount) "by" time [days]
//!
//! amount =  NUMBER ("%" | "percent" | "kWh" | "Wh")
//! span   =  "always" | ["from" time] "until" time | "for the evening" | "for the night"
//! time   =  "7" | "7:30" | "7:30 am" | "10 pm" | "19h" | "noon" | "midnight"
//! days   =  "every day" | "on weekdays" | "on weekends" | "on monday and friday" | …
//! ```
//!
//! Capitals, commas and small words ("the", "at least", "is", "must be") do not matter; every other
//! word must be understood, or the sentence is refused with the word that was not. "until" without
//! "from" begins at midnight. "for the evening" keeps until 17:00 what the evening may use, "for the
//! night" until 22:00. A span whose end is not after its beginning ends on the next day; days name
//! the day on which it begins. Times are on the local clock ([`Zone`](super::zone::Zone)).
//!
//! What is kept is not taken out by a plan. It is not bought either: what is not there is left to
//! the sun, or to a plan that finds it worth its price.

use std::fmt;

use units::Energy;

use super::zone::Local;

/// Quarter-hours of a day.
const DAY: u16 = 96;
/// What the evening may use is kept until this quarter (17:00), the night's until 22:00.
const EVENING: u16 = 68;
const NIGHT: u16 = 88;
/// Longest sentence, bytes.
const LONGEST: usize = 120;
const WEEKDAYS: [&str; 7] =
    ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];
/// Words that say nothing.
const SMALL: [&str; 19] = [
    "the", "a", "an", "at", "least", "is", "are", "be", "must", "should", "to", "of", "in", "on",
    "and", "charged", "my", "with", "has",
];

/// An amount of energy in a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Amount {
    /// Tenths of a percent of what it can hold, 0 to 1000.
    Permille(u16),
    /// Wh.
    Energy(Energy),
}

impl Amount {
    /// In Wh, of a store that can hold `capacity`; never more than that.
    #[must_use]
    pub fn of(self, capacity: Energy) -> Energy {
        match self {
            Self::Permille(share) => {
                let wh = i128::from(capacity.wh()) * i128::from(share) / 1_000;
                Energy::from_wh(i64::try_from(wh).expect("a part of a 64-bit number"))
            }
            Self::Energy(energy) => energy.min(capacity),
        }
    }
}

/// Days of the week.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Days([bool; 7]);

impl Days {
    const ALL: Self = Self([true; 7]);
    const WEEKDAYS: Self = Self([true, true, true, true, true, false, false]);
    const WEEKENDS: Self = Self([false, false, false, false, false, true, true]);

    fn have(self, weekday: u8) -> bool {
        self.0[usize::from(weekday % 7)]
    }
}

/// Energy that stays in the battery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep {
    amount: Amount,
    /// First quarter of the local day, 0 to 95.
    from: u16,
    /// First quarter that is free again, counted from the same midnight, above `from`; none = always.
    until: Option<u16>,
    days: Days,
}

/// Energy that must be in the car at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ready {
    amount: Amount,
    /// Quarter of the local day before which it is done, 0 to 96.
    by: u16,
    days: Days,
}

/// Why a sentence is not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?}: {problem}; write for example {} or {}", examples[0], examples[1])]
pub struct Unclear {
    text: String,
    problem: String,
    examples: [&'static str; 2],
}

const KEEP_EXAMPLES: [&str; 2] =
    ["\"30 % until 22:00\"", "\"2 kWh from 17:00 until 7:00 on weekdays\""];
const READY_EXAMPLES: [&str; 2] = ["\"full by 7:00\"", "\"80 % by 6:30 on weekdays\""];

impl Keep {
    /// Understands a sentence.
    ///
    /// # Errors
    /// [`Unclear`], which quotes it and gives two that are right.
    pub fn parse(text: &str) -> Result<Self, Unclear> {
        let unclear = |problem| Unclear { text: text.to_owned(), problem, examples: KEEP_EXAMPLES };
        Self::of(&mut Words::of(text).map_err(unclear)?).map_err(unclear)
    }

    fn of(words: &mut Words) -> Result<Self, String> {
        let _ = words.take(&["keep", "hold", "reserve", "leave"]);
        let amount = words.amount()?;
        let _ = words.take(&["battery"]);
        let mut days = words.days()?;
        let (from, until) = words.span()?;
        if days.is_none() {
            days = words.days()?;
        }
        words.end()?;
        let until = match (from, until) {
            (None, None) => None,
            (Some(_), None) => return Err("there is a \"from\" but no \"until\"".to_owned()),
            (from, Some(until)) => {
                let from = from.unwrap_or(0);
                Some(if until > from { until } else { until + DAY })
            }
        };
        Ok(Self { amount, from: from.unwrap_or(0), until, days: days.unwrap_or(Days::ALL) })
    }

    /// What must stay in a battery of this capacity while a slot lasts, if it is in the span.
    #[must_use]
    pub fn floor(&self, capacity: Energy, local: Local) -> Option<Energy> {
        let now = u16::from(local.quarter);
        let today = self.days.have(local.weekday());
        let holds = match self.until {
            None => today,
            Some(until) => {
                let yesterday = self.days.have((local.weekday() + 6) % 7);
                today && (self.from..until).contains(&now)
                    || yesterday && (self.from..until).contains(&(now + DAY))
            }
        };
        holds.then(|| self.amount.of(capacity))
    }
}

impl Ready {
    /// Understands a sentence.
    ///
    /// # Errors
    /// [`Unclear`], which quotes it and gives two that are right.
    pub fn parse(text: &str) -> Result<Self, Unclear> {
        let unclear =
            |problem| Unclear { text: text.to_owned(), problem, examples: READY_EXAMPLES };
        Self::of(&mut Words::of(text).map_err(unclear)?).map_err(unclear)
    }

    fn of(words: &mut Words) -> Result<Self, String> {
        let _ = words.take(&["car"]);
        let amount = match words.take(&["full"]) {
            Some(_) => Amount::Permille(1_000),
            None => words.amount()?,
        };
        let mut days = words.days()?;
        if words.take(&["by", "until", "before", "till"]).is_none() {
            return Err(words.missing("\"by\" and a time"));
        }
        let by = words.time()?;
        if days.is_none() {
            days = words.days()?;
        }
        words.end()?;
        Ok(Self { amount, by, days: days.unwrap_or(Days::ALL) })
    }

    /// How much must be in the store.
    #[must_use]
    pub const fn amount(&self) -> Amount {
        self.amount
    }

    /// Whether the slot that starts at `local` is the first one after the deadline.
    #[must_use]
    pub fn is_due(&self, local: Local) -> bool {
        let now = u16::from(local.quarter);
        if self.by == DAY {
            return now == 0 && self.days.have((local.weekday() + 6) % 7);
        }
        now == self.by && self.days.have(local.weekday())
    }
}

/// The words of a sentence that are still to be understood.
struct Words {
    words: Vec<String>,
    next: usize,
}

impl Words {
    fn of(text: &str) -> Result<Self, String> {
        if text.len() > LONGEST {
            return Err(format!("longer than {LONGEST} bytes"));
        }
        let spaced = text.to_lowercase().replace(',', " ").replace('%', " % ");
        let mut words = Vec::new();
        for word in spaced.split_whitespace() {
            // "2kWh", "7am" and "19h" are two words.
            let end = word.find(|c: char| !c.is_ascii_digit() && c != ':' && c != '.');
            match end {
                Some(end) if end > 0 => {
                    words.extend([word[..end].to_owned(), word[end..].to_owned()]);
                }
                _ => words.push(word.to_owned()),
            }
        }
        words.retain(|word| !SMALL.contains(&word.as_str()));
        Ok(Self { words, next: 0 })
    }

    fn peek(&self) -> Option<&str> {
        self.words.get(self.next).map(String::as_str)
    }

    fn take(&mut self, any: &[&str]) -> Option<String> {
        let word = self.peek().filter(|word| any.contains(word))?.to_owned();
        self.next += 1;
        Some(word)
    }

    fn missing(&self, wanted: &str) -> String {
        match self.peek() {
            Some(word) => format!("found {word:?} where {wanted} is needed"),
            None => format!("{wanted} is missing at the end"),
        }
    }

    fn end(&self) -> Result<(), String> {
        self.peek().map_or(Ok(()), |word| Err(format!("{word:?} is not understood")))
    }

    /// A number with at most one decimal, in tenths.
    fn tenths(&mut self) -> Option<i64> {
        let word = self.peek()?;
        let (whole, tenths) = word.split_once('.').unwrap_or((word, "0"));
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        if !digits(whole) || !digits(tenths) || whole.len() > 9 || tenths.len() > 1 {
            return None;
        }
        let value = whole.parse::<i64>().ok()? * 10 + tenths.parse::<i64>().ok()?;
        self.next += 1;
        Some(value)
    }

    fn amount(&mut self) -> Result<Amount, String> {
        let wanted = "an amount like \"30 %\" or \"2.5 kWh\"";
        let Some(tenths) = self.tenths() else { return Err(self.missing(wanted)) };
        match self.take(&["%", "percent", "kwh", "wh"]).as_deref() {
            Some("%" | "percent") => match u16::try_from(tenths) {
                Ok(permille) if permille <= 1_000 => Ok(Amount::Permille(permille)),
                _ => Err("more than 100 %".to_owned()),
            },
            Some("kwh") => Ok(Amount::Energy(Energy::from_wh(tenths * 100))),
            Some(_) if tenths % 10 == 0 => Ok(Amount::Energy(Energy::from_wh(tenths / 10))),
            Some(_) => Err("a part of a Wh".to_owned()),
            None => Err(self.missing("\"%\", \"kWh\" or \"Wh\"")),
        }
    }

    /// Beginning and end of a span, where there are such words.
    fn span(&mut self) -> Result<(Option<u16>, Option<u16>), String> {
        if self.take(&["always"]).is_some() {
            return Ok((None, None));
        }
        if self.take(&["for"]).is_some() {
            return match self.take(&["evening", "night"]).as_deref() {
                Some("evening") => Ok((None, Some(EVENING))),
                Some(_) => Ok((None, Some(NIGHT))),
                None => Err(self.missing("\"evening\" or \"night\"")),
            };
        }
        let from = match self.take(&["from"]) {
            Some(_) => Some(self.time()?).map(|from| from % DAY),
            None => None,
        };
        let until = match self.take(&["until", "till", "before"]) {
            Some(_) => Some(self.time()?),
            None => None,
        };
        Ok((from, until))
    }

    /// A time on a quarter-hour, in quarters since midnight, 0 to 96.
    fn time(&mut self) -> Result<u16, String> {
        let wanted = "a time like \"7:00\" or \"10 pm\"";
        match self.take(&["midnight", "noon"]).as_deref() {
            Some("noon") => return Ok(DAY / 2),
            Some(_) => return Ok(DAY),
            None => {}
        }
        let Some(word) = self.peek().map(str::to_owned) else { return Err(self.missing(wanted)) };
        let (hours, minutes) = word.split_once(':').unwrap_or((&word, "00"));
        let (Ok(mut hours), Ok(minutes)) = (hours.parse::<u16>(), minutes.parse::<u16>()) else {
            return Err(self.missing(wanted));
        };
        self.next += 1;
        match self.take(&["am", "pm", "h", "o'clock", "uhr"]).as_deref() {
            Some("am" | "pm") if !(1..=12).contains(&hours) => {
                return Err(format!("{word:?} is no time before or after noon"));
            }
            Some("am") => hours %= 12,
            Some("pm") => hours = hours % 12 + 12,
            _ => {}
        }
        if hours > 24 || minutes > 59 || hours == 24 && minutes > 0 {
            return Err(format!("{word:?} is no time of day"));
        }
        if minutes % 15 != 0 {
            return Err(format!("{word:?} is not on a quarter-hour, which is the market's step"));
        }
        Ok(hours * 4 + minutes / 15)
    }

    fn days(&mut self) -> Result<Option<Days>, String> {
        if self.take(&["every"]).is_some() {
            return match self.take(&["day", "weekday", "weekend"]).as_deref() {
                Some("day") => Ok(Some(Days::ALL)),
                Some("weekday") => Ok(Some(Days::WEEKDAYS)),
                Some(_) => Ok(Some(Days::WEEKENDS)),
                None => Err(self.missing("\"day\"")),
            };
        }
        match self.take(&["daily", "weekdays", "workdays", "weekends"]).as_deref() {
            Some("daily") => return Ok(Some(Days::ALL)),
            Some("weekends") => return Ok(Some(Days::WEEKENDS)),
            Some(_) => return Ok(Some(Days::WEEKDAYS)),
            None => {}
        }
        let mut days = [false; 7];
        while let Some(day) = self.peek().and_then(|word| {
            let word = word.strip_suffix('s').unwrap_or(word);
            WEEKDAYS.iter().position(|day| *day == word)
        }) {
            days[day] = true;
            self.next += 1;
        }
        Ok(days.contains(&true).then_some(Days(days)))
    }
}

/// A quarter of the day as a time.
struct Clock(u16);

impl fmt::Display for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{:02}", self.0 / 4, self.0 % 4 * 15)
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Permille(share) if share % 10 == 0 => write!(f, "{} %", share / 10),
            Self::Permille(share) => write!(f, "{}.{} %", share / 10, share % 10),
            Self::Energy(energy) if energy.wh() % 100 == 0 => {
                write!(f, "{}.{} kWh", energy.wh() / 1_000, energy.wh() % 1_000 / 100)
            }
            Self::Energy(energy) => write!(f, "{} Wh", energy.wh()),
        }
    }
}

impl fmt::Display for Days {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::ALL => f.write_str("every day"),
            Self::WEEKDAYS => f.write_str("on weekdays"),
            Self::WEEKENDS => f.write_str("on weekends"),
            Self(days) => {
                let named = WEEKDAYS.iter().zip(days).filter(|(_, is_in)| *is_in);
                let names: Vec<&str> = named.map(|(name, _)| *name).collect();
                write!(f, "on {}", names.join(" and "))
            }
        }
    }
}

impl fmt::Display for Keep {
    /// A sentence that [`Keep::parse`] understands as the same.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "keep {}", self.amount)?;
        match self.until {
            None => f.write_str(" always")?,
            Some(until) => {
                let until = if until > DAY { until - DAY } else { until };
                write!(f, " from {} until {}", Clock(self.from), Clock(until))?;
            }
        }
        write!(f, " {}", self.days)
    }
}

impl fmt::Display for Ready {
    /// A sentence that [`Ready::parse`] understands as the same.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.amount {
            Amount::Permille(1_000) => f.write_str("the car is full")?,
            amount => write!(f, "the car has {amount}")?,
        }
        write!(f, " by {} {}", Clock(self.by), self.days)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_are_understood_and_say_what_was_understood() {
        for (text, expected) in [
            ("30 % until 22:00", "keep 30 % from 0:00 until 22:00 every day"),
            ("keep 30% for the evening", "keep 30 % from 0:00 until 17:00 every day"),
            ("Keep at least 12.5 percent in the battery always", "keep 12.5 % always every day"),
            (
                "2 kWh from 17:00 until 7:00 on weekdays",
                "keep 2.0 kWh from 17:00 until 7:00 on weekdays",
            ),
            ("2.5kWh till 10pm", "keep 2.5 kWh from 0:00 until 22:00 every day"),
            ("350 Wh", "keep 350 Wh always every day"),
            ("100 % on Sundays", "keep 100 % always on sunday"),
            (
                "50 % on monday and friday until noon",
                "keep 50 % from 0:00 until 12:00 on monday and friday",
            ),
            (
                "20 % from 6 am until midnight every weekend",
                "keep 20 % from 6:00 until 24:00 on weekends",
            ),
            ("10 % for the night, daily", "keep 10 % from 0:00 until 22:00 every day"),
        ] {
            let keep = Keep::parse(text).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(keep.to_string(), expected);
            assert_eq!(Keep::parse(expected), Ok(keep), "what is said is understood");
        }
    }

    #[test]
    fn deadlines_are_understood_and_say_what_was_understood() {
        for (text, expected) in [
            ("full by 7:00", "the car is full by 7:00 every day"),
            ("the car is full by 7", "the car is full by 7:00 every day"),
            (
                "The car must be charged to 80 % by 6:30 am on weekdays",
                "the car has 80 % by 6:30 on weekdays",
            ),
            ("20 kWh before midnight", "the car has 20.0 kWh by 24:00 every day"),
            ("full on saturdays by 19h", "the car is full by 19:00 on saturday"),
        ] {
            let ready = Ready::parse(text).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(ready.to_string(), expected);
            assert_eq!(Ready::parse(expected), Ok(ready), "what is said is understood");
        }
    }

    #[test]
    fn what_is_not_understood_is_quoted_with_two_ways_to_say_it() {
        for (text, problem) in [
            ("", "an amount like \"30 %\" or \"2.5 kWh\" is missing at the end"),
            ("some", "found \"some\" where an amount like"),
            ("30", "\"%\", \"kWh\" or \"Wh\" is missing at the end"),
            ("130 %", "more than 100 %"),
            ("30 % until", "a time like \"7:00\" or \"10 pm\" is missing at the end"),
            ("30 % until 25:00", "\"25:00\" is no time of day"),
            ("30 % until 22:10", "not on a quarter-hour"),
            ("30 % until 13 pm", "no time before or after noon"),
            ("30 % from 17:00", "no \"until\""),
            ("30 % until 22:00 unless it rains", "\"unless\" is not understood"),
            ("30 % for the weekend", "found \"weekend\" where \"evening\" or \"night\""),
            ("0.5 Wh", "a part of a Wh"),
            ("-5 %", "found \"-5\""),
        ] {
            let error = Keep::parse(text).expect_err(text).to_string();
            assert!(error.contains(problem), "{error}");
            assert!(error.starts_with(&format!("{text:?}: ")), "{error}");
            for example in KEEP_EXAMPLES {
                assert!(error.contains(example), "{error}");
                assert!(Keep::parse(example.trim_matches('"')).is_ok());
            }
        }
        for (text, problem) in [
            ("full", "\"by\" and a time is missing at the end"),
            ("full at noon", "found \"noon\" where \"by\" and a time is needed"),
            ("by 7:00", "found \"by\" where an amount"),
        ] {
            let error = Ready::parse(text).expect_err(text).to_string();
            assert!(error.contains(problem), "{error}");
            for example in READY_EXAMPLES {
                assert!(error.contains(example) && Ready::parse(example.trim_matches('"')).is_ok());
            }
        }
        assert!(Keep::parse(&"9".repeat(200)).is_err());
    }

    #[test]
    fn a_floor_holds_in_its_span_on_its_days() {
        // 1970-01-05 was a Monday.
        let at = |weekday: i64, quarter: u8| Local { day: 4 + weekday, quarter };
        let capacity = Energy::from_wh(10_000);
        for (text, local, expected) in [
            ("30 % until 22:00", at(0, 0), Some(3_000)),
            ("30 % until 22:00", at(6, 87), Some(3_000)),
            ("30 % until 22:00", at(0, 88), None),
            ("2 kWh from 17:00 until 7:00 on weekdays", at(0, 67), None),
            ("2 kWh from 17:00 until 7:00 on weekdays", at(0, 68), Some(2_000)),
            ("2 kWh from 17:00 until 7:00 on weekdays", at(5, 27), Some(2_000)),
            ("2 kWh from 17:00 until 7:00 on weekdays", at(5, 28), None),
            ("2 kWh from 17:00 until 7:00 on weekdays", at(5, 68), None),
            ("2 kWh from 17:00 until 7:00 on weekdays", at(0, 0), None),
            ("50 kWh", at(3, 4), Some(10_000)),
            ("10 % on sundays", at(5, 4), None),
        ] {
            let floor = Keep::parse(text).expect(text).floor(capacity, local);
            assert_eq!(floor.map(Energy::wh), expected, "{text} {local:?}");
        }
        for (text, local, expected) in [
            ("full by 7:00", at(2, 28), true),
            ("full by 7:00", at(2, 29), false),
            ("full by midnight on fridays", at(5, 0), true),
            ("full by midnight on fridays", at(4, 0), false),
        ] {
            assert_eq!(Ready::parse(text).expect(text).is_due(local), expected, "{text} {local:?}");
        }
    }
}
