//! A street of separate processes: `sim-grid serve`, `controller run`, one `meter-agent run` per
//! household, each started from a configuration file on disk, and perhaps a broker besides.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clock::{Clock, ClockConfig};
use controller::config as desk;
use controller::store::read::{AnchorState, Reader};
use meter_agent::config as agent;
use protocol::Address;
use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::watch;
use units::{BusId, CommunityId, PointId, Slot};

use crate::mosquitto::{Mosquitto, quiet_port};
use crate::programs::{Program, run};
use crate::scenario;

/// How much faster than real time the street runs: a slot takes five seconds.
const SPEED: f64 = 180.0;
/// Draws meters and registers.
pub const SEED: u64 = 7;
/// Settled slots per anchored epoch.
const ANCHOR_EVERY_SLOTS: u32 = 2;
/// Longest wait for anything, real time: five slots, and time for a slow machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// Pause between two looks.
const PAUSE: Duration = Duration::from_millis(25);

/// The running processes.
pub struct Street {
    /// Market time, as all processes have it.
    pub clock: Clock,
    pub points: Vec<PointId>,
    /// Houses whose meter publishes to the broker.
    pub publishing: Vec<PointId>,
    /// Newest slot that a controller has reported as settled.
    settled: watch::Sender<Option<Slot>>,
    agents: BTreeMap<PointId, Program>,
    controller: Option<Program>,
    devices: Program,
    folder: Folder,
}

/// The files of a street; a failed test leaves them behind and says where.
struct Folder(TempDir);

impl Folder {
    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.disable_cleanup(true);
            eprintln!("--- everything is kept in {}", self.path().display());
        }
    }
}

/// What is left on disk when all processes have stopped.
pub struct Remains {
    pub points: Vec<PointId>,
    /// Whether some meters published, which decides what kinds of meters there were.
    pub mqtt: bool,
    folder: Folder,
}

impl Street {
    /// Starts everything. With a broker's address the controller uses that, and some houses have
    /// meters that publish to it; otherwise the controller brings its own.
    pub async fn start(broker: Option<&str>) -> Self {
        Self::start_at(broker, None).await
    }

    /// The same at a broker that knows everybody by certificate.
    pub async fn start_private(broker: &Mosquitto) -> Self {
        Self::start_at(Some(&broker.url()), Some(broker)).await
    }

    async fn start_at(broker: Option<&str>, private: Option<&Mosquitto>) -> Self {
        let folder = Folder(TempDir::new().expect("a folder"));
        let street = folder.path().join("six-houses");
        scenario::write(&street);
        let devices = serve(folder.path(), &street, broker.filter(|_| private.is_none()));
        let offer = offer(&devices).await;
        let clock: ClockConfig =
            serde_json::from_value(offer["clock"].clone()).expect("serve says which clock");
        let houses = offer["houses"].as_array().expect("serve says which houses");
        let (listen, url) = match broker {
            Some(url) => (desk::BrokerConfig::default().listen, url.to_owned()),
            None => {
                let port = quiet_port();
                (([127, 0, 0, 1], port).into(), format!("mqtt://127.0.0.1:{port}"))
            }
        };
        let broker_config = desk::BrokerConfig {
            listen,
            url: broker.map(str::to_owned),
            username: None,
            password_file: None,
            tls: private.map(|broker| identity(broker, "controller")),
        };
        let file = write_controller(folder.path(), &street, clock, broker_config, houses);
        let file = file.to_str().expect("text");
        let operator: Value =
            serde_json::from_str(&run("controller", &["operator", "--config", file, "--json"]))
                .expect("JSON");
        let operator: Address =
            serde_json::from_value(operator["operator"].clone()).expect("an address");
        let mut agents = Vec::new();
        for house in houses {
            let mqtt = agent::MqttConfig {
                tls: private.map(|broker| identity(broker, point_of(house).as_str())),
                ..agent::MqttConfig::open(&url)
            };
            agents.push(write_agent(folder.path(), clock, mqtt, operator, house));
        }
        let is_publishing = |house: &&Value| house.get("units").is_none();
        let mut street = Self {
            clock: Clock::from_config(Some(clock)),
            publishing: houses.iter().filter(is_publishing).map(point_of).collect(),
            points: agents,
            settled: watch::Sender::new(None),
            agents: BTreeMap::new(),
            controller: None,
            devices,
            folder,
        };
        street.start_controller();
        for point in street.points.clone() {
            street.start_agent(&point);
        }
        street
    }

    /// Starts the controller, for the first time or again.
    pub fn start_controller(&mut self) {
        let (file, log) = (self.path("controller.toml"), self.path("controller.log"));
        let file = file.to_str().expect("text");
        let controller =
            Program::start("controller", "controller", &log, &["run", "--config", file, "--json"]);
        let (mut lines, settled) = (controller.lines(), self.settled.clone());
        tokio::spawn(async move {
            while lines.changed().await.is_ok() {
                let newest = lines.borrow_and_update().iter().rev().find_map(|line| slot_of(line));
                settled.send_if_modified(|known| {
                    let news = newest > *known;
                    *known = newest.max(*known);
                    news
                });
            }
        });
        self.controller = Some(controller);
    }

    /// SIGKILL.
    pub fn kill_controller(&mut self) {
        self.controller.take().expect("it runs").kill();
    }

    /// Starts an agent, for the first time or again.
    pub fn start_agent(&mut self, point: &PointId) {
        let home = household(self.folder.path(), point);
        let (file, log) = (home.join("agent.toml"), self.path(&format!("{point}.log")));
        let file = file.to_str().expect("text");
        let agent = Program::start("meter-agent", point.as_str(), &log, &["run", "--config", file]);
        self.agents.insert(point.clone(), agent);
    }

    /// SIGKILL.
    pub fn kill_agent(&mut self, point: &PointId) {
        self.agents.remove(point).expect("it runs").kill();
    }

    /// The present slot.
    pub fn slot(&self) -> Slot {
        Slot::at_ms(self.clock.now_ms())
    }

    /// Lets time pass until a moment after a slot's start, in real milliseconds.
    pub async fn until(&self, slot: Slot, after_ms: f64) {
        #[expect(clippy::cast_possible_truncation, reason = "seconds")]
        let after_ms = (after_ms * SPEED) as i64;
        self.clock.sleep_until(slot.start_ms() + after_ms).await;
    }

    /// Lets time pass until the middle of a slot.
    pub async fn until_middle(&self, slot: Slot) {
        self.clock.sleep_until(slot.start_ms() + Slot::LENGTH_MS / 2).await;
    }

    /// Waits until a slot is settled.
    pub async fn settled(&self, slot: Slot) {
        let mut settled = self.settled.subscribe();
        let waited = tokio::time::timeout(
            PATIENCE,
            settled.wait_for(|settled| settled.is_some_and(|settled| settled >= slot)),
        );
        waited.await.unwrap_or_else(|_| panic!("{slot} is not settled in time")).expect("it lives");
    }

    /// The newest settled slot.
    pub fn newest_settled(&self) -> Option<Slot> {
        *self.settled.borrow()
    }

    /// Stops everything in an orderly way, in the middle of a slot, once the slot before is read,
    /// settled, checked and anchored.
    pub async fn stop(mut self) -> Remains {
        let reader = Reader::open(&self.path("controller/street.db")).await.expect("a record");
        let mut why = String::new();
        let rested = tokio::time::timeout(PATIENCE, async {
            while let Some(reason) = self.unrest(&reader).await {
                why = reason;
                tokio::time::sleep(PAUSE).await;
            }
        });
        if rested.await.is_err() {
            panic!("the street does not come to rest: {why}");
        }
        reader.close().await;
        self.devices.assert_runs();
        assert!(self.slot() <= scenario::last(), "the test took longer than the scenario lasts");
        for agent in std::mem::take(&mut self.agents).into_values() {
            agent.stop().await;
        }
        self.controller.take().expect("it runs").stop().await;
        self.devices.stop().await;
        Remains { points: self.points, mqtt: !self.publishing.is_empty(), folder: self.folder }
    }

    /// What is still under way; none in a moment at which nothing is.
    async fn unrest(&self, reader: &Reader) -> Option<String> {
        let now_ms = self.clock.now_ms();
        let slot = Slot::at_ms(now_ms);
        let part = (now_ms - slot.start_ms()) * 100 / Slot::LENGTH_MS;
        if !(10..60).contains(&part) {
            return Some(format!("{slot} is {part} % over"));
        }
        let ended = slot.previous();
        let Some(header) = reader.header(ended).await.expect("readable") else {
            return Some(format!("{ended} is not settled"));
        };
        if header.missing > 0 {
            return Some(format!("{} meters are missing in {ended}", header.missing));
        }
        let rows = reader.statements_between(ended, ended).await.expect("readable");
        if let Some(row) = rows.iter().find(|row| row.audit.is_none()) {
            return Some(format!("{} has not checked {ended}", row.statement.point));
        }
        let anchors = reader.anchors(None, 1).await.expect("readable");
        match anchors.first() {
            Some(anchor) if anchor.state == AnchorState::Final => None,
            Some(anchor) => Some(format!("epoch {} is {:?}", anchor.draft.seq, anchor.state)),
            None => Some("no epoch is anchored".to_owned()),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

impl Remains {
    pub fn scenario(&self) -> PathBuf {
        self.folder.path().join("six-houses")
    }

    pub fn controller_file(&self) -> PathBuf {
        self.folder.path().join("controller.toml")
    }

    pub fn household(&self, point: &PointId) -> PathBuf {
        household(self.folder.path(), point)
    }

    /// A new file beside the others.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

fn household(folder: &Path, point: &PointId) -> PathBuf {
    folder.join("households").join(point.as_str())
}

/// The slot of a line that the controller prints for a settled slot; none for one that is settled
/// again.
fn slot_of(line: &str) -> Option<Slot> {
    let line: Value = serde_json::from_str(line).ok()?;
    if line.get("version")?.as_u64()? != 1 {
        return None;
    }
    Some(Slot::new(line.get("slot")?.as_i64()?))
}

fn serve(folder: &Path, street: &Path, broker: Option<&str>) -> Program {
    let (speed, seed) = (SPEED.to_string(), SEED.to_string());
    let mut arguments = vec!["serve", "--json", "--speed", &speed, "--seed", &seed];
    arguments.extend(["--from", scenario::FROM]);
    arguments.extend(["--scenario", street.to_str().expect("text")]);
    arguments.extend(broker.iter().flat_map(|url| ["--broker", *url]));
    Program::start("sim-grid", "devices", &folder.join("devices.log"), &arguments)
}

/// What `serve` prints when all devices are there.
async fn offer(devices: &Program) -> Value {
    let mut lines = devices.lines();
    let whole = lines.wait_for(|lines| lines.last().is_some_and(|line| line == "}"));
    let lines = tokio::time::timeout(PATIENCE, whole).await.expect("the devices are there in time");
    serde_json::from_str(&lines.expect("serve says where").join("\n")).expect("JSON")
}

fn point_of(house: &Value) -> PointId {
    PointId::new(house["customer"].as_str().expect("text")).expect("a metering point")
}

fn community() -> CommunityId {
    CommunityId::new("six-houses".to_owned()).expect("a name")
}

/// Makes the households' keys and the controller's configuration file.
fn write_controller(
    folder: &Path,
    street: &Path,
    clock: ClockConfig,
    broker: desk::BrokerConfig,
    houses: &[Value],
) -> PathBuf {
    let enrol = |(index, house): (usize, &Value)| {
        let point = point_of(house);
        let home = household(folder, &point);
        std::fs::create_dir_all(&home).expect("a folder");
        let key = meter_agent::key_file::create(&home.join("household.key")).expect("a key");
        let connection_w = house["connection_w"].as_i64().expect("a number");
        desk::HouseholdConfig {
            point,
            name: None,
            bus: Some(BusId::new(house["bus"].as_str().expect("text").to_owned()).expect("a bus")),
            key: key.public_hex(),
            epoch: 1,
            payout: Address::repeat_byte(u8::try_from(0x10 + index).expect("few houses")),
            max_import_w: connection_w,
            max_export_w: connection_w,
            renewable: house["pv_rated_w"].is_number(),
            kind: "household".to_owned(),
            devices: Vec::new(),
        }
    };
    let config = desk::Config {
        sharing: market::sharing::Sharing::default(),
        community: community(),
        currency: "EUR".to_owned(),
        data_dir: "controller".into(),
        clock: Some(clock),
        http: desk::HttpConfig { bind: ([127, 0, 0, 1], 0).into() },
        broker,
        market: desk::MarketConfig::default(),
        tariff: desk::TariffConfig {
            file: Some(street.join("tariffs.csv")),
            name: Some("flat".to_owned()),
            retail_e5: None,
            feed_in_e5: None,
        },
        feeder: Some(desk::FeederConfig { dir: street.to_owned() }),
        grid: None,
        chain: desk::ChainConfig {
            anchor_every_slots: ANCHOR_EVERY_SLOTS,
            ..desk::ChainConfig::default()
        },
        rewards: desk::RewardConfig::default(),
        households: houses.iter().enumerate().map(enrol).collect(),
    };
    let file = folder.join("controller.toml");
    std::fs::write(&file, config.to_toml()).expect("written");
    file
}

/// A certificate of its own for somebody who connects to a private broker.
fn identity(broker: &Mosquitto, name: &str) -> agent::TlsConfig {
    broker.certify(&["client", name]);
    let file = |end: &str| Some(broker.folder().join(format!("{name}.{end}")));
    let ca_file = Some(broker.folder().join("ca.crt"));
    agent::TlsConfig { ca_file, cert_file: file("crt"), key_file: file("key") }
}

/// Writes the configuration file of a household's agent.
fn write_agent(
    folder: &Path,
    clock: ClockConfig,
    mqtt: agent::MqttConfig,
    operator: Address,
    house: &Value,
) -> PointId {
    let point = point_of(house);
    let config = agent::Config {
        community: community(),
        point: point.clone(),
        operator,
        data_dir: ".".into(),
        epoch: 1,
        poll_interval_ms: 1_000,
        connection_w: house["connection_w"].as_i64().expect("a number"),
        edge_grace_s: None,
        clock_status: None,
        devices_dir: None,
        key: agent::KeyConfig::default(),
        journal: agent::JournalConfig::default(),
        mqtt,
        clock: Some(clock),
        bidding: meter_agent::bidding::BiddingConfig::default(),
        proxy: meter_agent::proxy::Proxies::default(),
        home_assistant: None,
        metrics: None,
        devices: devices(house),
    };
    let file = household(folder, &point).join("agent.toml");
    std::fs::write(file, config.to_toml()).expect("written");
    point
}

/// The devices of a house, from nothing but what `serve` says about it.
fn devices(house: &Value) -> Vec<agent::DeviceConfig> {
    let text = |key: &str| house[key].as_str().expect("text").to_owned();
    let device = agent::DeviceConfig::new;
    let publishing = |map: &str, key: &str| {
        let mqtt = agent::DeviceMqttConfig { topic: text(key), broker: None, max_age_s: 3_600 };
        let meter = device("meter", agent::Role::Meter, map);
        // The simulated Tasmota never loses power, after which it would forget.
        let allow_resetting = map == "tasmota";
        vec![agent::DeviceConfig { mqtt: Some(mqtt), allow_resetting, ..meter }]
    };
    let kind = text("kind");
    match kind.as_str() {
        "shelly" => return publishing("shelly-gen2", "topic_prefix"),
        "tasmota" => return publishing("tasmota", "topic"),
        "dsmr" => return publishing("dsmr-reader", "topic_prefix"),
        _ => {}
    }
    let asked = |unit: &Value| {
        let (role, map) = match (unit["role"].as_str().expect("text"), kind.as_str()) {
            ("meter", "sdm630") => (agent::Role::Meter, "eastron-sdm630"),
            ("meter", _) => (agent::Role::Meter, "sunspec-meter-203"),
            ("inverter", _) => (agent::Role::Pv, "sunspec-inverter-103"),
            ("battery", _) => (agent::Role::Battery, "sunspec-battery-802"),
            (other, _) => panic!("serve offers a {other}"),
        };
        let number = unit["unit"].as_u64().and_then(|unit| u8::try_from(unit).ok());
        let device = device(unit["role"].as_str().expect("text"), role, map);
        agent::DeviceConfig { host: Some(text("addr")), unit: number, ..device }
    };
    house["units"].as_array().expect("a list").iter().map(asked).collect()
}
