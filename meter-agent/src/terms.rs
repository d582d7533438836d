//! What the configuration means in the terms of the core: settings, and times of the wall as times of
//! the market.

use clock::Clock;
use protocol::{ClockStatus, Domain};
use units::{Energy, Slot};

use crate::config::{Config, ConfigError, DeviceConfig, Role};
use crate::control::Enabled;
use crate::core::policy::{Style, Wishes};
use crate::core::{BURST, HAND_SLACK_MS, Keys, Settings, Steering};
use crate::device::DeviceMap;
use crate::house::{Device, House};

/// A battery is not hurried into what is left of a slot when that is shorter, milliseconds of market
/// time.
const LEAST_REACTION_MS: i64 = 30_000;

/// How long an order may take to the operator, milliseconds of real time: it is saved before it is sent,
/// and disks of small machines are slow. And how much of market time that may be where it runs fast.
const ORDER_LEAD_MS: u64 = 1_000;
const MOST_ORDER_LEAD_MS: i64 = Slot::LENGTH_MS / 8;

/// What to bid by, when the household bids.
///
/// A battery that is not steered serves its house, as inverters do by themselves, and what it does is
/// learned as part of the load: a plan for it would order what does not come. One that is steered is
/// planned with as far as its owner lets it be.
fn bidding(config: &Config, leave: Option<&Enabled>) -> Result<Option<Wishes>, ConfigError> {
    let mut wishes = config.bidding.wishes()?;
    match (leave, &mut wishes.battery) {
        (Some(leave), Some(battery)) => {
            let (min, max) = leave.soc_permille();
            // mW over a quarter of an hour.
            let slot_wh = |mw: i64| Energy::from_wh(mw / 4_000);
            battery.capacity = Energy::from_wh(battery.capacity.wh() * (max - min) / 1_000);
            battery.charge = battery.charge.min(slot_wh(leave.most()));
            battery.discharge = battery.discharge.min(slot_wh(-leave.least()));
        }
        (None, _) => {
            wishes.battery = None;
            if wishes.style == Style::Battery {
                wishes.style = Style::Ladder;
            }
        }
        (Some(_), None) => {}
    }
    Ok(config.bidding.enabled.then_some(wishes))
}

/// The battery, where its owner lets it be steered.
fn steering(
    config: &Config,
    leave: Option<&Enabled>,
    clock: &Clock,
) -> Result<Option<Steering>, ConfigError> {
    let Some(leave) = leave else { return Ok(None) };
    let capacity = config.bidding.wishes()?.battery.map(|battery| battery.capacity);
    let react_ms = scaled_ms(config.poll_interval_ms, clock).max(LEAST_REACTION_MS);
    Ok(Some(Steering { leave: leave.clone(), capacity, react_ms }))
}

/// What does not change while the agent runs.
pub fn settings(
    config: &Config,
    domain: Domain,
    keys: Keys,
    clock: &Clock,
    leave: Option<&Enabled>,
) -> Result<Settings, ConfigError> {
    let meter = config.devices.iter().find(|device| device.role == Role::Meter);
    Ok(Settings {
        domain,
        point: config.point.clone(),
        epoch: config.epoch,
        operator: config.operator,
        keys,
        bidding: bidding(config, leave)?,
        steering: steering(config, leave, clock)?,
        connection_w: config.connection_w,
        grace_ms: grace_ms(config, clock),
        order_lead_ms: scaled_ms(ORDER_LEAD_MS, clock).min(MOST_ORDER_LEAD_MS),
        clock: clock_status(config),
        slack_ms: slack_ms(config, clock),
        max_waiting: config.journal.keep(),
        // While a clock that is moved by hand stands still, nothing would follow.
        burst: if clock.is_manual() { u64::from(u32::MAX) } else { BURST },
        allow_resetting: meter.is_some_and(|meter| meter.allow_resetting),
    })
}

/// What the owner lets be steered, by the devices' numbers.
pub fn leaves(config: &Config, maps: &[DeviceMap]) -> Result<Vec<(usize, Enabled)>, ConfigError> {
    let of = |(index, (device, map))| Ok(Enabled::of(device, map)?.map(|leave| (index, leave)));
    config.devices.iter().zip(maps).enumerate().map(of).filter_map(Result::transpose).collect()
}

/// How long the figures of each device count as present, milliseconds of market time.
pub fn max_ages_ms(config: &Config, clock: &Clock) -> Vec<i64> {
    let devices = config.devices.iter();
    devices
        .map(|device| max_age_ms(config, device.mqtt.as_ref().map(|m| m.max_age_s), clock))
        .collect()
}

/// The devices together, before any of them has said anything.
pub fn house(config: &Config, maps: &[DeviceMap], max_ages_ms: &[i64], clock: &Clock) -> House {
    let devices = config.devices.iter().zip(maps).zip(max_ages_ms);
    let devices = devices.map(|((device, map), &max_age_ms)| {
        let (name, role, pushes) = (device.name.clone(), device.role, !map.transport.is_modbus());
        let made = Device::new(name, role, device.no_export, pushes, max_age_ms);
        let steered = device.control.as_ref().is_some_and(|control| control.enabled);
        if steered && role == Role::Battery {
            made.steered(longest_gap_ms(config, device, clock))
        } else if device.integrate_power {
            made.summing_power(longest_gap_ms(config, device, clock))
        } else {
            made
        }
    });
    House::new(devices.collect())
}

/// How long figures count as present: three polls, or what the device's messages are given.
fn max_age_ms(config: &Config, stated_s: Option<u32>, clock: &Clock) -> i64 {
    match stated_s {
        Some(seconds) => i64::from(seconds) * 1_000,
        None => scaled_ms(3 * config.poll_interval_ms, clock).max(15_000),
    }
}

/// Over how long without a measurement power is summed up: two polls.
fn longest_gap_ms(config: &Config, device: &DeviceConfig, clock: &Clock) -> i64 {
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
