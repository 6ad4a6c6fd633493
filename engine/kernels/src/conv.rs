//! Convolution over any number of spatial dimensions, layout (batch, channels, spatial...).
//!
//! Kernels of one tap multiply the input where it lies; one channel a group runs a direct loop; everything else
//! gathers the windows of a tile of outputs into bounded scratch and multiplies (im2col by tiles).

use crate::gemm::{FEW_ROWS, Matrix, Target, block_product, cut};
use crate::half_floats::{is_half, narrowed, widened};
use crate::matmul::without_zero;
use crate::scalar::{NATIVE_FMA, wide};
use crate::scratch::with_scratch;
use crate::window::{Window, unravel};
use crate::{KernelError, Scalar};
use oxidane_pool::{Cells, Pool};
use oxidane_tensor::{DType, Shape, Tensor, TensorMut, element_count};
use smallvec::SmallVec;
use std::sync::{Mutex, PoisonError};

/// The checked sizes of one convolution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConvShape {
    groups: usize,
    /// Input channels of a group.
    ic: usize,
    /// Output channels of a group.
    oc: usize,
    /// Spatial sizes of the input.
    input: Shape,
    window: Window,
    /// The whole output shape.
    output: Shape,
    /// Elements of the weights.
    weights: usize,
}

/// What a convolution does to each finished piece of its output, such as an activation.
pub type Epilogue<'a, T> = &'a (dyn Fn(&mut [T]) + Sync);

impl ConvShape {
    /// A convolution of `x` (batch, channels, spatial...) by `w` (output channels, channels / groups, kernel...).
    /// The pads of `window` are final: resolve `auto_pad` first.
    ///
    /// # Errors
    /// When ranks, channels, groups or the kernel do not agree, or a size is too large.
    pub fn new(x: &[usize], w: &[usize], groups: usize, window: Window) -> Result<ConvShape, KernelError> {
        let wrong = |what: &str| {
            KernelError::Shape(format!(
                "cannot convolve input {x:?} by weights {w:?} in {groups} groups: {what}"
            ))
        };
        if x.len() < 3 || x.len() != w.len() {
            return Err(wrong(
                "both need a batch or output channels, channels, and the same spatial dimensions",
            ));
        }
        if groups == 0 || !x[1].is_multiple_of(groups) || !w[0].is_multiple_of(groups) {
            return Err(wrong("the channels cannot be divided into the groups"));
        }
        if x[1] / groups != w[1] {
            return Err(wrong("the weights take another number of channels"));
        }
        if w[2..] != window.kernel[..] {
            return Err(wrong(&format!("kernel_shape is {:?}", window.kernel.as_slice())));
        }
        let mut output = Shape::from_slice(&[x[0], w[0]]);
        output.extend(window.output(&x[2..], false)?);
        // Empty dimensions count as one, so that no partial product overflows either.
        let full = |shape: &[usize]| shape.iter().map(|&d| d.max(1)).collect::<Shape>();
        element_count(&full(x))?;
        element_count(&full(&output))?;
        element_count(&full(w))?;
        let weights = element_count(w)?;
        Ok(ConvShape { groups, ic: w[1], oc: w[0] / groups, input: x[2..].into(), window, output, weights })
    }

    /// The shape of the result: (batch, output channels, spatial...).
    pub fn output(&self) -> &[usize] {
        &self.output
    }

    fn batch(&self) -> usize {
        self.output[0]
    }

    /// Elements of one channel of the input.
    fn plane(&self) -> usize {
        self.input.iter().product()
    }

    /// Elements of one channel of the output.
    fn positions(&self) -> usize {
        self.output[2..].iter().product()
    }

    fn taps(&self) -> usize {
        self.window.kernel.iter().product()
    }

    fn check(&self, x: usize, w: usize, bias: Option<usize>, out: usize) -> Result<(), KernelError> {
        let want = (
            self.batch() * self.groups * self.ic * self.plane(),
            self.weights,
            self.batch() * self.groups * self.oc * self.positions(),
        );
        let biased = bias.is_none_or(|b| b == self.groups * self.oc);
        if (x, w, out) != want || !biased {
            return Err(KernelError::Shape(format!(
                "a convolution to {:?} takes {want:?} elements of input, weights and output and {} of bias, found {:?} and {bias:?}",
                self.output.as_slice(),
                self.groups * self.oc,
                (x, w, out)
            )));
        }
        Ok(())
    }
}

/// Elements of scratch that a tile of gathered windows should stay below.
const TILE: usize = 1 << 18;

/// The convolution of dense `x` by dense `w` into dense `out`, bias (one an output channel) added, `epilogue`
/// run on every finished row of a tile while it is in the cache. Integers wrap around.
///
/// # Errors
/// When a slice has not the size that the shape says.
pub fn conv_into<T: Scalar>(
    pool: &Pool,
    shape: &ConvShape,
    x: &[T],
    w: &[T],
    bias: Option<&[T]>,
    epilogue: Option<Epilogue<'_, T>>,
    out: &mut [T],
) -> Result<(), KernelError> {
    shape.check(x.len(), w.len(), bias.map(<[T]>::len), out.len())?;
    if out.is_empty() {
        return Ok(());
    }
    if shape.ic == 1 && shape.oc <= 4 && shape.input.len() <= 2 && shape.taps() > 1 {
        depthwise(pool, shape, x, w, bias, epilogue, out);
        return Ok(());
    }
    let (m, k, n) = (shape.oc, shape.ic * shape.taps(), shape.positions());
    let pointwise = shape.window.is_pointwise();
    let (mc, nc) = if pointwise { cut(m, k, n) } else { gathered_cut(m, k, n) };
    let (rows, cols) = (m.div_ceil(mc), n.div_ceil(nc));
    let image = shape.ic * shape.plane();
    let cells = Cells::new(out);
    let failure = Mutex::new(None);
    pool.for_each(shape.batch() * shape.groups * rows * cols, &|task| {
        let (item, block) = (task / (rows * cols), task % (rows * cols));
        let group = item % shape.groups;
        let (row, col) = (block / cols * mc, block % cols * nc);
        let (height, width) = (mc.min(m - row), nc.min(n - col));
        let source = &x[item * image..(item + 1) * image];
        let left = &w[(group * m + row) * k..(group * m + row + height) * k];
        let start = item * m * n + row * n + col;
        let line = |i: usize| {
            // SAFETY: the blocks of items, rows and columns are disjoint, and one line is used at a time.
            unsafe { cells.piece(start + i * n, width) }
        };
        let bias = bias.map(|b| &b[group * m + row..][..height]);
        let multiply = |right: Matrix<'_, T>| {
            let left = Matrix::dense(left, height, k)?;
            if T::TILED && height > FEW_ROWS && width > 1 {
                return with_scratch(height * width, |product: &mut [T]| {
                    T::tiled(&Pool::sequential(), T::ONE, left, right, false, product)?;
                    for (i, from) in product.chunks_exact(width).enumerate() {
                        let add = bias.map_or(T::ZERO, |b| b[i]);
                        line(i).iter_mut().zip(from).for_each(|(cell, &v)| *cell = v.plus(add));
                    }
                    Ok(())
                });
            }
            if let Some(bias) = bias {
                bias.iter().enumerate().for_each(|(i, &b)| line(i).fill(b));
            }
            let target = Target { cells: &cells, at: start, row_step: n };
            // SAFETY: as above; no line is held here. The target ends within the item's `m * n` cells.
            unsafe { block_product(T::ONE, left, right, bias.is_some(), &target) };
            Ok(())
        };
        let done = if pointwise {
            Matrix::new(source.get(col..).unwrap_or(&[]), k, width, n, 1).and_then(multiply)
        } else {
            with_scratch(k * width, |windows: &mut [T]| {
                gather(shape, source, col, width, windows);
                multiply(Matrix::dense(windows, k, width)?)
            })
        };
        if let Err(error) = done {
            failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        }
        if let Some(epilogue) = epilogue {
            for i in 0..height {
                epilogue(line(i));
            }
        }
    });
    failure.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
}

/// Block sizes (rows, columns) for gathered windows: scratch stays bounded where the columns allow it, and a
/// single tile of a large product is shared by two halves of the rows.
fn gathered_cut(m: usize, k: usize, n: usize) -> (usize, usize) {
    let k1 = k.max(1);
    // Very deep windows get fewer columns, so that scratch stays in proportion to the weights.
    let least = (TILE / k1).max(128.min((1 << 24) / k1)).max(1);
    let tiles = n.div_ceil(least);
    let tiles = if tiles > 1 { tiles.next_multiple_of(2) } else { 1 };
    let even = n.div_ceil(tiles);
    let nc = if least >= 16 { even.next_multiple_of(16).min(n) } else { even };
    let shared = tiles == 1 && m >= 128 && m.saturating_mul(k).saturating_mul(n) > 1 << 23;
    (if shared { m.div_ceil(2).next_multiple_of(8) } else { m.max(1) }, nc.max(1))
}

/// Writes the windows of the output positions `from..from + width` as columns: row (channel, tap).
fn gather<T: Scalar>(shape: &ConvShape, source: &[T], from: usize, width: usize, windows: &mut [T]) {
    let window = &shape.window;
    let last = window.rank() - 1;
    let (line, line_out) = (shape.input[last], shape.output[2 + last]);
    let (taps, last_taps, plane) = (shape.taps(), window.kernel[last], shape.plane());
    let (first_row, last_row) = (from / line_out, (from + width - 1) / line_out);
    let mut tap_index = Shape::from_elem(0, last);
    let mut row_index = Shape::from_elem(0, last);
    let mut bases: SmallVec<[Option<usize>; 64]> = SmallVec::new();
    for outer in 0..taps / last_taps {
        unravel(outer, &window.kernel[..last], &mut tap_index);
        bases.clear();
        for row in first_row..=last_row {
            unravel(row, &shape.output[2..2 + last], &mut row_index);
            bases.push((0..last).try_fold(0usize, |base, axis| {
                let at = window.position(axis, row_index[axis], tap_index[axis], shape.input[axis])?;
                Some(base * shape.input[axis] + at)
            }));
        }
        for tap in 0..last_taps {
            let (valid, end) = window.inside(last, tap, line, line_out);
            let stride = window.strides[last];
            for c in 0..shape.ic {
                let channel = &source[c * plane..(c + 1) * plane];
                let at = (c * taps + outer * last_taps + tap) * width;
                let mut rest = &mut windows[at..at + width];
                for (i, base) in bases.iter().enumerate() {
                    let row = (first_row + i) * line_out;
                    let lo = from.max(row) - row;
                    let hi = (from + width).min(row + line_out) - row;
                    let (part, after) = std::mem::take(&mut rest).split_at_mut(hi - lo);
                    rest = after;
                    let Some(base) = base else {
                        part.fill(T::ZERO);
                        continue;
                    };
                    let a = valid.clamp(lo, hi);
                    let b = end.clamp(a, hi);
                    part[..a - lo].fill(T::ZERO);
                    part[b - lo..].fill(T::ZERO);
                    if a == b {
                        continue;
                    }
                    let first = a * stride + tap * window.dilations[last] - window.begins[last];
                    let seen = &channel[base * line + first..(base + 1) * line];
                    if stride == 1 {
                        part[a - lo..b - lo].copy_from_slice(&seen[..b - a]);
                    } else {
                        for (cell, &v) in part[a - lo..b - lo].iter_mut().zip(seen.iter().step_by(stride)) {
                            *cell = v;
                        }
                    }
                }
            }
        }
    }
}

/// One input channel a group, one or two spatial dimensions: a direct loop over rows.
fn depthwise<T: Scalar>(
    pool: &Pool,
    shape: &ConvShape,
    x: &[T],
    w: &[T],
    bias: Option<&[T]>,
    epilogue: Option<Epilogue<'_, T>>,
    out: &mut [T],
) {
    let (taps, plane, positions) = (shape.taps(), shape.plane(), shape.positions());
    let together = ((1 << 16) / positions.saturating_mul(taps).max(1)).max(1);
    pool.for_each_piece(out, positions.saturating_mul(together), |piece, channels| {
        for (i, target) in channels.chunks_exact_mut(positions).enumerate() {
            let channel = (piece * together + i) % (shape.groups * shape.oc);
            let source = (piece * together + i) / shape.oc * plane;
            let start = bias.map_or(T::ZERO, |b| b[channel]);
            let kernel = &w[channel * taps..(channel + 1) * taps];
            depthwise_plane(shape, &x[source..source + plane], kernel, start, target);
            if let Some(epilogue) = epilogue {
                epilogue(target);
            }
        }
    });
}

fn depthwise_plane<T: Scalar>(shape: &ConvShape, source: &[T], kernel: &[T], start: T, target: &mut [T]) {
    #[cfg(target_arch = "x86_64")]
    if wide() {
        // SAFETY: the machine has these features.
        return unsafe { depthwise_wide(shape, source, kernel, start, target) };
    }
    depthwise_rows::<T, NATIVE_FMA>(shape, source, kernel, start, target);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn depthwise_wide<T: Scalar>(shape: &ConvShape, source: &[T], kernel: &[T], start: T, target: &mut [T]) {
    depthwise_rows::<T, true>(shape, source, kernel, start, target);
}

#[inline(always)]
fn depthwise_rows<T: Scalar, const FMA: bool>(
    shape: &ConvShape,
    source: &[T],
    kernel: &[T],
    start: T,
    target: &mut [T],
) {
    let window = &shape.window;
    let last = window.rank() - 1;
    let (line, line_out, last_taps) = (shape.input[last], shape.output[2 + last], window.kernel[last]);
    let (stride, dilation, begin) = (window.strides[last], window.dilations[last], window.begins[last]);
    // Where all taps of a row lie inside the input.
    let full = (0..last_taps).fold((0, line_out), |(lo, hi), tap| {
        let (from, to) = window.inside(last, tap, line, line_out);
        (lo.max(from), hi.min(to))
    });
    let full = (full.0, full.1.max(full.0));
    for (row, out) in target.chunks_exact_mut(line_out).enumerate() {
        out.fill(start);
        for (outer, factors) in kernel.chunks_exact(last_taps).enumerate() {
            let base = if last == 0 { Some(0) } else { window.position(0, row, outer, shape.input[0]) };
            let Some(base) = base else { continue };
            let seen = &source[base * line..(base + 1) * line];
            let together = stride == 1 && full.1 > full.0;
            if together {
                let first = full.0 - begin.min(full.0);
                let seen = &seen[first..];
                let middle = &mut out[full.0..full.1];
                match *factors {
                    [a, b, c] => add_taps::<T, FMA, 3>([a, b, c], seen, dilation, middle),
                    [a, b, c, d, e] => add_taps::<T, FMA, 5>([a, b, c, d, e], seen, dilation, middle),
                    _ => {
                        for (tap, &f) in factors.iter().enumerate() {
                            add_taps::<T, FMA, 1>([f], &seen[tap * dilation..], 1, middle);
                        }
                    }
                }
            }
            for (tap, &f) in factors.iter().enumerate() {
                let (from, to) = window.inside(last, tap, line, line_out);
                let edges = if together { [(from, full.0), (full.1, to)] } else { [(from, to), (0, 0)] };
                for (from, to) in edges {
                    if from >= to {
                        continue;
                    }
                    let first = from * stride + tap * dilation - begin;
                    add_strided::<T, FMA>(f, &seen[first..], stride, &mut out[from..to]);
                }
            }
        }
    }
}

/// Adds to each output the `N` inputs from its own place on, `dilation` apart, times their factors.
#[inline(always)]
fn add_taps<T: Scalar, const FMA: bool, const N: usize>(
    factors: [T; N],
    seen: &[T],
    dilation: usize,
    out: &mut [T],
) {
    let len = out.len();
    let rows: [&[T]; N] = std::array::from_fn(|t| &seen[t * dilation..t * dilation + len]);
    for j in 0..len {
        let mut sum = out[j];
        for t in 0..N {
            sum = sum.plus_product::<FMA>(factors[t], rows[t][j]);
        }
        out[j] = sum;
    }
}

#[inline(always)]
fn add_strided<T: Scalar, const FMA: bool>(factor: T, seen: &[T], stride: usize, out: &mut [T]) {
    if stride == 2 {
        let (pairs, _) = seen.as_chunks::<2>();
        let whole = pairs.len().min(out.len());
        for (cell, pair) in out[..whole].iter_mut().zip(pairs) {
            *cell = cell.plus_product::<FMA>(factor, pair[0]);
        }
        for (cell, &v) in out[whole..].iter_mut().zip(seen[whole * 2..].iter().step_by(2)) {
            *cell = cell.plus_product::<FMA>(factor, v);
        }
        return;
    }
    for (cell, &v) in out.iter_mut().zip(seen.iter().step_by(stride)) {
        *cell = cell.plus_product::<FMA>(factor, v);
    }
}

/// `Conv` of tensors of one type; 16-bit floats accumulate in f32.
///
/// # Errors
/// When types or shapes differ from `shape`, or there is no memory.
pub fn conv(
    pool: &Pool,
    shape: &ConvShape,
    x: &Tensor,
    w: &Tensor,
    bias: Option<&Tensor>,
) -> Result<Tensor, KernelError> {
    let dtype = x.dtype();
    if is_half(dtype) {
        let bias = bias.map(widened).transpose()?;
        return narrowed(conv(pool, shape, &widened(x)?, &widened(w)?, bias.as_ref())?, dtype);
    }
    match dtype {
        DType::F32 => conv_of::<f32>(pool, shape, x, w, bias),
        DType::F64 => conv_of::<f64>(pool, shape, x, w, bias),
        DType::I32 => conv_of::<i32>(pool, shape, x, w, bias),
        DType::I64 => conv_of::<i64>(pool, shape, x, w, bias),
        other => Err(KernelError::Type(format!("there is no convolution of {other}"))),
    }
}

fn conv_of<T: Scalar>(
    pool: &Pool,
    shape: &ConvShape,
    x: &Tensor,
    w: &Tensor,
    bias: Option<&Tensor>,
) -> Result<Tensor, KernelError> {
    let mut out = TensorMut::zeroed(T::DTYPE, shape.output())?;
    let bias = bias.map(|b| b.values::<T>()).transpose()?;
    conv_into(pool, shape, &x.values::<T>()?, &w.values::<T>()?, bias.as_deref(), None, out.slice_mut()?)?;
    Ok(out.freeze())
}

/// `ConvInteger`: 8-bit integers minus their zero points, convolved in i32. The input's zero point is a scalar,
/// that of the weights a scalar or one an output channel; padding counts as the zero point.
///
/// # Errors
/// When types or shapes do not agree, or there is no memory.
pub fn conv_integer(
    pool: &Pool,
    shape: &ConvShape,
    x: &Tensor,
    w: &Tensor,
    x_zero: Option<&Tensor>,
    w_zero: Option<&Tensor>,
) -> Result<Tensor, KernelError> {
    let w_zero = match w_zero {
        Some(z) if z.rank() == 1 && z.len() > 1 => {
            let mut column = Shape::from_elem(1, w.rank().max(1));
            column[0] = z.len();
            Some(z.reshape(&column)?)
        }
        other => other.cloned(),
    };
    conv_of::<i32>(pool, shape, &without_zero(x, x_zero)?, &without_zero(w, w_zero.as_ref())?, None)
}

#[cfg(test)]
#[path = "conv_tests.rs"]
mod tests;
