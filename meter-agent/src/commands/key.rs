//! `key`: make, show, keep, bring back, exchange and revoke the household's key.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use meter_agent::core::{KeyHistory, audit_signatures};
use meter_agent::key_copy::{self, CopyError};
use meter_agent::key_file::{self, KeyFiles};
use meter_agent::key_request::KeyRequest;
use meter_agent::state_file::StateFile;
use meter_agent::{Config, journal};
use protocol::{B256, Domain, HouseholdKey, KeyText};
use serde_json::json;
use units::Slot;

/// How long a running agent is waited for.
const PATIENCE: Duration = Duration::from_secs(15);
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Longest overlap, days.
const MAX_OVERLAP_DAYS: u32 = 30;

/// What to do with the key.
#[derive(Debug, Subcommand)]
pub enum Key {
    /// Show the public half, and the keys before it. Never the secret.
    Show(Of),
    /// Make a key, readable by its owner only, and print its public half.
    New {
        /// Where to write it; an existing file is never overwritten.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Write a copy to keep elsewhere: a page of text with checks, fit to be printed. It has no
    /// passphrase: whoever has the page has the key.
    Export {
        #[command(flatten)]
        of: Of,
        /// Where to write it, readable by its owner only; an existing file is never overwritten.
        #[arg(long, value_name = "FILE", required_unless_present = "print")]
        out: Option<PathBuf>,
        /// Print it instead.
        #[arg(long, conflicts_with = "out")]
        print: bool,
    },
    /// Bring a key back from a copy; an existing key is never overwritten.
    Import {
        #[command(flatten)]
        of: Of,
        /// The copy.
        #[arg(long = "in", value_name = "FILE")]
        from: PathBuf,
    },
    /// Have another key sign from the next reading on; the old one counts beside it for a while.
    Rotate {
        #[command(flatten)]
        of: Of,
        /// How long the old key counts as well.
        #[arg(long, value_name = "DAYS", default_value_t = 7,
            value_parser = clap::value_parser!(u32).range(0..=i64::from(MAX_OVERLAP_DAYS)))]
        overlap_days: u32,
    },
    /// A key is lost or stolen: from now on it counts no more. If it is the present one, another
    /// takes its place first.
    Revoke {
        #[command(flatten)]
        of: Of,
        /// Which, by its public half: the present one if left out, or the one before it.
        #[arg(long, value_name = "PUBLIC")]
        key: Option<String>,
        /// Why; the operator and everyone who checks the bills are told.
        #[arg(long, default_value = "revoked by its owner")]
        reason: String,
    },
}

/// Whose key.
#[derive(Debug, Args)]
pub struct Of {
    /// Configuration file.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

/// Why a copy cannot be used, or a wish not be left.
#[derive(Debug, thiserror::Error)]
pub enum KeyCommandError {
    /// The copy.
    #[error("{}: {error}", path.display())]
    Copy {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        error: CopyError,
    },
    /// Another wish waits.
    #[error("{}: the agent has not done the last one yet; is it running?", .0.display())]
    Waiting(PathBuf),
    /// A public half that is none of ours.
    #[error("--key {0}: this household's present key is {1}, the one before it {2}")]
    NotOurs(String, String, String),
    /// A reading that no key of ours has signed.
    #[error("reading {seq} of the journal is not signed by {key}, whose turn it was")]
    Signature {
        /// Its number.
        seq: u64,
        /// The key that should have signed.
        key: String,
    },
}

impl Key {
    pub fn execute(&self, json: bool) -> Result<ExitCode> {
        match self {
            Self::Show(of) => show(&Household::load(&of.config)?, json)?,
            Self::New { out } => new(out, json)?,
            Self::Export { of, out, .. } => export(&of.config, out.as_deref(), json)?,
            Self::Import { of, from } => import(&of.config, from, json)?,
            Self::Rotate { of, overlap_days } => {
                let home = Household::load(&of.config)?;
                let rotate = Some(overlap_days * 86_400);
                home.ask(KeyRequest { key: home.present, rotate, revoke: None }, json)?;
            }
            Self::Revoke { of, key, reason } => {
                let home = Household::load(&of.config)?;
                let key = home.named(key.as_deref())?;
                let rotate = (key == home.present).then_some(0);
                home.ask(KeyRequest { key, rotate, revoke: Some(reason.clone()) }, json)?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// A household's keys as they stand on the disk; the agent may be running.
struct Household {
    config: Config,
    history: KeyHistory,
    present: B256,
}

impl Household {
    fn load(file: &Path) -> Result<Self> {
        Self::of(Config::load_settings(file)?)
    }

    fn of(config: Config) -> Result<Self> {
        let state = StateFile::in_folder(&config.data_dir).load(&config.point, config.epoch)?;
        let history = state.map(|state| state.into_content().keys).unwrap_or_default();
        let present = match history.current() {
            Some(key) => key,
            None => B256::from(key_file::load(&config.key_file())?.public().to_bytes()),
        };
        Ok(Self { config, history, present })
    }

    /// The key with this public half.
    fn named(&self, key: Option<&str>) -> Result<B256> {
        let Some(key) = key else { return Ok(self.present) };
        let former = self.history.former();
        let ours = [Some(self.present), former].into_iter().flatten();
        let is = |ours: &B256| hex::encode(ours).eq_ignore_ascii_case(key.trim());
        ours.into_iter().find(is).ok_or_else(|| {
            let former = former.map_or_else(|| "none".to_owned(), hex::encode);
            let present = hex::encode(self.present);
            KeyCommandError::NotOurs(key.to_owned(), present, former).into()
        })
    }

    /// Leaves a wish for the agent, and waits for a running one to fulfil it.
    fn ask(&self, request: KeyRequest, json: bool) -> Result<()> {
        let folder = &self.config.data_dir;
        request.leave(folder).map_err(|error| match error.kind() {
            std::io::ErrorKind::AlreadyExists => {
                anyhow::Error::from(KeyCommandError::Waiting(folder.clone()))
            }
            _ => {
                anyhow::Error::from(error).context(format!("cannot write to {}", folder.display()))
            }
        })?;
        let tries = PATIENCE.as_millis() / LOOK_EVERY.as_millis();
        for _ in 0..tries {
            if !KeyRequest::is_waiting(folder) {
                let now = Self::of(self.config.clone())?;
                return show(&now, json);
            }
            std::thread::sleep(LOOK_EVERY);
        }
        if json {
            println!("{}", json!({ "waiting": true, "public_key": hex::encode(self.present) }));
        } else {
            println!(
                "Noted, but not done yet: no agent is running here, or the operator has not \
                 confirmed the change before it. It is done as soon as that is so."
            );
        }
        Ok(())
    }
}

fn show(home: &Household, json: bool) -> Result<()> {
    let config = &home.config;
    let domain = Domain::new(config.community.clone());
    let entries = match journal::read(&config.data_dir, &domain, config.epoch) {
        Ok(entries) => entries,
        // A household that has not read anything yet has no journal.
        Err(_) if !config.data_dir.join(format!("readings-{}.journal", config.epoch)).exists() => {
            Vec::new()
        }
        Err(error) => return Err(error.into()),
    };
    let readings = entries.iter().map(|entry| &entry.reading);
    let held = audit_signatures(&home.history, home.present, &domain, readings);
    let held =
        held.map_err(|(seq, key)| KeyCommandError::Signature { seq, key: hex::encode(key) })?;
    let public = hex::encode(home.present);
    let file = config.key_file();
    if json {
        let changes: Vec<_> = home.history.changes.iter().map(|change| &change.body).collect();
        let told = json!({
            "public_key": public,
            "file": file,
            "changes": changes,
            "on_record": home.history.is_on_record(),
            "revoked": home.history.revoked,
            "readings_signed": held,
        });
        println!("{told}");
        return Ok(());
    }
    println!("public key: {public}");
    println!("file:       {}", file.display());
    for change in &home.history.changes {
        let body = &change.body;
        println!(
            "  from reading {} on; before it {}, which counts until {}",
            body.from_seq,
            hex::encode(body.old_key),
            Slot::at_ms(body.until_ms).next()
        );
    }
    for key in &home.history.revoked {
        println!("  revoked: {}", hex::encode(key));
    }
    if !home.history.is_on_record() {
        println!("The operator has not confirmed the last change yet.");
    }
    println!("{held} readings in the journal, each signed by the key whose turn it was");
    Ok(())
}

fn new(out: &Path, json: bool) -> Result<()> {
    let public = key_file::create(out)?.public_hex();
    if json {
        println!("{}", json!({ "file": out, "public_key": public }));
    } else {
        println!("public key: {public}");
        println!("Give it to the operator for your enrolment; keep {} to yourself.", out.display());
    }
    Ok(())
}

fn export(config: &Path, out: Option<&Path>, json: bool) -> Result<()> {
    let file = Config::load_settings(config)?.key_file();
    let text = key_file::secret(&file)?;
    let malformed = |error| key_file::KeyError::Malformed { path: file.clone(), error };
    let secret = KeyText::parse(&text).map_err(malformed)?;
    let page = key_copy::page(secret.as_bytes());
    let Some(out) = out else {
        print!("{page}");
        return Ok(());
    };
    key_file::write_new(out, &page)?;
    let public = HouseholdKey::from_text(&secret).public_hex();
    if json {
        println!("{}", json!({ "file": out, "public_key": public }));
    } else {
        println!("a copy of {public} is in {}", out.display());
        println!("Whoever has it can sign for you: print it, or keep it where nobody else looks.");
    }
    Ok(())
}

fn import(config: &Path, from: &Path, json: bool) -> Result<()> {
    let config = Config::load_settings(config)?;
    let text =
        std::fs::read_to_string(from).with_context(|| format!("cannot read {}", from.display()))?;
    let copy = |error| KeyCommandError::Copy { path: from.to_owned(), error };
    let secret = key_copy::parse(&text).map_err(copy)?;
    let files = KeyFiles::at(config.key_file());
    if let Some(folder) = files.main().parent() {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("cannot make {}", folder.display()))?;
    }
    key_file::write_new(files.main(), &format!("{}\n", hex::encode(secret)))?;
    let public = HouseholdKey::from_bytes(&secret).public_hex();
    if json {
        println!("{}", json!({ "file": files.main(), "public_key": public }));
    } else {
        println!("the key {public} is back in {}", files.main().display());
    }
    Ok(())
}
