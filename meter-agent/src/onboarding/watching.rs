//! Looking at all devices of a configuration for a while: what the sign test and the plausibility
//! check are made from.

use std::time::Duration;

use clock::Clock;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout_at};

use crate::agent::AgentError;
use crate::chance::Chance;
use crate::config::{Config, ConfigError};
use crate::device::{Quantity, Readout};
use crate::modbus::Line;
use crate::poll::{self, Ask, Plan, Report, serve_broker, serve_line};
use crate::streams::serve_stream;

/// Most readings of one device that are kept.
const MOST_SAMPLES: usize = 1_200;
/// Reports that may wait.
const QUEUE: usize = 64;

/// What one device said over a while.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Track {
    /// Readings, oldest first. What a device tells in several messages is put together.
    pub samples: Vec<Readout>,
    /// Why it could not be read, the newest reason; none when it answered last.
    pub failure: Option<String>,
}

impl Track {
    /// Every value of a quantity with the time it was true, milliseconds; a value that a later reading
    /// only repeats from an earlier message counts once.
    #[must_use]
    pub fn values(&self, quantity: Quantity) -> Vec<(i64, i64)> {
        let mut values: Vec<(i64, i64)> = Vec::new();
        for sample in &self.samples {
            let Some(figure) = sample.figure(quantity) else { continue };
            let Some(&value) = figure.value.as_value() else { continue };
            if values.last().is_none_or(|&(taken_ms, _)| taken_ms < figure.taken_ms) {
                values.push((figure.taken_ms, value));
            }
        }
        values
    }

    fn take(&mut self, readout: Readout) {
        let mut whole = self.samples.last().cloned().unwrap_or_default();
        whole.merge(readout);
        if self.samples.len() == MOST_SAMPLES {
            self.samples.remove(0);
        }
        self.samples.push(whole);
        self.failure = None;
    }
}

/// The open lines, brokers and ports of a configuration; closed when dropped.
pub struct Watching {
    asks: Vec<mpsc::Sender<Ask>>,
    reports: mpsc::Receiver<Report>,
    devices: usize,
    every: Duration,
    _tasks: JoinSet<()>,
}

impl Watching {
    /// Opens everything; nothing is asked yet.
    ///
    /// # Errors
    /// [`AgentError`] when the configuration cannot be used; a silent device is none.
    pub fn start(config: &Config, clock: &Clock) -> Result<Self, AgentError> {
        let maps = config.maps().map_err(ConfigError::from)?;
        let plan = Plan::of(config, maps)?;
        let (reports_in, reports) = mpsc::channel(QUEUE);
        let mut tasks = JoinSet::new();
        let mut asks = Vec::new();
        for line in plan.lines {
            let (ask, asked) = poll::asks();
            asks.push(ask);
            let connection = Line::open(line.place.clone(), Chance::from_system());
            tasks.spawn(serve_line(line, connection, asked, reports_in.clone(), clock.clone()));
        }
        for broker in plan.brokers {
            let chance = Chance::from_system();
            tasks.spawn(serve_broker(broker, reports_in.clone(), clock.clone(), chance));
        }
        for stream in plan.streams {
            let chance = Chance::from_system();
            tasks.spawn(serve_stream(stream, reports_in.clone(), clock.clone(), chance));
        }
        let every = Duration::from_millis(config.poll_interval_ms).max(Duration::from_millis(250));
        Ok(Self { asks, reports, devices: config.devices.len(), every, _tasks: tasks })
    }

    /// What the devices say from now on for so long, or until `enough` is content with it.
    pub async fn watch(
        &mut self,
        span: Duration,
        mut enough: impl FnMut(&[Track]) -> bool,
    ) -> Vec<Track> {
        let mut tracks = vec![Track::default(); self.devices];
        let end = Instant::now() + span;
        let mut turn = interval(self.every);
        turn.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !enough(&tracks) {
            let next = async {
                tokio::select! {
                    _ = turn.tick() => None,
                    report = self.reports.recv() => report,
                }
            };
            match timeout_at(end, next).await {
                Err(_) => break,
                Ok(None) => {
                    for line in &self.asks {
                        // A line that is still busy does without.
                        let _ = line.try_send(Ask::Poll);
                    }
                }
                Ok(Some(Report::Device(index, outcome))) => {
                    let Some(track) = tracks.get_mut(index) else { continue };
                    match outcome {
                        Ok(readout) => track.take(readout),
                        Err(reason) => track.failure = Some(reason),
                    }
                }
                // Nobody steers here: no hand was laid on anything.
                Ok(Some(Report::Done(_) | Report::Steered(..))) => {}
            }
        }
        tracks
    }
}
