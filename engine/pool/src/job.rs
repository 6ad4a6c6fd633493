use crate::stop::Stop;
use crate::sync::{AtomicUsize, Ordering};
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError};

/// What a job does for a number; it may add tasks to the job.
pub(crate) type Task<'a> = &'a (dyn Fn(usize, &Job<'_>) + Sync);

/// Work in numbered tasks, which lives on the stack of the thread that offers it.
pub(crate) struct Job<'a> {
    task: Task<'a>,
    /// The first task that nobody has taken.
    next: AtomicUsize,
    /// How many tasks there are; it may grow while one of them runs.
    count: AtomicUsize,
    /// How many have ended.
    ended: AtomicUsize,
    /// Threads that may still join.
    places: AtomicUsize,
    /// Whether its tasks may add others.
    grows: bool,
    /// Tasks not begun are passed over once this says so.
    stop: Option<&'a Stop>,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

impl<'a> Job<'a> {
    pub(crate) fn new(task: Task<'a>, count: usize, places: usize, stop: Option<&'a Stop>) -> Job<'a> {
        Job {
            task,
            next: AtomicUsize::new(0),
            count: AtomicUsize::new(count),
            ended: AtomicUsize::new(0),
            places: AtomicUsize::new(places),
            grows: false,
            stop,
            panic: Mutex::new(None),
        }
    }

    /// A job of one task so far, which is the caller's to [`Job::begin`] and may add others.
    pub(crate) fn growing(task: Task<'a>, places: usize) -> Job<'a> {
        Job { grows: true, next: AtomicUsize::new(1), ..Job::new(task, 1, places, None) }
    }

    /// Whether its tasks may add others.
    pub(crate) fn grows(&self) -> bool {
        self.grows
    }

    /// How many threads may still join.
    pub(crate) fn wanted(&self) -> usize {
        self.places.load(Ordering::Relaxed)
    }

    /// Takes tasks and runs them until none is left to take.
    pub(crate) fn work(&self) {
        while let Some(index) = self.take() {
            self.run(index);
        }
    }

    /// Runs the first task of a job that grows.
    pub(crate) fn begin(&self) {
        debug_assert!(self.grows, "the first task of a loop is to be taken");
        self.run(0);
    }

    fn run(&self, index: usize) {
        if !self.stop.is_some_and(Stop::asked) {
            // What a task leaves behind is its caller's, who learns of the panic.
            if let Err(cause) = catch_unwind(AssertUnwindSafe(|| (self.task)(index, self))) {
                self.panic.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(cause);
            }
        }
        self.ended.fetch_add(1, Ordering::Release);
    }

    fn take(&self) -> Option<usize> {
        let mut next = self.next.load(Ordering::Relaxed);
        loop {
            if next >= self.count.load(Ordering::Acquire) {
                return None;
            }
            match self.next.compare_exchange_weak(next, next + 1, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return Some(next),
                Err(now) => next = now,
            }
        }
    }

    /// Adds a task; called from within one.
    pub(crate) fn grow(&self) {
        self.count.fetch_add(1, Ordering::AcqRel);
    }

    /// Whether a task is left to take.
    pub(crate) fn is_open(&self) -> bool {
        self.next.load(Ordering::Relaxed) < self.count.load(Ordering::Acquire)
    }

    /// Whether all tasks have ended. Once it says so no task can be added, because only tasks add some.
    pub(crate) fn is_done(&self) -> bool {
        let ended = self.ended.load(Ordering::Acquire);
        ended == self.count.load(Ordering::Acquire)
    }

    /// Takes a place, where one is left.
    pub(crate) fn join(&self) -> bool {
        let less = |places: usize| places.checked_sub(1);
        self.places.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok()
    }

    /// Gives the place back.
    pub(crate) fn leave(&self) {
        self.places.fetch_add(1, Ordering::Relaxed);
    }

    /// The panic of a task, if one did.
    pub(crate) fn into_panic(self) -> Option<Box<dyn Any + Send>> {
        self.panic.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}
