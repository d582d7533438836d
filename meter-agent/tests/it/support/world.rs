//! The core with everything around it in memory: what it appends, publishes and keeps.

use std::collections::BTreeMap;
use std::sync::Arc;

use meter_agent::core::policy::{Style, Wishes};
use meter_agent::core::zone::Zone;
use meter_agent::core::{
    Core, Count, Effect, Entry, Evidence, Flows, HAND_SLACK_MS, Input, Keys, Level, Recovered,
    Registers, Settings,
};
use meter_agent::device::Observed;
use protocol::{
    Ask, Audit, ClockStatus, Delivery, Domain, Down, HouseholdKey, Live, Message, Order, Public,
    Reading, Signed, Topic, Up,
};
use units::Slot;

use super::operator::{Operator, Round, domain, point};

pub const FIRST: Slot = Slot::new(1_612_896);
pub const GRACE_MS: i64 = 60_000;

pub fn key() -> HouseholdKey {
    HouseholdKey::from_bytes(&[42; 32])
}

pub struct World {
    pub core: Core,
    pub operator: Operator,
    pub now_ms: i64,
    pub journal: Vec<Entry>,
    pub saved: Option<meter_agent::core::State>,
    pub published: Vec<(Up, Vec<u8>)>,
    pub sent: Vec<u64>,
    pub evidence: Vec<Evidence>,
    pub reports: Vec<(Level, String)>,
    pub awaits: bool,
    /// Registers of the meter, Wh.
    pub import_wh: i64,
    pub export_wh: i64,
    style: Style,
}

/// The keys that go with a state: of the household's three, those that it names.
fn keys(recovered: &Recovered) -> Keys {
    let history = recovered.state.as_ref().map(|state| state.content().keys.clone());
    let history = history.unwrap_or_default();
    let named = |wanted: protocol::B256| {
        let all = [42, 77, 78].map(|seed| HouseholdKey::from_bytes(&[seed; 32]));
        all.into_iter().find(|key| key.public().to_bytes() == wanted.0)
    };
    let current = history.current().and_then(named).unwrap_or_else(key);
    let former = history.former().and_then(named).map(Arc::new);
    Keys { current: Arc::new(current), former }
}

fn core(operator: &Operator, style: Style, recovered: Recovered, now_ms: i64) -> Core {
    let settings = Settings {
        domain: domain(),
        point: point(),
        epoch: 1,
        operator: operator.address(),
        keys: keys(&recovered),
        steering: None,
        bidding: Some(Wishes {
            style,
            insist_ppm: 100_000,
            zone: Zone::default(),
            site: None,
            battery: None,
            keep: Vec::new(),
            car: None,
        }),
        connection_w: 40_000,
        grace_ms: GRACE_MS,
        order_lead_ms: 1_000,
        slack_ms: HAND_SLACK_MS,
        allow_resetting: false,
        max_waiting: 300,
        burst: meter_agent::core::BURST,
        clock: ClockStatus::Synchronised,
    };
    Core::new(settings, recovered, now_ms)
}

impl World {
    /// A connected agent at the start of the first slot, with the operator that it trusts.
    pub fn new() -> Self {
        Self::bidding(Style::Passive)
    }

    /// The same with another policy.
    pub fn bidding(style: Style) -> Self {
        let operator = Operator::new(1);
        let now_ms = FIRST.start_ms();
        let mut world = Self {
            core: core(&operator, style, Recovered::default(), now_ms),
            operator,
            now_ms,
            journal: Vec::new(),
            saved: None,
            published: Vec::new(),
            sent: Vec::new(),
            evidence: Vec::new(),
            reports: Vec::new(),
            awaits: false,
            import_wh: 10_000,
            export_wh: 5_000,
            style,
        };
        world.step(Input::Connected);
        world
    }

    /// Kills the agent and starts it again from what was durable.
    pub fn restart(&mut self) {
        let recovered =
            Recovered { entries: self.journal.clone(), state: self.saved.clone(), cut_bytes: 0 };
        self.core = core(&self.operator, self.style, recovered, self.now_ms);
        self.awaits = false;
    }

    pub fn step(&mut self, input: Input) {
        for effect in self.core.step(self.now_ms, input) {
            match effect {
                Effect::Append(entry) => self.journal.push(*entry),
                Effect::SaveState => self.saved = Some(self.core.state()),
                Effect::SendReadings(first, last) => self.sent.extend(first..=last),
                Effect::Publish(kind, payload) => self.published.push((kind, payload)),
                Effect::AwaitAnswer | Effect::Answered => self.awaits = true,
                Effect::NothingAwaited => self.awaits = false,
                Effect::Released(_) => {}
                Effect::KeepEvidence(evidence) => self.evidence.push(evidence),
                Effect::Report(level, text) => self.reports.push((level, text)),
            }
        }
    }

    pub fn registers(&self) -> Registers {
        let count = |wh: i64| Observed::Value(Count::plain(wh * 1_000));
        Registers::plain(self.now_ms, count(self.import_wh), count(self.export_wh))
    }

    /// Moves the meter and the clock to the end of `slot` and reads the edge.
    pub fn edge(&mut self, slot: Slot, import_wh: i64, export_wh: i64) {
        self.import_wh += import_wh;
        self.export_wh += export_wh;
        self.now_ms = slot.end_ms();
        self.step(Input::Tick);
        assert_eq!(self.core.due_edge(self.now_ms), Some(slot));
        let registers = self.registers();
        self.step(Input::Edge(slot, registers));
    }

    /// The edge of a slot after one that nobody read in time.
    pub fn edge_after_gap(&mut self, slot: Slot, import_wh: i64, export_wh: i64) {
        self.now_ms = slot.previous().end_ms() + GRACE_MS + 1;
        self.step(Input::Tick);
        self.edge(slot, import_wh, export_wh);
    }

    /// Delivers all journalled readings to the operator, and its receipt back.
    pub fn receive(&mut self) {
        for entry in self.journal.clone() {
            self.operator.store(&entry.reading.body);
        }
        if let Some(newest) = self.journal.last() {
            let receipt = self.operator.receipt(&newest.reading.body, self.now_ms);
            let payload = self.operator.sign(receipt).to_json();
            self.hear(Down::Receipt, payload);
        }
    }

    pub fn hear(&mut self, kind: Down, payload: Vec<u8>) {
        self.step(Input::Message(Topic::Down(point(), kind), payload));
    }

    pub fn hear_public(&mut self, kind: Public, payload: Vec<u8>) {
        self.step(Input::Message(Topic::Public(kind), payload));
    }

    pub fn hear_delivery(&mut self, delivery: &Delivery) {
        let payload = serde_json::to_vec(delivery).expect("plain data");
        self.hear(Down::Statement, payload);
    }

    /// Offers a slot.
    pub fn hear_offer(&mut self, slot: Slot) {
        let offer = self.operator.offer(slot, self.now_ms);
        let payload = self.operator.sign(offer).to_json();
        self.hear_public(Public::Offer, payload);
    }

    /// Answers an order.
    pub fn hear_verdict(&mut self, order: &Order, accepted: bool) {
        let verdict = self.operator.verdict(order, accepted, self.now_ms);
        let payload = self.operator.sign(verdict).to_json();
        self.hear(Down::Verdict, payload);
    }

    /// Offers a slot and returns the order that came, if one did.
    pub fn offer(&mut self, slot: Slot) -> Option<Order> {
        let before = self.orders().len();
        self.hear_offer(slot);
        let order = self.orders().get(before).cloned()?;
        self.hear_verdict(&order, true);
        Some(order)
    }

    /// Publishes clearing and fill of a round.
    pub fn hear_round(&mut self, round: &Round) {
        let clearing = self.operator.sign(round.clearing.clone()).to_json();
        self.hear_public(Public::Clearing, clearing);
        if let Some(fill) = &round.fill {
            let fill = self.operator.sign(fill.clone()).to_json();
            self.hear(Down::Fill, fill);
        }
    }

    /// One whole slot of an honest street: the slot's order was placed one slot earlier.
    pub fn honest_slot(
        &mut self,
        slot: Slot,
        import_wh: i64,
        export_wh: i64,
        order: Option<&Order>,
    ) -> Option<Order> {
        self.edge(slot, import_wh, export_wh);
        self.receive();
        let round = self.operator.settle(slot, self.now_ms, order);
        self.hear_round(&round);
        self.hear_delivery(&round.delivery);
        self.offer(slot.offset(2))
    }

    /// Runs honest slots: imports and exports in turn, so that both sides are traded.
    pub fn honest_run(&mut self, slots: i64) -> BTreeMap<i64, Order> {
        let mut orders = BTreeMap::new();
        self.edge(FIRST.previous(), 0, 0);
        self.receive();
        for i in 0..slots {
            let slot = FIRST.offset(i);
            let (import, export) = if i % 5 < 3 { (120 + i, 3) } else { (2, 200 + i) };
            let order = orders.get(&slot.number()).cloned();
            if let Some(order) = self.honest_slot(slot, import, export, order.as_ref()) {
                orders.insert(order.slot, order);
            }
        }
        orders
    }

    fn heard<T: Message>(&self, kind: Up) -> Vec<T> {
        let of_kind = self.published.iter().filter(|(published, _)| *published == kind);
        of_kind.map(|(_, payload)| verified(payload)).collect()
    }

    pub fn audits(&self) -> Vec<Audit> {
        self.heard(Up::Audit)
    }

    pub fn orders(&self) -> Vec<Order> {
        self.heard(Up::Order)
    }

    pub fn asks(&self) -> Vec<Ask> {
        self.heard(Up::Ask)
    }

    pub fn lives(&self) -> Vec<Live> {
        self.heard(Up::Live)
    }

    pub fn readings(&self) -> Vec<Reading> {
        self.journal.iter().map(|entry| entry.reading.body.clone()).collect()
    }

    pub fn poll(&mut self, power_mw: i64) {
        let flows = Flows { taken_ms: self.now_ms, power_mw: Some(power_mw), ..Flows::default() };
        let registers = self.registers();
        self.step(Input::Polled(flows, Some(registers)));
    }
}

/// The body of a message that the household's key signed in the test community.
pub fn verified<T: Message>(payload: &[u8]) -> T {
    verified_in(&domain(), payload)
}

/// The body of a message that the household's key signed.
pub fn verified_in<T: Message>(domain: &Domain, payload: &[u8]) -> T {
    let signed = Signed::<T>::parse(payload).expect("well-formed");
    let verified = signed.verify_household(domain, &key().public()).expect("signed");
    verified.body().clone()
}
