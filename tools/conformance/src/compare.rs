use oxidane::{DType, Datum, Tensor};
use serde::{Deserialize, Serialize};

/// How far an output may be from the expected one: `|a - b| <= absolute + relative * |b|`, as in the official
/// runner. The type and the shape must be equal exactly.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Tolerance {
    /// Times the expected value.
    pub relative: f64,
    /// Added to that.
    pub absolute: f64,
}

impl Default for Tolerance {
    fn default() -> Tolerance {
        Tolerance { relative: 1e-3, absolute: 1e-7 }
    }
}

/// Two units in the last place of bfloat16.
const BF16_RELATIVE: f64 = 1.0 / 64.0;

/// Compares an output with the expected one.
///
/// # Errors
/// Says what differs: kind, type, shape, or the worst element.
pub fn compare(actual: &Datum, expected: &Datum, tolerance: Tolerance) -> Result<(), String> {
    match (actual, expected) {
        (Datum::Tensor(a), Datum::Tensor(b)) => compare_tensors(a, b, tolerance),
        (Datum::Sequence(a), Datum::Sequence(b)) => {
            if a.len() != b.len() {
                return Err(format!("is a sequence of {}, expected {}", a.len(), b.len()));
            }
            let mut pairs = a.iter().zip(b.iter()).enumerate();
            pairs.try_for_each(|(i, (a, b))| compare(a, b, tolerance).map_err(|e| format!("item {i} {e}")))
        }
        (Datum::Optional(None), Datum::Optional(None)) => Ok(()),
        (Datum::Optional(Some(a)), Datum::Optional(Some(b))) => compare(a, b, tolerance),
        (Datum::Map { keys: a, values: x }, Datum::Map { keys: b, values: y }) => {
            compare_tensors(a, b, tolerance)?;
            let mut pairs = x.iter().zip(y.iter());
            pairs.try_for_each(|(x, y)| compare(x, y, tolerance))
        }
        _ => Err(format!("is {}, expected {}", kind(actual), kind(expected))),
    }
}

fn kind(datum: &Datum) -> &'static str {
    match datum {
        Datum::Tensor(_) => "a tensor",
        Datum::Sequence(_) => "a sequence",
        Datum::Optional(None) => "an empty optional",
        Datum::Optional(Some(_)) => "an optional",
        Datum::Map { .. } => "a map",
    }
}

fn compare_tensors(actual: &Tensor, expected: &Tensor, tolerance: Tolerance) -> Result<(), String> {
    if actual.shape() != expected.shape() || actual.dtype() != expected.dtype() {
        return Err(format!("is {actual:?}, expected {expected:?}"));
    }
    let fault = |e: oxidane::TensorError| e.to_string();
    if expected.dtype() == DType::String {
        let (a, b) = (actual.to_dense().map_err(fault)?, expected.to_dense().map_err(fault)?);
        let (a, b) = (a.as_strings().unwrap_or_default(), b.as_strings().unwrap_or_default());
        return match a.iter().zip(b).position(|(a, b)| a != b) {
            Some(i) => Err(format!("element {i} is {:?}, expected {:?}", a[i], b[i])),
            None => Ok(()),
        };
    }
    let relative = match expected.dtype() {
        DType::BF16 => tolerance.relative.max(BF16_RELATIVE),
        _ => tolerance.relative,
    };
    let (a, b) = (parts(actual).map_err(fault)?, parts(expected).map_err(fault)?);
    let mut worst: Option<(usize, f64)> = None;
    let mut wrong = 0usize;
    for (i, (&a, &b)) in a.iter().zip(&b).enumerate() {
        if a == b || (a.is_nan() && b.is_nan()) {
            continue;
        }
        let difference = (a - b).abs();
        let fits = a.is_finite() && b.is_finite() && difference <= tolerance.absolute + relative * b.abs();
        if !fits {
            wrong += 1;
            let size = if difference.is_nan() { f64::INFINITY } else { difference };
            if worst.is_none_or(|(_, d)| size > d) {
                worst = Some((i, size));
            }
        }
    }
    match worst {
        None => Ok(()),
        Some((i, _)) => Err(format!(
            "differs in {wrong} of {} elements, most at {i}: {} instead of {}",
            a.len(),
            a[i],
            b[i]
        )),
    }
}

/// The elements as numbers, real and imaginary parts in turn.
fn parts(tensor: &Tensor) -> Result<Vec<f64>, oxidane::TensorError> {
    use oxidane::complex::Complex;
    let flat = |re_im: Vec<[f64; 2]>| re_im.into_iter().flatten().collect();
    Ok(match tensor.dtype() {
        DType::Complex64 => {
            flat(tensor.values::<Complex<f32>>()?.iter().map(|c| [c.re.into(), c.im.into()]).collect())
        }
        DType::Complex128 => flat(tensor.values::<Complex<f64>>()?.iter().map(|c| [c.re, c.im]).collect()),
        _ => tensor.to_f64s()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(values: &[f32]) -> Datum {
        Tensor::new(&[values.len()], values).unwrap().into()
    }

    #[test]
    fn follows_the_official_rule() {
        let t = Tolerance::default();
        assert!(compare(&tensor(&[1.0009]), &tensor(&[1.0]), t).is_ok());
        assert!(compare(&tensor(&[1.002]), &tensor(&[1.0]), t).is_err());
        assert!(compare(&tensor(&[f32::NAN]), &tensor(&[f32::NAN]), t).is_ok());
        assert!(compare(&tensor(&[f32::INFINITY]), &tensor(&[1.0]), t).is_err());
        assert!(compare(&tensor(&[1.0]), &tensor(&[f32::INFINITY]), t).is_err());
        assert!(compare(&tensor(&[1.0, 2.0]), &tensor(&[1.0]), t).unwrap_err().contains("[2]"));
        let double = Tensor::new(&[1], &[1.0f64]).unwrap().into();
        assert!(compare(&tensor(&[1.0]), &double, t).unwrap_err().contains("double"));
    }
}
