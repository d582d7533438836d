//! What the programs write: answers to standard output, the log to standard error.
//!
//! `#[macro_use] extern crate terminal;` at the top of a program replaces the standard `print!` and
//! `println!`, which panic when whoever reads has had enough (`meter-agent map list | head`). A
//! daemon must not die of a closed pipe, so that the signal stays ignored and the write is asked.

use std::fmt;
use std::io::{self, ErrorKind, IsTerminal, Write};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// What a shell says of a program that a closed pipe has ended: 128 and the number of the signal.
const CLOSED_PIPE: i32 = 141;
/// Had to stop while running.
const FAILED: i32 = 1;

/// `println!`, which ends the program when nobody reads any more.
#[macro_export]
macro_rules! println {
    () => { $crate::write(format_args!("\n")) };
    ($($text:tt)*) => { $crate::write(format_args!("{}\n", format_args!($($text)*))) };
}

/// `print!`, which ends the program when nobody reads any more.
#[macro_export]
macro_rules! print {
    ($($text:tt)*) => { $crate::write(format_args!($($text)*)) };
}

/// Writes to standard output. The program ends when that cannot be done: quietly when the reader
/// has gone, with a message when the disk is full, for instance.
pub fn write(text: fmt::Arguments<'_>) {
    let Err(error) = io::stdout().write_fmt(text) else { return };
    if error.kind() == ErrorKind::BrokenPipe {
        std::process::exit(CLOSED_PIPE);
    }
    eprintln!("error: standard output cannot be written: {error}");
    std::process::exit(FAILED);
}

/// Logs to standard error what `RUST_LOG` lets through, or else what `default` does: levels by
/// target, for example `info,rumqttd=off`.
pub fn log(default: &str) {
    let chosen = std::env::var("RUST_LOG").ok().filter(|text| !text.is_empty());
    let (filter, problem) = filter(chosen.as_deref(), default);
    let lines = tracing_subscriber::fmt::layer().with_writer(io::stderr).with_ansi(wants_colour());
    tracing_subscriber::registry().with(lines).with(filter).init();
    if let Some(problem) = problem {
        tracing::warn!("{problem}");
    }
}

/// The filter, and what is wrong with the chosen one.
fn filter(chosen: Option<&str>, default: &str) -> (Targets, Option<String>) {
    let own = || default.parse().unwrap_or_else(|_| Targets::new().with_default(LevelFilter::INFO));
    match chosen.map(str::parse) {
        None => (own(), None),
        Some(Ok(filter)) => (filter, None),
        Some(Err(error)) => {
            let problem = format!(
                "RUST_LOG is not understood ({error}) and counts for nothing: write levels by \
                 target, for example info,meter_agent=debug"
            );
            (own(), Some(problem))
        }
    }
}

/// Colours are for a terminal, unless its owner wants none (<https://no-color.org>).
fn wants_colour() -> bool {
    io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing::Level;

    #[test]
    fn a_filter_is_the_chosen_one_or_else_the_programs_own() {
        const OWN: &str = "info,noisy=off";
        for (chosen, target, level, expected) in [
            (None, "ours", Level::INFO, true),
            (None, "ours", Level::DEBUG, false),
            (None, "noisy::inside", Level::ERROR, false),
            (Some("debug"), "noisy", Level::DEBUG, true),
            (Some("ours=trace"), "ours::inside", Level::TRACE, true),
            (Some("ours=trace"), "theirs", Level::ERROR, false),
            (Some("ours=loud"), "ours", Level::INFO, true),
            (Some("ours=loud"), "noisy", Level::ERROR, false),
        ] {
            let (filter, problem) = filter(chosen, OWN);
            assert_eq!(
                filter.would_enable(target, &level),
                expected,
                "{chosen:?} {target} {level}"
            );
            assert_eq!(problem.is_some(), chosen == Some("ours=loud"));
        }
    }
}
