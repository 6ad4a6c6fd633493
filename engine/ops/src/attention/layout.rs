//! Where heads lie in tensors of rank 3 (`[batch, row, head and element]`) and 4 (`[batch, head, row, element]`).

use oxidane_graph::{OpError, Run};
use oxidane_kernels::attention::{Compute, Heads};
use oxidane_tensor::{CastRules, Element, Tensor};

/// The sizes of a tensor of heads.
#[derive(Debug, Clone, Copy)]
pub(super) struct Layout {
    pub(super) batch: usize,
    pub(super) heads: usize,
    pub(super) rows: usize,
    pub(super) size: usize,
    /// Whether the heads of a row lie side by side.
    pub(super) flat: bool,
}

impl Layout {
    /// Of a tensor of rank 4, or of rank 3 with `heads` heads.
    pub(super) fn of(name: &str, tensor: &Tensor, heads: Option<i64>) -> Result<Layout, OpError> {
        match *tensor.shape() {
            [batch, heads, rows, size] => Ok(Layout { batch, heads, rows, size, flat: false }),
            [batch, rows, hidden] => {
                let count = heads.and_then(|h| usize::try_from(h).ok()).filter(|&h| h > 0);
                let heads = count.filter(|h| hidden.is_multiple_of(*h)).ok_or_else(|| match heads {
                    Some(heads) => {
                        OpError::new(format!("{hidden} elements of {name} do not divide into {heads} heads"))
                    }
                    None => OpError::new(format!(
                        "{name} has rank 3, which needs its number of heads as an attribute"
                    )),
                })?;
                Ok(Layout { batch, heads, rows, size: hidden / heads, flat: true })
            }
            _ => Err(OpError::new(format!("{name} must have rank 3 or 4, but has {}", tensor.rank()))),
        }
    }

    /// The steps from batch to batch, head to head and row to row in dense memory.
    pub(super) fn steps(&self) -> Steps {
        let row = if self.flat { self.heads * self.size } else { self.size };
        let head = if self.flat { self.size } else { self.rows * self.size };
        (self.heads * self.rows * self.size, head, row)
    }

    /// The elements of such a tensor as heads, where they lie: see [`side`].
    pub(super) fn heads<'a, T: Compute>(&self, tensor: &'a Tensor) -> Result<Heads<'a, T>, OpError> {
        let Some((data, (batch, head, row))) = self.strided(tensor) else {
            let (batch, head, row) = self.steps();
            return Ok(Heads { data: tensor.slice()?, batch, head, row });
        };
        Ok(Heads { data, batch, head, row })
    }

    /// The elements from the first on and the steps of a tensor whose heads are each dense.
    fn strided<'a, T: Element>(&self, tensor: &'a Tensor) -> Option<(&'a [T], Steps)> {
        let (data, offset) = tensor.storage()?;
        let step = |axis: usize| tensor.strides().get(axis).and_then(|&s| usize::try_from(s).ok());
        let last = tensor.rank().checked_sub(1)?;
        let dense = tensor.shape()[last] <= 1 || step(last)? == 1;
        let steps = if self.flat { (step(0)?, self.size, step(1)?) } else { (step(0)?, step(1)?, step(2)?) };
        dense.then_some((data.get(offset..)?, steps))
    }

    /// A view of rank 4 of such a tensor.
    pub(super) fn split(&self, tensor: &Tensor) -> Result<Tensor, OpError> {
        if !self.flat {
            return Ok(tensor.clone());
        }
        let rows = tensor.reshape(&[self.batch, self.rows, self.heads, self.size])?;
        Ok(rows.permute(&[0, 2, 1, 3])?)
    }
}

/// The tensor in the type that attention is computed in, as [`Layout::heads`] takes it: a view stays one where its
/// heads are dense.
pub(super) fn side<T: Compute>(layout: &Layout, tensor: &Tensor) -> Result<Tensor, OpError> {
    match layout.strided::<T>(tensor) {
        Some(_) => Ok(tensor.clone()),
        None => compute::<T>(tensor),
    }
}

/// The tensor dense and in the type that attention is computed in.
pub(super) fn compute<T: Compute>(tensor: &Tensor) -> Result<Tensor, OpError> {
    Ok(tensor.cast(T::DTYPE, CastRules::default())?.to_dense()?)
}

/// From one item of the batch, one head and one row to the next, in elements.
type Steps = (usize, usize, usize);

/// Bytes that a task copies at least.
const COPY: usize = 256 << 10;

/// What was kept, `[batch, head, row, element]`, and behind it the new rows, in memory of output `output`.
pub(super) fn cat(run: &Run<'_>, output: usize, past: &Tensor, new: &Tensor) -> Result<Tensor, OpError> {
    let fits = past.rank() == 4
        && past.dtype() == new.dtype()
        && [0, 1, 3].into_iter().all(|axis| past.shape()[axis] == new.shape()[axis]);
    if !fits {
        return Err(OpError::new(format!("the kept {past:?} does not go before the new {new:?}"))
            .help("batch, heads and the size of a head must be the same"));
    }
    let (past, new) = (past.to_dense()?, new.to_dense()?);
    let mut shape = past.shape().to_vec();
    shape[2] = shape[2].saturating_add(new.shape()[2]);
    let mut out = run.allocate(output, past.dtype(), &shape)?;
    let pairs = shape[0] * shape[1];
    let (a, b) = (past.dense_bytes().unwrap_or_default(), new.dense_bytes().unwrap_or_default());
    let (wide, narrow) = (a.len() / pairs.max(1), b.len() / pairs.max(1));
    let pair = wide + narrow;
    // A task copies several short pairs.
    if let Some(together) = COPY.checked_div(pair) {
        let together = together.max(1);
        run.pool().for_each_piece(out.as_bytes_mut(), pair * together, |task, piece| {
            for (i, to) in piece.chunks_exact_mut(pair).enumerate() {
                let i = task * together + i;
                to[..wide].copy_from_slice(&a[i * wide..][..wide]);
                to[wide..].copy_from_slice(&b[i * narrow..][..narrow]);
            }
        });
    }
    Ok(out.freeze())
}
