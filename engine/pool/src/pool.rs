use crate::board::{Board, MAX_HELPERS, board};
use crate::job::Job;
use crate::{Cells, Stop};

/// A handle onto the process's threads, cheap to clone.
#[derive(Clone, Default)]
pub struct Pool {
    /// Threads beside the caller's.
    helpers: usize,
    stop: Stop,
}

/// Tasks of a job at most.
const MOST: usize = 1 << 31;

impl Pool {
    /// A handle that uses up to `width` threads; 0 takes one for each processor that this process may use.
    /// Where the system grants no threads, the handle runs on the caller's.
    pub fn new(width: usize) -> Pool {
        let width = match width {
            0 => std::thread::available_parallelism().map_or(1, |n| n.get()),
            n => n,
        };
        let helpers = (width - 1).min(MAX_HELPERS);
        if helpers > 0 {
            board().staff(helpers);
        }
        Pool { helpers, stop: Stop::default() }
    }

    /// A handle that runs everything on the caller's thread.
    pub fn sequential() -> Pool {
        Pool::default()
    }

    /// The same threads, for loops that leave out what they have not begun once `stop` asks for it.
    pub fn with_stop(&self, stop: Stop) -> Pool {
        Pool { helpers: self.helpers, stop }
    }

    /// How many threads work at most on a loop at the same time.
    pub fn width(&self) -> usize {
        self.helpers + 1
    }

    /// Runs `task(0)`, ..., `task(count - 1)`, in any order and possibly at the same time.
    ///
    /// The task is a trait object on purpose: kernels have thousands of loops, and none of them should bring a
    /// copy of the scheduler along.
    ///
    /// # Panics
    /// When a task panics, after the others have ended.
    pub fn for_each(&self, count: usize, task: &(dyn Fn(usize) + Sync)) {
        let stop = self.stop.can().then_some(&self.stop);
        if self.helpers == 0 || count < 2 {
            for i in 0..count {
                if stop.is_some_and(Stop::asked) {
                    return;
                }
                task(i);
            }
            return;
        }
        let board = board();
        board.staff(self.helpers);
        // No job has more tasks than a number of 32 bits counts.
        for first in (0..count).step_by(MOST) {
            let count = MOST.min(count - first);
            board.run(Job::new(&|i, _| task(first + i), count as u32, self.helpers.min(count - 1), stop));
        }
    }

    /// Cuts `data` into pieces of `size` elements (the last may be shorter) and runs `task(piece number, piece)`
    /// on each, in any order and possibly at the same time.
    ///
    /// # Panics
    /// When `size` is zero.
    pub fn for_each_piece<T: Send>(
        &self,
        data: &mut [T],
        size: usize,
        task: impl Fn(usize, &mut [T]) + Sync,
    ) {
        assert!(size > 0, "pieces must have a size");
        let len = data.len();
        let cells = Cells::new(data);
        self.for_each(len.div_ceil(size), &|i| {
            let at = i * size;
            // SAFETY: `for_each` runs every index once, and pieces of different indices do not overlap.
            task(i, unsafe { cells.piece(at, size.min(len - at)) });
        });
    }

    /// Runs `task` once on the caller's thread and once more, there or on any thread of the pool, for each
    /// [`Tasks::add`]; returns when all have ended. Tasks may wait in loops of their own: a thread that has nothing
    /// else to do helps with those.
    ///
    /// # Panics
    /// When a task panics, after the others have ended.
    pub fn tasks(&self, task: &(dyn Fn(&Tasks<'_>) + Sync)) {
        if self.helpers == 0 {
            let added = std::cell::Cell::new(1usize);
            while let Some(left) = added.get().checked_sub(1) {
                added.set(left);
                task(&Tasks(Adds::Here(&added)));
            }
            return;
        }
        let board = board();
        board.staff(self.helpers);
        let task = |_: usize, job: &Job<'_>| task(&Tasks(Adds::There(job, board)));
        board.run(Job::growing(&task, self.helpers));
    }
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pool of {}", self.width())
    }
}

/// What a task of [`Pool::tasks`] may add further tasks to.
pub struct Tasks<'a>(Adds<'a>);

enum Adds<'a> {
    Here(&'a std::cell::Cell<usize>),
    There(&'a Job<'a>, &'static Board),
}

impl Tasks<'_> {
    /// Lets the task run once more.
    pub fn add(&self) {
        match self.0 {
            Adds::Here(left) => left.set(left.get() + 1),
            Adds::There(job, board) => {
                job.grow();
                board.tell(1);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn every_index_runs_once() {
        for width in [1, 2, 4] {
            let seen: Vec<AtomicUsize> = (0..100).map(|_| AtomicUsize::new(0)).collect();
            Pool::new(width).for_each(100, &|i| {
                seen[i].fetch_add(1, Ordering::Relaxed);
            });
            assert!(seen.iter().all(|n| n.load(Ordering::Relaxed) == 1));
        }
    }

    #[test]
    fn pieces_cover_the_data() {
        for width in [1, 3] {
            let mut data = vec![0; 103];
            Pool::new(width).for_each_piece(&mut data, 10, |i, piece| piece.fill(i));
            assert!(data.iter().enumerate().all(|(at, &i)| i == at / 10));
        }
    }

    #[test]
    fn tasks_add_tasks() {
        for width in [1, 2, 5] {
            let pool = Pool::new(width);
            for _ in 0..200 {
                let (left, ran) = (AtomicUsize::new(30), AtomicUsize::new(0));
                pool.tasks(&|tasks| {
                    ran.fetch_add(1, Ordering::Relaxed);
                    pool.for_each(3, &|_| {});
                    for _ in 0..2 {
                        let less = |n: usize| n.checked_sub(1);
                        if left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok() {
                            tasks.add();
                        }
                    }
                });
                assert_eq!(ran.load(Ordering::Relaxed), 31);
            }
        }
    }

    #[test]
    fn loops_nest_and_callers_are_many() {
        let pool = Pool::new(3);
        let sum = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..6 {
                scope.spawn(|| {
                    for _ in 0..100 {
                        pool.for_each(4, &|i| {
                            pool.for_each(5, &|j| {
                                sum.fetch_add(i * 5 + j, Ordering::Relaxed);
                            });
                        });
                    }
                });
            }
        });
        assert_eq!(sum.load(Ordering::Relaxed), 600 * 190);
    }

    #[test]
    fn panics_reach_the_caller() {
        for width in [1, 2] {
            let pool = Pool::new(width);
            let result = std::panic::catch_unwind(|| pool.for_each(10, &|i| assert!(i != 7, "seven")));
            let cause = result.unwrap_err();
            assert_eq!(cause.downcast_ref::<&str>(), Some(&"seven"));
            pool.for_each(10, &|_| {});
        }
    }

    #[test]
    fn stopped_loops_end() {
        let switch = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        for width in [1, 2] {
            switch.store(false, Ordering::Relaxed);
            let pool = Pool::new(width).with_stop(Stop::new(Some(switch.clone()), None));
            let ran = AtomicUsize::new(0);
            pool.for_each(1000, &|_| {
                ran.fetch_add(1, Ordering::Relaxed);
                switch.store(true, Ordering::Relaxed);
            });
            assert!(ran.load(Ordering::Relaxed) <= 4);
            let late = Pool::new(width).with_stop(Stop::new(None, Some(std::time::Instant::now())));
            late.for_each(10, &|_| panic!("too late"));
        }
    }

    /// A child after a fork has no helpers of its parent, and makes its own.
    #[cfg(unix)]
    #[test]
    fn children_after_a_fork_go_on() {
        let pool = Pool::new(3);
        pool.for_each(100, &|_| {});
        // SAFETY: the child runs loops of this crate, which takes no lock that another thread may have held, and ends
        // by `_exit`.
        let child = unsafe { libc::fork() };
        if child == 0 {
            let sum = AtomicUsize::new(0);
            for _ in 0..50 {
                pool.for_each(100, &|i| {
                    sum.fetch_add(i, Ordering::Relaxed);
                });
            }
            let code = i32::from(sum.load(Ordering::Relaxed) != 50 * 4950);
            // SAFETY: ends the child at once, without the parent's handlers.
            unsafe { libc::_exit(code) };
        }
        let mut status = 0;
        // SAFETY: `status` is a place for a number, and the child is this process's own.
        let waited = unsafe { libc::waitpid(child, &raw mut status, 0) };
        assert_eq!((waited, status), (child, 0));
    }
}
