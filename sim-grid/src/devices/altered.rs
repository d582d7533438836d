//! Registers of a device as they stand after something in it has changed: it sleeps, counts with
//! other scale factors, or has other ideas about the order of words.

use super::image::{Bank, UnitImage};
use super::model_map::{Kind, Model, Point, known_model};

/// Model of the inverter, and where its state stands.
const INVERTER: u16 = 103;
const STATE: &str = "St";
/// Registers before the first model: the marker.
const MARKER: usize = 2;

/// Every point of the inverter's model but its state reads as not implemented, as at night; its
/// energy counter reads 0 then.
pub(crate) fn asleep(unit: &mut UnitImage) {
    for_each_model(unit, |model, registers| {
        if model.id != INVERTER {
            return;
        }
        for (name, point) in &model.points {
            if point.offset >= 2 && name != STATE {
                let (first, rest) = point.kind.sentinel();
                registers[point.offset..point.offset + point.registers].fill(rest);
                registers[point.offset] = first;
            }
        }
    });
}

/// Powers and energies with scale factors that are larger by `shift`, so that the same values have
/// fewer digits. Counters are cut, not rounded: they never show more than was counted.
pub(crate) fn coarser(unit: &mut UnitImage, shift: u8) {
    let divisor = 10_i64.pow(shift.into());
    for_each_model(unit, |model, registers| {
        for scale in ["W_SF", "TotWh_SF", "WH_SF"] {
            let Some(factor) = model.points.get(scale).filter(|point| point.kind == Kind::Sf)
            else {
                continue;
            };
            let exponent = &mut registers[factor.offset];
            *exponent = exponent.wrapping_add(shift.into());
            let scaled =
                model.points.values().filter(|point| point.scale.as_deref() == Some(scale));
            for point in scaled {
                divide(point, &mut registers[point.offset..], divisor);
            }
        }
    });
}

fn divide(point: &Point, registers: &mut [u16], divisor: i64) {
    match point.kind {
        Kind::I16 if registers[0] != 0x8000 => {
            let value = i64::from(registers[0].cast_signed()) / divisor;
            let value = i16::try_from(value).expect("smaller than before");
            registers[0] = value.cast_unsigned();
        }
        Kind::Acc32 => {
            let value = (i64::from(registers[0]) << 16 | i64::from(registers[1])) / divisor;
            let bytes = u32::try_from(value).expect("smaller than before").to_be_bytes();
            registers[0] = u16::from_be_bytes([bytes[0], bytes[1]]);
            registers[1] = u16::from_be_bytes([bytes[2], bytes[3]]);
        }
        _ => {}
    }
}

/// Numbers of several registers with the low word first.
pub(crate) fn low_word_first(unit: &mut UnitImage) {
    for_each_model(unit, |model, registers| {
        for point in model.points.values() {
            let is_number = !matches!(point.kind, Kind::Text | Kind::Pad);
            if is_number {
                registers[point.offset..point.offset + point.registers].reverse();
            }
        }
    });
    // A meter of floats, without models: every pair of registers is a number.
    for bank in &mut unit.input {
        for pair in bank.registers.chunks_exact_mut(2) {
            pair.reverse();
        }
    }
}

/// Calls `alter` with every model of a SunSpec unit and its registers, the model's ID first.
fn for_each_model(unit: &mut UnitImage, mut alter: impl FnMut(&Model, &mut [u16])) {
    for Bank { registers, .. } in &mut unit.holding {
        if registers.first() != Some(&0x5375) {
            continue;
        }
        let mut at = MARKER;
        while let Some(&[id, length]) = registers.get(at..at + 2) {
            let whole = usize::from(length) + 2;
            let Some(span) = registers.get_mut(at..at + whole) else { break };
            if let Some(model) = known_model(id) {
                alter(model, span);
            }
            at += whole;
            if id == 0xffff {
                break;
            }
        }
    }
}
