//! How a device is reached over a line, and whether that can be.

use serde::{Deserialize, Serialize};

use super::{ConfigError, DeviceConfig, invalid, range};
use crate::device::Transport;
use crate::serial::SerialConfig;

/// What goes over a TCP connection to a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LineTransport {
    /// Modbus TCP.
    Tcp,
    /// RTU frames: the gateway passes on the bytes of a serial line as they are.
    RtuOverTcp,
}

/// Checks where and how a device is reached over a line.
pub(super) fn check_line(
    key: &str,
    device: &DeviceConfig,
    through: Transport,
) -> Result<(), ConfigError> {
    let is_mqtt = through == Transport::Mqtt;
    let only_modbus = device.unit.is_some() || device.timeout_ms.is_some();
    if through.is_telegrams()
        && (device.place().is_none() || only_modbus || device.transport.is_some())
    {
        let problem = format!(
            "map {:?} needs host = \"address:port\" or serial = {{ path = …, baud = … }}, and no \
             unit, timeout_ms or transport: the meter speaks by itself",
            device.map
        );
        return invalid(key, problem);
    }
    let is_modbus = device.place().is_some() && device.unit.is_some();
    if through.is_modbus() && !is_modbus {
        let problem = format!(
            "map {:?} needs unit, and host = \"address:port\" or serial = {{ path = … }}",
            device.map
        );
        return invalid(key, problem);
    }
    if is_mqtt && (device.place().is_some() || device.unit.is_some() || device.timeout_ms.is_some())
    {
        let problem =
            format!("map {:?} is for MQTT: no host, serial, unit or timeout_ms", device.map);
        return invalid(key, problem);
    }
    if device.host.is_some() && device.serial.is_some() {
        return invalid(key, "has host and serial; it can only be on one of them".to_owned());
    }
    if device.transport.is_some() && device.host.is_none() {
        return invalid(key, "transport goes with host".to_owned());
    }
    if let Some(problem) = device.serial.as_ref().and_then(SerialConfig::problem) {
        return invalid(key, format!("serial.{problem}"));
    }
    if let Some(host) = &device.host
        && !has_port(host)
    {
        return invalid(
            key,
            format!("host {host:?} must be address:port, for example 192.0.2.7:502"),
        );
    }
    if let Some(timeout_ms) = device.timeout_ms {
        range(&format!("{key} timeout_ms"), timeout_ms, 50, 60_000)?;
    }
    Ok(())
}

fn has_port(host: &str) -> bool {
    host.rsplit_once(':')
        .is_some_and(|(name, port)| !name.is_empty() && port.parse::<u16>().is_ok())
}
