//! Tests of the market through its public functions.

mod auction;
mod book;
mod correction;
mod faults;
mod horizon;
mod horizon_days;
mod horizon_reference;
mod horizon_street;
mod ladder;
mod ledger;
mod nodal;
mod nodal_money;
mod plate;
mod radial;
mod radial_grid;
mod radial_large;
mod radial_lp;
mod radial_street;
mod reference;
mod rewards;
mod settlement;
mod sharing;
mod sharing_figures;
mod sharing_properties;
mod sharing_reference;
#[cfg(feature = "serde")]
mod snapshot;
mod solver;
mod street;
mod why;
