//! Elements that are moved and not computed on: their type does not matter, only how wide they are.

use oxidane_graph::{OpError, Run};
use oxidane_kernels::map;
use oxidane_pool::Pool;
use oxidane_tensor::{DType, Element, Tensor, TensorMut, complex::Complex, element_count};
use smallvec::SmallVec;
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

/// A [`Move`] whose type is forgotten, so that what happens around it is compiled once.
pub(crate) trait AnyMove {
    /// The move between tensors of one type, which is stored as it is in memory.
    fn apply_tensors(&self, pool: &Pool, sources: &[Tensor], output: &mut TensorMut) -> Result<(), OpError>;
    /// The move of strings.
    fn apply_strings(
        &self,
        pool: &Pool,
        sources: &[&[Arc<str>]],
        output: &mut [Arc<str>],
    ) -> Result<(), OpError>;
}

impl<M: Move> AnyMove for M {
    fn apply_tensors(&self, pool: &Pool, sources: &[Tensor], output: &mut TensorMut) -> Result<(), OpError> {
        match output.dtype() {
            DType::U8 => self.apply::<u8>(pool, &slices(sources)?, output.slice_mut()?),
            DType::U16 => self.apply::<u16>(pool, &slices(sources)?, output.slice_mut()?),
            DType::U32 => self.apply::<u32>(pool, &slices(sources)?, output.slice_mut()?),
            DType::U64 => self.apply::<u64>(pool, &slices(sources)?, output.slice_mut()?),
            _ => self.apply::<Complex<f64>>(pool, &slices(sources)?, output.slice_mut()?),
        }
    }

    fn apply_strings(
        &self,
        pool: &Pool,
        sources: &[&[Arc<str>]],
        output: &mut [Arc<str>],
    ) -> Result<(), OpError> {
        self.apply(pool, sources, output)
    }
}

/// The type that elements of so many bits are moved as; those of less than a byte are unpacked before.
fn cell(bits: usize) -> DType {
    match bits {
        16 => DType::U16,
        32 => DType::U32,
        64 => DType::U64,
        128 => DType::Complex128,
        _ => DType::U8,
    }
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
    mover: &dyn AnyMove,
) -> Result<(), OpError> {
    let dtype = sources.first().map(|s| s.dtype()).ok_or_else(|| OpError::new("there is no input"))?;
    if let Some(other) = sources.iter().find(|s| s.dtype() != dtype) {
        return Err(OpError::new(format!("elements of {dtype} and {} cannot be mixed", other.dtype())));
    }
    if dtype == DType::String {
        let dense = dense(sources)?;
        let mut strings = empty_strings(run, output, shape)?;
        mover.apply_strings(run.pool(), &string_slices(&dense), &mut strings)?;
        run.set(output, Tensor::from_strings(shape, strings)?);
        return Ok(());
    }
    let packed = dtype.bits() < 8;
    let cells = cells(sources, packed)?;
    let mut out = run.allocate(output, cell(dtype.bits()), shape)?;
    mover.apply_tensors(run.pool(), &cells, &mut out)?;
    let moved = out.freeze();
    run.set(output, if packed { moved.repacked(dtype)? } else { reread(moved, dtype)? });
    Ok(())
}

/// Sources are seldom many.
type Few<T> = SmallVec<[T; 4]>;

fn dense(sources: &[&Tensor]) -> Result<Few<Tensor>, OpError> {
    Ok(sources.iter().map(|s| s.to_dense()).collect::<Result<_, _>>()?)
}

/// The sources' dense elements in the type that they are moved as.
fn cells(sources: &[&Tensor], packed: bool) -> Result<Few<Tensor>, OpError> {
    let read = |s: &&Tensor| {
        let dense = if packed { s.unpacked()?.to_dense()? } else { s.to_dense()? };
        let cell = cell(dense.dtype().bits());
        reread(dense, cell)
    };
    sources.iter().map(read).collect()
}

/// The bits of the elements as another type of the same width.
fn reread(tensor: Tensor, dtype: DType) -> Result<Tensor, OpError> {
    Ok(if tensor.dtype() == dtype { tensor } else { tensor.reinterpret(dtype)? })
}

fn slices<T: Element>(cells: &[Tensor]) -> Result<Few<&[T]>, OpError> {
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
    if dtype == DType::String {
        let dense = dense(sources)?;
        let mut strings = empty_strings(run, output, data.shape())?;
        strings.clone_from_slice(data.to_dense()?.as_strings().unwrap_or_default());
        change.apply(&string_slices(&dense), &mut strings)?;
        run.set(output, Tensor::from_strings(data.shape(), strings)?);
        return Ok(());
    }
    let packed = dtype.bits() < 8;
    let cells = cells(sources, packed)?;
    let data = if packed { data.unpacked()? } else { data };
    let mut target = owned(run, output, reread(data, cell(dtype.bits()))?)?;
    match target.dtype() {
        DType::U8 => change.apply::<u8>(&slices(&cells)?, target.slice_mut()?)?,
        DType::U16 => change.apply::<u16>(&slices(&cells)?, target.slice_mut()?)?,
        DType::U32 => change.apply::<u32>(&slices(&cells)?, target.slice_mut()?)?,
        DType::U64 => change.apply::<u64>(&slices(&cells)?, target.slice_mut()?)?,
        _ => change.apply::<Complex<f64>>(&slices(&cells)?, target.slice_mut()?)?,
    }
    let changed = target.freeze();
    run.set(output, if packed { changed.repacked(dtype)? } else { reread(changed, dtype)? });
    Ok(())
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
