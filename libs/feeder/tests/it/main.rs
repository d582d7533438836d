//! The network against references that an independent program computed, and against malformed
//! grids.

mod malformed;
mod properties;
mod references;
