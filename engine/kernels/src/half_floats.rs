//! Kernels that have no 16-bit floats of their own run on f32 and round the result once.

use crate::KernelError;
use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};
use oxidane_tensor::{DType, Tensor, TensorMut};

/// Whether the type is one of the two 16-bit floats.
pub(crate) fn is_half(dtype: DType) -> bool {
    matches!(dtype, DType::F16 | DType::BF16)
}

/// The tensor in f32, dense, where its type is a 16-bit float; other types as they are.
pub(crate) fn widened(x: &Tensor) -> Result<Tensor, KernelError> {
    if !is_half(x.dtype()) {
        return Ok(x.clone());
    }
    let mut out = TensorMut::zeroed(DType::F32, x.shape())?;
    let target = out.slice_mut::<f32>()?;
    if x.dtype() == DType::F16 {
        x.values::<f16>()?.convert_to_f32_slice(target);
    } else {
        x.values::<bf16>()?.convert_to_f32_slice(target);
    }
    Ok(out.freeze())
}

/// A tensor of f32 in the type `dtype`: rounded for 16-bit floats, as it is otherwise.
pub(crate) fn narrowed(x: Tensor, dtype: DType) -> Result<Tensor, KernelError> {
    if !is_half(dtype) || x.dtype() == dtype {
        return Ok(x);
    }
    let source = x.values::<f32>()?;
    let mut out = TensorMut::zeroed(dtype, x.shape())?;
    if dtype == DType::F16 {
        out.slice_mut::<f16>()?.convert_from_f32_slice(&source);
    } else {
        out.slice_mut::<bf16>()?.convert_from_f32_slice(&source);
    }
    Ok(out.freeze())
}
