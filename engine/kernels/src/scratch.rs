//! Scratch space of a thread.

use oxidane_tensor::Element;
use std::cell::Cell;

/// Scratch of a thread is kept up to this many bytes.
const KEPT: usize = 8 << 20;

thread_local! {
    static SCRATCH: Cell<Vec<u64>> = const { Cell::new(Vec::new()) };
}

/// Runs `work` on `len` elements of scratch whose content is arbitrary; the thread keeps the memory for the next.
pub(crate) fn with_scratch<T: Element, R>(len: usize, work: impl FnOnce(&mut [T]) -> R) -> R {
    let mut block = SCRATCH.take();
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
        SCRATCH.set(block);
    }
    result
}
