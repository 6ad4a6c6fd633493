//! Products of floats over register tiles: the right side in panels, packed once ([`Packed`]) or on the way.
//!
//! The inner dimension is cut into blocks whose panels stay in the second-level cache. A product with few rows packs
//! its left side once and shares out its columns; one with many shares out its rows, and each task packs its own. Both
//! cuts depend on the sizes alone.

use super::tile::{self, Finish, Left, Tile, pack_rows};
use super::{Matrix, SMALL_WORK, work};
use crate::scratch::with_scratch;
use crate::{Function, KernelError, Operand};
use oxidane_pool::{Cells, Pool};
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
    fn clamp(&self) -> Option<(f32, f32)> {
        match self.function? {
            Function::Relu => Some((0.0, f32::INFINITY)),
            Function::Clip { min, max } => Some((min as f32, max as f32)),
            _ => None,
        }
    }

    /// The function, where it is more than bounds.
    fn further(&self) -> Option<Function> {
        self.function.filter(|_| self.clamp().is_none())
    }

    fn check(&self, m: usize, n: usize) -> Result<(), KernelError> {
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
    floats: Vec<f32>,
    /// Floats before the first that lies on a cache line.
    skip: usize,
    depth: usize,
    cols: usize,
    line: usize,
}

/// Floats of a cache line.
const CACHE_LINE: usize = 16;

impl Packed {
    /// Packs a matrix. Its elements may repeat or be transposed.
    ///
    /// # Errors
    /// When there is no memory for it.
    pub fn new(pool: &Pool, b: Matrix<'_, f32>) -> Result<Packed, KernelError> {
        let (_, line) = tile::size();
        let (depth, cols) = (b.rows, b.cols);
        let panel = depth * line;
        let panels = cols.div_ceil(line);
        let len = panel.checked_mul(panels).and_then(|n| n.checked_add(CACHE_LINE));
        let mut floats: Vec<f32> = Vec::new();
        len.and_then(|len| floats.try_reserve_exact(len).ok()).ok_or_else(|| {
            KernelError::Shape(format!("there is no memory for a packed matrix of {depth}x{cols}"))
        })?;
        let skip = skip(floats.as_ptr());
        let space = &mut floats.spare_capacity_mut()[..panel * panels + CACHE_LINE];
        let (head, rest) = space.split_at_mut(skip);
        let (body, tail) = rest.split_at_mut(panel * panels);
        head.iter_mut().chain(tail).for_each(|cell| _ = cell.write(0.0));
        if panel > 0 {
            // Panels of a few rows are small; several make a task.
            let together = (PACK_TASK / panel).max(1);
            pool.for_each_piece(body, panel * together, |i, piece| {
                for (j, to) in piece.chunks_exact_mut(panel).enumerate() {
                    // SAFETY: floats have no invalid bits and are only written here.
                    let to = unsafe {
                        to.as_mut_ptr().write_bytes(0, to.len());
                        std::slice::from_raw_parts_mut(to.as_mut_ptr().cast::<f32>(), to.len())
                    };
                    pack_panel(&b, 0, depth, (i * together + j) * line, line, to);
                }
            });
        }
        // SAFETY: the head, all panels and the tail have been written.
        unsafe { floats.set_len(panel * panels + CACHE_LINE) };
        Ok(Packed { floats, skip, depth, cols, line })
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
            floats: &self.floats[self.skip..][..len],
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

/// Floats that a packing task writes at least.
const PACK_TASK: usize = 1 << 16;

/// Floats to skip so that the next lies on a cache line.
fn skip(start: *const f32) -> usize {
    (start.addr().wrapping_neg() / size_of::<f32>()) % CACHE_LINE
}

/// Packs rows `from..from + depth` of the columns from `col` on, zeros beyond the last column.
fn pack_panel(b: &Matrix<'_, f32>, from: usize, depth: usize, col: usize, line: usize, to: &mut [f32]) {
    let width = line.min(b.cols - col);
    if b.col_step == 1 {
        for (p, to) in to.chunks_exact_mut(line).enumerate() {
            let source = &b.data[(from + p) * b.row_step + col..][..width];
            to[..width].copy_from_slice(source);
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
                cells.zip(&source[..rows]).for_each(|(cell, &v)| *cell = v);
            } else {
                let cells = to[j..].iter_mut().step_by(line);
                cells.enumerate().for_each(|(p, cell)| *cell = source[p * b.row_step]);
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

/// Steps of the inner dimension that a block has at most.
const DEPTH: usize = 512;

/// Rows from which on they are shared out rather than the columns.
const MANY_ROWS: usize = 448;

/// Rows that such a task takes at most.
const TASK_ROWS: usize = 168;

/// Panels that are finished together: a function then sees rows of some length.
const GROUP: usize = 8;

/// Tasks that a product is cut into where it is large enough, so that threads end at the same time.
const TASKS: usize = 16;

/// Blocks of rows that read the right side where it lies rather than pack it.
const IN_PLACE: usize = 2;

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
        if panel > 0 {
            let together = (PACK_TASK / panel).max(1);
            pool.for_each_piece(floats, panel * together, |i, piece| {
                for (j, to) in piece.chunks_exact_mut(panel).enumerate() {
                    pack_panel(&b, 0, b.rows, (i * together + j) * line, line, to);
                }
            });
        }
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
fn part(of: usize, count: usize, i: usize) -> Range<usize> {
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
            Side::Rows(floats, step) => Left::Rows(floats[rows.start * step..].as_ptr(), step),
        }
    }
}

impl Job<'_> {
    /// Packs the left side once and shares out panels, and rows where there are few panels.
    fn by_columns(&self, pool: &Pool, a: Matrix<'_, f32>, b: Right<'_>) {
        let (m, k) = (a.rows, self.k);
        let count = m.div_ceil(self.height);
        if count == 1 && a.col_step == 1 {
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
                    pack_rows(&a.part(rows.start, rows.len(), 0, k), 0, k, to);
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
        pool.for_each(across * down, &|task| {
            let blocks = part(count, down, task / across);
            let panels = part(panels, across, task % across);
            for (from, depth) in self.steps() {
                let strip = Strip { side: side.after(from), row: 0, rows: m, count };
                // SAFETY: tasks have rows or columns of their own.
                unsafe { self.tiles(&strip, blocks.clone(), &b, panels.clone(), from, depth) };
            }
        });
    }

    /// Shares out rows; each task packs its own.
    fn by_rows(&self, pool: &Pool, a: Matrix<'_, f32>, b: Panels<'_>) {
        let m = a.rows;
        let tasks = m.div_ceil(TASK_ROWS).next_multiple_of(2);
        let panels = self.n.div_ceil(self.line);
        pool.for_each(tasks, &|task| {
            let range = part(m, tasks, task);
            let (row, rows) = (range.start, range.len());
            let count = rows.div_ceil(self.height);
            let longest = self.k.min(DEPTH);
            with_scratch(rows * longest, |packed: &mut [f32]| {
                for (from, depth) in self.steps() {
                    for i in 0..count {
                        let block = part(rows, count, i);
                        let to = &mut packed[block.start * depth..block.end * depth];
                        pack_rows(&a.part(row + block.start, block.len(), from, depth), 0, depth, to);
                    }
                    let side = Side::Packed { floats: packed, depth, from: 0 };
                    let strip = Strip { side, row, rows, count };
                    for group in (0..panels).step_by(GROUP) {
                        let group = group..(group + GROUP).min(panels);
                        // SAFETY: tasks have rows of their own.
                        unsafe { self.tiles(&strip, 0..count, &Right::Packed(b), group, from, depth) };
                    }
                }
            });
        });
    }

    /// The blocks of the inner dimension: first step and number of steps; one even where there are no steps.
    fn steps(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        let (k, count) = (self.k, self.k.div_ceil(DEPTH).max(1));
        (0..count).map(move |i| part(k, count, i)).map(|r| (r.start, r.len()))
    }

    /// The tiles of some blocks of a strip and some panels over `depth` steps from `from` on, and their function.
    ///
    /// # Safety
    /// Nobody else uses these places of the result.
    unsafe fn tiles(
        &self,
        strip: &Strip<'_>,
        blocks: Range<usize>,
        b: &Right<'_>,
        panels: Range<usize>,
        from: usize,
        depth: usize,
    ) {
        let last = from + depth == self.k;
        for i in panels.clone() {
            let col = i * self.line;
            let cols = self.line.min(self.n - col);
            match b {
                Right::Packed(b) => {
                    let panel = b.panel(i, from);
                    let next =
                        if i + 1 < panels.end { b.panel(i + 1, from).as_ptr() } else { std::ptr::null() };
                    // SAFETY: the caller's promise.
                    unsafe {
                        self.column(strip, blocks.clone(), panel, self.line, next, col, cols, from, depth)
                    }
                }
                Right::Matrix(b) if b.col_step == 1 && cols == self.line && blocks.len() <= IN_PLACE => {
                    let panel = b.data.get(from * b.row_step + col..).unwrap_or(&[]);
                    let next = std::ptr::null();
                    // SAFETY: the caller's promise; a `Matrix` was checked when it was made.
                    unsafe {
                        self.column(strip, blocks.clone(), panel, b.row_step, next, col, cols, from, depth)
                    }
                }
                Right::Matrix(b) => aligned_scratch(depth * self.line, |panel| {
                    pack_panel(b, from, depth, col, self.line, panel);
                    let next = std::ptr::null();
                    // SAFETY: the caller's promise.
                    unsafe {
                        self.column(strip, blocks.clone(), panel, self.line, next, col, cols, from, depth)
                    }
                }),
            }
        }
        if let Some(function) = self.epilogue.further().filter(|_| last) {
            let rows = part(strip.rows, strip.count, blocks.start).start
                ..part(strip.rows, strip.count, blocks.end - 1).end;
            let col = panels.start * self.line;
            let width = (panels.end * self.line).min(self.n) - col;
            for row in rows {
                // SAFETY: the caller's promise.
                apply(function, unsafe { self.cells.piece((strip.row + row) * self.n + col, width) });
            }
        }
    }

    /// The tiles of some blocks of a strip with one panel.
    ///
    /// # Safety
    /// Nobody else uses these places of the result; the panel has `depth` lines that lie `line` apart.
    #[allow(clippy::too_many_arguments, reason = "what varies from panel to panel")]
    unsafe fn column(
        &self,
        strip: &Strip<'_>,
        blocks: Range<usize>,
        panel: &[f32],
        line: usize,
        next: *const f32,
        col: usize,
        cols: usize,
        from: usize,
        depth: usize,
    ) {
        let last = from + depth == self.k;
        let end = blocks.end;
        for i in blocks {
            let rows = part(strip.rows, strip.count, i);
            let at = (strip.row + rows.start) * self.n + col;
            // The next panel comes near while the last tiles of this one are computed.
            let near = if next.is_null() || end - i > 2 {
                std::ptr::null()
            } else {
                next.wrapping_add((2 - (end - i)) * depth * CACHE_LINE)
            };
            let finish = Finish {
                alpha: self.epilogue.alpha,
                accumulate: self.epilogue.accumulate || from > 0,
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
            let height = rows.len();
            let a = strip.side.left(&rows);
            // SAFETY: the rows of the tile are the caller's; the last one proves that they lie inside the cells.
            unsafe {
                let out = self.cells.piece(at, (height - 1) * self.n + cols).as_mut_ptr();
                let b = panel.as_ptr();
                let tile =
                    Tile { rows: height, cols, depth, a, b, line, out, out_row: self.n, next: near, finish };
                tile.run();
            }
        }
    }
}

/// Applies a function to a row, in pieces that stay near.
fn apply(function: Function, row: &mut [f32]) {
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
