//! Telegrams that a smart meter sends by itself, to figures: P1 and SML.
//!
//! The bytes come from a serial line or a socket in pieces of any size. A telegram counts only when
//! its checksum is right; what lies between two telegrams is thrown away, and nothing is kept beyond
//! the size of one.

use std::collections::BTreeMap;

use super::map::{DeviceMap, Transport};
use super::obis::Code;
use super::quantity::Direction;
use super::{Absence, Figure, Figures, Observed, Readout, Resets, Unit, decimal, p1, readout, sml};

/// Longest telegram of either kind, in bytes.
pub const MAX_TELEGRAM: usize = 8 * 1024;

/// Why a telegram tells nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TelegramFault {
    /// A byte was lost or changed on the way.
    #[error(
        "the telegram's checksum is {stated}, its bytes make {computed}: check the cable and the \
         line's settings"
    )]
    Checksum {
        /// What the telegram says.
        stated: String,
        /// What it should be.
        computed: String,
    },
    /// No telegram of this kind.
    #[error("no telegram as it should be: {0}")]
    Malformed(&'static str),
    /// Longer than any telegram is.
    #[error("{MAX_TELEGRAM} bytes without the end of a telegram: is it the right kind of meter?")]
    TooLong,
}

/// What a telegram says of one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Amount {
    /// `mantissa × 10^exponent`.
    pub mantissa: i128,
    /// Power of ten.
    pub exponent: i32,
    /// In which unit, when it is one that the agent knows.
    pub unit: Option<Unit>,
}

/// A telegram with a right checksum.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Telegram {
    /// Every number in it.
    pub amounts: BTreeMap<Code, Amount>,
    /// Which meter it is from.
    pub meter: Option<String>,
    /// What the meter's clock shows, Unix milliseconds.
    pub clock_ms: Option<i64>,
}

/// The telegrams of one meter.
#[derive(Debug)]
pub struct Telegrams {
    map: DeviceMap,
    /// What has come since the last whole telegram.
    pending: Vec<u8>,
}

impl Telegrams {
    /// A listener for a meter with this map.
    #[must_use]
    pub const fn new(map: DeviceMap) -> Self {
        Self { map, pending: Vec::new() }
    }

    /// Takes bytes as they come; returns what every telegram that they complete says. `now_ms` is
    /// market time, Unix milliseconds.
    pub fn push(&mut self, bytes: &[u8], now_ms: i64) -> Vec<Result<Readout, TelegramFault>> {
        let mut told = Vec::new();
        // Pieces of bounded size, so that a flood cannot grow the buffer.
        for piece in bytes.chunks(MAX_TELEGRAM) {
            self.pending.extend_from_slice(piece);
            loop {
                let found = match self.map.transport {
                    Transport::Sml => sml::find(&self.pending),
                    _ => p1::find(&self.pending),
                };
                let Found { used, telegram } = found;
                self.pending.drain(..used.min(self.pending.len()));
                match telegram {
                    Some(telegram) => told.push(telegram.map(|own| self.say(&own, now_ms))),
                    None => break,
                }
            }
            if self.pending.len() > MAX_TELEGRAM {
                self.pending.clear();
                told.push(Err(TelegramFault::TooLong));
            }
        }
        told
    }

    fn say(&self, telegram: &Telegram, now_ms: i64) -> Readout {
        let mut figures = Figures::new();
        for field in &self.map.obis {
            let code: Code = field.code.parse().expect("a linted map has codes");
            let figure = match telegram.amounts.get(&code) {
                None => Figure::plain(Observed::Absent(Absence::Unsupported), now_ms),
                Some(amount) => {
                    let sign = field.positive_means.map_or(1, Direction::sign);
                    let stated = field.counter.and_then(|counter| counter.resolution_mwh);
                    let step = amount.scaled(1).map(|step| step.max(1).max(stated.unwrap_or(1)));
                    Figure {
                        resolution: step,
                        resets: field.counter.map_or(Resets::Never, |own| own.reset.resets()),
                        ..Figure::plain(amount.value(field.unit, sign), now_ms)
                    }
                }
            };
            figures.insert(field.key.clone(), figure);
        }
        let mut readout = readout(&self.map, &figures);
        readout.identity.clone_from(&telegram.meter);
        readout.device_clock_ms = telegram.clock_ms.map(|clock_ms| (clock_ms, now_ms));
        readout
    }
}

/// How far the bytes have been used, and the telegram in them.
pub struct Found {
    /// Bytes that need not be kept.
    pub used: usize,
    /// The first telegram, when it is whole.
    pub telegram: Option<Result<Telegram, TelegramFault>>,
}

impl Found {
    /// No whole telegram yet.
    #[must_use]
    pub const fn nothing(used: usize) -> Self {
        Self { used, telegram: None }
    }
}

impl Amount {
    /// `mantissa` of this amount's kind in the canonical unit.
    fn scaled(&self, mantissa: i128) -> Option<i64> {
        let exponent = self.unit?.exponent().checked_add(self.exponent)?;
        decimal::scale(mantissa, exponent)
    }

    fn value(&self, expected: Unit, sign: i64) -> Observed<i64> {
        match self.unit {
            Some(unit) if unit.canonical() == expected.canonical() => {
                match self.scaled(self.mantissa) {
                    Some(value) => Observed::Value(value * sign),
                    None => Observed::Fault("out of range".to_owned()),
                }
            }
            _ => Observed::Fault(format!("the telegram does not state it in {expected:?}")),
        }
    }
}

/// CRC with a polynomial whose bits are mirrored, as serial lines have it.
#[must_use]
pub fn crc16(bytes: &[u8], polynomial: u16, start: u16) -> u16 {
    bytes.iter().fold(start, |crc, &byte| {
        (0..8).fold(crc ^ u16::from(byte), |crc, _| {
            if crc & 1 == 1 { crc >> 1 ^ polynomial } else { crc >> 1 }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::super::{built_in_files, golden_cases};
    use super::*;

    /// Map and bytes of every golden telegram.
    fn vectors() -> Vec<(DeviceMap, Vec<u8>)> {
        let files = built_in_files().iter().filter(|file| ["sml", "dsmr-p1"].contains(&file.name));
        let of = |file: &super::super::BuiltIn| {
            let map = file.maps().expect("sound").remove(0);
            let cases = golden_cases(file.golden).expect("sound");
            let bytes = |case: super::super::Case| case.telegram().expect("sound").expect("there");
            cases.into_iter().map(bytes).map(|bytes| (map.clone(), bytes)).collect::<Vec<_>>()
        };
        files.flat_map(of).collect()
    }

    fn whole(map: &DeviceMap, bytes: &[u8]) -> Vec<Result<Readout, TelegramFault>> {
        Telegrams::new(map.clone()).push(bytes, 7)
    }

    #[test]
    fn telegrams_say_who_they_are_and_what_their_clock_shows() {
        let vectors = vectors();
        assert_eq!(vectors.len(), 4);
        let dutch = whole(&vectors[0].0, &vectors[0].1).remove(0).expect("a telegram");
        assert_eq!(dutch.identity.as_deref(), Some("E0004001594754414"));
        assert_eq!(dutch.device_clock_ms, Some((1_792_888_200_000, 7)));
        let german = whole(&vectors[2].0, &vectors[2].1).remove(0).expect("a telegram");
        assert_eq!(german.identity.as_deref(), Some("0a014553590000010203"));
        let step = |readout: &Readout| {
            readout.figure(super::super::Quantity::EnergyImport).and_then(|own| own.resolution)
        };
        assert_eq!((step(&dutch), step(&german)), (Some(2_000), Some(100)));
    }

    #[test]
    fn rubbish_and_broken_telegrams_cost_only_themselves() {
        for (map, bytes) in vectors() {
            let expected = whole(&map, &bytes);
            let mut line = b"\x00\xff! rubbish \x1b\x1b\x1b".to_vec();
            line.extend(&bytes);
            line.extend(&bytes[..bytes.len() / 2]);
            line.extend(&bytes);
            line.extend(&bytes);
            let told = whole(&map, &line);
            let good: Vec<_> = told.iter().filter(|told| told.is_ok()).cloned().collect();
            assert_eq!(good.len(), 3, "{told:?}");
            assert!(good.iter().all(|good| *good == expected[0]));
            let silence = vec![b'/'; MAX_TELEGRAM + 1];
            let told = whole(&map, &silence);
            assert!(told.iter().all(Result::is_err));
        }
    }

    proptest::proptest! {
        /// However the line cuts it, a telegram says the same.
        #[test]
        fn pieces_do_not_matter(size in 1_usize..300) {
            for (map, bytes) in vectors() {
                let mut telegrams = Telegrams::new(map.clone());
                let told: Vec<_> =
                    bytes.chunks(size).flat_map(|piece| telegrams.push(piece, 7)).collect();
                proptest::prop_assert_eq!(told, whole(&map, &bytes));
            }
        }

        /// A byte that changed on the way never changes what is booked.
        #[test]
        fn a_changed_byte_is_no_reading(at in 0_usize..2_000, change in 1_u8..=255) {
            for (map, bytes) in vectors() {
                let mut changed = bytes.clone();
                let at = at % bytes.len();
                changed[at] ^= change;
                let (told, expected) = (whole(&map, &changed), whole(&map, &bytes));
                // The end of the line and the case of the checksum's letters do not count.
                for readout in told.into_iter().flatten() {
                    proptest::prop_assert_eq!(Some(&Ok(readout)), expected.first());
                }
            }
        }

        /// Nothing a line carries brings it down, and it keeps no more than a telegram.
        #[test]
        fn any_bytes_are_borne(pieces in proptest::collection::vec(
            proptest::collection::vec(proptest::prelude::any::<u8>(), 0..600), 0..40)
        ) {
            for (map, bytes) in vectors() {
                let mut telegrams = Telegrams::new(map);
                for piece in &pieces {
                    let _ = telegrams.push(piece, 7);
                    let _ = telegrams.push(&bytes[..piece.len().min(bytes.len())], 7);
                    proptest::prop_assert!(telegrams.pending.len() <= MAX_TELEGRAM);
                }
            }
        }
    }
}
