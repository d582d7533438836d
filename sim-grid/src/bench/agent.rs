//! What one household's agent costs: its own process, memory, processor time and file size.
//!
//! The agent that is measured is the program as it is installed, in a street where everything else
//! is there, at the demo's speed: it polls its devices every second as in real life, but goes
//! through a whole slot, from the order to the verified bill, in ten seconds instead of fifteen
//! minutes.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use clock::{Clock, ClockConfig};
use controller::http::events::Event;
use serde::Serialize;
use tokio::sync::broadcast;
use units::{PointId, Slot};

use crate::demo::{Demo, DemoOptions, SharingChoice};

/// How long the agent is watched at least, real time.
const WATCHED: Duration = Duration::from_secs(10);
/// Market milliseconds per real one: a slot in ten seconds.
const SPEED: i32 = 90;
/// From the start of the street to the end of its first slot, real time: long enough to get
/// everything going. The next slot is the first with a bill.
const LEAD_MS: i64 = 5_000;
/// Longest wait for the agent's first verified bill, real time.
const PATIENCE: Duration = Duration::from_secs(60);
/// Pause between two looks.
const LOOK: Duration = Duration::from_millis(20);

/// Which street, and which programs.
#[derive(Debug, Clone)]
pub struct AgentLoad {
    /// Folder of the scenario.
    pub scenario: PathBuf,
    /// The slot in which the street starts.
    pub slot: Slot,
    /// Seed of the world.
    pub seed: u64,
    /// Folder with the programs `meter-agent`, `controller` and `sim-grid`.
    pub programs: PathBuf,
}

/// What the agent cost, and how large the programs are.
#[derive(Debug, Serialize)]
pub struct AgentCost {
    /// Devices that it polls once a second of real time, over Modbus TCP.
    pub devices: usize,
    /// How long it was watched, seconds; a slot passes in ten.
    pub watched_s: f64,
    /// Resident memory at the end, KiB.
    pub resident_kib: u64,
    /// Most resident memory it ever had, KiB.
    pub peak_resident_kib: u64,
    /// The part of the resident memory that is its own and not read from its program file, KiB.
    pub own_kib: u64,
    /// Threads at the end.
    pub threads: u64,
    /// Processor time per second while it was watched, milliseconds; absent where the system does
    /// not keep account of it.
    pub cpu_ms_per_s: Option<f64>,
    /// Programs and their size, bytes.
    pub programs: Vec<ProgramSize>,
}

/// A program file.
#[derive(Debug, Serialize)]
pub struct ProgramSize {
    /// Its name.
    pub name: &'static str,
    /// Its size, bytes.
    pub bytes: u64,
}

/// Starts a street, swaps one household's agent for a process of its own, and watches it.
///
/// # Errors
/// What does not start, does not happen in time, or cannot be read.
pub async fn measure(load: &AgentLoad, folder: &Path) -> anyhow::Result<AgentCost> {
    let programs = program_sizes(&load.programs)?;
    tracing::info!("starting a street");
    let anchor = ClockConfig {
        anchor_wall_ms: clock::wall_ms(),
        anchor_market_ms: load.slot.end_ms() - LEAD_MS * i64::from(SPEED),
        speed: f64::from(SPEED),
    };
    let clock = Clock::from_config(Some(anchor));
    let options = DemoOptions {
        scenario: load.scenario.clone(),
        tariff: None,
        from: load.slot,
        seed: load.seed,
        data_dir: folder.to_owned(),
        http: ([127, 0, 0, 1], 0).into(),
        broker: None,
        rpc: None,
        grid: None,
        sharing: SharingChoice::default(),
        steer: false,
        anchor_every_slots: 4,
        clock: Some(anchor),
    };
    let mut demo = Demo::start(options, clock.clone()).await?;
    let (point, devices) = busiest(&demo)?;
    let events = demo.controller.events.subscribe();
    let household = demo.households.remove(&point).context("every house has an agent")?;
    let config = household.file().to_owned();
    household.stop().await;
    tracing::info!("watching the agent of {point} through a slot");
    let process = AgentProcess::start(&load.programs.join("meter-agent"), &config, folder)?;
    let watched = tokio::select! {
        ended = demo.street.run(&clock, None) => {
            ended?;
            bail!("the scenario ends before the agent is measured");
        }
        failed = demo.controller.failed() => {
            failed?;
            bail!("the controller stopped");
        }
        watched = watch(process, &point, events) => watched?,
    };
    demo.stop().await?;
    let Watched { seconds, cpu_ns, usage } = watched;
    Ok(AgentCost {
        devices,
        watched_s: seconds,
        resident_kib: usage.resident_kib,
        peak_resident_kib: usage.peak_resident_kib,
        own_kib: usage.own_kib,
        threads: usage.threads,
        cpu_ms_per_s: cpu_ns.map(|nanoseconds| nanoseconds / 1e6 / seconds),
        programs,
    })
}

/// The house with the most devices behind its Modbus port.
fn busiest(demo: &Demo) -> anyhow::Result<(PointId, usize)> {
    let faces = demo.street.faces().iter();
    let busiest = faces.max_by_key(|face| face.kind.units().len()).context("an empty street")?;
    let devices = busiest.kind.units().len();
    ensure!(devices > 0, "no house of this street speaks Modbus");
    Ok((busiest.customer.clone(), devices))
}

struct Watched {
    seconds: f64,
    cpu_ns: Option<f64>,
    usage: Usage,
}

/// Watches the process for [`WATCHED`] and until it has verified a bill.
async fn watch(
    mut process: AgentProcess,
    point: &PointId,
    mut events: broadcast::Receiver<Event>,
) -> anyhow::Result<Watched> {
    let started = clock::stopwatch();
    let mut cpu = ProcessorTime::default();
    cpu.note(&process);
    let before = cpu.total_ns();
    let mut has_verified = false;
    loop {
        tokio::time::sleep(LOOK).await;
        process.must_run()?;
        cpu.note(&process);
        while let Ok(event) = events.try_recv() {
            match event {
                Event::Audit { point: of, verified, .. } if of == *point => {
                    ensure!(verified, "a bill of {point} does not hold\n{}", process.said());
                    has_verified = true;
                }
                _ => {}
            }
        }
        if has_verified && started.elapsed() >= WATCHED {
            break;
        }
        if started.elapsed() >= PATIENCE {
            bail!("the agent of {point} has not verified a bill in time\n{}", process.said());
        }
    }
    let seconds = started.elapsed().as_secs_f64();
    let cpu_ns = cpu.total_ns().zip(before).map(|(after, before)| after - before);
    Ok(Watched { seconds, cpu_ns, usage: process.usage()? })
}

/// A running agent; killed when dropped, which is an end that it is made for.
struct AgentProcess {
    child: Child,
    log: PathBuf,
}

impl AgentProcess {
    fn start(program: &Path, config: &Path, folder: &Path) -> anyhow::Result<Self> {
        let log = folder.join("agent.log");
        let said = File::create(&log)?;
        let child = Command::new(program)
            .arg("run")
            .arg("--config")
            .arg(config)
            .stdin(Stdio::null())
            .stdout(said.try_clone()?)
            .stderr(said)
            .spawn()
            .with_context(|| format!("{} does not start", program.display()))?;
        Ok(Self { child, log })
    }

    fn must_run(&mut self) -> anyhow::Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("the agent stopped with {status}\n{}", self.said()),
        }
    }

    /// The last lines of what it wrote.
    fn said(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    fn file(&self, name: &str) -> anyhow::Result<String> {
        let path = format!("/proc/{}/{name}", self.child.id());
        std::fs::read_to_string(&path)
            .with_context(|| format!("{path} cannot be read; the agent is measured on Linux only"))
    }

    fn usage(&self) -> anyhow::Result<Usage> {
        Usage::parse(&self.file("status")?).context("/proc/PID/status has another form")
    }
}

impl Drop for AgentProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Memory and threads of a process.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Usage {
    pub(super) resident_kib: u64,
    pub(super) peak_resident_kib: u64,
    own_kib: u64,
    threads: u64,
}

impl Usage {
    /// Of this process.
    pub(super) fn here() -> Option<Self> {
        Self::parse(&std::fs::read_to_string("/proc/self/status").ok()?)
    }

    /// Reads `/proc/PID/status` (proc(5)).
    fn parse(status: &str) -> Option<Self> {
        let field = |name: &str| {
            let line =
                status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
            line.trim().trim_end_matches("kB").trim_end().parse().ok()
        };
        Some(Self {
            resident_kib: field("VmRSS")?,
            peak_resident_kib: field("VmHWM")?,
            own_kib: field("RssAnon")?,
            threads: field("Threads")?,
        })
    }
}

/// Processor time of a process by thread. Its own account in `/proc/PID/stat` is kept in hundredths
/// of a second, in which an agent that sleeps nearly always is not seen at all.
#[derive(Default)]
struct ProcessorTime {
    /// By thread id, nanoseconds; threads that have ended keep what they had when last seen.
    threads: BTreeMap<u32, u64>,
}

impl ProcessorTime {
    /// Notes `/proc/PID/task/TID/schedstat` of all threads.
    fn note(&mut self, process: &AgentProcess) {
        let folder = format!("/proc/{}/task", process.child.id());
        for thread in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let id = thread.file_name().to_str().and_then(|name| name.parse().ok());
            let text = std::fs::read_to_string(thread.path().join("schedstat")).ok();
            if let (Some(id), Some(time)) = (id, text.as_deref().and_then(on_processor_ns)) {
                self.threads.insert(id, time);
            }
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "a figure to read")]
    fn total_ns(&self) -> Option<f64> {
        let known = !self.threads.is_empty();
        known.then(|| self.threads.values().sum::<u64>() as f64)
    }
}

/// The first field of `schedstat`: time on a processor, nanoseconds. Kernels that do not keep it
/// say 0.
fn on_processor_ns(schedstat: &str) -> Option<u64> {
    schedstat.split_whitespace().next()?.parse().ok().filter(|&time| time > 0)
}

fn program_sizes(folder: &Path) -> anyhow::Result<Vec<ProgramSize>> {
    let size = |name| {
        let path = folder.join(name);
        let metadata = std::fs::metadata(&path).with_context(|| {
            format!(
                "{} is missing; build it first: cargo build --release -p {name}",
                path.display()
            )
        })?;
        Ok(ProgramSize { name, bytes: metadata.len() })
    };
    ["meter-agent", "controller", "sim-grid"].into_iter().map(size).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_systems_words_about_a_process() {
        assert_eq!(on_processor_ns("74056 3909885 2\n"), Some(74_056));
        assert_eq!(on_processor_ns("0 0 0\n"), None);
        assert_eq!(on_processor_ns(""), None);
        let status =
            "Name:\ta\nVmHWM:\t    1764 kB\nVmRSS:\t    1700 kB\nRssAnon:\t  96 kB\nThreads:\t3\n";
        let usage = Usage::parse(status).expect("complete");
        assert_eq!(
            usage,
            Usage { resident_kib: 1_700, peak_resident_kib: 1_764, own_kib: 96, threads: 3 }
        );
        assert_eq!(Usage::parse("Name:\ta\nVmRSS:\t1 kB\n"), None);
    }

    #[test]
    fn a_missing_program_is_named_with_the_command_that_makes_it() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("meter-agent"), "12345").expect("written");
        let error = program_sizes(folder.path()).expect_err("two are missing");
        assert!(error.to_string().contains("cargo build --release -p controller"), "{error}");
        for name in ["controller", "sim-grid"] {
            std::fs::write(folder.path().join(name), "12").expect("written");
        }
        let sizes = program_sizes(folder.path()).expect("there");
        assert_eq!(sizes.iter().map(|program| program.bytes).collect::<Vec<_>>(), [5, 2, 2]);
    }
}
