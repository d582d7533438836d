//! The operator revokes a household's key: a signed note in the data folder, which the running
//! controller takes up within a second, and one that is started later at its start.

use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use clock::Clock;
use protocol::{B256, Domain, KeyRevocation, Signed, public_key_from_hex};
use tracing::warn;
use units::PointId;

use crate::config::Config;
use crate::store::read::Reader;

/// The folder of the notes, in the data folder.
const FOLDER: &str = "revocations";
/// Most notes that are taken up at once.
const AT_ONCE: usize = 64;
/// Largest note, bytes.
const MAX_BYTES: u64 = 4_096;

/// Revoke a household's key: what it signs from now on counts no more. The household is enrolled anew
/// with another key and the next epoch, unless it has handed over to another key itself.
#[derive(Debug, Args)]
pub struct RevokeArguments {
    /// Configuration file (TOML).
    #[arg(long)]
    config: PathBuf,
    /// Metering point.
    #[arg(long)]
    point: PointId,
    /// Which of its keys, 64 hexadecimal digits; its newest if left out.
    #[arg(long)]
    key: Option<String>,
    /// Why; the household and everyone who checks the bills are told.
    #[arg(long)]
    reason: String,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl RevokeArguments {
    /// Signs the revocation and leaves it for the controller.
    ///
    /// # Errors
    /// What is wrong with configuration, key or folder, in words.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        let config = Config::load(&self.config)?;
        let home = config.households.iter().find(|home| home.point == self.point);
        let Some(home) = home else {
            anyhow::bail!("{} is not enrolled in {}", self.point, self.config.display());
        };
        let key = match &self.key {
            Some(key) => key.clone(),
            None => newest_key(&config, &self.point, home.epoch).await?.unwrap_or(home.key.clone()),
        };
        let key =
            public_key_from_hex(&key).map_err(|error| anyhow::anyhow!("--key {key}: {error}"))?;
        let body = KeyRevocation {
            point: self.point.to_string(),
            epoch: home.epoch,
            key: B256::from(key.to_bytes()),
            reason: self.reason,
            time_ms: Clock::from_config(config.clock).now_ms(),
        };
        let domain = Domain::new(config.community.clone());
        let signed = Signed::by_operator(body, &domain, &crate::run::operator_key(&config)?);
        let note = leave(&config.data_dir, &domain, &signed)
            .map_err(|error| anyhow::anyhow!("cannot write the revocation: {error}"))?;
        let revoked = hex::encode(signed.body.key);
        if self.json {
            let told = serde_json::json!({ "point": self.point, "key": revoked, "note": note });
            println!("{told}");
        } else {
            println!("revoked for {}: {revoked}", self.point);
            println!("A running controller takes it up at once, another one when it starts.");
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// The newest key that a household has handed over to, if there is a record and it has.
async fn newest_key(
    config: &Config,
    point: &PointId,
    epoch: u32,
) -> anyhow::Result<Option<String>> {
    let record = config.data_dir.join("street.db");
    if !record.exists() {
        return Ok(None);
    }
    let reader = Reader::open(&record).await?;
    let changes = reader.key_changes(point, epoch).await;
    reader.close().await;
    Ok(changes?.last().map(|record| hex::encode(record.change.body.new_key)))
}

/// Writes a note; it is whole or not there.
fn leave(data_dir: &Path, domain: &Domain, signed: &Signed<KeyRevocation>) -> io::Result<PathBuf> {
    let folder = data_dir.join(FOLDER);
    std::fs::create_dir_all(&folder)?;
    let name = hex::encode(&domain.digest(&signed.body)[..8]);
    let (part, note) = (folder.join(format!("{name}.part")), folder.join(format!("{name}.json")));
    let options =
        std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&part);
    let mut file = options?;
    file.write_all(&signed.to_json())?;
    file.sync_all()?;
    std::fs::rename(&part, &note)?;
    std::fs::File::open(&folder)?.sync_all()?;
    Ok(note)
}

/// The notes that wait, a bounded number; what is none is moved out of the way.
pub(crate) fn waiting(data_dir: &Path) -> Vec<(PathBuf, Signed<KeyRevocation>)> {
    // There is no folder, nearly always.
    let Ok(entries) = std::fs::read_dir(data_dir.join(FOLDER)) else { return Vec::new() };
    let notes = entries.filter_map(Result::ok).map(|entry| entry.path());
    let notes = notes.filter(|path| path.extension().is_some_and(|end| end == "json"));
    notes.take(AT_ONCE).filter_map(|path| read(&path).map(|signed| (path, signed))).collect()
}

fn read(path: &Path) -> Option<Signed<KeyRevocation>> {
    let size = std::fs::metadata(path).map_or(0, |metadata| metadata.len());
    let bytes = if size <= MAX_BYTES { std::fs::read(path).ok()? } else { Vec::new() };
    match Signed::parse(&bytes) {
        Ok(signed) => Some(signed),
        Err(error) => {
            warn!(note = %path.display(), %error, "no revocation: moved aside");
            let _ = std::fs::rename(path, path.with_extension("bad"));
            None
        }
    }
}

/// Notes that the record has now.
pub(crate) fn done(notes: &[(PathBuf, Signed<KeyRevocation>)]) {
    for (note, _) in notes {
        // One that stays is taken up again, which changes nothing.
        let _ = std::fs::remove_file(note);
    }
}
