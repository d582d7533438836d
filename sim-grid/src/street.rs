//! The running street: a world whose devices can be read over Modbus TCP and MQTT, moved by a
//! clock or by hand.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use clock::Clock;
use units::{BusId, PointId, Slot};

use crate::devices::{BATTERY_UNIT, MeterFace};
use crate::faces::{BrokerUrl, Face, ModbusHouse, Publisher, Scene};
use crate::faults::{self, FaultPlan, FaultsError, Lens};
use crate::scenario::Scenario;
use crate::world::chance::Chance;
use crate::world::{World, WorldError, WorldOptions};

/// Market time between two images while the clock runs.
const TICK_MS: i64 = 30_000;
/// Shortest real time between two images.
const SHORTEST_TICK_MS: f64 = 200.0;
/// Longest wait for a broker, at the start and after a step.
const BROKER_PATIENCE: Duration = Duration::from_secs(5);

/// How to start a street.
#[derive(Debug, Clone)]
pub struct StreetOptions {
    /// Draws serial numbers, first register values and the faces of meters.
    pub seed: u64,
    /// First slot.
    pub from: Slot,
    /// Address of the Modbus servers; loopback unless somebody wants otherwise.
    pub bind: IpAddr,
    /// Port of the first customer's Modbus server, the second has the next one and so on; `None`:
    /// any free ports.
    pub base_port: Option<u16>,
    /// Broker for meters that publish; `None`: every meter speaks Modbus.
    pub broker: Option<BrokerUrl>,
    /// What goes wrong.
    pub faults: FaultPlan,
}

impl StreetOptions {
    /// Free ports on loopback, no broker, no faults.
    #[must_use]
    pub const fn new(seed: u64, from: Slot) -> Self {
        let bind = IpAddr::V4(Ipv4Addr::LOCALHOST);
        Self { seed, from, bind, base_port: None, broker: None, faults: FaultPlan::none() }
    }
}

/// Why a street does not start or does not go on.
#[derive(Debug, thiserror::Error)]
pub enum StreetError {
    /// The world says no.
    #[error(transparent)]
    World(#[from] WorldError),
    /// A port cannot be had.
    #[error(
        "the Modbus port {addr} of customer {customer} cannot be opened: {source}; choose another base port, or leave it out for free ports"
    )]
    Bind {
        /// The address.
        addr: SocketAddr,
        /// Whose.
        customer: String,
        /// What the system said.
        source: io::Error,
    },
    /// The base port leaves no room for all customers.
    #[error("base port {base_port} leaves no room for {customers} customers below 65536")]
    PortRange {
        /// The base port.
        base_port: u16,
        /// Customers there are.
        customers: usize,
    },
    /// A fault that cannot happen in this street.
    #[error(transparent)]
    Faults(#[from] FaultsError),
    /// The name of a bus cannot be used outside.
    #[error("grid/buses.csv: {0}")]
    BusName(#[from] units::InvalidId),
    /// The broker does not answer.
    #[error(
        "the broker {broker} does not answer; start it, or leave it out so that every meter speaks Modbus"
    )]
    Broker {
        /// Its address.
        broker: BrokerUrl,
    },
}

/// The interface of one house.
enum House {
    Modbus(ModbusHouse),
    Mqtt(Publisher),
}

/// A street with open interfaces; they close when it is dropped.
pub struct Street {
    world: World,
    houses: Vec<House>,
    faces: Vec<Face>,
    lens: Lens,
}

impl Street {
    /// Founds the world, opens a Modbus port per house and connects the meters that publish.
    ///
    /// # Errors
    /// [`StreetError`].
    pub async fn start(
        scenario: Arc<Scenario>,
        options: &StreetOptions,
    ) -> Result<Self, StreetError> {
        let world_options =
            WorldOptions { seed: options.seed, from: options.from, mqtt: options.broker.is_some() };
        let world = World::new(Arc::clone(&scenario), world_options)?;
        let mut houses = Vec::with_capacity(scenario.customers.len());
        let mut faces = Vec::with_capacity(scenario.customers.len());
        for (index, customer) in scenario.customers.iter().enumerate() {
            let equipment = world.equipment(index);
            let (house, addr) = match (&options.broker, equipment.face.is_mqtt()) {
                (Some(broker), true) => {
                    let client = client_id(&equipment.face, customer.id.as_str());
                    let chance = Chance::new(options.faults.seed, customer.id.as_str());
                    (House::Mqtt(Publisher::start(broker, &client, &equipment.face, chance)), None)
                }
                _ => {
                    let addr = address(options, index, scenario.customers.len())?;
                    let scene = Scene::of(world.device_image(index));
                    let chance = Chance::new(options.faults.seed, customer.id.as_str());
                    let house =
                        ModbusHouse::start(addr, scene, chance).await.map_err(|source| {
                            StreetError::Bind { addr, customer: customer.id.to_string(), source }
                        })?;
                    let addr = house.addr();
                    (House::Modbus(house), Some(addr))
                }
            };
            let bus = BusId::new(scenario.network.buses()[customer.bus].id.clone())?;
            faces.push(Face::describe(customer.id.clone(), bus, equipment, addr));
            houses.push(house);
        }
        let plan = options.faults.clone().drawn(&faces, world.now_ms());
        plan.check(&faces)?;
        let lens = Lens::new(plan);
        let mut street = Self { world, houses, faces, lens };
        street.await_broker(options).await?;
        street.show();
        Ok(street)
    }

    /// Waits a bounded time until every meter that publishes has connected.
    async fn await_broker(&self, options: &StreetOptions) -> Result<(), StreetError> {
        let Some(broker) = &options.broker else { return Ok(()) };
        let all = async {
            for house in &self.houses {
                if let House::Mqtt(publisher) = house {
                    publisher.connected().await;
                }
            }
        };
        let waited = tokio::time::timeout(BROKER_PATIENCE, all).await;
        waited.map_err(|_| StreetError::Broker { broker: broker.clone() })
    }

    /// Every house and how to read it, in the order of the scenario's customers.
    #[must_use]
    pub fn faces(&self) -> &[Face] {
        &self.faces
    }

    /// What is really the case.
    #[must_use]
    pub const fn world(&self) -> &World {
        &self.world
    }

    /// What goes wrong.
    #[must_use]
    pub const fn faults(&self) -> &FaultPlan {
        self.lens.plan()
    }

    /// Telegrams that were lost because the broker was away or too slow.
    #[must_use]
    pub fn dropped_telegrams(&self) -> u64 {
        let dropped = |house: &House| match house {
            House::Mqtt(publisher) => publisher.dropped(),
            House::Modbus(_) => 0,
        };
        self.houses.iter().map(dropped).sum()
    }

    /// Lets market time pass: registers change and meters publish at every slot edge on the way
    /// and at the end. At each of these the broker gets up to five seconds to acknowledge.
    ///
    /// # Errors
    /// [`StreetError::World`]; a moment in the past is one.
    pub async fn advance_to(&mut self, market_ms: i64) -> Result<(), StreetError> {
        while self.step_towards(market_ms)? {
            self.flush().await;
        }
        Ok(())
    }

    /// Lets the meters that publish say again what they show, as they do every few seconds, and
    /// gives the broker up to five seconds to acknowledge.
    pub async fn publish_again(&mut self) {
        self.show();
        self.flush().await;
    }

    /// Waits a bounded time until the broker has acknowledged all telegrams.
    async fn flush(&self) {
        let all = async {
            for house in &self.houses {
                if let House::Mqtt(publisher) = house {
                    publisher.flushed().await;
                }
            }
        };
        if tokio::time::timeout(BROKER_PATIENCE, all).await.is_err() {
            tracing::warn!("the broker takes more than five seconds to acknowledge telegrams");
        }
    }

    /// Goes to the next slot edge, or to the target if that comes first, and shows the images;
    /// `false` when there is nothing left to go.
    fn step_towards(&mut self, market_ms: i64) -> Result<bool, WorldError> {
        let now_ms = self.world.now_ms();
        if self.world.has_ended() || market_ms == now_ms {
            return Ok(false);
        }
        self.obey();
        self.world.advance_to(Slot::at_ms(now_ms).end_ms().min(market_ms))?;
        self.show();
        Ok(true)
    }

    /// Which batteries somebody steers at this moment, by their homes.
    #[must_use]
    pub fn steered(&self) -> Vec<PointId> {
        let steered = |(index, house): (usize, &House)| {
            let House::Modbus(house) = house else { return None };
            house.window(BATTERY_UNIT, self.world.equipment(index).battery.as_ref()?)?;
            Some(self.faces[index].customer.clone())
        };
        self.houses.iter().enumerate().filter_map(steered).collect()
    }

    /// Hands the world what somebody has set in the batteries.
    fn obey(&mut self) {
        for (index, house) in self.houses.iter().enumerate() {
            let House::Modbus(house) = house else { continue };
            let Some(plate) = &self.world.equipment(index).battery else { continue };
            let window = house.window(BATTERY_UNIT, plate);
            self.world.steer(index, window);
        }
    }

    /// Shows what the houses are, through their faults.
    fn show(&mut self) {
        for (index, house) in self.houses.iter_mut().enumerate() {
            let scene = self.lens.look(faults::House {
                index,
                face: &self.faces[index],
                equipment: self.world.equipment(index),
                truth: self.world.customer(index),
                image: self.world.device_image(index),
            });
            match house {
                House::Modbus(house) => house.show(scene),
                House::Mqtt(publisher) => publisher.publish(&scene.image.telegrams, &scene.faults),
            }
        }
    }

    /// Follows the clock until the scenario's block of slots, or `until_ms`, is over: every slot
    /// edge exactly, and between edges every 30 s of market time, but no more often than every
    /// 200 ms of real time. The interfaces stay open afterwards.
    ///
    /// # Errors
    /// [`StreetError::World`].
    pub async fn run(&mut self, clock: &Clock, until_ms: Option<i64>) -> Result<(), StreetError> {
        let end_ms = until_ms.unwrap_or(i64::MAX).min(self.world.end_ms());
        #[expect(clippy::cast_possible_truncation, reason = "at most 200 ms times 100 000")]
        let tick_ms = TICK_MS.max((SHORTEST_TICK_MS * clock.speed()) as i64);
        while self.world.now_ms() < end_ms {
            let now_ms = self.world.now_ms();
            let edge_ms = Slot::at_ms(now_ms).end_ms();
            let next_ms = (now_ms + tick_ms).min(edge_ms).min(end_ms);
            clock.sleep_until(next_ms).await;
            // A clock that ran ahead is caught up with at once, edge by edge.
            let target_ms = clock.now_ms().clamp(next_ms, end_ms);
            while self.step_towards(target_ms)? {
                tokio::task::yield_now().await;
            }
        }
        Ok(())
    }
}

/// The address of a customer's server.
fn address(
    options: &StreetOptions,
    index: usize,
    customers: usize,
) -> Result<SocketAddr, StreetError> {
    let port = match options.base_port {
        None => 0,
        Some(base_port) => u16::try_from(usize::from(base_port) + index)
            .map_err(|_| StreetError::PortRange { base_port, customers })?,
    };
    Ok(SocketAddr::new(options.bind, port))
}

/// The name under which a meter connects.
fn client_id(face: &MeterFace, customer: &str) -> String {
    match face {
        MeterFace::Shelly { topic_prefix } => topic_prefix.clone(),
        MeterFace::Tasmota { topic } => topic.clone(),
        MeterFace::Dsmr { .. } | MeterFace::SunSpec | MeterFace::Sdm630 => {
            format!("dsmr-reader-{customer}")
        }
    }
}
