//! Meters that speak by themselves: P1 and SML telegrams from a serial port or a TCP port.
//!
//! The agent only listens; not a byte is sent. A line that breaks or goes quiet is opened again, and
//! every telegram is as new as its last byte.

use std::io;
use std::time::Duration;

use clock::Clock;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::chance::Chance;
use crate::device::Telegrams;
use crate::modbus::{Ear, Overheard, Place};
use crate::poll::Report;
use crate::serial::SerialPort;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A line that is quiet for this long is opened again; meters speak every ten seconds at least.
const SILENCE: Duration = Duration::from_secs(60);
const FIRST_RETRY: Duration = Duration::from_millis(200);
const LONGEST_RETRY: Duration = Duration::from_secs(30);
/// Bytes that are taken at once.
const PIECE: usize = 1_024;

/// One meter and its line.
pub struct StreamPlan {
    /// Which device it is.
    pub index: usize,
    /// Where its bytes come from.
    pub place: Place,
    /// What they mean.
    pub telegrams: Telegrams,
}

/// Listens to a meter until nobody wants its reports any more.
pub async fn serve_stream(
    mut plan: StreamPlan,
    reports: mpsc::Sender<Report>,
    clock: Clock,
    mut chance: Chance,
) {
    let mut failures = 0;
    while !reports.is_closed() {
        let heard = tokio::select! {
            heard = session(&mut plan, &reports, &clock) => heard,
            () = reports.closed() => return,
        };
        failures = if heard.telegrams > 0 { 1 } else { failures + 1 };
        if reports.send(Report::Device(plan.index, Err(heard.ended))).await.is_err() {
            return;
        }
        tokio::select! {
            () = sleep(chance.backoff(failures, FIRST_RETRY, LONGEST_RETRY)) => {}
            () = reports.closed() => return,
        }
    }
}

/// What came over one opening of a line.
struct Heard {
    telegrams: u64,
    ended: String,
}

async fn session(plan: &mut StreamPlan, reports: &mpsc::Sender<Report>, clock: &Clock) -> Heard {
    let place = plan.place.to_string();
    let opened = match &plan.place {
        Place::Serial(config) => match SerialPort::open(config) {
            Ok(port) => listen(port, plan, reports, clock).await,
            Err(error) => Heard { telegrams: 0, ended: format!("cannot open {error}") },
        },
        Place::Tcp(host) | Place::RtuOverTcp(host) => match connect(host).await {
            Ok(stream) => listen(stream, plan, reports, clock).await,
            Err(error) => Heard { telegrams: 0, ended: format!("cannot connect: {error}") },
        },
    };
    Heard { ended: format!("{place}: {}", opened.ended), ..opened }
}

async fn connect(host: &str) -> io::Result<TcpStream> {
    let late = |_| {
        io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {CONNECT_TIMEOUT:?}"))
    };
    timeout(CONNECT_TIMEOUT, TcpStream::connect(host)).await.map_err(late)?
}

/// Opens a line and tells on every byte for so long.
///
/// # Errors
/// Why nothing could be heard.
pub async fn overhear(place: &Place, span: Duration, ear: Ear) -> io::Result<()> {
    let end = Instant::now() + span;
    match place {
        Place::Serial(config) => hear(SerialPort::open(config)?, end, ear).await,
        Place::Tcp(host) | Place::RtuOverTcp(host) => hear(connect(host).await?, end, ear).await,
    }
}

async fn hear(line: impl AsyncRead + Unpin, end: Instant, ear: Ear) -> io::Result<()> {
    let mut line = Overheard::new(line, ear);
    let mut piece = [0; PIECE];
    loop {
        match timeout_at(end, line.read(&mut piece)).await {
            Err(_) => return Ok(()),
            Ok(Ok(0)) => return Err(io::Error::other("the other side closed the connection")),
            Ok(outcome) => outcome?,
        };
    }
}

async fn listen(
    mut line: impl AsyncRead + Unpin,
    plan: &mut StreamPlan,
    reports: &mpsc::Sender<Report>,
    clock: &Clock,
) -> Heard {
    let mut telegrams = 0;
    let mut piece = [0; PIECE];
    loop {
        let ended = match timeout(SILENCE, line.read(&mut piece)).await {
            Err(_) => format!(
                "not a byte for {} s: is the meter connected, and is its port switched on?",
                SILENCE.as_secs()
            ),
            Ok(Err(error)) => error.to_string(),
            Ok(Ok(0)) => "the other side closed the connection".to_owned(),
            Ok(Ok(count)) => {
                for told in plan.telegrams.push(&piece[..count], clock.now_ms()) {
                    telegrams += u64::from(told.is_ok());
                    let outcome = told.map_err(|fault| fault.to_string());
                    if reports.send(Report::Device(plan.index, outcome)).await.is_err() {
                        return Heard { telegrams, ended: "nobody listens any more".to_owned() };
                    }
                }
                continue;
            }
        };
        return Heard { telegrams, ended };
    }
}
