//! What the agent decides: which reading belongs to which slot, what to order, what to send again,
//! and whether a bill is right.
//!
//! No I/O, no clock, no chance: [`Core::step`] takes the market time and an [`Input`], and returns
//! [`Effect`]s for the shell to carry out in order. Whatever must be durable before it is said comes
//! as an effect before the one that says it.

mod audit;
mod book;
mod counter;
mod deliveries;
mod edges;
pub mod forecast;
mod happenings;
mod keys;
pub mod limits;
mod mail;
mod metering;
mod outbox;
mod pair;
pub mod policy;
mod sample;
mod state;
mod steering;
mod trading;
mod witness;
pub mod zone;

use std::collections::BTreeMap;
use std::sync::Arc;

use protocol::{
    Address, B256, ClockStatus, Domain, EventKind, HouseholdKey, Reading, Signed, Topic, Up,
};
use serde::{Deserialize, Serialize};
use units::{PointId, Slot};

pub use audit::Finding;
pub use book::{Filled, Placed};
pub use counter::{Counter, Former, HAND_SLACK_MS};
pub use edges::{Edge, Edges, Flow};
pub use keys::{KeyHistory, Keys, audit_signatures};
pub use metering::{EXPORT, IMPORT, PRODUCED};
pub use outbox::BURST;
pub use sample::{Count, Flows, Registers, Summed};
pub use state::{State, StateContent};
pub use steering::Steering;
pub use trading::Curves;
pub use witness::Witness;

use book::Book;
use counter::Watched;
use happenings::{Happenings, JOURNAL};
use outbox::Outbox;
use policy::{Policy, Wishes};

/// Slots that any message may speak of: up to the year 4800, so that no arithmetic overflows.
const SLOTS: std::ops::Range<i64> = 1..100_000_000;

/// What does not change while the agent runs.
pub struct Settings {
    /// The community's signing domain.
    pub domain: Domain,
    /// This household.
    pub point: PointId,
    /// Epoch of key and meter.
    pub epoch: u32,
    /// Who signs receipts, offers and the log.
    pub operator: Address,
    /// The household's keys.
    pub keys: Keys,
    /// How to bid; none = not at all.
    pub bidding: Option<Wishes>,
    /// The battery, where its owner lets it be steered.
    pub steering: Option<Steering>,
    /// The most that the grid connection can carry, W.
    pub connection_w: i64,
    /// How long after an edge a reading still belongs to it, milliseconds of market time.
    pub grace_ms: i64,
    /// How long an order may be on its way, milliseconds of market time: one that would come after its
    /// gate is not sent.
    pub order_lead_ms: i64,
    /// How far the clock can be trusted.
    pub clock: ClockStatus,
    /// How much older than it seems the last change of a counter may be, milliseconds of market time.
    pub slack_ms: i64,
    /// Readings that may wait for a receipt before no more are made.
    pub max_waiting: u64,
    /// Readings that may be sent at once when there is much to catch up with, usually
    /// [`BURST`]; more follow as market time goes by.
    pub burst: u64,
    /// Whether a meter may be settled on whose counter starts again by itself.
    pub allow_resetting: bool,
}

/// One record of the journal: a signed reading, and the counters behind it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// As it is sent.
    pub reading: Signed<Reading>,
    /// Where each counter stood, by register.
    pub counters: BTreeMap<String, Counter>,
    /// What had gone into a steered battery less what came out of it, mWh: for forecasts of the load.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stored_mwh: Option<i64>,
}

/// Something that happened.
#[derive(Debug, Clone)]
pub enum Input {
    /// Time passed.
    Tick,
    /// The devices were polled.
    Polled(Flows, Option<Registers>),
    /// The registers at the edge that [`Core::due_edge`] named.
    Edge(Slot, Registers),
    /// The owner says that the jumps which were put aside are true.
    ConfirmJumps,
    /// The owner wants another key, and the old one to count so long beside it, milliseconds.
    Rotate {
        /// The new one.
        key: Arc<HouseholdKey>,
        /// At most 30 days.
        overlap_ms: i64,
    },
    /// The owner says that the former key counts no more.
    RevokeKey {
        /// Which.
        key: B256,
        /// Why.
        reason: String,
    },
    /// The time of day was set: what it would have been, and what it is, Unix milliseconds.
    ClockStepped {
        /// As it went on.
        before_ms: i64,
        /// As it was set.
        after_ms: i64,
    },
    /// The link to the operator is up and subscribed.
    Connected,
    /// The link is down.
    Disconnected,
    /// No answer came for what was sent.
    Overdue,
    /// A device does what was wanted of it: market time of the figures that it follows from, and what is
    /// set; none = it is on its own.
    Steered(i64, Option<i64>),
    /// A message on one of the operator's topics.
    Message(Topic, Vec<u8>),
}

/// Something to do, in order.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Append to the journal, durably, before anything else.
    Append(Box<Entry>),
    /// Write [`Core::state`], durably, before anything else.
    SaveState,
    /// Publish journalled readings, first to last sequence number.
    SendReadings(u64, u64),
    /// Publish a signed message.
    Publish(Up, Vec<u8>),
    /// An answer is hoped for: send [`Input::Overdue`] when none comes.
    AwaitAnswer,
    /// Something arrived that was waited for: start the waiting time afresh.
    Answered,
    /// Nothing is waited for any more.
    NothingAwaited,
    /// The operator has every reading up to this one.
    Released(u64),
    /// Keep as evidence: what was found, and the message.
    KeepEvidence(Evidence),
    /// Tell the people.
    Report(Level, String),
}

/// How loud.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Of interest to a developer.
    Debug,
    /// In order.
    Info,
    /// Not in order, but known how to go on.
    Warning,
    /// Someone must look at this.
    Error,
}

/// A message that proves something wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Evidence {
    /// Market time, Unix milliseconds.
    pub time_ms: i64,
    /// Kind of message.
    pub kind: &'static str,
    /// Slot it is about, when it is about one.
    pub slot: Option<i64>,
    /// What is wrong.
    pub reason: String,
    /// The message as received.
    pub message: serde_json::Value,
}

/// How the agent is doing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Status {
    /// Whether the link is up.
    pub connected: bool,
    /// Sequence number of the newest journalled reading (0 = none).
    pub journalled_seq: u64,
    /// Slot of the newest journalled reading.
    pub journalled_slot: Option<i64>,
    /// Highest sequence number the operator has signed for.
    pub released_seq: u64,
    /// Orders placed since the start.
    pub orders: u64,
    /// Newest offered slot for which an order was considered and, if one was placed, answered by the
    /// operator; a forecast of nothing makes none.
    pub considered_slot: Option<i64>,
    /// Slot of the newest order.
    pub ordered_slot: Option<i64>,
    /// Statements that held since the start.
    pub verified: u64,
    /// Statements that did not hold since the start.
    pub failed: u64,
    /// Slot of the newest statement that held.
    pub verified_slot: Option<i64>,
    /// What was wrong with the newest statement that did not hold.
    pub last_finding: Option<String>,
    /// Messages that were refused since the start.
    pub refused: u64,
    /// Slot edges that could not be read since the start.
    pub missed_edges: u64,
    /// Market time of the figures that the steered battery goes by; none while none is steered.
    pub steered_ms: Option<i64>,
    /// What is set in the steered battery, mW; none while it is on its own.
    pub setpoint_mw: Option<i64>,
}

/// What a restart finds on disk.
#[derive(Debug, Default)]
pub struct Recovered {
    /// The journal's newest records, oldest first.
    pub entries: Vec<Entry>,
    /// The state file, when there is one.
    pub state: Option<State>,
    /// Bytes of an unfinished record that the journal ended in.
    pub cut_bytes: u64,
}

/// The agent's decisions.
pub struct Core {
    settings: Settings,
    edges: Edges,
    counters: BTreeMap<String, Watched>,
    /// A counter's baseline moved since the last reading.
    rebased: bool,
    happenings: Happenings,
    /// The clock was set since the last reading.
    clock_stepped: bool,
    /// Power has been summed up since the process began.
    summing: bool,
    /// The owner was told that the meter's counter starts again by itself.
    refused_resetting: bool,
    /// The meter's clock was off at the last look.
    clock_off: bool,
    last_seq: u64,
    head: protocol::B256,
    outbox: Outbox,
    keys: KeyHistory,
    /// A change of key on the operator's record that is not ours, once told.
    foreign_change: Option<B256>,
    book: Book,
    order_seq: u64,
    witness: Witness,
    /// The log's entries from this one on were asked for, so many times.
    asked: Option<(u64, u32)>,
    /// The newest delivery that did not hold, so that a repetition is not judged again.
    failed: Option<protocol::B256>,
    flows: Option<Flows>,
    /// What the steered battery goes by.
    helm: steering::Helm,
    /// Forecasts and orders; none when the household does not bid.
    policy: Option<Policy>,
    status: Status,
}

impl Core {
    /// Goes on from what is on disk; the entries must be the journal's newest, in order.
    #[must_use]
    pub fn new(settings: Settings, recovered: Recovered, now_ms: i64) -> Self {
        let state = recovered.state.map(State::into_content).unwrap_or_else(|| StateContent {
            orders_known_from: Slot::at_ms(now_ms).number() + 3,
            ..StateContent::default()
        });
        let behind: Vec<(Slot, Edge)> = recovered
            .entries
            .iter()
            .map(|entry| {
                let (slot, edge) = metering::edge_of(&settings.domain, &entry.reading.body);
                (slot, Edge { stored_mwh: entry.stored_mwh, ..edge })
            })
            .collect();
        let last_seq = recovered.entries.last().map_or(0, |entry| entry.reading.body.seq);
        // What was noted after the newest reading is told by the next one.
        let untold = if state.journal_seq == last_seq { state.happenings } else { Vec::new() };
        let mut happenings = Happenings::resume(untold);
        if let Some(bytes) = i64::try_from(recovered.cut_bytes).ok().filter(|&bytes| bytes > 0) {
            happenings.add(JOURNAL, EventKind::Cut, 0, bytes, now_ms);
        }
        let (last_seq, head) =
            behind.last().map_or((0, protocol::B256::ZERO), |(_, edge)| (edge.seq, edge.digest));
        let counters = recovered.entries.last().map(|entry| &entry.counters);
        let counters = counters.into_iter().flatten();
        let mut status = Status {
            journalled_seq: last_seq,
            journalled_slot: behind.last().map(|(slot, _)| slot.number()),
            ..Status::default()
        };
        let mut policy = settings.bidding.clone().map(Policy::new);
        let mut edges = Edges::new(behind, now_ms, settings.grace_ms);
        for (slot, measured) in edges.all_measured() {
            policy.iter_mut().for_each(|policy| policy.learn(slot, measured));
        }
        let outbox = Outbox::new(last_seq, state.released_seq, state.released_ms);
        let mut outbox = outbox.with_burst(settings.burst);
        outbox.hold_after(state.keys.hold_after());
        edges.receipted(outbox.released(), outbox.released_ms());
        status.released_seq = outbox.released();
        Self {
            edges,
            counters: counters.map(|(id, c)| (id.clone(), Watched::resume(c.clone()))).collect(),
            rebased: false,
            happenings,
            clock_stepped: false,
            summing: false,
            refused_resetting: false,
            clock_off: false,
            last_seq,
            head,
            outbox,
            keys: state.keys,
            foreign_change: None,
            book: Book::resume(state.orders, state.orders_known_from),
            order_seq: state.order_seq,
            witness: state.witness,
            asked: None,
            failed: None,
            flows: None,
            helm: steering::Helm::default(),
            policy,
            status,
            settings,
        }
    }

    /// Decides what to do about `input` at market time `now_ms` (Unix milliseconds).
    pub fn step(&mut self, now_ms: i64, input: Input) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.pass_time(now_ms, &mut effects);
        match input {
            Input::Tick => {}
            Input::Polled(flows, registers) => self.polled(now_ms, flows, registers, &mut effects),
            Input::Edge(slot, registers) => self.edge(now_ms, slot, &registers, &mut effects),
            Input::Rotate { key, overlap_ms } => {
                self.rotate(now_ms, key, overlap_ms, &mut effects);
            }
            Input::RevokeKey { key, reason } => {
                self.revoke_key(now_ms, key, reason, &mut effects);
            }
            Input::ConfirmJumps => self.confirm_jumps(now_ms, &mut effects),
            Input::ClockStepped { before_ms, after_ms } => {
                self.clock_stepped(before_ms, after_ms, &mut effects);
            }
            Input::Connected => self.connected(now_ms, &mut effects),
            Input::Disconnected => {
                self.status.connected = false;
                self.outbox.set_connected(false);
                effects.push(Effect::NothingAwaited);
            }
            Input::Overdue => self.overdue(now_ms, &mut effects),
            Input::Steered(at_ms, setpoint) => self.steered(at_ms, setpoint),
            Input::Message(topic, payload) => self.message(now_ms, &topic, &payload, &mut effects),
        }
        self.place_orders(now_ms, &mut effects);
        self.send_readings(now_ms, &mut effects);
        effects
    }

    /// The slot whose edge should be read now, if any.
    #[must_use]
    pub fn due_edge(&self, now_ms: i64) -> Option<Slot> {
        self.edges.due(now_ms)
    }

    /// When [`Input::Tick`] is needed next, market time in Unix milliseconds.
    #[must_use]
    pub fn wake_ms(&self, now_ms: i64) -> i64 {
        let edge_ms = self.edges.wake_ms(now_ms);
        self.outbox.wake_ms(now_ms).map_or(edge_ms, |more_ms| more_ms.min(edge_ms))
    }

    /// How the agent is doing.
    #[must_use]
    pub const fn status(&self) -> &Status {
        &self.status
    }

    /// The present flows, once the devices were polled.
    #[must_use]
    pub const fn flows(&self) -> Option<&Flows> {
        self.flows.as_ref()
    }

    /// The registers as they are now, Wh: [`IMPORT`], [`EXPORT`] and [`PRODUCED`] with each
    /// generator's name. They never decrease.
    #[must_use]
    pub fn registers_wh(&self) -> BTreeMap<String, i64> {
        self.counters.iter().map(|(id, watched)| (id.clone(), watched.wh())).collect()
    }

    /// What to keep in the state file.
    #[must_use]
    pub fn state(&self) -> State {
        State::new(
            self.settings.point.clone(),
            self.settings.epoch,
            StateContent {
                journal_seq: self.last_seq,
                released_seq: self.outbox.released(),
                released_ms: self.outbox.released_ms(),
                keys: self.keys.clone(),
                happenings: self.happenings.noted(),
                order_seq: self.order_seq,
                orders: self.book.orders().clone(),
                orders_known_from: self.book.orders_known_from(),
                witness: self.witness.clone(),
            },
        )
    }

    fn pass_time(&mut self, now_ms: i64, effects: &mut Vec<Effect>) {
        for slot in self.edges.pass(now_ms) {
            // Before the first reading there is nothing to miss.
            if self.last_seq > 0 {
                self.status.missed_edges += 1;
                effects.push(Effect::Report(
                    Level::Warning,
                    format!("the registers at the end of slot {slot} could not be read in time; the next reading bridges them"),
                ));
            }
        }
    }

    fn connected(&mut self, now_ms: i64, effects: &mut Vec<Effect>) {
        self.status.connected = true;
        self.outbox.set_connected(true);
        self.tell_keys(effects);
        // The present comes first, before the readings of the past.
        if let Some(flows) = self.flows.clone() {
            self.show(now_ms, &flows, effects);
        }
        self.repeat_orders(now_ms, |_| true, effects);
        self.ask_after_outage(now_ms, effects);
    }

    /// What was sent may be lost: a broker's acknowledgement is no answer.
    fn overdue(&mut self, now_ms: i64, effects: &mut Vec<Effect>) {
        self.outbox.overdue();
        self.tell_keys(effects);
        self.ask_again(now_ms, effects);
        if self.is_connected() {
            self.repeat_orders(now_ms, |_| true, effects);
        }
    }

    /// Something that was waited for has come: is there more to wait for?
    fn answered(&self, now_ms: i64) -> Effect {
        let waits = self.outbox.waiting() > 0
            || self.asked.is_some()
            || !self.keys.is_on_record()
            || self.has_unanswered_orders(now_ms);
        if waits { Effect::Answered } else { Effect::NothingAwaited }
    }

    fn send_readings(&mut self, now_ms: i64, effects: &mut Vec<Effect>) {
        if let Some((first, last)) = self.outbox.take(now_ms) {
            effects.push(Effect::SendReadings(first, last));
            effects.push(Effect::AwaitAnswer);
        }
    }

    fn is_connected(&self) -> bool {
        self.status.connected
    }
}

/// Whether a slot number can be calculated with.
fn plausible(slot: i64) -> bool {
    SLOTS.contains(&slot)
}
