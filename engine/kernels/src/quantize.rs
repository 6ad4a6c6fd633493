//! Linear quantization: floats to integer codes and back, with one scale for all, one for each place along an
//! axis, or one for each block of places.

use crate::KernelError;
use crate::isa::{Isa, LANES, Vector, Work, dispatch, isa};
use crate::scratch::with_scratch;
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
pub trait Code: bytemuck::Pod + Send + Sync {
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
    if *grid == Grid::WHOLE && precision.is_none() && size_of::<T>() == 1 {
        let (scale, zero) = (scales[0], zeros.first().copied().unwrap_or(0));
        let out = bytemuck::cast_slice_mut::<T, u8>(out);
        pool.for_each_piece(out, CHUNK, |i, piece| {
            let x = &x[i * CHUNK..][..piece.len()];
            #[cfg(target_arch = "x86_64")]
            if isa() >= Isa::Avx512 && whole_steps(scale) {
                // SAFETY: `isa` found the instructions; the lengths are equal.
                unsafe { to_bytes_avx512(x, scale, zero, (low, high), piece) };
                return;
            }
            dispatch(ToBytes { x, scale, zero, low, high, out: piece });
        });
        return Ok(());
    }
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

/// Codes of one scale, which are the low bytes of their numbers.
struct ToBytes<'a> {
    x: &'a [f32],
    scale: f32,
    zero: i32,
    low: i32,
    high: i32,
    out: &'a mut [u8],
}

/// Steps beyond which every code of a byte is cut.
const MOST: f32 = 1e6;

/// Whether a scale and its inverse are far from the ends of what floats hold.
fn whole_steps(scale: f32) -> bool {
    (1e-30..1e30).contains(&scale.abs())
}

/// As the loop of [`ToBytes`].
///
/// # Safety
/// The machine has AVX-512; the slices are of one length.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn to_bytes_avx512(x: &[f32], scale: f32, zero: i32, (low, high): (i32, i32), out: &mut [u8]) {
    use std::arch::x86_64::*;
    let (by, inverse) = (_mm512_set1_ps(scale), _mm512_set1_ps(1.0 / scale));
    let (least, most) = (_mm512_set1_ps(-MOST), _mm512_set1_ps(MOST));
    let (zero, low, high) = (_mm512_set1_epi32(zero), _mm512_set1_epi32(low), _mm512_set1_epi32(high));
    for (x, out) in x.chunks(LANES).zip(out.chunks_mut(LANES)) {
        let mask = u16::MAX >> (LANES - x.len());
        // SAFETY: what is beyond the mask is not touched.
        let v = unsafe { _mm512_maskz_loadu_ps(mask, x.as_ptr()) };
        let q = _mm512_max_ps(_mm512_min_ps(_mm512_mul_ps(v, inverse), most), least);
        let q = _mm512_fmadd_ps(_mm512_fnmadd_ps(q, by, v), inverse, q);
        let number = _mm512_cmp_ps_mask::<_CMP_ORD_Q>(q, q);
        let q = _mm512_maskz_mov_ps(number, q);
        let steps = _mm512_cvtps_epi32(_mm512_max_ps(_mm512_min_ps(q, most), least));
        let codes = _mm512_add_epi32(steps, zero);
        let codes = _mm512_min_epi32(_mm512_max_epi32(codes, low), high);
        // SAFETY: as above.
        unsafe { _mm512_mask_cvtepi32_storeu_epi8(out.as_mut_ptr().cast(), mask, codes) };
    }
}

impl Work for ToBytes<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector>(self) {
        let (scale, inverse) = (V::splat(self.scale), V::splat(1.0 / self.scale));
        let most = V::splat(MOST);
        let least = V::splat(-MOST);
        // A product by the inverse, and what is missing of the quotient by the same, is the rounded quotient where
        // products are added without rounding between and nothing leaves the range of normal numbers.
        let fused = isa() != Isa::Scalar && whole_steps(self.scale);
        let mut steps = [0f32; LANES];
        for (x, out) in self.x.chunks(LANES).zip(self.out.chunks_mut(LANES)) {
            let v = V::of(x);
            let q = if fused {
                let q = v.mul(inverse).min(most).max(least);
                q.neg_mul_add(scale, v).mul_add(inverse, q)
            } else {
                v.div(scale)
            };
            let q = V::select(q.is_nan(), V::zero(), q).min(most).max(least);
            q.round().put(&mut steps);
            let mut codes = [0u8; LANES];
            for (code, &steps) in codes.iter_mut().zip(&steps) {
                *code = (steps as i32 + self.zero).clamp(self.low, self.high) as u8;
            }
            match out.as_chunks_mut::<LANES>().0 {
                [whole] => *whole = codes,
                _ => out.copy_from_slice(&codes[..out.len()]),
            }
        }
    }
}

/// The smallest and the largest number, zero being one of them; NaN is passed over.
pub fn range(pool: &Pool, x: &[f32]) -> (f32, f32) {
    struct Bounds<'a>(&'a [f32]);
    impl Work for Bounds<'_> {
        type Output = (f32, f32);

        #[inline(always)]
        fn run<V: Vector>(self) -> (f32, f32) {
            // Several of each, because one would wait for the one before.
            let (mut low, mut high) = ([V::zero(); 4], [V::zero(); 4]);
            let mut wide = self.0.chunks_exact(4 * LANES);
            for four in &mut wide {
                for (i, x) in four.chunks_exact(LANES).enumerate() {
                    let v = V::of(x);
                    (low[i], high[i]) = (v.min(low[i]), v.max(high[i]));
                }
            }
            for x in wide.remainder().chunks(LANES) {
                let v = V::of(x);
                (low[0], high[0]) = (v.min(low[0]), v.max(high[0]));
            }
            let low = low[0].min(low[1]).min(low[2].min(low[3]));
            let high = high[0].max(high[1]).max(high[2].max(high[3]));
            (-V::zero().sub(low).largest(), high.largest())
        }
    }
    let pieces = x.len().div_ceil(CHUNK);
    with_scratch::<f32, _>(2 * pieces, |bounds| {
        pool.for_each_piece(bounds, 2, |i, bounds| {
            let piece = &x[i * CHUNK..(i * CHUNK + CHUNK).min(x.len())];
            (bounds[0], bounds[1]) = dispatch(Bounds(piece));
        });
        bounds.chunks_exact(2).fold((0.0, 0.0), |(low, high), b| (b[0].min(low), b[1].max(high)))
    })
}

/// `(code - zero point) * scale` of bytes with or without signs.
///
/// # Errors
/// When there are too few scales or zero points, or the lengths differ.
pub fn dequantize_bytes(
    pool: &Pool,
    (codes, signed): (&[u8], bool),
    grid: &Grid,
    (scales, zeros): (&[f32], &[f32]),
    out: &mut [f32],
) -> Result<(), KernelError> {
    struct Run<'a> {
        codes: &'a [u8],
        signed: bool,
        scales: &'a [f32],
        zeros: &'a [f32],
        moves: bool,
        out: &'a mut [f32],
    }
    impl Work for Run<'_> {
        type Output = ();

        #[inline(always)]
        fn run<V: Vector>(self) {
            let number = |code: u8| if self.signed { f32::from(code as i8) } else { f32::from(code) };
            let (scale, zero) = (self.scales[0], self.zeros.first().copied().unwrap_or(0.0));
            let pairs = self.out.iter_mut().zip(self.codes);
            match (self.moves, self.zeros.is_empty()) {
                (false, _) if self.signed => {
                    pairs.for_each(|(out, &code)| *out = (f32::from(code as i8) - zero) * scale);
                }
                (false, _) => pairs.for_each(|(out, &code)| *out = (f32::from(code) - zero) * scale),
                (true, true) => {
                    pairs.zip(self.scales).for_each(|((out, &code), scale)| *out = number(code) * scale);
                }
                (true, false) => {
                    let grid = self.scales.iter().zip(self.zeros);
                    pairs.zip(grid).for_each(|((out, &code), (s, z))| *out = (number(code) - z) * s);
                }
            }
        }
    }
    grid.check(codes.len(), scales.len(), zeros.len())?;
    same_length(codes.len(), out.len())?;
    pool.for_each_piece(out, CHUNK, |i, piece| {
        grid.runs(i * CHUNK, piece.len(), |at, count, first, moves| {
            let zeros = zeros.get(first..).unwrap_or_default();
            let codes = &codes[i * CHUNK + at..][..count];
            let out = &mut piece[at..at + count];
            dispatch(Run { codes, signed, scales: &scales[first..], zeros, moves, out });
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
    fn bytes_as_by_division() {
        let pool = Pool::new(2);
        let x: Vec<f32> = (0..40_003).map(|i| ((i * 7919) % 40_003) as f32 * 0.37 - 7400.0).collect();
        for scale in [0.1f32, 57.3, 1.0 / 255.0, 1e-35, 1e35] {
            for zero in [0, 13, 128] {
                let mut out = vec![0u8; x.len()];
                quantize(&pool, &x, &Grid::WHOLE, (&[scale], &[zero]), None, (0, 255), &mut out).unwrap();
                let mut signed = vec![0i8; x.len()];
                let given = (&[scale][..], &[zero - 128][..]);
                quantize(&pool, &x, &Grid::WHOLE, given, None, (-128, 127), &mut signed).unwrap();
                for ((&x, &u), &s) in x.iter().zip(&out).zip(&signed) {
                    let want = ((x / scale).round_ties_even() as i32).saturating_add(zero).clamp(0, 255);
                    assert_eq!((i32::from(u), i32::from(s) + 128), (want, want), "{x} / {scale}");
                }
            }
        }
    }

    #[test]
    fn ranges_hold_zero() {
        let pool = Pool::new(2);
        assert_eq!(range(&pool, &[]), (0.0, 0.0));
        assert_eq!(range(&pool, &[3.0, f32::NAN, 4.0]), (0.0, 4.0));
        let x: Vec<f32> = (0..70_001).map(|i| -((i * 31) % 70_001) as f32).collect();
        assert_eq!(range(&pool, &x), (-70_000.0, 0.0));
        for len in 1..200 {
            let x: Vec<f32> = (0..len).map(|i| if i == len - 1 { 5.0 } else { -(i as f32) }).collect();
            assert_eq!(range(&pool, &x), (-((len as f32 - 2.0).max(0.0)), 5.0));
        }
    }

    #[test]
    fn bytes_and_back() {
        let pool = Pool::sequential();
        let codes: Vec<u8> = (0..60).map(|i| (i * 37 % 256) as u8).collect();
        for (scales, axis) in [(1, 0), (3, 0), (4, 1), (5, 2)] {
            let grid = Grid::new(&[3, 4, 5], &[scales], axis, 0).unwrap();
            let scale: Vec<f32> = (0..scales).map(|i| i as f32 + 0.5).collect();
            let zero: Vec<f32> = (0..scales).map(|i| i as f32 * 3.0).collect();
            for zero in [&zero[..], &[]] {
                for signed in [false, true] {
                    let mut out = vec![0.0; 60];
                    dequantize_bytes(&pool, (&codes, signed), &grid, (&scale, zero), &mut out).unwrap();
                    let mut want: Vec<f32> = codes
                        .iter()
                        .map(|&c| if signed { f32::from(c as i8) } else { f32::from(c) })
                        .collect();
                    dequantize(&pool, &mut want, &grid, (&scale, zero)).unwrap();
                    assert_eq!(out, want);
                }
            }
        }
    }

    #[test]
    fn halves_go_to_even_and_ends_are_cut() {
        let mut out = [0u8; 6];
        let x = [0.5, 1.5, 2.5, -9.0, 1e30, f32::NAN];
        quantize(&Pool::sequential(), &x, &Grid::WHOLE, (&[1.0], &[]), None, (0, 255), &mut out).unwrap();
        assert_eq!(out, [0, 2, 2, 0, 255, 0]);
    }
}
