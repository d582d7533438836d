//! What goes wrong with devices in the field, so that it can go wrong here first.
//!
//! A [`FaultPlan`] says which device misbehaves when, and how: a list of [`Spell`]s, read from a
//! file (`faults.toml`) or drawn from a seed. It is pure: the same plan and the same moments give
//! the same spells. The street looks up what is the matter at each moment and hands it on: what
//! happens on the wire to the Modbus server of a house (`wire`), what a device shows to its image
//! (`value` before it is drawn, `image` after). Nothing of it reaches the world: what really flowed stays known.

mod chance;
mod image;
mod lens;
mod plan;
mod value;
mod wire;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use plan::{FaultPlan, FaultsError, Spell};

pub(crate) use image::bent;
pub(crate) use lens::{House, Lens};
pub(crate) use wire::{Active, Memory, Reaction, react};

/// What a device does that it should not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Fault {
    /// The right answer, too late.
    LateReply {
        /// How late, milliseconds of real time.
        delay_ms: u32,
    },
    /// The answer to the question before: a gateway that has lost its place.
    PreviousReply {
        /// Whether the gateway puts the present question's number on it, so that only its content
        /// gives it away.
        #[serde(default)]
        renumbered: bool,
    },
    /// A refusal.
    Exception {
        /// Exception code, 1 to 11.
        code: u8,
    },
    /// The first half of an answer, and then nothing.
    HalfFrame {},
    /// The connection is reset instead of answering.
    Reset {
        /// Answers that each connection gets before.
        after_requests: u32,
    },
    /// Only one client at a time, as with most inverters.
    SingleClient {
        /// What happens to the second one.
        #[serde(default)]
        newcomer: Newcomer,
    },
    /// Nothing is answered for a while after a client has connected.
    Deaf {
        /// How long, milliseconds of real time.
        connect_ms: u32,
    },
    /// A unit behind a gateway that is switched off.
    UnitOffline {
        /// Exception code of the gateway, 10 or 11; silence if left out.
        #[serde(default)]
        code: Option<u8>,
    },
    /// A SunSpec chain that does not end as the standard says.
    ChainEnd {
        /// How it ends.
        how: ChainEnd,
    },
    /// A SunSpec chain that starts somewhere else.
    Base {
        /// Wire address of the marker: 0, 40001 or 50000.
        address: u16,
    },
    /// While the sun is down, an inverter has no value for anything, and 0 on its counter.
    AsleepAtNight {},
    /// Every energy counter shows 0.
    CounterZero {},
    /// Every energy counter falls back a little.
    CounterDip {
        /// By how much, Wh.
        wh: u32,
    },
    /// Every energy counter shows more than ever flowed.
    CounterJump {
        /// By how much, Wh.
        wh: u32,
    },
    /// Another device hangs there: it has counted little, and the meter has another serial number.
    Exchange {
        /// What its counters showed at first, Wh.
        #[serde(default)]
        counted_wh: u32,
    },
    /// The counters come to the end of their 32 bits, and start again.
    Rollover {
        /// Wh until then.
        left_wh: u32,
    },
    /// Power has the other sign.
    SignFlip {
        /// Whether the registers of import and export change places, too.
        #[serde(default)]
        registers: bool,
    },
    /// A meter that counts import and export of each phase by itself.
    PerPhase {
        /// What the first phase takes more than the average, W; the others have half of it less.
        unbalance_w: u32,
    },
    /// Powers and energies of a SunSpec device have fewer digits.
    ScaleFactor {
        /// How many fewer, 1 to 3.
        shift: u8,
    },
    /// The scale factors of a SunSpec device change from answer to answer.
    TornScaleFactor {},
    /// Numbers of several registers have the low word first, as after an update of the firmware.
    WordOrder {},
    /// The clock in the messages of a meter that publishes goes wrong.
    DeviceClock {
        /// How far ahead, seconds; negative: behind.
        seconds: i32,
    },
    /// The first messages of the spell are kept by the broker, for whoever subscribes later.
    RetainedStale {},
    /// Messages come twice.
    Duplicate {
        /// Whether the second time is after the next ones.
        #[serde(default)]
        late: bool,
    },
}

/// What a device with room for one client does with the second.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Newcomer {
    /// It is hung up on.
    #[default]
    Refused,
    /// It takes the place of the first, which is hung up on.
    Replaces,
}

/// How a SunSpec chain ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChainEnd {
    /// With model 0 instead of 0xFFFF.
    Zero,
    /// With exception 2 instead of an end marker.
    Refused,
    /// With a model of 65 534 registers, which leads back to itself.
    Loop,
}

impl Fault {
    /// Whether it happens on the Modbus wire, request by request.
    #[must_use]
    pub const fn is_on_the_wire(&self) -> bool {
        matches!(
            self,
            Self::LateReply { .. }
                | Self::PreviousReply { .. }
                | Self::Exception { .. }
                | Self::HalfFrame {}
                | Self::Reset { .. }
                | Self::SingleClient { .. }
                | Self::Deaf { .. }
                | Self::UnitOffline { .. }
        )
    }

    /// Whether it concerns a port as a whole and no single unit.
    #[must_use]
    pub const fn is_of_the_port(&self) -> bool {
        matches!(self, Self::Reset { .. } | Self::SingleClient { .. } | Self::Deaf { .. })
    }

    /// Whether only the registers of a SunSpec device can have it.
    #[must_use]
    pub const fn is_of_sunspec(&self) -> bool {
        matches!(
            self,
            Self::ChainEnd { .. }
                | Self::Base { .. }
                | Self::AsleepAtNight {}
                | Self::Rollover { .. }
                | Self::ScaleFactor { .. }
                | Self::TornScaleFactor {}
        )
    }

    /// Whether it changes registers after they are drawn.
    #[must_use]
    pub const fn is_in_registers(&self) -> bool {
        matches!(
            self,
            Self::ChainEnd { .. }
                | Self::Base { .. }
                | Self::AsleepAtNight {}
                | Self::ScaleFactor { .. }
                | Self::WordOrder {}
        )
    }

    /// Whether it happens to messages on their way to the broker.
    #[must_use]
    pub const fn is_of_messages(&self) -> bool {
        matches!(self, Self::RetainedStale {} | Self::Duplicate { .. })
    }

    /// What is impossible about its numbers, if anything.
    #[must_use]
    pub fn flaw(&self) -> Option<String> {
        match self {
            Self::LateReply { delay_ms: ms @ (0 | 60_001..) } => {
                Some(format!("delay_ms = {ms} is not between 1 and 60000"))
            }
            Self::Deaf { connect_ms: ms @ (0 | 60_001..) } => {
                Some(format!("connect_ms = {ms} is not between 1 and 60000"))
            }
            Self::Exception { code: code @ (0 | 12..) } => {
                Some(format!("code = {code} is no exception of Modbus; write 1 to 11"))
            }
            Self::UnitOffline { code: Some(code @ (0..=9 | 12..)) } => {
                Some(format!("code = {code} is not what a gateway says of a unit; write 10 or 11"))
            }
            Self::Base { address } if ![0, 40_001, 50_000].contains(address) => {
                Some(format!("address = {address}; a chain starts at 0, 40001 or 50000"))
            }
            Self::ScaleFactor { shift: shift @ (0 | 4..) } => {
                Some(format!("shift = {shift} is not between 1 and 3"))
            }
            Self::Rollover { left_wh: 0 } => {
                Some("left_wh = 0; the counter would have started again before".to_owned())
            }
            Self::DeviceClock { seconds } if seconds.unsigned_abs() > 86_400 => {
                Some(format!("seconds = {seconds} is more than a day"))
            }
            _ => None,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LateReply { delay_ms } => write!(f, "answers {delay_ms} ms late"),
            Self::PreviousReply { renumbered: false } => f.write_str("gives the answer before"),
            Self::PreviousReply { renumbered: true } => {
                f.write_str("gives the answer before under the present number")
            }
            Self::Exception { code } => write!(f, "refuses with exception {code}"),
            Self::HalfFrame {} => f.write_str("sends half of each answer"),
            Self::Reset { after_requests } => {
                write!(f, "resets each connection after {after_requests} answers")
            }
            Self::SingleClient { newcomer: Newcomer::Refused } => {
                f.write_str("hangs up on a second client")
            }
            Self::SingleClient { newcomer: Newcomer::Replaces } => {
                f.write_str("hangs up on the first client when a second comes")
            }
            Self::Deaf { connect_ms } => {
                write!(f, "answers nothing for {connect_ms} ms after a client has connected")
            }
            Self::UnitOffline { code: None } => f.write_str("is silent"),
            Self::UnitOffline { code: Some(code) } => {
                write!(f, "is offline, says its gateway (exception {code})")
            }
            Self::ChainEnd { how: ChainEnd::Zero } => f.write_str("ends its models with 0"),
            Self::ChainEnd { how: ChainEnd::Refused } => {
                f.write_str("ends its models with exception 2")
            }
            Self::ChainEnd { how: ChainEnd::Loop } => {
                f.write_str("has a last model that leads back to itself")
            }
            Self::Base { address } => write!(f, "has its models from register {address}"),
            Self::AsleepAtNight {} => f.write_str("has no values at night"),
            Self::CounterZero {} => f.write_str("shows 0 on its counters"),
            Self::CounterDip { wh } => write!(f, "shows {wh} Wh too little on its counters"),
            Self::CounterJump { wh } => write!(f, "shows {wh} Wh too much on its counters"),
            Self::Exchange { .. } => f.write_str("is exchanged"),
            Self::Rollover { left_wh } => write!(f, "starts again from 0 after {left_wh} Wh"),
            Self::SignFlip { registers: false } => f.write_str("shows power the other way round"),
            Self::SignFlip { registers: true } => f.write_str("is wired the other way round"),
            Self::PerPhase { unbalance_w } => {
                write!(f, "counts each phase by itself, {unbalance_w} W out of balance")
            }
            Self::ScaleFactor { shift } => write!(f, "shows {shift} digits less"),
            Self::TornScaleFactor {} => {
                f.write_str("changes its scale factors from answer to answer")
            }
            Self::WordOrder {} => f.write_str("sends low words first"),
            Self::DeviceClock { seconds } => write!(f, "has a clock that is off by {seconds} s"),
            Self::RetainedStale {} => f.write_str("lets the broker keep its first messages"),
            Self::Duplicate { late: false } => f.write_str("says everything twice"),
            Self::Duplicate { late: true } => f.write_str("says everything again, later"),
        }
    }
}
