//! The programs as people start them: found or built, run as children, killed or asked to stop.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use tokio::sync::watch;

/// Longest wait for a program that was asked to stop.
const PATIENCE: Duration = Duration::from_secs(20);
/// The programs, and what they are made of besides the libraries that all share.
const PROGRAMS: [(&str, &[&str]); 3] = [
    ("controller", &["controller/src", "controller/migrations", "contracts/artifacts"]),
    ("meter-agent", &["meter-agent/src", "meter-agent/devices"]),
    ("sim-grid", &["sim-grid/src", "controller/src", "meter-agent/src"]),
];
const SHARED: [&str; 2] = ["libs", "market/src"];
/// Lines of a log that a failed test shows.
const SHOWN_LINES: usize = 25;

/// The folder with `controller`, `meter-agent` and `sim-grid`, as new as their sources.
pub fn programs() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let test = std::env::current_exe().expect("the test's own path");
        let folder = test.ancestors().nth(2).expect("target/PROFILE/deps/test").to_owned();
        let is_new = |(name, sources): (&str, &[&str])| {
            let built = std::fs::metadata(folder.join(name)).and_then(|file| file.modified());
            built.is_ok_and(|built| built >= newest(sources.iter().chain(&SHARED)))
        };
        if !PROGRAMS.into_iter().all(is_new) {
            build(&folder);
        }
        folder
    })
}

/// When a file in these folders of the workspace was changed last; tests do not count.
fn newest<'n>(folders: impl Iterator<Item = &'n &'n str>) -> SystemTime {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
    let mut folders: Vec<PathBuf> = folders.map(|name| root.join(name)).collect();
    let mut newest = SystemTime::UNIX_EPOCH;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a source folder") {
            let entry = entry.expect("an entry");
            if entry.file_type().expect("a type").is_dir() {
                if entry.file_name() != "tests" {
                    folders.push(entry.path());
                }
            } else if let Ok(changed) = entry.metadata().and_then(|file| file.modified()) {
                newest = newest.max(changed);
            }
        }
    }
    newest
}

/// Builds the programs into the folder that the test was built into.
fn build(folder: &Path) {
    println!("building controller, meter-agent and sim-grid …");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--quiet", "--bins"]);
    cargo.args(["-p", "controller", "-p", "meter-agent", "-p", "sim-grid"]);
    cargo.arg("--target-dir").arg(folder.parent().expect("the target folder"));
    if folder.ends_with("release") {
        cargo.arg("--release");
    }
    let built = cargo.current_dir(env!("CARGO_MANIFEST_DIR")).output().expect("cargo runs");
    assert!(
        built.status.success(),
        "the programs that this test starts cannot be built; `cargo build -p controller -p \
         meter-agent -p sim-grid` says why:\n{}",
        String::from_utf8_lossy(&built.stderr)
    );
}

/// A running program; it is killed when this is dropped.
pub struct Program {
    name: String,
    child: Child,
    log: PathBuf,
    lines: watch::Receiver<Vec<String>>,
}

impl Program {
    /// Starts one of the programs. What it says on standard error goes behind `log`.
    pub fn start(program: &str, name: &str, log: &Path, arguments: &[&str]) -> Self {
        let errors = File::options().create(true).append(true).open(log).expect("a log");
        let mut child = Command::new(programs().join(program))
            .args(arguments)
            .env("RUST_LOG", "info,meter_agent=debug,rumqttd=off,rumqttc=warn")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(errors)
            .spawn()
            .unwrap_or_else(|error| panic!("{program} does not start: {error}"));
        let output = BufReader::new(child.stdout.take().expect("a pipe"));
        let (said, lines) = watch::channel(Vec::new());
        std::thread::spawn(move || {
            // Ends with the child, whose end of the pipe closes then.
            for line in output.lines().map_while(Result::ok) {
                said.send_modify(|lines| lines.push(line));
            }
        });
        Self { name: name.to_owned(), child, log: log.to_owned(), lines }
    }

    /// What it has said on standard output, line by line.
    pub fn lines(&self) -> watch::Receiver<Vec<String>> {
        self.lines.clone()
    }

    /// Fails when the program has ended by itself.
    pub fn assert_runs(&mut self) {
        let ended = self.child.try_wait().expect("a child can be asked");
        assert!(ended.is_none(), "{} has ended by itself: {ended:?}", self.name);
    }

    /// SIGKILL: it ends between two instructions.
    pub fn kill(mut self) {
        self.assert_runs();
        self.child.kill().expect("a child can be killed");
        self.child.wait().expect("a child can be waited for");
    }

    /// SIGTERM, and the end that it comes to in good order.
    pub async fn stop(mut self) {
        self.assert_runs();
        // The shell's own kill: a program of that name is not on every machine.
        let kill = format!("kill -TERM {}", self.child.id());
        let asked = Command::new("sh").args(["-c", &kill]).status().expect("a shell runs");
        assert!(asked.success(), "{} cannot be asked to stop", self.name);
        let ended = tokio::time::timeout(PATIENCE, self.ended()).await;
        let status = ended.unwrap_or_else(|_| panic!("{} does not stop", self.name));
        assert!(status.success(), "{} stopped with {status}", self.name);
    }

    async fn ended(&mut self) -> ExitStatus {
        loop {
            if let Some(status) = self.child.try_wait().expect("a child can be asked") {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Nothing can be done about a child that is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = std::fs::read_to_string(&self.log).unwrap_or_default();
            let from = log.lines().count().saturating_sub(SHOWN_LINES);
            let shown: Vec<&str> = log.lines().skip(from).collect();
            eprintln!("--- {}\n{}", self.name, shown.join("\n"));
        }
    }
}

/// Runs a program to its end and returns what it said; anything but success fails the test.
pub fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(programs().join(program))
        .args(arguments)
        .output()
        .unwrap_or_else(|error| panic!("{program} does not start: {error}"));
    let (said, complained) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{program} {arguments:?}: {said}{complained}");
    said.into_owned()
}
