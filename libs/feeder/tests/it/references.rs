//! The sweep and LinDistFlow against pandapower, case by case (see tests/data/NOTICE.md).

use std::collections::BTreeMap;
use std::fs::File;
use std::path::PathBuf;

use feeder::{BusPower, LinDistFlow, Network, PowerFlow, TableReader};

fn folder(grid: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(grid)
}

pub fn network(grid: &str) -> Network {
    Network::read(|file| File::open(folder(grid).join(file))).expect("a valid grid")
}

/// All rows of a reference file: case → element → the wanted columns.
type Reference = BTreeMap<String, BTreeMap<String, Vec<f64>>>;

fn reference(grid: &str, file: &str, element: &str, columns: &[&str]) -> Reference {
    let mut table =
        TableReader::new(file, File::open(folder(grid).join(file)).expect(file)).expect(file);
    let case = table.column("case_id").expect("case");
    let id = table.column(element).expect("element");
    let columns: Vec<usize> =
        columns.iter().map(|name| table.column(name).expect("column")).collect();
    let mut all = Reference::new();
    while let Some(row) = table.next_row().expect("row") {
        let values = columns.iter().map(|column| row.number(*column).expect("number")).collect();
        let rows = all.entry(row.text(case).to_owned()).or_default();
        assert!(rows.insert(row.text(id).to_owned(), values).is_none(), "a row appears twice");
    }
    all
}

fn powers(network: &Network, injections: &BTreeMap<String, Vec<f64>>) -> Vec<BusPower> {
    let mut powers = vec![BusPower::default(); network.buses().len()];
    for (bus, pq) in injections {
        let bus = network.bus_index(bus).expect("a known bus");
        powers[bus] = BusPower { p_kw: pq[0], q_kvar: pq[1] };
    }
    powers
}

/// Fails when two numbers differ by more than `tolerance`, naming both.
fn near(what: &str, ours: f64, theirs: f64, tolerance: f64) {
    assert!((ours - theirs).abs() <= tolerance, "{what}: {ours} instead of {theirs}");
}

// The references are rounded to 10 digits (pu), 8 (degrees) and 6 (kW, A, %).
const PU: f64 = 1e-8;
const AMPERE: f64 = 1e-3;
const KILOWATT: f64 = 1e-5;
const LINEAR_PU: f64 = 1e-9;
/// Against the model with line charging and iron losses.
const FULL_PU: f64 = 5e-5;

fn check_buses(
    network: &Network,
    case: &str,
    solved: &PowerFlow,
    linear: &LinDistFlow,
    rows: &BTreeMap<String, Vec<f64>>,
) {
    assert_eq!(rows.len(), network.buses().len());
    for (i, bus) in network.buses().iter().enumerate() {
        let row = &rows[&bus.id];
        let what = format!("{case} {}", bus.id);
        near(&format!("{what} vm"), solved.buses[i].vm_pu, row[0], PU);
        near(&format!("{what} va"), solved.buses[i].va_deg, row[1], 1e-6);
        near(&format!("{what} lindist"), linear.vm_pu[i], row[2], LINEAR_PU);
        near(&format!("{what} full"), solved.buses[i].vm_pu, row[3], FULL_PU);
    }
}

fn check_branches(
    network: &Network,
    case: &str,
    solved: &PowerFlow,
    lines: &BTreeMap<String, Vec<f64>>,
    trafos: Option<&BTreeMap<String, Vec<f64>>>,
) {
    assert_eq!(lines.len(), network.lines().len());
    for (line, flow) in network.lines().iter().zip(&solved.lines) {
        let row = &lines[&line.id];
        let what = format!("{case} {}", line.id);
        near(&format!("{what} P"), flow.p_from_kw, row[0], KILOWATT);
        near(&format!("{what} Q"), flow.q_from_kvar, row[1], KILOWATT);
        near(&format!("{what} I"), flow.current_a, row[2], AMPERE);
        near(&format!("{what} loading"), flow.loading_pct, row[3], 1e-5);
        near(&format!("{what} loss"), flow.loss_kw, row[4], KILOWATT);
    }
    assert_eq!(trafos.map_or(0, BTreeMap::len), network.transformers().len());
    for (transformer, flow) in network.transformers().iter().zip(&solved.transformers) {
        let row = &trafos.expect("a grid with transformers has references")[&transformer.id];
        let what = format!("{case} {}", transformer.id);
        near(&format!("{what} P"), flow.p_hv_kw, row[0], KILOWATT);
        near(&format!("{what} Q"), flow.q_hv_kvar, row[1], KILOWATT);
        near(&format!("{what} I"), flow.i_lv_a, row[2], AMPERE);
        near(&format!("{what} loading"), flow.loading_pct, row[3], 1e-5);
        near(&format!("{what} loss"), flow.loss_kw, row[4], KILOWATT);
    }
}

fn check_grid(grid: &str, cases: usize) {
    let network = network(grid);
    let injections = reference(grid, "pf_injections.csv", "bus_id", &["p_kw", "q_kvar"]);
    let buses = reference(
        grid,
        "pf_bus.csv",
        "bus_id",
        &["vm_series_pu", "va_series_deg", "vm_lindist_pu", "vm_full_pu"],
    );
    let branch = ["i_series_a", "loading_series_pct", "loss_series_kw"];
    let lines = reference(
        grid,
        "pf_line.csv",
        "line_id",
        &[&["p_from_series_kw", "q_from_series_kvar"], &branch[..]].concat(),
    );
    let trafos = folder(grid).join("pf_trafo.csv").exists().then(|| {
        let branch = ["i_lv_series_a", "loading_series_pct", "loss_series_kw"];
        let columns = [&["p_hv_series_kw", "q_hv_series_kvar"], &branch[..]].concat();
        reference(grid, "pf_trafo.csv", "trafo_id", &columns)
    });
    let summary = reference(
        grid,
        "pf_summary.csv",
        "case_id",
        &["p_slack_series_kw", "q_slack_series_kvar", "loss_series_kw", "p_slack_lindist_kw"],
    );
    assert_eq!(buses.len(), cases);
    for (case, rows) in &buses {
        let powers = powers(&network, &injections[case]);
        let solved = network.sweep(&powers).expect(case);
        let linear = network.lin_dist(&powers).expect(case);
        check_buses(&network, case, &solved, &linear, rows);
        let trafos = trafos.as_ref().map(|all| &all[case]);
        check_branches(&network, case, &solved, &lines[case], trafos);
        let totals = &summary[case][case];
        near(&format!("{case} slack P"), solved.slack.p_kw, totals[0], KILOWATT);
        near(&format!("{case} slack Q"), solved.slack.q_kvar, totals[1], KILOWATT);
        near(&format!("{case} loss"), solved.loss_kw, totals[2], KILOWATT);
        near(&format!("{case} linear slack"), linear.slack.p_kw, totals[3], 1e-4);
    }
}

#[test]
fn semi_urban_feeder_203_cases() {
    check_grid("semiurb4", 203);
}

#[test]
fn baran_wu_33_buses() {
    check_grid("case33bw", 3);
}

#[test]
fn cigre_low_voltage() {
    check_grid("cigre_lv", 3);
}

#[test]
fn kerber_overhead_lines() {
    check_grid("kerber_landnetz_freileitung_1", 4);
}
