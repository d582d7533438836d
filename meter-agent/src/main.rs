//! `meter-agent`: the commands around the library.

#[macro_use]
extern crate terminal;

mod commands;

use std::process::ExitCode;

use clap::Parser;
use commands::Command;

/// A household's agent in a local energy market: reads the meter, signs what it says, bids for the
/// next quarter-hour and checks every bill.
#[derive(Debug, Parser)]
#[command(version, after_help = EXIT_CODES)]
struct Arguments {
    /// Print results as JSON.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "Exit codes:
  0  done, or stopped by a signal
  1  had to stop while running: what is on disk is safe, start again
  2  wrong arguments
  3  configuration, key or data folder cannot be used: the message says what to do
  4  a device does not answer, or not as its role needs (`check --live`, `probe`, `assign`)
  5  `map test`: a golden vector does not come out as it must
  6  `probe`, `assign`: something answers, and nothing in it fits what it is wanted for
  7  `check --plausible`, `sign-test`: what devices say cannot be true, or it cannot be told";

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    terminal::log("info");
    match commands::execute::<Arguments>(arguments.command, arguments.json) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(commands::exit_code(&error))
        }
    }
}
