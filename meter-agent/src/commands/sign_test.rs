//! `sign-test`: which way do the devices count? A kettle tells.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::Args;
use clock::Clock;
use meter_agent::Config;
use meter_agent::onboarding::assign::Draft;
use meter_agent::onboarding::{
    APPLIANCE_W, DeviceSign, KETTLE_W, SPAN, Sign, apply_signs, sign_test,
};
use serde_json::json;

use super::IMPLAUSIBLE;
use super::target::runtime;

/// Arguments of `sign-test`.
#[derive(Debug, Args)]
pub struct SignTest {
    /// Configuration file; a reversed sign is mended in it.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Power of the appliance that you will switch on, W.
    #[arg(long, value_name = "W", default_value_t = KETTLE_W,
        value_parser = clap::value_parser!(i64).range(*APPLIANCE_W.start()..=*APPLIANCE_W.end()))]
    watts: i64,
    /// How long to measure before and after, seconds.
    #[arg(long, value_name = "S", default_value_t = SPAN.as_secs(),
        value_parser = clap::value_parser!(u64).range(3..=120))]
    seconds: u64,
    /// Only tell; change nothing in the configuration.
    #[arg(long)]
    dry_run: bool,
}

impl SignTest {
    pub fn execute(&self, json: bool) -> Result<ExitCode> {
        let config = Config::load(&self.config)?;
        let clock = Clock::from_config(config.clock);
        // Whoever asks for data still has to be told when to switch on.
        let telling = super::target::sentences();
        let span = Duration::from_secs(self.seconds);
        let signs = runtime()?.block_on(sign_test(&config, &clock, self.watts, span, &telling))?;
        let mut draft = Draft::open(&self.config)?;
        apply_signs(&mut draft, &signs)?;
        let changes = draft.changes();
        if !self.dry_run && !changes.is_empty() {
            draft.save()?;
        }
        if json {
            println!(
                "{}",
                json!({ "devices": signs, "changes": changes, "written": !self.dry_run })
            );
        } else {
            signs.iter().for_each(print);
            if !changes.is_empty() {
                let done = if self.dry_run { "would be changed in" } else { "changed in" };
                println!("{done} {}:", self.config.display());
                changes.iter().for_each(|line| println!("{line}"));
            }
        }
        let open = signs.iter().any(|sign| matches!(sign.sign, Sign::Unknown { .. }));
        Ok(if open { ExitCode::from(IMPLAUSIBLE) } else { ExitCode::SUCCESS })
    }
}

fn print(sign: &DeviceSign) {
    let watts = |w: Option<i64>| w.map_or("nothing".to_owned(), |w| format!("{w} W"));
    let verdict = match &sign.sign {
        Sign::Right => "the sign is right".to_owned(),
        Sign::Reversed { positive_means: Some(_) } => "it counts the other way round".to_owned(),
        Sign::Reversed { positive_means: None } => {
            "it counts the other way round, and its map makes the power of several figures: choose \
             another map or tell the authors of this one"
                .to_owned()
        }
        Sign::Unknown { why } => format!("cannot tell: {why}"),
    };
    println!(
        "{}: {} before, {} with the appliance: {verdict}",
        sign.device,
        watts(sign.before_w),
        watts(sign.after_w)
    );
    sign.remarks.iter().for_each(|remark| println!("  {remark}"));
}
