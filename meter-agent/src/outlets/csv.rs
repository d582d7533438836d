//! The journal as a table for a spreadsheet: one line per signed reading.
//!
//! `import_wh` and `export_wh` are what flowed since the line before, which is usually one slot. Where
//! edges were missed, a line spans more: `from` and `to` say which, and nothing is made up about how
//! the energy spread inside. The registers as they were signed stand beside it.

use std::fmt::Write;

use protocol::Reading;
use units::Slot;

use crate::core::Entry;
use crate::ocmf::utc;

/// The columns.
pub const HEAD: &str = "from,to,slots,import_wh,export_wh,produced_wh,quality,import_register_wh,\
                        export_register_wh,produced_register_wh,power_w,read_at,clock,point,epoch,seq,\
                        signature";

/// The lines of all readings whose slot is in the range, oldest first. `entries` are one epoch's, with
/// the reading before the range where there is one: the energy of a line is counted from it.
#[must_use]
pub fn lines(entries: &[Entry], first: Slot, last: Slot) -> String {
    let mut text = String::new();
    let mut before: Option<&Reading> = None;
    for entry in entries {
        let reading = &entry.reading.body;
        let signature = hex::encode(entry.reading.sig.as_bytes());
        if (first.number()..=last.number()).contains(&reading.slot) {
            line(&mut text, before, reading, &signature);
        }
        before = Some(reading);
    }
    text
}

fn line(text: &mut String, before: Option<&Reading>, reading: &Reading, signature: &str) {
    let end = |reading: &Reading| utc(Slot::new(reading.slot).end_ms(), '.');
    let since = |register: fn(&Reading) -> Option<u64>| {
        let known = before.and_then(register).zip(register(reading));
        blank(known.and_then(|(from, to)| to.checked_sub(from)))
    };
    let columns = [
        before.map_or_else(String::new, end),
        end(reading),
        blank(before.map(|before| reading.slot - before.slot)),
        since(|reading| Some(reading.import_wh)),
        since(|reading| Some(reading.export_wh)),
        since(|reading| reading.produced_wh.first().copied()),
        reading.quality.clone(),
        reading.import_wh.to_string(),
        reading.export_wh.to_string(),
        blank(reading.produced_wh.first()),
        blank(reading.power_w.first()),
        utc(reading.time_ms, '.'),
        reading.clock.clone(),
        reading.point.clone(),
        reading.epoch.to_string(),
        reading.seq.to_string(),
        signature.to_owned(),
    ];
    let _ = writeln!(text, "{}", columns.map(|column| quoted(&column)).join(","));
}

/// What is not known is empty, never zero.
fn blank(value: Option<impl ToString>) -> String {
    value.map_or_else(String::new, |value| value.to_string())
}

/// A field as RFC 4180 wants it.
fn quoted(field: &str) -> String {
    if field.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", field.replace('"', "\"\""))
    } else {
        field.to_owned()
    }
}
