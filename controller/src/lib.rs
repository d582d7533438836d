//! The street's desk: takes readings and orders, runs the rounds, keeps the books and the log, and
//! shows everyone what happened.

pub mod config;
pub mod rules;
pub mod tariff;
