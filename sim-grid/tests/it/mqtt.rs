//! Meters that publish, heard by a subscriber of a broker in the process.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::time::Duration;

use clock::Clock;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::Packet;
use rumqttc::v5::{AsyncClient, Event, MqttOptions};
use sim_grid::faces::{BrokerUrl, FaceKind};
use sim_grid::street::{Street, StreetError, StreetOptions};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use crate::world::shipped;

const PATIENCE: Duration = Duration::from_secs(20);

/// A broker on a free port; it lives as long as the test process.
pub async fn broker() -> SocketAddr {
    let probe = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let listen = probe.local_addr().expect("bound");
    drop(probe);
    let server = rumqttd::ServerSettings {
        name: "test".to_owned(),
        listen,
        tls: None,
        next_connection_delay_ms: 1,
        connections: rumqttd::ConnectionSettings {
            connection_timeout_ms: 10_000,
            max_payload_size: 65_536,
            max_inflight_count: 200,
            auth: None,
            external_auth: None,
            dynamic_filters: true,
        },
    };
    let config = rumqttd::Config {
        router: rumqttd::RouterConfig {
            max_connections: 100,
            max_outgoing_packet_count: 200,
            max_segment_size: 1_048_576,
            max_segment_count: 10,
            ..rumqttd::RouterConfig::default()
        },
        v5: Some(HashMap::from([("v5".to_owned(), server)])),
        ..rumqttd::Config::default()
    };
    std::thread::spawn(move || rumqttd::Broker::new(config).start().expect("the broker runs"));
    listen
}

/// A message: topic, payload, retained.
pub type Heard = (String, String, bool);

/// Hears everything; returns once the subscription stands.
pub async fn listen(broker: SocketAddr) -> mpsc::UnboundedReceiver<Heard> {
    let mut options = MqttOptions::new("listener", broker.ip().to_string(), broker.port());
    options.set_keep_alive(Duration::from_secs(20));
    let (client, mut events) = AsyncClient::new(options, 10);
    let (sender, receiver) = mpsc::unbounded_channel();
    let (ready, mut is_ready) = watch::channel(false);
    tokio::spawn(async move {
        loop {
            match events.poll().await {
                Ok(Event::Incoming(Packet::ConnAck(_))) => {
                    client.subscribe("#", QoS::AtLeastOnce).await.expect("a queue");
                }
                Ok(Event::Incoming(Packet::SubAck(_))) => {
                    ready.send_replace(true);
                }
                Ok(Event::Incoming(Packet::Publish(message))) => {
                    let topic = String::from_utf8_lossy(&message.topic).into_owned();
                    let payload = String::from_utf8_lossy(&message.payload).into_owned();
                    if sender.send((topic, payload, message.retain)).is_err() {
                        return;
                    }
                }
                Ok(_) => {}
                // The broker's thread may not be up yet.
                Err(_) => tokio::task::yield_now().await,
            }
        }
    });
    timeout(PATIENCE, is_ready.wait_for(|ready| *ready)).await.expect("in time").expect("alive");
    receiver
}

pub async fn next(heard: &mut mpsc::UnboundedReceiver<Heard>) -> Heard {
    timeout(PATIENCE, heard.recv()).await.expect("a message in time").expect("alive")
}

fn options(broker: SocketAddr, from: units::Slot) -> StreetOptions {
    let url = BrokerUrl::new(broker.ip().to_string(), broker.port());
    StreetOptions { broker: Some(url), ..StreetOptions::new(42, from) }
}

/// The telegrams that the world says are out there now: topic → payload.
fn expected(street: &Street) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    for index in 0..street.faces().len() {
        for telegram in &street.world().device_image(index).telegrams {
            all.insert(telegram.topic.clone(), telegram.payload.clone());
        }
    }
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn telegrams_of_every_edge_arrive_and_say_what_the_world_says() {
    let broker = broker().await;
    let mut heard = listen(broker).await;
    let scenario = shipped();
    let from = scenario.timeline.first();
    let mut street =
        Street::start(scenario, &options(broker, from)).await.expect("the street starts");
    let published: Vec<&FaceKind> = street
        .faces()
        .iter()
        .map(|face| &face.kind)
        .filter(|kind| kind.modbus_addr().is_none())
        .collect();
    assert!(published.len() >= 8, "{}", published.len());
    for slot in 1..=3 {
        street.advance_to(from.offset(slot).start_ms()).await.expect("runs");
        let mut wanted = expected(&street);
        assert!(wanted.len() > 50, "{}", wanted.len());
        while !wanted.is_empty() {
            let (topic, payload, _) = next(&mut heard).await;
            if wanted.get(&topic) == Some(&payload) {
                wanted.remove(&topic);
            }
        }
    }
    assert_eq!(street.dropped_telegrams(), 0);

    // Presence is retained: who comes later hears it too; and the last will says goodbye.
    let prefixes: Vec<String> = street
        .faces()
        .iter()
        .filter_map(|face| match &face.kind {
            FaceKind::Shelly { topic_prefix } => Some(format!("{topic_prefix}/online")),
            FaceKind::Tasmota { topic } => Some(format!("tele/{topic}/LWT")),
            _ => None,
        })
        .collect();
    let mut late = listen(broker).await;
    let mut online = prefixes.clone();
    while !online.is_empty() {
        let (topic, payload, retained) = next(&mut late).await;
        if retained && matches!(payload.as_str(), "true" | "Online") {
            online.retain(|prefix| *prefix != topic);
        }
    }
    drop(street);
    let mut offline = prefixes;
    while !offline.is_empty() {
        let (topic, payload, _) = next(&mut late).await;
        if matches!(payload.as_str(), "false" | "Offline") {
            offline.retain(|prefix| *prefix != topic);
        }
    }
}

/// A wire to the broker that can be cut.
async fn cuttable(broker: SocketAddr) -> (SocketAddr, watch::Sender<bool>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let addr = listener.local_addr().expect("bound");
    let (switch, is_on) = watch::channel(true);
    tokio::spawn(async move {
        loop {
            let (mut near, _) = listener.accept().await.expect("accepts");
            let mut is_on = is_on.clone();
            tokio::spawn(async move {
                if !*is_on.borrow() {
                    return;
                }
                let Ok(mut far) = TcpStream::connect(broker).await else { return };
                tokio::select! {
                    _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                    _ = is_on.wait_for(|on| !*on) => {}
                }
            });
        }
    });
    (addr, switch)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_meter_without_its_broker_loses_telegrams_but_never_delivers_old_ones() {
    let broker = broker().await;
    let mut heard = listen(broker).await;
    let (wire, switch) = cuttable(broker).await;
    let scenario = shipped();
    let from = scenario.timeline.first();
    let mut street = Street::start(scenario, &options(wire, from)).await.expect("starts");
    let tasmota = street
        .faces()
        .iter()
        .find_map(|face| match &face.kind {
            FaceKind::Tasmota { topic } => Some(format!("tele/{topic}/SENSOR")),
            _ => None,
        })
        .expect("one Tasmota");
    street.advance_to(from.offset(1).start_ms()).await.expect("runs");
    switch.send_replace(false);
    let mut now_ms = street.world().now_ms();
    // Until the meters have noticed, telegrams may still vanish into the dead wire.
    let noticed = async {
        while street.dropped_telegrams() < 50 {
            now_ms += 1_000;
            street.advance_to(now_ms).await.expect("runs");
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, noticed).await.expect("the loss is noticed");
    let cut_until_ms = now_ms;
    // What still passed while the wire was being cut.
    while heard.try_recv().is_ok() {}
    let payload_time = |payload: &str| -> String {
        let all: serde_json::Value = serde_json::from_str(payload).expect("JSON");
        all["Time"].as_str().expect("a time").to_owned()
    };
    switch.send_replace(true);
    let back = async {
        loop {
            now_ms += 1_000;
            street.advance_to(now_ms).await.expect("runs");
            while let Ok((topic, payload, _)) = heard.try_recv() {
                if topic == tasmota && payload_time(&payload).as_str() > "2016-01-18T00:15:00" {
                    return payload_time(&payload);
                }
            }
            tokio::task::yield_now().await;
        }
    };
    let first = timeout(PATIENCE, back).await.expect("the meter comes back");
    let slot = units::Slot::at_ms(cut_until_ms);
    let seconds = (cut_until_ms - slot.start_ms()) / 1_000;
    let cut_text = format!("2016-01-18T00:{:02}:{:02}", 15 + seconds / 60, seconds % 60);
    assert!(first > cut_text, "{first} was published while the wire was cut until {cut_text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_ran_ahead_is_caught_up_with_edge_by_edge() {
    let broker = broker().await;
    let mut heard = listen(broker).await;
    let scenario = shipped();
    let from = scenario.timeline.first();
    let mut street = Street::start(scenario, &options(broker, from)).await.expect("starts");
    let (clock, hand) = Clock::manual(from.start_ms());
    hand.advance_to(from.offset(4).start_ms() + 1);
    let until_ms = from.offset(4).start_ms();
    // In a task of its own, as a street usually runs.
    let running = tokio::spawn(async move {
        street.run(&clock, Some(until_ms)).await.expect("runs");
        street
    });
    let mut street = running.await.expect("no panic");
    assert_eq!(street.world().now_ms(), until_ms);
    let mut edges = vec!["00:15:00", "00:30:00", "00:45:00", "01:00:00"];
    while !edges.is_empty() {
        let (topic, payload, _) = next(&mut heard).await;
        if topic.starts_with("tele/") && topic.ends_with("/SENSOR") {
            edges.retain(|edge| !payload.contains(&format!("T{edge}\"")));
        }
    }

    // A fast clock: five slots in 45 ms.
    let fast = Clock::scaled(clock::wall_ms(), until_ms, 100_000.0);
    let later_ms = from.offset(9).start_ms();
    timeout(PATIENCE, street.run(&fast, Some(later_ms))).await.expect("in time").expect("runs");
    assert_eq!(street.world().now_ms(), later_ms);
}

#[tokio::test]
async fn a_broker_that_is_not_there_is_an_error() {
    let probe = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let nobody = probe.local_addr().expect("bound");
    drop(probe);
    let scenario = shipped();
    let from = scenario.timeline.first();
    let error = Street::start(scenario, &options(nobody, from)).await.err().expect("no broker");
    assert!(matches!(error, StreetError::Broker { .. }), "{error}");
    assert!(error.to_string().starts_with("the broker mqtt://127.0.0.1:"), "{error}");
}
