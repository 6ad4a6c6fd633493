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

/// Columns of a transposed right side that a task has at least.
const TASK_COLUMNS: usize = 192;

/// Columns that a task has at least where it takes all rows of the right side: shorter pieces of rows are read at half
/// the speed. Where there are fewer, tasks share the rows.
const TASK_WIDTH: usize = 8192;

/// Rows of the right side that a task has at least where tasks share them.
const TASK_STEPS: usize = 64;

/// Columns that are worked on at a time where several rows of the left side read them.
const CHUNK: usize = 2048;

/// Floats of the rows that come next which are brought near, and how far ahead in the same row where they are more.
const AHEAD_ROWS: usize = 1 << 16;
const AHEAD: usize = 256;

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
    let tasks = (work(m, k, n) / SMALL_WORK).clamp(1, 16);
    let (across, down) = match b.col_step {
        1 if n / TASK_WIDTH >= 2 => (tasks.min(n / TASK_WIDTH), 1),
        1 => (1, tasks.min(k / TASK_STEPS).clamp(1, 8)),
        _ => (tasks.min((n / TASK_COLUMNS).max(1).next_multiple_of(2)), 1),
    };
    let cells = Cells::new(out);
    // Rows of the left side, dense.
    with_scratch(m * k, |left: &mut [f32]| {
        for (i, row) in left.chunks_exact_mut(k.max(1)).enumerate() {
            for (p, cell) in row.iter_mut().enumerate() {
                *cell = a.data[i * a.row_step + p * a.col_step];
            }
        }
        let left = &*left;
        let job = |cols: Range<usize>, steps: Range<usize>, out, held| {
            dispatch(Stream { left, b, cols, steps, rows: m, out, alpha: epilogue.alpha, held });
        };
        if down == 1 {
            pool.for_each(across, &|task| {
                // Whole vectors, but for the last task.
                let vectors = n.div_ceil(LANES);
                let cols = vectors * task / across * LANES..(vectors * (task + 1) / across * LANES).min(n);
                if cols.is_empty() {
                    return;
                }
                // SAFETY: tasks have columns of their own.
                let row = |i: usize| unsafe { cells.piece(i * n + cols.start, cols.len()) };
                let mut pointers = [std::ptr::null_mut(); FEW_ROWS];
                (0..m).for_each(|i| pointers[i] = row(i).as_mut_ptr());
                job(cols.clone(), 0..k, pointers, epilogue.accumulate);
                (0..m).for_each(|i| finish_rows(epilogue, row(i), i, n, cols.start));
            });
            return;
        }
        // Each task makes sums of its own, which are added in order.
        with_scratch(down * m * n, |sums: &mut [f32]| {
            let parts = Cells::new(sums);
            pool.for_each(down, &|task| {
                let steps = k / DEEP * task / down * DEEP..match task + 1 == down {
                    true => k,
                    false => k / DEEP * (task + 1) / down * DEEP,
                };
                let mut pointers = [std::ptr::null_mut(); FEW_ROWS];
                for (i, pointer) in pointers[..m].iter_mut().enumerate() {
                    // SAFETY: tasks have sums of their own.
                    *pointer = unsafe { parts.piece((task * m + i) * n, n) }.as_mut_ptr();
                }
                job(0..n, steps, pointers, false);
            });
            for i in 0..m {
                // SAFETY: no task is left.
                let to = unsafe { cells.piece(i * n, n) };
                dispatch(Total { sums, each: m * n, at: i * n, held: epilogue.accumulate, to });
                finish_rows(epilogue, to, i, n, 0);
            }
        });
    });
}

/// Sums of tasks, added in order.
struct Total<'a> {
    sums: &'a [f32],
    /// Floats of a task, and where the row begins in them.
    each: usize,
    at: usize,
    /// Whether what the result holds is added.
    held: bool,
    to: &'a mut [f32],
}

impl Work for Total<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector>(self) {
        let n = self.to.len();
        let parts = self.sums.len() / self.each;
        for first in (0..n).step_by(LANES) {
            let count = LANES.min(n - first);
            // SAFETY: `count` floats are left of the row in the result and in each part.
            unsafe {
                let to = self.to.as_mut_ptr().add(first);
                let mut sum = if self.held { V::load_first(to, count) } else { V::zero() };
                for part in 0..parts {
                    let from = self.sums.as_ptr().add(part * self.each + self.at + first);
                    sum = sum.add(V::load_first(from, count));
                }
                sum.store_first(to, count);
            }
        }
    }
}

/// Some columns of a product.
struct Stream<'a> {
    left: &'a [f32],
    b: Source<'a>,
    cols: Range<usize>,
    /// Rows of the right side.
    steps: Range<usize>,
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
        let step = self.b.row_step;
        let start = self.b.bytes.as_ptr().cast::<f32>();
        let chunk = if self.rows == 1 { self.cols.len() } else { CHUNK };
        let next = if DEEP * step > AHEAD_ROWS { AHEAD } else { DEEP * step };
        for first in (0..self.cols.len()).step_by(chunk) {
            let width = chunk.min(self.cols.len() - first);
            if !self.held {
                for out in &self.out[..self.rows] {
                    // SAFETY: the caller's promise.
                    unsafe { out.add(first).write_bytes(0, width) };
                }
            }
            let col = self.cols.start + first;
            let mut p = self.steps.start;
            while p + DEEP <= self.steps.end {
                for r in 0..self.rows {
                    // SAFETY: the caller's promise.
                    unsafe {
                        let b = start.add(p * step + col);
                        // The rows that come next, while the first row is added.
                        let ahead = if r == 0 { next } else { 0 };
                        self.add_rows::<V, DEEP>(r, p, b, self.out[r].add(first), width, ahead);
                    }
                }
                p += DEEP;
            }
            for p in p..self.steps.end {
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
                        crate::isa::fetch::fetch(from.wrapping_add(ahead));
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
