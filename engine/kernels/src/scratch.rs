//! Scratch space of a thread.

use oxidane_tensor::Element;
use std::cell::RefCell;

/// A block of scratch is kept up to this many bytes.
const KEPT: usize = 8 << 20;

/// Blocks that a thread keeps: work on scratch may take more of it.
const BLOCKS: usize = 4;

thread_local! {
    /// Blocks that nobody uses now. The last to come back is the first to go out, so that nested work finds blocks
    /// of its size.
    static SCRATCH: RefCell<Vec<Vec<u64>>> = const { RefCell::new(Vec::new()) };
}

/// Runs `work` on `len` elements of scratch whose content is arbitrary; the thread keeps the memory for the next.
pub(crate) fn with_scratch<T: Element, R>(len: usize, work: impl FnOnce(&mut [T]) -> R) -> R {
    let mut block = SCRATCH.with_borrow_mut(Vec::pop).unwrap_or_default();
    // Elements of up to 8 bytes: their alignment divides that of u64.
    debug_assert!(size_of::<T>() <= 8);
    let words = len.saturating_mul(size_of::<T>()).div_ceil(8);
    if block.len() < words {
        block.clear();
        block.resize(words, 0);
    }
    let elements: &mut [T] = bytemuck::cast_slice_mut(&mut block[..words]);
    let result = work(&mut elements[..len]);
    if block.capacity() * 8 <= KEPT {
        SCRATCH.with_borrow_mut(|blocks| {
            if blocks.len() < BLOCKS {
                blocks.push(block);
            }
        });
    }
    result
}
