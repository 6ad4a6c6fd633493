//! Scaled dot-product attention, a tile of query rows at a time: no more than a tile of scores ever stands in
//! memory, unless the caller wants all of them.
//!
//! `f32` goes by vectors, blocks of keys at a time ([`blocks`]); types that round each step, and callers that want to
//! see the scores, by rows as the operator's definition has them ([`plain`]).

mod blocks;
mod plain;
mod shares;

use crate::{KernelError, Real, Scalar};
use oxidane_pool::{Cells, Pool};
use oxidane_tensor::DType;
use std::sync::atomic::{AtomicBool, Ordering};

pub use plain::scale;

/// A float that attention is computed in: `f32` or `f64`.
pub trait Compute: Scalar + Real {
    /// Computes a call by vectors, where the type has them: see [`attention`].
    #[doc(hidden)]
    fn by_vectors(_: &Pool, _: &Attention<'_, Self>, _: &Cells<'_, Self>, _: Placed, _: &GoOn<'_>) -> bool {
        false
    }
}

impl Compute for f32 {
    fn by_vectors(
        pool: &Pool,
        call: &Attention<'_, f32>,
        out: &Cells<'_, f32>,
        placed: Placed,
        go_on: &GoOn<'_>,
    ) -> bool {
        let some = call.size > 0 && call.value_size > 0 && call.keys > 0;
        if some {
            blocks::run(pool, call, out, placed, go_on);
        }
        some
    }
}

impl Compute for f64 {}

/// From one batch of the output to the next, from head to head, and from row to row.
pub type Placed = (usize, usize, usize);

/// Says whether to go on.
pub type GoOn<'a> = dyn Fn() -> bool + Sync + 'a;

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
    placed: Placed,
    scores: Option<(Scores, &mut [T])>,
    go_on: &GoOn<'_>,
) -> Result<(), KernelError> {
    call.check(out.len(), placed, scores.as_ref().map(|s| s.1.len()))?;
    // Without values the keys may be of any number: there is nothing to do for them, unless scores are wanted.
    let nothing = call.value_size == 0 && scores.is_none();
    if call.batches == 0 || call.heads == 0 || call.queries == 0 || nothing {
        return Ok(());
    }
    let whole = call.dtype == T::DTYPE && call.softmax == T::DTYPE;
    if whole && scores.is_none() && T::by_vectors(pool, call, &Cells::new(&mut *out), placed, go_on) {
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
    fn check(&self, out: usize, placed: Placed, scores: Option<usize>) -> Result<(), KernelError> {
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
}

#[cfg(test)]
mod tests;
