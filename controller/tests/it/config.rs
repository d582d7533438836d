//! The configuration file: the commented example works, and mistakes are named.

use std::path::Path;

use controller::config::Config;
use controller::tariff::Tariff;
use units::Slot;

fn example() -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("example.toml");
    std::fs::read_to_string(file).expect("the example is there")
}

/// What a file with this text says.
fn load(text: &str) -> Result<Config, String> {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("street.toml");
    std::fs::write(&file, text).expect("written");
    Config::load(&file).map_err(|error| error.to_string())
}

#[test]
fn the_commented_example_is_a_street() {
    let config = load(&example()).expect("accepted");
    assert_eq!(config.households.len(), 1);
    let tariff = Tariff::load(&config.tariff).expect("flat");
    assert_eq!(tariff.terms(Slot::new(0)).retail().nano_per_wh(), 288_000);
    // What is written back is read the same.
    assert_eq!(load(&config.to_toml()).expect("its own text").community, config.community);
}

#[test]
fn mistakes_are_named() {
    let household = example().split("[[household]]").nth(1).expect("one").to_owned();
    let key = household.lines().find(|line| line.starts_with("key")).expect("a key").to_owned();
    let cases = [
        ("community = \"example-street\"", "community = \"a b\"", "letters"),
        ("gate_lead_s = 120", "gate_lead_s = 2000", "not between 0 and 900"),
        ("gate_lead_s = 120", "gate_lead = 120", "unknown field `gate_lead`"),
        ("retail_e5 = 28800", "", "either `file` and `name`"),
        (key.as_str(), "key = \"12\"", "64 hexadecimal digits"),
        ("kind = \"household\"", "kind = \"castle\"", "`household` or `business`"),
        ("max_import_w = 43500", "max_import_w = -1", "0 to 10 000 000 W"),
        ("anchor_every_slots = 96", "anchor_every_slots = 0", "not between 1 and 960"),
    ];
    for (from, to, part) in cases {
        let text = example().replace(from, to);
        assert_ne!(text, example(), "{from:?} is in the example");
        let error = load(&text).expect_err(part);
        assert!(error.contains(part), "{to:?} should say {part:?}: {error}");
    }
    for (sharing, part) in [
        ("rule = \"lottery\"", "unknown variant `lottery`"),
        (
            "key = { cascade = { levels = [[\"H77\"]] } }",
            "names H77, which is not a metering point",
        ),
        ("rule = { allocated = { price = \"middle\" } }", "but the key is \"none\""),
        ("rule = { bill-sharing = { per = \"period\" } }", "known when the period is over"),
        ("key = { static = { keys = { H77 = 999 } } }", "add up to 999"),
        ("rule = \"mid-market\"\n[grid]\ndir = \"grid\"", "part of the auction"),
    ] {
        let text = format!("{}\n[sharing]\n{sharing}\n", example());
        let error = load(&text).expect_err(part);
        assert!(error.contains(part), "{sharing:?} should say {part:?}: {error}");
    }
    let twice = format!("{}\n[[household]]{household}", example());
    assert!(load(&twice).expect_err("twice").contains("enrolled twice"));
    assert!(Config::load(Path::new("/nowhere/street.toml")).is_err());
}
