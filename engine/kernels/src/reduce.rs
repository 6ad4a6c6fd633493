//! Reductions over any set of axes.
//!
//! Long sums run in sixteen lanes over short blocks whose results are added in a fixed order, so that errors
//! stay small and the bits do not depend on the number of threads.

use crate::error::check_len;
use crate::lanes::CHUNK;
use crate::number::{BLOCK, vectorized_for};
use crate::scratch::with_scratch;
use crate::{Function, KernelError, Number, Operand, map};
use oxidane_pool::Pool;
use smallvec::SmallVec;
use std::ops::Range;

/// What becomes of the elements that share a place in the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reduction {
    /// The sum; 0 of nothing.
    Sum,
    /// The mean, truncated for integers; NaN (0 for integers) of nothing.
    Mean,
    /// The product; 1 of nothing.
    Prod,
    /// The largest, NaN where one is NaN; minus infinity or the smallest integer of nothing.
    Max,
    /// The smallest, NaN where one is NaN; infinity or the largest integer of nothing.
    Min,
    /// The sum of absolute values.
    L1,
    /// The square root of the sum of squares.
    L2,
    /// The sum of squares.
    SumSquare,
    /// The logarithm of the sum.
    LogSum,
    /// The logarithm of the sum of exponentials, without overflow in between.
    LogSumExp,
}

/// Reduces `input` over `axes` (each below the rank, in any order; none leaves every element alone) into
/// `output`, the other axes in their order. Bools are read as bytes: cut the result of `Min` over nothing to 1.
///
/// # Errors
/// When an axis does not exist or repeats, or a slice is not as long as its shape says.
pub fn reduce<T: Operand>(
    pool: &Pool,
    reduction: Reduction,
    (input, shape): (&[T], &[usize]),
    axes: &[usize],
    output: &mut [T],
) -> Result<(), KernelError> {
    let plan = Plan::new(shape, axes)?;
    check_len("input", input.len(), shape)?;
    check_len("output", output.len(), &plan.output)?;
    if reduction == Reduction::LogSumExp {
        return log_sum_exp(pool, &plan, (input, shape), output);
    }
    plan.run(pool, reduction, input, output);
    Ok(())
}

/// ln of the sum of e^(x - m), plus m, where m is the largest x (0 where that is infinite).
fn log_sum_exp<T: Operand>(
    pool: &Pool,
    plan: &Plan,
    (input, shape): (&[T], &[usize]),
    output: &mut [T],
) -> Result<(), KernelError> {
    if !T::FLOAT {
        let wide: Vec<f64> = input.iter().map(|x| x.to_f64()).collect();
        let mut sums = vec![0f64; output.len()];
        log_sum_exp(pool, plan, (&wide, shape), &mut sums)?;
        output.iter_mut().zip(&sums).for_each(|(y, &s)| *y = T::from_f64(s));
        return Ok(());
    }
    plan.run(pool, Reduction::Max, input, output);
    for y in output.iter_mut() {
        if *y == T::LOWEST || *y == T::HIGHEST {
            *y = T::ZERO;
        }
    }
    let mut powers = vec![T::ZERO; input.len()];
    let out = (&mut powers[..], shape);
    map::binary(pool, map::Binary::Sub, (input, shape), (&*output, &plan.kept_shape), out)?;
    map::function_in_place(pool, Function::Exp, &mut powers)?;
    let mut sums = vec![T::ZERO; output.len()];
    plan.run(pool, Reduction::LogSum, &powers, &mut sums);
    output.iter_mut().zip(&sums).for_each(|(y, &s)| *y = y.plus(s));
    Ok(())
}

/// The loops of a reduction in the type that it is computed in. Both take rows that begin every so many elements.
struct Steps<W> {
    /// Adds up every row, of this length, and puts what it comes to onto the sum in its place.
    rows: fn(&mut [W], &[W], usize, usize),
    /// Adds each element of every row onto the sum in its place.
    columns: fn(&mut [W], &[W], usize),
    /// As `columns`, of sums.
    sums: fn(&mut [W], &[W], usize),
}

impl<W: Number> Steps<W> {
    fn of(reduction: Reduction) -> Steps<W> {
        match reduction {
            Reduction::Sum | Reduction::Mean | Reduction::LogSum | Reduction::LogSumExp => Steps {
                rows: |to, x, step, length| rows(to, x, step, length, W::ZERO, |x| x, W::plus),
                columns: |to, x, step| columns(to, x, step, |x| x, W::plus),
                sums: |to, x, step| columns(to, x, step, |x| x, W::plus),
            },
            Reduction::L1 => Steps {
                rows: |to, x, step, length| rows(to, x, step, length, W::ZERO, W::size, W::plus),
                columns: |to, x, step| columns(to, x, step, W::size, W::plus),
                ..Steps::of(Reduction::Sum)
            },
            Reduction::L2 | Reduction::SumSquare => Steps {
                rows: |to, x, step, length| rows(to, x, step, length, W::ZERO, |x| x.times(x), W::plus),
                columns: |to, x, step| columns(to, x, step, |x| x.times(x), W::plus),
                ..Steps::of(Reduction::Sum)
            },
            Reduction::Prod => Steps {
                rows: |to, x, step, length| rows(to, x, step, length, W::ONE, |x| x, W::times),
                columns: |to, x, step| columns(to, x, step, |x| x, W::times),
                sums: |to, x, step| columns(to, x, step, |x| x, W::times),
            },
            Reduction::Max => Steps {
                rows: |to, x, step, length| rows(to, x, step, length, W::LOWEST, |x| x, W::larger),
                columns: |to, x, step| columns(to, x, step, |x| x, W::larger),
                sums: |to, x, step| columns(to, x, step, |x| x, W::larger),
            },
            Reduction::Min => Steps {
                rows: |to, x, step, length| rows(to, x, step, length, W::HIGHEST, |x| x, W::smaller),
                columns: |to, x, step| columns(to, x, step, |x| x, W::smaller),
                sums: |to, x, step| columns(to, x, step, |x| x, W::smaller),
            },
        }
    }
}

#[inline(always)]
fn rows<W: Number>(
    sums: &mut [W],
    x: &[W],
    step: usize,
    length: usize,
    identity: W,
    map: impl Fn(W) -> W,
    combine: impl Fn(W, W) -> W,
) {
    const LANES: usize = 16;
    vectorized_for::<W, _>(|| {
        for (sum, row) in sums.iter_mut().zip(x.chunks(step)) {
            let mut total = identity;
            for block in row[..length].chunks(BLOCK) {
                let mut lanes = [identity; LANES];
                let (whole, rest) = block.as_chunks::<LANES>();
                for group in whole {
                    for (lane, &x) in lanes.iter_mut().zip(group) {
                        *lane = combine(*lane, map(x));
                    }
                }
                for (lane, &x) in lanes.iter_mut().zip(rest) {
                    *lane = combine(*lane, map(x));
                }
                let mut width = LANES / 2;
                while width > 0 {
                    for i in 0..width {
                        lanes[i] = combine(lanes[i], lanes[i + width]);
                    }
                    width /= 2;
                }
                total = combine(total, lanes[0]);
            }
            *sum = combine(*sum, total);
        }
    });
}

#[inline(always)]
fn columns<W: Number>(
    sums: &mut [W],
    x: &[W],
    step: usize,
    map: impl Fn(W) -> W,
    combine: impl Fn(W, W) -> W,
) {
    vectorized_for::<W, _>(|| {
        for row in x.chunks(step) {
            for (s, &x) in sums.iter_mut().zip(row) {
                *s = combine(*s, map(x));
            }
        }
    });
}

/// The result of nothing, in the type that is computed in.
fn identity<T: Number>(reduction: Reduction) -> T::Wide {
    match reduction {
        Reduction::Prod => T::ONE,
        Reduction::Max => T::LOWEST,
        Reduction::Min => T::HIGHEST,
        _ => T::ZERO,
    }
    .wide()
}

/// Makes results of the sums.
fn finish<T: Number>(reduction: Reduction, count: usize, sums: &[T::Wide], output: &mut [T]) {
    let results = output.iter_mut().zip(sums);
    match reduction {
        Reduction::Mean => {
            let count = T::Wide::from_f64(count as f64);
            results.for_each(|(y, s)| *y = T::narrow(s.over(count)));
        }
        // To the type itself, so that infinity is cut to its range.
        Reduction::L2 => results.for_each(|(y, s)| *y = T::from_f64(s.to_f64().sqrt())),
        Reduction::LogSum => results.for_each(|(y, s)| *y = T::from_f64(s.to_f64().ln())),
        _ => results.for_each(|(y, &s)| *y = T::narrow(s)),
    }
}

/// How the elements of a shape meet in those of its reduction.
struct Plan {
    /// The sizes of the axes that stay.
    output: SmallVec<[usize; 6]>,
    /// The input's shape with 1 at the reduced axes.
    kept_shape: SmallVec<[usize; 6]>,
    /// Sizes of the kept dimensions, merged, then where they lead to in the input.
    kept: SmallVec<[(usize, usize); 6]>,
    /// As `kept`, of the reduced dimensions.
    reduced: SmallVec<[(usize, usize); 6]>,
    /// Whether the innermost dimension is a reduced one.
    rows: bool,
    reduced_count: usize,
}

impl Plan {
    fn new(shape: &[usize], axes: &[usize]) -> Result<Plan, KernelError> {
        let mut is_reduced: SmallVec<[bool; 6]> = SmallVec::from_elem(false, shape.len());
        for &axis in axes {
            match is_reduced.get_mut(axis) {
                Some(seen) if !*seen => *seen = true,
                Some(_) => {
                    return Err(KernelError::Shape(format!("axis {axis} is reduced twice in {axes:?}")));
                }
                None => {
                    return Err(KernelError::Shape(format!("axis {axis} does not exist in shape {shape:?}")));
                }
            }
        }
        oxidane_tensor::element_count(shape)?;
        let mut merged: SmallVec<[(usize, usize, bool); 6]> = SmallVec::new();
        let mut stride = 1usize;
        for (&size, &reduced) in shape.iter().zip(&is_reduced).rev() {
            match merged.last_mut() {
                _ if size == 1 => {}
                Some(inner) if inner.2 == reduced => inner.0 = inner.0.saturating_mul(size),
                _ => merged.push((size, stride, reduced)),
            }
            stride = stride.saturating_mul(size);
        }
        let side = |which: bool| -> SmallVec<[(usize, usize); 6]> {
            merged.iter().rev().filter(|d| d.2 == which).map(|d| (d.0, d.1)).collect()
        };
        Ok(Plan {
            output: shape.iter().zip(&is_reduced).filter(|(_, r)| !**r).map(|(&s, _)| s).collect(),
            kept_shape: shape.iter().zip(&is_reduced).map(|(&s, &r)| if r { 1 } else { s }).collect(),
            rows: merged.first().is_some_and(|d| d.2),
            reduced_count: shape
                .iter()
                .zip(&is_reduced)
                .filter(|(_, r)| **r)
                .map(|(&s, _)| s)
                .fold(1, usize::saturating_mul),
            kept: side(false),
            reduced: side(true),
        })
    }

    fn run<T: Number>(&self, pool: &Pool, reduction: Reduction, input: &[T], output: &mut [T]) {
        if output.is_empty() {
            return;
        }
        let identity = identity::<T>(reduction);
        if self.reduced_count == 0 {
            return with_scratch(output.len(), |sums: &mut [T::Wide]| {
                sums.fill(identity);
                finish(reduction, 0, sums, output);
            });
        }
        // Reduced positions are cut into groups where the output alone gives too little to share out.
        let work = output.len().saturating_mul(self.reduced_count);
        let groups = if output.len() < 1024 { (work / (4 * CHUNK)).clamp(1, 64) } else { 1 };
        let per_group = self.reduced_count.div_ceil(groups);
        let groups = self.reduced_count.div_ceil(per_group);
        let steps = Steps::<T::Wide>::of(reduction);
        let part = |first: usize, group: usize, sums: &mut [T::Wide]| {
            let from = group * per_group;
            let range = from..self.reduced_count.min(from + per_group);
            self.reduce(input, first, range, sums, identity, &steps);
        };
        if groups == 1 {
            let size = (CHUNK / self.reduced_count.min(CHUNK)).max(if self.rows { 1 } else { 64 });
            pool.for_each_piece(output, size, |i, piece| {
                with_scratch(piece.len(), |sums: &mut [T::Wide]| {
                    sums.fill(identity);
                    part(i * size, 0, sums);
                    finish(reduction, self.reduced_count, sums, piece);
                });
            });
            return;
        }
        with_scratch(groups * output.len(), |sums: &mut [T::Wide]| {
            sums.fill(identity);
            pool.for_each_piece(sums, output.len(), |group, sums| part(0, group, sums));
            let (total, others) = sums.split_at_mut(output.len());
            (steps.sums)(total, others, output.len());
            finish(reduction, self.reduced_count, total, output);
        });
    }

    /// Reduces a range of the reduced positions onto the sums from `first` on.
    fn reduce<T: Number>(
        &self,
        input: &[T],
        first: usize,
        range: Range<usize>,
        sums: &mut [T::Wide],
        identity: T::Wide,
        steps: &Steps<T::Wide>,
    ) {
        // What reaches beyond the input is the step of a dimension that is not there.
        let (&(width, across), outer) = self.kept.split_last().unwrap_or((&(1, input.len()), &[]));
        let (&(height, down), tall) = self.reduced.split_last().unwrap_or((&(1, input.len()), &[]));
        // Columns are added up over so many rows before their sum goes to the total.
        let (columns, rows) = if self.rows { (usize::MAX, self.reduced_count) } else { (BLOCK, 128) };
        let widest = if self.rows { 0 } else { sums.len().min(columns) };
        with_scratch(widest, |partial: &mut [T::Wide]| {
            let mut done = 0;
            while done < sums.len() {
                let (row, start) = ((first + done) / width, (first + done) % width);
                let n = (width - start).min(sums.len() - done).min(columns);
                let base = position(outer, row) + start * across;
                let total = &mut sums[done..done + n];
                let partial = &mut partial[..n.min(widest)];
                for block in range.clone().step_by(rows) {
                    partial.fill(identity);
                    let (mut at, end) = (block, range.end.min(block.saturating_add(rows)));
                    while at < end {
                        let (row, start) = (at / height, at % height);
                        let count = (height - start).min(end - at);
                        let begin = base + position(tall, row) + start * down;
                        let x = &input[begin..][..(n - 1) * across + (count - 1) * down + 1];
                        if self.rows {
                            reduce_rows(steps, total, x, across, count);
                        } else {
                            reduce_columns(steps, partial, x, down);
                        }
                        at += count;
                    }
                    (steps.sums)(total, partial, n);
                }
                done += n;
            }
        });
    }
}

/// [`Steps::rows`] of elements of any type.
fn reduce_rows<T: Number>(steps: &Steps<T::Wide>, sums: &mut [T::Wide], x: &[T], step: usize, length: usize) {
    if let Some(x) = T::as_wide(x) {
        return (steps.rows)(sums, x, step, length);
    }
    let mut wide = [T::Wide::ZERO; BLOCK];
    for (sum, row) in sums.iter_mut().zip(x.chunks(step)) {
        for block in row[..length].chunks(BLOCK) {
            let wide = &mut wide[..block.len()];
            T::wide_row(block, wide);
            (steps.rows)(std::slice::from_mut(sum), wide, block.len(), block.len());
        }
    }
}

/// [`Steps::columns`] of elements of any type, at most [`BLOCK`] a row.
fn reduce_columns<T: Number>(steps: &Steps<T::Wide>, sums: &mut [T::Wide], x: &[T], step: usize) {
    if let Some(x) = T::as_wide(x) {
        return (steps.columns)(sums, x, step);
    }
    let wide = &mut [T::Wide::ZERO; BLOCK][..sums.len()];
    for row in x.chunks(step) {
        T::wide_row(row, wide);
        (steps.columns)(sums, wide, step);
    }
}

/// Where the `index`-th position over these (size, step) dimensions lies.
fn position(dims: &[(usize, usize)], mut index: usize) -> usize {
    let mut at = 0;
    for &(size, step) in dims.iter().rev() {
        at += (index % size) * step;
        index /= size;
    }
    at
}
