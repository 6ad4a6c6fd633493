//! Products of two matrices on slices, cut into blocks by shape.
//!
//! Products of single floats go by tiles of registers ([`tile`], [`packed`]), other large ones of floats through
//! `matrixmultiply`; products with few rows or a single column stream the larger matrix once, at the speed of memory;
//! integers use the streaming loops always. Cuts depend on sizes alone, so that results have the same bits at every
//! width of the pool.

mod bf16;
mod few;
mod packed;
pub(crate) mod tile;
mod weights;

pub(crate) use bf16::rounded;
pub use packed::{Epilogue, Packed, product_packed};
pub use weights::{Weights, bf16_pays, has_bf16};

use crate::KernelError;
use crate::scalar::{NATIVE_FMA, Scalar, wide};
use crate::scratch::with_scratch;
use oxidane_pool::{Cells, Pool};
use std::sync::PoisonError;

/// A matrix in a slice: element `(i, j)` is `data[i * row_step + j * col_step]`. Steps may be zero (repetition).
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a, T> {
    data: &'a [T],
    rows: usize,
    cols: usize,
    row_step: usize,
    col_step: usize,
}

impl<'a, T> Matrix<'a, T> {
    /// `rows` x `cols` elements of `data`.
    ///
    /// # Errors
    /// When an element would lie outside of `data`.
    pub fn new(
        data: &'a [T],
        rows: usize,
        cols: usize,
        row_step: usize,
        col_step: usize,
    ) -> Result<Matrix<'a, T>, KernelError> {
        let fits = rows == 0
            || cols == 0
            || (rows - 1)
                .checked_mul(row_step)
                .and_then(|r| (cols - 1).checked_mul(col_step)?.checked_add(r))
                .is_some_and(|last| last < data.len());
        if !fits {
            return Err(KernelError::Shape(format!(
                "a matrix of {rows}x{cols} with steps {row_step} and {col_step} does not fit {} elements",
                data.len()
            )));
        }
        Ok(Matrix { data, rows, cols, row_step, col_step })
    }

    /// A dense row-major matrix.
    ///
    /// # Errors
    /// When `data` has fewer than `rows * cols` elements.
    pub fn dense(data: &'a [T], rows: usize, cols: usize) -> Result<Matrix<'a, T>, KernelError> {
        Matrix::new(data, rows, cols, cols, 1)
    }

    /// The same elements with rows and columns exchanged.
    pub fn transposed(self) -> Matrix<'a, T> {
        Matrix {
            data: self.data,
            rows: self.cols,
            cols: self.rows,
            row_step: self.col_step,
            col_step: self.row_step,
        }
    }

    /// The number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The number of columns.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// The part of `rows` x `cols` elements at `(row, col)`, which the caller has cut from this matrix.
    fn part(&self, row: usize, rows: usize, col: usize, cols: usize) -> Matrix<'a, T> {
        debug_assert!(row + rows <= self.rows && col + cols <= self.cols);
        let empty = rows == 0 || cols == 0;
        let at = if empty { 0 } else { row * self.row_step + col * self.col_step };
        Matrix { data: &self.data[at..], rows, cols, ..*self }
    }
}

/// Up to so many rows a product streams the right-hand matrix instead of packing it into blocks.
pub(crate) const FEW_ROWS: usize = 6;

/// Columns that a streaming loop works on at a time: their sums stay in the first-level cache.
const STREAM_COLS: usize = 1024;

/// `out = alpha * a * b`, plus what `out` held where `accumulate`; `out` is dense and row-major.
///
/// # Errors
/// When the inner sizes differ or `out` has not exactly `a.rows() * b.cols()` elements.
pub fn product_into<T: Scalar>(
    pool: &Pool,
    alpha: T,
    a: Matrix<'_, T>,
    b: Matrix<'_, T>,
    accumulate: bool,
    out: &mut [T],
) -> Result<(), KernelError> {
    products_into(pool, alpha, (a.rows, a.cols, b.cols), 1, |_| Ok((a, b)), accumulate, out)
}

/// `count` products of the same sizes `(m, k, n)`, one after the other in `out`; `pair` gives the operands.
///
/// # Errors
/// When operands or `out` do not have these sizes, and whatever `pair` reports.
pub fn products_into<'a, T: Scalar>(
    pool: &Pool,
    alpha: T,
    (m, k, n): (usize, usize, usize),
    count: usize,
    pair: impl Fn(usize) -> Result<(Matrix<'a, T>, Matrix<'a, T>), KernelError> + Sync,
    accumulate: bool,
    out: &mut [T],
) -> Result<(), KernelError> {
    let size = m.checked_mul(n);
    if size.and_then(|s| s.checked_mul(count)) != Some(out.len()) {
        return Err(KernelError::Shape(format!(
            "{count} products of {m}x{n} do not fill an output of {} elements",
            out.len()
        )));
    }
    if out.is_empty() {
        return Ok(());
    }
    let size = m * n;
    if let Some(done) = tiled_products(pool, alpha, (m, k, n), &pair, accumulate, out) {
        return done;
    }
    let (mc, nc) = cut(m, k, n);
    let (rows, cols) = (m.div_ceil(mc), n.div_ceil(nc));
    // Small products run several to a task.
    let together = if rows * cols > 1 { 1 } else { (SMALL_WORK / work(m, k, n).max(1)).clamp(1, count) };
    let groups = count.div_ceil(together);
    let cells = Cells::new(out);
    let failure = std::sync::Mutex::new(None);
    pool.for_each(groups * rows * cols, &|task| {
        let (group, block) = (task / (rows * cols), task % (rows * cols));
        let (row, col) = (block / cols * mc, block % cols * nc);
        let (height, width) = (mc.min(m - row), nc.min(n - col));
        for i in group * together..((group + 1) * together).min(count) {
            let checked = pair(i).and_then(|(a, b)| {
                let fits = (a.rows, a.cols, b.rows, b.cols) == (m, k, k, n);
                if fits { Ok((a, b)) } else { Err(mismatch(&a, &b, (m, k, n))) }
            });
            match checked {
                // SAFETY: blocks of one product are disjoint, and so are the products.
                Ok((a, b)) => unsafe {
                    let target = Target { cells: &cells, at: i * size + row * n + col, row_step: n };
                    block_product(
                        alpha,
                        a.part(row, height, 0, k),
                        b.part(0, k, col, width),
                        accumulate,
                        &target,
                    );
                },
                Err(e) => {
                    failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(e);
                }
            }
        }
    });
    failure.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
}

/// Products with more than a few rows by tiles of registers; `None` where the type or the sizes ask for other loops.
fn tiled_products<'a, T: Scalar>(
    pool: &Pool,
    alpha: T,
    (m, k, n): (usize, usize, usize),
    pair: &(impl Fn(usize) -> Result<(Matrix<'a, T>, Matrix<'a, T>), KernelError> + Sync),
    accumulate: bool,
    out: &mut [T],
) -> Option<Result<(), KernelError>> {
    if !T::TILED || m <= FEW_ROWS || n == 1 {
        return None;
    }
    let one = |pool: &Pool, i: usize, out: &mut [T]| {
        let (a, b) = pair(i)?;
        T::tiled(pool, alpha, a, b, accumulate, out)
    };
    let size = m * n;
    // Large products are cut one by one; small ones run several to a task.
    let each = work(m, k, n);
    if each >= 16 * SMALL_WORK || size == out.len() {
        return Some(out.chunks_exact_mut(size).enumerate().try_for_each(|(i, out)| one(pool, i, out)));
    }
    let together = (SMALL_WORK / each.max(1)).max(1);
    let failure = std::sync::Mutex::new(None);
    pool.for_each_piece(out, size * together, |task, piece| {
        for (j, out) in piece.chunks_exact_mut(size).enumerate() {
            if let Err(e) = one(&Pool::sequential(), task * together + j, out) {
                failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(e);
            }
        }
    });
    Some(failure.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err))
}

/// One product of floats by tiles of registers.
pub(crate) fn tiled(
    pool: &Pool,
    alpha: f32,
    a: Matrix<'_, f32>,
    b: Matrix<'_, f32>,
    accumulate: bool,
    out: &mut [f32],
) -> Result<(), KernelError> {
    let epilogue = Epilogue { alpha, accumulate, ..Epilogue::default() };
    packed::product(pool, a, packed::Right::Matrix(b), &epilogue, out)
}

fn mismatch<T>(a: &Matrix<'_, T>, b: &Matrix<'_, T>, (m, k, n): (usize, usize, usize)) -> KernelError {
    KernelError::Shape(format!(
        "cannot multiply {}x{} by {}x{} as {m}x{k} by {k}x{n}",
        a.rows, a.cols, b.rows, b.cols
    ))
}

/// Multiply-adds below which a product is not worth a second thread.
const SMALL_WORK: usize = 1 << 17;

fn work(m: usize, k: usize, n: usize) -> usize {
    m.saturating_mul(k.max(1)).saturating_mul(n)
}

/// The block sizes (rows, columns) that a product of these sizes is cut into; at least 1 each.
pub(crate) fn cut(m: usize, k: usize, n: usize) -> (usize, usize) {
    let whole = (m.max(1), n.max(1));
    if work(m, k, n) < 2 * SMALL_WORK {
        return whole;
    }
    let stream = ((2 * SMALL_WORK) / k.max(1)).max(256).next_multiple_of(64);
    if m <= FEW_ROWS {
        return (m.max(1), stream.min(whole.1));
    }
    if n == 1 {
        return (stream.min(whole.0), 1);
    }
    if n >= m { (whole.0, piece(n)) } else { (piece(m), whole.1) }
}

/// The size of the pieces of a dimension: multiples of 32, an even number of pieces where there are several.
fn piece(size: usize) -> usize {
    let pieces = if size >= 1024 { (size / 192).min(16) } else { (size / 64).min(4) };
    size.div_ceil((pieces & !1).max(1)).next_multiple_of(32).min(size)
}

/// Where a block's result goes: element `(i, j)` is cell `at + i * row_step + j`.
pub(crate) struct Target<'a, T> {
    pub(crate) cells: &'a Cells<'a, T>,
    pub(crate) at: usize,
    pub(crate) row_step: usize,
}

/// One block on the caller's thread.
///
/// # Safety
/// Nobody else uses the target's cells. Sizes of the operands agree, and the target lies inside its cells.
pub(crate) unsafe fn block_product<T: Scalar>(
    alpha: T,
    a: Matrix<'_, T>,
    b: Matrix<'_, T>,
    accumulate: bool,
    c: &Target<'_, T>,
) {
    let (m, k, n) = (a.rows, a.cols, b.cols);
    if m == 0 || n == 0 {
        return;
    }
    if k == 0 {
        if !accumulate {
            for i in 0..m {
                // SAFETY: the caller's promise.
                unsafe { c.cells.piece(c.at + i * c.row_step, n) }.fill(T::ZERO);
            }
        }
        return;
    }
    let streams = b.col_step == 1 || b.row_step == 1;
    if n == 1 && (a.row_step == 1 || a.col_step == 1) {
        // SAFETY: the caller's promise; a column of the target is written through a dense copy.
        unsafe { column_product(alpha, a, b, accumulate, c) }
    } else if T::BLOCKED && !(streams && m <= FEW_ROWS) {
        // The last element proves that the block lies inside its cells.
        // SAFETY: the caller's promise; `Matrix` was checked when it was made.
        unsafe {
            let span = (m - 1) * c.row_step + n;
            let start = c.cells.piece(c.at, span).as_mut_ptr();
            T::block(
                m,
                k,
                n,
                alpha,
                (a.data.as_ptr(), a.row_step as isize, a.col_step as isize),
                (b.data.as_ptr(), b.row_step as isize, b.col_step as isize),
                accumulate,
                (start, c.row_step as isize, 1),
            );
        }
    } else if streams {
        // SAFETY: the caller's promise.
        unsafe { stream(alpha, a, b, accumulate, c) }
    } else {
        with_scratch(k * n, |packed: &mut [T]| {
            for (p, row) in packed.chunks_exact_mut(n).enumerate() {
                for (j, cell) in row.iter_mut().enumerate() {
                    *cell = b.data[p * b.row_step + j * b.col_step];
                }
            }
            let b = Matrix { data: packed, rows: k, cols: n, row_step: n, col_step: 1 };
            // SAFETY: the caller's promise.
            unsafe { stream(alpha, a, b, accumulate, c) }
        });
    }
}

/// A product with one column, as a product with one row of the transposed operands.
///
/// # Safety
/// As [`block_product`].
unsafe fn column_product<T: Scalar>(
    alpha: T,
    a: Matrix<'_, T>,
    b: Matrix<'_, T>,
    accumulate: bool,
    c: &Target<'_, T>,
) {
    let m = a.rows;
    if c.row_step == 1 || m == 1 {
        // SAFETY: the caller's promise; the target is one dense row of `m` cells.
        return unsafe { stream(alpha, b.transposed(), a.transposed(), accumulate, c) };
    }
    with_scratch(m, |column: &mut [T]| {
        let cells = Cells::new(column);
        // SAFETY: the column is this function's own; the target's cells are the caller's promise.
        unsafe {
            stream(
                alpha,
                b.transposed(),
                a.transposed(),
                false,
                &Target { cells: &cells, at: 0, row_step: m },
            );
            for i in 0..m {
                let cell = &mut c.cells.piece(c.at + i * c.row_step, 1)[0];
                let value = cells.piece(i, 1)[0];
                *cell = if accumulate { cell.plus(value) } else { value };
            }
        }
    });
}

/// A product that reads `b` once: by rows where they are dense, by columns otherwise (one of both must be).
///
/// # Safety
/// As [`block_product`].
unsafe fn stream<T: Scalar>(
    alpha: T,
    a: Matrix<'_, T>,
    b: Matrix<'_, T>,
    accumulate: bool,
    c: &Target<'_, T>,
) {
    #[cfg(target_arch = "x86_64")]
    if wide() {
        // SAFETY: the machine has these features; the rest is the caller's promise.
        return unsafe { stream_wide(alpha, a, b, accumulate, c) };
    }
    // SAFETY: the caller's promise.
    unsafe { stream_loop::<T, NATIVE_FMA>(alpha, a, b, accumulate, c) }
}

/// [`stream_loop`] compiled for wider registers.
///
/// # Safety
/// As [`block_product`], on a machine with AVX2 and FMA.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn stream_wide<T: Scalar>(
    alpha: T,
    a: Matrix<'_, T>,
    b: Matrix<'_, T>,
    accumulate: bool,
    c: &Target<'_, T>,
) {
    // SAFETY: the caller's promise.
    unsafe { stream_loop::<T, true>(alpha, a, b, accumulate, c) }
}

/// # Safety
/// As [`block_product`].
#[inline(always)]
unsafe fn stream_loop<T: Scalar, const FMA: bool>(
    alpha: T,
    a: Matrix<'_, T>,
    b: Matrix<'_, T>,
    accumulate: bool,
    c: &Target<'_, T>,
) {
    let n = b.cols;
    if b.col_step != 1 || (b.row_step == 1 && n < 8) {
        for i in 0..a.rows {
            // SAFETY: the caller's promise.
            let row = unsafe { c.cells.piece(c.at + i * c.row_step, n) };
            by_columns::<T, FMA>(alpha, a, i, b, accumulate, row);
        }
        return;
    }
    for col in (0..n).step_by(STREAM_COLS) {
        let width = STREAM_COLS.min(n - col);
        if !accumulate {
            for i in 0..a.rows {
                // SAFETY: the caller's promise.
                unsafe { c.cells.piece(c.at + i * c.row_step + col, width) }.fill(T::ZERO);
            }
        }
        let mut p = 0;
        while p < a.cols {
            let deep = (a.cols - p).min(8);
            for i in 0..a.rows {
                // SAFETY: the caller's promise.
                let row = unsafe { c.cells.piece(c.at + i * c.row_step + col, width) };
                if deep == 8 {
                    add_rows::<T, FMA, 8>(alpha, a, i, b, p, col, row);
                } else {
                    for q in p..p + deep {
                        add_rows::<T, FMA, 1>(alpha, a, i, b, q, col, row);
                    }
                }
            }
            p += deep;
        }
    }
}

/// Adds `R` rows of `b`, each times its factor in row `i` of `a`, to `row`.
#[inline(always)]
fn add_rows<T: Scalar, const FMA: bool, const R: usize>(
    alpha: T,
    a: Matrix<'_, T>,
    i: usize,
    b: Matrix<'_, T>,
    p: usize,
    col: usize,
    row: &mut [T],
) {
    let width = row.len();
    let factors: [T; R] = std::array::from_fn(|q| a.data[i * a.row_step + (p + q) * a.col_step].times(alpha));
    let rows: [&[T]; R] = std::array::from_fn(|q| {
        let start = (p + q) * b.row_step + col;
        &b.data[start..start + width]
    });
    for j in 0..width {
        let mut sum = row[j];
        for q in 0..R {
            sum = sum.plus_product::<FMA>(factors[q], rows[q][j]);
        }
        row[j] = sum;
    }
}

/// Lanes of a dot product: two registers of eight floats, so that their latency is hidden.
const LANES: usize = 16;

/// `row = alpha * (row i of a) * b`, where the columns of `b` are dense.
#[inline(always)]
fn by_columns<T: Scalar, const FMA: bool>(
    alpha: T,
    a: Matrix<'_, T>,
    i: usize,
    b: Matrix<'_, T>,
    accumulate: bool,
    row: &mut [T],
) {
    let k = a.cols;
    let start = i * a.row_step;
    if a.col_step == 1 {
        dots::<T, FMA>(alpha, &a.data[start..start + k], b, accumulate, row);
    } else {
        let gathered: Vec<T> = (0..k).map(|p| a.data[start + p * a.col_step]).collect();
        dots::<T, FMA>(alpha, &gathered, b, accumulate, row);
    }
}

#[inline(always)]
fn dots<T: Scalar, const FMA: bool>(alpha: T, a: &[T], b: Matrix<'_, T>, accumulate: bool, row: &mut [T]) {
    let mut col = 0;
    while col < row.len() {
        let sums: [T; 4] = if row.len() - col >= 4 {
            dot_rows::<T, FMA, 4>(a, b, col)
        } else {
            let [one] = dot_rows::<T, FMA, 1>(a, b, col);
            [one; 4]
        };
        let taken = if row.len() - col >= 4 { 4 } else { 1 };
        for (cell, sum) in row[col..col + taken].iter_mut().zip(sums) {
            let value = sum.times(alpha);
            *cell = if accumulate { cell.plus(value) } else { value };
        }
        col += taken;
    }
}

/// The products of `a` with `R` dense columns of `b` from `col` on.
#[inline(always)]
fn dot_rows<T: Scalar, const FMA: bool, const R: usize>(a: &[T], b: Matrix<'_, T>, col: usize) -> [T; R] {
    let k = a.len();
    let columns: [&[T]; R] = std::array::from_fn(|q| {
        let start = (col + q) * b.col_step;
        &b.data[start..start + k]
    });
    let (chunks, rest) = a.as_chunks::<LANES>();
    let wide: [&[[T; LANES]]; R] = std::array::from_fn(|q| columns[q].as_chunks::<LANES>().0);
    let mut sums = [[T::ZERO; LANES]; R];
    for (p, chunk) in chunks.iter().enumerate() {
        for q in 0..R {
            let column = &wide[q][p];
            for l in 0..LANES {
                sums[q][l] = sums[q][l].plus_product::<FMA>(chunk[l], column[l]);
            }
        }
    }
    let done = chunks.len() * LANES;
    std::array::from_fn(|q| {
        let mut lanes = sums[q];
        let mut half = LANES / 2;
        while half > 0 {
            for l in 0..half {
                lanes[l] = lanes[l].plus(lanes[l + half]);
            }
            half /= 2;
        }
        rest.iter().zip(&columns[q][done..]).fold(lanes[0], |sum, (&x, &y)| sum.plus_product::<FMA>(x, y))
    })
}

#[cfg(test)]
mod tests;
