//! The shell around the desk: feeds it from the broker and the clock, writes what it records, and
//! only then does what it asks.

mod arrivals;
mod claims;
mod setup;

pub use setup::{enrolments, operator_address, operator_key, policy};

use std::sync::Arc;
use std::time::Duration;

use arrivals::Arrivals;
use clock::Clock;
use market::{LpFault, propose};
use protocol::Ask;
use tokio::sync::{Mutex, Notify, broadcast, mpsc, watch};
use tracing::{error, info, warn};
use units::{PointId, Slot};

use crate::broker::{self, BrokerFault};
use crate::config::{Config, ConfigFault};
use crate::desk::{Desk, Input, Outgoing, Record, RestoreFault, Step};
use crate::http::events::Event;
use crate::keys::KeyFault;
use crate::live::Board;
use crate::mqtt::{Incoming, MqttFault};
use crate::store::read::Reader;
use crate::store::{Store, StoreFault};
use crate::tariff::TariffFault;

/// Most messages in one step, and so in one transaction.
const BATCH: usize = 512;
/// How often the operator's notes are looked for.
const NOTES_EVERY: Duration = Duration::from_secs(1);
/// Shortest pause between two steps that no message asked for.
const SHORTEST_PAUSE: Duration = Duration::from_millis(5);
/// Most statements that one request brings back.
const RESEND: i64 = 96;
/// Newest entries of the log whose statements are shown again after a connection was lost, when no
/// verdict came.
const REMINDED: u64 = 24;
/// Most statements that are shown again then.
const MOST_REMINDERS: i64 = 8_192;
/// Events that a slow listener may be behind.
const EVENTS: usize = 1_024;

/// Why the controller does not run.
#[derive(Debug, thiserror::Error)]
pub enum RunFault {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigFault),
    /// A secret.
    #[error(transparent)]
    Key(#[from] KeyFault),
    /// The tariff.
    #[error(transparent)]
    Tariff(#[from] TariffFault),
    /// The record.
    #[error(transparent)]
    Store(#[from] StoreFault),
    /// Reading the record.
    #[error("the record cannot be read: {0}")]
    Read(String),
    /// The record contradicts the configuration.
    #[error(transparent)]
    Restore(#[from] RestoreFault),
    /// The broker in the process.
    #[error(transparent)]
    Broker(#[from] BrokerFault),
    /// The connection to the broker.
    #[error(transparent)]
    Mqtt(#[from] MqttFault),
    /// The chain.
    #[error("chain: {0}")]
    Chain(String),
    /// The feeder.
    #[error("feeder: {0}")]
    Feeder(String),
    /// The HTTP server.
    #[error("cannot serve HTTP at {bind}: {source}; give another address as [http] bind")]
    Http {
        /// The address.
        bind: std::net::SocketAddr,
        /// The system's reason.
        source: std::io::Error,
    },
    /// Something that must not stop has stopped.
    #[error("{0} stopped unexpectedly")]
    Stopped(&'static str),
}

/// A controller at work.
pub struct Running {
    /// What happens, told after it was committed.
    pub events: broadcast::Sender<Event>,
    /// Where the web app is.
    pub http: std::net::SocketAddr,
    /// For queries.
    pub reader: Reader,
    /// The contracts, once they are planned.
    pub on_chain: watch::Receiver<Option<crate::http::OnChain>>,
    stop: watch::Sender<bool>,
    desk: tokio::task::JoinHandle<Result<(), RunFault>>,
    worker: tokio::task::JoinHandle<Result<(), StoreFault>>,
    server: crate::http::Running,
}

impl Running {
    /// Returns when the controller has stopped by itself, with the reason.
    ///
    /// # Errors
    /// [`RunFault`]: why it stopped.
    pub async fn failed(&mut self) -> Result<(), RunFault> {
        tokio::select! {
            ended = &mut self.desk => ended.unwrap_or(Err(RunFault::Stopped("the desk"))),
            ended = &mut self.worker => match ended {
                Ok(Err(fault)) => Err(fault.into()),
                _ => Err(RunFault::Stopped("the chain worker")),
            },
        }
    }

    /// Stops in an orderly way: what was accepted is on the disk already.
    ///
    /// # Errors
    /// [`RunFault`] when the record could not be closed.
    pub async fn stop(self) -> Result<(), RunFault> {
        self.worker.abort();
        let _ = self.worker.await;
        self.server.stop().await;
        self.reader.close().await;
        self.stop.send_replace(true);
        self.desk.await.unwrap_or(Err(RunFault::Stopped("the desk")))
    }
}

/// Starts everything that a configuration asks for.
///
/// # Errors
/// [`RunFault`] says what cannot start, why, and what to do.
pub async fn start(config: Config, clock: Clock) -> Result<Running, RunFault> {
    let secrets = setup::Secrets::load(&config)?;
    let tariff = Arc::new(crate::tariff::Tariff::load(&config.tariff)?);
    let network = setup::network(&config)?;
    let grid = Arc::new(crate::grid::load(&config).map_err(RunFault::Feeder)?);
    let path = config.data_dir.join("street.db");
    let mut store = Store::open(&path, &config.community, secrets.operator()).await?;
    store.keep_grid(&grid).await?;
    store.keep_sharing(&setup::sharing(&config)).await?;
    let saved = store.load().await?;
    let desk =
        Desk::restore(setup::desk(&config, &secrets, &tariff, grid)?, saved, clock.now_ms())?;
    store.begin_at(desk.first_open_slot()).await?;
    let store = Arc::new(Mutex::new(store));
    let reader = Reader::open(&path).await.map_err(|error| RunFault::Read(error.to_string()))?;

    if config.broker.url.is_none() {
        broker::start(config.broker.listen)?;
    }
    let data_dir = config.data_dir.clone();
    let link = crate::mqtt::connect(&config.broker, &config.community, &clock)?;
    let (events, _) = broadcast::channel(EVENTS);
    let points = config.households.iter().map(|household| household.point.clone());
    let board = Arc::new(Board::new(points, clock.speed()));
    let wake = Arc::new(Notify::new());
    let chain = setup::chain(&config, &secrets, &clock)?;
    let (deployed, on_chain) = watch::channel(None);
    let config = Arc::new(config);
    let api = crate::http::Api {
        claim: claims::desk(&config, &store, &clock, &wake, &on_chain),
        config: config.clone(),
        tariff,
        network,
        reader: reader.clone(),
        board: board.clone(),
        clock: clock.clone(),
        events: events.clone(),
        chain: on_chain.clone(),
        rpc: chain.rpc.clone(),
    };
    let bind = config.http.bind;
    let server = crate::http::start(api, bind).map_err(|source| RunFault::Http { bind, source })?;
    let http = server.address();
    let worker = setup::worker(&config, &secrets, &chain, &store, &clock, &wake, &events)?;
    let worker = tokio::spawn(setup::work(worker, chain.on_chain(), deployed));

    let (stop, stopped) = watch::channel(false);
    let shell = Shell {
        desk,
        store,
        clock,
        board,
        wake,
        events: events.clone(),
        outgoing: link.outgoing,
        solver_deadline: Duration::from_millis(u64::from(config.market.solver_deadline_ms)),
        dropped: 0,
        arrivals: Arrivals::default(),
        data_dir,
    };
    let desk = tokio::spawn(shell.run(link.incoming, link.connected, stopped));
    info!(%http, community = %config.community, "the street is open");
    Ok(Running { events, http, reader, on_chain, stop, desk, worker, server })
}

struct Shell {
    desk: Desk,
    store: Arc<Mutex<Store>>,
    clock: Clock,
    board: Arc<Board>,
    wake: Arc<Notify>,
    events: broadcast::Sender<Event>,
    outgoing: mpsc::Sender<Outgoing>,
    solver_deadline: Duration,
    /// Messages that found no place on their way to the broker.
    dropped: u64,
    /// Messages from the broker that the desk has not heard.
    arrivals: Arrivals,
    /// Where the operator leaves notes.
    data_dir: std::path::PathBuf,
}

impl Shell {
    async fn run(
        mut self,
        mut incoming: mpsc::Receiver<Incoming>,
        mut connected: watch::Receiver<bool>,
        mut stopped: watch::Receiver<bool>,
    ) -> Result<(), RunFault> {
        // Proposals come back here; one book is solved at a time.
        let (proposals, mut solved) = mpsc::channel(4);
        let mut batch = Vec::with_capacity(BATCH);
        let mut notes = tokio::time::interval(NOTES_EVERY);
        notes.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let due_ms = self.desk.next_due_ms(self.clock.now_ms());
            let (mut inputs, mut noted) = (Vec::new(), Vec::new());
            tokio::select! {
                taken = incoming.recv_many(&mut batch, BATCH) => {
                    if taken == 0 {
                        return Err(RunFault::Stopped("the broker connection"));
                    }
                }
                Some(proposal) = solved.recv() => inputs.push(proposal),
                () = self.clock.sleep_until(due_ms) => {
                    if !self.clock.is_manual() {
                        tokio::time::sleep(SHORTEST_PAUSE).await;
                    }
                }
                _ = notes.tick() => {
                    noted = crate::revocation::waiting(&self.data_dir);
                    if noted.is_empty() {
                        continue;
                    }
                    let signed = noted.iter().map(|(_, signed)| Box::new(signed.clone()));
                    inputs.extend(signed.map(Input::Revocation));
                }
                Ok(()) = connected.changed() => {
                    if *connected.borrow_and_update() {
                        self.desk.offer_again();
                        self.remind().await;
                    }
                }
                _ = stopped.changed() => {
                    incoming.close();
                    return self.close().await;
                }
            }
            let now_ms = self.clock.now_ms();
            // What came before this moment is heard before anything that the moment brings.
            while batch.len() < BATCH
                && let Ok(message) = incoming.try_recv()
            {
                batch.push(message);
            }
            // As long as others wait, no gate closes on them.
            let now_ms = if batch.len() < BATCH { now_ms } else { i64::MIN };
            let mut is_heard = !batch.is_empty();
            self.arrivals.take(batch.drain(..));
            while let Some((at_ms, messages)) = self.arrivals.next(self.desk.gate_ms(), now_ms) {
                let step = self.desk.step(at_ms, messages);
                self.carry_out(step, &proposals).await?;
            }
            is_heard &= inputs.is_empty() && self.arrivals.heard_ms() >= now_ms;
            if !is_heard {
                let step = self.desk.step(self.arrivals.at(now_ms), inputs);
                self.carry_out(step, &proposals).await?;
            }
            crate::revocation::done(&noted);
        }
    }

    async fn carry_out(
        &mut self,
        step: Step,
        proposals: &mpsc::Sender<Input>,
    ) -> Result<(), RunFault> {
        self.store.lock().await.write(&step.records).await?;
        // From here on, everything the step decided is on the disk.
        for message in step.outgoing {
            if let Some(event) = offer(&message) {
                // Nobody may be listening.
                let _ = self.events.send(event);
            }
            self.send(message);
        }
        if let Some(book) = step.solve {
            let deadline = self.solver_deadline;
            tokio::spawn(solve(book, deadline, proposals.clone()));
        }
        let now_ms = self.clock.now_ms();
        for live in step.live {
            self.board.update(live, now_ms);
        }
        for ask in step.resend {
            self.resend(&ask).await;
        }
        for record in &step.records {
            if matches!(record, Record::Anchor(_)) {
                self.wake.notify_one();
            }
            if let Some(event) = event(record) {
                // Nobody may be listening.
                let _ = self.events.send(event);
            }
        }
        Ok(())
    }

    fn send(&mut self, message: Outgoing) {
        if self.outgoing.try_send(message).is_err() {
            self.dropped += 1;
            if self.dropped.is_power_of_two() {
                warn!(total = self.dropped, "messages dropped: the broker does not keep up");
            }
        }
    }

    /// Sends a household the statements that it asks for again, and those before them whose verdict
    /// was lost on its way.
    async fn resend(&mut self, ask: &Ask) {
        let Ok(point) = PointId::new(ask.point.as_str()) else { return };
        let mut store = self.store.lock().await;
        let before = (RESEND.unsigned_abs(), ask.from_index);
        let unaudited = store.unaudited(Some(&point), before, RESEND).await;
        let from_slot = Slot::new(ask.from_slot);
        let later = store.deliveries(&point, ask.from_index, from_slot, RESEND).await;
        drop(store);
        let later = later.map(|all| all.into_iter().map(|payload| (point.clone(), payload)));
        match unaudited.and_then(|unaudited| Ok(unaudited.into_iter().chain(later?).collect())) {
            Ok(deliveries) => self.show_again(deliveries),
            Err(fault) => error!(%point, %fault, "statements could not be read again"),
        }
    }

    /// Shows everyone the newest statements again whose verdict has not come: it may have been sent
    /// while the broker or this process was away.
    async fn remind(&mut self) {
        let newest = (REMINDED, self.desk.log_size());
        let unaudited = self.store.lock().await.unaudited(None, newest, MOST_REMINDERS).await;
        match unaudited {
            Ok(deliveries) => self.show_again(deliveries),
            Err(fault) => error!(%fault, "statements could not be read again"),
        }
    }

    fn show_again(&mut self, deliveries: Vec<(PointId, String)>) {
        for (point, payload) in deliveries {
            let topic = protocol::Topic::Down(point, protocol::Down::Statement);
            self.send(Outgoing { topic, payload: payload.into_bytes(), retain: false });
        }
    }

    async fn close(self) -> Result<(), RunFault> {
        drop(self.outgoing);
        match Arc::try_unwrap(self.store) {
            Ok(store) => Ok(store.into_inner().close().await?),
            // Someone still reads; the transaction log closes itself with the process.
            Err(_) => Ok(()),
        }
    }
}

/// Asks the solver on a thread of its own; late, failed and panicking solvers all get an answer.
async fn solve(book: market::Book, deadline: Duration, proposals: mpsc::Sender<Input>) {
    let slot = book.slot();
    let started = clock::stopwatch();
    let solving = tokio::task::spawn_blocking(move || propose(&book));
    let answer = match tokio::time::timeout(deadline, solving).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(panic)) => Err(LpFault::Solver { detail: panic.to_string() }),
        Err(_) => Err(LpFault::Late),
    };
    let solve_us = i64::try_from(started.elapsed().as_micros()).unwrap_or(i64::MAX);
    let _ = proposals.send(Input::Proposal { slot, answer, solve_us }).await;
}

/// An offer changes nothing that is recorded, so it is known by its message alone.
fn offer(message: &Outgoing) -> Option<Event> {
    if message.topic != protocol::Topic::Public(protocol::Public::Offer) {
        return None;
    }
    let signed = protocol::Signed::<protocol::Offer>::parse(&message.payload).ok()?;
    Some(Event::Offer(Slot::new(signed.body.slot)))
}

fn event(record: &Record) -> Option<Event> {
    match record {
        Record::Cleared(record) => Some(Event::Cleared(record.clearing.slot)),
        Record::Settled(record) if record.header.version > 1 => {
            Some(Event::Corrected(Slot::new(record.header.slot)))
        }
        Record::Settled(record) => Some(Event::Settled(Slot::new(record.header.slot))),
        Record::Audit(audit) => Some(Event::Audit {
            point: PointId::new(audit.body().point.clone()).ok()?,
            slot: Slot::new(audit.body().slot),
            version: audit.body().version,
            verified: audit.body().verified,
        }),
        _ => None,
    }
}
