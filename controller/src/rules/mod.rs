//! The rules that turn signed messages into a settled slot: pure functions that the desk applies and
//! the auditor applies again.

mod draw;
mod keys;
mod metering;
mod ordering;
mod plausible;
mod revision;
mod settling;
mod sharing;
mod street_grid;

pub use draw::{digests_root, rank, salt, seed};
pub use keys::{KeyChangeRecord, KeyFault, KeyRevocationRecord, KeyRing, Revoked, is_signed};
pub use metering::{Metering, Registers, Span, meter};
pub use ordering::{OrderFault, carried, place};
pub use plausible::{
    Connection, Implausible, MAX_SKEW_MS, MAX_SLOT, energy_bound, implausible, registers,
};
pub use revision::{
    Cleared, Found, MAX_CORRECT_WITHIN, Revision, find, moved, rewarded, settle_again,
};
pub use settling::{Member, Outcome, Place, SettlingFault, SlotBasis, settle_slot};
pub use sharing::{MemberPrices, Shared, StreetSharing, StreetSharingFault};
pub use street_grid::{
    GridForm, NO_MARKET, PriceTree, StreetGrid, StreetGridFault, network, on_wire,
};
