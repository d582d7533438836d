//! `controller export` and `controller verify`.

use std::io::{BufReader, BufWriter, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use terminal::println;

use chain::{RpcChain, RpcConfig};
use protocol::{Address, B256};

use super::Export;
use super::verify::{Finding, Report, Trust, compare_with_chain, verify};
use crate::config::Config;
use crate::store::read::Reader;

/// Write settled slots as a bundle that anyone can verify.
#[derive(Debug, clap::Args)]
pub struct ExportArguments {
    /// Configuration file (TOML) of the street; it may be running.
    #[arg(long)]
    config: PathBuf,
    /// First slot: its number, YYYY-MM-DD, or YYYY-MM-DDTHH:MMZ.
    #[arg(long)]
    from: String,
    /// Last slot; a day means its last slot.
    #[arg(long)]
    to: String,
    /// File to write; it must not exist.
    #[arg(long)]
    out: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Rebuild everything that a bundle claims, from the bundle alone, and name what does not hold.
#[derive(Debug, clap::Args)]
pub struct VerifyArguments {
    /// The bundle; `-` reads standard input.
    bundle: PathBuf,
    /// JSON-RPC address of a node, to compare the epochs with the chain.
    #[arg(long, requires = "anchor")]
    rpc: Option<String>,
    /// Address of the street's anchor contract.
    #[arg(long, requires = "rpc")]
    anchor: Option<Address>,
    /// Id of the chain behind --rpc.
    #[arg(long, default_value_t = 31_337, requires = "rpc")]
    chain_id: u64,
    /// The operator's address, as it is known from elsewhere.
    #[arg(long)]
    operator: Option<Address>,
    /// The bundle's fingerprint, as it is known from elsewhere.
    #[arg(long)]
    fingerprint: Option<B256>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl ExportArguments {
    /// Writes the bundle.
    ///
    /// # Errors
    /// With what could not be read or written, and why.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        let config = Config::load(&self.config)?;
        let (first, _) = units::slots(&self.from).map_err(anyhow::Error::msg)?;
        let (_, last) = units::slots(&self.to).map_err(anyhow::Error::msg)?;
        let reader = Reader::open(&config.data_dir.join("street.db")).await?;
        let export = Export::begin(&config, &reader, (first, last)).await?;
        let context = |error| anyhow::anyhow!("cannot create {}: {error}", self.out.display());
        let file = std::fs::File::create_new(&self.out).map_err(context)?;
        let mut file = BufWriter::new(file);
        let told = export.write(async |text| file.write_all(text.as_bytes())).await;
        let written = match told {
            Ok(written) => written,
            Err(fault) => {
                // Half a bundle verifies as a damaged one; better none.
                drop(file);
                std::fs::remove_file(&self.out)?;
                return Err(fault.into());
            }
        };
        file.into_inner().map_err(|error| error.into_error())?.sync_all()?;
        reader.close().await;
        if self.json {
            let (lines, fingerprint) = (written.lines, written.fingerprint);
            println!("{}", serde_json::json!({ "lines": lines, "fingerprint": fingerprint }));
        } else {
            let (lines, out) = (written.lines, self.out.display());
            println!("{out}: slots {first} to {last}, {lines} lines");
            println!("fingerprint {}", written.fingerprint);
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl VerifyArguments {
    /// Checks the bundle; the exit code says whether everything holds.
    ///
    /// # Errors
    /// When the bundle cannot be read or the chain cannot be asked.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        let trust = Trust { operator: self.operator, fingerprint: self.fingerprint };
        let mut report = if self.bundle.as_os_str() == "-" {
            verify(std::io::stdin().lock(), &trust)?
        } else {
            let context = |error| anyhow::anyhow!("cannot read {}: {error}", self.bundle.display());
            verify(BufReader::new(std::fs::File::open(&self.bundle).map_err(context)?), &trust)?
        };
        if let (Some(url), Some(anchor)) = (self.rpc, self.anchor) {
            let chain = RpcChain::new(RpcConfig::new(url, self.chain_id))?;
            chain.check().await?;
            compare_with_chain(&mut report, &chain, anchor).await?;
        }
        if self.json {
            println!("{}", serde_json::to_string_pretty(&report)?);
        } else {
            print!("{}", summary(&report));
        }
        Ok(if report.verified { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// The report as people read it.
fn summary(report: &Report) -> String {
    use std::fmt::Write as _;
    let mut text = String::new();
    let mut line = |part: std::fmt::Arguments<'_>| writeln!(text, "{part}").expect("into memory");
    for Finding { line: number, kind, point, slot, what } in &report.findings {
        let point = point.as_ref().map(|point| format!(" of {point}")).unwrap_or_default();
        let slot = slot
            .map(|slot| format!(" in slot {slot} ({})", units::Slot::new(slot)))
            .unwrap_or_default();
        line(format_args!("line {number}: {kind}{point}{slot}: {what}"));
    }
    let untold = report.findings_total - report.findings.len() as u64;
    if untold > 0 {
        line(format_args!("… and {untold} more"));
    }
    for remark in &report.remarks {
        line(format_args!("note: {remark}"));
    }
    let counts = &report.counts;
    if let (Some(community), Some(operator)) = (&report.community, report.operator) {
        line(format_args!("community {community}, operator {operator}"));
    }
    line(format_args!(
        "{} slots, {} settled again, {} orders, {} readings, {} bills, {} transfers, {} epochs ({} compared with the \
         chain) in {} lines",
        counts.slots,
        counts.corrected,
        counts.orders,
        counts.readings,
        counts.statements,
        counts.transfers,
        counts.epochs,
        counts.epochs_on_chain,
        counts.lines
    ));
    if let Some(root) = report.log_root {
        line(format_args!("log root {root}"));
    }
    if let Some(fingerprint) = report.fingerprint {
        line(format_args!("fingerprint {fingerprint}"));
    }
    if report.verified {
        line(format_args!("VERIFIED: everything follows from the signatures"));
    } else {
        line(format_args!("NOT VERIFIED: {} things do not hold", report.findings_total));
    }
    text
}
