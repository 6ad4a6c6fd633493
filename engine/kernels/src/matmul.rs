//! Products of tensors: `MatMul` with broadcast batches, `Gemm`, `MatMulInteger`.
//!
//! Transposed and sliced views are read where they lie; only views with backward steps are copied first.

use crate::gemm::{Matrix, product_into, products_into};
use crate::half_floats::{is_half, narrowed, widened};
use crate::{KernelError, Scalar};
use oxidane_pool::Pool;
use oxidane_tensor::{DType, Shape, Tensor, TensorMut, broadcast, element_count};

/// The shape of `MatMul` by NumPy's rule: rank-1 operands stand for a row (left) or a column (right), leading
/// dimensions broadcast.
///
/// # Errors
/// When an operand is a scalar, the inner sizes differ, or the batches do not broadcast.
pub fn matmul_shape(a: &[usize], b: &[usize]) -> Result<Shape, KernelError> {
    let sizes = sizes(a, b)?;
    let mut out = sizes.batch;
    if a.len() > 1 {
        out.push(sizes.m);
    }
    if b.len() > 1 {
        out.push(sizes.n);
    }
    Ok(out)
}

struct Sizes {
    batch: Shape,
    m: usize,
    k: usize,
    n: usize,
}

fn sizes(a: &[usize], b: &[usize]) -> Result<Sizes, KernelError> {
    let (m, k) = match *a {
        [] => return Err(scalar_operand(a, b)),
        [k] => (1, k),
        [.., m, k] => (m, k),
    };
    let (inner, n) = match *b {
        [] => return Err(scalar_operand(a, b)),
        [k] => (k, 1),
        [.., k, n] => (k, n),
    };
    if k != inner {
        return Err(KernelError::Shape(format!(
            "cannot multiply shapes {a:?} and {b:?}: the inner sizes {k} and {inner} differ"
        )));
    }
    let batch = broadcast(&a[..a.len().saturating_sub(2)], &b[..b.len().saturating_sub(2)])?;
    Ok(Sizes { batch, m, k, n })
}

fn scalar_operand(a: &[usize], b: &[usize]) -> KernelError {
    KernelError::Shape(format!("cannot multiply shapes {a:?} and {b:?}: a matrix product takes no scalar"))
}

/// `MatMul` of two tensors of one numeric type; 16-bit floats accumulate in f32, integers wrap around.
///
/// # Errors
/// As [`matmul_shape`]; when the types differ or have no product; when there is no memory.
pub fn matmul(pool: &Pool, a: &Tensor, b: &Tensor) -> Result<Tensor, KernelError> {
    if a.dtype() != b.dtype() {
        return Err(KernelError::Type(format!("cannot multiply {} by {}", a.dtype(), b.dtype())));
    }
    let dtype = a.dtype();
    if is_half(dtype) {
        return narrowed(matmul(pool, &widened(a)?, &widened(b)?)?, dtype);
    }
    match dtype {
        DType::F32 => matmul_of::<f32>(pool, a, b),
        DType::F64 => matmul_of::<f64>(pool, a, b),
        DType::I8 => matmul_of::<i8>(pool, a, b),
        DType::U8 => matmul_of::<u8>(pool, a, b),
        DType::I16 => matmul_of::<i16>(pool, a, b),
        DType::U16 => matmul_of::<u16>(pool, a, b),
        DType::I32 => matmul_of::<i32>(pool, a, b),
        DType::I64 => matmul_of::<i64>(pool, a, b),
        DType::U32 => matmul_of::<u32>(pool, a, b),
        DType::U64 => matmul_of::<u64>(pool, a, b),
        other => Err(KernelError::Type(format!("there is no matrix product of {other}"))),
    }
}

fn matmul_of<T: Scalar>(pool: &Pool, a: &Tensor, b: &Tensor) -> Result<Tensor, KernelError> {
    let shape = matmul_shape(a.shape(), b.shape())?;
    let mut out = TensorMut::zeroed(T::DTYPE, &shape)?;
    matmul_into::<T>(pool, a, b, out.slice_mut()?)?;
    Ok(out.freeze())
}

/// [`matmul`] into dense, row-major `out`.
///
/// # Errors
/// As [`matmul`], and when `out` has another number of elements.
pub fn matmul_into<T: Scalar>(pool: &Pool, a: &Tensor, b: &Tensor, out: &mut [T]) -> Result<(), KernelError> {
    let Sizes { batch, m, k, n } = sizes(a.shape(), b.shape())?;
    let count = element_count(&batch)?;
    let (a, b) = (forward::<T>(a)?, forward::<T>(b)?);
    let (left, right) = (batched(&a, &batch, (m, k), false)?, batched(&b, &batch, (k, n), true)?);
    let (a_data, a_start) = storage::<T>(&a)?;
    let (b_data, b_start) = storage::<T>(&b)?;
    // A right side that all batches share turns the batches of a dense left side into rows.
    if count > 1
        && right.steps.iter().all(|&s| s == 0)
        && a.is_contiguous()
        && let Some(rows) = count.checked_mul(m)
        && rows.checked_mul(k) == Some(a.len())
    {
        let left = Matrix::new(&a_data[a_start..], rows, k, k, 1)?;
        let right = Matrix::new(&b_data[b_start..], k, n, right.row_step, right.col_step)?;
        return product_into(pool, T::ONE, left, right, false, out);
    }
    let pair = |i: usize| {
        let (mut x, mut y, mut rest) = (a_start, b_start, i);
        for (axis, &size) in batch.iter().enumerate().rev() {
            let index = rest % size;
            rest /= size;
            x += index * left.steps[axis];
            y += index * right.steps[axis];
        }
        Ok((
            Matrix::new(a_data.get(x..).unwrap_or(&[]), m, k, left.row_step, left.col_step)?,
            Matrix::new(b_data.get(y..).unwrap_or(&[]), k, n, right.row_step, right.col_step)?,
        ))
    };
    products_into(pool, T::ONE, (m, k, n), count, pair, false, out)
}

/// The steps of an operand: one for each batch dimension, then row and column.
struct Steps {
    steps: Shape,
    row_step: usize,
    col_step: usize,
}

fn batched(x: &Tensor, batch: &[usize], matrix: (usize, usize), right: bool) -> Result<Steps, KernelError> {
    let as_matrix = |x: &Tensor| -> (usize, usize) {
        match (x.strides(), right) {
            ([.., r, c], _) => (*r as usize, *c as usize),
            // A row: its one row never steps; a column: its one column never does.
            ([s], false) => (matrix.1, *s as usize),
            ([s], true) => (*s as usize, 1),
            ([], _) => (0, 0),
        }
    };
    let (row_step, col_step) = as_matrix(x);
    let lead = x.rank().saturating_sub(2);
    let mut steps = Shape::from_elem(0, batch.len());
    for axis in 0..lead {
        if x.shape()[axis] != 1 {
            steps[batch.len() - lead + axis] = x.strides()[axis] as usize;
        }
    }
    Ok(Steps { steps, row_step, col_step })
}

/// The tensor readable as `T` with steps that are not negative; copied where it is not.
pub(crate) fn forward<T: Scalar>(x: &Tensor) -> Result<Tensor, KernelError> {
    if x.is_empty() || (x.strides().iter().all(|&s| s >= 0) && x.storage::<T>().is_some()) {
        return Ok(x.clone());
    }
    Ok(x.to_dense()?)
}

pub(crate) fn storage<T: Scalar>(x: &Tensor) -> Result<(&[T], usize), KernelError> {
    if x.is_empty() {
        return Ok((&[], 0));
    }
    x.storage::<T>()
        .filter(|(data, start)| *start <= data.len())
        .ok_or_else(|| KernelError::Type(format!("expected {}, found {}", T::DTYPE, x.dtype())))
}

/// The attributes of `Gemm`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GemmAttributes {
    /// Factor of the product.
    pub alpha: f32,
    /// Factor of the third operand.
    pub beta: f32,
    /// Whether the left side is read transposed.
    pub trans_a: bool,
    /// Whether the right side is read transposed.
    pub trans_b: bool,
}

impl Default for GemmAttributes {
    fn default() -> GemmAttributes {
        GemmAttributes { alpha: 1.0, beta: 1.0, trans_a: false, trans_b: false }
    }
}

/// `Gemm`: `alpha * A * B + beta * C` for matrices `A` (m, k) and `B` (k, n), `C` broadcast to (m, n).
/// 16-bit floats accumulate in f32; integers wrap around and round scaled values towards zero.
///
/// # Errors
/// When an operand is not a matrix, sizes or types differ, or there is no memory.
pub fn gemm(
    pool: &Pool,
    a: &Tensor,
    b: &Tensor,
    c: Option<&Tensor>,
    attributes: GemmAttributes,
) -> Result<Tensor, KernelError> {
    let dtype = a.dtype();
    if b.dtype() != dtype || c.is_some_and(|c| c.dtype() != dtype) {
        return Err(KernelError::Type(format!("Gemm takes operands of one type, found {a:?} and {b:?}")));
    }
    if is_half(dtype) {
        let c = c.map(widened).transpose()?;
        let wide = gemm(pool, &widened(a)?, &widened(b)?, c.as_ref(), attributes)?;
        return narrowed(wide, dtype);
    }
    let turned = |x: &Tensor, turn: bool| -> Result<Tensor, KernelError> {
        if x.rank() != 2 {
            return Err(KernelError::Shape(format!("Gemm takes matrices, found shape {:?}", x.shape())));
        }
        // Weights in a file may lie at any byte. Copied before they are turned, they are summed in the same order as
        // those that need no copy.
        let x = if x.is_contiguous() { x.to_dense()? } else { x.clone() };
        Ok(if turn { x.permute(&[1, 0])? } else { x })
    };
    let (a, b) = (turned(a, attributes.trans_a)?, turned(b, attributes.trans_b)?);
    match dtype {
        DType::F32 => gemm_of::<f32>(pool, &a, &b, c, attributes),
        DType::F64 => gemm_of::<f64>(pool, &a, &b, c, attributes),
        DType::I32 => gemm_of::<i32>(pool, &a, &b, c, attributes),
        DType::I64 => gemm_of::<i64>(pool, &a, &b, c, attributes),
        DType::U32 => gemm_of::<u32>(pool, &a, &b, c, attributes),
        DType::U64 => gemm_of::<u64>(pool, &a, &b, c, attributes),
        other => Err(KernelError::Type(format!("there is no Gemm of {other}"))),
    }
}

fn gemm_of<T: Scalar>(
    pool: &Pool,
    a: &Tensor,
    b: &Tensor,
    c: Option<&Tensor>,
    attributes: GemmAttributes,
) -> Result<Tensor, KernelError> {
    let Sizes { m, k, n, .. } = sizes(a.shape(), b.shape())?;
    let mut result = TensorMut::zeroed(T::DTYPE, &[m, n])?;
    let out = result.slice_mut::<T>()?;
    let (a, b) = (forward::<T>(a)?, forward::<T>(b)?);
    let (left, right) = (batched(&a, &[], (m, k), false)?, batched(&b, &[], (k, n), true)?);
    let (a_data, a_start) = storage::<T>(&a)?;
    let (b_data, b_start) = storage::<T>(&b)?;
    let left = Matrix::new(&a_data[a_start..], m, k, left.row_step, left.col_step)?;
    let right = Matrix::new(&b_data[b_start..], k, n, right.row_step, right.col_step)?;
    let addend = c
        .filter(|_| attributes.beta != 0.0)
        .map(|c| -> Result<Tensor, KernelError> { Ok(forward::<T>(c)?.broadcast_to(&[m, n])?) })
        .transpose()?;
    // Floats take alpha and the addend into the product; integers scale what the product gave.
    let inside = T::BLOCKED || attributes.alpha == 1.0;
    let fill = |out: &mut [T], add: bool| -> Result<(), KernelError> {
        let Some(c) = addend.as_ref().filter(|_| !out.is_empty()) else { return Ok(()) };
        let (data, start) = storage::<T>(c)?;
        let (row, col) = (c.strides()[0], c.strides()[1]);
        for (i, line) in out.chunks_exact_mut(n).enumerate() {
            let mut at = start as isize + i as isize * row;
            for cell in line {
                let value = data[at as usize].scaled(attributes.beta);
                *cell = if add { cell.plus(value) } else { value };
                at += col;
            }
        }
        Ok(())
    };
    if inside {
        fill(out, false)?;
        let alpha = if attributes.alpha == 1.0 { T::ONE } else { T::ONE.scaled(attributes.alpha) };
        product_into(pool, alpha, left, right, addend.is_some(), out)?;
    } else {
        product_into(pool, T::ONE, left, right, false, out)?;
        for cell in out.iter_mut() {
            *cell = cell.scaled(attributes.alpha);
        }
        fill(out, true)?;
    }
    Ok(result.freeze())
}

/// `MatMulInteger`: the product of 8-bit integers, minus their zero points, in i32.
/// Zero points are scalars, one a row (left) or a column (right), or of a shape that broadcasts to the operand's.
///
/// # Errors
/// As [`matmul`], and when a zero point does not fit its operand.
pub fn matmul_integer(
    pool: &Pool,
    a: &Tensor,
    b: &Tensor,
    a_zero: Option<&Tensor>,
    b_zero: Option<&Tensor>,
) -> Result<Tensor, KernelError> {
    // One zero point a row of the left side is a column.
    let a_zero = match a_zero {
        Some(z) if z.rank() == 1 && z.len() > 1 => Some(z.reshape(&[z.len(), 1])?),
        other => other.cloned(),
    };
    matmul(pool, &without_zero(a, a_zero.as_ref())?, &without_zero(b, b_zero)?)
}

/// An 8-bit tensor as i32 with its zero point (broadcast to its shape) taken away.
///
/// # Errors
/// When the type is no 8-bit integer, the zero point has another type or does not broadcast, or there is no memory.
pub fn without_zero(x: &Tensor, zero: Option<&Tensor>) -> Result<Tensor, KernelError> {
    let wide = as_i32(x)?;
    let Some(zero) = zero else { return Ok(wide) };
    if zero.dtype() != x.dtype() {
        return Err(KernelError::Type(format!("the zero point of {x:?} has the type {}", zero.dtype())));
    }
    let zero = as_i32(zero)?;
    let zero = match zero.len() {
        1 => zero.reshape(&[])?,
        _ => zero,
    };
    let zero = zero.broadcast_to(x.shape())?;
    let mut out = wide.into_mut()?;
    let (data, _) = storage::<i32>(&zero)?;
    for (cell, at) in out.slice_mut::<i32>()?.iter_mut().zip(zero.positions()) {
        *cell = cell.wrapping_sub(data[at]);
    }
    Ok(out.freeze())
}

fn as_i32(x: &Tensor) -> Result<Tensor, KernelError> {
    let values: Vec<i32> = match x.dtype() {
        DType::U8 => x.values::<u8>()?.iter().map(|&v| i32::from(v)).collect(),
        DType::I8 => x.values::<i8>()?.iter().map(|&v| i32::from(v)).collect(),
        DType::I32 => return Ok(x.clone()),
        other => return Err(KernelError::Type(format!("expected an 8-bit integer, found {other}"))),
    };
    Ok(Tensor::new(x.shape(), &values)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arange(shape: &[usize]) -> Tensor {
        let count = element_count(shape).unwrap();
        let values: Vec<f32> = (0..count).map(|i| ((i * 5) % 13) as f32 - 6.0).collect();
        Tensor::new(shape, &values).unwrap()
    }

    /// By index arithmetic alone.
    fn slow(a: &Tensor, b: &Tensor) -> Vec<f32> {
        let Sizes { batch, m, k, n } = sizes(a.shape(), b.shape()).unwrap();
        let full = |x: &Tensor, r: usize, c: usize| {
            let mut shape = batch.clone();
            let flat = if x.rank() == 1 { x.reshape(&[r, c]).unwrap() } else { x.clone() };
            shape.extend([r, c]);
            flat.broadcast_to(&shape).unwrap().to_dense().unwrap()
        };
        let (a, b) = (full(a, m, k), full(b, k, n));
        let (a, b) = (a.slice::<f32>().unwrap(), b.slice::<f32>().unwrap());
        let mut out = Vec::new();
        for i in 0..element_count(&batch).unwrap() {
            for r in 0..m {
                for c in 0..n {
                    out.push((0..k).map(|p| a[(i * m + r) * k + p] * b[(i * k + p) * n + c]).sum());
                }
            }
        }
        out
    }

    #[test]
    fn batches_broadcast() {
        let pool = Pool::sequential();
        for (a, b) in [
            (&[3][..], &[3][..]),
            (&[3], &[3, 4]),
            (&[2, 3], &[3]),
            (&[5, 2, 3], &[3]),
            (&[3], &[5, 3, 2]),
            (&[5, 2, 3], &[3, 4]),
            (&[2, 3], &[5, 3, 4]),
            (&[2, 1, 4, 3], &[5, 3, 2]),
            (&[2, 5, 1, 3], &[2, 1, 3, 4]),
            (&[0, 4, 3], &[3, 2]),
            (&[2, 0, 3], &[3, 2]),
            (&[2, 4, 0], &[0, 2]),
            (&[1, 1, 3], &[1, 3, 2]),
        ] {
            let (a, b) = (arange(a), arange(b));
            let out = matmul(&pool, &a, &b).unwrap();
            assert_eq!(out.shape(), matmul_shape(a.shape(), b.shape()).unwrap().as_slice());
            assert_eq!(out.slice::<f32>().unwrap(), slow(&a, &b), "{a:?} {b:?}");
        }
    }

    #[test]
    fn views_need_no_copy() {
        let pool = Pool::sequential();
        let a = arange(&[4, 2, 3]).permute(&[1, 0, 2]).unwrap();
        let b = arange(&[2, 5, 3]).permute(&[0, 2, 1]).unwrap();
        assert_eq!(matmul(&pool, &a, &b).unwrap().slice::<f32>().unwrap(), slow(&a, &b));
        let back = arange(&[3, 4]).slice_axis(0, 2, 3, -1).unwrap();
        let row = arange(&[2, 3]).slice_axis(1, 0, 3, 1).unwrap();
        assert_eq!(matmul(&pool, &row, &back).unwrap().slice::<f32>().unwrap(), slow(&row, &back));
    }

    #[test]
    fn sizes_that_differ_are_errors() {
        let pool = Pool::sequential();
        assert!(matmul(&pool, &arange(&[2, 3]), &arange(&[2, 3])).is_err());
        assert!(matmul(&pool, &arange(&[2, 2, 3]), &arange(&[3, 3, 2])).is_err());
        assert!(matmul(&pool, &arange(&[]), &arange(&[3])).is_err());
        assert!(gemm(&pool, &arange(&[3]), &arange(&[3]), None, GemmAttributes::default()).is_err());
    }

    #[test]
    fn gemm_scales_and_adds() {
        let pool = Pool::sequential();
        let (a, b) = (arange(&[3, 2]), arange(&[4, 3]));
        let attributes = GemmAttributes { alpha: 0.5, beta: 2.0, trans_a: true, trans_b: true };
        let product = slow(&a.permute(&[1, 0]).unwrap(), &b.permute(&[1, 0]).unwrap().to_dense().unwrap());
        for c in [&[][..], &[4], &[2, 1], &[1, 4], &[2, 4]] {
            let c = arange(c);
            let full = c.broadcast_to(&[2, 4]).unwrap().to_dense().unwrap();
            let want: Vec<f32> =
                product.iter().zip(full.slice::<f32>().unwrap()).map(|(p, c)| 0.5 * p + 2.0 * c).collect();
            let out = gemm(&pool, &a, &b, Some(&c), attributes).unwrap();
            assert_eq!(out.slice::<f32>().unwrap(), want);
        }
        let ints = Tensor::new(&[1, 1], &[5i32]).unwrap();
        let out = gemm(&pool, &ints, &ints, Some(&ints), GemmAttributes { alpha: 0.5, ..attributes });
        assert_eq!(out.unwrap().slice::<i32>().unwrap(), &[12 + 10]);
    }

    #[test]
    fn halves_and_zero_points() {
        let pool = Pool::sequential();
        let h = half::f16::from_f32;
        let a = Tensor::new(&[1, 2], &[h(1.5), h(2.0)]).unwrap();
        let b = Tensor::new(&[2, 1], &[h(2.0), h(0.25)]).unwrap();
        assert_eq!(matmul(&pool, &a, &b).unwrap().slice::<half::f16>().unwrap(), &[h(3.5)]);
        let a = Tensor::new(&[2, 2], &[10u8, 20, 30, 255]).unwrap();
        let b = Tensor::new(&[2, 1], &[-3i8, 127]).unwrap();
        let zero = Tensor::new(&[2], &[10u8, 5]).unwrap();
        let out = matmul_integer(&pool, &a, &b, Some(&zero), Some(&Tensor::scalar(-1i8))).unwrap();
        assert_eq!(out.slice::<i32>().unwrap(), &[10 * 128, -(25 * 2) + 250 * 128]);
    }
}
