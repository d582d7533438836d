//! A connection to an MQTT v5 broker that comes back by itself.
//!
//! Every connection is a fresh client with a clean session: nothing is trusted to the client's own
//! memory, which loses or repeats messages across sessions. A watchdog drops a client that has gone
//! quiet. The session reports itself up only once every subscription is granted.

use std::time::Duration;

use rumqttc::Transport;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Filter, LastWill, Packet, PubAckReason, SubscribeReasonCode};
use rumqttc::v5::{AsyncClient, Event, EventLoop, MqttOptions};
use tls::{BrokerUrl, TlsError};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tracing::warn;

use crate::chance::Chance;
use crate::config::MqttConfig;
use crate::key_file::{self, KeyError};

const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// A client that shows no sign of life for this long is dropped: two missed pings.
const WATCHDOG: Duration = Duration::from_secs(70);
const CONNECT_SECONDS: u64 = 5;
/// Largest packet that is read; larger ones are refused by the broker on our behalf.
const MAX_PACKET_BYTES: u32 = 64 * 1024;
/// Messages on the way out.
const QUEUE: usize = 64;
/// Publishes without acknowledgement. The client library keeps a table of this size and would by
/// itself take 65 535, which is 13 MB.
const IN_FLIGHT: u16 = 64;
const FIRST_RETRY: Duration = Duration::from_millis(200);
const LONGEST_RETRY: Duration = Duration::from_secs(10);

/// Where and as whom to connect.
#[derive(Clone)]
pub struct Account {
    /// Unique at the broker.
    pub client_id: String,
    /// Where.
    pub url: BrokerUrl,
    /// In the clear or by TLS.
    pub transport: Transport,
    /// User name and password.
    pub login: Option<(String, String)>,
    /// What the broker says when the connection is lost.
    pub will: Option<Will>,
}

/// Why an account cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// The password.
    #[error("{url}: {error}")]
    Password {
        /// The broker.
        url: String,
        /// What is wrong with the file.
        error: KeyError,
    },
    /// Certificates or key.
    #[error("{url}: {error}")]
    Tls {
        /// The broker.
        url: String,
        /// What is wrong with them.
        error: TlsError,
    },
}

impl Account {
    /// An account as it is configured; passwords, certificates and keys are read now.
    ///
    /// # Errors
    /// [`AccountError`].
    ///
    /// # Panics
    /// When the address was not checked with the configuration.
    pub fn of(broker: &MqttConfig, client_id: String) -> Result<Self, AccountError> {
        let url = BrokerUrl::parse(&broker.url).expect("checked with the configuration");
        let place = || broker.url.clone();
        let password = broker.password_file.as_deref().map(key_file::secret).transpose();
        let password = password.map_err(|error| AccountError::Password { url: place(), error })?;
        let password = password.map_or_else(String::new, |text| text.trim_end().to_owned());
        let login = broker.username.clone().map(|user| (user, password));
        let transport = tls::transport(&url, broker.tls.as_ref())
            .map_err(|error| AccountError::Tls { url: place(), error })?;
        Ok(Self { client_id, url, transport, login, will: None })
    }
}

/// A last will.
#[derive(Clone)]
pub struct Will {
    /// Topic.
    pub topic: String,
    /// Payload.
    pub payload: Vec<u8>,
    /// Whether the broker keeps it.
    pub retain: bool,
}

/// Something that happened on a session.
pub enum SessionEvent {
    /// Connected and subscribed; messages can be published with this client.
    Up(AsyncClient),
    /// The connection is gone; another one follows by itself.
    Down(String),
    /// A message.
    Message {
        /// Topic.
        topic: String,
        /// Payload.
        payload: Vec<u8>,
        /// Whether the broker had kept it.
        retained: bool,
    },
}

/// Keeps a session with these subscriptions until nobody listens to its events any more.
pub async fn keep_session(
    account: Account,
    filters: Vec<(String, QoS)>,
    events: mpsc::Sender<SessionEvent>,
    mut chance: Chance,
) {
    let mut failures = 0;
    loop {
        let was_up = session(&account, &filters, &events).await;
        let (reason, up) = match was_up {
            Ok(()) => return,
            Err(ended) => ended,
        };
        failures = if up { 1 } else { failures + 1 };
        if events.send(SessionEvent::Down(reason)).await.is_err() {
            return;
        }
        tokio::time::sleep(chance.backoff(failures, FIRST_RETRY, LONGEST_RETRY)).await;
    }
}

/// One connection from beginning to end. `Ok` when nobody listens any more; otherwise why it ended
/// and whether it had been up.
async fn session(
    account: &Account,
    filters: &[(String, QoS)],
    events: &mpsc::Sender<SessionEvent>,
) -> Result<(), (String, bool)> {
    let (client, mut eventloop) = AsyncClient::new(options(account), QUEUE);
    let mut up = false;
    let mut refused: u64 = 0;
    loop {
        let packet = match next(&mut eventloop).await {
            Ok(Some(packet)) => packet,
            Ok(None) if events.is_closed() => return Ok(()),
            Ok(None) => continue,
            Err(reason) => return Err((reason, up)),
        };
        let event = match packet {
            Packet::ConnAck(_) => {
                let wanted = filters.iter().map(|(topic, qos)| Filter::new(topic.clone(), *qos));
                if let Err(error) = client.try_subscribe_many(wanted) {
                    return Err((format!("cannot subscribe: {error}"), up));
                }
                continue;
            }
            Packet::SubAck(granted) => {
                let refused = granted
                    .return_codes
                    .iter()
                    .position(|code| !matches!(code, SubscribeReasonCode::Success(_)));
                if let Some(index) = refused {
                    let topic = filters.get(index).map_or("?", |(topic, _)| topic.as_str());
                    let code = &granted.return_codes[index];
                    return Err((format!("the broker refuses {topic}: {code:?}"), up));
                }
                up = true;
                SessionEvent::Up(client.clone())
            }
            Packet::Publish(message) => SessionEvent::Message {
                topic: String::from_utf8_lossy(&message.topic).into_owned(),
                payload: message.payload.to_vec(),
                retained: message.retain,
            },
            Packet::PubAck(answer) if is_refusal(answer.reason) => {
                refused += 1;
                if refused.is_power_of_two() {
                    warn!(client = account.client_id, reason = ?answer.reason, refused,
                        "the broker refuses what is published: does its access list let this \
                         account write to its own topics?");
                }
                continue;
            }
            Packet::Disconnect(disconnect) => {
                return Err((format!("the broker closed: {:?}", disconnect.reason_code), up));
            }
            _ => continue,
        };
        if events.send(event).await.is_err() {
            return Ok(());
        }
    }
}

/// Whether an acknowledgement says no. That nobody listens just now is no refusal.
const fn is_refusal(reason: PubAckReason) -> bool {
    !matches!(reason, PubAckReason::Success | PubAckReason::NoMatchingSubscribers)
}

/// The next packet; `None` for what went out.
async fn next(eventloop: &mut EventLoop) -> Result<Option<Packet>, String> {
    match timeout(WATCHDOG, eventloop.poll()).await {
        Err(_) => Err(format!("no sign of life for {} s", WATCHDOG.as_secs())),
        Ok(Err(error)) => Err(explained(&error.to_string())),
        Ok(Ok(Event::Incoming(packet))) => Ok(Some(packet)),
        Ok(Ok(Event::Outgoing(_))) => Ok(None),
    }
}

/// A failure, and what to do about it where that is known.
fn explained(failure: &str) -> String {
    match tls::advice(failure) {
        Some(advice) => format!("{failure}: {advice}"),
        None => failure.to_owned(),
    }
}

fn options(account: &Account) -> MqttOptions {
    let mut options = MqttOptions::new(&account.client_id, &account.url.host, account.url.port);
    options
        .set_keep_alive(KEEP_ALIVE)
        .set_clean_start(true)
        .set_connection_timeout(CONNECT_SECONDS)
        .set_outgoing_inflight_upper_limit(IN_FLIGHT)
        .set_max_packet_size(Some(MAX_PACKET_BYTES))
        .set_transport(account.transport.clone());
    if let Some((user, password)) = &account.login {
        options.set_credentials(user, password);
    }
    if let Some(Will { topic, payload, retain }) = &account.will {
        let will = LastWill::new(topic, payload.clone(), QoS::AtLeastOnce, *retain, None);
        options.set_last_will(will);
    }
    options
}
