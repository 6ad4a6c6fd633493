//! Scaled dot-product attention, a tile of query rows at a time: no more than a tile of scores ever stands in
//! memory, unless the caller wants all of them.
//!
//! A tile holds the scores of its rows for every key that they may see, rather than folding blocks of keys into a
//! running softmax: each row is then normalised in the very steps of the operator's definition, which narrow types
//! round after, and the few rows of a tile keep it in the cache all the same.

use crate::gemm::{Matrix, Target, block_product};
use crate::lanes::vectorized;
use crate::scratch::with_scratch;
use crate::softmax::{row_max, row_sum};
use crate::{KernelError, Number, Real, Scalar};
use half::{bf16, f16};
use oxidane_pool::{Cells, Pool};
use oxidane_tensor::DType;
use std::sync::atomic::{AtomicBool, Ordering};

/// A float that attention is computed in: `f32` or `f64`.
pub trait Compute: Scalar + Real {}
impl Compute for f32 {}
impl Compute for f64 {}

/// Rows of numbers by batch, head and position: row `s` of head `h` in batch `b` starts at
/// `b * batch + h * head + s * row`, and its elements lie side by side.
#[derive(Clone, Copy, Debug)]
pub struct Heads<'a, T> {
    /// The elements.
    pub data: &'a [T],
    /// From one batch to the next.
    pub batch: usize,
    /// From one head to the next.
    pub head: usize,
    /// From one position to the next.
    pub row: usize,
}

/// What is added to the scores: element `(b, h, q, k)` is at the sum of index times step; a step of 0 repeats.
#[derive(Clone, Copy, Debug)]
pub struct Bias<'a, T> {
    /// The elements.
    pub data: &'a [T],
    /// The steps of batch, head, query and key.
    pub steps: [usize; 4],
    /// How many keys it covers; those beyond are masked.
    pub keys: usize,
}

/// What the caller wants to see of the scores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scores {
    /// The scaled products of queries and keys.
    Products,
    /// After the soft cap.
    Capped,
    /// With the mask added.
    Masked,
    /// After the softmax.
    Probabilities,
}

/// One call.
#[derive(Clone, Copy, Debug)]
pub struct Attention<'a, T> {
    /// How many batches.
    pub batches: usize,
    /// How many heads of queries.
    pub heads: usize,
    /// How many heads of keys and values, each shared by `heads / kv_heads` consecutive heads of queries.
    pub kv_heads: usize,
    /// How many queries.
    pub queries: usize,
    /// How many keys.
    pub keys: usize,
    /// Elements of a query and of a key.
    pub size: usize,
    /// Elements of a value.
    pub value_size: usize,
    /// The queries.
    pub query: Heads<'a, T>,
    /// The keys.
    pub key: Heads<'a, T>,
    /// The values.
    pub value: Heads<'a, T>,
    /// Factor of the scores.
    pub scale: T,
    /// Scores pass through `cap * tanh(score / cap)` where it is positive.
    pub cap: T,
    /// The mask.
    pub bias: Option<Bias<'a, T>>,
    /// For each batch, the keys that each query may see.
    pub spans: &'a [Span],
    /// The type that scores, probabilities and results are rounded to.
    pub dtype: DType,
    /// The type that the softmax rounds to.
    pub softmax: DType,
}

/// The keys that query `i` of a batch may see: from `i + first` on, before `i + end`, before `valid`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Where the first query starts; `None` sees everything before.
    pub first: Option<i64>,
    /// Where the first query ends; `None` sees everything behind.
    pub end: Option<i64>,
    /// How many keys there are in this batch.
    pub valid: usize,
}

impl Span {
    /// The keys of query `i`.
    fn at(&self, i: usize) -> std::ops::Range<usize> {
        let place = |edge: i64| usize::try_from(edge.saturating_add_unsigned(i as u64)).unwrap_or(0);
        let end = self.end.map_or(self.valid, |e| place(e).min(self.valid));
        let first = self.first.map_or(0, |f| place(f).min(end));
        first..end
    }
}

/// Rounds a row to a narrower type; `None` where the type is as wide as `T`.
fn rounder<T: Compute>(dtype: DType) -> Option<fn(&mut [T])> {
    fn each<T: Compute>(row: &mut [T], round: impl Fn(f32) -> f32) {
        for v in row {
            *v = T::of(f64::from(round(v.to_f64() as f32)));
        }
    }
    match dtype {
        DType::F16 => Some(|row| each(row, |v| f16::narrow(v).wide())),
        DType::BF16 => Some(|row| each(row, |v| bf16::narrow(v).wide())),
        DType::F32 if size_of::<T>() > 4 => Some(|row| each(row, |v| v)),
        _ => None,
    }
}

/// Elements of scores in a tile, unless a single row has more.
const TILE: usize = 128 * 1024;
/// Rows of a tile at most and, where there are so many, at least.
const ROWS: (usize, usize) = (64, 4);

/// Computes attention into `out`, laid out as `placed` says; `scores` takes what is wanted of the scores, as
/// `[batch, head, query, key]`. Rows that see no key are zero. `go_on` is asked before each tile, and the rest is
/// skipped once it says no.
///
/// # Errors
/// When slices are too short for the sizes, or heads do not divide.
pub fn attention<T: Compute>(
    pool: &Pool,
    call: &Attention<'_, T>,
    out: &mut [T],
    placed: (usize, usize, usize),
    scores: Option<(Scores, &mut [T])>,
    go_on: &(dyn Fn() -> bool + Sync),
) -> Result<(), KernelError> {
    call.check(out.len(), placed, scores.as_ref().map(|s| s.1.len()))?;
    // Without values the keys may be of any number: there is nothing to do for them, unless scores are wanted.
    let nothing = call.value_size == 0 && scores.is_none();
    if call.batches == 0 || call.heads == 0 || call.queries == 0 || nothing {
        return Ok(());
    }
    let rows = (TILE / call.keys.max(1)).clamp(ROWS.1, ROWS.0).min(call.queries);
    let tiles = call.queries.div_ceil(rows);
    let cells = Cells::new(out);
    let (kind, seen) = match scores {
        Some((kind, slice)) => (Some(kind), Cells::new(slice)),
        None => (None, Cells::new(&mut [])),
    };
    let stopped = AtomicBool::new(false);
    pool.for_each(call.batches * call.heads * tiles, &|task| {
        if stopped.load(Ordering::Relaxed) || !go_on() {
            stopped.store(true, Ordering::Relaxed);
            return;
        }
        let (pair, tile) = (task / tiles, task % tiles);
        let place = (pair / call.heads, pair % call.heads, tile * rows, rows.min(call.queries - tile * rows));
        call.tile(place, (&cells, placed), kind.map(|kind| (kind, &seen)));
    });
    Ok(())
}

impl<T: Compute> Attention<'_, T> {
    fn check(
        &self,
        out: usize,
        placed: (usize, usize, usize),
        scores: Option<usize>,
    ) -> Result<(), KernelError> {
        let fault = |what: &str| Err(KernelError::Shape(format!("attention: {what}")));
        if self.kv_heads == 0 && self.heads > 0
            || self.kv_heads > 0 && !self.heads.is_multiple_of(self.kv_heads)
        {
            return fault(&format!(
                "{} heads of queries do not divide among {} of keys",
                self.heads, self.kv_heads
            ));
        }
        if self.spans.len() != self.batches || self.spans.iter().any(|s| s.valid > self.keys) {
            return fault("the spans of keys do not fit");
        }
        let reaches = |[a, b, c, d]: [usize; 4], steps: [usize; 4], len: usize| {
            let sizes = [a, b, c, d];
            if sizes.contains(&0) {
                return true;
            }
            let last = sizes
                .iter()
                .zip(steps)
                .try_fold(0usize, |sum, (&size, step)| sum.checked_add((size - 1).checked_mul(step)?));
            last.is_some_and(|last| last < len)
        };
        let heads = |h: &Heads<'_, T>, count, rows, size| {
            reaches([self.batches, count, rows, size], [h.batch, h.head, h.row, 1], h.data.len())
        };
        let fits = heads(&self.query, self.heads, self.queries, self.size)
            && heads(&self.key, self.kv_heads, self.keys, self.size)
            && heads(&self.value, self.kv_heads, self.keys, self.value_size)
            && self.bias.is_none_or(|b| {
                let sizes = [self.batches, self.heads, self.queries, b.keys];
                b.keys <= self.keys && reaches(sizes, b.steps, b.data.len())
            });
        let (batch, head, row) = placed;
        let sizes = [self.batches, self.heads, self.queries, self.value_size];
        if !fits || !reaches(sizes, [batch, head, row, 1], out) {
            return fault("a slice is shorter than its sizes say");
        }
        // Tiles write in parallel: no two rows of the output may meet.
        let mut steps = [(row, self.queries), (head, self.heads), (batch, self.batches)];
        steps.sort_unstable();
        let mut reach = self.value_size;
        for (step, size) in steps.into_iter().filter(|s| s.1 > 1) {
            if step < reach {
                return fault("rows of the output overlap");
            }
            reach = reach.saturating_add((size - 1).saturating_mul(step));
        }
        let all = [self.batches, self.heads, self.queries, self.keys];
        let count = all.iter().try_fold(1usize, |n, &size| n.checked_mul(size));
        if scores.is_some_and(|len| Some(len) != count) {
            return fault("the output for scores has another size");
        }
        Ok(())
    }

    /// The rows from `from` on of one head.
    fn tile(
        &self,
        (batch, head, from, rows): (usize, usize, usize, usize),
        (out, placed): (&Cells<'_, T>, (usize, usize, usize)),
        seen: Option<(Scores, &Cells<'_, T>)>,
    ) {
        let span = self.spans[batch];
        // Both ends of the spans only grow from row to row.
        let keys = match seen {
            Some(_) => 0..self.keys,
            None => span.at(from).start..span.at(from + rows - 1).end,
        };
        let width = keys.len();
        let kv = head / (self.heads / self.kv_heads);
        let start = batch * placed.0 + head * placed.1 + from * placed.2;
        let clear = || {
            for i in 0..rows {
                // SAFETY: rows of the output do not overlap, and each belongs to one tile.
                unsafe { out.piece(start + i * placed.2, self.value_size) }.fill(<T as Number>::ZERO);
            }
        };
        if width == 0 {
            clear();
            return;
        }
        let round = rounder::<T>(self.dtype);
        with_scratch(rows * (width + self.size), |scratch: &mut [T]| {
            let (scores, queries) = scratch.split_at_mut(rows * width);
            let first = batch * self.query.batch + head * self.query.head + from * self.query.row;
            for (i, to) in queries.chunks_exact_mut(self.size.max(1)).enumerate() {
                let at = first + i * self.query.row;
                for (to, &v) in to.iter_mut().zip(&self.query.data[at..at + self.size]) {
                    *to = Number::times(v, self.scale);
                }
            }
            let at = batch * self.key.batch + kv * self.key.head + keys.start * self.key.row;
            let key_data = self.key.data.get(at..).unwrap_or(&[]);
            let at = batch * self.value.batch + kv * self.value.head + keys.start * self.value.row;
            let value_data = self.value.data.get(at..).unwrap_or(&[]);
            let (Ok(q), Ok(k), Ok(v)) = (
                Matrix::new(queries, rows, self.size, self.size, 1),
                Matrix::new(key_data, width, self.size, self.key.row, 1),
                Matrix::new(value_data, width, self.value_size, self.value.row, 1),
            ) else {
                // The sizes were checked against the slices before.
                return clear();
            };
            {
                let cells = Cells::new(&mut *scores);
                let target = Target { cells: &cells, at: 0, row_step: width };
                // SAFETY: the scratch is this tile's own and has `rows` x `width` elements.
                unsafe { block_product(<T as Scalar>::ONE, q, k.transposed(), false, &target) };
            }
            for (i, row) in scores.chunks_exact_mut(width).enumerate() {
                let shown = seen.map(|(kind, cells)| {
                    let at = ((batch * self.heads + head) * self.queries + from + i) * self.keys;
                    // SAFETY: each row of the scores belongs to one tile.
                    (kind, unsafe { cells.piece(at, width) })
                });
                vectorized(|| self.row((batch, head, from + i), keys.start, span.at(from + i), row, shown));
            }
            if let Ok(p) = Matrix::new(&*scores, rows, width, width, 1) {
                let target = Target { cells: out, at: start, row_step: placed.2 };
                // SAFETY: rows of the output do not overlap, each belongs to one tile, and the sizes were checked.
                unsafe { block_product(<T as Scalar>::ONE, p, v, false, &target) };
                if let Some(round) = round {
                    for i in 0..rows {
                        // SAFETY: as above, and the product is done.
                        round(unsafe { out.piece(start + i * placed.2, self.value_size) });
                    }
                }
            }
        });
    }

    /// Makes probabilities of a row of products, which start at key `start`.
    #[inline(always)]
    fn row(
        &self,
        (batch, head, query): (usize, usize, usize),
        start: usize,
        visible: std::ops::Range<usize>,
        row: &mut [T],
        mut shown: Option<(Scores, &mut [T])>,
    ) {
        let low = <T as Number>::LOWEST;
        let zero = <T as Number>::ZERO;
        let round = |row: &mut [T]| {
            if let Some(round) = rounder::<T>(self.dtype) {
                round(row);
            }
        };
        let mut show = |stage: Scores, row: &[T]| {
            if let Some((kind, to)) = &mut shown
                && *kind == stage
            {
                to.copy_from_slice(row);
            }
        };
        round(row);
        show(Scores::Products, row);
        if self.cap > zero {
            row.iter_mut().for_each(|v| *v = Number::over(*v, self.cap));
            round(row);
            row.iter_mut().for_each(|v| *v = v.tanh());
            round(row);
            row.iter_mut().for_each(|v| *v = Number::times(*v, self.cap));
            round(row);
        }
        show(Scores::Capped, row);
        // Whether any key is left: decided by what is added, for scores may be anything.
        let inside = visible.start.max(start) - start..visible.end.max(start) - start;
        let mut any = !inside.is_empty();
        if let Some(bias) = &self.bias {
            let at = batch * bias.steps[0] + head * bias.steps[1] + query * bias.steps[2];
            let covered = bias.keys.saturating_sub(start).min(row.len());
            let mut top = low;
            if bias.steps[3] == 1 {
                let from = &bias.data[at + start.min(bias.keys)..][..covered];
                for (i, (v, &b)) in row.iter_mut().zip(from).enumerate() {
                    *v = Number::plus(*v, b);
                    if inside.contains(&i) {
                        top = top.larger(b);
                    }
                }
            } else {
                for (i, v) in row[..covered].iter_mut().enumerate() {
                    let b = bias.data[at + (start + i) * bias.steps[3]];
                    *v = Number::plus(*v, b);
                    if inside.contains(&i) {
                        top = top.larger(b);
                    }
                }
            }
            row[covered..].fill(low);
            any &= top != low;
            round(row);
        }
        let end = inside.end.min(row.len());
        row[..inside.start.min(end)].fill(low);
        row[end..].fill(low);
        show(Scores::Masked, row);
        if !any {
            row.fill(zero);
            show(Scores::Probabilities, row);
            return;
        }
        self.softmax(&mut row[inside]);
        let edge = row.len();
        row[..visible.start.max(start) - start].fill(zero);
        row[end..edge].fill(zero);
        round(row);
        show(Scores::Probabilities, row);
    }

    #[inline(always)]
    fn softmax(&self, row: &mut [T]) {
        let round = |row: &mut [T]| {
            if let Some(round) = rounder::<T>(self.softmax) {
                round(row);
            }
        };
        round(row);
        // Scores that are all minus infinity have no largest one to take away; they share nothing.
        let top = row_max(row);
        let top = if top == <T as Number>::LOWEST { <T as Number>::ZERO } else { top };
        row.iter_mut().for_each(|v| *v = Number::minus(*v, top));
        round(row);
        row.iter_mut().for_each(|v| *v = v.exp());
        round(row);
        let mut sum = [row_sum(row, |v| v)];
        round(&mut sum);
        if sum[0] != <T as Number>::ZERO {
            row.iter_mut().for_each(|v| *v = Number::over(*v, sum[0]));
        }
        round(row);
    }
}

/// Multiplies by a factor, each product rounded to `dtype`.
pub fn scale<T: Compute>(values: &mut [T], factor: T, dtype: DType) {
    values.iter_mut().for_each(|v| *v = Number::times(*v, factor));
    if let Some(round) = rounder::<T>(dtype) {
        round(values);
    }
}
