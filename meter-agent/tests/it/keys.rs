//! A household's key: made, kept, brought back, handed over and revoked, and whatever moment the power
//! fails at, there is one that counts.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use meter_agent::core::{Input, KeyHistory, Level, audit_signatures};
use meter_agent::key_file::{self, KeyError, KeyFiles};
use meter_agent::key_request::KeyRequest;
use protocol::{
    B256, Domain, Down, HouseholdKey, KeyChange, KeyRecord, KeyRevocation, Live, Order, Signed,
    SignedKeyChange, Up,
};
use serde_json::Value;
use units::CommunityId;

use crate::support::operator::{domain, point};
use crate::support::world::{FIRST, World, key};

const DAY_MS: i64 = 86_400_000;

fn seeded(seed: u8) -> HouseholdKey {
    HouseholdKey::from_bytes(&[seed; 32])
}

fn public(key: &HouseholdKey) -> B256 {
    B256::from(key.public().to_bytes())
}

fn rotate(world: &mut World, seed: u8) {
    world.step(Input::Rotate { key: Arc::new(seeded(seed)), overlap_ms: 7 * DAY_MS });
}

/// The changes that were published, in order.
fn changes(world: &World) -> Vec<SignedKeyChange> {
    let sent = world.published.iter().filter(|(kind, _)| *kind == Up::KeyChange);
    sent.map(|(_, payload)| SignedKeyChange::parse(payload).expect("well-formed")).collect()
}

/// What the operator says of the keys.
fn hear_record(world: &mut World, number: u32, change: B256, revoked: &[B256]) {
    let record = KeyRecord {
        point: point().to_string(),
        epoch: 1,
        number,
        change,
        key: B256::ZERO,
        revoked: revoked.to_vec(),
        time_ms: world.now_ms,
    };
    let payload = world.operator.sign(record).to_json();
    world.hear(Down::KeyRecord, payload);
}

/// Whether the newest message of a kind is signed by a key.
fn signed_by<T: protocol::Message>(world: &World, kind: Up, key: &HouseholdKey) -> bool {
    let newest = world.published.iter().rfind(|(published, _)| *published == kind);
    let signed = Signed::<T>::parse(&newest.expect("sent").1).expect("well-formed");
    signed.verify_household(&domain(), &key.public()).is_ok()
}

#[test]
fn readings_go_on_under_the_new_key_and_wait_until_it_is_on_record() {
    let mut world = World::new();
    world.honest_run(3);
    let before = world.readings().len() as u64;
    rotate(&mut world, 77);
    let change = changes(&world).pop().expect("told at once");
    assert_eq!((change.body.from_seq, change.body.number), (before + 1, 1));
    assert_eq!(change.body.head, domain().digest(world.readings().last().expect("some")));
    assert!(change.verify(&domain(), &key().public()).is_ok(), "signed by both");
    let saved = world.saved.clone().expect("written down before it was said").into_content();
    assert_eq!(saved.keys.current(), Some(public(&seeded(77))));

    // The next reading is the new key's, and waits; all else is still the old one's.
    world.sent.clear();
    world.edge(FIRST.offset(3), 100, 0);
    let newest = world.journal.last().expect("read").reading.clone();
    assert!(newest.verify_household(&domain(), &seeded(77).public()).is_ok());
    assert_eq!(world.sent, [0_u64; 0], "nobody could believe it yet");
    world.poll(1_000_000);
    assert!(signed_by::<Live>(&world, Up::Live, &key()));
    rotate(&mut world, 78);
    assert_eq!(changes(&world).len(), 1, "one after the other");

    // Until the operator answers it is said again; and after a restart.
    world.step(Input::Overdue);
    world.restart();
    world.step(Input::Connected);
    assert_eq!(changes(&world).len(), 3);
    assert!(changes(&world).iter().all(|said| *said == change), "always the same");
    hear_record(&mut world, 1, change.digest(&domain()), &[]);
    assert_eq!(world.sent, [before + 1]);
    world.poll(2_000_000);
    assert!(signed_by::<Live>(&world, Up::Live, &seeded(77)));
    world.receive();
    assert!(!world.awaits, "nothing is open");
    let history = world.core.key_history().clone();
    let signed: Vec<_> = world.journal.iter().map(|entry| entry.reading.clone()).collect();
    let held = audit_signatures(&history, public(&seeded(77)), &domain(), &signed);
    assert_eq!(held, Ok(before + 1));
    let wrong = audit_signatures(&KeyHistory::default(), public(&key()), &domain(), &signed);
    assert_eq!(wrong, Err((before + 1, public(&key()))));
    assert!(!world.core.is_former_key_spent(world.now_ms));
    assert!(world.core.is_former_key_spent(world.now_ms + 8 * DAY_MS));

    // An operator that lost the change gets it again, and the next may follow.
    hear_record(&mut world, 0, B256::ZERO, &[]);
    world.step(Input::Overdue);
    assert_eq!(changes(&world).len(), 4);
    hear_record(&mut world, 1, change.digest(&domain()), &[]);
    rotate(&mut world, 78);
    assert_eq!(changes(&world).last().map(|change| change.body.number), Some(2));
    assert_eq!(world.evidence.len(), 0);
}

#[test]
fn a_former_key_is_revoked_by_itself_and_said_until_it_is_on_record() {
    let mut world = World::new();
    world.honest_run(2);
    rotate(&mut world, 77);
    let change = changes(&world).pop().expect("told");
    hear_record(&mut world, 1, change.digest(&domain()), &[]);
    let revoke = Input::RevokeKey { key: public(&key()), reason: "stolen".into() };
    world.step(revoke.clone());
    assert!(signed_by::<KeyRevocation>(&world, Up::KeyRevocation, &key()));
    let said = |world: &World| {
        world.published.iter().filter(|(kind, _)| *kind == Up::KeyRevocation).count()
    };
    world.restart();
    world.step(Input::Connected);
    assert_eq!(said(&world), 2);
    hear_record(&mut world, 1, change.digest(&domain()), &[public(&key())]);
    world.step(Input::Overdue);
    world.step(revoke);
    assert_eq!(said(&world), 2, "on record");
    // What is not at hand cannot be revoked here.
    world.step(Input::RevokeKey { key: public(&seeded(77)), reason: String::new() });
    assert!(world.reports.last().is_some_and(|(level, _)| *level == Level::Error));
    assert_eq!(said(&world), 2);
    // The operator can do it, and the household is told.
    let both = [public(&key()), public(&seeded(77))];
    hear_record(&mut world, 1, change.digest(&domain()), &both);
    let told = "the operator has revoked this household's key";
    assert!(world.reports.iter().any(|(_, text)| text.contains(told)), "{:?}", world.reports);
}

#[test]
fn a_change_that_was_not_made_here_is_kept_as_evidence() {
    let mut world = World::new();
    world.honest_run(2);
    for _ in 0..3 {
        hear_record(&mut world, 1, B256::repeat_byte(9), &[]);
    }
    assert_eq!(world.evidence.len(), 1, "said again, kept once");
    assert!(world.evidence[0].reason.contains("was not made here"));
    // Nothing that anybody but the operator says counts.
    let record = Signed::by_household(
        KeyRevocation {
            point: point().to_string(),
            epoch: 1,
            key: public(&key()),
            reason: String::new(),
            time_ms: 0,
        },
        &domain(),
        &seeded(5),
    );
    world.hear(Down::KeyRecord, record.to_json());
    assert_eq!(world.core.status().refused, 1);
    assert_eq!(world.core.key_history(), &KeyHistory::default());
    let order = world.offer(FIRST.offset(9)).map(|order: Order| order.slot);
    assert_eq!(order.is_some(), world.orders().iter().any(|o| Some(o.slot) == order));
}

/// The change of the key in `files` to the next, as the state has it.
fn history(files: &KeyFiles) -> KeyHistory {
    let domain = Domain::new(CommunityId::new("street").expect("valid"));
    let (old, new) = (
        key_file::load(files.main()).expect("there"),
        key_file::load(&files.next()).expect("there"),
    );
    let body = KeyChange {
        point: "C001".into(),
        epoch: 1,
        number: 1,
        old_key: public(&old),
        new_key: public(&new),
        from_seq: 1,
        head: B256::ZERO,
        until_ms: 0,
        time_ms: 0,
    };
    let changes = vec![SignedKeyChange::by_both(body, &domain, &old, &new)];
    KeyHistory { changes, ..KeyHistory::default() }
}

/// What a step leaves on the disk.
type Leaves<'a> = &'a dyn Fn(&KeyFiles);

#[test]
fn at_every_step_of_an_exchange_of_files_there_is_the_key_that_the_state_names() {
    let beside = |files: &KeyFiles, end: &str| format!("{}{end}", files.main().display());
    // What each step leaves on the disk; the state is written in the second.
    let steps: [(&str, Leaves<'_>); 6] = [
        ("nothing", &|_| {}),
        ("the next key is made", &|_| {}),
        ("a part of the copy is written", &|files| {
            key_file::write_new(Path::new(&beside(files, ".part")), "12").expect("written");
        }),
        ("the copy is written", &|files| {
            std::fs::copy(files.main(), beside(files, ".part")).expect("copied");
        }),
        ("the copy has its name", &|files| {
            std::fs::rename(beside(files, ".part"), files.former()).expect("renamed");
        }),
        ("the next key is in its place", &|files| {
            std::fs::rename(files.next(), files.main()).expect("renamed");
        }),
    ];
    for cut in 0..steps.len() {
        for saved in [false, true] {
            if saved && cut == 0 || !saved && cut > 1 {
                // The state is written after the next key and before everything else.
                continue;
            }
            let folder = tempfile::tempdir().expect("a folder");
            let files = KeyFiles::at(folder.path().join("household.key"));
            let old = key_file::create(files.main()).expect("made");
            let name = steps[cut].0;
            let mut state = KeyHistory::default();
            let mut new = None;
            if cut > 0 {
                new = Some(files.prepare().expect("made"));
                state = history(&files);
            }
            steps[..=cut].iter().for_each(|(_, step)| step(&files));
            let state = if saved { state } else { KeyHistory::default() };
            // The power is back, as often as it likes.
            for _ in 0..2 {
                let (keys, made) = files.open(&state, false).expect(name);
                assert!(!made);
                let wanted = new.as_ref().filter(|_| saved).unwrap_or(&old);
                assert_eq!(keys.current.public_hex(), wanted.public_hex(), "{name}, {saved}");
                let former = keys.former.map(|former| former.public_hex());
                assert_eq!(former, saved.then(|| old.public_hex()), "{name}");
            }
            if !saved {
                // Nobody has heard of the next key: the exchange goes on with the same.
                let again = files.prepare().expect("there").public_hex();
                assert_eq!(new.map_or(again.clone(), |new| new.public_hex()), again, "{name}");
            } else {
                assert!(!files.next().exists(), "{name}: done");
                assert_eq!(files.forget_former().map_err(|e| e.to_string()), Ok(true));
            }
        }
    }
}

#[test]
fn a_key_is_made_once_and_never_in_the_place_of_one_that_has_signed() {
    let folder = tempfile::tempdir().expect("a folder");
    let files = KeyFiles::at(folder.path().join("household.key"));
    let fresh = KeyHistory::default();
    assert!(matches!(files.open(&fresh, false), Err(KeyError::Missing { .. })));
    let (keys, made) = files.open(&fresh, true).expect("made");
    assert!(made);
    let (again, made) = files.open(&fresh, true).expect("there");
    assert_eq!((again.current.public_hex(), made), (keys.current.public_hex(), false));
    files.prepare().expect("made");
    let state = history(&files);
    std::fs::remove_file(files.next()).expect("removed");
    let other = files.open(&state, true).expect_err("the key that signs is not there").to_string();
    assert!(other.contains("bring that one back"), "{other}");
}

fn program(arguments: &[&str]) -> (Option<i32>, String, String) {
    let program = env!("CARGO_BIN_EXE_meter-agent");
    let output = Command::new(program).args(arguments).output().expect("runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn a_copy_brings_the_key_back_and_is_checked() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (code, _, error) = program(&["init", "--dir", &path("home")]);
    assert_eq!(code, Some(0), "{error}");
    let config = path("home/agent.toml");
    let run = |arguments: &[&str]| {
        program(&[&["key"], arguments, &["--config", &config, "--json"]].concat())
    };
    let (_, shown, _) = run(&["show"]);
    let shown: Value = serde_json::from_str(&shown).expect("JSON");
    let (code, ..) = run(&["export", "--out", &path("copy.txt")]);
    assert_eq!(code, Some(0));
    let (code, _, error) = run(&["export", "--out", &path("copy.txt")]);
    assert!(code == Some(3) && error.contains("never overwritten"), "{error}");
    let (_, printed, _) = program(&["key", "export", "--config", &config, "--print"]);
    assert_eq!(printed, std::fs::read_to_string(path("copy.txt")).expect("there"));
    let (code, _, error) = run(&["import", "--in", &path("copy.txt")]);
    assert!(code == Some(3) && error.contains("never overwritten"), "{error}");
    let key_file = shown["file"].as_str().expect("told").to_owned();
    std::fs::remove_file(&key_file).expect("lost");
    std::fs::write(path("wrong.txt"), printed.replacen("secret2  ", "secret2  0", 1))
        .expect("written");
    let (code, _, error) = run(&["import", "--in", &path("wrong.txt")]);
    assert!(code == Some(3) && error.contains("secret2"), "{error}");
    assert!(!Path::new(&key_file).exists());
    let (code, ..) = run(&["import", "--in", &path("copy.txt")]);
    assert_eq!(code, Some(0));
    let (_, again, _) = run(&["show"]);
    assert_eq!(serde_json::from_str::<Value>(&again).expect("JSON"), shown);
    let others = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    std::fs::set_permissions(&key_file, others).expect("set");
    let (code, _, error) = run(&["show"]);
    assert!(code == Some(3) && error.contains("chmod 600"), "{error}");
}

#[test]
fn a_wish_waits_for_the_agent_and_is_not_left_twice() {
    let folder = tempfile::tempdir().expect("a folder");
    let wish = KeyRequest { key: public(&key()), rotate: Some(60), revoke: None };
    wish.leave(folder.path()).expect("left");
    assert!(KeyRequest::is_waiting(folder.path()));
    let again = wish.leave(folder.path()).expect_err("one waits");
    assert_eq!(again.kind(), std::io::ErrorKind::AlreadyExists);
}
