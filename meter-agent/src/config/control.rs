//! `[device.control]`: the owner's leave to steer a device, and its limits.

use serde::{Deserialize, Serialize};

/// `[device.control]`. Nothing is written to a device without it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ControlConfig {
    /// The switch: without `true` here nothing is ever written.
    #[serde(default)]
    pub enabled: bool,
    /// Battery: most power into it, W.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_charge_w: Option<u32>,
    /// Battery: most power out of it, W.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_discharge_w: Option<u32>,
    /// Battery: it is not discharged at or below this, percent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_soc_percent: Option<u8>,
    /// Battery: it is not charged at or above this, percent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_soc_percent: Option<u8>,
    /// Generator: the most that the household may feed in, W. Production is cut only as far as that
    /// asks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_export_w: Option<u32>,
    /// Generator: production is never cut below this, W.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_production_w: Option<u32>,
    /// Generator: rated power, W, which stands for no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rated_w: Option<u32>,
    /// Charging point: most current per phase, A.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_current_a: Option<u32>,
    /// Charging point: phases that the car charges on, 1 to 3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phases: Option<u8>,
    /// The device's own watchdog, seconds of real time: it is written to the device where that can be
    /// set, and the agent writes again after a third of it at the latest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watchdog_s: Option<u32>,
    /// Without a message of the operator for so long the device is given back to itself, seconds of
    /// market time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operator_timeout_s: Option<u32>,
}
