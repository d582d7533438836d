//! The interfaces of the houses: a Modbus TCP server of their own, or telegrams over MQTT.

mod broker;
mod mbap;
mod modbus;
mod publisher;

use std::fmt;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use units::{BusId, PointId};

pub use broker::{BrokerUrl, InvalidBrokerUrl};
pub(crate) use modbus::{ModbusHouse, Scene};
pub(crate) use publisher::Publisher;

use crate::devices::{BATTERY_UNIT, Equipment, INVERTER_UNIT, METER_UNIT, MeterFace};

/// What stands behind a Modbus unit id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UnitRole {
    /// SunSpec inverter (models 1, 103, 120).
    Inverter,
    /// Meter: SunSpec (models 1, 203), or the SDM630 of [`FaceKind::Sdm630`].
    Meter,
    /// SunSpec battery (models 1, 124, 802, 713, 714).
    Battery,
}

impl fmt::Display for UnitRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Inverter => "inverter",
            Self::Meter => "meter",
            Self::Battery => "battery",
        })
    }
}

/// One unit behind a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct ModbusUnit {
    /// Unit id.
    pub unit: u8,
    /// What it is.
    pub role: UnitRole,
}

/// How the devices of a house are reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum FaceKind {
    /// SunSpec devices behind unit ids, base address 40000, function code 3.
    SunSpec {
        /// Where.
        addr: SocketAddr,
        /// What.
        units: Vec<ModbusUnit>,
    },
    /// An Eastron SDM630 (function code 4), beside a SunSpec inverter where there is PV.
    Sdm630 {
        /// Where.
        addr: SocketAddr,
        /// What.
        units: Vec<ModbusUnit>,
    },
    /// A Shelly Pro 3EM: `PREFIX/status/em:0` and `PREFIX/status/emdata:0`.
    Shelly {
        /// Prefix of the topics.
        topic_prefix: String,
    },
    /// A Tasmota meter: `tele/TOPIC/SENSOR`.
    Tasmota {
        /// The device's topic.
        topic: String,
    },
    /// DSMR-reader: `PREFIX/electricity_delivered_1` and so on.
    Dsmr {
        /// Everything before the last slash.
        topic_prefix: String,
    },
}

impl FaceKind {
    /// A short name: `sunspec`, `sdm630`, `shelly`, `tasmota` or `dsmr`.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::SunSpec { .. } => "sunspec",
            Self::Sdm630 { .. } => "sdm630",
            Self::Shelly { .. } => "shelly",
            Self::Tasmota { .. } => "tasmota",
            Self::Dsmr { .. } => "dsmr",
        }
    }

    /// The Modbus TCP address, if the house has one.
    #[must_use]
    pub const fn modbus_addr(&self) -> Option<SocketAddr> {
        match self {
            Self::SunSpec { addr, .. } | Self::Sdm630 { addr, .. } => Some(*addr),
            Self::Shelly { .. } | Self::Tasmota { .. } | Self::Dsmr { .. } => None,
        }
    }

    /// The Modbus units, none for a house that publishes.
    #[must_use]
    pub fn units(&self) -> &[ModbusUnit] {
        match self {
            Self::SunSpec { units, .. } | Self::Sdm630 { units, .. } => units,
            Self::Shelly { .. } | Self::Tasmota { .. } | Self::Dsmr { .. } => &[],
        }
    }

    /// The unit id of a role, if the house has such a device.
    #[must_use]
    pub fn unit_of(&self, role: UnitRole) -> Option<u8> {
        self.units().iter().find(|unit| unit.role == role).map(|unit| unit.unit)
    }
}

impl fmt::Display for FaceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SunSpec { addr, units } | Self::Sdm630 { addr, units } => {
                write!(f, "{addr}")?;
                for unit in units {
                    match (unit.role, self) {
                        (UnitRole::Meter, Self::Sdm630 { .. }) => {
                            write!(f, "  {}:SDM630", unit.unit)?;
                        }
                        (role, _) => write!(f, "  {}:{role}", unit.unit)?,
                    }
                }
                Ok(())
            }
            Self::Shelly { topic_prefix } => write!(f, "{topic_prefix}/status/…"),
            Self::Tasmota { topic } => write!(f, "tele/{topic}/SENSOR"),
            Self::Dsmr { topic_prefix } => write!(f, "{topic_prefix}/…"),
        }
    }
}

/// One house and how to read it: what an agent's configuration is made from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Face {
    /// The metering point.
    pub customer: PointId,
    /// Its bus.
    pub bus: BusId,
    /// Serial number of the meter.
    pub meter_serial: String,
    /// Rated PV, W; `None` without PV.
    pub pv_rated_w: Option<u32>,
    /// Usable battery energy, Wh; `None` without a battery.
    pub battery_wh: Option<u32>,
    /// Largest battery power, W; `None` without a battery.
    pub battery_w: Option<u32>,
    /// Largest power through the connection in either direction, W.
    pub connection_w: u32,
    /// How to read it.
    #[serde(flatten)]
    pub kind: FaceKind,
}

impl Face {
    /// Describes a house; `addr` is the address of its Modbus server.
    pub(crate) fn describe(
        customer: PointId,
        bus: BusId,
        equipment: &Equipment,
        addr: Option<SocketAddr>,
    ) -> Self {
        let mut units = Vec::new();
        if equipment.inverter.is_some() {
            units.push(ModbusUnit { unit: INVERTER_UNIT, role: UnitRole::Inverter });
        }
        units.push(ModbusUnit { unit: METER_UNIT, role: UnitRole::Meter });
        if equipment.battery.is_some() {
            units.push(ModbusUnit { unit: BATTERY_UNIT, role: UnitRole::Battery });
        }
        let served = "a house whose meter is asked has a server";
        let kind = match &equipment.face {
            MeterFace::SunSpec => FaceKind::SunSpec { addr: addr.expect(served), units },
            MeterFace::Sdm630 => FaceKind::Sdm630 { addr: addr.expect(served), units },
            MeterFace::Shelly { topic_prefix } => {
                FaceKind::Shelly { topic_prefix: topic_prefix.clone() }
            }
            MeterFace::Tasmota { topic } => FaceKind::Tasmota { topic: topic.clone() },
            MeterFace::Dsmr { topic_prefix } => {
                FaceKind::Dsmr { topic_prefix: topic_prefix.clone() }
            }
        };
        Self {
            customer,
            bus,
            meter_serial: equipment.meter.serial.clone(),
            pv_rated_w: equipment.inverter.as_ref().map(|inverter| inverter.rated_w),
            battery_wh: equipment.battery.as_ref().map(|battery| battery.energy_wh),
            battery_w: equipment.battery.as_ref().map(|battery| battery.power_w),
            connection_w: equipment.connection_w,
            kind,
        }
    }
}
