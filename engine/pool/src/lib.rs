//! The one thread pool of a process: flat loops and node tasks.
//!
//! A [`Pool`] is a handle of a certain width onto threads that all sessions share. Width 1 runs everything on
//! the caller's thread, without a lock or an allocation. Loops are cut by the caller, by shape and never by
//! width, so that results have the same bits for every width.
//!
//! A thread that has work shows it on a board and begins with it; helpers look at the board for half a millisecond
//! after they last had something to do, and then sleep. Nobody waits for a helper that has not begun: a caller can
//! always end its loop alone, so that any number of callers, and a child after a fork, go on.

#![cfg_attr(loom, allow(dead_code, reason = "loom explores the two protocols alone"))]

mod cells;
mod job;
mod sleep;
mod slot;
mod stop;
mod sync;

#[cfg(not(loom))]
mod board;
#[cfg(all(test, loom))]
mod loom_tests;
#[cfg(not(loom))]
mod pool;

pub use cells::Cells;
#[cfg(not(loom))]
pub use pool::{Pool, Tasks};
pub use stop::Stop;
