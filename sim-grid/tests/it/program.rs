//! The program itself: `sim-grid serve`.

use std::process::{Command, Output};

use crate::scenario::shipped_folder;
use crate::small;

fn serve(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sim-grid"))
        .arg("serve")
        .args(arguments)
        .output()
        .expect("the program runs")
}

#[test]
fn serve_says_where_everything_is_and_ends_after_its_slots() {
    let folder = shipped_folder();
    let folder = folder.to_str().expect("text");
    let output = serve(&[
        "--scenario",
        folder,
        "--speed",
        "100000",
        "--slots",
        "3",
        "--json",
        "--from",
        "2016-07-18T11:00Z",
        "--tariff",
        "tou",
    ]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let offer: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(offer["tariff"], "tou");
    assert_eq!(offer["first_slot"], 1_612_896 + 19_104 + 44);
    assert_eq!(offer["end_slot"], 1_612_896 + 19_104 + 47);
    assert_eq!(offer["clock"]["speed"], 100_000.0);
    let houses = offer["houses"].as_array().expect("a list");
    assert_eq!(houses.len(), 41);
    assert_eq!(houses[0]["customer"], "C001");
    assert_eq!(houses[0]["units"][0]["role"], "inverter");
    assert!(houses[0]["addr"].as_str().expect("an address").starts_with("127.0.0.1:"));
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(log.contains("2016-07-18T11:30Z: grid"), "{log}");
}

#[test]
fn serve_refuses_what_it_cannot_run_and_says_why() {
    let folder = tempfile::TempDir::new().expect("a temporary folder");
    let mut files = small::files();
    let text = files.get_mut("ts/base_p_kw.csv").expect("there");
    *text = text.replacen("3.3333", "NaN", 1);
    small::write(&files, folder.path());
    let broken = folder.path().to_str().expect("text");
    let shipped = shipped_folder();
    let shipped = shipped.to_str().expect("text");
    for (arguments, expected) in [
        (
            vec!["--scenario", broken],
            "ts/base_p_kw.csv, line 2: column B1 holds \"NaN\", but must be a finite number",
        ),
        (vec!["--scenario", "/nowhere"], "/nowhere is no folder"),
        (vec!["--scenario", shipped, "--tariff", "night"], "the scenario has: flat, tou, dyn, lcl"),
        (
            vec!["--scenario", shipped, "--from", "2016-02-01"],
            "2016-02-01T00:00Z is not in the scenario",
        ),
        (vec!["--scenario", shipped, "--from", "soon"], "is no start of a quarter-hour"),
        (vec!["--scenario", shipped, "--speed", "0"], "write a number from 0.01 to 100000"),
        (vec!["--scenario", shipped, "--broker", "localhost"], "is no broker address"),
    ] {
        let output = serve(&arguments);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains(expected), "{arguments:?}: {said}");
    }
}
