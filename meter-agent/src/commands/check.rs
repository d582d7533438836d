//! `check`: is the configuration right, do the devices say what is needed, and can it be true?

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::Args;
use clock::Clock;
use meter_agent::config::{DeviceConfig, Role};
use meter_agent::onboarding::{Remark, Verdict, Watching, plausible};
use meter_agent::{Config, DeviceCheck, check_devices, key_file, warnings};
use serde_json::json;

use super::target::{print_figures, runtime};
use super::{IMPLAUSIBLE, SILENT_DEVICE};

/// How long devices that speak when they like are listened to.
const PATIENCE: Duration = Duration::from_secs(15);

/// Arguments of `check`.
#[derive(Debug, Args)]
pub struct Check {
    /// Configuration file.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Also read every device once and show what it says.
    #[arg(long)]
    live: bool,
    /// Also watch the devices for a while: voltages, signs, counters against power, clocks, the balance
    /// of the house.
    #[arg(long, conflicts_with = "live")]
    plausible: bool,
    /// How long --plausible watches, seconds.
    #[arg(long, value_name = "S", default_value_t = 30,
        value_parser = clap::value_parser!(u64).range(3..=3_600))]
    seconds: u64,
}

impl Check {
    pub fn execute(&self, json: bool) -> Result<ExitCode> {
        let config = Config::load(&self.config)?;
        let key = key_file::load(&config.key_file())?.public_hex();
        if self.plausible {
            self.plausible(&config, &key, json)
        } else if self.live {
            live(&config, &key, json)
        } else {
            self.still(&config, &key, json)
        }
    }

    /// Nothing but the file.
    fn still(&self, config: &Config, key: &str, json: bool) -> Result<ExitCode> {
        let maps = config.maps().map_err(meter_agent::ConfigError::from)?;
        let warnings = warnings(config, &maps);
        let bidding = config.bidding.in_words(is_steered(config))?;
        if json {
            let unverified: Vec<_> = config
                .devices
                .iter()
                .zip(&maps)
                .map(|(device, map)| {
                    json!({
                        "device": device.name,
                        "map": map.id,
                        "status": map.status.to_string(),
                        "unverified": map.unverified(),
                    })
                })
                .collect();
            let told = json!({
                "config": "ok",
                "public_key": key,
                "bidding": bidding,
                "devices": unverified,
                "warnings": warnings,
            });
            println!("{told}");
            return Ok(ExitCode::SUCCESS);
        }
        println!("{}: {} devices, no mistakes found", self.config.display(), config.devices.len());
        for (device, map) in config.devices.iter().zip(&maps) {
            println!("{}: {} ({}), {}", device.name, map.id, map.status, map.name);
            for what in map.unverified() {
                println!("  not checked by anybody: {what}");
            }
        }
        warnings.iter().for_each(|warning| println!("warning: {warning}"));
        println!("public key: {key}");
        bidding.iter().for_each(|line| println!("{line}"));
        Ok(ExitCode::SUCCESS)
    }

    fn plausible(&self, config: &Config, key: &str, json: bool) -> Result<ExitCode> {
        let maps = config.maps().map_err(meter_agent::ConfigError::from)?;
        let site = config.bidding.wishes()?.site;
        let clock = Clock::from_config(config.clock);
        if !json {
            eprintln!("Watching {} devices for {} s.", config.devices.len(), self.seconds);
        }
        let tracks = runtime()?.block_on(async {
            let mut watching = Watching::start(config, &clock)?;
            let span = Duration::from_secs(self.seconds);
            Ok::<_, meter_agent::AgentError>(watching.watch(span, |_| false).await)
        })?;
        let remarks = plausible(config, &maps, &tracks, site, clock.now_ms());
        if json {
            println!("{}", json!({ "config": "ok", "public_key": key, "remarks": remarks }));
        } else {
            print_remarks(&remarks);
        }
        let silent = tracks.iter().any(|track| track.samples.is_empty());
        let worst = remarks.iter().map(|remark| remark.verdict).max().unwrap_or(Verdict::Fine);
        Ok(match (silent, worst) {
            (true, _) => ExitCode::from(SILENT_DEVICE),
            (false, Verdict::Wrong) => ExitCode::from(IMPLAUSIBLE),
            _ => ExitCode::SUCCESS,
        })
    }
}

fn live(config: &Config, key: &str, json: bool) -> Result<ExitCode> {
    let clock = Clock::from_config(config.clock);
    let checks = runtime()?.block_on(check_devices(config, clock, PATIENCE))?;
    if json {
        println!("{}", json!({ "config": "ok", "public_key": key, "devices": checks }));
    } else {
        print_table(&checks);
    }
    let all_well = checks.iter().all(|check| check.problems.is_empty());
    Ok(if all_well { ExitCode::SUCCESS } else { ExitCode::from(SILENT_DEVICE) })
}

fn print_remarks(remarks: &[Remark]) {
    let mut device = None;
    for remark in remarks {
        if device != Some(&remark.device) {
            println!("{}", remark.device.as_deref().unwrap_or("all together"));
            device = Some(&remark.device);
        }
        let mark = match remark.verdict {
            Verdict::Fine => "fine ",
            Verdict::Open => "open ",
            Verdict::Odd => "odd  ",
            Verdict::Wrong => "WRONG",
        };
        println!("  {mark} {}", remark.text);
    }
}

fn print_table(checks: &[DeviceCheck]) {
    for check in checks {
        println!("{} ({}, {})", check.device, check.map, check.map_status);
        if !check.unverified.is_empty() {
            let unverified = check.unverified.join(", ");
            println!("  not checked by anybody: {unverified}; compare with the device's display");
        }
        print_figures(&check.figures);
        for problem in &check.problems {
            println!("  cannot be used: {problem}");
        }
    }
}

/// Whether the owner lets the battery be steered.
fn is_steered(config: &Config) -> bool {
    let leave = |device: &DeviceConfig| device.control.as_ref().is_some_and(|own| own.enabled);
    config.devices.iter().any(|device| device.role == Role::Battery && leave(device))
}
