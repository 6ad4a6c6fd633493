//! A steady run allocates nothing: counted by an allocator over the structures of well-known networks.
//!
//! `ALLOCATIONS_TRACE=structure` prints where those of a structure come from.

mod structures;

use oxidane::{Datum, RunOptions, Session};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use structures::Structure;

struct Counting;

static COUNT: AtomicUsize = AtomicUsize::new(0);
static TRACE: AtomicBool = AtomicBool::new(false);

thread_local! {
    static TRACING: Cell<bool> = const { Cell::new(false) };
}

impl Counting {
    fn count(bytes: usize) {
        COUNT.fetch_add(1, Ordering::Relaxed);
        // Telling of an allocation allocates.
        if TRACE.load(Ordering::Relaxed) && !TRACING.replace(true) {
            eprintln!("{bytes} bytes at\n{}", std::backtrace::Backtrace::force_capture());
            TRACING.set(false);
        }
    }
}

// SAFETY: the system's allocator, with a count beside it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Counting::count(layout.size());
        // SAFETY: the caller's promises are those of the system's allocator.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        Counting::count(layout.size());
        // SAFETY: as in `alloc`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        Counting::count(size);
        // SAFETY: as in `alloc`.
        unsafe { System.realloc(block, layout, size) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: as in `alloc`.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What one run allocates, once runs that follow each other allocate the same. On several threads it takes a while
/// until branches have met in every way, each of which may take a further block the first time.
fn steady(structure: &Structure, session: &Session) -> usize {
    let mut inputs = structure.inputs.clone();
    let mut outputs = Vec::new();
    let mut run = |inputs: &mut Vec<Option<Datum>>| {
        inputs.clone_from_slice(&structure.inputs);
        let before = COUNT.load(Ordering::Relaxed);
        let result = session.runtime().run_into(inputs, RunOptions::default(), &mut outputs);
        let count = COUNT.load(Ordering::Relaxed) - before;
        result.unwrap_or_else(|e| panic!("{}: {e}", structure.name));
        count
    };
    let mut least = usize::MAX;
    for _ in 0..50 {
        let most = (0..10).map(|_| run(&mut inputs)).max().unwrap_or(0);
        least = least.min(most);
        if least == 0 {
            return 0;
        }
    }
    if std::env::var("ALLOCATIONS_TRACE").is_ok_and(|name| name == structure.name) {
        TRACE.store(true, Ordering::Relaxed);
        run(&mut inputs);
        TRACE.store(false, Ordering::Relaxed);
    }
    least
}

/// One test, because others beside it would allocate as well.
#[test]
fn steady_runs_allocate_nothing() {
    let mut bad = Vec::new();
    let bundled = ["silero-vad", "magika"].map(structures::bundled);
    for structure in structures::all().into_iter().chain(bundled) {
        for threads in [1, 2] {
            let count = steady(&structure, &structure.session(threads));
            if count > 0 {
                bad.push((structure.name, threads, count));
            }
        }
    }
    assert!(bad.is_empty(), "allocations of a run: {bad:?}");
}
