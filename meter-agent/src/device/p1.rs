//! DSMR P1 telegrams, as smart meters in the Netherlands, Belgium, Sweden and elsewhere send them.
//!
//! `/` identification, lines of `code(value*unit)`, `!` and a CRC-16/ARC over everything from the
//! one to the other. Telegrams without a checksum (DSMR 2 and 3) are not taken: one lost bit in them
//! is a wrong bill.

use super::Unit;
use super::obis::Code;
use super::stamp;
use super::telegram::{Amount, Found, MAX_TELEGRAM, Telegram, TelegramFault, crc16};

/// CRC-16/ARC, mirrored.
const POLYNOMIAL: u16 = 0xa001;
/// The meter's time.
const CLOCK: Code = Code::new([0, 0, 1, 0, 0]);
/// The meter's serial number, as hexadecimal characters.
const METER: Code = Code::new([0, 0, 96, 1, 1]);
const METER_SE: Code = Code::new([0, 0, 96, 1, 0]);

/// The first telegram in some bytes.
#[must_use]
pub fn find(bytes: &[u8]) -> Found {
    let Some(start) = bytes.iter().position(|&byte| byte == b'/') else {
        return Found::nothing(bytes.len());
    };
    let telegram = &bytes[start..];
    let Some(end) = telegram.iter().position(|&byte| byte == b'!') else {
        return Found::nothing(start);
    };
    let Some(line_end) = telegram[end..].iter().position(|&byte| byte == b'\n') else {
        let waits = telegram.len() - end <= 8;
        let telegram = (!waits).then_some(Err(TelegramFault::Malformed("no line end behind '!'")));
        return Found { used: if waits { start } else { start + end + 1 }, telegram };
    };
    let stated = String::from_utf8_lossy(&telegram[end + 1..end + line_end]);
    let parsed = parse(&telegram[..=end], stated.trim());
    // A telegram that broke off has the next one's beginning in it.
    let next = telegram[1..end].iter().position(|&byte| byte == b'/').filter(|_| parsed.is_err());
    let used = next.map_or(start + end + line_end + 1, |next| start + 1 + next);
    Found { used, telegram: Some(parsed) }
}

/// A telegram from `/` to `!`, and the checksum that follows it.
///
/// # Errors
/// [`TelegramFault`].
pub fn parse(bytes: &[u8], stated: &str) -> Result<Telegram, TelegramFault> {
    if bytes.len() > MAX_TELEGRAM {
        return Err(TelegramFault::TooLong);
    }
    if stated.is_empty() {
        return Err(TelegramFault::Malformed(
            "it has no checksum (DSMR 2 or 3): such meters are not supported",
        ));
    }
    let computed = format!("{:04X}", crc16(bytes, POLYNOMIAL, 0));
    if !stated.eq_ignore_ascii_case(&computed) {
        let stated = stated.chars().take(8).collect();
        return Err(TelegramFault::Checksum { stated, computed });
    }
    let text = std::str::from_utf8(bytes).map_err(|_| TelegramFault::Malformed("no text"))?;
    let mut telegram = Telegram::default();
    for line in text.lines().skip(1) {
        let Some((code, values)) = line.split_once('(') else { continue };
        let Ok(code) = code.trim().parse::<Code>() else { continue };
        // Of several groups the last one is the value; before it stands its time.
        let Some(value) = values.trim_end().strip_suffix(')') else {
            return Err(TelegramFault::Malformed("a line without its closing bracket"));
        };
        let value = value.rsplit('(').next().unwrap_or(value);
        if code == CLOCK {
            telegram.clock_ms = stamp::dsmr_ms(value);
        } else if code == METER || code == METER_SE {
            telegram.meter = characters(value);
        } else if let Some(amount) = amount(value) {
            telegram.amounts.insert(code, amount);
        }
    }
    Ok(telegram)
}

/// `000123.456*kWh`; none for what is no number.
fn amount(value: &str) -> Option<Amount> {
    let (number, unit) = value.split_once('*').unwrap_or((value, ""));
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = format!("{whole}{fraction}");
    let is_number = !digits.is_empty() && digits.len() <= 20;
    if !is_number || !digits.trim_start_matches('-').bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let unit = match unit {
        "kWh" => Some(Unit::Kwh),
        "Wh" => Some(Unit::Wh),
        "kW" => Some(Unit::Kw),
        "W" => Some(Unit::W),
        "V" => Some(Unit::V),
        "A" => Some(Unit::A),
        "Hz" => Some(Unit::Hz),
        "kvar" => Some(Unit::Kvar),
        _ => None,
    };
    let exponent = -i32::try_from(fraction.len()).ok()?;
    Some(Amount { mantissa: digits.parse().ok()?, exponent, unit })
}

/// Characters written as pairs of hexadecimal digits.
fn characters(digits: &str) -> Option<String> {
    let bytes = hex::decode(digits).ok().filter(|bytes| (1..=32).contains(&bytes.len()))?;
    String::from_utf8(bytes).ok().filter(|text| text.bytes().all(|b| b.is_ascii_graphic()))
}
