//! The controller against real parts: SQLite on a disk, real signatures, real HTTP.

mod desk;
mod street;
