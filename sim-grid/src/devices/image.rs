//! What the devices of a house show at one moment: register banks behind unit ids, and telegrams.

use std::collections::BTreeMap;

use super::plate::{Equipment, MeterFace};
use super::telegram::{Telegram, telegrams};
use super::{eastron, sunspec};
use crate::world::CustomerTruth;

/// Unit id of the inverter.
pub const INVERTER_UNIT: u8 = 1;
/// Unit id of the meter.
pub const METER_UNIT: u8 = 2;
/// Unit id of the battery.
pub const BATTERY_UNIT: u8 = 3;

/// Consecutive registers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bank {
    /// Wire address of the first one, from 0.
    pub start: u16,
    /// The registers.
    pub registers: Vec<u16>,
}

/// What one Modbus unit shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnitImage {
    /// Holding registers (function code 3).
    pub holding: Vec<Bank>,
    /// Input registers (function code 4).
    pub input: Vec<Bank>,
    /// Most registers in one request.
    pub max_registers: u16,
    /// Whether address and count must be even.
    pub even: bool,
}

/// What all devices of a house show; read as a whole, so that values and scale factors of one
/// answer belong together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeviceImage {
    /// By unit id.
    pub units: BTreeMap<u8, UnitImage>,
    /// For meters that publish.
    pub telegrams: Vec<Telegram>,
}

impl DeviceImage {
    /// Draws the image of a state.
    #[must_use]
    pub fn draw(equipment: &Equipment, truth: &CustomerTruth) -> Self {
        let mut units = BTreeMap::new();
        if let (Some(plate), Some(solar)) = (&equipment.inverter, &truth.solar) {
            units.insert(INVERTER_UNIT, sunspec::inverter(plate, solar, truth, INVERTER_UNIT));
        }
        match equipment.face {
            MeterFace::SunSpec => {
                units.insert(METER_UNIT, sunspec::meter(equipment, truth, METER_UNIT));
            }
            MeterFace::Sdm630 => {
                units.insert(METER_UNIT, eastron::meter(&equipment.meter, truth, METER_UNIT));
            }
            MeterFace::Shelly { .. } | MeterFace::Tasmota { .. } | MeterFace::Dsmr { .. } => {}
        }
        if let (Some(plate), Some(battery)) = (&equipment.battery, &truth.battery) {
            units.insert(BATTERY_UNIT, sunspec::battery(plate, battery, BATTERY_UNIT));
        }
        Self { units, telegrams: telegrams(&equipment.face, truth) }
    }
}
