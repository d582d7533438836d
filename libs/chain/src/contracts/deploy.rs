//! Putting the contracts on a chain, in steps that can be repeated after a crash.
//!
//! A contract's address follows from the deployer and its nonce alone, so the plan knows all addresses before
//! anything is sent. Each step looks whether its contract is there already; if so, it is skipped. `Rewards` creates the
//! token itself, so three transactions make four contracts and nobody is left with a right to mint.

use std::time::Duration;

use alloy_primitives::{Address, B256, Bytes};
use alloy_sol_types::SolValue;
use serde::{Deserialize, Serialize};

use super::artifact::{self, Artifact};
use super::deployment::Deployment;
use crate::types::Call;
use crate::{Broadcast, Chain, ChainError, Wallet, broadcast, estimate, prepare};

/// What the constructors are given; nothing of it can be changed later except the operator, in two steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeployParams {
    /// The account that enrols households and submits epochs.
    pub operator: Address,
    /// [`crate::community_hash`] of the community's id.
    pub community: B256,
    /// Most tokens that one epoch may add, smallest unit.
    pub epoch_reward_cap: u128,
    /// Most tokens that can ever be earned, smallest unit; above zero.
    pub total_reward_cap: u128,
}

/// A deployment by one account from one nonce on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeployPlan {
    /// Account that pays for the deployment. It keeps no right over the contracts unless it is the operator.
    pub deployer: Address,
    /// Its nonce for the first contract: 0 for a fresh account. Store it before the first transaction is sent.
    pub first_nonce: u64,
    /// What the constructors are given.
    pub params: DeployParams,
}

/// One contract to create.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeployStep {
    /// Name of the contract.
    pub contract: &'static str,
    /// The deployer's nonce that creates it.
    pub nonce: u64,
    /// Where it will be.
    pub address: Address,
    /// Init code with constructor arguments.
    pub init_code: Bytes,
}

/// How far a deployment is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeployProgress {
    /// Everything is there and as planned.
    Complete(Deployment),
    /// This transaction is next, or was sent and is not included yet: sending it again is safe.
    Next(DeployStep),
}

impl DeployPlan {
    /// Where the contracts will be.
    pub fn deployment(&self) -> Deployment {
        let rewards = self.deployer.create(self.first_nonce + 2);
        Deployment {
            registry: self.deployer.create(self.first_nonce),
            anchor: self.deployer.create(self.first_nonce + 1),
            rewards,
            // A contract's own nonce starts at 1 (EIP-161).
            token: rewards.create(1),
        }
    }

    /// The transactions, in order.
    pub fn steps(&self) -> [DeployStep; 3] {
        let at = self.deployment();
        let p = &self.params;
        let caps = (p.operator, p.community, p.epoch_reward_cap, p.total_reward_cap);
        [
            self.step(0, artifact::registry(), "Registry", (p.operator, p.community).abi_encode()),
            self.step(1, artifact::anchor(), "Anchor", caps.abi_encode()),
            self.step(2, artifact::rewards(), "Rewards", at.anchor.abi_encode()),
        ]
    }

    /// Looks at the chain and says what is next. Changes nothing.
    ///
    /// # Errors
    /// [`ChainError::DeployConflict`] when a planned nonce was used for something else, [`ChainError::WrongContract`]
    /// when a planned address holds other code, and whatever the chain reports.
    pub async fn progress(&self, chain: &dyn Chain) -> Result<DeployProgress, ChainError> {
        for step in self.steps() {
            let code = chain.code(step.address).await?;
            let artifact = [artifact::registry(), artifact::anchor(), artifact::rewards()]
                [usize::try_from(step.nonce - self.first_nonce).expect("a plan has three steps")];
            if code.is_empty() {
                let next = chain.nonce(self.deployer).await?;
                // Asked after the code: a block in between could have created it, so look once more.
                if next > step.nonce && chain.code(step.address).await?.is_empty() {
                    return Err(ChainError::DeployConflict {
                        contract: step.contract,
                        deployer: self.deployer,
                        nonce: step.nonce,
                        next,
                    });
                }
                return Ok(DeployProgress::Next(step));
            }
            if !artifact.is_code(&code) {
                return Err(ChainError::WrongContract {
                    what: step.contract,
                    address: step.address,
                    detail: "the code there is not this version's contract".to_owned(),
                });
            }
        }
        Ok(DeployProgress::Complete(self.deployment()))
    }

    /// Deploys what is missing and waits for it. Can be interrupted and called again at any point.
    ///
    /// `checks` bounds how often each contract is looked for, `pause` is the time between two looks.
    ///
    /// # Errors
    /// As [`DeployPlan::progress`], and [`ChainError::TimedOut`] when a contract does not appear.
    ///
    /// # Panics
    /// When `wallet` is not the plan's deployer.
    pub async fn run(
        &self,
        chain: &dyn Chain,
        wallet: &Wallet,
        checks: u32,
        pause: Duration,
    ) -> Result<Deployment, ChainError> {
        assert_eq!(wallet.address(), self.deployer, "the plan belongs to another account");
        let chain_id = chain.chain_id().await?;
        let (mut waited_for, mut waited) = (None, 0);
        loop {
            let step = match self.progress(chain).await {
                Ok(DeployProgress::Complete(deployment)) => return Ok(deployment),
                Ok(DeployProgress::Next(step)) => step,
                // Behind a load balancer, one node may know the nonce before another knows the code.
                Err(ChainError::DeployConflict { .. }) if waited < checks => {
                    waited += 1;
                    tokio::time::sleep(pause).await;
                    continue;
                }
                Err(error) => return Err(error),
            };
            if waited_for == Some(step.nonce) {
                waited += 1;
                if waited > checks {
                    let what = format!("the creation of {}", step.contract);
                    return Err(ChainError::TimedOut { what, checks });
                }
                tokio::time::sleep(pause).await;
            } else {
                (waited_for, waited) = (Some(step.nonce), 0);
            }
            send_step(chain, wallet, chain_id, &step).await?;
        }
    }

    fn step(
        &self,
        offset: u64,
        artifact: &Artifact,
        contract: &'static str,
        arguments: Vec<u8>,
    ) -> DeployStep {
        let nonce = self.first_nonce + offset;
        let init_code = artifact.init_code(&arguments);
        DeployStep { contract, nonce, address: self.deployer.create(nonce), init_code }
    }
}

/// Sends one creation. With other fees than before the bytes differ, but the nonce and thus the address do not.
async fn send_step(
    chain: &dyn Chain,
    wallet: &Wallet,
    chain_id: u64,
    step: &DeployStep,
) -> Result<(), ChainError> {
    let call = Call::create(step.init_code.clone());
    let gas_limit = estimate(chain, wallet, &call).await?;
    let tx = prepare(wallet, chain_id, &call, step.nonce, chain.fees().await?, gas_limit);
    match broadcast(chain, &tx).await? {
        Broadcast::Accepted => tracing::info!(
            contract = step.contract, address = %step.address, tx = %tx.hash, "contract creation sent"
        ),
        outcome => tracing::debug!(contract = step.contract, ?outcome, "contract creation waits"),
    }
    Ok(())
}
