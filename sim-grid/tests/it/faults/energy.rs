//! What a faulty meter costs: real agents read, sign and journal for ten quarter-hours, each at a
//! house where something else goes wrong in the middle. Nobody ever books more than flowed, and where
//! the counter survives, all of it in the end.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clock::{Clock, ClockConfig};
use meter_agent::journal::Journal;
use meter_agent::{Agent, AgentError, Config, Status};
use protocol::Domain;
use sim_grid::faces::{Face, FaceKind, UnitRole};
use sim_grid::faults::{Fault, FaultPlan, Newcomer, Spell};
use sim_grid::scenario::parse_slot;
use sim_grid::street::{Street, StreetOptions};
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use units::{CommunityId, Slot};

use crate::world::shipped;

/// Times real time: a quarter-hour in three seconds.
const SPEED: f64 = 300.0;
const SLOTS: i64 = 10;
const PATIENCE: Duration = Duration::from_secs(60);
/// Longest dip and jump that an agent waits for, milliseconds of market time.
const SHORT_MS: i64 = 240_000;

/// What is demanded of the registers in the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Demand {
    /// All that flowed.
    All,
    /// No more than flowed.
    NoMore,
}

/// What goes wrong at the meters, how long (milliseconds of market time from two minutes before the
/// end of the fourth slot), and what is demanded.
fn cases() -> Vec<(Fault, i64, Demand)> {
    use Demand::{All, NoMore};
    let long_ms = 2 * Slot::LENGTH_MS;
    vec![
        (Fault::CounterZero {}, SHORT_MS, All),
        (Fault::CounterZero {}, long_ms, NoMore),
        (Fault::CounterDip { wh: 100 }, long_ms, All),
        (Fault::CounterJump { wh: 5_000_000 }, SHORT_MS, All),
        (Fault::CounterJump { wh: 5_000_000 }, long_ms, NoMore),
        (Fault::Exchange { counted_wh: 3 }, i64::MAX, NoMore),
        (Fault::ScaleFactor { shift: 1 }, long_ms, All),
        (Fault::ScaleFactor { shift: 2 }, long_ms, All),
        (Fault::TornScaleFactor {}, long_ms, All),
        (Fault::WordOrder {}, SHORT_MS, All),
        (Fault::WordOrder {}, long_ms, NoMore),
        (Fault::SignFlip { registers: false }, long_ms, All),
        (Fault::UnitOffline { code: None }, long_ms, All),
        (Fault::UnitOffline { code: Some(11) }, long_ms, All),
        (Fault::Exception { code: 2 }, SHORT_MS, All),
        (Fault::Exception { code: 6 }, long_ms, All),
        (Fault::HalfFrame {}, long_ms, All),
        (Fault::PreviousReply { renumbered: true }, long_ms, All),
    ]
}

/// An agent in this process; nobody listens to it, so all it knows is in its journal.
struct Household {
    face: Face,
    index: usize,
    dir: PathBuf,
    demand: Demand,
    what: String,
    status: watch::Receiver<Status>,
    shutdown: watch::Sender<bool>,
    task: JoinHandle<Result<(), AgentError>>,
}

impl Household {
    fn start(folder: &Path, face: &Face, index: usize, clock: ClockConfig) -> Self {
        let dir = folder.join(face.customer.as_str());
        fs::create_dir_all(&dir).expect("a folder");
        meter_agent::key_file::create(&dir.join("household.key")).expect("a key");
        let file = dir.join("agent.toml");
        fs::write(&file, configuration(face, clock)).expect("written");
        let config = Config::load(&file).expect("a configuration");
        let clock = Clock::from_config(config.clock);
        let agent = Agent::open(&config, clock).expect("opens");
        let status = agent.status();
        let (shutdown, stopped) = watch::channel(false);
        let task = tokio::spawn(agent.run(stopped));
        let (face, demand, what) = (face.clone(), Demand::All, String::new());
        Self { face, index, dir, demand, what, status, shutdown, task }
    }

    /// Waits until the reading at the end of a slot is in the journal.
    async fn has_read(&self, slot: Slot) {
        let mut status = self.status.clone();
        let read = status.wait_for(|s| s.journalled_slot.is_some_and(|s| s >= slot.number()));
        let waited = tokio::time::timeout(PATIENCE, read).await;
        let name = &self.face.customer;
        let failed = |_| panic!("{name} ({}) has not read {slot}", self.what);
        drop(waited.unwrap_or_else(failed).expect("the agent runs"));
    }

    /// Stops the agent; the registers of its journal (import and export in Wh), first to last.
    async fn journal(self) -> Vec<(u64, u64)> {
        self.shutdown.send_replace(true);
        self.task.await.expect("no panic").expect("stops in good order");
        let domain = Domain::new(community());
        let (journal, _) = Journal::open(&self.dir, &domain, 1).expect("a journal");
        let entries = journal.newest(u64::MAX).expect("readable");
        let readings = entries.into_iter().map(|entry| entry.reading.body);
        readings.map(|reading| (reading.import_wh, reading.export_wh)).collect()
    }
}

fn community() -> CommunityId {
    CommunityId::new("faults".to_owned()).expect("a name")
}

/// The configuration of a household whose meter is all that is read.
fn configuration(face: &Face, clock: ClockConfig) -> String {
    let map = match face.kind {
        FaceKind::Sdm630 { .. } => "eastron-sdm630",
        _ => "sunspec-meter-203",
    };
    format!(
        "community = \"faults\"\npoint = \"{}\"\noperator = \"0x{}\"\ndata_dir = \".\"\n\
         poll_interval_ms = 100\nconnection_w = {}\nedge_grace_s = 450\n\
         [mqtt]\nurl = \"mqtt://127.0.0.1:1\"\n\
         [clock]\nanchor_wall_ms = {}\nanchor_market_ms = {}\nspeed = {SPEED:.1}\n\
         [[device]]\nname = \"meter\"\nrole = \"meter\"\nmap = \"{map}\"\nhost = \"{}\"\n\
         unit = {}\ntimeout_ms = 100\n",
        face.customer,
        "11".repeat(20),
        face.connection_w,
        clock.anchor_wall_ms,
        clock.anchor_market_ms,
        face.kind.modbus_addr().expect("without a broker every meter speaks Modbus"),
        face.kind.unit_of(UnitRole::Meter).expect("every house has a meter"),
    )
}

/// Which houses have which fault: SunSpec meters one after another, SDM630s what they can have.
fn plan(faces: &[Face], from: Slot) -> Vec<(usize, Spell, Demand)> {
    let begin_ms = from.offset(4).start_ms() - 120_000;
    let mut planned = Vec::new();
    let spell = |face: &Face, fault: Fault, length_ms: i64| Spell {
        customer: Some(face.customer.to_string()),
        device: Some(UnitRole::Meter),
        from_ms: begin_ms,
        until_ms: begin_ms.saturating_add(length_ms),
        ..Spell::always(fault)
    };
    let mut houses = faces.iter().enumerate();
    for (fault, length_ms, demand) in cases() {
        let (index, face) = houses
            .by_ref()
            .find(|(_, face)| face.kind.name() == "sunspec")
            .expect("the street has enough of them");
        planned.push((index, spell(face, fault, length_ms), demand));
    }
    let (index, face) = houses.find(|(_, face)| face.kind.name() == "sunspec").expect("enough");
    let rolls =
        Spell { from_ms: i64::MIN, ..spell(face, Fault::Rollover { left_wh: 60 }, i64::MAX) };
    planned.push((index, rolls, Demand::All));
    let eastron = faces.iter().enumerate().filter(|(_, face)| face.kind.name() == "sdm630");
    let faults = [
        (Fault::WordOrder {}, 2 * Slot::LENGTH_MS, Demand::NoMore),
        (Fault::CounterZero {}, SHORT_MS, Demand::All),
        // No serial number gives this one away, and one of its registers is where the old one's was.
        (Fault::Exchange { counted_wh: 1_200 }, i64::MAX, Demand::NoMore),
        (Fault::Exchange { counted_wh: 3 }, i64::MAX, Demand::NoMore),
        (Fault::LateReply { delay_ms: 150 }, 2 * Slot::LENGTH_MS, Demand::All),
    ];
    for ((index, face), (fault, length_ms, demand)) in eastron.zip(faults) {
        planned.push((index, spell(face, fault, length_ms), demand));
    }
    planned
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_books_more_than_flowed_and_all_of_it_where_the_counter_survives() {
    let from = parse_slot("2016-07-23T10:00Z").expect("a slot");
    let options = StreetOptions::new(5, from);
    // A first street tells which houses have which meters: the same seed draws the same ones.
    let faces = Street::start(shipped(), &options).await.expect("starts").faces().to_vec();
    let planned = plan(&faces, from);
    let mut spells: Vec<Spell> = planned.iter().map(|(_, spell, _)| spell.clone()).collect();
    let newcomer = Newcomer::Replaces;
    spells.push(Spell::always(Fault::SingleClient { newcomer }));
    let faults = FaultPlan::new(5, spells);
    let mut street =
        Street::start(shipped(), &StreetOptions { faults, ..options }).await.expect("starts");
    let anchor = ClockConfig {
        anchor_wall_ms: clock::wall_ms(),
        anchor_market_ms: from.start_ms(),
        speed: SPEED,
    };
    let folder = TempDir::new().expect("a folder");
    let mut households = Vec::new();
    for (index, spell, demand) in planned {
        let face = street.faces()[index].clone();
        let started = Household::start(folder.path(), &face, index, anchor);
        households.push(Household { demand, what: spell.to_string(), ..started });
    }
    // Everybody has read the registers at the start, which stand still until then.
    for household in &households {
        household.has_read(from.previous()).await;
    }
    let registers = |street: &Street, index: usize| {
        let truth = street.world().customer(index);
        (truth.import_wh, truth.export_wh)
    };
    let before: Vec<(u64, u64)> =
        households.iter().map(|one| registers(&street, one.index)).collect();
    let last = from.offset(SLOTS - 1);
    street.run(&Clock::from_config(Some(anchor)), Some(last.end_ms())).await.expect("runs");
    // From here on they stand still again, so that it does not matter when they are read.
    for household in &households {
        household.has_read(last).await;
    }
    for (household, before) in households.into_iter().zip(before) {
        let after = registers(&street, household.index);
        let name = format!("{}: {}", household.face.customer, household.what);
        let demand = household.demand;
        let journal = household.journal().await;
        let (first, last) = (journal[0], journal[journal.len() - 1]);
        let flowed = (after.0 - before.0, after.1 - before.1);
        let booked = (last.0 - first.0, last.1 - first.1);
        println!("{name}: {booked:?} Wh booked of {flowed:?}, {} readings", journal.len());
        assert!(flowed.0 + flowed.1 > 100, "{name}: something flowed");
        assert!(journal.is_sorted_by_key(|registers| registers.0), "{name}: {journal:?}");
        assert!(journal.is_sorted_by_key(|registers| registers.1), "{name}: {journal:?}");
        let right = match demand {
            Demand::All => booked == flowed,
            Demand::NoMore => booked.0 <= flowed.0 && booked.1 <= flowed.1,
        };
        assert!(right, "{name}: {booked:?} Wh booked of {flowed:?}: {journal:?}");
    }
}
