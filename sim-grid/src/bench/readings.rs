//! What readings cost the operator: checking signatures, keeping them, settling on them.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use controller::config::MarketConfig;
use controller::desk::{Desk, Enrolment, Input, Record, Setup};
use controller::store::Store;
use controller::tariff::Tariff;
use market::{Policy, Terms};
use protocol::{Address, B256, Domain, HouseholdKey, OperatorKey, Reading, Signed, Topic, Up};
use serde::Serialize;
use units::{CommunityId, PointId, Price, Slot};

use super::{Spread, per_second};
use crate::world::chance::Chance;

/// First slot with readings.
const FIRST: Slot = Slot::new(1_614_528);
/// Readings per transaction: one, a street's at an edge, and the most that the controller takes.
const BATCHES: [usize; 3] = [1, 41, 512];
/// Most transactions per batch size, so that a slow disk does not hold the bench up.
const MOST_TRANSACTIONS: usize = 500;
/// Longest deadline that a configuration may state; nothing is settled while someone is awaited.
const DEADLINE_S: u32 = 604_800;
/// Readings move a register by less than this, Wh.
const STEP_END_WH: u64 = 2_000;

/// How many households say how much.
#[derive(Debug, Clone, Copy)]
pub struct ReadingLoad {
    /// Households, 1 to 60 000.
    pub households: u16,
    /// Readings of each, 1 to 600.
    pub slots: u16,
    /// Draws keys and registers.
    pub seed: u64,
}

/// What readings cost.
#[derive(Debug, Serialize)]
pub struct ReadingCost {
    /// Households that signed them.
    pub households: u16,
    /// Readings of each.
    pub slots: u16,
    /// Mean size of a message, bytes.
    pub message_bytes: usize,
    /// Making a few kilobytes durable, nothing else: what the disk allows.
    pub fsync: Spread,
    /// Parsed and believed, on one core.
    pub verified_per_s: f64,
    /// Believed, linked, found plausible and on the disk.
    pub stored: Vec<StoredRate>,
    /// As `stored` with the largest batch, and every slot settled: billed, logged, signed.
    pub settled: SettledRate,
}

/// Readings per second at one batch size.
#[derive(Debug, Serialize)]
pub struct StoredRate {
    /// Readings per transaction.
    pub batch: usize,
    /// Readings that were stored.
    pub readings: usize,
    /// In a second.
    pub per_s: f64,
    /// The part of the time that the desk takes to check them and to sign receipts; the rest is
    /// the record's.
    pub desk_share: f64,
}

/// Readings per second with all that follows from them.
#[derive(Debug, Serialize)]
pub struct SettledRate {
    /// Readings that were stored.
    pub readings: usize,
    /// Slots that were settled.
    pub slots: usize,
    /// Bills that were written.
    pub bills: usize,
    /// Readings in a second.
    pub per_s: f64,
    /// The part of the time that the desk takes; the rest is the record's.
    pub desk_share: f64,
}

/// Signs chains of readings, then measures how fast they are believed and kept in `folder`.
///
/// # Errors
/// When a reading is refused or a slot is not settled, or the disk's reason.
pub async fn measure(load: ReadingLoad, folder: &Path) -> anyhow::Result<ReadingCost> {
    let total = usize::from(load.households) * usize::from(load.slots);
    // Before anything else is on its way to the disk.
    let fsync = fsync(folder)?;
    tracing::info!("signing {total} readings of {} households", load.households);
    let street = Chains::sign(load)?;
    let bytes: usize = street.messages.iter().map(|message| message.payload.len()).sum();
    tracing::info!("verifying them");
    let verified_per_s = street.verify()?;
    let mut stored = Vec::new();
    for batch in BATCHES {
        tracing::info!("storing them, {batch} in a transaction");
        stored.push(street.store(batch, &folder.join(format!("stored-{batch}"))).await?);
    }
    tracing::info!("storing and settling them");
    let settled = street.settle(&folder.join("settled")).await?;
    Ok(ReadingCost {
        households: load.households,
        slots: load.slots,
        message_bytes: bytes / total.max(1),
        fsync,
        verified_per_s,
        stored,
        settled,
    })
}

/// A small append and its way to the disk.
fn fsync(folder: &Path) -> anyhow::Result<Spread> {
    let path = folder.join("fsync");
    let mut file = OpenOptions::new().create(true).append(true).open(path)?;
    Spread::measure(Duration::from_secs(1), || {
        file.write_all(&[7; 4_096])?;
        Ok(file.sync_all()?)
    })
}

/// Signed readings of a street, oldest slot first.
struct Chains {
    load: ReadingLoad,
    /// The last one falls silent after its opening.
    homes: Vec<(PointId, HouseholdKey)>,
    /// What everybody says at the end of [`FIRST`].
    opening: Vec<Message>,
    /// What all but the last one say in the slots after that.
    messages: Vec<Message>,
}

/// Whose, and its bytes.
struct Message {
    home: usize,
    payload: Vec<u8>,
}

/// Where a household's chain of readings is.
struct Chain {
    seq: u64,
    head: B256,
    import_wh: u64,
    export_wh: u64,
}

impl Chain {
    fn reading(&self, point: &PointId, slot: Slot) -> Reading {
        Reading {
            point: point.to_string(),
            epoch: 1,
            seq: self.seq,
            prev: self.head,
            slot: slot.number(),
            time_ms: slot.end_ms() + 400,
            clock: "synchronised".to_owned(),
            import_wh: self.import_wh,
            export_wh: self.export_wh,
            produced_wh: vec![self.export_wh],
            power_w: vec![-1_250],
            quality: "measured".to_owned(),
            resolution_mwh: vec![],
            device_offset_ms: vec![],
            samples: vec![],
            events: vec![],
        }
    }
}

impl Chains {
    fn sign(load: ReadingLoad) -> anyhow::Result<Self> {
        let mut chance = Chance::new(load.seed, "bench: readings");
        let mut homes = Vec::new();
        let mut chains = Vec::new();
        for number in 0..=load.households {
            let key = HouseholdKey::from_bytes(&draw(&mut chance));
            homes.push((PointId::new(format!("H{number:05}"))?, key));
            let (import_wh, export_wh) = (1_000_000, 500_000);
            chains.push(Chain { seq: 0, head: B256::ZERO, import_wh, export_wh });
        }
        let domain = Domain::new(community()?);
        let mut next = |home: usize, slot: Slot| {
            let (point, key) = &homes[home];
            let chain = &mut chains[home];
            chain.import_wh += chance.between(0, STEP_END_WH);
            chain.export_wh += chance.between(0, STEP_END_WH);
            chain.seq += 1;
            let reading = chain.reading(point, slot);
            chain.head = domain.digest(&reading);
            Message { home, payload: Signed::by_household(reading, &domain, key).to_json() }
        };
        let opening = (0..homes.len()).map(|home| next(home, FIRST)).collect();
        let slots = (1..=load.slots).map(|count| FIRST.offset(i64::from(count)));
        let messages = slots
            .flat_map(|slot| (0..usize::from(load.households)).map(move |home| (home, slot)))
            .map(|(home, slot)| next(home, slot))
            .collect();
        Ok(Self { load, homes, opening, messages })
    }

    /// Parses and believes all of them; readings per second.
    fn verify(&self) -> anyhow::Result<f64> {
        let domain = Domain::new(community()?);
        let keys: Vec<_> = self.homes.iter().map(|(_, key)| key.public()).collect();
        let started = clock::stopwatch();
        for Message { home, payload } in &self.messages {
            let signed = Signed::<Reading>::parse(payload)?;
            std::hint::black_box(signed.verify_household(&domain, &keys[*home])?);
        }
        Ok(per_second(self.messages.len(), started.elapsed()))
    }

    /// Feeds them to a desk that waits for a household that is silent, so that it settles nothing.
    async fn store(&self, batch: usize, folder: &Path) -> anyhow::Result<StoredRate> {
        let mut at_work = AtWork::open(self, folder, true).await?;
        let most = self.messages.len().min(batch * MOST_TRANSACTIONS);
        let started = clock::stopwatch();
        let tally = at_work.feed(self, &self.messages[..most], batch).await?;
        let elapsed = started.elapsed();
        ensure!(tally.slots == 0, "nothing can be settled while a household is awaited");
        at_work.store.close().await?;
        Ok(StoredRate {
            batch,
            readings: tally.readings,
            per_s: per_second(tally.readings, elapsed),
            desk_share: tally.desk.as_secs_f64() / elapsed.as_secs_f64(),
        })
    }

    /// Feeds them to a desk that settles every slot as soon as its readings are in.
    async fn settle(&self, folder: &Path) -> anyhow::Result<SettledRate> {
        let mut at_work = AtWork::open(self, folder, false).await?;
        let started = clock::stopwatch();
        let batch = BATCHES[BATCHES.len() - 1];
        let mut tally = at_work.feed(self, &self.messages, batch).await?;
        // A step settles a bounded number of slots.
        for _ in 0..self.load.slots {
            tally.add(at_work.step(Vec::new()).await?);
        }
        let elapsed = started.elapsed();
        let slots = usize::from(self.load.slots);
        ensure!(tally.slots == slots, "{} of {slots} slots are settled", tally.slots);
        at_work.store.close().await?;
        Ok(SettledRate {
            readings: tally.readings,
            slots: tally.slots,
            bills: tally.bills,
            per_s: per_second(tally.readings, elapsed),
            desk_share: tally.desk.as_secs_f64() / elapsed.as_secs_f64(),
        })
    }
}

/// A desk and its record on a disk.
struct AtWork {
    desk: Desk,
    store: Store,
    now_ms: i64,
}

/// What steps have recorded.
#[derive(Default)]
struct Tally {
    readings: usize,
    slots: usize,
    bills: usize,
    /// Time in the desk, without the record.
    desk: Duration,
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.readings += other.readings;
        self.slots += other.slots;
        self.bills += other.bills;
        self.desk += other.desk;
    }
}

impl AtWork {
    /// Opens a new record with everybody's first reading, and lets all gates close up to the end
    /// of the readings.
    async fn open(chains: &Chains, folder: &Path, with_the_silent: bool) -> anyhow::Result<Self> {
        std::fs::create_dir_all(folder)?;
        let members = usize::from(chains.load.households) + usize::from(with_the_silent);
        let enrolments = chains.homes[..members].iter();
        let enrolments = enrolments.map(|(point, key)| enrolment(point, key)).collect();
        let key = OperatorKey::from_bytes(&[9; 32]).context("a constant")?;
        let now_ms = FIRST.start_ms() + 60_000;
        let path = folder.join("street.db");
        let mut store = Store::open(&path, &community()?, key.address()).await?;
        let desk = Desk::restore(setup(key, enrolments)?, store.load().await?, now_ms)?;
        store.begin_at(desk.first_open_slot()).await?;
        let mut at_work = Self { desk, store, now_ms };
        at_work.now_ms = FIRST.end_ms() + 1_000;
        at_work.feed(chains, &chains.opening[..members], members).await?;
        for count in 1..=chains.load.slots {
            at_work.now_ms = FIRST.offset(i64::from(count)).end_ms() + 1_000;
            let tally = at_work.step(Vec::new()).await?;
            ensure!(tally.slots == 0, "a slot is settled before its readings are in");
        }
        Ok(at_work)
    }

    async fn feed(
        &mut self,
        chains: &Chains,
        messages: &[Message],
        batch: usize,
    ) -> anyhow::Result<Tally> {
        let mut tally = Tally::default();
        let community = community()?;
        for messages in messages.chunks(batch) {
            let inputs = messages.iter().map(|Message { home, payload }| {
                let point = chains.homes[*home].0.clone();
                let topic = Topic::Up(point, Up::Reading).name(&community);
                Input::Message { topic, payload: payload.clone() }
            });
            tally.add(self.step(inputs.collect()).await?);
        }
        let expected = messages.len();
        ensure!(tally.readings == expected, "{} of {expected} readings stored", tally.readings);
        Ok(tally)
    }

    /// One step and its transaction, as the controller does it.
    async fn step(&mut self, inputs: Vec<Input>) -> anyhow::Result<Tally> {
        let started = clock::stopwatch();
        let step = self.desk.step(self.now_ms, inputs);
        let mut tally = Tally { desk: started.elapsed(), ..Tally::default() };
        self.store.write(&step.records).await?;
        for record in &step.records {
            match record {
                Record::Reading(record) => {
                    ensure!(record.quarantine.is_none(), "implausible: {:?}", record.quarantine);
                    tally.readings += 1;
                }
                Record::Settled(record) => {
                    tally.slots += 1;
                    tally.bills += record.statements.len();
                }
                Record::Refusal(refusal) => {
                    anyhow::bail!("refused: {}: {}", refusal.reason, refusal.detail)
                }
                _ => {}
            }
        }
        Ok(tally)
    }
}

fn draw(chance: &mut Chance) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes.chunks_exact_mut(8).for_each(|part| part.copy_from_slice(&chance.bits().to_be_bytes()));
    bytes
}

fn community() -> anyhow::Result<CommunityId> {
    Ok(CommunityId::new("bench")?)
}

fn setup(key: OperatorKey, enrolments: Vec<Enrolment>) -> anyhow::Result<Setup> {
    let (retail, feed_in) = (Price::from_e5_per_kwh(28_800), Price::from_e5_per_kwh(12_310));
    Ok(Setup {
        domain: Domain::new(community()?),
        key,
        salt_secret: [5; 32],
        market: MarketConfig { metering_deadline_s: DEADLINE_S, ..MarketConfig::default() },
        tariff: Tariff::Flat(Terms::new(retail, feed_in)?),
        grid: Arc::default(),
        sharing: Arc::default(),
        policy: Policy {
            rate_wei_per_wh: 1_000_000_000_000_000,
            cap_wei: 100_000_000_000_000_000_000,
        },
        anchor_every_slots: 4,
        enrolments,
    })
}

fn enrolment(point: &PointId, key: &HouseholdKey) -> Enrolment {
    let key = key.public();
    Enrolment {
        point: point.clone(),
        name: point.to_string(),
        bus: None,
        epoch: 1,
        payout: Address::from_slice(&key.as_bytes()[..20]),
        key,
        max_import_w: 30_000,
        max_export_w: 30_000,
        renewable: true,
        kind: "household".to_owned(),
        devices: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_reading_is_stored_and_every_slot_settled() {
        let folder = tempfile::tempdir().expect("a folder");
        let load = ReadingLoad { households: 3, slots: 20, seed: 1 };
        let cost = measure(load, folder.path()).await.expect("nothing is refused");
        assert_eq!(cost.stored.iter().map(|rate| rate.readings).collect::<Vec<_>>(), [60; 3]);
        assert_eq!((cost.settled.slots, cost.settled.bills), (20, 60));
        assert!(cost.verified_per_s > 0.0 && cost.settled.per_s > 0.0);
        assert!((300..2_000).contains(&cost.message_bytes), "{}", cost.message_bytes);
    }

    #[tokio::test]
    async fn a_forged_reading_is_no_figure() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut chains =
            Chains::sign(ReadingLoad { households: 2, slots: 2, seed: 1 }).expect("signed");
        chains.messages[1].home = 0;
        chains.verify().expect_err("another household's key");
        let error = chains.store(1, folder.path()).await.expect_err("the desk refuses it");
        assert!(error.to_string().contains("refused"), "{error}");
    }
}
