//! `probe`: who is at an address, and which maps fit.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use clock::Clock;
use meter_agent::onboarding::{Confidence, ProbeReport, Target, UnitReport, probe};
use serde_json::json;

use super::NOTHING_FITS;
use super::target::{end_progress, modbus_maps, print_figures, progress, runtime};

/// Maps of a unit that are shown without `--all`.
const MOST_SHOWN: usize = 5;

/// Arguments of `probe`.
#[derive(Debug, Args)]
pub struct Probe {
    /// Address of the device: 192.0.2.7, 192.0.2.7:1502/2 (port, unit), rtu://192.0.2.8:4001/1 for a
    /// gateway that passes bytes on, or a serial port like /dev/ttyUSB0@9600-8N1#1.
    #[arg(value_name = "ADDRESS")]
    target: Target,
    /// A folder with device maps of your own.
    #[arg(long, value_name = "DIR")]
    maps: Option<PathBuf>,
    /// Also tell why the other maps do not fit.
    #[arg(long)]
    all: bool,
}

impl Probe {
    pub fn execute(&self, json: bool) -> Result<ExitCode> {
        let maps = modbus_maps(self.maps.as_deref())?;
        let clock = Clock::from_config(None);
        let telling = progress(json);
        let found = runtime()?.block_on(probe(&self.target, &maps, clock.now_ms(), &telling));
        end_progress(json);
        let report = found?;
        if json {
            println!("{}", json!(report));
        } else {
            self.print(&report);
        }
        let fits = report.units.iter().any(|unit| !unit.fits.is_empty());
        Ok(if fits { ExitCode::SUCCESS } else { ExitCode::from(NOTHING_FITS) })
    }

    fn print(&self, report: &ProbeReport) {
        for unit in &report.units {
            self.print_unit(report, unit);
        }
        report.notes.iter().for_each(|note| println!("note: {note}"));
        println!("{} questions were asked, none that writes.", report.questions);
    }

    fn print_unit(&self, report: &ProbeReport, unit: &UnitReport) {
        let traits: Vec<String> =
            unit.identity.iter().map(|(which, text)| format!("{which} {text}")).collect();
        let says = if traits.is_empty() { "says no name".to_owned() } else { traits.join(", ") };
        println!("unit {}: {says}", unit.unit);
        if let Some(models) = &unit.sunspec {
            let models: Vec<String> = models.iter().map(u16::to_string).collect();
            println!("  SunSpec models {}", models.join(", "));
        }
        if let Some(note) = &unit.note {
            println!("  note: {note}");
        }
        let shown = if self.all { unit.fits.len() } else { MOST_SHOWN };
        for fit in unit.fits.iter().take(shown) {
            let why =
                if fit.reasons.is_empty() { "nothing against it" } else { &fit.reasons.join("; ") };
            println!("  {:<24} {:<9} {} ({why})", fit.map, fit.confidence.to_string(), fit.name);
        }
        if unit.fits.len() > shown {
            println!("  and {} more that say nothing against it (--all)", unit.fits.len() - shown);
        }
        if self.all {
            unit.refused.iter().for_each(|(map, why)| println!("  {map:<24} no        {why}"));
        }
        let Some(best) = unit.fits.first().filter(|fit| fit.confidence >= Confidence::Likely)
        else {
            println!("  No map surely fits. If you know what it is: `meter-agent map list`, then");
            println!(
                "  meter-agent assign --config agent.toml --role meter --map ID {}",
                report.target
            );
            return;
        };
        println!("  by {} it says:", best.map);
        print_figures(&best.figures);
        if !best.unverified.is_empty() {
            println!(
                "  nobody has checked these figures of the map: {}",
                best.unverified.join(", ")
            );
        }
        if let Some(role) = best.roles.first() {
            let role = json!(role);
            let at = self.target.to_string();
            let at = if at.contains(['/', '#']) { at } else { format!("{at}/{}", unit.unit) };
            println!(
                "  Next: meter-agent assign --config agent.toml --role {} {at}",
                role.as_str().unwrap_or_default()
            );
        }
    }
}
