//! How far two values are apart.

use anyhow::Result;
use oxidane::complex::Complex;
use oxidane::{DType, Datum, Tensor};
use serde::Serialize;

/// The distance of two values of the same kind and shape.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Difference {
    /// The largest absolute difference of two elements; infinite where one is NaN or infinite and the other not.
    pub absolute: f64,
    /// The same, relative to the largest magnitude of the first value.
    pub relative: f64,
    /// The largest difference in units in the last place of the coarser of the two types; 0 for other types than
    /// floats.
    pub ulp: u64,
    /// How many elements are not equal.
    pub unequal: usize,
    /// How many elements there are.
    pub elements: usize,
}

impl Difference {
    /// The larger of two distances, each by each.
    #[must_use]
    pub fn and(self, other: Difference) -> Difference {
        Difference {
            absolute: self.absolute.max(other.absolute),
            relative: self.relative.max(other.relative),
            ulp: self.ulp.max(other.ulp),
            unequal: self.unequal + other.unequal,
            elements: self.elements + other.elements,
        }
    }
}

/// Compares two values, where the first is the one to be met. Floats of different types are compared as numbers.
///
/// # Errors
/// Says what differs where the values are of different kinds, types or shapes.
pub fn difference(first: &Datum, second: &Datum) -> Result<Difference, String> {
    match (first, second) {
        (Datum::Tensor(a), Datum::Tensor(b)) => tensors(a, b),
        (Datum::Sequence(a), Datum::Sequence(b)) => {
            if a.len() != b.len() {
                return Err(format!("is a sequence of {} instead of {}", b.len(), a.len()));
            }
            all(a.iter().zip(b.iter()))
        }
        (Datum::Optional(None), Datum::Optional(None)) => Ok(Difference::default()),
        (Datum::Optional(Some(a)), Datum::Optional(Some(b))) => difference(a, b),
        (Datum::Map { keys: a, values: x }, Datum::Map { keys: b, values: y }) => {
            let keys = tensors(a, b)?;
            if keys.unequal > 0 {
                return Err("is a map from other keys".to_owned());
            }
            all(x.iter().zip(y.iter()))
        }
        _ => Err(format!("is {} instead of {}", kind(second), kind(first))),
    }
}

fn all<'a>(pairs: impl Iterator<Item = (&'a Datum, &'a Datum)>) -> Result<Difference, String> {
    let mut total = Difference::default();
    for (i, (a, b)) in pairs.enumerate() {
        total = total.and(difference(a, b).map_err(|e| format!("item {i} {e}"))?);
    }
    Ok(total)
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

fn tensors(first: &Tensor, second: &Tensor) -> Result<Difference, String> {
    let comparable = first.dtype() == second.dtype() || first.dtype().is_float() && second.dtype().is_float();
    if first.shape() != second.shape() || !comparable {
        return Err(format!(
            "is {}{:?} instead of {}{:?}",
            second.dtype(),
            second.shape(),
            first.dtype(),
            first.shape()
        ));
    }
    let fault = |e: oxidane::TensorError| e.to_string();
    if first.dtype() == DType::String {
        let (a, b) = (first.to_texts().map_err(fault)?, second.to_texts().map_err(fault)?);
        let unequal = a.iter().zip(&b).filter(|(a, b)| a != b).count();
        let far = if unequal > 0 { f64::INFINITY } else { 0.0 };
        return Ok(Difference { absolute: far, relative: far, ulp: 0, unequal, elements: a.len() });
    }
    let (a, b) = (parts(first).map_err(fault)?, parts(second).map_err(fault)?);
    let coarser =
        [first.dtype(), second.dtype()].into_iter().min_by_key(|d| fraction_bits(*d)).unwrap_or(DType::F64);
    let mut found = Difference { elements: a.len(), ..Difference::default() };
    let mut largest = 0f64;
    for (&a, &b) in a.iter().zip(&b) {
        if a.is_finite() {
            largest = largest.max(a.abs());
        }
        if a == b || a.is_nan() && b.is_nan() {
            continue;
        }
        found.unequal += 1;
        let apart = (a - b).abs();
        found.absolute = found.absolute.max(if apart.is_nan() { f64::INFINITY } else { apart });
        found.ulp = found.ulp.max(ulps(a, b, coarser));
    }
    found.relative = match found.absolute {
        0.0 => 0.0,
        absolute if largest > 0.0 => absolute / largest,
        _ => f64::INFINITY,
    };
    Ok(found)
}

/// The elements as numbers, real and imaginary parts in turn.
fn parts(tensor: &Tensor) -> Result<Vec<f64>, oxidane::TensorError> {
    let flat = |re_im: Vec<[f64; 2]>| re_im.into_iter().flatten().collect();
    Ok(match tensor.dtype() {
        DType::Complex64 => {
            flat(tensor.values::<Complex<f32>>()?.iter().map(|c| [c.re.into(), c.im.into()]).collect())
        }
        DType::Complex128 => flat(tensor.values::<Complex<f64>>()?.iter().map(|c| [c.re, c.im]).collect()),
        _ => tensor.to_f64s()?,
    })
}

/// The bits of a float's fraction that are stored; 0 for what is no IEEE-like float of 16 bits or more.
fn fraction_bits(dtype: DType) -> u32 {
    match dtype {
        DType::F64 => 52,
        DType::F32 => 23,
        DType::F16 => 10,
        DType::BF16 => 7,
        _ => 0,
    }
}

/// How many numbers of a type lie between two numbers.
fn ulps(a: f64, b: f64, dtype: DType) -> u64 {
    let fraction = fraction_bits(dtype);
    if fraction == 0 {
        return 0;
    }
    if !(a - b).is_finite() {
        return u64::MAX;
    }
    let smallest = match dtype {
        DType::F16 => -14,
        DType::F64 => -1022,
        _ => -126,
    };
    // The place of a number in the order of all, in steps of the type.
    let place = |x: f64| -> i128 {
        let magnitude = x.abs();
        let exponent = (magnitude.log2().floor() as i32).clamp(smallest, 1023);
        let within = magnitude / 2f64.powi(exponent);
        let scaled = 2f64.powi(fraction as i32);
        let steps = (i128::from(exponent - smallest) << fraction) + (within * scaled).round() as i128;
        if x < 0.0 { -steps } else { steps }
    };
    u64::try_from((place(a) - place(b)).abs()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[f32]) -> Datum {
        Tensor::new(&[values.len()], values).unwrap().into()
    }

    #[test]
    fn one_step_is_one_ulp() {
        for x in [1.0f32, -1.5, 3.9999998, 1e-40, 0.0, 2.0f32.powi(100)] {
            let next =
                if x < 0.0 { f32::from_bits(x.to_bits() - 1) } else { f32::from_bits(x.to_bits() + 1) };
            let found = difference(&of(&[x]), &of(&[next])).unwrap();
            assert_eq!((found.ulp, found.unequal), (1, 1), "{x}");
        }
        assert_eq!(
            difference(&of(&[-0.0]), &of(&[0.0])).unwrap(),
            Difference { elements: 1, ..Default::default() }
        );
    }

    #[test]
    fn nothing_hides() {
        let found = difference(&of(&[1.0, 2.0]), &of(&[1.0, f32::NAN])).unwrap();
        assert!(found.absolute.is_infinite() && found.relative.is_infinite());
        assert_eq!(difference(&of(&[f32::NAN]), &of(&[f32::NAN])).unwrap().unequal, 0);
        assert!(difference(&of(&[1.0]), &of(&[1.0, 1.0])).unwrap_err().contains("[2]"));
        let close = difference(&of(&[4.0, 0.0]), &of(&[4.0, 0.002])).unwrap();
        assert!((close.relative - 0.0005).abs() < 1e-6);
    }

    #[test]
    fn halves_are_compared_as_numbers() {
        let half = Tensor::from_f64s(DType::F16, &[1], &[1.0]).unwrap();
        let found = difference(&of(&[1.0009766]), &half.into()).unwrap();
        assert_eq!(found.ulp, 1);
    }
}
