//! Numbers as people read them: rounded to the nearest, with a unit, never with a bare sign.

/// A whole number of `unit`ths with some decimals, rounded to the nearest, thousands apart.
pub(super) fn decimal(value: i64, unit: i64, decimals: usize) -> String {
    let size = i128::from(value).abs();
    let unit = i128::from(unit);
    let scaled = (size + unit / 2) / unit;
    let one = 10_i128.pow(u32::try_from(decimals).expect("few decimals"));
    let sign = if value < 0 && scaled > 0 { "−" } else { "" };
    let whole = grouped(scaled / one);
    if decimals == 0 {
        format!("{sign}{whole}")
    } else {
        format!("{sign}{whole}.{:0decimals$}", scaled % one)
    }
}

/// Digits in threes, with narrow spaces that do not break.
fn grouped(value: i128) -> String {
    let digits = value.to_string();
    if digits.len() <= 4 {
        return digits;
    }
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

/// Nano-currency with two decimals.
pub(super) fn money(nano: i64) -> String {
    decimal(nano, 10_000_000, 2)
}

/// Nano-currency without decimals.
pub(super) fn whole_money(nano: i64) -> String {
    decimal(nano, 1_000_000_000, 0)
}

/// Nano-currency per Wh in hundredths per kWh.
pub(super) fn cents(nano_per_wh: i64) -> String {
    decimal(nano_per_wh, 100, 2)
}

/// Millionths as percent with one decimal.
pub(super) fn percent(ppm: i64) -> String {
    format!("{}\u{a0}%", decimal(ppm, 1_000, 1))
}

/// Millionths as whole percent.
pub(super) fn whole_percent(ppm: i64) -> String {
    format!("{}\u{a0}%", decimal(ppm, 10_000, 0))
}

/// W in kW.
pub(super) fn kilowatts(w: i64) -> String {
    decimal(w, 100, 1)
}

/// Wh in kWh.
pub(super) fn kwh(wh: i64) -> String {
    decimal(wh, 1_000, 0)
}

/// Millionths of the nominal voltage, per unit.
pub(super) fn pu(upu: i64) -> String {
    decimal(upu, 1_000, 3)
}

/// Millionths with two decimals.
pub(super) fn hundredths(ppm: i64) -> String {
    decimal(ppm, 10_000, 2)
}

/// `1 slot`, `2 slots`.
pub(super) fn count(number: u64, one: &str, many: &str) -> String {
    let number = i64::try_from(number).unwrap_or(i64::MAX);
    format!("{}\u{a0}{}", decimal(number, 1, 0), if number == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_rounded_to_the_nearest_and_keep_their_sign() {
        assert_eq!(money(-1_995_000_000), "−2.00");
        assert_eq!(money(-4_999_999), "0.00");
        assert_eq!(cents(288_000), "28.80");
        assert_eq!(percent(333_333), "33.3\u{a0}%");
        assert_eq!(kwh(1_500), "2");
        assert_eq!(kwh(12_345_678_000), "12\u{202f}345\u{202f}678");
        assert_eq!(pu(1_025_000), "1.025");
        assert_eq!(money(i64::MIN), "−9\u{202f}223\u{202f}372\u{202f}036.85");
        assert_eq!(count(1, "slot", "slots"), "1\u{a0}slot");
    }
}
