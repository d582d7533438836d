//! What can go wrong between the house and a chain.

use crate::Revert;

/// A fault at the boundary to a chain. See [`ChainError::is_transient`] for which are worth another try.
#[derive(Debug, thiserror::Error)]
pub enum ChainError {
    /// No connection, a broken one, or no answer in time.
    #[error("chain node {endpoint} cannot be reached for {method}: {detail}")]
    Unreachable {
        /// Host and port of the node; never the whole URL, which may hold an access key.
        endpoint: String,
        /// JSON-RPC method.
        method: &'static str,
        /// What the transport said.
        detail: String,
    },
    /// The answer is not what the protocol promises: not JSON, too long, a field missing or out of range.
    #[error("chain node {endpoint} answered {method} with something unusable: {detail}")]
    BadAnswer {
        /// Host and port of the node.
        endpoint: String,
        /// JSON-RPC method.
        method: &'static str,
        /// What is wrong with it.
        detail: String,
    },
    /// The node understood the request and refused it.
    #[error("chain node {endpoint} refused {method}: {message} (code {code})")]
    Refused {
        /// Host and port of the node.
        endpoint: String,
        /// JSON-RPC method.
        method: &'static str,
        /// JSON-RPC error code.
        code: i64,
        /// The node's words, shortened.
        message: String,
    },
    /// The contract reverted.
    #[error("the contract reverted: {0}")]
    Reverted(Revert),
    /// The transaction was not taken.
    #[error("the transaction was not taken: {0}")]
    Rejected(TxRejection),
    /// The node serves another chain than configured.
    #[error(
        "the node serves chain {found}, the configuration says {expected}: check the RPC URL and the chain id"
    )]
    WrongChain {
        /// Chain id in the configuration.
        expected: u64,
        /// Chain id of the node.
        found: u64,
    },
    /// A contract's answer does not have the promised form: the address holds something else.
    #[error("{what} at {address} did not answer as expected: {detail}")]
    WrongContract {
        /// Contract and function.
        what: &'static str,
        /// Where it was called.
        address: alloy_primitives::Address,
        /// What is wrong.
        detail: String,
    },
    /// The deployer's nonces were used for something else than the planned deployment.
    #[error(
        "{contract} should be created by transaction {nonce} of {deployer}, but that nonce was used otherwise; \
         plan the deployment again from the account's next nonce ({next})"
    )]
    DeployConflict {
        /// Contract that cannot be created any more at its planned address.
        contract: &'static str,
        /// Deploying account.
        deployer: alloy_primitives::Address,
        /// Planned nonce.
        nonce: u64,
        /// The account's next nonce.
        next: u64,
    },
    /// Somebody else wrote this epoch: a second instance runs with the operator's key, or a backup was restored.
    #[error(
        "epoch {seq} is anchored with header {anchored}, not with ours ({ours}): stop every other instance that \
         uses the operator's key and compare the settlement logs"
    )]
    OtherHeader {
        /// Number of the epoch.
        seq: u64,
        /// Hash of the header on the chain.
        anchored: alloy_primitives::B256,
        /// Hash of the header that was to be there.
        ours: alloy_primitives::B256,
    },
    /// Configuration of a back end that cannot work.
    #[error("chain configuration: {0}")]
    Config(String),
    /// Nothing happened although it was asked for often enough.
    #[error("gave up waiting for {what} after {checks} checks")]
    TimedOut {
        /// What was waited for.
        what: String,
        /// How often it was looked for.
        checks: u32,
    },
    /// The chain inside the process failed.
    #[cfg(feature = "evm")]
    #[error(transparent)]
    Embedded(#[from] crate::evm::EmbeddedError),
}

impl ChainError {
    /// True when the same request may well succeed later: the node was away, slow or overloaded.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::BadAnswer { .. } | Self::TimedOut { .. } => true,
            // -32005 is "limit exceeded" (EIP-1474); -32603 "internal error" covers nodes that are still syncing.
            Self::Refused { code, .. } => matches!(code, -32005 | -32603 | 429),
            _ => false,
        }
    }
}

/// Why a node did not take a transaction.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TxRejection {
    /// The node has it already: as good as accepted.
    #[error("already known")]
    AlreadyKnown,
    /// A transaction with this nonce is in a block already, perhaps this one.
    #[error("its nonce was used already")]
    NonceTooLow,
    /// An earlier nonce is still missing.
    #[error("an earlier nonce is missing")]
    NonceGap,
    /// Another transaction with the same nonce waits, and this one does not pay enough more to replace it.
    #[error("a transaction with the same nonce waits and this one pays too little more")]
    ReplacementUnderpriced,
    /// The fee is below what the node or the block asks for.
    #[error("its fee is too low")]
    FeeTooLow,
    /// The account cannot pay gas and value.
    #[error("the account cannot pay for it; send it funds")]
    InsufficientFunds,
    /// Anything else, in the node's words.
    #[error("{0}")]
    Other(String),
}

impl TxRejection {
    /// Reads a node's refusal. There is no standard code, only wording, which differs between geth, nethermind,
    /// erigon, besu and anvil.
    pub fn from_message(message: &str) -> Self {
        let text = message.to_ascii_lowercase().replace([' ', '_'], "");
        let has = |needle: &str| text.contains(needle);
        if has("replacement") || has("underpricedreplacement") {
            Self::ReplacementUnderpriced
        } else if has("alreadyknown") || has("knowntransaction") || has("alreadyimported") {
            Self::AlreadyKnown
        } else if has("noncetoolow") || has("oldnonce") || has("noncebelow") {
            Self::NonceTooLow
        } else if has("noncetoohigh") || has("noncegap") {
            Self::NonceGap
        } else if has("insufficientfunds") || has("insufficientbalance") || has("upfrontcost") {
            Self::InsufficientFunds
        } else if has("underpriced") || has("feetoolow") || has("lessthanblockbasefee") {
            Self::FeeTooLow
        } else {
            Self::Other(shorten(message))
        }
    }
}

/// A stranger's words, bounded and on one line, before they get into a log.
pub(crate) fn shorten(text: &str) -> String {
    const MOST: usize = 300;
    let clean: String =
        text.chars().take(MOST).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(MOST).is_some() { format!("{clean}…") } else { clean }
}
