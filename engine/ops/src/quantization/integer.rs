//! Products of quantized matrices on packed right sides, where their operands have the usual form: a right side that is a
//! matrix, zero points that are one for all, one a row of the left or one a column of the right side.

use oxidane_graph::{Call, OpError};
use oxidane_kernels::integer::{Packed, Product, Rows, product};
use oxidane_pool::Pool;
use oxidane_tensor::{DType, Tensor};
use smallvec::{SmallVec, smallvec};

/// The right side of a product, packed when the kernel is chosen where it is constant.
pub(crate) struct Right {
    constant: Option<Packed>,
    transposed: bool,
}

/// Zero points as numbers.
type Zeros = SmallVec<[i32; 1]>;

/// Operands that fit.
pub(crate) struct Operands {
    a: Tensor,
    a_zeros: Zeros,
    b_zeros: Zeros,
    depth: usize,
    /// Columns of the result.
    pub(crate) columns: usize,
}

impl Right {
    /// Packs input `slot` of a call where that is a constant matrix of bytes; `transposed` says that its columns stand in
    /// rows.
    pub(crate) fn of(call: &Call<'_>, slot: usize, transposed: bool) -> Right {
        let constant = call.constant(slot).and_then(|b| pack(b, transposed).ok().flatten());
        Right { constant, transposed }
    }

    /// The operands of a product, where they have the usual form.
    ///
    /// # Errors
    /// When there is no memory.
    pub(crate) fn operands(
        &self,
        a: &Tensor,
        b: &Tensor,
        a_zero: Option<&Tensor>,
        b_zero: Option<&Tensor>,
    ) -> Result<Option<Operands>, OpError> {
        let (Some(&depth), &[k, n]) = (a.shape().last(), b.shape()) else { return Ok(None) };
        let (k, columns) = if self.transposed { (n, k) } else { (k, n) };
        if k != depth || !is_byte(a) || !is_byte(b) {
            return Ok(None);
        }
        let same = |x: &Tensor, zero: Option<&Tensor>| zero.is_none_or(|z| z.dtype() == x.dtype());
        let rows = if a.rank() == 2 { a.shape()[0] } else { 1 };
        let (Some(a_zeros), Some(b_zeros)) = (zeros(a_zero, rows)?, zeros(b_zero, columns)?) else {
            return Ok(None);
        };
        if !same(a, a_zero) || !same(b, b_zero) {
            return Ok(None);
        }
        Ok(Some(Operands { a: a.to_dense()?, a_zeros, b_zeros, depth, columns }))
    }

    /// The product of operands; `b` is their right side.
    ///
    /// # Errors
    /// When sizes do not fit, or there is no memory.
    pub(crate) fn product(
        &self,
        pool: &Pool,
        operands: &Operands,
        b: &Tensor,
        bias: &[i32],
        result: Product<'_>,
    ) -> Result<(), OpError> {
        let made;
        let packed = match &self.constant {
            Some(packed) if (packed.depth(), packed.columns()) == (operands.depth, operands.columns) => {
                packed
            }
            _ => {
                made =
                    pack(b, self.transposed)?.ok_or_else(|| OpError::new("the right side is no matrix"))?;
                &made
            }
        };
        let bytes = operands.a.dense_bytes().ok_or_else(|| OpError::new("the left side is not dense"))?;
        let signed = operands.a.dtype() == DType::I8;
        let rows = Rows { bytes, signed, zeros: &operands.a_zeros };
        Ok(product(pool, rows, packed, &operands.b_zeros, bias, result)?)
    }
}

fn is_byte(tensor: &Tensor) -> bool {
    matches!(tensor.dtype(), DType::I8 | DType::U8)
}

/// A matrix of bytes, packed; `None` for another tensor.
fn pack(b: &Tensor, transposed: bool) -> Result<Option<Packed>, OpError> {
    let [rows, columns] = *b.shape() else { return Ok(None) };
    if !is_byte(b) {
        return Ok(None);
    }
    let dense = b.to_dense()?;
    let Some(bytes) = dense.dense_bytes() else { return Ok(None) };
    let (sizes, distances) =
        if transposed { ((columns, rows), (1, columns)) } else { ((rows, columns), (columns, 1)) };
    let packed = Packed::matrix(bytes, b.dtype() == DType::I8, sizes, distances)?;
    b.release_pages();
    Ok(Some(packed))
}

/// Zero points as numbers, where they are one or a vector of `count`.
fn zeros(tensor: Option<&Tensor>, count: usize) -> Result<Option<Zeros>, OpError> {
    let Some(tensor) = tensor else { return Ok(Some(smallvec![0])) };
    if tensor.len() != 1 && tensor.shape() != [count] {
        return Ok(None);
    }
    Ok(match tensor.dtype() {
        DType::U8 => Some(tensor.values::<u8>()?.iter().map(|&v| i32::from(v)).collect()),
        DType::I8 => Some(tensor.values::<i8>()?.iter().map(|&v| i32::from(v)).collect()),
        _ => None,
    })
}

/// A single number.
pub(crate) fn one(tensor: &Tensor) -> Option<f32> {
    match *tensor.values::<f32>().ok()? {
        [value] => Some(value),
        _ => None,
    }
}
