//! The clock: the only place that reads the time of day.
//!
//! Everything else receives a [`Clock`]. Market time is Unix milliseconds in UTC. In production it
//! is the system's time; a simulated street may run it faster ([`Clock::scaled`]), and a driver that
//! must not race with anything moves it by hand ([`Clock::manual`]).

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

/// Longest single sleep, so that a step of the system clock is noticed.
const LONGEST_NAP: Duration = Duration::from_secs(5);

/// `[clock]` in a configuration file: market time runs `speed` times faster than the system's
/// clock and both meet at the anchor. Every process of one street must use the same three values.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClockConfig {
    /// System time of the anchor, Unix milliseconds.
    pub anchor_wall_ms: i64,
    /// Market time of the anchor, Unix milliseconds.
    pub anchor_market_ms: i64,
    /// Market milliseconds per system millisecond, 0.01 to 100 000.
    pub speed: f64,
}

/// A source of market time; clones share it.
#[derive(Debug, Clone)]
pub struct Clock(Source);

#[derive(Debug, Clone)]
enum Source {
    System,
    Scaled(ClockConfig),
    Manual(Arc<watch::Receiver<i64>>),
}

/// Moves a manual clock; when it is dropped the clock stands still for good.
#[derive(Debug)]
pub struct ManualHand(watch::Sender<i64>);

impl Clock {
    /// The system's clock.
    #[must_use]
    pub const fn system() -> Self {
        Self(Source::System)
    }

    /// A clock that runs `speed` times faster than the system's. A speed that is not a positive
    /// number counts as 1.
    #[must_use]
    pub fn scaled(anchor_wall_ms: i64, anchor_market_ms: i64, speed: f64) -> Self {
        Self::from_config(Some(ClockConfig { anchor_wall_ms, anchor_market_ms, speed }))
    }

    /// The clock that a configuration asks for.
    #[must_use]
    pub fn from_config(config: Option<ClockConfig>) -> Self {
        match config {
            None => Self::system(),
            Some(mut config) => {
                let valid = config.speed.is_finite() && config.speed > 0.0;
                config.speed = if valid { config.speed.clamp(0.01, 100_000.0) } else { 1.0 };
                Self(Source::Scaled(config))
            }
        }
    }

    /// A clock that stands at `start_ms` until its hand is moved.
    #[must_use]
    pub fn manual(start_ms: i64) -> (Self, ManualHand) {
        let (sender, receiver) = watch::channel(start_ms);
        (Self(Source::Manual(Arc::new(receiver))), ManualHand(sender))
    }

    /// Market time in Unix milliseconds.
    #[must_use]
    pub fn now_ms(&self) -> i64 {
        match &self.0 {
            Source::System => wall_ms(),
            Source::Scaled(config) => {
                let elapsed = wall_ms() - config.anchor_wall_ms;
                #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation)]
                let scaled = (elapsed as f64 * config.speed) as i64;
                config.anchor_market_ms.saturating_add(scaled)
            }
            Source::Manual(hand) => *hand.borrow(),
        }
    }

    /// Market milliseconds per system millisecond (1 for a manual clock).
    #[must_use]
    pub fn speed(&self) -> f64 {
        match &self.0 {
            Source::Scaled(config) => config.speed,
            Source::System | Source::Manual(_) => 1.0,
        }
    }

    /// Whether the clock is moved by hand, so that waiting means waiting for the hand.
    #[must_use]
    pub const fn is_manual(&self) -> bool {
        matches!(self.0, Source::Manual(_))
    }

    /// Returns once market time has reached `moment_ms`; at once when it is past.
    pub async fn sleep_until(&self, moment_ms: i64) {
        if let Source::Manual(hand) = &self.0 {
            let mut hand = (**hand).clone();
            if hand.wait_for(|&now| now >= moment_ms).await.is_err() {
                std::future::pending::<()>().await;
            }
            return;
        }
        loop {
            let left_ms = moment_ms - self.now_ms();
            if left_ms <= 0 {
                return;
            }
            #[expect(clippy::cast_precision_loss)]
            let real = Duration::from_secs_f64(left_ms as f64 / 1_000.0 / self.speed());
            tokio::time::sleep(real.min(LONGEST_NAP).max(Duration::from_millis(1))).await;
        }
    }
}

impl ManualHand {
    /// Moves market time forward to `moment_ms`; never backwards.
    pub fn advance_to(&self, moment_ms: i64) {
        self.0.send_if_modified(|now| {
            let moves = moment_ms > *now;
            if moves {
                *now = moment_ms;
            }
            moves
        });
    }
}

/// The system's time of day in Unix milliseconds.
#[expect(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
#[must_use]
pub fn wall_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// A stopwatch for measurements that never influence a result.
#[expect(clippy::disallowed_methods, reason = "the one place that reads the monotonic clock")]
#[must_use]
pub fn stopwatch() -> std::time::Instant {
    std::time::Instant::now()
}

/// Processor time of this process so far, all its threads together; for measurements that never
/// influence a result.
#[must_use]
pub fn processor_time() -> Duration {
    let spent = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    let seconds = u64::try_from(spent.tv_sec).unwrap_or_default();
    Duration::new(seconds, u32::try_from(spent.tv_nsec).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scaled_clock_meets_its_anchor_and_runs_faster() {
        let wall = wall_ms();
        let clock = Clock::scaled(wall - 1_000, 50_000, 90.0);
        let now = clock.now_ms();
        assert!((140_000..200_000).contains(&now), "{now}");
        assert!(Clock::scaled(wall, 0, f64::NAN).speed() == 1.0);
    }

    #[tokio::test]
    async fn a_manual_clock_wakes_sleepers_when_the_hand_passes() {
        let (clock, hand) = Clock::manual(10);
        let sleeper = tokio::spawn({
            let clock = clock.clone();
            async move {
                clock.sleep_until(30).await;
                clock.now_ms()
            }
        });
        hand.advance_to(20);
        hand.advance_to(15);
        assert_eq!(clock.now_ms(), 20);
        hand.advance_to(35);
        assert_eq!(sleeper.await.expect("the sleeper ends"), 35);
    }
}
