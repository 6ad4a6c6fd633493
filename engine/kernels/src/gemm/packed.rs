//! Products of floats over register tiles: the right side in panels, packed once ([`Packed`]) or on the way.
//!
//! The inner dimension is cut into blocks whose panels stay in the second-level cache. A product with few rows packs
//! its left side once and shares out its columns; one with many shares out its rows, and each task packs its own. Both
//! cuts depend on the sizes alone.

use super::tile::{self, Finish, Left, STRIDE, Tile, pack_rows};
use super::{Matrix, SMALL_WORK, work};
use crate::scratch::with_scratch;
use crate::{Function, KernelError, Operand};
use oxidane_pool::{Cells, Pool, Stop};
use oxidane_tensor::Buffer;
use std::ops::Range;

/// What is done to a product before it is written: `function(alpha * product + out + bias + residual)`, each part
/// where it is there.
#[derive(Debug, Clone, Copy)]
pub struct Epilogue<'a> {
    /// Factor of the product.
    pub alpha: f32,
    /// Whether what the result held is added.
    pub accumulate: bool,
    /// A number for each column.
    pub bias: Option<&'a [f32]>,
    /// A dense matrix of the result's size.
    pub residual: Option<&'a [f32]>,
    /// The function of each sum.
    pub function: Option<Function>,
}

impl Default for Epilogue<'_> {
    fn default() -> Self {
        Epilogue { alpha: 1.0, accumulate: false, bias: None, residual: None, function: None }
    }
}

impl Epilogue<'_> {
    /// The function as bounds, where it is that.
    pub(super) fn clamp(&self) -> Option<(f32, f32)> {
        match self.function? {
            Function::Relu => Some((0.0, f32::INFINITY)),
            Function::Clip { min, max } => Some((min as f32, max as f32)),
            _ => None,
        }
    }

    /// The function, where it is more than bounds.
    pub(super) fn further(&self) -> Option<Function> {
        self.function.filter(|_| self.clamp().is_none())
    }

    pub(super) fn check(&self, m: usize, n: usize) -> Result<(), KernelError> {
        let fits = self.bias.is_none_or(|b| b.len() == n)
            && self.residual.is_none_or(|r| Some(r.len()) == m.checked_mul(n));
        if fits {
            return Ok(());
        }
        Err(KernelError::Shape(format!("the bias or the addend of a {m}x{n} product has another size")))
    }
}

/// The right side of a product, packed for this machine: panels of columns, each line by line.
pub struct Packed {
    floats: Buffer,
    depth: usize,
    cols: usize,
    line: usize,
}

/// Floats of a cache line.
pub(super) const CACHE_LINE: usize = 16;

impl Packed {
    /// Packs a matrix. Its elements may repeat or be transposed.
    ///
    /// # Errors
    /// When there is no memory for it.
    pub fn new(pool: &Pool, b: Matrix<'_, f32>) -> Result<Packed, KernelError> {
        Packed::of(pool, b)
    }

    /// As [`Packed::new`] for floats at any byte.
    pub(crate) fn of<T: Loose>(pool: &Pool, b: Matrix<'_, T>) -> Result<Packed, KernelError> {
        // A loop that ends early would leave floats unwritten.
        let pool = &pool.with_stop(Stop::default());
        let (_, line) = tile::size();
        let (depth, cols) = (b.rows, b.cols);
        let panel = depth * line;
        let panels = cols.div_ceil(line);
        let bytes = panel.checked_mul(panels).and_then(|n| n.checked_mul(size_of::<f32>()));
        let made = bytes.and_then(|bytes| Buffer::populated(bytes).ok());
        let mut floats = made.ok_or_else(|| {
            KernelError::Shape(format!("there is no memory for a packed matrix of {depth}x{cols}"))
        })?;
        let lines = bytemuck::cast_slice_mut(floats.as_bytes_mut().unwrap_or_default());
        pack_panels(pool, &b, line, lines);
        Ok(Packed { floats, depth, cols, line })
    }

    /// Rows of the matrix.
    pub fn rows(&self) -> usize {
        self.depth
    }

    /// Columns of the matrix.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// The panels.
    pub(crate) fn panels(&self) -> Panels<'_> {
        let len = self.depth * self.line * self.cols.div_ceil(self.line);
        Panels {
            floats: &bytemuck::cast_slice(self.floats.as_bytes())[..len],
            depth: self.depth,
            cols: self.cols,
            line: self.line,
        }
    }
}

impl std::fmt::Debug for Packed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Packed {}x{}", self.depth, self.cols)
    }
}

/// A float as it may lie in a file.
pub(crate) trait Loose: Copy + Send + Sync {
    /// The float.
    fn float(self) -> f32;
}

impl Loose for f32 {
    #[inline(always)]
    fn float(self) -> f32 {
        self
    }
}

impl Loose for [u8; 4] {
    #[inline(always)]
    fn float(self) -> f32 {
        f32::from_ne_bytes(self)
    }
}

/// Floats that a packing task writes at least.
pub(super) const PACK_TASK: usize = 1 << 16;

/// Floats to skip so that the next lies on a cache line.
fn skip(start: *const f32) -> usize {
    (start.addr().wrapping_neg() / size_of::<f32>()) % CACHE_LINE
}

/// Packs all columns of a matrix, panel by panel.
fn pack_panels<T: Loose>(pool: &Pool, b: &Matrix<'_, T>, line: usize, to: &mut [f32]) {
    let panel = b.rows * line;
    // Panels of a few rows are small; several make a task.
    if let Some(together) = PACK_TASK.checked_div(panel) {
        let together = together.max(1);
        pool.for_each_piece(to, panel * together, |i, piece| {
            for (j, to) in piece.chunks_exact_mut(panel).enumerate() {
                pack_panel(b, 0, b.rows, (i * together + j) * line, line, to);
            }
        });
    }
}

/// Packs rows `from..from + depth` of the columns from `col` on, zeros beyond the last column.
fn pack_panel<T: Loose>(
    b: &Matrix<'_, T>,
    from: usize,
    depth: usize,
    col: usize,
    line: usize,
    to: &mut [f32],
) {
    let width = line.min(b.cols - col);
    if b.col_step == 1 {
        for (p, to) in to.chunks_exact_mut(line).enumerate() {
            let source = &b.data[(from + p) * b.row_step + col..][..width];
            to.iter_mut().zip(source).for_each(|(cell, v)| *cell = v.float());
            to[width..].fill(0.0);
        }
        return;
    }
    // By blocks of rows, so that the lines that are written stay near while columns are read one by one.
    for (block, to) in to[..depth * line].chunks_mut(line * PACK_ROWS).enumerate() {
        let first = from + block * PACK_ROWS;
        let rows = to.len() / line;
        for j in 0..line {
            if j >= width {
                to[j..].iter_mut().step_by(line).for_each(|cell| *cell = 0.0);
                continue;
            }
            let source = &b.data[first * b.row_step + (col + j) * b.col_step..];
            if b.row_step == 1 {
                let cells = to[j..].iter_mut().step_by(line);
                cells.zip(&source[..rows]).for_each(|(cell, v)| *cell = v.float());
            } else {
                let cells = to[j..].iter_mut().step_by(line);
                cells.enumerate().for_each(|(p, cell)| *cell = source[p * b.row_step].float());
            }
        }
    }
}

/// Rows of a panel that are packed at a time from a transposed matrix.
const PACK_ROWS: usize = 16;

/// Packed panels, wherever they lie.
#[derive(Clone, Copy)]
pub(crate) struct Panels<'a> {
    floats: &'a [f32],
    depth: usize,
    cols: usize,
    line: usize,
}

impl<'a> Panels<'a> {
    /// The lines of panel number `i` from line `from` on.
    fn panel(&self, i: usize, from: usize) -> &'a [f32] {
        let size = self.depth * self.line;
        &self.floats[i * size..][from * self.line..size]
    }
}

/// The right side of a product.
#[derive(Clone, Copy)]
pub(crate) enum Right<'a> {
    /// Packed before.
    Packed(Panels<'a>),
    /// Packed where it is needed.
    Matrix(Matrix<'a, f32>),
}

impl Right<'_> {
    fn size(&self) -> (usize, usize) {
        match self {
            Right::Packed(b) => (b.depth, b.cols),
            Right::Matrix(b) => (b.rows, b.cols),
        }
    }
}

/// `out = a * b`, finished as `epilogue` says; `out` is dense and row-major.
///
/// # Errors
/// When sizes differ.
pub fn product_packed(
    pool: &Pool,
    a: Matrix<'_, f32>,
    b: &Packed,
    epilogue: &Epilogue<'_>,
    out: &mut [f32],
) -> Result<(), KernelError> {
    product(pool, a, Right::Packed(b.panels()), epilogue, out)
}

/// Steps of the inner dimension that a block has at most: its rows of the left side stay in the first-level cache.
const DEPTH: usize = 768;

/// Panels that are worked on together: a block of them stays in the second-level cache.
const GROUP: usize = 8;

/// Rows from which on they are shared out rather than the columns.
const MANY_ROWS: usize = 448;

/// Rows that such a task takes at most, and floats of the left side.
const TASK_ROWS: usize = 168;
const TASK_FLOATS: usize = 1 << 18;

/// Tasks that a product is cut into where it is large enough, so that threads end at the same time.
const TASKS: usize = 16;

/// Blocks of rows that read the right side where it lies rather than pack it.
const IN_PLACE: usize = 2;

/// Columns up to which packing the left side costs more than it gains.
const FEW_COLUMNS: usize = 512;

/// As [`product_packed`] for any right side.
pub(crate) fn product(
    pool: &Pool,
    a: Matrix<'_, f32>,
    b: Right<'_>,
    epilogue: &Epilogue<'_>,
    out: &mut [f32],
) -> Result<(), KernelError> {
    let (m, k) = (a.rows, a.cols);
    let (inner, n) = b.size();
    if k != inner || m.checked_mul(n) != Some(out.len()) {
        return Err(KernelError::Shape(format!(
            "cannot multiply {m}x{k} by {inner}x{n} into {} elements",
            out.len()
        )));
    }
    epilogue.check(m, n)?;
    if out.is_empty() {
        return Ok(());
    }
    let (height, line) = tile::size();
    let cells = Cells::new(out);
    let job = Job { k, n, line, height, epilogue, cells: &cells };
    if m < MANY_ROWS || n <= line {
        job.by_columns(pool, a, b);
        return Ok(());
    }
    match b {
        Right::Packed(panels) => job.by_rows(pool, a, panels),
        Right::Matrix(b) => with_panels(pool, b, line, |panels| job.by_rows(pool, a, panels)),
    }
    Ok(())
}

/// Packs a matrix into scratch for `run`.
fn with_panels(pool: &Pool, b: Matrix<'_, f32>, line: usize, run: impl FnOnce(Panels<'_>)) {
    let panel = b.rows * line;
    let panels = b.cols.div_ceil(line);
    aligned_scratch(panel * panels, |floats| {
        pack_panels(pool, &b, line, floats);
        run(Panels { floats, depth: b.rows, cols: b.cols, line });
    });
}

/// Scratch that begins on a cache line.
fn aligned_scratch<R>(len: usize, run: impl FnOnce(&mut [f32]) -> R) -> R {
    with_scratch(len + CACHE_LINE, |floats: &mut [f32]| {
        let skip = skip(floats.as_ptr());
        run(&mut floats[skip..][..len])
    })
}

/// Part `i` of `of` things cut into `count` parts of nearly the same size.
pub(super) fn part(of: usize, count: usize, i: usize) -> Range<usize> {
    of * i / count..of * (i + 1) / count
}

/// A product of known sizes.
struct Job<'a> {
    k: usize,
    n: usize,
    line: usize,
    height: usize,
    epilogue: &'a Epilogue<'a>,
    cells: &'a Cells<'a, f32>,
}

/// Rows of the left side, cut into blocks of nearly the same height.
struct Strip<'a> {
    side: Side<'a>,
    /// The first row in the result, and how many rows are cut into how many blocks.
    row: usize,
    rows: usize,
    count: usize,
}

/// Where the rows of a strip lie.
#[derive(Clone, Copy)]
enum Side<'a> {
    /// Packed block by block, `depth` steps long, of which the first `from` are passed over.
    Packed { floats: &'a [f32], depth: usize, from: usize },
    /// Dense rows, so far apart.
    Rows(&'a [f32], usize),
}

impl<'a> Side<'a> {
    /// The same rows from step `from` on.
    fn after(self, from: usize) -> Side<'a> {
        match self {
            Side::Packed { floats, depth, .. } => Side::Packed { floats, depth, from },
            Side::Rows(floats, step) => Side::Rows(&floats[from..], step),
        }
    }

    /// The rows of a block.
    fn left(&self, rows: &Range<usize>) -> Left {
        match *self {
            Side::Packed { floats, depth, from } => {
                Left::Packed(floats[rows.start * depth + from * rows.len()..].as_ptr())
            }
            // A single row is packed as it is.
            Side::Rows(floats, step) if rows.len() == 1 => Left::Packed(floats[rows.start * step..].as_ptr()),
            Side::Rows(floats, step) => Left::Rows(floats[rows.start * step..].as_ptr(), step),
        }
    }
}

impl Job<'_> {
    /// Whether the left side is read where it lies: packing pays only where many columns use it, or where its rows
    /// would get into each other's way in the cache.
    fn reads_in_place(&self, a: &Matrix<'_, f32>) -> bool {
        let crowded = a.row_step.is_multiple_of(1024) && a.rows > 4;
        a.col_step == 1 && (a.rows == 1 || !crowded && self.n <= FEW_COLUMNS)
    }

    /// Prepares the left side once and shares out panels, and rows where there are few panels.
    fn by_columns(&self, pool: &Pool, a: Matrix<'_, f32>, b: Right<'_>) {
        let (m, k) = (a.rows, self.k);
        let count = m.div_ceil(self.height);
        if self.reads_in_place(&a) {
            return self.share_columns(pool, Side::Rows(a.data, a.row_step), m, count, b);
        }
        with_scratch(m * k, |packed: &mut [f32]| {
            let cells = Cells::new(packed);
            let each = (PACK_TASK / (k * self.height).max(1)).max(1);
            pool.for_each(count.div_ceil(each), &|task| {
                for i in task * each..((task + 1) * each).min(count) {
                    let rows = part(m, count, i);
                    // SAFETY: blocks are disjoint.
                    let to = unsafe { cells.piece(rows.start * k, rows.len() * k) };
                    pack_rows(&a.part(rows.start, rows.len(), 0, k), to);
                }
            });
            self.share_columns(pool, Side::Packed { floats: packed, depth: k, from: 0 }, m, count, b);
        });
    }

    fn share_columns(&self, pool: &Pool, side: Side<'_>, m: usize, count: usize, b: Right<'_>) {
        let panels = self.n.div_ceil(self.line);
        let tasks = (work(m, self.k, self.n) / SMALL_WORK).clamp(1, TASKS);
        let across = tasks.min(panels);
        let down = (tasks / across).clamp(1, count);
        let strip = Strip { side, row: 0, rows: m, count };
        pool.for_each(across * down, &|task| {
            let blocks = part(count, down, task / across);
            // SAFETY: tasks have rows or columns of their own.
            unsafe { self.strip(&strip, blocks, &b, part(panels, across, task % across)) };
        });
    }

    /// Shares out rows; each task prepares its own.
    fn by_rows(&self, pool: &Pool, a: Matrix<'_, f32>, b: Panels<'_>) {
        let (m, k) = (a.rows, self.k);
        let tasks =
            m.div_ceil((TASK_FLOATS / k.max(1)).clamp(4 * self.height, TASK_ROWS)).next_multiple_of(2);
        let panels = self.n.div_ceil(self.line);
        pool.for_each(tasks, &|task| {
            let range = part(m, tasks, task);
            let (row, rows) = (range.start, range.len());
            let count = rows.div_ceil(self.height);
            let a = a.part(row, rows, 0, k);
            let run = |side: Side<'_>| {
                let strip = Strip { side, row, rows, count };
                // SAFETY: tasks have rows of their own.
                unsafe { self.strip(&strip, 0..count, &Right::Packed(b), 0..panels) };
            };
            if self.reads_in_place(&a) {
                return run(Side::Rows(a.data, a.row_step));
            }
            with_scratch(rows * k, |packed: &mut [f32]| {
                for i in 0..count {
                    let block = part(rows, count, i);
                    let to = &mut packed[block.start * k..block.end * k];
                    pack_rows(&a.part(block.start, block.len(), 0, k), to);
                }
                run(Side::Packed { floats: packed, depth: k, from: 0 });
            });
        });
    }

    /// Some blocks of a strip and some panels, over all steps, and the function of their sums.
    ///
    /// # Safety
    /// Nobody else uses these places of the result.
    unsafe fn strip(&self, strip: &Strip<'_>, blocks: Range<usize>, b: &Right<'_>, panels: Range<usize>) {
        let rows = part(strip.rows, strip.count, blocks.start).start
            ..part(strip.rows, strip.count, blocks.end - 1).end;
        // One block even where there are no steps.
        let count = self.k.div_ceil(DEPTH).max(1);
        for first in panels.clone().step_by(GROUP) {
            let group = first..(first + GROUP).min(panels.end);
            for i in 0..count {
                let steps = part(self.k, count, i);
                // SAFETY: the caller's promise.
                unsafe { self.group(strip, blocks.clone(), b, group.clone(), &steps) };
            }
            if let Some(function) = self.epilogue.further() {
                let col = group.start * self.line;
                let width = (group.end * self.line).min(self.n) - col;
                for row in rows.clone() {
                    // SAFETY: the caller's promise.
                    apply(function, unsafe { self.cells.piece((strip.row + row) * self.n + col, width) });
                }
            }
        }
    }

    /// Some blocks of a strip and a group of panels, over some steps.
    ///
    /// # Safety
    /// Nobody else uses these places of the result.
    unsafe fn group(
        &self,
        strip: &Strip<'_>,
        blocks: Range<usize>,
        b: &Right<'_>,
        group: Range<usize>,
        steps: &Range<usize>,
    ) {
        match *b {
            Right::Packed(b) => {
                let panel = |i: usize| (b.panel(i, steps.start), self.line);
                // What comes next: the same panels further on, or those behind them.
                let size = group.len() * self.line;
                let behind = group.end * self.line >= self.n;
                let next = |i: usize| match steps.end < self.k {
                    true => b.panel(i, steps.end).as_ptr(),
                    false if behind => std::ptr::null(),
                    false => b.panel(i, steps.start).as_ptr().wrapping_add(size * self.k),
                };
                // SAFETY: the caller's promise.
                unsafe { self.tiles(strip, blocks, &panel, &next, group, steps) }
            }
            Right::Matrix(b) => {
                let whole = group.end * self.line <= self.n;
                let none = |_| std::ptr::null();
                if b.col_step == 1 && whole && blocks.len() <= IN_PLACE {
                    let panel = |i: usize| {
                        (b.data.get(steps.start * b.row_step + i * self.line..).unwrap_or(&[]), b.row_step)
                    };
                    // SAFETY: the caller's promise; a `Matrix` was checked when it was made.
                    return unsafe { self.tiles(strip, blocks, &panel, &none, group, steps) };
                }
                let size = steps.len() * self.line;
                aligned_scratch(group.len() * size, |packed| {
                    if size > 0 {
                        for (i, to) in packed.chunks_exact_mut(size).enumerate() {
                            pack_panel(
                                &b,
                                steps.start,
                                steps.len(),
                                (group.start + i) * self.line,
                                self.line,
                                to,
                            );
                        }
                    }
                    let packed = &*packed;
                    let panel = |i: usize| (&packed[(i - group.start) * size..], self.line);
                    // SAFETY: the caller's promise.
                    unsafe { self.tiles(strip, blocks, &panel, &none, group.clone(), steps) }
                });
            }
        }
    }

    /// The tiles of some blocks of a strip and a group of panels, over some steps. `panel` gives the lines of a panel
    /// from the first of these steps on and how far they lie apart, `next` what is wanted after it.
    ///
    /// # Safety
    /// Nobody else uses these places of the result; panels have a line for each step.
    unsafe fn tiles<'p>(
        &self,
        strip: &Strip<'_>,
        blocks: Range<usize>,
        panel: &dyn Fn(usize) -> (&'p [f32], usize),
        next: &dyn Fn(usize) -> *const f32,
        group: Range<usize>,
        steps: &Range<usize>,
    ) {
        let last = steps.end == self.k;
        let side = strip.side.after(steps.start);
        let lines = self.line / CACHE_LINE;
        let first = blocks.start;
        let share = (lines * STRIDE).div_ceil(blocks.len());
        for block in blocks {
            let rows = part(strip.rows, strip.count, block);
            let a = side.left(&rows);
            for i in group.clone() {
                let col = i * self.line;
                let cols = self.line.min(self.n - col);
                let at = (strip.row + rows.start) * self.n + col;
                // What comes next is brought near bit by bit, a part by each block.
                let near = match next(i) {
                    next if next.is_null() || strip.rows == 1 => (next, 0),
                    next => {
                        let before = (block - first) * (steps.len() / STRIDE) * share * CACHE_LINE;
                        (next.wrapping_add(before), share)
                    }
                };
                let finish = Finish {
                    alpha: self.epilogue.alpha,
                    accumulate: self.epilogue.accumulate || steps.start > 0,
                    column: match self.epilogue.bias {
                        Some(bias) if last => bias[col..].as_ptr(),
                        _ => std::ptr::null(),
                    },
                    other: match self.epilogue.residual {
                        Some(other) if last => (other[at..].as_ptr(), self.n),
                        _ => (std::ptr::null(), 0),
                    },
                    clamp: self.epilogue.clamp().filter(|_| last),
                    ..Finish::PLAIN
                };
                let (b, line) = panel(i);
                let (height, depth) = (rows.len(), steps.len());
                // SAFETY: these rows are the caller's; the last one proves that they lie inside the cells.
                unsafe {
                    let out = self.cells.piece(at, (height - 1) * self.n + cols).as_mut_ptr();
                    let b = b.as_ptr();
                    let tile = Tile {
                        rows: height,
                        cols,
                        depth,
                        a,
                        b,
                        line,
                        out,
                        out_row: self.n,
                        next: near,
                        finish,
                    };
                    tile.run();
                }
            }
        }
    }
}

/// Does to part of row `i` of a result of `n` columns, from column `col` on, what comes after the product.
pub(super) fn finish_rows(epilogue: &Epilogue<'_>, cells: &mut [f32], i: usize, n: usize, col: usize) {
    let add = |cells: &mut [f32], from: &[f32]| cells.iter_mut().zip(from).for_each(|(c, v)| *c += v);
    if let Some(bias) = epilogue.bias {
        add(cells, &bias[col..]);
    }
    if let Some(other) = epilogue.residual {
        add(cells, &other[i * n + col..]);
    }
    if let Some(function) = epilogue.function {
        apply(function, cells);
    }
}

/// Applies a function to a row, in pieces that stay near.
pub(super) fn apply(function: Function, row: &mut [f32]) {
    let mut piece = [0f32; 256];
    for cells in row.chunks_mut(piece.len()) {
        let from = &mut piece[..cells.len()];
        from.copy_from_slice(cells);
        // Every function exists for floats.
        f32::apply(function, from, cells).unwrap_or_else(|e| debug_assert!(false, "{e}"));
    }
}

#[cfg(test)]
#[path = "packed_tests.rs"]
mod tests;
