//! Brings epochs and claims onto the chain, each exactly once, however often it has to begin again.
//!
//! Everything is written to the outbox before it is sent. Whether it happened is read from the
//! contracts, never from a receipt alone. The chain may be away for days: settlement goes on, epochs
//! queue, and they follow in order when it is back.

use std::sync::Arc;
use std::time::Duration;

use chain::{
    Action, At, Broadcast, Call, Chain, ChainError, DeployParams, DeployPlan, Deployment, Effect,
    EpochHeader, Observation, OutboxRules, SignedTx, TxRequest, TxState, Wallet, broadcast,
    community_hash, estimate, metering_point_commitment,
};
use clock::Clock;
use protocol::{B256, keccak256};
use tokio::sync::{Mutex, Notify, broadcast as channel};
use tracing::{error, info, warn};
use units::CommunityId;

use crate::desk::{AnchorDraft, Enrolment};
use crate::http::events::Event;
use crate::store::outbox::{Outbox, PendingAnchor, PendingClaim, Posted, Progress};
use crate::store::{Store, StoreFault};

/// Pause between two looks at a transaction that is on its way.
const LOOK: Duration = Duration::from_millis(250);
/// Pause after a fault of the chain.
const AFTER_FAULT: Duration = Duration::from_secs(3);
/// How often a deployment step is looked for.
const DEPLOY_CHECKS: u32 = 600;

/// What stands between the street and the chain.
#[derive(Debug, thiserror::Error)]
pub enum WorkerFault {
    /// The chain is away or refuses.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// The record cannot be written; the controller must stop.
    #[error(transparent)]
    Store(#[from] StoreFault),
    /// The contracts say something else than the record.
    #[error("{0}")]
    Conflict(String),
}

/// What does not change while the worker runs.
pub struct Worker {
    /// The chain.
    pub chain: Arc<dyn Chain>,
    /// The operator's account.
    pub wallet: Wallet,
    /// The record.
    pub store: Arc<Mutex<Store>>,
    /// Market time, for the record.
    pub clock: Clock,
    /// The community.
    pub community: CommunityId,
    /// The members, to be registered.
    pub enrolments: Vec<Enrolment>,
    /// Keeps commitments from being guessed.
    pub salt_secret: [u8; 32],
    /// Most rewards per epoch, 10⁻¹⁸ tokens.
    pub epoch_reward_cap: u128,
    /// Which block counts as final.
    pub finality: At,
    /// Wakes the worker when something was queued.
    pub wake: Arc<Notify>,
    /// Tells the pages.
    pub events: channel::Sender<Event>,
}

impl Worker {
    /// Where the contracts are: deployed by an earlier start, or planned now and deployed by
    /// [`Worker::run`]. The plan is written before anything is sent.
    ///
    /// # Errors
    /// [`WorkerFault`] when chain or record cannot be read.
    pub async fn plan(&self) -> Result<DeployPlan, WorkerFault> {
        let written = self.store.lock().await.meta("deploy_plan").await?;
        if let Some(text) = written {
            return serde_json::from_str(&text)
                .map_err(|error| StoreFault::Damaged(format!("deploy_plan: {error}")).into());
        }
        let plan = DeployPlan {
            deployer: self.wallet.address(),
            first_nonce: self.chain.nonce(self.wallet.address()).await?,
            params: DeployParams {
                operator: self.wallet.address(),
                community: community_hash(self.community.as_str()),
                epoch_reward_cap: self.epoch_reward_cap,
                total_reward_cap: self.epoch_reward_cap.saturating_mul(10_000_000),
            },
        };
        let text = serde_json::to_string(&plan).expect("plain data");
        self.store.lock().await.set_meta("deploy_plan", &text).await?;
        Ok(plan)
    }

    /// [`Worker::plan`], again and again until the chain answers.
    ///
    /// # Errors
    /// [`StoreFault`] only.
    pub async fn plan_patiently(&self) -> Result<DeployPlan, StoreFault> {
        loop {
            match self.plan().await {
                Ok(plan) => return Ok(plan),
                Err(fault) => self.complain(&fault).await?,
            }
        }
    }

    /// Deploys what is missing, registers the members, then serves the outbox until the process
    /// ends. A fault of the chain is waited out; a fault of the record ends it.
    ///
    /// # Errors
    /// [`StoreFault`] only.
    pub async fn run(self, plan: DeployPlan) -> Result<(), StoreFault> {
        let deployment = loop {
            match plan.run(&*self.chain, &self.wallet, DEPLOY_CHECKS, LOOK).await {
                Ok(deployment) => break deployment,
                Err(fault) => self.complain(&fault.into()).await?,
            }
        };
        info!(anchor = %deployment.anchor, "contracts are in place");
        while let Err(fault) = self.register(&deployment).await {
            self.complain(&fault).await?;
        }
        loop {
            match self.advance(&deployment).await {
                Ok(true) => {}
                Ok(false) => {
                    // Woken by new work, or after a while in case a wake-up was missed.
                    let _ = tokio::time::timeout(AFTER_FAULT, self.wake.notified()).await;
                }
                Err(fault) => self.complain(&fault).await?,
            }
        }
    }

    /// Logs a fault and waits; passes on what cannot be waited out.
    async fn complain(&self, fault: &WorkerFault) -> Result<(), StoreFault> {
        match fault {
            WorkerFault::Store(StoreFault::Damaged(what)) => {
                return Err(StoreFault::Damaged(what.clone()));
            }
            WorkerFault::Conflict(_) => error!(%fault, "the chain contradicts the record"),
            _ => warn!(%fault, "the chain is not available; trying again"),
        }
        tokio::time::sleep(AFTER_FAULT).await;
        Ok(())
    }

    /// Registers members that the registry does not know; it refuses a second entry, so repeating
    /// is harmless.
    async fn register(&self, deployment: &Deployment) -> Result<(), WorkerFault> {
        for enrolment in &self.enrolments {
            let salt = keccak256(
                [self.salt_secret.as_slice(), enrolment.point.as_str().as_bytes()].concat(),
            );
            let commitment = metering_point_commitment(
                &salt.0,
                self.community.as_str(),
                enrolment.point.as_str(),
            );
            if deployment.household(&*self.chain, commitment).await?.is_some() {
                continue;
            }
            let call = deployment.enrol(enrolment.payout, enrolment.key.as_bytes(), commitment);
            let signed = self.sign(&call, None).await?;
            send(&*self.chain, &signed).await?;
            for _ in 0..DEPLOY_CHECKS {
                if deployment.household(&*self.chain, commitment).await?.is_some() {
                    break;
                }
                tokio::time::sleep(LOOK).await;
            }
        }
        Ok(())
    }

    /// Does one thing for the oldest entry of each outbox; false when there is nothing to do.
    async fn advance(&self, deployment: &Deployment) -> Result<bool, WorkerFault> {
        let anchor = self.store.lock().await.pending_anchor().await?;
        if let Some(anchor) = anchor {
            self.advance_anchor(deployment, anchor).await?;
            return Ok(true);
        }
        let claim = self.store.lock().await.pending_claim().await?;
        if let Some(claim) = claim {
            self.advance_claim(deployment, claim).await?;
            return Ok(true);
        }
        Ok(false)
    }

    async fn advance_anchor(
        &self,
        deployment: &Deployment,
        pending: PendingAnchor,
    ) -> Result<(), WorkerFault> {
        let seq = pending.draft.seq;
        let header = match pending.epoch_header {
            Some(header) => header,
            None => self.write_header(deployment, &pending.draft).await?,
        };
        let call = deployment.submit(&header);
        let Some(posted) = pending.posted else {
            if self.anchored(deployment, &header, At::Latest).await? {
                // Sent before a crash that lost only our note of it.
                let done = Some(Event::Anchored(seq));
                return self.finish(Outbox::Anchor, seq, None, done).await;
            }
            let (posted, _) = self.prepare(&call, None).await?;
            self.store.lock().await.post(Outbox::Anchor, seq, &posted).await?;
            return Ok(());
        };
        let effect = if self.anchored(deployment, &header, self.finality).await? {
            Effect::Final
        } else if self.anchored(deployment, &header, At::Latest).await? {
            Effect::Latest
        } else {
            Effect::Absent
        };
        let done = Some(Event::Anchored(seq));
        self.follow(Outbox::Anchor, seq, posted, &call, effect, done).await
    }

    /// Builds the header from the epoch and the chain's head, and writes it down: no epoch is ever
    /// submitted with two different headers.
    async fn write_header(
        &self,
        deployment: &Deployment,
        draft: &AnchorDraft,
    ) -> Result<EpochHeader, WorkerFault> {
        let head = deployment.head(&*self.chain, At::Latest).await?;
        let before = match draft.seq {
            1 => Some(B256::ZERO),
            seq => self.store.lock().await.anchor_hash(seq - 1).await?,
        };
        if head.seq + 1 != draft.seq || Some(head.hash) != before {
            return Err(WorkerFault::Conflict(format!(
                "epoch {} is next here, but the contract's head is epoch {} with hash {}",
                draft.seq, head.seq, head.hash
            )));
        }
        let header = epoch_header(draft, head.hash);
        self.store.lock().await.set_epoch_header(&header).await?;
        Ok(header)
    }

    async fn anchored(
        &self,
        deployment: &Deployment,
        header: &EpochHeader,
        at: At,
    ) -> Result<bool, WorkerFault> {
        let head = deployment.head(&*self.chain, at).await?;
        if head.seq < header.seq {
            return Ok(false);
        }
        let epoch = deployment.epoch(&*self.chain, header.seq, at).await?;
        if epoch.is_some_and(|epoch| epoch.header_hash == header.hash()) {
            return Ok(true);
        }
        let what = format!("epoch {} stands on the chain with another header", header.seq);
        Err(WorkerFault::Conflict(what))
    }

    async fn advance_claim(
        &self,
        deployment: &Deployment,
        pending: PendingClaim,
    ) -> Result<(), WorkerFault> {
        let newest = self.store.lock().await.newest_final_anchor().await?;
        let Some(draft) = newest else { return Ok(()) };
        // Claims are checked against the newest epoch, which proves at least what was asked for.
        let tree = draft.rewards_tree();
        let cumulative = tree.earned(pending.account);
        let proof = tree.proof(pending.account).unwrap_or_default();
        let call = deployment.claim(pending.account, cumulative, &proof);
        let claimed = |at: At| deployment.claimed(&*self.chain, pending.account, at);
        let Some(posted) = pending.posted else {
            if claimed(At::Latest).await? >= pending.cumulative {
                return self.finish(Outbox::Claim, pending.seq, None, None).await;
            }
            let (posted, _) = self.prepare(&call, None).await?;
            self.store.lock().await.post(Outbox::Claim, pending.seq, &posted).await?;
            return Ok(());
        };
        let effect = if claimed(self.finality).await? >= pending.cumulative {
            Effect::Final
        } else if claimed(At::Latest).await? >= pending.cumulative {
            Effect::Latest
        } else {
            Effect::Absent
        };
        self.follow(Outbox::Claim, pending.seq, posted, &call, effect, None).await
    }

    /// One look at a transaction, and what the rules say to do.
    async fn follow(
        &self,
        table: Outbox,
        seq: u64,
        posted: Posted,
        call: &Call,
        effect: Effect,
        done: Option<Event>,
    ) -> Result<(), WorkerFault> {
        let receipt = self.chain.receipt(posted.tx_hash).await?;
        let seen = Observation {
            effect,
            nonce_used: self.chain.nonce(self.wallet.address()).await? > posted.nonce,
            reverted: receipt.as_ref().is_some_and(|receipt| !receipt.success),
            market: self.chain.fees().await?,
        };
        let Progress { state, fees, gas_limit } = posted.progress.clone();
        let (next, action) = state.next(&seen, fees, &OutboxRules::default());
        let block = receipt.map(|receipt| receipt.block_number);
        if next == TxState::Final {
            return self.finish(table, seq, block, done).await;
        }
        if let TxState::Failed { reason } = next {
            let reason = format!("transaction {} failed: {reason:?}", posted.tx_hash);
            warn!(%reason, "trying again with a new transaction");
            self.store.lock().await.requeue(table, seq, &reason).await?;
            return Ok(());
        }
        let progress = Progress { state: next, fees, gas_limit };
        self.store.lock().await.progress(table, seq, &progress, block, None).await?;
        match action {
            Action::Broadcast | Action::BroadcastAndAlarm => {
                if action == Action::BroadcastAndAlarm {
                    error!(nonce = posted.nonce, "a transaction does not get into a block");
                }
                send(&*self.chain, &decode(&posted)?).await?;
            }
            Action::Replace(fees) => {
                let (replacement, signed) = self.prepare(call, Some((posted.nonce, fees))).await?;
                let progress = Progress { state: next, ..replacement.progress.clone() };
                let replacement = Posted { progress, ..replacement };
                self.store.lock().await.post(table, seq, &replacement).await?;
                send(&*self.chain, &signed).await?;
            }
            Action::Wait | Action::Stop => {}
        }
        tokio::time::sleep(if effect == Effect::Latest { LOOK * 4 } else { LOOK / 10 }).await;
        Ok(())
    }

    async fn finish(
        &self,
        table: Outbox,
        seq: u64,
        block: Option<u64>,
        done: Option<Event>,
    ) -> Result<(), WorkerFault> {
        let progress =
            Progress { state: TxState::Final, fees: self.chain.fees().await?, gas_limit: 0 };
        let now_ms = self.clock.now_ms();
        self.store.lock().await.progress(table, seq, &progress, block, Some(now_ms)).await?;
        if let Some(event) = done {
            // Nobody may be listening.
            let _ = self.events.send(event);
        }
        Ok(())
    }

    async fn prepare(
        &self,
        call: &Call,
        replace: Option<(u64, chain::Fees)>,
    ) -> Result<(Posted, SignedTx), WorkerFault> {
        let signed = self.sign(call, replace).await?;
        let posted = Posted {
            nonce: signed.nonce,
            raw: signed.raw.to_vec(),
            tx_hash: signed.hash,
            progress: Progress {
                state: TxState::Prepared,
                fees: signed.fees,
                gas_limit: signed.gas_limit,
            },
        };
        Ok((posted, signed))
    }

    async fn sign(
        &self,
        call: &Call,
        replace: Option<(u64, chain::Fees)>,
    ) -> Result<SignedTx, WorkerFault> {
        let gas_limit = estimate(&*self.chain, &self.wallet, call).await?;
        let (nonce, fees) = match replace {
            Some(same) => same,
            None => (self.chain.nonce(self.wallet.address()).await?, self.chain.fees().await?),
        };
        let chain_id = self.chain.chain_id().await?;
        Ok(self.wallet.sign(&TxRequest::new(chain_id, nonce, fees, gas_limit, call)))
    }
}

fn decode(posted: &Posted) -> Result<SignedTx, WorkerFault> {
    let (_, signed) = SignedTx::decode(&posted.raw)
        .map_err(|error| StoreFault::Damaged(format!("a signed transaction: {error}")))?;
    Ok(signed)
}

async fn send(chain: &dyn Chain, signed: &SignedTx) -> Result<(), WorkerFault> {
    match broadcast(chain, signed).await? {
        Broadcast::Accepted | Broadcast::AlreadyKnown | Broadcast::NonceUsed => Ok(()),
        Broadcast::Underpriced => {
            warn!(hash = %signed.hash, "the chain finds a transaction too cheap for now");
            Ok(())
        }
    }
}

/// The header of an epoch that follows the header with hash `prev`.
///
/// # Panics
/// When a total is negative, which settlement excludes.
#[must_use]
pub fn epoch_header(draft: &AnchorDraft, prev: B256) -> EpochHeader {
    let count = |value: i64| u64::try_from(value).expect("totals are sums of what is not negative");
    let totals = &draft.totals;
    let tree = draft.rewards_tree();
    EpochHeader {
        seq: draft.seq,
        prev,
        from_slot: count(draft.from_slot.number()),
        to_slot: count(draft.to_slot.number()),
        log_size: draft.log_size,
        log_root: draft.log_root,
        rewards_root: tree.root(),
        import_wh: count(totals.import_wh),
        export_wh: count(totals.export_wh),
        grid_import_wh: count(totals.grid_import_wh),
        grid_export_wh: count(totals.grid_export_wh),
        local_wh: count(totals.local_wh),
        debit: u128::from(count(totals.debit)),
        credit: u128::from(count(totals.credit)),
        reward_total: tree.total(),
    }
}
