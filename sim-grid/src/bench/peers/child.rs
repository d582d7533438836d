//! A peer's own process: asked in lines of JSON, given a time limit, ended when it passes, together
//! with every solver that it started.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Longest answer that is read: fills and money of the largest book, three times.
const MOST_ANSWER_BYTES: u64 = 64 << 20;
/// How a reason begins when time ran out.
pub const NO_ANSWER: &str = "no answer";
/// How much of a dead peer's last words, or of what is no answer, is passed on.
const LAST_WORDS: usize = 200;
/// How much of what a peer says besides answers is kept, and how long is waited for the end of it.
const KEPT_BYTES: usize = 4_096;
const PATIENCE: Duration = Duration::from_secs(2);

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
    answers: Receiver<Line>,
    /// The end of what it says besides answers, once it is gone.
    errors: Receiver<Vec<u8>>,
}

/// What a peer writes.
#[derive(Debug)]
enum Line {
    Whole(String),
    /// Something that is no text, or has no end.
    Garbled(&'static str),
}

impl Peer {
    /// Starts a peer's driver, as the head of a group of processes that ends with it.
    ///
    /// # Errors
    /// The system's reason.
    pub fn start(home: &Home) -> std::io::Result<Self> {
        let mut child = Command::new(std::path::absolute(home.python())?)
            .arg(std::path::absolute(&home.driver)?)
            // Some leave files where they are started.
            .current_dir(&home.environment)
            // One core each, as everybody else in the table.
            .env("OMP_NUM_THREADS", "1")
            .env("OPENBLAS_NUM_THREADS", "1")
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let requests = child.stdin.take().expect("it is piped");
        let stdout = child.stdout.take().expect("it is piped");
        let stderr = child.stderr.take().expect("it is piped");
        let (sender, answers) = sync_channel(1);
        std::thread::spawn(move || {
            let mut lines = BufReader::new(stdout);
            while let Some(line) = next_line(&mut lines) {
                let is_end = matches!(line, Line::Garbled(_));
                if sender.send(line).is_err() || is_end {
                    return;
                }
            }
        });
        let (sender, errors) = sync_channel(1);
        std::thread::spawn(move || drop(sender.send(end_of(stderr))));
        Ok(Self { child, requests, answers, errors })
    }

    /// Asks once. After an error the peer is of no more use.
    ///
    /// # Errors
    /// Why there is no answer, for a table.
    pub fn ask<A: DeserializeOwned>(
        &mut self,
        request: &impl Serialize,
        limit: Duration,
    ) -> Result<A, String> {
        if let Ok(Line::Whole(said)) = self.answers.try_recv() {
            return Err(format!("answers what was not asked: {}", shortened(&said)));
        }
        let mut line = serde_json::to_vec(request).expect("plain data");
        line.push(b'\n');
        let sent = self.requests.write_all(&line).and_then(|()| self.requests.flush());
        if sent.is_err() {
            return Err(self.last_words());
        }
        match self.answers.recv_timeout(limit) {
            Ok(Line::Whole(answer)) => serde_json::from_str(&answer).map_err(|error| {
                let what = if error.is_data() {
                    "no answer of ours".to_owned()
                } else {
                    error.to_string()
                };
                format!("answers nonsense: {} ({what})", shortened(&answer))
            }),
            Ok(Line::Garbled(how)) => Err(format!("answers nonsense: {how}")),
            Err(RecvTimeoutError::Timeout) => {
                Err(format!("{NO_ANSWER} within {} s", limit.as_secs_f64()))
            }
            Err(RecvTimeoutError::Disconnected) => Err(self.last_words()),
        }
    }

    /// Its last words, when it wants to hear no more or says no more.
    fn last_words(&mut self) -> String {
        self.end();
        let said = self.errors.recv_timeout(PATIENCE).unwrap_or_default();
        let said = String::from_utf8_lossy(&said);
        let words = said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("without a word");
        format!("ends: {}", words.trim().chars().take(LAST_WORDS).collect::<String>())
    }

    /// Ends it and whatever it started. It may be busy for hours, or gone already.
    fn end(&mut self) {
        let group = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        if let Some(group) = group {
            // A group that is gone already needs no end.
            let _ = kill_process_group(group, Signal::KILL);
        }
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.end();
    }
}

/// The next line, or nothing when there is none: half a line is what a peer leaves that dies.
fn next_line(lines: &mut impl BufRead) -> Option<Line> {
    let mut line = Vec::new();
    lines.by_ref().take(MOST_ANSWER_BYTES).read_until(b'\n', &mut line).ok()?;
    if line.ends_with(b"\n") {
        let text = String::from_utf8(line);
        return Some(text.map_or(Line::Garbled("no text"), Line::Whole));
    }
    (line.len() as u64 == MOST_ANSWER_BYTES).then_some(Line::Garbled("a line without an end"))
}

/// The last bytes of something that may be long.
fn end_of(mut from: impl Read) -> Vec<u8> {
    let (mut kept, mut part) = (Vec::new(), [0; KEPT_BYTES]);
    while let Ok(read @ 1..) = from.read(&mut part) {
        kept.extend_from_slice(&part[..read]);
        kept.drain(..kept.len().saturating_sub(KEPT_BYTES));
    }
    kept
}

fn shortened(said: &str) -> String {
    let said: String = said.trim_end().chars().take(LAST_WORDS).collect();
    format!("{said:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A peer that is a shell script.
    struct Scripted {
        folder: tempfile::TempDir,
    }

    impl Scripted {
        fn new(script: &str) -> Self {
            let folder = tempfile::tempdir().expect("a folder");
            let bin = folder.path().join("bin");
            std::fs::create_dir(&bin).expect("a folder");
            std::os::unix::fs::symlink("/bin/sh", bin.join("python")).expect("a link");
            std::fs::write(folder.path().join("driver"), script).expect("a file");
            std::fs::write(folder.path().join(".done"), "").expect("a file");
            Self { folder }
        }

        fn home(&self) -> Home {
            let environment = self.folder.path().to_owned();
            Home { driver: environment.join("driver"), environment }
        }

        fn peer(&self) -> Peer {
            Peer::start(&self.home()).expect("a shell")
        }

        /// What a single question brings.
        fn ask(&self, limit: Duration) -> Result<Vec<u32>, String> {
            self.peer().ask(&"question", limit)
        }
    }

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn a_peer_is_asked_as_often_as_one_likes() {
        let script = Scripted::new("while read question; do echo \"[1, ${#question}]\"; done");
        let mut peer = script.peer();
        assert_eq!(script.home().missing(), None);
        for question in ["a", "longer"] {
            let answer: Vec<usize> = peer.ask(&question, LONG).expect("an answer");
            assert_eq!(answer, [1, question.len() + 2]);
        }
    }

    #[test]
    fn what_is_no_answer_is_shown() {
        for (script, expected) in [
            ("echo Hello", r#"answers nonsense: "Hello" (expected value at line 1 column 1)"#),
            (r#"echo '{"a":1}'"#, r#"answers nonsense: "{\"a\":1}" (no answer of ours)"#),
            (
                "echo '[1, 2'",
                r#"answers nonsense: "[1, 2" (EOF while parsing a list at line 2 column 0)"#,
            ),
            (r"printf '\377\n'", "answers nonsense: no text"),
            ("printf '[1, 2'; echo out of memory >&2; echo >&2; exit 3", "ends: out of memory"),
            ("kill -9 $$", "ends: without a word"),
            (
                "i=0; while [ $i -lt 2000 ]; do i=$((i+1)); echo chatter $i >&2; done",
                "ends: chatter 2000",
            ),
        ] {
            let answer = Scripted::new(&format!("read question\n{script}\n")).ask(LONG);
            assert_eq!(answer, Err(expected.to_owned()), "{script}");
        }
    }

    #[test]
    fn a_peer_that_is_not_there_is_told_apart_from_one_that_fails() {
        let script = Scripted::new("");
        let (folder, home) = (script.folder.path(), script.home());
        std::fs::remove_file(&home.driver).expect("it is there");
        let told = script.ask(LONG).expect_err("no driver");
        assert!(told.starts_with("ends: ") && told.contains("driver"), "{told}");
        std::fs::remove_file(folder.join(".done")).expect("it is there");
        let told = "is not installed; `make bench-peers` installs it";
        assert_eq!(home.missing().as_deref(), Some(told));
        std::fs::write(folder.join(".missing"), "…\nERROR: no wheel for this Python\n\n")
            .expect("a file");
        let told = "could not be installed: ERROR: no wheel for this Python";
        assert_eq!(home.missing().as_deref(), Some(told));
        std::fs::remove_file(folder.join("bin/python")).expect("it is there");
        Peer::start(&home).expect_err("no interpreter");
    }

    #[test]
    fn an_answer_too_many_is_not_taken_for_the_next_one() {
        let script = Scripted::new("read q; echo '[1]'; echo '[2]'; while read q; do :; done");
        let mut peer = script.peer();
        assert_eq!(peer.ask(&"first", LONG), Ok(vec![1]));
        // Both are written before anybody asks again, but not necessarily read: until then there is
        // no answer, for the peer has nothing more to say.
        let said = loop {
            match peer.ask::<Vec<u32>>(&"second", Duration::ZERO) {
                Err(error) if error.starts_with(NO_ANSWER) => {}
                other => break other,
            }
        };
        let told = "answers what was not asked: \"[2]\"".to_owned();
        assert!(said == Err(told) || said == Ok(vec![2]), "{said:?}");
    }

    #[test]
    fn a_peer_that_hangs_is_ended_in_time_with_all_that_it_started() {
        // A solver in the background keeps the pipes open.
        let script = Scripted::new("sleep 1000 & echo $! > \"$0.solver\"; read question; wait");
        let watch = clock::stopwatch();
        let in_time = || assert!(watch.elapsed() < LONG, "{:?}", watch.elapsed());
        let mut peer = script.peer();
        let answer = peer.ask::<Vec<u32>>(&"question", Duration::from_millis(300));
        assert_eq!(answer, Err("no answer within 0.3 s".to_owned()));
        let written = script.folder.path().join("driver.solver");
        let solver = loop {
            in_time();
            let text = std::fs::read_to_string(&written).unwrap_or_default();
            if let Some(number) = text.strip_suffix('\n') {
                break number.parse::<u32>().expect("a number");
            }
        };
        drop(peer);
        let state = || std::fs::read_to_string(format!("/proc/{solver}/stat")).unwrap_or_default();
        while !(state().is_empty() || state().contains(") Z ")) {
            in_time();
        }
    }
}
