//! The atomics of the standard library, or those of loom where its tests explore every order of them.

#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering, fence};
#[cfg(not(loom))]
pub(crate) use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering, fence};

/// Lets another thread go on while this one waits for it.
pub(crate) fn relax(turn: u32) {
    #[cfg(loom)]
    {
        let _ = turn;
        loom::thread::yield_now();
    }
    #[cfg(not(loom))]
    if turn % 256 == 255 { std::thread::yield_now() } else { std::hint::spin_loop() }
}
