//! `check`: is the configuration right, and do the devices say what is needed?

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clock::Clock;
use meter_agent::device::Quantity;
use meter_agent::{Config, DeviceCheck, check_devices, key_file};
use serde_json::json;

use super::SILENT_DEVICE;

/// How long devices that speak when they like are listened to.
const PATIENCE: Duration = Duration::from_secs(15);

pub fn check(file: &Path, live: bool, json: bool) -> Result<ExitCode> {
    let config = Config::load(file)?;
    let key = key_file::load(&config.key_file())?.public_hex();
    if !live {
        if json {
            println!(
                "{}",
                json!({ "config": "ok", "public_key": key, "bidding": config.bidding.in_words()? })
            );
        } else {
            println!("{}: {} devices, no mistakes found", file.display(), config.devices.len());
            for (device, map) in config.devices.iter().zip(config.maps()?) {
                println!("{}: {} ({}), {}", device.name, map.id, map.status, map.name);
                for what in map.unverified() {
                    println!("  not checked by anybody: {what}");
                }
            }
            println!("public key: {key}");
            config.bidding.in_words()?.iter().for_each(|line| println!("{line}"));
        }
        return Ok(ExitCode::SUCCESS);
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let clock = Clock::from_config(config.clock);
    let checks = runtime.block_on(check_devices(&config, clock, PATIENCE))?;
    if json {
        println!("{}", json!({ "config": "ok", "public_key": key, "devices": checks }));
    } else {
        print_table(&checks);
    }
    let all_well = checks.iter().all(|check| check.problems.is_empty());
    Ok(if all_well { ExitCode::SUCCESS } else { ExitCode::from(SILENT_DEVICE) })
}

fn print_table(checks: &[DeviceCheck]) {
    for check in checks {
        println!("{} ({}, {})", check.device, check.map, check.map_status);
        if !check.unverified.is_empty() {
            let unverified = check.unverified.join(", ");
            println!("  not checked by anybody: {unverified}; compare with the device's display");
        }
        for figure in &check.figures {
            match (figure.value, &figure.note) {
                (Some(value), _) => {
                    let shown = Quantity::named(figure.quantity)
                        .map_or_else(|| value.to_string(), |quantity| quantity.shown(value));
                    // The number right-aligned, its unit behind it.
                    let (number, unit) = shown.split_once(' ').unwrap_or((&shown, ""));
                    println!("  {:<16} {number:>14} {unit}", figure.quantity);
                }
                (None, note) => {
                    let note = note.as_deref().unwrap_or("nothing");
                    println!("  {:<16} {:>14} {note}", figure.quantity, "-");
                }
            }
        }
        for problem in &check.problems {
            println!("  cannot be used: {problem}");
        }
    }
}
