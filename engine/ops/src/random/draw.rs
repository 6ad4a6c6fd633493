//! What the operators that fill a tensor with random numbers share.

use super::generator::Generator;
use crate::types;
use half::{bf16, f16};
use oxidane_graph::{Dim, Dims, InferCtx, OpError, Run, Unknown};
use oxidane_tensor::{DType, Tensor};

/// The attribute `seed` as an integer; none where it is absent or no number.
pub(crate) fn seed_of(seed: Option<f32>) -> Option<i64> {
    seed.filter(|s| !s.is_nan()).map(|s| s as i64)
}

/// A type that random numbers may have.
///
/// # Errors
/// When it is no float type.
pub(crate) fn float_type(dtype: DType) -> Result<DType, OpError> {
    match types::FLOAT.has_tensor(dtype) {
        true => Ok(dtype),
        false => Err(OpError::new(format!("random numbers cannot be {dtype}"))
            .help("set the attribute `dtype` to a float type of 16 bits or more")),
    }
}

/// The attribute `shape` as sizes.
///
/// # Errors
/// When one is negative.
pub(crate) fn sizes(shape: &[i64]) -> Result<Vec<usize>, OpError> {
    shape
        .iter()
        .map(|&size| {
            usize::try_from(size).map_err(|_| {
                OpError::new(format!("attribute `shape` is {shape:?}, but sizes are not negative"))
            })
        })
        .collect()
}

/// Sets output 0 to a tensor of `dtype` in the shape that the attribute states.
///
/// # Errors
/// When the type is no float type, or a size is negative.
pub(crate) fn infer_shape(ctx: &mut InferCtx<'_>, dtype: DType, shape: &[i64]) -> Result<(), Unknown> {
    let dims: Dims = sizes(shape)?.into_iter().map(Dim::from).collect();
    ctx.set_tensor(0, float_type(dtype)?, dims);
    Ok(())
}

/// Sets output 0 to a tensor of the shape of input 0, and of its type where no other is asked for.
///
/// # Errors
/// When the type is no float type.
pub(crate) fn infer_like(ctx: &mut InferCtx<'_>, dtype: Option<DType>) -> Result<(), Unknown> {
    let dtype = float_type(match dtype {
        Some(dtype) => dtype,
        None => ctx.dtype(0)?,
    })?;
    match ctx.shape(0).map(Dims::from_slice) {
        Some(shape) => ctx.set_tensor(0, dtype, shape),
        None => ctx.set_unranked(0, dtype),
    }
    Ok(())
}

/// Numbers between two looks at whether the run may go on.
const STRETCH: usize = 1 << 16;

/// Sets output 0 to numbers that `next` draws, in row-major order.
///
/// # Errors
/// When the type is no float type, the shape is too large, or the run was stopped.
pub(crate) fn draw(
    run: &mut Run<'_>,
    seed: Option<f32>,
    dtype: DType,
    shape: &[usize],
    next: &dyn Fn(&mut Generator) -> f64,
) -> Result<(), OpError> {
    let mut generator = Generator::seeded(seed_of(seed));
    let mut out = run.allocate(0, float_type(dtype)?, shape)?;
    macro_rules! fill {
        ($t:ty, $from:expr) => {
            for stretch in out.slice_mut::<$t>()?.chunks_mut(STRETCH) {
                run.checkpoint()?;
                for x in stretch {
                    *x = $from(next(&mut generator));
                }
            }
        };
    }
    match dtype {
        DType::F32 => fill!(f32, |x: f64| x as f32),
        DType::F64 => fill!(f64, |x: f64| x),
        DType::F16 => fill!(f16, f16::from_f64),
        _ => fill!(bf16, bf16::from_f64),
    }
    run.set(0, out.freeze());
    Ok(())
}

/// The shape of an input and the type for numbers like it.
pub(crate) fn like(tensor: &Tensor, dtype: Option<DType>) -> (DType, Vec<usize>) {
    (dtype.unwrap_or(tensor.dtype()), tensor.shape().to_vec())
}
