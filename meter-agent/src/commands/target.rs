//! What `probe`, `assign` and their like share: where to look, and telling a person what goes on.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::path::Path;

use anyhow::{Context, Result};
use meter_agent::ConfigError;
use meter_agent::device::{DeviceMap, Library, Transport};
use meter_agent::onboarding::Progress;
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

/// The figures of a device, a line each.
pub fn print_figures(figures: &[meter_agent::FigureCheck]) {
    for figure in figures {
        let quantity = meter_agent::device::Quantity::named(figure.quantity);
        match (figure.value, quantity) {
            (Some(value), Some(quantity)) => {
                println!("  {:<20} {:>16}", figure.quantity, short(&quantity.shown(value)));
            }
            _ => {
                let note = figure.note.as_deref().unwrap_or("nothing");
                println!("  {:<20} {note:>16}", figure.quantity);
            }
        }
    }
}

/// A figure without the zeros that say nothing.
fn short(shown: &str) -> String {
    let (number, unit) = shown.split_once(' ').unwrap_or((shown, ""));
    let number = match number.contains('.') {
        true => number.trim_end_matches('0').trim_end_matches('.'),
        false => number,
    };
    format!("{number} {unit}").trim_end().to_owned()
}
