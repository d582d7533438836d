//! The back-test against what an independent implementation computed for the shipped street, and
//! against itself.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use sim_grid::backtest::{Backtest, Options, OrderSource, Report, Rule, RuleFigures};
use sim_grid::scenario::{Scenario, parse_slot};
use tempfile::TempDir;

use crate::scenario::shipped_folder;

const TARIFFS: [&str; 4] = ["flat", "tou", "dyn", "lcl"];

/// Where the market's reference results are.
fn references() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../market/tests/data/semiurb4")
}

type Row = BTreeMap<String, String>;

fn rows(file: &str) -> Vec<Row> {
    let path = references().join(file);
    let mut reader = csv::Reader::from_path(&path).unwrap_or_else(|e| panic!("{path:?}: {e}"));
    reader.deserialize().map(|row| row.unwrap_or_else(|e| panic!("{path:?}: {e}"))).collect()
}

fn int(row: &Row, column: &str) -> i128 {
    row[column].parse().unwrap_or_else(|e| panic!("{column} of {row:?}: {e}"))
}

fn run(scenario: &Scenario, folder: Option<&Path>, options: Options) -> Report {
    let mut backtest = Backtest::new(scenario, folder, options).expect("options that fit");
    while backtest.step().expect("a sound slot") {}
    backtest.finish().expect("bills in range")
}

fn shipped() -> Scenario {
    Scenario::load(&shipped_folder()).expect("the shipped scenario loads")
}

fn rule(report: &Report, rule: Rule) -> &RuleFigures {
    let found = report.rules.iter().find(|figures| figures.rule == rule.name());
    found.unwrap_or_else(|| panic!("the report has no {rule}"))
}

fn bills(figures: &RuleFigures) -> BTreeMap<&str, i128> {
    let bill = |c: &sim_grid::backtest::CustomerFigures| i128::from(c.bill_nano);
    figures.customers.iter().map(|c| (c.customer.as_str(), bill(c))).collect()
}

#[test]
fn four_weeks_cost_what_the_reference_says_by_every_rule_and_tariff() {
    let scenario = shipped();
    let expected = rows("bills.csv");
    let totals = rows("bills_total.csv");
    let names = [
        (Rule::None, "none"),
        (Rule::Mmr, "mmr"),
        (Rule::Sdr, "sdr"),
        (Rule::BillSharing, "bill_sharing_interval"),
        (Rule::BillSharingPeriod, "bill_sharing_period"),
    ];
    for tariff in TARIFFS {
        let options = Options { tariff: Some(tariff.to_owned()), ..Options::default() };
        let report = run(&scenario, None, options);
        assert_eq!(report.run.slots, 2_688);
        let mut compared = 0;
        for (kind, name) in names {
            let of = |row: &&Row| row["tariff"] == tariff && row["mechanism"] == name;
            let figures = rule(&report, kind);
            let ours = bills(figures);
            for row in expected.iter().filter(of) {
                let bill = ours[row["customer_id"].as_str()];
                // Our bills are exact shares, each rounded to a nano-currency per slot; the
                // reference rounds prices to 10⁻⁹ per kWh. Alone, both are products.
                let most = match kind {
                    Rule::None => 0,
                    Rule::BillSharingPeriod => 2,
                    _ => 2_688,
                };
                let apart = (bill - int(row, "bill_e12") / 1_000).abs();
                assert!(apart <= most, "{tariff} {name} {row:?}: {bill}, {apart} apart");
                compared += 1;
            }
            let total = totals.iter().find(of).expect("a total");
            let exact = int(total, "exact_community_bill_e12");
            assert_eq!(i128::from(figures.bill_nano) * 1_000, exact, "{tariff} {name}");
        }
        assert_eq!(compared, names.len() * 41);

        // Rules that leave nothing inside unshared move money, and nothing else: one total.
        let total = rule(&report, Rule::Mmr).bill_nano;
        for kind in [Rule::Auction, Rule::Sdr, Rule::BillSharing, Rule::BillSharingPeriod] {
            assert_eq!(rule(&report, kind).bill_nano, total, "{tariff} {kind}");
        }
        // A grid operator's key does not look at prices: it goes on where retail is not above
        // feed-in, and that costs.
        let keyed = rule(&report, Rule::ProRata);
        assert_eq!(keyed.bill_nano > total, tariff == "lcl", "{tariff}");
        assert_eq!(keyed.local_wh, report.street.shareable_wh);
        // With a price between the supplier's two nobody loses. Shared bills make energy inside free:
        // those who give it lose.
        for kind in [Rule::None, Rule::Auction, Rule::AuctionStrict, Rule::Mmr, Rule::Sdr] {
            assert_eq!(rule(&report, kind).worse_off, [""; 0], "{tariff} {kind}");
        }
        let losers = &rule(&report, Rule::BillSharing).worse_off;
        assert_eq!(losers.len(), 10, "{tariff}: {losers:?}");
        for loser in losers {
            let facts = report.customers.iter().find(|facts| facts.customer == *loser);
            assert!(facts.expect("a customer").generation_wh > 0, "{tariff} {loser}");
        }
        for figures in &report.rules {
            conserves(&report, figures);
            let sum: i64 = figures.customers.iter().map(|c| c.bill_nano).sum();
            assert_eq!(sum, figures.bill_nano, "{tariff} {}", figures.rule);
        }
    }
}

/// What members pay together is what the supplier gets for what it delivers and takes, and energy
/// is somebody's.
fn conserves(report: &Report, figures: &RuleFigures) {
    let sum = |part: fn(&sim_grid::backtest::CustomerFigures) -> i64| -> i64 {
        figures.customers.iter().map(part).sum()
    };
    assert_eq!(sum(|c| c.bought_wh), figures.local_wh, "{}", figures.rule);
    assert_eq!(sum(|c| c.sold_wh), figures.local_wh, "{}", figures.rule);
    assert_eq!(figures.local_wh + figures.supplied_wh, report.street.import_wh);
    assert_eq!(figures.local_wh + figures.taken_wh, report.street.export_wh);
    assert!(figures.local_wh <= report.street.shareable_wh, "{}", figures.rule);
    assert_eq!(figures.saving_nano, rule(report, Rule::None).bill_nano - figures.bill_nano);
}

/// The shipped street with the orders of the references beside it.
fn with_orders() -> TempDir {
    let folder = TempDir::new().expect("a temporary folder");
    for part in ["customers.csv", "devices.csv", "tariffs.csv", "grid", "ts"] {
        let from = shipped_folder().join(part);
        std::os::unix::fs::symlink(from, folder.path().join(part)).expect("a link");
    }
    for tariff in ["flat", "dyn"] {
        let file = format!("orders_{tariff}.csv");
        std::fs::copy(references().join(&file), folder.path().join(&file)).expect("a copy");
    }
    folder
}

#[test]
fn the_auction_of_given_orders_bills_what_the_reference_says() {
    let folder = with_orders();
    let scenario = Scenario::load(folder.path()).expect("loads");
    // The orders cover a winter day and a summer week; a dynamic tariff has one summer day.
    for (tariff, spans) in [
        ("flat", &[("2016-01-18", "2016-01-19"), ("2016-07-18", "2016-07-25")][..]),
        ("dyn", &[("2016-07-20", "2016-07-21")][..]),
    ] {
        let mut alone: BTreeMap<String, i128> = BTreeMap::new();
        let mut strict: BTreeMap<String, i128> = BTreeMap::new();
        let (mut slots, mut cleared) = (0, 0);
        for (from, to) in spans {
            let options = Options {
                tariff: Some(tariff.to_owned()),
                rules: vec![Rule::AuctionStrict, Rule::None],
                orders: OrderSource::File,
                from: Some(parse_slot(from).expect("a date")),
                to: Some(parse_slot(to).expect("a date")),
                ..Options::default()
            };
            let report = run(&scenario, Some(folder.path()), options);
            assert_eq!(report.run.slots_ordered_by_file, report.run.slots);
            slots += report.run.slots;
            cleared += rule(&report, Rule::AuctionStrict).local_wh;
            for (sums, kind) in [(&mut alone, Rule::None), (&mut strict, Rule::AuctionStrict)] {
                for (name, nano) in bills(rule(&report, kind)) {
                    *sums.entry(name.to_owned()).or_default() += nano;
                }
            }
        }
        let per_slot = rows(&format!("auction_{tariff}.csv"));
        assert_eq!(usize::try_from(slots).expect("few"), per_slot.len(), "{tariff}");
        let sum: i128 = per_slot.iter().map(|row| int(row, "cleared_wh")).sum();
        assert_eq!(i128::from(cleared), sum, "{tariff}: cleared energy");

        let expected = rows(&format!("auction_bills_{tariff}.csv"));
        assert_eq!(expected.len(), 41);
        let mut total = 0;
        for row in &expected {
            let name = row["customer_id"].as_str();
            assert_eq!(alone[name], int(row, "bill_none_e8") * 10, "{tariff} {name} alone");
            let reference = int(row, "bill_auction_walras_e8") * 10;
            total += strict[name] - reference;
            // The reference fills equal limits by order number, we share them pro rata: a margin
            // of some Wh in a slot of thousands. Without a tie the bill is the same to the unit.
            let apart = (strict[name] - reference).abs();
            let volume = int(row, "bought_wh") + int(row, "sold_wh");
            assert!(apart <= volume * 2_000, "{tariff} {name}: {apart} nano apart");
        }
        assert_eq!(total, 0, "{tariff}: the street's bill");
    }
}

#[test]
fn a_run_repeats_bit_by_bit() {
    let scenario = shipped();
    let day = || {
        let options = Options {
            tariff: Some("dyn".to_owned()),
            from: parse_slot("2016-07-20").ok(),
            to: parse_slot("2016-07-22").ok(),
            ..Options::default()
        };
        serde_json::to_string(&run(&scenario, None, options)).expect("a report is JSON")
    };
    assert_eq!(day(), day());
}
