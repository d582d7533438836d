//! Exact decimal arithmetic for what devices send: `number × 10^exponent` to a whole number.

/// Digits of a decimal text that are looked at.
const MAX_DIGITS: usize = 30;
/// Largest power of ten that is applied.
const MAX_EXPONENT: i32 = 30;

/// `value × 10^exponent`, rounded half away from zero; `None` beyond the range of `i64`.
#[must_use]
pub fn scale(value: i128, exponent: i32) -> Option<i64> {
    if !(-MAX_EXPONENT..=MAX_EXPONENT).contains(&exponent) {
        return None;
    }
    let power = 10_i128.checked_pow(exponent.unsigned_abs())?;
    let scaled = if exponent >= 0 { value.checked_mul(power)? } else { divide(value, power) };
    i64::try_from(scaled).ok()
}

/// `value × 10^exponent` of a binary float, computed exactly and rounded half away from zero;
/// `None` for what is no number or beyond the range of `i64`.
#[must_use]
pub fn scale_float(value: f64, exponent: i32) -> Option<i64> {
    if !value.is_finite() || !(-MAX_EXPONENT..=18).contains(&exponent) {
        return None;
    }
    let bits = value.to_bits();
    let raw_exponent = i32::try_from((bits >> 52) & 0x7ff).expect("eleven bits");
    let fraction = i128::from(bits & ((1 << 52) - 1));
    let (mantissa, power) = if raw_exponent == 0 {
        (fraction, -1_074)
    } else {
        (fraction | 1 << 52, raw_exponent - 1_075)
    };
    let mantissa = if value.is_sign_negative() { -mantissa } else { mantissa };
    if mantissa == 0 {
        return Some(0);
    }
    let tens = 10_i128.checked_pow(exponent.unsigned_abs())?;
    let (numerator, denominator) =
        if exponent >= 0 { (mantissa.checked_mul(tens)?, 1) } else { (mantissa, tens) };
    let scaled = if power >= 0 {
        let factor = 1_i128.checked_shl(u32::try_from(power).ok()?).filter(|_| power < 64)?;
        divide(numerator.checked_mul(factor)?, denominator)
    } else if power < -120 {
        0
    } else {
        let factor = 1_i128 << power.unsigned_abs();
        // A denominator beyond the range belongs to a number far below a half.
        denominator.checked_mul(factor).map_or(0, |denominator| divide(numerator, denominator))
    };
    i64::try_from(scaled).ok()
}

/// `value / by`, rounded half away from zero; `by` is at least 1.
#[must_use]
pub fn divide_by(value: i64, by: i64) -> i64 {
    let quotient = divide(i128::from(value), i128::from(by));
    i64::try_from(quotient).expect("no larger than the value")
}

/// Quotient rounded half away from zero.
fn divide(value: i128, by: i128) -> i128 {
    let (quotient, rest) = (value / by, value % by);
    if rest.unsigned_abs() >= by.unsigned_abs().div_ceil(2) {
        quotient + value.signum()
    } else {
        quotient
    }
}

/// Parses decimal text such as `-12.50` or `1.2e3` and returns it times `10^exponent`; `None` when
/// it is no number or out of range.
#[must_use]
pub fn parse(text: &str, exponent: i32) -> Option<i64> {
    let text = text.trim();
    let (number, own_exponent) = match text.split_once(['e', 'E']) {
        Some((number, power)) => (number, power.parse::<i32>().ok()?),
        None => (text, 0),
    };
    let negative = number.starts_with('-');
    let digits = number.strip_prefix(['-', '+']).unwrap_or(number);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all_digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    let length = whole.len() + fraction.len();
    if !(1..=MAX_DIGITS).contains(&length) || !all_digits(whole) || !all_digits(fraction) {
        return None;
    }
    let value: i128 = format!("{whole}{fraction}").parse().ok()?;
    let value = if negative { -value } else { value };
    let places = i32::try_from(fraction.len()).ok()?;
    scale(value, exponent.checked_add(own_exponent)?.checked_sub(places)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_scale_exactly() {
        for (value, exponent, expected) in [
            (12, 3, Some(12_000)),
            (12_345, -1, Some(1_235)),
            (12_344, -1, Some(1_234)),
            (-12_345, -1, Some(-1_235)),
            (4, -1, Some(0)),
            (5, -1, Some(1)),
            (i128::from(i64::MAX), 1, None),
            (1, 31, None),
            (1, -30, Some(0)),
        ] {
            assert_eq!(scale(value, exponent), expected, "{value}e{exponent}");
        }
    }

    #[test]
    fn floats_scale_as_their_exact_binary_value() {
        for (value, exponent, expected) in [
            (0.0, 6, Some(0)),
            (1_234.5, 6, Some(1_234_500_000)),
            (f64::from(1_234.567_f32), 6, Some(1_234_567_017)),
            (-0.5, 0, Some(-1)),
            (0.499_999, 0, Some(0)),
            (2.0e18, 0, Some(2_000_000_000_000_000_000)),
            (2.0e19, 0, None),
            (f64::MAX, 0, None),
            (f64::MIN_POSITIVE, 18, Some(0)),
            (f64::NAN, 0, None),
            (f64::INFINITY, 0, None),
            (1_500.0, -3, Some(2)),
        ] {
            assert_eq!(scale_float(value, exponent), expected, "{value}e{exponent}");
        }
    }

    #[test]
    fn decimal_text_is_read_exactly_or_not_at_all() {
        for (text, exponent, expected) in [
            ("1290.396", 6, Some(1_290_396_000)),
            ("-894", 3, Some(-894_000)),
            (" 12.50 ", 2, Some(1_250)),
            (".5", 1, Some(5)),
            ("5.", 1, Some(50)),
            ("1.2e3", 0, Some(1_200)),
            ("1e-3", 3, Some(1)),
            ("", 0, None),
            (".", 0, None),
            ("-", 0, None),
            ("nan", 0, None),
            ("12x", 0, None),
            ("1.2.3", 0, None),
            ("1e99", 0, None),
            ("99999999999999999999", 0, None),
            ("0000000000000000000000000000000000000001", 0, None),
        ] {
            assert_eq!(parse(text, exponent), expected, "{text:?}e{exponent}");
        }
    }
}
