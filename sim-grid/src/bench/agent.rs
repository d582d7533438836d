//! What one household's agent costs: its own process, memory, processor time and file size, with
//! the devices of a house and with many more.
//!
//! The agent that is measured is the program as it is installed, in a street where everything else
//! is there, at the demo's speed: it polls its devices every second as in real life, but goes
//! through a whole slot, from the order to the verified bill, in ten seconds instead of fifteen
//! minutes. Slot edges, at which every device is read out of turn, come ninety times as often.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use clock::{Clock, ClockConfig};
use controller::http::events::Event;
use meter_agent::Config;
use meter_agent::config::{DeviceConfig, Role};
use meter_agent::journal::{self, Journal};
use meter_agent::outlets::MetricsConfig;
use protocol::{Domain, Quality};
use serde::Serialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::broadcast;
use tokio::task::JoinSet;
use units::{PointId, Slot};

use super::process::{AgentProcess, ProcessorTime, Usage};
use crate::demo::{self, Demo, DemoOptions, SharingChoice};
use crate::scenario::Scenario;
use crate::street::{Street, StreetError, StreetOptions};

/// Devices of the households that are measured beside one with its own.
const DEVICES: [usize; 2] = [20, 200];
/// How long an agent is watched at least, real time: three slots.
const WATCHED: Duration = Duration::from_secs(30);
/// Market milliseconds per real one: a slot in ten seconds.
const SPEED: i32 = 90;
/// From the start of the street to the end of its first slot, real time: long enough to get
/// everything going. The next slot is the first with a bill.
const LEAD_MS: i64 = 5_000;
/// Longest wait for the agent's first verified bill, real time.
const PATIENCE: Duration = Duration::from_secs(60);
/// Pause between two looks.
const LOOK: Duration = Duration::from_millis(20);
/// Longest text of metrics, bytes.
const MOST_METRICS: u64 = 1 << 20;

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
    /// By number of devices.
    pub loads: Vec<LoadCost>,
    /// Programs and their size, bytes.
    pub programs: Vec<ProgramSize>,
}

/// What the agent of a household with so many devices cost.
#[derive(Debug, Serialize)]
pub struct LoadCost {
    /// Devices that it polls once a second of real time, over Modbus TCP, each house on a
    /// connection of its own.
    pub devices: usize,
    /// From the start of the process to the first signed reading on the disk, milliseconds.
    pub cold_start_ms: f64,
    /// How long it was watched, seconds; a slot passes in ten.
    pub watched_s: f64,
    /// Slots that ended meanwhile.
    pub edges: usize,
    /// Of them, those without a measured reading of the meter or without every generator's register.
    pub missed_edges: usize,
    /// Usable answers per second of the device that gave the fewest.
    pub fewest_answers_per_s: f64,
    /// Polls without a usable answer, of all devices.
    pub failures: u64,
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
}

/// A program file.
#[derive(Debug, Serialize)]
pub struct ProgramSize {
    /// Its name.
    pub name: &'static str,
    /// Its size, bytes.
    pub bytes: u64,
}

/// Starts a street, swaps one household's agent for a process of its own, and watches it with
/// ever more devices to read.
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
    let hall = Hall::open(load, *DEVICES.last().expect("a table"), &clock).await?;
    let point = busiest(&demo)?;
    let household = demo.households.remove(&point).context("every house has an agent")?;
    let config = Config::load(household.file())?;
    household.stop().await;
    let watch = Watch {
        config,
        point,
        clock: clock.clone(),
        events: demo.controller.events.subscribe(),
        program: load.programs.join("meter-agent"),
        folder: folder.to_owned(),
    };
    let loads = tokio::select! {
        ended = demo.street.run(&clock, None) => {
            ended?;
            bail!("the scenario ends before the agent is measured");
        }
        failed = demo.controller.failed() => {
            failed?;
            bail!("the controller stopped");
        }
        loads = watch.all(&hall) => loads?,
    };
    demo.stop().await?;
    Ok(AgentCost { loads, programs })
}

/// The house with the most devices behind its Modbus port.
fn busiest(demo: &Demo) -> anyhow::Result<PointId> {
    let faces = demo.street.faces().iter();
    let busiest = faces.max_by_key(|face| face.kind.units().len()).context("an empty street")?;
    ensure!(!busiest.kind.units().is_empty(), "no house of this street speaks Modbus");
    Ok(busiest.customer.clone())
}

/// Further streets, whose inverters and batteries the agent reads as if they were its own.
struct Hall {
    devices: Vec<DeviceConfig>,
    /// They end when this is dropped.
    _streets: JoinSet<Result<(), StreetError>>,
}

impl Hall {
    /// Opens streets until there are `most` devices.
    async fn open(load: &AgentLoad, most: usize, clock: &Clock) -> anyhow::Result<Self> {
        let scenario = Arc::new(Scenario::load(&load.scenario)?);
        let (mut devices, mut streets) = (Vec::new(), JoinSet::new());
        while devices.len() < most {
            let seed = load.seed + 1 + u64::try_from(streets.len())?;
            let options = StreetOptions::new(seed, load.slot);
            let mut street = Street::start(Arc::clone(&scenario), &options).await?;
            let before = devices.len();
            for device in street.faces().iter().flat_map(|face| demo::devices(face, None)) {
                if device.role != Role::Meter {
                    devices.push(DeviceConfig { name: format!("d{}", devices.len()), ..device });
                }
            }
            ensure!(devices.len() > before, "no house of this street has an inverter");
            let clock = clock.clone();
            streets.spawn(async move { street.run(&clock, None).await });
        }
        Ok(Self { devices, _streets: streets })
    }
}

/// One household, watched.
struct Watch {
    config: Config,
    point: PointId,
    clock: Clock,
    events: broadcast::Receiver<Event>,
    program: PathBuf,
    folder: PathBuf,
}

/// What the system and the agent itself said in the end.
struct Watched {
    elapsed: Duration,
    cpu_ns: Option<f64>,
    usage: Usage,
    fewest_answers: u64,
    failures: u64,
}

impl Watch {
    /// Every load in turn; the household's journal goes on.
    async fn all(mut self, hall: &Hall) -> anyhow::Result<Vec<LoadCost>> {
        let own = self.config.devices.clone();
        let mut costs = Vec::new();
        for devices in [own.len()].into_iter().chain(DEVICES) {
            tracing::info!("watching the agent of {} with {devices} devices", self.point);
            let further = hall.devices.iter().take(devices.saturating_sub(own.len()));
            self.config.devices = own.iter().chain(further).cloned().collect();
            costs.push(self.one().await?);
        }
        Ok(costs)
    }

    /// Starts the agent right after an edge and watches it for [`WATCHED`] and until it has verified
    /// a bill.
    async fn one(&mut self) -> anyhow::Result<LoadCost> {
        let metrics = demo::free_address()?;
        self.config.metrics = Some(MetricsConfig { listen: metrics });
        let file = self.folder.join("measured.toml");
        std::fs::write(&file, self.config.to_toml())?;
        let first = Slot::at_ms(self.clock.now_ms());
        self.clock.sleep_until(first.end_ms()).await;
        let started = clock::stopwatch();
        let mut process = AgentProcess::start(&self.program, &file, &self.folder)?;
        while self.last_read()? != Some(first) {
            process.must_run()?;
            ensure!(started.elapsed() < PATIENCE, "no reading in time\n{}", process.said());
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let cold_start_ms = started.elapsed().as_secs_f64() * 1e3;
        let watched = self.watch(&mut process, metrics).await?;
        drop(process);
        let Watched { elapsed, cpu_ns, usage, fewest_answers, failures } = watched;
        let (edges, missed_edges) = self.edges_since(first)?;
        Ok(LoadCost {
            devices: self.config.devices.len(),
            cold_start_ms,
            watched_s: elapsed.as_secs_f64(),
            edges,
            missed_edges,
            fewest_answers_per_s: super::per_second(usize::try_from(fewest_answers)?, elapsed),
            failures,
            resident_kib: usage.resident_kib,
            peak_resident_kib: usage.peak_resident_kib,
            own_kib: usage.own_kib,
            threads: usage.threads,
            cpu_ms_per_s: cpu_ns.map(|nanoseconds| nanoseconds / 1e6 / elapsed.as_secs_f64()),
        })
    }

    async fn watch(
        &mut self,
        process: &mut AgentProcess,
        metrics: SocketAddr,
    ) -> anyhow::Result<Watched> {
        let started = clock::stopwatch();
        let before = Answers::of(metrics).await?;
        let mut cpu = ProcessorTime::default();
        cpu.note(process);
        let cpu_before = cpu.total_ns();
        let mut has_verified = false;
        while !has_verified || started.elapsed() < WATCHED {
            tokio::time::sleep(LOOK).await;
            process.must_run()?;
            cpu.note(process);
            let point = &self.point;
            while let Ok(event) = self.events.try_recv() {
                match event {
                    Event::Audit { point: of, verified, .. } if of == *point => {
                        ensure!(verified, "a bill of {point} does not hold\n{}", process.said());
                        has_verified = true;
                    }
                    _ => {}
                }
            }
            if started.elapsed() >= PATIENCE {
                bail!("the agent of {point} has not verified a bill in time\n{}", process.said());
            }
        }
        let elapsed = started.elapsed();
        let cpu_ns = cpu.total_ns().zip(cpu_before).map(|(after, before)| after - before);
        let (fewest_answers, failures) = Answers::of(metrics).await?.since(&before);
        Ok(Watched { elapsed, cpu_ns, usage: process.usage()?, fewest_answers, failures })
    }

    fn last_read(&self) -> anyhow::Result<Option<Slot>> {
        let newest = Journal::peek(&self.config.data_dir, self.config.epoch)?;
        Ok(newest.map(|entry| Slot::new(entry.reading.body.slot)))
    }

    /// Edges from that of `first` on, and how many of them were missed.
    fn edges_since(&self, first: Slot) -> anyhow::Result<(usize, usize)> {
        let domain = Domain::new(self.config.community.clone());
        let entries = journal::read(&self.config.data_dir, &domain, self.config.epoch)?;
        let last = entries.last().map_or(first, |entry| Slot::new(entry.reading.body.slot));
        let mut edges = 0;
        let mut missed = 0;
        for slot in first.number()..=last.number() {
            let found = entries.iter().find(|entry| entry.reading.body.slot == slot);
            // The first one after a pause is bridged, as it must be.
            let is_read = found.is_some_and(|entry| {
                let reading = &entry.reading.body;
                let measured = reading.quality == Quality::Measured.to_string();
                (measured || slot == first.number()) && !reading.produced_wh.is_empty()
            });
            edges += 1;
            missed += usize::from(!is_read);
        }
        Ok((edges, missed))
    }
}

/// What the agent says of its devices in its own metrics: answers and failures of each.
#[derive(Debug, PartialEq, Eq)]
struct Answers(BTreeMap<String, (u64, u64)>);

impl Answers {
    /// Asks a running agent.
    async fn of(metrics: SocketAddr) -> anyhow::Result<Self> {
        let mut stream = TcpStream::connect(metrics).await.context("the agent's metrics")?;
        let question =
            format!("GET /metrics HTTP/1.1\r\nHost: {metrics}\r\nConnection: close\r\n\r\n");
        stream.write_all(question.as_bytes()).await?;
        let mut text = String::new();
        stream.take(MOST_METRICS).read_to_string(&mut text).await?;
        let answers = Self::parse(&text);
        ensure!(!answers.0.is_empty(), "no device in the agent's metrics:\n{text}");
        Ok(answers)
    }

    fn parse(text: &str) -> Self {
        let mut by_device = BTreeMap::new();
        for line in text.lines() {
            let parts = line.split_once("{device=\"").and_then(|(name, rest)| {
                let (device, rest) = rest.split_once('"')?;
                Some((name, device, rest.rsplit_once(' ')?.1.parse::<u64>().ok()?))
            });
            let Some((name, device, value)) = parts else { continue };
            let entry: &mut (u64, u64) = by_device.entry(device.to_owned()).or_default();
            match name {
                "streetwatt_device_answers_total" => entry.0 = value,
                "streetwatt_device_failures_total" => entry.1 = value,
                _ => {}
            }
        }
        Self(by_device)
    }

    /// What has come since: the answers of the device that gave the fewest, and the failures of all.
    fn since(&self, before: &Self) -> (u64, u64) {
        let old = |device: &String| before.0.get(device).copied().unwrap_or_default();
        let answers = self.0.iter().map(|(device, (answers, _))| answers - old(device).0);
        let failures = self.0.iter().map(|(device, (_, failures))| failures - old(device).1);
        (answers.min().unwrap_or(0), failures.sum())
    }
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
    fn answers_are_counted_by_device() {
        let text = |first, second, failed| {
            format!(
                "HTTP/1.1 200 OK\r\n\r\n# TYPE streetwatt_device_answers_total counter\n\
                 streetwatt_device_answers_total{{device=\"a\",role=\"pv\"}} {first}\n\
                 streetwatt_device_answers_total{{device=\"b\",role=\"pv\"}} {second}\n\
                 streetwatt_device_failures_total{{device=\"b\",role=\"pv\"}} {failed}\n\
                 streetwatt_power_watts{{of=\"grid\"}} -5.000\n"
            )
        };
        let [before, after] = [text(10, 9, 1), text(40, 30, 4)].map(|text| Answers::parse(&text));
        assert_eq!(before.0.len(), 2);
        assert_eq!(after.since(&before), (21, 3));
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
