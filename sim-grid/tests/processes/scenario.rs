//! Six houses of the shipped street for one summer day's noon: small enough that four streets of
//! processes fit on two cores, with every kind of device and meter in it.

use std::fs;
use std::path::Path;

use sim_grid::scenario::{parse_slot, t_of_slot};
use units::Slot;

/// PV, PV with an EV charger, PV with a battery and a heat pump, a heat pump alone, and two houses
/// with neither.
pub const CUSTOMERS: [&str; 6] = ["C001", "C002", "C004", "C006", "C008", "C030"];
/// First slot.
pub const FROM: &str = "2016-07-23T10:00Z";
/// Slots from there on.
const SLOTS: i64 = 64;

/// Writes the scenario into a folder; the whole grid, and only what the six houses need of the rest.
pub fn write(folder: &Path) {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios/semiurb4");
    let from = t_of_slot(parse_slot(FROM).expect("a slot"));
    let copy = |name: &str, cut: &dyn Fn(&str) -> String| {
        let text = fs::read_to_string(shipped.join(name)).expect("a shipped file");
        let file = folder.join(name);
        fs::create_dir_all(file.parent().expect("it is in a folder")).expect("a folder");
        fs::write(file, cut(&text)).expect("written");
    };
    for name in ["buses", "lines", "transformers", "slack"] {
        copy(&format!("grid/{name}.csv"), &str::to_owned);
    }
    let is_one = |row: &Row<'_>| CUSTOMERS.contains(&row.text("customer_id"));
    copy("customers.csv", &|text| rows(text, is_one));
    copy("devices.csv", &|text| rows(text, is_one));
    let in_time = |row: &Row<'_>| {
        let t: i64 = row.text("t").parse().expect("a number");
        (from..from + SLOTS).contains(&t)
    };
    copy("tariffs.csv", &|text| rows(text, in_time));
    for entry in fs::read_dir(shipped.join("ts")).expect("a folder") {
        let name = entry.expect("an entry").file_name().into_string().expect("text");
        copy(&format!("ts/{name}"), &|text| columns(&rows(text, in_time)));
    }
}

/// Last slot that the scenario can simulate.
pub fn last() -> Slot {
    parse_slot(FROM).expect("a slot").offset(SLOTS - 1)
}

/// A line of a table by the names of its columns.
struct Row<'t>(Vec<(&'t str, &'t str)>);

impl<'t> Row<'t> {
    fn text(&self, column: &str) -> &'t str {
        self.0.iter().find(|(name, _)| *name == column).expect("the column is there").1
    }
}

/// The table with only the rows that are wanted.
fn rows(text: &str, wanted: impl Fn(&Row<'_>) -> bool) -> String {
    let mut lines = text.lines();
    let head = lines.next().expect("a header");
    let names: Vec<&str> = head.split(',').collect();
    let row = |line: &&str| wanted(&Row(names.iter().copied().zip(line.split(',')).collect()));
    let kept = lines.filter(row);
    [head].into_iter().chain(kept).map(|line| format!("{line}\n")).collect()
}

/// The table with only the columns of the six houses, and the time.
fn columns(text: &str) -> String {
    let head = text.lines().next().expect("a header");
    let wanted = |name: &str| CUSTOMERS.contains(&name) || name == "t" || name == "timestamp_utc";
    let kept: Vec<bool> = head.split(',').map(wanted).collect();
    let cut = |line: &str| {
        let cells = line.split(',').zip(&kept).filter(|(_, kept)| **kept);
        let cells: Vec<&str> = cells.map(|(cell, _)| cell).collect();
        format!("{}\n", cells.join(","))
    };
    text.lines().map(cut).collect()
}
