//! The back-test against what an independent implementation computed for the shipped street, and
//! against itself.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use sim_grid::backtest::{
    Backtest, Community, Options, OrderSource, Report, Rule, RuleFigures, page, verdict,
};
use sim_grid::scenario::{Scenario, Synthetic, parse_slot};
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
        let options = Options {
            tariff: Some(tariff.to_owned()),
            orders: OrderSource::Pegged,
            ..Options::default()
        };
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

#[test]
fn batteries_that_follow_the_auction_leave_nobody_worse_off_than_alone() {
    let scenario = shipped();
    let options = Options {
        tariff: Some("tou".to_owned()),
        rules: vec![Rule::Auction, Rule::Mmr, Rule::None],
        batteries: true,
        from: parse_slot("2016-07-18").ok(),
        to: parse_slot("2016-07-25").ok(),
        ..Options::default()
    };
    let report = run(&scenario, None, options);
    assert_eq!(report.run.batteries, "simulated");
    let after = report.street_after.as_ref().expect("another dispatch");
    assert_eq!(after.load_wh, report.street.load_wh);
    assert_eq!(after.generation_wh, report.street.generation_wh);
    let (auction, mmr) = (rule(&report, Rule::Auction), rule(&report, Rule::Mmr));
    assert!(auction.saving_nano > mmr.saving_nano, "batteries that look ahead help the street");
    assert_eq!(auction.worse_off, [""; 0]);
    assert_eq!(auction.supplied_wh + auction.local_wh, after.import_wh);
    assert!(report.feeder.after.is_some());
}

#[test]
fn a_street_from_a_seed_runs_without_a_file() {
    let synthetic: Synthetic = "houses=30,seed=5".parse().expect("a street");
    let scenario = synthetic.scenario();
    let report = run(&scenario, None, Options::default());
    assert_eq!((report.run.slots, report.run.slots_ordered_by_households), (96, 96));
    // There are batteries and nobody published what they did, so they are run.
    assert_eq!(report.run.batteries, "simulated");
    assert!(rule(&report, Rule::Auction).local_wh > 0);
    let page = page(&report);
    assert_eq!(page, page_of_again(&scenario), "the page repeats byte by byte");
    for outside in ["http://", "https://", "<script", "src=", "@import", "url("] {
        assert!(!page.contains(outside), "the page needs {outside}");
    }
}

fn page_of_again(scenario: &Scenario) -> String {
    page(&run(scenario, None, Options::default()))
}

#[test]
fn the_page_says_what_the_report_says() {
    let scenario = shipped();
    let options = Options {
        from: parse_slot("2016-07-18").ok(),
        to: parse_slot("2016-07-20").ok(),
        orders: OrderSource::Pegged,
        ..Options::default()
    };
    let report = run(&scenario, None, options);
    let verdict = verdict(&report);
    assert!(verdict.headline.starts_with("Yes: in 2\u{a0}days"), "{}", verdict.headline);
    let best = verdict.rule.expect("a rule that leaves nobody worse off");
    let figures = report.rules.iter().find(|rule| rule.rule == best).expect("a rule tested");
    assert!(figures.worse_off.is_empty() && figures.saving_nano > 0);
    let page = page(&report);
    assert!(page.contains(&verdict.headline));
    assert_eq!(
        page.matches("<svg viewBox=\"0 0 360").count(),
        page.matches("role=\"img\"").count()
    );
    assert_eq!(page.matches("role=\"img\"").count(), page.matches("<desc").count());
    assert!(!page.contains("pays the grid"), "there are no fees");
    for customer in &report.customers {
        assert!(page.contains(&format!("<th scope=\"row\">{}</th>", customer.customer)));
    }
    for open in ["<section", "<table", "<details", "<figure", "<svg", "<div"] {
        let close = format!("</{}>", &open[1..]);
        assert_eq!(page.matches(open).count(), page.matches(&close).count(), "{open}");
    }
}

#[test]
fn inverted_tariffs_are_answered_with_no() {
    let mut scenario = shipped();
    for tariff in &mut scenario.tariffs {
        tariff.feed_in_e5.clone_from(&tariff.retail_e5);
    }
    let options = Options {
        rules: vec![Rule::Auction, Rule::Mmr],
        to: parse_slot("2016-01-19").ok(),
        ..Options::default()
    };
    let report = run(&scenario, None, options);
    assert_eq!(report.street.inverted_slots, 96);
    assert!(report.rules.iter().all(|rule| rule.local_wh == 0 && rule.saving_nano == 0));
    assert!(verdict(&report).headline.starts_with("No: this tariff"));
}

#[test]
fn nonsense_is_refused_with_what_would_be_right() {
    let scenario = shipped();
    let refusal = |options: Options| match Backtest::new(&scenario, None, options) {
        Err(error) => error.to_string(),
        Ok(_) => panic!("must be refused"),
    };
    let slot = |text| parse_slot(text).ok();
    for (options, expected) in [
        (
            Options { tariff: Some("night".to_owned()), ..Options::default() },
            "the scenario has no tariff \"night\"; choose from flat, tou, dyn, lcl",
        ),
        (
            Options { from: slot("2016-07-20"), to: slot("2016-07-19"), ..Options::default() },
            "--to 2016-07-19T00:00Z is not after --from 2016-07-20T00:00Z; --to is the first slot that is left out",
        ),
        (
            Options { from: slot("2016-03-01"), to: slot("2016-03-02"), ..Options::default() },
            "no slot from 2016-03-01T00:00Z to 2016-03-02T00:00Z is in the scenario, which covers \
             2016-01-18T00:00Z to 2016-01-25T00:00Z, 2016-04-11T00:00Z to 2016-04-18T00:00Z, \
             2016-07-18T00:00Z to 2016-07-25T00:00Z, 2016-10-10T00:00Z to 2016-10-17T00:00Z",
        ),
        (
            Options { rules: Vec::new(), ..Options::default() },
            "there is no rule to test; choose at least one",
        ),
        (
            Options { orders: OrderSource::File, ..Options::default() },
            "the scenario has no orders_flat.csv; leave --orders out to let the households order by themselves",
        ),
    ] {
        assert_eq!(refusal(options), expected);
    }
    let rule: Result<Rule, String> = "auktion".parse();
    let told = rule.expect_err("no such rule");
    assert!(
        told.starts_with("there is no rule \"auktion\"; choose from none, auction, "),
        "{told}"
    );
}

/// Writes an order file beside the small street and expects this refusal.
fn orders_refused(rows: &str, expected: &str) {
    let folder = TempDir::new().expect("a temporary folder");
    crate::small::write(&crate::small::files(), folder.path());
    let text = format!("order_id,t,customer_id,side,qty_wh,limit_e5\n{rows}");
    std::fs::write(folder.path().join("orders_flat.csv"), text).expect("write");
    let scenario = Scenario::load(folder.path()).expect("loads");
    match Backtest::new(&scenario, Some(folder.path()), Options::default()) {
        Err(error) => assert_eq!(error.to_string(), expected),
        Ok(_) => panic!("must be refused: {expected}"),
    }
}

#[test]
fn bad_orders_are_refused_with_file_line_and_reason() {
    let first = "1,1632,H1,buy,100,20000\n";
    orders_refused(
        &format!("{first}2,1640,H1,buy,100,20000\n"),
        "orders_flat.csv, line 3: t is 1640, which tariffs.csv does not have",
    );
    orders_refused(
        &format!("{first}2,1632,H9,buy,100,20000\n"),
        "orders_flat.csv, line 3: the order names customer H9, which customers.csv does not have",
    );
    orders_refused(
        &format!("{first}2,1632,H1,buy,50,19000\n"),
        "orders_flat.csv, line 3: H1 has two buy orders at t 1632; a metering point has one order per side",
    );
    orders_refused(
        "1,1632,H1,buy,0,20000\n",
        "orders_flat.csv, line 2: the order of H1: 0 Wh is not between 1 Wh and 10000000000 Wh",
    );
    orders_refused(
        "1,1632,H1,buy,1,28801\n",
        "orders_flat.csv, line 2: the order of H1: limit 28801 is outside 12310 (feed-in) to 28800 (retail), all in 1e-5 per kWh",
    );
}

#[test]
fn the_program_answers_nonsense_with_a_sentence_and_a_code() {
    let run = |arguments: &[&str]| {
        let program = std::process::Command::new(env!("CARGO_BIN_EXE_sim-grid"))
            .arg("backtest")
            .args(arguments)
            .output()
            .expect("the program runs");
        (program.status.code(), String::from_utf8(program.stderr).expect("text"))
    };
    for (arguments, expected) in [
        (&["--rule", "auktion"][..], "choose from none, auction"),
        (&["--synthetic", "houses=0"], "houses is a number from 1 to 10000"),
        (&["--orders", "none"], "choose from auto, file, policy, pegged"),
        (&["--from", "yesterday"], "is no start of a quarter-hour"),
        (&["/nowhere"], "/nowhere is no folder; a scenario is a folder with"),
        (
            &["--synthetic", "houses=2", "--tariff", "night"],
            "has no tariff \"night\"; choose from flat, tou",
        ),
        (
            &["--synthetic", "houses=2", "--json", "/nowhere/report.json"],
            "/nowhere/report.json cannot be written",
        ),
    ] {
        let (code, told) = run(arguments);
        assert_ne!(code, Some(0), "{arguments:?}");
        assert!(code.is_some(), "{arguments:?} was killed");
        assert!(told.contains(expected), "{arguments:?}: {told}");
    }
}

#[test]
fn an_ample_feeder_trades_like_a_copper_plate() {
    let scenario = shipped();
    let day = |on_feeder: bool| {
        let options = Options {
            rules: vec![Rule::Auction, Rule::AuctionStrict],
            orders: OrderSource::Pegged,
            on_feeder,
            from: parse_slot("2016-07-20").ok(),
            to: parse_slot("2016-07-21").ok(),
            ..Options::default()
        };
        run(&scenario, None, options).rules
    };
    assert_eq!(day(true), day(false));
}

#[test]
fn fees_and_full_branches_are_paid_by_buyers_and_posted_to_the_grid() {
    let mut scenario = shipped();
    // The lines of the shipped street carry everything; a tenth of them does not.
    let line =
        |line: &feeder::Line| feeder::Line { max_i_ka: line.max_i_ka / 10.0, ..line.clone() };
    let parts = feeder::NetworkParts {
        buses: scenario.network.buses().to_vec(),
        lines: scenario.network.lines().iter().map(line).collect(),
        transformers: scenario.network.transformers().to_vec(),
        slacks: scenario.network.slacks().to_vec(),
    };
    scenario.network = feeder::Network::new(parts).expect("a thin street");
    let options = Options {
        rules: vec![Rule::AuctionStrict, Rule::Auction],
        orders: OrderSource::Pegged,
        community: Community::default()
            .with_fees(&"street=1.5,transformer=0.5".parse().expect("fees")),
        from: parse_slot("2016-07-20").ok(),
        to: parse_slot("2016-07-22").ok(),
        ..Options::default()
    };
    let report = run(&scenario, None, options);
    let strict = rule(&report, Rule::AuctionStrict);
    assert!(strict.congested_slots > 0 && strict.congestion_nano > 0, "a tenth is too thin");
    assert!(strict.grid_fees_nano > 0);
    assert!(!report.feeder.bound.is_empty());
    for figures in [strict, rule(&report, Rule::Auction)] {
        let (supplied, taken) = (i128::from(figures.supplied_wh), i128::from(figures.taken_wh));
        let surplus = i128::from(figures.grid_fees_nano) + i128::from(figures.congestion_nano);
        let due = supplied * 288_000 - taken * 123_100 + surplus;
        assert_eq!(i128::from(figures.bill_nano), due, "{}", figures.rule);
    }
    let price = strict.local_price.expect("some trade");
    assert!(price.paid_nano_per_wh > price.earned_nano_per_wh);
    assert_eq!(strict.worse_off, [""; 0], "limits hold at the own node");
}

/// What a file says that a community wrote.
fn written(text: &str) -> Community {
    let folder = TempDir::new().expect("a temporary folder");
    let file = folder.path().join("ours.toml");
    std::fs::write(&file, text).expect("write");
    Community::read(&file).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn an_own_key_is_settled_like_the_same_key_under_another_name() {
    let scenario = shipped();
    let week = |community: Community| {
        let rules = vec![Rule::ProRata, Rule::StaticKeys, Rule::OwnKey];
        let (from, to) = (parse_slot("2016-07-18").ok(), parse_slot("2016-07-25").ok());
        run(&scenario, None, Options { rules, from, to, community, ..Options::default() })
    };
    // Equal parts, the first ones a millionth larger.
    let customers = scenario.customers.len() as u32;
    let part = |i: u32| 1_000_000 / customers + u32::from(i < 1_000_000 % customers);
    let parts: Vec<String> = (0..)
        .zip(&scenario.customers)
        .map(|(i, customer)| format!("{} = {}", customer.id, part(i)))
        .collect();
    let equal = format!("[sharing]\nkey = {{ static = {{ keys = {{ {} }} }} }}", parts.join(", "));
    for (text, twin, words) in [
        (equal.as_str(), Rule::StaticKeys, "by fixed parts, 1 round, at the middle price"),
        ("sharing.key = \"pro-rata\"", Rule::ProRata, "in proportion to use, at the middle price"),
    ] {
        let report = week(written(text));
        let (own, twin) = (rule(&report, Rule::OwnKey), rule(&report, twin));
        assert_eq!(own.customers, twin.customers);
        assert_eq!((own.local_wh, own.saving_nano), (twin.local_wh, twin.saving_nano));
        assert_eq!(report.run.own_key.as_deref(), Some(words));
        assert!(own.meaning.ends_with(&format!("It allocates {words}.")), "{}", own.meaning);
    }
    // Who comes first in a cascade gets more, and all together the same.
    let first = "C003";
    let report = week(written(&format!(
        "[sharing]\nrule = {{ allocated = {{ price = {{ fixed = 150_000 }} }} }}\n\
         key = {{ cascade = {{ levels = [[\"{first}\"]] }} }}"
    )));
    let bought = |of: Rule| {
        let customers = &rule(&report, of).customers;
        customers.iter().find(|one| one.customer == first).expect("a customer").bought_wh
    };
    let page = page(&report);
    assert!(page.contains("It allocates level by level, 1 level, at 15.00 ct/kWh."));
    let (own, pro_rata) = (rule(&report, Rule::OwnKey), rule(&report, Rule::ProRata));
    assert!(bought(Rule::OwnKey) > bought(Rule::ProRata), "{}", bought(Rule::OwnKey));
    assert_eq!(own.local_wh, pro_rata.local_wh);
    let price = own.local_price.expect("energy is shared");
    assert_eq!((price.paid_nano_per_wh, price.earned_nano_per_wh), (150_000, 150_000));
}

#[test]
fn a_building_pays_for_what_leaves_it_and_for_nothing_else() {
    let apart: Synthetic = "houses=20,battery=0,seed=3".parse().expect("a street");
    let apart = apart.scenario();
    let mut together = apart.clone();
    together.customers.iter_mut().for_each(|customer| customer.bus = apart.customers[0].bus);
    let fees = |scenario: &Scenario, text: &str| {
        let community = written(text);
        let rules = vec![Rule::AuctionStrict];
        let orders = OrderSource::Pegged;
        let report =
            run(scenario, None, Options { rules, orders, community, ..Options::default() });
        let told = page(&report).contains("0.50 ct/kWh for leaving or entering a building");
        assert_eq!(told, text.ends_with(" 500"));
        (report.rules[0].grid_fees_nano, report.rules[0].local_wh, report.run.fees)
    };
    let (paid, local, facts) = fees(&apart, "grid.building_fee_e5 = 500");
    assert_eq!(facts.building_nano_per_wh, 5_000);
    // Whatever is traded passes two connections.
    assert!(local > 0);
    assert_eq!(paid, 2 * 5_000 * local);
    let dear = fees(&apart, "grid.building_fee_e5 = 8_000").1;
    assert!(
        0 < dear && dear < local,
        "a dear connection lets less be traded: {dear} of {local} Wh"
    );
    assert_eq!(fees(&together, "grid.building_fee_e5 = 500").0, 0);
    assert_eq!(fees(&together, "grid.building_fee_e5 = 500").1, fees(&together, "").1);
}

#[test]
fn a_folder_s_rules_are_tested_without_being_asked_for() {
    let folder = TempDir::new().expect("a temporary folder");
    crate::small::write(&crate::small::files(), folder.path());
    let rules = folder.path().join("rules.toml");
    let run = |arguments: &[&str]| {
        let program = std::process::Command::new(env!("CARGO_BIN_EXE_sim-grid"))
            .arg("backtest")
            .arg(folder.path())
            .args(["--json", "-"])
            .args(arguments)
            .output()
            .expect("the program runs");
        let told = String::from_utf8(program.stderr).expect("text");
        serde_json::from_slice::<serde_json::Value>(&program.stdout).map_err(|_| told)
    };
    let text =
        "[grid]\nstreet_fee_e5 = 700\n[sharing]\nkey = { cascade = { levels = [[\"B1\"]] } }\n";
    std::fs::write(&rules, text).expect("write");
    let report = run(&["--fees", "transformer=0.3"]).expect("a report");
    assert_eq!(report["run"]["fees"]["street_nano_per_wh"], 7_000);
    assert_eq!(report["run"]["fees"]["transformer_nano_per_wh"], 3_000);
    assert_eq!(report["run"]["own_key"], "level by level, 1 level, at the middle price");
    assert_eq!(report["rules"][9]["rule"], "own_key");
    std::fs::write(&rules, "[grid]\nstreet_fee_e5 = 700\n[sharing]\nkey = \"pro rata\"\n")
        .expect("write");
    let told = run(&[]).expect_err("a misspelt key");
    assert!(told.contains("rules.toml: ") && told.contains("unknown variant `pro rata`"), "{told}");
    assert!(told.contains("line 4"), "{told}");
    let other = folder.path().join("other.toml");
    std::fs::write(&other, "").expect("write");
    let told = run(&["--rules", other.to_str().expect("text"), "--rule", "own_key"]);
    let told = told.expect_err("no key in there");
    assert!(told.contains("the rule own_key needs a key"), "{told}");
}
