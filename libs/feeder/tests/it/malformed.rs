//! Every malformed grid is refused with the file, the line and the reason.

use std::collections::BTreeMap;
use std::io::{self, Cursor};

use feeder::{Bus, Line, Network, NetworkParts, Slack};

/// A small valid grid: slack S, transformer to A, lines A–B and B–C.
fn files() -> BTreeMap<&'static str, String> {
    BTreeMap::from([
        (
            "grid/buses.csv",
            "bus_id,vn_kv,role,depth\nS,20,slack,0\nA,0.4,bus,1\nB,0.4,bus,2\nC,0.4,bus,3\n"
                .to_owned(),
        ),
        (
            "grid/lines.csv",
            "line_id,from_bus,to_bus,r_ohm,x_ohm,max_i_ka\nL1,A,B,0.1,0.05,0.27\nL2,B,C,0.1,0.05,0.27\n"
                .to_owned(),
        ),
        (
            "grid/transformers.csv",
            "trafo_id,hv_bus,lv_bus,sn_kva,vn_hv_kv,vn_lv_kv,ratio_pu,r_lv_ohm,x_lv_ohm\n\
             T1,S,A,400,20,0.4,1.0,0.0048,0.0235\n"
                .to_owned(),
        ),
        ("grid/slack.csv", "bus_id,vm_pu,va_degree\nS,1.025,0\n".to_owned()),
    ])
}

fn read(files: &BTreeMap<&'static str, String>) -> Result<Network, String> {
    Network::read(|file| {
        files
            .get(file)
            .map(|text| Cursor::new(text.clone()))
            .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "no such file"))
    })
    .map_err(|error| error.to_string())
}

/// Replaces a text in one file and expects a refusal that starts and ends as given.
fn check(file: &'static str, from: &str, to: &str, expected: &str) {
    let mut files = files();
    let text = files.get_mut(file).expect("a file of the grid");
    assert!(text.contains(from), "{from:?} is not in {file}");
    *text = text.replacen(from, to, 1);
    let error = read(&files).expect_err(expected);
    assert_eq!(error, expected);
}

#[test]
fn the_small_grid_itself_is_fine() {
    let network = read(&files()).expect("valid");
    assert_eq!(network.branches().len(), 3);
    assert_eq!(network.bus_index("C"), Some(3));
}

#[test]
fn a_line_written_from_the_far_end_is_turned() {
    let mut files = files();
    let text = files.get_mut("grid/lines.csv").expect("there");
    *text = text.replace("L2,B,C", "L2,C,B");
    let network = read(&files).expect("valid");
    let last = network.branches().last().expect("three branches");
    assert_eq!((last.parent, last.child), (2, 3));
}

#[test]
fn missing_files_and_columns() {
    for file in ["grid/buses.csv", "grid/lines.csv", "grid/transformers.csv", "grid/slack.csv"] {
        let mut files = files();
        files.remove(file);
        let error = read(&files).expect_err("a missing file");
        assert!(error.starts_with(&format!("{file} cannot be opened")), "{error}");
    }
    check(
        "grid/lines.csv",
        "r_ohm",
        "ohm",
        "grid/lines.csv, line 1: the column r_ohm is missing; the header has: line_id, from_bus, \
         to_bus, ohm, x_ohm, max_i_ka",
    );
    check(
        "grid/slack.csv",
        "va_degree",
        "vm_pu",
        "grid/slack.csv, line 1: the column vm_pu appears twice",
    );
    check(
        "grid/slack.csv",
        "bus_id,vm_pu,va_degree\nS,1.025,0\n",
        "",
        "grid/slack.csv, line 1: the file is empty; it must start with a header line",
    );
    check(
        "grid/lines.csv",
        "L2,B,C,0.1,0.05,0.27",
        "L2,B,C,0.1,0.05",
        "grid/lines.csv, line 3: the line has 5 fields, but the header has 6",
    );
}

#[test]
fn impossible_numbers() {
    for bad in ["NaN", "inf", "-inf", "", "x", "0,1"] {
        let bad = if bad == "0,1" { "\"0,1\"" } else { bad };
        let shown = bad.trim_matches('"');
        check(
            "grid/lines.csv",
            "L2,B,C,0.1",
            &format!("L2,B,C,{bad}"),
            &format!(
                "grid/lines.csv, line 3: column r_ohm holds {shown:?}, but must be a finite number"
            ),
        );
    }
    check(
        "grid/lines.csv",
        "L2,B,C,0.1",
        "L2,B,C,-0.1",
        "grid/lines.csv, line 3: line L2: the resistance -0.1 ohm is negative",
    );
    check(
        "grid/transformers.csv",
        "0.0048",
        "-0.0048",
        "grid/transformers.csv, line 2: transformer T1: the resistance -0.0048 ohm is negative",
    );
    check(
        "grid/transformers.csv",
        "T1,S,A,400",
        "T1,S,A,0",
        "grid/transformers.csv, line 2: transformer T1: rated power (kVA) is 0, but must be \
         greater than zero",
    );
    check(
        "grid/buses.csv",
        "C,0.4",
        "C,-0.4",
        "grid/buses.csv, line 5: bus C: nominal voltage (kV) is -0.4, but must be greater than zero",
    );
}

#[test]
fn broken_topology() {
    check(
        "grid/lines.csv",
        "L2,B,C,",
        "L3,A,C,0.1,0.05,0.27\nL4,B,A,0.1,0.05,0.27\nL2,B,C,",
        "grid/lines.csv, line 4: line L4 closes a cycle: buses B and A are already connected to a \
         slack without it",
    );
    check(
        "grid/lines.csv",
        "L2,B,C",
        "L2,B,X",
        "grid/lines.csv, line 3: line L2 names bus X, which the list of buses does not have",
    );
    check(
        "grid/lines.csv",
        "L2,B,C",
        "L2,C,C",
        "grid/lines.csv, line 3: line L2 starts and ends at bus C",
    );
    check(
        "grid/lines.csv",
        "L2,B,C",
        "L2,B,S",
        "grid/lines.csv, line 3: line L2 joins bus B (0.4 kV) and bus S (20 kV); that takes a \
         transformer",
    );
    check(
        "grid/lines.csv",
        "L2,B,C,0.1,0.05,0.27\n",
        "",
        "grid/buses.csv, line 5: bus C is disconnected: no path of lines and transformers leads \
         to it from a slack",
    );
    check(
        "grid/lines.csv",
        "L2",
        "L1",
        "grid/lines.csv, line 3: line L1 appears twice (first: grid/lines.csv, line 2)",
    );
    check(
        "grid/buses.csv",
        "C,0.4",
        "B,0.4",
        "grid/buses.csv, line 5: bus B appears twice (first: grid/buses.csv, line 4)",
    );
    check(
        "grid/transformers.csv",
        "T1,S,A",
        "T1,A,S",
        "grid/transformers.csv, line 2: transformer T1 is fed from its low-voltage bus S; the \
         high-voltage side must face the slack",
    );
}

#[test]
fn slack_buses() {
    check(
        "grid/slack.csv",
        "S,1.025,0\n",
        "",
        "grid/slack.csv, line 1: there is no slack bus; name the bus that the grid feeds",
    );
    check(
        "grid/slack.csv",
        "S,1.025,0\n",
        "S,1.025,0\nA,1,0\n",
        "grid/buses.csv, line 3: bus A has the role bus, but the list of slacks says otherwise",
    );
    check(
        "grid/buses.csv",
        "S,20,slack",
        "S,20,source",
        "grid/buses.csv, line 2: column role holds \"source\", but must be slack or bus",
    );
}

#[test]
fn two_slacks_that_a_line_joins_are_a_cycle_and_nan_in_code_is_refused() {
    let bus = |id: &str| Bus { id: id.to_owned(), vn_kv: 0.4 };
    let slack = |id: &str| Slack { bus: id.to_owned(), vm_pu: 1.0, va_degree: 0.0 };
    let line = Line {
        id: "L".to_owned(),
        from_bus: "A".to_owned(),
        to_bus: "B".to_owned(),
        r_ohm: 0.1,
        x_ohm: 0.1,
        length_m: None,
        max_i_ka: 0.1,
    };
    let parts = NetworkParts {
        buses: vec![bus("A"), bus("B")],
        lines: vec![line.clone()],
        transformers: vec![],
        slacks: vec![slack("A"), slack("B")],
    };
    let error = Network::new(parts.clone()).expect_err("a cycle").to_string();
    assert!(error.starts_with("list of lines, line 1: line L closes a cycle"), "{error}");

    let nan = NetworkParts {
        lines: vec![Line { x_ohm: f64::NAN, ..line }],
        slacks: vec![slack("A")],
        ..parts
    };
    let error = Network::new(nan).expect_err("NaN").to_string();
    assert_eq!(
        error,
        "list of lines, line 1: line L: reactance (ohm) is NaN, which is no finite number"
    );
}
