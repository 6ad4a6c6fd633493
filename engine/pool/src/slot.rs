//! A place on the board where one thread shows a job to others.
//!
//! The job lives on the stack of the thread that offers it, so that thread may go on only when nobody looks at it any
//! more. A visitor counts itself in *before* it reads the job, and the owner takes the job down *before* it reads the
//! count: one of both sees the other.

use crate::job::Job;
use crate::sync::{AtomicPtr, AtomicUsize, Ordering, fence, relax};
use std::ptr;

pub(crate) struct Slot {
    job: AtomicPtr<Job<'static>>,
    visitors: AtomicUsize,
}

impl Slot {
    pub(crate) fn new() -> Slot {
        Slot { job: AtomicPtr::new(ptr::null_mut()), visitors: AtomicUsize::new(0) }
    }

    /// Shows `job`. The slot is the caller's, who calls [`Slot::take_down`] before the job ends.
    pub(crate) fn show(&self, job: &Job<'_>) {
        self.job.store(ptr::from_ref(job).cast_mut().cast(), Ordering::SeqCst);
    }

    /// Takes the job down and waits until nobody looks at it.
    pub(crate) fn take_down(&self) {
        self.job.store(ptr::null_mut(), Ordering::SeqCst);
        fence(Ordering::SeqCst);
        let mut turn = 0;
        while self.visitors.load(Ordering::SeqCst) != 0 {
            relax(turn);
            turn = turn.wrapping_add(1);
        }
    }

    /// Calls `visit` with the job that is shown, if one is.
    pub(crate) fn visit(&self, visit: impl FnOnce(&Job<'_>)) {
        self.visitors.fetch_add(1, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        let job = self.job.load(Ordering::SeqCst);
        // SAFETY: the job was shown when this visitor had been counted already, so that its owner waits in `take_down`
        // until the count goes down again. `visit` does not unwind: jobs catch the panics of their tasks.
        if let Some(job) = unsafe { job.as_ref() } {
            visit(job);
        }
        self.visitors.fetch_sub(1, Ordering::SeqCst);
    }
}
