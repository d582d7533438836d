//! A map to start one's own from: a compiled-in one, with the format explained above it.

use super::library::{BuiltIn, built_in_files};

/// What stands above every blueprint.
const FORMAT: &str = "\
# A device map. Put it into the folder that devices_dir names in the configuration; a map there comes
# before a compiled-in one of the same id. Then:
#   meter-agent map lint FILE     looks for mistakes
#   meter-agent map show FILE     shows what would be asked for
#   meter-agent map test FILE     runs golden/NAME.toml beside it: registers or payloads in, readings out
#
# Every number has a key (power, energy_import, … or a name of your own that [[derived]] refers to) and
# a unit. Modbus: at = register on the wire, type, order = \"ABCD\" | \"CDAB\" | \"BADC\" | \"DCBA\",
# scale10 = a power of ten, scale_at = the register of one, sentinels = raw numbers that mean \"not
# available\". MQTT: path = names into the JSON payload, joined by dots.
# Power needs positive_means = import | export | charge | discharge | consume | produce.
# Energy needs counter = { resolution_mwh = …, reset = \"never\" | \"daily\" | \"power_cycle\" | \"unknown\" }.
# status = \"documented\" (from the maker's document), \"cross-checked\" (several sources agree), \"field\"
# (seen working) or \"unverified\". docs/device-maps.md tells the rest.

";

/// The text of a file with this map in it, every id of the file with `prefix` before it; none when
/// no compiled-in file has the map.
#[must_use]
pub fn blueprint(id: &str, prefix: &str) -> Option<String> {
    let has = |file: &&BuiltIn| file.maps().is_ok_and(|maps| maps.iter().any(|map| map.id == id));
    let file = built_in_files().iter().find(has)?;
    let ids: Vec<String> = file.maps().ok()?.into_iter().map(|map| map.id).collect();
    let line = |line: &str| {
        let own = |id: &&String| {
            line == format!("id = \"{id}\"") || line.starts_with(&format!("{id} = "))
        };
        match ids.iter().find(own) {
            Some(id) => line.replacen(id.as_str(), &format!("{prefix}{id}"), 1) + "\n",
            None => format!("{line}\n"),
        }
    };
    Some(FORMAT.chars().chain(file.map.lines().map(line).collect::<String>().chars()).collect())
}

#[cfg(test)]
mod tests {
    use super::super::{built_in_ids, file};
    use super::*;

    #[test]
    fn every_blueprint_is_a_sound_map_with_ids_of_its_own() {
        for id in built_in_ids() {
            let text = blueprint(&id, "my-").expect("compiled in");
            let maps = file::maps(&text).unwrap_or_else(|fault| panic!("{id}: {fault:?}"));
            assert!(maps.iter().any(|map| map.id == format!("my-{id}")), "{id}");
            assert!(maps.iter().all(|map| map.id.starts_with("my-")), "{id}");
        }
        assert_eq!(blueprint("no-such-map", "my-"), None);
    }
}
