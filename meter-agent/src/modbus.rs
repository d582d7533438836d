//! Reading registers over Modbus TCP, with the defences that the client library leaves to us.
//!
//! One connection per host and port serves all units behind it. It is dropped after a timeout, an
//! answer to another question or an answer of the wrong length: a late answer would otherwise be
//! taken for the next one, for ever. Only reading function codes are ever sent. "Busy" is waited out
//! on the same connection.

use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_modbus::client::{Client, Context, tcp};
use tokio_modbus::prelude::SlaveContext;
use tokio_modbus::{ExceptionCode, Request, Response, Slave};

use crate::chance::Chance;
use crate::device::{
    BlockAnswer, Chain, ChainFault, DeviceMap, Figures, Read, Readout, Step, Transport, Walk,
    decode_block, plan, readout,
};

/// How often "busy" is waited out.
const BUSY_TRIES: u32 = 4;
/// First of the doubling waits.
const BUSY_WAIT: Duration = Duration::from_millis(50);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Why registers could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// No connection.
    #[error("cannot connect to {host}: {reason}")]
    Unreachable {
        /// Host and port.
        host: String,
        /// The system's answer.
        reason: String,
    },
    /// No answer in time.
    #[error("unit {unit} did not answer within {timeout_ms} ms")]
    Timeout {
        /// Unit id.
        unit: u8,
        /// How long it had, milliseconds.
        timeout_ms: u64,
    },
    /// The connection broke, or the answer was for another question.
    #[error("unit {unit}: {reason}")]
    Broken {
        /// Unit id.
        unit: u8,
        /// What happened.
        reason: String,
    },
    /// The answer has the wrong number of registers.
    #[error("unit {unit} sent {found} registers where {expected} were asked for")]
    WrongLength {
        /// Unit id.
        unit: u8,
        /// Received.
        found: usize,
        /// Asked for.
        expected: u16,
    },
    /// The device refuses.
    #[error("unit {unit} refuses register {address}: {code}")]
    Exception {
        /// Unit id.
        unit: u8,
        /// First register asked for.
        address: u16,
        /// The exception.
        code: ExceptionCode,
    },
    /// No usable SunSpec models.
    #[error("unit {unit}: {fault}")]
    Chain {
        /// Unit id.
        unit: u8,
        /// What is wrong.
        fault: ChainFault,
    },
}

impl ReadError {
    /// Whether the device says that it does not have this.
    const fn is_unsupported(&self) -> bool {
        matches!(
            self,
            Self::Exception {
                code: ExceptionCode::IllegalFunction
                    | ExceptionCode::IllegalDataAddress
                    | ExceptionCode::IllegalDataValue,
                ..
            }
        )
    }
}

/// A connection to one host and port, made when needed.
pub struct Line {
    host: String,
    context: Option<Context>,
    chance: Chance,
}

impl Line {
    /// A line to `host:port`; nothing is connected yet.
    #[must_use]
    pub const fn new(host: String, chance: Chance) -> Self {
        Self { host, context: None, chance }
    }

    /// Reads `count` registers with function 3 or 4.
    ///
    /// # Errors
    /// [`ReadError`]; after anything but an exception the connection is gone.
    pub async fn read(&mut self, ask: Ask) -> Result<Vec<u16>, ReadError> {
        for attempt in 1.. {
            match self.read_once(ask).await {
                Err(ReadError::Exception {
                    code: ExceptionCode::Acknowledge | ExceptionCode::ServerDeviceBusy,
                    ..
                }) if attempt < BUSY_TRIES => {
                    let longest = Duration::from_secs(2);
                    sleep(self.chance.backoff(attempt, BUSY_WAIT, longest)).await;
                }
                Err(error) => {
                    if !matches!(error, ReadError::Exception { .. }) {
                        self.context = None;
                    }
                    return Err(error);
                }
                Ok(words) => return Ok(words),
            }
        }
        unreachable!("the last attempt returns")
    }

    async fn read_once(&mut self, ask: Ask) -> Result<Vec<u16>, ReadError> {
        let Ask { unit, function, address, count, timeout: limit, connect_delay } = ask;
        let mut context = match self.context.take() {
            Some(context) => context,
            None => connect(&self.host, connect_delay).await?,
        };
        context.set_slave(Slave(unit));
        let request = match function {
            4 => Request::ReadInputRegisters(address, count),
            _ => Request::ReadHoldingRegisters(address, count),
        };
        // The context is only put back once it has answered: a timed-out future leaves an answer
        // on the way that would be taken for the next one.
        let timeout_ms = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
        let answer = timeout(limit, context.call(request))
            .await
            .map_err(|_| ReadError::Timeout { unit, timeout_ms })?
            .map_err(|error| ReadError::Broken { unit, reason: error.to_string() })?;
        let words = match answer {
            Err(code) => {
                self.context = Some(context);
                return Err(ReadError::Exception { unit, address, code });
            }
            Ok(Response::ReadHoldingRegisters(words) | Response::ReadInputRegisters(words)) => {
                words
            }
            Ok(other) => {
                let reason = format!("an answer to another question: {other:?}");
                return Err(ReadError::Broken { unit, reason });
            }
        };
        if words.len() != usize::from(count) {
            let found = words.len();
            return Err(ReadError::WrongLength { unit, found, expected: count });
        }
        self.context = Some(context);
        Ok(words)
    }
}

/// A fresh connection. A free function: a context cannot be shared between threads by reference.
async fn connect(host: &str, delay: Duration) -> Result<Context, ReadError> {
    let unreachable = |reason: String| ReadError::Unreachable { host: host.to_owned(), reason };
    let stream = timeout(CONNECT_TIMEOUT, TcpStream::connect(host))
        .await
        .map_err(|_| unreachable(format!("no answer within {CONNECT_TIMEOUT:?}")))?
        .map_err(|error| unreachable(error.to_string()))?;
    stream.set_nodelay(true).map_err(|error| unreachable(error.to_string()))?;
    sleep(delay).await;
    Ok(tcp::attach_slave(stream, Slave(0)))
}

/// One request.
#[derive(Debug, Clone, Copy)]
pub struct Ask {
    /// Unit id.
    pub unit: u8,
    /// 3 or 4.
    pub function: u8,
    /// First register.
    pub address: u16,
    /// How many.
    pub count: u16,
    /// How long to wait.
    pub timeout: Duration,
    /// How long to leave a fresh connection alone.
    pub connect_delay: Duration,
}

/// A device behind a line, read by its map.
#[derive(Debug, Clone)]
pub struct Unit {
    id: u8,
    map: DeviceMap,
    /// What is read of it.
    reads: Vec<Read>,
    timeout: Duration,
    /// The models found; none before discovery and after a surprise.
    chain: Option<Chain>,
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
        let reads = plan(&map);
        Self { id, map, reads, timeout, chain: None }
    }

    /// Reads every block once. `taken_ms` is market time before the reading.
    ///
    /// # Errors
    /// [`ReadError`] when the device as a whole cannot be read; a block that it lacks or refuses is
    /// in the readout instead.
    pub async fn read(&mut self, line: &mut Line, taken_ms: i64) -> Result<Readout, ReadError> {
        let sunspec = self.map.transport == Transport::Sunspec;
        if sunspec && self.chain.is_none() {
            self.chain = Some(self.discover(line).await?);
        }
        let mut figures = Figures::new();
        let mut moved = false;
        for read in &self.reads {
            let answer = self.block(line, read).await?;
            moved |= matches!(answer, BlockAnswer::Fault(_));
            decode_block(&read.block, &answer, sunspec, taken_ms, &mut figures);
        }
        if moved {
            self.chain = None;
        }
        Ok(readout(&self.map, &figures))
    }

    async fn block(&self, line: &mut Line, read: &Read) -> Result<BlockAnswer, ReadError> {
        let (mut base, mut model, mut read) = (0, None, read.clone());
        if let Some(chain) = &self.chain {
            let block = &read.block;
            let Some(found) = chain.find(&block.models) else {
                if block.optional {
                    return Ok(BlockAnswer::Unsupported);
                }
                let ids: Vec<u16> = chain.models().iter().map(|model| model.id).collect();
                return Ok(BlockAnswer::Fault(format!(
                    "no model {:?} in this device, which has {ids:?}",
                    block.models
                )));
            };
            let Some(within) = read.within(found.length) else {
                return Ok(BlockAnswer::Unsupported);
            };
            (base, model, read) = (found.address, Some(found), within);
        }
        let mut answers = Vec::new();
        for span in read.requests() {
            let Some(address) = base.checked_add(span.address) else {
                return Ok(BlockAnswer::Fault("runs past register 65535".to_owned()));
            };
            let words = match line.read(self.ask(read.function, address, span.count)).await {
                Ok(words) => words,
                Err(error) if error.is_unsupported() => return Ok(BlockAnswer::Unsupported),
                Err(error) => return Err(error),
            };
            let shown = words.first().copied().zip(words.get(1).copied());
            if let Some(model) = model.filter(|_| span.address == 0)
                && shown != Some((model.id, model.length))
            {
                return Ok(BlockAnswer::Fault(format!(
                    "where model {} was found now stands {shown:?}",
                    model.id
                )));
            }
            answers.push(words);
        }
        Ok(read.answer(answers))
    }

    async fn discover(&self, line: &mut Line) -> Result<Chain, ReadError> {
        let mut walk = Walk::new();
        let mut step = walk.first();
        loop {
            let address = match step {
                Step::Done(chain) => return Ok(chain),
                Step::Read(address) => address,
            };
            let words = match line.read(self.ask(3, address, 2)).await {
                Ok(words) => words.first().copied().zip(words.get(1).copied()),
                Err(error) if error.is_unsupported() => None,
                Err(error) => return Err(error),
            };
            step = walk
                .answer(words.map(|(first, second)| [first, second]))
                .map_err(|fault| ReadError::Chain { unit: self.id, fault })?;
        }
    }

    fn ask(&self, function: u8, address: u16, count: u16) -> Ask {
        let rules = self.map.modbus.as_ref().expect("checked by new");
        Ask {
            unit: self.id,
            function,
            address,
            count,
            timeout: self.timeout,
            connect_delay: Duration::from_millis(rules.connect_delay_ms),
        }
    }
}
