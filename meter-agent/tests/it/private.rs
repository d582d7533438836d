//! The broker that `deploy/mosquitto` sets up: who is let in, and who may say what.

use std::path::Path;
use std::time::Duration;

use clock::Clock;
use meter_agent::config::{MqttConfig, TlsConfig};
use meter_agent::{Agent, Config};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Packet, PubAckReason};
use rumqttc::v5::{AsyncClient, Event, EventLoop, MqttOptions};
use tls::BrokerUrl;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::agent::config;
use crate::mosquitto::Mosquitto;
use crate::support::broker::{Cable, broker as open_broker};
use crate::support::device::{Device, meter_203, sunspec};
use crate::support::listener::Listener;
use crate::support::world::FIRST;

const PATIENCE: Duration = Duration::from_secs(20);

/// A client's certificate, or none, and the authority that it believes.
fn identity(folder: &Path, name: Option<&str>) -> TlsConfig {
    let file = |end: &str| name.map(|name| folder.join(format!("{name}.{end}")));
    let ca_file = Some(folder.join("ca.crt"));
    TlsConfig { ca_file, cert_file: file("crt"), key_file: file("key") }
}

fn options(url: &str, client_id: &str, tls: &TlsConfig) -> MqttOptions {
    let url = BrokerUrl::parse(url).expect("an address");
    let mut options = MqttOptions::new(client_id, &url.host, url.port);
    options.set_transport(tls::transport(&url, Some(tls)).expect("files that fit"));
    options
}

/// Connects; otherwise why not.
pub async fn connect(options: MqttOptions) -> Result<(AsyncClient, EventLoop), String> {
    let (client, mut events) = AsyncClient::new(options, 8);
    loop {
        match timeout(PATIENCE, events.poll()).await.expect("an answer in time") {
            Ok(Event::Incoming(Packet::ConnAck(_))) => return Ok((client, events)),
            Ok(_) => {}
            Err(error) => return Err(error.to_string()),
        }
    }
}

/// Publishes; what the broker says to it.
pub async fn publish(
    options: MqttOptions,
    topic: &str,
    payload: Vec<u8>,
) -> Result<PubAckReason, String> {
    let (client, mut events) = connect(options).await?;
    client.publish(topic, QoS::AtLeastOnce, false, payload).await.expect("queued");
    loop {
        match timeout(PATIENCE, events.poll()).await.expect("an answer in time") {
            Ok(Event::Incoming(Packet::PubAck(answer))) => return Ok(answer.reason),
            Ok(_) => {}
            Err(error) => return Err(error.to_string()),
        }
    }
}

fn street(test: &str) -> Option<Mosquitto> {
    let broker = Mosquitto::deployed(test, "street.conf", "example-street", |_| {})?;
    for name in ["controller", "C001", "C002"] {
        broker.certify(&["client", name]);
    }
    Some(broker)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everybody_writes_to_their_own_topics_and_nowhere_else() {
    let Some(broker) = street("the access list of deploy/mosquitto") else { return };
    let folder = broker.folder();
    let topic = |rest: &str| format!("streetwatt/example-street/{rest}");
    for (who, name, fine) in [
        ("C001", topic("C001/up/reading"), true),
        ("C001", topic("C001/up/live"), true),
        ("C002", topic("C001/up/reading"), false),
        ("C002", topic("C001/up/order"), false),
        ("C001", topic("C001/down/receipt"), false),
        ("C001", topic("public/offer"), false),
        ("C001", "streetwatt/another-street/C001/up/reading".to_owned(), false),
        ("C001", "homeassistant/status".to_owned(), false),
        ("controller", topic("C001/down/receipt"), true),
        ("controller", topic("public/clearing"), true),
        ("controller", topic("C001/up/reading"), false),
    ] {
        let options = options(&broker.url(), "anything", &identity(folder, Some(who)));
        let answer = publish(options, &name, b"x".to_vec()).await.expect("connected");
        let is_refused = answer == PubAckReason::NotAuthorized;
        assert_eq!(!is_refused, fine, "{who} to {name}: {answer:?}");
    }
    // A message beyond the limit is no message: the broker says so or hangs up.
    let options = options(&broker.url(), "loud", &identity(folder, Some("C001")));
    let loud = publish(options, &topic("C001/up/reading"), vec![b'x'; 100_000]).await;
    assert!(!matches!(loud, Ok(PubAckReason::Success)), "{loud:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_listens_to_others_or_takes_their_place() {
    let Some(broker) = street("reading at deploy/mosquitto") else { return };
    let folder = broker.folder();
    let listen = async |who: &str, id: &str| {
        let options = options(&broker.url(), id, &identity(folder, Some(who)));
        Listener::with(options, &["streetwatt/#"]).await
    };
    let mut first = listen("C001", "streetwatt-C001").await;
    // The neighbour claims the same client id: both stay.
    let mut second = listen("C002", "streetwatt-C001").await;
    let desk = listen("controller", "desk").await;
    let down = |point: &str| format!("streetwatt/example-street/{point}/down/receipt");
    desk.say(&down("C001"), "for the first", false).await;
    desk.say(&down("C002"), "for the second", false).await;
    let public = "streetwatt/example-street/public/offer";
    desk.say(public, "for all", false).await;
    let heard = first.until("public", |topics| topics.contains_key(public)).await;
    assert_eq!(heard.keys().cloned().collect::<Vec<_>>(), [down("C001"), public.to_owned()]);
    let heard = second.until("public", |topics| topics.contains_key(public)).await;
    assert_eq!(heard.keys().cloned().collect::<Vec<_>>(), [down("C002"), public.to_owned()]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_cannot_show_a_certificate_of_the_authority_stays_outside() {
    let Some(broker) = street("certificates at deploy/mosquitto") else { return };
    let Some(other) = street("another authority") else { return };
    let nameless = identity(broker.folder(), None);
    let forged =
        TlsConfig { ca_file: nameless.ca_file.clone(), ..identity(other.folder(), Some("C001")) };
    let deceived = identity(other.folder(), Some("C001"));
    let url = broker.url();
    for (tls, expected) in [
        (&nameless, "give tls.cert_file"),
        (&forged, "does not know the authority"),
        (&deceived, "not from an authority in tls.ca_file"),
    ] {
        let refused = match connect(options(&url, "stranger", tls)).await {
            // A broker may say no only after the handshake.
            Ok((_, mut events)) => {
                let next = timeout(PATIENCE, events.poll()).await.expect("in time");
                next.expect_err("refused").to_string()
            }
            Err(refused) => refused,
        };
        let advice = tls::advice(&refused).unwrap_or_default();
        assert!(advice.contains(expected), "{expected:?}: {refused}: {advice}");
    }
}

/// The household C001 with this identity, at this broker.
async fn household(folder: &Path, device: &Device, mqtt: MqttConfig) -> Config {
    let cable = Cable::to(open_broker().await).await;
    let mut config = config(folder, &device.host(), &cable, "example-street");
    config.poll_interval_ms = 100;
    config.mqtt = mqtt;
    config
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_delivers_by_tls_and_not_with_its_neighbours_certificate() {
    let Some(broker) = street("an agent at deploy/mosquitto") else { return };
    let device = Device::start().await;
    device.put(2, 3, 40_000, &sunspec(&[(1, &[0; 66]), (203, &meter_203(1_000, 0, 400))]));
    let desk_options =
        options(&broker.url(), "desk", &identity(broker.folder(), Some("controller")));
    let mut desk = Listener::with(desk_options, &["streetwatt/example-street/+/up/+"]).await;
    let reading = "streetwatt/example-street/C001/up/reading";
    for (who, is_heard) in [("C002", false), ("C001", true)] {
        let folder = tempfile::tempdir().expect("a folder");
        let mqtt = MqttConfig {
            tls: Some(identity(broker.folder(), Some(who))),
            ..MqttConfig::open(broker.url())
        };
        let config = household(folder.path(), &device, mqtt).await;
        let (clock, _hand) = Clock::manual(FIRST.start_ms() + 1_000);
        let agent = Agent::open(&config, clock).expect("opens");
        let mut status = agent.status();
        let (shutdown, stopped) = watch::channel(false);
        let task = tokio::spawn(agent.run(stopped));
        let written = status.wait_for(|status| status.connected && status.journalled_seq == 1);
        timeout(PATIENCE, written).await.expect("in time").expect("runs");
        if is_heard {
            desk.until("the reading", |topics| topics.contains_key(reading)).await;
        } else {
            // Its own message, sent later, comes through: what came before was refused.
            let own = "streetwatt/example-street/C002/up/ask";
            let neighbour = identity(broker.folder(), Some(who));
            tokio::time::sleep(Duration::from_millis(500)).await;
            shutdown.send_replace(true);
            let said = publish(options(&broker.url(), "x", &neighbour), own, b"x".to_vec()).await;
            assert_eq!(said, Ok(PubAckReason::Success));
            let heard = desk.until("its own", |topics| topics.contains_key(own)).await;
            assert_eq!(heard.len(), 1, "{heard:?}");
        }
        shutdown.send_replace(true);
        task.await.expect("ends").expect("without a fault");
    }
}
