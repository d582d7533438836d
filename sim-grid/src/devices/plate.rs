//! What is written on the devices of a house: names, serial numbers and ratings, drawn once from
//! the seed and the scenario.

use crate::world::chance::Chance;

/// Who made a device and which one it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Manufacturer.
    pub manufacturer: &'static str,
    /// Model.
    pub model: &'static str,
    /// Firmware version.
    pub firmware: String,
    /// Serial number.
    pub serial: String,
}

impl Identity {
    /// Draws a firmware version and a serial number.
    pub(crate) fn draw(model: &'static str, prefix: &str, chance: &mut Chance) -> Self {
        Self {
            manufacturer: "Streetwatt Simulation",
            model,
            firmware: format!(
                "{}.{}.{}",
                chance.between(1, 4),
                chance.between(0, 20),
                chance.between(0, 10)
            ),
            serial: format!("{prefix}{:08}", chance.between(0, 100_000_000)),
        }
    }
}

/// The inverter of a house.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InverterPlate {
    /// Who it is.
    pub identity: Identity,
    /// Largest AC power, W.
    pub rated_w: u32,
}

/// The battery of a house.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatteryPlate {
    /// Who it is.
    pub identity: Identity,
    /// Usable energy, Wh.
    pub energy_wh: u32,
    /// Largest power, W.
    pub power_w: u32,
}

/// How the meter of a house is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MeterFace {
    /// SunSpec model 203 over Modbus TCP.
    SunSpec,
    /// Eastron SDM630 input registers over Modbus TCP.
    Sdm630,
    /// Shelly Pro 3EM status over MQTT; the prefix of its topics.
    Shelly {
        /// For example `shellypro3em-0123456789ab`.
        topic_prefix: String,
    },
    /// Tasmota `tele/TOPIC/SENSOR` over MQTT.
    Tasmota {
        /// The device's topic.
        topic: String,
    },
    /// DSMR-reader's split topics over MQTT.
    Dsmr {
        /// Everything before `/electricity_delivered_1`.
        topic_prefix: String,
    },
}

impl MeterFace {
    /// Whether the meter publishes by itself instead of being asked.
    #[must_use]
    pub const fn is_mqtt(&self) -> bool {
        matches!(self, Self::Shelly { .. } | Self::Tasmota { .. } | Self::Dsmr { .. })
    }
}

/// All devices of one house.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Equipment {
    /// How the meter is read.
    pub face: MeterFace,
    /// The meter.
    pub meter: Identity,
    /// Largest power through the connection in either direction, W.
    pub connection_w: u32,
    /// The inverter, if there is PV.
    pub inverter: Option<InverterPlate>,
    /// The battery, if the simulation runs one.
    pub battery: Option<BatteryPlate>,
}
