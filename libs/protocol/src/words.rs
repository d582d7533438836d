//! Words that stand as text in messages, each a closed list.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

macro_rules! word {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum $name {
            $($(#[$variant_doc])* #[serde(rename = $text)] $variant,)+
        }

        impl $name {
            /// The word on the wire.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)+
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = String;
            fn from_str(text: &str) -> Result<Self, String> {
                match text {
                    $($text => Ok(Self::$variant),)+
                    other => Err(format!("{other:?} is none of: {}", [$($text),+].join(", "))),
                }
            }
        }
    };
}

word!(
    /// Which way a curve of an order trades.
    Side {
        /// Wants energy.
        Buy = "buy",
        /// Offers energy.
        Sell = "sell",
    }
);

word!(
    /// What a limit is measured from.
    Peg {
        /// Nothing: the limit is a price.
        Fixed = "fixed",
        /// The limit is so much below the supplier's price of the slot.
        BelowRetail = "below retail",
        /// The limit is so much above what the supplier pays in the slot.
        AboveFeedIn = "above feed-in",
    }
);

word!(
    /// How far the reader's clock can be trusted (the states of OCMF's time status).
    ClockStatus {
        /// Not known to be right.
        Unsynchronised = "unsynchronised",
        /// Set by hand or by a device.
        Informative = "informative",
        /// Kept right by a time service.
        Synchronised = "synchronised",
        /// Relative to the process's start.
        Relative = "relative",
    }
);

word!(
    /// How a register value came about. A slot without a reading is missing.
    Quality {
        /// Read from the meter at the slot's edge.
        Measured = "measured",
        /// Read at the edge, but edges before it were missed, or a counter was exchanged since: the
        /// sum is right, how it spreads over the time before is not known.
        Bridged = "bridged",
        /// Summed up from power because the meter has no register.
        Integrated = "integrated",
        /// A counter stands below what it has shown: its highest value stands in for it.
        Substituted = "substituted",
    }
);

word!(
    /// What can happen to a register. Unless said otherwise `before` and `after` are what the device
    /// showed, mWh.
    EventKind {
        /// It passed its end and started again from zero; the difference is counted.
        Rollover = "rollover",
        /// It showed nothing for a while; it counts again from where it stood.
        Zero = "zero",
        /// It showed what this connection cannot have moved, and was not believed.
        Implausible = "implausible",
        /// It fell back by a little, or a blip before it went up; its highest value stands until it is passed.
        Dip = "dip",
        /// It fell and stayed there: counting goes on from the new value, and what flowed in between
        /// is not known.
        Reset = "reset",
        /// The device says that it is another one: counting goes on from the new value.
        Exchange = "exchange",
        /// A counter that had been given up is back: the difference is counted.
        Return = "return",
        /// It rose by more than the connection can carry: the difference is put aside, and counted
        /// only when the owner says that it is true.
        Jump = "jump",
        /// The owner says that the last jump is true: what was put aside is counted now.
        Confirmed = "confirmed",
        /// Power was not measured for too long to be summed up; from and to, Unix milliseconds.
        Gap = "gap",
        /// The clock was set; before and after, Unix milliseconds.
        ClockStep = "clock step",
        /// The meter's clock is off by more than a minute; `after` is by how much, milliseconds.
        ClockDrift = "clock drift",
        /// The journal was full of readings that nobody had received, and no more were made: the
        /// first and the last slot without one.
        Overflow = "overflow",
        /// The journal ended in an unfinished record, which was never sent; `after` is its bytes.
        Cut = "cut",
    }
);

/// Most events that a reading tells of.
pub const MAX_EVENTS: usize = 32;
/// Most samples in a reading.
pub const MAX_SAMPLES: usize = 4;
