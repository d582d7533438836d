//! Speed against goals: every figure stands beside what it should reach, and says so when it does
//! not.
//!
//! Times are processor time, the best of several runs, and a ratio's two sides are measured in the
//! same run of the program, because machines differ and others may be busy on them.

mod backtest;
mod day;
mod feeder;
mod memory;
mod plate;
mod program;

use std::path::Path;
use std::time::Duration;

use serde::Serialize;

pub(super) use feeder::problem as feeder_problem;
pub use memory::{MemoryCost, memory, memory_in_a_process_of_its_own};

/// Lots in the books that are cleared.
pub const SIZES: [usize; 4] = [1_000, 10_000, 100_000, 1_000_000];

/// Lots of the largest linear program that the default solver is asked for; one of 100,000 takes it
/// a minute.
const LARGEST_PROGRAM: usize = 10_000;
/// Which part of a solver's time the proof of an answer may take.
const MOST_PROOF: f64 = 0.01;

/// One measured figure.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figure {
    /// What was done.
    pub what: String,
    /// How long ours took, microseconds, where the figure is about time.
    pub ours_us: Option<f64>,
    /// What it is compared with, and how long that took, microseconds.
    pub yardstick: Option<(&'static str, f64)>,
    /// The figure.
    pub measured: f64,
    /// Of what.
    pub unit: Unit,
    /// The same time as a share of another one, where that says more than the figure alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub also: Option<Share>,
    /// What it should reach.
    pub goal: Option<Goal>,
    /// Whether it does.
    pub met: Option<bool>,
    /// What is wrong with what was measured: then no goal is met.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flaw: Option<String>,
}

/// A time as a share of another one.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Share {
    /// 1 = all of it.
    pub share: f64,
    /// Of what.
    pub of: &'static str,
    /// How long that took, microseconds.
    pub us: f64,
}

/// What a figure counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Our time by the yardstick's.
    Times,
    /// The yardstick's time by ours.
    TimesFaster,
    /// A part of a whole, 1 = all of it.
    Share,
    /// Seconds.
    Seconds,
    /// Slots in a second.
    SlotsPerSecond,
    /// 10⁶ bytes.
    Megabytes,
}

/// What a figure should reach.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Goal {
    /// Not more than this.
    AtMost(f64),
    /// Not less than this.
    AtLeast(f64),
}

/// What ours is compared with, and how long that took.
type Yardstick = (&'static str, Duration);

impl Figure {
    /// A figure beside its goal.
    #[must_use]
    pub fn new(what: impl Into<String>, measured: f64, unit: Unit, goal: Option<Goal>) -> Self {
        let met = goal.map(|goal| match goal {
            Goal::AtMost(most) => measured <= most,
            Goal::AtLeast(least) => measured >= least,
        });
        let what = what.into();
        Self {
            what,
            ours_us: None,
            yardstick: None,
            measured,
            unit,
            also: None,
            goal,
            met,
            flaw: None,
        }
    }

    /// How many times as long ours takes.
    fn times(
        what: impl Into<String>,
        ours: Duration,
        theirs: Yardstick,
        most: Option<f64>,
    ) -> Self {
        Self::ratio(what, ours, theirs, Unit::Times, most.map(Goal::AtMost))
    }

    /// How much faster ours is.
    fn faster(
        what: impl Into<String>,
        ours: Duration,
        theirs: Yardstick,
        least: Option<f64>,
    ) -> Self {
        Self::ratio(what, ours, theirs, Unit::TimesFaster, least.map(Goal::AtLeast))
    }

    /// Which part of the yardstick's time ours takes.
    fn share(
        what: impl Into<String>,
        ours: Duration,
        theirs: Yardstick,
        most: Option<f64>,
    ) -> Self {
        Self::ratio(what, ours, theirs, Unit::Share, most.map(Goal::AtMost))
    }

    /// Two times, one by the other.
    fn ratio(
        what: impl Into<String>,
        ours: Duration,
        (name, theirs): Yardstick,
        unit: Unit,
        goal: Option<Goal>,
    ) -> Self {
        let (ours, theirs) = (ours.as_secs_f64(), theirs.as_secs_f64());
        let measured = match unit {
            Unit::TimesFaster => theirs / ours.max(1e-9),
            _ => ours / theirs.max(1e-9),
        };
        let yardstick = Some((name, theirs * 1e6));
        Self { ours_us: Some(ours * 1e6), yardstick, ..Self::new(what, measured, unit, goal) }
    }

    /// With its time as a share of another one, too.
    fn also_of(mut self, (of, theirs): Yardstick) -> Self {
        let us = theirs.as_secs_f64() * 1e6;
        self.also = self.ours_us.map(|ours| Share { share: ours / us.max(1e-3), of, us });
        self
    }

    /// With a flaw, if there is one.
    fn flawed(mut self, flaw: Option<String>) -> Self {
        self.met = if flaw.is_some() { self.goal.map(|_| false) } else { self.met };
        Self { flaw, ..self }
    }
}

/// 1000000 as 1,000,000.
fn count(number: usize) -> String {
    super::table::grouped(number)
}

/// Measures everything that needs no process of its own.
///
/// # Errors
/// When an engine's answer is wrong or cannot be proven.
pub fn measure(scenario: &Path, seed: u64) -> anyhow::Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for orders in SIZES {
        figures.extend(plate::measure(orders, seed)?);
    }
    for orders in SIZES {
        figures.extend(plate::measure_ties(orders, seed)?);
    }
    for orders in SIZES {
        figures.extend(feeder::measure(orders, seed)?);
    }
    figures.extend(day::measure(seed)?);
    figures.extend(backtest::measure_day(seed)?);
    figures.extend(backtest::measure(scenario, seed)?);
    Ok(figures)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_says_whether_its_goal_is_met() {
        let (ours, theirs) = (Duration::from_millis(30), ("sort", Duration::from_millis(10)));
        let met = |most| Figure::times("x", ours, theirs, most).met;
        assert_eq!((met(Some(3.01)), met(Some(2.9)), met(None)), (Some(true), Some(false), None));
        let faster = Figure::faster("x", Duration::from_millis(2), theirs, Some(5.0));
        assert_eq!((faster.measured, faster.met), (5.0, Some(true)));
        let share = Figure::share("x", Duration::from_millis(1), theirs, Some(0.01));
        assert_eq!((share.measured, share.met), (0.1, Some(false)));
        let also =
            share.also_of(("solve", Duration::from_millis(4))).also.expect("there is a time");
        assert_eq!((also.share, also.of, also.us), (0.25, "solve", 4_000.0));
    }
}
