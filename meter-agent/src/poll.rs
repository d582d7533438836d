//! The tasks that talk to devices: one per Modbus line, one per broker with device topics, one per
//! meter that speaks by itself.

use std::collections::BTreeMap;
use std::time::Duration;

use clock::Clock;
use rumqttc::v5::mqttbytes::QoS;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::chance::Chance;
use crate::config::{Config, Role};
use crate::control::hand::{Hand, Outcome};
use crate::device::{
    Absence, DeviceMap, Figure, Inbox, Observed, Quantity, Readout, Telegrams, Transport,
};
use crate::modbus::{Line, Place, Rank, ReadError, Unit};
use crate::mqtt::{Account, AccountError, SessionEvent, keep_session};
use crate::streams::StreamPlan;

/// Requests that may wait at a line.
const QUEUE: usize = 2;
/// Rounds whose units have not all answered, at most; the oldest counts as done beyond.
const MAX_ROUNDS: usize = 4;

/// A generator below this power is at rest, mW.
const IDLE_MW: i64 = 20_000;
/// The longest that a generator may be quiet before it counts as broken.
const LONGEST_NIGHT: Duration = Duration::from_secs(20 * 3_600);

/// What a line is asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// Read every unit that is not being left alone.
    Poll,
    /// Read every unit now: a slot has ended.
    Edge,
}

/// What comes back from the tasks.
#[derive(Debug)]
pub enum Report {
    /// A device was read, or not.
    Device(usize, Result<Readout, String>),
    /// A line has done what it was asked.
    Done(Ask),
    /// What came of a setpoint.
    Steered(usize, Outcome),
}

/// A device behind a line.
pub struct LineUnit {
    index: usize,
    unit: Unit,
    role: Role,
    /// Where the owner lets it be steered.
    hand: Option<Hand>,
}

/// All devices of a line.
pub struct LinePlan {
    /// Where it leads.
    pub place: Place,
    /// Who is behind it.
    pub units: Vec<LineUnit>,
}

/// All devices behind one broker.
pub struct BrokerPlan {
    /// Where.
    pub account: Account,
    /// Who publishes there.
    pub inboxes: Vec<(usize, Inbox)>,
}

/// Which tasks a configuration needs.
pub struct Plan {
    /// Modbus lines.
    pub lines: Vec<LinePlan>,
    /// Brokers.
    pub brokers: Vec<BrokerPlan>,
    /// Meters that speak by themselves.
    pub streams: Vec<StreamPlan>,
}

impl Plan {
    /// Groups the devices by line and broker.
    ///
    /// # Errors
    /// [`AccountError`] when a file for a broker cannot be used.
    pub fn of(config: &Config, maps: Vec<DeviceMap>) -> Result<Self, AccountError> {
        let mut lines: BTreeMap<Place, Vec<LineUnit>> = BTreeMap::new();
        let mut brokers: BTreeMap<String, BrokerPlan> = BTreeMap::new();
        let mut streams = Vec::new();
        for (index, (device, map)) in config.devices.iter().zip(maps).enumerate() {
            if map.transport == Transport::Mqtt {
                let Some(mqtt) = &device.mqtt else { continue };
                let broker = mqtt.broker.as_ref().unwrap_or(&config.mqtt);
                if !brokers.contains_key(&broker.url) {
                    let client_id =
                        format!("streetwatt-{}-devices-{}", config.point, brokers.len());
                    let plan = BrokerPlan {
                        account: Account::of(broker, client_id)?,
                        inboxes: Vec::new(),
                    };
                    brokers.insert(broker.url.clone(), plan);
                }
                let plan = brokers.get_mut(&broker.url).expect("just inserted");
                plan.inboxes.push((index, Inbox::new(map, &mqtt.topic)));
            } else if map.transport.is_telegrams() {
                let Some(place) = device.place() else { continue };
                streams.push(StreamPlan { index, place, telegrams: Telegrams::new(map) });
            } else if let (Some(place), Some(unit)) = (device.place(), device.unit) {
                let unit = Unit::new(unit, map, device.timeout_ms);
                lines.entry(place).or_default().push(LineUnit {
                    index,
                    unit,
                    role: device.role,
                    hand: None,
                });
            }
        }
        let lines = lines.into_iter().map(|(place, units)| LinePlan { place, units });
        let brokers = brokers.into_values().collect();
        Ok(Self { lines: lines.collect(), brokers, streams })
    }

    /// Lays a hand on a device; without one it can only be read.
    pub fn steer(&mut self, index: usize, hand: Hand) {
        let units = self.lines.iter_mut().flat_map(|line| &mut line.units);
        if let Some(unit) = units.into_iter().find(|unit| unit.index == index) {
            unit.hand = Some(hand);
        }
    }
}

/// A line's inbox.
#[must_use]
pub fn asks() -> (mpsc::Sender<Ask>, mpsc::Receiver<Ask>) {
    mpsc::channel(QUEUE)
}

/// A unit of a line, its device, and what it said.
type UnitOutcome = (usize, usize, Result<Readout, ReadError>);

/// Where a unit's task tells what it has done.
struct News {
    outcomes: mpsc::Sender<UnitOutcome>,
    reports: mpsc::Sender<Report>,
}

/// A unit's part in the rounds of its line.
struct Reader {
    asks: mpsc::Sender<Ask>,
    /// What it was asked and has not done yet, the present one first.
    open: Vec<Ask>,
    /// It did not answer last time: nobody waits for it.
    silent: bool,
}

/// Units that a round still waits for.
struct Round {
    ask: Ask,
    waiting: Vec<usize>,
}

/// Serves a line until nobody asks any more.
///
/// Each unit is read by a task of its own, and the line takes their requests in turns: a unit that
/// is slow misses rounds, and the others do not. A round is done when every unit that answered last
/// time has answered; whoever was silent may come later. At the end steered devices are given back.
pub async fn serve_line(
    plan: LinePlan,
    line: Line,
    mut asks: mpsc::Receiver<Ask>,
    reports: mpsc::Sender<Report>,
    clock: Clock,
) {
    let (outcomes_in, mut outcomes) = mpsc::channel(plan.units.len().max(1));
    let mut tasks = JoinSet::new();
    let mut readers = Vec::new();
    for (at, unit) in plan.units.into_iter().enumerate() {
        let (asks_in, asks) = self::asks();
        readers.push(Reader { asks: asks_in, open: Vec::new(), silent: false });
        let news = News { outcomes: outcomes_in.clone(), reports: reports.clone() };
        tasks.spawn(read_unit(at, unit, line.clone(), asks, news, clock.clone()));
    }
    serve_rounds(&mut asks, &mut readers, &mut outcomes, &reports).await;
    drop((readers, outcomes));
    while tasks.join_next().await.is_some() {}
}

/// Carries questions to the units and their answers back, until nobody asks or listens any more.
async fn serve_rounds(
    asks: &mut mpsc::Receiver<Ask>,
    readers: &mut [Reader],
    outcomes: &mut mpsc::Receiver<UnitOutcome>,
    reports: &mpsc::Sender<Report>,
) {
    let mut rounds: Vec<Round> = Vec::new();
    loop {
        tokio::select! {
            ask = asks.recv() => match ask {
                Some(ask) => rounds.push(begin(ask, readers)),
                None => return,
            },
            Some((at, index, outcome)) = outcomes.recv() => {
                let reader: &mut Reader = &mut readers[at];
                let ask = reader.open.remove(0);
                for round in rounds.iter_mut().filter(|round| round.ask == ask) {
                    round.waiting.retain(|&other| other != at);
                }
                reader.silent = outcome.is_err();
                // Whoever is left alone has said what is wrong with it before.
                let outcome = match outcome {
                    Err(ReadError::LeftAlone { .. }) => None,
                    other => Some(other.map_err(|error| error.to_string())),
                };
                if let Some(outcome) = outcome
                    && reports.send(Report::Device(index, outcome)).await.is_err()
                {
                    return;
                }
            }
        }
        if rounds.len() > MAX_ROUNDS {
            rounds[0].waiting.clear();
        }
        while let Some(at) = rounds.iter().position(|round| round.waiting.is_empty()) {
            let done = rounds.remove(at);
            if reports.send(Report::Done(done.ask)).await.is_err() {
                return;
            }
        }
    }
}

/// Asks every unit that has nothing like it to do.
fn begin(ask: Ask, readers: &mut [Reader]) -> Round {
    let mut waiting = Vec::new();
    for (at, reader) in readers.iter_mut().enumerate() {
        // A poll that has begun may have read before the edge; one that waits has not.
        let busy = match ask {
            Ask::Poll => !reader.open.is_empty(),
            Ask::Edge => reader.open.contains(&Ask::Edge),
        };
        if !busy && reader.asks.try_send(ask).is_ok() {
            reader.open.push(ask);
        } else if ask == Ask::Poll {
            continue;
        }
        if !reader.silent {
            waiting.push(at);
        }
    }
    Round { ask, waiting }
}

/// Whether a generator was at rest when it was last heard.
fn produces_nothing(readout: &Readout) -> bool {
    match readout.observed(Quantity::Power) {
        Observed::Value(power_mw) => power_mw.abs() <= IDLE_MW,
        Observed::Absent(why) => matches!(why, Absence::Asleep | Absence::Sentinel),
        Observed::Fault(_) => false,
    }
}

/// What a generator that went quiet in the evening says: nothing, and that is in order.
fn asleep(taken_ms: i64) -> Readout {
    let mut readout = Readout::default();
    readout.set(Quantity::Power, Figure::plain(Observed::Absent(Absence::Asleep), taken_ms));
    readout
}

/// Reads one unit whenever it is asked to.
///
/// An inverter that lives on its solar modules goes quiet when the sun has gone. One that said so, or
/// produced nothing any more, is asleep and not broken, for as long as a winter night.
///
/// Where the owner allows it, it is steered between two readings, and given back at the end.
async fn read_unit(
    at: usize,
    unit: LineUnit,
    line: Line,
    mut asks: mpsc::Receiver<Ask>,
    news: News,
    clock: Clock,
) {
    let LineUnit { index, mut unit, role, mut hand } = unit;
    let mut idle_since: Option<Instant> = None;
    loop {
        let ask = tokio::select! {
            ask = asks.recv() => match ask {
                Some(ask) => ask,
                None => break,
            },
            () = due(&mut hand) => {
                let acted = match &mut hand {
                    Some(hand) => hand.act(&mut unit, &line).await,
                    None => None,
                };
                // Whoever wants to know may have gone; the next question shows it.
                if let Some(outcome) = acted {
                    let _ = news.reports.send(Report::Steered(index, outcome)).await;
                }
                continue;
            }
        };
        let rank = match ask {
            Ask::Poll => Rank::Poll,
            Ask::Edge if role == Role::Meter => Rank::MeterEdge,
            Ask::Edge => Rank::Edge,
        };
        let now_ms = clock.now_ms();
        let mut outcome = unit.read(&line, rank, now_ms).await;
        match &outcome {
            Ok(readout) => {
                let idle = role == Role::Pv && produces_nothing(readout);
                idle_since = if idle { idle_since.or_else(|| Some(Instant::now())) } else { None };
            }
            Err(error) => {
                let night = idle_since.is_some_and(|since| since.elapsed() < LONGEST_NIGHT);
                if night && (error.is_silence() || matches!(error, ReadError::Unreachable { .. })) {
                    outcome = Ok(asleep(now_ms));
                }
            }
        }
        if news.outcomes.send((at, index, outcome)).await.is_err() {
            break;
        }
    }
    if let Some(hand) = hand {
        hand.leave(&mut unit, &line).await;
    }
}

/// When a hand has something to do; never without one.
async fn due(hand: &mut Option<Hand>) {
    match hand {
        Some(hand) => hand.due().await,
        None => std::future::pending().await,
    }
}

/// Listens to the devices behind a broker until nobody wants their reports any more.
pub async fn serve_broker(
    plan: BrokerPlan,
    reports: mpsc::Sender<Report>,
    clock: Clock,
    chance: Chance,
) {
    let BrokerPlan { account, mut inboxes } = plan;
    let filters: Vec<(String, QoS)> = inboxes
        .iter()
        .flat_map(|(_, inbox)| inbox.topics())
        .map(|topic| (topic.clone(), QoS::AtLeastOnce))
        .collect();
    let (sender, mut events) = mpsc::channel(64);
    let session = keep_session(account, filters, sender, chance);
    let dispatch = async {
        while let Some(event) = events.recv().await {
            for report in heard(&event, &mut inboxes, clock.now_ms()) {
                if reports.send(report).await.is_err() {
                    return;
                }
            }
        }
    };
    // Whichever ends first ends the other: both live as long as the reports are wanted.
    tokio::select! {
        () = session => {}
        () = dispatch => {}
        () = reports.closed() => {}
    }
}

fn heard(event: &SessionEvent, inboxes: &mut [(usize, Inbox)], now_ms: i64) -> Vec<Report> {
    match event {
        SessionEvent::Up(_) => Vec::new(),
        SessionEvent::Down(reason) => inboxes
            .iter()
            .map(|(index, _)| Report::Device(*index, Err(format!("no broker: {reason}"))))
            .collect(),
        SessionEvent::Message { topic, payload, retained } => inboxes
            .iter_mut()
            .filter_map(|(index, inbox)| match inbox.take(topic, payload, *retained, now_ms) {
                Ok(None) => None,
                Ok(Some(readout)) => Some(Report::Device(*index, Ok(readout))),
                Err(fault) => Some(Report::Device(*index, Err(fault.to_string()))),
            })
            .collect(),
    }
}
