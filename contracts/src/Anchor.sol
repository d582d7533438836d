// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Operated} from "./Operated.sol";

/// @title Anchor
/// @notice The street's settlement history as a chain of hash-linked epoch headers. The chain holds roots and
/// totals only: a household proves its own bill against `logRoot`, and nobody else's energy is readable here.
/// @dev Every header is checked against the one before it and against itself; what was written once is
/// never written again.
contract Anchor is Operated {
    /// @notice One epoch: one or more settled slots.
    /// @param seq number of the epoch, from 1
    /// @param prev hash of the previous header, zero for the first
    /// @param fromSlot first quarter-hour (since the Unix epoch) settled here
    /// @param toSlot last quarter-hour settled here
    /// @param logSize leaves of the settlement log after this epoch
    /// @param logRoot root of the settlement log over `logSize` leaves
    /// @param rewardsRoot root of the cumulative rewards tree; zero while nobody has earned any
    /// @param importWh energy that entered the households
    /// @param exportWh energy that left the households
    /// @param gridImportWh of it drawn from the supplier
    /// @param gridExportWh of it fed to the supplier
    /// @param localWh of it matched inside the street
    /// @param debit money debited, nano-currency
    /// @param credit money credited, nano-currency
    /// @param rewardTotal tokens earned by all producers since the beginning, in the token's smallest unit
    struct Header {
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

    /// @notice What stays readable of one epoch.
    struct Epoch {
        bytes32 headerHash;
        bytes32 logRoot;
        bytes32 rewardsRoot;
    }

    /// @notice The newest epoch; all zero before the first.
    /// @param hash hash of the newest header
    /// @param seq its number
    /// @param toSlot last slot anchored
    /// @param logSize size of the settlement log anchored
    /// @param rewardTotal tokens earned so far
    struct Head {
        bytes32 hash;
        uint64 seq;
        uint64 toSlot;
        uint64 logSize;
        uint128 rewardTotal;
    }

    /// @notice This epoch was written before and cannot be written again.
    error AlreadyAnchored(uint64 seq);
    error WrongSeq(uint64 expected, uint64 given);
    error WrongPrev(bytes32 expected, bytes32 given);
    /// @notice The epoch does not start at the slot after the last anchored one.
    error NotContiguous(uint64 expectedFrom, uint64 givenFrom);
    error EmptyRange(uint64 fromSlot, uint64 toSlot);
    /// @notice The log is append-only and every epoch appends to it.
    error LogNotGrowing(uint64 anchored, uint64 given);
    error ZeroLogRoot();
    /// @notice importWh + gridExportWh must equal exportWh + gridImportWh.
    error EnergyNotConserved(uint256 intoStreet, uint256 outOfStreet);
    /// @notice No more can be matched locally than was imported or exported.
    error LocalExceedsMetered(uint64 localWh, uint64 importWh, uint64 exportWh);
    error MoneyNotConserved(uint128 debit, uint128 credit);
    /// @notice What producers have earned never shrinks.
    error RewardTotalShrinks(uint128 anchored, uint128 given);
    error EpochRewardAboveCap(uint128 increment, uint128 cap);
    error RewardTotalAboveCap(uint128 total, uint128 cap);
    /// @notice The root of a rewards tree is needed as soon as something was earned.
    error MissingRewardsRoot();

    /// @notice The full header, so that anyone can follow the street from the chain's events alone.
    event Anchored(uint64 indexed seq, bytes32 indexed headerHash, Header header);

    /// @notice keccak256 of the community's id: which street is anchored here.
    bytes32 public immutable community;
    /// @notice Most tokens that one epoch may add.
    uint128 public immutable epochRewardCap;
    /// @notice Most tokens that can ever be earned.
    uint128 public immutable totalRewardCap;

    Head private _head;
    mapping(uint64 seq => Epoch) private _epochs;

    constructor(address operator, bytes32 community_, uint128 epochRewardCap_, uint128 totalRewardCap_)
        Operated(operator)
    {
        community = community_;
        epochRewardCap = epochRewardCap_;
        totalRewardCap = totalRewardCap_;
    }

    /// @notice Appends one epoch. Reverts with the rule that is broken.
    function submit(Header calldata header) external onlyOwner {
        Head memory head_ = _head;
        _checkLink(head_, header);
        _checkTotals(head_, header);
        bytes32 hash = hashOf(header);
        _head = Head({
            hash: hash,
            seq: header.seq,
            toSlot: header.toSlot,
            logSize: header.logSize,
            rewardTotal: header.rewardTotal
        });
        _epochs[header.seq] =
            Epoch({headerHash: hash, logRoot: header.logRoot, rewardsRoot: header.rewardsRoot});
        emit Anchored(header.seq, hash, header);
    }

    /// @notice The newest epoch in one read.
    function head() external view returns (Head memory) {
        return _head;
    }

    /// @notice Hash of the newest header; zero before the first.
    function headHash() external view returns (bytes32) {
        return _head.hash;
    }

    /// @notice Number of the newest epoch; zero before the first.
    function headSeq() external view returns (uint64) {
        return _head.seq;
    }

    /// @notice Tokens earned by all producers, as of the newest epoch.
    function rewardTotal() external view returns (uint128) {
        return _head.rewardTotal;
    }

    /// @notice Root of the newest rewards tree; zero while nobody has earned any.
    function rewardsRoot() external view returns (bytes32) {
        return _epochs[_head.seq].rewardsRoot;
    }

    /// @notice Root of the settlement log anchored by epoch `seq`; zero when there is no such epoch.
    function rootOf(uint64 seq) external view returns (bytes32) {
        return _epochs[seq].logRoot;
    }

    /// @notice What was anchored by epoch `seq`; all zero when there is no such epoch.
    function epoch(uint64 seq) external view returns (Epoch memory) {
        return _epochs[seq];
    }

    /// @notice Hash of a header: keccak256 of its ABI encoding, fifteen words in the order of the fields.
    function hashOf(Header calldata header) public pure returns (bytes32) {
        return keccak256(abi.encode(header));
    }

    function _checkLink(Head memory head_, Header calldata header) private pure {
        if (header.seq <= head_.seq) revert AlreadyAnchored(header.seq);
        if (header.seq != head_.seq + 1) revert WrongSeq(head_.seq + 1, header.seq);
        if (header.prev != head_.hash) revert WrongPrev(head_.hash, header.prev);
        if (head_.seq != 0 && header.fromSlot != head_.toSlot + 1) {
            revert NotContiguous(head_.toSlot + 1, header.fromSlot);
        }
        if (header.toSlot < header.fromSlot) revert EmptyRange(header.fromSlot, header.toSlot);
        if (header.logSize <= head_.logSize) revert LogNotGrowing(head_.logSize, header.logSize);
        if (header.logRoot == bytes32(0)) revert ZeroLogRoot();
    }

    function _checkTotals(Head memory head_, Header calldata header) private view {
        uint256 intoStreet = uint256(header.importWh) + header.gridExportWh;
        uint256 outOfStreet = uint256(header.exportWh) + header.gridImportWh;
        if (intoStreet != outOfStreet) revert EnergyNotConserved(intoStreet, outOfStreet);
        if (header.localWh > header.importWh || header.localWh > header.exportWh) {
            revert LocalExceedsMetered(header.localWh, header.importWh, header.exportWh);
        }
        if (header.debit != header.credit) revert MoneyNotConserved(header.debit, header.credit);
        if (header.rewardTotal < head_.rewardTotal) {
            revert RewardTotalShrinks(head_.rewardTotal, header.rewardTotal);
        }
        uint128 increment = header.rewardTotal - head_.rewardTotal;
        if (increment > epochRewardCap) revert EpochRewardAboveCap(increment, epochRewardCap);
        if (header.rewardTotal > totalRewardCap) revert RewardTotalAboveCap(header.rewardTotal, totalRewardCap);
        if (header.rewardTotal != 0 && header.rewardsRoot == bytes32(0)) revert MissingRewardsRoot();
    }
}
