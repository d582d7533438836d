//! The contracts' interfaces as Rust types. A test compares them with the compiled artifacts, selector by selector.

// The macro's output is not ours to polish.
#![allow(missing_docs, clippy::all, clippy::too_many_lines)]

use alloy_sol_types::sol;

sol! {
    #[derive(Debug, PartialEq, Eq)]
    struct AnchorHeader {
        uint64 seq;
        bytes32 prev;
        uint64 fromSlot;
        uint64 toSlot;
        uint64 logSize;
        bytes32 logRoot;
        bytes32 rewardsRoot;
        uint64 importWh;
        uint64 exportWh;
        uint64 gridImportWh;
        uint64 gridExportWh;
        uint64 localWh;
        uint128 debit;
        uint128 credit;
        uint128 rewardTotal;
    }

    #[derive(Debug, PartialEq, Eq)]
    struct AnchorEpoch {
        bytes32 headerHash;
        bytes32 logRoot;
        bytes32 rewardsRoot;
    }

    #[derive(Debug, PartialEq, Eq)]
    struct AnchorHead {
        bytes32 hash;
        uint64 seq;
        uint64 toSlot;
        uint64 logSize;
        uint128 rewardTotal;
    }

    #[derive(Debug, PartialEq, Eq)]
    struct RegistryHousehold {
        address owner;
        uint48 enrolledAt;
        uint48 retiredAt;
        bytes32 key;
    }

    interface IOperated {
        function owner() external view returns (address);
        function pendingOwner() external view returns (address);
        function transferOwnership(address newOwner) external;
        function acceptOwnership() external;
        function renounceOwnership() external view;
        function community() external view returns (bytes32);
    }

    interface IAnchor {
        event Anchored(uint64 indexed seq, bytes32 indexed headerHash, AnchorHeader header);

        function submit(AnchorHeader calldata header) external;
        function head() external view returns (AnchorHead memory);
        function headHash() external view returns (bytes32);
        function headSeq() external view returns (uint64);
        function rewardTotal() external view returns (uint128);
        function rewardsRoot() external view returns (bytes32);
        function rootOf(uint64 seq) external view returns (bytes32);
        function epoch(uint64 seq) external view returns (AnchorEpoch memory);
        function hashOf(AnchorHeader calldata header) external pure returns (bytes32);
        function epochRewardCap() external view returns (uint128);
        function totalRewardCap() external view returns (uint128);
    }

    interface IRegistry {
        event Enrolled(bytes32 indexed commitment, address indexed owner, bytes32 key);
        event Rotated(
            bytes32 indexed commitment, address indexed owner, bytes32 key, address oldOwner, bytes32 oldKey
        );
        event Retired(bytes32 indexed commitment);

        function enrol(address owner, bytes32 key, bytes32 commitment) external;
        function rotate(bytes32 commitment, address owner, bytes32 key) external;
        function retire(bytes32 commitment) external;
        function household(bytes32 commitment) external view returns (RegistryHousehold memory);
        function commitmentOf(bytes32 key) external view returns (bytes32);
        function isActiveKey(bytes32 key) external view returns (bool);
        function activeCount() external view returns (uint256);
    }

    interface IRewards {
        event Claimed(address indexed account, uint256 amount, uint256 cumulative);

        function claim(address account, uint256 cumulative, bytes32[] calldata proof)
            external returns (uint256 paid);
        function claimed(address account) external view returns (uint256);
        function totalClaimed() external view returns (uint256);
        function anchor() external view returns (address);
        function token() external view returns (address);
    }

    interface IGridToken {
        function minter() external view returns (address);
        function mint(address to, uint256 amount) external;
        function cap() external view returns (uint256);
        function balanceOf(address account) external view returns (uint256);
        function totalSupply() external view returns (uint256);
        function transfer(address to, uint256 value) external returns (bool);
    }
}

/// Every error that the contracts, or the libraries in them, can revert with.
pub mod errors {
    use alloy_sol_types::sol;

    sol! {
        #[derive(Debug, PartialEq, Eq)] error Error(string message);
        #[derive(Debug, PartialEq, Eq)] error Panic(uint256 code);

        #[derive(Debug, PartialEq, Eq)] error RenounceDisabled();
        #[derive(Debug, PartialEq, Eq)] error OwnableUnauthorizedAccount(address account);
        #[derive(Debug, PartialEq, Eq)] error OwnableInvalidOwner(address owner);

        #[derive(Debug, PartialEq, Eq)] error ZeroOwner();
        #[derive(Debug, PartialEq, Eq)] error ZeroKey();
        #[derive(Debug, PartialEq, Eq)] error ZeroCommitment();
        #[derive(Debug, PartialEq, Eq)] error CommitmentTaken(bytes32 commitment);
        #[derive(Debug, PartialEq, Eq)] error KeyTaken(bytes32 key, bytes32 commitment);
        #[derive(Debug, PartialEq, Eq)] error UnknownHousehold(bytes32 commitment);
        #[derive(Debug, PartialEq, Eq)] error HouseholdRetired(bytes32 commitment);
        #[derive(Debug, PartialEq, Eq)] error NothingChanged(bytes32 commitment);

        #[derive(Debug, PartialEq, Eq)] error AlreadyAnchored(uint64 seq);
        #[derive(Debug, PartialEq, Eq)] error WrongSeq(uint64 expected, uint64 given);
        #[derive(Debug, PartialEq, Eq)] error WrongPrev(bytes32 expected, bytes32 given);
        #[derive(Debug, PartialEq, Eq)] error NotContiguous(uint64 expectedFrom, uint64 givenFrom);
        #[derive(Debug, PartialEq, Eq)] error EmptyRange(uint64 fromSlot, uint64 toSlot);
        #[derive(Debug, PartialEq, Eq)] error LogNotGrowing(uint64 anchored, uint64 given);
        #[derive(Debug, PartialEq, Eq)] error ZeroLogRoot();
        #[derive(Debug, PartialEq, Eq)] error EnergyNotConserved(uint256 intoStreet, uint256 outOfStreet);
        #[derive(Debug, PartialEq, Eq)]
        error LocalExceedsMetered(uint64 localWh, uint64 importWh, uint64 exportWh);
        #[derive(Debug, PartialEq, Eq)] error MoneyNotConserved(uint128 debit, uint128 credit);
        #[derive(Debug, PartialEq, Eq)] error RewardTotalShrinks(uint128 anchored, uint128 given);
        #[derive(Debug, PartialEq, Eq)] error EpochRewardAboveCap(uint128 increment, uint128 cap);
        #[derive(Debug, PartialEq, Eq)] error RewardTotalAboveCap(uint128 total, uint128 cap);
        #[derive(Debug, PartialEq, Eq)] error MissingRewardsRoot();

        #[derive(Debug, PartialEq, Eq)] error InvalidProof(address account, uint256 cumulative, bytes32 root);
        #[derive(Debug, PartialEq, Eq)] error AboveAnchoredTotal(uint256 wouldBePaid, uint256 anchored);

        #[derive(Debug, PartialEq, Eq)] error NotMinter(address caller);
        #[derive(Debug, PartialEq, Eq)] error ERC20ExceededCap(uint256 increasedSupply, uint256 cap);
        #[derive(Debug, PartialEq, Eq)] error ERC20InvalidCap(uint256 cap);
        #[derive(Debug, PartialEq, Eq)]
        error ERC20InsufficientBalance(address sender, uint256 balance, uint256 needed);
        #[derive(Debug, PartialEq, Eq)] error ERC20InvalidReceiver(address receiver);
        #[derive(Debug, PartialEq, Eq)] error ERC20InvalidSender(address sender);
        #[derive(Debug, PartialEq, Eq)] error ERC20InvalidApprover(address approver);
        #[derive(Debug, PartialEq, Eq)] error ERC20InvalidSpender(address spender);
        #[derive(Debug, PartialEq, Eq)]
        error ERC20InsufficientAllowance(address spender, uint256 allowance, uint256 needed);
        #[derive(Debug, PartialEq, Eq)] error ERC2612ExpiredSignature(uint256 deadline);
        #[derive(Debug, PartialEq, Eq)] error ERC2612InvalidSigner(address signer, address owner);
        #[derive(Debug, PartialEq, Eq)] error InvalidAccountNonce(address account, uint256 currentNonce);
        #[derive(Debug, PartialEq, Eq)] error ECDSAInvalidSignature();
        #[derive(Debug, PartialEq, Eq)] error ECDSAInvalidSignatureLength(uint256 length);
        #[derive(Debug, PartialEq, Eq)] error ECDSAInvalidSignatureS(bytes32 s);
        #[derive(Debug, PartialEq, Eq)] error InvalidShortString();
        #[derive(Debug, PartialEq, Eq)] error StringTooLong(string str);
    }
}
