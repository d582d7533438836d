//! The street as a world of entities (bevy_ecs): what people use, what roofs produce, what
//! batteries store, what flows through the feeder, and what the meters count.
//!
//! Profiles are constant within a slot, and so is every decision; time may be advanced in steps of
//! any size and the result is the same. Same scenario, seed and start → same run.

pub mod chance;
pub mod counter;
mod founding;
mod parts;
pub mod storage;
mod systems;
mod truth;

use std::sync::Arc;

use bevy_ecs::prelude::Entity;
use bevy_ecs::schedule::Schedule;
use feeder::PowerFlowError;
use units::Slot;

pub use storage::Window;
pub use truth::{BatteryTruth, CustomerTruth, GridTruth, SolarTruth};

use crate::devices::{DeviceImage, Equipment};
use crate::scenario::Scenario;
use parts::{Battery, Bus, Flow, Image, Line, Meter, Span, Transformer, Weather};

/// How to start a world.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorldOptions {
    /// Draws serial numbers, first register values and the faces of meters.
    pub seed: u64,
    /// First slot; must be one of the scenario's.
    pub from: Slot,
    /// Whether there is a broker for meters that publish.
    pub mqtt: bool,
}

/// Why a world does not start or does not go on.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum WorldError {
    /// The first slot is none of the scenario's.
    #[error("{from} is not in the scenario, which covers {covered}; choose another start")]
    OutsideOfScenario {
        /// The wanted start.
        from: Slot,
        /// The blocks of the scenario.
        covered: String,
    },
    /// Time was asked to run backwards.
    #[error("the street is at {now_ms} ms and cannot go back to {wanted_ms} ms")]
    Backwards {
        /// Where it is, Unix milliseconds.
        now_ms: i64,
        /// Where it should go.
        wanted_ms: i64,
    },
    /// The network cannot carry the powers of a slot.
    #[error("slot {slot}: {source}; lower the loads of the scenario or strengthen its grid")]
    PowerFlow {
        /// The slot.
        slot: Slot,
        /// What the power flow said.
        source: PowerFlowError,
    },
}

/// A running street without its interfaces.
pub struct World {
    ecs: bevy_ecs::world::World,
    schedule: Schedule,
    scenario: Arc<Scenario>,
    /// The meter entity of each customer.
    meters: Vec<Entity>,
    buses: Vec<Entity>,
    lines: Vec<Entity>,
    transformers: Vec<Entity>,
    now_ms: i64,
    end: Slot,
}

impl World {
    /// Founds the street at the start of a slot. Batteries are empty.
    ///
    /// # Errors
    /// [`WorldError::OutsideOfScenario`], or [`WorldError::PowerFlow`] for the first slot.
    pub fn new(scenario: Arc<Scenario>, options: WorldOptions) -> Result<Self, WorldError> {
        let from = options.from;
        let Some(block) = scenario.timeline.block_of(from) else {
            let covered = scenario.timeline.blocks().iter();
            let covered: Vec<String> =
                covered.map(|block| format!("{} to {}", block.first, block.end())).collect();
            return Err(WorldError::OutsideOfScenario { from, covered: covered.join(", ") });
        };
        let end = block.end();
        let mut ecs = bevy_ecs::world::World::new();
        let founded = founding::found(&mut ecs, &scenario, options);
        let mut world = Self {
            ecs,
            schedule: systems::schedule(),
            scenario,
            meters: founded.meters,
            buses: founded.buses,
            lines: founded.lines,
            transformers: founded.transformers,
            now_ms: from.start_ms(),
            end,
        };
        // A span of no length: powers, voltages and images exist before time moves.
        world.step(from, from.start_ms(), true)?;
        Ok(world)
    }

    /// The scenario that is run.
    #[must_use]
    pub const fn scenario(&self) -> &Arc<Scenario> {
        &self.scenario
    }

    /// Market time, Unix milliseconds.
    #[must_use]
    pub const fn now_ms(&self) -> i64 {
        self.now_ms
    }

    /// Market time at which the scenario's block of slots ends, Unix milliseconds.
    #[must_use]
    pub const fn end_ms(&self) -> i64 {
        self.end.start_ms()
    }

    /// Whether the profiles are used up; the street then stands still.
    #[must_use]
    pub const fn has_ended(&self) -> bool {
        self.now_ms >= self.end_ms()
    }

    /// Lets time pass. Beyond the end of the scenario's block nothing happens any more. Images are
    /// drawn once, for the moment reached.
    ///
    /// # Errors
    /// [`WorldError::Backwards`], or [`WorldError::PowerFlow`] at the slot that has no solution.
    pub fn advance_to(&mut self, market_ms: i64) -> Result<(), WorldError> {
        if market_ms < self.now_ms {
            return Err(WorldError::Backwards { now_ms: self.now_ms, wanted_ms: market_ms });
        }
        let target = market_ms.min(self.end_ms());
        while self.now_ms < target {
            let slot = Slot::at_ms(self.now_ms);
            let until = slot.end_ms().min(target);
            self.step(slot, until, until == target)?;
        }
        Ok(())
    }

    /// Runs all systems over a span inside of one slot.
    fn step(&mut self, slot: Slot, until_ms: i64, draws_images: bool) -> Result<(), WorldError> {
        let row = self.scenario.timeline.row_of(slot).expect("time stays inside of the block");
        let length_ms = u64::try_from(until_ms - self.now_ms).expect("time does not run backwards");
        let starts_slot = self.now_ms == slot.start_ms();
        self.ecs.insert_resource(Span {
            slot,
            row,
            end_ms: until_ms,
            length_ms,
            starts_slot,
            draws_images,
        });
        self.schedule.run(&mut self.ecs);
        if let Some(source) = self.ecs.resource_mut::<Flow>().fault.take() {
            return Err(WorldError::PowerFlow { slot, source });
        }
        self.now_ms = until_ms;
        Ok(())
    }

    /// Leaves the batteries of a customer (by position in the scenario) a window of powers from now on,
    /// each its part by its rating; or leaves them to themselves again.
    ///
    /// # Panics
    /// If there is no such customer.
    pub fn steer(&mut self, customer: usize, window: Option<Window>) {
        let meter =
            self.ecs.get::<Meter>(self.meters[customer]).expect("every customer has a meter");
        let owner = meter.owner;
        let mut batteries = self.ecs.query::<&mut Battery>();
        let rating = |battery: &Battery| i64::from(battery.storage.rating().power_w);
        let own = |battery: &Battery| battery.owner == owner;
        let all: i64 = batteries.iter(&self.ecs).filter(|battery| own(battery)).map(rating).sum();
        for mut battery in batteries.iter_mut(&mut self.ecs).filter(|battery| own(battery)) {
            let part = |dw: i64| dw * rating(&battery) / all.max(1);
            let window = window.map(|window| Window {
                least_dw: part(window.least_dw),
                most_dw: part(window.most_dw),
            });
            if battery.window != window {
                battery.window = window;
                battery.turned = true;
            }
        }
    }

    fn image(&self, customer: usize) -> &Image {
        self.ecs.get::<Image>(self.meters[customer]).expect("every customer has a meter")
    }

    /// What is the case at a customer (by position in the scenario), at the last moment reached.
    ///
    /// # Panics
    /// If there is no such customer.
    #[must_use]
    pub fn customer(&self, customer: usize) -> &CustomerTruth {
        &self.image(customer).truth
    }

    /// What is the case at a customer by name.
    #[must_use]
    pub fn customer_by_id(&self, id: &str) -> Option<&CustomerTruth> {
        let index = self.scenario.customers.iter().position(|one| one.id.as_str() == id)?;
        Some(self.customer(index))
    }

    /// The devices of a customer (by position in the scenario).
    ///
    /// # Panics
    /// If there is no such customer.
    #[must_use]
    pub fn equipment(&self, customer: usize) -> &Equipment {
        &self.image(customer).equipment
    }

    /// What the devices of a customer show (by position in the scenario).
    ///
    /// # Panics
    /// If there is no such customer.
    #[must_use]
    pub fn device_image(&self, customer: usize) -> Arc<DeviceImage> {
        Arc::clone(&self.image(customer).device)
    }

    /// The state of the network.
    #[must_use]
    pub fn grid(&self) -> GridTruth {
        let flow = self.ecs.resource::<Flow>();
        let part = "every element of the network is an entity";
        let vm = |bus: &Entity| self.ecs.get::<Bus>(*bus).expect(part).voltage.vm_pu;
        let line = |line: &Entity| self.ecs.get::<Line>(*line).expect(part).flow.loading_pct;
        let transformer = |transformer: &Entity| {
            self.ecs.get::<Transformer>(*transformer).expect(part).flow.loading_pct
        };
        GridTruth {
            vm_pu: self.buses.iter().map(vm).collect(),
            line_loading_pct: self.lines.iter().map(line).collect(),
            transformer_loading_pct: self.transformers.iter().map(transformer).collect(),
            slack_kw: flow.slack.p_kw,
            loss_kw: flow.loss_kw,
            sun: self.ecs.resource::<Weather>().sun,
        }
    }

    /// A fingerprint of everything that can be seen from outside: equal runs have equal digests
    /// (FNV-1a, 64 bits; no protection against forgery).
    #[must_use]
    pub fn digest(&self) -> u64 {
        let mut digest = Fnv(0xcbf2_9ce4_8422_2325);
        digest.add(&self.now_ms.to_be_bytes());
        for customer in 0..self.meters.len() {
            let image = self.image(customer);
            digest.add(format!("{:?}{:?}", image.truth, image.equipment).as_bytes());
            digest.add(format!("{:?}", image.device).as_bytes());
        }
        digest.add(format!("{:?}", self.grid()).as_bytes());
        digest.0
    }
}

/// FNV-1a.
struct Fnv(u64);

impl Fnv {
    fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
}
