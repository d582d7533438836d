//! `init`: a commented configuration and a key, to start from.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
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
        let config = Config::parse(&text, "agent.toml")?;
        config.check()?;

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
            println!("Next: put your devices into the configuration, then");
            println!("      meter-agent check --live --config {}", config_file.display());
        }
        Ok(ExitCode::SUCCESS)
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
        EXAMPLE.lines().map(line).collect()
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
