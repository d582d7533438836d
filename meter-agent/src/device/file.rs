//! A map file to the maps in it: parts get the file's head, SunSpec ids their model, and addresses
//! that count from 1 or 40001 become addresses on the wire.

use super::lint;
use super::map::{DeviceMap, Part, Transport};

/// Why a file is no map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileFault {
    /// No TOML of the expected form; what the parser says.
    Malformed(String),
    /// Everything that is wrong, as sentences.
    Unsound(Vec<String>),
}

/// The sound maps of a file.
///
/// # Errors
/// [`FileFault`].
pub fn maps(text: &str) -> Result<Vec<DeviceMap>, FileFault> {
    let file: DeviceMap =
        toml::from_str(text).map_err(|error| FileFault::Malformed(error.to_string()))?;
    let mut problems = lint::file_problems(&file);
    let mut maps = Vec::new();
    for mut map in expand(file) {
        if let Err(problem) = to_wire(&mut map) {
            problems.push(problem);
        }
        for problem in lint::problems(&map) {
            // What is wrong in the head is wrong in every part.
            if !problems.contains(&problem) {
                problems.push(problem);
            }
        }
        maps.push(map);
    }
    if problems.is_empty() { Ok(maps) } else { Err(FileFault::Unsound(problems)) }
}

fn expand(mut file: DeviceMap) -> Vec<DeviceMap> {
    let (ids, parts) = (std::mem::take(&mut file.ids), std::mem::take(&mut file.parts));
    if !parts.is_empty() {
        return parts.into_iter().map(|part| with_part(file.clone(), part)).collect();
    }
    if ids.is_empty() {
        return vec![file];
    }
    let for_model = |(id, model)| {
        let mut own = DeviceMap { id, ..file.clone() };
        for block in own.blocks.iter_mut().filter(|block| block.models.is_empty()) {
            block.models = vec![model];
        }
        own
    };
    ids.into_iter().map(for_model).collect()
}

fn with_part(mut map: DeviceMap, part: Part) -> DeviceMap {
    map.id = part.id;
    map.name = part.name.unwrap_or(map.name);
    map.purpose = Some(part.purpose);
    map.status = part.status.unwrap_or(map.status);
    map.registration = part.registration.or(map.registration);
    map.notes.extend(part.notes);
    map.blocks.extend(part.blocks);
    map.messages.extend(part.messages);
    map.derived.extend(part.derived);
    map.controls.extend(part.controls);
    map
}

/// Takes the document's way of counting out of every address.
fn to_wire(map: &mut DeviceMap) -> Result<(), String> {
    let Some(rules) = &mut map.modbus else { return Ok(()) };
    let base = rules.address_base.unwrap_or(0);
    if base == 0 {
        return Ok(());
    }
    let mut below = None;
    let mut shift = |address: &mut u16| match address.checked_sub(base) {
        Some(shifted) => *address = shifted,
        None => below = Some(*address),
    };
    for hole in &mut rules.no_read {
        shift(&mut hole.from);
        shift(&mut hole.to);
    }
    rules.address_base = Some(0);
    for identify in &mut map.identify {
        shift(&mut identify.at);
    }
    for block in &mut map.blocks {
        if block.count > 0 {
            shift(&mut block.address);
        }
        for field in &mut block.fields {
            shift(&mut field.at);
            field.scale_at.iter_mut().for_each(&mut shift);
        }
    }
    for control in &mut map.controls {
        let puts = control.setpoint.iter_mut().chain(&mut control.release);
        puts.for_each(|put| shift(&mut put.at));
    }
    match below {
        Some(address) => Err(format!("register {address} is below address_base = {base}")),
        None if map.transport == Transport::Sunspec => {
            Err("address_base does not belong to SunSpec maps: offsets count from 0".to_owned())
        }
        None => Ok(()),
    }
}
