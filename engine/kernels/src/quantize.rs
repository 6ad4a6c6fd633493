//! Linear quantization: floats to integer codes and back, with one scale for all, one for each place along an
//! axis, or one for each block of places.

use crate::KernelError;
use oxidane_pool::Pool;
use oxidane_tensor::{DType, Tensor, element_count};

/// Elements that one task takes.
const CHUNK: usize = 16 * 1024;

/// Which scale belongs to which element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grid {
    /// Places along the axis.
    size: usize,
    /// Elements between neighbours along the axis.
    inner: usize,
    /// Places that share a scale.
    block: usize,
    /// Scales along the axis.
    blocks: usize,
    /// Whether scales differ inside the other dimensions too.
    all: bool,
}

impl Grid {
    /// One scale for all elements.
    pub const WHOLE: Grid = Grid { size: 1, inner: usize::MAX, block: 1, blocks: 1, all: false };

    /// The grid of scales of shape `scales` on a tensor of shape `shape`: one for all where there is one, one for
    /// each place along `axis` where they are a vector and `block` is 0, otherwise one for each `block` places.
    ///
    /// # Errors
    /// When the shapes do not fit.
    pub fn new(shape: &[usize], scales: &[usize], axis: usize, block: usize) -> Result<Grid, KernelError> {
        let fault = |why: String| {
            KernelError::Shape(format!(
                "scales of shape {scales:?} do not fit a tensor of shape {shape:?}: {why}"
            ))
        };
        if scales.iter().all(|&n| n == 1) && (scales.len() <= 1 || block == 0) {
            return Ok(Grid::WHOLE);
        }
        let size = *shape.get(axis).ok_or_else(|| fault(format!("there is no axis {axis}")))?;
        // Shapes without elements may have sizes whose product overflows; no loop runs over those.
        let inner = shape[axis + 1..].iter().fold(1usize, |n, &d| n.saturating_mul(d)).max(1);
        if block == 0 {
            if scales != [size] {
                return Err(fault(format!("it needs one, or {size} for axis {axis}")));
            }
            return Ok(Grid { size, inner, block: 1, blocks: size, all: false });
        }
        let blocks = size.div_ceil(block);
        let fits = scales.len() == shape.len()
            && scales
                .iter()
                .zip(shape)
                .enumerate()
                .all(|(i, (&s, &d))| s == if i == axis { blocks } else { d });
        if !fits {
            return Err(fault(format!("it needs {blocks} along axis {axis} for blocks of {block}")));
        }
        Ok(Grid { size, inner, block, blocks, all: true })
    }

    /// Cuts `len` elements from position `start` into runs; `run` takes the offset of a run from `start`, its
    /// length, the first scale, and whether the scale goes on with each element or stays.
    fn runs(&self, start: usize, len: usize, mut run: impl FnMut(usize, usize, usize, bool)) {
        if self.inner == usize::MAX {
            return run(0, len, 0, false);
        }
        let mut at = 0;
        while at < len {
            let position = start + at;
            let inside = position % self.inner;
            let row = position / self.inner;
            let (outer, place) = (row / self.size, row % self.size);
            let first = match self.all {
                true => (outer * self.blocks + place / self.block) * self.inner + inside,
                false => place,
            };
            let (left, moves) = match (self.inner, self.all) {
                (1, true) => ((self.block - place % self.block).min(self.size - place), false),
                (1, false) => (self.size - place, true),
                (inner, all) => (inner - inside, all),
            };
            let count = left.min(len - at);
            run(at, count, first, moves);
            at += count;
        }
    }

    /// How many scales there must be for `len` elements.
    fn scales(&self, len: usize) -> usize {
        match (self.inner, self.all) {
            (usize::MAX, _) => 1,
            (inner, true) => {
                (len / inner.max(1)).checked_div(self.size).unwrap_or(0).saturating_mul(self.blocks * inner)
            }
            (_, false) => self.size,
        }
    }

    fn check(&self, len: usize, scales: usize, zeros: usize) -> Result<(), KernelError> {
        let needed = self.scales(len);
        if scales < needed || (zeros != 0 && zeros < needed) {
            return Err(KernelError::Shape(format!(
                "{len} elements need {needed} scales and zero points, but there are {scales} and {zeros}"
            )));
        }
        Ok(())
    }
}

/// An integer that codes are stored in.
pub trait Code: Copy + Send + Sync {
    /// From a number inside the type's range.
    fn of(value: i32) -> Self;
}

macro_rules! codes {
    ($($t:ty),*) => {$(
        impl Code for $t {
            fn of(value: i32) -> $t {
                value as $t
            }
        }
    )*};
}
codes!(u8, i8, i32);

/// A 16-bit type whose precision a quotient is rounded to; `None` keeps it in `f32`.
pub type Precision = Option<fn(f32) -> f32>;

/// The precision of a float type.
pub fn precision_of(dtype: DType) -> Precision {
    match dtype {
        DType::F16 => Some(|x| half::f16::from_f32(x).to_f32()),
        DType::BF16 => Some(|x| half::bf16::from_f32(x).to_f32()),
        _ => None,
    }
}

/// `x / scale`, rounded to the nearest integer (halves to even), plus the zero point, cut to `range`. No zero points
/// stand for zeros. NaN counts as zero.
///
/// # Errors
/// When there are too few scales or zero points, or the lengths differ.
pub fn quantize<T: Code>(
    pool: &Pool,
    x: &[f32],
    grid: &Grid,
    (scales, zeros): (&[f32], &[i32]),
    precision: Precision,
    (low, high): (i32, i32),
    out: &mut [T],
) -> Result<(), KernelError> {
    grid.check(x.len(), scales.len(), zeros.len())?;
    same_length(x.len(), out.len())?;
    let code = |x: f32, scale: f32, zero: i32| -> T {
        let quotient = x / scale;
        let quotient = precision.map_or(quotient, |round| round(quotient));
        let steps = quotient.round_ties_even() as i32;
        T::of(steps.saturating_add(zero).clamp(low, high))
    };
    pool.for_each_piece(out, CHUNK, |i, piece| {
        let x = &x[i * CHUNK..][..piece.len()];
        grid.runs(i * CHUNK, piece.len(), |at, count, first, moves| {
            let (x, out) = (&x[at..at + count], &mut piece[at..at + count]);
            let zero = |k: usize| zeros.get(first + k).copied().unwrap_or(0);
            if moves {
                for (k, (x, out)) in x.iter().zip(out).enumerate() {
                    *out = code(*x, scales[first + k], zero(k));
                }
            } else {
                let (scale, zero) = (scales[first], zero(0));
                for (x, out) in x.iter().zip(out) {
                    *out = code(*x, scale, zero);
                }
            }
        });
    });
    Ok(())
}

/// As [`quantize`] up to the quotient, for codes that are floats: `x / scale` plus the zero point, in place. Zero
/// points that are zero leave the sign of zeros alone.
///
/// # Errors
/// When there are too few scales or zero points.
pub fn divide(
    pool: &Pool,
    x: &mut [f32],
    grid: &Grid,
    (scales, zeros): (&[f32], &[f32]),
    precision: Precision,
) -> Result<(), KernelError> {
    let round = move |x: f32| precision.map_or(x, |round| round(x));
    apply(pool, x, grid, (scales, zeros), &move |x, scale, zero| {
        let quotient = round(x / scale);
        if zero == 0.0 { quotient } else { round(quotient + zero) }
    })
}

/// `(x - zero point) * scale` in place.
///
/// # Errors
/// When there are too few scales or zero points.
pub fn dequantize(
    pool: &Pool,
    x: &mut [f32],
    grid: &Grid,
    (scales, zeros): (&[f32], &[f32]),
) -> Result<(), KernelError> {
    apply(pool, x, grid, (scales, zeros), &|x, scale, zero| (x - zero) * scale)
}

fn apply(
    pool: &Pool,
    x: &mut [f32],
    grid: &Grid,
    (scales, zeros): (&[f32], &[f32]),
    function: &(impl Fn(f32, f32, f32) -> f32 + Sync),
) -> Result<(), KernelError> {
    grid.check(x.len(), scales.len(), zeros.len())?;
    pool.for_each_piece(x, CHUNK, |i, piece| {
        let len = piece.len();
        grid.runs(i * CHUNK, len, |at, count, first, moves| {
            let zero = |k: usize| zeros.get(first + k).copied().unwrap_or(0.0);
            let piece = &mut piece[at..at + count];
            if moves {
                for (k, x) in piece.iter_mut().enumerate() {
                    *x = function(*x, scales[first + k], zero(k));
                }
            } else {
                let (scale, zero) = (scales[first], zero(0));
                for x in piece {
                    *x = function(*x, scale, zero);
                }
            }
        });
    });
    Ok(())
}

/// Sums of products of codes as 8-bit codes of another scale: `round(sum * factor) + zero point`, where factors and
/// zero points are one each or broadcast to the sums' shape.
///
/// # Errors
/// When the shapes do not broadcast, or types are not int32, float, and uint8 or int8.
pub fn requantize(sums: &Tensor, factors: &Tensor, zeros: &Tensor) -> Result<Tensor, KernelError> {
    let dtype = zeros.dtype();
    let (low, high) = match dtype {
        DType::U8 => (0, 255),
        DType::I8 => (-128, 127),
        other => return Err(KernelError::Type(format!("there is no quantized product of type {other}"))),
    };
    let sums = sums.to_dense()?;
    element_count(sums.shape())?;
    let zeros = zeros.cast(DType::I32, Default::default())?.to_dense()?;
    let (zeros_at, factors_at) = (spread(&zeros, sums.shape())?, spread(factors, sums.shape())?);
    let (zeros, factors) = (zeros.slice::<i32>()?, factors.slice::<f32>()?);
    let codes: Vec<i32> = sums
        .slice::<i32>()?
        .iter()
        .enumerate()
        .map(|(i, &sum)| {
            let steps = (sum as f32 * factors[factors_at.at(i)]).round_ties_even() as i32;
            steps.saturating_add(zeros[zeros_at.at(i)]).clamp(low, high)
        })
        .collect();
    Ok(Tensor::new(sums.shape(), &codes)?.cast(dtype, Default::default())?)
}

/// Where the elements of a small tensor stand when it is broadcast.
enum Spread {
    One,
    At(Vec<usize>),
}

impl Spread {
    fn at(&self, i: usize) -> usize {
        match self {
            Spread::One => 0,
            Spread::At(at) => at[i],
        }
    }
}

fn spread(small: &Tensor, shape: &[usize]) -> Result<Spread, KernelError> {
    if small.len() == 1 {
        return Ok(Spread::One);
    }
    Ok(Spread::At(small.broadcast_to(shape)?.positions().collect()))
}

fn same_length(a: usize, b: usize) -> Result<(), KernelError> {
    if a == b {
        return Ok(());
    }
    Err(KernelError::Shape(format!("{a} elements do not fit a result of {b}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_grid_finds_its_scales() {
        let x: Vec<f32> = (0..24).map(|v| v as f32).collect();
        let shape = [2, 3, 4];
        for (scales, axis, block) in [
            (vec![], 0, 0),
            (vec![1], 1, 0),
            (vec![2], 0, 0),
            (vec![3], 1, 0),
            (vec![4], 2, 0),
            (vec![1, 3, 4], 0, 2),
            (vec![2, 2, 4], 1, 2),
            (vec![2, 3, 2], 2, 3),
        ] {
            let grid = Grid::new(&shape, &scales, axis, block).unwrap();
            let count = scales.iter().product::<usize>();
            let values: Vec<f32> = (0..count).map(|v| v as f32 + 1.0).collect();
            let mut out = x.clone();
            dequantize(&Pool::sequential(), &mut out, &grid, (&values, &[])).unwrap();
            for (i, y) in out.iter().enumerate() {
                let mut index = [i / 12, i / 4 % 3, i % 4];
                let at = match (count, block) {
                    (1, _) => 0,
                    (_, 0) => index[axis],
                    _ => {
                        index[axis] /= block;
                        (index[0] * scales[1] + index[1]) * scales[2] + index[2]
                    }
                };
                assert_eq!(*y, x[i] * (at as f32 + 1.0), "{scales:?} {axis} {block} at {i}");
            }
        }
    }

    #[test]
    fn scales_that_do_not_fit() {
        assert!(Grid::new(&[2, 3], &[2], 1, 0).is_err());
        assert!(Grid::new(&[2, 3], &[3], 2, 0).is_err());
        assert!(Grid::new(&[2, 3], &[2, 3], 1, 2).is_err());
        assert!(Grid::new(&[], &[3], 0, 0).is_err());
    }

    #[test]
    fn halves_go_to_even_and_ends_are_cut() {
        let mut out = [0u8; 6];
        let x = [0.5, 1.5, 2.5, -9.0, 1e30, f32::NAN];
        quantize(&Pool::sequential(), &x, &Grid::WHOLE, (&[1.0], &[]), None, (0, 255), &mut out).unwrap();
        assert_eq!(out, [0, 2, 2, 0, 255, 0]);
    }
}
