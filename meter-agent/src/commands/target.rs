//! What `probe`, `assign` and their like share: where to look, and telling a person what goes on.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::path::Path;

use anyhow::{Context, Result};
use meter_agent::device::{DeviceMap, Library, Quantity, Transport};
use meter_agent::onboarding::Progress;
use meter_agent::{ConfigError, FigureCheck};
use tokio::runtime::Runtime;

/// One thread: everything here waits most of the time.
pub fn runtime() -> Result<Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")
}

/// Progress for a person: on a terminal one line that changes, otherwise a line each; with `quiet`
/// nothing.
pub fn progress(quiet: bool) -> Progress {
    if quiet {
        return Progress::silent();
    }
    let is_terminal = std::io::stderr().is_terminal();
    Progress::to(move |sentence| {
        if is_terminal {
            eprint!("\r\u{1b}[K{sentence}");
        } else {
            eprintln!("{sentence}");
        }
    })
}

/// Ends the line that changes.
pub fn end_progress(quiet: bool) {
    if !quiet && std::io::stderr().is_terminal() {
        eprint!("\r\u{1b}[K");
    }
}

/// The maps compiled in and those of a folder, without the ones that need a broker or a telegram.
pub fn modbus_maps(folder: Option<&Path>) -> Result<BTreeMap<String, DeviceMap>> {
    let mut maps =
        Library::load(folder).and_then(|library| library.all()).map_err(ConfigError::from)?;
    maps.retain(|_, map| matches!(map.transport, Transport::Modbus | Transport::Sunspec));
    Ok(maps)
}

/// Sentences for a person, a line each: what to do, and when.
pub fn sentences() -> Progress {
    Progress::to(|sentence| eprintln!("{sentence}"))
}

/// The figures of a device, a line each: the number right-aligned, its unit behind it.
pub fn print_figures(figures: &[FigureCheck]) {
    for figure in figures {
        let shown = figure.value.map(|value| {
            Quantity::named(figure.quantity)
                .map_or_else(|| value.to_string(), |quantity| quantity.shown(value))
        });
        match shown {
            Some(shown) => {
                let (number, unit) = shown.split_once(' ').unwrap_or((&shown, ""));
                println!("  {:<17} {number:>14} {unit}", figure.quantity);
            }
            None => {
                let note = figure.note.as_deref().unwrap_or("nothing");
                println!("  {:<17} {:>14} {note}", figure.quantity, "-");
            }
        }
    }
}
