//! The shell: carries messages, registers and time to the [`Core`] and does what it says, in order.

mod keys;
mod steering;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use clock::Clock;
use protocol::{Domain, MAX_MESSAGE_BYTES, Topic, Up};
use rumqttc::v5::mqttbytes::QoS;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tracing::{debug, error, info, warn};
use units::{CommunityId, PointId, Slot};

use crate::chance::Chance;
use crate::config::{Config, ConfigError, Role};
use crate::control::hand::Hand;
use crate::core::{Core, Effect, Input, Level, Status};
use crate::disk::{Disk, DiskError};
use crate::house::House;
use crate::key_file::{KeyError, KeyFiles};
use crate::link;
use crate::modbus::Line;
use crate::mqtt::{Account, AccountError, SessionEvent, keep_session};
use crate::outlets::{OutletError, Outlets};
use crate::poll::{self, Ask, Plan, Report, serve_broker, serve_line};
use crate::proxy::{Proxy, ProxyError};
use crate::running::{EdgeReading, Event, Running, Steady, due};
use crate::streams::serve_stream;
use crate::terms::{house, leaves, max_ages_ms, settings};

use steering::Grip;

/// Reports and events that may wait.
const QUEUE: usize = 64;
/// Real time between an edge and its reading where market time runs faster than the clock on the
/// wall: the simulated devices need it to get there themselves.
const EDGE_DELAY: Duration = Duration::from_millis(40);
/// How long the meter's registers wait for those of the generators at an edge, real time.
const SETTLE: Duration = Duration::from_millis(300);

/// The owner's word that the jumps of the counters were true: a file in the agent's folder.
pub const CONFIRMATION: &str = "confirm-jumps";

/// How long the tasks get to take their leave, real time; and where a device is to be given back.
const FAREWELL: Duration = Duration::from_millis(500);
const HANDING_BACK: Duration = Duration::from_secs(3);

/// Why the agent does not run or had to stop.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// Password, certificates or key for a broker.
    #[error(transparent)]
    Account(#[from] AccountError),
    /// The folder with journal and state.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// What the household's own programs read.
    #[error(transparent)]
    Outlet(#[from] OutletError),
    /// A port that other programs should read through.
    #[error(transparent)]
    Proxy(#[from] ProxyError),
}

/// An agent that is ready to run: everything is checked, opened and locked.
pub struct Agent {
    data_dir: std::path::PathBuf,
    community: CommunityId,
    point: PointId,
    clock: Clock,
    core: Core,
    disk: Disk,
    house: House,
    plan: Plan,
    account: Account,
    poll_interval: Duration,
    chance: Chance,
    status: watch::Sender<Status>,
    outlets: Outlets,
    proxies: Vec<Proxy>,
    /// The number of the battery that the owner lets be steered.
    battery: Option<usize>,
    /// Where to say what is wanted of a device, by its number.
    hands: BTreeMap<usize, Grip>,
    connection_w: i64,
    key_files: KeyFiles,
}

impl Agent {
    /// Checks the configuration, opens and locks the folder, recovers journal and state.
    ///
    /// # Errors
    /// [`AgentError`].
    pub fn open(config: &Config, clock: Clock) -> Result<Self, AgentError> {
        config.check()?;
        let maps = config.maps().map_err(ConfigError::from)?;
        let domain = Domain::new(config.community.clone());
        let (disk, recovered, opened) = Disk::open(
            &config.data_dir,
            &domain,
            &config.point,
            config.epoch,
            config.journal.keep(),
        )?;
        if opened.cut_bytes > 0 {
            warn!(point = %config.point, bytes = opened.cut_bytes,
                "the journal ended in an unfinished record, which was never sent; it is cut off");
        }
        let key_files = KeyFiles::at(config.key_file());
        let keys = keys::open(&key_files, &recovered, &config.point)?;
        let (public, readings) = (keys.current.public_hex(), opened.readings);
        info!(point = %config.point, key = public, readings, "ready");
        let max_ages_ms = max_ages_ms(config, &clock);
        let house = house(config, &maps, &max_ages_ms, &clock);
        let leaves = leaves(config, &maps)?;
        let leave = leaves.iter().find(|(index, _)| config.devices[*index].role == Role::Battery);
        let settings = settings(config, domain, keys, &clock, leave.map(|(_, leave)| leave))?;
        let core = Core::new(settings, recovered, clock.now_ms());
        warn_if_ahead(core.status(), &config.point, &clock);
        let account = Account::of(&config.mqtt, format!("streetwatt-{}", config.point))?;
        let proxies = Proxy::open_all(config, &maps)?;
        let mut plan = Plan::of(config, maps)?;
        let battery = leave.map(|(index, _)| *index);
        let mut hands = BTreeMap::new();
        for (index, leave) in leaves {
            let (sender, wanted) = watch::channel(None);
            plan.steer(index, Hand::new(leave.clone(), wanted, Chance::from_system()));
            hands.insert(index, Grip { leave, wanted: sender, set: None });
        }
        Ok(Self {
            data_dir: config.data_dir.clone(),
            community: config.community.clone(),
            point: config.point.clone(),
            proxies,
            plan,
            battery,
            hands,
            connection_w: config.connection_w,
            status: watch::Sender::new(core.status().clone()),
            poll_interval: Duration::from_millis(config.poll_interval_ms),
            chance: Chance::from_system(),
            outlets: Outlets::open(config, &max_ages_ms)?,
            clock,
            core,
            disk,
            house,
            account,
            key_files,
        })
    }

    /// How the agent is doing, now and later.
    #[must_use]
    pub fn status(&self) -> watch::Receiver<Status> {
        self.status.subscribe()
    }

    /// Where metrics are served, when they are.
    #[must_use]
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.outlets.metrics_address()
    }

    /// Runs until `shutdown` becomes true or its sender is gone.
    ///
    /// Whoever moves a clock by hand lets Modbus devices show the registers of a slot's end before
    /// the hand passes it: they are read at that moment. A device that publishes has to do so after
    /// the hand has passed, or while it stands less than a second of market time before the edge.
    ///
    /// # Errors
    /// [`AgentError::Disk`] when a reading or the state cannot be made durable: nothing can be
    /// promised any more, and a restart goes on from what is on disk.
    pub async fn run(mut self, mut shutdown: watch::Receiver<bool>) -> Result<(), AgentError> {
        let mut tasks = JoinSet::new();
        let mut running = self.start(&mut tasks);
        let result = loop {
            let now_ms = self.clock.now_ms();
            let clock = self.clock.clone();
            let wake_ms = self.core.wake_ms(now_ms);
            let event = tokio::select! {
                biased;
                changed = shutdown.changed() => match changed {
                    Ok(()) if !*shutdown.borrow() => continue,
                    _ => break Ok(()),
                },
                Some(event) = running.link.recv() => Event::Link(event),
                Some(report) = running.reports.recv() => Event::Report(report),
                () = clock.sleep_until(wake_ms) => Event::Time,
                () = due(&mut running.edge_timer) => Event::EdgeTimer,
                () = due(&mut running.answer_timer) => Event::Overdue,
                _ = running.poll.tick() => Event::Poll,
            };
            if let Err(error) = self.handle(event, &mut running).await {
                break Err(error);
            }
        };
        if let Some(client) = running.client.take() {
            // Best effort: the broker learns of the end either way.
            let _ = client.try_disconnect();
        }
        drop(running);
        self.outlets.close();
        let ended = async { while tasks.join_next().await.is_some() {} };
        let farewell = if self.hands.is_empty() { FAREWELL } else { HANDING_BACK };
        let _ = timeout(farewell, ended).await;
        result
    }

    /// Starts the tasks that talk to the world.
    fn start(&mut self, tasks: &mut JoinSet<()>) -> Running {
        let (reports_in, reports) = mpsc::channel(QUEUE);
        let (link_in, link) = mpsc::channel(QUEUE);
        let mut lines = Vec::new();
        let mut guests = BTreeMap::new();
        for plan in std::mem::take(&mut self.plan.lines) {
            let (asks_in, asks) = poll::asks();
            lines.push(asks_in);
            let chance = Chance::seeded(self.chance.below(u64::MAX));
            let line = Line::open(plan.place.clone(), chance);
            guests.insert(plan.place.clone(), line.guest());
            tasks.spawn(serve_line(plan, line, asks, reports_in.clone(), self.clock.clone()));
        }
        for proxy in std::mem::take(&mut self.proxies) {
            let (guests, clock) = (guests.clone(), self.clock.clone());
            // It goes when the agent goes, and the lines with it.
            let ended = reports_in.clone();
            tasks.spawn(async move {
                tokio::select! {
                    () = proxy.serve(guests, clock) => {}
                    () = ended.closed() => {}
                }
            });
        }
        for plan in std::mem::take(&mut self.plan.brokers) {
            let chance = Chance::seeded(self.chance.below(u64::MAX));
            tasks.spawn(serve_broker(plan, reports_in.clone(), self.clock.clone(), chance));
        }
        for plan in std::mem::take(&mut self.plan.streams) {
            let chance = Chance::seeded(self.chance.below(u64::MAX));
            tasks.spawn(serve_stream(plan, reports_in.clone(), self.clock.clone(), chance));
        }
        let filters = link::filters(&self.community, &self.point);
        let chance = Chance::seeded(self.chance.below(u64::MAX));
        tasks.spawn(keep_session(self.account.clone(), filters, link_in, chance));
        self.outlets.start(tasks, &self.clock, &mut self.chance);
        let mut poll = interval(self.poll_interval);
        poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let is_real = self.clock.speed() <= 1.0 && !self.clock.is_manual();
        Running {
            steady: Steady::new(is_real.then(|| self.clock.now_ms())),
            lines,
            reports,
            link,
            poll,
            client: None,
            polling: 0,
            edge: None,
            edge_timer: None,
            answer_timer: None,
            answer_failures: 0,
            silent: BTreeMap::new(),
        }
    }

    async fn handle(&mut self, event: Event, running: &mut Running) -> Result<(), AgentError> {
        if let Some((before_ms, after_ms)) = running.steady.step(self.clock.now_ms()) {
            self.step(Input::ClockStepped { before_ms, after_ms }, running).await?;
        }
        match event {
            Event::Link(event) => self.on_link(event, running).await?,
            Event::Report(Report::Device(index, outcome)) => self.note(index, outcome, running),
            Event::Report(Report::Steered(index, (at_ms, outcome))) => {
                self.steered(index, at_ms, outcome, running).await?;
            }
            Event::Report(Report::Done(Ask::Poll)) => {
                running.polling = running.polling.saturating_sub(1);
                if running.polling == 0 {
                    self.polled(running).await?;
                }
            }
            Event::Report(Report::Done(Ask::Edge)) => {
                if let Some(edge) = &mut running.edge {
                    edge.lines_open = edge.lines_open.saturating_sub(1);
                }
            }
            Event::Time => self.step(Input::Tick, running).await?,
            Event::Poll => {
                self.take_confirmation(running).await?;
                self.take_key_request(running).await?;
                if running.polling > 0 || running.lines.is_empty() {
                    self.polled(running).await?;
                }
                running.polling = running.ask(Ask::Poll);
            }
            Event::Overdue => {
                running.answer_timer = None;
                running.answer_failures = running.answer_failures.saturating_add(1);
                self.step(Input::Overdue, running).await?;
            }
            Event::EdgeTimer => {
                running.edge_timer = None;
                match &mut running.edge {
                    Some(edge) if edge.begun => edge.settled = true,
                    _ => running.begin_edge(),
                }
            }
        }
        self.serve_edge(running).await
    }

    /// Takes a device's figures, or notes that it is silent.
    fn note(
        &mut self,
        index: usize,
        outcome: Result<crate::device::Readout, String>,
        running: &mut Running,
    ) {
        let fault = outcome.as_ref().err().map(String::as_str);
        self.outlets.heard(index, fault, self.clock.now_ms());
        let Some(device) = self.house.device_mut(index) else { return };
        match outcome {
            Ok(readout) => {
                device.take(&readout);
                if running.silent.remove(&index).is_some() {
                    info!(point = %self.point, device = device.name, "answers again");
                }
            }
            Err(reason) => {
                let before = running.silent.insert(index, reason.clone());
                if before.as_deref() != Some(&reason) {
                    warn!(point = %self.point, device = device.name, reason, "cannot be read");
                }
            }
        }
    }

    /// Takes up what the owner has left in the folder: that the jumps of the counters were true.
    async fn take_confirmation(&mut self, running: &mut Running) -> Result<(), AgentError> {
        match std::fs::remove_file(self.data_dir.join(CONFIRMATION)) {
            Ok(()) => self.step(Input::ConfirmJumps, running).await,
            // It is not there, nearly always.
            Err(_) => Ok(()),
        }
    }

    async fn polled(&mut self, running: &mut Running) -> Result<(), AgentError> {
        let now_ms = self.clock.now_ms();
        let input = Input::Polled(self.house.flows(now_ms), self.house.registers_now(now_ms));
        self.step(input, running).await?;
        self.want();
        Ok(())
    }

    /// Reads the registers of the edge that is due, and hands them over once they are complete.
    async fn serve_edge(&mut self, running: &mut Running) -> Result<(), AgentError> {
        let Some(slot) = self.core.due_edge(self.clock.now_ms()) else {
            running.edge = None;
            running.edge_timer = None;
            return Ok(());
        };
        if running.edge.as_ref().is_none_or(|edge| edge.slot != slot) {
            running.edge = Some(EdgeReading::of(slot));
            let delay = if self.clock.speed() > 1.0 { Some(EDGE_DELAY) } else { None };
            running.edge_timer = delay.map(|delay| Box::pin(sleep(delay)));
            if delay.is_none() {
                running.begin_edge();
            }
        }
        let Some(edge) = running.edge.as_ref().filter(|edge| edge.begun) else { return Ok(()) };
        let registers = self.house.registers_at(slot);
        let complete = edge.lines_open == 0 && self.house.is_complete_at(slot);
        match registers {
            Some(registers) if complete || edge.settled => {
                self.step(Input::Edge(slot, registers), running).await?;
                if self.core.due_edge(self.clock.now_ms()) != Some(slot) {
                    running.edge = None;
                    running.edge_timer = None;
                    return Ok(());
                }
                running.retry_edge(&mut self.chance);
            }
            Some(_) => {
                running.edge_timer.get_or_insert_with(|| Box::pin(sleep(SETTLE)));
            }
            None if edge.lines_open == 0 || edge.settled => running.retry_edge(&mut self.chance),
            None => {}
        }
        Ok(())
    }

    async fn on_link(
        &mut self,
        event: SessionEvent,
        running: &mut Running,
    ) -> Result<(), AgentError> {
        match event {
            SessionEvent::Up(client) => {
                info!(point = %self.point, "connected to the operator's broker");
                running.client = Some(client);
                running.answer_failures = 0;
                self.step(Input::Connected, running).await
            }
            SessionEvent::Down(reason) => {
                if running.client.take().is_some() {
                    warn!(point = %self.point, reason, "connection to the broker lost");
                } else {
                    debug!(point = %self.point, reason, "no connection to the broker");
                }
                self.step(Input::Disconnected, running).await
            }
            SessionEvent::Message { topic, payload, .. } => {
                if payload.len() > MAX_MESSAGE_BYTES {
                    warn!(point = %self.point, topic, bytes = payload.len(), "message too large");
                    return Ok(());
                }
                match Topic::parse(&self.community, &topic) {
                    Some(topic) => self.step(Input::Message(topic, payload), running).await,
                    None => Ok(()),
                }
            }
        }
    }

    /// One step of the core, and all that it asks for.
    async fn step(&mut self, input: Input, running: &mut Running) -> Result<(), AgentError> {
        for effect in self.core.step(self.clock.now_ms(), input) {
            self.carry_out(effect, running).await?;
        }
        let status = self.core.status();
        self.status.send_if_modified(|known| {
            let news = known != status;
            if news {
                known.clone_from(status);
            }
            news
        });
        self.outlets.show(self.clock.now_ms(), &self.core);
        Ok(())
    }

    async fn carry_out(&mut self, effect: Effect, running: &mut Running) -> Result<(), AgentError> {
        match effect {
            Effect::Append(entry) => self.disk.append(entry).await?,
            Effect::SaveState => self.disk.save(self.core.state()).await?,
            Effect::SendReadings(first, last) => {
                for payload in self.disk.readings(first, last).await? {
                    self.publish(Up::Reading, payload, running);
                }
            }
            Effect::Publish(kind, payload) => self.publish(kind, payload, running),
            Effect::AwaitAnswer => {
                if running.answer_timer.is_none() {
                    running.await_answer(&mut self.chance);
                }
            }
            Effect::Answered => {
                running.answer_failures = 0;
                running.await_answer(&mut self.chance);
            }
            Effect::NothingAwaited => {
                running.answer_failures = 0;
                running.answer_timer = None;
            }
            Effect::Released(seq) => self.disk.release(seq).await?,
            Effect::KeepEvidence(evidence) => match self.disk.keep(evidence).await {
                Ok(path) => error!(point = %self.point, file = %path.display(), "evidence kept"),
                Err(reason) => error!(point = %self.point, %reason, "evidence cannot be kept"),
            },
            Effect::Report(level, text) => match level {
                Level::Debug => debug!(point = %self.point, "{text}"),
                Level::Info => info!(point = %self.point, "{text}"),
                Level::Warning => warn!(point = %self.point, "{text}"),
                Level::Error => error!(point = %self.point, "{text}"),
            },
        }
        Ok(())
    }

    fn publish(&self, kind: Up, payload: Vec<u8>, running: &Running) {
        let Some(client) = &running.client else { return };
        let topic = Topic::Up(self.point.clone(), kind).name(&self.community);
        let qos = if kind == Up::Live { QoS::AtMostOnce } else { QoS::AtLeastOnce };
        // A full queue is like a lost message: what needs an answer is sent again.
        if let Err(refused) = client.try_publish(topic, qos, false, payload) {
            debug!(point = %self.point, %kind, %refused, "not sent");
        }
    }
}

/// Says when the journal is ahead of the clock.
fn warn_if_ahead(status: &Status, point: &PointId, clock: &Clock) {
    if let Some(last) = status.journalled_slot
        && last > Slot::at_ms(clock.now_ms()).number()
    {
        warn!(point = %point, journal = %Slot::new(last),
            "the journal is ahead of the clock: no reading is made until the clock is there; \
             is the clock right?");
    }
}
