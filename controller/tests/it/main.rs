//! The controller against real parts: SQLite on a disk, real signatures, real HTTP.

mod bundle;
mod config;
mod desk;
mod grid;
mod http;
mod record;
mod revision;
mod street;
mod why;
