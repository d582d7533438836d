//! The same drawn books through other people's market software, and through ours.
//!
//! Peers come from the Python registry at fixed versions, each in an environment of its own, and
//! run as separate processes; nothing of them is linked in. Their fills and money are judged here,
//! in integers, by the optimum that sorting and matching finds.

mod child;
mod feeder;
mod judge;
mod own;
mod sharing;
mod table;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use market::{Lot, Side};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::Machine;
use super::books::{Kind, book};
use crate::world::chance::Chance;
use child::{Home, Peer};
use judge::{Outcome, Verdict, judge};

pub use table::table;

/// Books that everybody clears.
const BOOKS: [(Kind, usize); 9] = [
    (Kind::Random, 100),
    (Kind::Random, 1_000),
    (Kind::Random, 10_000),
    (Kind::Ties, 100),
    (Kind::Ties, 1_000),
    (Kind::NoCrossing, 100),
    (Kind::NoCrossing, 1_000),
    (Kind::Inelastic, 100),
    (Kind::Inelastic, 1_000),
];
/// Time for repetitions of one book, beside the run that counts, seconds.
const BUDGET_S: f64 = 0.5;

/// Somebody else's market software.
struct Other {
    /// Its environment and its driver are called after it.
    name: &'static str,
    /// What the table calls it.
    label: &'static str,
    methods: &'static [&'static str],
}

const OTHERS: [Other; 4] = [
    Other {
        name: "pymarket",
        label: "pymarket 0.7.6",
        methods: &["p2p", "huang", "muda", "optimum"],
    },
    Other {
        name: "assume",
        label: "assume-framework 0.6.0",
        methods: &["pay-as-clear", "pay-as-bid"],
    },
    Other { name: "gsy", label: "gsy-frameworke 5.0.2", methods: &["pay-as-bid", "pay-as-clear"] },
    Other { name: "highs", label: "highspy 1.15.1", methods: &["default", "no presolve"] },
];

/// Where the peers are and how long they may take.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Folder with one virtual environment per peer.
    pub environments: PathBuf,
    /// Folder with the drivers.
    pub drivers: PathBuf,
    /// Longest wait for one book in all its runs.
    pub limit: Duration,
    /// Folder of a scenario, whose surplus is shared.
    pub scenario: PathBuf,
    /// Draws the books.
    pub seed: u64,
}

impl Setup {
    /// Where a peer with this driver and this environment lives.
    fn home(&self, environment: &str, driver: &str) -> Home {
        Home {
            environment: self.environments.join(environment),
            driver: self.drivers.join(format!("peer_{driver}.py")),
        }
    }
}

/// Everything that was compared.
#[derive(Debug, Serialize)]
pub struct Comparison {
    /// On what.
    pub machine: Machine,
    /// By book, ours first.
    pub books: Vec<BookResult>,
    /// The same on a feeder, ours first; everybody else's is a linear program.
    pub feeder: Vec<feeder::FeederResult>,
    /// Keys that share a week of a street's surplus.
    pub sharing: sharing::SharingResult,
    /// How long all of it took, seconds.
    pub seconds: f64,
}

/// What everybody did with one book.
#[derive(Debug, Serialize)]
pub struct BookResult {
    /// What the book is like.
    pub kind: Kind,
    /// Orders in it, half of them to buy.
    pub orders: usize,
    /// Who did what.
    pub rows: Vec<Row>,
}

/// What one engine did with one book.
#[derive(Debug, Serialize)]
pub struct Row {
    /// Whose engine.
    pub engine: &'static str,
    /// Which of its ways.
    pub method: &'static str,
    /// What came of it, or why nothing did.
    #[serde(flatten)]
    pub finding: Finding<Judged>,
}

/// A judged result, or none.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Finding<T> {
    /// There is one.
    Judged(T),
    /// There is none.
    Nothing {
        /// Why, in the peer's or our words.
        error: String,
    },
}

/// A matching under scrutiny.
#[derive(Debug, Serialize)]
pub struct Judged {
    /// Processor time of the fastest run, seconds.
    pub seconds: f64,
    /// What it is worth.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// Whether a second run gives everybody the same.
    pub repeats: bool,
    /// Whether a shuffled book gives everybody the same.
    pub shuffles: bool,
}

#[derive(Serialize)]
struct Request<'a> {
    method: &'a str,
    book: &'a Path,
    shuffled: &'a Path,
    budget_s: f64,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Answer<O> {
    Result { seconds: f64, first: O, again: O, shuffled: O },
    Error { error: String },
}

/// Seconds, and the outcome of the first run, of another and of a shuffled one.
type Answered<O> = Result<(f64, [O; 3]), String>;

/// A book as everybody gets it.
struct Drawn {
    kind: Kind,
    lots: Vec<Lot>,
    /// A mixed order of the lots.
    shuffle: Vec<usize>,
    plain: PathBuf,
    mixed: PathBuf,
}

/// Lets everybody clear every book.
///
/// # Errors
/// The system's, or when one of our own engines fails; what happens to a peer is a row.
pub fn compare(setup: &Setup) -> anyhow::Result<Comparison> {
    let started = clock::stopwatch();
    let machine = Machine::here();
    let scratch = tempfile::tempdir().context("no temporary folder")?;
    let drawn = BOOKS
        .iter()
        .map(|&(kind, orders)| Drawn::write(kind, orders, setup.seed, scratch.path()))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let mut books = Vec::new();
    for drawn in &drawn {
        let rows = ours(drawn, setup.seed)?;
        books.push(BookResult { kind: drawn.kind, orders: drawn.lots.len(), rows });
    }
    for other in &OTHERS {
        let mut asked = Asked::new(setup.home(other.name, other.name), setup);
        for method in other.methods {
            for (drawn, book) in drawn.iter().zip(&mut books) {
                let orders = drawn.lots.len();
                tracing::info!("{} {method}: {orders} orders, {}", other.label, drawn.kind.name());
                let finding = match asked.clear(method, drawn) {
                    Ok(judged) => Finding::Judged(judged),
                    Err(error) => Finding::Nothing { error },
                };
                book.rows.push(Row { engine: other.label, method, finding });
            }
        }
    }
    let feeder = feeder::compare(setup, scratch.path())?;
    let sharing = sharing::compare(setup, scratch.path())?;
    let seconds = started.elapsed().as_secs_f64();
    Ok(Comparison { machine, books, feeder, sharing, seconds })
}

fn ours(drawn: &Drawn, seed: u64) -> anyhow::Result<Vec<Row>> {
    let mut rows = Vec::new();
    for own in own::OWN.iter().filter(|own| drawn.lots.len() <= own.most_orders) {
        tracing::info!(
            "streetwatt {}: {} orders, {}",
            own.method,
            drawn.lots.len(),
            drawn.kind.name()
        );
        let answer = own.ask(&drawn.lots, &drawn.shuffle, seed)?;
        let judged = Judged::new(
            &drawn.lots,
            answer.seconds,
            [&answer.first, &answer.again, &answer.shuffled],
        );
        let judged = judged.map_err(anyhow::Error::msg)?;
        rows.push(Row {
            engine: "streetwatt",
            method: own.method,
            finding: Finding::Judged(judged),
        });
    }
    Ok(rows)
}

impl Judged {
    fn new(
        lots: &[Lot],
        seconds: f64,
        [first, again, shuffled]: [&Outcome; 3],
    ) -> Result<Self, String> {
        let verdict = judge(lots, first)?;
        Ok(Self { seconds, verdict, repeats: first.same(again), shuffles: first.same(shuffled) })
    }
}

/// One peer while it is asked.
struct Asked<'a> {
    setup: &'a Setup,
    home: Home,
    peer: Option<Peer>,
    /// Methods that ran out of time, by kind of book: larger books are not tried.
    slow: BTreeSet<(&'static str, Kind)>,
}

impl<'a> Asked<'a> {
    const fn new(home: Home, setup: &'a Setup) -> Self {
        Self { setup, home, peer: None, slow: BTreeSet::new() }
    }

    fn clear(&mut self, method: &'static str, drawn: &Drawn) -> Result<Judged, String> {
        if self.slow.contains(&(method, drawn.kind)) {
            return Err("not tried: a smaller book took too long".to_owned());
        }
        let answer = self.ask(method, (&drawn.plain, &drawn.mixed)).inspect_err(|reason| {
            if reason.starts_with(child::NO_ANSWER) {
                self.slow.insert((method, drawn.kind));
            }
        });
        let (seconds, [first, again, shuffled]) = answer?;
        Judged::new(&drawn.lots, seconds, [&first, &again, &shuffled])
    }

    /// Asks for one file and its shuffled twin.
    fn ask<O: DeserializeOwned>(
        &mut self,
        method: &str,
        (book, shuffled): (&Path, &Path),
    ) -> Answered<O> {
        if let Some(reason) = self.home.missing() {
            return Err(reason);
        }
        let mut peer = match self.peer.take() {
            Some(peer) => peer,
            None => {
                Peer::start(&self.home).map_err(|error| format!("cannot be started: {error}"))?
            }
        };
        let request = Request { method, book, shuffled, budget_s: BUDGET_S };
        // A peer that failed to answer is ended here, and a new one is started for the next book.
        let answer = peer.ask(&request, self.setup.limit)?;
        self.peer = Some(peer);
        match answer {
            Answer::Error { error } => Err(error),
            Answer::Result { seconds, first, again, shuffled } => {
                Ok((seconds, [first, again, shuffled]))
            }
        }
    }
}

impl Drawn {
    fn write(kind: Kind, orders: usize, seed: u64, scratch: &Path) -> anyhow::Result<Self> {
        let lots = book(kind, orders, seed);
        let mut shuffle: Vec<usize> = (0..lots.len()).collect();
        Chance::new(seed, "bench: shuffle").shuffle(&mut shuffle);
        let path = |order: &str| scratch.join(format!("{}-{orders}-{order}.csv", kind.name()));
        let (plain, mixed) = (path("plain"), path("mixed"));
        write(&plain, &lots, 0..lots.len())?;
        write(&mixed, &lots, shuffle.iter().copied())?;
        Ok(Self { kind, lots, shuffle, plain, mixed })
    }
}

/// Writes lots in an order: number, node, side, Wh, 10⁻⁵ currency per kWh.
fn write(path: &Path, lots: &[Lot], order: impl Iterator<Item = usize>) -> anyhow::Result<()> {
    let mut file = csv::Writer::from_path(path)?;
    file.write_record(["lot", "node", "side", "wh", "e5_per_kwh"])?;
    for number in order {
        let lot = &lots[number];
        let side = if lot.side == Side::Buy { "buy" } else { "sell" };
        let e5 = lot.limit.nano_per_wh() / units::Price::TICK.nano_per_wh();
        let (wh, node) = (lot.quantity.wh().to_string(), lot.node.0.to_string());
        file.write_record([&number.to_string(), &node, side, &wh, &e5.to_string()])?;
    }
    Ok(file.flush()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A driver of ours with engines that do what engines should not.
    const TOY: &str = r#"
import os, sys, time
sys.path.insert(0, PEERS)
import counter

def good(lots, count):
    return counter.Outcome(count)

def prints(lots, count):
    print("solving ...")
    return counter.Outcome(count)

def raises(lots, count):
    raise ValueError("no\n such book")

def short(lots, count):
    return counter.Outcome(1)

def no_number(lots, count):
    outcome = counter.Outcome(count)
    outcome.kwh[0] = float("nan")
    return outcome

def hangs(lots, count):
    time.sleep(1000)

def dies(lots, count):
    print("out of luck", file=sys.stderr, flush=True)
    os._exit(3)

engines = [good, prints, raises, short, no_number, hangs, dies]
counter.serve({engine.__name__: (lambda lots: lots, engine) for engine in engines})
"#;

    struct Toy {
        folder: tempfile::TempDir,
        setup: Setup,
    }

    impl Toy {
        /// Nothing where there is no Python.
        fn new(limit: Duration) -> Option<Self> {
            let path = std::env::var_os("PATH")?;
            std::env::split_paths(&path).find(|folder| folder.join("python3").exists())?;
            let folder = tempfile::tempdir().expect("a folder");
            let bin = folder.path().join("toy/bin");
            std::fs::create_dir_all(&bin).expect("a folder");
            let python = bin.join("python");
            std::fs::write(&python, "#!/bin/sh\nexec python3 \"$@\"\n").expect("a file");
            let may_run = std::os::unix::fs::PermissionsExt::from_mode(0o755);
            std::fs::set_permissions(&python, may_run).expect("our own");
            std::fs::write(folder.path().join("toy/.done"), "").expect("a file");
            let peers = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers");
            let driver = TOY.replace("PEERS", &format!("{peers:?}"));
            std::fs::write(folder.path().join("peer_toy.py"), driver).expect("a file");
            let (environments, drivers) = (folder.path().to_owned(), folder.path().to_owned());
            let scenario = PathBuf::new();
            Some(Self { folder, setup: Setup { environments, drivers, limit, scenario, seed: 1 } })
        }

        fn asked(&self) -> Asked<'_> {
            Asked::new(self.setup.home("toy", "toy"), &self.setup)
        }

        fn book(&self, kind: Kind, orders: usize) -> Drawn {
            Drawn::write(kind, orders, 1, self.folder.path()).expect("a file")
        }
    }

    #[test]
    fn whatever_an_engine_does_is_a_row() {
        let Some(toy) = Toy::new(Duration::from_secs(100)) else { return };
        let (mut asked, book) = (toy.asked(), toy.book(Kind::Random, 10));
        for (method, expected) in [
            ("good", None),
            ("raises", Some("ValueError: no such book")),
            ("prints", None),
            ("short", Some("names 1 lots of 10")),
            ("no_number", Some("NaN")),
            ("dies", Some("ends: out of luck")),
            ("unheard_of", Some("KeyError: 'unheard_of'")),
            ("good", None),
        ] {
            match (asked.clear(method, &book), expected) {
                (Ok(judged), None) => {
                    assert_eq!(judged.verdict.welfare, Some(0.0), "nothing is traded");
                    assert!(judged.repeats && judged.shuffles && judged.seconds >= 0.0);
                }
                (Err(told), Some(expected)) => assert!(told.contains(expected), "{told}"),
                (answer, _) => panic!("{method}: {answer:?}"),
            }
        }
    }

    #[test]
    fn an_engine_that_takes_too_long_is_not_asked_for_larger_books_of_the_kind() {
        let Some(toy) = Toy::new(Duration::from_millis(400)) else { return };
        let mut asked = toy.asked();
        let mut hang = |kind| asked.clear("hangs", &toy.book(kind, 10)).expect_err("it hangs");
        assert_eq!(hang(Kind::Random), "no answer within 0.4 s");
        assert_eq!(hang(Kind::Random), "not tried: a smaller book took too long");
        assert_eq!(hang(Kind::Ties), "no answer within 0.4 s");
    }
}
