//! Tests against real sockets, a real broker and an operator in miniature.

mod agent;
mod bidding;
mod bills;
mod cli;
mod configuration;
mod control;
mod counters;
mod delivery;
mod discovery;
mod export;
mod gateway;
mod home_broker;
mod journal;
mod judged;
mod keys;
mod kill;
mod maps;
mod modbus;
#[path = "../../../sim-grid/tests/common/mosquitto.rs"]
mod mosquitto;
mod onboarding;
mod outlets;
mod plan;
mod private;
mod proxy;
mod serial;
mod setup;
mod sharing;
mod signs;
mod support;
