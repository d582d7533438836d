//! What the configuration means in the terms of the core: settings, and times of the wall as times of
//! the market.

use clock::Clock;
use protocol::{ClockStatus, Domain, HouseholdKey};
use units::Slot;

use crate::config::{Config, ConfigError, DeviceConfig, Role};
use crate::core::policy::{Style, Wishes};
use crate::core::{HAND_SLACK_MS, Settings};

/// How long an order may take to the operator, milliseconds of real time: it is saved before it is sent,
/// and disks of small machines are slow. And how much of market time that may be where it runs fast.
const ORDER_LEAD_MS: u64 = 1_000;
const MOST_ORDER_LEAD_MS: i64 = Slot::LENGTH_MS / 8;

/// What to bid by, when the household bids.
///
/// No setpoints are sent to a battery: it serves its house, as inverters do by themselves, and what it
/// does is learned as part of the load. A plan for it would order what does not come.
fn bidding(config: &Config) -> Result<Option<Wishes>, ConfigError> {
    let wishes = config.bidding.wishes()?;
    let style = if wishes.style == Style::Battery { Style::Ladder } else { wishes.style };
    Ok(config.bidding.enabled.then_some(Wishes { style, ..wishes }))
}

/// What does not change while the agent runs.
pub fn settings(
    config: &Config,
    domain: Domain,
    key: HouseholdKey,
    clock: &Clock,
) -> Result<Settings, ConfigError> {
    let meter = config.devices.iter().find(|device| device.role == Role::Meter);
    Ok(Settings {
        domain,
        point: config.point.clone(),
        epoch: config.epoch,
        operator: config.operator,
        key,
        bidding: bidding(config)?,
        connection_w: config.connection_w,
        grace_ms: grace_ms(config, clock),
        order_lead_ms: scaled_ms(ORDER_LEAD_MS, clock).min(MOST_ORDER_LEAD_MS),
        clock: clock_status(config),
        slack_ms: slack_ms(config, clock),
        max_waiting: config.journal.keep(),
        allow_resetting: meter.is_some_and(|meter| meter.allow_resetting),
    })
}

/// How long figures count as present: three polls, or what the device's messages are given.
pub fn max_age_ms(config: &Config, stated_s: Option<u32>, clock: &Clock) -> i64 {
    match stated_s {
        Some(seconds) => i64::from(seconds) * 1_000,
        None => scaled_ms(3 * config.poll_interval_ms, clock).max(15_000),
    }
}

/// Over how long without a measurement power is summed up: two polls.
pub fn longest_gap_ms(config: &Config, device: &DeviceConfig, clock: &Clock) -> i64 {
    match &device.mqtt {
        Some(mqtt) => i64::from(mqtt.max_age_s) * 1_000,
        None => scaled_ms(2 * config.poll_interval_ms, clock),
    }
}

/// How much older than it seems the last change of a counter may be: it changed between two looks,
/// and a simulated device may be a slot ahead of the clock.
fn slack_ms(config: &Config, clock: &Clock) -> i64 {
    if clock.is_manual() || config.clock.is_some() {
        return HAND_SLACK_MS;
    }
    scaled_ms(2 * config.poll_interval_ms, clock).max(60_000)
}

/// How long after an edge its registers may be read.
fn grace_ms(config: &Config, clock: &Clock) -> i64 {
    let stated = config.edge_grace_s.map(|seconds| i64::from(seconds) * 1_000);
    stated.unwrap_or_else(|| scaled_ms(2_000, clock).clamp(60_000, Slot::LENGTH_MS / 2))
}

/// Real milliseconds as market milliseconds.
fn scaled_ms(real_ms: u64, clock: &Clock) -> i64 {
    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation)]
    let market_ms = (real_ms as f64 * clock.speed()) as i64;
    market_ms
}

/// How far the clock can be trusted: what the configuration says, or what can be seen.
fn clock_status(config: &Config) -> ClockStatus {
    let served = || std::path::Path::new("/run/systemd/timesync/synchronized").exists();
    match config.clock_status {
        Some(status) => status,
        None if config.clock.is_some() => ClockStatus::Relative,
        None if served() => ClockStatus::Synchronised,
        None => ClockStatus::Informative,
    }
}
