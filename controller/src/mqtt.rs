//! The controller's connection to the broker: hears every household, speaks to each.

use std::path::Path;
use std::time::Duration;

use clock::Clock;
use protocol::wildcard_up;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{ConnectReturnCode, Packet, SubscribeReasonCode};
use rumqttc::v5::{AsyncClient, Event, EventLoop, MqttOptions};
use tls::BrokerUrl;
use tokio::sync::{mpsc, watch};
use tracing::{info, warn};
use units::CommunityId;

use crate::broker::MAX_PACKET_BYTES;
use crate::config::BrokerConfig;
use crate::desk::Outgoing;

/// Messages that wait for the desk; beyond it the broker has to wait.
const INBOX: usize = 4_096;
/// Messages that wait for the broker; beyond it they are dropped, for households ask again.
const OUTBOX: usize = 65_536;
/// Publishes under way at once.
const IN_FLIGHT: usize = 200;
/// Pause before the next attempt to connect.
const RECONNECT: Duration = Duration::from_millis(500);

/// Why the broker cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum MqttFault {
    /// The address makes no sense.
    #[error("[broker] url {0:?}: expected mqtt://host:port or mqtts://host:port")]
    Url(String),
    /// Certificates or key.
    #[error("[broker] {0}")]
    Tls(#[from] tls::TlsError),
    /// The password cannot be read.
    #[error("[broker] password_file {path}: {source}")]
    Password {
        /// The file.
        path: String,
        /// The system's reason.
        source: std::io::Error,
    },
}

/// A message as it arrived.
#[derive(Debug)]
pub struct Incoming {
    /// Its topic.
    pub topic: String,
    /// Its bytes.
    pub payload: Vec<u8>,
    /// When, Unix milliseconds of market time.
    pub received_ms: i64,
}

/// Both directions of the connection.
pub struct Link {
    /// What households say.
    pub incoming: mpsc::Receiver<Incoming>,
    /// What the desk answers.
    pub outgoing: mpsc::Sender<Outgoing>,
    /// Whether the broker is there and lets us listen; changes with every (re)connection.
    pub connected: watch::Receiver<bool>,
}

/// Connects, and keeps connecting, to the configured broker.
///
/// # Errors
/// [`MqttFault`] when the configuration cannot work.
pub fn connect(
    config: &BrokerConfig,
    community: &CommunityId,
    clock: &Clock,
) -> Result<Link, MqttFault> {
    let options = options(config, community)?;
    let (client, events) = AsyncClient::new(options, IN_FLIGHT);
    let (in_sender, incoming) = mpsc::channel(INBOX);
    let (outgoing, out_receiver) = mpsc::channel(OUTBOX);
    let (up, connected) = watch::channel(false);
    let inbox = Inbox { messages: in_sender, clock: clock.clone() };
    tokio::spawn(listen(events, client.clone(), wildcard_up(community), inbox, up));
    tokio::spawn(speak(client, community.clone(), out_receiver, connected.clone()));
    Ok(Link { incoming, outgoing, connected })
}

fn options(config: &BrokerConfig, community: &CommunityId) -> Result<MqttOptions, MqttFault> {
    let client_id = format!("streetwatt-controller-{community}");
    let mut options = match &config.url {
        None => MqttOptions::new(client_id, config.listen.ip().to_string(), config.listen.port()),
        Some(text) => {
            let url = BrokerUrl::parse(text).ok_or_else(|| MqttFault::Url(text.clone()))?;
            let mut options = MqttOptions::new(client_id, &url.host, url.port);
            options.set_transport(tls::transport(&url, config.tls.as_ref())?);
            options
        }
    };
    options.set_keep_alive(Duration::from_secs(30));
    options.set_clean_start(true);
    options.set_max_packet_size(u32::try_from(MAX_PACKET_BYTES).ok());
    // Without it the client keeps a table for 65 535 unacknowledged messages.
    options.set_outgoing_inflight_upper_limit(u16::try_from(IN_FLIGHT).unwrap_or(u16::MAX));
    if let Some(username) = &config.username {
        let password = config.password_file.as_deref().map(read_password).transpose()?;
        options.set_credentials(username, password.unwrap_or_default());
    }
    Ok(options)
}

fn read_password(path: &Path) -> Result<String, MqttFault> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| MqttFault::Password { path: path.display().to_string(), source })?;
    Ok(text.trim_end().to_owned())
}

/// Where messages wait for the desk, with the time they came at.
struct Inbox {
    messages: mpsc::Sender<Incoming>,
    clock: Clock,
}

async fn listen(
    mut events: EventLoop,
    client: AsyncClient,
    filter: String,
    inbox: Inbox,
    up: watch::Sender<bool>,
) {
    let mut was_up = true;
    loop {
        match events.poll().await {
            Ok(Event::Incoming(Packet::ConnAck(ack))) => {
                if ack.code != ConnectReturnCode::Success {
                    warn!(code = ?ack.code, "the broker refuses the controller");
                    continue;
                }
                info!("connected to the broker");
                was_up = true;
                // The event loop must go on while the subscription waits for its channel.
                let (client, filter) = (client.clone(), filter.clone());
                tokio::spawn(async move { client.subscribe(filter, QoS::AtLeastOnce).await });
            }
            Ok(Event::Incoming(Packet::SubAck(ack))) => {
                let is_granted = |code| matches!(code, &SubscribeReasonCode::Success(_));
                if !ack.return_codes.iter().all(is_granted) {
                    warn!(codes = ?ack.return_codes, filter, "the broker does not let the controller listen");
                    continue;
                }
                // Only now: what is said earlier would be answered to nobody.
                up.send_replace(true);
            }
            Ok(Event::Incoming(Packet::Publish(publish))) => {
                let topic = String::from_utf8_lossy(&publish.topic).into_owned();
                let payload = publish.payload.to_vec();
                // A retained message is an old one: nothing that counts is ever retained here.
                if publish.retain {
                    continue;
                }
                let received_ms = inbox.clock.now_ms();
                if inbox.messages.send(Incoming { topic, payload, received_ms }).await.is_err() {
                    return;
                }
            }
            Ok(_) => {}
            Err(_) if inbox.messages.is_closed() => return,
            Err(error) => {
                if was_up {
                    let advice = tls::advice(&error.to_string()).unwrap_or_default();
                    warn!(%error, advice, "no connection to the broker; trying again");
                    was_up = false;
                }
                up.send_replace(false);
                tokio::time::sleep(RECONNECT).await;
            }
        }
    }
}

async fn speak(
    client: AsyncClient,
    community: CommunityId,
    mut outbox: mpsc::Receiver<Outgoing>,
    connected: watch::Receiver<bool>,
) {
    while let Some(message) = outbox.recv().await {
        if !*connected.borrow() {
            // Households ask again for what they missed; nothing may pile up here meanwhile.
            continue;
        }
        let topic = message.topic.name(&community);
        if client.publish(topic, QoS::AtLeastOnce, message.retain, message.payload).await.is_err() {
            return;
        }
    }
    let _ = client.disconnect().await;
}
