//! What the street costs: time, disk and memory, measured on the machine it runs on.
//!
//! Every part drives the code that production runs, says how much work was really done, and fails
//! when that work came out wrong: a fast wrong answer is no figure.

pub mod agent;
pub mod books;
pub mod clearing;
pub mod peers;
mod process;
pub mod readings;
pub mod speed;
pub mod street;
mod table;

use std::time::Duration;

use serde::Serialize;

pub use table::table;

/// Everything that was measured; a part that was not asked for is absent.
#[derive(Debug, Serialize)]
pub struct Report {
    /// On what.
    pub machine: Machine,
    /// Figures beside their goals.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub speed: Option<Vec<speed::Figure>>,
    /// What a large book takes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<speed::MemoryCost>,
    /// The auction.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clearing: Option<Vec<clearing::ClearingCost>>,
    /// The desk and its record.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub readings: Option<readings::ReadingCost>,
    /// A whole street.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub street: Option<street::StreetCost>,
    /// One household's process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<agent::AgentCost>,
    /// How long all of it took, seconds.
    pub seconds: f64,
}

impl Report {
    /// Nothing measured yet.
    #[must_use]
    pub const fn of(machine: Machine) -> Self {
        Self {
            machine,
            speed: None,
            memory: None,
            clearing: None,
            readings: None,
            street: None,
            agent: None,
            seconds: 0.0,
        }
    }
}

/// The machine and the build.
#[derive(Debug, Serialize)]
pub struct Machine {
    /// The processor's name, where the system tells.
    pub processor: Option<String>,
    /// Threads that run at once.
    pub cores: usize,
    /// `release` or `debug`; a debug build's figures mean little.
    pub build: &'static str,
    /// Processes that wanted to run in the last minute, on average, where the system tells.
    pub load: Option<f64>,
}

impl Machine {
    /// This one.
    #[must_use]
    pub fn here() -> Self {
        let processor = std::fs::read_to_string("/proc/cpuinfo").ok().and_then(|text| {
            let line = text.lines().find(|line| line.starts_with("model name"))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        });
        Self {
            processor,
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            build: if cfg!(debug_assertions) { "debug" } else { "release" },
            load: std::fs::read_to_string("/proc/loadavg")
                .ok()
                .and_then(|text| text.split(' ').next()?.parse().ok()),
        }
    }

    /// In a line.
    fn describe(&self) -> String {
        let processor = self.processor.as_ref().map(|name| format!(" of {name}"));
        let load = self.load.map(|load| format!(", load {load:.1}"));
        format!(
            "{} cores{}, {} build{}",
            self.cores,
            processor.unwrap_or_default(),
            self.build,
            load.unwrap_or_default()
        )
    }
}

/// How long one thing took when it was done several times, microseconds.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Spread {
    /// How often.
    pub runs: usize,
    /// The fastest.
    pub best_us: f64,
    /// The one in the middle.
    pub median_us: f64,
}

/// Fewest runs, unless one of them alone is far beyond the budget.
const FEWEST_RUNS: usize = 3;
/// Most runs.
const MOST_RUNS: usize = 51;

impl Spread {
    /// Does something 3 to 51 times, within about `budget`; twice that ends it after any run.
    pub fn measure(
        budget: Duration,
        mut once: impl FnMut() -> anyhow::Result<()>,
    ) -> anyhow::Result<Self> {
        let whole = clock::stopwatch();
        let mut runs = Vec::with_capacity(MOST_RUNS);
        while runs.len() < MOST_RUNS {
            let started = clock::stopwatch();
            once()?;
            runs.push(started.elapsed());
            let spent = whole.elapsed();
            if spent > 2 * budget || (spent > budget && runs.len() >= FEWEST_RUNS) {
                break;
            }
        }
        runs.sort_unstable();
        let micros = |run: Duration| run.as_secs_f64() * 1e6;
        Ok(Self {
            runs: runs.len(),
            best_us: micros(runs[0]),
            median_us: micros(runs[runs.len() / 2]),
        })
    }
}

/// Processor time of the fastest of 3 to 51 runs within about `budget`. Unlike elapsed time it does
/// not count what the machine does for others.
fn cpu_best<T>(budget: Duration, mut once: impl FnMut() -> T) -> Duration {
    let whole = clock::stopwatch();
    let mut best = Duration::MAX;
    for run in 1..=MOST_RUNS {
        let started = clock::processor_time();
        std::hint::black_box(once());
        best = best.min(clock::processor_time().saturating_sub(started));
        let spent = whole.elapsed();
        if spent > 2 * budget || (spent > budget && run >= FEWEST_RUNS) {
            break;
        }
    }
    best
}

/// How many of something there are in a second.
fn per_second(count: usize, elapsed: Duration) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a figure to read")]
    let count = count as f64;
    count / elapsed.as_secs_f64().max(1e-9)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_of_a_bounded_number_of_runs() {
        let mut count = 0;
        let quick = Spread::measure(Duration::from_secs(60), || {
            count += 1;
            Ok(())
        });
        assert_eq!(quick.expect("nothing fails").runs, MOST_RUNS);
        assert_eq!(count, MOST_RUNS);
        let none = Spread::measure(Duration::ZERO, || Ok(())).expect("nothing fails");
        assert_eq!(none.runs, 1);
        assert!(none.best_us <= none.median_us);
        Spread::measure(Duration::ZERO, || anyhow::bail!("wrong")).expect_err("the run's error");
    }
}
