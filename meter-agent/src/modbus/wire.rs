//! A connection that carries requests and answers: TCP in either framing, or a serial port.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use super::frame::{Content, Frame, Framing, MAX_FRAME, Parsed};
use super::read::{Exception, Read, ReadError};
use super::steps::Steps;
use crate::serial::{SerialConfig, SerialPort};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Through a gateway that passes bytes on, the line counts as quiet after this.
const GATEWAY_QUIET: Duration = Duration::from_millis(30);
/// How long a line may go on about something that was not asked.
const MOST_NOISE: Duration = Duration::from_millis(500);
/// Unanswered questions in a row after which a TCP connection is not trusted any more.
const MOST_SILENCES: u32 = 2;

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
    /// How its bytes are framed.
    #[must_use]
    pub const fn framing(&self) -> Framing {
        match self {
            Self::Tcp(_) => Framing::Tcp,
            Self::RtuOverTcp(_) | Self::Serial(_) => Framing::Rtu,
        }
    }

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

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// An open connection.
pub struct Wire {
    stream: Box<dyn Stream>,
    framing: Framing,
    transaction: u16,
    /// What has come and was not taken yet; at most a frame.
    inbox: Vec<u8>,
    /// How long nothing may come before RTU counts as quiet.
    quiet: Duration,
    last_byte: Instant,
    /// Something may still come that was not asked for by the next question.
    unsettled: bool,
    silences: u32,
    is_tcp: bool,
    spent: bool,
}

impl Wire {
    /// Connects or opens the port.
    ///
    /// # Errors
    /// [`ReadError::Unreachable`].
    pub async fn open(place: &Place) -> Result<Self, ReadError> {
        let unreachable =
            |reason: String| ReadError::Unreachable { place: place.to_string(), reason };
        let (stream, quiet): (Box<dyn Stream>, Duration) = match place {
            Place::Tcp(host) | Place::RtuOverTcp(host) => {
                let stream = timeout(CONNECT_TIMEOUT, TcpStream::connect(host))
                    .await
                    .map_err(|_| unreachable(format!("no answer within {CONNECT_TIMEOUT:?}")))?
                    .map_err(|error| unreachable(error.to_string()))?;
                stream.set_nodelay(true).map_err(|error| unreachable(error.to_string()))?;
                (Box::new(stream), GATEWAY_QUIET)
            }
            Place::Serial(config) => {
                let port =
                    SerialPort::open(config).map_err(|error| unreachable(error.to_string()))?;
                (Box::new(port), config.frame_gap())
            }
        };
        Ok(Self {
            stream,
            framing: place.framing(),
            transaction: 0,
            inbox: Vec::with_capacity(MAX_FRAME),
            quiet,
            last_byte: Instant::now(),
            unsettled: place.framing() == Framing::Rtu,
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
        let mut bytes = [0; MAX_FRAME];
        let mut buffer = ReadBuf::new(&mut bytes);
        let looked = poll_fn(|context| {
            Poll::Ready(match Pin::new(&mut self.stream).poll_read(context, &mut buffer) {
                Poll::Pending => None,
                Poll::Ready(outcome) => Some(outcome),
            })
        });
        match looked.await {
            None => {}
            Some(Ok(())) if !buffer.filled().is_empty() => {
                self.unsettled = true;
                self.last_byte = Instant::now();
            }
            Some(_) => self.spent = true,
        }
        self.unsettled |= !self.inbox.is_empty();
        self.inbox.clear();
        // Over TCP an answer that nobody waits for says that question and answer are out of step.
        self.spent |= self.unsettled && self.framing == Framing::Tcp;
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
        if self.framing == Framing::Rtu {
            self.settle(unit).await?;
        }
        let outcome = match timeout(limit, self.ask(read, steps)).await {
            Ok(outcome) => outcome,
            Err(_) => {
                let timeout_ms = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
                Err(ReadError::Timeout { unit, timeout_ms })
            }
        };
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
                self.spent |= exhausted || self.framing == Framing::Tcp;
            }
        }
        outcome
    }

    async fn ask(&mut self, read: Read, steps: &mut Steps) -> Result<Vec<u16>, ReadError> {
        let unit = read.unit();
        self.transaction = self.transaction.wrapping_add(1);
        let request = self.framing.request(self.transaction, read);
        let sent = async {
            self.stream.write_all(&request).await?;
            self.stream.flush().await
        };
        if let Err(error) = sent.await {
            return Err(self.lost(unit, &error.to_string()));
        }
        let mut echo = self.framing == Framing::Rtu;
        loop {
            // Adapters for two-wire lines may hear themselves. No answer begins with its question.
            if echo && self.inbox.starts_with(&request) {
                self.inbox.drain(..request.len());
                echo = false;
            }
            match self.framing.parse(&self.inbox) {
                Parsed::Part => self.fill(unit).await?,
                Parsed::Garbage(_) if echo && request.starts_with(&self.inbox) => {
                    self.fill(unit).await?;
                }
                Parsed::Garbage(reason) => return Err(ReadError::Broken { unit, reason }),
                Parsed::Whole(frame) => {
                    self.inbox.drain(..frame.length);
                    if let Some(outcome) = self.judge(read, frame, steps) {
                        return outcome;
                    }
                }
            }
        }
    }

    /// Whether a frame is the answer; `None` for one that was owed, after which it may still come.
    fn judge(
        &self,
        read: Read,
        frame: Frame,
        steps: &mut Steps,
    ) -> Option<Result<Vec<u16>, ReadError>> {
        let Frame { transaction, unit: from, function, content, .. } = frame;
        let (unit, expected) = (read.unit(), read.count());
        let broken = |reason: String| Some(Err(ReadError::Broken { unit, reason }));
        if transaction.is_some_and(|transaction| transaction != self.transaction) {
            return broken("the answer is for another question".to_owned());
        }
        let own = from == unit && function == read.function().code();
        let words = match content {
            Content::Exception(code) if own => {
                let code = Exception(code);
                let address = read.address();
                return Some(Err(ReadError::Exception { unit, address, code }));
            }
            // A late refusal of something else.
            Content::Exception(_) if self.framing == Framing::Rtu && steps.owes(from) => {
                return None;
            }
            Content::Exception(_) => return broken(format!("unit {from} refuses in its place")),
            Content::Words(words) => words,
        };
        if own && words.len() == usize::from(expected) {
            return Some(Ok(words));
        }
        let was_owed = steps.settle(from, function, words.len());
        if was_owed && self.framing == Framing::Rtu {
            return None;
        }
        let found = words.len();
        if own {
            return Some(Err(ReadError::WrongLength { unit, found, expected }));
        }
        broken(format!("unit {from} answers function {function} in its place"))
    }

    /// Waits until nothing comes any more, and throws away what came.
    async fn settle(&mut self, unit: u8) -> Result<(), ReadError> {
        if self.unsettled {
            let end = Instant::now() + MOST_NOISE.max(self.quiet * 2);
            loop {
                let mut bytes = [0; MAX_FRAME];
                match timeout(self.quiet, self.stream.read(&mut bytes)).await {
                    Err(_) => break,
                    Ok(Ok(1..)) if Instant::now() < end => self.last_byte = Instant::now(),
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
            sleep_until(self.last_byte + self.quiet).await;
        }
        self.inbox.clear();
        Ok(())
    }

    async fn fill(&mut self, unit: u8) -> Result<(), ReadError> {
        let mut bytes = [0; MAX_FRAME];
        match self.stream.read(&mut bytes).await {
            Ok(0) => Err(self.lost(unit, "closed by the other side")),
            Ok(count) => {
                self.last_byte = Instant::now();
                self.inbox.extend_from_slice(&bytes[..count]);
                Ok(())
            }
            Err(error) => Err(self.lost(unit, &error.to_string())),
        }
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
            match timeout_at(end, self.stream.read(&mut bytes)).await {
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
