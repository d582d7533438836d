//! Mosquitto as the street's broker: a broker that nobody here wrote, and that can be stopped
//! without stopping anything else.

// Every test binary that includes this file uses its own part of it.
#![allow(dead_code)]

#[path = "port.rs"]
mod port;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

pub use port::quiet_port;
use tempfile::TempDir;

/// Names the program; `make test` sets it.
const PROGRAM: &str = "STREETWATT_MOSQUITTO";
/// Longest wait for the broker to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Pause between two tries.
const PAUSE: Duration = Duration::from_millis(20);

/// A running Mosquitto; it is killed when this is dropped.
pub struct Mosquitto {
    program: PathBuf,
    port: u16,
    /// Configuration and log.
    folder: TempDir,
    child: Option<Child>,
}

impl Mosquitto {
    /// Starts the program that the environment names, on a free port; without one says that `test`
    /// is skipped.
    pub fn start(test: &str) -> Option<Self> {
        let program = std::env::var_os(PROGRAM).filter(|program| !program.is_empty());
        let Some(program) = program else {
            println!(
                "skipped: {test} needs {PROGRAM}=/usr/sbin/mosquitto (apt-get install mosquitto)"
            );
            return None;
        };
        let folder = TempDir::new().expect("a folder");
        let port = quiet_port();
        let configuration = format!(
            "listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\nlog_dest stderr\n"
        );
        std::fs::write(folder.path().join("mosquitto.conf"), configuration).expect("written");
        let mut broker = Self { program: program.into(), port, folder, child: None };
        broker.restart();
        Some(broker)
    }

    /// Where it is: `mqtt://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("mqtt://127.0.0.1:{}", self.port)
    }

    /// Ends it as a crash does: nothing is said to its clients, nothing is kept.
    pub fn kill(&mut self) {
        let mut child = self.child.take().expect("it runs");
        child.kill().expect("a child can be killed");
        child.wait().expect("a child can be waited for");
    }

    /// Starts it again at the same port; returns once it accepts clients.
    pub fn restart(&mut self) {
        assert!(self.child.is_none(), "it runs already");
        let log = self.folder.path().join("mosquitto.log");
        let log = std::fs::File::options().create(true).append(true).open(log).expect("a log");
        let child = Command::new(&self.program)
            .arg("-c")
            .arg(self.folder.path().join("mosquitto.conf"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        let child = child.unwrap_or_else(|error| {
            panic!("{PROGRAM}={} does not start: {error}", self.program.display())
        });
        self.child = Some(child);
        let started = clock::stopwatch();
        while !accepts_clients(self.port) {
            let ended = self.child.as_mut().expect("just set").try_wait().expect("a child");
            assert!(ended.is_none() && started.elapsed() < PATIENCE, "{ended:?}: {}", self.log());
            std::thread::sleep(PAUSE);
        }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("mosquitto.log")).unwrap_or_default()
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Nothing can be done about a child that is gone already.
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            eprintln!("--- mosquitto\n{}", self.log());
        }
    }
}

/// Whether an MQTT v5 CONNECT is answered with a CONNACK that welcomes it.
fn accepts_clients(port: u16) -> bool {
    // Protocol name and level 5, clean start, 10 s keep alive, no properties, no client id.
    const CONNECT: [u8; 15] = [0x10, 13, 0, 4, b'M', b'Q', b'T', b'T', 5, 0x02, 0, 10, 0, 0, 0];
    const DISCONNECT: [u8; 2] = [0xe0, 0];
    let asked = || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(&CONNECT)?;
        // Packet type, length, session flag, reason code.
        let mut answer = [0; 4];
        stream.read_exact(&mut answer)?;
        stream.write_all(&DISCONNECT)?;
        Ok(answer[0] == 0x20 && answer[3] == 0)
    };
    asked().unwrap_or(false)
}
