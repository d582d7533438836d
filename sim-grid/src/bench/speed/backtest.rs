//! How many slots of a street's back-test go through in a second, and whether that stays in
//! proportion when the street grows.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};

use super::{Figure, Goal, Unit, count};
use crate::backtest::{Backtest, Options, OrderSource, Rule};
use crate::scenario::{Profiles, Scenario, Series, Synthetic};
use units::PointId;

/// Slots in a second that a back-test with the auction and the feeder should reach.
const LEAST_PER_S: f64 = 5_000.0;
/// Customers that a back-test should reach in proportion.
const CUSTOMERS: usize = 1_000;
/// How many times the cost of a slot and order may grow up to there.
const MOST_GROWTH: f64 = 1.25;
/// A day of a hundred houses should take so many seconds at most.
const MOST_DAY_S: f64 = 0.3;
/// And go through so many slots in a second.
const LEAST_DAY_PER_S: f64 = 400.0;
/// Runs of which the fastest counts.
const RUNS: usize = 3;

/// Back-tests a scenario with its auction, and a street of many more customers on the same feeder.
pub(super) fn measure(folder: &Path, seed: u64) -> anyhow::Result<Vec<Figure>> {
    let scenario = Scenario::load(folder).context("the scenario is refused")?;
    let customers = scenario.customers.len();
    tracing::info!("back-testing {} with its {customers} customers", scenario.name);
    let own = run(&scenario, seed)?;
    let large = grown(&scenario, CUSTOMERS)?;
    tracing::info!("back-testing it with {} customers", large.customers.len());
    let more = run(&large, seed)?;
    let growth = more.per_customer(large.customers.len()) / own.per_customer(customers);
    let what = format!("back-test, {} slots, {customers} customers", count(own.slots));
    let per_s = super::super::per_second(own.slots, own.spent);
    let mut rate = Figure::new(what, per_s, Unit::SlotsPerSecond, Some(Goal::AtLeast(LEAST_PER_S)));
    rate.ours_us = Some(own.spent.as_secs_f64() * 1e6);
    let what = format!("back-test, cost per customer at {}", count(large.customers.len()));
    let growth = Figure::new(what, growth, Unit::Times, Some(Goal::AtMost(MOST_GROWTH)));
    Ok(vec![rate, growth])
}

/// A whole day of a hundred houses, every second with PV, every fourth with a battery: what
/// `sim-grid backtest --synthetic houses=100` does from making the street to the report, with all
/// rules.
pub(super) fn measure_day(seed: u64) -> anyhow::Result<Vec<Figure>> {
    let street = Synthetic { seed, ..Synthetic::default() };
    tracing::info!("back-testing a day of {} houses with all rules", street.houses);
    let (mut best, mut slots) = (Duration::MAX, 0);
    for _ in 0..RUNS {
        let started = clock::processor_time();
        let scenario = street.scenario();
        let mut backtest = Backtest::new(&scenario, None, Options { seed, ..Options::default() })?;
        while backtest.step()? {}
        let report = backtest.finish()?;
        best = best.min(clock::processor_time().saturating_sub(started));
        slots = usize::try_from(report.run.slots)?;
        ensure!(slots == scenario.slots_from(scenario.timeline.first()), "a day has {slots} slots");
        ensure!(report.run.batteries == "simulated", "the batteries stand still");
        let traded = report.rules.iter().any(|rule| rule.rule == "auction" && rule.local_wh > 0);
        ensure!(traded, "nobody trades");
    }
    let what = format!("a day of {} houses, all rules", street.houses);
    let time = Some(Goal::AtMost(MOST_DAY_S));
    let rate = Some(Goal::AtLeast(LEAST_DAY_PER_S));
    let per_s = super::super::per_second(slots, best);
    Ok(vec![
        Figure::new(what, best.as_secs_f64(), Unit::Seconds, time),
        Figure::new(format!("  its {slots} slots"), per_s, Unit::SlotsPerSecond, rate),
    ])
}

struct Run {
    slots: usize,
    spent: Duration,
}

impl Run {
    #[expect(clippy::cast_precision_loss, reason = "a figure to read")]
    fn per_customer(&self, customers: usize) -> f64 {
        self.spent.as_secs_f64() / (self.slots * customers) as f64
    }
}

/// Every slot of the scenario, with the auction; orders by the households' policies, so that there
/// are some in every slot.
fn run(scenario: &Scenario, seed: u64) -> anyhow::Result<Run> {
    let mut best = Duration::MAX;
    let mut slots = 0;
    for _ in 0..RUNS {
        let rules = vec![Rule::Auction];
        let options = Options { rules, orders: OrderSource::Policy, seed, ..Options::default() };
        let mut backtest = Backtest::new(scenario, None, options)?;
        slots = backtest.len();
        let started = clock::processor_time();
        while backtest.step()? {}
        best = best.min(clock::processor_time().saturating_sub(started));
        ensure!(backtest.done() == slots, "{} of {slots} slots are done", backtest.done());
        backtest.finish()?;
    }
    Ok(Run { slots, spent: best })
}

/// The same street with at least so many customers: copies of its own on the same buses, all of
/// them so much smaller that the cables carry no more than before.
fn grown(scenario: &Scenario, customers: usize) -> anyhow::Result<Scenario> {
    let mut grown = scenario.clone();
    let own = scenario.customers.len();
    let copies = customers.div_ceil(own);
    let smaller: Vec<Profiles> =
        scenario.profiles.iter().map(|profile| divided(profile, copies)).collect();
    grown.profiles.clone_from(&smaller);
    for copy in 1..copies {
        for (customer, profile) in scenario.customers.iter().zip(&smaller) {
            let mut customer = customer.clone();
            customer.id = PointId::new(format!("{}-{copy}", customer.id))?;
            grown.customers.push(customer);
            grown.profiles.push(profile.clone());
        }
        grown.devices.extend(scenario.devices.iter().map(|device| {
            let mut device = device.clone();
            device.id = format!("{}-{copy}", device.id);
            device.customer += copy * own;
            device
        }));
    }
    Ok(grown)
}

fn divided(profile: &Profiles, by: usize) -> Profiles {
    let by = i32::try_from(by).expect("a few copies");
    let series = |series: &Option<Series>| {
        series.as_ref().map(|series| series.iter().map(|power| power / by).collect())
    };
    Profiles {
        base: series(&profile.base),
        heat_pump: series(&profile.heat_pump),
        ev: series(&profile.ev),
        reactive: series(&profile.reactive),
        pv: series(&profile.pv),
        pv_battery: series(&profile.pv_battery),
        published: series(&profile.published),
        runs_battery: profile.runs_battery,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grown_street_is_the_same_many_times() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios/semiurb4");
        let scenario = Scenario::load(&folder).expect("the shipped one");
        let large = grown(&scenario, 100).expect("names are fine");
        assert_eq!((large.customers.len(), large.profiles.len()), (123, 123));
        assert_eq!(large.devices.len(), 3 * scenario.devices.len());
        let last = large.devices.last().expect("some");
        assert!(last.customer >= 82 && last.customer < 123, "{}", last.customer);
        assert_eq!(large.customers[41 + 5].bus, scenario.customers[5].bus);
    }
}
