//! Reading and writing at places that indices name. Every index is checked before anything is read or written;
//! negative ones count from the end. Elements may be of any kind, strings included.

use crate::error::check_len;
use crate::softmax::around;
use crate::{KernelError, Number};
use oxidane_pool::Pool;
use oxidane_tensor::element_count;

/// Elements that a task copies at least.
const CHUNK: usize = 16 * 1024;

/// The position that an index names, counted from the end where negative.
///
/// # Errors
/// When it lies outside.
pub fn resolve(index: i64, axis: usize, size: usize) -> Result<usize, KernelError> {
    let at = if index < 0 { index.checked_add_unsigned(size as u64) } else { Some(index) };
    at.and_then(|i| usize::try_from(i).ok()).filter(|&i| i < size).ok_or(KernelError::Index {
        index,
        axis,
        size,
    })
}

fn resolve_all(indices: &[i64], axis: usize, size: usize) -> Result<Vec<usize>, KernelError> {
    indices.iter().map(|&i| resolve(i, axis, size)).collect()
}

/// `Gather`: `output[outer, i, inner] = data[outer, indices[i], inner]` around `axis` of the data's `shape`;
/// the output has as many `i` as there are indices.
///
/// # Errors
/// When an index lies outside, the axis does not exist, or a slice is not as long as its shape says.
pub fn gather<T: Clone + Send + Sync>(
    pool: &Pool,
    (data, shape): (&[T], &[usize]),
    axis: usize,
    indices: &[i64],
    output: &mut [T],
) -> Result<(), KernelError> {
    check_len("data", data.len(), shape)?;
    let [outer, size, inner] = around(shape, axis)?;
    check_len("output", output.len(), &[outer, indices.len(), inner])?;
    for &index in indices {
        resolve(index, axis, size)?;
    }
    if output.is_empty() {
        return Ok(());
    }
    let count = indices.len();
    let blocks = (CHUNK / inner).max(1);
    pool.for_each_piece(output, blocks * inner, |i, piece| {
        for (j, to) in piece.chunks_mut(inner).enumerate() {
            let block = i * blocks + j;
            let index = indices[block % count];
            // Checked above.
            let at = if index < 0 { size - index.unsigned_abs() as usize } else { index as usize };
            let from = ((block / count) * size + at) * inner;
            if inner == 1 {
                to[0] = data[from].clone();
            } else {
                to.clone_from_slice(&data[from..from + inner]);
            }
        }
    });
    Ok(())
}

/// Checks that the indices' shape fits inside the data's on every axis but one, and gives the data's steps.
fn elements_steps(shape: &[usize], indices_shape: &[usize], axis: usize) -> Result<Vec<usize>, KernelError> {
    let fits = shape.len() == indices_shape.len()
        && axis < shape.len()
        && (0..shape.len()).all(|i| i == axis || indices_shape[i] <= shape[i]);
    if !fits {
        return Err(KernelError::Shape(format!(
            "indices of shape {indices_shape:?} do not fit data of shape {shape:?} along axis {axis}"
        )));
    }
    let mut steps = vec![1; shape.len()];
    for i in (1..shape.len()).rev() {
        steps[i - 1] = usize::saturating_mul(steps[i], shape[i].max(1));
    }
    Ok(steps)
}

/// Calls `visit(element, place)` for the elements of `indices`, `place` being where in the data each one points.
fn visit_elements(
    steps: &[usize],
    indices_shape: &[usize],
    axis: usize,
    places: &[usize],
    mut visit: impl FnMut(usize, usize),
) {
    let mut index = vec![0usize; indices_shape.len()];
    let mut base = 0;
    for (element, place) in places.iter().enumerate() {
        visit(element, base + place * steps[axis]);
        for i in (0..index.len()).rev() {
            index[i] += 1;
            base += if i == axis { 0 } else { steps[i] };
            if index[i] < indices_shape[i] {
                break;
            }
            base -= if i == axis { 0 } else { steps[i] * indices_shape[i] };
            index[i] = 0;
        }
    }
}

/// `GatherElements`: the output has the indices' shape, `output[i, j] = data[indices[i, j], j]` for axis 0.
///
/// # Errors
/// When an index lies outside, the shapes do not fit, or a slice is not as long as its shape says.
pub fn gather_elements<T: Clone>(
    (data, shape): (&[T], &[usize]),
    axis: usize,
    (indices, indices_shape): (&[i64], &[usize]),
    output: &mut [T],
) -> Result<(), KernelError> {
    check_len("data", data.len(), shape)?;
    check_len("indices", indices.len(), indices_shape)?;
    check_len("output", output.len(), indices_shape)?;
    let steps = elements_steps(shape, indices_shape, axis)?;
    let places = resolve_all(indices, axis, shape[axis])?;
    visit_elements(&steps, indices_shape, axis, &places, |i, at| output[i] = data[at].clone());
    Ok(())
}

/// How a scattered value meets the one that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scatter {
    /// It takes the place; the last one wins.
    Replace,
    /// The sum.
    Add,
    /// The product.
    Mul,
    /// The larger one.
    Max,
    /// The smaller one.
    Min,
}

impl Scatter {
    /// The function for [`scatter_elements`] and [`scatter_nd`]. For strings give `|y, x| *y = x.clone()`.
    pub fn update<T: Number>(self) -> fn(&mut T, &T) {
        match self {
            Scatter::Replace => |y, x| *y = *x,
            Scatter::Add => |y, x| *y = y.plus(*x),
            Scatter::Mul => |y, x| *y = y.times(*x),
            Scatter::Max => |y, x| *y = y.larger(*x),
            Scatter::Min => |y, x| *y = y.smaller(*x),
        }
    }
}

/// `ScatterElements`: changes `output`, which holds a copy of the data, by `updates` (of the indices' shape) in
/// order: `update(output[indices[i, j], j], updates[i, j])` for axis 0.
///
/// # Errors
/// When an index lies outside, the shapes do not fit, or a slice is not as long as its shape says; the output
/// is then unchanged.
pub fn scatter_elements<T>(
    (output, shape): (&mut [T], &[usize]),
    axis: usize,
    (indices, indices_shape): (&[i64], &[usize]),
    updates: &[T],
    update: impl Fn(&mut T, &T),
) -> Result<(), KernelError> {
    check_len("data", output.len(), shape)?;
    check_len("indices", indices.len(), indices_shape)?;
    check_len("updates", updates.len(), indices_shape)?;
    let steps = elements_steps(shape, indices_shape, axis)?;
    let places = resolve_all(indices, axis, shape[axis])?;
    visit_elements(&steps, indices_shape, axis, &places, |i, at| update(&mut output[at], &updates[i]));
    Ok(())
}

/// The starts of the slices of `shape` that rows of `indices` name, and the length of a slice. The last
/// dimension of the indices is a tuple for the axes after the first `batch` ones, which both share.
fn nd_places(
    shape: &[usize],
    indices: &[i64],
    indices_shape: &[usize],
    batch: usize,
) -> Result<(Vec<usize>, usize), KernelError> {
    check_len("indices", indices.len(), indices_shape)?;
    let bad = || {
        KernelError::Shape(format!(
            "indices of shape {indices_shape:?} do not fit data of shape {shape:?} with {batch} batch dimensions"
        ))
    };
    let (&tuple, lead) = indices_shape.split_last().ok_or_else(bad)?;
    if batch > lead.len()
        || batch.checked_add(tuple).is_none_or(|n| n > shape.len())
        || lead[..batch] != shape[..batch]
    {
        return Err(bad());
    }
    let axes = &shape[batch..batch + tuple];
    let slice = element_count(&shape[batch + tuple..])?;
    let rows = element_count(lead)?;
    let batches = element_count(&shape[..batch])?;
    let per_batch = element_count(&shape[batch..])?;
    let rows_per_batch = rows.checked_div(batches).unwrap_or(1).max(1);
    let mut places = Vec::with_capacity(rows);
    for row in 0..rows {
        let mut at = 0;
        for (i, &size) in axes.iter().enumerate() {
            at = usize::saturating_mul(at, size).saturating_add(resolve(
                indices[row * tuple + i],
                batch + i,
                size,
            )?);
        }
        places.push((row / rows_per_batch) * per_batch + usize::saturating_mul(at, slice));
    }
    Ok((places, slice))
}

/// `GatherND`: one slice of the data for each tuple in the last dimension of the indices, in order.
///
/// # Errors
/// When an index lies outside, the shapes do not fit, or a slice is not as long as its shape says.
pub fn gather_nd<T: Clone>(
    (data, shape): (&[T], &[usize]),
    (indices, indices_shape): (&[i64], &[usize]),
    batch_dims: usize,
    output: &mut [T],
) -> Result<(), KernelError> {
    check_len("data", data.len(), shape)?;
    let (places, slice) = nd_places(shape, indices, indices_shape, batch_dims)?;
    check_len("output", output.len(), &[places.len(), slice])?;
    for (to, &from) in output.chunks_mut(slice.max(1)).zip(&places) {
        to.clone_from_slice(&data[from..from + slice]);
    }
    Ok(())
}

/// `ScatterND`: changes `output`, which holds a copy of the data, by one slice of `updates` for each tuple in the
/// last dimension of the indices, in order: `update(output element, update element)`.
///
/// # Errors
/// When an index lies outside, the shapes do not fit, or a slice is not as long as its shape says; the output
/// is then unchanged.
pub fn scatter_nd<T>(
    (output, shape): (&mut [T], &[usize]),
    (indices, indices_shape): (&[i64], &[usize]),
    updates: &[T],
    update: impl Fn(&mut T, &T),
) -> Result<(), KernelError> {
    check_len("data", output.len(), shape)?;
    let (places, slice) = nd_places(shape, indices, indices_shape, 0)?;
    check_len("updates", updates.len(), &[places.len(), slice])?;
    for (from, &to) in updates.chunks(slice.max(1)).zip(&places) {
        for (y, x) in output[to..to + slice].iter_mut().zip(from) {
            update(y, x);
        }
    }
    Ok(())
}
