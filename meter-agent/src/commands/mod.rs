//! What the program can be told to do.

mod assign;
mod check;
mod counters;
mod discover;
mod export;
mod first_reading;
mod init;
mod key;
mod manual;
mod map;
mod probe;
mod run;
mod setup;
mod sign_test;
mod target;
mod trace;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{CommandFactory, Subcommand};
use meter_agent::device::LibraryError;
use meter_agent::journal::JournalError;
use meter_agent::onboarding::assign::AssignError;
use meter_agent::onboarding::discover::ListenError;
use meter_agent::onboarding::setup::SetupError;
use meter_agent::onboarding::{LookError, NoChoice, ProbeError};
use meter_agent::{AgentError, ConfigError, DiskError, key_file};

/// Had to stop while running.
const STOPPED: u8 = 1;
/// Cannot start as it is set up.
const UNUSABLE: u8 = 3;
/// A device cannot be read.
const SILENT_DEVICE: u8 = 4;
/// Nothing that was found can be used for what it was looked for.
const NOTHING_FITS: u8 = 6;
/// What the devices say cannot be true, or cannot be told.
const IMPLAUSIBLE: u8 = 7;
/// A golden vector does not come out.
const WRONG_READINGS: u8 = 5;

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the agent until a signal ends it.
    Run {
        /// Configuration file.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Write a commented configuration and a new key into a folder; overwrites nothing.
    Init(init::Init),
    /// Look what is there: devices that announce themselves, that publish at a broker, and at addresses
    /// that you name.
    Discover(discover::Discover),
    /// Look at an address: who answers, what it is, which device maps fit, and what it says.
    Probe(probe::Probe),
    /// Find out what is at an address and write it into a configuration as meter, solar plant or
    /// battery.
    Assign(assign::Assign),
    /// Look for mistakes in a configuration; with --live also at the devices, with --plausible at whether
    /// what they say can be true.
    Check(check::Check),
    /// All of this in a browser: find, look, write down, sign test, check.
    Setup(setup::SetupPage),
    /// Find out with a kettle which way meter and battery count, and mend what is reversed.
    SignTest(sign_test::SignTest),
    /// Write down every byte between agent and devices for a while, for a report of a defect.
    Trace(trace::Trace),
    /// Show what the registers stand at, and confirm a jump that was put aside.
    Counters(counters::Counters),
    /// Device maps: what there is, what each reads, and one's own.
    #[command(subcommand)]
    Map(map::Map),
    /// Write what the journal holds, for spreadsheets and for independent checkers; the agent may be
    /// running.
    #[command(subcommand)]
    Export(export::Export),
    /// The household's key: make, show, keep a copy, bring it back, exchange and revoke it.
    #[command(subcommand)]
    Key(key::Key),
    /// Print what a shell needs to complete commands and options.
    Completions(manual::Completions),
    /// Print the manual page, or write one per command.
    Man(manual::Man),
}

/// Does what was asked for; `A` is the whole command line.
pub fn execute<A: CommandFactory>(command: Command, json: bool) -> Result<ExitCode> {
    match command {
        Command::Run { config } => run::run(&config, json),
        Command::Init(init) => init.execute(json),
        Command::Discover(discover) => discover.execute(json),
        Command::Probe(probe) => probe.execute(json),
        Command::Assign(assign) => assign.execute(json),
        Command::Check(check) => check.execute(json),
        Command::Setup(setup) => setup.execute(json),
        Command::SignTest(test) => test.execute(json),
        Command::Trace(trace) => trace.execute(json),
        Command::Counters(counters) => counters.execute(json),
        Command::Map(map) => map.execute(json),
        Command::Export(export) => export.execute(json),
        Command::Key(key) => key.execute(json),
        Command::Completions(completions) => Ok(completions.execute::<A>()),
        Command::Man(man) => man.execute::<A>(json),
    }
}

/// The exit code for an error that ended a command.
pub fn exit_code(error: &anyhow::Error) -> u8 {
    let starting = error.downcast_ref::<run::Running>().is_none();
    let is_silent = error.downcast_ref::<LookError>().is_some()
        || error.downcast_ref::<ProbeError>().is_some()
        || error.downcast_ref::<ListenError>().is_some();
    if is_silent {
        return SILENT_DEVICE;
    }
    if error.downcast_ref::<NoChoice>().is_some() {
        return NOTHING_FITS;
    }
    let unusable = error.downcast_ref::<AgentError>().is_some()
        || error.downcast_ref::<ConfigError>().is_some()
        || error.downcast_ref::<LibraryError>().is_some()
        || error.downcast_ref::<DiskError>().is_some()
        || error.downcast_ref::<JournalError>().is_some()
        || error.downcast_ref::<key_file::KeyError>().is_some()
        || error.downcast_ref::<export::ExportError>().is_some()
        || error.downcast_ref::<AssignError>().is_some()
        || error.downcast_ref::<SetupError>().is_some()
        || error.downcast_ref::<discover::BrokerError>().is_some()
        || error.downcast_ref::<trace::TraceError>().is_some()
        || error.downcast_ref::<key::KeyCommandError>().is_some()
        || error.downcast_ref::<init::InitError>().is_some();
    if starting && unusable { UNUSABLE } else { STOPPED }
}
