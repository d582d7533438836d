//! The physics of the street: repeatable, conserving, and equal to the references.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use feeder::TableReader;
use sim_grid::scenario::{Scenario, t_of_slot};
use sim_grid::world::{World, WorldError, WorldOptions};
use tempfile::TempDir;
use units::Slot;

use crate::scenario::shipped_folder;
use crate::small;

pub fn shipped() -> Arc<Scenario> {
    Arc::new(Scenario::load(&shipped_folder()).expect("the shipped scenario loads"))
}

pub fn start(scenario: &Arc<Scenario>, seed: u64, from: Slot) -> World {
    let options = WorldOptions { seed, from, mqtt: true };
    World::new(Arc::clone(scenario), options).expect("the world starts")
}

#[test]
fn same_seed_same_run_however_time_is_cut() {
    let scenario = shipped();
    let from = scenario.timeline.first().offset(40);
    let end_ms = from.offset(12).start_ms();
    let mut by_slots = start(&scenario, 7, from);
    let mut by_bits = start(&scenario, 7, from);
    let mut at_once = start(&scenario, 7, from);
    assert_eq!(by_slots.digest(), at_once.digest());
    for slot in 1..=12 {
        by_slots.advance_to(from.offset(slot).start_ms()).expect("runs");
    }
    let mut now_ms = from.start_ms();
    let mut step_ms = 1;
    while now_ms < end_ms {
        now_ms = (now_ms + step_ms).min(end_ms);
        step_ms = (step_ms * 7 + 13) % 400_000 + 1;
        by_bits.advance_to(now_ms).expect("runs");
    }
    at_once.advance_to(end_ms).expect("runs");
    assert_eq!(by_slots.digest(), at_once.digest());
    assert_eq!(by_bits.digest(), at_once.digest());

    let mut other = start(&scenario, 8, from);
    other.advance_to(end_ms).expect("runs");
    assert_ne!(other.digest(), at_once.digest());
}

#[test]
fn registers_count_the_canonical_energy_and_carry_the_remainder() {
    let scenario = shipped();
    let from = scenario.timeline.blocks()[2].first;
    let mut world = start(&scenario, 1, from);
    let before: Vec<_> = (0..41).map(|i| world.customer(i).clone()).collect();
    world.advance_to(from.offset(672).start_ms()).expect("a week");
    let rows = 1_344..2_016;
    for (index, profiles) in scenario.profiles.iter().enumerate() {
        if profiles.runs_battery {
            continue;
        }
        let (mut import, mut export, mut produced) = (0, 0, 0);
        for row in rows.clone() {
            let net = profiles.load(row) - profiles.generation(row);
            import += net.max(0);
            export += (-net).max(0);
            produced += profiles.generation(row);
        }
        let (first, last) = (&before[index], world.customer(index));
        // Deciwatts over a quarter of an hour are 1/40 Wh each.
        assert_eq!(last.import_wh - first.import_wh, (import / 40) as u64, "{}", last.id);
        assert_eq!(last.export_wh - first.export_wh, (export / 40) as u64, "{}", last.id);
        if let (Some(first), Some(last)) = (&first.solar, &last.solar) {
            assert_eq!(last.produced_wh - first.produced_wh, (produced / 40) as u64);
        }
        assert!(last.low_import_wh <= last.import_wh && last.low_export_wh <= last.export_wh);
        assert!(last.low_import_wh > first.low_import_wh);
    }
}

/// Reference voltages: case → bus → pu of the series model.
fn reference_voltages() -> BTreeMap<String, BTreeMap<String, f64>> {
    let file =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../libs/feeder/tests/data/semiurb4/pf_bus.csv");
    let mut table = TableReader::new("pf_bus.csv", File::open(file).expect("there")).expect("csv");
    let [case, bus, vm] =
        ["case_id", "bus_id", "vm_series_pu"].map(|name| table.column(name).expect("column"));
    let mut all: BTreeMap<String, BTreeMap<String, f64>> = BTreeMap::new();
    while let Some(row) = table.next_row().expect("row") {
        let value = row.number(vm).expect("number");
        all.entry(row.text(case).to_owned()).or_default().insert(row.text(bus).to_owned(), value);
    }
    all
}

/// The shipped folder without the raw PV, so that batteries follow the published series.
fn published_only() -> Arc<Scenario> {
    fn copy(from: &Path, to: &Path) {
        std::fs::create_dir_all(to).expect("create");
        for entry in std::fs::read_dir(from).expect("list") {
            let entry = entry.expect("entry");
            let target: PathBuf = to.join(entry.file_name());
            if entry.path().is_dir() {
                copy(&entry.path(), &target);
            } else if entry.file_name() != "pvbat_raw_pv_p_kw.csv" {
                std::fs::copy(entry.path(), target).expect("copy");
            }
        }
    }
    let folder = TempDir::new().expect("a temporary folder");
    copy(&shipped_folder(), folder.path());
    Arc::new(Scenario::load(folder.path()).expect("loads"))
}

#[test]
fn voltages_are_those_of_the_reference_power_flow() {
    let scenario = published_only();
    let reference = reference_voltages();
    let mut compared = 0;
    for block in scenario.timeline.blocks() {
        let mut world = start(&scenario, 3, block.first);
        for slot in 0..block.slots as i64 {
            let slot = block.first.offset(slot);
            let case = format!("t{}", t_of_slot(slot));
            world.advance_to(slot.start_ms() + 60_000).expect("runs");
            let Some(buses) = reference.get(&case) else { continue };
            let vm_pu = world.grid().vm_pu;
            for (bus, vm) in scenario.network.buses().iter().zip(&vm_pu) {
                assert!((vm - buses[&bus.id]).abs() < 1e-8, "{case} {}: {vm}", bus.id);
            }
            let truth = world.customer(0);
            let bus = &scenario.network.buses()[scenario.customers[0].bus];
            let volts = buses[&bus.id] * 400.0 / 3f64.sqrt();
            assert!((truth.voltage_v - volts).abs() < 1e-4, "{case}");
            compared += 1;
        }
    }
    assert_eq!(compared, 199, "two whole days and seven single steps");
}

#[test]
fn power_is_conserved_in_every_slot_and_batteries_never_touch_the_grid() {
    let scenario = shipped();
    let from = scenario.timeline.blocks()[1].first;
    let mut world = start(&scenario, 5, from);
    let (mut charging, mut discharging) = (0, 0);
    for slot in 1..=288 {
        world.advance_to(from.offset(slot).start_ms()).expect("runs");
        let grid = world.grid();
        let mut net_kw = 0.0;
        for index in 0..41 {
            let truth = world.customer(index);
            net_kw += truth.net_w() / 1_000.0;
            let solar = truth.solar.map_or(0, |solar| solar.power_dw);
            let storage = truth.battery.map_or(0, |battery| battery.power_dw);
            assert_eq!(truth.net_dw, truth.load_dw - solar + storage);
            if storage > 0 {
                assert!(truth.net_dw <= 0, "{} charges from the grid", truth.id);
                charging += 1;
            }
            if storage < 0 {
                assert!(truth.net_dw >= 0, "{} discharges into the grid", truth.id);
                discharging += 1;
            }
            if let Some(battery) = truth.battery {
                assert!((0.0..=1.0).contains(&battery.state_of_charge), "{battery:?}");
            }
        }
        assert!((grid.slack_kw - net_kw - grid.loss_kw).abs() < 1e-6, "{grid:?}");
    }
    assert!(charging > 50 && discharging > 50, "{charging} {discharging}");
}

/// The greedy rule of an independent implementation costs as much per week: expected
/// `battery_bounds.csv`, tariff flat, every house with its own bill, batteries empty at the start,
/// what is left at the end credited at the feed-in price times the efficiency.
#[test]
fn a_week_with_batteries_costs_what_the_reference_says() {
    let scenario = shipped();
    let (retail, feed_in) = (0.288, 0.1231);
    for (block, expected) in scenario.timeline.blocks().iter().zip([
        2_696.221_618,
        679.718_261,
        777.870_381,
        1_186.484_419,
    ]) {
        let mut world = start(&scenario, 11, block.first);
        let before: Vec<_> = (0..41).map(|i| world.customer(i).clone()).collect();
        world.advance_to(block.end().start_ms()).expect("a week");
        let mut cost = 0.0;
        for (index, before) in before.iter().enumerate() {
            let truth = world.customer(index);
            cost += (truth.import_wh - before.import_wh) as f64 / 1_000.0 * retail;
            cost -= (truth.export_wh - before.export_wh) as f64 / 1_000.0 * feed_in;
            if let Some(battery) = truth.battery {
                let plate = world.equipment(index).battery.as_ref().expect("a battery has a plate");
                let stored = battery.state_of_charge * f64::from(plate.energy_wh) / 1_000.0;
                cost -= stored * 0.95 * feed_in;
            }
        }
        assert!((cost - expected).abs() < 0.1, "{}: {cost} instead of {expected}", block.first);
    }
}

#[test]
fn the_street_stands_still_at_the_end_of_its_block() {
    let scenario = Arc::new(small::load(&small::files()).expect("loads"));
    let from = scenario.timeline.first();
    let mut world = start(&scenario, 1, from.offset(2));
    assert_eq!(world.end_ms(), from.offset(4).start_ms());
    world.advance_to(from.offset(3).start_ms() + 5).expect("runs");
    assert!(!world.has_ended());
    let error = world.advance_to(from.start_ms()).expect_err("backwards");
    assert!(matches!(error, WorldError::Backwards { .. }), "{error}");
    world.advance_to(from.offset(90).start_ms()).expect("stands still");
    assert!(world.has_ended());
    assert_eq!(world.now_ms(), world.end_ms());
    let digest = world.digest();
    world.advance_to(from.offset(91).start_ms()).expect("stands still");
    assert_eq!(world.digest(), digest);

    let options = WorldOptions { seed: 1, from: from.offset(4), mqtt: false };
    let error = World::new(scenario, options).err().expect("outside").to_string();
    assert_eq!(
        error,
        "2016-01-18T01:00Z is not in the scenario, which covers 2016-01-18T00:00Z to \
         2016-01-18T01:00Z; choose another start"
    );
}

#[test]
fn a_small_battery_follows_its_rule_exactly() {
    let scenario = Arc::new(small::load(&small::files()).expect("loads"));
    let from = scenario.timeline.first();
    let mut world = start(&scenario, 1, from);
    // H2: load 0.4 kW, PV 6.0, 0, 1.4, 0.4 kW; battery 4 kWh, 2 kW, 0.95 each way.
    let mut powers = Vec::new();
    for slot in 1..=4 {
        world.advance_to(from.offset(slot).start_ms()).expect("runs");
        let truth = world.customer(1);
        powers.push((truth.battery.expect("a battery").power_dw, truth.net_dw));
    }
    assert_eq!(powers, [(20_000, -36_000), (-4_000, 0), (10_000, 0), (0, 0)]);
    let battery = world.customer(1).battery.expect("a battery");
    assert_eq!((battery.charged_wh, battery.discharged_wh), (750, 100));
    let stored = 750.0 * 0.95 - 100.0 / 0.95;
    assert!((battery.state_of_charge - stored / 4_000.0).abs() < 1e-12);
}

#[test]
fn a_grid_that_cannot_carry_the_load_is_an_error_with_the_slot() {
    let mut files = small::files();
    let text = files.get_mut("grid/lines.csv").expect("there");
    *text = text.replace("0.02,0.008", "20,8");
    let scenario = Arc::new(small::load(&files).expect("loads"));
    // The first slot is fed by the roof; the second draws 3.3 kW through 20 ohm.
    let mut world = start(&scenario, 1, scenario.timeline.first());
    let from = scenario.timeline.first();
    let error = world.advance_to(from.offset(3).start_ms()).expect_err("collapses").to_string();
    assert!(error.starts_with("slot 2016-01-18T00:15Z: no power flow after"), "{error}");
    assert_eq!(world.now_ms(), from.offset(1).start_ms());
}
