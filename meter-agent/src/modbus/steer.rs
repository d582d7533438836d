//! Carrying a setpoint to a device: what it must be asked first, what is written, and whether it
//! stands there afterwards.

use super::line::Line;
use super::read::ReadError;
use super::turns::Rank;
use super::unit::Unit;
use super::write::Write;
use crate::control::{Enabled, Setpoint};
use crate::device::{Control, ControlFault, ControlKind, Facts, Frame, Full, Model};

/// Most registers of a model that are looked at.
const MOST_LOOKED_AT: u16 = 125;

/// What came of a setpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Steered {
    /// It was written, and stands there wherever the device lets us look.
    Taken,
    /// The device has something else in its registers than what it took.
    Other {
        /// First register of the request.
        address: u16,
        /// What was written.
        written: Vec<u16>,
        /// What stands there.
        found: Vec<u16>,
    },
}

/// Why a setpoint did not get to the device.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SteerError {
    /// The line, or the device's refusal.
    #[error(transparent)]
    Line(#[from] ReadError),
    /// It cannot be put into the device's registers.
    #[error(transparent)]
    Fault(#[from] ControlFault),
    /// None of the ways to steer that the map knows.
    #[error("the device has none of the models {0:?} that it could be steered with")]
    NoWay(Vec<u16>),
    /// A register outside of the address space, or a model that is shorter than it should be.
    #[error("a register to write lies outside of what the device has")]
    Outside,
}

impl Unit {
    /// Writes a setpoint, or gives the device back to itself when there is none.
    ///
    /// # Errors
    /// [`SteerError`]. What was written before the error stays written: the device's own watchdog, or
    /// the next try, sets it right.
    pub async fn steer(
        &mut self,
        line: &Line,
        leave: &Enabled,
        setpoint: Option<Setpoint>,
    ) -> Result<Steered, SteerError> {
        self.recognise(line, Rank::Steer).await?;
        let (control, model) = self.way(leave)?;
        let (control, base) = (control.clone(), model.map_or(0, |model| model.address));
        let words = match model {
            Some(model) => self.look(line, model).await?,
            None => Vec::new(),
        };
        let full_mw = self.full_mw(line, &control).await?;
        let most = (leave.kind() == ControlKind::CurrentLimit).then(|| leave.most());
        let facts = Facts { model: &words, full_mw, most };
        let setpoint = setpoint.map(Setpoint::value);
        let frames = control.frames(setpoint, leave.watchdog_s().unwrap_or(0), facts)?;
        let mut steered = Steered::Taken;
        for frame in &frames {
            let inside = |model: Model| {
                frame.words.len() + usize::from(frame.at) <= usize::from(model.length) + 2
            };
            if !model.is_none_or(inside) {
                return Err(SteerError::Outside);
            }
            let found = self.put(line, leave, &control, base, frame).await?;
            if let other @ Steered::Other { .. } = found {
                steered = other;
            }
        }
        Ok(steered)
    }

    /// The first way to steer whose model the device has, and that model.
    fn way<'l>(&self, leave: &'l Enabled) -> Result<(&'l Control, Option<Model>), SteerError> {
        let controls = leave.controls();
        let Some(chain) = self.chain() else {
            let first = controls.first().ok_or(SteerError::Outside)?;
            return Ok((first, None));
        };
        let found =
            controls.iter().find_map(|control| Some((control, Some(chain.find(&control.models)?))));
        let wanted = || controls.iter().flat_map(|control| control.models.clone()).collect();
        found.ok_or_else(|| SteerError::NoWay(wanted()))
    }

    /// The registers of a model, as far as one request goes.
    async fn look(&self, line: &Line, model: Model) -> Result<Vec<u16>, SteerError> {
        let count = model.length.saturating_add(2).min(MOST_LOOKED_AT);
        let words = self.registers(line, Rank::Steer, 3, model.address, count).await?;
        let words = words.ok_or(SteerError::Outside)?;
        if words.starts_with(&[model.id, model.length]) {
            return Ok(words);
        }
        let reason = format!("where model {} was found now stands something else", model.id);
        Err(SteerError::Line(ReadError::Broken { unit: self.id(), reason }))
    }

    /// What 100 % are, where the device says so.
    async fn full_mw(&self, line: &Line, control: &Control) -> Result<Option<i64>, SteerError> {
        let Some(chain) = self.chain() else { return Ok(None) };
        for Full { models, at, scale_at } in &control.percent_of {
            let Some(model) = chain.find(models) else { continue };
            let words = self.look(line, model).await?;
            let word = |offset: u16| words.get(usize::from(offset)).copied();
            let (Some(watts), Some(scale)) = (word(*at), word(*scale_at)) else { continue };
            let scale = i32::from(scale.cast_signed());
            if watts == 0 || watts == u16::MAX || !(-10..=10).contains(&scale) {
                continue;
            }
            let ten = |power: i32| 10_i64.pow(power.unsigned_abs());
            let mw = i64::from(watts) * 1_000;
            return Ok(Some(if scale < 0 { mw / ten(scale) } else { mw * ten(scale) }));
        }
        Ok(None)
    }

    /// One request, and what stands there afterwards.
    async fn put(
        &self,
        line: &Line,
        leave: &Enabled,
        control: &Control,
        base: u16,
        frame: &Frame,
    ) -> Result<Steered, SteerError> {
        let write = Write::new(leave, self.id(), control.function, base, frame);
        let write = write.ok_or(SteerError::Outside)?;
        let back = write.read_back();
        line.write(write, self.ask(back, Rank::Steer)).await?;
        if !control.read_back {
            return Ok(Steered::Taken);
        }
        let (address, count) = (back.address(), back.count());
        match self.registers(line, Rank::Steer, 3, address, count).await? {
            Some(found) if found != frame.words => {
                Ok(Steered::Other { address, written: frame.words.clone(), found })
            }
            // Some devices take what they do not tell.
            _ => Ok(Steered::Taken),
        }
    }
}
