//! `export`: what the journal holds, for spreadsheets and for independent checkers.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Subcommand};
use meter_agent::core::Entry;
use meter_agent::journal::JournalError;
use meter_agent::ocmf::{OcmfError, OcmfKey};
use meter_agent::outlets::csv;
use meter_agent::{Config, journal};
use protocol::Domain;
use serde_json::json;
use units::Slot;

/// What to write; the agent may be running.
#[derive(Debug, Subcommand)]
pub enum Export {
    /// One line per reading, for a spreadsheet: energy, registers, quality, signature.
    Csv(Range),
    /// One signed OCMF record per line (fiscal context), for transparency software.
    Ocmf {
        #[command(flatten)]
        range: Range,
        /// The meter's serial number, as it stands on it.
        #[arg(long, value_name = "NUMBER")]
        meter_serial: Option<String>,
    },
    /// The public key by which OCMF records are checked; give it to whoever checks by another way than
    /// the records.
    OcmfKey {
        /// Configuration file.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// Epoch of key and meter; the present one when left out.
        #[arg(long)]
        epoch: Option<u32>,
    },
}

/// Which readings, and where to.
#[derive(Debug, Args)]
pub struct Range {
    /// Configuration file.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// First slot: YYYY-MM-DD, YYYY-MM-DDTHH:MMZ, or its number. The oldest kept when left out.
    #[arg(long)]
    from: Option<String>,
    /// Last slot; a day means its last slot. The newest when left out.
    #[arg(long)]
    to: Option<String>,
    /// Epoch of key and meter; all that are kept when left out.
    #[arg(long)]
    epoch: Option<u32>,
    /// File to write, which must not exist; standard output when left out.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Why nothing was exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// A slot that is none.
    #[error("--{option}: {problem}")]
    Slot {
        /// Which.
        option: &'static str,
        /// What is wrong, and what would be right.
        problem: String,
    },
    /// There is no journal.
    #[error("there are no readings in {}: has the agent run with this configuration?", .0.display())]
    Nothing(PathBuf),
    /// The journal cannot be read.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The key for OCMF cannot be used.
    #[error(transparent)]
    Ocmf(#[from] OcmfError),
    /// The output cannot be written.
    #[error("cannot write {}: {error}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        error: io::Error,
    },
}

impl Export {
    pub fn execute(&self, json: bool) -> Result<ExitCode> {
        match self {
            Self::Csv(range) => {
                let selected = Selected::read(range)?;
                let lines = selected
                    .epochs
                    .iter()
                    .map(|(_, entries)| csv::lines(entries, selected.first, selected.last));
                let lines: String = lines.collect();
                let text = if json { as_json(&lines) } else { format!("{}\n{lines}", csv::HEAD) };
                write_out(range.out.as_deref(), &text)?;
            }
            Self::Ocmf { range, meter_serial } => ocmf(range, meter_serial.as_deref(), json)?,
            Self::OcmfKey { config, epoch } => {
                let config = Config::load(config)?;
                let epoch = epoch.unwrap_or(config.epoch);
                let key = OcmfKey::load_or_create(&config.data_dir, epoch)
                    .map_err(ExportError::from)?
                    .public_hex();
                if json {
                    println!("{}", json!({ "epoch": epoch, "public_key": key }));
                } else {
                    println!("{key}");
                }
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Readings by epoch, and which slots of them are wanted.
struct Selected {
    config: Config,
    domain: Domain,
    first: Slot,
    last: Slot,
    epochs: Vec<(u32, Vec<Entry>)>,
}

impl Selected {
    fn read(range: &Range) -> Result<Self> {
        let config = Config::load(&range.config)?;
        let named = |option, text: &Option<String>| {
            let slots = text.as_deref().map(units::slots).transpose();
            slots.map_err(|problem| ExportError::Slot { option, problem })
        };
        let first = named("from", &range.from)?.map_or(Slot::new(i64::MIN), |(first, _)| first);
        let last = named("to", &range.to)?.map_or(Slot::new(i64::MAX), |(_, last)| last);
        let domain = Domain::new(config.community.clone());
        let folder = &config.data_dir;
        let known = if folder.exists() { journal::epochs(folder) } else { Ok(Vec::new()) };
        let mut epochs = Vec::new();
        for epoch in known.map_err(ExportError::from)? {
            if range.epoch.is_none_or(|wanted| wanted == epoch) {
                let entries = journal::read(folder, &domain, epoch).map_err(ExportError::from)?;
                epochs.push((epoch, entries));
            }
        }
        if epochs.iter().all(|(_, entries)| entries.is_empty()) {
            return Err(ExportError::Nothing(folder.clone()).into());
        }
        Ok(Self { config, domain, first, last, epochs })
    }

    fn contains(&self, entry: &Entry) -> bool {
        (self.first.number()..=self.last.number()).contains(&entry.reading.body.slot)
    }
}

fn ocmf(range: &Range, serial: Option<&str>, json: bool) -> Result<()> {
    let selected = Selected::read(range)?;
    let (mut records, mut keys) = (Vec::new(), Vec::new());
    for (epoch, entries) in &selected.epochs {
        let key = OcmfKey::load_or_create(&selected.config.data_dir, *epoch)
            .map_err(ExportError::from)?;
        let before = records.len();
        let wanted = entries.iter().filter(|entry| selected.contains(entry));
        records
            .extend(wanted.map(|entry| key.record(&selected.domain, &entry.reading.body, serial)));
        if records.len() > before {
            keys.push(json!({ "epoch": epoch, "public_key": key.public_hex() }));
        }
    }
    let text = if json {
        format!("{}\n", json!({ "keys": keys, "records": records }))
    } else {
        records.iter().flat_map(|record| [record.as_str(), "\n"]).collect()
    };
    write_out(range.out.as_deref(), &text)?;
    Ok(())
}

/// The table's lines as a JSON list of objects; every value is text, as in the table.
fn as_json(lines: &str) -> String {
    let keys: Vec<&str> = csv::HEAD.split(',').collect();
    let rows = lines.lines().map(|line| {
        let fields = keys.iter().zip(line.split(',')).map(|(key, field)| {
            let value = if field.is_empty() { serde_json::Value::Null } else { field.into() };
            ((*key).to_owned(), value)
        });
        serde_json::Value::Object(fields.collect())
    });
    format!("{}\n", serde_json::Value::Array(rows.collect()))
}

fn write_out(out: Option<&Path>, text: &str) -> Result<(), ExportError> {
    let Some(path) = out else {
        let failed = |error| ExportError::Write { path: "standard output".into(), error };
        // Whoever reads only the first lines closes the pipe; that is no fault.
        return match io::stdout().write_all(text.as_bytes()) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(failed(error)),
            _ => Ok(()),
        };
    };
    let failed = |error| ExportError::Write { path: path.to_owned(), error };
    let mut file = OpenOptions::new().write(true).create_new(true).open(path).map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)
}
