//! Reductions over any set of axes.
//!
//! Long sums run in sixteen lanes over short blocks whose results are added in a fixed order, so that errors
//! stay small and the bits do not depend on the number of threads.

use crate::error::check_len;
use crate::lanes::{CHUNK, vectorized};
use crate::{Function, KernelError, Number, Operand, map};
use oxidane_pool::Pool;
use smallvec::SmallVec;

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
    let zero = <T::Wide as Number>::ZERO;
    let one = <T::Wide as Number>::ONE;
    let sum = <T::Wide as Number>::plus;
    let float = |f: fn(f64) -> f64| move |x: T::Wide| <T::Wide as Number>::from_f64(f(x.to_f64()));
    match reduction {
        Reduction::Sum => plan.run(pool, input, output, zero, |x| x, sum, |x| x),
        Reduction::Mean => {
            let count = <T::Wide as Number>::from_f64(plan.reduced_count as f64);
            plan.run(pool, input, output, zero, |x| x, sum, |x| x.over(count));
        }
        Reduction::Prod => plan.run(pool, input, output, one, |x| x, <T::Wide as Number>::times, |x| x),
        Reduction::Max => {
            let lowest = <T::Wide as Number>::LOWEST;
            plan.run(pool, input, output, lowest, |x| x, <T::Wide as Number>::larger, |x| x);
        }
        Reduction::Min => {
            let highest = <T::Wide as Number>::HIGHEST;
            plan.run(pool, input, output, highest, |x| x, <T::Wide as Number>::smaller, |x| x);
        }
        Reduction::L1 => plan.run(pool, input, output, zero, |x| x.size(), sum, |x| x),
        Reduction::L2 => plan.run(pool, input, output, zero, |x| x.times(x), sum, float(f64::sqrt)),
        Reduction::SumSquare => plan.run(pool, input, output, zero, |x| x.times(x), sum, |x| x),
        Reduction::LogSum => plan.run(pool, input, output, zero, |x| x, sum, float(f64::ln)),
        Reduction::LogSumExp => return log_sum_exp(pool, &plan, (input, shape), output),
    }
    Ok(())
}

/// ln of the sum of e^(x - m), plus m, where m is the largest x (0 where that is infinite).
fn log_sum_exp<T: Operand>(
    pool: &Pool,
    plan: &Plan,
    (input, shape): (&[T], &[usize]),
    output: &mut [T],
) -> Result<(), KernelError> {
    let lowest = <T::Wide as Number>::LOWEST;
    plan.run(pool, input, output, lowest, |x| x, <T::Wide as Number>::larger, |x| x);
    for y in output.iter_mut() {
        if T::FLOAT && (*y == T::LOWEST || *y == T::HIGHEST) {
            *y = T::ZERO;
        }
    }
    if !T::FLOAT {
        let mut powers = vec![0f64; input.len()];
        let keys: Vec<f64> = output.iter().map(|y| y.to_f64()).collect();
        map::zip(pool, (input, shape), (&keys, &plan.kept_shape), (&mut powers, shape), |x, m| {
            (x.to_f64() - m).exp()
        })?;
        let mut sums = vec![0f64; output.len()];
        plan.run(pool, &powers, &mut sums, 0.0, |x| x, |a, b| a + b, |x| x);
        for (y, s) in output.iter_mut().zip(&sums) {
            *y = T::from_f64(y.to_f64() + s.ln());
        }
        return Ok(());
    }
    let mut powers = vec![T::ZERO; input.len()];
    let out = (&mut powers[..], shape);
    map::zip(pool, (input, shape), (&*output, &plan.kept_shape), out, T::minus)?;
    map::function_in_place(pool, Function::Exp, &mut powers)?;
    let mut sums = vec![T::ZERO; output.len()];
    let zero = <T::Wide as Number>::ZERO;
    let ln = |x: T::Wide| <T::Wide as Number>::from_f64(x.to_f64().ln());
    plan.run(pool, &powers, &mut sums, zero, |x| x, <T::Wide as Number>::plus, ln);
    for (y, &s) in output.iter_mut().zip(&sums) {
        *y = y.plus(s);
    }
    Ok(())
}

/// How the elements of a shape meet in those of its reduction.
struct Plan {
    /// The sizes of the axes that stay.
    output: SmallVec<[usize; 6]>,
    /// The input's shape with 1 at the reduced axes.
    kept_shape: SmallVec<[usize; 6]>,
    /// Sizes of the kept dimensions, merged, then where they lead to in the input.
    kept: Vec<(usize, usize)>,
    /// As `kept`, of the reduced dimensions.
    reduced: Vec<(usize, usize)>,
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
        let mut merged: Vec<(usize, usize, bool)> = Vec::new();
        let mut stride = 1usize;
        for (&size, &reduced) in shape.iter().zip(&is_reduced).rev() {
            match merged.last_mut() {
                _ if size == 1 => {}
                Some(inner) if inner.2 == reduced => inner.0 = inner.0.saturating_mul(size),
                _ => merged.push((size, stride, reduced)),
            }
            stride = stride.saturating_mul(size);
        }
        let side = |which: bool| -> Vec<(usize, usize)> {
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

    #[allow(clippy::too_many_arguments, reason = "the parts of one reduction")]
    fn run<T: Number>(
        &self,
        pool: &Pool,
        input: &[T],
        output: &mut [T],
        identity: T::Wide,
        map: impl Fn(T::Wide) -> T::Wide + Sync,
        combine: impl Fn(T::Wide, T::Wide) -> T::Wide + Sync,
        finish: impl Fn(T::Wide) -> T::Wide + Sync,
    ) {
        if output.is_empty() {
            return;
        }
        if self.reduced_count == 0 {
            output.fill(T::narrow(finish(identity)));
            return;
        }
        // Reduced positions are cut into groups where the output alone gives too little to share out.
        let work = output.len().saturating_mul(self.reduced_count);
        let groups = if output.len() < 1024 { (work / (4 * CHUNK)).clamp(1, 64) } else { 1 };
        let per_group = self.reduced_count.div_ceil(groups);
        let groups = self.reduced_count.div_ceil(per_group);
        let part = |first: usize, group: usize, sums: &mut [T::Wide]| {
            let from = group * per_group;
            let count = per_group.min(self.reduced_count - from);
            sums.fill(identity);
            vectorized(|| {
                if self.rows {
                    self.reduce_rows(input, first, (from, count), sums, identity, &map, &combine);
                } else {
                    self.reduce_columns(input, first, (from, count), sums, identity, &map, &combine);
                }
            });
        };
        if groups == 1 {
            let size = (CHUNK / self.reduced_count.min(CHUNK)).max(if self.rows { 1 } else { 64 });
            pool.for_each_piece(output, size, |i, piece| {
                let mut sums: SmallVec<[T::Wide; 64]> = SmallVec::from_elem(identity, piece.len());
                part(i * size, 0, &mut sums);
                for (y, s) in piece.iter_mut().zip(&sums) {
                    *y = T::narrow(finish(*s));
                }
            });
            return;
        }
        let mut sums = vec![identity; groups * output.len()];
        pool.for_each_piece(&mut sums, output.len(), |group, sums| part(0, group, sums));
        let count = output.len();
        for (i, y) in output.iter_mut().enumerate() {
            let all = sums.iter().skip(i).step_by(count);
            let total = all.copied().reduce(&combine).unwrap_or(identity);
            *y = T::narrow(finish(total));
        }
    }

    /// The innermost dimension is reduced: each sum is of pieces of contiguous rows.
    #[inline(always)]
    #[allow(clippy::too_many_arguments, reason = "the parts of one reduction")]
    fn reduce_rows<T: Number>(
        &self,
        input: &[T],
        first: usize,
        (from, count): (usize, usize),
        sums: &mut [T::Wide],
        identity: T::Wide,
        map: &impl Fn(T::Wide) -> T::Wide,
        combine: &impl Fn(T::Wide, T::Wide) -> T::Wide,
    ) {
        let Some((&(length, _), outer)) = self.reduced.split_last() else { return };
        for (i, sum) in sums.iter_mut().enumerate() {
            let base = position(&self.kept, first + i);
            let (mut at, end) = (from, from + count);
            while at < end {
                let (row, start) = (at / length, at % length);
                let n = (length - start).min(end - at);
                let begin = base + position(outer, row) + start;
                *sum = combine(*sum, reduce_row(&input[begin..begin + n], identity, map, combine));
                at += n;
            }
        }
    }

    /// The innermost dimension stays: rows are added to each other.
    #[inline(always)]
    #[allow(clippy::too_many_arguments, reason = "the parts of one reduction")]
    fn reduce_columns<T: Number>(
        &self,
        input: &[T],
        first: usize,
        (from, count): (usize, usize),
        sums: &mut [T::Wide],
        identity: T::Wide,
        map: &impl Fn(T::Wide) -> T::Wide,
        combine: &impl Fn(T::Wide, T::Wide) -> T::Wide,
    ) {
        let (width, outer) = match self.kept.split_last() {
            Some((&(width, _), outer)) => (width, outer),
            None => (1, &[][..]),
        };
        /// Rows that are added up before their sum goes to the total.
        const BLOCK: usize = 128;
        let mut block: SmallVec<[T::Wide; 64]> = SmallVec::from_elem(identity, sums.len().min(width));
        let mut done = 0;
        while done < sums.len() {
            let (row, start) = ((first + done) / width, (first + done) % width);
            let n = (width - start).min(sums.len() - done);
            let base = position(outer, row) + start;
            let total = &mut sums[done..done + n];
            let mut steps = Odometer::new(&self.reduced, from);
            let mut left = count;
            while left > 0 {
                let partial = &mut block[..n];
                partial.fill(identity);
                for _ in 0..left.min(BLOCK) {
                    let begin = base + steps.at;
                    for (s, x) in partial.iter_mut().zip(&input[begin..begin + n]) {
                        *s = combine(*s, map(x.wide()));
                    }
                    steps.advance();
                }
                for (t, &s) in total.iter_mut().zip(&*partial) {
                    *t = combine(*t, s);
                }
                left -= left.min(BLOCK);
            }
            done += n;
        }
    }
}

/// The reduction of a contiguous row.
#[inline(always)]
fn reduce_row<T: Number>(
    row: &[T],
    identity: T::Wide,
    map: &impl Fn(T::Wide) -> T::Wide,
    combine: &impl Fn(T::Wide, T::Wide) -> T::Wide,
) -> T::Wide {
    const LANES: usize = 16;
    const BLOCK: usize = 64 * LANES;
    let mut total = identity;
    for block in row.chunks(BLOCK) {
        let mut lanes = [identity; LANES];
        let (whole, rest) = block.as_chunks::<LANES>();
        for group in whole {
            for (lane, x) in lanes.iter_mut().zip(group) {
                *lane = combine(*lane, map(x.wide()));
            }
        }
        for (lane, x) in lanes.iter_mut().zip(rest) {
            *lane = combine(*lane, map(x.wide()));
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
    total
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

/// Positions over (size, step) dimensions one after the other.
struct Odometer<'a> {
    dims: &'a [(usize, usize)],
    index: SmallVec<[usize; 6]>,
    at: usize,
}

impl<'a> Odometer<'a> {
    fn new(dims: &'a [(usize, usize)], start: usize) -> Odometer<'a> {
        let mut index = SmallVec::from_elem(0, dims.len());
        let mut rest = start;
        for (i, &(size, _)) in dims.iter().enumerate().rev() {
            index[i] = rest % size;
            rest /= size;
        }
        Odometer { dims, index, at: position(dims, start) }
    }

    #[inline(always)]
    fn advance(&mut self) {
        for (i, &(size, step)) in self.dims.iter().enumerate().rev() {
            self.index[i] += 1;
            self.at += step;
            if self.index[i] < size {
                return;
            }
            self.index[i] = 0;
            self.at -= size * step;
        }
    }
}
