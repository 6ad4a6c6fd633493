//! Loops on real numbers applied to complex ones, part by part.

use oxidane_graph::OpError;
use oxidane_tensor::complex::Complex;
use oxidane_tensor::{CastRules, DType, Tensor};

/// Applies `each` to real and imaginary parts as `double` and joins what it makes of them; a real tensor is given to
/// `each` as it is.
///
/// # Errors
/// Those of `each`, and when there is no memory.
pub(super) fn by_part(
    x: &Tensor,
    mut each: impl FnMut(&Tensor) -> Result<Tensor, OpError>,
) -> Result<Tensor, OpError> {
    if !x.dtype().is_complex() {
        return each(x);
    }
    let wide = x.cast(DType::Complex128, CastRules::default())?.to_dense()?;
    let all = wide.slice::<Complex<f64>>()?;
    let part = |of: fn(&Complex<f64>) -> f64| Tensor::new(x.shape(), &all.iter().map(of).collect::<Vec<_>>());
    let (re, im) = (each(&part(|c| c.re)?)?, each(&part(|c| c.im)?)?);
    let (re, im) = (re.to_dense()?, im.to_dense()?);
    let pairs = re.slice::<f64>()?.iter().zip(im.slice::<f64>()?);
    let joined: Vec<_> = pairs.map(|(&re, &im)| Complex { re, im }).collect();
    Ok(Tensor::new(re.shape(), &joined)?.cast(x.dtype(), CastRules::default())?)
}

/// The type that interpolation computes in: `float` for floats up to 32 bits, `double` for all else.
pub(super) fn real(dtype: DType) -> DType {
    match dtype {
        DType::F16 | DType::BF16 | DType::F32 => DType::F32,
        _ => DType::F64,
    }
}
