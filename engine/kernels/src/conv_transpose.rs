//! Transposed convolution over any number of spatial dimensions, layout (batch, channels, spatial...).
//!
//! A product gives what every input adds under every tap; the sums are scattered into the output channel by
//! channel, in an order that does not depend on the pool.

use crate::conv::Epilogue;
use crate::gemm::{Matrix, Target, block_product};
use crate::half_floats::{is_half, narrowed, widened};
use crate::scratch::with_scratch;
use crate::window::{AutoPad, Window, unravel};
use crate::{KernelError, Scalar};
use oxidane_pool::{Cells, Pool};
use oxidane_tensor::{DType, Shape, Tensor, TensorMut, element_count};

/// The checked sizes of one transposed convolution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConvTransposeShape {
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
}

impl ConvTransposeShape {
    /// A transposed convolution of `x` (batch, channels, spatial...) by `w` (channels, output channels / groups,
    /// kernel...). `output_padding` and `output_shape` (spatial) are ONNX's attributes, empty where absent; the
    /// pads of `window` count only where neither `auto_pad` nor `output_shape` says otherwise.
    ///
    /// # Errors
    /// When ranks, channels, groups or the kernel do not agree, or a size is negative or too large.
    pub fn new(
        x: &[usize],
        w: &[usize],
        groups: usize,
        mut window: Window,
        auto_pad: AutoPad,
        output_padding: &[i64],
        output_shape: &[i64],
    ) -> Result<ConvTransposeShape, KernelError> {
        let wrong = |what: &str| {
            KernelError::Shape(format!(
                "cannot convolve (transposed) input {x:?} by weights {w:?} in {groups} groups: {what}"
            ))
        };
        if x.len() < 3 || x.len() != w.len() {
            return Err(wrong("both need a batch or channels, channels, and the same spatial dimensions"));
        }
        if groups == 0 || !x[1].is_multiple_of(groups) || x[1] != w[0] {
            return Err(wrong("the channels differ or cannot be divided into the groups"));
        }
        if w[2..] != window.kernel[..] {
            return Err(wrong(&format!("kernel_shape is {:?}", window.kernel.as_slice())));
        }
        let rank = x.len() - 2;
        if (!output_padding.is_empty() && output_padding.len() != rank)
            || (!output_shape.is_empty() && output_shape.len() != rank)
        {
            return Err(wrong("output_padding and output_shape take one value a spatial dimension"));
        }
        let channels = w[1].checked_mul(groups).ok_or_else(|| wrong("too many channels"))?;
        let mut output = Shape::from_slice(&[x[0], channels]);
        for axis in 0..rank {
            let signed = |n: usize| i64::try_from(n).ok().filter(|&n| n < 1 << 62);
            let reach = || {
                // Where the last window of the unpadded output ends.
                let steps =
                    signed(x[2 + axis])?.checked_sub(1)?.checked_mul(signed(window.strides[axis])?)?;
                let more = output_padding.get(axis).copied().unwrap_or(0);
                steps.checked_add(more)?.checked_add(signed(window.span(axis))?)
            };
            let reach = reach().ok_or_else(|| wrong("a size is too large"))?;
            let same = matches!(auto_pad, AutoPad::SameUpper | AutoPad::SameLower);
            let asked = match output_shape.get(axis) {
                Some(&size) => Some(size),
                None if same => signed(x[2 + axis].saturating_mul(window.strides[axis])),
                None => None,
            };
            let size = if let Some(size) = asked {
                let total = reach.checked_sub(size).ok_or_else(|| wrong("a size is too large"))?.max(0);
                let small = total / 2;
                let begin = if auto_pad == AutoPad::SameUpper { small } else { total - small };
                window.begins[axis] = begin as usize;
                window.ends[axis] = (total - begin) as usize;
                size
            } else {
                if auto_pad == AutoPad::Valid {
                    (window.begins[axis], window.ends[axis]) = (0, 0);
                }
                reach - (window.begins[axis] + window.ends[axis]) as i64
            };
            output.push(
                usize::try_from(size).map_err(|_| wrong(&format!("output size {size} of axis {axis}")))?,
            );
        }
        // Empty dimensions count as one, so that no partial product overflows either.
        let full = |shape: &[usize]| shape.iter().map(|&d| d.max(1)).collect::<Shape>();
        element_count(&full(x))?;
        element_count(&full(&output))?;
        element_count(&full(w))?;
        Ok(ConvTransposeShape { groups, ic: x[1] / groups, oc: w[1], input: x[2..].into(), window, output })
    }

    /// The shape of the result: (batch, output channels, spatial...).
    pub fn output(&self) -> &[usize] {
        &self.output
    }

    fn plane(&self) -> usize {
        self.input.iter().product()
    }

    fn positions(&self) -> usize {
        self.output[2..].iter().product()
    }

    fn taps(&self) -> usize {
        self.window.kernel.iter().product()
    }
}

/// Elements of scratch that the sums of one block should stay below.
const TILE: usize = 1 << 18;

/// The transposed convolution of dense `x` by dense `w` into dense `out`, bias (one an output channel) added,
/// `epilogue` run on every finished channel.
///
/// # Errors
/// When a slice has not the size that the shape says.
pub fn conv_transpose_into<T: Scalar>(
    pool: &Pool,
    shape: &ConvTransposeShape,
    x: &[T],
    w: &[T],
    bias: Option<&[T]>,
    epilogue: Option<Epilogue<'_, T>>,
    out: &mut [T],
) -> Result<(), KernelError> {
    let (ic, oc, groups, batch) = (shape.ic, shape.oc, shape.groups, shape.output[0]);
    let (taps, plane, positions) = (shape.taps(), shape.plane(), shape.positions());
    let want = (batch * groups * ic * plane, groups * ic * oc * taps, batch * groups * oc * positions);
    let found = (x.len(), w.len(), out.len());
    if found != want || bias.is_some_and(|b| b.len() != groups * oc) {
        return Err(KernelError::Shape(format!(
            "a transposed convolution to {:?} takes {want:?} elements of input, weights and output and {} of bias, found {found:?} and {:?}",
            shape.output.as_slice(),
            groups * oc,
            bias.map(<[T]>::len)
        )));
    }
    if out.is_empty() {
        return Ok(());
    }
    // Channels of a block, and inputs of a tile.
    let together = (TILE / taps.saturating_mul(plane).max(1)).max(64usize.div_ceil(taps)).min(oc);
    let width = (TILE / together.saturating_mul(taps)).max(256.min((1 << 24) / taps)).clamp(1, plane.max(1));
    let blocks = oc.div_ceil(together);
    let cells = Cells::new(out);
    pool.for_each(batch * groups * blocks, &|task| {
        let (item, first) = (task / blocks, task % blocks * together);
        let group = item % groups;
        let count = together.min(oc - first);
        // SAFETY: blocks of channels are disjoint.
        let channels = unsafe { cells.piece((item * oc + first) * positions, count * positions) };
        for (i, channel) in channels.chunks_exact_mut(positions).enumerate() {
            channel.fill(bias.map_or(T::ZERO, |b| b[group * oc + first + i]));
        }
        let source = &x[item * ic * plane..(item + 1) * ic * plane];
        let weights = &w[group * ic * oc * taps..(group + 1) * ic * oc * taps];
        for from in (0..plane).step_by(width) {
            let width = width.min(plane - from);
            with_scratch(count * taps * width, |sums: &mut [T]| {
                let left =
                    Matrix::new(weights.get(first * taps..).unwrap_or(&[]), ic, count * taps, oc * taps, 1);
                let right = Matrix::new(source.get(from..).unwrap_or(&[]), ic, width, plane, 1);
                if let (Ok(left), Ok(right)) = (left, right) {
                    let target = Target { cells: &Cells::new(sums), at: 0, row_step: width };
                    // SAFETY: the scratch is this task's own and has the product's size.
                    unsafe { block_product(T::ONE, left.transposed(), right, false, &target) };
                }
                for (channel, sums) in
                    channels.chunks_exact_mut(positions).zip(sums.chunks_exact(taps * width))
                {
                    scatter(shape, sums, from, width, channel);
                }
            });
        }
        if let Some(epilogue) = epilogue {
            channels.chunks_exact_mut(positions).for_each(epilogue);
        }
    });
    Ok(())
}

/// Adds `sums` (tap, input position `from..from + width`) where they fall in one channel of the output.
fn scatter<T: Scalar>(shape: &ConvTransposeShape, sums: &[T], from: usize, width: usize, channel: &mut [T]) {
    let window = &shape.window;
    let last = window.rank() - 1;
    let (line, line_out) = (shape.input[last], shape.output[2 + last]);
    let last_taps = window.kernel[last];
    let stride = window.strides[last];
    let mut tap_index = Shape::from_elem(0, last);
    let mut row_index = Shape::from_elem(0, last);
    for outer in 0..shape.taps() / last_taps {
        unravel(outer, &window.kernel[..last], &mut tap_index);
        for row in from / line..=(from + width - 1) / line {
            unravel(row, &shape.input[..last], &mut row_index);
            let base = (0..last).try_fold(0usize, |base, axis| {
                let size = shape.output[2 + axis];
                Some(base * size + window.position(axis, row_index[axis], tap_index[axis], size)?)
            });
            let Some(base) = base else { continue };
            let target = &mut channel[base * line_out..(base + 1) * line_out];
            let start = row * line;
            let (lo, hi) = (from.max(start) - start, (from + width).min(start + line) - start);
            for tap in 0..last_taps {
                let (valid, end) = window.inside(last, tap, line_out, line);
                let a = valid.clamp(lo, hi);
                let b = end.clamp(a, hi);
                if a == b {
                    continue;
                }
                let at = (outer * last_taps + tap) * width + start + a - from;
                let first = a * stride + tap * window.dilations[last] - window.begins[last];
                let values = &sums[at..at + b - a];
                if stride == 1 {
                    for (cell, &v) in target[first..first + b - a].iter_mut().zip(values) {
                        *cell = cell.plus(v);
                    }
                } else {
                    for (cell, &v) in target[first..].iter_mut().step_by(stride).zip(values) {
                        *cell = cell.plus(v);
                    }
                }
            }
        }
    }
}

/// `ConvTranspose` of tensors of one type; 16-bit floats accumulate in f32.
///
/// # Errors
/// When types or shapes differ from `shape`, or there is no memory.
pub fn conv_transpose(
    pool: &Pool,
    shape: &ConvTransposeShape,
    x: &Tensor,
    w: &Tensor,
    bias: Option<&Tensor>,
) -> Result<Tensor, KernelError> {
    let dtype = x.dtype();
    if is_half(dtype) {
        let bias = bias.map(widened).transpose()?;
        return narrowed(conv_transpose(pool, shape, &widened(x)?, &widened(w)?, bias.as_ref())?, dtype);
    }
    match dtype {
        DType::F32 => conv_transpose_of::<f32>(pool, shape, x, w, bias),
        DType::F64 => conv_transpose_of::<f64>(pool, shape, x, w, bias),
        other => Err(KernelError::Type(format!("there is no transposed convolution of {other}"))),
    }
}

fn conv_transpose_of<T: Scalar>(
    pool: &Pool,
    shape: &ConvTransposeShape,
    x: &Tensor,
    w: &Tensor,
    bias: Option<&Tensor>,
) -> Result<Tensor, KernelError> {
    let mut out = TensorMut::zeroed(T::DTYPE, shape.output())?;
    let bias = bias.map(|b| b.values::<T>()).transpose()?;
    let (x, w) = (x.values::<T>()?, w.values::<T>()?);
    conv_transpose_into(pool, shape, &x, &w, bias.as_deref(), None, out.slice_mut()?)?;
    Ok(out.freeze())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(count: usize, seed: usize) -> Vec<f32> {
        (0..count).map(|i| ((i * 7 + seed * 13 + i / 5) % 11) as f32 - 5.0).collect()
    }

    /// The definition, in f64.
    fn slow(shape: &ConvTransposeShape, x: &[f32], w: &[f32], bias: &[f32]) -> Vec<f32> {
        let rank = shape.input.len();
        let (taps, plane, positions) = (shape.taps(), shape.plane(), shape.positions());
        let channels = shape.groups * shape.oc;
        let mut out = vec![0f64; shape.output.iter().product()];
        for (i, cell) in out.iter_mut().enumerate() {
            *cell = f64::from(bias[i / positions % channels]);
        }
        let (mut at, mut tap) = (vec![0; rank], vec![0; rank]);
        for n in 0..shape.output[0] {
            for c in 0..shape.groups * shape.ic {
                for p in 0..plane {
                    unravel(p, &shape.input, &mut at);
                    for o in 0..shape.oc {
                        for t in 0..taps {
                            unravel(t, &shape.window.kernel, &mut tap);
                            let place = (0..rank).try_fold(0, |base, a| {
                                let q = at[a] * shape.window.strides[a] + tap[a] * shape.window.dilations[a];
                                let q = q.checked_sub(shape.window.begins[a])?;
                                (q < shape.output[2 + a]).then(|| base * shape.output[2 + a] + q)
                            });
                            if let Some(place) = place {
                                let channel = n * channels + c / shape.ic * shape.oc + o;
                                out[channel * positions + place] +=
                                    f64::from(x[(n * shape.groups * shape.ic + c) * plane + p])
                                        * f64::from(w[(c * shape.oc + o) * taps + t]);
                            }
                        }
                    }
                }
            }
        }
        out.iter().map(|&v| v as f32).collect()
    }

    fn check(shape: &ConvTransposeShape) {
        let x = numbers(shape.output[0] * shape.groups * shape.ic * shape.plane(), 1);
        let w = numbers(shape.groups * shape.ic * shape.oc * shape.taps(), 2);
        let bias = numbers(shape.groups * shape.oc, 3);
        let want = slow(shape, &x, &w, &bias);
        for width in [1, 2, 4] {
            let mut out = vec![9f32; want.len()];
            conv_transpose_into(&Pool::new(width), shape, &x, &w, Some(&bias), None, &mut out).unwrap();
            assert!(out == want, "{shape:?} width {width}");
        }
    }

    #[test]
    fn agrees_with_the_definition() {
        for (x, w, groups, s, d, p, more) in [
            (&[1, 3, 4, 5][..], &[3, 2, 3, 3][..], 1, &[][..], &[][..], &[][..], &[][..]),
            (&[2, 4, 4, 5], &[4, 3, 3, 2], 2, &[2, 3], &[2, 1], &[1, 0, 2, 1], &[1, 2]),
            (&[2, 4, 7], &[4, 5, 3], 1, &[2], &[3], &[1, 1], &[1]),
            (&[1, 2, 3, 2, 4], &[2, 3, 2, 3, 2], 1, &[1, 2, 2], &[], &[0, 1, 0, 1, 0, 1], &[]),
            (&[1, 40, 40, 33], &[40, 20, 4, 4], 1, &[2, 2], &[], &[1, 1, 1, 1], &[]),
            (&[1, 1, 700, 700], &[1, 1, 2, 2], 1, &[2, 2], &[], &[], &[]),
            (&[0, 3, 4, 5], &[3, 2, 3, 3], 1, &[], &[], &[], &[]),
            (&[1, 1, 2, 2], &[1, 1, 2, 2], 1, &[], &[], &[1, 1, 0, 0], &[]),
        ] {
            let window = Window::new(&w[2..], s, d, p).unwrap();
            check(&ConvTransposeShape::new(x, w, groups, window, AutoPad::NotSet, more, &[]).unwrap());
        }
    }

    #[test]
    fn sizes_asked_for() {
        let window = || Window::new(&[3, 3], &[3, 2], &[], &[]).unwrap();
        let (x, w) = ([1, 1, 3, 3], [1, 2, 3, 3]);
        let shape = ConvTransposeShape::new(&x, &w, 1, window(), AutoPad::NotSet, &[], &[10, 8]).unwrap();
        assert_eq!(shape.output(), [1, 2, 10, 8]);
        check(&shape);
        let shape = ConvTransposeShape::new(&x, &w, 1, window(), AutoPad::SameUpper, &[], &[]).unwrap();
        assert_eq!(shape.output(), [1, 2, 9, 6]);
        check(&shape);
        for bad in [-1, i64::MIN, i64::MAX] {
            let made = ConvTransposeShape::new(&x, &w, 1, window(), AutoPad::NotSet, &[], &[bad, 8]);
            assert!(made.is_err());
            let made = ConvTransposeShape::new(&x, &w, 1, window(), AutoPad::NotSet, &[0, bad], &[]);
            assert!(made.is_err() || bad == -1);
        }
        assert!(ConvTransposeShape::new(&x, &[2, 1, 3, 3], 1, window(), AutoPad::NotSet, &[], &[]).is_err());
    }
}
