//! The bytes of a connection, within reach of the wire and of the client that frames them.
//!
//! One task uses both, one after the other. The tap notes when the last byte came, and takes out
//! what two-wire adapters let us hear of ourselves: no answer begins with its question.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

/// Longest frame: 260 bytes over TCP, 256 in RTU.
pub(super) const MAX_FRAME: usize = 260;

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// A handle to the stream; clones share it.
#[derive(Clone)]
pub(super) struct Tap(Arc<Mutex<Tapped>>);

struct Tapped {
    stream: Box<dyn Stream>,
    last_byte: Instant,
    /// What was written and may be heard; none when nothing is awaited.
    echo: Option<Vec<u8>>,
    /// What has come and is not passed on yet: perhaps an echo, or what came behind one.
    held: Vec<u8>,
}

impl Tap {
    pub fn new(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Self {
        let (stream, last_byte) = (Box::new(stream), Instant::now());
        Self(Arc::new(Mutex::new(Tapped { stream, last_byte, echo: None, held: Vec::new() })))
    }

    /// What is written next may be heard before its answer.
    pub fn expect_echo(&self) {
        let mut tapped = self.tapped();
        tapped.held.clear();
        tapped.echo = Some(Vec::with_capacity(MAX_FRAME));
    }

    /// When the last byte came, or the connection began.
    pub fn last_byte(&self) -> Instant {
        self.tapped().last_byte
    }

    /// Takes what has come without waiting; nothing when nothing has. 0 = the other side hung up.
    pub async fn look(&self) -> Option<io::Result<usize>> {
        let mut bytes = [0; MAX_FRAME];
        let mut buffer = ReadBuf::new(&mut bytes);
        let mut tap = self.clone();
        poll_fn(|context| {
            Poll::Ready(match Pin::new(&mut tap).poll_read(context, &mut buffer) {
                Poll::Pending => None,
                Poll::Ready(outcome) => Some(outcome.map(|()| buffer.filled().len())),
            })
        })
        .await
    }

    fn tapped(&self) -> MutexGuard<'_, Tapped> {
        self.0.lock().expect("nobody panics while holding it")
    }
}

impl Tapped {
    /// Whether what is held can be passed on.
    fn sort(&mut self) -> bool {
        let Some(echo) = &self.echo else { return !self.held.is_empty() };
        if self.held.len() < echo.len() && echo.starts_with(&self.held) {
            return false;
        }
        if self.held.starts_with(echo) {
            self.held.drain(..echo.len());
        }
        self.echo = None;
        !self.held.is_empty()
    }
}

impl AsyncRead for Tap {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut tapped = self.tapped();
        while tapped.held.is_empty() || !tapped.sort() {
            let mut bytes = [0; MAX_FRAME];
            let mut part = ReadBuf::new(&mut bytes);
            ready!(Pin::new(&mut tapped.stream).poll_read(context, &mut part))?;
            if part.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            tapped.last_byte = Instant::now();
            tapped.held.extend_from_slice(part.filled());
        }
        let count = tapped.held.len().min(buffer.remaining());
        buffer.put_slice(&tapped.held[..count]);
        tapped.held.drain(..count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Tap {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut tapped = self.tapped();
        let written = ready!(Pin::new(&mut tapped.stream).poll_write(context, bytes))?;
        if let Some(echo) = &mut tapped.echo {
            echo.extend_from_slice(&bytes[..written]);
        }
        Poll::Ready(Ok(written))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tapped().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tapped().stream).poll_shutdown(context)
    }
}

impl fmt::Debug for Tap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tap")
    }
}
