//! `init`: a commented configuration and a key, to start from.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use clock::ClockConfig;
use meter_agent::{Config, key_file};
use protocol::Address;
use serde_json::json;
use units::{CommunityId, PointId};

const EXAMPLE: &str = include_str!("../../example.toml");

/// Arguments of `init`.
#[derive(Debug, Args)]
pub struct Init {
    /// Folder to write into; made when it is not there.
    #[arg(long, value_name = "DIR", default_value = ".")]
    dir: PathBuf,
    /// Name of the community.
    #[arg(long)]
    community: Option<CommunityId>,
    /// Your metering point.
    #[arg(long)]
    point: Option<PointId>,
    /// Address that signs the operator's messages.
    #[arg(long)]
    operator: Option<Address>,
    /// The operator's broker, mqtt://host:port.
    #[arg(long, value_name = "URL")]
    broker: Option<String>,
    /// User name at the broker.
    #[arg(long, value_name = "NAME")]
    broker_user: Option<String>,
    /// File with the password at the broker, readable by its owner only.
    #[arg(long, value_name = "FILE", requires = "broker_user")]
    broker_password_file: Option<PathBuf>,
    /// Only for simulated streets: the three values of `[clock]` as `sim-grid serve` prints them.
    #[arg(long, value_name = "WALL_MS,MARKET_MS,SPEED", value_parser = simulated_clock)]
    clock: Option<ClockConfig>,
}

/// The anchor and the speed of a simulated street.
fn simulated_clock(text: &str) -> Result<ClockConfig, String> {
    let parts: Vec<&str> = text.split(',').map(str::trim).collect();
    let wrong = || "write anchor_wall_ms,anchor_market_ms,speed".to_owned();
    let [wall, market, speed] = parts[..] else { return Err(wrong()) };
    Ok(ClockConfig {
        anchor_wall_ms: wall.parse().map_err(|_| wrong())?,
        anchor_market_ms: market.parse().map_err(|_| wrong())?,
        speed: speed.parse().map_err(|_| wrong())?,
    })
}

/// Why nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// A file is in the way.
    #[error("{} is there already: nothing was overwritten", .0.display())]
    Exists(PathBuf),
    /// The system refuses.
    #[error("cannot write {}: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        error: io::Error,
    },
}

impl Init {
    pub fn execute(&self, json: bool) -> Result<ExitCode> {
        let config_file = self.dir.join("agent.toml");
        if config_file.exists() {
            return Err(InitError::Exists(config_file).into());
        }
        let text = self.text();
        Config::parse(&text, "agent.toml")?.check_settings()?;

        let data_dir = self.dir.join("data");
        std::fs::create_dir_all(&data_dir)
            .map_err(|error| InitError::Io { path: data_dir.clone(), error })?;
        let key = data_dir.join("household.key");
        let public = key_file::create(&key)?.public_hex();
        write_new(&config_file, &text)?;
        if json {
            println!("{}", json!({ "config": config_file, "key": key, "public_key": public }));
        } else {
            println!("configuration: {}", config_file.display());
            println!("key:           {}", key.display());
            println!("public key:    {public}");
            for (what, flag) in self.left_open() {
                println!(
                    "still an example in the configuration: {what} ({flag}, ask your operator)"
                );
            }
            println!("Give the public key to the operator. Next, with the address of your meter:");
            println!(
                "      meter-agent assign --config {} --role meter ADDRESS",
                config_file.display()
            );
        }
        Ok(ExitCode::SUCCESS)
    }

    /// What was not given and has no value of its own.
    fn left_open(&self) -> Vec<(&'static str, &'static str)> {
        let all = [
            ("the community's name", "--community", self.community.is_some()),
            ("your metering point", "--point", self.point.is_some()),
            ("the operator's address", "--operator", self.operator.is_some()),
            ("the operator's broker", "--broker", self.broker.is_some()),
        ];
        all.into_iter().filter(|(.., given)| !given).map(|(what, flag, _)| (what, flag)).collect()
    }

    /// The example with what was given filled in.
    fn text(&self) -> String {
        let values = [
            ("community = ", self.community.as_ref().map(ToString::to_string)),
            ("point = ", self.point.as_ref().map(ToString::to_string)),
            ("operator = ", self.operator.map(|address| address.to_string())),
            ("url = ", self.broker.clone()),
        ];
        let line = |line: &str| {
            let given = values.iter().find(|(key, _)| line.starts_with(key));
            match given {
                Some((key, Some(value))) => format!("{key}{value:?}\n"),
                _ => format!("{line}\n"),
            }
        };
        let mut text: String = EXAMPLE.lines().map(line).collect();
        if let Some(user) = &self.broker_user {
            let mut login = format!("username = {user:?}\n");
            if let Some(file) = &self.broker_password_file {
                // Relative to the folder that this is called from, not to the one that is written.
                let file = std::path::absolute(file).unwrap_or_else(|_| file.clone());
                login.push_str(&format!("password_file = {:?}\n", file.display().to_string()));
            }
            let examples = text.find("# username = ").into_iter().chain(text.find("[bidding]"));
            text.insert_str(examples.min().unwrap_or(text.len()), &login);
        }
        if let Some(clock) = &self.clock {
            text.push_str(&format!(
                "\n[clock]\nanchor_wall_ms = {}\nanchor_market_ms = {}\nspeed = {:?}\n",
                clock.anchor_wall_ms, clock.anchor_market_ms, clock.speed
            ));
        }
        text
    }
}

fn write_new(path: &Path, text: &str) -> Result<(), InitError> {
    let io = |error: io::Error| match error.kind() {
        io::ErrorKind::AlreadyExists => InitError::Exists(path.to_owned()),
        _ => InitError::Io { path: path.to_owned(), error },
    };
    let mut file = OpenOptions::new().write(true).create_new(true).open(path).map_err(io)?;
    file.write_all(text.as_bytes()).map_err(io)
}
