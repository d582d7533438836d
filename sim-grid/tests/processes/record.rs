//! What the processes left on disk, and everything that must be true of it, whatever was killed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chain::{Chain, EmbeddedChain, EmbeddedConfig};
use controller::config::Config;
use controller::store::read::{AnchorState, LogEntry, Reader, Refusals, StatementRow};
use meter_agent::journal::Journal;
use protocol::merkle::{self, Frontier};
use protocol::{Domain, Header, Reading};
use sim_grid::scenario::{Scenario, parse_slot};
use sim_grid::world::{World, WorldOptions};
use units::{Money, PointId, Slot};

use crate::programs::run;
use crate::scenario::FROM;
use crate::street::{Remains, SEED};

/// Refusals that a lost message explains; every other one is a fault of somebody.
const HARMLESS: [&str; 2] = ["gap", "after the gate"];

/// The record of the controller beside the journals of the households.
pub struct Record {
    pub journals: BTreeMap<PointId, Vec<Reading>>,
    /// The newest of every settled slot, in order.
    pub headers: Vec<Header>,
    /// The whole log, in order.
    pub log: Vec<LogEntry>,
    /// Oldest first.
    pub statements: BTreeMap<PointId, Vec<StatementRow>>,
    pub refusals: Refusals,
    remains: Remains,
    config: Config,
    domain: Domain,
    reader: Reader,
}

impl Record {
    /// Reads everything.
    pub async fn read(remains: Remains) -> Self {
        let config = Config::load(&remains.controller_file()).expect("its own file");
        let domain = Domain::new(config.community.clone());
        let reader = Reader::open(&config.data_dir.join("street.db")).await.expect("a record");
        let (mut journals, mut statements) = (BTreeMap::new(), BTreeMap::new());
        for point in &remains.points {
            let (journal, opened) =
                Journal::open(&remains.household(point), &domain, 1).expect("a journal");
            assert_eq!(opened.cut_bytes, 0, "{point} stopped in good order");
            let entries = journal.newest(u64::MAX).expect("readable");
            let readings = entries.into_iter().map(|entry| entry.reading.body).collect();
            journals.insert(point.clone(), readings);
            let mut rows = reader.statements(point, None, 1_000).await.expect("readable");
            rows.reverse();
            statements.insert(point.clone(), rows);
        }
        let (first, last) = reader.settled_range().await.expect("readable").expect("settled");
        let mut headers = Vec::new();
        for number in first.number()..=last.number() {
            let header = reader.header(Slot::new(number)).await.expect("readable");
            headers.push(header.unwrap_or_else(|| panic!("{} is settled", Slot::new(number))));
        }
        let mut log = Vec::new();
        while let Some(entry) = reader.log_entry_at(log.len() as u64).await.expect("readable") {
            log.push(entry);
        }
        let refusals = reader.refusals(1_000).await.expect("readable");
        Self { journals, headers, log, statements, refusals, remains, config, domain, reader }
    }

    /// First settled slot.
    pub fn first(&self) -> Slot {
        Slot::new(self.headers.first().expect("something is settled").slot)
    }

    /// Last settled slot.
    pub fn last(&self) -> Slot {
        Slot::new(self.headers.last().expect("something is settled").slot)
    }

    /// The headers of all settlements of a slot, the first one first.
    pub fn versions(&self, slot: Slot) -> Vec<&Header> {
        let headers = self.log.iter().map(|entry| &entry.header);
        headers.filter(|header| header.slot == slot.number()).collect()
    }

    /// Settled slots whose end a household has no reading of.
    pub fn missed(&self, point: &PointId) -> BTreeSet<Slot> {
        let read: BTreeSet<i64> = self.journals[point].iter().map(|reading| reading.slot).collect();
        let settled = self.headers.iter().map(|header| header.slot);
        settled.filter(|slot| !read.contains(slot)).map(Slot::new).collect()
    }

    /// All that must be true at the end of every test.
    pub async fn assert_nothing_lost_or_doubled(&self) {
        for point in self.journals.keys() {
            self.assert_readings(point).await;
            self.assert_energy(point);
            self.assert_audits(point);
        }
        let local_wh: i64 = self.headers.iter().map(|header| header.totals.local_wh).sum();
        assert!(local_wh > 0, "neighbours used each other's energy");
        self.assert_truth();
        self.assert_log().await;
        self.assert_money().await;
        self.assert_anchors().await;
        for (reason, count) in &self.refusals.by_reason {
            let recent = &self.refusals.recent;
            assert!(HARMLESS.contains(&reason.as_str()), "{count} times {reason}: {recent:#?}");
        }
        self.assert_bundle();
        self.report();
    }

    /// Every journalled reading is in the record, in order, once, and nothing else is.
    async fn assert_readings(&self, point: &PointId) {
        let mut stored = Vec::new();
        loop {
            let after = stored.len() as u64;
            let next = self.reader.readings_after(point, 1, after).await.expect("readable");
            if next.is_empty() {
                break;
            }
            stored.extend(next);
        }
        let journal = &self.journals[point];
        let numbers: Vec<u64> = stored.iter().map(|stored| stored.signed.body.seq).collect();
        let expected: Vec<u64> = (1..=journal.len() as u64).collect();
        assert_eq!(numbers, expected, "{point}: sequence numbers in the record");
        for (stored, journalled) in stored.iter().zip(journal) {
            assert_eq!(stored.signed.body, *journalled, "{point}");
            assert_eq!(stored.digest, self.domain.digest(journalled), "{point}");
            assert_eq!(stored.quarantine, None, "{point}: {journalled:?}");
        }
        for pair in journal.windows(2) {
            assert_eq!(pair[1].prev, self.domain.digest(&pair[0]), "{point}: one chain");
            assert!(pair[0].slot < pair[1].slot, "{point}: no slot is read twice");
        }
        let received: Vec<i64> = stored.iter().map(|stored| stored.received_ms).collect();
        assert!(received.is_sorted(), "{point}: delivered in order");
    }

    /// What was billed, on time and late, is what the registers counted, to the Wh.
    fn assert_energy(&self, point: &PointId) {
        let rows = &self.statements[point];
        let slots: Vec<i64> = rows.iter().map(|row| row.statement.slot).collect();
        let expected: Vec<i64> = (self.first().number()..=self.last().number()).collect();
        assert_eq!(slots, expected, "{point}: one statement for every slot");
        let (mut import_wh, mut export_wh) = (0, 0);
        for row in rows {
            import_wh += row.statement.import_wh;
            export_wh += row.statement.export_wh;
            for line in &row.statement.late {
                import_wh += line.import_wh;
                export_wh += line.export_wh;
            }
        }
        let journal = &self.journals[point];
        // Metering starts at the start of the first slot: readings of earlier edges count for nothing.
        let opened = self.first().previous().number();
        let first = journal.iter().find(|reading| reading.slot >= opened).expect("read");
        let last = journal.iter().rev().find(|reading| reading.slot <= self.last().number());
        let last = last.expect("read");
        assert_eq!(last.slot, self.last().number(), "{point}: read up to the end");
        assert_eq!(import_wh.unsigned_abs(), last.import_wh - first.import_wh, "{point}: import");
        assert_eq!(export_wh.unsigned_abs(), last.export_wh - first.export_wh, "{point}: export");
    }

    /// The household's own agent has checked every one of its bills.
    fn assert_audits(&self, point: &PointId) {
        for row in &self.statements[point] {
            let slot = Slot::new(row.statement.slot);
            let audit = row.audit.as_ref();
            let audit = audit.unwrap_or_else(|| panic!("{point} has not checked {slot}"));
            assert!(audit.verified, "{point}, {slot}: {}", audit.reason);
        }
        let evidence = self.remains.household(point).join("evidence");
        let found = std::fs::read_dir(&evidence).map_or(0, Iterator::count);
        assert_eq!(found, 0, "{point} keeps evidence in {}", evidence.display());
    }

    /// What was journalled is what the simulated meters counted, and not something made up: a
    /// reading lies between the registers at its own edge and those of the edges around it, and
    /// most readings are exactly the edge.
    fn assert_truth(&self) {
        let scenario = Arc::new(Scenario::load(&self.remains.scenario()).expect("loads"));
        let from = parse_slot(FROM).expect("a slot");
        let options = WorldOptions { seed: SEED, from, mqtt: self.remains.mqtt };
        let mut world = World::new(scenario, options).expect("it ran before");
        let mut truth = BTreeMap::new();
        // An agent that starts right after the first edge still reads it.
        for number in from.number() - 2..=self.last().number() + 2 {
            let end_ms = Slot::new(number).end_ms().max(from.start_ms());
            world.advance_to(end_ms).expect("it ran before");
            for (index, customer) in world.scenario().customers.clone().iter().enumerate() {
                let registers = (world.customer(index).import_wh, world.customer(index).export_wh);
                truth.insert((customer.id.clone(), number), registers);
            }
        }
        let (mut exact, mut count) = (0, 0);
        for (point, journal) in &self.journals {
            for reading in journal {
                let at = |slot: i64| truth[&(point.clone(), slot)];
                let registers = (reading.import_wh, reading.export_wh);
                let (before, after) = (at(reading.slot - 1), at(reading.slot + 1));
                let holds = before.0 <= registers.0
                    && before.1 <= registers.1
                    && registers.0 <= after.0
                    && registers.1 <= after.1;
                assert!(holds, "{point}: {reading:?} between {before:?} and {after:?}");
                exact += usize::from(registers == at(reading.slot));
                count += 1;
            }
        }
        println!("{exact} of {count} readings show exactly the registers at the edge");
        assert!(exact * 2 > count, "readings belong to their edges");
    }

    /// The log grew by one entry per settlement, nothing in it was ever replaced, and every slot's
    /// versions follow each other.
    async fn assert_log(&self) {
        let operator = self.reader.operator().await.expect("readable");
        let (mut frontier, mut versions) = (Frontier::default(), BTreeMap::new());
        for (index, LogEntry { header, checkpoint, frontier: stored }) in
            self.log.iter().enumerate()
        {
            let slot = Slot::new(header.slot);
            assert_eq!(header.index, index as u64, "{slot}: log index");
            assert_eq!(header.previous_root, frontier.root(), "{slot}");
            let version = versions.entry(slot).or_insert(0);
            *version += 1;
            assert_eq!(header.version, *version, "{slot}");
            frontier.append(merkle::leaf(self.domain.digest(header)));
            assert_eq!(*stored, frontier, "{slot}");
            let checkpoint = checkpoint.clone().verify_operator(&self.domain, operator);
            let checkpoint = checkpoint.expect("signed by the operator");
            let (size, root) = (checkpoint.body().size, checkpoint.body().root);
            assert_eq!((size, root), (frontier.size(), frontier.root()), "{slot}");
        }
        assert_eq!(versions.len(), self.headers.len(), "every slot is in the log");
    }

    /// Nothing was made and nothing vanished, and every household's account says what its bills say.
    async fn assert_money(&self) {
        let balances = self.reader.balances(self.last()).await.expect("readable");
        assert_eq!(balances.values().sum::<Money>(), Money::ZERO, "the ledger sums to zero");
        let pool = balances.get("pool").copied().unwrap_or(Money::ZERO);
        assert!(pool.is_zero(), "the pool is empty");
        for (point, rows) in &self.statements {
            let paid: i64 = rows.iter().map(|row| row.statement.amount).sum();
            let balance = balances.get(&format!("household:{point}")).copied();
            assert_eq!(balance.unwrap_or(Money::ZERO), Money::from_nano(-paid), "{point}");
        }
    }

    /// Every epoch is on the chain once, and the epochs cover the log without a gap.
    async fn assert_anchors(&self) {
        let mut anchors = self.reader.anchors(None, 1_000).await.expect("readable");
        anchors.reverse();
        let chain = EmbeddedChain::open(EmbeddedConfig {
            dir: self.config.data_dir.join("chain"),
            chain_id: self.config.chain.chain_id,
            fund: Vec::new(),
            now_unix_s: Arc::new(|| 0),
        })
        .expect("the chain is whole");
        let (mut next, mut seen) = (self.first(), BTreeSet::new());
        for (anchor, seq) in anchors.iter().zip(1..) {
            assert_eq!(anchor.draft.seq, seq, "epochs count up");
            assert_eq!(anchor.draft.from_slot, next, "epoch {seq} goes on where the last ended");
            assert_eq!(anchor.state, AnchorState::Final, "epoch {seq}");
            let hash = anchor.tx_hash.expect("it was sent");
            assert!(seen.insert(hash), "epoch {seq} has its own transaction");
            let receipt = chain.receipt(hash).await.expect("the chain answers");
            let receipt = receipt.unwrap_or_else(|| panic!("epoch {seq} is on the chain"));
            assert!(receipt.success && Some(receipt.block_number) == anchor.block, "{receipt:?}");
            next = anchor.draft.to_slot.next();
        }
        let open = self.last().number() - next.number() + 1;
        let size = i64::from(self.config.chain.anchor_every_slots);
        assert!((0..size).contains(&open), "{open} slots are not anchored");
    }

    /// Somebody who has only the bundle comes to the same end.
    fn assert_bundle(&self) {
        let file = |name: &str| self.remains.file(name).to_str().expect("text").to_owned();
        let (config, bundle) = (file("controller.toml"), file("bundle.jsonl"));
        let (first, last) = (self.first().number().to_string(), self.last().number().to_string());
        run(
            "controller",
            &["export", "--config", &config, "--from", &first, "--to", &last, "--out", &bundle],
        );
        let said = run("controller", &["verify", &bundle]);
        assert!(said.contains("VERIFIED"), "{said}");
    }

    fn report(&self) {
        let late: usize =
            self.statements.values().flatten().map(|row| row.statement.late.len()).sum();
        println!(
            "{} slots from {}, {} settled again, {} readings, {late} late lines, missing meters by slot {:?}, \
             traded Wh by slot {:?}, refused {:?}",
            self.headers.len(),
            self.first(),
            self.log.len() - self.headers.len(),
            self.journals.values().map(Vec::len).sum::<usize>(),
            self.headers.iter().map(|header| header.missing).collect::<Vec<_>>(),
            self.headers.iter().map(|header| header.scheduled_wh).collect::<Vec<_>>(),
            self.refusals.by_reason,
        );
    }
}
