//! The lines against an independent server, where there is a Python with pymodbus.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use meter_agent::Chance;
use meter_agent::modbus::{Ask, Function, Line, Place, Rank, Read, ReadError};

use crate::support::gateway::{Framing, truth};

/// pymodbus at work; it ends when dropped.
struct Server {
    process: Child,
    host: String,
}

impl Server {
    /// None without a Python.
    fn start(framing: Framing, stall_every: u32, stall: Duration) -> Option<Self> {
        let Some(python) = std::env::var_os("STREETWATT_PYTHON") else {
            println!("skipped: STREETWATT_PYTHON names no Python with pymodbus");
            return None;
        };
        let mut process = Command::new(python)
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python/server.py"))
            .arg(if framing == Framing::Rtu { "rtu" } else { "tcp" })
            .args([stall_every.to_string(), stall.as_millis().to_string()])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("STREETWATT_PYTHON can be started");
        let mut port = String::new();
        let output = process.stdout.take().expect("piped");
        BufReader::new(output).read_line(&mut port).expect("it says its port");
        Some(Self { process, host: format!("127.0.0.1:{}", port.trim()) })
    }

    fn line(&self, framing: Framing) -> Line {
        let place = match framing {
            Framing::Tcp => Place::Tcp(self.host.clone()),
            Framing::Rtu => Place::RtuOverTcp(self.host.clone()),
        };
        Line::open(place, Chance::seeded(3))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn ask(unit: u8, address: u16, count: u16, timeout_ms: u64) -> Ask {
    let read = Read::new(unit, Function::Input, address, count).expect("possible");
    Ask { rank: Rank::Edge, ..Ask::new(read, Duration::from_millis(timeout_ms)) }
}

fn right(read: Read) -> Vec<u16> {
    (read.address()..).take(read.count().into()).map(|at| truth(read.unit(), 4, at)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pymodbus_is_read_right_in_both_framings_though_it_stalls() {
    for framing in [Framing::Tcp, Framing::Rtu] {
        let stall = Duration::from_millis(60);
        let Some(server) = Server::start(framing, 40, stall) else { return };
        let line = server.line(framing);
        let (mut answered, mut refused) = (0, 0);
        for poll in 0_u16..1_000 {
            let unit = u8::try_from(poll % 3).expect("small") + 1;
            let ask = ask(unit, poll % 97 * 10, 10, 30);
            match line.read(ask).await {
                Ok(words) => {
                    assert_eq!(words, right(ask.read), "{framing:?}: poll {poll}");
                    answered += 1;
                }
                Err(ReadError::LeftAlone { .. }) => refused += 1,
                Err(_) => {}
            }
        }
        assert!(answered * 10 >= (1_000 - refused) * 9, "{framing:?}: {answered}, {refused}");
        assert!(answered >= 300, "{framing:?}: {answered}, {refused}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_pymodbus_stalls_for_400_ms_the_second_poll_is_right_at_the_latest() {
    for framing in [Framing::Tcp, Framing::Rtu] {
        let stall = Duration::from_millis(400);
        let Some(server) = Server::start(framing, 3, stall) else { return };
        let line = server.line(framing);
        for address in [0, 10] {
            line.read(ask(1, address, 10, 150)).await.expect("well");
        }
        line.read(ask(1, 20, 10, 150)).await.expect_err("the third answer stalls");
        let mut polls = 0;
        let words = loop {
            polls += 1;
            // The next poll comes when the stall is over.
            match line.read(ask(1, 30, 10, 600)).await {
                Ok(words) => break words,
                Err(error) => assert!(polls < 2, "{framing:?}: {error}"),
            }
        };
        assert_eq!(words, right(ask(1, 30, 10, 1).read), "{framing:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pymodbus_refuses_what_it_does_not_have_and_the_connection_stays() {
    let Some(server) = Server::start(Framing::Tcp, 0, Duration::ZERO) else { return };
    let line = server.line(Framing::Tcp);
    let error = line.read(ask(1, 3_000, 2, 1_000)).await.expect_err("not there");
    assert!(error.is_unsupported(), "{error}");
    line.read(ask(1, 0, 125, 1_000)).await.expect("there");
    assert_eq!(line.connection(), 1);
}
