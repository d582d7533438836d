//! Bundles: what is exported verifies from its bytes alone, and whatever is changed is named.

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use chain::{
    Chain, DeployParams, DeployPlan, EmbeddedChain, EmbeddedConfig, TxRequest, Wallet,
    community_hash,
};
use controller::bundle::{Finding, Report, Trust, compare_with_chain, verify};
use controller::config::MarketConfig;
use proptest::prelude::*;
use protocol::{Address, U256, keccak256};
use serde_json::Value;

use crate::record::{SLOTS, bundle, config, past, past_with, slot};
use crate::street::{community, operator};

pub fn check(text: &[u8]) -> Report {
    verify(text, &Trust::default()).expect("memory can be read")
}

pub fn lines(text: &str) -> Vec<String> {
    text.lines().map(str::to_owned).collect()
}

fn kind(line: &str) -> String {
    let line: Value = serde_json::from_str(line).expect("a line");
    line["kind"].as_str().expect("a kind").to_owned()
}

/// Position of the `nth` line of a kind.
pub fn find(lines: &[String], wanted: &str, nth: usize) -> usize {
    let mut places = (0..lines.len()).filter(|&at| kind(&lines[at]) == wanted);
    places.nth(nth).unwrap_or_else(|| panic!("no {wanted} {nth}"))
}

/// The same lines with seals and manifest made anew: what a forger with time would hand out.
pub fn seal_again(lines: &[String]) -> String {
    let (mut block, mut seals, mut text) = (Vec::new(), Vec::new(), String::new());
    let digest = |hashes: &[protocol::B256]| keccak256(hashes.concat());
    for line in lines {
        let line = match kind(line).as_str() {
            "seal" => {
                let hashes = std::mem::take(&mut block);
                seals.push(digest(&hashes));
                let digest = digest(&hashes);
                format!(
                    "{{\"kind\":\"seal\",\"lines\":{},\"digest\":\"{digest}\"}}",
                    serde_json::to_string(&hashes).expect("plain")
                )
            }
            "manifest" => format!(
                "{{\"kind\":\"manifest\",\"lines\":{},\"seals\":{},\"digest\":\"{}\"}}",
                text.lines().count(),
                serde_json::to_string(&seals).expect("plain"),
                digest(&seals)
            ),
            _ => {
                block.push(keccak256(line.as_bytes()));
                line.clone()
            }
        };
        text.push_str(&line);
        text.push('\n');
    }
    text
}

pub fn told(report: &Report) -> String {
    let told = |Finding { line, kind, point, slot, what }: &Finding| {
        format!("{line} {kind} {point:?} {slot:?}: {what}\n")
    };
    report.findings.iter().map(told).collect()
}

#[tokio::test]
async fn what_is_exported_verifies_from_its_bytes_alone() {
    let street = past().await;
    for (first, last) in (1..=SLOTS).flat_map(|a| (a..=SLOTS).map(move |b| (a, b))) {
        let text = bundle(&street, first, last).await;
        let report = check(text.as_bytes());
        assert!(report.verified, "{first} to {last}:\n{}", told(&report));
        let slots = u64::try_from(last - first + 1).expect("small");
        assert_eq!(report.counts.slots, slots);
        // What was silent in slot 3 was found before slot 4 was settled.
        let corrected = u64::from((first..=last).contains(&4));
        assert_eq!(report.counts.corrected, corrected);
        assert_eq!(report.counts.statements, 4 * (slots + corrected));
        assert_eq!(report.operator, Some(operator().address()));
        assert_eq!(report.counts.lines as usize, text.lines().count());
        let root = street.delivery(0, slot(last)).expect("settled").checkpoint.body.root;
        assert_eq!(report.log_root, Some(root));
    }
    let whole = check(bundle(&street, 1, SLOTS).await.as_bytes());
    assert_eq!(whole.counts.epochs, 2);
    assert_eq!(whole.counts.orders, 4 * 9, "nobody ordered for one of the slots");
    assert!(whole.remarks.iter().any(|remark| remark.contains("did not count")));
    assert!(whole.remarks.iter().any(|remark| remark.contains("not in an epoch")));
}

#[tokio::test]
async fn the_reader_can_insist_on_an_operator_and_a_fingerprint() {
    let text = bundle(&past().await, 1, 2).await;
    let fingerprint = check(text.as_bytes()).fingerprint;
    let insist = |operator, fingerprint| {
        let trust = Trust { operator: Some(operator), fingerprint };
        verify(text.as_bytes(), &trust).expect("memory can be read").verified
    };
    assert!(insist(operator().address(), fingerprint));
    assert!(!insist(Address::repeat_byte(1), fingerprint));
    assert!(!insist(operator().address(), Some(keccak256("another"))));
}

#[tokio::test]
async fn every_changed_line_is_named() {
    let lines = lines(&bundle(&past().await, 3, 6).await);
    let joined =
        |lines: &[String]| lines.iter().map(|line| format!("{line}\n")).collect::<String>();
    for at in 0..lines.len() {
        let number = at as u64 + 1;
        let named = |lines: &[String], what: &str| {
            let report = check(joined(lines).as_bytes());
            assert!(!report.verified, "line {number} {what}");
            let named = report.findings.iter().any(|finding| finding.line == number);
            assert!(named, "line {number} ({}) {what}:\n{}", kind(&lines[0]), told(&report));
        };
        // A digit changed, the line left out, written twice, swapped with the next.
        let mut changed = lines.clone();
        let digit = changed[at].rfind(|c: char| c.is_ascii_digit()).expect("every line has one");
        let other = if changed[at].as_bytes()[digit] == b'5' { "6" } else { "5" };
        changed[at].replace_range(digit..=digit, other);
        named(&changed, "changed");

        let mut missing = lines.clone();
        missing.remove(at);
        assert!(!check(joined(&missing).as_bytes()).verified, "line {number} missing");

        let mut twice = lines.clone();
        twice.insert(at, lines[at].clone());
        assert!(!check(joined(&twice).as_bytes()).verified, "line {number} twice");

        if at + 1 < lines.len() {
            let mut swapped = lines.clone();
            swapped.swap(at, at + 1);
            named(&swapped, "swapped");
        }
    }
}

#[tokio::test]
async fn every_changed_byte_is_named() {
    let text = bundle(&past().await, 3, 5).await.into_bytes();
    // Every 97th byte, over all lines and all their parts.
    for at in (0..text.len()).step_by(97) {
        let number = text[..at].iter().filter(|byte| **byte == b'\n').count() as u64 + 1;
        let mut changed = text.clone();
        changed[at] ^= 0x01;
        let report = check(&changed);
        assert!(!report.verified, "byte {at} of line {number}");
        let named = report.findings.iter().any(|finding| finding.line == number);
        assert!(named, "byte {at} of line {number}:\n{}", told(&report));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Cut anywhere, or with rubbish anywhere: refused, never a panic.
    #[test]
    fn rubbish_is_refused(cut in 0.0..1.0_f64, rubbish in proptest::collection::vec(any::<u8>(), 0..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        static TEXT: std::sync::OnceLock<String> = std::sync::OnceLock::new();
        let text = TEXT.get_or_init(|| runtime.expect("threads").block_on(async {
            bundle(&past().await, 2, 3).await
        }));
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
        let at = (cut * text.len() as f64) as usize;
        let mut changed = text.as_bytes()[..at].to_vec();
        prop_assert!(!check(&changed).verified);
        changed.extend(&rubbish);
        changed.extend(&text.as_bytes()[at..]);
        prop_assert_eq!(check(&changed).verified, rubbish.is_empty());
    }
}

/// Numbers that break careless arithmetic.
const EXTREMES: [&str; 7] = [
    "0",
    "-1",
    "1",
    "9223372036854775807",
    "-9223372036854775808",
    "18446744073709551615",
    "4294967295",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 120, ..ProptestConfig::default() })]

    /// Any number in any line at its extreme, sealed again: named, never a panic.
    #[test]
    fn extreme_numbers_are_refused(line in any::<prop::sample::Index>(), field in any::<prop::sample::Index>(), extreme in 0..7_usize) {
        static LINES: std::sync::OnceLock<Vec<String>> = std::sync::OnceLock::new();
        let all = LINES.get_or_init(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            lines(&runtime.expect("threads").block_on(async { bundle(&past().await, 1, 6).await }))
        });
        let open: Vec<usize> =
            (0..all.len()).filter(|&at| !["seal", "manifest"].contains(&kind(&all[at]).as_str())).collect();
        let at = open[line.index(open.len())];
        // A number follows a colon, a bracket or, inside a decimal text, a quotation mark.
        let text = &all[at];
        let bytes = text.as_bytes();
        let starts: Vec<usize> = (1..bytes.len())
            .filter(|&i| bytes[i].is_ascii_digit() && b":[,".contains(&bytes[i - 1]))
            .collect();
        prop_assume!(!starts.is_empty());
        let start = starts[field.index(starts.len())];
        let end = start + bytes[start..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        prop_assume!(&text[start..end] != EXTREMES[extreme]);
        let mut changed = all.clone();
        changed[at] = format!("{}{}{}", &text[..start], EXTREMES[extreme], &text[end..]);
        let report = check(seal_again(&changed).as_bytes());
        // A bound that was never touched may move, and an epoch that says that it began before the
        // bundle is the chain's to judge; everything else is bound by something signed.
        let free = [
            "gate_lead_s",
            "correct_within_slots",
            "max_import_w",
            "max_export_w",
            "received_ms",
            "from_slot",
        ]
        .iter()
        .any(|name| text[..start].ends_with(&format!("\"{name}\":")));
        // Why a reading does not count is told in words, and these may hold a time of day.
        let told = text.starts_with(r#"{"kind":"reading","quarantine":"#)
            && !text[..start].contains(r#","reading":{"#);
        prop_assert!(!report.verified || free || told, "line {}: {}", at + 1, changed[at]);
    }
}

/// Changes one field of one line and seals everything again.
fn forge(lines: &[String], wanted: &str, nth: usize, path: &str, value: Value) -> (u64, Report) {
    let at = find(lines, wanted, nth);
    let mut forged = lines.to_vec();
    let mut line: Value = serde_json::from_str(&forged[at]).expect("a line");
    let field = line.pointer_mut(path).unwrap_or_else(|| panic!("{wanted} has no {path}"));
    assert_ne!(*field, value, "nothing would change");
    *field = value;
    // The order of fields is that of the types, which a map would lose: replace inside the text.
    let original: Value = serde_json::from_str(&lines[at]).expect("a line");
    forged[at] = respell(&lines[at], &original, &line);
    (at as u64 + 1, check(seal_again(&forged).as_bytes()))
}

/// Writes `changed` in the field order of `text`.
fn respell(text: &str, original: &Value, changed: &Value) -> String {
    fn walk(text: String, a: &Value, b: &Value, name: &str) -> String {
        match (a, b) {
            (Value::Object(fields), Value::Object(others)) => fields
                .iter()
                .fold(text, |text, (name, value)| walk(text, value, &others[name], name)),
            (Value::Array(items), Value::Array(others))
                if items.len() == others.len() && items.iter().all(Value::is_object) =>
            {
                items.iter().zip(others).fold(text, |text, (a, b)| walk(text, a, b, name))
            }
            _ if a != b => {
                let (from, to) = (format!("\"{name}\":{a}"), format!("\"{name}\":{b}"));
                assert!(text.contains(&from), "{from} stands in {text}");
                text.replacen(&from, &to, 1)
            }
            _ => text,
        }
    }
    walk(text.to_owned(), original, changed, "")
}

#[tokio::test]
async fn a_forger_who_seals_again_is_still_named() {
    let lines = lines(&bundle(&past().await, 1, 6).await);
    assert!(check(seal_again(&lines).as_bytes()).verified, "sealing again alone changes nothing");
    let number = |value: i64| Value::from(value);
    let zero = Value::from(format!("0x{}", "00".repeat(32)));
    let list = |value: i64| Value::from(vec![value]);
    // (kind, which, field, forged value, part of a finding on that line)
    let table = [
        ("order", 0, "/order/body/sell/0/quantity_wh", number(501), "signature"),
        ("order", 1, "/order/body/buy/0/limit", number(260_000), "signature"),
        ("order", 2, "/received_ms", number(i64::MAX), "after the gate"),
        ("reading", 12, "/reading/body/import_wh", number(1_000_001), "signature"),
        ("reading", 12, "/reading/body/seq", number(9), "signature"),
        ("reading", 12, "/reading/body/prev", zero.clone(), "signature"),
        ("clearing", 3, "/clearing/body/price", list(200_010), "signature"),
        ("clearing", 3, "/clearing/body/seed", zero.clone(), "seed"),
        ("clearing", 3, "/clearing/body/log_root", zero.clone(), "outdated"),
        ("clearing", 3, "/clearing/body/orders_root", zero.clone(), "not the book"),
        ("clearing", 3, "/clearing/body/cleared_wh", number(499), "not a right result"),
        ("statement", 0, "/statement/amount", number(-1), "amount is -1"),
        ("statement", 1, "/statement/import_wh", number(1), "import_wh is 1"),
        ("statement", 1, "/statement/bought_wh", number(1), "bought_wh is 1"),
        ("statement", 0, "/statement/reward_wh", number(451), "reward_wh is 451"),
        ("statement", 0, "/statement/reward_total", Value::from("0x1"), "reward_total"),
        ("header", 1, "/header/readings_root", zero.clone(), "readings_root"),
        ("header", 1, "/header/statements_root", zero.clone(), "statements_root"),
        ("header", 1, "/header/previous_root", zero, "previous_root"),
        ("header", 2, "/header/totals/supplier", number(1), "supplier is 1"),
        ("header", 2, "/header/index", number(7), "index is 7"),
        ("header", 2, "/header/time_ms", number(1), "before the slot had ended"),
        ("anchor", 0, "/header/import_wh", number(1), "its slots give"),
        ("anchor", 0, "/header/log_size", number(3), "its log is not"),
        ("anchor", 0, "/header/seq", number(2), "rewards"),
        ("street", 0, "/gate_lead_s", number(10_000), ""),
        ("street", 0, "/reward_rate", Value::from("1"), ""),
        ("street", 0, "/community", Value::from("elsewhere"), ""),
    ];
    for (kind, nth, path, value, part) in table {
        let (line, report) = forge(&lines, kind, nth, path, value);
        if path == "/header/seq" {
            // The number alone is bound by the links of later epochs and by the chain.
            continue;
        }
        assert!(!report.verified, "{kind} {path}");
        let named = report
            .findings
            .iter()
            .any(|finding| finding.line == line && finding.what.contains(part));
        assert!(named || part.is_empty(), "{kind} {path} in line {line}:\n{}", told(&report));
    }
}

#[tokio::test]
async fn a_forged_later_version_is_named() {
    let lines = lines(&bundle(&past().await, 1, 6).await);
    let number = |value: i64| Value::from(value);
    // The fourth entry of the log is the second version of slot 3.
    let table = [
        ("statement", 12, "/statement/amount", number(-1), "amount is -1"),
        ("statement", 12, "/statement/version", number(3), "version is 3"),
        ("statement", 12, "/statement/reward_wh", number(449), "reward_wh is 449"),
        ("statement", 13, "/statement/reward_total", Value::from("0x1"), "reward_total"),
        ("statement", 15, "/statement/import_wh", number(101), "import_wh is 101"),
        ("statement", 15, "/statement/measured", Value::from(false), "measured is false"),
        ("transfers", 3, "/transfers/0/amount", number(1), "entry 1 is 1"),
        ("header", 3, "/header/found_import_wh", number(99), "found_import_wh is 99"),
        ("header", 3, "/header/missing", number(1), "missing is 1"),
        ("header", 3, "/header/version", number(1), "is next"),
        ("header", 3, "/header/version", number(3), "version is 3"),
        ("header", 3, "/header/slot", number(slot(2).number()), "no meter was missing"),
        ("header", 3, "/header/slot", number(slot(4).number()), "the correction window"),
        ("header", 3, "/header/slot", number(i64::MIN), "the correction window"),
        ("header", 3, "/header/totals/debit", number(1), "money"),
    ];
    for (kind, nth, path, value, part) in table {
        let (line, report) = forge(&lines, kind, nth, path, value);
        assert!(!report.verified, "{kind} {path}");
        let named = report
            .findings
            .iter()
            .any(|finding| finding.line == line && finding.what.contains(part));
        assert!(named, "{kind} {path} in line {line}:\n{}", told(&report));
    }
    // Another window is another rule: what was settled again would not have been.
    let (_, report) = forge(&lines, "street", 0, "/correct_within_slots", number(0));
    assert!(told(&report).contains("the correction window"), "{}", told(&report));
    // Left out and sealed again.
    let seals: Vec<usize> = (0..lines.len()).filter(|&at| kind(&lines[at]) == "seal").collect();
    let mut fewer = lines.clone();
    fewer.drain(seals[3] + 1..=seals[4]);
    let report = check(seal_again(&fewer).as_bytes());
    assert!(!report.verified && told(&report).contains("sequence"), "{}", told(&report));
    // Twice: nobody is missing in the slot any more.
    let mut twice = lines.clone();
    let block = lines[seals[3] + 1..=seals[4]].to_vec();
    twice.splice(seals[4] + 1..seals[4] + 1, block);
    let report = check(seal_again(&twice).as_bytes());
    assert!(told(&report).contains("no meter was missing"), "{}", told(&report));
}

#[tokio::test]
async fn late_energy_that_was_not_settled_in_its_slot_is_named() {
    // The desk never settles again; the street's configuration says that it should have.
    let market = MarketConfig { correct_within_slots: 0, ..MarketConfig::default() };
    let mut street = past_with(market).await;
    street.market = MarketConfig::default();
    let report = check(bundle(&street, 1, SLOTS).await.as_bytes());
    assert_eq!(report.counts.corrected, 0);
    let what = "which belongs into a new version of that slot";
    let named: Vec<_> = report.findings.iter().filter(|found| found.what.contains(what)).collect();
    assert_eq!(named.len(), 1, "{}", told(&report));
    assert_eq!(named[0].slot, Some(slot(4).number()));
}

#[tokio::test]
async fn what_was_settled_again_from_before_the_bundle_is_remarked() {
    let report = check(bundle(&past().await, 4, 5).await.as_bytes());
    assert!(report.verified, "{}", told(&report));
    assert_eq!(report.counts.corrected, 1);
    let remarked = report.remarks.iter().any(|remark| remark.contains("was settled again"));
    assert!(remarked, "{:?}", report.remarks);
}

#[tokio::test]
async fn lines_that_are_left_out_are_missed_even_when_sealed_again() {
    let lines = lines(&bundle(&past().await, 2, 6).await);
    for kind in
        ["before", "baseline", "clearing", "order", "reading", "statement", "transfers", "header"]
    {
        let mut fewer = lines.clone();
        fewer.remove(find(
            &lines,
            kind,
            1.min(lines.iter().filter(|l| self::kind(l) == kind).count() - 1),
        ));
        let report = check(seal_again(&fewer).as_bytes());
        assert!(!report.verified, "{kind}");
    }
    // A whole slot.
    let seals: Vec<usize> = (0..lines.len()).filter(|&at| kind(&lines[at]) == "seal").collect();
    let mut fewer = lines.clone();
    fewer.drain(seals[1] + 1..=seals[2]);
    let report = check(seal_again(&fewer).as_bytes());
    assert!(told(&report).contains("is next"), "{}", told(&report));
    // Blocks in another order.
    let mut moved = lines[..=seals[0]].to_vec();
    moved.extend_from_slice(&lines[seals[1] + 1..=seals[2]]);
    moved.extend_from_slice(&lines[seals[0] + 1..=seals[1]]);
    moved.extend_from_slice(&lines[seals[2] + 1..]);
    assert!(!check(seal_again(&moved).as_bytes()).verified);
}

#[tokio::test]
async fn the_chain_has_the_last_word() {
    let street = past().await;
    let folder = tempfile::tempdir().expect("a folder");
    let wallet = Wallet::from_secret(&[9; 32]).expect("a key");
    let ether = U256::from(10_u128.pow(18));
    let chain = EmbeddedChain::open(EmbeddedConfig {
        dir: folder.path().to_owned(),
        chain_id: 31_337,
        fund: vec![(wallet.address(), ether)],
        now_unix_s: Arc::new(|| 1_453_000_000),
    })
    .expect("an empty chain");
    let cap = 10_u128.pow(24);
    let plan = DeployPlan {
        deployer: wallet.address(),
        first_nonce: 0,
        params: DeployParams {
            operator: wallet.address(),
            community: community_hash(community().as_str()),
            epoch_reward_cap: cap,
            total_reward_cap: cap,
        },
    };
    let pause = Duration::from_millis(1);
    let deployment = plan.run(&chain, &wallet, 10, pause).await.expect("deployed");

    let text = bundle(&street, 1, SLOTS).await;
    let report = check(text.as_bytes());
    let [first, second] = &report.epochs[..] else { panic!("two epochs") };
    let submit = async |header: &chain::EpochHeader| {
        let call = deployment.submit(header);
        let gas = chain.estimate_gas(call.clone().from(wallet.address())).await.expect("accepted");
        let nonce = chain.nonce(wallet.address()).await.expect("known");
        let fees = chain.fees().await.expect("known");
        let signed = wallet.sign(&TxRequest::new(31_337, nonce, fees, gas * 2, &call));
        chain.send_raw(signed.raw).await.expect("taken");
    };
    submit(&first.1).await;

    // The second epoch is not there yet.
    let mut before = report.clone();
    compare_with_chain(&mut before, &chain, deployment.anchor).await.expect("answers");
    assert!(!before.verified);
    assert_eq!(before.counts.epochs_on_chain, 1);
    assert_eq!(before.findings[0].line, second.0);

    submit(&second.1).await;
    let mut after = report.clone();
    compare_with_chain(&mut after, &chain, deployment.anchor).await.expect("answers");
    assert!(after.verified, "{}", told(&after));
    assert_eq!(after.counts.epochs_on_chain, 2);

    // A consistent lie about the past is still not what was anchored.
    let mut lie = report;
    lie.epochs[0].1.log_root = keccak256("another log");
    compare_with_chain(&mut lie, &chain, deployment.anchor).await.expect("answers");
    assert!(!lie.verified);
    assert!(told(&lie).contains("log root"), "{}", told(&lie));
}

#[tokio::test]
async fn the_commands_export_and_verify_a_day() {
    let street = past().await;
    config(&street);
    let folder = street.folder.path();
    let run = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_controller"))
            .args(arguments)
            .current_dir(folder)
            .output()
            .expect("started");
        let text = String::from_utf8([output.stdout, output.stderr].concat()).expect("text");
        (output.status.success(), text)
    };
    let from = slot(1).to_string();
    let to = slot(SLOTS).to_string();
    let export = ["export", "--config", "controller.toml", "--from", &from, "--to", &to];
    let (done, text) = run(&[&export[..], &["--out", "day.jsonl"]].concat());
    assert!(done, "{text}");
    let (done, text) = run(&[&export[..], &["--out", "day.jsonl"]].concat());
    assert!(!done && text.contains("day.jsonl"), "nothing is overwritten: {text}");
    let (done, text) =
        run(&["export", "--config", "controller.toml", "--from", "0", "--to", "1", "--out", "x"]);
    assert!(!done && text.contains("not all settled"), "{text}");

    let (verified, text) = run(&["verify", "day.jsonl"]);
    assert!(verified && text.contains("VERIFIED"), "{text}");
    let (verified, text) = run(&["verify", "day.jsonl", "--json"]);
    let report: Value = serde_json::from_str(&text).expect("JSON");
    assert!(verified && report["verified"] == true);

    let path = folder.join("day.jsonl");
    let changed = std::fs::read_to_string(&path).expect("written");
    std::fs::write(&path, changed.replacen("\"amount\":", "\"amount\":1", 1)).expect("written");
    let (verified, text) = run(&["verify", "day.jsonl"]);
    assert!(!verified && text.contains("NOT VERIFIED"), "{text}");
    assert!(text.contains("statement of H0"), "{text}");
}
