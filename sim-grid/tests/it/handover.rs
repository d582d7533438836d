//! A household hands over its key while its agent is killed after each single thing that it does, and
//! while messages are lost: the real desk gets every reading, knows one change and no other, and there
//! is never a moment at which nobody's key counts.

use std::collections::VecDeque;
use std::sync::Arc;

use meter_agent::core::{
    Core, Count, Effect, Entry, HAND_SLACK_MS, Input, Recovered, Registers, Settings, State,
    audit_signatures,
};
use meter_agent::device::Observed;
use meter_agent::key_file::{self, KeyFiles};
use meter_agent::key_request::KeyRequest;
use protocol::{B256, ClockStatus, Domain, Down, KeyRecord, Receipt, Signed, Topic, Up};
use tempfile::TempDir;
use units::Slot;

use crate::both_sides::{CONNECTION_W, Home, START, Street, community, operator, upwards};

const DAY_MS: i64 = 86_400_000;
/// Slots that are metered, and before which of them the owner wants another key.
const SLOTS: i64 = 7;
const ROTATES_BEFORE: i64 = 3;

/// The agent was killed.
#[derive(Debug)]
struct Killed;

/// An agent whose disk and wires belong to the test: what is durable stays, the rest goes with it.
struct Agent {
    folder: TempDir,
    files: KeyFiles,
    journal: Vec<Entry>,
    state: Option<State>,
    core: Option<Core>,
    /// Things that it does before it is killed.
    left: usize,
    heard: VecDeque<(Topic, Vec<u8>)>,
    home: Home,
    /// Every how-many-eth message is lost on its way; 0 = none.
    loses: usize,
    messages: usize,
    /// Things done so far.
    done: usize,
}

impl Agent {
    fn new(left: usize, loses: usize) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let files = KeyFiles::at(folder.path().join("household.key"));
        let mut home = Home::new(1);
        home.key = key_file::create(files.main()).expect("made");
        Self {
            folder,
            files,
            journal: Vec::new(),
            state: None,
            core: None,
            left,
            heard: VecDeque::new(),
            home,
            loses,
            messages: 0,
            done: 0,
        }
    }

    /// Starts, or starts again, from what is durable.
    fn open(&mut self, now_ms: i64) {
        let history = self.state.as_ref().map(|state| state.content().keys.clone());
        let opened = self.files.open(&history.unwrap_or_default(), false);
        let (keys, _) = opened.expect("there is always a key that counts");
        let settings = Settings {
            domain: Domain::new(community()),
            point: self.home.point.clone(),
            epoch: 1,
            operator: operator().address(),
            keys,
            steering: None,
            bidding: None,
            connection_w: CONNECTION_W,
            grace_ms: 60_000,
            order_lead_ms: 1_000,
            slack_ms: HAND_SLACK_MS,
            allow_resetting: false,
            max_waiting: 90 * 96,
            burst: meter_agent::core::BURST,
            clock: ClockStatus::Synchronised,
        };
        let recovered =
            Recovered { entries: self.journal.clone(), state: self.state.clone(), cut_bytes: 0 };
        self.core = Some(Core::new(settings, recovered, now_ms));
    }

    /// One thing is done, if the agent still lives.
    fn act(&mut self) -> Result<(), Killed> {
        self.done += 1;
        match self.left.checked_sub(1) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => {
                self.left = usize::MAX;
                self.core = None;
                self.heard.clear();
                Err(Killed)
            }
        }
    }

    fn is_lost(&mut self) -> bool {
        self.messages += 1;
        self.loses > 0 && self.messages.is_multiple_of(self.loses)
    }

    fn say(&mut self, kind: Up, payload: Vec<u8>, street: &mut Street) {
        if self.is_lost() {
            return;
        }
        for sent in street.step(vec![upwards(&self.home.point, kind, payload)]) {
            if !self.is_lost() {
                self.heard.push_back((sent.topic, sent.payload));
            }
        }
    }

    fn step(&mut self, input: Input, street: &mut Street) -> Result<(), Killed> {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            let core = self.core.as_mut().expect("it lives");
            for effect in core.step(street.now_ms, input) {
                self.act()?;
                match effect {
                    Effect::Append(entry) => self.journal.push(*entry),
                    Effect::SaveState => {
                        self.state = Some(self.core.as_ref().expect("it lives").state());
                    }
                    Effect::SendReadings(first, last) => {
                        let sent = self.journal.iter().map(|entry| entry.reading.clone());
                        let sent = sent.filter(|one| (first..=last).contains(&one.body.seq));
                        for reading in sent.collect::<Vec<_>>() {
                            self.say(Up::Reading, reading.to_json(), street);
                        }
                    }
                    Effect::Publish(kind, payload) => self.say(kind, payload, street),
                    _ => {}
                }
            }
            let heard = std::mem::take(&mut self.heard);
            inputs.extend(heard.into_iter().map(|(topic, payload)| Input::Message(topic, payload)));
        }
        Ok(())
    }

    /// What the agent does about its owner's wish, thing by thing.
    fn serve_request(&mut self, street: &mut Street) -> Result<(), Killed> {
        let path = self.folder.path().join("key-request.json");
        let Ok(text) = std::fs::read(&path) else { return Ok(()) };
        let request: KeyRequest = serde_json::from_slice(&text).expect("whole");
        let core = self.core.as_ref().expect("it lives");
        if request.key == core.present_key() {
            self.act()?;
            let new = Arc::new(self.files.prepare().expect("made"));
            self.act()?;
            self.step(Input::Rotate { key: new, overlap_ms: 7 * DAY_MS }, street)?;
            self.act()?;
            self.files.promote().expect("renamed");
        }
        self.act()?;
        std::fs::remove_file(path).expect("removed");
        Ok(())
    }

    /// The owner asks for another key.
    fn ask(&self) {
        let key = B256::from(self.home.key.public().to_bytes());
        let wish = KeyRequest { key, rotate: Some(7 * 86_400), revoke: None };
        wish.leave(self.folder.path()).expect("left");
    }
}

fn registers(now_ms: i64, wh: i64) -> Registers {
    let count = |wh: i64| Observed::Value(Count::plain(wh * 1_000));
    Registers::plain(now_ms, count(10_000 + wh), count(5_000))
}

/// Runs the slots, killing the agent once; how many things it did, and what is to be checked.
fn run(left: usize, loses: usize) -> (usize, Agent, Street) {
    let mut agent = Agent::new(left, loses);
    let mut street = Street::open(&[&agent.home]);
    for number in 0..SLOTS {
        let slot = START.offset(number);
        if number == ROTATES_BEFORE {
            agent.ask();
        }
        street.now_ms = slot.end_ms();
        // As often as it is killed, it starts again.
        let mut tries = 0;
        while day(&mut agent, &mut street, slot, number).is_err() {
            tries += 1;
            assert!(tries < 3, "it is killed once");
        }
    }
    // Whatever was lost is said again.
    for _ in 0..24 {
        let input = match agent.core {
            Some(_) => Input::Overdue,
            None => {
                agent.open(street.now_ms);
                Input::Connected
            }
        };
        let _ = agent.step(input, &mut street);
    }
    (agent.done, agent, street)
}

/// What happens around a slot's end; after a death all of it again.
fn day(agent: &mut Agent, street: &mut Street, slot: Slot, number: i64) -> Result<(), Killed> {
    if agent.core.is_none() {
        agent.open(street.now_ms);
        agent.step(Input::Connected, street)?;
    }
    agent.serve_request(street)?;
    agent.step(Input::Tick, street)?;
    let due = agent.core.as_ref().expect("it lives").due_edge(street.now_ms);
    if due == Some(slot) {
        let shown = registers(street.now_ms, number * 100);
        agent.step(Input::Edge(slot, shown), street)?;
    }
    agent.step(Input::Overdue, street)
}

fn newest<T: protocol::Message>(street: &Street, agent: &Agent, kind: Down) -> T {
    let topic = Topic::Down(agent.home.point.clone(), kind);
    let sent = street.sent.iter().rfind(|sent| sent.topic == topic).expect("told");
    Signed::<T>::parse(&sent.payload).expect("own message").body
}

#[test]
fn killed_after_each_thing_that_it_does_nothing_is_lost_and_one_key_follows_the_other() {
    for loses in [0, 3, 5] {
        let (things, ..) = run(usize::MAX, loses);
        assert!(things > 40, "{things}");
        for left in 0..things {
            let what = format!("killed after {left} of {things} things, every {loses}th lost");
            let (_, agent, street) = run(left, loses);
            let readings = agent.journal.len() as u64;
            assert_eq!(readings, SLOTS.unsigned_abs(), "{what}");
            let receipt: Receipt = newest(&street, &agent, Down::Receipt);
            assert_eq!(receipt.seq, readings, "{what}: the desk has every reading");
            let record: KeyRecord = newest(&street, &agent, Down::KeyRecord);
            let state = agent.state.as_ref().expect("saved").content().keys.clone();
            assert_eq!(record.number, 1, "{what}: one change");
            assert_eq!(Some(record.key), state.current(), "{what}");
            assert!(state.is_on_record(), "{what}");
            let signs = key_file::load(agent.files.main()).expect("there").public().to_bytes();
            assert_eq!(record.key.0, signs, "{what}: the file, too");
            let domain = Domain::new(community());
            let signed = agent.journal.iter().map(|entry| &entry.reading);
            let held = audit_signatures(&state, record.key, &domain, signed);
            assert_eq!(held, Ok(readings), "{what}");
        }
    }
}
