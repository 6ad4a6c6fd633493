//! Elements that are moved and not computed on: their type does not matter, only how wide they are.

use oxidane_graph::{OpError, Run};
use oxidane_kernels::map;
use oxidane_pool::Pool;
use oxidane_tensor::{DType, Element, Tensor, TensorMut, complex::Complex, element_count};
use std::sync::Arc;

/// A loop that moves elements of any kind, strings included.
pub(crate) trait Move {
    /// Fills `output`, every element of it, from the dense elements of the sources.
    fn apply<T: Clone + Default + Send + Sync>(
        &self,
        pool: &Pool,
        sources: &[&[T]],
        output: &mut [T],
    ) -> Result<(), OpError>;
}

/// Runs `mover` from `sources`, which must be of one type, into output `output` of shape `shape`.
///
/// # Errors
/// When the sources' types differ, memory is short, or the loop fails.
pub(crate) fn move_elements(
    run: &mut Run<'_>,
    output: usize,
    sources: &[&Tensor],
    shape: &[usize],
    mover: &impl Move,
) -> Result<(), OpError> {
    let dtype = sources.first().map(|s| s.dtype()).ok_or_else(|| OpError::new("there is no input"))?;
    if let Some(other) = sources.iter().find(|s| s.dtype() != dtype) {
        return Err(OpError::new(format!("elements of {dtype} and {} cannot be mixed", other.dtype())));
    }
    let moved = match dtype.bits() {
        0 => {
            let dense = dense(sources, dtype)?;
            let slices = string_slices(&dense);
            let mut strings = empty_strings(run, output, shape)?;
            mover.apply(run.pool(), &slices, &mut strings)?;
            Tensor::from_strings(shape, strings)?
        }
        8 => typed::<u8>(run, output, sources, shape, mover)?,
        16 => typed::<u16>(run, output, sources, shape, mover)?,
        32 => typed::<u32>(run, output, sources, shape, mover)?,
        64 => typed::<u64>(run, output, sources, shape, mover)?,
        128 => typed::<Complex<f64>>(run, output, sources, shape, mover)?,
        _ => {
            let codes = unpacked(sources)?;
            let codes: Vec<&Tensor> = codes.iter().collect();
            typed::<u8>(run, output, &codes, shape, mover)?.repacked(dtype)?
        }
    };
    let moved = if moved.dtype() == dtype { moved } else { moved.reinterpret(dtype)? };
    run.set(output, moved);
    Ok(())
}

fn typed<T: Element + Default>(
    run: &Run<'_>,
    output: usize,
    sources: &[&Tensor],
    shape: &[usize],
    mover: &impl Move,
) -> Result<Tensor, OpError> {
    let cells = dense(sources, T::DTYPE)?;
    let slices = slices::<T>(&cells)?;
    let mut out = run.allocate(output, T::DTYPE, shape)?;
    mover.apply(run.pool(), &slices, out.slice_mut::<T>()?)?;
    Ok(out.freeze())
}

// What does not depend on the mover is compiled once.

/// The sources' dense elements, read as `dtype`, which is as wide as theirs.
fn dense(sources: &[&Tensor], dtype: DType) -> Result<Vec<Tensor>, OpError> {
    let read = |s: &&Tensor| match s.dtype() == dtype {
        true => s.to_dense(),
        false => s.to_dense()?.reinterpret(dtype),
    };
    Ok(sources.iter().map(read).collect::<Result<_, _>>()?)
}

fn unpacked(sources: &[&Tensor]) -> Result<Vec<Tensor>, OpError> {
    Ok(sources.iter().map(|s| s.unpacked()).collect::<Result<_, _>>()?)
}

fn slices<T: Element>(cells: &[Tensor]) -> Result<Vec<&[T]>, OpError> {
    Ok(cells.iter().map(|c| c.slice::<T>()).collect::<Result<_, _>>()?)
}

fn string_slices(dense: &[Tensor]) -> Vec<&[Arc<str>]> {
    dense.iter().map(|s| s.as_strings().unwrap_or_default()).collect()
}

/// As many empty strings as `shape` has elements, within the budget of the run.
///
/// # Errors
/// When there is no memory for them.
pub(crate) fn empty_strings(run: &Run<'_>, output: usize, shape: &[usize]) -> Result<Vec<Arc<str>>, OpError> {
    let count = element_count(shape)?;
    let short = || OpError::new(format!("there is no memory for {count} strings"));
    let bytes = count.checked_mul(size_of::<Arc<str>>()).ok_or_else(short)?;
    drop(run.allocate(output, DType::U8, &[bytes])?);
    let mut strings = Vec::new();
    strings.try_reserve_exact(count).map_err(|_| short())?;
    strings.resize(count, Arc::from(""));
    Ok(strings)
}

/// A view that repeats elements is left as it is up to this size, in bytes when dense; beyond, it takes memory of
/// the run and thereby counts towards its budget.
const VIEW_BYTES: usize = 1 << 26;

/// Broadcasts a tensor to a larger shape and sets it as an output: a view where that is cheap.
///
/// # Errors
/// When the shapes do not broadcast or memory is short.
pub(crate) fn spread(
    run: &mut Run<'_>,
    output: usize,
    tensor: &Tensor,
    shape: &[usize],
) -> Result<(), OpError> {
    let count = element_count(shape)?;
    let dtype = tensor.dtype();
    if tensor.shape() == shape {
        run.set(output, tensor.clone());
        return Ok(());
    }
    if dtype.bits() >= 8 && dtype.byte_len(count).is_some_and(|bytes| bytes <= VIEW_BYTES) {
        run.set(output, tensor.broadcast_to(shape)?);
        return Ok(());
    }
    move_elements(run, output, &[tensor], shape, &Broadcast { own: tensor.shape(), shape })
}

struct Broadcast<'a> {
    own: &'a [usize],
    shape: &'a [usize],
}

impl Move for Broadcast<'_> {
    fn apply<T: Clone + Default + Send + Sync>(
        &self,
        pool: &Pool,
        sources: &[&[T]],
        output: &mut [T],
    ) -> Result<(), OpError> {
        Ok(map::expand(pool, (sources[0], self.own), (output, self.shape))?)
    }
}

/// A loop that changes some elements of any kind, strings included, where they are.
pub(crate) trait Change {
    /// Changes `target` by what the dense elements of the sources say.
    fn apply<T: Clone + Default + Send + Sync>(
        &self,
        sources: &[&[T]],
        target: &mut [T],
    ) -> Result<(), OpError>;
}

/// Changes `data` and sets it as output `output`: in place where nobody else holds it, otherwise in a copy. The
/// sources are of its type.
///
/// # Errors
/// When the types differ, memory is short, or the change fails.
pub(crate) fn change_elements(
    run: &mut Run<'_>,
    output: usize,
    data: Tensor,
    sources: &[&Tensor],
    change: &impl Change,
) -> Result<(), OpError> {
    let dtype = data.dtype();
    if let Some(other) = sources.iter().find(|s| s.dtype() != dtype) {
        return Err(OpError::new(format!("elements of {dtype} and {} cannot be mixed", other.dtype())));
    }
    let changed = match dtype.bits() {
        0 => {
            let dense = dense(sources, dtype)?;
            let slices = string_slices(&dense);
            let mut strings = empty_strings(run, output, data.shape())?;
            strings.clone_from_slice(data.to_dense()?.as_strings().unwrap_or_default());
            change.apply(&slices, &mut strings)?;
            Tensor::from_strings(data.shape(), strings)?
        }
        8 => changed::<u8>(run, output, data, sources, change)?,
        16 => changed::<u16>(run, output, data, sources, change)?,
        32 => changed::<u32>(run, output, data, sources, change)?,
        64 => changed::<u64>(run, output, data, sources, change)?,
        128 => changed::<Complex<f64>>(run, output, data, sources, change)?,
        _ => {
            let codes = unpacked(sources)?;
            let codes: Vec<&Tensor> = codes.iter().collect();
            changed::<u8>(run, output, data.unpacked()?, &codes, change)?.repacked(dtype)?
        }
    };
    let changed = if changed.dtype() == dtype { changed } else { changed.reinterpret(dtype)? };
    run.set(output, changed);
    Ok(())
}

fn changed<T: Element + Default>(
    run: &Run<'_>,
    output: usize,
    data: Tensor,
    sources: &[&Tensor],
    change: &impl Change,
) -> Result<Tensor, OpError> {
    let cells = dense(sources, T::DTYPE)?;
    let slices = slices::<T>(&cells)?;
    let cells = data.reinterpret(T::DTYPE)?;
    drop(data);
    let mut target = owned(run, output, cells)?;
    change.apply(&slices, target.slice_mut::<T>()?)?;
    Ok(target.freeze())
}

/// A tensor for writing: itself where nobody else holds it, otherwise a copy in memory of the run.
///
/// # Errors
/// When memory is short, or the type is string.
pub(crate) fn owned(run: &Run<'_>, output: usize, mut tensor: Tensor) -> Result<TensorMut, OpError> {
    if tensor.is_unique() && tensor.is_contiguous() {
        return Ok(tensor.into_mut()?);
    }
    let mut copy = run.allocate(output, tensor.dtype(), tensor.shape())?;
    let dense = tensor.to_dense()?;
    let bytes = dense.dense_bytes().ok_or_else(|| OpError::new("strings have no bytes"))?;
    copy.as_bytes_mut().copy_from_slice(bytes);
    Ok(copy)
}
