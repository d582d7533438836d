//! Ten bad minutes: a whole street of separate processes whose devices misbehave by a seed, while
//! broker, controller and agents are killed at random. In the end everybody stops in good order, and
//! what is on disk is compared with what really flowed.
//!
//! The same seed draws the same faults and the same order of kills; when exactly a process dies
//! between two instructions is up to the machine.

mod program;
mod verdict;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use clock::{Clock, ClockConfig};
use controller::store::read::Reader;
use market::sharing::Rule;
use protocol::Domain;
use tokio::net::TcpStream;
use units::{PointId, Slot};

pub use verdict::Verdict;

use crate::demo::{DemoOptions, KeyKind, Plan, SharingChoice, free_address};
use crate::faces::BrokerUrl;
use crate::faults::FaultPlan;
use crate::scenario::Scenario;
use crate::street::{Street, StreetOptions};
use crate::world::chance::Chance;
use program::Program;
use verdict::Truth;

/// Slots at the end in which nothing goes wrong any more, so that everybody can catch up.
const CALM_SLOTS: i64 = 4;
/// Longest wait for a broker, and for the street to come to rest.
const PATIENCE: Duration = Duration::from_secs(90);
const LOOK: Duration = Duration::from_millis(50);
/// Most that die at once.
const MOST_AT_ONCE: u64 = 3;

/// How to run a campaign.
#[derive(Debug, Clone)]
pub struct CampaignOptions {
    /// Folder of the scenario.
    pub scenario: PathBuf,
    /// First slot.
    pub from: Slot,
    /// Draws faults and kills.
    pub seed: u64,
    /// How long, real time.
    pub length: Duration,
    /// Times real time.
    pub speed: f64,
    /// Where configurations, journals, record and logs go.
    pub data_dir: PathBuf,
    /// Mosquitto, as the broker; otherwise the one inside the controller, which dies with it.
    pub mosquitto: Option<PathBuf>,
}

/// A street of processes.
struct Campaign {
    clock: Clock,
    /// The broker, if it is one of its own; the controller; the agents.
    programs: Vec<Program>,
    points: Vec<PointId>,
    database: PathBuf,
    chance: Chance,
    kills: u64,
}

/// Runs a campaign to its end.
///
/// # Errors
/// What cannot start, or ends by itself; what is wrong in the end is in the verdict.
pub async fn run(options: CampaignOptions) -> anyhow::Result<(Verdict, u64)> {
    let programs = program::folder()?;
    let scenario = Arc::new(Scenario::load(&options.scenario).context("the scenario is refused")?);
    std::fs::create_dir_all(&options.data_dir)?;
    let broker = broker(&options)?;
    let anchor = ClockConfig {
        anchor_wall_ms: clock::wall_ms(),
        anchor_market_ms: options.from.start_ms(),
        speed: options.speed,
    };
    let clock = Clock::from_config(Some(anchor));
    let plan =
        Plan::make(demo_options(&options, anchor, broker.as_ref().map(|(_, url)| url)), &scenario)?;
    let domain = Domain::new(plan.community().clone());
    let mut started = Vec::new();
    if let Some((mut mosquitto, _)) = broker {
        mosquitto.start()?;
        started.push(mosquitto);
    }
    let file = plan.controller_file();
    let arguments = ["run", "--config", text(&file)?, "--json"];
    let log = options.data_dir.join("controller.log");
    let mut controller = Program::new("controller", programs.join("controller"), &arguments, &log);
    controller.start()?;
    started.push(controller);
    answers(plan.broker.place()).await?;
    let length_ms = market_ms(options.length, options.speed);
    let end_ms = options.from.start_ms() + length_ms;
    let calm_ms = end_ms - CALM_SLOTS * Slot::LENGTH_MS;
    let mut street = street(&options, &scenario, &plan, (calm_ms, end_ms)).await?;
    let mut points = Vec::new();
    for face in street.faces() {
        let file = plan.write_agent(face)?;
        let log = options.data_dir.join(format!("{}.log", face.customer));
        let arguments = ["run", "--config", text(&file)?];
        let name = face.customer.as_str();
        let mut agent = Program::new(name, programs.join("meter-agent"), &arguments, &log);
        agent.start()?;
        started.push(agent);
        points.push(face.customer.clone());
    }
    let database = options.data_dir.join("controller").join("street.db");
    let chance = Chance::new(options.seed, "kills");
    let mut campaign = Campaign { clock, programs: started, points, database, chance, kills: 0 };
    let mut truth = Truth::new();
    let clock = campaign.clock.clone();
    tokio::select! {
        ended = follow(&mut street, &clock, &mut truth) => ended?,
        ended = campaign.pass(calm_ms, end_ms) => ended?,
    }
    let households = options.data_dir.join("households");
    let Campaign { points, database, kills, .. } = campaign;
    let verdict = Verdict::of(&points, &households, &database, &domain, &truth).await?;
    Ok((verdict, kills))
}

impl Campaign {
    /// Kills until it becomes calm, waits for the end and for rest, and stops everybody.
    async fn pass(&mut self, calm_ms: i64, end_ms: i64) -> anyhow::Result<()> {
        // Everybody reads the first edge before the first one dies.
        self.clock.sleep_until(Slot::at_ms(self.clock.now_ms()).end_ms() + 60_000).await;
        while self.clock.now_ms() < calm_ms {
            self.strike().await?;
        }
        tracing::info!("calm from now on, after {} kills", self.kills);
        self.clock.sleep_until(end_ms).await;
        let resting = tokio::time::timeout(PATIENCE, self.rest()).await;
        match resting {
            Ok(rested) => rested?,
            Err(_) => tracing::warn!("the street does not come to rest within {PATIENCE:?}"),
        }
        // Agents first, the broker last.
        for program in self.programs.iter_mut().rev() {
            program.stop().await?;
        }
        Ok(())
    }

    /// A pause, some kills at once, a while without them, and their return.
    async fn strike(&mut self) -> anyhow::Result<()> {
        let (pause_ms, away_ms) = (self.chance.between(300, 4_000), self.chance.between(0, 5_000));
        tokio::time::sleep(Duration::from_millis(pause_ms)).await;
        for program in &mut self.programs {
            program.check()?;
        }
        let mut names = Vec::new();
        for _ in 0..self.chance.between(1, MOST_AT_ONCE + 1) {
            let index = self.target();
            let program = &mut self.programs[index];
            if program.runs() {
                names.push(program.name().to_owned());
                program.kill()?;
                self.kills += 1;
            }
        }
        tracing::info!("killed {}, back in {away_ms} ms", names.join(", "));
        tokio::time::sleep(Duration::from_millis(away_ms)).await;
        for program in &mut self.programs {
            if !program.runs() {
                program.start()?;
            }
        }
        Ok(())
    }

    /// Every third is broker or controller, the others are agents.
    fn target(&mut self) -> usize {
        let (all, agents) = (self.programs.len(), self.points.len());
        let (low, high) = match self.chance.between(0, 3) {
            0 => (0, all - agents),
            _ => (all - agents, all),
        };
        usize::try_from(self.chance.between(low as u64, high as u64)).expect("an index")
    }

    /// Waits for a moment in the middle of a slot at which the slot before is settled with all meters.
    async fn rest(&mut self) -> anyhow::Result<()> {
        let reader = Reader::open(&self.database).await.context("the controller's record")?;
        loop {
            for program in &mut self.programs {
                program.check()?;
            }
            let now_ms = self.clock.now_ms();
            let slot = Slot::at_ms(now_ms);
            let part = (now_ms - slot.start_ms()) * 100 / Slot::LENGTH_MS;
            let header = reader.header(slot.previous()).await?;
            if (10..70).contains(&part) && header.is_some_and(|header| header.missing == 0) {
                reader.close().await;
                return Ok(());
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// Mosquitto with a configuration of its own, when it is wanted.
fn broker(options: &CampaignOptions) -> anyhow::Result<Option<(Program, BrokerUrl)>> {
    let Some(executable) = &options.mosquitto else { return Ok(None) };
    let addr = free_address()?;
    let file = options.data_dir.join("mosquitto.conf");
    let configuration = format!(
        "listener {} {}\nallow_anonymous true\npersistence false\nlog_dest stderr\n",
        addr.port(),
        addr.ip()
    );
    std::fs::write(&file, configuration)?;
    let log = options.data_dir.join("mosquitto.log");
    let program = Program::new("mosquitto", executable.clone(), &["-c", text(&file)?], &log);
    Ok(Some((program, BrokerUrl::new(addr.ip().to_string(), addr.port()))))
}

fn demo_options(
    options: &CampaignOptions,
    anchor: ClockConfig,
    broker: Option<&BrokerUrl>,
) -> DemoOptions {
    DemoOptions {
        scenario: options.scenario.clone(),
        tariff: None,
        from: options.from,
        seed: options.seed,
        data_dir: options.data_dir.clone(),
        http: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        broker: broker.cloned(),
        rpc: None,
        grid: None,
        sharing: SharingChoice::Words(Rule::default(), KeyKind::None),
        steer: false,
        anchor_every_slots: 8,
        clock: Some(anchor),
    }
}

/// The street with the faults that the seed draws.
async fn street(
    options: &CampaignOptions,
    scenario: &Arc<Scenario>,
    plan: &Plan,
    (calm_ms, end_ms): (i64, i64),
) -> anyhow::Result<Street> {
    let street_options = StreetOptions {
        broker: Some(plan.broker.clone()),
        faults: FaultPlan::campaign(options.seed, calm_ms),
        ..StreetOptions::new(options.seed, options.from)
    };
    let street = Street::start(Arc::clone(scenario), &street_options).await?;
    let known_ms = street.world().end_ms();
    ensure!(
        end_ms < known_ms,
        "the scenario has only {} slots from {} on; choose fewer minutes, a lower speed or another start",
        (known_ms - options.from.start_ms()) / Slot::LENGTH_MS,
        options.from
    );
    ensure!(
        calm_ms > options.from.start_ms() + CALM_SLOTS * Slot::LENGTH_MS,
        "{:?} are too short at this speed; a campaign has at least {} slots",
        options.length,
        3 * CALM_SLOTS
    );
    Ok(street)
}

/// Moves the street with the clock, and notes what its meters have counted at every edge.
async fn follow(street: &mut Street, clock: &Clock, truth: &mut Truth) -> anyhow::Result<()> {
    while !street.world().has_ended() {
        let slot = Slot::at_ms(street.world().now_ms());
        street.run(clock, Some(slot.end_ms())).await?;
        let counted = street.faces().iter().enumerate().map(|(index, face)| {
            let meter = street.world().customer(index);
            (face.customer.clone(), (meter.import_wh, meter.export_wh))
        });
        truth.insert(slot.number(), counted.collect());
    }
    bail!("the scenario is over before the campaign is")
}

/// Waits until somebody listens.
async fn answers((host, port): (&str, u16)) -> anyhow::Result<()> {
    let knocking = async {
        while TcpStream::connect((host, port)).await.is_err() {
            tokio::time::sleep(LOOK).await;
        }
    };
    let waited = tokio::time::timeout(PATIENCE, knocking).await;
    waited.with_context(|| format!("nobody listens at {host}:{port}; see controller.log"))
}

fn text(path: &Path) -> anyhow::Result<&str> {
    path.to_str().with_context(|| format!("{} is no text", path.display()))
}

#[expect(clippy::cast_possible_truncation, reason = "an hour times a thousand")]
fn market_ms(length: Duration, speed: f64) -> i64 {
    (length.as_secs_f64() * 1_000.0 * speed) as i64
}
