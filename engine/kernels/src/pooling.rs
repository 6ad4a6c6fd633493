//! Poolings over any number of spatial dimensions, layout (batch, channels, spatial...): maximum, average, Lp.
//!
//! Every output row collects its taps in the order of the kernel, so that sums have the same bits at any width.

use crate::half_floats::{is_half, narrowed, widened};
use crate::scalar::wide;
use crate::window::{Window, unravel};
use crate::{KernelError, Scalar};
use oxidane_pool::Pool;
use oxidane_tensor::{DType, Shape, Tensor, TensorMut, element_count};

/// The checked sizes of one pooling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolShape {
    input: Shape,
    output: Shape,
    window: Window,
}

impl PoolShape {
    /// A pooling of `x` (batch, channels, spatial...). The pads of `window` are final: resolve `auto_pad` first.
    ///
    /// # Errors
    /// When the window does not fit the shape, or a size is too large.
    pub fn new(x: &[usize], window: Window, ceil_mode: bool) -> Result<PoolShape, KernelError> {
        if x.len() < 3 {
            return Err(KernelError::Shape(format!(
                "cannot pool {x:?}: it needs a batch, channels and spatial dimensions"
            )));
        }
        let mut output = Shape::from_slice(&x[..2]);
        output.extend(window.output(&x[2..], ceil_mode)?);
        // Empty dimensions count as one, so that no partial product overflows either.
        let full = |shape: &[usize]| shape.iter().map(|&d| d.max(1)).collect::<Shape>();
        element_count(&full(x))?;
        element_count(&full(&output))?;
        Ok(PoolShape { input: x.into(), output, window })
    }

    /// The shape of the result: (batch, channels, spatial...).
    pub fn output(&self) -> &[usize] {
        &self.output
    }

    fn planes(&self) -> usize {
        self.input[0] * self.input[1]
    }

    fn plane(&self) -> usize {
        self.input[2..].iter().product()
    }

    fn positions(&self) -> usize {
        self.output[2..].iter().product()
    }

    fn check(&self, x: usize, out: usize) -> Result<(), KernelError> {
        let want = (self.planes() * self.plane(), self.planes() * self.positions());
        if (x, out) != want {
            return Err(KernelError::Shape(format!(
                "a pooling from {:?} to {:?} takes {want:?} elements, found {:?}",
                self.input.as_slice(),
                self.output.as_slice(),
                (x, out)
            )));
        }
        Ok(())
    }
}

/// The order in which `MaxPool` numbers the elements of a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StorageOrder {
    /// The last dimension varies fastest.
    #[default]
    RowMajor,
    /// The first spatial dimension varies fastest.
    ColumnMajor,
}

/// Numbers that can be pooled: they have a least value.
pub trait Pooled: Scalar {
    /// What the maximum of nothing is.
    const LEAST: Self;
}

macro_rules! pooled {
    ($($t:ty => $least:expr),*) => {$(impl Pooled for $t { const LEAST: $t = $least; })*};
}
pooled!(f32 => f32::NEG_INFINITY, f64 => f64::NEG_INFINITY, i8 => i8::MIN, u8 => 0, i32 => i32::MIN, i64 => i64::MIN);

/// How the elements of a window become one.
trait Collect<T>: Copy + Sync {
    const START: T;
    fn take(self, so_far: T, value: T) -> T;
    /// Two collections as one.
    fn join(self, a: T, b: T) -> T;
    /// The result, of `count` elements that count.
    fn finish(self, collected: T, count: usize) -> T;
    /// Whether padding counts as elements.
    fn counts_padding(self) -> bool {
        false
    }
}

#[derive(Clone, Copy)]
struct Maximum;

impl<T: Pooled> Collect<T> for Maximum {
    const START: T = T::LEAST;

    #[inline(always)]
    fn take(self, so_far: T, value: T) -> T {
        // A NaN stays or comes in, as NumPy's maximum has it.
        #[allow(clippy::eq_op, reason = "only NaN differs from itself")]
        if value > so_far || value != value { value } else { so_far }
    }

    #[inline(always)]
    fn join(self, a: T, b: T) -> T {
        self.take(a, b)
    }

    #[inline(always)]
    fn finish(self, collected: T, _: usize) -> T {
        collected
    }
}

/// The average; padding counts where the flag says so.
#[derive(Clone, Copy)]
struct Average(bool);

/// The p-norm.
#[derive(Clone, Copy)]
struct Norm(i32);

macro_rules! collect_floats {
    ($($t:ty),*) => {$(
        impl Collect<$t> for Average {
            const START: $t = 0.0;

            #[inline(always)]
            fn take(self, so_far: $t, value: $t) -> $t {
                so_far + value
            }

            #[inline(always)]
            fn join(self, a: $t, b: $t) -> $t {
                a + b
            }

            #[inline(always)]
            fn finish(self, collected: $t, count: usize) -> $t {
                if count == 0 { 0.0 } else { collected / count as $t }
            }

            fn counts_padding(self) -> bool {
                self.0
            }
        }

        impl Collect<$t> for Norm {
            const START: $t = 0.0;

            #[inline(always)]
            fn take(self, so_far: $t, value: $t) -> $t {
                so_far + match self.0 {
                    1 => value.abs(),
                    2 => value * value,
                    p => value.abs().powi(p),
                }
            }

            #[inline(always)]
            fn join(self, a: $t, b: $t) -> $t {
                a + b
            }

            #[inline(always)]
            fn finish(self, collected: $t, _: usize) -> $t {
                match self.0 {
                    1 => collected,
                    2 => collected.sqrt(),
                    p => collected.powf(1.0 / p as $t),
                }
            }
        }
    )*};
}
collect_floats!(f32, f64);

fn pool_into<T: Scalar, C: Collect<T>>(
    pool: &Pool,
    shape: &PoolShape,
    collect: C,
    x: &[T],
    out: &mut [T],
) -> Result<(), KernelError> {
    shape.check(x.len(), out.len())?;
    let (plane, positions) = (shape.plane(), shape.positions());
    if out.is_empty() {
        return Ok(());
    }
    let counts = counts(shape, collect.counts_padding());
    let taps = shape.window.kernel.iter().fold(1usize, |n, &k| n.saturating_mul(k));
    let together = ((1 << 15) / positions.saturating_mul(taps).max(1)).max(1);
    pool.for_each_piece(out, positions.saturating_mul(together), |piece, planes| {
        for (i, target) in planes.chunks_exact_mut(positions).enumerate() {
            let at = (piece * together + i) * plane;
            pool_plane(shape, collect, &counts, &x[at..at + plane], target);
        }
    });
    Ok(())
}

/// For each spatial dimension and window along it, how many taps count: those inside the input, or also those
/// in the padding (but not what hangs over it in ceil mode).
fn counts(shape: &PoolShape, padding: bool) -> Vec<Vec<usize>> {
    let window = &shape.window;
    (0..window.rank())
        .map(|axis| {
            let (size, begin) = (shape.input[2 + axis], window.begins[axis]);
            (0..shape.output[2 + axis])
                .map(|i| {
                    if padding {
                        let whole = size + begin + window.ends[axis];
                        let left = whole.saturating_sub(i * window.strides[axis]);
                        left.div_ceil(window.dilations[axis]).min(window.kernel[axis])
                    } else {
                        let (from, to) = window.taps_inside(axis, i, size);
                        to - from
                    }
                })
                .collect()
        })
        .collect()
}

fn pool_plane<T: Scalar, C: Collect<T>>(
    shape: &PoolShape,
    collect: C,
    counts: &[Vec<usize>],
    source: &[T],
    target: &mut [T],
) {
    #[cfg(target_arch = "x86_64")]
    if wide() {
        // SAFETY: the machine has these features.
        return unsafe { pool_plane_wide(shape, collect, counts, source, target) };
    }
    pool_rows(shape, collect, counts, source, target);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn pool_plane_wide<T: Scalar, C: Collect<T>>(
    shape: &PoolShape,
    collect: C,
    counts: &[Vec<usize>],
    source: &[T],
    target: &mut [T],
) {
    pool_rows(shape, collect, counts, source, target);
}

#[inline(always)]
fn pool_rows<T: Scalar, C: Collect<T>>(
    shape: &PoolShape,
    collect: C,
    counts: &[Vec<usize>],
    source: &[T],
    target: &mut [T],
) {
    let window = &shape.window;
    let last = window.rank() - 1;
    let (line, line_out) = (shape.input[2 + last], shape.output[2 + last]);
    let (stride, dilation, begin) = (window.strides[last], window.dilations[last], window.begins[last]);
    // Taps of the last dimension that any window sees.
    let seen_taps = (0..line_out).fold((window.kernel[last], 0), |(lo, hi), i| {
        let (from, to) = window.taps_inside(last, i, line);
        if from < to { (lo.min(from), hi.max(to)) } else { (lo, hi) }
    });
    for (row, out) in target.chunks_exact_mut(line_out).enumerate() {
        out.fill(C::START);
        let count = each_line(
            shape,
            row,
            |base| {
                for tap in seen_taps.0..seen_taps.1 {
                    let (from, to) = window.inside(last, tap, line, line_out);
                    if from < to {
                        let first = base * line + from * stride + tap * dilation - begin;
                        let seen = &source[first..(base + 1) * line];
                        take_strided(collect, seen, stride, &mut out[from..to]);
                    }
                }
            },
            counts,
        );
        for (cell, &n) in out.iter_mut().zip(&counts[last]) {
            *cell = collect.finish(*cell, count * n);
        }
    }
}

/// Calls `visit` with the number of each input row that output row `row` sees, in the order of the kernel;
/// gives the product of the leading dimensions' counts.
#[inline(always)]
fn each_line(shape: &PoolShape, row: usize, mut visit: impl FnMut(usize), counts: &[Vec<usize>]) -> usize {
    let window = &shape.window;
    let last = window.rank() - 1;
    let mut index = Shape::from_elem(0, last);
    unravel(row, &shape.output[2..2 + last], &mut index);
    let mut count = 1usize;
    let mut taps = Shape::from_elem(0, last);
    let mut ranges = Shape::from_elem(0, last);
    let mut starts = Shape::from_elem(0, last);
    let mut total = 1usize;
    for axis in 0..last {
        let (from, to) = window.taps_inside(axis, index[axis], shape.input[2 + axis]);
        (starts[axis], ranges[axis]) = (from, to - from);
        total = total.saturating_mul(to - from);
        count = count.saturating_mul(counts[axis][index[axis]]);
    }
    for outer in 0..total {
        unravel(outer, &ranges, &mut taps);
        let base = (0..last).try_fold(0usize, |base, axis| {
            let size = shape.input[2 + axis];
            Some(base * size + window.position(axis, index[axis], starts[axis] + taps[axis], size)?)
        });
        if let Some(base) = base {
            visit(base);
        }
    }
    count
}

#[inline(always)]
fn take_strided<T: Scalar, C: Collect<T>>(collect: C, seen: &[T], stride: usize, out: &mut [T]) {
    match stride {
        1 => {
            for (cell, &v) in out.iter_mut().zip(seen) {
                *cell = collect.take(*cell, v);
            }
        }
        2 => {
            let (pairs, _) = seen.as_chunks::<2>();
            let whole = pairs.len().min(out.len());
            for (cell, pair) in out[..whole].iter_mut().zip(pairs) {
                *cell = collect.take(*cell, pair[0]);
            }
            for (cell, &v) in out[whole..].iter_mut().zip(seen[whole * 2..].iter().step_by(2)) {
                *cell = collect.take(*cell, v);
            }
        }
        _ => {
            for (cell, &v) in out.iter_mut().zip(seen.iter().step_by(stride)) {
                *cell = collect.take(*cell, v);
            }
        }
    }
}

/// `MaxPool` of dense `x` into dense `out`.
///
/// # Errors
/// When a slice has not the size that the shape says.
pub fn max_pool_into<T: Pooled>(
    pool: &Pool,
    shape: &PoolShape,
    x: &[T],
    out: &mut [T],
) -> Result<(), KernelError> {
    pool_into(pool, shape, Maximum, x, out)
}

/// `MaxPool` with the place of each maximum (the first one), counted through the whole input.
///
/// # Errors
/// When a slice has not the size that the shape says.
pub fn max_pool_indices_into<T: Pooled>(
    pool: &Pool,
    shape: &PoolShape,
    order: StorageOrder,
    x: &[T],
    out: &mut [T],
    indices: &mut [i64],
) -> Result<(), KernelError> {
    max_pool_into(pool, shape, x, out)?;
    if indices.len() != out.len() {
        return Err(KernelError::Shape(format!("{} indices for {} maxima", indices.len(), out.len())));
    }
    if out.is_empty() {
        return Ok(());
    }
    let (plane, positions) = (shape.plane(), shape.positions());
    let window = &shape.window;
    let last = window.rank() - 1;
    let (line, line_out) = (shape.input[2 + last], shape.output[2 + last]);
    let counts = counts(shape, false);
    let maxima = &*out;
    pool.for_each_piece(indices, positions, |piece, target| {
        let source = &x[piece * plane..(piece + 1) * plane];
        let mut at = Shape::from_elem(0, last + 1);
        for (row, places) in target.chunks_exact_mut(line_out).enumerate() {
            places.fill(-1);
            each_line(
                shape,
                row,
                |base| {
                    for (i, place) in places.iter_mut().enumerate().filter(|(_, p)| **p < 0) {
                        let maximum = maxima[piece * positions + row * line_out + i];
                        let (from, to) = window.taps_inside(last, i, line);
                        for tap in from..to {
                            let Some(q) = window.position(last, i, tap, line) else { continue };
                            let value = source[base * line + q];
                            #[allow(clippy::eq_op, reason = "only NaN differs from itself")]
                            let same = value == maximum || (value != value && maximum != maximum);
                            if same {
                                *place = (base * line + q) as i64;
                                break;
                            }
                        }
                    }
                },
                &counts,
            );
            for place in places.iter_mut().filter(|p| **p >= 0) {
                let mut here = *place as usize;
                if order == StorageOrder::ColumnMajor {
                    unravel(here, &shape.input[2..], &mut at);
                    here = at.iter().zip(&shape.input[2..]).rev().fold(0, |sum, (&i, &n)| sum * n + i);
                }
                *place = (piece * plane + here) as i64;
            }
        }
    });
    Ok(())
}

/// `AveragePool` of dense `x` into dense `out`.
///
/// # Errors
/// When a slice has not the size that the shape says.
pub fn average_pool_into(
    pool: &Pool,
    shape: &PoolShape,
    count_include_pad: bool,
    x: &[f32],
    out: &mut [f32],
) -> Result<(), KernelError> {
    pool_into(pool, shape, Average(count_include_pad), x, out)
}

/// `MaxPool` of a tensor: f16, bf16, f32, f64 or an integer of 8, 32 or 64 bits.
///
/// # Errors
/// When the type has no pooling, the shape is another one, or there is no memory.
pub fn max_pool(pool: &Pool, shape: &PoolShape, x: &Tensor) -> Result<Tensor, KernelError> {
    fn run<T: Pooled>(pool: &Pool, shape: &PoolShape, x: &Tensor) -> Result<Tensor, KernelError> {
        let mut out = TensorMut::zeroed(x.dtype(), shape.output())?;
        max_pool_into::<T>(pool, shape, &x.values()?, out.slice_mut()?)?;
        Ok(out.freeze())
    }
    match x.dtype() {
        half if is_half(half) => narrowed(max_pool(pool, shape, &widened(x)?)?, half),
        DType::F32 => run::<f32>(pool, shape, x),
        DType::F64 => run::<f64>(pool, shape, x),
        DType::I8 => run::<i8>(pool, shape, x),
        DType::U8 => run::<u8>(pool, shape, x),
        DType::I32 => run::<i32>(pool, shape, x),
        DType::I64 => run::<i64>(pool, shape, x),
        other => Err(KernelError::Type(format!("there is no MaxPool of {other}"))),
    }
}

/// `MaxPool` of a tensor with the places of the maxima (int64); -1 where a window saw padding only.
///
/// # Errors
/// As [`max_pool`].
pub fn max_pool_indices(
    pool: &Pool,
    shape: &PoolShape,
    order: StorageOrder,
    x: &Tensor,
) -> Result<(Tensor, Tensor), KernelError> {
    fn run<T: Pooled>(
        pool: &Pool,
        shape: &PoolShape,
        order: StorageOrder,
        x: &Tensor,
    ) -> Result<(Tensor, Tensor), KernelError> {
        let mut out = TensorMut::zeroed(x.dtype(), shape.output())?;
        let mut indices = TensorMut::zeroed(DType::I64, shape.output())?;
        let places = indices.slice_mut()?;
        max_pool_indices_into::<T>(pool, shape, order, &x.values()?, out.slice_mut()?, places)?;
        Ok((out.freeze(), indices.freeze()))
    }
    match x.dtype() {
        half if is_half(half) => {
            let (out, indices) = max_pool_indices(pool, shape, order, &widened(x)?)?;
            Ok((narrowed(out, half)?, indices))
        }
        DType::F32 => run::<f32>(pool, shape, order, x),
        DType::F64 => run::<f64>(pool, shape, order, x),
        DType::I8 => run::<i8>(pool, shape, order, x),
        DType::U8 => run::<u8>(pool, shape, order, x),
        DType::I32 => run::<i32>(pool, shape, order, x),
        DType::I64 => run::<i64>(pool, shape, order, x),
        other => Err(KernelError::Type(format!("there is no MaxPool of {other}"))),
    }
}

/// `AveragePool` of a float tensor; 16-bit floats sum in f32. A window that sees padding only gives 0.
///
/// # Errors
/// When the type is no float, the shape is another one, or there is no memory.
pub fn average_pool(
    pool: &Pool,
    shape: &PoolShape,
    count_include_pad: bool,
    x: &Tensor,
) -> Result<Tensor, KernelError> {
    float_pool(pool, shape, Average(count_include_pad), x)
}

/// `LpPool` of a float tensor: the p-norm of each window.
///
/// # Errors
/// When `p` is not positive, the type is no float, the shape is another one, or there is no memory.
pub fn lp_pool(pool: &Pool, shape: &PoolShape, p: i64, x: &Tensor) -> Result<Tensor, KernelError> {
    float_pool(pool, shape, norm(p)?, x)
}

fn norm(p: i64) -> Result<Norm, KernelError> {
    match i32::try_from(p) {
        Ok(p) if p > 0 => Ok(Norm(p)),
        _ => Err(KernelError::Shape(format!("p is {p}; it must be positive"))),
    }
}

fn float_pool<C: Collect<f32> + Collect<f64>>(
    pool: &Pool,
    shape: &PoolShape,
    collect: C,
    x: &Tensor,
) -> Result<Tensor, KernelError> {
    let dtype = x.dtype();
    if is_half(dtype) {
        return narrowed(float_pool(pool, shape, collect, &widened(x)?)?, dtype);
    }
    let mut out = TensorMut::zeroed(dtype, shape.output())?;
    match dtype {
        DType::F32 => pool_into::<f32, C>(pool, shape, collect, &x.values()?, out.slice_mut()?)?,
        DType::F64 => pool_into::<f64, C>(pool, shape, collect, &x.values()?, out.slice_mut()?)?,
        other => return Err(KernelError::Type(format!("there is no such pooling of {other}"))),
    }
    Ok(out.freeze())
}

/// What a global pooling makes of each channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GlobalPool {
    /// The largest element.
    Max,
    /// The mean.
    Average,
    /// The p-norm.
    Lp(i64),
}

/// `GlobalMaxPool`, `GlobalAveragePool` or `GlobalLpPool`: every channel of (batch, channels, spatial...) becomes
/// one element, in a tensor of the same rank.
///
/// # Errors
/// When the rank is below 2, the type is no float, or there is no memory.
pub fn global_pool(pool: &Pool, kind: GlobalPool, x: &Tensor) -> Result<Tensor, KernelError> {
    let dtype = x.dtype();
    if is_half(dtype) {
        return narrowed(global_pool(pool, kind, &widened(x)?)?, dtype);
    }
    let mut out = TensorMut::zeroed(dtype, &pooled_shape(x)?)?;
    global_pool_into(pool, kind, x, &mut out)?;
    Ok(out.freeze())
}

/// As [`global_pool`] for single and double floats, into `out`.
///
/// # Errors
/// When the rank is below 2, `out` has another shape or type than the result, or the type is none of the two.
pub fn global_pool_into(
    pool: &Pool,
    kind: GlobalPool,
    x: &Tensor,
    out: &mut TensorMut,
) -> Result<(), KernelError> {
    let shape = pooled_shape(x)?;
    if out.shape() != &shape[..] || out.dtype() != x.dtype() {
        return Err(KernelError::Shape(format!("a pooled {x:?} does not fit {:?}", out.shape())));
    }
    match x.dtype() {
        DType::F32 => global::<f32>(pool, kind, x, out),
        DType::F64 => global::<f64>(pool, kind, x, out),
        other => Err(KernelError::Type(format!("there is no global pooling of {other}"))),
    }
}

/// The shape of what a global pooling makes of `x`.
///
/// # Errors
/// When the rank is below 2.
pub fn pooled_shape(x: &Tensor) -> Result<Shape, KernelError> {
    if x.rank() < 2 {
        return Err(KernelError::Shape(format!(
            "cannot pool {:?}: it needs a batch and channels",
            x.shape()
        )));
    }
    let mut shape = Shape::from_elem(1, x.rank());
    shape[..2].copy_from_slice(&x.shape()[..2]);
    Ok(shape)
}

fn global<T: Pooled>(
    pool: &Pool,
    kind: GlobalPool,
    x: &Tensor,
    result: &mut TensorMut,
) -> Result<(), KernelError>
where
    Average: Collect<T>,
    Norm: Collect<T>,
{
    let source = x.values::<T>()?;
    let out = result.slice_mut::<T>()?;
    let plane = if out.is_empty() { 1 } else { source.len() / out.len() };
    match kind {
        GlobalPool::Max => global_into(pool, Maximum, plane, &source, out),
        GlobalPool::Average => global_into(pool, Average(false), plane, &source, out),
        GlobalPool::Lp(p) => global_into(pool, norm(p)?, plane, &source, out),
    }
    Ok(())
}

fn global_into<T: Pooled, C: Collect<T>>(pool: &Pool, collect: C, plane: usize, x: &[T], out: &mut [T]) {
    const LANES: usize = 8;
    let together = ((1 << 15) / plane.max(1)).max(1);
    pool.for_each_piece(out, together, |piece, cells| {
        for (i, cell) in cells.iter_mut().enumerate() {
            let at = (piece * together + i) * plane;
            let (chunks, rest) = x[at..at + plane].as_chunks::<LANES>();
            let mut lanes = [C::START; LANES];
            for chunk in chunks {
                for l in 0..LANES {
                    lanes[l] = collect.take(lanes[l], chunk[l]);
                }
            }
            let tail = rest.iter().fold(C::START, |sum, &v| collect.take(sum, v));
            let sum = lanes.iter().fold(tail, |a, &b| collect.join(a, b));
            *cell = collect.finish(sum, plane);
        }
    });
}

#[cfg(test)]
#[path = "pooling_tests.rs"]
mod tests;
