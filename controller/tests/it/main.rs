//! The controller against real parts: SQLite on a disk, real signatures, real HTTP.

mod bundle;
mod config;
mod desk;
mod grid;
mod http;
mod keys;
mod meters;
mod orders;
mod record;
mod revision;
mod sharing;
mod street;
mod why;
