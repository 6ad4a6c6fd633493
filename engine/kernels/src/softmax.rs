//! Softmax and its relatives along one axis.

use crate::error::check_len;
use crate::lanes::{CHUNK, vectorized};
use crate::scratch::with_scratch;
use crate::{Float, KernelError, Number, Real};
use oxidane_pool::Pool;

/// Which normalisation along the axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Softmax {
    /// e^x over the sum of e^x.
    Softmax,
    /// x minus the logarithm of the sum of e^x.
    LogSoftmax,
    /// 1 at the first of the largest elements, 0 elsewhere.
    Hardmax,
}

/// An array seen as `[outer, size, inner]` around one axis.
pub(crate) fn around(shape: &[usize], axis: usize) -> Result<[usize; 3], KernelError> {
    let size = *shape
        .get(axis)
        .ok_or_else(|| KernelError::Shape(format!("axis {axis} does not exist in shape {shape:?}")))?;
    // Shapes without elements may have sizes whose product overflows; no loop runs over those.
    let count = |sizes: &[usize]| sizes.iter().copied().fold(1, usize::saturating_mul);
    Ok([count(&shape[..axis]), size, count(&shape[axis + 1..])])
}

/// Normalises along `axis` of `shape`; `output` has the input's shape. For opset 12 and before, give the shape
/// coerced to two dimensions.
///
/// # Errors
/// When the axis does not exist, or a slice is not as long as the shape says.
pub fn softmax<T: Float>(
    pool: &Pool,
    kind: Softmax,
    (input, shape): (&[T], &[usize]),
    axis: usize,
    output: &mut [T],
) -> Result<(), KernelError> {
    check_len("input", input.len(), shape)?;
    check_len("output", output.len(), shape)?;
    let [_, size, inner] = around(shape, axis)?;
    if output.is_empty() {
        return Ok(());
    }
    let row = size * inner;
    let rows = (CHUNK / row.min(CHUNK)).max(1);
    pool.for_each_piece(output, rows * row, |i, piece| {
        let start = i * rows * row;
        with_scratch(row + 2 * inner, |scratch: &mut [T::Wide]| {
            let (x, rest) = scratch.split_at_mut(row);
            let (top, sum) = rest.split_at_mut(inner);
            for (from, to) in input[start..start + piece.len()].chunks(row).zip(piece.chunks_mut(row)) {
                vectorized(|| {
                    for (w, v) in x.iter_mut().zip(from) {
                        *w = v.wide();
                    }
                    if inner == 1 {
                        normalize_row::<T>(kind, x);
                    } else {
                        normalize_columns::<T>(kind, x, inner, top, sum);
                    }
                    for (y, &w) in to.iter_mut().zip(&*x) {
                        *y = T::narrow(w);
                    }
                });
            }
        });
    });
    Ok(())
}

const LANES: usize = 16;

/// The largest element of a row, NaN where one is NaN.
#[inline(always)]
pub(crate) fn row_max<R: Real>(x: &[R]) -> R {
    let mut lanes = [R::LOWEST; LANES];
    let (whole, rest) = x.as_chunks::<LANES>();
    for group in whole {
        for (lane, &v) in lanes.iter_mut().zip(group) {
            *lane = lane.larger(v);
        }
    }
    for (lane, &v) in lanes.iter_mut().zip(rest) {
        *lane = lane.larger(v);
    }
    lanes.into_iter().fold(R::LOWEST, R::larger)
}

/// The sum of `f(x)` over a row, in lanes over short blocks.
#[inline(always)]
pub(crate) fn row_sum<R: Real>(x: &[R], f: impl Fn(R) -> R) -> R {
    let mut total = R::ZERO;
    for block in x.chunks(64 * LANES) {
        let mut lanes = [R::ZERO; LANES];
        let (whole, rest) = block.as_chunks::<LANES>();
        for group in whole {
            for (lane, &v) in lanes.iter_mut().zip(group) {
                *lane = lane.plus(f(v));
            }
        }
        for (lane, &v) in lanes.iter_mut().zip(rest) {
            *lane = lane.plus(f(v));
        }
        let mut width = LANES / 2;
        while width > 0 {
            for i in 0..width {
                lanes[i] = lanes[i].plus(lanes[i + width]);
            }
            width /= 2;
        }
        total = total.plus(lanes[0]);
    }
    total
}

/// As the operator's function body has it, each step rounds to the type of the elements.
#[inline(always)]
fn rounded<T: Float>(x: T::Wide) -> T::Wide {
    T::narrow(x).wide()
}

#[inline(always)]
fn normalize_row<T: Float>(kind: Softmax, x: &mut [T::Wide]) {
    let top = row_max(x);
    match kind {
        Softmax::Softmax => {
            x.iter_mut().for_each(|v| *v = rounded::<T>(rounded::<T>(v.minus(top)).exp()));
            let sum = rounded::<T>(row_sum(x, |v| v));
            if size_of::<T>() < size_of::<T::Wide>() {
                x.iter_mut().for_each(|v| *v = v.over(sum));
            } else {
                let factor = <T::Wide as Number>::ONE.over(sum);
                x.iter_mut().for_each(|v| *v = v.times(factor));
            }
        }
        Softmax::LogSoftmax => {
            x.iter_mut().for_each(|v| *v = v.minus(top));
            let log = row_sum(x, |v| v.exp()).ln();
            x.iter_mut().for_each(|v| *v = v.minus(log));
        }
        Softmax::Hardmax => {
            let at = x.iter().position(|v| *v == top || v.is_nan());
            x.fill(<T::Wide as Number>::ZERO);
            if let Some(v) = at.and_then(|at| x.get_mut(at)) {
                *v = <T::Wide as Number>::ONE;
            }
        }
    }
}

/// As [`normalize_row`] for `inner` interleaved rows at once.
#[inline(always)]
fn normalize_columns<T: Float>(
    kind: Softmax,
    x: &mut [T::Wide],
    inner: usize,
    top: &mut [T::Wide],
    sum: &mut [T::Wide],
) {
    let (zero, one) = (<T::Wide as Number>::ZERO, <T::Wide as Number>::ONE);
    top.fill(<T::Wide as Number>::LOWEST);
    sum.fill(zero);
    for line in x.chunks(inner) {
        for (t, &v) in top.iter_mut().zip(line) {
            *t = t.larger(v);
        }
    }
    match kind {
        Softmax::Softmax => {
            for line in x.chunks_mut(inner) {
                for ((v, s), &t) in line.iter_mut().zip(&mut *sum).zip(&*top) {
                    *v = rounded::<T>(rounded::<T>(v.minus(t)).exp());
                    *s = s.plus(*v);
                }
            }
            let half = size_of::<T>() < size_of::<T::Wide>();
            sum.iter_mut().for_each(|s| *s = if half { rounded::<T>(*s) } else { one.over(*s) });
            for line in x.chunks_mut(inner) {
                for (v, &s) in line.iter_mut().zip(&*sum) {
                    *v = if half { v.over(s) } else { v.times(s) };
                }
            }
        }
        Softmax::LogSoftmax => {
            for line in x.chunks_mut(inner) {
                for ((v, s), &t) in line.iter_mut().zip(&mut *sum).zip(&*top) {
                    *v = v.minus(t);
                    *s = s.plus(v.exp());
                }
            }
            sum.iter_mut().for_each(|s| *s = s.ln());
            for line in x.chunks_mut(inner) {
                for (v, &s) in line.iter_mut().zip(&*sum) {
                    *v = v.minus(s);
                }
            }
        }
        Softmax::Hardmax => {
            for line in x.chunks_mut(inner) {
                for ((v, s), &t) in line.iter_mut().zip(&mut *sum).zip(&*top) {
                    let first = *s == zero && (*v == t || v.is_nan());
                    *v = if first { one } else { zero };
                    *s = s.plus(*v);
                }
            }
        }
    }
}
