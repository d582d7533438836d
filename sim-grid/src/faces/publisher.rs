//! One meter that publishes by itself: an MQTT v5 client with a last will.
//!
//! A meter that is offline loses what it would have said, as the real ones do: nothing old is
//! delivered later as if it were new. Everything waiting is bounded.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{LastWill, Packet};
use rumqttc::v5::{AsyncClient, Event, EventLoop};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::broker::BrokerUrl;
use crate::devices::{MeterFace, Telegram, presence};
use crate::faults::{Active, Fault};
use crate::world::chance::Chance;

/// Messages that may wait for the network.
const QUEUE: usize = 128;
/// First and longest pause before a connection is tried again.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// The client of a meter; it goes offline when this is dropped.
pub(crate) struct Publisher {
    client: AsyncClient,
    line: Arc<Line>,
    dropped: u64,
    /// Draws what happens only now and then.
    chance: Chance,
    /// The telegrams before.
    previous: Vec<Telegram>,
    /// Whether the broker was told to keep some.
    kept: bool,
    _connection: JoinSet<()>,
}

/// What the publisher and its connection share.
struct Line {
    connected: AtomicBool,
    submitted: AtomicU64,
    /// Messages that the broker has acknowledged, or that were given up.
    settled: watch::Sender<u64>,
    /// Set once the first connection stands.
    ready: watch::Sender<bool>,
}

impl Publisher {
    /// Starts to connect; returns at once. `chance` draws what happens only now and then.
    pub fn start(broker: &BrokerUrl, client_id: &str, face: &MeterFace, chance: Chance) -> Self {
        let mut options = broker.options(client_id);
        let presence = presence(face);
        if let Some(presence) = &presence {
            let will = LastWill::new(
                presence.topic.clone(),
                presence.offline,
                QoS::AtLeastOnce,
                true,
                None,
            );
            options.set_last_will(will);
        }
        let (client, events) = AsyncClient::new(options, QUEUE);
        let line = Arc::new(Line {
            connected: AtomicBool::new(false),
            submitted: AtomicU64::new(0),
            settled: watch::Sender::new(0),
            ready: watch::Sender::new(false),
        });
        let hello = presence.map(|presence| Telegram {
            topic: presence.topic,
            payload: presence.online.to_owned(),
        });
        let mut connection = JoinSet::new();
        connection.spawn(stay_connected(events, client.clone(), Arc::clone(&line), hello));
        let (previous, kept) = (Vec::new(), false);
        Self { client, line, dropped: 0, chance, previous, kept, _connection: connection }
    }

    /// Sends telegrams, or drops them when the broker is away or does not keep up.
    pub fn publish(&mut self, telegrams: &[Telegram], faults: &[Active]) {
        if !self.line.connected.load(Ordering::Acquire) {
            self.dropped += telegrams.len() as u64;
            return;
        }
        let mut has = |wanted: &Fault| {
            let active = faults.iter().find(|active| active.fault == *wanted);
            active.is_some_and(|active| self.chance.between(0, 100) < active.chance_percent.into())
        };
        let keeps = has(&Fault::RetainedStale {});
        let (twice, later) =
            (has(&Fault::Duplicate { late: false }), has(&Fault::Duplicate { late: true }));
        let previous = std::mem::replace(&mut self.previous, telegrams.to_vec());
        self.send(telegrams, keeps && !self.kept);
        self.kept = keeps;
        if twice {
            self.send(telegrams, false);
        }
        if later {
            self.send(&previous, false);
        }
    }

    fn send(&mut self, telegrams: &[Telegram], retain: bool) {
        for telegram in telegrams {
            if !self.line.submit(&self.client, telegram, retain) {
                self.dropped += 1;
            }
        }
    }

    /// Telegrams that were dropped so far.
    pub const fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Waits until the meter has connected once.
    pub async fn connected(&self) {
        let mut ready = self.line.ready.subscribe();
        // The sender lives as long as this publisher.
        let _ = ready.wait_for(|ready| *ready).await;
    }

    /// Waits until everything submitted is acknowledged or given up.
    pub async fn flushed(&self) {
        let submitted = self.line.submitted.load(Ordering::Acquire);
        let mut settled = self.line.settled.subscribe();
        let _ = settled.wait_for(|settled| *settled >= submitted).await;
    }
}

impl Line {
    /// Hands a message to the connection; `false` when its queue is full.
    fn submit(&self, client: &AsyncClient, telegram: &Telegram, retain: bool) -> bool {
        self.submitted.fetch_add(1, Ordering::AcqRel);
        let payload = telegram.payload.clone();
        let sent = client.try_publish(&telegram.topic, QoS::AtLeastOnce, retain, payload).is_ok();
        if !sent {
            self.settled.send_modify(|settled| *settled += 1);
        }
        sent
    }

    /// Gives up everything that is not acknowledged.
    fn disconnect(&self) {
        self.connected.store(false, Ordering::Release);
        let submitted = self.submitted.load(Ordering::Acquire);
        self.settled.send_modify(|settled| *settled = submitted.max(*settled));
    }
}

/// Polls the connection for ever; backs off while the broker is away.
async fn stay_connected(
    mut events: EventLoop,
    client: AsyncClient,
    line: Arc<Line>,
    hello: Option<Telegram>,
) {
    let mut pause = FIRST_PAUSE;
    loop {
        match events.poll().await {
            Ok(Event::Incoming(Packet::ConnAck(_))) => {
                pause = FIRST_PAUSE;
                line.connected.store(true, Ordering::Release);
                if let Some(hello) = &hello {
                    line.submit(&client, hello, true);
                }
                line.ready.send_replace(true);
            }
            Ok(Event::Incoming(Packet::PubAck(_))) => {
                line.settled.send_modify(|settled| *settled += 1);
            }
            Ok(_) => {}
            Err(error) => {
                line.disconnect();
                // What was under way is old by the time the broker is back.
                events.clean();
                events.pending.clear();
                tracing::debug!(%error, "a meter lost its broker");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}
