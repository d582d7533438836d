//! An operator's desk behind a real broker: stores readings in order, signs receipts, offers,
//! clears and settles as the miniature operator does.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use protocol::{Ask, Audit, Delivery, Down, Live, Order, Public, Reading, Topic, Up};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::Packet;
use rumqttc::v5::{AsyncClient, Event, MqttOptions};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;
use units::{CommunityId, PointId, Slot};

use super::operator::Operator;
use super::world::verified_in;

const PATIENCE: Duration = Duration::from_secs(20);

/// What a household sent.
#[derive(Debug)]
pub enum Heard {
    Reading(Box<Reading>),
    Other,
}

pub struct Desk {
    pub operator: Operator,
    pub point: PointId,
    /// Readings by sequence number, in the order of the chain.
    pub stored: Vec<Reading>,
    pub orders: BTreeMap<i64, Order>,
    pub deliveries: BTreeMap<i64, Delivery>,
    pub audits: Vec<Audit>,
    pub lives: Vec<Live>,
    /// Whether receipts are sent.
    pub signs: bool,
    community: CommunityId,
    client: AsyncClient,
    messages: mpsc::Receiver<(Up, Vec<u8>)>,
    _tasks: JoinSet<()>,
}

impl Desk {
    /// A desk for one household at a broker.
    pub async fn open(broker: SocketAddr, operator: Operator, point: PointId) -> Self {
        let community = operator.domain.community().clone();
        let id = format!("desk-{point}");
        let mut options = MqttOptions::new(id, broker.ip().to_string(), broker.port());
        options.set_max_packet_size(Some(64 * 1024));
        let (client, mut events) = AsyncClient::new(options, 64);
        let filter = format!("streetwatt/{community}/{point}/up/+");
        client.subscribe(filter, QoS::AtLeastOnce).await.expect("queued");
        let (sender, messages) = mpsc::channel(1_000);
        let (ready, mut is_ready) = tokio::sync::watch::channel(false);
        let mut tasks = JoinSet::new();
        let own = community.clone();
        tasks.spawn(async move {
            loop {
                match events.poll().await {
                    Ok(Event::Incoming(Packet::Publish(message))) => {
                        let topic = String::from_utf8_lossy(&message.topic).into_owned();
                        if let Some(Topic::Up(_, kind)) = Topic::parse(&own, &topic) {
                            let _ = sender.send((kind, message.payload.to_vec())).await;
                        }
                    }
                    Ok(Event::Incoming(Packet::SubAck(_))) => {
                        ready.send_replace(true);
                    }
                    Ok(_) => {}
                    Err(error) => panic!("the desk lost its broker: {error}"),
                }
            }
        });
        timeout(PATIENCE, is_ready.wait_for(|ready| *ready))
            .await
            .expect("subscribed")
            .expect("lives");
        Self {
            operator,
            point,
            stored: Vec::new(),
            orders: BTreeMap::new(),
            deliveries: BTreeMap::new(),
            audits: Vec::new(),
            lives: Vec::new(),
            signs: true,
            community,
            client,
            messages,
            _tasks: tasks,
        }
    }

    async fn publish(&self, topic: Topic, payload: Vec<u8>, retain: bool) {
        let name = topic.name(&self.community);
        self.client.publish(name, QoS::AtLeastOnce, retain, payload).await.expect("queued");
    }

    pub async fn tell(&self, kind: Down, payload: Vec<u8>) {
        self.publish(Topic::Down(self.point.clone(), kind), payload, false).await;
    }

    pub async fn offer(&self, slot: Slot, now_ms: i64) {
        let offer = self.operator.sign(self.operator.offer(slot, now_ms)).to_json();
        self.publish(Topic::Public(Public::Offer), offer, true).await;
    }

    /// Settles a slot and delivers the statement; readings must have been awaited before.
    pub async fn settle(&mut self, slot: Slot, now_ms: i64) {
        let order = self.orders.get(&slot.number()).cloned();
        let round = self.operator.settle(slot, now_ms, order.as_ref());
        let clearing = self.operator.sign(round.clearing).to_json();
        self.publish(Topic::Public(Public::Clearing), clearing, false).await;
        if let Some(fill) = round.fill {
            self.tell(Down::Fill, self.operator.sign(fill).to_json()).await;
        }
        self.deliveries.insert(slot.number(), round.delivery.clone());
        self.deliver(slot).await;
    }

    pub async fn deliver(&self, slot: Slot) {
        let delivery = &self.deliveries[&slot.number()];
        self.tell(Down::Statement, serde_json::to_vec(delivery).expect("plain data")).await;
    }

    /// Waits for the next message and does what a desk does about it.
    pub async fn next(&mut self, now_ms: i64) -> Heard {
        let (kind, payload) = timeout(PATIENCE, self.messages.recv())
            .await
            .expect("a message in time")
            .expect("the connection lives");
        match kind {
            Up::Reading => {
                let reading: Reading = verified_in(&self.operator.domain, &payload);
                self.take_reading(&reading, now_ms).await;
                Heard::Reading(Box::new(reading))
            }
            Up::Order => {
                let order: Order = verified_in(&self.operator.domain, &payload);
                let verdict = self.operator.verdict(&order, true, now_ms);
                self.tell(Down::Verdict, self.operator.sign(verdict).to_json()).await;
                self.orders.insert(order.slot, order);
                Heard::Other
            }
            Up::Audit => {
                let audit: Audit = verified_in(&self.operator.domain, &payload);
                self.audits.push(audit);
                Heard::Other
            }
            Up::Ask => {
                let ask: Ask = verified_in(&self.operator.domain, &payload);
                let asked = self.deliveries.range(ask.from_slot..);
                let asked = asked.filter(|(_, delivery)| delivery.header.index >= ask.from_index);
                let missing: Vec<i64> = asked.map(|(&slot, _)| slot).collect();
                for slot in missing {
                    self.deliver(Slot::new(slot)).await;
                }
                Heard::Other
            }
            Up::KeyChange | Up::KeyRevocation => panic!("nobody changes a key here"),
            Up::Live => {
                let live: Live = verified_in(&self.operator.domain, &payload);
                self.lives.push(live);
                Heard::Other
            }
        }
    }

    /// Stores a reading if it is the next one; the receipt says how far the chain goes.
    async fn take_reading(&mut self, reading: &Reading, now_ms: i64) {
        let next = self.stored.len() as u64 + 1;
        let head =
            self.stored.last().map_or(protocol::B256::ZERO, |r| self.operator.domain.digest(r));
        if reading.seq == next && reading.prev == head {
            self.stored.push(reading.clone());
            self.operator.store(reading);
        } else if let Some(known) =
            usize::try_from(reading.seq).ok().and_then(|s| self.stored.get(s - 1))
        {
            assert_eq!(known, reading, "two readings with one number");
        }
        if self.signs {
            let receipt = match self.stored.last() {
                Some(newest) => self.operator.receipt(newest, now_ms),
                None => protocol::Receipt {
                    point: self.point.to_string(),
                    epoch: 1,
                    seq: 0,
                    head: protocol::B256::ZERO,
                    time_ms: now_ms,
                },
            };
            self.tell(Down::Receipt, self.operator.sign(receipt).to_json()).await;
        }
    }

    /// Does its work for a while.
    pub async fn work_for(&mut self, time: Duration, now_ms: i64) {
        let _ = timeout(time, async {
            loop {
                self.next(now_ms).await;
            }
        })
        .await;
    }

    /// Waits until this many readings are stored.
    pub async fn await_readings(&mut self, count: usize, now_ms: i64) {
        while self.stored.len() < count {
            self.next(now_ms).await;
        }
    }

    /// Waits for the order for a slot.
    pub async fn await_order(&mut self, slot: Slot, now_ms: i64) {
        while !self.orders.contains_key(&slot.number()) {
            self.next(now_ms).await;
        }
    }

    /// Waits for the audit of a slot and returns it.
    pub async fn await_audit(&mut self, slot: Slot, now_ms: i64) -> Audit {
        loop {
            if let Some(audit) = self.audits.iter().find(|audit| audit.slot == slot.number()) {
                return audit.clone();
            }
            self.next(now_ms).await;
        }
    }
}
