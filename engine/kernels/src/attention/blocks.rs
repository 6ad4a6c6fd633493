//! Attention of `f32` by register tiles: queries times a block of keys, transposed into panels, softmax by vectors, and
//! the shares times the block's values. Rows with more than a block of keys fold the blocks into a running softmax.
//!
//! A task takes rows of one group: the queries of all heads that share a head of keys. Cuts depend on sizes alone.

use super::shares::{NEW, Row, Scoring, norm, shares};
use super::{Attention, GoOn, Placed};
use crate::isa::{LANES, Vector, Work, dispatch};
use crate::panel::{ROWS, tile};
use crate::scratch::with_scratch;
use oxidane_pool::{Cells, Pool};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

/// Keys of a block at most.
const KEYS: usize = 512;
/// Keys of a block at most where there are but few rows, which leave keys and values as they lie.
const FEW_KEYS: usize = 4096;
/// So many rows of a task are few: turning the keys would cost more than it gives.
const FEW: usize = 4;
/// Rows whose scores stand in memory at the same time.
const BATCH: usize = 8 * ROWS;
/// Rows of a task at most, and at least where a group is cut.
const TASK: (usize, usize) = (512 / ROWS * ROWS, 16 * ROWS);
/// Tasks that are wanted.
const TASKS: usize = 8;
/// Multiply-adds that are not worth a second thread.
const SMALL: usize = 1 << 18;

/// Computes a call that was checked.
pub(super) fn run(
    pool: &Pool,
    call: &Attention<'_, f32>,
    out: &Cells<'_, f32>,
    placed: Placed,
    go_on: &GoOn<'_>,
) {
    let groups = call.batches * call.kv_heads;
    let rows = call.heads / call.kv_heads * call.queries;
    let pieces = TASKS.div_ceil(groups).min(rows / TASK.1).max(rows.div_ceil(TASK.0)).max(1);
    let piece = rows.div_ceil(pieces).next_multiple_of(if rows > ROWS { ROWS } else { 1 });
    let pieces = rows.div_ceil(piece);
    let stopped = AtomicBool::new(false);
    let task = |task: usize| {
        if stopped.load(Ordering::Relaxed) || !go_on() {
            stopped.store(true, Ordering::Relaxed);
            return;
        }
        let (group, from) = (task / pieces, task % pieces * piece);
        let (batch, kv_head) = (group / call.kv_heads, group % call.kv_heads);
        let rows = from..(from + piece).min(rows);
        Task { call, out, placed, batch, kv_head, rows }.run();
    };
    let work = (rows * groups).saturating_mul(call.keys).saturating_mul(call.size + call.value_size);
    match work < SMALL {
        true => (0..groups * pieces).for_each(task),
        false => pool.for_each(groups * pieces, &task),
    }
}

/// Some rows of a group: row `i` is query `i % queries` of the group's head `i / queries`.
struct Task<'a> {
    call: &'a Attention<'a, f32>,
    out: &'a Cells<'a, f32>,
    placed: Placed,
    batch: usize,
    kv_head: usize,
    rows: Range<usize>,
}

/// What a task has in memory of its own.
struct Space<'a> {
    /// Panels of keys, transposed.
    keys: &'a mut [f32],
    /// Values in dense rows.
    values: &'a mut [f32],
    /// Scores of a batch of rows.
    scores: &'a mut [f32],
    /// Sums of all rows, where there is more than a block of keys.
    sums: &'a mut [f32],
    states: &'a mut [Row],
}

/// Where rows of values lie, how far apart.
#[derive(Clone, Copy)]
struct Values(*const f32, usize);

impl Task<'_> {
    fn run(&self) {
        let call = self.call;
        let seen = self.seen(self.rows.clone());
        if seen.is_empty() {
            for row in self.rows.clone() {
                // SAFETY: rows of the output do not overlap, and each belongs to one task.
                unsafe { self.out.piece(self.place(row), call.value_size) }.fill(0.0);
            }
            return;
        }
        let few = self.rows.len() <= FEW;
        let block = seen.len().min(if few { FEW_KEYS } else { KEYS });
        let padded = block.next_multiple_of(LANES);
        let wide = call.value_size.next_multiple_of(LANES);
        // Values that few rows read, in whole vectors, stay where they are.
        let copied = wide != call.value_size || self.rows.len() > 2 * ROWS;
        let blocks = seen.len().div_ceil(block);
        let count = self.rows.len();
        let sizes = [
            if few { 0 } else { padded * call.size },
            if copied { block * wide } else { 0 },
            padded * count.min(BATCH),
            if blocks > 1 { count * wide } else { 0 },
            2 * count,
        ]
        .map(|size| size.next_multiple_of(LANES));
        with_scratch(sizes.iter().sum::<usize>() + LANES, |scratch: &mut [f32]| {
            let skip = scratch.as_ptr().align_offset(64).min(LANES);
            let (keys, rest) = scratch[skip..].split_at_mut(sizes[0]);
            let (values, rest) = rest.split_at_mut(sizes[1]);
            let (scores, rest) = rest.split_at_mut(sizes[2]);
            let (sums, rest) = rest.split_at_mut(sizes[3]);
            let states = rest.as_chunks_mut().0;
            let states = &mut states[..count];
            states.fill(NEW);
            let space = Space { keys, values, scores, sums, states };
            dispatch(Blocks { task: self, space, seen, block, few, copied });
        });
    }

    /// Batch, head and query of a row.
    #[inline(always)]
    fn of(&self, row: usize) -> (usize, usize) {
        let each = self.call.heads / self.call.kv_heads;
        (self.kv_head * each + row / self.call.queries, row % self.call.queries)
    }

    /// Where a row of the output starts.
    #[inline(always)]
    fn place(&self, row: usize) -> usize {
        let (head, query) = self.of(row);
        self.batch * self.placed.0 + head * self.placed.1 + query * self.placed.2
    }

    #[inline(always)]
    fn query(&self, row: usize) -> *const f32 {
        let (query, (head, at)) = (&self.call.query, self.of(row));
        let at = self.batch * query.batch + head * query.head + at * query.row;
        query.data[at..].as_ptr()
    }

    /// All keys that some of the rows see.
    fn seen(&self, rows: Range<usize>) -> Range<usize> {
        let span = self.call.spans[self.batch];
        if span.first.is_none() && span.end.is_none() {
            return 0..span.valid;
        }
        rows.map(|row| span.at(self.of(row).1))
            .filter(|seen| !seen.is_empty())
            .reduce(|a, b| a.start.min(b.start)..a.end.max(b.end))
            .unwrap_or(0..0)
    }
}

/// The blocks of keys of a task, one after the other.
struct Blocks<'a> {
    task: &'a Task<'a>,
    space: Space<'a>,
    seen: Range<usize>,
    block: usize,
    few: bool,
    copied: bool,
}

impl Work for Blocks<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector>(mut self) {
        let task = self.task;
        let call = task.call;
        let wide = call.value_size.next_multiple_of(LANES);
        let only = self.seen.len() <= self.block;
        for from in self.seen.clone().step_by(self.block) {
            let keys = from..(from + self.block).min(self.seen.end);
            if !self.few {
                self.turn_keys::<V>(&keys);
            }
            let at = task.batch * call.value.batch + task.kv_head * call.value.head + from * call.value.row;
            let mut values =
                Values(call.value.data[at.min(call.value.data.len())..].as_ptr(), call.value.row);
            if self.copied {
                for i in 0..keys.len() {
                    let from = &call.value.data[at + i * call.value.row..][..call.value_size];
                    let to = &mut self.space.values[i * wide..][..wide];
                    for (to, column) in to.chunks_exact_mut(LANES).zip((0..wide).step_by(LANES)) {
                        V::of(&from[column..]).put(to);
                    }
                }
                values = Values(self.space.values.as_ptr(), wide);
            }
            for start in task.rows.clone().step_by(BATCH) {
                let rows = start..(start + BATCH).min(task.rows.end);
                self.rows::<V>(rows, &keys, values, only, from == self.seen.start);
            }
        }
        if !only {
            for (i, row) in task.rows.clone().enumerate() {
                let norm = norm(self.space.states[i]);
                // SAFETY: rows of the output do not overlap, and each belongs to one task.
                let to = unsafe { task.out.piece(task.place(row), call.value_size) };
                for (to, sum) in to.iter_mut().zip(&self.space.sums[i * wide..]) {
                    *to = sum * norm;
                }
            }
        }
    }
}

/// Vectors of each panel of so many: as few panels as may be, of about the same width.
#[inline(always)]
fn panels<V: Vector>(vectors: usize) -> impl Iterator<Item = (usize, usize)> + Clone {
    let most = if V::TILE.1 > 1 { 4 } else { 1 };
    let count = vectors.div_ceil(most);
    (0..count).map(move |i| {
        let from = i * vectors / count;
        (from, (i + 1) * vectors / count - from)
    })
}

impl Blocks<'_> {
    /// Packs a block of keys: for each panel, for each element of a key, a line of the panel's keys.
    #[inline(always)]
    fn turn_keys<V: Vector>(&mut self, keys: &Range<usize>) {
        let call = self.task.call;
        let (size, key) = (call.size, &call.key);
        let start = self.task.batch * key.batch + self.task.kv_head * key.head + keys.start * key.row;
        let row = |i: usize| &key.data[start + i * key.row..][..size];
        let packed = self.space.keys.as_mut_ptr();
        for (from, width) in panels::<V>(keys.len().div_ceil(LANES)) {
            for vector in 0..width {
                let first = (from + vector) * LANES;
                let count = LANES.min(keys.len() - first);
                for element in (0..size).step_by(LANES) {
                    let n = LANES.min(size - element);
                    let mut lines = [V::zero(); LANES];
                    for (i, line) in lines.iter_mut().enumerate().take(count) {
                        let row = &row(first + i)[element..];
                        *line = match n {
                            // SAFETY: the row has 16 elements more.
                            LANES => unsafe { V::load(row.as_ptr()) },
                            _ => V::of(row),
                        };
                    }
                    let lines = V::transpose(lines);
                    let at = from * LANES * size + element * width * LANES + vector * LANES;
                    for (i, line) in lines.into_iter().enumerate().take(n) {
                        // SAFETY: the space has `size` lines for each vector of the block.
                        unsafe { line.store(packed.add(at + i * width * LANES)) };
                    }
                }
            }
        }
    }

    /// A batch of rows and a block of keys.
    #[inline(always)]
    fn rows<V: Vector>(
        &mut self,
        rows: Range<usize>,
        keys: &Range<usize>,
        values: Values,
        only: bool,
        new: bool,
    ) {
        let task = self.task;
        let call = task.call;
        let line = self.block.next_multiple_of(LANES);
        let seen = task.seen(rows.clone());
        let seen = seen.start.max(keys.start)..seen.end.min(keys.end);
        let first = rows.start - task.rows.start;
        let mut keep = [1.0f32; BATCH];
        // The panels that hold a key which some row sees.
        let mut held = 0..0;
        if !seen.is_empty() {
            let vectors = keys.len().div_ceil(LANES);
            let (low, high) = (seen.start - keys.start, seen.end - keys.start);
            let hit = panels::<V>(vectors)
                .filter(|&(from, width)| (from + width) * LANES > low && from * LANES < high)
                .map(|(from, width)| from..from + width)
                .reduce(|a, b| a.start..b.end)
                .unwrap_or(0..0);
            held = hit.start * LANES..hit.end * LANES;
            if self.few {
                self.dots::<V>(rows.clone(), keys, line);
            } else {
                for (from, width) in panels::<V>(vectors).filter(|(from, _)| hit.contains(from)) {
                    // SAFETY: the panel was packed and has `size` lines.
                    let panel = unsafe { self.space.keys.as_ptr().add(from * LANES * call.size) };
                    for start in rows.clone().step_by(ROWS) {
                        let n = ROWS.min(rows.end - start);
                        let a = std::array::from_fn(|r| task.query(start + r.min(n - 1)));
                        let at = (start - rows.start) * line + from * LANES;
                        let to = std::array::from_fn(|r| {
                            self.space.scores.as_mut_ptr().wrapping_add(at + r.min(n - 1) * line)
                        });
                        let write = Write { last: LANES, keep: None, by: None };
                        // SAFETY: queries have `size` elements, the panel as many lines; rows of scores are apart.
                        unsafe { product::<V>((n, width), call.size, a, (panel, width * LANES), to, &write) };
                    }
                }
            }
            let span = call.spans[task.batch];
            for (i, row) in rows.clone().enumerate() {
                let (head, query) = task.of(row);
                let own = span.at(query);
                let start = keys.start + held.start;
                let end = own.end.min(keys.end).max(start);
                let own = own.start.clamp(start, end) - start..end - start;
                let bias = call.bias.as_ref().map(|b| {
                    let at = task.batch * b.steps[0] + head * b.steps[1] + query * b.steps[2];
                    let from = start.min(b.keys);
                    let data = &b.data[(at + from * b.steps[3]).min(b.data.len())..];
                    (data, b.steps[3], b.keys - from)
                });
                let scoring = Scoring { scale: call.scale, cap: call.cap, bias };
                let scores = &mut self.space.scores[i * line..][held.clone()];
                keep[i] = shares::<V>(scores, own, &scoring, &mut self.space.states[first + i]);
            }
        }
        let depth = held.end.min(keys.len()) - held.start;
        let wide = call.value_size.next_multiple_of(LANES);
        for start in rows.clone().step_by(ROWS) {
            let n = ROWS.min(rows.end - start);
            let own = |r: usize| start - rows.start + r.min(n - 1);
            let a: [*const f32; ROWS] =
                std::array::from_fn(|r| self.space.scores.as_ptr().wrapping_add(own(r) * line + held.start));
            let by: [f32; ROWS] = std::array::from_fn(|r| norm(self.space.states[first + own(r)]));
            let keep: [f32; ROWS] = std::array::from_fn(|r| keep[own(r)]);
            for (from, width) in panels::<V>(call.value_size.div_ceil(LANES)) {
                let column = from * LANES;
                let mut to = [std::ptr::null_mut(); ROWS];
                let write = match only {
                    true => {
                        let last = (call.value_size - column).min(width * LANES) - (width - 1) * LANES;
                        for (r, to) in to.iter_mut().enumerate().take(n) {
                            // SAFETY: rows of the output do not overlap, and each belongs to one task.
                            let row = unsafe { task.out.piece(task.place(start + r), call.value_size) };
                            *to = row[column..].as_mut_ptr();
                        }
                        Write { last, keep: None, by: Some(&by) }
                    }
                    false => {
                        for (r, to) in to.iter_mut().enumerate().take(n) {
                            *to = self.space.sums[(first + own(r)) * wide + column..].as_mut_ptr();
                        }
                        Write { last: LANES, keep: (!new).then_some(&keep), by: None }
                    }
                };
                let b = values.0.wrapping_add(held.start * values.1 + column);
                // SAFETY: rows of scores hold `depth` shares behind the first that is held, and there are as many rows
                // of values; places of the output are apart.
                unsafe { product::<V>((n, width), depth, a, (b, values.1), to, &write) };
            }
        }
    }

    /// Products of a few rows with the keys as they lie.
    #[inline(always)]
    fn dots<V: Vector>(&mut self, rows: Range<usize>, keys: &Range<usize>, line: usize) {
        const TOGETHER: usize = 4;
        let call = self.task.call;
        let (size, key) = (call.size, &call.key);
        let start = self.task.batch * key.batch + self.task.kv_head * key.head + keys.start * key.row;
        for (group, from) in (0..keys.len()).step_by(TOGETHER).enumerate() {
            debug_assert_eq!(group * TOGETHER, from);
            let n = TOGETHER.min(keys.len() - from);
            let lines: [&[f32]; TOGETHER] =
                std::array::from_fn(|j| &key.data[start + (from + j.min(n - 1)) * key.row..][..size]);
            for (i, row) in rows.clone().enumerate() {
                let query = self.task.query(row);
                let mut sums = [V::zero(); TOGETHER];
                let mut element = 0;
                while element + LANES <= size {
                    // SAFETY: a query and a key have `size` elements.
                    unsafe {
                        let q = V::load(query.add(element));
                        for (sum, line) in sums.iter_mut().zip(lines) {
                            *sum = q.mul_add(V::load(line.as_ptr().add(element)), *sum);
                        }
                    }
                    element += LANES;
                }
                if element < size {
                    // SAFETY: as above.
                    let q = unsafe { V::load_first(query.add(element), size - element) };
                    for (sum, line) in sums.iter_mut().zip(lines) {
                        *sum = q.mul_add(V::of(&line[element..]), *sum);
                    }
                }
                let to = &mut self.space.scores[i * line + from..][..n];
                for (to, sum) in to.iter_mut().zip(sums) {
                    *to = sum.sum();
                }
            }
        }
    }
}

/// How a tile of sums is written.
struct Write<'a> {
    /// Lanes of the last vector.
    last: usize,
    /// Factors of what is there, which is added.
    keep: Option<&'a [f32; ROWS]>,
    /// Factors of the sums.
    by: Option<&'a [f32; ROWS]>,
}

/// A tile of rows and vectors.
///
/// # Safety
/// Rows of `a` have `depth` elements, the right side as many lines, and `to` can be written.
#[inline(always)]
unsafe fn product<V: Vector>(
    (rows, vectors): (usize, usize),
    depth: usize,
    a: [*const f32; ROWS],
    b: (*const f32, usize),
    to: [*mut f32; ROWS],
    write: &Write<'_>,
) {
    macro_rules! sizes {
        ($($r:literal)*) => {
            match (rows, vectors) {
                $(
                    // SAFETY: the caller's promise.
                    ($r, 1) => unsafe { of_size::<V, $r, 1>(depth, a, b, to, write) },
                    // SAFETY: the caller's promise.
                    ($r, 2) if V::TILE.1 > 1 => unsafe { of_size::<V, $r, 2>(depth, a, b, to, write) },
                    // SAFETY: the caller's promise.
                    ($r, 3) if V::TILE.1 > 1 => unsafe { of_size::<V, $r, 3>(depth, a, b, to, write) },
                    // SAFETY: the caller's promise.
                    ($r, 4) if V::TILE.1 > 1 => unsafe { of_size::<V, $r, 4>(depth, a, b, to, write) },
                )*
                _ => debug_assert!(false, "a tile of {rows} x {vectors}"),
            }
        };
    }
    sizes!(1 2 3 4 5 6);
}

/// # Safety
/// As [`product`].
#[inline(always)]
unsafe fn of_size<V: Vector, const R: usize, const C: usize>(
    depth: usize,
    a: [*const f32; ROWS],
    (b, step): (*const f32, usize),
    to: [*mut f32; ROWS],
    write: &Write<'_>,
) {
    let a: [*const f32; R] = std::array::from_fn(|r| a[r]);
    // SAFETY: the caller's promise.
    unsafe {
        let sums = match R {
            1 => tile::<V, R, C, 2>(depth, a, b, step),
            _ => tile::<V, R, C, 1>(depth, a, b, step),
        };
        for (r, sums) in sums.into_iter().enumerate() {
            for (c, mut v) in sums.into_iter().enumerate() {
                let to = to[r].add(c * LANES);
                if let Some(by) = write.by {
                    v = v.mul(V::splat(by[r]));
                }
                if let Some(keep) = write.keep {
                    v = V::load(to).mul_add(V::splat(keep[r]), v);
                }
                match c + 1 == C && write.last < LANES {
                    true => v.store_first(to, write.last),
                    false => v.store(to),
                }
            }
        }
    }
}
