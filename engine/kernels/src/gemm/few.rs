//! Products with few rows: the right side is streamed once from where it lies, at the speed of memory.
//!
//! Its rows or its columns are dense; its first float may lie at any byte.

#![allow(clippy::needless_range_loop, reason = "registers are named by rows and vectors alike")]

use super::packed::{Epilogue, finish_rows};
use super::{FEW_ROWS, Matrix, SMALL_WORK, work};
use crate::isa::{LANES, Vector, Work, dispatch};
use crate::scratch::with_scratch;
use oxidane_pool::{Cells, Pool};
use std::ops::Range;

/// A right side at any byte: element `(p, j)` lies `p * row_step + j * col_step` floats behind `start`, and one of the
/// steps is 1.
#[derive(Clone, Copy)]
pub(crate) struct Source<'a> {
    bytes: &'a [u8],
    depth: usize,
    cols: usize,
    row_step: usize,
    col_step: usize,
}

impl<'a> Source<'a> {
    /// A dense matrix of `depth` x `cols` floats, or the transpose of one; `None` where there are too few bytes.
    pub(crate) fn new(bytes: &'a [u8], depth: usize, cols: usize, transposed: bool) -> Option<Source<'a>> {
        let enough = depth.checked_mul(cols)?.checked_mul(size_of::<f32>())? <= bytes.len();
        let (row_step, col_step) = if transposed { (1, depth) } else { (cols, 1) };
        enough.then_some(Source { bytes, depth, cols, row_step, col_step })
    }

    /// The elements as groups of bytes.
    pub(crate) fn matrix(&self) -> Matrix<'a, [u8; 4]> {
        let data = self.bytes.as_chunks().0;
        Matrix { data, rows: self.depth, cols: self.cols, row_step: self.row_step, col_step: self.col_step }
    }
}

/// Whether a product of so many rows streams such a right side.
pub(crate) fn streams(rows: usize, transposed: bool) -> bool {
    rows <= if transposed { DOT_ROWS } else { FEW_ROWS }
}

/// Rows of a product with a transposed right side.
const DOT_ROWS: usize = 4;

/// Columns that a task has at least; fewer would be short pieces of the rows of the right side.
const TASK_COLUMNS: usize = 192;

/// Columns that are worked on at a time: their sums and some rows of the right side stay in the first-level cache.
const CHUNK: usize = 1024;

/// Rows of the right side that are added to the sums at a time.
const DEEP: usize = 8;

/// `out = a * b`, finished as `epilogue` says, for up to [`FEW_ROWS`] rows. Sizes fit.
pub(crate) fn product(
    pool: &Pool,
    a: Matrix<'_, f32>,
    b: Source<'_>,
    epilogue: &Epilogue<'_>,
    out: &mut [f32],
) {
    let (m, k, n) = (a.rows, a.cols, b.cols);
    debug_assert!(m <= FEW_ROWS && k == b.depth && m * n == out.len());
    let pieces = (n / TASK_COLUMNS).max(1);
    let tasks = (work(m, k, n) / SMALL_WORK).clamp(1, 16).min(pieces.next_multiple_of(2));
    let cells = Cells::new(out);
    // Rows of the left side, dense.
    with_scratch(m * k, |left: &mut [f32]| {
        for (i, row) in left.chunks_exact_mut(k.max(1)).enumerate() {
            for (p, cell) in row.iter_mut().enumerate() {
                *cell = a.data[i * a.row_step + p * a.col_step];
            }
        }
        let left = &*left;
        pool.for_each(tasks, &|task| {
            // Whole vectors, but for the last task.
            let vectors = n.div_ceil(LANES);
            let cols = vectors * task / tasks * LANES..(vectors * (task + 1) / tasks * LANES).min(n);
            if cols.is_empty() {
                return;
            }
            let held = epilogue.accumulate;
            // SAFETY: tasks have columns of their own; sizes were compared by the caller of this function.
            unsafe {
                let rows = |i: usize| cells.piece(i * n + cols.start, cols.len()).as_mut_ptr();
                let mut pointers = [std::ptr::null_mut(); FEW_ROWS];
                (0..m).for_each(|i| pointers[i] = rows(i));
                let job = Stream {
                    left,
                    b,
                    cols: cols.clone(),
                    rows: m,
                    out: pointers,
                    alpha: epilogue.alpha,
                    held,
                };
                dispatch(job);
                (0..m).for_each(|i| {
                    finish_rows(epilogue, cells.piece(i * n + cols.start, cols.len()), i, n, cols.start)
                });
            }
        });
    });
}

/// Some columns of a product.
struct Stream<'a> {
    left: &'a [f32],
    b: Source<'a>,
    cols: Range<usize>,
    rows: usize,
    /// The first of these columns in each row of the result.
    out: [*mut f32; FEW_ROWS],
    alpha: f32,
    /// Whether what the result holds is added.
    held: bool,
}

impl Work for Stream<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector>(self) {
        // SAFETY: the columns of the result are this task's, and the right side has all its elements.
        unsafe {
            if self.b.col_step == 1 {
                self.by_rows::<V>();
                return;
            }
            match self.rows {
                1 => self.by_columns::<V, 1>(),
                2 => self.by_columns::<V, 2>(),
                3 => self.by_columns::<V, 3>(),
                _ => self.by_columns::<V, 4>(),
            }
        }
    }
}

impl Stream<'_> {
    /// # Safety
    /// The result's places can be written; the right side has all its elements.
    #[inline(always)]
    unsafe fn by_rows<V: Vector>(&self) {
        let (k, step) = (self.b.depth, self.b.row_step);
        let start = self.b.bytes.as_ptr().cast::<f32>();
        for first in (0..self.cols.len()).step_by(CHUNK) {
            let width = CHUNK.min(self.cols.len() - first);
            if !self.held {
                for out in &self.out[..self.rows] {
                    // SAFETY: the caller's promise.
                    unsafe { out.add(first).write_bytes(0, width) };
                }
            }
            let col = self.cols.start + first;
            let mut p = 0;
            while p + DEEP <= k {
                for r in 0..self.rows {
                    // SAFETY: the caller's promise.
                    unsafe {
                        let b = start.add(p * step + col);
                        // The rows that come next, while the first row is added.
                        let ahead = if r == 0 { DEEP * step } else { 0 };
                        self.add_rows::<V, DEEP>(r, p, b, self.out[r].add(first), width, ahead);
                    }
                }
                p += DEEP;
            }
            for p in p..k {
                for r in 0..self.rows {
                    // SAFETY: the caller's promise.
                    unsafe {
                        self.add_rows::<V, 1>(
                            r,
                            p,
                            start.add(p * step + col),
                            self.out[r].add(first),
                            width,
                            0,
                        );
                    }
                }
            }
        }
    }

    /// Adds `D` rows of the right side from row `p` on, each times its factor in row `r`, to a row of sums.
    ///
    /// # Safety
    /// As [`Stream::by_rows`].
    #[inline(always)]
    unsafe fn add_rows<V: Vector, const D: usize>(
        &self,
        r: usize,
        p: usize,
        b: *const f32,
        out: *mut f32,
        width: usize,
        ahead: usize,
    ) {
        let step = self.b.row_step;
        let mut factors = [V::zero(); D];
        for d in 0..D {
            factors[d] = V::splat(self.left[r * self.b.depth + p + d] * self.alpha);
        }
        let whole = width / LANES * LANES;
        // SAFETY: the caller's promise; a prefetch reads nothing that counts.
        unsafe {
            for j in (0..whole).step_by(LANES) {
                let mut sum = V::load(out.add(j));
                for d in 0..D {
                    let from = b.add(d * step + j);
                    if ahead > 0 {
                        super::tile::fetch(from.wrapping_add(ahead));
                    }
                    sum = V::load(from).mul_add(factors[d], sum);
                }
                sum.store(out.add(j));
            }
            let rest = width - whole;
            if rest > 0 {
                let mut sum = V::load_first(out.add(whole), rest);
                for d in 0..D {
                    sum = V::load_first(b.add(d * step + whole), rest).mul_add(factors[d], sum);
                }
                sum.store_first(out.add(whole), rest);
            }
        }
    }

    /// # Safety
    /// As [`Stream::by_rows`], for `R` rows.
    #[inline(always)]
    unsafe fn by_columns<V: Vector, const R: usize>(&self) {
        debug_assert!(self.rows == R);
        let mut j = 0;
        // SAFETY: the caller's promise.
        unsafe {
            while j + 4 <= self.cols.len() {
                self.dots::<V, R, 4>(j);
                j += 4;
            }
            for j in j..self.cols.len() {
                self.dots::<V, R, 1>(j);
            }
        }
    }

    /// # Safety
    /// As [`Stream::by_columns`], for `Q` columns from `j` on.
    #[inline(always)]
    unsafe fn dots<V: Vector, const R: usize, const Q: usize>(&self, j: usize) {
        let k = self.b.depth;
        let whole = k / LANES * LANES;
        // SAFETY: the caller's promise.
        unsafe {
            let b = self.b.bytes.as_ptr().cast::<f32>().add((self.cols.start + j) * self.b.col_step);
            let left = self.left.as_ptr();
            let mut sums = [[V::zero(); Q]; R];
            for p in (0..whole).step_by(LANES) {
                let mut rows = [V::zero(); R];
                for r in 0..R {
                    rows[r] = V::load(left.add(r * k + p));
                }
                for q in 0..Q {
                    let column = V::load(b.add(q * self.b.col_step + p));
                    for r in 0..R {
                        sums[r][q] = column.mul_add(rows[r], sums[r][q]);
                    }
                }
            }
            if whole < k {
                for q in 0..Q {
                    let column = V::load_first(b.add(q * self.b.col_step + whole), k - whole);
                    for r in 0..R {
                        let row = V::load_first(left.add(r * k + whole), k - whole);
                        sums[r][q] = column.mul_add(row, sums[r][q]);
                    }
                }
            }
            for r in 0..R {
                for q in 0..Q {
                    let cell = self.out[r].add(j + q);
                    let held = if self.held { *cell } else { 0.0 };
                    *cell = sums[r][q].sum() * self.alpha + held;
                }
            }
        }
    }
}
