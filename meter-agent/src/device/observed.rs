//! Three-valued readings: a value, nothing for a known reason, or a fault.

use std::fmt;

/// What came back from a device for one quantity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Observed<T> {
    /// The device said so.
    Value(T),
    /// The device has nothing to say, and that is in order.
    Absent(Absence),
    /// Something is wrong: no answer, garbage, a broken scale factor.
    Fault(String),
}

/// Why a quantity is absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Absence {
    /// The device sent its mark for "not available".
    Sentinel,
    /// The device does not have this quantity.
    Unsupported,
    /// What is there is too old to count.
    Stale,
    /// Nothing has been heard yet.
    NotYet,
    /// The device sleeps, as an inverter does at night; nothing is wrong.
    Asleep,
}

impl fmt::Display for Absence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Sentinel => "not available",
            Self::Unsupported => "not supported",
            Self::Stale => "stale",
            Self::NotYet => "nothing heard yet",
            Self::Asleep => "asleep",
        })
    }
}

impl<T> Observed<T> {
    /// The value, when there is one.
    #[must_use]
    pub fn value(self) -> Option<T> {
        match self {
            Self::Value(value) => Some(value),
            Self::Absent(_) | Self::Fault(_) => None,
        }
    }

    /// The value by reference, when there is one.
    #[must_use]
    pub const fn as_value(&self) -> Option<&T> {
        match self {
            Self::Value(value) => Some(value),
            Self::Absent(_) | Self::Fault(_) => None,
        }
    }

    /// Applies `f` to a value; what is no value stays what it is.
    pub fn map<U>(self, f: impl FnOnce(T) -> U) -> Observed<U> {
        match self {
            Self::Value(value) => Observed::Value(f(value)),
            Self::Absent(why) => Observed::Absent(why),
            Self::Fault(what) => Observed::Fault(what),
        }
    }

    /// Applies `f` to a value; what is no value stays what it is.
    pub fn and_then<U>(self, f: impl FnOnce(T) -> Observed<U>) -> Observed<U> {
        match self {
            Self::Value(value) => f(value),
            Self::Absent(why) => Observed::Absent(why),
            Self::Fault(what) => Observed::Fault(what),
        }
    }
}

impl<T: fmt::Display> fmt::Display for Observed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Value(value) => value.fmt(f),
            Self::Absent(why) => why.fmt(f),
            Self::Fault(what) => write!(f, "fault: {what}"),
        }
    }
}
