//! The street's desk: a state machine without clock, network or disk.
//!
//! [`Desk::step`] takes the time and what came in, and returns what must be recorded and what must
//! then be sent. The shell writes the records in one transaction before it sends anything, so a
//! crash at any moment leaves either all of a step or nothing of it; [`Desk::restore`] goes on from
//! the records.

mod household;
mod keys;
mod orders;
mod readings;
mod record;
mod restore;
mod rounds;
mod settle;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use market::{Cumulative, LpFault, Policy, Proposal, Terms};
use protocol::{
    Address, Ask, Audit, B256, Domain, Down, KeyRevocation, Live, MAX_MESSAGE_BYTES, Message,
    OperatorKey, Refusal, Signed, Topic, Up, Verified, keccak256, merkle,
};
use units::{PointId, Slot};

pub use household::Enrolment;
use household::Household;
pub use orders::BookOrder;
pub use record::{
    AnchorDraft, ClearedRecord, FillRecord, Outgoing, ReadingRecord, Record, RefusalRecord,
    SettledRecord, StatementRecord, Watermark,
};
pub use restore::{RestoreFault, Saved, SavedClearing, SavedEdge, SavedRevision};

use crate::config::MarketConfig;
use crate::rules::{Cleared, Revision, StreetGrid, StreetSharing};
use crate::tariff::Tariff;

/// Most slots that one step clears when it has to catch up.
const MAX_SLOTS_PER_STEP: usize = 16;
/// Most entries of the log that one step makes: slots that are settled, or settled again.
const MAX_ENTRIES_PER_STEP: usize = 16;
/// How far ahead orders are taken.
const MAX_SLOTS_AHEAD: i64 = 96;

/// What does not change while the desk runs.
pub struct Setup {
    /// Signing domain of the community.
    pub domain: Domain,
    /// The operator's key.
    pub key: OperatorKey,
    /// Keeps statement salts from being guessed.
    pub salt_secret: [u8; 32],
    /// The rounds' times and bounds.
    pub market: MarketConfig,
    /// The supplier's prices.
    pub tariff: Tariff,
    /// The grid that the members trade on.
    pub grid: Arc<StreetGrid>,
    /// What members pay each other, and how the grid operator allocates.
    pub sharing: Arc<StreetSharing>,
    /// How rewards are earned in a slot.
    pub policy: Policy,
    /// Settled slots per anchored epoch.
    pub anchor_every_slots: u32,
    /// The members.
    pub enrolments: Vec<Enrolment>,
}

/// Something that happened outside.
#[derive(Debug)]
pub enum Input {
    /// A message arrived from the broker.
    Message {
        /// Its topic.
        topic: String,
        /// Its bytes.
        payload: Vec<u8>,
    },
    /// The operator has revoked a household's key, and signed that.
    Revocation(Box<Signed<KeyRevocation>>),
    /// The solver answered, failed or was late.
    Proposal {
        /// The slot it was asked for.
        slot: Slot,
        /// Its answer.
        answer: Result<Proposal, LpFault>,
        /// How long it took, microseconds of real time; for the record only.
        solve_us: i64,
    },
}

/// What a step asks of the shell: write `records`, then do the rest.
#[derive(Debug, Default)]
pub struct Step {
    /// To be written in one transaction.
    pub records: Vec<Record>,
    /// To be published after that.
    pub outgoing: Vec<Outgoing>,
    /// A book that the solver should look at.
    pub solve: Option<market::Book>,
    /// Present flows of households, for display.
    pub live: Vec<Live>,
    /// Households that ask for statements again.
    pub resend: Vec<Ask>,
    /// Households that came further; how far is recorded once, at the end of the step.
    moved: BTreeSet<PointId>,
}

/// The desk and all it knows.
pub struct Desk {
    setup: Setup,
    households: BTreeMap<PointId, Household>,
    /// Accepted orders by slot, for slots that are not cleared.
    books: BTreeMap<Slot, BTreeMap<PointId, BookOrder>>,
    /// Digests of the orders in the newest books whose gate is closed: one that is sent again because
    /// its answer was lost gets the same answer. Not known after a restart.
    closed: BTreeMap<Slot, BTreeMap<PointId, B256>>,
    /// Cleared slots that are not settled.
    cleared: BTreeMap<Slot, Cleared>,
    /// Settled slots that can be settled again, with their newest settlement.
    past: BTreeMap<Slot, Revision>,
    /// Whether settling stopped at its bound, so that it should go on at once.
    is_behind: bool,
    /// The book that the solver is looking at.
    solving: Option<rounds::Solving>,
    /// When this desk was opened, Unix milliseconds.
    opened_ms: i64,
    /// First slot that is ever settled; metering starts with it.
    first_slot: Slot,
    /// Next slot whose gate closes.
    next_gate: Slot,
    /// Next slot to settle.
    next_settle: Slot,
    /// Newest slot that was offered since the start.
    offered: Option<Slot>,
    log: merkle::Frontier,
    rewards: Cumulative,
    epoch: AnchorDraft,
}

impl Desk {
    /// Takes what came in and does what is due.
    pub fn step(&mut self, now_ms: i64, inputs: Vec<Input>) -> Step {
        let mut step = Step::default();
        let mut receipts = BTreeSet::new();
        for input in inputs {
            match input {
                Input::Message { topic, payload } => {
                    self.take(now_ms, &topic, &payload, &mut step, &mut receipts);
                }
                Input::Revocation(revocation) => {
                    self.take_operators_revocation(now_ms, *revocation, &mut step);
                }
                Input::Proposal { slot, answer, solve_us } => {
                    self.take_proposal(now_ms, slot, answer, solve_us, &mut step);
                }
            }
        }
        for point in receipts {
            self.send_receipt(now_ms, &point, &mut step);
        }
        self.close_gates(now_ms, &mut step);
        self.settle_due(now_ms, &mut step);
        self.offer(now_ms, &mut step);
        self.record_watermarks(&mut step);
        step
    }

    fn record_watermarks(&self, step: &mut Step) {
        for point in std::mem::take(&mut step.moved) {
            let watermark = self.household(&point).watermark(self.rewards.of(&point));
            step.records.push(Record::Watermark(watermark));
        }
    }

    /// The next moment after `now_ms` at which something is due without any message, Unix
    /// milliseconds.
    #[must_use]
    pub fn next_due_ms(&self, now_ms: i64) -> i64 {
        if self.is_behind {
            return now_ms;
        }
        let market = &self.setup.market;
        let slot = self.next_settle;
        let settle = [slot.end_ms(), self.deadline_ms(slot)].into_iter().find(|&due| due > now_ms);
        // A closed gate waits for the solver, and an overdue slot is tried again in a while.
        let gate = self.solving.is_none().then(|| market.gate_ms(self.next_gate));
        let again = now_ms + Slot::LENGTH_MS / 15;
        settle.into_iter().chain(gate).fold(again, i64::min)
    }

    /// When the next gate closes, Unix milliseconds.
    #[must_use]
    pub fn gate_ms(&self) -> i64 {
        self.setup.market.gate_ms(self.next_gate)
    }

    /// Forgets what has been offered, so that it is offered again: for a broker that lost it.
    pub fn offer_again(&mut self) {
        self.offered = None;
    }

    /// Next slot to settle; all before it are settled.
    #[must_use]
    pub const fn next_settle(&self) -> Slot {
        self.next_settle
    }

    /// How many entries the log has.
    #[must_use]
    pub const fn log_size(&self) -> u64 {
        self.log.size()
    }

    /// The operator's address.
    #[must_use]
    pub fn operator(&self) -> Address {
        self.setup.key.address()
    }

    /// The members.
    pub fn enrolments(&self) -> impl Iterator<Item = &Enrolment> {
        self.households.values().map(|household| &household.enrolment)
    }

    fn terms(&self, slot: Slot) -> Terms {
        self.setup.tariff.terms(slot)
    }

    fn take(
        &mut self,
        now_ms: i64,
        topic: &str,
        payload: &[u8],
        step: &mut Step,
        receipts: &mut BTreeSet<PointId>,
    ) {
        let envelope = Envelope { now_ms, payload };
        let Some(Topic::Up(point, kind)) = Topic::parse(self.setup.domain.community(), topic)
        else {
            let refusal = Rejected::new("unknown topic", format!("{topic:.120}"));
            self.refuse(&envelope, None, "unknown", refusal, step);
            return;
        };
        if !self.households.contains_key(&point) {
            let refusal = Rejected::new("unknown metering point", point.to_string());
            self.refuse(&envelope, None, kind.as_str(), refusal, step);
            return;
        }
        let result = match kind {
            Up::Reading => self.take_reading(&envelope, &point, step).map(|()| {
                receipts.insert(point.clone());
            }),
            Up::Order => self.take_order(&envelope, &point, step),
            Up::Live => self.take_live(&envelope, &point, step),
            Up::Ask => self.take_ask(&envelope, &point, step),
            Up::Audit => self.take_audit(&envelope, &point, step),
            Up::KeyChange => self.take_key_change(&envelope, &point, step),
            Up::KeyRevocation => self.take_key_revocation(&envelope, &point, step),
        };
        if let Err(rejected) = result {
            if rejected.reason == BAD_SIGNATURE {
                // Which keys count here, should a change have been lost or be somebody else's.
                self.send_key_record(now_ms, &point, step);
            }
            if kind == Up::Reading {
                // The receipt tells the household where to resume.
                receipts.insert(point.clone());
            }
            self.refuse(&envelope, Some(&point), kind.as_str(), rejected, step);
        }
    }

    /// Believes a message that `point` signed about itself.
    fn verify<T: Message>(
        &self,
        envelope: &Envelope<'_>,
        point: &PointId,
        named: impl Fn(&T) -> &str,
    ) -> Result<Verified<T>, Rejected> {
        let signed = parse::<T>(envelope, point, named)?;
        let keys = self.household(point).keys.for_message(envelope.now_ms);
        signed
            .verify_any(&self.setup.domain, keys)
            .map_err(|error| Rejected::new(BAD_SIGNATURE, error.to_string()))
    }

    fn take_live(
        &mut self,
        envelope: &Envelope<'_>,
        point: &PointId,
        step: &mut Step,
    ) -> Result<(), Rejected> {
        let live = self.verify::<Live>(envelope, point, |live| &live.point)?;
        let time_ms = live.body().time_ms;
        if time_ms.abs_diff(envelope.now_ms) > Slot::LENGTH_MS.unsigned_abs() {
            return Err(Rejected::new("untimely", format!("time {time_ms}")));
        }
        let household = self.household_mut(point);
        if time_ms > household.live_ms {
            household.live_ms = time_ms;
            step.live.push(live.body().clone());
        }
        Ok(())
    }

    fn take_ask(
        &mut self,
        envelope: &Envelope<'_>,
        point: &PointId,
        step: &mut Step,
    ) -> Result<(), Rejected> {
        let ask = self.verify::<Ask>(envelope, point, |ask| &ask.point)?;
        step.resend.push(ask.body().clone());
        Ok(())
    }

    fn take_audit(
        &mut self,
        envelope: &Envelope<'_>,
        point: &PointId,
        step: &mut Step,
    ) -> Result<(), Rejected> {
        let audit = self.verify::<Audit>(envelope, point, |audit| &audit.point)?;
        let slot = Slot::new(audit.body().slot);
        if slot >= self.next_settle {
            return Err(Rejected::new("untimely", format!("slot {slot} is not settled")));
        }
        // Every version but the first found a meter that was missing.
        let versions = self.households.len() as u64 + 1;
        if !(1..=versions).contains(&u64::from(audit.body().version)) {
            let detail = format!("version {} of slot {slot}", audit.body().version);
            return Err(Rejected::new("malformed", detail));
        }
        if audit.body().reason.len() > 1_000 {
            return Err(Rejected::new("oversize", "a reason has at most 1000 characters"));
        }
        step.records.push(Record::Audit(Box::new(audit)));
        Ok(())
    }

    fn refuse(
        &self,
        envelope: &Envelope<'_>,
        point: Option<&PointId>,
        kind: &'static str,
        rejected: Rejected,
        step: &mut Step,
    ) {
        let message_hash = keccak256(envelope.payload);
        if let Some(point) = point {
            let refusal = Refusal {
                point: point.to_string(),
                kind: kind.to_owned(),
                message: message_hash,
                reason: format!("{}: {}", rejected.reason, rejected.detail),
                time_ms: envelope.now_ms,
            };
            self.send(Topic::Down(point.clone(), Down::Refusal), refusal, false, step);
        }
        let kept = envelope.payload.len().min(MAX_MESSAGE_BYTES);
        step.records.push(Record::Refusal(RefusalRecord {
            point: point.cloned(),
            kind,
            reason: rejected.reason,
            detail: rejected.detail,
            message_hash,
            message: envelope.payload[..kept].to_vec(),
            time_ms: envelope.now_ms,
        }));
    }

    fn send<T: Message>(&self, topic: Topic, body: T, retain: bool, step: &mut Step) {
        let signed = Signed::by_operator(body, &self.setup.domain, &self.setup.key);
        step.outgoing.push(Outgoing { topic, payload: signed.to_json(), retain });
    }

    fn household(&self, point: &PointId) -> &Household {
        self.households.get(point).expect("checked when the message arrived")
    }

    fn household_mut(&mut self, point: &PointId) -> &mut Household {
        self.households.get_mut(point).expect("checked when the message arrived")
    }
}

/// Reason of a refusal; see [`Rejected`].
const BAD_SIGNATURE: &str = "bad signature";

/// A message of bounded size in which `point` speaks of itself; nobody knows yet who signed it.
fn parse<T: Message>(
    envelope: &Envelope<'_>,
    point: &PointId,
    named: impl Fn(&T) -> &str,
) -> Result<Signed<T>, Rejected> {
    if envelope.payload.len() > MAX_MESSAGE_BYTES {
        return Err(Rejected::new("oversize", format!("{} bytes", envelope.payload.len())));
    }
    let signed = Signed::<T>::parse(envelope.payload)
        .map_err(|error| Rejected::new("malformed", error.to_string()))?;
    is_named(named(&signed.body), point)?;
    Ok(signed)
}

fn is_named(name: &str, point: &PointId) -> Result<(), Rejected> {
    if name == point.as_str() {
        return Ok(());
    }
    Err(Rejected::new("another metering point", format!("the body names {name:.60}")))
}

/// A message on its way through the desk.
struct Envelope<'a> {
    now_ms: i64,
    payload: &'a [u8],
}

/// Why a message is not accepted: a reason to count by, and a detail to act on.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Rejected {
    reason: &'static str,
    detail: String,
}

impl Rejected {
    fn new(reason: &'static str, detail: impl Into<String>) -> Self {
        Self { reason, detail: detail.into() }
    }
}
