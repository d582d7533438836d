//! From a device that nobody knows to one that the agent reads: the engine behind the commands
//! `probe`, `assign` and their like, and behind the web page of `setup`.
//!
//! Nothing here prints, and nothing here writes to a device. What goes on is told through a
//! [`Progress`], what came out is plain data. Judging ([`fit`], [`choice`]) is pure; asking
//! ([`probe`]) goes slowly, because at the other end of the wire is somebody's heating, or a bus that
//! other programs use, too.

mod choice;
mod config_text;
mod fit;
mod interview;
mod plausible;
mod probe;
mod progress;
mod redact;
mod sign_test;
mod target;
mod trace;
mod watching;
mod whereabouts;

pub mod assign;
pub mod discover;
pub mod setup;

pub use choice::{Choice, NoChoice, Wanted, choose};
pub use config_text::{EditError, changes};
pub use fit::{Confidence, Fit, judge};
pub use plausible::{Remark, Verdict, plausible};
pub use probe::{ProbeError, ProbeReport, UnitReport, advice, probe};
pub use progress::Progress;
pub use sign_test::{
    APPLIANCE_W, DeviceSign, KETTLE_W, SPAN, Sign, apply_signs, judge_signs, sign_test,
};
pub use target::{Target, TargetError};
pub use trace::{DeviceTrace, trace, trace_text};
pub use watching::{Track, Watching};
pub use whereabouts::{LookError, Whereabouts};
