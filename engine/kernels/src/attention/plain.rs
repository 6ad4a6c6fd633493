//! Attention by rows: each is normalised in the very steps of the operator's definition, which narrow types round
//! after. A tile holds the scores of its rows for every key that they may see.

use super::{Attention, Compute, Placed, Scores};
use crate::gemm::{Matrix, Target, block_product};
use crate::lanes::vectorized;
use crate::scratch::with_scratch;
use crate::softmax::{row_max, row_sum};
use crate::{Number, Scalar};
use half::{bf16, f16};
use oxidane_pool::Cells;
use oxidane_tensor::DType;

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

impl<T: Compute> Attention<'_, T> {
    /// The rows from `from` on of one head.
    pub(super) fn tile(
        &self,
        (batch, head, from, rows): (usize, usize, usize, usize),
        (out, placed): (&Cells<'_, T>, Placed),
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
