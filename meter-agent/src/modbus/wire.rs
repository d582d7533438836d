//! A connection that carries requests and answers: TCP in either framing, or a serial port.
//!
//! tokio-modbus makes frames of questions and answers of frames. It gives up a question and takes
//! its late answer for the next one's (its issue 324), so that here each question in RTU gets a client
//! of its own on a line that is quiet, and a TCP connection ends with its first mishap. For that the
//! bytes stay within reach: client and wire share a [`Tap`].

use std::fmt;
use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use tokio_modbus::client::{Client, Context, rtu, tcp};
use tokio_modbus::prelude::SlaveContext;
use tokio_modbus::{Error, ExceptionResponse, ProtocolError, Request, Response, Slave};

use super::overheard::{Ear, Overheard};
use super::read::{Exception, Function, Read, ReadError};
use super::steps::Steps;
use super::tap::{MAX_FRAME, Tap};
use super::write::Write;
use crate::serial::{SerialConfig, SerialPort};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Through a gateway that passes bytes on, the line counts as quiet after this.
const GATEWAY_QUIET: Duration = Duration::from_millis(30);
/// How long a line may go on about something that was not asked.
const MOST_NOISE: Duration = Duration::from_millis(500);
/// Unanswered questions in a row after which a TCP connection is not trusted any more.
const MOST_SILENCES: u32 = 2;

/// A question whose line brings answers to earlier ones first is asked so often at most.
const MOST_TRIES: u32 = 3;

/// Where a line leads.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// Modbus TCP, `host:port`.
    Tcp(String),
    /// RTU frames through a gateway that passes bytes on, `host:port`.
    RtuOverTcp(String),
    /// RTU on a serial port of this computer.
    Serial(SerialConfig),
}

impl Place {
    /// `host:port` or the path of the port: what can be opened only once.
    #[must_use]
    pub fn address(&self) -> &str {
        match self {
            Self::Tcp(host) | Self::RtuOverTcp(host) => host,
            Self::Serial(port) => &port.path,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.address())
    }
}

/// An open connection.
pub struct Wire {
    tap: Tap,
    /// The client of a TCP connection; in RTU each question has its own.
    client: Option<Context>,
    /// How long nothing may come before RTU counts as quiet.
    quiet: Duration,
    /// Something may still come that was not asked for by the next question.
    unsettled: bool,
    silences: u32,
    is_tcp: bool,
    spent: bool,
}

impl Wire {
    /// Connects or opens the port. Who has an ear hears every byte.
    ///
    /// # Errors
    /// [`ReadError::Unreachable`].
    pub async fn open(place: &Place, ear: Option<&Ear>) -> Result<Self, ReadError> {
        let unreachable =
            |reason: String| ReadError::Unreachable { place: place.to_string(), reason };
        let (tap, quiet) = match place {
            Place::Tcp(host) | Place::RtuOverTcp(host) => {
                let stream = timeout(CONNECT_TIMEOUT, TcpStream::connect(host))
                    .await
                    .map_err(|_| unreachable(format!("no answer within {CONNECT_TIMEOUT:?}")))?
                    .map_err(|error| unreachable(error.to_string()))?;
                stream.set_nodelay(true).map_err(|error| unreachable(error.to_string()))?;
                (tap(stream, ear), GATEWAY_QUIET)
            }
            Place::Serial(config) => {
                let port =
                    SerialPort::open(config).map_err(|error| unreachable(error.to_string()))?;
                (tap(port, ear), config.frame_gap())
            }
        };
        let client = match place {
            Place::Tcp(_) => Some(tcp::attach_slave(tap.clone(), Slave(0))),
            Place::RtuOverTcp(_) | Place::Serial(_) => None,
        };
        Ok(Self {
            // What a line without transactions carries when it is opened may be anybody's.
            unsettled: client.is_none(),
            tap,
            client,
            quiet,
            silences: 0,
            is_tcp: !matches!(place, Place::Serial(_)),
            spent: false,
        })
    }

    /// Whether it must be replaced before the next question.
    pub const fn is_spent(&self) -> bool {
        self.spent
    }

    /// Looks whether the other side has hung up, or said something unasked, since the last answer.
    pub async fn look(&mut self) {
        match self.tap.look().await {
            None => {}
            Some(Ok(1..)) => self.unsettled = true,
            Some(_) => self.spent = true,
        }
        // Over TCP an answer that nobody waits for says that question and answer are out of step.
        self.spent |= self.unsettled && !self.is_rtu();
    }

    /// Asks, and waits for the answer so long at most.
    ///
    /// # Errors
    /// [`ReadError`]. Afterwards [`Self::is_spent`] says whether the connection can be used again.
    pub async fn exchange(
        &mut self,
        read: Read,
        limit: Duration,
        steps: &mut Steps,
    ) -> Result<Vec<u16>, ReadError> {
        let unit = read.unit();
        if self.is_rtu() {
            self.settle(unit).await?;
        }
        let outcome = timeout(limit, self.ask(read, steps)).await.unwrap_or_else(|_| {
            let timeout_ms = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
            Err(ReadError::Timeout { unit, timeout_ms })
        });
        let is_timeout = matches!(outcome, Err(ReadError::Timeout { .. }));
        match &outcome {
            Ok(_) => self.silences = 0,
            Err(ReadError::Exception { code, .. }) => {
                self.silences = 0;
                // The gateway has given up, but the device may yet answer; or this was the late
                // refusal of an earlier question.
                if code.is_offline() || steps.owes(unit) {
                    steps.give_up(read, Instant::now());
                }
            }
            Err(_) => {
                steps.give_up(read, Instant::now());
                self.unsettled = true;
                self.silences += u32::from(is_timeout);
                let exhausted = self.is_tcp && self.silences >= MOST_SILENCES;
                self.spent |= exhausted || !self.is_rtu();
            }
        }
        outcome
    }

    /// Writes, and waits for the device's word that it did so long at most.
    ///
    /// # Errors
    /// [`ReadError`]. Afterwards [`Self::is_spent`] says whether the connection can be used again.
    pub async fn write(&mut self, write: &Write, limit: Duration) -> Result<(), ReadError> {
        let unit = write.unit();
        if self.is_rtu() {
            self.settle(unit).await?;
        }
        let outcome = match timeout(limit, self.put(write)).await {
            Ok(answer) => self.confirmed(write, answer),
            Err(_) => {
                let timeout_ms = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
                Err(ReadError::Timeout { unit, timeout_ms })
            }
        };
        if !matches!(outcome, Ok(()) | Err(ReadError::Exception { .. })) {
            // What may still come is no answer to the next question.
            self.unsettled = true;
            self.spent |= !self.is_rtu();
        }
        outcome
    }

    async fn put(&mut self, write: &Write) -> Answer {
        let request = match write.words() {
            [word] if write.function() == 6 => Request::WriteSingleRegister(write.address(), *word),
            words => Request::WriteMultipleRegisters(write.address(), words.into()),
        };
        if let Some(client) = &mut self.client {
            client.set_slave(Slave(write.unit()));
            client.call(request).await
        } else {
            self.tap.expect_echo();
            rtu::attach_slave(self.tap.clone(), Slave(write.unit())).call(request).await
        }
    }

    /// Whether an answer says that just this was written.
    fn confirmed(&mut self, write: &Write, answer: Answer) -> Result<(), ReadError> {
        let (unit, address) = (write.unit(), write.address());
        let broken = |reason: String| Err(ReadError::Broken { unit, reason });
        match answer {
            Ok(Ok(Response::WriteSingleRegister(at, word)))
                if at == address && write.words() == [word] =>
            {
                Ok(())
            }
            Ok(Ok(Response::WriteMultipleRegisters(at, count)))
                if at == address && usize::from(count) == write.words().len() =>
            {
                Ok(())
            }
            Ok(Ok(other)) => broken(format!("an answer to another writing: {other:?}")),
            Ok(Err(code)) => {
                Err(ReadError::Exception { unit, address, code: Exception(code.into()) })
            }
            Err(Error::Transport(error)) => Err(self.lost(unit, &in_words(&error))),
            Err(Error::Protocol(_)) => broken("the answer is for another question".to_owned()),
        }
    }

    /// In RTU each question has a client that knows of nothing before. Answers that were owed may come
    /// first there; then the line is left to fall silent, and asked again.
    async fn ask(&mut self, read: Read, steps: &mut Steps) -> Result<Vec<u16>, ReadError> {
        let unit = read.unit();
        for _ in 0..MOST_TRIES {
            let answer = if let Some(client) = &mut self.client {
                client.set_slave(Slave(unit));
                client.call(request(read)).await
            } else {
                self.tap.expect_echo();
                rtu::attach_slave(self.tap.clone(), Slave(unit)).call(request(read)).await
            };
            if let Some(outcome) = self.judge(read, answer, steps) {
                return outcome;
            }
            steps.give_up(read, Instant::now());
            self.unsettled = true;
            self.settle(unit).await?;
        }
        let reason = "the line brings nothing but earlier answers".to_owned();
        Err(ReadError::Broken { unit, reason })
    }

    /// What a client heard; none for an answer that was owed.
    fn judge(
        &mut self,
        read: Read,
        answer: Answer,
        steps: &mut Steps,
    ) -> Option<Result<Vec<u16>, ReadError>> {
        let (unit, expected, function) = (read.unit(), read.count(), read.function().code());
        let broken = |reason: String| Some(Err(ReadError::Broken { unit, reason }));
        let words = match answer {
            Ok(Ok(Response::ReadHoldingRegisters(words) | Response::ReadInputRegisters(words))) => {
                words
            }
            Ok(Ok(other)) => return broken(format!("an answer to no reading: {other:?}")),
            Ok(Err(code)) => {
                let (code, address) = (Exception(code.into()), read.address());
                return Some(Err(ReadError::Exception { unit, address, code }));
            }
            Err(Error::Transport(error)) if error.kind() == io::ErrorKind::InvalidData => {
                self.spent |= self.is_tcp;
                return broken(format!("bytes that are no answer: {error}"));
            }
            Err(Error::Transport(error)) => return Some(Err(self.lost(unit, &in_words(&error)))),
            Err(Error::Protocol(
                ProtocolError::HeaderMismatch { result, .. }
                | ProtocolError::FunctionCodeMismatch { result, .. },
            )) => {
                let was_owed = self.is_rtu() && is_owed(&result, steps);
                let reason = "the answer is for another question";
                return if was_owed { None } else { broken(reason.to_owned()) };
            }
        };
        if words.len() == usize::from(expected) {
            return Some(Ok(words));
        }
        let found = words.len();
        let was_owed = steps.settle(Some(unit), function, found) && self.is_rtu();
        if was_owed { None } else { Some(Err(ReadError::WrongLength { unit, found, expected })) }
    }

    /// Whether answers do not name their questions.
    const fn is_rtu(&self) -> bool {
        self.client.is_none()
    }

    /// Waits until nothing comes any more, and throws away what came.
    async fn settle(&mut self, unit: u8) -> Result<(), ReadError> {
        if self.unsettled {
            let end = Instant::now() + MOST_NOISE.max(self.quiet * 2);
            loop {
                let mut bytes = [0; MAX_FRAME];
                match timeout(self.quiet, self.tap.read(&mut bytes)).await {
                    Err(_) => break,
                    Ok(Ok(1..)) if Instant::now() < end => {}
                    Ok(Ok(1..)) => {
                        self.spent = self.is_tcp;
                        let reason = "the line is never quiet: another master, or the wrong speed?";
                        return Err(ReadError::Broken { unit, reason: reason.to_owned() });
                    }
                    Ok(Ok(0)) => return Err(self.lost(unit, "closed by the other side")),
                    Ok(Err(error)) => return Err(self.lost(unit, &error.to_string())),
                }
            }
            self.unsettled = false;
        } else if !self.is_tcp {
            sleep_until(self.tap.last_byte() + self.quiet).await;
        }
        Ok(())
    }

    fn lost(&mut self, unit: u8, reason: &str) -> ReadError {
        self.spent = true;
        ReadError::Broken { unit, reason: format!("the connection broke: {reason}") }
    }

    /// Waits until nothing has come for so long; what comes is thrown away.
    pub async fn wait_out(&mut self, span: Duration) {
        let end = Instant::now() + span;
        let mut bytes = [0; MAX_FRAME];
        loop {
            match timeout_at(end, self.tap.read(&mut bytes)).await {
                Err(_) => return,
                Ok(Ok(1..)) => self.unsettled = true,
                Ok(_) => {
                    self.spent = true;
                    return;
                }
            }
        }
    }
}

fn tap(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static, ear: Option<&Ear>) -> Tap {
    match ear {
        Some(ear) => Tap::new(Overheard::new(stream, Ear::clone(ear))),
        None => Tap::new(stream),
    }
}

type Answer = Result<Result<Response, tokio_modbus::ExceptionCode>, Error>;

fn request(read: Read) -> Request<'static> {
    match read.function() {
        Function::Holding => Request::ReadHoldingRegisters(read.address(), read.count()),
        Function::Input => Request::ReadInputRegisters(read.address(), read.count()),
    }
}

/// Whether an answer from another unit, or of another function, is one to an earlier question.
fn is_owed(answer: &Result<Response, ExceptionResponse>, steps: &mut Steps) -> bool {
    match answer {
        Ok(Response::ReadHoldingRegisters(words)) => steps.settle(None, 3, words.len()),
        Ok(Response::ReadInputRegisters(words)) => steps.settle(None, 4, words.len()),
        Ok(_) => false,
        Err(refusal) => steps.may_refuse(refusal.function.value()),
    }
}

/// The client tells the end of a stream as the system's newest error, which is none, or that something
/// would have had to be waited for (EAGAIN, EINPROGRESS).
fn in_words(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(0 | 11 | 115) => "closed by the other side".to_owned(),
        _ => error.to_string(),
    }
}
