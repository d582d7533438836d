//! What the tests share.

pub mod broker;
pub mod desk;
pub mod device;
pub mod gateway;
pub mod listener;
pub mod operator;
pub mod world;
