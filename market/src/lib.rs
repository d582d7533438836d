//! The local energy market: what is decided about orders, prices, bills and rewards, and nothing
//! else.
//!
//! Pure: no clock, no I/O, no chance, no logging. Everything arrives as an argument and leaves as
//! a value, so that a controller, a household that checks its own bill and an auditor years later
//! compute the same integers.
//!
//! One slot passes through the modules in this order:
//!
//! 1. [`Book`] takes [`Order`]s under the [`Terms`] of the supplier until the gate closes;
//! 2. [`propose`] states the welfare maximisation as a linear program and solves it in floats;
//! 3. [`clear`] computes the exact answer in integers and proves that the [`Proposal`] is as good:
//!    a [`Clearing`] with one price, which anyone can [`Clearing::certify`];
//! 4. [`settle`] turns the clearing and the metered energy into a [`Settlement`] with a [`Bill`]
//!    per metering point; a household recomputes its own with [`charge`];
//! 5. [`post`] writes the settlement as balanced [`Transfer`]s;
//! 6. [`Revision::correct`] settles the slot again when meters are corrected, and posts only the
//!    differences;
//! 7. [`mint`] shares an epoch's tokens among the producers.
//!
//! Rules that share without an auction, and the legal allocation beside it, are in [`sharing`].
//!
//! Quantities are exact integers ([`units`]); floats exist only in the linear program.
//!
//! ```
//! use market::{Book, Limits, Order, Side, Terms, clear, propose};
//! use units::{Energy, PointId, Price, Slot};
//!
//! let terms = Terms::new(Price::from_e5_per_kwh(28_800), Price::from_e5_per_kwh(12_310))?;
//! let mut book = Book::open(Slot::new(1_612_896), terms, Limits::default());
//! for (point, side, wh, e5) in
//!     [("C001", Side::Buy, 400, 25_000), ("C002", Side::Buy, 300, 19_000), ("C003", Side::Sell, 500, 15_000)]
//! {
//!     let (quantity, limit) = (Energy::from_wh(wh), Price::from_e5_per_kwh(e5));
//!     book.place(Order::plain(PointId::new(point)?, side, quantity, limit, [0; 32]))?;
//! }
//! let clearing = clear(&book, Some(propose(&book)));
//! assert_eq!(clearing.cleared, Energy::from_wh(500));
//! // C002 still wants 200 Wh at 19 ct, so no lower price is fair to it.
//! assert_eq!(clearing.price, Some(Price::from_e5_per_kwh(19_000)));
//! clearing.certify(&book)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![deny(missing_docs)]

mod allotment;
mod bill;
mod book;
mod certificate;
mod clearing;
mod conservation;
mod correction;
mod curve;
mod grid;
pub mod horizon;
mod ladder;
mod ledger;
mod level;
mod lots;
mod lp;
mod nodal;
mod order;
pub mod plate;
pub mod radial;
mod rewards;
mod settlement;
pub mod sharing;
pub mod solver;
mod standby;
mod terms;
pub mod why;

pub use allotment::Flaw;
pub use bill::{Basis, BillFault, Charges, Late, LateCharge, Leg, Own, charge};
pub use book::{Book, Limits, Refusal};
pub use certificate::Violation;
pub use clearing::{Clearing, Fallback, Fill, Method};
pub use correction::{Correction, CorrectionFault, Revision, differences, reposted};
pub use curve::{CurveStep, Curves, curves};
pub use grid::{
    Branch, Grid, GridFault, GridRules, MAX_DEPTH, MAX_NODES, Node, RulesFault, Tier, TierRule,
    UNCAPPED,
};
pub use ladder::{Envelope, LadderCounts, Rung, envelopes};
pub use ledger::{Account, Balances, InvalidAccount, LedgerFault, Reason, Transfer, post};
pub use lots::{Lot, LotFault, MAX_LOTS};
pub use lp::{LpFault, Proposal, Share, propose, propose_by};
pub use nodal::{Nodal, NodePrice, PriceParts};
pub use order::{Limit, MAX_QUANTITY, MAX_STEPS, Order, Rank, Side, Step, Steps};
pub use plate::{Plate, PlateViolation};
pub use radial::{Radial, RadialViolation};
pub use rewards::{Cumulative, Eligible, Mint, Policy, RewardFault, mint};
pub use settlement::{Bill, Flow, Metered, Settlement, SettlementFault, Totals, settle};
pub use standby::{Standby, clear};
pub use terms::{MAX_PRICE, Terms, TermsFault};
