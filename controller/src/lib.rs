//! The street's desk: takes readings and orders, runs the rounds, keeps the books and the log, and
//! shows everyone what happened.

pub mod broker;
pub mod bundle;
pub mod chain_worker;
pub mod config;
pub mod desk;
pub mod grid;
pub mod hindsight;
pub mod http;
pub mod keys;
pub mod live;
pub mod mqtt;
pub mod report;
pub mod revocation;
pub mod rules;
pub mod run;
pub mod store;
pub mod tariff;
