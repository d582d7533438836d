//! A block of registers to figures, and figures to a device's readout.

use super::fields::{Block, Field, Sentinels};
use super::map::{Derived, DeviceMap, Keep, SignBy};
use super::quantity::{Direction, Quantity, State};
use super::{Absence, Figure, Figures, Observed, Readout, Resets, decode};

/// What came back for one block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BlockAnswer {
    /// The registers, from the block's first address.
    Words(Vec<u16>),
    /// Registers from several requests, each with its first address.
    Pieces(Vec<(u16, Vec<u16>)>),
    /// The device does not have this block.
    Unsupported,
    /// No usable answer.
    Fault(String),
}

impl BlockAnswer {
    /// The registers at an address, when all of them are there.
    fn registers(&self, block: &Block, at: u16, count: u16) -> Option<&[u16]> {
        let within = |first: u16, words: &[u16]| {
            let from = usize::from(at.checked_sub(first)?);
            (from + usize::from(count) <= words.len()).then_some(from)
        };
        let (first, words) = match self {
            Self::Words(words) => (block.address, words),
            Self::Pieces(pieces) => {
                let found = pieces.iter().find(|(first, words)| within(*first, words).is_some())?;
                (found.0, &found.1)
            }
            Self::Unsupported | Self::Fault(_) => return None,
        };
        let from = within(first, words)?;
        words.get(from..from + usize::from(count))
    }
}

/// Decodes one block; figures that were found in an earlier block and are values stay.
pub fn decode_block(
    block: &Block,
    answer: &BlockAnswer,
    sunspec: bool,
    taken_ms: i64,
    figures: &mut Figures,
) {
    let sentinels = block.sentinels.or_else(|| sunspec.then_some(Sentinels::Sunspec));
    for field in &block.fields {
        let figure = match answer {
            BlockAnswer::Unsupported => {
                Figure::plain(Observed::Absent(Absence::Unsupported), taken_ms)
            }
            BlockAnswer::Fault(what) => Figure::plain(Observed::Fault(what.clone()), taken_ms),
            BlockAnswer::Words(_) | BlockAnswer::Pieces(_) => {
                decode_field(field, block, answer, sentinels, taken_ms)
            }
        };
        let known = figures.get(&field.key).map(|known| &known.value);
        // A block that is not there says nothing against what another one said.
        let lacks_it = figure.value == Observed::Absent(Absence::Unsupported);
        if known.is_none_or(|known| known.as_value().is_none() && !lacks_it) {
            figures.insert(field.key.clone(), figure);
        }
    }
}

fn decode_field(
    field: &Field,
    block: &Block,
    answer: &BlockAnswer,
    sentinels: Option<Sentinels>,
    taken_ms: i64,
) -> Figure {
    let words = answer.registers(block, field.at, field.kind.registers());
    let scale = field.scale_at.map(|at| answer.registers(block, at, 1).map(|words| words[0]));
    let (Some(words), None | Some(Some(_))) = (words, scale) else {
        let outside = if field.optional {
            Observed::Absent(Absence::Unsupported)
        } else {
            Observed::Fault(format!("{} lies outside the answer", field.key))
        };
        return Figure::plain(outside, taken_ms);
    };
    let (order, scale) = (field.order.unwrap_or(block.order), scale.flatten());
    let sign = field.positive_means.map_or(1, Direction::sign);
    Figure {
        value: decode::number(field, words, order, scale, sentinels).map(|value| value * sign),
        rolls_over_at: decode::rolls_over_at(field, scale),
        resolution: decode::resolution(field, words, order, scale),
        resets: field.counter.map_or(Resets::Never, |counter| counter.reset.resets()),
        taken_ms,
    }
}

/// Computes derived figures and keeps what is a quantity.
///
/// A device that says it sleeps has nothing else to say: what it marks as not available is then
/// asleep, not missing.
#[must_use]
pub fn readout(map: &DeviceMap, figures: &Figures) -> Readout {
    let mut all = figures.clone();
    for derived in &map.derived {
        if let Some(figure) = derive(derived, &all) {
            all.insert(derived.key.clone(), figure);
        }
    }
    let asleep = all
        .get(Quantity::OperatingState.as_str())
        .and_then(|figure| State::of_code(*figure.value.as_value()?))
        .is_some_and(State::is_asleep);
    let mut readout = Readout::default();
    for (name, mut figure) in all {
        if let Some(quantity) = Quantity::named(&name) {
            if asleep && figure.value == Observed::Absent(Absence::Sentinel) {
                figure.value = Observed::Absent(Absence::Asleep);
            }
            readout.set(quantity, figure);
        }
    }
    readout
}

/// `None` while nothing is known of a required term.
fn derive(derived: &Derived, figures: &Figures) -> Option<Figure> {
    let mut figure = if derived.first_of.is_empty() {
        sum(derived, figures)?
    } else {
        let mut told = derived.first_of.iter().filter_map(|name| figures.get(name));
        let first = told.clone().find(|figure| figure.value.as_value().is_some());
        first.or_else(|| told.next())?.clone()
    };
    if let Some(by) = &derived.sign_by {
        figure = signed(by, figure, figures)?;
    }
    let sign = derived.positive_means.map_or(1, Direction::sign);
    figure.value = figure.value.map(|value| {
        sign * match derived.keep {
            None => value,
            Some(Keep::Positive) => value.max(0),
            Some(Keep::Negative) => value.saturating_neg().max(0),
            Some(Keep::Size) => value.saturating_abs(),
        }
    });
    Some(figure)
}

/// The sum of the terms: as old as the oldest of them and as coarse as all together, and no value
/// when a required one is none, or when there is none at all.
fn sum(derived: &Derived, figures: &Figures) -> Option<Figure> {
    let mut total = Figure::plain(Observed::Value(0_i64), i64::MAX);
    total.resolution = Some(0);
    let terms = |names: &'static str| match names {
        "plus" => &derived.plus,
        "minus" => &derived.minus,
        "plus_optional" => &derived.plus_optional,
        _ => &derived.minus_optional,
    };
    let kinds =
        [("plus", 1, true), ("minus", -1, true), ("plus_optional", 1, false), ("", -1, false)];
    let mut summed = 0;
    let mut skipped = None;
    for (kind, sign, is_required) in kinds {
        for name in terms(kind) {
            let figure = match figures.get(name) {
                Some(figure) => figure,
                None if is_required => return None,
                None => continue,
            };
            if !is_required && figure.value.as_value().is_none() {
                skipped = Some(figure);
                continue;
            }
            summed += 1;
            total.taken_ms = total.taken_ms.min(figure.taken_ms);
            // Steps add up, and a sum falls back when a part of it does.
            let steps = total.resolution.zip(figure.resolution);
            total.resolution = steps.map(|(sum, step)| sum.saturating_add(step));
            total.resets = if total.resets == Resets::Never { figure.resets } else { total.resets };
            total.value = total.value.and_then(|total| {
                figure.value.clone().and_then(|term| {
                    match term.checked_mul(sign).and_then(|term| total.checked_add(term)) {
                        Some(sum) => Observed::Value(sum),
                        None => Observed::Fault(format!("{} is out of range", derived.key)),
                    }
                })
            });
        }
    }
    // Nothing but optional terms, and none of them there: that is no zero.
    if summed == 0 { skipped.cloned() } else { Some(total) }
}

/// An unsigned figure with the sign that a state tells.
fn signed(by: &SignBy, figure: Figure, figures: &Figures) -> Option<Figure> {
    let told = figures.get(&by.state)?;
    let state = told.value.clone().map(State::of_code);
    let value = state.and_then(|state| {
        figure.value.and_then(|value| match state {
            Some(state) if by.negative.contains(&state) => Observed::Value(-value),
            Some(state) if by.positive.contains(&state) => Observed::Value(value),
            _ if value == 0 => Observed::Value(0),
            _ => Observed::Fault(format!("{value} flows although {} says neither way", by.state)),
        })
    });
    Some(Figure { value, taken_ms: figure.taken_ms.min(told.taken_ms), ..figure })
}
