//! A serial port of this computer, as bytes that come and go.
//!
//! Opened for this process alone, raw, and without waiting for a carrier. It speaks to the kernel
//! through `rustix`, which is there for the clock already; a serial-port crate would bring a second
//! event loop and udev along for what are four calls here.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use rustix::termios::{self, ControlModes, OptionalActions, QueueSelector};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite, Join, ReadBuf};
use tokio::net::unix::pipe::{Receiver, Sender};

/// `serial = { path = "/dev/ttyUSB0", baud = 9600, parity = "none", stop_bits = 1 }`
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SerialConfig {
    /// The port. A name under `/dev/serial/by-id` stays the same when cables are moved.
    pub path: String,
    /// Bits per second, 300 to 4 000 000.
    #[serde(default = "baud")]
    pub baud: u32,
    /// Check bit.
    #[serde(default)]
    pub parity: Parity,
    /// 7 or 8.
    #[serde(default = "data_bits")]
    pub data_bits: u8,
    /// 1 or 2.
    #[serde(default = "stop_bits")]
    pub stop_bits: u8,
}

const fn baud() -> u32 {
    9_600
}

const fn data_bits() -> u8 {
    8
}

const fn stop_bits() -> u8 {
    1
}

/// The check bit of a character.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Parity {
    /// There is none.
    #[default]
    None,
    /// The number of ones is even.
    Even,
    /// The number of ones is odd.
    Odd,
}

impl SerialConfig {
    /// What is wrong with it, if anything.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        if self.path.is_empty() {
            return Some("path: name the port, for example /dev/ttyUSB0".to_owned());
        }
        if !(300..=4_000_000).contains(&self.baud) {
            return Some(format!("baud: {} is not between 300 and 4000000", self.baud));
        }
        if !(7..=8).contains(&self.data_bits) {
            return Some(format!("data_bits: {} must be 7 or 8", self.data_bits));
        }
        let fits = (1..=2).contains(&self.stop_bits);
        (!fits).then(|| format!("stop_bits: {} must be 1 or 2", self.stop_bits))
    }

    /// The silence that ends an RTU frame: 3.5 characters, and never less than 1.75 ms (Modbus over
    /// Serial Line V1.02, 2.5.1.1). Four milliseconds more, because a USB adapter hands over in pieces.
    #[must_use]
    pub fn frame_gap(&self) -> Duration {
        let parity = u64::from(self.parity != Parity::None);
        let bits = 1 + u64::from(self.data_bits) + parity + u64::from(self.stop_bits);
        let characters = Duration::from_nanos(bits * 3_500_000_000 / u64::from(self.baud.max(1)));
        characters.max(Duration::from_micros(1_750)) + Duration::from_millis(4)
    }

    fn modes(&self, known: ControlModes) -> ControlModes {
        let size = if self.data_bits == 7 { ControlModes::CS7 } else { ControlModes::CS8 };
        let parity = match self.parity {
            Parity::None => ControlModes::empty(),
            Parity::Even => ControlModes::PARENB,
            Parity::Odd => ControlModes::PARENB | ControlModes::PARODD,
        };
        let stop = if self.stop_bits == 2 { ControlModes::CSTOPB } else { ControlModes::empty() };
        let ours = ControlModes::CSIZE
            | ControlModes::PARENB
            | ControlModes::PARODD
            | ControlModes::CSTOPB
            | ControlModes::CRTSCTS;
        (known - ours) | size | parity | stop | ControlModes::CREAD | ControlModes::CLOCAL
    }
}

/// An open port. The reading and the writing end are the runtime's pipes: they poll any descriptor.
#[derive(Debug)]
pub struct SerialPort(Join<Receiver, Sender>);

impl SerialPort {
    /// Opens a port for this process alone.
    ///
    /// # Errors
    /// The system's answer, with what to do about the usual ones.
    pub fn open(config: &SerialConfig) -> io::Result<Self> {
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let port = rustix::fs::open(config.path.as_str(), flags, Mode::empty())
            .map_err(|error| explained(error, &config.path))?;
        let set_up = || {
            termios::ioctl_tiocexcl(&port)?;
            let mut settings = termios::tcgetattr(&port)?;
            settings.make_raw();
            settings.control_modes = config.modes(settings.control_modes);
            settings.set_speed(config.baud)?;
            termios::tcsetattr(&port, OptionalActions::Now, &settings)?;
            termios::tcflush(&port, QueueSelector::IOFlush)
        };
        set_up().map_err(|error| explained(error, &config.path))?;
        let reader = Receiver::from_owned_fd_unchecked(port.try_clone()?)?;
        Ok(Self(tokio::io::join(reader, Sender::from_owned_fd_unchecked(port)?)))
    }
}

fn explained(error: rustix::io::Errno, path: &str) -> io::Error {
    use rustix::io::Errno;
    let advice = match error {
        Errno::NOENT => "is the adapter plugged in? `ls /dev/serial/by-id` shows what there is",
        Errno::ACCESS | Errno::PERM => "add the user to the group dialout and log in again",
        Errno::BUSY => "another program holds it open",
        Errno::NOTTY => "that is no serial port",
        Errno::INVAL => "the adapter does not know these settings; is the speed right?",
        _ => return io::Error::from(error),
    };
    let system = io::Error::from(error);
    io::Error::new(system.kind(), format!("{path}: {system}; {advice}"))
}

impl AsyncRead for SerialPort {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl AsyncWrite for SerialPort {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(baud: u32) -> SerialConfig {
        SerialConfig {
            path: "/dev/ttyUSB0".into(),
            baud,
            parity: Parity::None,
            data_bits: 8,
            stop_bits: 1,
        }
    }

    #[test]
    fn frames_end_with_three_and_a_half_characters_of_silence() {
        for (baud, micros) in [(2_400, 18_583), (9_600, 7_645), (115_200, 5_750)] {
            assert_eq!(config(baud).frame_gap().as_micros(), micros, "{baud}");
        }
    }

    #[test]
    fn characters_are_as_the_configuration_says() {
        let set = ControlModes::CS5 | ControlModes::CRTSCTS | ControlModes::PARODD;
        let always = ControlModes::CREAD | ControlModes::CLOCAL;
        for (parity, data_bits, stop_bits, expected) in [
            (Parity::None, 8, 1, ControlModes::CS8),
            (Parity::Even, 8, 1, ControlModes::CS8 | ControlModes::PARENB),
            (Parity::Odd, 8, 1, ControlModes::CS8 | ControlModes::PARENB | ControlModes::PARODD),
            (Parity::Even, 7, 1, ControlModes::CS7 | ControlModes::PARENB),
            (Parity::None, 8, 2, ControlModes::CS8 | ControlModes::CSTOPB),
        ] {
            let config = SerialConfig { parity, data_bits, stop_bits, ..config(9_600) };
            assert_eq!(config.modes(set), expected | always, "{parity:?} {data_bits} {stop_bits}");
        }
    }

    #[test]
    fn settings_are_checked_and_a_missing_port_says_what_to_do() {
        assert_eq!(config(9_600).problem(), None);
        for (wrong, said) in [
            (SerialConfig { path: String::new(), ..config(9_600) }, "path"),
            (config(100), "baud"),
            (SerialConfig { data_bits: 9, ..config(9_600) }, "data_bits"),
            (SerialConfig { stop_bits: 3, ..config(9_600) }, "stop_bits"),
        ] {
            assert!(wrong.problem().is_some_and(|problem| problem.starts_with(said)), "{said}");
        }
        let missing = SerialConfig { path: "/dev/no-such-port".into(), ..config(9_600) };
        let error = SerialPort::open(&missing).expect_err("not there").to_string();
        assert!(error.contains("plugged in"), "{error}");
        let file = SerialConfig { path: "/dev/null".into(), ..config(9_600) };
        let error = SerialPort::open(&file).expect_err("no port").to_string();
        assert!(error.contains("no serial port"), "{error}");
    }
}
