//! `counters`: what the registers stand at, and the owner's word about a jump.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Args;
use meter_agent::journal::Journal;
use meter_agent::{CONFIRMATION, Config};
use serde_json::json;

/// What to do with the counters.
#[derive(Debug, Args)]
pub struct Counters {
    /// Configuration file.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// What was put aside because the counters jumped by more than the connection can carry is true:
    /// the agent counts it.
    #[arg(long)]
    confirm: bool,
}

impl Counters {
    /// Shows the counters as the newest reading in the journal has them.
    pub fn execute(&self, json: bool) -> Result<ExitCode> {
        let config = Config::load(&self.config)?;
        let entry = Journal::peek(&config.data_dir, config.epoch)?;
        let counters = entry.as_ref().map(|entry| &entry.counters);
        let counters = counters.into_iter().flatten();
        let rows: Vec<_> = counters
            .map(|(register, counter)| {
                json!({
                    "register": register,
                    "device_mwh": counter.raw_mwh,
                    "register_mwh": counter.total_mwh,
                    "aside_mwh": counter.aside_mwh,
                    "identity": counter.identity,
                })
            })
            .collect();
        let slot = entry.as_ref().map(|entry| entry.reading.body.slot);
        let aside = rows.iter().any(|row| row["aside_mwh"] != 0);
        if self.confirm && aside {
            let file = config.data_dir.join(CONFIRMATION);
            std::fs::write(&file, b"")
                .with_context(|| format!("cannot write {}", file.display()))?;
        }
        if json {
            let confirmed = self.confirm && aside;
            println!("{}", json!({ "slot": slot, "counters": rows, "confirmed": confirmed }));
            return Ok(ExitCode::SUCCESS);
        }
        let Some(slot) = slot else {
            println!("no reading yet: the counters are known from the first slot's end on");
            return Ok(ExitCode::SUCCESS);
        };
        println!("at the end of slot {}:", units::Slot::new(slot));
        for row in &rows {
            let kwh = |name: &str| {
                let mwh = row[name].as_i64().unwrap_or(0);
                format!("{}.{:03} kWh", mwh / 1_000_000, mwh / 1_000 % 1_000)
            };
            let register = row["register"].as_str().unwrap_or_default();
            print!("  {register}: {} (device {})", kwh("register_mwh"), kwh("device_mwh"));
            match row["aside_mwh"].as_i64() {
                Some(0) | None => println!(),
                Some(_) => println!(", {} put aside after a jump", kwh("aside_mwh")),
            }
        }
        match (aside, self.confirm) {
            (true, true) => {
                println!("The running agent counts what was put aside at its next poll.")
            }
            (true, false) => println!("Is that true? Then say so with --confirm."),
            (false, true) => println!("Nothing is put aside: there is nothing to confirm."),
            (false, false) => {}
        }
        Ok(ExitCode::SUCCESS)
    }
}
