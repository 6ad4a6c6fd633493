//! Compile once, run many times.
//!
//! A [`Plan`] binds a kernel to every node, fixes an order, and decides which outputs share a block of memory.
//! A [`Session`] owns a plan, threads and blocks, and runs it: sequentially on one thread, or as a dataflow
//! over the pool. Symbolic sizes are bound by the inputs of each run, and what a run needs at most is known
//! before it starts.

#![forbid(unsafe_code)]

mod error;
mod memory;
mod plan;
mod schedule;
mod session;
mod sink;
mod state;

pub use error::RunError;
pub use memory::MemoryPlan;
pub use plan::Plan;
pub use schedule::{Cancel, Limits, NodeEvent, Observer};
pub use session::{Port, RunOptions, Session, SessionOptions};
