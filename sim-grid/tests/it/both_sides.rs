//! A household's two sides through the real desk: what its policy would buy and what it would sell
//! are one signed order, and whichever side the neighbours meet is filled, billed and checked.

use std::sync::Arc;

use controller::config::MarketConfig;
use controller::desk::{Desk, Enrolment, Input, Outgoing, Saved, Setup, Step};
use controller::tariff::Tariff;
use market::{Terms, propose};
use meter_agent::core::forecast::Measured;
use meter_agent::core::policy::{Battery, Policy, Store, Style, View, Wishes};
use meter_agent::core::zone::Zone;
use meter_agent::core::{Core, Count, Curves, Effect, Entry, Recovered, Registers, Settings};
use meter_agent::device::Observed;
use protocol::{
    Address, B256, ClockStatus, Delivery, Domain, Down, Fill, HouseholdKey, Message, OperatorKey,
    Order, Reading, Signed, Statement, Topic, Up,
};
use units::{CommunityId, Energy, Money, PointId, Price, Slot};

/// 2016-01-25, a Monday, 00:00 UTC: when the desk opens.
pub const START: Slot = Slot::new(1_612_896 + 24 * 96);
pub const CONNECTION_W: i64 = 30_000;

fn terms() -> Terms {
    let price = Price::from_e5_per_kwh;
    Terms::new(price(28_800), price(12_310)).expect("on the tick")
}

pub fn community() -> CommunityId {
    CommunityId::new("street").expect("valid")
}

pub fn operator() -> OperatorKey {
    OperatorKey::from_bytes(&[9; 32]).expect("in range")
}

/// A member that signs what the test says.
pub struct Home {
    pub point: PointId,
    pub key: HouseholdKey,
    seq: u64,
    head: B256,
    import_wh: i64,
    export_wh: i64,
}

impl Home {
    pub fn new(number: u8) -> Self {
        Self {
            point: PointId::new(format!("H{number}")).expect("valid"),
            key: HouseholdKey::from_bytes(&[number; 32]),
            seq: 0,
            head: B256::ZERO,
            import_wh: 10_000,
            export_wh: 10_000,
        }
    }

    fn enrolment(&self) -> Enrolment {
        Enrolment {
            point: self.point.clone(),
            name: self.point.to_string(),
            bus: None,
            key: self.key.public(),
            epoch: 1,
            payout: Address::repeat_byte(self.key.public().as_bytes()[0] | 1),
            max_import_w: CONNECTION_W,
            max_export_w: CONNECTION_W,
            renewable: true,
            kind: "household".to_owned(),
            devices: vec![],
        }
    }

    fn message<T: Message>(&self, kind: Up, body: T) -> Input {
        let signed = Signed::by_household(body, &Domain::new(community()), &self.key);
        upwards(&self.point, kind, signed.to_json())
    }

    fn order(&self, slot: Slot, curves: Curves) -> Input {
        let order = Order {
            point: self.point.to_string(),
            slot: slot.number(),
            seq: slot.number().unsigned_abs(),
            buy: curves.buy,
            sell: curves.sell,
            time_ms: slot.start_ms() - 600_000,
        };
        self.message(Up::Order, order)
    }

    /// The reading at a slot's end, after this net energy.
    fn reading(&mut self, slot: Slot, net: Energy) -> Input {
        self.import_wh += net.wh().max(0);
        self.export_wh += (-net.wh()).max(0);
        let reading = Reading {
            point: self.point.to_string(),
            epoch: 1,
            seq: self.seq + 1,
            prev: self.head,
            slot: slot.number(),
            time_ms: slot.end_ms() + 400,
            clock: ClockStatus::Synchronised.to_string(),
            import_wh: self.import_wh.unsigned_abs(),
            export_wh: self.export_wh.unsigned_abs(),
            produced_wh: vec![],
            power_w: vec![],
            quality: "measured".into(),
            resolution_mwh: vec![],
            device_offset_ms: vec![],
            samples: vec![],
            events: vec![],
        };
        (self.seq, self.head) = (reading.seq, Domain::new(community()).digest(&reading));
        self.message(Up::Reading, reading)
    }
}

pub fn upwards(point: &PointId, kind: Up, payload: Vec<u8>) -> Input {
    Input::Message { topic: Topic::Up(point.clone(), kind).name(&community()), payload }
}

/// The real desk, its record left out.
pub struct Street {
    desk: Desk,
    pub now_ms: i64,
    pub sent: Vec<Outgoing>,
}

impl Street {
    pub fn open(homes: &[&Home]) -> Self {
        let now_ms = START.start_ms() + 60_000;
        let setup = Setup {
            domain: Domain::new(community()),
            key: operator(),
            salt_secret: [5; 32],
            market: MarketConfig::default(),
            tariff: Tariff::Flat(terms()),
            grid: Arc::default(),
            sharing: Arc::default(),
            policy: market::Policy { rate_wei_per_wh: 1, cap_wei: 1_000_000 },
            anchor_every_slots: 4,
            enrolments: homes.iter().map(|home| home.enrolment()).collect(),
        };
        let desk = Desk::restore(setup, Saved::default(), now_ms).expect("nothing to contradict");
        Self { desk, now_ms, sent: Vec::new() }
    }

    /// One step, with every book solved at once; returns what was sent because of it.
    pub fn step(&mut self, inputs: Vec<Input>) -> Vec<Outgoing> {
        let before = self.sent.len();
        let mut step = self.desk.step(self.now_ms, inputs);
        loop {
            let Step { outgoing, solve, .. } = step;
            self.sent.extend(outgoing);
            let Some(book) = solve else { break };
            let (slot, answer) = (book.slot(), propose(&book));
            step = self.desk.step(self.now_ms, vec![Input::Proposal { slot, answer, solve_us: 1 }]);
        }
        self.sent[before..].to_vec()
    }

    fn fill(&self, point: &PointId, slot: Slot) -> Option<Fill> {
        let topic = Topic::Down(point.clone(), Down::Fill);
        let fills = self.sent.iter().filter(|sent| sent.topic == topic);
        let mut fills = fills.map(|sent| Signed::<Fill>::parse(&sent.payload).expect("own").body);
        fills.find(|fill| fill.slot == slot.number())
    }

    fn bill(&self, point: &PointId, slot: Slot) -> Option<Statement> {
        let topic = Topic::Down(point.clone(), Down::Statement);
        let bills = self.sent.iter().filter(|sent| sent.topic == topic);
        let mut bills = bills.map(|sent| {
            serde_json::from_slice::<Delivery>(&sent.payload).expect("own message").statement
        });
        bills.find(|bill| bill.slot == slot.number())
    }
}

/// A bid or an ask of one step.
fn plain(is_bid: bool, quantity_wh: i64, limit_e5: i64) -> Curves {
    let steps = vec![protocol::Step::fixed(quantity_wh, limit_e5 * 10)];
    match is_bid {
        true => Curves { buy: steps, sell: vec![] },
        false => Curves { buy: vec![], sell: steps },
    }
}

fn wishes(style: Style, battery: Option<Battery>) -> Wishes {
    let zone = Zone::parse("Europe/Berlin").expect("known");
    Wishes { style, insist_ppm: 0, zone, site: None, battery, keep: vec![], car: None }
}

/// A battery that holds more than the house uses in a day: what is in it is worth something
/// between the supplier's prices.
const BATTERY: Battery = Battery {
    capacity: Energy::from_wh(20_000),
    charge: Energy::from_wh(600),
    discharge: Energy::from_wh(600),
    efficiency_in_ppm: 950_000,
    efficiency_out_ppm: 950_000,
    wear: Price::ZERO,
};
/// What the house uses in every slot, Wh.
const LOAD: Energy = Energy::from_wh(100);

#[test]
fn a_battery_charges_or_discharges_with_the_neighbours_whichever_side_clears() {
    let mut policy = Policy::new(wishes(Style::Battery, Some(BATTERY)));
    for slot in START.number() - 7 * 96..START.number() {
        policy.learn(Slot::new(slot), Measured { load_wh: LOAD.wh(), sun_wh: Some(0) });
    }
    let (mut home, mut neighbour) = (Home::new(1), Home::new(2));
    let mut street = Street::open(&[&home, &neighbour]);
    let mut store = Store::of(Energy::from_wh(15_000));
    street.now_ms = START.end_ms() + 500;
    let baseline = [&mut home, &mut neighbour].map(|home| home.reading(START, Energy::ZERO));
    street.step(baseline.into());
    let known = [terms(); 96];
    // The neighbour has sun to give, wants energy, or would sell for too much.
    let days = [(false, 300, 13_000), (true, 300, 26_000), (false, 300, 21_000)];
    for (day, (is_bid, wh, limit_e5)) in days.into_iter().enumerate() {
        let slot = START.offset(2 * i64::try_from(day).expect("three") + 2);
        policy.learn(slot.offset(-2), Measured { load_wh: LOAD.wh(), sun_wh: Some(0) });
        let view = View {
            slot,
            terms: &known,
            stored: Some((slot, store)),
            scheduled: &[],
            car_lacks: None,
            present: None,
        };
        let decision = policy.decide(&view).expect("a week is known");
        let curves = Curves::of(&decision, Energy::from_wh(CONNECTION_W / 4)).expect("an order");
        // Charges below one price, discharges above another.
        let (below, above) = (curves.buy[0].limit, curves.sell[0].limit);
        assert!(150_000 < below && below < above, "buys below {below}");
        assert!(above < 210_000, "sells above {above}");
        street.now_ms = slot.start_ms() - 300_000;
        let orders =
            vec![home.order(slot, curves), neighbour.order(slot, plain(is_bid, wh, limit_e5))];
        street.step(orders);
        street.now_ms = slot.start_ms() - 60_000;
        street.step(vec![]);

        // What was traded goes into the battery or comes out of it, and the meter shows it.
        let fill = street.fill(&home.point, slot).expect("told");
        let scheduled = Energy::from_wh(fill.bought_wh - fill.sold_wh);
        assert_eq!(scheduled, Energy::from_wh([300, -300, 0][day]), "{day}");
        let standing = decision.battery.expect("a battery");
        let charged = standing.charge(store, LOAD, scheduled);
        assert_eq!(charged, scheduled - LOAD, "the battery serves the house besides");
        store = BATTERY.after(store, charged);
        let idle = (Energy::ZERO, Energy::ZERO);
        for (gone, (own, other)) in [(slot.previous(), idle), (slot, (LOAD + charged, -scheduled))]
        {
            street.now_ms = gone.end_ms() + 500;
            let readings = vec![home.reading(gone, own), neighbour.reading(gone, other)];
            street.step(readings);
        }
        let bill = street.bill(&home.point, slot).expect("settled");
        assert_eq!((bill.bought_wh, bill.sold_wh), (fill.bought_wh, fill.sold_wh));
        // Better than the same flows with the supplier, whichever way it went.
        let flows = Energy::from_wh(bill.import_wh) * terms().retail()
            - Energy::from_wh(bill.export_wh) * terms().feed_in();
        let gain = flows - Money::from_nano(bill.amount);
        assert_eq!(gain > Money::ZERO, !scheduled.is_zero(), "{gain}");
    }
}

/// An agent of which everything but the wires is real, and what its devices show.
struct Agent {
    core: Core,
    point: PointId,
    journal: Vec<Entry>,
    import_wh: i64,
    export_wh: i64,
    orders: Vec<Order>,
}

impl Agent {
    fn new(home: &Home, now_ms: i64) -> Self {
        let settings = Settings {
            domain: Domain::new(community()),
            point: home.point.clone(),
            epoch: 1,
            operator: operator().address(),
            keys: meter_agent::core::Keys::only(HouseholdKey::from_bytes(&[1; 32])),
            steering: None,
            bidding: Some(wishes(Style::Ladder, None)),
            connection_w: CONNECTION_W,
            grace_ms: 60_000,
            order_lead_ms: 1_000,
            slack_ms: meter_agent::core::HAND_SLACK_MS,
            allow_resetting: false,
            max_waiting: 90 * 96,
            burst: meter_agent::core::BURST,
            clock: ClockStatus::Synchronised,
        };
        Self {
            core: Core::new(settings, Recovered::default(), now_ms),
            point: home.point.clone(),
            journal: Vec::new(),
            import_wh: home.import_wh,
            export_wh: home.export_wh,
            orders: Vec::new(),
        }
    }

    /// Tells the agent something, and the street and the agent each other what follows.
    fn talk(&mut self, input: meter_agent::core::Input, street: &mut Street) {
        let mut inputs = vec![input];
        while let Some(input) = inputs.pop() {
            let messages = self.step(street.now_ms, input);
            for sent in street.step(messages) {
                inputs.push(meter_agent::core::Input::Message(sent.topic, sent.payload));
            }
            inputs.reverse();
        }
    }

    fn step(&mut self, now_ms: i64, input: meter_agent::core::Input) -> Vec<Input> {
        let mut messages = Vec::new();
        for effect in self.core.step(now_ms, input) {
            match effect {
                Effect::Append(entry) => self.journal.push(*entry),
                Effect::SendReadings(first, last) => {
                    let sent = self.journal.iter().map(|entry| &entry.reading);
                    let sent = sent.filter(|reading| (first..=last).contains(&reading.body.seq));
                    messages.extend(
                        sent.map(|reading| upwards(&self.point, Up::Reading, reading.to_json())),
                    );
                }
                Effect::Publish(kind, payload) => {
                    if kind == Up::Order {
                        self.orders.push(Signed::parse(&payload).expect("own message").body);
                    }
                    messages.push(upwards(&self.point, kind, payload));
                }
                _ => {}
            }
        }
        messages
    }

    fn edge(&mut self, slot: Slot, net_wh: i64, street: &mut Street) {
        self.import_wh += net_wh.max(0);
        self.export_wh += (-net_wh).max(0);
        let count = |wh: i64| Observed::Value(Count::plain(wh * 1_000));
        let registers =
            Registers::plain(street.now_ms, count(self.import_wh), count(self.export_wh));
        self.talk(meter_agent::core::Input::Tick, street);
        self.talk(meter_agent::core::Input::Edge(slot, registers), street);
    }
}

#[test]
fn a_ladder_in_doubt_offers_both_sides_and_the_agent_verifies_every_bill() {
    let (home, mut neighbour) = (Home::new(1), Home::new(2));
    let mut street = Street::open(&[&home, &neighbour]);
    let mut agent = Agent::new(&home, street.now_ms);
    agent.talk(meter_agent::core::Input::Connected, &mut street);
    let (mut slots_bought, mut slots_sold, mut both) = (0, 0, 0);
    for number in 0..60 {
        let slot = START.offset(number);
        // The order for the slot after this one is placed; its neighbour meets one side of it.
        street.now_ms = slot.end_ms() - 300_000;
        let curves = plain(number % 2 == 0, 80, if number % 2 == 0 { 28_000 } else { 13_000 });
        let order = neighbour.order(slot.next(), curves);
        for sent in street.step(vec![order]) {
            agent.talk(meter_agent::core::Input::Message(sent.topic, sent.payload), &mut street);
        }
        street.now_ms = slot.end_ms() - 60_000;
        agent.talk(meter_agent::core::Input::Tick, &mut street);
        // Sun and clouds: nobody knows whether the house will need or give.
        let net_wh =
            [150, -130, -90, 170, 40, -160, 90][usize::try_from(number % 7).expect("small")];
        street.now_ms = slot.end_ms() + 500;
        let reading = neighbour.reading(slot, Energy::from_wh(10));
        for sent in street.step(vec![reading]) {
            agent.talk(meter_agent::core::Input::Message(sent.topic, sent.payload), &mut street);
        }
        agent.edge(slot, net_wh, &mut street);
        let Some(bill) = street.bill(&home.point, slot) else { continue };
        slots_bought += i32::from(bill.bought_wh > 0);
        slots_sold += i32::from(bill.sold_wh > 0);
        let order = agent.orders.iter().find(|order| order.slot == slot.number());
        both += i32::from(order.is_some_and(|o| !o.buy.is_empty() && !o.sell.is_empty()));
    }
    let status = agent.core.status();
    assert_eq!((status.failed, status.refused), (0, 0), "{:?}", status.last_finding);
    assert_eq!(status.verified, 59, "every slot after the first reading is billed and checked");
    assert!(both > 20, "{both} orders with both sides");
    assert!(slots_bought > 10 && slots_sold > 10, "{slots_bought} bought, {slots_sold} sold");
}
