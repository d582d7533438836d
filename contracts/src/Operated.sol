// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Ownable} from "@openzeppelin/contracts/access/Ownable.sol";
import {Ownable2Step} from "@openzeppelin/contracts/access/Ownable2Step.sol";

/// @title Operated
/// @notice One account, the operator, may write; its key can be replaced in two steps, so that a typing
/// error cannot lose the street. The operator's writes are limited by the rules of the contract it writes to.
abstract contract Operated is Ownable2Step {
    /// @notice The operator cannot walk away by accident: hand over with `transferOwnership` instead.
    error RenounceDisabled();

    constructor(address operator) Ownable(operator) {}

    /// @notice Always reverts: a street without an operator could never anchor again.
    function renounceOwnership() public view override onlyOwner {
        revert RenounceDisabled();
    }
}
