//! The whole agent: real Modbus, real MQTT, a desk that signs, and a clock that is moved by hand.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use clock::{Clock, ManualHand};
use meter_agent::bidding::BiddingConfig;
use meter_agent::config::{
    DeviceConfig, DeviceMqttConfig, JournalConfig, KeyConfig, MqttConfig, Role,
};
use meter_agent::{Agent, AgentError, Config, Status, check_devices};
use protocol::Side;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::{AsyncClient, MqttOptions};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use units::Slot;

use crate::support::broker::{Cable, broker};
use crate::support::desk::{Desk, Heard};
use crate::support::device::{Device, Fault, meter_203, sunspec};
use crate::support::operator::{Operator, point};
use crate::support::world::FIRST;

const UNIT: u8 = 2;

/// One household with its device, its desk and its clock.
struct Home {
    config: Config,
    device: Device,
    desk: Desk,
    cable: Cable,
    broker: SocketAddr,
    clock: Clock,
    hand: ManualHand,
    import_wh: u32,
    _folder: tempfile::TempDir,
}

struct RunningAgent {
    status: watch::Receiver<Status>,
    shutdown: watch::Sender<bool>,
    task: JoinHandle<Result<(), AgentError>>,
}

impl RunningAgent {
    fn start(config: &Config, clock: &Clock) -> Self {
        let agent = Agent::open(config, clock.clone()).expect("opens");
        let status = agent.status();
        let (shutdown, stopped) = watch::channel(false);
        Self { status, shutdown, task: tokio::spawn(agent.run(stopped)) }
    }

    async fn until(&mut self, what: &str, condition: impl FnMut(&Status) -> bool) {
        let waited = tokio::time::timeout(Duration::from_secs(20), self.status.wait_for(condition));
        waited.await.unwrap_or_else(|_| panic!("never: {what}")).expect("runs");
    }

    async fn stop(self) {
        self.shutdown.send_replace(true);
        self.task.await.expect("ends").expect("without a fault");
    }
}

impl Home {
    async fn new(name: &str) -> Self {
        let device = Device::start().await;
        let broker = broker().await;
        let cable = Cable::to(broker).await;
        let folder = tempfile::tempdir().expect("a folder");
        // The miniature operator knows one point; the broker's topics are told apart by community.
        let config = config(folder.path(), &device.host(), &cable, name);
        let operator = Operator::in_community(name, 1);
        let desk = Desk::open(broker, operator, point()).await;
        let (clock, hand) = Clock::manual(FIRST.start_ms());
        let mut home = Self {
            config,
            device,
            desk,
            cable,
            broker,
            clock,
            hand,
            import_wh: 1_000,
            _folder: folder,
        };
        home.show(0);
        home
    }

    /// Lets the meter advance.
    fn show(&mut self, import_wh: u32) {
        self.import_wh += import_wh;
        let meter = meter_203(self.import_wh, 0, 400);
        self.device.put(UNIT, 3, 40_000, &sunspec(&[(1, &[0; 66]), (203, &meter)]));
    }

    /// The meter advances, then the clock reaches the end of the slot.
    fn pass(&mut self, slot: Slot, import_wh: u32) {
        self.show(import_wh);
        self.hand.advance_to(slot.end_ms());
    }
}

pub fn config(folder: &Path, host: &str, cable: &Cable, community: &str) -> Config {
    let data_dir = folder.to_owned();
    std::fs::write(data_dir.join("household.key"), "2a".repeat(32)).expect("written");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(data_dir.join("household.key"), mode).expect("set");
    Config {
        community: community.parse().expect("an id"),
        point: point(),
        operator: Operator::new(1).address(),
        data_dir,
        epoch: 1,
        poll_interval_ms: 200,
        connection_w: 40_000,
        edge_grace_s: None,
        clock_status: None,
        devices_dir: None,
        key: KeyConfig::default(),
        journal: JournalConfig::default(),
        mqtt: MqttConfig::open(format!("mqtt://{}", cable.address)),
        clock: None,
        bidding: BiddingConfig::default(),
        proxy: Default::default(),
        home_assistant: None,
        metrics: None,
        devices: vec![DeviceConfig {
            host: Some(host.to_owned()),
            unit: Some(UNIT),
            timeout_ms: Some(150),
            ..DeviceConfig::new("grid", Role::Meter, "sunspec-meter-203")
        }],
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_day_in_the_life_of_a_household() {
    let mut home = Home::new("street-day").await;
    home.desk.offer(FIRST.next(), home.clock.now_ms()).await;
    let mut agent = RunningAgent::start(&home.config, &home.clock);
    // The edge behind is read at the start; the first order rests on the present power.
    home.desk.await_readings(1, home.clock.now_ms()).await;
    home.desk.await_order(FIRST.next(), home.clock.now_ms()).await;
    assert_eq!(home.desk.orders[&FIRST.next().number()].quantity_wh(Side::Buy), 100);
    for i in 0..8 {
        let slot = FIRST.offset(i);
        home.pass(slot, 100 + u32::try_from(i).expect("small"));
        let now_ms = home.clock.now_ms();
        home.desk.await_readings(usize::try_from(i).expect("small") + 2, now_ms).await;
        home.desk.offer(slot.offset(2), now_ms).await;
        home.desk.await_order(slot.offset(2), now_ms).await;
        home.desk.settle(slot, now_ms).await;
        let audit = home.desk.await_audit(slot, now_ms).await;
        assert!(audit.verified, "slot {i}: {}", audit.reason);
    }
    agent.until("all released", |status| status.released_seq == 9).await;
    let slots: Vec<i64> = home.desk.stored.iter().map(|reading| reading.slot).collect();
    assert_eq!(slots, (-1..8).map(|i| FIRST.offset(i).number()).collect::<Vec<_>>());
    let energy: Vec<u64> =
        home.desk.stored.windows(2).map(|pair| pair[1].import_wh - pair[0].import_wh).collect();
    assert_eq!(energy, (100..108).collect::<Vec<u64>>());
    assert!(home.desk.lives.iter().all(|live| live.power_w.is_empty() || live.power_w == [400]));
    let status = agent.status.borrow().clone();
    assert_eq!((status.verified, status.failed, status.missed_edges), (8, 0, 0));
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_while_the_broker_is_away_or_the_desk_is_silent() {
    let mut home = Home::new("street-outage").await;
    let mut agent = RunningAgent::start(&home.config, &home.clock);
    home.desk.await_readings(1, home.clock.now_ms()).await;
    home.pass(FIRST, 50);
    home.desk.await_readings(2, home.clock.now_ms()).await;
    home.desk.settle(FIRST, home.clock.now_ms()).await;
    home.desk.await_audit(FIRST, home.clock.now_ms()).await;

    home.cable.cut();
    agent.until("the loss is noticed", |status| !status.connected).await;
    for i in 1..30 {
        home.pass(FIRST.offset(i), 50);
        let seq = u64::try_from(i).expect("small") + 2;
        agent.until("journalled", |status| status.journalled_seq == seq).await;
        // The desk settles without this household's readings.
        let round = home.desk.operator.settle(FIRST.offset(i), home.clock.now_ms(), None);
        home.desk.deliveries.insert(FIRST.offset(i).number(), round.delivery);
    }
    // Back again, but the desk does not answer at first: everything comes more than once.
    home.desk.signs = false;
    home.cable.mend();
    let mut repeated = 0;
    while repeated < 2 {
        if let Heard::Reading(reading) = home.desk.next(home.clock.now_ms()).await {
            repeated += u32::from(reading.seq == 3);
        }
    }
    home.desk.signs = true;
    home.desk.await_readings(31, home.clock.now_ms()).await;
    agent.until("all released", |status| status.released_seq == 31).await;
    // The statements that were missed were asked for and hold: nothing was billed yet.
    home.desk.await_audit(FIRST.offset(29), home.clock.now_ms()).await;
    assert!(home.desk.audits.iter().all(|audit| audit.verified), "{:?}", home.desk.audits);
    // The late energy is billed now, slot by slot, and the last one on time.
    home.pass(FIRST.offset(30), 50);
    home.desk.await_readings(32, home.clock.now_ms()).await;
    home.desk.settle(FIRST.offset(30), home.clock.now_ms()).await;
    let audit = home.desk.await_audit(FIRST.offset(30), home.clock.now_ms()).await;
    assert!(audit.verified, "{}", audit.reason);
    let statement = &home.desk.deliveries[&FIRST.offset(30).number()].statement;
    assert_eq!((statement.late.len(), statement.measured), (29, true));
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_aborted_agent_goes_on_where_its_disk_ends() {
    let mut home = Home::new("street-abort").await;
    for i in 0..6 {
        let mut agent = RunningAgent::start(&home.config, &home.clock);
        let count = usize::try_from(i).expect("small") + 1;
        home.desk.signs = i % 2 == 0;
        if home.desk.signs {
            home.desk.await_readings(count, home.clock.now_ms()).await;
        } else {
            agent.until("journalled", |status| status.journalled_seq == count as u64).await;
        }
        agent.task.abort();
        assert!(agent.task.await.expect_err("aborted").is_cancelled());
        home.pass(FIRST.offset(i), 10);
    }
    home.desk.signs = true;
    let mut agent = RunningAgent::start(&home.config, &home.clock);
    home.desk.await_readings(7, home.clock.now_ms()).await;
    agent.until("all released", |status| status.released_seq == 7).await;
    assert!(home.desk.stored.iter().all(|reading| reading.quality == "measured"));
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edge_is_read_again_until_the_meter_answers() {
    let mut home = Home::new("street-late").await;
    let mut agent = RunningAgent::start(&home.config, &home.clock);
    home.desk.await_readings(1, home.clock.now_ms()).await;
    home.device.fail(&[Fault::Late(Duration::from_millis(400)), Fault::TooShort, Fault::Silence]);
    home.pass(FIRST, 70);
    home.desk.await_readings(2, home.clock.now_ms()).await;
    let energy = home.desk.stored[1].import_wh - home.desk.stored[0].import_wh;
    assert_eq!((energy, home.desk.stored[1].quality.as_str()), (70, "measured"));
    // Nobody answers until the time for the edge is over: the next reading bridges it.
    home.device.fail(&[Fault::Silence; 400]);
    home.pass(FIRST.next(), 30);
    home.hand.advance_to(FIRST.next().end_ms() + 60_001);
    agent.until("missed", |status| status.missed_edges == 1).await;
    home.device.heal();
    home.pass(FIRST.offset(2), 30);
    home.desk.await_readings(3, home.clock.now_ms()).await;
    let last = home.desk.stored.last().expect("three");
    assert_eq!((last.quality.as_str(), last.slot), ("bridged", FIRST.offset(2).number()));
    assert_eq!(last.import_wh - home.desk.stored[1].import_wh, 60);
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_meter_that_speaks_when_it_likes_is_read_at_the_edge() {
    let mut home = Home::new("street-tasmota").await;
    home.config.devices[0] = DeviceConfig {
        map: "tasmota".into(),
        host: None,
        unit: None,
        timeout_ms: None,
        mqtt: Some(DeviceMqttConfig {
            topic: "street-tasmota-meter".into(),
            broker: None,
            max_age_s: 300,
        }),
        allow_resetting: true,
        ..home.config.devices[0].clone()
    };
    let meter = publisher(home.broker, "tasmota-meter").await;
    let say = async |total_wh: u32| {
        let payload = format!(
            r#"{{"ENERGY":{{"Total":{}.{:03},"ExportActive":0.0,"Power":400}}}}"#,
            total_wh / 1_000,
            total_wh % 1_000
        );
        let topic = "tele/street-tasmota-meter/SENSOR";
        meter.publish(topic, QoS::AtLeastOnce, false, payload).await.expect("queued");
    };
    let mut agent = RunningAgent::start(&home.config, &home.clock);
    // The meter speaks all the time; its counter stands at 5 kWh at the first edge.
    home.hand.advance_to(FIRST.start_ms());
    while home.desk.stored.is_empty() {
        say(5_000).await;
        let _ =
            tokio::time::timeout(Duration::from_millis(100), home.desk.next(home.clock.now_ms()))
                .await;
    }
    assert_eq!(home.desk.stored[0].import_wh, 5_000);
    // 20 s before the edge 5.880 kWh, 10 s after it 5.910 kWh: 5.900 kWh at the edge.
    home.hand.advance_to(FIRST.end_ms() - 20_000);
    let heard_w = |desk: &Desk| desk.lives.len();
    let before = heard_w(&home.desk);
    while heard_w(&home.desk) < before + 3 {
        say(5_880).await;
        home.desk.next(home.clock.now_ms()).await;
    }
    home.hand.advance_to(FIRST.end_ms() + 10_000);
    while home.desk.stored.len() < 2 {
        say(5_910).await;
        let _ =
            tokio::time::timeout(Duration::from_millis(100), home.desk.next(home.clock.now_ms()))
                .await;
    }
    assert_eq!(home.desk.stored[1].import_wh, 5_900);
    assert_eq!(home.desk.stored[1].time_ms, FIRST.end_ms());
    agent.until("released", |status| status.released_seq == 2).await;
    agent.stop().await;
}

async fn publisher(address: SocketAddr, id: &str) -> AsyncClient {
    let options = MqttOptions::new(id, address.ip().to_string(), address.port());
    let (client, mut events) = AsyncClient::new(options, 16);
    tokio::spawn(async move { while events.poll().await.is_ok() {} });
    client
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_neighbour_on_the_line_does_not_slow_the_meter_down() {
    let mut home = Home::new("street-silent").await;
    home.device.mute(9);
    home.config.poll_interval_ms = 100;
    home.config.devices.push(DeviceConfig {
        name: "roof".into(),
        role: Role::Pv,
        map: "sunspec-inverter-103".into(),
        unit: Some(9),
        timeout_ms: Some(50),
        ..home.config.devices[0].clone()
    });
    let mut agent = RunningAgent::start(&home.config, &home.clock);
    home.desk.await_readings(1, home.clock.now_ms()).await;
    while home.desk.lives.len() < 40 {
        home.desk.next(home.clock.now_ms()).await;
    }
    let asked = home.device.asked_in_vain(9);
    assert!((1..=14).contains(&asked), "{asked} questions in 40 polls");
    assert!(home.desk.lives.last().is_some_and(|live| live.power_w == [400]));
    assert!(home.desk.lives.iter().all(|live| live.pv_w.is_empty()), "unknown is not zero");
    assert!(home.desk.stored[0].produced_wh.is_empty());
    home.pass(FIRST, 25);
    home.desk.await_readings(2, home.clock.now_ms()).await;
    assert_eq!(home.desk.stored[1].quality, "measured");
    agent.until("released", |status| status.released_seq == 2).await;
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_live_check_listens_to_meters_that_publish() {
    let mut home = Home::new("street-check").await;
    home.config.devices[0] = DeviceConfig {
        map: "dsmr-reader".into(),
        host: None,
        unit: None,
        timeout_ms: None,
        mqtt: Some(DeviceMqttConfig { topic: "dsmr/reading".into(), broker: None, max_age_s: 60 }),
        ..home.config.devices[0].clone()
    };
    let meter = publisher(home.broker, "dsmr-meter").await;
    let talk = async {
        loop {
            for (name, payload) in [
                ("electricity_delivered_1", "1.5"),
                ("electricity_delivered_2", "2"),
                ("electricity_returned_1", "0"),
                ("electricity_returned_2", "0.25"),
                ("electricity_currently_delivered", "0.4"),
                ("electricity_currently_returned", "0"),
            ] {
                let topic = format!("dsmr/reading/{name}");
                meter.publish(topic, QoS::AtLeastOnce, false, payload).await.expect("queued");
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let checks = tokio::select! {
        checks = check_devices(&home.config, home.clock.clone(), Duration::from_secs(15)) => checks,
        () = talk => unreachable!("the meter talks for ever"),
    };
    let checks = checks.expect("the configuration is right");
    assert!(checks[0].problems.is_empty(), "{checks:?}");
    let value = |quantity: &str| {
        checks[0].figures.iter().find(|figure| figure.quantity == quantity).and_then(|f| f.value)
    };
    assert_eq!(value("energy_import"), Some(3_500_000));
    assert_eq!(value("energy_export"), Some(250_000));
    assert_eq!(value("power"), Some(400_000));

    // Nobody there: the problem is named when the patience ends.
    home.config.devices[0].mqtt.as_mut().expect("set").topic = "nobody".into();
    let clock = home.clock.clone();
    let checks =
        check_devices(&home.config, clock, Duration::from_millis(300)).await.expect("runs");
    assert!(checks[0].problems[0].contains("nothing heard yet"), "{checks:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_from_the_broker_harms_nothing() {
    let mut home = Home::new("street-garbage").await;
    let mut agent = RunningAgent::start(&home.config, &home.clock);
    home.desk.await_readings(1, home.clock.now_ms()).await;
    let topics = ["receipt", "verdict", "fill", "statement", "refusal"];
    let client = publisher(home.broker, "garbage").await;
    for kind in topics {
        for payload in [&b""[..], b"{}", b"\xff\x00", b"[[[[[[[[", &[b'{'; 20_000]] {
            let topic = format!("streetwatt/street-garbage/{}/down/{kind}", point());
            client.publish(topic, QoS::AtLeastOnce, false, payload).await.expect("queued");
        }
    }
    for kind in ["offer", "clearing"] {
        let topic = format!("streetwatt/street-garbage/public/{kind}");
        client.publish(topic, QoS::AtLeastOnce, false, "{\"body\":{}}").await.expect("queued");
    }
    agent.until("refused", |status| status.refused >= 20).await;
    home.pass(FIRST, 5);
    home.desk.await_readings(2, home.clock.now_ms()).await;
    home.desk.settle(FIRST, home.clock.now_ms()).await;
    assert!(home.desk.await_audit(FIRST, home.clock.now_ms()).await.verified);
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_agents_live_in_one_process() {
    let mut homes = Vec::new();
    for i in 0..8 {
        homes.push(Home::new(&format!("street-{i}")).await);
    }
    let agents: Vec<RunningAgent> =
        homes.iter().map(|home| RunningAgent::start(&home.config, &home.clock)).collect();
    for home in &mut homes {
        home.desk.await_readings(1, home.clock.now_ms()).await;
        home.pass(FIRST, 25);
    }
    for home in &mut homes {
        home.desk.await_readings(2, home.clock.now_ms()).await;
        assert_eq!(home.desk.stored[1].import_wh - home.desk.stored[0].import_wh, 25);
    }
    for agent in agents {
        agent.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_happened_while_the_agent_was_away_is_told_with_the_next_reading() {
    let mut home = Home::new("street-told").await;
    let agent = RunningAgent::start(&home.config, &home.clock);
    home.desk.await_readings(1, home.clock.now_ms()).await;
    agent.stop().await;
    // A power failure cut the next record short; and the owner has said something about a jump.
    let file = home.config.data_dir.join("readings-1.journal");
    let mut bytes = std::fs::read(&file).expect("there");
    bytes.extend_from_slice(&[9, 9, 9, 9, 9, 9, 9]);
    std::fs::write(&file, bytes).expect("written");
    let word = home.config.data_dir.join(meter_agent::CONFIRMATION);
    std::fs::write(&word, b"").expect("written");
    let agent = RunningAgent::start(&home.config, &home.clock);
    home.pass(FIRST, 50);
    home.desk.await_readings(2, home.clock.now_ms()).await;
    let told: Vec<_> =
        home.desk.stored[1].events.iter().map(|e| (e.kind.as_str(), e.after)).collect();
    assert_eq!(told, [("cut", 7)]);
    home.pass(FIRST.next(), 50);
    home.desk.await_readings(3, home.clock.now_ms()).await;
    assert_eq!(home.desk.stored[2].events, [], "told once");
    assert!(!word.exists(), "the word was taken up");
    agent.stop().await;
}
