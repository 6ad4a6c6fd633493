//! Memory that the pieces of one parallel loop share: an output cut into disjoint parts, and scratch space.

use oxidane_tensor::Element;
use std::cell::Cell;
use std::marker::PhantomData;

/// A slice that the tasks of one loop write at disjoint places.
pub(crate) struct Cells<'a, T> {
    start: *mut T,
    len: usize,
    slice: PhantomData<&'a mut [T]>,
}

// SAFETY: the only access is `Cells::piece`, whose callers promise disjoint pieces.
unsafe impl<T: Send> Sync for Cells<'_, T> {}

impl<'a, T> Cells<'a, T> {
    /// The cells of `slice`.
    pub(crate) fn new(slice: &'a mut [T]) -> Cells<'a, T> {
        Cells { start: slice.as_mut_ptr(), len: slice.len(), slice: PhantomData }
    }

    /// `len` cells from `at` on.
    ///
    /// # Safety
    /// No other piece that overlaps this one may be alive.
    ///
    /// # Panics
    /// When the piece leaves the slice.
    #[allow(clippy::mut_from_ref, reason = "disjointness is the caller's promise")]
    #[inline]
    pub(crate) unsafe fn piece(&self, at: usize, len: usize) -> &mut [T] {
        assert!(at <= self.len && len <= self.len - at, "piece {at}+{len} of {}", self.len);
        // SAFETY: inside the slice by the assertion, exclusive by the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(at), len) }
    }
}

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
