//! `check`: is the configuration right, and do the devices say what is needed?

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clock::Clock;
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
        println!("{} ({})", check.device, check.map);
        for figure in &check.figures {
            match (figure.value, &figure.note) {
                (Some(value), _) => {
                    let (shown, unit) = for_people(value, figure.unit);
                    println!("  {:<16} {shown:>14} {unit}", figure.quantity);
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

/// A value in the unit that people use.
fn for_people(value: i64, unit: &str) -> (String, &'static str) {
    let thousandths = |places: usize, by: u64| {
        let sign = if value < 0 { "-" } else { "" };
        let size = value.unsigned_abs();
        format!("{sign}{}.{:0places$}", size / by, size % by)
    };
    match unit {
        "mW" => (thousandths(3, 1_000), "W"),
        "mWh" => (thousandths(6, 1_000_000), "kWh"),
        "mV" => (thousandths(3, 1_000), "V"),
        "permille" => (thousandths(1, 10), "%"),
        _ => (value.to_string(), ""),
    }
}
