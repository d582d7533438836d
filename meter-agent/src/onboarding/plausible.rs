//! Whether what all devices say over a while can be true: the third and strictest check.
//!
//! Each rule compares two things that must agree: a voltage with the standard (EN 50160: 230 V ± 10 %),
//! a counter with itself a moment ago, energy with power over time, the house with what flows in and
//! out of it, the sun with the plant. A rule that has too little to go by says so.

use serde::Serialize;
use units::Slot;

use super::fit::judge;
use super::watching::Track;
use crate::config::{Config, DeviceConfig, Role};
use crate::core::forecast::Site;
use crate::device::{DeviceMap, Identity, Observed, Quantity};

/// Below this a house or a plant does nothing, mW.
const NOTHING_MW: i64 = 60_000;
/// What a counter may be behind its power, mWh.
const LAZY_MWH: i128 = 4_000;
/// A device's clock may be off by so much, milliseconds, before it is odd, and wrong.
const CLOCK_MS: (u64, u64) = (5_000, 60_000);

/// How a rule came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It holds.
    Fine,
    /// There is too little to go by.
    Open,
    /// It can be, but a person should look.
    Odd,
    /// It cannot be.
    Wrong,
}

/// One rule about one device, or about all together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Remark {
    /// The device; none when it is about all together.
    pub device: Option<String>,
    /// How it came out.
    pub verdict: Verdict,
    /// What was compared, and what to do when it is not fine.
    pub text: String,
}

/// Holds everything that was said against the rules. The tracks are in the order of the devices;
/// `site` is where the house stands, if it is known.
#[must_use]
pub fn plausible(
    config: &Config,
    maps: &[DeviceMap],
    tracks: &[Track],
    site: Option<Site>,
    now_ms: i64,
) -> Vec<Remark> {
    let mut remarks = Vec::new();
    for ((device, map), track) in config.devices.iter().zip(maps).zip(tracks) {
        let mut add = |verdict: Verdict, text: String| {
            remarks.push(Remark { device: Some(device.name.clone()), verdict, text });
        };
        let Some(last) = track.samples.last() else {
            let why = track.failure.clone().unwrap_or_else(|| "it said nothing".to_owned());
            add(Verdict::Wrong, format!("{why}; `check --live` tells more"));
            continue;
        };
        for against in judge(map, last, &Identity::default(), None).against {
            add(Verdict::Wrong, format!("{against}: is it the right map?"));
        }
        mains(track, &mut add);
        counters(track, &mut add);
        energy_and_power(device, track, &mut add);
        connection(config, device, track, &mut add);
        device_clock(track, &mut add);
        if device.role == Role::Pv {
            plant_and_sun(track, site, now_ms, &mut add);
        }
        if let Some(reason) = &track.failure {
            add(Verdict::Odd, format!("it did not always answer: {reason}"));
        }
    }
    remarks.extend(house(config, tracks));
    remarks
}

fn newest(track: &Track, quantity: Quantity) -> Option<i64> {
    track.values(quantity).last().map(|&(_, value)| value)
}

fn mains(track: &Track, add: &mut impl FnMut(Verdict, String)) {
    let mut fine = Vec::new();
    for quantity in [Quantity::VoltageL1, Quantity::VoltageL2, Quantity::VoltageL3] {
        let Some(voltage) = newest(track, quantity) else { continue };
        let shown = quantity.shown(voltage);
        if voltage == 0 {
            add(Verdict::Open, format!("{quantity} is 0 V: nothing is connected there?"));
        } else if (207_000..=253_000).contains(&voltage) {
            fine.push(shown);
        } else {
            add(
                Verdict::Odd,
                format!(
                    "{quantity} of {shown} is not within 207 to 253 V: tell your grid operator, or \
                         the map is wrong"
                ),
            );
        }
    }
    if !fine.is_empty() {
        add(Verdict::Fine, format!("voltage within 207 to 253 V ({})", fine.join(", ")));
    }
    if let Some(frequency) = newest(track, Quantity::Frequency).filter(|&mhz| mhz != 0) {
        let shown = Quantity::Frequency.shown(frequency);
        let near = |nominal: i64| frequency.abs_diff(nominal) <= 500;
        if near(50_000) || near(60_000) {
            add(Verdict::Fine, format!("frequency {shown}"));
        } else {
            add(Verdict::Odd, format!("{shown} is far from 50 and 60 Hz"));
        }
    }
}

const COUNTERS: [Quantity; 5] = [
    Quantity::EnergyImport,
    Quantity::EnergyExport,
    Quantity::EnergyProduced,
    Quantity::EnergyCharged,
    Quantity::EnergyDischarged,
];

fn counters(track: &Track, add: &mut impl FnMut(Verdict, String)) {
    let mut steady = 0;
    for quantity in COUNTERS {
        let values = track.values(quantity);
        let fall = values.windows(2).find(|pair| pair[1].1 < pair[0].1);
        match fall {
            Some(pair) => add(
                Verdict::Wrong,
                format!(
                    "{quantity} fell from {} to {}: a counter never does. Is the order of bytes right, \
                     or is another device answering in between?",
                    quantity.shown(pair[0].1),
                    quantity.shown(pair[1].1)
                ),
            ),
            None if values.len() > 1 => steady += 1,
            None => {}
        }
    }
    match steady {
        0 => {}
        1 => add(Verdict::Fine, "one counter, which did not run backwards".to_owned()),
        _ => add(Verdict::Fine, format!("{steady} counters, none of which ran backwards")),
    }
}

/// Energy by the integral of power, mWh, for the part that flows in and the part that flows out.
fn integral(values: &[(i64, i64)]) -> (i128, i128) {
    let mut sums = (0_i128, 0_i128);
    for pair in values.windows(2) {
        let (time_ms, mean_mw) = (pair[1].0 - pair[0].0, (pair[0].1 / 2) + (pair[1].1 / 2));
        let energy = i128::from(mean_mw) * i128::from(time_ms);
        if energy > 0 { sums.0 += energy } else { sums.1 -= energy }
    }
    (sums.0 / 3_600_000, sums.1 / 3_600_000)
}

/// Whether counters grow by what the power says.
fn energy_and_power(device: &DeviceConfig, track: &Track, add: &mut impl FnMut(Verdict, String)) {
    let power = track.values(Quantity::Power);
    let (into, out) = integral(&power);
    let pairs: &[(Quantity, i128)] = match device.role {
        Role::Meter => &[(Quantity::EnergyImport, into), (Quantity::EnergyExport, out)],
        Role::Battery => &[(Quantity::EnergyCharged, into), (Quantity::EnergyDischarged, out)],
        _ => &[(Quantity::EnergyProduced, into.max(out))],
    };
    for &(quantity, expected) in pairs {
        let values = track.values(quantity);
        let (Some(first), Some(last)) = (values.first(), values.last()) else { continue };
        let grown = i128::from(last.1.saturating_sub(first.1));
        let figure = track.samples.last().and_then(|sample| sample.figure(quantity));
        let step = i128::from(figure.and_then(|own| own.resolution).unwrap_or(1_000).max(1_000));
        // Many counters are brought up to date less often than the power.
        let slack = (2 * step).max(LAZY_MWH) + expected / 5;
        let wh = |mwh: i128| format!("{}.{:03} Wh", mwh / 1_000, (mwh % 1_000).abs());
        if (grown - expected).abs() > slack {
            add(
                Verdict::Odd,
                format!(
                    "{quantity} grew by {}, its power makes {}: is the sign right (`sign-test`), or the \
                     scale of one of them?",
                    wh(grown),
                    wh(expected)
                ),
            );
        } else if expected >= 2 * LAZY_MWH.max(step) {
            add(Verdict::Fine, format!("{quantity} grew by {} as its power says", wh(grown)));
        } else if expected > 0 {
            add(
                Verdict::Open,
                format!(
                    "{quantity}: too little flowed ({}) to compare with power; watch longer",
                    wh(expected)
                ),
            );
        }
    }
}

fn connection(
    config: &Config,
    device: &DeviceConfig,
    track: &Track,
    add: &mut impl FnMut(Verdict, String),
) {
    let Some(power) = newest(track, Quantity::Power) else { return };
    let most = config.connection_w.saturating_mul(1_000);
    if device.role == Role::Meter && power.saturating_abs() > most {
        add(
            Verdict::Wrong,
            format!(
                "{} is more than the connection can carry (connection_w = {}): wrong scale, or a wrong \
                 connection_w",
                Quantity::Power.shown(power),
                config.connection_w
            ),
        );
    }
}

fn device_clock(track: &Track, add: &mut impl FnMut(Verdict, String)) {
    let newest = track.samples.iter().rev().find_map(|sample| sample.device_clock_ms);
    let Some((shown_ms, taken_ms)) = newest else { return };
    let off_ms = shown_ms.abs_diff(taken_ms);
    let text = format!("its clock is off by {}.{} s", off_ms / 1_000, off_ms % 1_000 / 100);
    let (odd, wrong) = CLOCK_MS;
    if off_ms > wrong {
        add(
            Verdict::Odd,
            format!("{text}: set it, or its time zone; the agent goes by its own clock"),
        );
    } else if off_ms > odd {
        add(Verdict::Odd, format!("{text}; the agent goes by its own clock"));
    } else {
        add(Verdict::Fine, text);
    }
}

fn plant_and_sun(
    track: &Track,
    site: Option<Site>,
    now_ms: i64,
    add: &mut impl FnMut(Verdict, String),
) {
    let Some(power) = newest(track, Quantity::Power) else {
        let asleep = track.samples.last().map(|sample| sample.observed(Quantity::Power));
        if let Some(Observed::Absent(why)) = asleep {
            add(Verdict::Open, format!("it produces nothing at present ({why}); check it by day"));
        }
        return;
    };
    if power > NOTHING_MW {
        add(
            Verdict::Wrong,
            format!(
                "{} flow into it: a plant that takes power counts the wrong way round (`sign-test`)",
                Quantity::Power.shown(power)
            ),
        );
    } else if power < -NOTHING_MW {
        let sky = site.map(|site| site.clear_sky(Slot::at_ms(now_ms).number()));
        let shown = Quantity::Power.shown(-power);
        match sky {
            Some(sky) if sky <= 0.0 => add(
                Verdict::Wrong,
                format!(
                    "it produces {shown} in the dark: is it this plant, and are latitude and \
                         longitude right?"
                ),
            ),
            Some(_) => add(Verdict::Fine, format!("it produces {shown}, and the sun is up")),
            None => add(Verdict::Fine, format!("it produces {shown}")),
        }
    } else {
        add(Verdict::Open, "it produces nothing at present; check it by day".to_owned());
    }
}

/// The house uses what flows in and is not stored; it cannot use less than nothing.
fn house(config: &Config, tracks: &[Track]) -> Option<Remark> {
    let mut load_mw = 0_i64;
    let mut others = false;
    for (device, track) in config.devices.iter().zip(tracks) {
        let power = match newest(track, Quantity::Power) {
            Some(power) => power,
            None if device.role == Role::Meter => return None,
            None => continue,
        };
        match device.role {
            Role::Meter => load_mw = load_mw.saturating_add(power),
            Role::Pv | Role::Battery => {
                others = true;
                load_mw = load_mw.saturating_sub(power);
            }
            // It uses what the house uses.
            Role::Charger => {}
        }
    }
    if !others {
        return None;
    }
    let shown = Quantity::Power.shown(load_mw);
    let (verdict, text) = if load_mw < -2 * NOTHING_MW {
        (
            Verdict::Wrong,
            format!(
                "by these figures the house itself uses {shown}, which is less than nothing: a sign is \
                 wrong (`sign-test`), or a device is in the wrong role or counted twice"
            ),
        )
    } else {
        (Verdict::Fine, format!("the house itself uses {shown}"))
    };
    Some(Remark { device: None, verdict, text })
}
