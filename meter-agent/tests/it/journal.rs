//! The journal and the state on disk: whatever happens to the power, nothing that was said is lost
//! and nothing is said twice.

use std::collections::BTreeMap;
use std::path::Path;

use meter_agent::core::{Counter, Entry};
use meter_agent::journal::{Journal, JournalError};
use proptest::prelude::*;
use protocol::{B256, Reading, Signed};

use crate::support::operator::{domain, point};
use crate::support::world::key;

pub fn entry(seq: u64, prev: B256, import_wh: u64) -> Entry {
    let reading = Reading {
        point: point().to_string(),
        epoch: 1,
        seq,
        prev,
        slot: 1_000 + i64::try_from(seq).expect("small"),
        time_ms: 5,
        clock: "synchronised".into(),
        import_wh,
        export_wh: 0,
        produced_wh: Vec::new(),
        power_w: Vec::new(),
        quality: "measured".into(),
        resolution_mwh: vec![],
        device_offset_ms: vec![],
        samples: vec![],
        events: vec![],
    };
    let counter = Counter::starting(1, 3);
    Entry {
        stored_mwh: None,
        reading: Signed::by_household(reading, &domain(), &key()),
        counters: BTreeMap::from([("import".to_owned(), counter)]),
    }
}

/// A chain of entries, each linked to the one before.
fn chain(count: u64) -> Vec<Entry> {
    let mut prev = B256::ZERO;
    (1..=count)
        .map(|seq| {
            let entry = entry(seq, prev, seq * 10);
            prev = domain().digest(&entry.reading.body);
            entry
        })
        .collect()
}

fn open(folder: &Path) -> Result<(Journal, meter_agent::journal::Opened), JournalError> {
    Journal::open(folder, &domain(), 1)
}

fn file(folder: &Path) -> std::path::PathBuf {
    folder.join("readings-1.journal")
}

#[test]
fn what_is_appended_is_there_after_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let entries = chain(5);
    let (mut journal, _) = open(folder.path()).expect("new");
    for entry in &entries {
        journal.append(entry).expect("durable");
    }
    drop(journal);
    let (mut journal, opened) = open(folder.path()).expect("there");
    assert_eq!((opened.readings, opened.cut_bytes), (5, 0));
    assert_eq!(journal.newest(800).expect("readable"), entries);
    assert_eq!(journal.newest(2).expect("readable"), entries[3..]);
    assert_eq!(*journal.entry(3).expect("kept"), entries[2]);
    assert!(journal.entry(6).is_err() && journal.entry(0).is_err());
    // Out of turn, or beside the chain: refused before anything is written.
    for wrong in [entries[4].clone(), entry(6, B256::ZERO, 1), entry(7, B256::ZERO, 1)] {
        assert!(matches!(journal.append(&wrong), Err(JournalError::OutOfTurn { .. })));
    }
    journal.append(&chain(6)[5]).expect("the right one");
}

#[test]
fn a_torn_tail_is_cut_at_every_byte_and_the_chain_goes_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let entries = chain(4);
    let (mut journal, _) = open(folder.path()).expect("new");
    for entry in &entries[..3] {
        journal.append(entry).expect("durable");
    }
    drop(journal);
    let whole = std::fs::read(file(folder.path())).expect("there");
    let two = {
        let short = tempfile::tempdir().expect("a folder");
        let (mut journal, _) = open(short.path()).expect("new");
        entries[..2].iter().for_each(|entry| journal.append(entry).expect("durable"));
        std::fs::metadata(file(short.path())).expect("there").len()
    };
    let two = usize::try_from(two).expect("small");
    for cut in two..whole.len() {
        std::fs::write(file(folder.path()), &whole[..cut]).expect("written");
        let (mut journal, opened) = open(folder.path()).expect("usable");
        assert_eq!(opened.readings, 2, "cut at {cut}");
        assert_eq!(opened.cut_bytes, u64::try_from(cut - two).expect("small"));
        journal.append(&entries[2]).expect("the same number again, never published before");
        journal.append(&entries[3]).expect("durable");
        drop(journal);
        let (journal, opened) = open(folder.path()).expect("usable");
        assert_eq!((opened.readings, opened.cut_bytes), (4, 0), "cut at {cut}");
        assert_eq!(journal.newest(9).expect("readable"), entries);
    }
}

#[test]
fn a_tail_of_zeros_or_half_written_blocks_is_torn_too() {
    let folder = tempfile::tempdir().expect("a folder");
    let entries = chain(3);
    let (mut journal, _) = open(folder.path()).expect("new");
    entries[..2].iter().for_each(|entry| journal.append(entry).expect("durable"));
    drop(journal);
    let two = std::fs::read(file(folder.path())).expect("there");
    let (mut journal, _) = open(folder.path()).expect("there");
    journal.append(&entries[2]).expect("durable");
    drop(journal);
    let three = std::fs::read(file(folder.path())).expect("there");
    let third = &three[two.len()..];
    let mut late_block = third.to_vec();
    late_block[..third.len() / 2].fill(0);
    for tail in
        [vec![0; 4_096], late_block, [third, &[0; 512]].concat()[..third.len() - 3].to_vec()]
    {
        std::fs::write(file(folder.path()), [&two[..], &tail].concat()).expect("written");
        let (journal, opened) = open(folder.path()).expect("usable");
        assert_eq!(opened.readings, 2);
        assert_eq!(opened.cut_bytes, u64::try_from(tail.len()).expect("small"));
        assert_eq!(journal.last_seq(), 2);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// A flipped bit before the last record is damage: nothing is cut, nothing is invented.
    #[test]
    fn damage_in_the_middle_is_refused(position in 0.0..1.0_f64, bit in 0..8_u8) {
        let folder = tempfile::tempdir().expect("a folder");
        let (mut journal, _) = open(folder.path()).expect("new");
        let mut first_two = 0;
        for entry in chain(3) {
            first_two = std::fs::metadata(file(folder.path())).expect("there").len();
            journal.append(&entry).expect("durable");
        }
        drop(journal);
        let mut bytes = std::fs::read(file(folder.path())).expect("there");
        let at = (position * first_two as f64) as usize;
        bytes[at] ^= 1 << bit;
        std::fs::write(file(folder.path()), &bytes).expect("written");
        let error = open(folder.path()).expect_err("damaged");
        let is_damage = matches!(error, JournalError::Damaged { .. });
        prop_assert!(is_damage);
        prop_assert_eq!(std::fs::read(file(folder.path())).expect("there"), bytes);
    }
}

#[test]
fn old_released_records_make_room_and_the_rest_stays_linked() {
    let folder = tempfile::tempdir().expect("a folder");
    let count = 90 * 96 + 10 * 96 + 40;
    let entries = chain(count);
    // Written in one go: this test is about dropping, not about syncing.
    let (mut journal, _) = open(folder.path()).expect("new");
    journal.append(&entries[0]).expect("durable");
    drop(journal);
    let first = std::fs::read(file(folder.path())).expect("there");
    let mut all = first;
    for entry in &entries[1..] {
        let content = serde_json::to_vec(&serde_json::json!({ "entry": entry })).expect("plain");
        all.extend(u32::try_from(content.len()).expect("small").to_le_bytes());
        all.extend(crc32(&content).to_le_bytes());
        all.extend(content);
    }
    std::fs::write(file(folder.path()), &all).expect("written");

    let (mut journal, opened) = open(folder.path()).expect("there");
    assert_eq!(opened.readings, count);
    journal.release(5, 90 * 96).expect("nothing to do");
    assert!(journal.entry(1).is_ok(), "unreleased records stay");
    journal.release(count - 3, 90 * 96).expect("dropped");
    let kept_from = count - 90 * 96 + 1;
    assert!(journal.entry(kept_from - 1).is_err());
    assert_eq!(
        *journal.entry(kept_from).expect("kept"),
        entries[usize::try_from(kept_from - 1).expect("small")]
    );
    let next = entry(count + 1, domain().digest(&entries.last().expect("some").reading.body), 1);
    journal.append(&next).expect("durable");
    drop(journal);
    let (journal, opened) = open(folder.path()).expect("there");
    assert_eq!(opened.readings, 90 * 96 + 1);
    assert_eq!(journal.last_seq(), count + 1);
    assert_eq!(*journal.entry(count + 1).expect("kept"), next);
    assert!(std::fs::metadata(file(folder.path())).expect("there").len() < all.len() as u64);
}

/// CRC-32, bit by bit: another way to the same number than the agent's table.
fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for &byte in bytes {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 };
        }
    }
    !crc
}

#[test]
fn a_journal_of_an_older_agent_is_named_as_such() {
    let folder = tempfile::tempdir().expect("a folder");
    let (mut journal, _) = open(folder.path()).expect("new");
    journal.append(&entry(1, B256::ZERO, 10)).expect("durable");
    drop(journal);
    // The same record without what readings tell now, in its frame of length and check sum.
    let bytes = std::fs::read(file(folder.path())).expect("there");
    let mut line: serde_json::Value = serde_json::from_slice(&bytes[8..]).expect("JSON");
    let body = line.pointer_mut("/entry/reading/body").and_then(|body| body.as_object_mut());
    body.expect("a reading").remove("events");
    let content = line.to_string().into_bytes();
    let mut older = u32::try_from(content.len()).expect("short").to_le_bytes().to_vec();
    older.extend(crc32(&content).to_le_bytes());
    older.extend(&content);
    std::fs::write(file(folder.path()), &older).expect("written");
    let error = open(folder.path()).expect_err("older");
    assert!(matches!(error, JournalError::Outdated { .. }), "{error}");
    assert!(error.to_string().contains("raise epoch"), "{error}");
    assert_eq!(std::fs::read(file(folder.path())).expect("there"), older, "left as it was");
}
