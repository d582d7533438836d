//! Writes a bundle from the record.

mod meters;

use std::collections::BTreeSet;
use std::io;

use protocol::{B256, Clearing, Header, Signed, keccak256};
use units::Slot;

use super::line::{
    AnchorLine, CheckpointLine, ClearingLine, FORMAT, GridLine, HeaderLine, Line, Manifest,
    MemberLine, OrderLine, Seal, SharingFormLine, StatementLine, Street, TransferLine,
    TransfersLine,
};
use crate::config::Config;
use crate::rules::KeyChangeRecord;
use crate::run::policy;
use crate::store::read::{LogEntry, ReadFault, Reader, StoredTransfer};
use meters::Meters;

/// Text that is handed on at once, bytes.
const CHUNK_BYTES: usize = 64 * 1024;
/// How many entries of the log a clearing may refer back.
const MAX_BEFORE: u64 = 4_096;

/// Why there is no bundle.
#[derive(Debug, thiserror::Error)]
pub enum ExportFault {
    /// The record cannot be read.
    #[error(transparent)]
    Read(#[from] ReadFault),
    /// The bundle cannot be written.
    #[error("the bundle cannot be written: {0}")]
    Write(#[from] io::Error),
    /// Not all of the slots are settled.
    #[error(
        "slots {} ({first}) to {} ({last}) are not all settled; the record has {have}",
        first.number(), last.number()
    )]
    NotSettled {
        /// First slot asked for.
        first: Slot,
        /// Last slot asked for.
        last: Slot,
        /// What there is.
        have: String,
    },
    /// The record contradicts itself or the configuration.
    #[error("slot {} ({slot}): {what}", slot.number())]
    Inconsistent {
        /// The slot.
        slot: Slot,
        /// What does not fit.
        what: String,
    },
}

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// Lines, the manifest included.
    pub lines: u64,
    /// The manifest's digest.
    pub fingerprint: B256,
}

/// A bundle about to be written.
pub struct Export {
    reader: Reader,
    street: Street,
    first: Slot,
    last: Slot,
    meters: Meters,
    /// Entries of the log before the first slot whose checkpoint is written.
    before: BTreeSet<u64>,
    /// Slots before the first whose clearing is written.
    earlier: BTreeSet<Slot>,
    /// Roots of the log that the bundle knows.
    roots: BTreeSet<B256>,
}

impl Export {
    /// Looks up what stands before the first slot.
    ///
    /// # Errors
    /// [`ExportFault`] when the slots are not all settled or the record does not fit.
    pub async fn begin(
        config: &Config,
        reader: &Reader,
        (first, last): (Slot, Slot),
    ) -> Result<Self, ExportFault> {
        let settled = reader.settled_range().await?;
        let covered =
            settled.is_some_and(|(from, to)| from <= first && first <= last && last <= to);
        if !covered {
            let have = settled.map_or_else(
                || "none".to_owned(),
                |(from, to)| format!("{} ({from}) to {} ({to})", from.number(), to.number()),
            );
            return Err(ExportFault::NotSettled { first, last, have });
        }
        let log = reader.log_entry(first.previous()).await?.map(|entry| entry.frontier);
        let log = log.unwrap_or_default();
        let index = log.size();
        let policy = policy(&config.rewards);
        let street = Street {
            format: FORMAT,
            community: config.community.clone(),
            currency: config.currency.clone(),
            operator: reader.operator().await?,
            first_slot: first.number(),
            last_slot: last.number(),
            gate_lead_s: config.market.gate_lead_s,
            correct_within_slots: config.market.correct_within_slots,
            reward_rate: policy.rate_wei_per_wh.to_string(),
            reward_cap: policy.cap_wei.to_string(),
            log,
            members: members(config, reader, index).await?,
        };
        Ok(Self {
            reader: reader.clone(),
            meters: Meters::before(reader, &street.members, (first, index)).await?,
            roots: BTreeSet::from([street.log.root()]),
            street,
            first,
            last,
            before: BTreeSet::new(),
            earlier: BTreeSet::new(),
        })
    }

    /// Writes all lines, in pieces that end with a line break, through `out`.
    ///
    /// # Errors
    /// [`ExportFault`]; what was written by then has no manifest and does not verify.
    pub async fn write(
        mut self,
        out: impl AsyncFnMut(String) -> io::Result<()>,
    ) -> Result<Written, ExportFault> {
        let mut writer = Writer::new(out);
        writer.line(&Line::Street(Box::new(self.street.clone()))).await?;
        let first_index = self.street.log.size();
        if let Some(before) = first_index.checked_sub(1) {
            self.write_before(before, &mut writer).await?;
        }
        for grid in self.reader.grids_between(self.first, self.last).await? {
            writer.line(&Line::Grid(Box::new(GridLine { grid }))).await?;
        }
        for sharing in self.reader.sharings_between(self.first, self.last).await? {
            let sharing = sharing.form().clone();
            writer.line(&Line::Sharing(Box::new(SharingFormLine { sharing }))).await?;
        }
        for reading in self.meters.baselines(&self.reader).await? {
            writer.line(&Line::Baseline(Box::new(reading))).await?;
        }
        writer.seal().await?;
        let mut index = first_index;
        loop {
            let header = self.write_entry(index, &mut writer).await?;
            if header.version == 1 && header.slot >= self.last.number() {
                break;
            }
            index += 1;
        }
        for epoch in self.reader.epochs_ending_between(self.first, self.last).await? {
            let anchor = AnchorLine { header: epoch.header, rewards: epoch.rewards };
            writer.line(&Line::Anchor(Box::new(anchor))).await?;
        }
        writer.seal().await?;
        writer.finish().await
    }

    /// Writes an entry of the log: a slot that was settled, or settled again.
    async fn write_entry(
        &mut self,
        index: u64,
        writer: &mut Writer<impl AsyncFnMut(String) -> io::Result<()>>,
    ) -> Result<Header, ExportFault> {
        let entry = self.reader.log_entry_at(index).await?;
        let LogEntry { header, checkpoint, frontier } =
            entry.ok_or_else(|| ExportFault::Inconsistent {
                slot: self.last,
                what: format!("the log has no entry {index}"),
            })?;
        let slot = Slot::new(header.slot);
        let statements = self.reader.statements_of(index).await?;
        let auction = if header.version == 1 { Some(self.clearing(slot).await?) } else { None };
        if let Some(clearing) = &auction {
            self.write_root(slot, clearing.body.log_root, writer).await?;
        }
        for late in statements.iter().flat_map(|(statement, _)| &statement.late) {
            self.write_terms(Slot::new(late.slot), writer).await?;
        }
        if let Some(clearing) = auction {
            writer.line(&Line::Clearing(Box::new(ClearingLine { clearing }))).await?;
            for order in self.reader.book(slot).await? {
                let order = OrderLine { received_ms: order.received_ms, order: order.signed };
                writer.line(&Line::Order(Box::new(order))).await?;
            }
        }
        let until =
            statements.iter().map(|(statement, seq)| (statement.point.clone(), *seq)).collect();
        for reading in self.meters.used_in(&self.reader, &header, &until).await? {
            writer.line(&Line::Reading(Box::new(reading))).await?;
        }
        for (statement, _) in statements {
            writer.line(&Line::Statement(Box::new(StatementLine { statement }))).await?;
        }
        let transfers = self.reader.transfers(slot, header.version).await?;
        let transfers = transfers.into_iter().map(TransferLine::from).collect();
        writer.line(&Line::Transfers(Box::new(TransfersLine { transfers }))).await?;
        let line = HeaderLine { header: header.clone(), checkpoint };
        writer.line(&Line::Header(Box::new(line))).await?;
        self.roots.insert(frontier.root());
        writer.seal().await?;
        Ok(header)
    }

    async fn clearing(&self, slot: Slot) -> Result<Signed<Clearing>, ExportFault> {
        let missing =
            || ExportFault::Inconsistent { slot, what: "its clearing is missing".to_owned() };
        self.reader.signed_clearing(slot).await?.ok_or_else(missing)
    }

    /// Writes the checkpoints that connect an older root, which a clearing refers to, with the log.
    async fn write_root(
        &mut self,
        slot: Slot,
        root: B256,
        writer: &mut Writer<impl AsyncFnMut(String) -> io::Result<()>>,
    ) -> Result<(), ExportFault> {
        if self.roots.contains(&root) {
            return Ok(());
        }
        // Of an empty log, the entry that follows is the first one.
        let found = if root.is_zero() { Some(0) } else { self.reader.index_of_root(root).await? };
        let first = self.street.log.size();
        let Some(oldest) = found.filter(|&found| found < first && first - found <= MAX_BEFORE)
        else {
            let what = format!("its clearing refers to a log root {root} that is not on record");
            return Err(ExportFault::Inconsistent { slot, what });
        };
        let newest = self.before.first().copied().unwrap_or(first);
        for index in (oldest..newest).rev() {
            self.write_before(index, writer).await?;
        }
        self.roots.insert(root);
        Ok(())
    }

    async fn write_before(
        &mut self,
        index: u64,
        writer: &mut Writer<impl AsyncFnMut(String) -> io::Result<()>>,
    ) -> Result<(), ExportFault> {
        let Some(entry) = self.reader.log_entry_at(index).await? else { return Ok(()) };
        self.before.insert(index);
        self.roots.insert(entry.frontier.root());
        let checkpoint = CheckpointLine { checkpoint: entry.checkpoint };
        writer.line(&Line::Before(Box::new(checkpoint))).await
    }

    /// Writes the clearing of a slot before the first, for its terms.
    async fn write_terms(
        &mut self,
        slot: Slot,
        writer: &mut Writer<impl AsyncFnMut(String) -> io::Result<()>>,
    ) -> Result<(), ExportFault> {
        if slot >= self.first || self.earlier.contains(&slot) {
            return Ok(());
        }
        // Slots before the first one ever have no clearing; the verifier says so.
        let Some(clearing) = self.reader.signed_clearing(slot).await? else { return Ok(()) };
        self.earlier.insert(slot);
        writer.line(&Line::Earlier(Box::new(ClearingLine { clearing }))).await
    }
}

async fn members(
    config: &Config,
    reader: &Reader,
    index: u64,
) -> Result<Vec<MemberLine>, ReadFault> {
    let mut members = Vec::with_capacity(config.households.len());
    for home in &config.households {
        let statement = reader.statement_before(&home.point, index).await?;
        let rewards = statement.map(|statement| statement.reward_total).unwrap_or_default();
        let key_changes = reader.key_changes(&home.point, home.epoch).await?;
        members.push(MemberLine {
            point: home.point.clone(),
            key: first_key(&home.key, &key_changes),
            epoch: home.epoch,
            key_changes,
            key_revocations: reader.key_revocations(&home.point, home.epoch).await?,
            payout: home.payout,
            renewable: home.renewable,
            max_import_w: home.max_import_w,
            max_export_w: home.max_export_w,
            rewards_before: rewards.to_string(),
        });
    }
    members.sort_by(|a, b| a.point.cmp(&b.point));
    Ok(members)
}

/// The key with which an epoch began: that of the configuration, unless a newer one has taken its
/// place there.
fn first_key(configured: &str, changes: &[KeyChangeRecord]) -> String {
    let is = |key: &protocol::B256| hex::encode(key).eq_ignore_ascii_case(configured);
    match changes.first() {
        Some(first) if changes.iter().any(|record| is(&record.change.body.new_key)) => {
            hex::encode(first.change.body.old_key)
        }
        _ => configured.to_owned(),
    }
}

impl From<StoredTransfer> for TransferLine {
    fn from(transfer: StoredTransfer) -> Self {
        let StoredTransfer { debit, credit, amount, reason } = transfer;
        Self { debit, credit, amount, reason }
    }
}

/// Writes lines, and the seals over them.
struct Writer<F> {
    out: F,
    text: String,
    lines: u64,
    /// Hashes of the lines of the open block.
    block: Vec<B256>,
    seals: Vec<B256>,
}

impl<F: AsyncFnMut(String) -> io::Result<()>> Writer<F> {
    fn new(out: F) -> Self {
        Self { out, text: String::new(), lines: 0, block: Vec::new(), seals: Vec::new() }
    }

    async fn line(&mut self, line: &Line) -> Result<(), ExportFault> {
        let text = line.to_text();
        self.block.push(keccak256(text.as_bytes()));
        self.put(&text).await
    }

    async fn seal(&mut self) -> Result<(), ExportFault> {
        let seal = Seal::over(std::mem::take(&mut self.block));
        self.seals.push(seal.digest);
        self.put(&Line::Seal(Box::new(seal)).to_text()).await
    }

    async fn put(&mut self, text: &str) -> Result<(), ExportFault> {
        self.text.push_str(text);
        self.text.push('\n');
        self.lines += 1;
        if self.text.len() >= CHUNK_BYTES {
            (self.out)(std::mem::take(&mut self.text)).await?;
        }
        Ok(())
    }

    async fn finish(mut self) -> Result<Written, ExportFault> {
        let manifest = Manifest::over(self.lines, std::mem::take(&mut self.seals));
        let fingerprint = manifest.digest;
        self.put(&Line::Manifest(Box::new(manifest)).to_text()).await?;
        (self.out)(std::mem::take(&mut self.text)).await?;
        Ok(Written { lines: self.lines, fingerprint })
    }
}
