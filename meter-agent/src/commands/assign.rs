//! `assign`: what is at an address becomes a device of the configuration.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, ValueEnum};
use clock::Clock;
use meter_agent::config::{DeviceConfig, Role};
use meter_agent::device::Library;
use meter_agent::onboarding::assign::{AssignError, Draft, still_missing};
use meter_agent::onboarding::{Choice, ProbeReport, Wanted, Whereabouts, choose};
use serde_json::json;

use super::target::{end_progress, print_figures, progress, runtime};

/// What a device is to the household.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum RoleWord {
    /// The meter at the grid connection; exactly one.
    Meter,
    /// A solar plant or another generator.
    Pv,
    /// A battery.
    Battery,
    /// A charging point for a car.
    Charger,
}

impl From<RoleWord> for Role {
    fn from(word: RoleWord) -> Self {
        match word {
            RoleWord::Meter => Self::Meter,
            RoleWord::Pv => Self::Pv,
            RoleWord::Battery => Self::Battery,
            RoleWord::Charger => Self::Charger,
        }
    }
}

/// Arguments of `assign`.
#[derive(Debug, Args)]
pub struct Assign {
    /// Address of the device, as for `probe`; or mqtt://broker:1883/TOPIC of one that publishes.
    #[arg(value_name = "ADDRESS")]
    target: Whereabouts,
    /// Configuration file to write it into; comments and everything else in it stay.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// What the device is to your household.
    #[arg(long, value_enum)]
    role: RoleWord,
    /// Device map, when the one that fits best is not the right one.
    #[arg(long, value_name = "ID")]
    map: Option<String>,
    /// Name in messages; "grid", "roof" or "battery" without it.
    #[arg(long)]
    name: Option<String>,
    /// Take this device of the configuration out and put the new one in.
    #[arg(long, value_name = "NAME")]
    replace: Option<String>,
    /// Nothing can flow back and the meter does not count it: export is zero.
    #[arg(long)]
    no_export: bool,
    /// The meter has no counters: sum up its power.
    #[arg(long)]
    integrate_power: bool,
    /// Settle on a counter that starts again by itself.
    #[arg(long)]
    allow_resetting: bool,
    #[command(flatten)]
    login: super::discover::Login,
    /// Show what would change, and change nothing.
    #[arg(long)]
    dry_run: bool,
}

impl Assign {
    pub fn execute(&self, json: bool) -> Result<ExitCode> {
        let mut draft = Draft::open(&self.config)?;
        let role = Role::from(self.role);
        self.refuse_early(&draft, role)?;
        let found = self.look(&draft, json)?;
        let wanted = Wanted {
            role,
            map: self.map.as_deref(),
            no_export: self.no_export,
            integrate_power: self.integrate_power,
        };
        let choice = choose(&found, &wanted)?;
        let device = self.device(&draft, role, &choice);
        let remark = format!("{} ({}): {}", choice.fit.name, choice.fit.confidence, why(&choice));
        draft.assign(&device, self.replace.as_deref(), &remark)?;
        let changes = draft.changes();
        if !self.dry_run {
            draft.save()?;
        }
        self.tell(&draft, &device, &choice, &changes, json);
        Ok(ExitCode::SUCCESS)
    }

    /// What is there, by the maps that come into question.
    fn look(&self, draft: &Draft, json: bool) -> Result<ProbeReport> {
        let folder = draft.devices_dir();
        let library = Library::load(folder.as_deref()).map_err(meter_agent::ConfigError::from)?;
        let mut maps = library.all().map_err(meter_agent::ConfigError::from)?;
        if let Some(id) = &self.map {
            // An id that nobody knows is said so; one that is known is the only one asked about.
            library.find(id).map_err(meter_agent::ConfigError::from)?;
            maps.retain(|known, _| known == id);
        }
        let clock = Clock::from_config(None);
        let telling = progress(json);
        if let Whereabouts::Broker { url, .. } = &self.target {
            self.login.broker(url)?;
        }
        let broker = |url: &str| self.login.named(url);
        let looking = self.target.look(&maps, broker, clock.now_ms(), &telling);
        let found = runtime()?.block_on(looking);
        end_progress(json);
        Ok(found?)
    }

    /// A second meter is refused before anybody is asked anything.
    fn refuse_early(&self, draft: &Draft, role: Role) -> Result<(), AssignError> {
        let config = draft.config();
        if let Some(name) = &self.replace
            && !config.devices.iter().any(|device| device.name == *name)
        {
            return Err(AssignError::nobody_to_replace(name, &config));
        }
        let mut others = config.devices.iter();
        let meter = others.find(|device| {
            device.role == Role::Meter && self.replace.as_deref() != Some(&device.name)
        });
        match meter {
            Some(meter) if role == Role::Meter => {
                Err(AssignError::SecondMeter { name: meter.name.clone() })
            }
            _ => Ok(()),
        }
    }

    fn device(&self, draft: &Draft, role: Role, choice: &Choice) -> DeviceConfig {
        let name = self.name.clone().or_else(|| self.replace.clone());
        let name = name.unwrap_or_else(|| draft.free_name(role));
        let what = (name.as_str(), role, choice.fit.map.as_str());
        let broker = |url: &str| self.login.named(url);
        let mut device = self.target.device(choice.unit, what, broker, &draft.config().mqtt);
        device.no_export = self.no_export;
        device.integrate_power = self.integrate_power;
        device.allow_resetting = self.allow_resetting;
        device
    }

    fn tell(
        &self,
        draft: &Draft,
        device: &DeviceConfig,
        choice: &Choice,
        changes: &[String],
        json: bool,
    ) {
        let missing = still_missing(&draft.config());
        if json {
            let answer = json!({
                "device": device.name,
                "map": device.map,
                "unit": choice.unit,
                "confidence": choice.fit.confidence,
                "reasons": choice.fit.reasons,
                "same": choice.same,
                "figures": choice.fit.figures,
                "changes": changes,
                "written": !self.dry_run,
                "missing": missing,
            });
            println!("{answer}");
            return;
        }
        println!(
            "{} is {} ({}): {}",
            self.target,
            choice.fit.name,
            choice.fit.confidence,
            why(choice)
        );
        if !choice.same.is_empty() {
            println!("These maps say the same: {}", choice.same.join(", "));
        }
        print_figures(&choice.fit.figures);
        if !choice.fit.unverified.is_empty() {
            let list = choice.fit.unverified.join(", ");
            println!("Nobody has checked these figures of the map yet: {list}. Compare them.");
        }
        let done = if self.dry_run { "would be written to" } else { "written to" };
        println!("{done} {}:", self.config.display());
        changes.iter().for_each(|line| println!("{line}"));
        let config = self.config.display();
        match missing {
            Some(missing) => println!("Still missing: {missing}"),
            None => println!(
                "Compare the figures with the device's display. Next: meter-agent run --config {config}"
            ),
        }
    }
}

fn why(choice: &Choice) -> String {
    if choice.fit.reasons.is_empty() {
        "chosen by you; nothing speaks against it".to_owned()
    } else {
        choice.fit.reasons.join("; ")
    }
}
