//! A block of registers to figures, and figures to a device's readout.

use super::decode;
use super::map::{Block, Derived, DeviceMap, Direction, Quantity};
use super::{Absence, Figure, Figures, Observed, Readout, Resets};

/// What came back for one block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BlockAnswer {
    /// The registers, from the block's first address.
    Words(Vec<u16>),
    /// The device does not have this block.
    Unsupported,
    /// No usable answer.
    Fault(String),
}

/// Decodes one block; figures that were found in an earlier block and are values stay.
pub fn decode_block(
    block: &Block,
    answer: &BlockAnswer,
    sunspec: bool,
    taken_ms: i64,
    figures: &mut Figures,
) {
    for field in &block.fields {
        let plain = |value| Figure::plain(value, taken_ms);
        let figure = match answer {
            BlockAnswer::Unsupported => plain(Observed::Absent(Absence::Unsupported)),
            BlockAnswer::Fault(what) => plain(Observed::Fault(what.clone())),
            BlockAnswer::Words(words) => {
                let registers = |at: u16, count: u16| {
                    let from = usize::from(at.checked_sub(block.address)?);
                    words.get(from..from + usize::from(count))
                };
                let scale = field.scale_at.map(|at| registers(at, 1).map(|words| words[0]));
                match (registers(field.at, field.kind.registers()), scale) {
                    (Some(number), None | Some(Some(_))) => {
                        let (order, scale) = (field.order.unwrap_or(block.order), scale.flatten());
                        let value = decode::number(field, number, order, scale, sunspec)
                            .map(|value| value * field.positive_means.map_or(1, Direction::sign));
                        Figure {
                            rolls_over_at: decode::rolls_over_at(field, scale),
                            resolution: decode::resolution(field, number, order, scale),
                            ..plain(value)
                        }
                    }
                    _ => plain(Observed::Fault(format!("{} lies outside the answer", field.key))),
                }
            }
        };
        let known = figures.get(&field.key).is_some_and(|known| known.value.as_value().is_some());
        if !known {
            figures.insert(field.key.clone(), figure);
        }
    }
}

/// Computes derived figures and keeps what is a quantity.
#[must_use]
pub fn readout(map: &DeviceMap, figures: &Figures) -> Readout {
    let mut readout = Readout::default();
    for (name, figure) in figures {
        if let Some(quantity) = Quantity::named(name) {
            readout.set(quantity, figure.clone());
        }
    }
    for derived in &map.derived {
        if let Some(figure) = derive(derived, figures) {
            readout.set(derived.key, figure);
        }
    }
    readout
}

/// The sum of the terms: as old as the oldest of them, and no value when a required one is none.
/// `None` while nothing is known of a required term.
fn derive(derived: &Derived, figures: &Figures) -> Option<Figure> {
    let mut total = Observed::Value(0_i64);
    let mut taken_ms = i64::MAX;
    let (mut resolution, mut resets) = (Some(0_i64), Resets::Never);
    let required = derived.plus.iter().map(|name| (name, 1, true));
    let subtracted = derived.minus.iter().map(|name| (name, -1, true));
    let optional = derived.plus_optional.iter().map(|name| (name, 1, false));
    for (name, sign, is_required) in required.chain(subtracted).chain(optional) {
        let figure = match figures.get(name) {
            Some(figure) => figure,
            None if is_required => return None,
            None => continue,
        };
        if !is_required && figure.value.as_value().is_none() {
            continue;
        }
        taken_ms = taken_ms.min(figure.taken_ms);
        // Steps add up, and a sum falls back when a part of it does.
        resolution = resolution.zip(figure.resolution).map(|(sum, step)| sum.saturating_add(step));
        resets = if resets == Resets::Never { figure.resets } else { resets };
        let term = figure.value.clone();
        total = total.and_then(|total| {
            term.and_then(|term| match term.checked_mul(sign).and_then(|t| total.checked_add(t)) {
                Some(sum) => Observed::Value(sum),
                None => Observed::Fault(format!("{} is out of range", derived.key)),
            })
        });
    }
    Some(Figure { resolution, resets, ..Figure::plain(total, taken_ms) })
}
