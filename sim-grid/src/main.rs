//! The simulated street, as a program.

fn main() {}
