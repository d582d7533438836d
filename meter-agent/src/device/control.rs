//! How a device takes a setpoint: which registers are written, in which order, and how it comes back
//! to its own ways when nobody writes any more.
//!
//! This is data and arithmetic only. What is computed here can be sent by nobody who has not the
//! owner's leave ([`crate::control::Enabled`]).

use serde::{Deserialize, Serialize};

use super::fields::{NumberType, WordOrder};
use super::quantity::{Direction, Unit};

/// Most pieces of one list, and with it most requests of one setpoint.
pub(super) const MOST_PUTS: usize = 16;

/// What a setpoint steers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ControlKind {
    /// Power of a battery, mW, positive = charging.
    BatteryPower,
    /// Power at the grid connection that the device itself regulates to with its battery, mW,
    /// positive = from the grid.
    GridPower,
    /// The most that a generator may produce, mW.
    PvLimit,
    /// The most that a charging point may draw per phase, mA.
    CurrentLimit,
}

impl ControlKind {
    /// Canonical unit of its setpoints.
    #[must_use]
    pub const fn unit(self) -> &'static str {
        if matches!(self, Self::CurrentLimit) { "mA" } else { "mW" }
    }

    /// For people.
    #[must_use]
    pub const fn in_words(self) -> &'static str {
        match self {
            Self::BatteryPower => "battery power",
            Self::GridPower => "power at the grid connection",
            Self::PvLimit => "limit of the production",
            Self::CurrentLimit => "limit of the charging current",
        }
    }
}

/// Where a written number comes from, when it is not always the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PutFrom {
    /// The setpoint.
    Setpoint,
    /// The device's watchdog, seconds.
    Watchdog,
    /// The same in milliseconds.
    WatchdogMs,
}

/// One number to write.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Put {
    /// First register (SunSpec: offset from the model's first register).
    pub at: u16,
    /// Type.
    #[serde(rename = "type")]
    pub kind: NumberType,
    /// What to write, as the register holds it; or `from`.
    #[serde(default)]
    pub value: Option<i64>,
    /// Where the number comes from; or `value`.
    #[serde(default)]
    pub from: Option<PutFrom>,
    /// The number with the other sign.
    #[serde(default)]
    pub negative: bool,
    /// Unit of the register for a setpoint: a power, a current, or `%` of `percent_of`.
    #[serde(default)]
    pub unit: Option<Unit>,
    /// The register counts in 10^scale10 of its unit.
    #[serde(default)]
    pub scale10: i32,
    /// SunSpec: where the scale factor stands that the register goes by.
    #[serde(default)]
    pub scale_at: Option<u16>,
}

/// The full power that a percentage means; the first one that the device has counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Full {
    /// The model it stands in.
    pub models: Vec<u16>,
    /// Its offset there; 16 bits without a sign, watts.
    pub at: u16,
    /// Where its scale factor stands.
    pub scale_at: u16,
}

/// The device's own watch over whoever steers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Watchdog {
    /// Shortest time that makes sense, seconds.
    pub from_s: u32,
    /// Longest time that it can hold, seconds; the same as `from_s` where it cannot be set from here.
    pub to_s: u32,
    /// What the agent asks for when the owner says nothing, seconds.
    pub usual_s: u32,
}

/// A way to steer a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Control {
    /// What it steers.
    pub kind: ControlKind,
    /// SunSpec: the model whose registers are written; of several ways the first counts whose model
    /// the device has.
    #[serde(default)]
    pub models: Vec<u16>,
    /// What a positive setpoint means to the device, for powers.
    #[serde(default)]
    pub positive_means: Option<Direction>,
    /// What percentages are of.
    #[serde(default)]
    pub percent_of: Vec<Full>,
    /// Function code of the writing: 16, or 6 for devices that take one register at a time.
    #[serde(default = "write_many")]
    pub function: u8,
    /// Order of bytes in numbers of several registers.
    #[serde(default)]
    pub order: WordOrder,
    /// Setpoints below this mean none at all: they are written as zero; canonical unit.
    #[serde(default)]
    pub least: i64,
    /// Written with every setpoint, in this order.
    pub setpoint: Vec<Put>,
    /// Written to give the device back to itself, in this order.
    pub release: Vec<Put>,
    /// Whether the registers tell afterwards what was written to them.
    #[serde(default = "yes")]
    pub read_back: bool,
    /// How the device comes back to its own ways; none when it has no such thing.
    #[serde(default)]
    pub watchdog: Option<Watchdog>,
    /// What must be set up on the device before it listens.
    #[serde(default)]
    pub requirements: Vec<String>,
    /// What nobody has checked, as a person should read it.
    #[serde(default)]
    pub unverified: Vec<String>,
    /// Where the facts come from.
    pub sources: Vec<String>,
}

const fn write_many() -> u8 {
    16
}

const fn yes() -> bool {
    true
}

/// Registers to write in one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// First register (SunSpec: offset from the model's first register).
    pub at: u16,
    /// What to write.
    pub words: Vec<u16>,
}

/// What a device must be asked before a setpoint can be written, and what it said.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Facts<'a> {
    /// SunSpec: the registers of the model that is written, ID and L included.
    pub model: &'a [u16],
    /// What 100 % are, mW, where percentages are written.
    pub full_mw: Option<i64>,
    /// The owner's limit: a device that is given back keeps to it where its own would be higher;
    /// canonical unit.
    pub most: Option<i64>,
}

/// Why a setpoint cannot be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ControlFault {
    /// The device does not say what percentages are of.
    #[error("the device does not say what 100 % of its power are: no setpoint can be made of it")]
    NoFull,
    /// The scale factor is not there.
    #[error("the scale factor at offset {at} is {word:#06x}, which is none")]
    NoScale {
        /// Where.
        at: u16,
        /// What stands there.
        word: u16,
    },
    /// The number does not fit the register.
    #[error("{value} does not fit the register at {at}")]
    DoesNotFit {
        /// Where.
        at: u16,
        /// What should be written.
        value: i64,
    },
}

impl Control {
    /// The requests that set a value (canonical unit, in the project's sign), or give the device back
    /// when there is none. Neighbouring registers go in one request where function 16 is used.
    ///
    /// # Errors
    /// [`ControlFault`].
    pub fn frames(
        &self,
        setpoint: Option<i64>,
        watchdog_s: u32,
        facts: Facts<'_>,
    ) -> Result<Vec<Frame>, ControlFault> {
        let puts = if setpoint.is_some() { &self.setpoint } else { &self.release };
        let wanted = setpoint.unwrap_or(0);
        let wanted = if wanted.abs() < self.least { 0 } else { wanted };
        let wanted = wanted * self.positive_means.map_or(1, Direction::sign);
        let mut frames: Vec<Frame> = Vec::new();
        for put in puts {
            let words = self.words(put, wanted, watchdog_s, facts)?;
            match frames.last_mut() {
                Some(last) if self.function == 16 && next_to(last, put.at) => {
                    last.words.extend(words);
                }
                _ => frames.push(Frame { at: put.at, words }),
            }
        }
        Ok(frames)
    }

    /// Offsets of the scale factors that the setpoint goes by.
    pub(super) fn scales(&self) -> impl Iterator<Item = u16> + '_ {
        self.setpoint.iter().chain(&self.release).filter_map(|put| put.scale_at)
    }

    fn words(
        &self,
        put: &Put,
        wanted: i64,
        watchdog_s: u32,
        facts: Facts<'_>,
    ) -> Result<Vec<u16>, ControlFault> {
        let scale10 = match put.scale_at {
            None => put.scale10,
            Some(at) => put.scale10 + scale_factor(facts.model, at)?,
        };
        let sign = if put.negative { -1 } else { 1 };
        let value = match (put.value, put.from) {
            // A fixed number is what the register holds, unless it is a percentage with a scale factor.
            (Some(value), _) if put.scale_at.is_some() => tenfold(value.into(), 1, -scale10),
            (Some(value), _) => {
                let limit = facts.most.and_then(|most| self.limit_at(put.at, most));
                limit.map_or(value.into(), |limit| limit.min(value.into()))
            }
            (None, Some(PutFrom::Watchdog)) => i128::from(watchdog_s),
            (None, Some(PutFrom::WatchdogMs)) => i128::from(watchdog_s) * 1_000,
            (None, _) if put.kind == NumberType::Float32 => {
                return Ok(float(wanted * sign, put));
            }
            (None, _) => {
                let wanted = i128::from(wanted * sign);
                match put.unit {
                    Some(Unit::Percent) => {
                        let full = facts.full_mw.filter(|&full| full > 0);
                        let full = full.ok_or(ControlFault::NoFull)?;
                        tenfold(wanted * 100, full.into(), -scale10)
                    }
                    unit => tenfold(wanted, 1, -scale10 - unit.map_or(0, Unit::exponent)),
                }
            }
        };
        let raw = i64::try_from(value).unwrap_or(i64::MAX);
        fit(put, raw).map(|words| ordered(words, self.order))
    }
}

impl Control {
    /// What the owner's limit is in a register that takes the setpoint.
    fn limit_at(&self, at: u16, most: i64) -> Option<i128> {
        let takes = |put: &&Put| put.at == at && put.from == Some(PutFrom::Setpoint);
        let put = self.setpoint.iter().find(takes).filter(|put| put.scale_at.is_none())?;
        Some(tenfold(most.into(), 1, -put.scale10 - put.unit.map_or(0, Unit::exponent)))
    }
}

/// Whether a register follows directly on those of a request.
fn next_to(frame: &Frame, at: u16) -> bool {
    usize::from(frame.at) + frame.words.len() == usize::from(at)
}

/// `value / by × 10^exponent`, towards zero: a limit is never exceeded by rounding.
fn tenfold(value: i128, by: i128, exponent: i32) -> i128 {
    let power = 10_i128.pow(exponent.unsigned_abs().min(18));
    if exponent >= 0 { value.saturating_mul(power) / by } else { value / by.saturating_mul(power) }
}

fn scale_factor(model: &[u16], at: u16) -> Result<i32, ControlFault> {
    let word = model.get(usize::from(at)).copied().unwrap_or(0x8000);
    let factor = i32::from(word.cast_signed());
    if (-10..=10).contains(&factor) { Ok(factor) } else { Err(ControlFault::NoScale { at, word }) }
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "the register is a float32"
)]
fn float(canonical: i64, put: &Put) -> Vec<u16> {
    let exponent = put.scale10 + put.unit.map_or(0, Unit::exponent);
    let value = (canonical as f64 / 10_f64.powi(exponent)) as f32;
    halves(value.to_bits()).to_vec()
}

const fn halves(value: u32) -> [u16; 2] {
    [(value >> 16) as u16, (value & 0xffff) as u16]
}

/// The number as registers, most significant first. The numbers that mean "not available" fit
/// nowhere.
fn fit(put: &Put, value: i64) -> Result<Vec<u16>, ControlFault> {
    let fault = ControlFault::DoesNotFit { at: put.at, value };
    let words = match put.kind {
        NumberType::Int16 => {
            let value = i16::try_from(value).ok().filter(|&value| value != i16::MIN);
            vec![value.ok_or(fault)?.cast_unsigned()]
        }
        NumberType::Uint16 => {
            vec![u16::try_from(value).ok().filter(|&value| value != u16::MAX).ok_or(fault)?]
        }
        NumberType::Int32 => {
            let value = i32::try_from(value).ok().filter(|&value| value != i32::MIN);
            halves(value.ok_or(fault)?.cast_unsigned()).to_vec()
        }
        NumberType::Uint32 => {
            let value = u32::try_from(value).ok().filter(|&value| value != u32::MAX);
            halves(value.ok_or(fault)?).to_vec()
        }
        NumberType::Float32 => {
            float(value.saturating_mul(1_000), &Put { unit: Some(Unit::W), ..put.clone() })
        }
        NumberType::Int64
        | NumberType::Uint64
        | NumberType::Acc32
        | NumberType::Acc64
        | NumberType::Float64 => return Err(fault),
    };
    Ok(words)
}

fn ordered(mut words: Vec<u16>, order: WordOrder) -> Vec<u16> {
    if matches!(order, WordOrder::Cdab | WordOrder::Dcba) {
        words.reverse();
    }
    if matches!(order, WordOrder::Badc | WordOrder::Dcba) {
        words.iter_mut().for_each(|word| *word = word.swap_bytes());
    }
    words
}

/// Everything that is wrong with the ways to steer, as sentences.
pub(super) fn problems(controls: &[Control], is_sunspec: bool, is_modbus: bool) -> Vec<String> {
    let mut problems = Vec::new();
    if !controls.is_empty() && !is_modbus {
        problems.push("control: only Modbus and SunSpec devices can be steered".to_owned());
    }
    if controls.len() > 1 && !is_sunspec {
        problems.push("control: several ways are for SunSpec maps, one per model".to_owned());
    }
    for control in controls {
        let place = format!("control {}", control.kind.in_words());
        let mut say = |problem: &str| problems.push(format!("{place}: {problem}"));
        if control.models.is_empty() == is_sunspec {
            say("models is for SunSpec maps, and needed there");
        }
        if !matches!(control.function, 6 | 16) {
            say("function must be 6 or 16");
        }
        if control.sources.is_empty() {
            say("sources is empty: say where the facts come from");
        }
        let powers = matches!(control.kind, ControlKind::BatteryPower | ControlKind::GridPower);
        if powers != control.positive_means.is_some() {
            say("positive_means belongs to battery and grid power, and is needed there");
        }
        if !control.setpoint.iter().any(|put| put.from == Some(PutFrom::Setpoint)) {
            say("no register of setpoint has from = \"setpoint\"");
        }
        if control.release.is_empty() {
            say("release is empty: say what gives the device back to itself");
        }
        if control.setpoint.len() > MOST_PUTS || control.release.len() > MOST_PUTS {
            say("has more registers to write than any device needs");
        }
        if !is_sunspec && (control.scales().next().is_some() || !control.percent_of.is_empty()) {
            say("scale_at and percent_of are for SunSpec maps");
        }
        let percent = |put: &Put| put.unit == Some(Unit::Percent) && put.from.is_some();
        if control.setpoint.iter().any(percent) && control.percent_of.is_empty() {
            say("a percentage needs percent_of");
        }
        if let Some(Watchdog { from_s, to_s, usual_s }) = control.watchdog
            && !(1 <= from_s && from_s <= usual_s && usual_s <= to_s && to_s <= 86_400)
        {
            say("watchdog: from_s, usual_s and to_s must grow, within 1 and 86400");
        }
        let tells = |put: &Put| matches!(put.from, Some(PutFrom::Watchdog | PutFrom::WatchdogMs));
        if control.watchdog.is_none() && control.setpoint.iter().any(tells) {
            say("a register takes the watchdog's time, but there is no watchdog");
        }
        for put in control.setpoint.iter().chain(&control.release) {
            put_problems(control, put, &mut |problem| problems.push(format!("{place}: {problem}")));
        }
    }
    problems
}

fn put_problems(control: &Control, put: &Put, say: &mut dyn FnMut(String)) {
    let at = put.at;
    if put.value.is_some() == put.from.is_some() {
        say(format!("register {at} needs value or from"));
    }
    if control.function == 6 && put.kind.registers() > 1 {
        say(format!("register {at}: function 6 writes one register"));
    }
    let writable = matches!(
        put.kind,
        NumberType::Int16
            | NumberType::Uint16
            | NumberType::Int32
            | NumberType::Uint32
            | NumberType::Float32
    );
    if !writable {
        say(format!("register {at}: a number of this type is not written"));
    }
    if put.from == Some(PutFrom::Setpoint) {
        let unit = put.unit.map(Unit::canonical);
        let is_current = control.kind == ControlKind::CurrentLimit;
        let fits = match unit {
            Some("permille") => !is_current,
            Some(unit) => unit == control.kind.unit(),
            None => false,
        };
        if !fits {
            say(format!("register {at}: the unit does not fit"));
        }
    }
    if !(-6..=6).contains(&put.scale10) {
        say(format!("register {at}: scale10 must be -6 to 6"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(kind: NumberType, unit: Unit, scale10: i32) -> Put {
        Put {
            at: 10,
            kind,
            value: None,
            from: Some(PutFrom::Setpoint),
            negative: false,
            unit: Some(unit),
            scale10,
            scale_at: None,
        }
    }

    fn control(put: Put) -> Control {
        Control {
            kind: ControlKind::BatteryPower,
            models: Vec::new(),
            positive_means: Some(Direction::Charge),
            percent_of: Vec::new(),
            function: 16,
            order: WordOrder::Abcd,
            least: 0,
            setpoint: vec![put],
            release: Vec::new(),
            read_back: true,
            watchdog: None,
            requirements: Vec::new(),
            unverified: Vec::new(),
            sources: Vec::new(),
        }
    }

    #[test]
    fn numbers_are_cut_towards_zero_and_never_become_a_sentinel() {
        use NumberType::{Float32, Int16, Int32, Uint16};
        for (kind, unit, scale10, setpoint, expected) in [
            (Int16, Unit::W, 0, 1_999_999, Ok(vec![1_999])),
            (Int16, Unit::W, 0, -1_999_999, Ok(vec![0xf831])),
            (Int16, Unit::W, 1, 32_767_000, Ok(vec![3_276])),
            (Int16, Unit::W, 0, 32_768_000, Err(32_768)),
            (Int16, Unit::W, 0, -32_768_000, Err(-32_768)),
            (Uint16, Unit::W, 0, 65_535_000, Err(65_535)),
            (Uint16, Unit::W, 0, -1_000, Err(-1)),
            (Int32, Unit::W, 0, -70_000_000, Ok(vec![0xfffe, 0xee90])),
            (Uint16, Unit::A, -1, 16_090, Ok(vec![160])),
            (Uint16, Unit::MilliA, 0, 16_090, Ok(vec![16_090])),
            (Float32, Unit::A, 0, 13_500, Ok(vec![0x4158, 0])),
        ] {
            let frames =
                control(put(kind, unit, scale10)).frames(Some(setpoint), 0, Facts::default());
            let expected = expected
                .map(|words| vec![Frame { at: 10, words }])
                .map_err(|value| ControlFault::DoesNotFit { at: 10, value });
            assert_eq!(frames, expected, "{setpoint} as {kind:?}");
        }
    }

    #[test]
    fn a_percentage_needs_to_know_of_what_and_in_which_steps() {
        let own = Put { scale_at: Some(3), ..put(NumberType::Int16, Unit::Percent, 0) };
        let model = [124, 24, 0, 0xfffe, 0x8000];
        let facts = Facts { model: &model, full_mw: Some(3_000_000), most: None };
        let frames = |put: &Put, facts| control(put.clone()).frames(Some(-1_000_000), 0, facts);
        let words = frames(&own, facts).expect("fits")[0].words.clone();
        assert_eq!(words, [(-3_333_i16).cast_unsigned()]);
        assert_eq!(frames(&own, Facts { full_mw: None, ..facts }), Err(ControlFault::NoFull));
        let unscaled = Put { scale_at: Some(4), ..own };
        let none = ControlFault::NoScale { at: 4, word: 0x8000 };
        assert_eq!(frames(&unscaled, facts), Err(none));
    }

    #[test]
    fn what_is_given_back_keeps_to_its_owners_limit() {
        let fixed =
            |put: &Put, value| Put { from: None, unit: None, value: Some(value), ..put.clone() };
        for (kind, unit, scale10, own, most, expected) in [
            (NumberType::Uint16, Unit::MilliA, 0, 32_000, Some(16_000), vec![16_000]),
            (NumberType::Uint16, Unit::A, -1, 160, Some(10_000), vec![100]),
            (NumberType::Float32, Unit::A, 0, 32, Some(16_000), vec![0x4180, 0]),
            (NumberType::Uint16, Unit::MilliA, 0, 16_000, Some(32_000), vec![16_000]),
            (NumberType::Uint16, Unit::MilliA, 0, 32_000, None, vec![32_000]),
        ] {
            let put = put(kind, unit, scale10);
            // Another register beside it has nothing to do with the limit.
            let other = Put { at: 20, kind: NumberType::Uint16, ..fixed(&put, 99) };
            let release = vec![fixed(&put, own), other];
            let control = Control { kind: ControlKind::CurrentLimit, release, ..control(put) };
            let frames = control.frames(None, 0, Facts { most, ..Facts::default() });
            let expected = [(10, expected), (20, vec![99])].map(|(at, words)| Frame { at, words });
            assert_eq!(frames, Ok(expected.to_vec()), "{own} under {most:?}");
        }
    }
}
