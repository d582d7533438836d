//! The sign test: a kettle is switched on, and what flows shows which way each device counts.
//!
//! Whatever the house uses comes over the grid connection, out of the battery or from the roof:
//! *load = grid − battery − plant*, each positive into the house's side of it. A kettle moves the load
//! by its power and nothing else. Of all ways in which meter and battery could be the wrong way round,
//! only those stay in question that make a kettle of the step; what all of them say of a device is
//! proven, and where they differ it is not.

use std::time::Duration;

use clock::Clock;
use serde::Serialize;

use super::assign::{AssignError, Draft};
use super::progress::Progress;
use super::watching::{Track, Watching};
use crate::agent::AgentError;
use crate::config::{Config, ConfigError, Role};
use crate::device::{DeviceMap, Direction, Quantity};

/// The appliance's power when nobody says: a kettle, W.
pub const KETTLE_W: i64 = 2_000;
/// Appliances that can be told from noise, and that a house can bear, W.
pub const APPLIANCE_W: std::ops::RangeInclusive<i64> = 300..=20_000;
/// A step counts as the appliance within these parts of its power, per cent.
const STEP_PERCENT: (i64, i64) = (50, 150);
/// A level below this is nothing, mW.
const NOTHING_MW: i64 = 60_000;

/// Which way a device counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum Sign {
    /// As the map says.
    Right,
    /// The other way round.
    Reversed {
        /// What positive power means on it, for the configuration; none where the map makes the power
        /// of several figures and the sign is not one setting.
        positive_means: Option<Direction>,
    },
    /// It cannot be told, and why, and what to do.
    Unknown {
        /// In a sentence.
        why: String,
    },
}

/// What the test found about one device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DeviceSign {
    /// Name in the configuration.
    pub device: String,
    /// Its role.
    pub role: Role,
    /// Mean power before and after, W, positive into it as the map has it; none when it said nothing.
    pub before_w: Option<i64>,
    /// After the appliance was switched on.
    pub after_w: Option<i64>,
    /// Which way it counts.
    #[serde(flatten)]
    pub sign: Sign,
    /// What else was seen.
    pub remarks: Vec<String>,
}

/// Mean, and how far single values lie from it at most, in mW.
#[derive(Debug, Clone, Copy, Default)]
struct Level {
    mean_mw: i64,
    spread_mw: i64,
}

fn level(track: &Track, quantity: Quantity) -> Option<Level> {
    let values: Vec<i64> = track.values(quantity).into_iter().map(|(_, value)| value).collect();
    let count = i128::try_from(values.len()).ok().filter(|&count| count > 0)?;
    let sum: i128 = values.iter().map(|&value| i128::from(value)).sum();
    let mean_mw = i64::try_from(sum / count).ok()?;
    let spread = values.iter().map(|value| value.abs_diff(mean_mw)).max().unwrap_or_default();
    Some(Level { mean_mw, spread_mw: i64::try_from(spread).unwrap_or(i64::MAX) })
}

/// What moved on all devices of a role together.
#[derive(Debug, Clone, Copy, Default)]
struct Step {
    mw: i64,
    noise_mw: i64,
    there: bool,
}

fn step_of(config: &Config, role: Role, before: &[Track], after: &[Track]) -> Step {
    let mut step = Step::default();
    for (index, _) in config.devices.iter().enumerate().filter(|(_, device)| device.role == role) {
        let levels = before.get(index).zip(after.get(index)).and_then(|(before, after)| {
            Some((level(before, Quantity::Power)?, level(after, Quantity::Power)?))
        });
        let Some((was, is)) = levels else { continue };
        step.there = true;
        step.mw = step.mw.saturating_add(is.mean_mw.saturating_sub(was.mean_mw));
        step.noise_mw = step.noise_mw.saturating_add(was.spread_mw.max(is.spread_mw));
    }
    step
}

/// Judges the signs of all devices by what they said before and after an appliance of so many watts
/// was switched on. The tracks are in the order of the configuration's devices.
#[must_use]
pub fn judge_signs(
    config: &Config,
    maps: &[DeviceMap],
    before: &[Track],
    after: &[Track],
    appliance_w: i64,
) -> Vec<DeviceSign> {
    let [grid, battery, plant] =
        [Role::Meter, Role::Battery, Role::Pv].map(|role| step_of(config, role, before, after));
    let appliance_mw = appliance_w.saturating_mul(1_000);
    let (least, most) = STEP_PERCENT;
    let is_appliance =
        |mw: i64| (appliance_mw / 100 * least..=appliance_mw / 100 * most).contains(&mw);
    let battery_ways: &[i64] = if battery.there { &[1, -1] } else { &[1] };
    // The plant's own sign is seen by its level; its step is small, and taken as it must be.
    let plant_mw = if plant.mw == 0 { 0 } else { plant_step(config, before, after) };
    let mut possible: Vec<(i64, i64)> = Vec::new();
    for way in [1, -1] {
        for &other in battery_ways {
            let load = (way * grid.mw).saturating_sub(other * battery.mw).saturating_sub(plant_mw);
            if grid.there && is_appliance(load) {
                possible.push((way, other));
            }
        }
    }
    let noise_mw = grid.noise_mw.saturating_add(battery.noise_mw).saturating_add(plant.noise_mw);
    let doubt = doubt(&grid, &battery, noise_mw, appliance_w, &possible);
    config
        .devices
        .iter()
        .zip(maps)
        .enumerate()
        .map(|(index, (device, map))| {
            let (was, is) = (before.get(index), after.get(index));
            let power = |track: Option<&Track>| track.and_then(|own| level(own, Quantity::Power));
            let (was_mw, is_mw) = (power(was), power(is));
            let ways: Vec<i64> = match device.role {
                Role::Meter => possible.iter().map(|(way, _)| *way).collect(),
                Role::Battery => possible.iter().map(|(_, way)| *way).collect(),
                _ => Vec::new(),
            };
            let sign = match (device.role, was_mw, is_mw) {
                (_, None, _) | (_, _, None) => {
                    let failure = is.and_then(|track| track.failure.clone());
                    let said = is.is_some_and(|track| !track.samples.is_empty());
                    let why = failure.unwrap_or_else(|| {
                        let what = if said { "it told no power" } else { "it did not answer" };
                        format!("{what} while it was measured")
                    });
                    Sign::Unknown { why }
                }
                (Role::Pv, Some(_), Some(is)) => plant_sign(is, map),
                (Role::Battery, Some(was), Some(is)) => {
                    battery_sign(was, is, &ways, map, doubt.as_deref())
                }
                _ => meter_sign(&ways, map, doubt.as_deref()),
            };
            let mut remarks = Vec::new();
            if let (Role::Meter, Some(was), Some(is)) = (device.role, was, is) {
                let own_plant = plant.there || battery.there;
                remarks = meter_remarks(was, is, &sign, own_plant, appliance_mw);
            }
            DeviceSign {
                device: device.name.clone(),
                role: device.role,
                before_w: was_mw.map(|level| level.mean_mw / 1_000),
                after_w: is_mw.map(|level| level.mean_mw / 1_000),
                sign,
                remarks,
            }
        })
        .collect()
}

/// The change of what the plants produce, as a flow into them, whichever way they count.
fn plant_step(config: &Config, before: &[Track], after: &[Track]) -> i64 {
    let produced = |tracks: &[Track]| -> i64 {
        let plants = config.devices.iter().zip(tracks);
        plants
            .filter(|(device, _)| device.role == Role::Pv)
            .filter_map(|(_, track)| level(track, Quantity::Power))
            .map(|level| -level.mean_mw.abs())
            .fold(0, i64::saturating_add)
    };
    produced(after).saturating_sub(produced(before))
}

/// Why nothing can be said, when nothing can.
fn doubt(
    grid: &Step,
    battery: &Step,
    noise_mw: i64,
    appliance_w: i64,
    possible: &[(i64, i64)],
) -> Option<String> {
    let shown = |mw: i64| format!("{} W", mw / 1_000);
    if !grid.there {
        return Some("the meter told no power".to_owned());
    }
    if noise_mw > appliance_w.saturating_mul(400) {
        return Some(format!(
            "too much else moved (by {} while nothing should have): wait until clouds, oven or car are \
             done, and do it again",
            shown(noise_mw)
        ));
    }
    if possible.is_empty() {
        let moved = grid.mw.saturating_abs().max(battery.mw.saturating_abs());
        return Some(if moved < appliance_w.saturating_mul(300) {
            format!(
                "nothing moved by anything like {appliance_w} W (the meter by {}): was the appliance on \
                 all the time, and is it behind this meter?",
                shown(grid.mw)
            )
        } else {
            format!(
                "the meter moved by {} and the battery by {}, which makes no appliance of \
                 {appliance_w} W either way: say its real power with --watts, or do it again when \
                 nothing else is switched",
                shown(grid.mw),
                shown(battery.mw)
            )
        });
    }
    None
}

/// The other way round than the map says, in the word that belongs to the role.
fn reversed(map: &DeviceMap, role: Role) -> Sign {
    let into = |direction: Direction| direction.sign() < 0;
    let word = |into: bool| match (role, into) {
        (Role::Meter, true) => Direction::Import,
        (Role::Meter, false) => Direction::Export,
        (Role::Battery, true) => Direction::Charge,
        (Role::Battery, false) => Direction::Discharge,
        (_, true) => Direction::Consume,
        (_, false) => Direction::Produce,
    };
    Sign::Reversed { positive_means: map.positive_means().map(|direction| word(into(direction))) }
}

fn meter_sign(ways: &[i64], map: &DeviceMap, doubt: Option<&str>) -> Sign {
    match (doubt, ways.iter().min(), ways.iter().max()) {
        (Some(why), ..) => Sign::Unknown { why: why.to_owned() },
        (None, Some(1), Some(1)) => Sign::Right,
        (None, Some(-1), Some(-1)) => reversed(map, Role::Meter),
        _ => Sign::Unknown {
            why: "the battery delivered what the appliance took, so the meter hardly moved: keep the \
                  battery from discharging for five minutes (its app, or a full night's emptiness), or \
                  use a larger appliance"
                .to_owned(),
        },
    }
}

fn battery_sign(was: Level, is: Level, ways: &[i64], map: &DeviceMap, doubt: Option<&str>) -> Sign {
    let moved = is.mean_mw.abs_diff(was.mean_mw);
    if moved < 2 * NOTHING_MW.unsigned_abs() {
        let why = "it did not move, so it shows nothing; look at it while it charges: its power must \
                   be positive";
        return Sign::Unknown { why: why.to_owned() };
    }
    match (doubt, ways.iter().min(), ways.iter().max()) {
        (Some(why), ..) => Sign::Unknown { why: why.to_owned() },
        (None, Some(1), Some(1)) => Sign::Right,
        (None, Some(-1), Some(-1)) => reversed(map, Role::Battery),
        _ => Sign::Unknown {
            why: "it moved less than the appliance, so both ways are possible".to_owned(),
        },
    }
}

/// A plant that produces shows a flow out of itself.
fn plant_sign(is: Level, map: &DeviceMap) -> Sign {
    if is.mean_mw < -NOTHING_MW {
        Sign::Right
    } else if is.mean_mw > NOTHING_MW {
        reversed(map, Role::Pv)
    } else {
        Sign::Unknown { why: "it produces nothing at present; do it again by day".to_owned() }
    }
}

const PHASES: [Quantity; 3] = [Quantity::PowerL1, Quantity::PowerL2, Quantity::PowerL3];

/// What the phases and the counters of the meter show besides.
fn meter_remarks(
    before: &Track,
    after: &Track,
    sign: &Sign,
    own_plant: bool,
    appliance_mw: i64,
) -> Vec<String> {
    let mut remarks = Vec::new();
    let phases: Vec<(usize, i64, i64)> = PHASES
        .iter()
        .enumerate()
        .filter_map(|(index, &phase)| {
            let (was, is) = (level(before, phase)?, level(after, phase)?);
            Some((index + 1, was.mean_mw, is.mean_mw))
        })
        .collect();
    let moved = |&(_, was, is): &(usize, i64, i64)| is.saturating_sub(was);
    let carrier = phases.iter().max_by_key(|phase| moved(phase).unsigned_abs());
    if let Some(carrier) = carrier.filter(|phase| moved(phase).abs() > appliance_mw / 3) {
        remarks.push(format!("the appliance is on phase L{}", carrier.0));
        let others = phases.iter().filter(|phase| phase.0 != carrier.0);
        let others_draw = phases.len() > 1 && others.clone().all(|phase| phase.1 > NOTHING_MW / 3);
        if moved(carrier) < 0 && others_draw && !own_plant {
            remarks.push(format!(
                "only phase L{} goes down when something is switched on, and the others draw: the clamp \
                 on L{} is the wrong way round. Have it turned; do not change the sign of the whole \
                 meter",
                carrier.0, carrier.0
            ));
        }
    }
    if !own_plant {
        for (phase, _, is) in
            phases.iter().filter(|(_, was, is)| *was < -NOTHING_MW && *is < -NOTHING_MW)
        {
            let all = phases.iter().all(|(_, was, _)| *was < 0);
            if !all {
                remarks.push(format!(
                    "phase L{phase} feeds {} W into the grid, and there is no plant in the \
                     configuration: assign it, or that clamp is the wrong way round",
                    is.abs() / 1_000
                ));
            }
        }
    }
    counters(after, sign, &phases, &mut remarks);
    remarks
}

/// How much a counter grew, mWh; none when it told nothing.
fn grown(track: &Track, quantity: Quantity) -> Option<i64> {
    let values = track.values(quantity);
    Some(values.last()?.1.saturating_sub(values.first()?.1))
}

fn resolution(track: &Track, quantity: Quantity) -> i64 {
    let figure = track.samples.last().and_then(|sample| sample.figure(quantity));
    figure.and_then(|figure| figure.resolution).unwrap_or(1_000).max(1)
}

/// Whether the counters run as the power says.
fn counters(after: &Track, sign: &Sign, phases: &[(usize, i64, i64)], remarks: &mut Vec<String>) {
    let (Some(import), Some(export)) =
        (grown(after, Quantity::EnergyImport), grown(after, Quantity::EnergyExport))
    else {
        return;
    };
    let step =
        resolution(after, Quantity::EnergyImport).max(resolution(after, Quantity::EnergyExport));
    let opposed = phases.iter().any(|&(_, _, is)| is > NOTHING_MW)
        && phases.iter().any(|&(_, _, is)| is < -NOTHING_MW);
    if import >= 2 * step && export >= 2 * step {
        if opposed {
            remarks.push(
                "both counters run at once while the phases flow in opposite directions: this meter \
                 counts each phase on its own, which is not how you are billed. See \
                 docs/devices.md"
                    .to_owned(),
            );
        }
        return;
    }
    if opposed && (import >= 2 * step || export >= 2 * step) {
        remarks.push("it counts the sum of its phases, as a billing meter does".to_owned());
    }
    let power = level(after, Quantity::Power).map_or(0, |level| level.mean_mw);
    let true_mw = match sign {
        Sign::Right => power,
        Sign::Reversed { .. } => -power,
        Sign::Unknown { .. } => return,
    };
    let (runs, stands) = if true_mw > 0 { (import, export) } else { (export, import) };
    if true_mw.abs() > 4 * NOTHING_MW && stands >= 2 * step && runs < step {
        remarks.push(format!(
            "you are {}, and the other counter runs: import and export are exchanged in this map or \
             by the wiring. Do not settle on it before that is mended",
            if true_mw > 0 { "buying" } else { "selling" }
        ));
    } else if runs >= 2 * step && stands < step {
        remarks.push("the right counter runs, the other stands still".to_owned());
    }
}

/// How long is measured before and after, at least.
pub const SPAN: Duration = Duration::from_secs(8);
/// How long the appliance may take to be switched on.
pub const PATIENCE: Duration = Duration::from_secs(120);
/// What an appliance needs until it draws its power evenly.
const SETTLING: Duration = Duration::from_secs(3);

/// Measures, asks for the appliance, waits until something moves, and measures again.
///
/// # Errors
/// [`AgentError`] when the configuration cannot be used.
pub async fn sign_test(
    config: &Config,
    clock: &Clock,
    appliance_w: i64,
    span: Duration,
    progress: &Progress,
) -> Result<Vec<DeviceSign>, AgentError> {
    let maps = config.maps().map_err(ConfigError::from)?;
    let mut watching = Watching::start(config, clock)?;
    progress
        .tell(&format!("Measuring for {} s: switch nothing on or off just now", span.as_secs()));
    let before = watching.watch(span, |_| false).await;
    let heard = config.devices.iter().zip(&before).any(|(device, track)| {
        device.role == Role::Meter && !track.values(Quantity::Power).is_empty()
    });
    if !heard {
        return Ok(judge_signs(config, &maps, &before, &before, appliance_w));
    }
    progress.tell(&format!(
        "NOW: switch on a kettle or another appliance of about {appliance_w} W, and leave it on"
    ));
    let threshold_mw = appliance_w.saturating_mul(300);
    let has_moved = |track: &Track, was: &Track| {
        let newest = track.values(Quantity::Power).last().map(|&(_, value)| value);
        newest.zip(level(was, Quantity::Power)).is_some_and(|(now, was)| {
            now.saturating_sub(was.mean_mw).saturating_abs() > threshold_mw
        })
    };
    let mut moved = false;
    watching
        .watch(PATIENCE, |tracks| {
            moved = tracks.iter().zip(&before).any(|(track, was)| has_moved(track, was));
            moved
        })
        .await;
    if moved {
        progress.tell("Something moved: leave it on, measuring again");
        watching.watch(SETTLING, |_| false).await;
    } else {
        progress.tell("Nothing moved for two minutes: measuring once more all the same");
    }
    let after = watching.watch(span, |_| false).await;
    progress.tell("Done: you can switch it off");
    Ok(judge_signs(config, &maps, &before, &after, appliance_w))
}

/// Writes into a configuration what the test found reversed.
///
/// # Errors
/// [`AssignError`]; the draft is as before.
pub fn apply_signs(draft: &mut Draft, signs: &[DeviceSign]) -> Result<(), AssignError> {
    for sign in signs {
        let Sign::Reversed { positive_means: Some(direction) } = sign.sign else { continue };
        let config = draft.config();
        let found = config.devices.iter().position(|device| device.name == sign.device);
        let Some(index) = found else { continue };
        let mut device = config.devices[index].clone();
        device.positive_means = Some(direction);
        let value = toml::Value::try_from(direction).expect("a word").to_string();
        draft.set(index, ("positive_means", &value), &device)?;
    }
    Ok(())
}
