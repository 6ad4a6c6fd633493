use crate::stop::Stop;
use crate::sync::{AtomicU64, AtomicUsize, Ordering};
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError};

/// What a job does for a number; it may add tasks to the job.
pub(crate) type Task<'a> = &'a (dyn Fn(usize, &Job<'_>) + Sync);

/// Work in numbered tasks, which lives on the stack of the thread that offers it.
pub(crate) struct Job<'a> {
    task: Task<'a>,
    /// The tasks that nobody has taken: the first in the lower half, the one behind the last in the upper half.
    left: AtomicU64,
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

/// The upper half of [`Job::left`].
const HALF: u32 = u32::BITS;

impl<'a> Job<'a> {
    pub(crate) fn new(task: Task<'a>, count: u32, places: usize, stop: Option<&'a Stop>) -> Job<'a> {
        Job {
            task,
            left: AtomicU64::new(u64::from(count) << HALF),
            count: AtomicUsize::new(count as usize),
            ended: AtomicUsize::new(0),
            places: AtomicUsize::new(places),
            grows: false,
            stop,
            panic: Mutex::new(None),
        }
    }

    /// A job of one task so far, which is the caller's to [`Job::begin`] and may add others.
    pub(crate) fn growing(task: Task<'a>, places: usize) -> Job<'a> {
        Job { grows: true, left: AtomicU64::new(1 << HALF | 1), ..Job::new(task, 1, places, None) }
    }

    /// Whether its tasks may add others.
    pub(crate) fn grows(&self) -> bool {
        self.grows
    }

    /// How many threads may still join.
    pub(crate) fn wanted(&self) -> usize {
        self.places.load(Ordering::Relaxed)
    }

    /// Takes tasks and runs them until none is left to take: from the first on, or, for those who help with a loop, from
    /// the last on. So a thread meets again what it has in its cache from the loop before.
    pub(crate) fn work(&self, helps: bool) {
        while let Some(index) = self.take(helps && !self.grows) {
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

    fn take(&self, last: bool) -> Option<usize> {
        let mut left = self.left.load(Ordering::Relaxed);
        loop {
            let (first, end) = (left as u32, (left >> HALF) as u32);
            if first >= end {
                return None;
            }
            let (index, less) = if last { (end - 1, left - (1 << HALF)) } else { (first, left + 1) };
            match self.left.compare_exchange_weak(left, less, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return Some(index as usize),
                Err(now) => left = now,
            }
        }
    }

    /// Adds a task; called from within one.
    pub(crate) fn grow(&self) {
        self.count.fetch_add(1, Ordering::AcqRel);
        self.left.fetch_add(1 << HALF, Ordering::AcqRel);
    }

    /// Whether a task is left to take.
    pub(crate) fn is_open(&self) -> bool {
        let left = self.left.load(Ordering::Relaxed);
        (left as u32) < (left >> HALF) as u32
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
