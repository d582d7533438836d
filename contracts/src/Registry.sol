// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Operated} from "./Operated.sol";

/// @title Registry
/// @notice Who takes part in the street's market: a payout address, the Ed25519 key that signs the meter's
/// readings, and a salted commitment to the metering point. No name, no place and no energy is stored here.
/// @dev A commitment and a key are used once and for ever: neither can be enrolled again after it was
/// retired or rotated out, so that an old signature can never be attributed to a new household.
contract Registry is Operated {
    /// @notice What is known of one metering point.
    /// @param owner receives the rewards
    /// @param enrolledAt block time of the enrolment, Unix seconds
    /// @param retiredAt block time of the retirement, Unix seconds; 0 while active
    /// @param key Ed25519 public key, 32 bytes, in force
    struct Household {
        address owner;
        uint48 enrolledAt;
        uint48 retiredAt;
        bytes32 key;
    }

    error ZeroOwner();
    error ZeroKey();
    error ZeroCommitment();
    /// @notice The commitment belongs to a household, active or retired.
    error CommitmentTaken(bytes32 commitment);
    /// @notice The key is, or once was, the key of `commitment`.
    error KeyTaken(bytes32 key, bytes32 commitment);
    error UnknownHousehold(bytes32 commitment);
    error HouseholdRetired(bytes32 commitment);
    /// @notice A rotation must change the owner or the key.
    error NothingChanged(bytes32 commitment);

    event Enrolled(bytes32 indexed commitment, address indexed owner, bytes32 key);
    event Rotated(bytes32 indexed commitment, address indexed owner, bytes32 key, address oldOwner, bytes32 oldKey);
    event Retired(bytes32 indexed commitment);

    /// @notice keccak256 of the community's id: which street this registry is for.
    bytes32 public immutable community;
    /// @notice Households enrolled and not retired.
    uint256 public activeCount;

    mapping(bytes32 commitment => Household) private _households;
    mapping(bytes32 key => bytes32 commitment) private _commitmentOf;

    constructor(address operator, bytes32 community_) Operated(operator) {
        community = community_;
    }

    /// @notice Adds a household.
    /// @param owner receives the rewards
    /// @param key Ed25519 public key of the meter's agent
    /// @param commitment salted hash of the metering point's id
    function enrol(address owner, bytes32 key, bytes32 commitment) external onlyOwner {
        if (owner == address(0)) revert ZeroOwner();
        if (commitment == bytes32(0)) revert ZeroCommitment();
        if (_households[commitment].enrolledAt != 0) revert CommitmentTaken(commitment);
        _takeKey(key, commitment);
        _households[commitment] =
            Household({owner: owner, enrolledAt: uint48(block.timestamp), retiredAt: 0, key: key});
        activeCount += 1;
        emit Enrolled(commitment, owner, key);
    }

    /// @notice Replaces the payout address, the key, or both. The old key stays taken for ever.
    function rotate(bytes32 commitment, address owner, bytes32 key) external onlyOwner {
        Household storage current = _active(commitment);
        if (owner == address(0)) revert ZeroOwner();
        (address oldOwner, bytes32 oldKey) = (current.owner, current.key);
        if (owner == oldOwner && key == oldKey) revert NothingChanged(commitment);
        if (key != oldKey) {
            _takeKey(key, commitment);
            current.key = key;
        }
        current.owner = owner;
        emit Rotated(commitment, owner, key, oldOwner, oldKey);
    }

    /// @notice Ends a household's participation. What it has earned stays claimable.
    function retire(bytes32 commitment) external onlyOwner {
        _active(commitment).retiredAt = uint48(block.timestamp);
        activeCount -= 1;
        emit Retired(commitment);
    }

    /// @notice The household of a commitment; all fields are zero when it was never enrolled.
    function household(bytes32 commitment) external view returns (Household memory) {
        return _households[commitment];
    }

    /// @notice The commitment that a key signs, or once signed, for; zero when the key is unknown.
    function commitmentOf(bytes32 key) external view returns (bytes32) {
        return _commitmentOf[key];
    }

    /// @notice True when `key` is the key in force of an active household.
    function isActiveKey(bytes32 key) external view returns (bool) {
        Household storage found = _households[_commitmentOf[key]];
        return key != bytes32(0) && found.key == key && found.retiredAt == 0;
    }

    function _takeKey(bytes32 key, bytes32 commitment) private {
        if (key == bytes32(0)) revert ZeroKey();
        bytes32 holder = _commitmentOf[key];
        if (holder != bytes32(0)) revert KeyTaken(key, holder);
        _commitmentOf[key] = commitment;
    }

    function _active(bytes32 commitment) private view returns (Household storage found) {
        found = _households[commitment];
        if (found.enrolledAt == 0) revert UnknownHousehold(commitment);
        if (found.retiredAt != 0) revert HouseholdRetired(commitment);
    }
}
