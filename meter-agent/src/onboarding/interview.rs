//! What one unit says when it is asked for the registers of one map after the other.
//!
//! Every register is asked for once: many maps look at the same ones. A unit that stops answering is
//! not asked any further; one that a gateway calls absent is left alone at once.

use std::time::Duration;

use crate::device::{
    self, BlockAnswer, Chain, ChainFault, DeviceMap, Figures, Identity, Model, Readout, Step,
    Transport, Walk, decode_block, identify_function, identify_span, plan_for, readout,
};
use crate::modbus::{Exception, Function, MAX_REGISTERS, Read, ReadError, Sounding};

/// Unanswered questions after which a unit is left alone.
const MOST_SILENCES: u32 = 3;
/// Questions to one unit, at most.
const MOST_QUESTIONS: u32 = 160;
/// Answers that are remembered, at most; there are never more than questions.
const MOST_KEPT: usize = MOST_QUESTIONS as usize;

/// Why a unit is not asked any further.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stop {
    /// It does not answer.
    Silent(ReadError),
    /// The gateway says that nobody is there.
    Absent(ReadError),
    /// There is no connection.
    Unreachable(ReadError),
    /// It has been asked enough.
    Enough,
}

/// What a device says by a map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// The map cannot be meant, and why.
    NotThis(String),
    /// Every required block was answered.
    Readout(Box<Readout>, Identity),
}

/// The questions to one unit, and its answers.
pub struct Interview<'a> {
    sounding: &'a mut Sounding,
    unit: u8,
    timeout: Duration,
    kept: Vec<(Read, Option<Vec<u16>>)>,
    silences: u32,
    asked: u32,
    /// It has answered something, if only with a refusal.
    heard: bool,
}

impl<'a> Interview<'a> {
    /// Nothing is asked yet.
    pub const fn new(sounding: &'a mut Sounding, unit: u8, timeout: Duration) -> Self {
        Self { sounding, unit, timeout, kept: Vec::new(), silences: 0, asked: 0, heard: false }
    }

    /// Registers; none when the device says that it does not have them.
    pub async fn words(
        &mut self,
        function: u8,
        address: u16,
        count: u16,
    ) -> Result<Option<Vec<u16>>, Stop> {
        let read = Function::of_code(function)
            .and_then(|function| Read::new(self.unit, function, address, count));
        let Some(read) = read else { return Ok(None) };
        if let Some(words) = self.known(read) {
            return Ok(words);
        }
        loop {
            if self.asked >= MOST_QUESTIONS {
                return Err(Stop::Enough);
            }
            self.asked += 1;
            let answer = self.sounding.read(read, self.timeout).await;
            match answer {
                Ok(words) => return Ok(self.keep(read, Some(words))),
                Err(ReadError::Exception { code, .. }) if !code.is_offline() => {
                    if code == Exception::FAILURE && self.silences < MOST_SILENCES {
                        // "Device failure" is what some say of registers that they do not have.
                        self.silences += 1;
                    }
                    return Ok(self.keep(read, None));
                }
                Err(error @ ReadError::Exception { .. }) => return Err(Stop::Absent(error)),
                Err(error @ ReadError::Unreachable { .. }) if !self.heard => {
                    return Err(Stop::Unreachable(error));
                }
                Err(error) => {
                    self.silences += 1;
                    if self.silences >= MOST_SILENCES || !self.heard {
                        return Err(Stop::Silent(error));
                    }
                }
            }
        }
    }

    fn keep(&mut self, read: Read, words: Option<Vec<u16>>) -> Option<Vec<u16>> {
        self.heard = true;
        if words.is_some() {
            self.silences = 0;
        }
        if self.kept.len() < MOST_KEPT {
            self.kept.push((read, words.clone()));
        }
        words
    }

    /// What an earlier answer says of these registers.
    fn known(&self, read: Read) -> Option<Option<Vec<u16>>> {
        let end = |read: Read| u32::from(read.address()) + u32::from(read.count());
        self.kept.iter().find_map(|(asked, words)| {
            if asked.function() != read.function() {
                return None;
            }
            let covers = asked.address() <= read.address() && end(read) <= end(*asked);
            match words {
                Some(words) if covers => {
                    let from = usize::from(read.address() - asked.address());
                    Some(Some(words[from..from + usize::from(read.count())].to_vec()))
                }
                None if *asked == read => Some(None),
                _ => None,
            }
        })
    }

    /// The SunSpec models; none where there is no marker.
    pub async fn chain(&mut self) -> Result<Result<Option<Chain>, ChainFault>, Stop> {
        let mut walk = Walk::new();
        let mut step = walk.first();
        loop {
            let address = match step {
                Step::Done(chain) => return Ok(Ok(Some(chain))),
                Step::Read(address) => address,
            };
            let words = self.words(3, address, 2).await?;
            let pair = words.and_then(|words| <[u16; 2]>::try_from(words).ok());
            step = match walk.answer(pair) {
                Ok(step) => step,
                Err(ChainFault::NoMarker) => return Ok(Ok(None)),
                Err(fault) => return Ok(Err(fault)),
            };
        }
    }

    /// Asks for what a map wants to know.
    pub async fn told_by(
        &mut self,
        map: &DeviceMap,
        chain: Option<&Chain>,
        now_ms: i64,
    ) -> Result<Told, Stop> {
        let is_sunspec = map.transport == Transport::Sunspec;
        let chain = if is_sunspec { chain } else { None };
        let mut identity = Identity::default();
        for identify in &map.identify {
            let span = identify_span(identify);
            let model = match chain {
                Some(chain) => match chain.find(&identify.models) {
                    Some(model) => Some(model),
                    None => continue,
                },
                None => None,
            };
            let Some(at) = placed(span.address, model) else { continue };
            let function = identify_function(map, identify);
            let words = self.words(function, at, span.count).await?;
            match words {
                Some(words) => {
                    if let Err(other) = identity.learn(identify, &words) {
                        return Ok(Told::NotThis(other.to_string()));
                    }
                }
                None if !identify.expect.is_empty() => {
                    let what = format!("it does not tell its {} (register {at})", identify.is);
                    return Ok(Told::NotThis(what));
                }
                None => {}
            }
        }
        let mut figures = Figures::new();
        for read in plan_for(map, &identity) {
            let answer = match self.block(&read, chain, is_sunspec).await? {
                Ok(answer) => answer,
                Err(why) => return Ok(Told::NotThis(why)),
            };
            decode_block(&answer.0.block, &answer.1, is_sunspec, now_ms, &mut figures);
        }
        let told = readout(map, &figures);
        Ok(Told::Readout(Box::new(told), identity))
    }

    /// One planned reading; the inner error is why the map cannot be meant.
    async fn block(
        &mut self,
        read: &device::Read,
        chain: Option<&Chain>,
        is_sunspec: bool,
    ) -> Result<Result<(device::Read, BlockAnswer), String>, Stop> {
        let optional = read.block.optional;
        let mut read = read.clone();
        let mut model = None;
        if is_sunspec {
            let found = chain.and_then(|chain| chain.find(&read.block.models));
            let part = found.and_then(|found| Some((read.within(found.length)?, found)));
            match part {
                Some((part, found)) => (read, model) = (part, Some(found)),
                None if optional => return Ok(Ok((read, BlockAnswer::Unsupported))),
                None => return Ok(Err(format!("it has no model {:?}", read.block.models))),
            }
        }
        let mut all = Vec::new();
        for span in read.requests() {
            let words = match placed(span.address, model) {
                Some(at) => self.words(read.function, at, span.count.min(MAX_REGISTERS)).await?,
                None => None,
            };
            match words {
                Some(words) => all.push(words),
                None if optional => return Ok(Ok((read, BlockAnswer::Unsupported))),
                None => {
                    let at = span.address;
                    return Ok(Err(format!("it does not have the registers from {at} on")));
                }
            }
        }
        let answer = read.answer(all);
        Ok(Ok((read, answer)))
    }
}

/// Where a register of a model is; without a model it is where it says.
fn placed(address: u16, model: Option<Model>) -> Option<u16> {
    address.checked_add(model.map_or(0, |model| model.address))
}
