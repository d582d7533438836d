//! A small street around a desk: households that sign, a record on a real disk, a clock by hand.

use std::collections::BTreeMap;
use std::sync::Arc;

use controller::config::MarketConfig;
use controller::desk::{Desk, Enrolment, Input, Outgoing, Record, Setup, Step};
use controller::rules::{StreetGrid, StreetSharing};
use controller::store::Store;
use controller::tariff::Tariff;
use market::sharing::Sharing;
use market::{Policy, Terms, propose};
use protocol::{
    Address, B256, Delivery, Domain, Down, HouseholdKey, Message, OperatorKey, Order, Reading,
    Receipt, Signed, Topic, Up, Verdict,
};
use units::{CommunityId, PointId, Price, Slot};

/// First slot with readings.
pub const START: Slot = Slot::new(1_614_528);
const WEI: u128 = 1_000_000_000_000_000_000;

pub fn community() -> CommunityId {
    CommunityId::new("street").expect("valid")
}

pub fn operator() -> OperatorKey {
    OperatorKey::from_bytes(&[9; 32]).expect("in range")
}

pub fn point(number: u8) -> PointId {
    PointId::new(format!("H{number:02}")).expect("valid")
}

/// Steps of a curve: quantity, peg, limit in 10⁻⁵ currency per kWh.
pub fn steps(steps: &[(i64, &str, i64)]) -> Vec<protocol::Step> {
    let step = |&(quantity_wh, peg, limit_e5): &(i64, &str, i64)| protocol::Step {
        quantity_wh,
        peg: peg.to_owned(),
        limit: limit_e5 * 10,
    };
    steps.iter().map(step).collect()
}

/// A household without devices: it says what a test wants it to say.
pub struct Home {
    pub point: PointId,
    /// Signs.
    pub key: HouseholdKey,
    /// Stands in the configuration.
    pub enrolled: HouseholdKey,
    pub seq: u64,
    pub head: B256,
    pub order_seq: u64,
    pub import_wh: u64,
    pub export_wh: u64,
}

impl Home {
    pub fn new(number: u8) -> Self {
        Self {
            point: point(number),
            key: HouseholdKey::from_bytes(&[number + 1; 32]),
            enrolled: HouseholdKey::from_bytes(&[number + 1; 32]),
            seq: 0,
            head: B256::ZERO,
            order_seq: 0,
            import_wh: 1_000_000,
            export_wh: 500_000,
        }
    }

    fn enrolment(&self) -> Enrolment {
        Enrolment {
            point: self.point.clone(),
            name: self.point.to_string(),
            bus: None,
            key: self.enrolled.public(),
            epoch: 1,
            payout: self.payout(),
            max_import_w: 30_000,
            max_export_w: 30_000,
            renewable: true,
            kind: "household".to_owned(),
            devices: vec![],
        }
    }

    /// The account of the key that it had first.
    pub fn payout(&self) -> Address {
        let number: u8 = self.point.as_str()[1..].parse().expect("a number");
        Address::repeat_byte(HouseholdKey::from_bytes(&[number + 1; 32]).public().as_bytes()[0] | 1)
    }

    /// The next reading of the chain, after the registers moved.
    pub fn reading(&mut self, slot: Slot, import: u64, export: u64) -> Input {
        self.import_wh += import;
        self.export_wh += export;
        let reading = self.next_reading(slot);
        self.seq = reading.seq;
        self.head = domain().digest(&reading);
        self.message(Up::Reading, reading)
    }

    pub fn next_reading(&self, slot: Slot) -> Reading {
        Reading {
            point: self.point.to_string(),
            epoch: 1,
            seq: self.seq + 1,
            prev: self.head,
            slot: slot.number(),
            time_ms: slot.end_ms() + 400,
            clock: "synchronised".into(),
            import_wh: self.import_wh,
            export_wh: self.export_wh,
            produced_wh: vec![],
            power_w: vec![],
            quality: "measured".into(),
            resolution_mwh: vec![],
            device_offset_ms: vec![],
            samples: vec![],
            events: vec![],
        }
    }

    pub fn order(&mut self, slot: Slot, side: &str, quantity_wh: i64, limit_e5: i64) -> Input {
        self.curve(slot, side, &[(quantity_wh, "fixed", limit_e5)])
    }

    /// An order of several steps: quantity, peg, limit in 10⁻⁵ currency per kWh.
    pub fn curve(&mut self, slot: Slot, side: &str, steps: &[(i64, &str, i64)]) -> Input {
        match side {
            "buy" => self.curves(slot, steps, &[]),
            _ => self.curves(slot, &[], steps),
        }
    }

    /// An order with both sides.
    pub fn curves(
        &mut self,
        slot: Slot,
        buy: &[(i64, &str, i64)],
        sell: &[(i64, &str, i64)],
    ) -> Input {
        let order = self.next_order(slot, steps(buy), steps(sell));
        self.message(Up::Order, order)
    }

    /// An order that is not signed yet, with the next number.
    pub fn next_order(
        &mut self,
        slot: Slot,
        buy: Vec<protocol::Step>,
        sell: Vec<protocol::Step>,
    ) -> Order {
        self.order_seq += 1;
        Order {
            point: self.point.to_string(),
            slot: slot.number(),
            seq: self.order_seq,
            buy,
            sell,
            time_ms: slot.start_ms() - 600_000,
        }
    }

    pub fn message<T: Message>(&self, kind: Up, body: T) -> Input {
        let signed = Signed::by_household(body, &domain(), &self.key);
        message(&self.point, kind, signed.to_json())
    }
}

pub fn message(point: &PointId, kind: Up, payload: Vec<u8>) -> Input {
    let topic = Topic::Up(point.clone(), kind).name(&community());
    Input::Message { topic, payload }
}

pub fn domain() -> Domain {
    Domain::new(community())
}

pub fn setup(homes: &[Home], grid: &StreetGrid, market: &MarketConfig) -> Setup {
    let terms = Terms::new(Price::from_e5_per_kwh(28_800), Price::from_e5_per_kwh(12_310));
    Setup {
        domain: domain(),
        key: operator(),
        salt_secret: [5; 32],
        market: market.clone(),
        tariff: Tariff::Flat(terms.expect("on the tick")),
        grid: Arc::new(grid.clone()),
        sharing: Arc::default(),
        policy: Policy { rate_wei_per_wh: WEI / 1_000, cap_wei: 100 * WEI },
        anchor_every_slots: 4,
        enrolments: homes.iter().map(Home::enrolment).collect(),
    }
}

/// A desk with its record.
pub struct Street {
    pub desk: Desk,
    pub store: Store,
    pub homes: Vec<Home>,
    pub grid: StreetGrid,
    /// How they share; another one counts from the next start on.
    pub sharing: Arc<StreetSharing>,
    pub now_ms: i64,
    pub folder: tempfile::TempDir,
    pub market: MarketConfig,
    /// Every auction that was held, with its seed.
    pub cleared: Vec<(market::Clearing, B256)>,
    /// Everything that was sent, newest last.
    pub sent: Vec<Outgoing>,
}

impl Street {
    pub async fn open(homes: u8) -> Self {
        Self::open_on(homes, StreetGrid::default()).await
    }

    pub async fn open_sharing(homes: u8, sharing: Sharing) -> Self {
        let mut street = Self::open(homes).await;
        street.share_by(sharing);
        street.crash().await
    }

    /// Another rule or key from the next start on.
    pub fn share_by(&mut self, sharing: Sharing) {
        let members = self.homes.iter().map(|home| home.point.clone()).collect();
        self.sharing = Arc::new(StreetSharing::new(sharing, &members).expect("fits the members"));
    }

    pub async fn open_on(homes: u8, grid: StreetGrid) -> Self {
        Self::open_with(homes, grid, MarketConfig::default()).await
    }

    pub async fn open_with(homes: u8, grid: StreetGrid, market: MarketConfig) -> Self {
        let homes: Vec<Home> = (0..homes).map(Home::new).collect();
        let folder = tempfile::tempdir().expect("a folder");
        let now_ms = START.start_ms() + 60_000;
        let mut store = open_store(&folder).await;
        store.keep_grid(&grid).await.expect("written");
        let saved = store.load().await.expect("empty");
        let desk = Desk::restore(setup(&homes, &grid, &market), saved, now_ms)
            .expect("nothing to contradict");
        store.begin_at(desk.first_open_slot()).await.expect("written");
        let (sent, cleared, sharing) = (Vec::new(), Vec::new(), Arc::default());
        Self { desk, store, homes, grid, sharing, now_ms, folder, market, cleared, sent }
    }

    /// One step: recorded, then "sent"; a book that the desk wants solved is solved at once.
    pub async fn step(&mut self, inputs: Vec<Input>) {
        let mut step = self.desk.step(self.now_ms, inputs);
        loop {
            self.store.write(&step.records).await.expect("written");
            let Step { outgoing, solve, records, .. } = step;
            self.sent.extend(outgoing);
            self.cleared.extend(records.iter().filter_map(|record| match record {
                Record::Cleared(record) => {
                    Some((record.clearing.clone(), record.message.body.seed))
                }
                _ => None,
            }));
            let Some(book) = solve else { return };
            let (slot, answer) = (book.slot(), propose(&book));
            let proposal = Input::Proposal { slot, answer, solve_us: 1 };
            step = self.desk.step(self.now_ms, vec![proposal]);
        }
    }

    pub async fn at(&mut self, now_ms: i64) {
        self.now_ms = now_ms;
        self.step(vec![]).await;
    }

    /// Stops without any farewell and starts again from the record.
    pub async fn crash(mut self) -> Self {
        self.restart().await;
        self
    }

    /// The same, in place.
    pub async fn restart(&mut self) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("empty.db");
        let empty = Store::open(&path, &community(), operator().address()).await.expect("opened");
        let old = std::mem::replace(&mut self.store, empty);
        old.close().await.expect("closed");
        let mut store = open_store(&self.folder).await;
        store.keep_grid(&self.grid).await.expect("written");
        store.keep_sharing(&self.sharing).await.expect("written");
        let saved = store.load().await.expect("readable");
        let sharing = Arc::clone(&self.sharing);
        let setup = Setup { sharing, ..setup(&self.homes, &self.grid, &self.market) };
        self.desk = Desk::restore(setup, saved, self.now_ms).expect("same members");
        self.store = store;
    }

    pub fn deliveries(&self) -> Vec<Delivery> {
        self.sent
            .iter()
            .filter(|message| matches!(message.topic, Topic::Down(_, Down::Statement)))
            .map(|message| serde_json::from_slice(&message.payload).expect("own message"))
            .collect()
    }

    pub fn delivery(&self, home: usize, slot: Slot) -> Option<Delivery> {
        self.deliveries().into_iter().find(|delivery| {
            delivery.statement.slot == slot.number()
                && delivery.statement.point == self.homes[home].point.as_str()
        })
    }

    /// The newest bill of a home for a slot.
    pub fn bill(&self, home: usize, slot: Slot) -> Option<Delivery> {
        let deliveries = self.deliveries().into_iter().filter(|delivery| {
            delivery.statement.slot == slot.number()
                && delivery.statement.point == self.homes[home].point.as_str()
        });
        deliveries.max_by_key(|delivery| delivery.statement.version)
    }

    pub fn receipts(&self, home: usize) -> Vec<Receipt> {
        self.down(home, Down::Receipt).map(|signed: Signed<Receipt>| signed.body).collect()
    }

    pub fn verdicts(&self, home: usize) -> Vec<Verdict> {
        self.down(home, Down::Verdict).map(|signed: Signed<Verdict>| signed.body).collect()
    }

    pub fn down<T: Message>(&self, home: usize, kind: Down) -> impl Iterator<Item = Signed<T>> {
        let topic = Topic::Down(self.homes[home].point.clone(), kind);
        self.sent
            .iter()
            .filter(move |message| message.topic == topic)
            .map(|message| Signed::parse(&message.payload).expect("own message"))
    }

    /// Numbers from the record.
    pub async fn count(&self, sql: &'static str) -> i64 {
        let options = sqlx::sqlite::SqliteConnectOptions::new()
            .filename(self.folder.path().join("street.db"))
            .read_only(true);
        let mut db = sqlx::ConnectOptions::connect(&options).await.expect("readable");
        sqlx::query_scalar(sql).fetch_one(&mut db).await.expect("a number")
    }

    /// Σ import − Σ export of all registers since the first reading, as settled.
    pub async fn settled_balance(&self) -> BTreeMap<&'static str, i64> {
        let sums = [
            (
                "import",
                "SELECT COALESCE(SUM(header ->> '$.totals.import_wh'), 0) FROM newest_header",
            ),
            (
                "export",
                "SELECT COALESCE(SUM(header ->> '$.totals.export_wh'), 0) FROM newest_header",
            ),
            (
                "pool",
                "SELECT COALESCE(SUM(CASE WHEN credit = 'pool' THEN amount ELSE 0 END) \
                 - SUM(CASE WHEN debit = 'pool' THEN amount ELSE 0 END), 0) FROM transfer",
            ),
        ];
        let mut found = BTreeMap::new();
        for (name, sql) in sums {
            found.insert(name, self.count(sql).await);
        }
        found
    }
}

async fn open_store(folder: &tempfile::TempDir) -> Store {
    let path = folder.path().join("street.db");
    Store::open(&path, &community(), operator().address()).await.expect("opened")
}
