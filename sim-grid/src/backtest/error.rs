//! Why a back-test does not run.

use units::Slot;

use super::community::RULES_FILE;
use crate::scenario::ScenarioError;

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum BacktestError {
    /// The folder or its orders are refused.
    #[error(transparent)]
    Scenario(#[from] ScenarioError),
    /// The scenario has no such tariff.
    #[error("the scenario has no tariff {name:?}; choose from {known}")]
    UnknownTariff {
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// The end is not after the beginning.
    #[error("--to {to} is not after --from {from}; --to is the first slot that is left out")]
    Backwards {
        /// First slot.
        from: Slot,
        /// First slot left out.
        to: Slot,
    },
    /// Nothing of the scenario lies in the span.
    #[error("no slot from {from} to {to} is in the scenario, which covers {covered}")]
    NothingThere {
        /// First slot.
        from: Slot,
        /// First slot left out.
        to: Slot,
        /// The blocks of the scenario.
        covered: String,
    },
    /// Orders were asked for and there is no file.
    #[error(
        "the scenario has no orders_{tariff}.csv; leave --orders out to let the households order by themselves"
    )]
    NoOrders {
        /// The tariff.
        tariff: String,
    },
    /// What the community wrote down is refused.
    #[error("{file}: {reason}")]
    Rules {
        /// The file.
        file: String,
        /// What is wrong, where, and what would be right.
        reason: String,
    },
    /// The own key was asked for and there is none.
    #[error(
        "the rule own_key needs a key: write [sharing] key = … into {RULES_FILE} in the scenario's \
         folder, or into the file of --rules (docs/sharing.md lists the keys)"
    )]
    NoKey,
    /// No rule was asked for.
    #[error("there is no rule to test; choose at least one")]
    NoRule,
    /// The tariff's prices are out of the market's range.
    #[error("slot {slot}: {source}")]
    Terms {
        /// The slot.
        slot: Slot,
        /// The market's reason.
        source: market::TermsFault,
    },
    /// The network is no grid for the market.
    #[error("the market cannot use the network: {0}")]
    Grid(#[from] market::GridFault),
    /// The market would not take an order.
    #[error("slot {slot}: the order of {customer} is refused: {source}")]
    Refused {
        /// The slot.
        slot: Slot,
        /// Whose order.
        customer: String,
        /// The market's reason.
        source: market::Refusal,
    },
    /// A clearing does not prove itself: a bug in the market.
    #[error("slot {slot}: the clearing is wrong: {source}")]
    Clearing {
        /// The slot.
        slot: Slot,
        /// What does not hold.
        source: market::Violation,
    },
    /// A slot cannot be settled.
    #[error("slot {slot}: {source}")]
    Settlement {
        /// The slot.
        slot: Slot,
        /// The market's reason.
        source: market::SettlementFault,
    },
    /// A settlement does not add up: a bug in the market.
    #[error("slot {slot}: customers pay {paid} nano-currency, supplier and grid get {due}")]
    NotConserved {
        /// The slot.
        slot: Slot,
        /// What all bills come to.
        paid: i128,
        /// What the supplier gets, with fees and congestion.
        due: i128,
    },
    /// A slot, or the whole time, cannot be shared.
    #[error("{when}: {source}")]
    Sharing {
        /// The slot, or the span.
        when: String,
        /// The market's reason.
        source: market::sharing::SharingFault,
    },
    /// The network cannot carry the powers of a slot.
    #[error("slot {slot}: {source}")]
    PowerFlow {
        /// The slot.
        slot: Slot,
        /// What the power flow said.
        source: feeder::PowerFlowError,
    },
}
