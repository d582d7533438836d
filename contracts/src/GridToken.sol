// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";
import {ERC20Capped} from "@openzeppelin/contracts/token/ERC20/extensions/ERC20Capped.sol";
import {ERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/ERC20Permit.sol";

/// @title GridToken
/// @notice What producers earn for renewable energy used inside the street. Capped, 18 decimals, with permit.
/// Nobody needs it to buy energy.
/// @dev The only minter is the contract that created the token; there is no owner and no other power.
contract GridToken is ERC20Capped, ERC20Permit {
    error NotMinter(address caller);

    /// @notice The one account that may mint, for ever.
    address public immutable minter;

    constructor(address minter_, uint256 cap_)
        ERC20("Streetwatt Grid Token", "GRID")
        ERC20Permit("Streetwatt Grid Token")
        ERC20Capped(cap_)
    {
        minter = minter_;
    }

    /// @notice Creates `amount` tokens for `to`; reverts beyond the cap.
    function mint(address to, uint256 amount) external {
        if (msg.sender != minter) revert NotMinter(msg.sender);
        _mint(to, amount);
    }

    function _update(address from, address to, uint256 value) internal override(ERC20, ERC20Capped) {
        super._update(from, to, value);
    }
}
