//! The one request there is, and what can become of it.

use std::fmt;
use std::time::Duration;

use crate::device::ChainFault;

/// Most registers in one request, by the standard.
pub const MAX_REGISTERS: u16 = 125;

/// The function codes that read registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Function {
    /// Holding registers, function 3.
    Holding,
    /// Input registers, function 4.
    Input,
}

impl Function {
    /// Function 3 or 4.
    #[must_use]
    pub const fn of_code(code: u8) -> Option<Self> {
        match code {
            3 => Some(Self::Holding),
            4 => Some(Self::Input),
            _ => None,
        }
    }

    /// The number on the wire.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Holding => 3,
            Self::Input => 4,
        }
    }
}

/// A request for registers: 1 to 125 of them, inside the address space.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Read {
    unit: u8,
    function: Function,
    address: u16,
    count: u16,
}

impl Read {
    /// A request; `None` when count or range is impossible.
    #[must_use]
    pub const fn new(unit: u8, function: Function, address: u16, count: u16) -> Option<Self> {
        let fits = 1 <= count && count <= MAX_REGISTERS && count - 1 <= u16::MAX - address;
        if fits { Some(Self { unit, function, address, count }) } else { None }
    }

    /// Whom it asks.
    #[must_use]
    pub const fn unit(self) -> u8 {
        self.unit
    }

    /// Which registers.
    #[must_use]
    pub const fn function(self) -> Function {
        self.function
    }

    /// The first register.
    #[must_use]
    pub const fn address(self) -> u16 {
        self.address
    }

    /// How many registers.
    #[must_use]
    pub const fn count(self) -> u16 {
        self.count
    }
}

/// A device's refusal, as its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exception(pub u8);

impl Exception {
    /// Illegal function.
    pub const ILLEGAL_FUNCTION: Self = Self(1);
    /// Illegal data value.
    pub const ILLEGAL_VALUE: Self = Self(3);
    /// Server device failure.
    pub const FAILURE: Self = Self(4);
    /// Server device busy.
    pub const BUSY: Self = Self(6);
    /// Gateway path unavailable.
    pub const NO_PATH: Self = Self(0x0a);
    /// Gateway target device failed to respond.
    pub const NO_TARGET: Self = Self(0x0b);

    /// The device does not have this.
    #[must_use]
    pub const fn is_unsupported(self) -> bool {
        matches!(self.0, 1..=3)
    }

    /// The device asks for patience.
    #[must_use]
    pub const fn is_busy(self) -> bool {
        matches!(self.0, 5 | 6)
    }

    /// The gateway says that the device behind it does not answer.
    #[must_use]
    pub const fn is_offline(self) -> bool {
        matches!(self.0, 0x0a | 0x0b)
    }
}

impl fmt::Display for Exception {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = match self.0 {
            1 => "illegal function",
            2 => "illegal data address",
            3 => "illegal data value",
            4 => "device failure",
            5 => "acknowledged, still working",
            6 => "busy",
            8 => "memory parity error",
            0x0a => "gateway has no path to it",
            0x0b => "gateway gets no answer from it",
            _ => "unknown exception",
        };
        write!(f, "{words} (exception {:#04x})", self.0)
    }
}

/// Why registers could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// No connection.
    #[error("cannot connect to {place}: {reason}")]
    Unreachable {
        /// Host and port, or serial port.
        place: String,
        /// The system's answer.
        reason: String,
    },
    /// No answer in time.
    #[error("unit {unit} did not answer within {timeout_ms} ms")]
    Timeout {
        /// Unit id.
        unit: u8,
        /// How long it had, milliseconds.
        timeout_ms: u64,
    },
    /// The connection broke, or the answer was for another question.
    #[error("unit {unit}: {reason}")]
    Broken {
        /// Unit id.
        unit: u8,
        /// What happened.
        reason: String,
    },
    /// The answer has the wrong number of registers.
    #[error("unit {unit} sent {found} registers where {expected} were asked for")]
    WrongLength {
        /// Unit id.
        unit: u8,
        /// Received.
        found: usize,
        /// Asked for.
        expected: u16,
    },
    /// The device refuses.
    #[error("unit {unit} refuses register {address}: {code}")]
    Exception {
        /// Unit id.
        unit: u8,
        /// First register asked for.
        address: u16,
        /// The exception.
        code: Exception,
    },
    /// No usable SunSpec models.
    #[error("unit {unit}: {fault}")]
    Chain {
        /// Unit id.
        unit: u8,
        /// What is wrong.
        fault: ChainFault,
    },
    /// Another device answers than the map is for.
    #[error("unit {unit}: {reason}")]
    Stranger {
        /// Unit id.
        unit: u8,
        /// What it says it is.
        reason: String,
    },
    /// A request that the protocol does not know.
    #[error(
        "unit {unit}: {count} registers from {address} with function {function} cannot be asked for"
    )]
    Impossible {
        /// Unit id.
        unit: u8,
        /// Function code.
        function: u8,
        /// First register.
        address: u16,
        /// How many.
        count: u16,
    },
    /// It was not asked: it has been silent, and the line belongs to the others for now.
    #[error("unit {unit} has been silent and is left alone for another {} s", wait.as_secs())]
    LeftAlone {
        /// Unit id.
        unit: u8,
        /// How long.
        wait: Duration,
    },
    /// Too many requests wait already.
    #[error("too many requests wait at {place}")]
    Crowded {
        /// Host and port, or serial port.
        place: String,
    },
}

impl ReadError {
    /// Whether the device says that it does not have this.
    #[must_use]
    pub const fn is_unsupported(&self) -> bool {
        matches!(self, Self::Exception { code, .. } if code.is_unsupported())
    }

    /// Whether the unit did not answer, or not so that it could be understood.
    #[must_use]
    pub const fn is_silence(&self) -> bool {
        match self {
            Self::Timeout { .. } | Self::Broken { .. } | Self::WrongLength { .. } => true,
            Self::Exception { code, .. } => code.is_offline(),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_protocol_knows_can_be_asked_for() {
        for (address, count, expected) in [
            (0, 0, false),
            (0, 1, true),
            (0, 125, true),
            (0, 126, false),
            (65_535, 1, true),
            (65_535, 2, false),
            (65_411, 125, true),
            (65_412, 125, false),
        ] {
            let made = Read::new(1, Function::Input, address, count);
            assert_eq!(made.is_some(), expected, "{count} from {address}");
        }
        let codes: Vec<u8> = (0..=255).filter(|&code| Function::of_code(code).is_some()).collect();
        assert_eq!(codes, [3, 4], "no function that writes has a name");
    }
}
