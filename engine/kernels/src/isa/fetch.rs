//! Lines of memory are brought near before they are wanted. Nothing is read at an address, so any may be given; where the
//! processor has no such instruction nothing is done.

/// Near: into the second-level cache.
#[inline(always)]
pub(crate) fn fetch(line: *const f32) {
    bring::<2>(line);
}

/// Very near, to be read soon.
#[inline(always)]
pub(crate) fn fetch_to_read(line: *const f32) {
    bring::<3>(line);
}

/// Very near, to be written soon; as if to be read where the instruction for it cannot be counted on.
#[inline(always)]
pub(crate) fn fetch_to_write(line: *const f32) {
    bring::<7>(line);
}

/// With one of the hints of x86: T1, T0 and ET0.
#[inline(always)]
fn bring<const HINT: i32>(line: *const f32) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch of any address has no effect that a program sees; all x86-64 machines have it.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<HINT>(line.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = line;
}
