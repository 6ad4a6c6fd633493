//! The one thread pool of a process: flat loops and node tasks.
//!
//! A [`Pool`] is a handle of a certain width onto threads that all sessions share. Width 1 runs everything on
//! the caller's thread, without a lock or an allocation. Loops are cut by the caller, by shape and never by
//! width, so that results have the same bits for every width.

mod cells;

pub use cells::Cells;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// A handle onto the process's threads, cheap to clone.
#[derive(Clone)]
pub struct Pool {
    /// `None` runs on the caller's thread.
    threads: Option<Arc<rayon::ThreadPool>>,
    width: usize,
}

/// The threads of each width that was asked for; they are shared by every handle of that width.
static SHARED: Mutex<BTreeMap<usize, Arc<rayon::ThreadPool>>> = Mutex::new(BTreeMap::new());

impl Pool {
    /// A handle that uses up to `width` threads; 0 takes one for each processor that this process may use.
    /// Where the system grants no threads, the handle runs on the caller's.
    pub fn new(width: usize) -> Pool {
        let width = match width {
            0 => std::thread::available_parallelism().map_or(1, |n| n.get()),
            n => n.min(MAX_WIDTH),
        };
        if width == 1 {
            return Pool::sequential();
        }
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(threads) = shared.get(&width) {
            return Pool { threads: Some(threads.clone()), width };
        }
        let built = rayon::ThreadPoolBuilder::new()
            .num_threads(width)
            .thread_name(|i| format!("oxidane-{i}"))
            .build();
        match built {
            Ok(threads) => {
                let threads = Arc::new(threads);
                shared.insert(width, threads.clone());
                Pool { threads: Some(threads), width }
            }
            Err(_) => Pool::sequential(),
        }
    }

    /// A handle that runs everything on the caller's thread.
    pub const fn sequential() -> Pool {
        Pool { threads: None, width: 1 }
    }

    /// How many threads work at most at the same time.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Runs `task(0)`, ..., `task(count - 1)`, in any order and possibly at the same time.
    ///
    /// The task is a trait object on purpose: kernels have thousands of loops, and none of them should bring a
    /// copy of the scheduler along.
    pub fn for_each(&self, count: usize, task: &(dyn Fn(usize) + Sync)) {
        match &self.threads {
            Some(threads) if count > 1 => threads.install(|| {
                use rayon::prelude::*;
                (0..count).into_par_iter().with_max_len(1).for_each(task);
            }),
            _ => (0..count).for_each(task),
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

    /// Runs `root` on a thread of the pool (the caller's for width 1) with a [`Scope`] on which it and its tasks
    /// may start further tasks; returns when all are done.
    pub fn scope<'env, R: Send>(&self, root: impl FnOnce(&Scope<'_, 'env>) -> R + Send) -> R {
        match &self.threads {
            Some(threads) => threads.scope(|scope| root(&Scope(Some(scope)))),
            None => root(&Scope(None)),
        }
    }
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pool of {}", self.width)
    }
}

/// More threads than any machine has; a width beyond it is a mistake.
const MAX_WIDTH: usize = 1024;

/// Where tasks that may outlive the one that started them are put.
pub struct Scope<'scope, 'env>(Option<&'scope rayon::Scope<'env>>);

impl<'env> Scope<'_, 'env> {
    /// Starts `task`, at once on the caller's thread for width 1, otherwise on any thread of the pool.
    pub fn spawn(&self, task: impl FnOnce(&Scope<'_, 'env>) + Send + 'env) {
        match self.0 {
            Some(scope) => scope.spawn(|scope| task(&Scope(Some(scope)))),
            None => task(self),
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
    fn tasks_start_tasks() {
        for width in [1, 2] {
            let count = AtomicUsize::new(0);
            let count = &count;
            Pool::new(width).scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(move |scope| {
                        scope.spawn(move |_| {
                            count.fetch_add(1, Ordering::Relaxed);
                        });
                    });
                }
            });
            assert_eq!(count.load(Ordering::Relaxed), 4);
        }
    }
}
