use std::marker::PhantomData;

/// A slice that the tasks of one loop write at disjoint places.
pub struct Cells<'a, T> {
    start: *mut T,
    len: usize,
    slice: PhantomData<&'a mut [T]>,
}

// SAFETY: the only access is `Cells::piece`, whose callers promise disjoint pieces.
unsafe impl<T: Send> Sync for Cells<'_, T> {}

impl<'a, T> Cells<'a, T> {
    /// The cells of `slice`.
    pub fn new(slice: &'a mut [T]) -> Cells<'a, T> {
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
    pub unsafe fn piece(&self, at: usize, len: usize) -> &mut [T] {
        assert!(at <= self.len && len <= self.len - at, "piece {at}+{len} of {}", self.len);
        // SAFETY: inside the slice by the assertion, exclusive by the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(at), len) }
    }
}
