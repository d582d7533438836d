//! Somebody who listens to a broker and remembers, as Home Assistant and its owner do.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::Packet;
use rumqttc::v5::{AsyncClient, Event, MqttOptions};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(20);

/// What was heard on a topic.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Topic {
    /// Newest payload.
    pub payload: String,
    /// Messages so far.
    pub count: usize,
}

pub struct Listener {
    pub client: AsyncClient,
    topics: watch::Receiver<BTreeMap<String, Topic>>,
    _tasks: JoinSet<()>,
}

impl Listener {
    /// Connects and subscribes; returns once the broker has agreed.
    pub async fn at(broker: SocketAddr, id: &str, filters: &[&str]) -> Self {
        let mut options = MqttOptions::new(id, broker.ip().to_string(), broker.port());
        options.set_max_packet_size(Some(64 * 1024));
        Self::with(options, filters).await
    }

    pub async fn with(options: MqttOptions, filters: &[&str]) -> Self {
        let (client, mut events) = AsyncClient::new(options, 64);
        for filter in filters {
            client.subscribe(*filter, QoS::AtLeastOnce).await.expect("queued");
        }
        let (heard, topics) = watch::channel(BTreeMap::<String, Topic>::new());
        let (granted, mut is_granted) = watch::channel(0);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            loop {
                match events.poll().await {
                    Ok(Event::Incoming(Packet::Publish(message))) => heard.send_modify(|topics| {
                        let topic = String::from_utf8_lossy(&message.topic).into_owned();
                        let topic = topics.entry(topic).or_default();
                        topic.payload = String::from_utf8_lossy(&message.payload).into_owned();
                        topic.count += 1;
                    }),
                    Ok(Event::Incoming(Packet::SubAck(_))) => {
                        granted.send_modify(|count| *count += 1)
                    }
                    Ok(_) => {}
                    Err(_) => return,
                }
            }
        });
        let all = filters.len();
        let subscribed = timeout(PATIENCE, is_granted.wait_for(|count| *count == all)).await;
        subscribed.expect("in time").expect("subscribed");
        Self { client, topics, _tasks: tasks }
    }

    pub async fn say(&self, topic: &str, payload: &str, retain: bool) {
        let payload = payload.to_owned();
        self.client.publish(topic, QoS::AtLeastOnce, retain, payload).await.expect("queued");
    }

    /// Waits until what was heard is as it should be, and returns it.
    pub async fn until(
        &mut self,
        what: &str,
        condition: impl Fn(&BTreeMap<String, Topic>) -> bool,
    ) -> BTreeMap<String, Topic> {
        let known = self.topics.clone();
        let waited = timeout(PATIENCE, self.topics.wait_for(|topics| condition(topics))).await;
        match waited {
            Ok(topics) => topics.expect("listens").clone(),
            Err(_) => panic!("never: {what}: {:#?}", known.borrow()),
        }
    }
}
