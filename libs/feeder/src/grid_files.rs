//! The four files of a grid folder, as lists with the line of every entry.

use std::collections::BTreeSet;
use std::io::{self, Read};

use crate::error::{Fault, NetworkError, Place};
use crate::network::{Bus, Line, NetworkParts, Places, Slack, Transformer};
use crate::table::{TableError, TableReader};

/// Name of the list of buses.
pub(crate) const BUSES: &str = "grid/buses.csv";
/// Name of the list of lines.
const LINES: &str = "grid/lines.csv";
/// Name of the list of transformers.
const TRANSFORMERS: &str = "grid/transformers.csv";
/// Name of the list of slack buses.
pub(crate) const SLACK: &str = "grid/slack.csv";

/// Reads all four files.
pub(crate) fn read<R: Read>(
    mut open: impl FnMut(&str) -> io::Result<R>,
) -> Result<(NetworkParts, Places), NetworkError> {
    let mut table = |file: &str| -> Result<TableReader<R>, TableError> {
        let source =
            open(file).map_err(|source| TableError::Open { file: file.to_owned(), source })?;
        TableReader::new(file, source)
    };
    let (buses, roles, bus_places) = read_buses(table(BUSES)?)?;
    let (lines, line_places) = read_lines(table(LINES)?)?;
    let (transformers, transformer_places) = read_transformers(table(TRANSFORMERS)?)?;
    let (slacks, slack_places) = read_slacks(table(SLACK)?)?;
    if !slacks.is_empty() {
        check_roles(&buses, &roles, &bus_places, &slacks)?;
    }
    let parts = NetworkParts { buses, lines, transformers, slacks };
    let places = Places {
        buses: bus_places,
        lines: line_places,
        transformers: transformer_places,
        slacks: slack_places,
    };
    Ok((parts, places))
}

type BusTable = (Vec<Bus>, Vec<String>, Vec<Place>);

fn read_buses<R: Read>(mut table: TableReader<R>) -> Result<BusTable, TableError> {
    let (id, vn, role) = (table.column("bus_id")?, table.column("vn_kv")?, table.column("role")?);
    let (mut buses, mut roles, mut places) = (Vec::new(), Vec::new(), Vec::new());
    while let Some(row) = table.next_row()? {
        if !matches!(row.text(role), "slack" | "bus") {
            return Err(row.bad_field(role, "slack or bus"));
        }
        buses.push(Bus { id: row.text(id).to_owned(), vn_kv: row.number(vn)? });
        roles.push(row.text(role).to_owned());
        places.push(row.place());
    }
    Ok((buses, roles, places))
}

fn read_lines<R: Read>(mut table: TableReader<R>) -> Result<(Vec<Line>, Vec<Place>), TableError> {
    let id = table.column("line_id")?;
    let (from, to) = (table.column("from_bus")?, table.column("to_bus")?);
    let (r, x) = (table.column("r_ohm")?, table.column("x_ohm")?);
    let (max_i, length) = (table.column("max_i_ka")?, table.optional_column("length_m"));
    let (mut lines, mut places) = (Vec::new(), Vec::new());
    while let Some(row) = table.next_row()? {
        lines.push(Line {
            id: row.text(id).to_owned(),
            from_bus: row.text(from).to_owned(),
            to_bus: row.text(to).to_owned(),
            length_m: length.map(|length| row.number(length)).transpose()?,
            r_ohm: row.number(r)?,
            x_ohm: row.number(x)?,
            max_i_ka: row.number(max_i)?,
        });
        places.push(row.place());
    }
    Ok((lines, places))
}

fn read_transformers<R: Read>(
    mut table: TableReader<R>,
) -> Result<(Vec<Transformer>, Vec<Place>), TableError> {
    let id = table.column("trafo_id")?;
    let (hv, lv) = (table.column("hv_bus")?, table.column("lv_bus")?);
    let (sn, ratio) = (table.column("sn_kva")?, table.column("ratio_pu")?);
    let (vn_hv, vn_lv) = (table.column("vn_hv_kv")?, table.column("vn_lv_kv")?);
    let (r, x) = (table.column("r_lv_ohm")?, table.column("x_lv_ohm")?);
    let (mut transformers, mut places) = (Vec::new(), Vec::new());
    while let Some(row) = table.next_row()? {
        transformers.push(Transformer {
            id: row.text(id).to_owned(),
            hv_bus: row.text(hv).to_owned(),
            lv_bus: row.text(lv).to_owned(),
            sn_kva: row.number(sn)?,
            vn_hv_kv: row.number(vn_hv)?,
            vn_lv_kv: row.number(vn_lv)?,
            ratio_pu: row.number(ratio)?,
            r_lv_ohm: row.number(r)?,
            x_lv_ohm: row.number(x)?,
        });
        places.push(row.place());
    }
    Ok((transformers, places))
}

fn read_slacks<R: Read>(mut table: TableReader<R>) -> Result<(Vec<Slack>, Vec<Place>), TableError> {
    let (bus, vm) = (table.column("bus_id")?, table.column("vm_pu")?);
    let va = table.column("va_degree")?;
    let (mut slacks, mut places) = (Vec::new(), Vec::new());
    while let Some(row) = table.next_row()? {
        slacks.push(Slack {
            bus: row.text(bus).to_owned(),
            vm_pu: row.number(vm)?,
            va_degree: row.number(va)?,
        });
        places.push(row.place());
    }
    Ok((slacks, places))
}

/// The role column of the buses and the list of slacks must tell the same story.
fn check_roles(
    buses: &[Bus],
    roles: &[String],
    places: &[Place],
    slacks: &[Slack],
) -> Result<(), NetworkError> {
    let slack_ids: BTreeSet<&str> = slacks.iter().map(|slack| slack.bus.as_str()).collect();
    for ((bus, role), place) in buses.iter().zip(roles).zip(places) {
        if (role == "slack") != slack_ids.contains(bus.id.as_str()) {
            let fault = Fault::RoleMismatch { bus: bus.id.clone(), role: role.clone() };
            return Err(NetworkError::Invalid { place: place.clone(), fault });
        }
    }
    Ok(())
}
