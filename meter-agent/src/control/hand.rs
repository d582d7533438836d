//! The hand on one enabled device: writes what is wanted when it changes and before the device's
//! watchdog runs out, and gives the device back.
//!
//! It trusts nobody for long. A setpoint is wanted until a moment; when nobody has wanted anything
//! since, the device is released, though whoever decides may hang. A device that refuses is asked again
//! after longer and longer, and in the end no more.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};

use super::enabled::{Enabled, Setpoint};
use crate::chance::Chance;
use crate::modbus::{Line, SteerError, Steered, Unit};

/// First and longest wait after a device has refused, or could not be reached.
const AGAIN: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(600));
/// A device that has refused so often in a row is not asked any more until the agent starts again.
const MOST_REFUSALS: u32 = 6;
/// How long giving a device back may take when the agent ends.
const LEAVE: Duration = Duration::from_millis(1_500);

/// What is wanted of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// Market time of the figures that it follows from, Unix milliseconds.
    pub at_ms: i64,
    /// What to set; none = the device on its own.
    pub setpoint: Option<Setpoint>,
    /// Until when that is wanted without a further word.
    pub until: Instant,
}

/// What came of it: the market time of the figures, and what is set now or why it is not.
pub type Outcome = (i64, Result<Option<Setpoint>, String>);

/// The hand on one device.
pub struct Hand {
    leave: Enabled,
    wanted: watch::Receiver<Option<Wanted>>,
    chance: Chance,
    /// Something new is wanted.
    news: bool,
    /// What was written last, and when.
    written: Option<(Setpoint, Instant)>,
    /// Something may be set in the device.
    touched: bool,
    failures: u32,
    refusals: u32,
    not_before: Option<Instant>,
    told: Option<String>,
}

impl Hand {
    /// A hand that has not touched anything. A device without a watchdog may still stand as a process
    /// before this one has left it: it is given back first.
    pub fn new(leave: Enabled, wanted: watch::Receiver<Option<Wanted>>, chance: Chance) -> Self {
        let touched = leave.watchdog_s().is_none();
        Self {
            leave,
            wanted,
            chance,
            news: false,
            written: None,
            touched,
            failures: 0,
            refusals: 0,
            not_before: None,
            told: None,
        }
    }

    /// Waits until there is something to do; for ever when there is nothing. Nothing is lost when this
    /// is given up.
    pub async fn due(&mut self) {
        loop {
            let wake = self.wake();
            if wake.is_some_and(|wake| wake <= Instant::now()) {
                return;
            }
            let pause = async {
                match wake {
                    Some(wake) => sleep_until(wake).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                changed = self.wanted.changed(), if !self.news => match changed {
                    Ok(()) => self.news = true,
                    // Whoever wanted something has gone; `leave` gives the device back.
                    Err(_) => return std::future::pending().await,
                },
                () = pause => return,
            }
        }
    }

    /// When there is something to do next.
    fn wake(&self) -> Option<Instant> {
        if self.refusals >= MOST_REFUSALS {
            return None;
        }
        let now = Instant::now();
        let wanted = *self.wanted.borrow();
        let wanted = wanted.filter(|wanted| wanted.setpoint.is_some() && wanted.until > now);
        let next = match (self.news, self.written, wanted) {
            (true, ..) => now,
            // Before the watchdog runs out, or when nobody wants it any more.
            (false, Some((_, at)), Some(wanted)) => (at + self.refresh()).min(wanted.until),
            // It could not be written.
            (false, None, Some(_)) => now,
            (false, _, None) if self.touched => now,
            (false, _, None) => return None,
        };
        Some(self.not_before.map_or(next, |not_before| next.max(not_before)))
    }

    fn refresh(&self) -> Duration {
        Duration::from_millis(self.leave.refresh_ms())
    }

    /// Does what is to be done now; tells what came of it when that is worth a word.
    pub async fn act(&mut self, unit: &mut Unit, line: &Line) -> Option<Outcome> {
        let wanted = *self.wanted.borrow_and_update();
        let news = std::mem::take(&mut self.news);
        let now = Instant::now();
        let at_ms = wanted.map_or(0, |wanted| wanted.at_ms);
        let goal = wanted.filter(|wanted| wanted.until > now).and_then(|wanted| wanted.setpoint);
        let stands = match (goal, self.written) {
            (Some(goal), Some((written, at))) => goal == written && now < at + self.refresh(),
            (None, _) => !self.touched,
            (Some(_), None) => false,
        };
        if stands {
            return news.then_some((at_ms, Ok(goal)));
        }
        self.touched = true;
        let outcome = unit.steer(line, &self.leave, goal).await;
        let told = self.note(goal, outcome);
        match told {
            Ok(()) => Some((at_ms, Ok(goal))),
            Err(reason) if self.told.as_ref() == Some(&reason) => None,
            Err(reason) => {
                self.told = Some(reason.clone());
                Some((at_ms, Err(reason)))
            }
        }
    }

    fn note(
        &mut self,
        goal: Option<Setpoint>,
        outcome: Result<Steered, SteerError>,
    ) -> Result<(), String> {
        let reason = match outcome {
            Ok(Steered::Taken) => {
                (self.failures, self.refusals, self.not_before) = (0, 0, None);
                self.written = goal.map(|goal| (goal, Instant::now()));
                self.touched = goal.is_some();
                self.told = None;
                return Ok(());
            }
            Ok(Steered::Other { address, written, found }) => {
                self.refusals += 1;
                format!(
                    "register {address} was set to {written:x?} and holds {found:x?}: the device does \
                     not do as it is told; is remote control allowed in its settings?"
                )
            }
            Err(error) => {
                let refused = matches!(&error, SteerError::Line(line) if line.is_unsupported());
                let hopeless = matches!(error, SteerError::NoWay(_) | SteerError::Outside);
                self.refusals += u32::from(refused || hopeless);
                error.to_string()
            }
        };
        self.failures = self.failures.saturating_add(1);
        self.written = None;
        let (first, longest) = AGAIN;
        let wait = self.chance.backoff(self.failures, first, longest);
        self.not_before = Some(Instant::now() + wait);
        Err(if self.refusals >= MOST_REFUSALS {
            format!(
                "{reason}; it has refused {MOST_REFUSALS} times and is left alone until the agent starts again"
            )
        } else {
            reason
        })
    }

    /// Gives the device back, when something may be set in it and there is time.
    pub async fn leave(mut self, unit: &mut Unit, line: &Line) {
        if self.touched && self.refusals < MOST_REFUSALS {
            let released = timeout(LEAVE, unit.steer(line, &self.leave, None)).await;
            self.touched = !matches!(released, Ok(Ok(_)));
        }
        if self.touched && self.written.is_some() {
            let watchdog = match self.leave.watchdog_s() {
                Some(seconds) => format!("its own watchdog does it within {seconds} s"),
                None => "it has no watchdog and stays as it is".to_owned(),
            };
            tracing::warn!("a steered device could not be given back: {watchdog}");
        }
    }
}
