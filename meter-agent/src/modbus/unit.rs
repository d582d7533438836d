//! One device behind a line, read by its map.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use super::line::{Ask, Line};
use super::read::{Function, Read, ReadError};
use super::turns::Rank;
use crate::device::{
    self, BlockAnswer, Chain, DeviceMap, Figures, Identify, Identity, Model, Readout, Step, Trait,
    TraitType, Transport, Walk, decode_block, plan_for, readout,
};

/// How long a block that the device refuses is not asked for again: doubling up to a day, or up to a
/// minute when it was there before.
const MISSING: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(86_400));
const MISSING_AGAIN: Duration = Duration::from_secs(60);
/// The model that every SunSpec device has, and where it tells what it is (offset, registers).
const COMMON_MODEL: u16 = 1;
const COMMON: [(Trait, u16, u16); 4] = [
    (Trait::Manufacturer, 2, 16),
    (Trait::Model, 18, 16),
    (Trait::Firmware, 42, 8),
    (Trait::Serial, 50, 16),
];

/// A device behind a line, read by its map.
#[derive(Debug, Clone)]
pub struct Unit {
    id: u8,
    map: DeviceMap,
    timeout: Duration,
    /// The models found; none before discovery and after a surprise.
    chain: Option<Chain>,
    /// Where the device tells which one it is.
    traits: Vec<Identify>,
    /// Which one it is, and the connection over which it said so.
    identity: Identity,
    connection: u64,
    /// What this device is asked for.
    reads: Vec<device::Read>,
    /// Of those, what it refused last time, and what it has answered.
    missing: BTreeMap<usize, Missing>,
    there: Vec<bool>,
}

/// Registers that the device refuses.
#[derive(Debug, Clone)]
struct Missing {
    times: u32,
    until: Instant,
}

impl Unit {
    /// A device with this unit id and map. `timeout_ms` overrides the map's.
    ///
    /// # Panics
    /// When the map is not for Modbus; the configuration is checked before.
    #[must_use]
    pub fn new(id: u8, map: DeviceMap, timeout_ms: Option<u64>) -> Self {
        let rules = map.modbus.as_ref().expect("a linted Modbus map has [modbus]");
        let timeout = Duration::from_millis(timeout_ms.unwrap_or(rules.timeout_ms));
        let common = map.transport == Transport::Sunspec && map.identify.is_empty();
        let traits = if common { common_traits() } else { map.identify.clone() };
        let mut unit = Self {
            id,
            map,
            timeout,
            chain: None,
            traits,
            identity: Identity::default(),
            connection: 0,
            reads: Vec::new(),
            missing: BTreeMap::new(),
            there: Vec::new(),
        };
        unit.plan();
        unit
    }

    /// What the device says it is.
    #[must_use]
    pub const fn identity(&self) -> &Identity {
        &self.identity
    }

    fn plan(&mut self) {
        self.reads = plan_for(&self.map, &self.identity);
        self.missing.clear();
        self.there = vec![false; self.reads.len()];
    }

    fn is_sunspec(&self) -> bool {
        self.map.transport == Transport::Sunspec
    }

    /// Reads everything once. `taken_ms` is market time before the reading.
    ///
    /// After every new connection the device is recognised first. Registers that it refuses as unknown
    /// are left out for a while, longer each time, and asked for again at a slot edge when it cannot do
    /// without them.
    ///
    /// # Errors
    /// [`ReadError`] when the device as a whole cannot be read; a block that it lacks or refuses is
    /// in the readout instead.
    pub async fn read(
        &mut self,
        line: &Line,
        rank: Rank,
        taken_ms: i64,
    ) -> Result<Readout, ReadError> {
        self.recognise(line, rank).await?;
        let mut answers = Vec::with_capacity(self.reads.len());
        for index in 0..self.reads.len() {
            answers.push(self.answer(line, rank, index).await?);
        }
        // A new connection in the middle may have led to another device.
        let before = self.identity.clone();
        self.recognise(line, rank).await?;
        if let Some((which, then, now)) = self.identity.differs_from(&before) {
            let reason = format!("its {which} was {then:?} and now is {now:?}: read again");
            return Err(ReadError::Broken { unit: self.id, reason });
        }
        let moved = answers.iter().find_map(|(_, answer)| match answer {
            BlockAnswer::Fault(what) if self.is_sunspec() => Some(what.clone()),
            _ => None,
        });
        let mut figures = Figures::new();
        for (read, answer) in &answers {
            // Where one model has moved, no other address can be trusted either.
            let answer = match &moved {
                Some(what) => &BlockAnswer::Fault(what.clone()),
                None => answer,
            };
            decode_block(&read.block, answer, self.is_sunspec(), taken_ms, &mut figures);
        }
        if moved.is_some() {
            self.chain = None;
        }
        let mut readout = readout(&self.map, &figures);
        readout.identity = self.name();
        Ok(readout)
    }

    /// Model and serial number, once the serial number is known.
    fn name(&self) -> Option<String> {
        let serial = self.identity.get(Trait::Serial)?;
        Some(match self.identity.get(Trait::Model) {
            Some(model) => format!("{model} {serial}"),
            None => serial.to_owned(),
        })
    }

    /// Asks the device which one it is, when the connection is another than the last time.
    pub(super) async fn recognise(&mut self, line: &Line, rank: Rank) -> Result<(), ReadError> {
        if self.is_sunspec() && self.chain.is_none() {
            self.chain = Some(self.discover(line, rank).await?);
        }
        if self.traits.is_empty() || (self.connection != 0 && self.connection == line.connection())
        {
            return Ok(());
        }
        let identity = match self.traits(line, rank).await? {
            Some(identity) => identity,
            None => {
                self.chain = Some(self.discover(line, rank).await?);
                let moving = || ReadError::Broken {
                    unit: self.id,
                    reason: "its models are not where they were just found".to_owned(),
                };
                self.traits(line, rank).await?.ok_or_else(moving)?
            }
        };
        let first = self.connection == 0;
        self.connection = line.connection();
        let other = identity.differs_from(&self.identity).is_some();
        if other && self.is_sunspec() {
            self.chain = Some(self.discover(line, rank).await?);
        }
        let news = identity != self.identity;
        self.identity = identity;
        if first || other || news {
            self.plan();
        }
        Ok(())
    }

    /// What the device says about itself; none when a SunSpec model is not where it was.
    async fn traits(&self, line: &Line, rank: Rank) -> Result<Option<Identity>, ReadError> {
        let mut identity = Identity::default();
        let mut heads: BTreeMap<u16, Vec<u16>> = BTreeMap::new();
        for identify in &self.traits {
            let span = device::identify_span(identify);
            let function = device::identify_function(&self.map, identify);
            let words = match &self.chain {
                None => self.registers(line, rank, function, span.address, span.count).await?,
                Some(chain) => {
                    let Some(model) = chain.find(&identify.models) else { continue };
                    let words = match heads.remove(&model.id) {
                        Some(words) => words,
                        None => {
                            let count = model.length.saturating_add(2).min(super::MAX_REGISTERS);
                            let words = self.registers(line, rank, function, model.address, count);
                            words.await?.unwrap_or_default()
                        }
                    };
                    if !words.is_empty() && head(&words) != Some((model.id, model.length)) {
                        return Ok(None);
                    }
                    let from = usize::from(span.address);
                    let part = words.get(from..from + usize::from(span.count));
                    let part = part.map(<[u16]>::to_vec);
                    heads.insert(model.id, words);
                    part
                }
            };
            let Some(words) = words else { continue };
            identity.learn(identify, &words).map_err(|other| ReadError::Stranger {
                unit: self.id,
                reason: other.to_string(),
            })?;
        }
        Ok(Some(identity))
    }

    /// One of the planned readings, and what came of it.
    async fn answer(
        &mut self,
        line: &Line,
        rank: Rank,
        index: usize,
    ) -> Result<(device::Read, BlockAnswer), ReadError> {
        let read = self.reads[index].clone();
        let insists = rank < Rank::Poll && !read.block.optional;
        let known = self.missing.get(&index);
        if known.is_some_and(|missing| Instant::now() < missing.until && !insists) {
            return Ok((read, BlockAnswer::Unsupported));
        }
        let (read, model) = match &self.chain {
            None => (read, None),
            Some(chain) => match placed(&read, chain) {
                Ok((part, model)) => (part, Some(model)),
                Err(answer) => return Ok((read, answer)),
            },
        };
        let mut all = Vec::new();
        // Only a reading from the start of a model shows that it is the model.
        if let Some(model) = model.filter(|_| read.block.address != 0) {
            let function = read.function;
            let words = self.registers(line, rank, function, model.address, 2).await?;
            if let Some(fault) = misplaced(model, words.as_deref().unwrap_or_default()) {
                return Ok((read, fault));
            }
        }
        for span in read.requests() {
            let address = span.address.checked_add(model.map_or(0, |model| model.address));
            let words = match address {
                Some(at) => self.registers(line, rank, read.function, at, span.count).await?,
                None => None,
            };
            let Some(words) = words else {
                self.note_missing(index);
                return Ok((read, BlockAnswer::Unsupported));
            };
            if let Some(model) = model.filter(|_| span.address == 0)
                && let Some(fault) = misplaced(model, &words)
            {
                return Ok((read, fault));
            }
            all.push(words);
        }
        self.missing.remove(&index);
        self.there[index] = true;
        let answer = read.answer(all);
        Ok((read, answer))
    }

    fn note_missing(&mut self, index: usize) {
        let times = self.missing.get(&index).map_or(1, |missing| missing.times.saturating_add(1));
        let (first, longest) = MISSING;
        let longest = if self.there[index] { MISSING_AGAIN } else { longest };
        let wait = first.saturating_mul(1 << (times - 1).min(16)).min(longest);
        self.missing.insert(index, Missing { times, until: Instant::now() + wait });
    }

    async fn discover(&self, line: &Line, rank: Rank) -> Result<Chain, ReadError> {
        let mut walk = Walk::new();
        let mut step = walk.first();
        loop {
            let address = match step {
                Step::Done(chain) => return Ok(chain),
                Step::Read(address) => address,
            };
            let words = self.registers(line, rank, 3, address, 2).await?;
            let pair = words.as_deref().and_then(head);
            step = walk
                .answer(pair.map(|(first, second)| [first, second]))
                .map_err(|fault| ReadError::Chain { unit: self.id, fault })?;
        }
    }

    /// Registers; none when the device says that it does not have them.
    pub(super) async fn registers(
        &self,
        line: &Line,
        rank: Rank,
        function: u8,
        address: u16,
        count: u16,
    ) -> Result<Option<Vec<u16>>, ReadError> {
        let unit = self.id;
        let read = Function::of_code(function)
            .and_then(|function| Read::new(unit, function, address, count))
            .ok_or(ReadError::Impossible { unit, function, address, count })?;
        match line.read(self.ask(read, rank)).await {
            Ok(words) => Ok(Some(words)),
            Err(error) if error.is_unsupported() => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl Unit {
    /// Its unit id.
    pub(super) const fn id(&self) -> u8 {
        self.id
    }

    /// The models found, for a SunSpec device that has been recognised.
    pub(super) const fn chain(&self) -> Option<&Chain> {
        self.chain.as_ref()
    }

    /// A question with the circumstances that the map asks for.
    pub(super) fn ask(&self, read: Read, rank: Rank) -> Ask {
        let rules = self.map.modbus.as_ref().expect("checked by new");
        Ask {
            rank,
            connect_delay: Duration::from_millis(rules.connect_delay_ms),
            min_gap: Duration::from_millis(rules.min_gap_ms),
            even: rules.even,
            ..Ask::new(read, self.timeout)
        }
    }
}

/// The part of a reading that the device's model has, and the model; or what to say instead.
fn placed(read: &device::Read, chain: &Chain) -> Result<(device::Read, Model), BlockAnswer> {
    let Some(model) = chain.find(&read.block.models) else {
        let answer = if read.block.optional {
            BlockAnswer::Unsupported
        } else {
            let ids: Vec<u16> = chain.models().iter().map(|model| model.id).collect();
            BlockAnswer::Fault(format!(
                "no model {:?} in this device, which has {ids:?}",
                read.block.models
            ))
        };
        return Err(answer);
    };
    match read.within(model.length) {
        Some(part) => Ok((part, model)),
        None => Err(BlockAnswer::Unsupported),
    }
}

/// What to say when a model is not where it was found.
fn misplaced(model: Model, words: &[u16]) -> Option<BlockAnswer> {
    let shown = head(words);
    (shown != Some((model.id, model.length))).then(|| {
        BlockAnswer::Fault(format!("where model {} was found now stands {shown:?}", model.id))
    })
}

fn head(words: &[u16]) -> Option<(u16, u16)> {
    words.first().copied().zip(words.get(1).copied())
}

fn common_traits() -> Vec<Identify> {
    let identify = |(is, at, registers)| Identify {
        is,
        models: vec![COMMON_MODEL],
        function: None,
        at,
        kind: TraitType::Text,
        registers,
        expect: Vec::new(),
    };
    COMMON.into_iter().map(identify).collect()
}
