//! Order along an axis: the largest elements, their places, running sums.

use crate::error::check_len;
use crate::softmax::around;
use crate::{KernelError, Number};
use oxidane_pool::Pool;
use std::cmp::Ordering;

/// NaN counts as larger than every number, as in NumPy.
fn order<T: Number>(a: T, b: T) -> Ordering {
    a.partial_cmp(&b).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
}

/// `TopK`: the `k` largest (or smallest) elements along `axis` and their indices; of equal ones the lower index
/// comes first. Always sorted, which `sorted` = 0 permits too. Outputs have `k` in place of the axis's size.
///
/// # Errors
/// When `k` is beyond the axis's size, the axis does not exist, or a slice is not as long as its shape says.
#[allow(clippy::too_many_arguments, reason = "the operator's own inputs, attributes and outputs")]
pub fn top_k<T: Number>(
    pool: &Pool,
    (input, shape): (&[T], &[usize]),
    axis: usize,
    k: usize,
    largest: bool,
    values: &mut [T],
    indices: &mut [i64],
) -> Result<(), KernelError> {
    check_len("input", input.len(), shape)?;
    let [outer, size, inner] = around(shape, axis)?;
    if k > size {
        return Err(KernelError::Shape(format!(
            "k is {k}, but axis {axis} of shape {shape:?} has {size} elements"
        )));
    }
    check_len("values", values.len(), &[outer, k, inner])?;
    check_len("indices", indices.len(), &[outer, k, inner])?;
    if values.is_empty() {
        return Ok(());
    }
    // The places first, each task those of one outer slice; the values follow from them.
    pool.for_each_piece(indices, k * inner, |o, piece| {
        let mut line: Vec<(T::Wide, usize)> = Vec::with_capacity(size);
        for i in 0..inner {
            line.clear();
            line.extend((0..size).map(|s| (input[(o * size + s) * inner + i].wide(), s)));
            sort_first(&mut line, k, largest);
            for (j, &(_, at)) in line[..k].iter().enumerate() {
                piece[j * inner + i] = at as i64;
            }
        }
    });
    for (at, (value, &index)) in values.iter_mut().zip(&*indices).enumerate() {
        *value = input[(at / (k * inner) * size + index as usize) * inner + at % inner];
    }
    Ok(())
}

/// Puts the first `k` of a line in order, as [`top_k`] says.
fn sort_first<W: Number>(line: &mut [(W, usize)], k: usize, largest: bool) {
    let by = |a: &(W, usize), b: &(W, usize)| {
        let first = if largest { order(b.0, a.0) } else { order(a.0, b.0) };
        first.then(a.1.cmp(&b.1))
    };
    if k < line.len() {
        line.select_nth_unstable_by(k, by);
    }
    line[..k].sort_unstable_by(by);
}

/// `ArgMax` and `ArgMin`: the index of the largest (or smallest) element along `axis`, the last one of equals
/// where `last`. The first NaN counts as both. The output lacks the axis (or has 1 there).
///
/// # Errors
/// When the axis is empty or does not exist, or a slice is not as long as its shape says.
pub fn arg<T: Number>(
    pool: &Pool,
    (input, shape): (&[T], &[usize]),
    axis: usize,
    largest: bool,
    last: bool,
    output: &mut [i64],
) -> Result<(), KernelError> {
    check_len("input", input.len(), shape)?;
    let [outer, size, inner] = around(shape, axis)?;
    check_len("output", output.len(), &[outer, inner])?;
    if output.is_empty() {
        return Ok(());
    }
    if size == 0 {
        return Err(KernelError::Shape(format!(
            "axis {axis} of shape {shape:?} is empty: nothing is largest"
        )));
    }
    let lines = ((16 * 1024) / (size * inner)).max(1);
    let beats = |x: T, top: T| {
        let beyond = if largest { x > top } else { x < top };
        (beyond || (last && x == top) || x.is_nan()) && !top.is_nan()
    };
    if inner == 1 {
        pool.for_each_piece(output, lines, |i, piece| {
            for (place, line) in piece.iter_mut().zip(input[i * lines * size..].chunks(size)) {
                let (mut at, mut top) = (0, line[0]);
                for (s, &x) in line.iter().enumerate().skip(1) {
                    if beats(x, top) {
                        (at, top) = (s, x);
                    }
                }
                *place = at as i64;
            }
        });
        return Ok(());
    }
    pool.for_each_piece(output, lines * inner, |i, piece| {
        let mut best = vec![T::ZERO; inner];
        for (j, places) in piece.chunks_mut(inner).enumerate() {
            let base = (i * lines + j) * size * inner;
            best.copy_from_slice(&input[base..base + inner]);
            places.fill(0);
            for s in 1..size {
                let line = &input[base + s * inner..][..inner];
                for ((place, top), &x) in places.iter_mut().zip(&mut best).zip(line) {
                    if beats(x, *top) {
                        *top = x;
                        *place = s as i64;
                    }
                }
            }
        }
    });
    Ok(())
}

/// What runs along the axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Running {
    /// Sums (`CumSum`).
    Sum,
    /// Products (`CumProd`).
    Prod,
}

/// Running sums or products along `axis`, from the end where `reverse`; `exclusive` leaves the element itself
/// out. The output has the input's shape. 16-bit floats run in `f32` and round at the end.
///
/// # Errors
/// When the axis does not exist, or a slice is not as long as the shape says.
pub fn running<T: Number>(
    pool: &Pool,
    running: Running,
    (input, shape): (&[T], &[usize]),
    axis: usize,
    (exclusive, reverse): (bool, bool),
    output: &mut [T],
) -> Result<(), KernelError> {
    check_len("input", input.len(), shape)?;
    check_len("output", output.len(), shape)?;
    let [_, size, inner] = around(shape, axis)?;
    if output.is_empty() {
        return Ok(());
    }
    let start = match running {
        Running::Sum => <T::Wide as Number>::ZERO,
        Running::Prod => <T::Wide as Number>::ONE,
    };
    pool.for_each_piece(output, size * inner, |o, piece| {
        let mut totals = vec![start; inner];
        for s in 0..size {
            let line = if reverse { size - 1 - s } else { s };
            let from = &input[(o * size + line) * inner..][..inner];
            let to = &mut piece[line * inner..][..inner];
            for ((y, total), &x) in to.iter_mut().zip(&mut totals).zip(from) {
                let next = match running {
                    Running::Sum => total.plus(x.wide()),
                    Running::Prod => total.times(x.wide()),
                };
                *y = T::narrow(if exclusive { *total } else { next });
                *total = next;
            }
        }
    });
    Ok(())
}
