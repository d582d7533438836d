//! The market over time: storage, loads that may wait, and a network, for up to a week ahead.
//!
//! A single slot needs no solver. What couples slots is energy that is kept: a battery, a car that
//! has to be full by seven. [`plan`] maximises welfare over all slots of a [`Horizon`] at once, as
//! a linear program, and takes nothing of its answer for granted:
//!
//! 1. what is obvious is decided before ([`survey`]), and the program is kept small ([`relaxed`]);
//! 2. a [`Solver`](crate::solver::Solver) finds the optimum in floats ([`optimum`]);
//! 3. prices are the middle of what supports that optimum ([`prices`]);
//! 4. storage is rounded to whole Wh and followed exactly ([`schedule`]), and with storage decided
//!    every slot is cleared by the exact engine ([`dispatch`]);
//! 5. integers prove how far from optimal the result can be at most ([`certificate`]).
//!
//! Afterwards the attributes of the planned energy are traded ([`attributes`]).
//!
//! When any of this fails the answer is the last plan's storage, slot by slot cleared exactly. A
//! plan is feasible in any case; only how good it is depends on the solver. Nothing is ever
//! infeasible: loads may go unserved, generation be curtailed, cars leave with less, and what
//! could not be had is named ([`Shortfall`]).
//!
//! One household behind its meter is the small case: one node, its load bought at the cap, its
//! generation sold at nothing, the supplier's prices per slot ([`Horizon::household`]).

mod attributes;
mod certificate;
mod detail;
mod dispatch;
mod optimum;
mod plan;
mod prices;
mod problem;
mod refusal;
mod relaxed;
mod schedule;
mod survey;
mod voltage;

pub use attributes::{Attributes, Premium};
pub use plan::{Dispatch, Method, Plan, Shortfall, Stored, plan};
pub use problem::{
    Battery, Class, Deferrable, End, Horizon, MAX_SLOTS, Offer, PPM, Period, Supply, Wish,
};
pub use refusal::{MAX_OFFERS, MAX_STORES, Refusal};
pub use schedule::Step;
pub use voltage::{Drop, Voltage};
