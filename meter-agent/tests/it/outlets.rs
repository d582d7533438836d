//! What the household's own programs see: Home Assistant over two brokers, Prometheus over HTTP.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::Duration;

use clock::{Clock, ManualHand};
use meter_agent::config::{DeviceConfig, MqttConfig, Role};
use meter_agent::outlets::{Discovery, HomeAssistantConfig, MetricsConfig};
use meter_agent::{Agent, AgentError, Config};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::agent::config;
use crate::mosquitto::Mosquitto;
use crate::support::broker::{Cable, broker};
use crate::support::device::{Device, Fault, meter_203, sunspec};
use crate::support::listener::{Listener, Topic};
use crate::support::world::FIRST;

/// A household with a meter, a roof that is asleep, and outlets.
struct Home {
    config: Config,
    device: Device,
    clock: Clock,
    hand: ManualHand,
    _cable: Cable,
    _folder: tempfile::TempDir,
}

impl Home {
    async fn new(community: &str, own_broker: Option<SocketAddr>) -> Self {
        let device = Device::start().await;
        let cable = Cable::to(broker().await).await;
        let folder = tempfile::tempdir().expect("a folder");
        let mut config = config(folder.path(), &device.host(), &cable, community);
        config.poll_interval_ms = 100;
        config.metrics = Some(MetricsConfig { listen: "127.0.0.1:0".parse().expect("plain") });
        config.home_assistant = own_broker.map(|own| HomeAssistantConfig {
            broker: MqttConfig::open(format!("mqtt://{own}")),
            topic: None,
            interval_s: 1,
            discovery: Discovery::Components,
            discovery_prefix: "homeassistant".into(),
        });
        config.devices.push(DeviceConfig {
            name: "roof".into(),
            role: Role::Pv,
            map: "sunspec-inverter-103".into(),
            unit: Some(9),
            ..config.devices[0].clone()
        });
        let (clock, hand) = Clock::manual(FIRST.start_ms() + 1_000);
        let home = Self { config, device, clock, hand, _cable: cable, _folder: folder };
        home.show(1_000, 400);
        home
    }

    fn show(&self, import_wh: u32, power_w: i16) {
        let meter = meter_203(import_wh, 7, power_w);
        self.device.put(2, 3, 40_000, &sunspec(&[(1, &[0; 66]), (203, &meter)]));
    }

    fn start(&self) -> Started {
        let agent = Agent::open(&self.config, self.clock.clone()).expect("opens");
        let metrics = agent.metrics_address().expect("asked for");
        let (shutdown, stopped) = watch::channel(false);
        Started { metrics, shutdown, task: tokio::spawn(agent.run(stopped)) }
    }
}

struct Started {
    metrics: SocketAddr,
    shutdown: watch::Sender<bool>,
    task: JoinHandle<Result<(), AgentError>>,
}

impl Started {
    async fn stop(self) {
        self.shutdown.send_replace(true);
        self.task.await.expect("ends").expect("without a fault");
    }

    /// Asks for a page until it is as it should be.
    async fn page(&self, path: &str, is_right: impl Fn(u16, &str) -> bool) -> String {
        let mut last = String::new();
        for _ in 0..200 {
            let (status, body) = get(self.metrics, path).await.expect("an answer");
            if is_right(status, &body) {
                return body;
            }
            last = format!("{status} {body}");
            tokio::task::yield_now().await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("{path}: {last}");
    }
}

/// One request as a scraper sends it: status and body.
async fn get(address: SocketAddr, path: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(address).await.ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nAccept: */*\r\n\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "))?;
    assert_eq!(length.parse::<usize>().ok()?, body.len());
    Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
}

fn state(topics: &BTreeMap<String, Topic>) -> Value {
    let newest = topics.get("streetwatt-home/C001/state").map(|topic| topic.payload.as_str());
    newest.map_or(Value::Null, |newest| serde_json::from_str(newest).expect("JSON"))
}

fn availability(topics: &BTreeMap<String, Topic>) -> Option<&str> {
    topics.get("streetwatt-home/C001/availability").map(|topic| topic.payload.as_str())
}

/// Discovery topics with content.
fn announced(topics: &BTreeMap<String, Topic>) -> Vec<&str> {
    let kept = topics.iter().filter(|(name, topic)| {
        name.starts_with("homeassistant/") && name.ends_with("/config") && !topic.payload.is_empty()
    });
    kept.map(|(name, _)| name.as_str()).collect()
}

const STALE: &str = "homeassistant/sensor/streetwatt_own-broker_C001/battery/config";
const FOREIGN: &str = "homeassistant/sensor/somebody_else/power/config";
const IMPORT: &str = "homeassistant/sensor/streetwatt_own-broker_C001/import/config";
const PARTS: usize = 9;

/// Every announcement of ours is complete, has an id of its own and a unit that fits.
fn check_announcements(topics: &BTreeMap<String, Topic>) {
    let mut ids = std::collections::BTreeSet::new();
    for name in announced(topics).into_iter().filter(|name| *name != FOREIGN) {
        let about: Value = serde_json::from_str(&topics[name].payload).expect("JSON");
        for key in ["name", "state_topic", "availability_topic", "value_template", "expire_after"] {
            assert!(!about[key].is_null(), "{name} has no {key}");
        }
        assert!(ids.insert(about["unique_id"].as_str().expect("an id").to_owned()), "{name}");
        let identifier = &about["device"]["identifiers"][0];
        assert_eq!(identifier, "streetwatt_own-broker_C001", "{name}");
        assert_eq!(about["origin"]["name"], "Streetwatt", "{name}");
        // Home Assistant does not check the pair itself.
        let pair = (about["device_class"].as_str(), about["unit_of_measurement"].as_str());
        let fits = [
            (Some("power"), Some("W")),
            (Some("energy"), Some("Wh")),
            (Some("voltage"), Some("V")),
            (Some("connectivity"), None),
            (Some("problem"), None),
            (None, None),
        ];
        assert!(fits.contains(&pair), "{name}: {pair:?}");
    }
}

/// Everything that Home Assistant relies on, with any broker. One that is not strict may forget the will
/// of a client that has come back quickly (rumqttd 0.20 does).
async fn inform_home_assistant(own: SocketAddr, is_strict: bool) {
    let home = Home::new("own-broker", Some(own)).await;
    let mut owner = Listener::at(own, "owner", &["homeassistant/#", "streetwatt-home/#"]).await;
    // Left over from a battery that is gone; and somebody else's, which must stay.
    owner.say(STALE, r#"{"name":"gone"}"#, true).await;
    owner.say(FOREIGN, r#"{"name":"stays"}"#, true).await;
    owner.until("prepared", |topics| announced(topics).len() == 2).await;

    let agent = home.start();
    let topics = owner
        .until("announced, with the stale one taken back", |topics| {
            availability(topics) == Some("online")
                && topics[STALE].payload.is_empty()
                && announced(topics).len() == PARTS + 1
                && state(topics)["import_wh"] == 1_000
        })
        .await;
    assert_eq!(topics[FOREIGN].payload, r#"{"name":"stays"}"#);
    check_announcements(&topics);
    let import: Value = serde_json::from_str(&topics[IMPORT].payload).expect("JSON");
    assert_eq!(import["state_class"], "total_increasing");
    assert_eq!(import["value_template"], "{{ value_json.import_wh }}");
    assert_eq!(import["default_entity_id"], "sensor.streetwatt_own-broker_c001_import");
    // What is not known is null: the roof never answers.
    assert_eq!(state(&topics)["power_w"], 400);
    assert!(state(&topics)["pv_w"].is_null() && state(&topics)["battery_w"].is_null());

    // The meter drops to zero for a while and comes back: the register shows no dip.
    home.show(0, 300);
    owner.until("power moves", |topics| state(topics)["power_w"] == 300).await;
    let dip = owner.until("two more", |topics| state(topics)["power_w"] == 300).await;
    assert_eq!(state(&dip)["import_wh"], 1_000);
    home.hand.advance_to(FIRST.start_ms() + 60_000);
    home.show(1_009, 200);
    owner.until("counted on", |topics| state(topics)["import_wh"] == 1_009).await;

    // Home Assistant starts again and has forgotten everything.
    let before = owner.until("heard", |_| true).await[IMPORT].count;
    owner.say("homeassistant/status", "offline", false).await;
    owner.say("homeassistant/status", "online", false).await;
    owner.until("announced again", |topics| topics[IMPORT].count == before + 1).await;

    // A silent meter is unknown, not zero.
    home.device.fail(&[Fault::Silence; 600]);
    home.hand.advance_to(FIRST.start_ms() + 120_000);
    let silent = owner.until("unknown", |topics| state(topics)["power_w"].is_null()).await;
    assert_eq!(availability(&silent), Some("online"));
    home.device.heal();

    // Orderly end, then an end without farewell: the last will speaks.
    agent.stop().await;
    owner.until("offline", |topics| availability(topics) == Some("offline")).await;
    let agent = home.start();
    owner.until("online", |topics| availability(topics) == Some("online")).await;
    if is_strict {
        agent.task.abort();
    } else {
        agent.stop().await;
    }
    owner.until("offline by will", |topics| availability(topics) == Some("offline")).await;

    announce_in_other_forms(home, owner).await;
}

/// One message for all, and none at all; what was announced before is taken back.
async fn announce_in_other_forms(mut home: Home, mut owner: Listener) {
    for (discovery, expected) in [(Discovery::Device, 2), (Discovery::Off, 1)] {
        home.config.home_assistant.as_mut().expect("set").discovery = discovery;
        let agent = home.start();
        let topics = owner
            .until("another form", |topics| {
                availability(topics) == Some("online") && announced(topics).len() == expected
            })
            .await;
        if discovery == Discovery::Device {
            let topic = "homeassistant/device/streetwatt_own-broker_C001/config";
            let device: Value = serde_json::from_str(&topics[topic].payload).expect("JSON");
            assert_eq!(device["cmps"].as_object().expect("parts").len(), PARTS);
            assert_eq!(device["cmps"]["import"]["p"], "sensor");
        }
        agent.stop().await;
        owner.until("offline", |topics| availability(topics) == Some("offline")).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn home_assistant_is_kept_informed() {
    inform_home_assistant(broker().await, false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn home_assistant_is_kept_informed_through_mosquitto() {
    let Some(broker) = Mosquitto::start("Home Assistant through Mosquitto") else { return };
    let address = broker.url().trim_start_matches("mqtt://").parse().expect("an address");
    inform_home_assistant(address, true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_figures_and_health_are_served() {
    let home = Home::new("street-metrics", None).await;
    let agent = home.start();
    let figures = agent.page("/figures", |_, body| body.contains("\"import_wh\":1000")).await;
    let figures: Value = serde_json::from_str(&figures).expect("JSON");
    assert_eq!((&figures["power_w"], &figures["pv_w"]), (&Value::from(400), &Value::Null));
    let text =
        agent.page("/metrics", |_, body| body.contains("failures_total{device=\"roof\"")).await;
    assert!(text.contains("streetwatt_energy_watthours_total{register=\"import\"} 1000\n"));
    assert!(text.contains("streetwatt_device_up{device=\"grid\",role=\"meter\"} 1\n"), "{text}");
    judge_by_prometheus(&text);
    // The roof sleeps: worth a word, no alarm. A silent meter is one.
    let word = agent.page("/health", |status, body| status == 200 && body.contains("roof")).await;
    assert!(word.contains("degraded"), "{word}");
    home.device.fail(&[Fault::Silence; 600]);
    home.hand.advance_to(FIRST.start_ms() + 60_000);
    let alarm = agent.page("/health", |status, _| status == 503).await;
    assert!(alarm.contains("failing") && alarm.contains("grid"), "{alarm}");
    home.device.heal();
    agent.page("/health", |status, _| status == 200).await;
    agent.stop().await;
}

/// A roof that produces so much, W.
fn roof(power_w: u16) -> Vec<u16> {
    let inverter =
        crate::support::device::model(50, &[(14, power_w), (15, 0), (24, 0), (25, 9_000), (26, 0)]);
    sunspec(&[(1, &[0; 66]), (103, &inverter)])
}

/// One that went quiet when it produced nothing any more is asleep; one that went quiet at noon is not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_roof_that_goes_quiet_in_the_evening_is_no_failure() {
    let failures = "streetwatt_device_failures_total{device=\"roof\",role=\"pv\"} ";
    let failed = |text: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(failures)).expect("counted");
        line.parse::<u64>().expect("a number")
    };
    for (last_w, is_asleep) in [(0, true), (15, true), (3_000, false)] {
        let home = Home::new("street-asleep", None).await;
        home.device.put(9, 3, 40_000, &roof(last_w));
        let agent = home.start();
        let up = "streetwatt_device_up{device=\"roof\",role=\"pv\"} 1\n";
        agent.page("/metrics", |_, body| body.contains(up)).await;
        let shown = format!("\"pv_w\":{last_w}");
        agent.page("/figures", |_, body| body.contains(&shown)).await;
        home.device.mute(9);
        // Asked in vain more than once: no accident of a connection that was just open.
        let asked = |_: u16, _: &str| home.device.asked_in_vain(9) >= 3;
        let text = agent.page("/metrics", asked).await;
        if is_asleep {
            assert_eq!(failed(&text), 0, "{last_w} W: {text}");
            let word = agent.page("/health", |status, _| status == 200).await;
            assert!(!word.contains("roof"), "{word}");
            // Nobody says that it produces nothing: that is not known.
            agent.page("/figures", |_, body| body.contains("\"pv_w\":null")).await;
        } else {
            agent.page("/metrics", |_, body| failed(body) > 0).await;
        }
        agent.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn those_who_say_nothing_or_too_much_keep_nobody_from_the_metrics() {
    let home = Home::new("street-slow", None).await;
    let agent = home.start();
    let mut idle = Vec::new();
    for _ in 0..40 {
        idle.push(TcpStream::connect(agent.metrics).await.expect("queued"));
    }
    let mut loud = TcpStream::connect(agent.metrics).await.expect("queued");
    // The connection is closed before this is written, or while it is.
    let _ = loud.write_all(&[b'x'; 64 * 1024]).await;
    let (status, _) = get(agent.metrics, "/metrics").await.expect("an answer in the end");
    assert_eq!(status, 200);
    let mut said = Vec::new();
    let _ = loud.read_to_end(&mut said).await;
    assert!(said.is_empty(), "no request, no answer");
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_that_is_taken_is_said_with_what_to_do() {
    let mut home = Home::new("street-taken", None).await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let listen = taken.local_addr().expect("bound");
    home.config.metrics = Some(MetricsConfig { listen });
    let refused = Agent::open(&home.config, home.clock.clone()).err().expect("taken").to_string();
    assert!(
        refused.contains(&listen.to_string()) && refused.contains("another address"),
        "{refused}"
    );
}

/// Prometheus' own parser reads the text, and finds what was written.
fn judge_by_prometheus(text: &str) {
    let Some(python) = std::env::var_os("STREETWATT_PYTHON") else {
        println!("skipped: STREETWATT_PYTHON names no Python with prometheus_client");
        return;
    };
    const JUDGE: &str = r"
import sys
from prometheus_client.parser import text_string_to_metric_families
families = {f.name: f for f in text_string_to_metric_families(sys.stdin.read())}
energy = families['streetwatt_energy_watthours']
assert energy.type == 'counter', energy
assert {s.labels['register']: s.value for s in energy.samples} == {'import': 1000.0, 'export': 7.0}
up = {s.labels['device']: s.value for s in families['streetwatt_device_up'].samples}
assert up == {'grid': 1.0, 'roof': 0.0}, up
assert all(f.documentation and f.type in ('counter', 'gauge') for f in families.values())
print(len(families), 'families')
";
    let mut judge = Command::new(python)
        .args(["-c", JUDGE])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("STREETWATT_PYTHON can be started");
    judge.stdin.take().expect("piped").write_all(text.as_bytes()).expect("it listens");
    let judged = judge.wait_with_output().expect("it ends");
    assert!(judged.status.success(), "{}\n{text}", String::from_utf8_lossy(&judged.stderr));
}
