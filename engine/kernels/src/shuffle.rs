//! Moving elements without computing: concatenation, padding, tiling, transposition, triangles.
//!
//! Elements may be of any kind: tensors of equal width share one loop (read them as `u8`, `u16`, `u32`, `u64` or
//! `u128`), and strings are `Arc<str>`.

use crate::error::check_len;
use crate::gather::resolve;
use crate::softmax::around;
use crate::{KernelError, Number};
use oxidane_pool::Pool;
use oxidane_tensor::{Shape, element_count};
use smallvec::SmallVec;

/// Elements that a task copies at least.
const CHUNK: usize = 16 * 1024;

/// `Concat`: the parts one after the other along an axis that each splits as `[outer, own, inner]`. A part is its
/// elements and its own size times `inner`, the length of its pieces.
///
/// # Errors
/// When a part's length is not `outer` times its piece, or the output's not the sum.
pub fn concat<T: Clone + Send + Sync>(
    pool: &Pool,
    parts: &[(&[T], usize)],
    outer: usize,
    output: &mut [T],
) -> Result<(), KernelError> {
    for (data, piece) in parts {
        check_len("part", data.len(), &[outer, *piece])?;
    }
    let row: usize = parts.iter().map(|p| p.1).sum();
    check_len("output", output.len(), &[outer, row])?;
    if row == 0 || outer == 0 {
        return Ok(());
    }
    if outer == 1 && row > 4 * CHUNK {
        let mut rest = output;
        for (data, piece) in parts {
            let (own, next) = rest.split_at_mut(*piece);
            pool.for_each_piece(own, CHUNK, |i, to| to.clone_from_slice(&data[i * CHUNK..][..to.len()]));
            rest = next;
        }
        return Ok(());
    }
    let rows = (CHUNK / row).max(1);
    pool.for_each_piece(output, rows * row, |i, piece| {
        for (j, to) in piece.chunks_mut(row).enumerate() {
            let mut at = 0;
            for (data, own) in parts {
                to[at..at + own].clone_from_slice(&data[(i * rows + j) * own..][..*own]);
                at += own;
            }
        }
    });
    Ok(())
}

/// `Split`: the elements from `start` to `start + count` along `axis` of `shape`.
///
/// # Errors
/// When the range leaves the axis, or a slice is not as long as its shape says.
pub fn split<T: Clone>(
    (input, shape): (&[T], &[usize]),
    axis: usize,
    start: usize,
    output: &mut [T],
    count: usize,
) -> Result<(), KernelError> {
    check_len("input", input.len(), shape)?;
    let [outer, size, inner] = around(shape, axis)?;
    check_len("output", output.len(), &[outer, count, inner])?;
    if start.checked_add(count).is_none_or(|end| end > size) {
        return Err(KernelError::Shape(format!(
            "{count} elements from {start} leave axis {axis} of shape {shape:?}"
        )));
    }
    if output.is_empty() {
        return Ok(());
    }
    for (to, from) in output.chunks_mut(count * inner).zip(input.chunks(size * inner)) {
        to.clone_from_slice(&from[start * inner..(start + count) * inner]);
    }
    Ok(())
}

/// What [`pad`] puts around.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PadMode {
    /// One value.
    Constant,
    /// The mirror image about the edge element, which is not repeated.
    Reflect,
    /// The edge element.
    Edge,
    /// The other end, as if the data were a ring.
    Wrap,
}

/// The shape that [`pad`] makes of `shape` with `(before, after)` for each axis; negative ones take away.
///
/// # Errors
/// When there is not one pair an axis, more is taken away than there is, or the result is too large.
pub fn padded_shape(shape: &[usize], pads: &[(i64, i64)]) -> Result<Shape, KernelError> {
    let bad = || KernelError::Shape(format!("pads {pads:?} do not fit shape {shape:?}"));
    if shape.len() != pads.len() {
        return Err(bad());
    }
    let sizes = shape.iter().zip(pads).map(|(&size, &(before, after))| {
        let size = i64::try_from(size).ok()?;
        usize::try_from(size.checked_add(before)?.checked_add(after)?).ok()
    });
    let sizes: Option<Shape> = sizes.collect();
    let sizes = sizes.ok_or_else(bad)?;
    element_count(&sizes)?;
    Ok(sizes)
}

/// `Pad`: `output`, of the shape that [`padded_shape`] gives, holds the input with `(before, after)` elements more
/// (or, where negative, fewer) at the ends of each axis.
///
/// # Errors
/// As [`padded_shape`]; and when an empty axis is to be extended by a mode that reads it, or a slice is not as
/// long as its shape says.
pub fn pad<T: Clone + Send + Sync>(
    pool: &Pool,
    mode: PadMode,
    (input, shape): (&[T], &[usize]),
    pads: &[(i64, i64)],
    value: &T,
    output: &mut [T],
) -> Result<(), KernelError> {
    let target = padded_shape(shape, pads)?;
    check_len("input", input.len(), shape)?;
    check_len("output", output.len(), &target)?;
    if output.is_empty() {
        return Ok(());
    }
    if mode != PadMode::Constant && input.is_empty() {
        return Err(KernelError::Shape(format!(
            "{mode:?} padding of shape {shape:?}, which has no elements"
        )));
    }
    // Where an output position of an axis comes from in the input.
    let from = |axis: usize, i: usize| source(mode, (i as i64).saturating_sub(pads[axis].0), shape[axis]);
    let Some((&width, outer)) = target.split_last() else {
        output[0] = input[0].clone();
        return Ok(());
    };
    let mut steps: SmallVec<[usize; 6]> = SmallVec::from_elem(1, shape.len());
    for i in (1..shape.len()).rev() {
        steps[i - 1] = usize::saturating_mul(steps[i], shape[i]);
    }
    // The stretch of a line that is copied as it is.
    let before = pads[shape.len() - 1].0;
    let own = shape[shape.len() - 1];
    let first = usize::try_from(before).unwrap_or(0).min(width);
    let skip = if before < 0 { usize::try_from(before.unsigned_abs()).unwrap_or(own).min(own) } else { 0 };
    let middle = (own - skip).min(width - first);
    let rows = (CHUNK / width).max(1);
    pool.for_each_piece(output, rows * width, |i, piece| {
        for (j, to) in piece.chunks_mut(width).enumerate() {
            let mut row = i * rows + j;
            let mut base = Some(0);
            for (axis, &long) in outer.iter().enumerate().rev() {
                let here = from(axis, row % long);
                row /= long;
                base = base.zip(here).map(|(b, h)| b + h * steps[axis]);
            }
            let Some(base) = base else {
                to.fill(value.clone());
                continue;
            };
            to[first..first + middle].clone_from_slice(&input[base + skip..][..middle]);
            for k in (0..first).chain(first + middle..width) {
                to[k] = from(outer.len(), k).map_or_else(|| value.clone(), |x| input[base + x].clone());
            }
        }
    });
    Ok(())
}

/// The element of an axis of `size` elements that stands at `at` when the axis is continued beyond its ends.
fn source(mode: PadMode, at: i64, size: usize) -> Option<usize> {
    let size = size as i64;
    let place = match mode {
        _ if (0..size).contains(&at) => at,
        PadMode::Constant => return None,
        _ if size <= 1 => 0,
        PadMode::Edge => at.clamp(0, size - 1),
        PadMode::Wrap => at.rem_euclid(size),
        PadMode::Reflect => {
            let period = 2 * (size - 1);
            let place = at.rem_euclid(period);
            place.min(period - place)
        }
    };
    Some(place as usize)
}

/// `Tile`: `output[i] = input[i mod shape]`, the output's size being `shape` times `repeats` on each axis.
///
/// # Errors
/// When there is not one repeat an axis, the result is too large, or a slice is not as long as its shape says.
pub fn tile<T: Clone + Send + Sync>(
    pool: &Pool,
    (input, shape): (&[T], &[usize]),
    repeats: &[usize],
    output: &mut [T],
) -> Result<(), KernelError> {
    check_len("input", input.len(), shape)?;
    if shape.len() != repeats.len() {
        return Err(KernelError::Shape(format!("repeats {repeats:?} do not fit shape {shape:?}")));
    }
    // A tile of [a, b] by [m, n] is [1, a, 1, b] broadcast to [m, a, n, b].
    let mut from = Vec::with_capacity(2 * shape.len());
    let mut to = Vec::with_capacity(2 * shape.len());
    for (&size, &times) in shape.iter().zip(repeats) {
        from.extend([1, size]);
        to.extend([times, size]);
    }
    crate::map::expand(pool, (input, &from), (output, &to))
}

/// `Transpose`: dimension `i` of the output is dimension `order[i]` of the input.
///
/// # Errors
/// When `order` is not a permutation, or a slice is not as long as the shape says.
pub fn transpose<T: Clone + Send + Sync>(
    pool: &Pool,
    (input, shape): (&[T], &[usize]),
    order: &[usize],
    output: &mut [T],
) -> Result<(), KernelError> {
    check_len("input", input.len(), shape)?;
    check_len("output", output.len(), shape)?;
    let mut seen = vec![false; shape.len()];
    let valid = order.len() == shape.len()
        && order.iter().all(|&a| seen.get_mut(a).is_some_and(|s| !std::mem::replace(s, true)));
    if !valid {
        return Err(KernelError::Shape(format!("{order:?} is not a permutation of the axes of {shape:?}")));
    }
    if output.is_empty() {
        return Ok(());
    }
    let mut steps = vec![1usize; shape.len()];
    for i in (1..shape.len()).rev() {
        steps[i - 1] = steps[i] * shape[i];
    }
    // (size, step in the input), outermost of the output first, neighbours that stay together merged.
    let mut dims: Vec<(usize, usize)> = Vec::new();
    for &axis in order.iter().filter(|&&a| shape[a] != 1) {
        match dims.last_mut() {
            Some(last) if last.1 == steps[axis] * shape[axis] => *last = (last.0 * shape[axis], steps[axis]),
            _ => dims.push((shape[axis], steps[axis])),
        }
    }
    match dims[..] {
        [] | [(_, 1)] => {
            pool.for_each_piece(output, CHUNK, |i, to| to.clone_from_slice(&input[i * CHUNK..][..to.len()]));
        }
        [ref outer @ .., (width, 1)] => rows(pool, input, outer, width, output),
        // The last two dimensions of the output swap rows and columns of the input.
        [ref outer @ .., (n, 1), (m, step)] => planes(pool, input, outer, (n, m, step), output),
        [ref outer @ .., (width, step)] => {
            // No plane with neighbours in memory on either side: element by element.
            let lines = (CHUNK / width).max(1);
            pool.for_each_piece(output, lines * width, |i, piece| {
                for (j, to) in piece.chunks_mut(width).enumerate() {
                    let base = place(outer, i * lines + j);
                    for (y, x) in to.iter_mut().zip(input[base..].iter().step_by(step)) {
                        *y = x.clone();
                    }
                }
            });
        }
    }
    Ok(())
}

fn place(dims: &[(usize, usize)], mut index: usize) -> usize {
    let mut at = 0;
    for &(size, step) in dims.iter().rev() {
        at += (index % size) * step;
        index /= size;
    }
    at
}

/// Rows that stay whole change places.
fn rows<T: Clone + Send + Sync>(
    pool: &Pool,
    input: &[T],
    outer: &[(usize, usize)],
    width: usize,
    output: &mut [T],
) {
    let count = (CHUNK / width).max(1);
    pool.for_each_piece(output, count * width, |i, piece| {
        for (j, to) in piece.chunks_mut(width).enumerate() {
            let from = place(outer, i * count + j);
            to.clone_from_slice(&input[from..from + width]);
        }
    });
}

/// Planes of `n` rows by `m` columns whose rows' first elements are neighbours in the input and whose columns
/// lie `step` apart; in square blocks, so that both sides stay in the cache.
fn planes<T: Clone + Send + Sync>(
    pool: &Pool,
    input: &[T],
    outer: &[(usize, usize)],
    (n, m, step): (usize, usize, usize),
    output: &mut [T],
) {
    const BLOCK: usize = 8;
    let per_task = (CHUNK / m).clamp(1, n).next_multiple_of(BLOCK).min(n);
    // Tasks are groups of whole rows; one may span the end of a plane.
    pool.for_each_piece(output, per_task * m, |i, piece| {
        let mut row = i * per_task;
        let mut rest = piece;
        while !rest.is_empty() {
            let start = row % n;
            let count = BLOCK.min(n - start).min(rest.len() / m);
            let base = place(outer, row / n) + start;
            let (lines, next) = rest.split_at_mut(count * m);
            // Reads run along rows of the input; few enough rows are written at a time to stay in the cache
            // even where their distance is a power of two.
            for c in 0..m {
                let from = &input[base + c * step..][..count];
                for (r, x) in from.iter().enumerate() {
                    lines[r * m + c] = x.clone();
                }
            }
            row += count;
            rest = next;
        }
    });
}

/// `Trilu`: keeps the upper (or lower) triangle of the matrices in the last two dimensions of `shape`, counted
/// from the diagonal moved by `k`, and puts `zero` in place of the rest, in place.
///
/// # Errors
/// When the rank is below 2, or the slice is not as long as the shape says.
pub fn trilu<T: Clone>(
    (data, shape): (&mut [T], &[usize]),
    upper: bool,
    k: i64,
    zero: &T,
) -> Result<(), KernelError> {
    check_len("data", data.len(), shape)?;
    let [.., rows, columns] = *shape else {
        return Err(KernelError::Shape(format!("a triangle of shape {shape:?}, which has no matrices")));
    };
    if data.is_empty() {
        return Ok(());
    }
    for (i, line) in data.chunks_mut(columns).enumerate() {
        let row = (i % rows) as i64;
        // The first column of the upper part; the lower part ends one later.
        let edge = row.saturating_add(k).saturating_add(if upper { 0 } else { 1 });
        let edge = usize::try_from(edge.max(0)).unwrap_or(columns).min(columns);
        if upper {
            line[..edge].fill(zero.clone());
        } else {
            line[edge..].fill(zero.clone());
        }
    }
    Ok(())
}

/// `ReverseSequence`: along `time_axis`, the first `lengths[b]` elements of the row `b` of `batch_axis` turned
/// round, the others as they are. The axes are 0 and 1 in either order.
///
/// # Errors
/// When the axes are not 0 and 1, a length is negative or beyond the axis, or a slice is not as long as the shape
/// says.
pub fn reverse_sequence<T: Clone>(
    (input, shape): (&[T], &[usize]),
    (batch_axis, time_axis): (usize, usize),
    lengths: &[i64],
    output: &mut [T],
) -> Result<(), KernelError> {
    check_len("input", input.len(), shape)?;
    check_len("output", output.len(), shape)?;
    let [first, second, ref rest @ ..] = *shape else {
        return Err(KernelError::Shape(format!("shape {shape:?} has no batch and time axes")));
    };
    if (batch_axis, time_axis) != (0, 1) && (batch_axis, time_axis) != (1, 0) {
        return Err(KernelError::Shape(format!(
            "batch axis {batch_axis} and time axis {time_axis} must be 0 and 1"
        )));
    }
    let (batches, times) = if batch_axis == 0 { (first, second) } else { (second, first) };
    check_len("lengths", lengths.len(), &[batches])?;
    for &length in lengths {
        if usize::try_from(length).ok().is_none_or(|n| n > times) {
            return Err(KernelError::Index { index: length, axis: time_axis, size: times });
        }
    }
    if output.is_empty() {
        return Ok(());
    }
    let inner: usize = rest.iter().product();
    for (batch, &length) in lengths.iter().enumerate() {
        let length = length as usize;
        for time in 0..times {
            let from = if time < length { length - 1 - time } else { time };
            let at = |t: usize| {
                if batch_axis == 0 { (batch * times + t) * inner } else { (t * batches + batch) * inner }
            };
            output[at(time)..at(time) + inner].clone_from_slice(&input[at(from)..at(from) + inner]);
        }
    }
    Ok(())
}

/// `OneHot`: `output` (of shape `[outer, depth, inner]`) is `on` where the index `indices[outer, inner]` names
/// the place along `depth`, counted from the end where negative, and `off` elsewhere. An index outside names no
/// place, as ONNX says.
///
/// # Errors
/// When a slice is not as long as its shape says.
pub fn one_hot<T: Clone>(
    indices: &[i64],
    [outer, depth, inner]: [usize; 3],
    (off, on): (&T, &T),
    output: &mut [T],
) -> Result<(), KernelError> {
    check_len("indices", indices.len(), &[outer, inner])?;
    check_len("output", output.len(), &[outer, depth, inner])?;
    output.fill(off.clone());
    for (i, &index) in indices.iter().enumerate() {
        if let Ok(place) = resolve(index, 0, depth) {
            output[(i / inner * depth + place) * inner + i % inner] = on.clone();
        }
    }
    Ok(())
}

/// `NonZero`: the indices of the elements that are not zero, in row-major order, as `rank` rows one after the
/// other; and how many there are.
///
/// # Errors
/// When the slice is not as long as the shape says.
pub fn nonzero<T: Number>((input, shape): (&[T], &[usize])) -> Result<(Vec<i64>, usize), KernelError> {
    check_len("input", input.len(), shape)?;
    let found: Vec<usize> = (0..input.len()).filter(|&i| input[i] != T::ZERO).collect();
    let mut rows = vec![0i64; shape.len() * found.len()];
    for (column, &at) in found.iter().enumerate() {
        let mut rest = at;
        for axis in (0..shape.len()).rev() {
            rows[axis * found.len() + column] = (rest % shape[axis]) as i64;
            rest /= shape[axis];
        }
    }
    Ok((rows, found.len()))
}
