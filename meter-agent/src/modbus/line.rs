//! One connection for the whole process, and the task that serves its users one at a time.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, sleep_until};

use super::overheard::Ear;
use super::read::{Read, ReadError};
use super::steps::Steps;
use super::turns::{Rank, Timing, Turn, Turns};
use super::wire::{Place, Wire};
use super::write::Write;
use crate::chance::Chance;

/// Requests of the household that may wait.
const QUEUE: usize = 64;
/// Requests of guests that may wait.
const GUESTS: usize = 8;
/// How often "busy" is waited out, and the first of the doubling waits.
const BUSY_TRIES: u32 = 4;
const BUSY_WAIT: Duration = Duration::from_millis(50);
const LONGEST_BUSY_WAIT: Duration = Duration::from_secs(2);
/// First and longest wait before a place that cannot be reached is tried again.
const RECONNECT: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));
/// A device that is deaf after connecting is given this time first, then twice as much.
const DEAF: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(3));
/// After so many fresh connections whose first question was not answered.
const DEAF_SIGNS: u32 = 3;
/// Answers kept for guests, and for how long.
const KEPT: usize = 64;

/// One request with its circumstances.
#[derive(Debug, Clone, Copy)]
pub struct Ask {
    /// What.
    pub read: Read,
    /// How urgent it is.
    pub rank: Rank,
    /// How long to wait for the answer.
    pub timeout: Duration,
    /// How long to leave a fresh connection alone.
    pub connect_delay: Duration,
    /// How long to leave the unit alone between two requests.
    pub min_gap: Duration,
    /// Whether only even numbers of registers may be asked for.
    pub even: bool,
}

impl Ask {
    /// A poll with the usual circumstances.
    #[must_use]
    pub const fn new(read: Read, timeout: Duration) -> Self {
        Self {
            read,
            rank: Rank::Poll,
            timeout,
            connect_delay: Duration::ZERO,
            min_gap: Duration::ZERO,
            even: false,
        }
    }
}

struct Job {
    ask: Ask,
    /// What to write first; the ask is then for what stands there.
    write: Option<Write>,
    busy: u32,
    failed: bool,
    reply: oneshot::Sender<Result<Vec<u16>, ReadError>>,
}

/// The newest answers, for guests.
type Kept = Arc<Mutex<Vec<(Read, Vec<u16>, Instant)>>>;

/// A line to one place; clones share it. Its task ends with the last of them.
#[derive(Debug, Clone)]
pub struct Line {
    place: Place,
    jobs: mpsc::Sender<Job>,
    guests: mpsc::Sender<Job>,
    kept: Kept,
    connection: Arc<AtomicU64>,
}

impl Line {
    /// Starts the line's task in the present runtime; nothing is connected yet.
    #[must_use]
    pub fn open(place: Place, chance: Chance) -> Self {
        Self::start(place, chance, None)
    }

    /// Like [`Self::open`]; every byte that goes over the connection is told on.
    #[must_use]
    pub fn overheard(place: Place, chance: Chance, ear: Ear) -> Self {
        Self::start(place, chance, Some(ear))
    }

    fn start(place: Place, mut chance: Chance, ear: Option<Ear>) -> Self {
        let (jobs, own) = mpsc::channel(QUEUE);
        let (guests, foreign) = mpsc::channel(GUESTS);
        let kept = Kept::default();
        let connection = Arc::default();
        let turns = Turns::new(Instant::now(), Chance::seeded(chance.below(u64::MAX)));
        let served = Served {
            place: place.clone(),
            ear,
            wire: None,
            connection: Arc::clone(&connection),
            unreachable: None,
            failures: 0,
            deaf: Duration::ZERO,
            unheard: 0,
            proven: false,
            fresh: false,
            steps: Steps::default(),
            last: None,
            turns,
            chance,
            kept: Arc::clone(&kept),
        };
        tokio::spawn(served.serve(own, foreign));
        Self { place, jobs, guests, kept, connection }
    }

    /// Where it leads.
    #[must_use]
    pub const fn place(&self) -> &Place {
        &self.place
    }

    /// Counts the connections that were made: a new one may lead to another device. 0 = none yet.
    #[must_use]
    pub fn connection(&self) -> u64 {
        self.connection.load(Ordering::Acquire)
    }

    /// Reads registers, when it is their turn.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn read(&self, ask: Ask) -> Result<Vec<u16>, ReadError> {
        let (reply, answer) = oneshot::channel();
        let job = Job { ask, write: None, busy: 0, failed: false, reply };
        let gone = || ReadError::Broken {
            unit: ask.read.unit(),
            reason: "the line has been closed".to_owned(),
        };
        self.jobs.send(job).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }

    /// Writes registers, when it is their turn. The ask says with which circumstances; what it reads
    /// is replaced by what is written.
    ///
    /// # Errors
    /// [`ReadError`]; whether the device took it is then unknown, unless it refused.
    pub async fn write(&self, write: Write, ask: Ask) -> Result<(), ReadError> {
        let (reply, answer) = oneshot::channel();
        let unit = write.unit();
        let ask = Ask { read: write.read_back(), ..ask };
        let job = Job { ask, write: Some(write), busy: 0, failed: false, reply };
        let gone = || ReadError::Broken { unit, reason: "the line has been closed".to_owned() };
        self.jobs.send(job).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?.map(|_| ())
    }

    /// A guest's way to this line.
    #[must_use]
    pub fn guest(&self) -> Guest {
        Guest {
            place: self.place.clone(),
            guests: self.guests.clone(),
            kept: Arc::clone(&self.kept),
        }
    }
}

/// Reads through a line when nobody else wants to; does not keep it open.
#[derive(Debug, Clone)]
pub struct Guest {
    place: Place,
    guests: mpsc::Sender<Job>,
    kept: Kept,
}

impl Guest {
    /// Reads registers; an answer that was read less than `max_age` ago counts.
    ///
    /// # Errors
    /// [`ReadError`]; [`ReadError::Crowded`] when too many guests wait.
    pub async fn read(&self, ask: Ask, max_age: Duration) -> Result<Vec<u16>, ReadError> {
        if let Some(words) = self.kept(ask.read, max_age) {
            return Ok(words);
        }
        let (reply, answer) = oneshot::channel();
        let ask = Ask { rank: Rank::Guest, ..ask };
        let crowded = || ReadError::Crowded { place: self.place.to_string() };
        let job = Job { ask, write: None, busy: 0, failed: false, reply };
        self.guests.try_send(job).map_err(|_| crowded())?;
        answer.await.map_err(|_| crowded())?
    }

    /// An answer that was read less than `max_age` ago.
    #[must_use]
    pub fn kept(&self, read: Read, max_age: Duration) -> Option<Vec<u16>> {
        let now = Instant::now();
        let kept = self.kept.lock().expect("nobody panics while holding it");
        let (from, to) =
            (u32::from(read.address()), u32::from(read.address()) + u32::from(read.count()));
        kept.iter().rev().find_map(|(known, words, taken)| {
            let same = known.unit() == read.unit() && known.function() == read.function();
            let first = u32::from(known.address());
            let covers = first <= from && to <= first + u32::from(known.count());
            let fresh = now.duration_since(*taken) <= max_age;
            let part = usize::from(read.address().checked_sub(known.address())?);
            (same && covers && fresh)
                .then(|| words[part..part + usize::from(read.count())].to_vec())
        })
    }
}

/// What the line's task works on.
struct Served {
    place: Place,
    /// Who hears what goes over the connection.
    ear: Option<Ear>,
    wire: Option<Wire>,
    connection: Arc<AtomicU64>,
    /// Why the place could not be reached, and until when it is not tried again.
    unreachable: Option<(ReadError, Instant)>,
    failures: u32,
    /// How long a fresh connection is left alone, as learned.
    deaf: Duration,
    /// Fresh connections in a row whose first question was not answered.
    unheard: u32,
    /// A fresh connection has answered its first question after that time.
    proven: bool,
    /// The present connection has not been asked anything yet.
    fresh: bool,
    steps: Steps,
    /// The last answer and its question.
    last: Option<(Read, Vec<u16>)>,
    turns: Turns<Job>,
    chance: Chance,
    kept: Kept,
}

impl Served {
    async fn serve(mut self, mut own: mpsc::Receiver<Job>, mut guests: mpsc::Receiver<Job>) {
        loop {
            while let Ok(job) = own.try_recv() {
                self.enqueue(job, Instant::now());
            }
            let wake = match self.turns.next(Instant::now()) {
                Turn::Go(job, limit) => {
                    self.run(job, limit).await;
                    continue;
                }
                Turn::Refuse(job, wait) => {
                    let unit = job.ask.read.unit();
                    // Whoever asked may have gone.
                    let _ = job.reply.send(Err(ReadError::LeftAlone { unit, wait }));
                    continue;
                }
                Turn::Wait(until) => Some(until),
                Turn::Idle => None,
            };
            let pause = async {
                match wake {
                    Some(until) => sleep_until(until).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                job = own.recv() => match job {
                    Some(job) => self.enqueue(job, Instant::now()),
                    None => return,
                },
                () = pause => {}
                Some(job) = guests.recv() => self.enqueue(job, Instant::now()),
            }
        }
    }

    fn enqueue(&mut self, job: Job, not_before: Instant) {
        let Ask { read, rank, timeout, min_gap, .. } = job.ask;
        let timing = Timing { timeout, min_gap };
        self.turns.add(read.unit(), rank, timing, job, Instant::now(), not_before);
    }

    async fn run(&mut self, mut job: Job, limit: Duration) {
        if job.reply.is_closed() {
            return;
        }
        let ask = job.ask;
        let unit = ask.read.unit();
        let started = Instant::now();
        let ask = Ask { timeout: limit, ..ask };
        let outcome = match &job.write {
            None => self.answer(ask).await,
            Some(write) => self.put(ask, write).await.map(|()| Vec::new()),
        };
        let now = Instant::now();
        let silent = outcome.as_ref().is_err_and(ReadError::is_silence);
        self.turns.note(unit, ask.rank, now, now.duration_since(started), silent);
        if let Err(ReadError::Exception { code, .. }) = &outcome {
            if code.is_busy() && job.busy + 1 < BUSY_TRIES {
                let first = BUSY_WAIT.max(ask.min_gap);
                let wait = self.chance.backoff(job.busy + 1, first, LONGEST_BUSY_WAIT.max(first));
                job.busy += 1;
                return self.enqueue(job, now + wait);
            }
            if *code == super::read::Exception::FAILURE && !job.failed {
                job.failed = true;
                return self.enqueue(job, now + ask.min_gap);
            }
        }
        if let (Ok(words), None) = (&outcome, &job.write) {
            self.keep(ask.read, words, now);
        }
        // Whoever asked may have gone.
        let _ = job.reply.send(outcome);
    }

    /// Writes, and forgets what was known of the unit's registers.
    async fn put(&mut self, ask: Ask, write: &Write) -> Result<(), ReadError> {
        self.wire(ask).await?;
        self.fresh = false;
        self.last = None;
        let wire = self.wire.as_mut().expect("just connected");
        let outcome = wire.write(write, ask.timeout).await;
        if wire.is_spent() {
            self.wire = None;
        }
        let mut kept = self.kept.lock().expect("nobody panics while holding it");
        kept.retain(|(known, ..)| known.unit() != write.unit());
        outcome
    }

    fn keep(&self, read: Read, words: &[u16], now: Instant) {
        let mut kept = self.kept.lock().expect("nobody panics while holding it");
        kept.retain(|(known, ..)| *known != read);
        if kept.len() == KEPT {
            kept.remove(0);
        }
        kept.push((read, words.to_vec(), now));
    }

    /// The answer, in step.
    async fn answer(&mut self, ask: Ask) -> Result<Vec<u16>, ReadError> {
        if self.steps.is_ambiguous(ask.read, Instant::now()) {
            self.catch_up(ask).await?;
        }
        let mut words = self.exchange(ask, ask.read).await?;
        // An answer that equals the one before, though it was for other registers, may be that one
        // once more. It costs little to ask again.
        let repeated = self.last.as_ref().is_some_and(|(last, known)| {
            *last != ask.read && last.count() == ask.read.count() && *known == words
        });
        if repeated {
            words = self.exchange(ask, ask.read).await?;
        }
        self.last = Some((ask.read, words.clone()));
        Ok(words)
    }

    /// Makes sure that no answer is owed that could be taken for the one to come.
    async fn catch_up(&mut self, ask: Ask) -> Result<(), ReadError> {
        let unit = ask.read.unit();
        if let Some(marker) = self.steps.marker(ask.read, ask.even) {
            match self.exchange(ask, marker).await {
                Ok(_) => {
                    self.steps.clear(unit);
                    return Ok(());
                }
                Err(ReadError::Exception { code, .. }) if !code.is_offline() => {}
                Err(error) => return Err(error),
            }
        }
        // The device refuses parts of what it has. What remains is to listen for as long as it may
        // take to answer.
        let wire = self.wire(ask).await?;
        wire.wait_out(ask.timeout).await;
        self.steps.clear(unit);
        Ok(())
    }

    /// One question and its answer on the connection, which is made when there is none.
    async fn exchange(&mut self, ask: Ask, read: Read) -> Result<Vec<u16>, ReadError> {
        self.wire(ask).await?;
        let was_fresh = std::mem::take(&mut self.fresh);
        let wire = self.wire.as_mut().expect("just connected");
        let outcome = wire.exchange(read, ask.timeout, &mut self.steps).await;
        let spent = wire.is_spent();
        if spent {
            self.wire = None;
        }
        if was_fresh {
            match &outcome {
                Err(ReadError::Timeout { .. }) if !self.proven => {
                    self.unheard = self.unheard.saturating_add(1);
                    if self.unheard >= DEAF_SIGNS {
                        self.deaf = (self.deaf * 2).clamp(DEAF.0, DEAF.1);
                    }
                    // Another connection, after which it is given more time.
                    self.wire = None;
                }
                Err(ReadError::Timeout { .. } | ReadError::Broken { .. }) => {}
                _ => self.proven = true,
            }
        }
        outcome
    }

    /// The connection, made when there is none.
    async fn wire(&mut self, ask: Ask) -> Result<&mut Wire, ReadError> {
        if let Some(wire) = &mut self.wire {
            wire.look().await;
            if wire.is_spent() {
                self.wire = None;
            }
        }
        if self.wire.is_none() {
            let now = Instant::now();
            match &self.unreachable {
                Some((error, until)) if now < *until && ask.rank >= Rank::Steer => {
                    return Err(error.clone());
                }
                _ => {}
            }
            match Wire::open(&self.place, self.ear.as_ref()).await {
                Ok(wire) => {
                    self.wire = Some(wire);
                    self.unreachable = None;
                    self.failures = 0;
                    self.connection.fetch_add(1, Ordering::AcqRel);
                    self.fresh = true;
                    self.last = None;
                    sleep(ask.connect_delay.max(self.deaf)).await;
                }
                Err(error) => {
                    self.failures = self.failures.saturating_add(1);
                    let (first, longest) = RECONNECT;
                    let wait = self.chance.backoff(self.failures, first, longest);
                    self.unreachable = Some((error.clone(), Instant::now() + wait));
                    return Err(error);
                }
            }
        }
        Ok(self.wire.as_mut().expect("just connected"))
    }
}
