//! A deployed set of contracts: calls to send to it, and typed reads from it.

use alloy_primitives::{Address, B256, Bytes, U256};
use alloy_sol_types::{SolCall, SolEvent};
use serde::{Deserialize, Serialize};

use super::abi::{IAnchor, IGridToken, IOperated, IRegistry, IRewards};
use super::header::EpochHeader;
use super::{artifact, community_hash};
use crate::outbox::Effect;
use crate::types::{At, Call, LogFilter};
use crate::{Chain, ChainError};

/// Where the four contracts are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deployment {
    /// Registry of households.
    pub registry: Address,
    /// Chain of epoch headers.
    pub anchor: Address,
    /// The token.
    pub token: Address,
    /// Reward claims.
    pub rewards: Address,
}

/// The newest anchored epoch. All zero before the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// Number of the epoch; the next one is `seq + 1`.
    pub seq: u64,
    /// Hash of its header: the next one's `prev`.
    pub hash: B256,
    /// Last slot anchored; the next epoch begins one later.
    pub to_slot: u64,
    /// Size of the settlement log anchored.
    pub log_size: u64,
    /// Tokens earned by all producers so far.
    pub reward_total: u128,
}

/// What the chain keeps of one epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AnchoredEpoch {
    /// Hash of the header.
    pub header_hash: B256,
    /// Root of the settlement log.
    pub log_root: B256,
    /// Root of the rewards tree; zero when nobody had earned anything.
    pub rewards_root: B256,
}

/// A household in the registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Household {
    /// Receives the rewards.
    pub owner: Address,
    /// Ed25519 key in force.
    pub key: [u8; 32],
    /// Block time of the enrolment, Unix seconds.
    pub enrolled_at: u64,
    /// Block time of the retirement; `None` while active.
    pub retired_at: Option<u64>,
}

/// Calls to send as transactions.
impl Deployment {
    /// Appends an epoch. Only the operator may; a second write of the same `seq` reverts with `AlreadyAnchored`.
    pub fn submit(&self, header: &EpochHeader) -> Call {
        call(self.anchor, &IAnchor::submitCall { header: header.to_abi() })
    }

    /// Pays `account` what it has earned and was not paid yet. Anyone may send it; a repetition pays nothing.
    pub fn claim(&self, account: Address, cumulative: u128, proof: &[B256]) -> Call {
        let cumulative = U256::from(cumulative);
        call(self.rewards, &IRewards::claimCall { account, cumulative, proof: proof.to_vec() })
    }

    /// Adds a household. Only the operator may.
    pub fn enrol(&self, owner: Address, key: &[u8; 32], commitment: B256) -> Call {
        call(self.registry, &IRegistry::enrolCall { owner, key: B256::from(*key), commitment })
    }

    /// Replaces a household's payout address, its key, or both. Only the operator may.
    pub fn rotate(&self, commitment: B256, owner: Address, key: &[u8; 32]) -> Call {
        call(self.registry, &IRegistry::rotateCall { commitment, owner, key: B256::from(*key) })
    }

    /// Ends a household's participation. Only the operator may.
    pub fn retire(&self, commitment: B256) -> Call {
        call(self.registry, &IRegistry::retireCall { commitment })
    }
}

/// Reads. Every one fails with a [`ChainError`] when the chain is away or holds something else at the address.
impl Deployment {
    /// The newest anchored epoch.
    pub async fn head(&self, chain: &dyn Chain, at: At) -> Result<Head, ChainError> {
        let head = read(chain, "Anchor.head", self.anchor, &IAnchor::headCall {}, at).await?;
        Ok(Head {
            seq: head.seq,
            hash: head.hash,
            to_slot: head.toSlot,
            log_size: head.logSize,
            reward_total: head.rewardTotal,
        })
    }

    /// What was anchored as epoch `seq`; `None` when there is none yet.
    pub async fn epoch(
        &self,
        chain: &dyn Chain,
        seq: u64,
        at: At,
    ) -> Result<Option<AnchoredEpoch>, ChainError> {
        let epoch =
            read(chain, "Anchor.epoch", self.anchor, &IAnchor::epochCall { seq }, at).await?;
        Ok((!epoch.headerHash.is_zero()).then_some(AnchoredEpoch {
            header_hash: epoch.headerHash,
            log_root: epoch.logRoot,
            rewards_root: epoch.rewardsRoot,
        }))
    }

    /// Most tokens that one epoch may add, and most that can ever be earned.
    pub async fn reward_caps(&self, chain: &dyn Chain) -> Result<(u128, u128), ChainError> {
        let to = self.anchor;
        let epoch =
            read(chain, "Anchor.epochRewardCap", to, &IAnchor::epochRewardCapCall {}, At::Latest)
                .await?;
        let total =
            read(chain, "Anchor.totalRewardCap", to, &IAnchor::totalRewardCapCall {}, At::Latest)
                .await?;
        Ok((epoch, total))
    }

    /// Full headers from the chain's events, oldest first. Nodes keep events for different times; the embedded
    /// chain keeps those of its newest blocks.
    pub async fn headers(
        &self,
        chain: &dyn Chain,
        from_block: u64,
    ) -> Result<Vec<EpochHeader>, ChainError> {
        let filter = LogFilter {
            from_block,
            to_block: None,
            address: Some(self.anchor),
            event: Some(IAnchor::Anchored::SIGNATURE_HASH),
        };
        let logs = chain.logs(filter).await?;
        logs.into_iter()
            .map(|log| {
                let event = IAnchor::Anchored::decode_raw_log(log.topics, &log.data)
                    .map_err(|error| wrong("Anchor.Anchored", self.anchor, error.to_string()))?;
                Ok(EpochHeader::from_abi(&event.header))
            })
            .collect()
    }

    /// Tokens paid to `account` so far, in the smallest unit.
    pub async fn claimed(
        &self,
        chain: &dyn Chain,
        account: Address,
        at: At,
    ) -> Result<u128, ChainError> {
        let what = "Rewards.claimed";
        let amount =
            read(chain, what, self.rewards, &IRewards::claimedCall { account }, at).await?;
        u128::try_from(amount).map_err(|_| wrong(what, self.rewards, "beyond 128 bits".into()))
    }

    /// Whether `header` is anchored, for the outbox. With `finality` = [`At::Latest`] the newest block counts as final.
    ///
    /// # Errors
    /// [`ChainError::OtherHeader`] when the epoch was written with another content.
    pub async fn submit_effect(
        &self,
        chain: &dyn Chain,
        header: &EpochHeader,
        finality: At,
    ) -> Result<Effect, ChainError> {
        let ours = header.hash();
        let Some(epoch) = self.epoch(chain, header.seq, At::Latest).await? else {
            return Ok(Effect::Absent);
        };
        if epoch.header_hash != ours {
            let (seq, anchored) = (header.seq, epoch.header_hash);
            return Err(ChainError::OtherHeader { seq, anchored, ours });
        }
        let is_final = match self.epoch(chain, header.seq, finality).await {
            Ok(found) => found.is_some_and(|epoch| epoch.header_hash == ours),
            // The contract itself is newer than the last final block.
            Err(ChainError::WrongContract { .. }) => false,
            Err(error) => return Err(error),
        };
        Ok(if is_final { Effect::Final } else { Effect::Latest })
    }

    /// Whether `account` was paid at least `cumulative`, for the outbox.
    ///
    /// # Errors
    /// As every read.
    pub async fn claim_effect(
        &self,
        chain: &dyn Chain,
        account: Address,
        cumulative: u128,
        finality: At,
    ) -> Result<Effect, ChainError> {
        if self.claimed(chain, account, At::Latest).await? < cumulative {
            return Ok(Effect::Absent);
        }
        let is_final = match self.claimed(chain, account, finality).await {
            Ok(paid) => paid >= cumulative,
            Err(ChainError::WrongContract { .. }) => false,
            Err(error) => return Err(error),
        };
        Ok(if is_final { Effect::Final } else { Effect::Latest })
    }

    /// Tokens that `account` holds, in the smallest unit.
    pub async fn token_balance(
        &self,
        chain: &dyn Chain,
        account: Address,
    ) -> Result<u128, ChainError> {
        let what = "GridToken.balanceOf";
        let call = IGridToken::balanceOfCall { account };
        let amount = read(chain, what, self.token, &call, At::Latest).await?;
        u128::try_from(amount).map_err(|_| wrong(what, self.token, "beyond 128 bits".into()))
    }

    /// The household of a commitment; `None` when it was never enrolled.
    pub async fn household(
        &self,
        chain: &dyn Chain,
        commitment: B256,
    ) -> Result<Option<Household>, ChainError> {
        let call = IRegistry::householdCall { commitment };
        let found = read(chain, "Registry.household", self.registry, &call, At::Latest).await?;
        let enrolled_at: u64 = found.enrolledAt.to();
        let retired_at: u64 = found.retiredAt.to();
        Ok((enrolled_at != 0).then_some(Household {
            owner: found.owner,
            key: found.key.0,
            enrolled_at,
            retired_at: (retired_at != 0).then_some(retired_at),
        }))
    }

    /// The account that may write.
    pub async fn operator(&self, chain: &dyn Chain) -> Result<Address, ChainError> {
        read(chain, "Anchor.owner", self.anchor, &IOperated::ownerCall {}, At::Latest).await
    }

    /// Checks that these addresses hold exactly the contracts that this program was built with, wired to each
    /// other, for this community. What a household does before it believes an address from a configuration.
    ///
    /// # Errors
    /// [`ChainError::WrongContract`] naming the first thing that is not as it should be.
    pub async fn verify(&self, chain: &dyn Chain, community: &str) -> Result<(), ChainError> {
        let parts = [
            ("Registry", self.registry, artifact::registry()),
            ("Anchor", self.anchor, artifact::anchor()),
            ("Rewards", self.rewards, artifact::rewards()),
            ("GridToken", self.token, artifact::grid_token()),
        ];
        for (what, address, artifact) in parts {
            if !artifact.is_code(&chain.code(address).await?) {
                let detail = "the code there is not this version's contract".to_owned();
                return Err(wrong(what, address, detail));
            }
        }
        for (what, to) in [("Registry.community", self.registry), ("Anchor.community", self.anchor)]
        {
            let found = read(chain, what, to, &IOperated::communityCall {}, At::Latest).await?;
            if found != community_hash(community) {
                return Err(wrong(what, to, format!("it is not for the community {community:?}")));
            }
        }
        let to = self.rewards;
        let anchor =
            read(chain, "Rewards.anchor", to, &IRewards::anchorCall {}, At::Latest).await?;
        let token = read(chain, "Rewards.token", to, &IRewards::tokenCall {}, At::Latest).await?;
        if anchor != self.anchor || token != self.token {
            let detail = format!("it belongs to anchor {anchor} and token {token}");
            return Err(wrong("Rewards", to, detail));
        }
        Ok(())
    }
}

fn call(to: Address, call: &impl SolCall) -> Call {
    Call::new(to, call.abi_encode().into())
}

async fn read<C: SolCall>(
    chain: &dyn Chain,
    what: &'static str,
    to: Address,
    call: &C,
    at: At,
) -> Result<C::Return, ChainError> {
    let answer: Bytes = chain.call_at(Call::new(to, call.abi_encode().into()), at).await?;
    if answer.is_empty() {
        return Err(wrong(what, to, "it answered nothing; no contract is there".to_owned()));
    }
    C::abi_decode_returns_validate(&answer).map_err(|error| wrong(what, to, error.to_string()))
}

fn wrong(what: &'static str, address: Address, detail: String) -> ChainError {
    ChainError::WrongContract { what, address, detail: crate::error::shorten(&detail) }
}
