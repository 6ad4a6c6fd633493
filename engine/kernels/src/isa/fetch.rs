//! Lines of memory are brought near before they are wanted. Nothing is read at an address, so any may be given; where the
//! processor has no such instruction nothing is done.

/// Near: into the second-level cache.
#[inline(always)]
pub(crate) fn fetch(line: *const f32) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch of any address has no effect that a program sees; all x86-64 machines have it.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T1>(line.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = line;
}

/// Very near, to be read soon.
#[inline(always)]
pub(crate) fn fetch_to_read(line: *const f32) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: as in `fetch`.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(line.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = line;
}

/// Very near, to be written soon.
#[inline(always)]
pub(crate) fn fetch_to_write(line: *const f32) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: as in `fetch`; machines without the instruction take it for none.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_ET0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_ET0>(line.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = line;
}
