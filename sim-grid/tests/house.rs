//! The house rules that a machine can keep: who may know whom, how large a file may grow, which
//! names nobody uses, and that the map names only what exists.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Which of our packages a package may depend on; dev-dependencies count too.
const EDGES: [(&str, &[&str]); 11] = [
    ("units", &[]),
    ("feeder", &[]),
    ("clock", &[]),
    ("chain", &[]),
    ("terminal", &[]),
    ("tls", &[]),
    ("protocol", &["units"]),
    ("market", &["units", "feeder"]),
    ("meter-agent", &["units", "protocol", "market", "chain", "clock", "terminal", "tls"]),
    ("controller", &["units", "protocol", "market", "feeder", "chain", "clock", "terminal", "tls"]),
    (
        "sim-grid",
        &[
            "units",
            "protocol",
            "market",
            "feeder",
            "chain",
            "clock",
            "terminal",
            "tls",
            "meter-agent",
            "controller",
        ],
    ),
];

/// Libraries that belong to one room each.
const ROOMS: [(&str, &[&str]); 7] = [
    ("actix-web", &["controller"]),
    ("sqlx", &["controller"]),
    ("bevy_ecs", &["sim-grid"]),
    ("revm", &["chain"]),
    ("good_lp", &["market"]),
    ("tokio-modbus", &["meter-agent", "sim-grid"]),
    ("rumqttd", &["controller", "meter-agent", "sim-grid"]),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_owned()
}

#[test]
fn dependencies_point_inwards() {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    let metadata: serde_json::Value =
        serde_json::from_slice(&output.stdout).expect("cargo prints JSON");
    let packages = metadata["packages"].as_array().expect("a list");
    let allowed: BTreeMap<&str, &[&str]> = EDGES.into_iter().collect();
    let ours: BTreeSet<&str> = allowed.keys().copied().collect();
    assert_eq!(packages.len(), ours.len(), "a new package needs a line in EDGES");
    for package in packages {
        let name = package["name"].as_str().expect("a name");
        let dependencies = package["dependencies"].as_array().expect("a list");
        for dependency in dependencies.iter().filter_map(|entry| entry["name"].as_str()) {
            // A library may ask for its own features in its tests.
            if ours.contains(dependency) && dependency != name {
                let fine = allowed[name].contains(&dependency);
                assert!(fine, "{name} must not know {dependency}");
            }
            for (library, rooms) in ROOMS {
                let fine = dependency != library || rooms.contains(&name);
                assert!(fine, "{name} must not know {library}");
            }
        }
    }
}

fn sources() -> Vec<(PathBuf, String)> {
    let output = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output();
    let listed = output.ok().filter(|output| output.status.success());
    let listed = listed.expect("the tests run in a git checkout");
    String::from_utf8(listed.stdout)
        .expect("names are text")
        .lines()
        .filter(|name| [".rs", ".ts", ".svelte", ".sol"].iter().any(|end| name.ends_with(end)))
        .map(PathBuf::from)
        .filter_map(|name| Some((name.clone(), std::fs::read_to_string(root().join(name)).ok()?)))
        .collect()
}

fn is_test(path: &Path) -> bool {
    path.components().any(|part| ["tests", "benches"].iter().any(|name| part.as_os_str() == *name))
}

#[test]
fn files_stay_small() {
    for (path, text) in sources() {
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        let lines = code.lines().count();
        assert!(is_test(&path) || lines <= 600, "{} has {lines} lines", path.display());
    }
}

#[test]
fn nobody_is_a_manager_and_every_file_says_what_it_is() {
    for (path, text) in sources() {
        if path.extension().is_none_or(|extension| extension != "rs") {
            continue;
        }
        assert!(text.starts_with("//!"), "{} starts without a module doc", path.display());
        for word in ["Manager", "Helper", "Util", "Data"] {
            for kind in ["struct", "enum", "trait", "type"] {
                let named = text.lines().find(|line| {
                    let line = line.trim_start().trim_start_matches("pub ");
                    line.strip_prefix(kind)
                        .and_then(|rest| rest.strip_prefix(' '))
                        .and_then(|rest| rest.split(|c: char| !c.is_alphanumeric()).next())
                        .is_some_and(|name| name.ends_with(word))
                });
                assert!(named.is_none(), "{}: {named:?}: say what it is", path.display());
            }
        }
    }
}

#[test]
fn the_map_names_only_what_is_there() {
    let map = std::fs::read_to_string(root().join("ARCHITECTURE.md")).expect("the map");
    let mut found = 0;
    for quoted in map.split('`').skip(1).step_by(2) {
        let is_path = quoted.contains('/')
            && quoted.chars().all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c));
        if is_path && !quoted.starts_with('/') {
            found += 1;
            assert!(root().join(quoted).exists(), "ARCHITECTURE.md names {quoted}");
        }
    }
    assert!(found > 20, "the map should name places");
}
