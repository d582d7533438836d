//! The entities of the street, as components, and what all systems share, as resources.
//!
//! | entity | components |
//! |---|---|
//! | customer | [`Customer`], [`Balance`] |
//! | load, heat pump, EV | [`Consumer`] |
//! | PV | [`Solar`] |
//! | battery | [`Battery`] |
//! | meter | [`Meter`], [`Image`] |
//! | bus, line, transformer | [`Bus`], [`Line`], [`Transformer`] |
//!
//! Powers are deciwatts (0.1 W), the resolution of the profiles.

use std::sync::Arc;

use bevy_ecs::prelude::*;
use feeder::{BusPower, BusVoltage, LineFlow, PowerFlowError, TransformerFlow};
use units::Slot;

use crate::devices::{DeviceImage, Equipment};
use crate::scenario::Scenario;
use crate::world::counter::Counter;
use crate::world::storage::{Storage, Window};
use crate::world::truth::CustomerTruth;

/// A household or business.
#[derive(Component)]
pub(super) struct Customer {
    /// Position in the scenario's lists.
    pub index: usize,
    /// Bus of its connection.
    pub bus: usize,
}

/// What a customer's devices add up to in this span.
#[derive(Component, Default)]
pub(super) struct Balance {
    pub load: i64,
    pub generation: i64,
    /// Positive = charging.
    pub storage: i64,
    /// Decivar, positive = inductive load.
    pub reactive: i64,
}

impl Balance {
    /// From the grid into the house.
    pub const fn net(&self) -> i64 {
        self.load - self.generation + self.storage
    }
}

/// What a consumer is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum ConsumerKind {
    Load,
    HeatPump,
    Ev,
}

/// A device that only consumes.
#[derive(Component)]
pub(super) struct Consumer {
    pub owner: Entity,
    pub customer: usize,
    pub kind: ConsumerKind,
    pub power: i64,
}

/// The PV system of a house with its inverter.
#[derive(Component)]
pub(super) struct Solar {
    pub owner: Entity,
    pub customer: usize,
    pub power: i64,
    pub produced: Counter,
}

/// A battery that the simulation runs.
#[derive(Component)]
pub(super) struct Battery {
    pub owner: Entity,
    /// Positive = charging.
    pub power: i64,
    pub storage: Storage,
    /// What whoever steers it leaves to it.
    pub window: Option<Window>,
    /// The window was opened, moved or closed since the last span.
    pub turned: bool,
}

/// The meter at the connection of a house.
#[derive(Component)]
pub(super) struct Meter {
    pub owner: Entity,
    pub import: Counter,
    pub export: Counter,
    pub reactive_import: Counter,
    pub reactive_export: Counter,
    /// Part of the import that was counted at the low tariff, Wh.
    pub low_import_wh: u64,
    /// Part of the export that was counted at the low tariff, Wh.
    pub low_export_wh: u64,
}

/// What the devices of a house show to the outside.
#[derive(Component)]
pub(super) struct Image {
    pub equipment: Equipment,
    pub truth: CustomerTruth,
    pub device: Arc<DeviceImage>,
}

/// A node of the feeder.
#[derive(Component)]
pub(super) struct Bus {
    pub index: usize,
    pub voltage: BusVoltage,
}

/// A cable of the feeder.
#[derive(Component)]
pub(super) struct Line {
    pub index: usize,
    pub flow: LineFlow,
}

/// A transformer of the feeder.
#[derive(Component)]
pub(super) struct Transformer {
    pub index: usize,
    pub flow: TransformerFlow,
}

/// The scenario: profiles and network.
#[derive(Resource)]
pub(super) struct Ground(pub Arc<Scenario>);

/// The piece of time that the systems work on; it lies inside of one slot.
#[derive(Resource, Clone, Copy)]
pub(super) struct Span {
    pub slot: Slot,
    /// Row of the slot in all series.
    pub row: usize,
    /// Market time at the end of the span, Unix milliseconds.
    pub end_ms: i64,
    /// Length of the span.
    pub length_ms: u64,
    /// Whether this is the first span of its slot, when powers change.
    pub starts_slot: bool,
    /// Whether anybody looks at the devices after this span.
    pub draws_images: bool,
}

/// The sky over the street.
#[derive(Resource, Default)]
pub(super) struct Weather {
    /// PV output over PV rating of the whole street, 0 to about 1.
    pub sun: f64,
}

/// The state of the network as a whole.
#[derive(Resource, Default)]
pub(super) struct Flow {
    /// A power has changed within the slot.
    pub moved: bool,
    /// What the grid above delivers.
    pub slack: BusPower,
    /// All losses, kW.
    pub loss_kw: f64,
    /// Set when there is no power flow.
    pub fault: Option<PowerFlowError>,
}
