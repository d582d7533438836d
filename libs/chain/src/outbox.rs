//! The rules by which one outgoing transaction gets onto the chain exactly once.
//!
//! Pure: the controller keeps the table, looks at the chain, calls [`TxState::next`] and does what it says, storing the
//! new state (and, for a replacement, the new bytes) before it acts. The rules:
//!
//! - Success is what the contract's state says (the head reached the epoch, the claimed amount reached the leaf),
//!   never a receipt: one nonce can have several transactions, and a block can be reorganised away.
//! - Until then the same bytes are sent again at every check. After [`OutboxRules::checks_before_bump`] checks the
//!   fee is raised under the same nonce, so at most one of all variants can ever be included.
//! - A nonce that was used without the effect is a failure; the caller prepares a new transaction with a new nonce,
//!   which is harmless because the contracts refuse a second write.

use serde::{Deserialize, Serialize};

use crate::types::Fees;

/// Bounds of the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutboxRules {
    /// Checks with unchanged fees before the fees are raised.
    pub checks_before_bump: u32,
    /// Most times that the fees are raised.
    pub max_bumps: u32,
    /// Most wei per gas that is ever offered.
    pub max_fee_per_gas: u128,
    /// Checks that a used nonce without a visible effect is given, for nodes that lag behind.
    pub patience: u32,
}

impl Default for OutboxRules {
    fn default() -> Self {
        Self {
            checks_before_bump: 10,
            max_bumps: 20,
            max_fee_per_gas: 500_000_000_000,
            patience: 10,
        }
    }
}

/// Where a transaction stands. Stored with the signed bytes of every variant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum TxState {
    /// Signed and stored, perhaps never sent.
    Prepared,
    /// Sent at least once.
    Sent {
        /// Checks since the fees were last set.
        checks: u32,
        /// How often the fees were raised.
        bumps: u32,
        /// Checks since the nonce was seen used without the effect.
        used_checks: u32,
    },
    /// The contract shows the effect in the newest block; a reorganisation may still undo it.
    Included {
        /// How often the fees were raised.
        bumps: u32,
    },
    /// The effect is final. Nothing is left to do.
    Final,
    /// It can never have its effect.
    Failed {
        /// Why.
        reason: TxFailure,
    },
}

/// Why a transaction can never have its effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TxFailure {
    /// It was included and reverted.
    Reverted,
    /// Its nonce was used and the effect did not appear.
    NonceUsed,
}

/// How far the wanted effect is visible in the contract's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Not at all.
    Absent,
    /// In the newest block.
    Latest,
    /// In a block that counts as final for the caller.
    Final,
}

/// What one look at the chain showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Observation {
    /// The wanted effect, read from the contract.
    pub effect: Effect,
    /// The account's next nonce is beyond this transaction's.
    pub nonce_used: bool,
    /// The receipt of one of its variants says that it reverted.
    pub reverted: bool,
    /// What the network asks for now.
    pub market: Fees,
}

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send the newest variant's bytes (again).
    Broadcast,
    /// Sign the same call and nonce with these fees, store the bytes, then send them.
    Replace(Fees),
    /// Send the newest variant again and tell a person: the fee limit is reached and it is still not included.
    BroadcastAndAlarm,
    /// Look again later.
    Wait,
    /// Finished, successfully or not: see the state.
    Stop,
}

impl TxState {
    /// The state after `seen`, and what to do. `fees` are those of the newest variant.
    pub fn next(self, seen: &Observation, fees: Fees, rules: &OutboxRules) -> (TxState, Action) {
        match (self, seen.effect) {
            (Self::Final | Self::Failed { .. }, _) => (self, Action::Stop),
            (_, Effect::Final) => (Self::Final, Action::Stop),
            (_, Effect::Latest) => (Self::Included { bumps: self.bumps() }, Action::Wait),
            // What was included is gone again: the block was reorganised away.
            (Self::Included { bumps }, Effect::Absent) => {
                (Self::Sent { checks: 0, bumps, used_checks: 0 }, Action::Broadcast)
            }
            (_, Effect::Absent) if seen.nonce_used => self.after_used_nonce(seen, rules),
            (Self::Prepared, Effect::Absent) => {
                (Self::Sent { checks: 0, bumps: 0, used_checks: 0 }, Action::Broadcast)
            }
            (Self::Sent { checks, bumps, .. }, Effect::Absent) => {
                still_waiting(checks + 1, bumps, seen.market, fees, rules)
            }
        }
    }

    /// True when nothing is left to do.
    pub fn is_finished(self) -> bool {
        matches!(self, Self::Final | Self::Failed { .. })
    }

    fn bumps(self) -> u32 {
        match self {
            Self::Sent { bumps, .. } | Self::Included { bumps } => bumps,
            _ => 0,
        }
    }

    fn after_used_nonce(self, seen: &Observation, rules: &OutboxRules) -> (TxState, Action) {
        if seen.reverted {
            return (Self::Failed { reason: TxFailure::Reverted }, Action::Stop);
        }
        let (checks, used_checks) = match self {
            Self::Sent { checks, used_checks, .. } => (checks, used_checks + 1),
            _ => (0, 1),
        };
        if used_checks > rules.patience {
            return (Self::Failed { reason: TxFailure::NonceUsed }, Action::Stop);
        }
        (Self::Sent { checks, bumps: self.bumps(), used_checks }, Action::Wait)
    }
}

fn still_waiting(
    checks: u32,
    bumps: u32,
    market: Fees,
    fees: Fees,
    rules: &OutboxRules,
) -> (TxState, Action) {
    if checks < rules.checks_before_bump {
        return (TxState::Sent { checks, bumps, used_checks: 0 }, Action::Broadcast);
    }
    let raised = fees.bumped(market).capped(rules.max_fee_per_gas);
    let replaceable = raised.max_fee_per_gas > ten_percent_more(fees.max_fee_per_gas)
        && raised.max_priority_fee_per_gas > ten_percent_more(fees.max_priority_fee_per_gas);
    if bumps >= rules.max_bumps || !replaceable {
        return (TxState::Sent { checks: 0, bumps, used_checks: 0 }, Action::BroadcastAndAlarm);
    }
    (TxState::Sent { checks: 0, bumps: bumps + 1, used_checks: 0 }, Action::Replace(raised))
}

/// What a node asks for at least before it replaces a waiting transaction.
fn ten_percent_more(fee: u128) -> u128 {
    fee.saturating_add(fee / 10)
}
