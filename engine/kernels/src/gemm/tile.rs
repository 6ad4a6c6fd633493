//! The register tile of products: up to [`Vector::TILE`] rows and vectors of sums that stay in registers over the
//! whole inner dimension.
//!
//! The right side is packed in panels: for each step of the inner dimension one line of [`panel`] floats, so that a
//! panel is read from front to back. The left side is packed (for each step the factors of all rows, see
//! [`pack_rows`]) or read where it lies, a row every `a_row` floats.

#![allow(clippy::needless_range_loop, reason = "registers are named by rows and vectors alike")]

use super::Matrix;
use crate::isa::fetch::fetch;
use crate::isa::{LANES, Vector, Work, dispatch};

/// Rows of a tile on this machine, and floats of a line of a panel.
pub(crate) fn size() -> (usize, usize) {
    struct Size;
    impl Work for Size {
        type Output = (usize, usize);
        #[inline(always)]
        fn run<V: Vector>(self) -> (usize, usize) {
            (V::TILE.0, V::TILE.1 * LANES)
        }
    }
    dispatch(Size)
}

/// Where the left side of a tile lies.
#[derive(Clone, Copy)]
pub(crate) enum Left {
    /// For each step of the inner dimension the factors of the tile's rows, side by side.
    Packed(*const f32),
    /// Factors of a row side by side, rows this many floats apart.
    Rows(*const f32, usize),
}

/// What is done to the sums before they are written: `max(lo, min(hi, alpha * sums + out + column + row + other))`,
/// each part where it is there. Pointers stand at the tile's first row and column; null is absent.
#[derive(Clone, Copy)]
pub(crate) struct Finish {
    /// Factor of the sums.
    pub(crate) alpha: f32,
    /// Whether what `out` holds is added.
    pub(crate) accumulate: bool,
    /// A number for each column.
    pub(crate) column: *const f32,
    /// A number for each row.
    pub(crate) row: *const f32,
    /// Another matrix, and how far its rows lie apart.
    pub(crate) other: (*const f32, usize),
    /// Bounds of the result; NaN passes.
    pub(crate) clamp: Option<(f32, f32)>,
}

impl Finish {
    /// The sums as they are.
    pub(crate) const PLAIN: Finish = Finish {
        alpha: 1.0,
        accumulate: false,
        column: std::ptr::null(),
        row: std::ptr::null(),
        other: (std::ptr::null(), 0),
        clamp: None,
    };
}

/// One tile: `rows` x `cols` sums over `depth` steps.
#[derive(Clone, Copy)]
pub(crate) struct Tile {
    /// Rows, 1 to the machine's.
    pub(crate) rows: usize,
    /// Columns, 1 to a panel's width; more of a line are read, up to the next multiple of 16.
    pub(crate) cols: usize,
    /// Steps of the inner dimension.
    pub(crate) depth: usize,
    /// The left side.
    pub(crate) a: Left,
    /// The panel of the right side, and how far its lines lie apart.
    pub(crate) b: *const f32,
    /// Floats between the lines.
    pub(crate) line: usize,
    /// Where the tile goes, and how far its rows lie apart.
    pub(crate) out: *mut f32,
    /// Floats between the rows of `out`.
    pub(crate) out_row: usize,
    /// Memory that is wanted next, and how many of its cache lines are brought near for every [`STRIDE`] steps.
    pub(crate) next: (*const f32, usize),
    /// What is done to the sums.
    pub(crate) finish: Finish,
}

impl Tile {
    /// Computes the tile.
    ///
    /// # Safety
    /// All that the fields name can be read, or written (`out`), and nobody else uses `out` meanwhile. `next` may point
    /// anywhere.
    pub(crate) unsafe fn run(self) {
        debug_assert!(self.rows >= 1 && self.cols >= 1);
        dispatch(Once(self));
    }

    /// As [`Tile::run`], inside of a loop that is compiled for an instruction set.
    ///
    /// # Safety
    /// As [`Tile::run`].
    #[inline(always)]
    pub(crate) unsafe fn run_in<V: Vector>(&self) {
        macro_rules! rows {
            ($($r:literal)*) => {
                match self.rows {
                    $($r if $r <= V::TILE.0 => {
                        if V::TILE.1 > 1 && self.cols > LANES {
                            // SAFETY: the caller's promise.
                            unsafe { self.of_size::<V, $r, 2>() }
                        } else {
                            // SAFETY: the caller's promise.
                            unsafe { self.of_size::<V, $r, 1>() }
                        }
                    })*
                    _ => debug_assert!(false, "a tile of {} rows", self.rows),
                }
            };
        }
        rows!(1 2 3 4 5 6 7 8 9 10 11 12 13 14);
    }

    #[inline(always)]
    unsafe fn of_size<V: Vector, const R: usize, const C: usize>(&self) {
        // SAFETY: the caller's promise.
        unsafe {
            let sums = match self.a {
                Left::Packed(a) => packed_sums::<V, R, C>(self.depth, a, self.b, self.line, self.next),
                Left::Rows(a, step) => row_sums::<V, R, C>(self.depth, a, step, self.b, self.line),
            };
            self.write::<V, R, C>(sums);
        }
    }

    /// Writes the sums, finished.
    #[inline(always)]
    unsafe fn write<V: Vector, const R: usize, const C: usize>(&self, sums: [[V; C]; R]) {
        let last = self.cols - (C - 1) * LANES;
        for r in 0..R {
            for c in 0..C {
                // SAFETY: the caller's promise; lanes beyond the columns are neither read nor written.
                unsafe {
                    let to = self.out.add(r * self.out_row + c * LANES);
                    if c + 1 == C && last < LANES {
                        self.finish.at(sums[r][c], to, r, c * LANES, last).store_first(to, last);
                    } else {
                        self.finish.at(sums[r][c], to, r, c * LANES, LANES).store(to);
                    }
                }
            }
        }
    }
}

impl Finish {
    /// The first `count` sums at row `r` and column `c` of a block, which go to `to`, finished.
    ///
    /// # Safety
    /// So many floats can be read of all that the fields name, and of `to`.
    #[inline(always)]
    pub(crate) unsafe fn at<V: Vector>(
        &self,
        sums: V,
        to: *const f32,
        r: usize,
        c: usize,
        count: usize,
    ) -> V {
        let mut v = sums;
        // SAFETY: the caller's promise.
        unsafe {
            let read =
                |from: *const f32| if count < LANES { V::load_first(from, count) } else { V::load(from) };
            if self.alpha != 1.0 {
                v = v.mul(V::splat(self.alpha));
            }
            if self.accumulate {
                v = v.add(read(to));
            }
            if !self.column.is_null() {
                v = v.add(read(self.column.add(c)));
            }
            if !self.row.is_null() {
                v = v.add(V::splat(*self.row.add(r)));
            }
            if !self.other.0.is_null() {
                v = v.add(read(self.other.0.add(r * self.other.1 + c)));
            }
        }
        if let Some((lo, hi)) = self.clamp {
            v = V::splat(hi).min(V::splat(lo).max(v));
        }
        v
    }
}

struct Once(Tile);

impl Work for Once {
    type Output = ();
    #[inline(always)]
    fn run<V: Vector>(self) {
        // SAFETY: the promise of whoever made it.
        unsafe { self.0.run_in::<V>() }
    }
}

/// `R` x `C` vectors of sums of a packed left side, four steps at a time. Vector `c` of step `p` is at
/// `b[p * line + c * 16]`.
///
/// # Safety
/// The left side has `R * depth` floats; all lines of the right side can be read; `next` may point anywhere.
#[inline(always)]
pub(crate) unsafe fn packed_sums<V: Vector, const R: usize, const C: usize>(
    depth: usize,
    mut a: *const f32,
    mut b: *const f32,
    line: usize,
    (mut next, lines): (*const f32, usize),
) -> [[V; C]; R] {
    let mut sums = [[V::zero(); C]; R];
    // SAFETY: the caller's promise; a prefetch reads nothing that counts.
    unsafe {
        for _ in 0..depth / STRIDE {
            for _ in 0..lines {
                fetch(next);
                next = next.wrapping_add(LANES);
            }
            for _ in 0..STRIDE {
                step::<V, R, C>(&mut sums, a, 1, b);
                a = a.add(R);
                b = b.add(line);
            }
        }
        for _ in 0..depth % STRIDE {
            step::<V, R, C>(&mut sums, a, 1, b);
            a = a.add(R);
            b = b.add(line);
        }
    }
    sums
}

/// As [`packed_sums`] for rows `a_row` floats apart. One step at a time: more would take more registers for addresses
/// than there are.
///
/// # Safety
/// As [`packed_sums`], for these places of the left side.
#[inline(always)]
pub(crate) unsafe fn row_sums<V: Vector, const R: usize, const C: usize>(
    depth: usize,
    mut a: *const f32,
    a_row: usize,
    mut b: *const f32,
    line: usize,
) -> [[V; C]; R] {
    let mut sums = [[V::zero(); C]; R];
    for _ in 0..depth {
        // SAFETY: the caller's promise.
        unsafe {
            step::<V, R, C>(&mut sums, a, a_row, b);
            a = a.add(1);
            b = b.add(line);
        }
    }
    sums
}

/// Steps between which memory is brought near.
pub(crate) const STRIDE: usize = 4;

/// One step of the inner dimension: factors are `a_row` floats apart.
///
/// # Safety
/// These places can be read.
#[inline(always)]
unsafe fn step<V: Vector, const R: usize, const C: usize>(
    sums: &mut [[V; C]; R],
    a: *const f32,
    a_row: usize,
    b: *const f32,
) {
    // SAFETY: the caller's promise.
    unsafe {
        let mut row = [V::zero(); C];
        for c in 0..C {
            row[c] = V::load(b.add(c * LANES));
        }
        for r in 0..R {
            let factor = V::splat(*a.add(r * a_row));
            for c in 0..C {
                sums[r][c] = factor.mul_add(row[c], sums[r][c]);
            }
        }
    }
}

/// Packs the rows of `a` for [`Left::Packed`]: for each column the rows side by side.
pub(crate) fn pack_rows(a: &Matrix<'_, f32>, to: &mut [f32]) {
    let (rows, depth) = (a.rows, a.cols);
    debug_assert!(to.len() == rows * depth);
    if rows == 0 || depth == 0 {
        return;
    }
    if a.row_step == 1 {
        for (p, line) in to.chunks_exact_mut(rows).enumerate() {
            line.copy_from_slice(&a.data[p * a.col_step..][..rows]);
        }
        return;
    }
    let squares = if a.col_step == 1 && rows >= SQUARE { depth / SQUARE * SQUARE } else { 0 };
    for p in (0..squares).step_by(SQUARE) {
        // The last square may overlap the one before.
        for r in (0..rows).step_by(SQUARE).map(|r| r.min(rows - SQUARE)) {
            let from: [&[f32; SQUARE]; SQUARE] = std::array::from_fn(|i| {
                a.data[(r + i) * a.row_step + p..].first_chunk().expect("the matrix was checked")
            });
            let turned = transposed(from);
            for (i, line) in turned.iter().enumerate() {
                to[(p + i) * rows + r..][..SQUARE].copy_from_slice(line);
            }
        }
    }
    for p in squares..depth {
        for (r, cell) in to[p * rows..][..rows].iter_mut().enumerate() {
            *cell = a.data[r * a.row_step + p * a.col_step];
        }
    }
}

/// Rows and columns of the squares that packing turns.
const SQUARE: usize = 4;

#[inline(always)]
fn transposed(rows: [&[f32; SQUARE]; SQUARE]) -> [[f32; SQUARE]; SQUARE] {
    let [a, b, c, d] = rows;
    #[cfg(target_arch = "x86_64")]
    // SAFETY: SSE belongs to every x86-64; the arrays are read and written as wide as they are.
    unsafe {
        use std::arch::x86_64::*;
        let load = |row: &[f32; SQUARE]| _mm_loadu_ps(row.as_ptr());
        let (mut a, mut b, mut c, mut d) = (load(a), load(b), load(c), load(d));
        _MM_TRANSPOSE4_PS(&mut a, &mut b, &mut c, &mut d);
        [a, b, c, d].map(|v| std::mem::transmute::<__m128, [f32; SQUARE]>(v))
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        std::array::from_fn(|i| [a[i], b[i], c[i], d[i]])
    }
}
