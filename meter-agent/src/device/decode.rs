//! Registers to numbers: widths, byte orders, sentinels and scale factors.

use super::fields::{Field, NumberType, Sentinels, Valid, WordOrder, Zero};
use super::quantity::{State, Unit};
use super::{Absence, Observed, decimal};

/// SunSpec's mark for a scale factor that is not there.
const NO_SCALE: u16 = 0x8000;
/// Range of SunSpec scale factors.
const SCALES: std::ops::RangeInclusive<i16> = -10..=10;

/// A field's value in its canonical unit, before what positive means.
///
/// `words` are the field's registers, `scale` the content of its scale register when it has one;
/// `sentinels` are those of the block.
pub fn number(
    field: &Field,
    words: &[u16],
    order: WordOrder,
    scale: Option<u16>,
    sentinels: Option<Sentinels>,
) -> Observed<i64> {
    let raw = bits(words, order);
    if is_sentinel(field, raw, sentinels) {
        return Observed::Absent(Absence::Sentinel);
    }
    if field.unit == Unit::State {
        return state(field, raw);
    }
    let scaled = exponent(field, scale).and_then(|exponent| {
        let value = match field.kind {
            NumberType::Float32 => {
                decimal::scale_float(f64::from(f32::from_bits(low32(raw))), exponent)
            }
            NumberType::Float64 => decimal::scale_float(f64::from_bits(raw), exponent),
            _ => decimal::scale(integer(field.kind, raw) + i128::from(field.offset), exponent),
        };
        match value {
            Some(value) => Observed::Value(decimal::divide_by(value, field.unit.divisor())),
            None => Observed::Fault(format!("{} of {raw:#x} is out of range", field.key)),
        }
    });
    scaled.and_then(|value| believed(&field.key, value, field.valid, field.unit))
}

/// A value, unless it lies outside what the map believes.
pub fn believed(key: &str, value: i64, valid: Option<Valid>, unit: Unit) -> Observed<i64> {
    let edge =
        |edge: i64| decimal::scale(i128::from(edge), unit.exponent()).map(|e| e / unit.divisor());
    match valid {
        Some(valid)
            if edge(valid.min).is_some_and(|min| value < min)
                || edge(valid.max).is_some_and(|max| value > max) =>
        {
            Observed::Fault(format!(
                "{key} is {value} {}, outside {} to {} that this device can mean",
                unit.canonical(),
                valid.min,
                valid.max
            ))
        }
        _ => Observed::Value(value),
    }
}

/// A word in the vocabulary of states.
fn state(field: &Field, raw: u64) -> Observed<i64> {
    let found = if field.state_bits.is_empty() {
        field.states.get(&integer(field.kind, raw).to_string()).copied()
    } else {
        let lowest = field.state_bits.iter().find(|&(&bit, _)| raw >> bit & 1 == 1);
        Some(lowest.map_or(State::Idle, |(_, &state)| state))
    };
    match found {
        Some(state) => Observed::Value(state.code()),
        None => Observed::Fault(format!("{} is {raw}, which the map does not know", field.key)),
    }
}

/// Where the field's counter starts again, in its canonical unit.
pub fn rolls_over_at(field: &Field, scale: Option<u16>) -> Option<i64> {
    let bits = match (field.rolls_over_bits, field.kind) {
        (Some(bits), _) => u32::from(bits),
        (None, NumberType::Acc32) => 32,
        _ => return None,
    };
    let modulus = 1_i128.checked_shl(bits)?;
    let scaled = decimal::scale(modulus, exponent(field, scale).value()?)?;
    Some(decimal::divide_by(scaled, field.unit.divisor()))
}

/// The smallest step between two values of the field around this one, in its canonical unit: what
/// the last digit is worth, and for a float the distance to its neighbour, at least 1, and at least
/// what the map says.
///
/// A 32-bit float has 24 binary digits: a counter of 60 000 kWh moves in steps of 4 Wh.
pub fn resolution(
    field: &Field,
    words: &[u16],
    order: WordOrder,
    scale: Option<u16>,
) -> Option<i64> {
    let raw = bits(words, order);
    let exponent = exponent(field, scale).value()?;
    let step = match field.kind {
        NumberType::Float32 => f32_step(f32::from_bits(low32(raw))),
        NumberType::Float64 => f64_step(f64::from_bits(raw)),
        _ => 1.0,
    };
    let carried = decimal::scale_float(step, exponent)?.max(1);
    let carried = decimal::divide_by(carried, field.unit.divisor()).max(1);
    let stated = field.counter.and_then(|counter| counter.resolution_mwh);
    Some(stated.map_or(carried, |stated| carried.max(stated)))
}

/// The distance from a float to the next one away from zero.
fn f32_step(value: f32) -> f64 {
    f64::from(value.abs().next_up()) - f64::from(value.abs())
}

fn f64_step(value: f64) -> f64 {
    value.abs().next_up() - value.abs()
}

/// The power of ten that leads to the canonical unit.
fn exponent(field: &Field, scale: Option<u16>) -> Observed<i32> {
    let fixed = field.scale10 + field.unit.exponent();
    match scale {
        None => Observed::Value(fixed),
        Some(NO_SCALE) => Observed::Absent(Absence::Sentinel),
        Some(raw) if SCALES.contains(&raw.cast_signed()) => {
            Observed::Value(fixed + i32::from(raw.cast_signed()))
        }
        Some(raw) => Observed::Fault(format!(
            "scale factor of {} is {}, outside -10 to 10",
            field.key,
            raw.cast_signed()
        )),
    }
}

/// The registers as one big-endian number.
fn bits(words: &[u16], order: WordOrder) -> u64 {
    let swap_words = matches!(order, WordOrder::Cdab | WordOrder::Dcba);
    let swap_bytes = matches!(order, WordOrder::Badc | WordOrder::Dcba);
    let join = |high: u64, &word: &u16| {
        let word = if swap_bytes { word.swap_bytes() } else { word };
        high << 16 | u64::from(word)
    };
    if swap_words { words.iter().rev().fold(0, join) } else { words.iter().fold(0, join) }
}

fn low32(raw: u64) -> u32 {
    u32::try_from(raw & 0xffff_ffff).expect("masked")
}

fn integer(kind: NumberType, raw: u64) -> i128 {
    match kind {
        NumberType::Int16 => i128::from(u16::try_from(raw & 0xffff).expect("masked").cast_signed()),
        NumberType::Int32 => i128::from(low32(raw).cast_signed()),
        NumberType::Int64 => i128::from(raw.cast_signed()),
        _ => i128::from(raw),
    }
}

fn is_sentinel(field: &Field, raw: u64, sentinels: Option<Sentinels>) -> bool {
    if field.sentinels.contains(&raw) {
        return true;
    }
    let width = u32::from(field.kind.registers()) * 16;
    let ones = u64::MAX >> (64 - width);
    let top = 1 << (width - 1);
    match field.kind {
        NumberType::Float32 => !f32::from_bits(low32(raw)).is_finite(),
        NumberType::Float64 => !f64::from_bits(raw).is_finite(),
        NumberType::Acc32 | NumberType::Acc64 => raw == 0 && field.zero != Some(Zero::Value),
        NumberType::Uint16 | NumberType::Uint32 | NumberType::Uint64 => {
            sentinels.is_some() && raw == ones
        }
        NumberType::Int16 | NumberType::Int32 | NumberType::Int64 => match sentinels {
            None => false,
            Some(Sentinels::Sunspec) => raw == top,
            Some(Sentinels::Largest) => raw == top - 1,
            Some(Sentinels::Ones) => raw == ones,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(kind: NumberType, unit: Unit) -> Field {
        Field {
            key: "x".into(),
            at: 0,
            kind,
            unit,
            scale10: 0,
            scale_at: None,
            order: None,
            sentinels: Vec::new(),
            zero: None,
            positive_means: None,
            rolls_over_bits: None,
            offset: 0,
            counter: None,
            valid: None,
            states: std::collections::BTreeMap::new(),
            state_bits: std::collections::BTreeMap::new(),
            optional: false,
            unverified: false,
            when: None,
        }
    }

    const SUNSPEC: Option<Sentinels> = Some(Sentinels::Sunspec);

    /// Encodes big-endian bytes as registers in an order; the inverse of what is tested.
    fn registers(bytes: &[u8], order: WordOrder) -> Vec<u16> {
        let mut words: Vec<u16> =
            bytes.chunks(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect();
        if matches!(order, WordOrder::Cdab | WordOrder::Dcba) {
            words.reverse();
        }
        if matches!(order, WordOrder::Badc | WordOrder::Dcba) {
            words.iter_mut().for_each(|word| *word = word.swap_bytes());
        }
        words
    }

    const ORDERS: [WordOrder; 4] =
        [WordOrder::Abcd, WordOrder::Cdab, WordOrder::Badc, WordOrder::Dcba];

    #[test]
    fn every_type_is_read_in_every_order() {
        let check = |kind, bytes: &[u8], expected: i64| {
            for order in ORDERS {
                let words = registers(bytes, order);
                let found = number(&field(kind, Unit::MilliV), &words, order, None, SUNSPEC);
                assert_eq!(found, Observed::Value(expected), "{kind:?} {order:?}");
            }
        };
        check(NumberType::Int16, &(-2_i16).to_be_bytes(), -2);
        check(NumberType::Uint16, &65_534_u16.to_be_bytes(), 65_534);
        check(NumberType::Int32, &(-123_456_i32).to_be_bytes(), -123_456);
        check(NumberType::Uint32, &4_000_000_000_u32.to_be_bytes(), 4_000_000_000);
        check(NumberType::Acc32, &1_u32.to_be_bytes(), 1);
        check(NumberType::Int64, &(-5_i64).to_be_bytes(), -5);
        check(NumberType::Uint64, &7_u64.to_be_bytes(), 7);
        check(NumberType::Acc64, &8_u64.to_be_bytes(), 8);
        check(NumberType::Float32, &(-12.5_f32).to_be_bytes(), -13);
        check(NumberType::Float64, &1e9_f64.to_be_bytes(), 1_000_000_000);
    }

    #[test]
    fn sunspec_sentinels_are_absent_at_every_width_and_order() {
        let check = |kind, bytes: &[u8]| {
            for order in ORDERS {
                let words = registers(bytes, order);
                let found = number(&field(kind, Unit::W), &words, order, None, SUNSPEC);
                assert_eq!(found, Observed::Absent(Absence::Sentinel), "{kind:?} {order:?}");
            }
        };
        check(NumberType::Int16, &i16::MIN.to_be_bytes());
        check(NumberType::Uint16, &u16::MAX.to_be_bytes());
        check(NumberType::Int32, &i32::MIN.to_be_bytes());
        check(NumberType::Uint32, &u32::MAX.to_be_bytes());
        check(NumberType::Int64, &i64::MIN.to_be_bytes());
        check(NumberType::Uint64, &u64::MAX.to_be_bytes());
        check(NumberType::Acc32, &[0; 4]);
        check(NumberType::Acc64, &[0; 8]);
        check(NumberType::Float32, &0x7fc0_0000_u32.to_be_bytes());
        check(NumberType::Float32, &f32::INFINITY.to_be_bytes());
        check(NumberType::Float64, &f64::NAN.to_be_bytes());
    }

    #[test]
    fn plain_registers_have_only_the_sentinels_of_their_map() {
        let word = |field: &Field, raw| number(field, &[raw], WordOrder::Abcd, None, None);
        let mut plain = field(NumberType::Int16, Unit::MilliV);
        assert_eq!(word(&plain, 0x8000), Observed::Value(-32_768));
        plain.sentinels = vec![0x7fff];
        assert_eq!(word(&plain, 0x7fff), Observed::Absent(Absence::Sentinel));
        assert_eq!(word(&plain, 0x7ffe), Observed::Value(32_766));
    }

    #[test]
    fn scale_factors_are_applied_exactly() {
        let check = |scale: i16, expected: Observed<i64>| {
            let scale = Some(scale.cast_unsigned());
            let power = field(NumberType::Int16, Unit::W);
            assert_eq!(number(&power, &[1_234], WordOrder::Abcd, scale, SUNSPEC), expected);
        };
        check(0, Observed::Value(1_234_000));
        check(-1, Observed::Value(123_400));
        check(2, Observed::Value(123_400_000));
        check(-10, Observed::Value(0));
        check(10, Observed::Value(12_340_000_000_000_000));
        check(i16::MIN, Observed::Absent(Absence::Sentinel));
        check(11, Observed::Fault("scale factor of x is 11, outside -10 to 10".into()));
        check(-11, Observed::Fault("scale factor of x is -11, outside -10 to 10".into()));
    }

    #[test]
    fn a_counter_says_where_it_starts_again() {
        let mut acc = field(NumberType::Acc32, Unit::Wh);
        assert_eq!(rolls_over_at(&acc, Some(0)), Some(4_294_967_296_000));
        assert_eq!(rolls_over_at(&acc, Some(1)), Some(42_949_672_960_000));
        acc.kind = NumberType::Float32;
        assert_eq!(rolls_over_at(&acc, None), None);
        acc.rolls_over_bits = Some(23);
        acc.scale10 = -1;
        assert_eq!(rolls_over_at(&acc, None), Some(838_860_800));
    }

    #[test]
    fn a_register_says_how_fine_it_is() {
        let step = |kind, unit, bytes: &[u8]| {
            let words = registers(bytes, WordOrder::Cdab);
            resolution(&field(kind, unit), &words, WordOrder::Cdab, None)
        };
        assert_eq!(step(NumberType::Acc32, Unit::Wh, &7_u32.to_be_bytes()), Some(1_000));
        // A float of kWh, at 1, 10, 60 and 100 MWh and at 1 GWh.
        for (kwh, step_mwh) in
            [(1e3_f32, 61), (1e4, 977), (6e4, 3_906), (1e5, 7_813), (1e6, 62_500)]
        {
            let found = step(NumberType::Float32, Unit::Kwh, &kwh.to_be_bytes());
            assert_eq!(found, Some(step_mwh), "{kwh}");
        }
        assert_eq!(step(NumberType::Float64, Unit::Wh, &6e7_f64.to_be_bytes()), Some(1));
        assert_eq!(step(NumberType::Float32, Unit::Kwh, &f32::NAN.to_be_bytes()), None);
    }

    #[test]
    fn a_new_meter_may_have_counted_nothing_yet() {
        let mut acc = field(NumberType::Acc32, Unit::Wh);
        acc.zero = Some(Zero::Value);
        assert_eq!(number(&acc, &[0, 0], WordOrder::Abcd, Some(0), SUNSPEC), Observed::Value(0));
    }

    proptest::proptest! {
        /// What a device encodes comes back, whatever its type and order.
        #[test]
        fn decoding_undoes_encoding(value in proptest::prelude::any::<i64>(), order in 0_usize..4) {
            let order = ORDERS[order];
            let raw = |kind, bytes: &[u8]| {
                number(&field(kind, Unit::MilliV), &registers(bytes, order), order, None, None)
            };
            let truncated = value.to_be_bytes();
            let [.., c, d, e, f] = truncated;
            let int32 = i32::from_be_bytes([c, d, e, f]);
            let int16 = i16::from_be_bytes([e, f]);
            let check = |kind, bytes: &[u8], expected: i64| {
                proptest::prop_assert_eq!(raw(kind, bytes), Observed::Value(expected));
                Ok(())
            };
            check(NumberType::Int64, &truncated, value)?;
            check(NumberType::Int32, &[c, d, e, f], i64::from(int32))?;
            check(NumberType::Uint32, &[c, d, e, f], i64::from(int32.cast_unsigned()))?;
            check(NumberType::Int16, &[e, f], i64::from(int16))?;
            check(NumberType::Uint16, &[e, f], i64::from(int16.cast_unsigned()))?;
            // A whole number of 16 bits is exact in every float.
            check(NumberType::Float32, &f32::from(int16).to_be_bytes(), i64::from(int16))?;
            check(NumberType::Float64, &f64::from(int32).to_be_bytes(), i64::from(int32))?;
            let unsigned = u64::from_be_bytes(truncated);
            match i64::try_from(unsigned) {
                Ok(value) => check(NumberType::Uint64, &truncated, value)?,
                Err(_) => proptest::prop_assert!(
                    matches!(raw(NumberType::Uint64, &truncated), Observed::Fault(_))
                ),
            }
        }
    }
}
