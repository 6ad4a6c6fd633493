//! Tiles of sums: some rows times a panel of columns, all in registers.

use crate::isa::{LANES, Vector};

/// Rows of a tile at most.
pub(crate) const ROWS: usize = 6;

/// The sums of `R` rows of `k` elements times `C` vectors of columns of a right side whose rows are `b_step` apart.
/// Element `i` of each row is added to the sums of stream `i % S`, which are added last.
///
/// # Safety
/// All elements can be read.
#[inline(always)]
pub(crate) unsafe fn tile<V: Vector, const R: usize, const C: usize, const S: usize>(
    k: usize,
    a: [*const f32; R],
    b: *const f32,
    b_step: usize,
) -> [[V; C]; R] {
    let mut sums = [[[V::zero(); C]; R]; S];
    let mut row = b;
    let mut i = 0;
    while i + S <= k {
        for stream in &mut sums {
            // SAFETY: the caller's promise.
            unsafe { add::<V, R, C>(stream, &a, i, row) };
            row = row.wrapping_add(b_step);
            i += 1;
        }
    }
    while i < k {
        // SAFETY: the caller's promise.
        unsafe { add::<V, R, C>(&mut sums[0], &a, i, row) };
        row = row.wrapping_add(b_step);
        i += 1;
    }
    let mut all = sums[0];
    for stream in &sums[1..] {
        for (all, part) in all.iter_mut().zip(stream) {
            for (all, &part) in all.iter_mut().zip(part) {
                *all = all.add(part);
            }
        }
    }
    all
}

/// # Safety
/// Element `i` of each row and `C` vectors of `b` can be read.
#[inline(always)]
unsafe fn add<V: Vector, const R: usize, const C: usize>(
    sums: &mut [[V; C]; R],
    a: &[*const f32; R],
    i: usize,
    b: *const f32,
) {
    // SAFETY: the caller's promise.
    let right: [V; C] = std::array::from_fn(|c| unsafe { V::load(b.add(c * LANES)) });
    for (sums, row) in sums.iter_mut().zip(a) {
        // SAFETY: the caller's promise.
        let left = V::splat(unsafe { *row.add(i) });
        for (sum, &right) in sums.iter_mut().zip(&right) {
            *sum = left.mul_add(right, *sum);
        }
    }
}

/// Sixteen floats, aligned as a cache line.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(crate) struct Line(pub(crate) [f32; LANES]);

/// The floats of lines.
pub(crate) fn floats(lines: &[Line]) -> &[f32] {
    // SAFETY: a line is sixteen floats and nothing else.
    unsafe { std::slice::from_raw_parts(lines.as_ptr().cast(), lines.len() * LANES) }
}
