//! Scenario folders: what loads, and what is refused with file, line and reason.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use proptest::prelude::*;
use sim_grid::scenario::{DeviceKind, Scenario, wh_of_slot};
use sim_grid::world::{World, WorldOptions};
use units::Slot;

use crate::small::{Files, files, load, series};

pub fn shipped_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios/semiurb4")
}

#[test]
fn the_shipped_street_is_complete() {
    let scenario = Scenario::load(&shipped_folder()).expect("the shipped scenario loads");
    assert_eq!(scenario.name, "semiurb4");
    assert_eq!(scenario.network.buses().len(), 44);
    assert_eq!(scenario.customers.len(), 41);
    assert_eq!(scenario.devices.len(), 68);
    assert_eq!(scenario.timeline.len(), 2_688);
    let starts: Vec<String> =
        scenario.timeline.blocks().iter().map(|block| block.first.to_string()).collect();
    assert_eq!(
        starts,
        ["2016-01-18T00:00Z", "2016-04-11T00:00Z", "2016-07-18T00:00Z", "2016-10-10T00:00Z"]
    );
    assert!(scenario.timeline.blocks().iter().all(|block| block.slots == 672));
    let names: Vec<&str> = scenario.tariffs.iter().map(|tariff| tariff.name.as_str()).collect();
    assert_eq!(names, ["flat", "tou", "dyn", "lcl"]);
    assert_eq!(scenario.tariff(Some("lcl")).expect("there").retail_e5[0], 3_990);
    assert!(scenario.tariff(Some("night")).is_none());

    // Totals of the reference summary.json: 30 863.593 and 19 841.332 kWh.
    let batteries = scenario.profiles.iter().filter(|profile| profile.runs_battery).count();
    assert_eq!(batteries, 4);
    let load: i64 = (0..2_688)
        .map(|row| scenario.profiles.iter().map(|all| wh_of_slot(all.load(row))).sum::<i64>())
        .sum();
    assert_eq!(load, 30_863_593);
}

#[test]
fn rows_and_slots_lead_to_each_other_across_blocks() {
    let scenario = Scenario::load(&shipped_folder()).expect("loads");
    let timeline = &scenario.timeline;
    for row in 0..timeline.len() {
        let slot = timeline.slot_of(row).expect("a row of the file");
        assert_eq!(timeline.row_of(slot), Some(row));
    }
    assert_eq!(timeline.slot_of(2_688), None);
    let winter_end = timeline.blocks()[0].end();
    assert_eq!(timeline.row_of(winter_end), None);
    assert_eq!(timeline.row_of(Slot::new(0)), None);
    assert_eq!(scenario.slots_from(winter_end.offset(-3)), 3);
    assert_eq!(scenario.slots_from(winter_end), 0);
}

#[test]
fn a_lean_folder_without_orders_and_absent_kinds_loads() {
    let scenario = load(&files()).expect("loads");
    assert_eq!(scenario.customers.len(), 3);
    assert_eq!(scenario.profiles[0].load(0), 5_000);
    assert_eq!(scenario.profiles[0].generation(3), 30_000);
    assert!(scenario.profiles[1].runs_battery);
    assert_eq!(scenario.devices[4].kind, DeviceKind::PvBattery);
    assert_eq!(scenario.devices[4].battery.expect("complete").energy_wh, 4_000);
}

#[test]
fn without_raw_pv_the_published_sum_is_used_as_pv() {
    let mut files = files();
    files.remove("ts/pvbat_raw_pv_p_kw.csv");
    series(&mut files, "ts/pvbat_p_kw.csv", "H2", |_| "0.25".to_owned());
    let scenario = load(&files).expect("loads");
    assert!(!scenario.profiles[1].runs_battery);
    assert_eq!(scenario.profiles[1].generation(2), 2_500);
}

#[test]
fn a_year_loads() {
    let mut files = files();
    let mut year = |file: &'static str, columns: &str, row: &str| {
        let mut text = format!("t,{columns}\n");
        for t in 0..35_136 {
            text += &format!("{t},{row}\n");
        }
        files.insert(file, text);
    };
    year("tariffs.csv", "a_retail_e5,a_feedin_e5", "30000,8000");
    year("ts/base_p_kw.csv", "H1,H2,B1", "0.5,0.4,3.3");
    year("ts/load_q_kvar.csv", "H1,H2,B1", "0,0,0");
    year("ts/pv_p_kw.csv", "H1", "1.5");
    year("ts/pvbat_raw_pv_p_kw.csv", "H2", "1.5");
    let scenario = load(&files).expect("a year loads");
    assert_eq!(scenario.timeline.len(), 35_136);
    assert_eq!(scenario.timeline.blocks().len(), 1);
}

/// Replaces a text in one file and expects exactly this refusal.
fn refused(file: &'static str, from: &str, to: &str, expected: &str) {
    let mut files = files();
    let text = files.get_mut(file).expect("a file of the scenario");
    assert!(text.contains(from), "{from:?} is not in {file}");
    *text = text.replacen(from, to, 1);
    refused_files(&files, expected);
}

fn refused_files(files: &Files, expected: &str) {
    let error = load(files).expect_err(expected).to_string();
    assert_eq!(error, expected);
}

#[test]
fn a_missing_file_is_named() {
    let needed: Vec<&'static str> = files().keys().copied().collect();
    for file in needed {
        let mut files = files();
        files.remove(file);
        let error = load(&files).expect_err(file).to_string();
        let expected = if file == "ts/pvbat_raw_pv_p_kw.csv" {
            "ts/pvbat_p_kw.csv, line 1: the column H2 is missing, but devices.csv gives H2 a device of kind pv_battery".to_owned()
        } else {
            format!(
                "{file} cannot be opened: No such file or directory (os error 2); a scenario needs this file"
            )
        };
        assert_eq!(error, expected);
    }
    let error = Scenario::load(Path::new("/nowhere/at/all")).expect_err("no folder").to_string();
    assert!(error.starts_with("/nowhere/at/all is no folder"), "{error}");
}

#[test]
fn missing_columns_are_named() {
    refused(
        "customers.csv",
        "bus_id",
        "bus",
        "customers.csv, line 1: the column bus_id is missing; the header has: customer_id, bus, type, simbench_profile",
    );
    refused(
        "ts/base_p_kw.csv",
        "t,timestamp_utc",
        "step,timestamp_utc",
        "ts/base_p_kw.csv, line 1: the column t is missing; the header has: step, timestamp_utc, H1, H2, B1",
    );
    refused(
        "tariffs.csv",
        "flat_feedin_e5",
        "feedin",
        "tariffs.csv, line 1: the column flat_feedin_e5 is missing; the header has: t, timestamp_utc, flat_retail_e5, feedin",
    );
    refused(
        "tariffs.csv",
        "flat_retail_e5,flat_feedin_e5",
        "retail,feedin",
        "tariffs.csv, line 1: there is no tariff; add the columns NAME_retail_e5 and NAME_feedin_e5",
    );
    let mut files = files();
    series(&mut files, "ts/base_p_kw.csv", "H1,H2", |_| "0.5,0.4".to_owned());
    refused_files(
        &files,
        "ts/base_p_kw.csv, line 1: the column B1 is missing, but devices.csv gives B1 a device of kind base",
    );
}

#[test]
fn unknown_names_are_refused() {
    refused(
        "customers.csv",
        "H2,B,",
        "H2,X,",
        "customers.csv, line 3: customer H2 names bus X, which grid/buses.csv does not have",
    );
    refused(
        "devices.csv",
        "H1.pv,H1",
        "H1.pv,H9",
        "devices.csv, line 5: device H1.pv names customer H9, which customers.csv does not have",
    );
    refused(
        "devices.csv",
        "H1.pv,H1,A",
        "H1.pv,H1,B",
        "devices.csv, line 5: device H1.pv sits at bus B, but its customer H1 at bus A; a customer has one metering point",
    );
    refused(
        "ts/pv_p_kw.csv",
        "H1",
        "H7",
        "ts/pv_p_kw.csv, line 1: a column names customer H7, which customers.csv does not have",
    );
    refused(
        "devices.csv",
        "A,pv,",
        "A,wind,",
        "devices.csv, line 5: column kind holds \"wind\", but must be base, heat_pump, ev_home, ev_work, pv or pv_battery",
    );
    refused("customers.csv", "B1,B,", "H1,B,", "customers.csv, line 4: customer H1 appears twice");
    refused(
        "devices.csv",
        "H1.pv,H1",
        "H1.base,H1",
        "devices.csv, line 5: device H1.base appears twice",
    );
    let mut files = files();
    series(&mut files, "ts/hp_p_kw.csv", "B1", |i| format!("0.{i}"));
    refused_files(
        &files,
        "ts/hp_p_kw.csv, line 3: column B1: power without a device; devices.csv gives B1 none of kind heat_pump",
    );
}

#[test]
fn impossible_numbers_are_refused() {
    for bad in ["NaN", "inf", "", "much"] {
        refused(
            "ts/pv_p_kw.csv",
            "2.0",
            bad,
            &format!(
                "ts/pv_p_kw.csv, line 4: column H1 holds {bad:?}, but must be a finite number"
            ),
        );
    }
    refused(
        "ts/base_p_kw.csv",
        "0.5,0.4",
        "0.5,-0.4",
        "ts/base_p_kw.csv, line 2: column H2: -0.4 is negative; loads and generation are counted in files of their own, each from zero up",
    );
    refused(
        "ts/base_p_kw.csv",
        "3.3333",
        "333333",
        "ts/base_p_kw.csv, line 2: column B1: 333333 is outside of 100 MW",
    );
    refused(
        "devices.csv",
        "4,0.95",
        "4,1.05",
        "devices.csv, line 6: column efficiency: 1.05 is outside of 0.01 to 1",
    );
    refused(
        "devices.csv",
        "2,4,0.95",
        "2,,0.95",
        "devices.csv, line 6: device H2.pvb needs energy_kwh, s_rated_kva and efficiency to run its battery",
    );
    refused(
        "tariffs.csv",
        "28800",
        "28800.5",
        "tariffs.csv, line 2: column flat_retail_e5 holds \"28800.5\", but must be a whole number",
    );
    refused(
        "grid/lines.csv",
        "0.02",
        "-0.02",
        "grid/lines.csv, line 2: line L1: the resistance -0.02 ohm is negative",
    );
}

#[test]
fn time_must_be_the_same_everywhere_and_without_gaps() {
    refused(
        "ts/pv_p_kw.csv",
        "1633,2016-01-18T00:15:00Z,1.0\n",
        "",
        "ts/pv_p_kw.csv, line 3: t is 1634, but tariffs.csv has 1633 in this row; all series and tariffs must cover the same steps",
    );
    refused(
        "ts/pv_p_kw.csv",
        "1635,2016-01-18T00:45:00Z,3.0\n",
        "",
        "ts/pv_p_kw.csv, line 4: the file has 3 rows, but tariffs.csv has 4; all series and tariffs must cover the same steps",
    );
    refused(
        "ts/pv_p_kw.csv",
        "1633,2016-01-18T00:15",
        "1633,2016-01-18T01:15",
        "ts/pv_p_kw.csv, line 3: t 1633 is 2016-01-18T00:15:00Z, but timestamp_utc says 2016-01-18T01:15:00Z",
    );
    refused(
        "tariffs.csv",
        "1633,2016-01-18T00:15:00Z,28800,12310\n",
        "",
        "tariffs.csv, line 3: t jumps from 1632 to 1634: a gap in time; only whole UTC days may be left out (a jump from the last quarter-hour of a day to the first of another)",
    );
    for again in ["1632,2016-01-18T00:00:00Z", "1631,2016-01-17T23:45:00Z"] {
        let t = &again[..4];
        refused(
            "tariffs.csv",
            "1633,2016-01-18T00:15:00Z",
            again,
            &format!("tariffs.csv, line 3: t is {t} after 1632; time must advance"),
        );
    }
}

#[test]
fn canonical_energy_is_checked_where_it_is_there() {
    let mut files = files();
    series(&mut files, "ts/load_wh.csv", "H1,H2,B1", |_| "125,100,833".to_owned());
    series(&mut files, "ts/gen_wh.csv", "H1,H2,B1", |i| format!("{},7,0", i * 250));
    load(&files).expect("consistent; H2 cannot be compared without pvbat_p_kw");
    series(&mut files, "ts/load_wh.csv", "H1,H2,B1", |_| "125,101,833".to_owned());
    refused_files(
        &files,
        "ts/load_wh.csv, line 2: column H2: 101 Wh, but the power series give 100 Wh",
    );
}

#[test]
fn energy_of_a_slot_rounds_halves_to_even() {
    for (tenth_watts, wh) in [(0, 0), (20, 0), (21, 1), (60, 2), (100, 2), (140, 4), (4_000, 100)] {
        assert_eq!(wh_of_slot(tenth_watts), wh, "{tenth_watts}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    /// Whatever is scribbled over a scenario, it loads or is refused with a place; it never panics,
    /// and what loads can be run.
    #[test]
    fn scribbles_never_panic(
        file in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        scribble in "[-0-9a-zA-Z.,\"\n ]{0,6}",
        cut in 0usize..6,
    ) {
        let mut files = files();
        let names: Vec<&'static str> = files.keys().copied().collect();
        let name = names[file.index(names.len())];
        let text = files.get_mut(name).expect("there");
        let from = at.index(text.len());
        let to = (from + cut).min(text.len());
        text.replace_range(from..to, &scribble);
        match load(&files) {
            Ok(scenario) => {
                let from = scenario.timeline.first();
                let options = WorldOptions { seed: 1, from, mqtt: true };
                if let Ok(mut world) = World::new(Arc::new(scenario), options) {
                    let _ = world.advance_to(from.offset(4).start_ms());
                }
            }
            Err(error) => {
                let error = error.to_string();
                let named = names.iter().any(|name| error.starts_with(name))
                    || error.starts_with("ts/pvbat_p_kw.csv");
                prop_assert!(named, "{}", error);
            }
        }
    }
}
