//! What a person writes down to say where a device is.

use std::fmt;
use std::str::FromStr;

use crate::modbus::Place;
use crate::serial::{Parity, SerialConfig};

/// Port of Modbus TCP.
const MODBUS_PORT: u16 = 502;
/// Longest text that is looked at, in bytes.
const MAX_TEXT: usize = 300;

/// Where to look: a place that speaks Modbus, and a unit there if one was named.
///
/// Written `192.0.2.7`, `192.0.2.7:1502`, `meter.local/2` (unit 2), `[2001:db8::7]:502/1`,
/// `rtu://192.0.2.8:4001/1` (a gateway that passes the bytes of an RS-485 line on), or a serial port
/// with its settings and a unit: `/dev/ttyUSB0`, `/dev/ttyUSB0@2400`, `/dev/ttyUSB0@9600-8E1#3`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Where the line leads.
    pub place: Place,
    /// The unit that was named.
    pub unit: Option<u8>,
}

/// A text that says no place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is no address of a device: {problem}; write 192.0.2.7, 192.0.2.7:1502/2 (port and unit), \
     rtu://192.0.2.8:4001/1 or /dev/ttyUSB0@9600-8N1#1"
)]
pub struct TargetError {
    text: String,
    problem: &'static str,
}

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        let shown: String = text.chars().take(80).collect();
        let wrong = |problem| TargetError { text: shown.clone(), problem };
        let text = text.trim();
        if text.is_empty() {
            return Err(wrong("nothing is there"));
        }
        if text.len() > MAX_TEXT || text.chars().any(|c| c.is_control() || c == ' ') {
            return Err(wrong("it is too long or has characters that no address has"));
        }
        if text.starts_with('/') {
            return serial(text).map_err(wrong);
        }
        let (is_rtu, rest) = match text.split_once("://") {
            Some(("tcp" | "modbus", rest)) => (false, rest),
            Some(("rtu", rest)) => (true, rest),
            Some(("mqtt" | "mqtts", _)) => {
                return Err(wrong(
                    "it is a broker; find what publishes there with `meter-agent discover --mqtt`",
                ));
            }
            Some(("http" | "https", _)) => {
                return Err(wrong("it is a web page; leave http:// away, Modbus has its own port"));
            }
            Some(_) => return Err(wrong("only tcp:// and rtu:// are known")),
            None => (false, text),
        };
        let (host, unit) = match rest.split_once('/') {
            Some((host, unit)) => (host, Some(unit_id(unit).map_err(wrong)?)),
            None => (rest, None),
        };
        let host = with_port(host).map_err(wrong)?;
        let place = if is_rtu { Place::RtuOverTcp(host) } else { Place::Tcp(host) };
        Ok(Self { place, unit })
    }
}

fn unit_id(text: &str) -> Result<u8, &'static str> {
    text.parse().map_err(|_| "the unit is a number from 0 to 255")
}

/// `host:port` of a host that may have one.
fn with_port(host: &str) -> Result<String, &'static str> {
    let port_of = |port: &str| port.parse::<u16>().ok().filter(|&port| port != 0);
    let wrong_port = "the port is a number from 1 to 65535";
    if let Some(rest) = host.strip_prefix('[') {
        let (inner, port) = rest.split_once(']').ok_or("the ] is missing")?;
        inner
            .parse::<std::net::Ipv6Addr>()
            .map_err(|_| "between [ and ] belongs an IPv6 address")?;
        let port = match port.strip_prefix(':') {
            Some(port) => port_of(port).ok_or(wrong_port)?,
            None if port.is_empty() => MODBUS_PORT,
            None => return Err(wrong_port),
        };
        return Ok(format!("[{inner}]:{port}"));
    }
    if host.parse::<std::net::Ipv6Addr>().is_ok() {
        return Ok(format!("[{host}]:{MODBUS_PORT}"));
    }
    let (name, port) = match host.split_once(':') {
        Some((name, port)) => (name, port_of(port).ok_or(wrong_port)?),
        None => (host, MODBUS_PORT),
    };
    let plain = |c: char| c.is_alphanumeric() || "-._".contains(c);
    if name.is_empty() || !name.chars().all(plain) {
        return Err("a host is a name or an address");
    }
    Ok(format!("{name}:{port}"))
}

/// `/dev/PORT[@BAUD[-8N1]][#UNIT]`
fn serial(text: &str) -> Result<Target, &'static str> {
    let (text, unit) = match text.split_once('#') {
        Some((text, unit)) => (text, Some(unit_id(unit)?)),
        None => (text, None),
    };
    let (path, settings) = text.split_once('@').unwrap_or((text, "9600-8N1"));
    let (baud, frame) = settings.split_once('-').unwrap_or((settings, "8N1"));
    let baud: u32 = baud.parse().map_err(|_| "the speed is a number of bits per second")?;
    let (parity, stop_bits) = match frame.to_ascii_uppercase().as_str() {
        "8N1" => (Parity::None, 1),
        "8N2" => (Parity::None, 2),
        "8E1" => (Parity::Even, 1),
        "8O1" => (Parity::Odd, 1),
        _ => return Err("the frame is 8N1, 8N2, 8E1 or 8O1"),
    };
    let config = SerialConfig { path: path.to_owned(), baud, parity, data_bits: 8, stop_bits };
    if config.problem().is_some() {
        return Err("these settings are none that a serial port has");
    }
    Ok(Target { place: Place::Serial(config), unit })
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if matches!(self.place, Place::RtuOverTcp(_)) { "rtu://" } else { "" };
        let text = match (self.unit, &self.place) {
            (None, place) => format!("{scheme}{place}"),
            (Some(unit), Place::Serial(port)) => format!("{}#{unit}", port.path),
            (Some(unit), place) => format!("{scheme}{place}/{unit}"),
        };
        f.pad(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_write_addresses_in_many_ways() {
        for (text, place, unit) in [
            ("192.0.2.7", "192.0.2.7:502", None),
            (" 192.0.2.7:1502 ", "192.0.2.7:1502", None),
            ("meter.local/2", "meter.local:502", Some(2)),
            ("tcp://192.0.2.7:502/126", "192.0.2.7:502", Some(126)),
            ("[2001:db8::7]:1502/1", "[2001:db8::7]:1502", Some(1)),
            ("2001:db8::7", "[2001:db8::7]:502", None),
        ] {
            let target: Target = text.parse().expect(text);
            assert_eq!(target, Target { place: Place::Tcp(place.to_owned()), unit }, "{text}");
        }
        let rtu: Target = "rtu://192.0.2.8:4001/1".parse().expect("a gateway");
        assert_eq!(rtu.place, Place::RtuOverTcp("192.0.2.8:4001".to_owned()));
        let port: Target = "/dev/ttyUSB0@19200-8E1#7".parse().expect("a port");
        let Place::Serial(config) = &port.place else { panic!("{port:?}") };
        assert_eq!(
            (config.path.as_str(), config.baud, port.unit),
            ("/dev/ttyUSB0", 19_200, Some(7))
        );
    }

    #[test]
    fn what_is_no_address_is_refused_with_an_example() {
        for text in [
            "",
            "   ",
            "192.0.2.7:0",
            "192.0.2.7:99999",
            "192.0.2.7/256",
            "192.0.2.7/x",
            "[::1",
            "a b",
            "http://192.0.2.7",
            "mqtt://192.0.2.7",
            "ftp://x",
            "/dev/ttyUSB0@fast",
            "/dev/ttyUSB0@9600-7E1",
            "x/1/2",
            ":502",
            "host:502:1",
            "\u{1b}[31m",
        ] {
            let error = text.parse::<Target>().expect_err(text).to_string();
            assert!(error.contains("192.0.2.7:1502/2"), "{error}");
        }
        assert!("x".repeat(10_000).parse::<Target>().is_err());
    }
}
