//! What the linear quantizers share: types, the scales that belong to a tensor, and versions.

use crate::{Draft, types};
use oxidane_graph::{InferCtx, OpError, ShownDims, Types, Unknown, axis_index};
use oxidane_kernels::quantize::{Grid, dequantize, dequantize_bytes, divide, precision_of, quantize};
use oxidane_pool::Pool;
use oxidane_tensor::{CastRules, DType, Tensor, TensorMut};

/// What codes may be.
pub(crate) const CODES: Types = Types::tensors(&[
    DType::I8,
    DType::U8,
    DType::I16,
    DType::U16,
    DType::F8E4M3FN,
    DType::F8E4M3FNUZ,
    DType::F8E5M2,
    DType::F8E5M2FNUZ,
    DType::U4,
    DType::I4,
    DType::F4E2M1,
    DType::U2,
    DType::I2,
    DType::F6E2M3,
    DType::F6E3M2,
]);

/// float, float16, bfloat16.
pub(crate) const HALF_OR_FLOAT: Types = Types::tensors(&[DType::F32, DType::F16, DType::BF16]);

/// An element type from an attribute in which 0 stands for none.
///
/// # Errors
/// When the number is no type, or one that is not in `allowed`.
pub(crate) fn dtype_or_none(name: &str, code: i64, allowed: Types) -> Result<Option<DType>, OpError> {
    if code == 0 {
        return Ok(None);
    }
    let dtype = i32::try_from(code).ok().and_then(DType::from_onnx).filter(|&d| allowed.has_tensor(d));
    dtype.map(Some).ok_or_else(|| {
        OpError::new(format!("attribute `{name}` is {code}, which is none of the types {allowed}"))
    })
}

/// The attribute `block_size` as a size.
///
/// # Errors
/// When it is negative.
pub(crate) fn block_of(block_size: i64) -> Result<usize, OpError> {
    usize::try_from(block_size)
        .map_err(|_| OpError::new(format!("attribute `block_size` is {block_size}, but may not be negative")))
}

fn grid(x: &[usize], scale: &Tensor, axis: i64, block: usize) -> Result<Grid, OpError> {
    // Opsets differ in what the axis of a single scale may be, and nothing depends on it.
    if scale.len() == 1 && scale.rank() <= 1 {
        return Ok(Grid::WHOLE);
    }
    Ok(Grid::new(x, scale.shape(), axis_index(axis, x.len())?, block)?)
}

/// Refuses scales (input 1) and zero points (input 2) that are known not to fit the tensor (input 0).
///
/// # Errors
/// Says what does not fit.
pub(crate) fn check_scales(ctx: &InferCtx<'_>, axis: i64, block_size: i64) -> Result<(), Unknown> {
    let block = block_of(block_size)?;
    let (Some(x), Some(scale)) = (ctx.shape(0), ctx.shape(1)) else { return Ok(()) };
    let fault = |why: &str| {
        Unknown::wrong(format!(
            "scales of shape {} do not fit a tensor of shape {}: {why}",
            ShownDims(scale),
            ShownDims(x)
        ))
    };
    match scale.len() {
        0 => {}
        1 if block == 0 => {
            let count = scale[0].as_known();
            if count.is_some_and(|n| n != 1) {
                let size = x[axis_index(axis, x.len())?].as_known();
                if size.is_some_and(|n| Some(n) != count) {
                    return Err(fault("there must be one, or one for each place along the axis"));
                }
            }
        }
        1 if scale[0].as_known().is_none_or(|n| n == 1) => {}
        _ if block == 0 => return Err(fault("more than one dimension needs the attribute `block_size`")),
        rank if rank != x.len() => return Err(fault("blocks need scales of the same rank")),
        _ => {
            axis_index(axis, x.len())?;
        }
    }
    if let Some(zero) = ctx.shape(2)
        && zero.len() != scale.len()
        && zero.iter().chain(scale).any(|d| d.as_known() != Some(1))
    {
        return Err(Unknown::wrong(format!(
            "zero points of shape {} do not fit scales of shape {}; they must be alike",
            ShownDims(zero),
            ShownDims(scale)
        )));
    }
    Ok(())
}

fn checked_zero<'t>(scale: &Tensor, zero: Option<&'t Tensor>) -> Result<Option<&'t Tensor>, OpError> {
    match zero {
        Some(zero) if zero.len() != scale.len() => Err(OpError::new(format!(
            "zero points of shape {:?} do not fit scales of shape {:?}; they must be alike",
            zero.shape(),
            scale.shape()
        ))),
        other => Ok(other),
    }
}

fn floats_of(tensor: &Tensor) -> Result<Tensor, OpError> {
    Ok(tensor.cast(DType::F32, CastRules::default())?.to_dense()?)
}

/// The range of an integer type of up to 16 bits.
fn range(dtype: DType) -> Option<(i32, i32)> {
    let bits = dtype.bits() as u32;
    if bits > 16 {
        return None;
    }
    if dtype.is_unsigned_integer() {
        return Some((0, (1 << bits) - 1));
    }
    dtype.is_signed_integer().then_some((-(1 << (bits - 1)), (1 << (bits - 1)) - 1))
}

/// How a tensor is quantized.
pub(crate) struct Rules {
    pub(crate) axis: i64,
    pub(crate) block: usize,
    pub(crate) saturate: bool,
    /// The type to divide in; that of the scale where it is `None`.
    pub(crate) precision: Option<DType>,
    /// The type of the codes.
    pub(crate) to: DType,
}

/// `x / scale + zero point` in codes.
///
/// # Errors
/// When shapes do not fit, or there is no memory.
pub(crate) fn quantized(
    pool: &Pool,
    x: &Tensor,
    scale: &Tensor,
    zero: Option<&Tensor>,
    rules: &Rules,
) -> Result<Tensor, OpError> {
    let zero = checked_zero(scale, zero)?;
    let grid = grid(x.shape(), scale, rules.axis, rules.block)?;
    let to = rules.to;
    let divide_in = rules.precision.unwrap_or(match scale.dtype() {
        DType::F16 | DType::BF16 => scale.dtype(),
        _ => DType::F32,
    });
    let precision = precision_of(divide_in);
    let as_divided = |t: &Tensor| -> Result<Tensor, OpError> {
        floats_of(&if precision.is_some() { t.cast(divide_in, CastRules::default())? } else { t.clone() })
    };
    let (x, scale) = (as_divided(x)?, as_divided(scale)?);
    let scales = scale.slice::<f32>()?;
    let Some(range) = range(to) else {
        let zero = zero.map(floats_of).transpose()?;
        let zeros = zero.as_ref().map(|z| z.slice::<f32>()).transpose()?.unwrap_or_default();
        let mut quotient = x.into_mut()?;
        divide(pool, quotient.slice_mut()?, &grid, (scales, zeros), precision)?;
        let rules = CastRules { saturate: rules.saturate, ..CastRules::default() };
        return Ok(quotient.freeze().cast(to, rules)?);
    };
    let zero = zero.map(|z| z.cast(DType::I32, CastRules::default())?.to_dense()).transpose()?;
    let zeros = zero.as_ref().map(|z| z.slice::<i32>()).transpose()?.unwrap_or_default();
    let (input, given) = (x.slice::<f32>()?, (scales, zeros));
    let stored = if matches!(to, DType::U8 | DType::I8) { to } else { DType::I32 };
    let mut out = TensorMut::zeroed(stored, x.shape())?;
    match stored {
        DType::U8 => quantize::<u8>(pool, input, &grid, given, precision, range, out.slice_mut()?)?,
        DType::I8 => quantize::<i8>(pool, input, &grid, given, precision, range, out.slice_mut()?)?,
        _ => quantize::<i32>(pool, input, &grid, given, precision, range, out.slice_mut()?)?,
    }
    Ok(out.freeze().cast(to, CastRules::default())?)
}

/// `(x - zero point) * scale` in the type `to`; floats of bytes go into what `make` gives, which has the shape of `x`.
///
/// # Errors
/// When shapes do not fit, or there is no memory.
pub(crate) fn dequantized(
    pool: &Pool,
    x: &Tensor,
    scale: &Tensor,
    zero: Option<&Tensor>,
    (axis, block): (i64, usize),
    to: DType,
    make: impl FnOnce() -> Result<TensorMut, OpError>,
) -> Result<Tensor, OpError> {
    let zero = checked_zero(scale, zero)?;
    let grid = grid(x.shape(), scale, axis, block)?;
    let scale = floats_of(scale)?;
    let zero = zero.map(floats_of).transpose()?;
    let zeros = zero.as_ref().map(|z| z.slice::<f32>()).transpose()?.unwrap_or_default();
    if matches!(x.dtype(), DType::U8 | DType::I8) && to == DType::F32 {
        let x = x.to_dense()?;
        if let Some(codes) = x.dense_bytes() {
            let mut out = make()?;
            let given = (scale.slice()?, zeros);
            dequantize_bytes(pool, (codes, x.dtype() == DType::I8), &grid, given, out.slice_mut()?)?;
            return Ok(out.freeze());
        }
    }
    let mut out = floats_of(x)?.into_mut()?;
    dequantize(pool, out.slice_mut()?, &grid, (scale.slice()?, zeros))?;
    Ok(out.freeze().cast(to, CastRules::default())?)
}

/// Before opset 13 there was one scale for all elements.
pub(crate) fn without_axis(d: &mut Draft<'_>) -> Result<(), OpError> {
    let one = d.ty(1).and_then(|t| t.shape()).map(|s| s.iter().all(|d| d.as_known() == Some(1)));
    match one {
        Some(true) => drop(d.attributes.take("axis")),
        Some(false) => {
            return Err(OpError::new(
                "a scale for each place along an axis cannot be expressed in this opset",
            )
            .help("export to opset 13 or later"));
        }
        None => d.drop_default("axis", 1i64)?,
    }
    Ok(())
}

/// What quantized products take: 8-bit integers and floats.
pub(crate) const BYTES_OR_FLOAT8: Types =
    types::BYTES.or(Types::tensors(&[DType::F8E4M3FN, DType::F8E4M3FNUZ, DType::F8E5M2, DType::F8E5M2FNUZ]));
