//! A peer's own process: asked in lines of JSON, given a time limit, ended when it passes.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Longest answer that is read: fills and money of the largest book, three times.
const MOST_ANSWER_BYTES: u64 = 64 << 20;
/// How a reason begins when time ran out.
pub const NO_ANSWER: &str = "no answer";
/// How much of a dead peer's last words is passed on.
const LAST_WORDS: usize = 200;

/// Where a peer lives.
#[derive(Debug, Clone)]
pub struct Home {
    /// Its virtual environment.
    pub environment: PathBuf,
    /// The driver that speaks for it.
    pub driver: PathBuf,
}

impl Home {
    fn python(&self) -> PathBuf {
        self.environment.join("bin/python")
    }

    /// Why it cannot be asked at all: it could not be installed, and how to try again.
    #[must_use]
    pub fn missing(&self) -> Option<String> {
        if self.environment.join(".done").exists() && self.python().exists() {
            return None;
        }
        let said = std::fs::read_to_string(self.environment.join(".missing")).unwrap_or_default();
        let reason = said.lines().rfind(|line| !line.trim().is_empty());
        Some(match reason {
            Some(reason) => format!("could not be installed: {:.200}", reason.trim()),
            None => "is not installed; `make bench-peers` installs it".to_owned(),
        })
    }
}

/// A running peer.
#[derive(Debug)]
pub struct Peer {
    child: Child,
    requests: ChildStdin,
    answers: Receiver<String>,
    errors: PathBuf,
}

impl Peer {
    /// Starts a peer's driver; what it says besides answers goes to a file in `scratch`.
    ///
    /// # Errors
    /// The system's reason.
    pub fn start(home: &Home, scratch: &Path) -> std::io::Result<Self> {
        let errors = scratch.join("errors");
        let mut child = Command::new(home.python())
            .arg(&home.driver)
            // One core each, as everybody else in the table.
            .env("OMP_NUM_THREADS", "1")
            .env("OPENBLAS_NUM_THREADS", "1")
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(&errors)?)
            .spawn()?;
        let requests = child.stdin.take().expect("it is piped");
        let stdout = child.stdout.take().expect("it is piped");
        let (sender, answers) = sync_channel(1);
        std::thread::spawn(move || {
            let mut lines = BufReader::new(stdout);
            loop {
                let mut line = String::new();
                let read = std::io::Read::take(&mut lines, MOST_ANSWER_BYTES).read_line(&mut line);
                if !read.is_ok_and(|bytes| bytes > 0) || sender.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Self { child, requests, answers, errors })
    }

    /// Asks once. After an error the peer is gone.
    ///
    /// # Errors
    /// Why there is no answer, for a table.
    pub fn ask<A: DeserializeOwned>(
        &mut self,
        request: &impl Serialize,
        limit: Duration,
    ) -> Result<A, String> {
        let mut line = serde_json::to_vec(request).expect("plain data");
        line.push(b'\n');
        let sent = self.requests.write_all(&line).and_then(|()| self.requests.flush());
        if sent.is_err() {
            return Err(self.last_words());
        }
        match self.answers.recv_timeout(limit) {
            Ok(answer) => {
                serde_json::from_str(&answer).map_err(|error| format!("answers nonsense: {error}"))
            }
            Err(RecvTimeoutError::Timeout) => {
                Err(format!("{NO_ANSWER} within {} s", limit.as_secs()))
            }
            Err(RecvTimeoutError::Disconnected) => Err(self.last_words()),
        }
    }

    fn last_words(&self) -> String {
        let said = std::fs::read_to_string(&self.errors).unwrap_or_default();
        let words = said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("without a word");
        format!("ends: {}", words.trim().chars().take(LAST_WORDS).collect::<String>())
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It may be busy for hours, or gone already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
