// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {MerkleProof} from "@openzeppelin/contracts/utils/cryptography/MerkleProof.sol";
import {Anchor} from "./Anchor.sol";
import {GridToken} from "./GridToken.sol";

/// @title Rewards
/// @notice Pays producers what the newest anchored rewards tree says they have earned since the beginning,
/// less what they were paid before. A missed claim costs nothing: the next one pays it all.
/// @dev Leaves follow OpenZeppelin's StandardMerkleTree: keccak256(keccak256(abi.encode(account, cumulative))),
/// sorted pairs. The contract creates its own token, so nobody ever holds the right to mint besides it.
contract Rewards {
    /// @notice The proof does not lead from this account and amount to the newest anchored root.
    error InvalidProof(address account, uint256 cumulative, bytes32 root);
    /// @notice Paying this would mint more than the street has anchored as earned.
    error AboveAnchoredTotal(uint256 wouldBePaid, uint256 anchored);

    event Claimed(address indexed account, uint256 amount, uint256 cumulative);

    /// @notice Where the rewards roots come from.
    Anchor public immutable anchor;
    /// @notice What is paid out.
    GridToken public immutable token;
    /// @notice Tokens paid to an account so far.
    mapping(address account => uint256) public claimed;
    /// @notice Tokens paid to all accounts so far.
    uint256 public totalClaimed;

    constructor(Anchor anchor_) {
        anchor = anchor_;
        token = new GridToken(address(this), anchor_.totalRewardCap());
    }

    /// @notice Pays `account` the difference between `cumulative` and what it was paid before. Anyone may
    /// call this; the tokens always go to the account in the leaf. A repeated claim pays nothing and
    /// does not revert.
    /// @param account the producer in the leaf
    /// @param cumulative tokens it has earned since the beginning
    /// @param proof from the leaf to the newest anchored rewards root
    /// @return paid tokens minted by this call
    function claim(address account, uint256 cumulative, bytes32[] calldata proof) external returns (uint256 paid) {
        bytes32 root = anchor.rewardsRoot();
        bytes32 leaf = keccak256(bytes.concat(keccak256(abi.encode(account, cumulative))));
        if (root == bytes32(0) || !MerkleProof.verifyCalldata(proof, root, leaf)) {
            revert InvalidProof(account, cumulative, root);
        }
        uint256 before = claimed[account];
        if (cumulative <= before) return 0;
        paid = cumulative - before;
        uint256 total = totalClaimed + paid;
        uint256 anchored = anchor.rewardTotal();
        if (total > anchored) revert AboveAnchoredTotal(total, anchored);
        claimed[account] = cumulative;
        totalClaimed = total;
        emit Claimed(account, paid, cumulative);
        token.mint(account, paid);
    }
}
