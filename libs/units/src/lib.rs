//! The quantities that money depends on: exact integers with a unit in their type.
//!
//! Energy is counted in watt-hours, prices in nano-currency per watt-hour and money in
//! nano-currency, so that `Energy × Price = Money` holds without rounding. Whatever has to be
//! shared out goes through [`split`], which never loses or invents a unit.
//!
//! Sign rule for power and energy flows: positive = from the grid into what is measured.

mod id;
mod named;
mod quantity;
mod slot;
mod split;

pub use id::{BusId, CommunityId, InvalidId, PointId};
pub use named::slots;
pub use quantity::{Energy, Money, Power, Price};
pub use slot::Slot;
pub use split::{Proportion, split, split_choosing};
