//! Mosquitto as the street's broker: a broker that nobody here wrote, and that can be stopped
//! without stopping anything else.

// Every test binary that includes this file uses its own part of it.
#![allow(dead_code)]

#[path = "port.rs"]
mod port;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

pub use port::quiet_port;
use tempfile::TempDir;

/// What people copy.
const DEPLOY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/mosquitto");
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
    /// Configuration and log, and certificates where there are any.
    folder: TempDir,
    is_private: bool,
    child: Option<Child>,
}

impl Mosquitto {
    /// Starts the program that the environment names, on a free port; without one says that `test`
    /// is skipped.
    pub fn start(test: &str) -> Option<Self> {
        let program = program(test)?;
        let folder = TempDir::new().expect("a folder");
        let port = quiet_port();
        let configuration = format!(
            "listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\nlog_dest stderr\n"
        );
        std::fs::write(folder.path().join("mosquitto.conf"), configuration).expect("written");
        let mut broker = Self { program, port, folder, is_private: false, child: None };
        broker.restart();
        Some(broker)
    }

    /// Starts it as `deploy/mosquitto` has it: the files as they are copied, for this community, with
    /// certificates that its script makes. `prepare` gets the folder before the start.
    pub fn deployed(
        test: &str,
        configuration: &str,
        community: &str,
        prepare: impl FnOnce(&Path),
    ) -> Option<Self> {
        let program = program(test)?;
        let folder = TempDir::new().expect("a folder");
        let port = quiet_port();
        let place = folder.path().to_str().expect("text").to_owned();
        for file in std::fs::read_dir(DEPLOY).expect("deploy/mosquitto is there") {
            let file = file.expect("readable").path();
            let text = std::fs::read_to_string(&file).expect("text");
            let text = text
                .replace("/etc/mosquitto/streetwatt", &place)
                .replace("/var/lib/mosquitto/", &format!("{place}/"))
                .replace("listener 8883", &format!("listener {port} 127.0.0.1"))
                .replace("example-street", community);
            let name = file.file_name().expect("a name");
            std::fs::write(folder.path().join(name), text).expect("written");
        }
        let main = std::fs::read_to_string(folder.path().join(configuration)).expect("there");
        // As whoever runs the tests; the folder is private.
        let main = format!("{main}user root\nlog_dest stderr\n");
        std::fs::write(folder.path().join("mosquitto.conf"), main).expect("written");
        let mut broker = Self { program, port, folder, is_private: true, child: None };
        broker.certify(&["authority"]);
        broker.certify(&["server", "localhost", "127.0.0.1"]);
        prepare(broker.folder.path());
        broker.restart();
        Some(broker)
    }

    /// Makes a certificate with the script that a person would use.
    pub fn certify(&self, arguments: &[&str]) {
        let made = Command::new("bash")
            .arg(self.folder.path().join("certificates.sh"))
            .arg(self.folder.path())
            .args(arguments)
            .output()
            .expect("bash and openssl are there");
        let said = String::from_utf8_lossy(&made.stderr);
        assert!(made.status.success(), "certificates.sh {arguments:?}: {said}");
    }

    /// Its certificates.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Where it is: `mqtt://127.0.0.1:PORT`, or `mqtts://` with certificates.
    pub fn url(&self) -> String {
        let scheme = if self.is_private { "mqtts" } else { "mqtt" };
        format!("{scheme}://127.0.0.1:{}", self.port)
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
        let accepts = if self.is_private { listens } else { accepts_clients };
        while !accepts(self.port) {
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

/// The program that the environment names; without one says that `test` is skipped.
fn program(test: &str) -> Option<PathBuf> {
    let program = std::env::var_os(PROGRAM).filter(|program| !program.is_empty());
    if program.is_none() {
        println!("skipped: {test} needs {PROGRAM}=/usr/sbin/mosquitto (apt-get install mosquitto)");
    }
    program.map(PathBuf::from)
}

/// Whether somebody listens.
fn listens(port: u16) -> bool {
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
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
