//! The board on which threads show jobs, and the helpers that look at it.

use crate::job::Job;
use crate::sleep::{News, Sleeper};
use crate::slot::Slot;
use crate::sync::relax;
use std::panic::resume_unwind;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering};
use std::thread::Thread;
use std::time::{Duration, Instant};

/// More helpers than any machine has processors; a width beyond it is a mistake.
pub(crate) const MAX_HELPERS: usize = 1023;

/// Jobs that can be shown at a time; further ones run on their own threads alone.
const SLOTS: usize = 64;

/// How long a helper looks out for the next job before it sleeps.
const LOOKOUT: Duration = Duration::from_micros(500);

/// How long it does so without giving its processor to others.
const BUSY: Duration = Duration::from_micros(50);

/// Stack of a helper: bodies of control flow nest.
const STACK: usize = 8 << 20;

pub(crate) struct Board {
    slots: [Slot; SLOTS],
    /// Slots that some thread owns, a bit each.
    taken: AtomicU64,
    /// Slots that show a job.
    shown: AtomicU64,
    news: News,
    helpers: Vec<Helper>,
    /// How many helpers were started, or could not be.
    started: AtomicUsize,
}

struct Helper {
    sleeper: Sleeper,
    thread: OnceLock<Thread>,
}

/// The board of this process. A child after a fork has none of its parent's helpers, and makes a board of its own.
static CURRENT: AtomicPtr<Board> = AtomicPtr::new(std::ptr::null_mut());

/// The board of this process.
#[inline]
pub(crate) fn board() -> &'static Board {
    // SAFETY: boards are never freed.
    match unsafe { CURRENT.load(Ordering::Acquire).as_ref() } {
        Some(board) => board,
        None => Board::install(),
    }
}

/// Lets a child after a fork begin without a board. Asking for the process's number each time would be a system call
/// for each loop.
#[cfg(unix)]
fn watch_forks() {
    static WATCHED: AtomicBool = AtomicBool::new(false);
    extern "C" fn forget() {
        CURRENT.store(std::ptr::null_mut(), Ordering::Release);
    }
    if !WATCHED.swap(true, Ordering::Relaxed) {
        // SAFETY: the handler stores a word and does nothing else.
        let result = unsafe { libc::pthread_atfork(None, None, Some(forget)) };
        // Without memory for a handler only a child after a fork would be worse off: it waits for nobody either.
        debug_assert_eq!(result, 0);
    }
}

#[cfg(not(unix))]
fn watch_forks() {}

impl Board {
    #[cold]
    fn install() -> &'static Board {
        watch_forks();
        let made = Box::into_raw(Box::new(Board {
            slots: std::array::from_fn(|_| Slot::new()),
            taken: AtomicU64::new(0),
            shown: AtomicU64::new(0),
            news: News::new(),
            helpers: (0..MAX_HELPERS)
                .map(|_| Helper { sleeper: Sleeper::new(), thread: OnceLock::new() })
                .collect(),
            started: AtomicUsize::new(0),
        }));
        let none = std::ptr::null_mut();
        match CURRENT.compare_exchange(none, made, Ordering::AcqRel, Ordering::Acquire) {
            // SAFETY: just made, and never freed from here on.
            Ok(_) => unsafe { &*made },
            Err(other) => {
                // SAFETY: nobody else has seen the one that was made; the other one is never freed.
                unsafe {
                    drop(Box::from_raw(made));
                    &*other
                }
            }
        }
    }

    /// Starts helpers until there are `wanted`, as far as the system grants threads.
    pub(crate) fn staff(&'static self, wanted: usize) {
        while self.started.load(Ordering::Relaxed) < wanted.min(MAX_HELPERS) {
            let at = self.started.fetch_add(1, Ordering::Relaxed);
            if at >= wanted.min(MAX_HELPERS) {
                self.started.fetch_sub(1, Ordering::Relaxed);
                return;
            }
            let builder = std::thread::Builder::new().name(format!("oxidane-{at}")).stack_size(STACK);
            if builder.spawn(move || self.help(at)).is_err() {
                return;
            }
        }
    }

    /// Shows a job, works on it, and returns when all of its tasks have ended. Jobs that grow are seen through to the
    /// last task that their tasks add, and loops are helped with meanwhile: those are short, whereas the tasks of
    /// another run may take as long as that.
    pub(crate) fn run(&'static self, job: Job<'_>) {
        let slot = self.take_slot();
        if let Some(at) = slot {
            self.slots[at].show(&job);
            self.shown.fetch_or(1 << at, Ordering::SeqCst);
            if !job.grows() {
                self.tell(job.wanted());
            }
        }
        if job.grows() {
            job.begin();
        }
        let mut turn = 0;
        loop {
            job.work(false);
            if !job.grows() || job.is_done() {
                break;
            }
            if self.help_once(true) {
                turn = 0;
            } else {
                relax(turn);
                turn = turn.wrapping_add(1);
            }
        }
        if let Some(at) = slot {
            self.shown.fetch_and(!(1 << at), Ordering::SeqCst);
            self.slots[at].take_down();
            self.taken.fetch_and(!(1 << at), Ordering::Release);
        }
        if let Some(cause) = job.into_panic() {
            resume_unwind(cause);
        }
    }

    /// Says that there is something new, and wakes up to `wanted` of those that sleep.
    pub(crate) fn tell(&self, mut wanted: usize) {
        self.news.add();
        for helper in &self.helpers[..self.started.load(Ordering::Relaxed).min(MAX_HELPERS)] {
            if wanted == 0 {
                return;
            }
            let woken = helper.sleeper.wake(|| {
                if let Some(thread) = helper.thread.get() {
                    thread.unpark();
                }
            });
            wanted -= usize::from(woken);
        }
    }

    fn take_slot(&self) -> Option<usize> {
        let mut taken = self.taken.load(Ordering::Relaxed);
        loop {
            let free = (!taken).trailing_zeros();
            if free >= SLOTS as u32 {
                return None;
            }
            match self.taken.compare_exchange_weak(
                taken,
                taken | 1 << free,
                Ordering::Acquire,
                Ordering::Relaxed,
            ) {
                Ok(_) => return Some(free as usize),
                Err(now) => taken = now,
            }
        }
    }

    /// Works on the first job that has a task and a place left, or the first such loop; whether there was one.
    fn help_once(&self, loops: bool) -> bool {
        let mut shown = self.shown.load(Ordering::SeqCst);
        while shown != 0 {
            let at = shown.trailing_zeros() as usize;
            shown &= shown - 1;
            let mut helped = false;
            self.slots[at].visit(|job| {
                if job.is_open() && !(loops && job.grows()) && job.join() {
                    helped = job.is_open();
                    job.work(true);
                    job.leave();
                }
            });
            if helped {
                return true;
            }
        }
        false
    }

    /// The life of a helper.
    fn help(&'static self, own: usize) {
        let helper = &self.helpers[own];
        let _ = helper.thread.set(std::thread::current());
        let mut since = Instant::now();
        let mut turn = 0u32;
        loop {
            let seen = self.news.count();
            if self.help_once(false) {
                since = Instant::now();
                continue;
            }
            while self.news.count() == seen {
                std::hint::spin_loop();
                turn = turn.wrapping_add(1);
                if !turn.is_multiple_of(32) {
                    continue;
                }
                let idle = since.elapsed();
                if idle > LOOKOUT {
                    helper.sleeper.sleep(&self.news, seen, std::thread::park);
                    // What woke it may be done by now, but where there was something there is more.
                    since = Instant::now();
                } else if idle > BUSY {
                    std::thread::yield_now();
                }
            }
        }
    }
}
