//! Independent programs judge the simulated devices: pymodbus and pysunspec2.

use std::ffi::OsString;
use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use sim_grid::faces::UnitRole;
use sim_grid::street::{Street, StreetOptions};

use crate::world::shipped;

/// What the judge needs to know about the houses that can be asked over Modbus.
fn houses(street: &Street) -> Vec<Value> {
    let mut houses = Vec::new();
    for (index, face) in street.faces().iter().enumerate() {
        let Some(addr) = face.kind.modbus_addr() else { continue };
        let truth = street.world().customer(index);
        let mut units = serde_json::Map::new();
        for (role, name) in [
            (UnitRole::Inverter, "inverter"),
            (UnitRole::Meter, "meter"),
            (UnitRole::Battery, "battery"),
        ] {
            if let Some(unit) = face.kind.unit_of(role) {
                units.insert(name.to_owned(), json!(unit));
            }
        }
        let mut facts = json!({
            "meter_serial": face.meter_serial,
            "net_w": truth.net_w(),
            "reactive_var": truth.reactive_var(),
            "voltage_v": truth.voltage_v,
            "import_wh": truth.import_wh,
            "export_wh": truth.export_wh,
        });
        if let Some(solar) = truth.solar {
            facts["solar_w"] = json!(solar.power_dw as f64 / 10.0);
            facts["produced_wh"] = json!(solar.produced_wh);
            facts["solar_rated_w"] = json!(face.pv_rated_w);
        }
        if let Some(battery) = truth.battery {
            facts["battery_w"] = json!(battery.power_dw as f64 / 10.0);
            facts["soc_percent"] = json!(battery.state_of_charge * 100.0);
            facts["battery_wh"] = json!(face.battery_wh);
            facts["charged_wh"] = json!(battery.charged_wh);
            facts["discharged_wh"] = json!(battery.discharged_wh);
        }
        houses.push(json!({
            "customer": face.customer,
            "host": addr.ip().to_string(),
            "port": addr.port(),
            "kind": face.kind.name(),
            "units": units,
            "truth": facts,
        }));
    }
    houses
}

/// Asks the judge; its verdict and what it said.
async fn judge(python: OsString, houses: Vec<Value>) -> (bool, String) {
    let question = json!({ "houses": houses }).to_string();
    let judged = tokio::task::spawn_blocking(move || {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python/judge.py");
        let mut judge = Command::new(python)
            .arg(script)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("STREETWATT_PYTHON can be started");
        let mut input = judge.stdin.take().expect("piped");
        input.write_all(question.as_bytes()).expect("the judge listens");
        drop(input);
        judge.wait_with_output().expect("the judge ends")
    });
    let judged = judged.await.expect("no panic");
    let said = String::from_utf8_lossy(&judged.stdout).into_owned()
        + &String::from_utf8_lossy(&judged.stderr);
    (judged.status.success(), said)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pymodbus_and_pysunspec2_read_the_truth() {
    let Some(python) = std::env::var_os("STREETWATT_PYTHON") else {
        println!("skipped: STREETWATT_PYTHON names no Python with tests/python/requirements.txt");
        return;
    };
    let scenario = shipped();
    let from = scenario.timeline.blocks()[1].first;
    let mut street = Street::start(scenario, &StreetOptions::new(9, from)).await.expect("starts");
    for slots in [0, 44] {
        // Midnight, and a spring day at 11:07: batteries charge.
        let moment = from.offset(slots).start_ms() + 420_000;
        street.advance_to(moment).await.expect("runs");
        let (fine, said) = judge(python.clone(), houses(&street)).await;
        assert!(fine && said.contains("41 houses") && said.contains(" 0 problems"), "{said}");
    }
    // The judge is no rubber stamp: one Wh more is one problem.
    let mut houses = houses(&street);
    let wrong = houses[2]["truth"]["import_wh"].as_u64().expect("a register") + 1;
    houses[2]["truth"]["import_wh"] = json!(wrong);
    let (fine, said) = judge(python, houses).await;
    assert!(!fine && said.contains("C003 "), "{said}");
}
