//! Why a contract said no, in its own words.

use alloy_primitives::Bytes;
use alloy_sol_types::SolError;

use crate::contracts::abi::errors as e;

/// The data that a revert carries, and what it means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revert {
    /// Name of the contract's error, for example `WrongSeq`; empty when it is not one of ours.
    pub name: &'static str,
    /// The error with its fields, for people.
    pub text: String,
    /// The raw data.
    pub data: Bytes,
}

impl std::fmt::Display for Revert {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.text)
    }
}

/// Tries one error type after the other; the first whose selector and fields fit wins.
macro_rules! first_match {
    ($data:expr; $($error:ident)+) => {
        $(if let Some(found) = as_error::<e::$error>($data, stringify!($error)) { return found; })+
    };
}

impl Revert {
    /// Reads revert data. Never fails: what is not understood is shown in hexadecimal.
    pub fn decode(data: Bytes) -> Self {
        let (name, text) = describe(&data);
        Self { name, text, data }
    }
}

fn describe(data: &[u8]) -> (&'static str, String) {
    first_match!(data;
        Error Panic RenounceDisabled OwnableUnauthorizedAccount OwnableInvalidOwner
        ZeroOwner ZeroKey ZeroCommitment CommitmentTaken KeyTaken UnknownHousehold HouseholdRetired NothingChanged
        AlreadyAnchored WrongSeq WrongPrev NotContiguous EmptyRange LogNotGrowing ZeroLogRoot EnergyNotConserved
        LocalExceedsMetered MoneyNotConserved RewardTotalShrinks EpochRewardAboveCap RewardTotalAboveCap
        MissingRewardsRoot InvalidProof AboveAnchoredTotal NotMinter ERC20ExceededCap ERC20InvalidCap
        ERC20InsufficientBalance ERC20InvalidReceiver ERC20InvalidSender ERC20InvalidApprover ERC20InvalidSpender
        ERC20InsufficientAllowance ERC2612ExpiredSignature ERC2612InvalidSigner InvalidAccountNonce
        ECDSAInvalidSignature ECDSAInvalidSignatureLength ECDSAInvalidSignatureS InvalidShortString StringTooLong
    );
    const SHOWN: usize = 68;
    match data.len() {
        0 => {
            ("", "without a reason (out of gas, no such function, or no contract there)".to_owned())
        }
        length if length > SHOWN => {
            ("", format!("0x{}… ({length} bytes)", hex::encode(&data[..SHOWN])))
        }
        _ => ("", format!("0x{}", hex::encode(data))),
    }
}

fn as_error<E: SolError + std::fmt::Debug>(
    data: &[u8],
    name: &'static str,
) -> Option<(&'static str, String)> {
    let fields = data.strip_prefix(&E::SELECTOR)?;
    let error = E::abi_decode_raw(fields).ok()?;
    Some((name, crate::error::shorten(&format!("{error:?}"))))
}
