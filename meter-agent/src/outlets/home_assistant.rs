//! Home Assistant, over the broker of the household's owner.
//!
//! Every figure is announced by a retained discovery message of its own, which all versions of Home
//! Assistant understand, or, on request, all of them in one device message. The energy that is shown
//! is the agent's own register, which never runs backwards, not the device's counter: a meter that
//! is reset or exchanged leaves no dip in the statistics. What is unknown is `null` (Home Assistant
//! says "unknown"), an agent that is gone is "unavailable" through its last will, and figures that
//! nobody renews expire. Announcements that are no longer wanted are taken back with an empty
//! message.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use rumqttc::v5::AsyncClient;
use rumqttc::v5::mqttbytes::QoS;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tracing::{debug, info, warn};

use super::Picture;
use crate::chance::Chance;
use crate::config::{Config, ConfigError, MqttConfig, Role, broker, invalid, range};
use crate::mqtt::{Account, SessionEvent, Will, keep_session};

/// Messages from the broker that may wait.
const QUEUE: usize = 64;
/// Messages on their way out that may wait; a device of 64 parts announces itself in fewer.
const MAX_PENDING: usize = 512;
/// Pause before a full client is tried again.
const PAUSE: Duration = Duration::from_millis(20);
/// How long the farewell may take, real time.
const FAREWELL: Duration = Duration::from_millis(300);
const ONLINE: &str = "online";
const OFFLINE: &str = "offline";

/// `[home_assistant]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HomeAssistantConfig {
    /// The owner's own broker.
    pub broker: MqttConfig,
    /// Where figures are published: `TOPIC/state` and `TOPIC/availability`. Without it
    /// `streetwatt-home/POINT`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
    /// How often, seconds of real time, 1 to 300.
    #[serde(default = "interval_s")]
    pub interval_s: u32,
    /// How Home Assistant learns of the figures.
    #[serde(default)]
    pub discovery: Discovery,
    /// Home Assistant's discovery prefix.
    #[serde(default = "discovery_prefix")]
    pub discovery_prefix: String,
}

const fn interval_s() -> u32 {
    10
}

fn discovery_prefix() -> String {
    "homeassistant".to_owned()
}

/// How Home Assistant learns of the figures.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Discovery {
    /// One message per figure; every version understands it.
    #[default]
    Components,
    /// One message for all; needs Home Assistant 2024.11 or newer.
    Device,
    /// Not at all, and earlier announcements are taken back; figures are still published.
    Off,
}

impl HomeAssistantConfig {
    /// Checks every value.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`].
    pub fn check(&self) -> Result<(), ConfigError> {
        broker("home_assistant.broker", &self.broker)?;
        range("home_assistant.interval_s", u64::from(self.interval_s), 1, 300)?;
        let topics =
            [("topic", self.topic.as_deref()), ("discovery_prefix", Some(&self.discovery_prefix))];
        for (key, topic) in topics {
            let plain = |topic: &str| {
                (1..=128).contains(&topic.len())
                    && !topic.starts_with('/')
                    && !topic.ends_with('/')
                    && !topic.contains(['+', '#', ' ', '\0'])
            };
            if topic.is_some_and(|topic| !plain(topic)) {
                let problem = "1 to 128 characters, no wildcards, no '/' at either end".to_owned();
                return invalid(&format!("home_assistant.{key}"), problem);
            }
        }
        Ok(())
    }
}

/// Everything that is fixed once the configuration is read.
pub struct Setup {
    /// `streetwatt_COMMUNITY_POINT`, in the letters that discovery allows.
    node: String,
    point: String,
    state: String,
    availability: String,
    prefix: String,
    interval: Duration,
    expire_s: u32,
    discovery: Discovery,
    parts: Vec<Part>,
}

/// One figure as Home Assistant shows it.
struct Part {
    /// Last part of its id.
    id: String,
    component: &'static str,
    /// What Home Assistant needs to know beyond names and topics.
    about: Value,
}

impl Setup {
    /// The parts that a household with these devices has.
    #[must_use]
    pub fn of(home: &HomeAssistantConfig, config: &Config) -> Self {
        let letters = |text: &str| -> String {
            text.chars().map(|c| if c == '.' { '_' } else { c }).collect()
        };
        let topic =
            home.topic.clone().unwrap_or_else(|| format!("streetwatt-home/{}", config.point));
        Self {
            node: letters(&format!("streetwatt_{}_{}", config.community, config.point)),
            point: config.point.to_string(),
            state: format!("{topic}/state"),
            availability: format!("{topic}/availability"),
            prefix: home.discovery_prefix.clone(),
            interval: Duration::from_secs(u64::from(home.interval_s)),
            expire_s: 3 * home.interval_s + 5,
            discovery: home.discovery,
            parts: parts(config),
        }
    }

    /// Its name at the broker.
    #[must_use]
    pub fn client_id(&self) -> String {
        format!("{}-home", self.node)
    }

    /// What the broker says for an agent that is gone.
    fn will(&self) -> Will {
        Will { topic: self.availability.clone(), payload: OFFLINE.into(), retain: true }
    }

    fn birth_topic(&self) -> String {
        format!("{}/status", self.prefix)
    }

    /// Home Assistant's birth, and what is announced of this household already.
    fn filters(&self) -> Vec<(String, QoS)> {
        let Self { prefix, node, .. } = self;
        let filters =
            [self.birth_topic(), format!("{prefix}/+/{node}/+/config"), self.device_topic()];
        filters.map(|filter| (filter, QoS::AtLeastOnce)).into()
    }

    fn device_topic(&self) -> String {
        format!("{}/device/{}/config", self.prefix, self.node)
    }

    /// Whether a topic announces something of this household.
    fn is_announcement(&self, topic: &str) -> bool {
        topic != self.birth_topic() && topic.ends_with("/config")
    }

    /// The announcements, by topic.
    fn announcements(&self) -> BTreeMap<String, String> {
        let Self { prefix, node, .. } = self;
        match self.discovery {
            Discovery::Off => BTreeMap::new(),
            Discovery::Components => {
                let announced = self.parts.iter().map(|part| {
                    let topic = format!("{prefix}/{}/{node}/{}/config", part.component, part.id);
                    let mut about = self.about(part);
                    merge(&mut about, &self.common());
                    merge(&mut about, &json!({ "device": self.device(), "origin": origin() }));
                    (topic, about.to_string())
                });
                announced.collect()
            }
            Discovery::Device => {
                let parts = self.parts.iter().map(|part| {
                    let mut about = self.about(part);
                    merge(&mut about, &json!({ "p": part.component }));
                    (part.id.clone(), about)
                });
                let parts: serde_json::Map<String, Value> = parts.collect();
                let mut about = json!({ "dev": self.device(), "o": origin(), "cmps": parts });
                merge(&mut about, &self.common());
                BTreeMap::from([(self.device_topic(), about.to_string())])
            }
        }
    }

    fn about(&self, part: &Part) -> Value {
        let id = format!("{}_{}", self.node, part.id);
        let mut about = part.about.clone();
        // The older name of the entity's id and the newer one: each version reads its own.
        let entity = format!("{}.{id}", part.component).to_lowercase();
        let names = json!({
            "unique_id": id,
            "object_id": id,
            "default_entity_id": entity,
            "expire_after": self.expire_s,
        });
        merge(&mut about, &names);
        about
    }

    fn common(&self) -> Value {
        json!({ "state_topic": self.state, "availability_topic": self.availability })
    }

    fn device(&self) -> Value {
        json!({
            "identifiers": [self.node],
            "name": format!("Streetwatt {}", self.point),
            "manufacturer": "Streetwatt",
            "model": "Meter agent",
            "sw_version": env!("CARGO_PKG_VERSION"),
            "serial_number": self.point,
        })
    }
}

fn origin() -> Value {
    json!({ "name": "Streetwatt", "sw_version": env!("CARGO_PKG_VERSION") })
}

/// Adds the keys of one object to another.
fn merge(into: &mut Value, from: &Value) {
    if let (Some(into), Some(from)) = (into.as_object_mut(), from.as_object()) {
        into.extend(from.iter().map(|(key, value)| (key.clone(), value.clone())));
    }
}

/// What a household with these devices shows.
fn parts(config: &Config) -> Vec<Part> {
    let has = |role| config.devices.iter().any(|device| device.role == role);
    let mut parts = vec![
        power("power", "Grid power"),
        energy("import", "Energy from the grid", "import_wh"),
        energy("export", "Energy to the grid", "export_wh"),
        quiet(measured("voltage", "Voltage", "voltage_v", "voltage", "V")),
        diagnostic(
            "sensor",
            "waiting",
            json!({
                "name": "Readings without receipt",
                "value_template": "{{ value_json.readings_waiting }}",
                "state_class": "measurement",
            }),
        ),
        diagnostic(
            "binary_sensor",
            "operator",
            json!({
                "name": "Operator",
                "device_class": "connectivity",
                "value_template": "{{ 'ON' if value_json.operator_connected else 'OFF' }}",
            }),
        ),
        diagnostic(
            "binary_sensor",
            "bills",
            json!({
                "name": "Bills",
                "device_class": "problem",
                "value_template": "{{ 'ON' if value_json.bills_failed > 0 else 'OFF' }}",
            }),
        ),
    ];
    if has(Role::Pv) {
        parts.push(power("pv", "Production"));
    }
    for device in config.devices.iter().filter(|device| device.role == Role::Pv) {
        let name = format!("Produced by {}", device.name);
        let key = format!("produced_wh['{}']", device.name);
        parts.push(energy(&format!("produced_{}", device.name), &name, &key));
    }
    if has(Role::Battery) {
        parts.push(power("battery", "Battery power"));
        parts.push(measured("soc", "Battery", "soc_percent", "battery", "%"));
    }
    if has(Role::Charger) {
        parts.push(power("charger", "Car charging"));
    }
    parts
}

fn measured(id: &str, name: &str, key: &str, class: &str, unit: &str) -> Part {
    let about = json!({
        "name": name,
        "device_class": class,
        "state_class": "measurement",
        "unit_of_measurement": unit,
        "value_template": format!("{{{{ value_json.{key} }}}}"),
    });
    Part { id: id.to_owned(), component: "sensor", about }
}

fn power(id: &str, name: &str) -> Part {
    measured(id, name, &format!("{id}_w"), "power", "W")
}

fn energy(id: &str, name: &str, key: &str) -> Part {
    let mut part = measured(id, name, key, "energy", "Wh");
    merge(&mut part.about, &json!({ "state_class": "total_increasing" }));
    part
}

/// Known to Home Assistant, but shown only when its owner asks for it.
fn quiet(mut part: Part) -> Part {
    merge(
        &mut part.about,
        &json!({ "entity_category": "diagnostic", "enabled_by_default": false }),
    );
    part
}

fn diagnostic(component: &'static str, id: &str, mut about: Value) -> Part {
    merge(&mut about, &json!({ "entity_category": "diagnostic" }));
    Part { id: id.to_owned(), component, about }
}

/// A message on its way out.
struct Message {
    topic: String,
    payload: String,
    retain: bool,
}

/// The task that keeps Home Assistant informed.
pub struct Home {
    setup: Setup,
    pictures: watch::Receiver<Picture>,
    announcements: BTreeMap<String, String>,
    client: Option<AsyncClient>,
    pending: VecDeque<Message>,
    /// Why there was no connection last, so that it is said once.
    trouble: Option<String>,
}

impl Home {
    /// A task that has not started yet.
    #[must_use]
    pub fn new(setup: Setup, pictures: watch::Receiver<Picture>) -> Self {
        let announcements = setup.announcements();
        Self {
            setup,
            pictures,
            announcements,
            client: None,
            pending: VecDeque::new(),
            trouble: None,
        }
    }

    /// Runs until no pictures are drawn any more; then says that the agent is gone.
    pub async fn run(mut self, account: Account, chance: Chance) {
        let (events_in, events) = mpsc::channel(QUEUE);
        let account = Account { will: Some(self.setup.will()), ..account };
        let session = keep_session(account, self.setup.filters(), events_in, chance);
        // Both in one task: whoever drops it drops the connection, and the last will speaks.
        tokio::select! {
            () = session => {}
            () = self.work(events) => {}
        }
    }

    async fn work(&mut self, mut events: mpsc::Receiver<SessionEvent>) {
        let mut due = interval(self.setup.interval);
        due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            self.flush();
            tokio::select! {
                event = events.recv() => match event {
                    Some(event) => self.heard(event),
                    None => return,
                },
                _ = due.tick() => self.show(),
                changed = self.pictures.changed() => if changed.is_err() { break },
                () = sleep(PAUSE), if !self.pending.is_empty() => {}
            }
        }
        // A lost farewell is what the last will is for.
        let _ = timeout(FAREWELL, self.take_leave(events)).await;
    }

    /// Says that the agent is gone, and waits until the broker has heard it.
    async fn take_leave(&mut self, mut events: mpsc::Receiver<SessionEvent>) {
        self.say_availability(OFFLINE);
        self.flush();
        let Some(client) = self.client.take() else { return };
        let _ = client.try_disconnect();
        while let Some(event) = events.recv().await {
            if matches!(event, SessionEvent::Down(_)) {
                return;
            }
        }
    }

    fn heard(&mut self, event: SessionEvent) {
        match event {
            SessionEvent::Up(client) => {
                info!(point = self.setup.point, "connected to the household's own broker");
                self.trouble = None;
                self.client = Some(client);
                self.announce();
            }
            SessionEvent::Down(reason) => {
                if self.client.take().is_some() || self.trouble.as_ref() != Some(&reason) {
                    warn!(
                        point = self.setup.point,
                        reason, "no connection to the household's own broker"
                    );
                }
                self.trouble = Some(reason);
                self.pending.clear();
            }
            SessionEvent::Message { topic, payload, retained } => {
                if topic == self.setup.birth_topic() {
                    if payload == ONLINE.as_bytes() {
                        debug!(point = self.setup.point, "Home Assistant has started");
                        self.announce();
                    }
                } else if retained
                    && !payload.is_empty()
                    && self.setup.is_announcement(&topic)
                    && !self.announcements.contains_key(&topic)
                {
                    debug!(point = self.setup.point, topic, "announcement taken back");
                    self.say(topic, String::new(), true);
                }
            }
        }
    }

    /// Tells everything that Home Assistant needs to start from nothing.
    fn announce(&mut self) {
        self.pending.clear();
        for (topic, about) in self.announcements.clone() {
            self.say(topic, about, true);
        }
        self.say_availability(ONLINE);
        self.show();
    }

    fn say_availability(&mut self, state: &str) {
        self.say(self.setup.availability.clone(), state.to_owned(), true);
    }

    /// Publishes the newest figures, when there are any yet.
    fn show(&mut self) {
        let state = {
            let picture = self.pictures.borrow();
            (picture.taken_ms > 0).then(|| picture.to_json())
        };
        if let Some(state) = state {
            self.say(self.setup.state.clone(), state, false);
        }
    }

    fn say(&mut self, topic: String, payload: String, retain: bool) {
        if self.client.is_some() && self.pending.len() < MAX_PENDING {
            self.pending.push_back(Message { topic, payload, retain });
        }
    }

    /// Hands over what the client has room for.
    fn flush(&mut self) {
        let Some(client) = &self.client else { return };
        while let Some(Message { topic, payload, retain }) = self.pending.front() {
            let (topic, payload) = (topic.clone(), payload.clone());
            if client.try_publish(topic, QoS::AtLeastOnce, *retain, payload).is_err() {
                return;
            }
            self.pending.pop_front();
        }
    }
}
