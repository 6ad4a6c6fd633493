//! Which outputs share memory, and the blocks that they share.
//!
//! At compile time every output of a node gets a *color*: outputs of the same color are never needed at the
//! same time when the nodes run in order, or an op works in place. At run time each color has a block. An
//! output whose color is still in use, because branches run in parallel or a view outlives its source, gets a
//! further block instead of waiting or overwriting, so sharing is never wrong, only sometimes not reached.

use oxidane_graph::{Dim, OpError, Stop};
use oxidane_tensor::{Buffer, Home};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// The color of an output.
pub(crate) type Color = usize;

/// What the outputs of a plan take when its symbols are bound.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MemoryPlan {
    /// Bytes of each color's block: its largest output; zero where only a run will tell.
    pub(crate) blocks: Vec<usize>,
}

impl MemoryPlan {
    /// Bytes of all blocks together, without those whose size only a run will tell.
    pub fn bytes(&self) -> usize {
        self.blocks.iter().fold(0, |n, &b| n.saturating_add(b))
    }
}

/// Assigns colors along an order: first to last use.
#[derive(Default)]
pub(crate) struct Coloring {
    /// For each color, the sizes in bytes of the outputs that have it.
    sizes: Vec<Vec<Dim>>,
    /// Colors of results of the graph, which the caller takes along.
    results: Vec<Color>,
    /// Colors that no value needs at this point.
    free: Vec<Color>,
}

impl Coloring {
    /// A color for an output of `bytes` (`None`: unknown) that nothing needs now: of the same size if possible,
    /// else the one whose known size fits best.
    pub(crate) fn take(&mut self, bytes: Option<Dim>) -> Color {
        let Some(bytes) = bytes else {
            self.sizes.push(Vec::new());
            return self.sizes.len() - 1;
        };
        let same = self.free.iter().rposition(|&c| self.sizes[c].contains(&bytes));
        let at = same.or_else(|| {
            let wanted = bytes.as_known()?;
            let known =
                |c: Color| self.sizes[c].iter().map(|d| d.as_known()).try_fold(0, |m, d| Some(d?.max(m)));
            (0..self.free.len())
                .filter_map(|i| Some((known(self.free[i]).filter(|&k| k > 0)?.abs_diff(wanted), i)))
                .min()
                .map(|(_, i)| i)
        });
        match at {
            Some(at) => {
                let color = self.free.swap_remove(at);
                self.add(color, bytes);
                color
            }
            None => {
                self.sizes.push(vec![bytes]);
                self.sizes.len() - 1
            }
        }
    }

    /// A color of its own for a result of the graph of `bytes`.
    pub(crate) fn result(&mut self, bytes: Option<Dim>) -> Color {
        self.sizes.push(bytes.into_iter().collect());
        self.results.push(self.sizes.len() - 1);
        self.sizes.len() - 1
    }

    /// Notes that one more output of `bytes` has a color.
    pub(crate) fn add(&mut self, color: Color, bytes: Dim) {
        if !self.sizes[color].contains(&bytes) {
            self.sizes[color].push(bytes);
        }
    }

    /// Gives back the color of a value after its last use.
    pub(crate) fn release(&mut self, color: Color) {
        self.free.push(color);
    }

    /// The sizes by color, and memory for them.
    pub(crate) fn finish(self) -> (Vec<Vec<Dim>>, Memory) {
        let mut memory = Memory::new(self.sizes.len());
        self.results.iter().for_each(|&color| memory.counted[color] = false);
        (self.sizes, memory)
    }
}

/// Blocks kept for a color beyond this many are given back to the system.
const KEPT_PER_COLOR: usize = 4;

/// As many blocks of scratch are kept.
const KEPT_SCRATCH: usize = 8;

/// The blocks of a plan, shared by all of its runs.
pub(crate) struct Memory {
    /// By color; behind them those of scratch.
    colors: Vec<Mutex<Vec<Buffer>>>,
    /// Colors whose blocks count: those of results are the caller's, who may keep them as long as he likes.
    counted: Vec<bool>,
    /// Bytes of counted blocks in use and at rest.
    held: AtomicUsize,
    /// Runs at this time, each of which may hold as much as its limit says.
    runs: AtomicUsize,
}

/// A run that goes on.
pub(crate) struct Entered<'a>(&'a Memory);

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        self.0.runs.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Memory {
    pub(crate) fn new(colors: usize) -> Memory {
        Memory {
            colors: (0..colors + 1).map(|_| Mutex::default()).collect(),
            counted: (0..colors + 1).map(|color| color < colors).collect(),
            held: AtomicUsize::new(0),
            runs: AtomicUsize::new(0),
        }
    }

    /// Counts a run until it ends.
    pub(crate) fn enter(&self) -> Entered<'_> {
        self.runs.fetch_add(1, Ordering::Relaxed);
        Entered(self)
    }

    /// Counts a block that is gone.
    fn forget(&self, color: Color, bytes: usize) {
        if self.counted[color] {
            self.held.fetch_sub(bytes, Ordering::Relaxed);
        }
    }

    /// A block of exactly `bytes`, of capacity at least `planned`, that comes back here when it is dropped.
    pub(crate) fn take(
        self: &Arc<Memory>,
        color: Color,
        bytes: usize,
        planned: usize,
        limit: usize,
    ) -> Result<Buffer, OpError> {
        let resting = {
            let mut blocks = self.colors[color].lock().unwrap_or_else(PoisonError::into_inner);
            let fits = blocks.iter().position(|b| b.capacity() >= bytes);
            let block = fits.map(|at| blocks.swap_remove(at));
            if block.is_none()
                && let Some(small) = blocks.pop()
            {
                // The sizes of this run are larger: the old block would only be in the way.
                self.forget(color, small.capacity());
            }
            block
        };
        let mut block = match resting {
            Some(block) => block,
            None => {
                let size = bytes.max(planned);
                if self.counted[color] {
                    let mut held = self.held.fetch_add(size, Ordering::Relaxed).saturating_add(size);
                    let all = limit.saturating_mul(self.runs.load(Ordering::Relaxed).max(1));
                    if held > all {
                        // What earlier runs of other sizes have left is nobody's need.
                        self.trim();
                        held = self.held.load(Ordering::Relaxed);
                    }
                    if held > all {
                        self.forget(color, size);
                        return Err(over_budget(bytes, limit));
                    }
                }
                match Buffer::zeroed(size) {
                    Ok(block) => block,
                    Err(error) => {
                        self.forget(color, size);
                        return Err(error.into());
                    }
                }
            }
        };
        block.set_len(bytes);
        Ok(block.with_home(self.clone(), color))
    }

    /// A block of exactly `bytes` that a kernel needs while it runs; it comes back here when it is dropped.
    pub(crate) fn scratch(self: &Arc<Memory>, bytes: usize) -> Result<Buffer, OpError> {
        let color = self.colors.len() - 1;
        let resting = {
            let mut blocks = self.colors[color].lock().unwrap_or_else(PoisonError::into_inner);
            let fits = blocks.iter().enumerate().filter(|(_, b)| b.capacity() >= bytes);
            let best = fits.min_by_key(|(_, b)| b.capacity()).map(|(at, _)| at);
            best.map(|at| blocks.swap_remove(at))
        };
        let mut block = match resting {
            Some(block) => block,
            None => Buffer::zeroed(bytes)?,
        };
        block.set_len(bytes);
        Ok(block.with_home(self.clone(), color))
    }

    /// Gives all resting blocks back to the system.
    pub(crate) fn trim(&self) {
        for (color, blocks) in self.colors.iter().enumerate() {
            let blocks = std::mem::take(&mut *blocks.lock().unwrap_or_else(PoisonError::into_inner));
            self.forget(color, blocks.iter().map(Buffer::capacity).sum());
        }
    }
}

pub(crate) fn over_budget(bytes: usize, limit: usize) -> OpError {
    OpError::stopped(
        Stop::Budget,
        format!("an output of {bytes} bytes would exceed the memory limit of {limit} bytes"),
    )
    .help("raise the limit, or use smaller inputs")
}

impl Home for Memory {
    fn put_back(&self, color: usize, mut block: Buffer) {
        let scratch = color + 1 == self.colors.len();
        let mut blocks = self.colors[color].lock().unwrap_or_else(PoisonError::into_inner);
        if blocks.len() < if scratch { KEPT_SCRATCH } else { KEPT_PER_COLOR } {
            return blocks.push(block);
        }
        // Of scratch the larger blocks stay: in time they are what the largest needs at a time take.
        let least = blocks.iter_mut().filter(|_| scratch).min_by_key(|b| b.capacity());
        if let Some(least) = least.filter(|least| least.capacity() < block.capacity()) {
            std::mem::swap(least, &mut block);
        }
        drop(blocks);
        self.forget(color, block.capacity());
    }
}
