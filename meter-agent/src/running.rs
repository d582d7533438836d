//! What lives while an agent runs: its channels, its timers, and the edge that is being read.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::time::Duration;

use rumqttc::v5::AsyncClient;
use tokio::sync::mpsc;
use tokio::time::{Instant, Interval, Sleep, sleep};
use units::Slot;

use crate::chance::Chance;
use crate::mqtt::SessionEvent;
use crate::poll::{Ask, Report};

/// First and longest wait before an edge is read again, real time.
const EDGE_RETRY: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(2));
/// First and longest wait for the operator's answer, real time.
const ANSWER_WAIT: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(15));

/// What happened, for the loop.
pub enum Event {
    Link(SessionEvent),
    Report(Report),
    Time,
    EdgeTimer,
    Overdue,
    Poll,
}

pub type Timer = Option<Pin<Box<Sleep>>>;

/// Waits for a timer; for ever when it is not set.
pub async fn due(timer: &mut Timer) {
    match timer {
        Some(timer) => timer.as_mut().await,
        None => std::future::pending().await,
    }
}

/// An edge that is being read.
pub struct EdgeReading {
    pub slot: Slot,
    /// The devices have been asked.
    pub begun: bool,
    /// Lines that have not answered yet.
    pub lines_open: usize,
    /// Nobody is waited for any longer.
    pub settled: bool,
    pub attempts: u32,
}

impl EdgeReading {
    /// An edge that nobody has been asked for yet.
    pub const fn of(slot: Slot) -> Self {
        Self { slot, begun: false, lines_open: 0, settled: false, attempts: 0 }
    }
}

/// From how much on a difference between the time of day and the time that went by is a step,
/// milliseconds.
const STEP_MS: i64 = 2_000;

/// Notices when the time of day is set, by a watch that only counts.
pub struct Steady {
    watch: std::time::Instant,
    /// The time of day when the watch was started; none where market time is not the time of day.
    from_ms: Option<i64>,
}

impl Steady {
    /// Starts the watch at a time of day.
    pub fn new(from_ms: Option<i64>) -> Self {
        Self { watch: clock::stopwatch(), from_ms }
    }

    /// What the time of day should be and what it is, when it was set since the last look. A
    /// computer that slept looks the same: its watch stood still.
    pub fn step(&mut self, now_ms: i64) -> Option<(i64, i64)> {
        let passed_ms = i64::try_from(self.watch.elapsed().as_millis()).unwrap_or(i64::MAX);
        let expected_ms = self.from_ms?.saturating_add(passed_ms);
        if now_ms.abs_diff(expected_ms) <= STEP_MS.unsigned_abs() {
            return None;
        }
        *self = Self::new(Some(now_ms));
        Some((expected_ms, now_ms))
    }
}

/// The parts that live while the agent runs.
pub struct Running {
    pub steady: Steady,
    pub lines: Vec<mpsc::Sender<Ask>>,
    pub reports: mpsc::Receiver<Report>,
    pub link: mpsc::Receiver<SessionEvent>,
    pub poll: Interval,
    pub client: Option<AsyncClient>,
    /// Lines that have not finished the present poll.
    pub polling: usize,
    pub edge: Option<EdgeReading>,
    pub edge_timer: Timer,
    pub answer_timer: Timer,
    pub answer_failures: u32,
    /// Devices that cannot be read, and why.
    pub silent: BTreeMap<usize, String>,
}

impl Running {
    /// Asks every line; returns how many took it. A line that is still busy does without.
    pub fn ask(&self, ask: Ask) -> usize {
        self.lines.iter().filter(|line| line.try_send(ask).is_ok()).count()
    }

    /// Asks the devices for the registers at the edge.
    pub fn begin_edge(&mut self) {
        let lines_open = self.ask(Ask::Edge);
        if let Some(edge) = &mut self.edge {
            (edge.begun, edge.lines_open) = (true, lines_open);
        }
    }

    /// Tries the edge again after a while.
    pub fn retry_edge(&mut self, chance: &mut Chance) {
        let asked = if self.edge_timer.is_none() { Some(self.ask(Ask::Edge)) } else { None };
        let Some(edge) = &mut self.edge else { return };
        if let Some(lines) = asked {
            edge.attempts = edge.attempts.saturating_add(1);
            edge.lines_open = lines;
            edge.settled = false;
            let (first, longest) = EDGE_RETRY;
            self.edge_timer = Some(Box::pin(sleep(chance.backoff(edge.attempts, first, longest))));
        }
    }

    pub fn await_answer(&mut self, chance: &mut Chance) {
        let (first, longest) = ANSWER_WAIT;
        let wait = chance.backoff(self.answer_failures + 1, first, longest);
        let until = Instant::now() + wait;
        match &mut self.answer_timer {
            Some(timer) => timer.as_mut().reset(until),
            None => self.answer_timer = Some(Box::pin(sleep(wait))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_set_is_noticed_once() {
        let mut steady = Steady::new(Some(1_000_000));
        assert_eq!(steady.step(1_000_500), None, "half a second is no step");
        let (expected, found) = steady.step(1_091_000).expect("a minute and a half");
        assert!((1_000_000..1_002_000).contains(&expected) && found == 1_091_000, "{expected}");
        assert_eq!(steady.step(1_091_100), None);
        assert_eq!(steady.step(1_001_000).map(|(_, found)| found), Some(1_001_000), "and back");
        assert_eq!(Steady::new(None).step(5), None, "a simulated clock runs as it likes");
    }
}
