//! What a file of faults may say, and what is said to whoever gets it wrong.

use std::path::Path;

use sim_grid::faces::UnitRole;
use sim_grid::faults::{Fault, FaultPlan, FaultsError};
use sim_grid::street::{Street, StreetError, StreetOptions};

use super::{addr, scenario};

fn parse(text: &str) -> Result<FaultPlan, FaultsError> {
    FaultPlan::parse(text, Path::new("faults.toml"))
}

#[test]
fn a_plan_says_who_when_and_what() {
    let plan = parse(
        r#"
        seed = 5
        [[fault]]
        what = { kind = "half_frame" }
        [[fault]]
        customer = "H2"
        device = "meter"
        from = "2016-01-18T00:07Z"
        until = "2016-01-18T00:20Z"
        chance_percent = 10
        what = { kind = "unit_offline", code = 11 }
        "#,
    )
    .expect("a plan");
    assert_eq!((plan.seed, plan.spells.len()), (5, 2));
    let spell = &plan.spells[1];
    assert_eq!(spell.fault, Fault::UnitOffline { code: Some(11) });
    assert_eq!((spell.customer.as_deref(), spell.device), (Some("H2"), Some(UnitRole::Meter)));
    assert_eq!(spell.until_ms - spell.from_ms, 13 * 60_000);
    assert!(spell.lasts_at(spell.from_ms) && !spell.lasts_at(spell.until_ms));
    assert!(plan.spells[0].lasts_at(0));
}

#[test]
fn what_is_wrong_is_said_with_file_place_and_reason() {
    let faulty = [
        ("[[fault]]\nwhat = { kind = \"late\" }", "faults.toml, line 2: unknown variant `late`"),
        (
            "\n[[fault]]\nwhat = { kind = \"late_reply\" }",
            "faults.toml, line 3: missing field `delay_ms`",
        ),
        ("[[fault]]\nwhat = { kind = \"half_frame\", x = 1 }", "line 2: unknown field `x`"),
        ("[[fault]]\nwho = \"H1\"", "line 2: unknown field `who`"),
        (
            "[[fault]]\ndevice = \"heater\"\nwhat = { kind = \"half_frame\" }",
            "line 2: unknown variant `heater`",
        ),
        (
            "[[fault]]\nfrom = \"noon\"\nwhat = { kind = \"half_frame\" }",
            "faults.toml, fault 1: from: \"noon\" is no minute",
        ),
        (
            "[[fault]]\nfrom = \"2016-01-18\"\nuntil = \"2016-01-17\"\nwhat = { kind = \"half_frame\" }",
            "fault 1: until: it is over before it begins",
        ),
        (
            "[[fault]]\nchance_percent = 0\nwhat = { kind = \"half_frame\" }",
            "fault 1: chance_percent: 0 is not between 1 and 100",
        ),
        (
            "[[fault]]\nwhat = { kind = \"exception\", code = 12 }",
            "fault 1: what: code = 12 is no exception of Modbus",
        ),
        ("[[fault]]\nwhat = { kind = \"unit_offline\", code = 2 }", "fault 1: what: code = 2"),
        ("[[fault]]\nwhat = { kind = \"base\", address = 7 }", "fault 1: what: address = 7"),
        (
            "[[fault]]\nwhat = { kind = \"late_reply\", delay_ms = 0 }",
            "delay_ms = 0 is not between 1 and 60000",
        ),
    ];
    for (text, expected) in faulty {
        let error = parse(text).expect_err(text).to_string();
        assert!(error.contains(expected), "{text}\n{error}");
    }
    let error = FaultPlan::load(Path::new("/nonexistent/faults.toml")).expect_err("no file");
    assert!(error.to_string().starts_with("/nonexistent/faults.toml: "), "{error}");
}

#[tokio::test]
async fn what_cannot_happen_in_a_street_is_refused_when_it_starts() {
    let faulty = [
        ("customer = \"H9\"", "half_frame\"", "fault 1: customer: there is no H9"),
        (
            "customer = \"B1\"\ndevice = \"battery\"",
            "half_frame\"",
            "fault 1: device: B1 has no battery",
        ),
        (
            "customer = \"H2\"\ndevice = \"meter\"",
            "deaf\", connect_ms = 9",
            "device: this fault is one of the port",
        ),
    ];
    for (place, kind, expected) in faulty {
        let plan = parse(&format!("[[fault]]\n{place}\nwhat = {{ kind = \"{kind} }}"));
        let from = scenario().timeline.first();
        let faults = plan.expect("can be read");
        let options = StreetOptions { faults, ..StreetOptions::new(1, from) };
        let error = Street::start(scenario(), &options).await.err().expect("refused");
        assert!(matches!(error, StreetError::Faults(_)), "{error}");
        assert!(error.to_string().contains(expected), "{error}");
    }
}

#[tokio::test]
async fn a_spell_begins_and_ends() {
    use tokio_modbus::client::{Reader, tcp};
    let text = "[[fault]]\nfrom = \"2016-01-18T00:10Z\"\nuntil = \"2016-01-18T00:20Z\"\nwhat = { kind = \"exception\", code = 4 }";
    let from = scenario().timeline.first();
    let faults = parse(text).expect("a plan");
    let options = StreetOptions { faults, ..StreetOptions::new(1, from) };
    let mut street = Street::start(scenario(), &options).await.expect("starts");
    let mut client = tcp::connect(addr(&street, "H2")).await.expect("opens");
    for (minute, refused) in [(9, false), (10, true), (19, true), (20, false)] {
        street.advance_to(from.start_ms() + minute * 60_000).await.expect("runs");
        tokio_modbus::slave::SlaveContext::set_slave(&mut client, tokio_modbus::Slave(2));
        let answer = client.read_holding_registers(40_000, 2).await.expect("an answer");
        assert_eq!(answer.is_err(), refused, "minute {minute}");
    }
}
