//! The devices of the houses, as pure functions from what is the case to what they show.

pub(crate) mod altered;
mod block;
mod eastron;
mod image;
mod levers;
mod model_map;
mod plan;
mod plate;
mod sunspec;
mod telegram;

pub use image::{BATTERY_UNIT, Bank, DeviceImage, INVERTER_UNIT, METER_UNIT, UnitImage};
pub use plate::{BatteryPlate, Equipment, Identity, InverterPlate, MeterFace};
pub use telegram::{Presence, Telegram, presence};

pub(crate) use levers::Levers;
pub(crate) use plan::draw as draw_faces;
