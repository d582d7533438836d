//! Keys on the record: handed over, revoked, exported and verified; and whatever is forged is named.

use controller::bundle::{Trust, verify};
use controller::desk::{Desk, Input};
use protocol::{
    B256, Down, HouseholdKey, KeyChange, KeyRecord, KeyRevocation, Refusal, Signed,
    SignedKeyChange, Up,
};
use units::Slot;

use crate::bundle::{find, lines, seal_again};
use crate::desk::{pass, read_all, with_baseline};
use crate::record::{bundle, config};
use crate::street::{START, Street, domain, message, operator, setup};

const DAY_MS: i64 = 86_400_000;

fn key(seed: u8) -> HouseholdKey {
    HouseholdKey::from_bytes(&[seed; 32])
}

fn public(key: &HouseholdKey) -> B256 {
    B256::from(key.public().to_bytes())
}

/// The change of a home's key before its next reading, to the key of a seed.
fn change(street: &Street, home: usize, number: u32, seed: u8) -> SignedKeyChange {
    let home = &street.homes[home];
    let new = key(seed);
    let body = KeyChange {
        point: home.point.to_string(),
        epoch: 1,
        number,
        old_key: public(&home.key),
        new_key: public(&new),
        from_seq: home.seq + 1,
        head: home.head,
        until_ms: street.now_ms + 7 * DAY_MS,
        time_ms: street.now_ms,
    };
    SignedKeyChange::by_both(body, &domain(), &home.key, &new)
}

fn sent(street: &Street, home: usize, change: &SignedKeyChange) -> Input {
    message(&street.homes[home].point, Up::KeyChange, change.to_json())
}

fn record(street: &Street, home: usize) -> KeyRecord {
    let records: Vec<Signed<KeyRecord>> = street.down(home, Down::KeyRecord).collect();
    let newest = records.last().expect("told").clone();
    newest.verify_operator(&domain(), operator().address()).expect("signed").body().clone()
}

fn last_refusal(street: &Street, home: usize) -> String {
    let refusals: Vec<Signed<Refusal>> = street.down(home, Down::Refusal).collect();
    refusals.last().expect("refused").body.reason.clone()
}

async fn meter(street: &mut Street, slot: Slot) {
    pass(street, slot).await;
    let readings = read_all(street, slot);
    street.step(readings).await;
}

fn revocation(home: &str, key: B256, time_ms: i64) -> KeyRevocation {
    KeyRevocation { point: home.to_owned(), epoch: 1, key, reason: "lost".into(), time_ms }
}

#[tokio::test]
async fn a_key_is_handed_over_between_two_readings_and_both_count_for_a_while() {
    let mut street = with_baseline().await;
    meter(&mut street, START.offset(1)).await;
    let handed = change(&street, 0, 1, 77);
    let again = sent(&street, 0, &handed);
    street.step(vec![sent(&street, 0, &handed), again]).await;
    let told = record(&street, 0);
    assert_eq!((told.number, told.key), (1, public(&key(77))));
    assert_eq!(told.change, handed.digest(&domain()));
    assert_eq!(street.count("SELECT COUNT(*) FROM key_change").await, 1, "said twice, kept once");

    // The old key still orders, the new one reads; the crash in between changes nothing.
    street.restart().await;
    pass(&mut street, START.offset(2)).await;
    street.homes[0].key = key(77);
    let readings = read_all(&mut street, START.offset(2));
    street.step(readings).await;
    assert!(street.delivery(0, START.offset(2)).is_some(), "settled");
    meter(&mut street, START.offset(3)).await;

    // The newest key may take its place in the configuration; a stranger's may not.
    street.homes[0].enrolled = key(77);
    street.restart().await;
    meter(&mut street, START.offset(4)).await;
    let text = bundle(&street, 1, 4).await;
    let report = verify(text.as_bytes(), &Trust::default()).expect("readable");
    assert_eq!(report.findings, [], "{:?}", report.remarks);
    assert!(report.remarks.iter().any(|remark| remark.contains("has another key from reading 3")));
    street.homes[0].enrolled = key(99);
    let saved = street.store.load().await.expect("readable");
    let setup = setup(&street.homes, &street.grid, &street.market);
    let fault = Desk::restore(setup, saved, street.now_ms).err().expect("contradicts");
    assert!(fault.to_string().contains("the key that it was enrolled with"), "{fault}");
}

#[tokio::test]
async fn after_the_overlap_the_old_key_counts_no_more_but_its_readings_still_do() {
    let mut street = with_baseline().await;
    // A reading of the old key that is on its way for long.
    let late = street.homes[0].reading(START.offset(1), 0, 450);
    let mut handed = change(&street, 0, 1, 77);
    handed.body.until_ms = street.now_ms;
    let handed = SignedKeyChange::by_both(handed.body, &domain(), &street.homes[0].key, &key(77));
    street.step(vec![sent(&street, 0, &handed)]).await;
    street.at(START.offset(1).end_ms() + 500).await;
    let order = street.homes[0].order(START.offset(3), "sell", 500, 15_000);
    street.step(vec![order]).await;
    assert!(last_refusal(&street, 0).starts_with("bad signature"));
    assert_eq!(record(&street, 0).number, 1, "and told which key counts");
    street.step(vec![late]).await;
    assert_eq!(street.receipts(0).last().map(|receipt| receipt.seq), Some(2), "vouched for");
    street.at(START.offset(2).end_ms() + 500).await;
    let forged = street.homes[0].reading(START.offset(2), 0, 450);
    street.step(vec![forged]).await;
    assert_eq!(street.receipts(0).last().map(|receipt| receipt.seq), Some(2), "not by the old key");
    street.homes[0].key = key(77);
    let reading = street.homes[0].next_reading(START.offset(2));
    let reading = protocol::Reading { seq: 3, prev: handed_head(&street), ..reading };
    let reading = street.homes[0].message(Up::Reading, reading);
    street.step(vec![reading]).await;
    assert_eq!(street.receipts(0).last().map(|receipt| receipt.seq), Some(3));
}

/// Digest of the newest reading that the desk has of home 0.
fn handed_head(street: &Street) -> B256 {
    street.receipts(0).last().expect("there is one").head
}

#[tokio::test]
async fn a_revoked_key_counts_for_nothing_more_whoever_revokes_it() {
    let mut street = with_baseline().await;
    let handed = change(&street, 0, 1, 77);
    let old = street.homes[0].key.public().to_bytes();
    street.step(vec![sent(&street, 0, &handed)]).await;
    let point = street.homes[0].point.to_string();
    // By itself, after it handed over.
    let body = revocation(&point, B256::from(old), street.now_ms);
    let revoked = street.homes[0].message(Up::KeyRevocation, body.clone());
    let again = street.homes[0].message(Up::KeyRevocation, body);
    street.at(street.now_ms + 10).await;
    street.step(vec![revoked, again]).await;
    assert_eq!(record(&street, 0).revoked, [B256::from(old)]);
    street.at(street.now_ms + 10).await;
    let order = street.homes[0].order(START.offset(3), "sell", 500, 15_000);
    street.step(vec![order]).await;
    assert!(last_refusal(&street, 0).starts_with("bad signature"));
    street.homes[0].key = key(77);
    meter(&mut street, START.offset(1)).await;
    assert!(street.delivery(0, START.offset(1)).is_some(), "the new key counts");

    // By the operator: nobody's key is left, and the slot is settled without the meter.
    let body = revocation(&point, public(&key(77)), street.now_ms);
    let signed = Signed::by_operator(body, &domain(), &operator());
    street.step(vec![Input::Revocation(Box::new(signed))]).await;
    street.restart().await;
    assert_eq!(street.count("SELECT COUNT(*) FROM key_revocation").await, 2);
    meter(&mut street, START.offset(2)).await;
    assert!(last_refusal(&street, 0).starts_with("bad signature"));
    street.at(START.offset(2).end_ms() + 3_600_000).await;
    let bill = street.delivery(0, START.offset(2)).expect("settled at the deadline");
    assert!(!bill.statement.measured);
    let text = bundle(&street, 1, 2).await;
    let report = verify(text.as_bytes(), &Trust::default()).expect("readable");
    assert_eq!(report.findings, []);
    assert!(report.remarks.iter().any(|remark| remark.contains("counts no more")));
}

#[tokio::test]
async fn a_change_that_does_not_fit_is_refused_and_changes_nothing() {
    let mut street = with_baseline().await;
    let good = change(&street, 0, 1, 77);
    let resigned = |edit: &dyn Fn(&mut KeyChange), new: u8| {
        let mut body = good.body.clone();
        edit(&mut body);
        SignedKeyChange::by_both(body, &domain(), &street.homes[0].key, &key(new))
    };
    let neighbour = street.homes[1].key.public().to_bytes();
    let cases = [
        ("already here", resigned(&|body| body.from_seq = 1, 77), "is here"),
        ("another past", resigned(&|body| body.head = B256::repeat_byte(1), 77), "is here"),
        (
            "a neighbour's key",
            resigned(&|body| body.new_key = B256::from(neighbour), 2),
            "is enrolled for H01",
        ),
        ("another home's", resigned(&|body| body.point = "H01".into(), 77), "the body names H01"),
        ("a gap", resigned(&|body| body.number = 2, 77), "where 1 is next"),
        ("not held", resigned(&|_| {}, 78), "bad signature"),
    ];
    for (name, change, expected) in cases {
        street.step(vec![sent(&street, 0, &change)]).await;
        let reason = last_refusal(&street, 0);
        assert!(reason.contains(expected), "{name}: {reason}");
    }
    let other = revocation("H00", public(&street.homes[0].key), street.now_ms);
    let forged = street.homes[1].message(Up::KeyRevocation, other);
    let Input::Message { payload, .. } = forged else { unreachable!("a message") };
    street.step(vec![message(&street.homes[0].point, Up::KeyRevocation, payload)]).await;
    assert!(last_refusal(&street, 0).starts_with("bad signature"));
    assert_eq!(street.count("SELECT COUNT(*) FROM key_change").await, 0);
    assert_eq!(street.count("SELECT COUNT(*) FROM key_revocation").await, 0);
    meter(&mut street, START.offset(1)).await;
    assert!(street.delivery(0, START.offset(1)).is_some(), "the old key still counts");
}

#[tokio::test]
async fn a_bundle_whose_keys_were_tampered_with_does_not_verify() {
    let mut street = with_baseline().await;
    meter(&mut street, START.offset(1)).await;
    let handed = change(&street, 0, 1, 77);
    street.step(vec![sent(&street, 0, &handed)]).await;
    let old = street.homes[0].key.public().to_bytes();
    let body = revocation("H00", B256::from(old), street.now_ms);
    let revoked = street.homes[0].message(Up::KeyRevocation, body);
    street.step(vec![revoked]).await;
    street.homes[0].key = key(77);
    meter(&mut street, START.offset(2)).await;
    meter(&mut street, START.offset(3)).await;
    let _ = config(&street);
    let text = bundle(&street, 1, 3).await;
    let all = lines(&text);
    let at = find(&all, "street", 0);
    let whole: serde_json::Value = serde_json::from_str(&all[at]).expect("a line");
    let member = |name: &str| format!("/members/0/{name}");
    let pointer = |name: &str| whole.pointer(&member(name)).expect("there").clone();
    let (changes, revocations) = (pointer("key_changes"), pointer("key_revocations"));
    assert_eq!(
        (changes.as_array().map(Vec::len), revocations.as_array().map(Vec::len)),
        (Some(1), Some(1))
    );
    let edited = |path: &str, value: serde_json::Value| {
        // Texts are exchanged, so that everything else keeps its one spelling.
        let name = path.rsplit('/').next().expect("a path");
        let before = format!("\"{name}\":{}", whole.pointer(path).expect("there"));
        let line = all[at].replacen(&before, &format!("\"{name}\":{value}"), 1);
        assert_ne!(line, all[at], "{path}");
        let mut forged = all.clone();
        forged[at] = line;
        verify(seal_again(&forged).as_bytes(), &Trust::default()).expect("readable")
    };
    let change = |name: &str| member(&format!("key_changes/0/change/body/{name}"));
    for (what, report) in [
        ("from_seq", edited(&change("from_seq"), 2.into())),
        ("head", edited(&change("head"), format!("0x{}", "11".repeat(32)).into())),
        ("until", edited(&change("until_ms"), (street.now_ms + 8 * DAY_MS).into())),
        (
            "old",
            edited(
                &change("old_key"),
                format!("0x{}", hex::encode(key(5).public().to_bytes())).into(),
            ),
        ),
        ("reason", edited(&member("key_revocations/0/revocation/body/reason"), "found".into())),
    ] {
        let named = report.findings.iter().any(|finding| format!("{finding:?}").contains("H00"));
        assert!(named, "{what}: {:?}", report.findings);
    }
    // Without the change nothing that the new key signed can be believed.
    let mut forged = all.clone();
    let part = format!(",\"key_changes\":{}", serde_json::to_string(&changes).expect("plain"));
    forged[at] = remove(&all[at], "key_changes");
    assert_ne!(forged[at], all[at], "{part}");
    let report = verify(seal_again(&forged).as_bytes(), &Trust::default()).expect("readable");
    assert!(!report.findings.is_empty());
}

/// A line without a list that it has once: `,"name":[…]`.
fn remove(line: &str, name: &str) -> String {
    let start = line.find(&format!(",\"{name}\":[")).expect("there");
    let mut depth = 0;
    let length = line[start..].char_indices().find_map(|(at, c)| {
        match c {
            '[' => depth += 1,
            ']' => depth -= 1,
            _ => return None,
        }
        (depth == 0).then_some(at + 1)
    });
    format!("{}{}", &line[..start], &line[start + length.expect("closed")..])
}
