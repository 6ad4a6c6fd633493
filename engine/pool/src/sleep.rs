//! How a thread without work falls asleep and is woken.
//!
//! The thread says that it sleeps *before* it looks for news a last time, and whoever has news counts them *before* it
//! asks who sleeps: one of both sees the other.

use crate::sync::{AtomicBool, AtomicU64, Ordering, fence};

/// Counts what is new on a board.
pub(crate) struct News(AtomicU64);

impl News {
    pub(crate) fn new() -> News {
        News(AtomicU64::new(0))
    }

    pub(crate) fn count(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }

    pub(crate) fn add(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
        fence(Ordering::SeqCst);
    }
}

/// Whether a thread sleeps.
pub(crate) struct Sleeper(AtomicBool);

impl Sleeper {
    pub(crate) fn new() -> Sleeper {
        Sleeper(AtomicBool::new(false))
    }

    /// Sleeps by `park` unless there are news beyond `seen`. `park` may return early.
    pub(crate) fn sleep(&self, news: &News, seen: u64, park: impl FnOnce()) {
        self.0.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        if news.count() == seen {
            park();
        }
        self.0.store(false, Ordering::SeqCst);
    }

    /// Wakes the thread by `unpark` if it sleeps, and says whether it did; called after news were counted.
    pub(crate) fn wake(&self, unpark: impl FnOnce()) -> bool {
        let sleeps = self.0.load(Ordering::SeqCst) && self.0.swap(false, Ordering::SeqCst);
        if sleeps {
            unpark();
        }
        sleeps
    }
}
