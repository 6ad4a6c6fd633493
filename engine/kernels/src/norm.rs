//! Normalisations: to mean and variance over rows, groups or channels, to a norm, to neighbours.
//!
//! Sums are formed in the type that the float computes in (`f32` for 16-bit floats), the mean first and the
//! squares of the distances from it second.

use crate::error::check_len;
use crate::lanes::{CHUNK, vectorized};
use crate::scratch::with_scratch;
use crate::softmax::{around, row_sum};
use crate::{Float, KernelError, Number, Real};
use oxidane_pool::Pool;

/// `LayerNormalization` over rows of `size` elements: `(x - mean) / sqrt(variance + epsilon) * scale + bias`,
/// with one scale and bias for each place in a row.
///
/// `statistics` takes the mean and the inverse deviation of each row, one after the other, where wanted.
///
/// # Errors
/// When a slice's length does not fit.
#[allow(clippy::too_many_arguments, reason = "the operator's own inputs, attributes and outputs")]
pub fn layer_norm<T: Float>(
    pool: &Pool,
    input: &[T],
    size: usize,
    (scale, bias): (Option<&[T]>, Option<&[T]>),
    epsilon: f32,
    output: &mut [T],
    statistics: Option<(&mut [f32], &mut [f32])>,
) -> Result<(), KernelError> {
    check_rows(input, size, output)?;
    check_place("scale", scale, size)?;
    check_place("bias", bias, size)?;
    let rows = input.len().checked_div(size).unwrap_or(0);
    if let Some((means, deviations)) = statistics {
        check_len("mean", means.len(), &[rows])?;
        check_len("inverse deviation", deviations.len(), &[rows])?;
        with_scratch(size.min(input.len()), |x: &mut [T::Wide]| {
            for ((row, mean), deviation) in input.chunks(size.max(1)).zip(means).zip(deviations) {
                widen(row, x);
                let (m, d) = moments(x, epsilon);
                (*mean, *deviation) = (m.to_f64() as f32, d.to_f64() as f32);
            }
        });
    }
    each_row(pool, input, size, output, |x| {
        let (mean, factor) = moments(x, epsilon);
        x.iter_mut().for_each(|v| *v = v.minus(mean).times(factor));
        scale_row(x, scale, bias);
    });
    Ok(())
}

/// `RMSNormalization` over rows of `size` elements: `x / sqrt(mean(x^2) + epsilon) * scale`.
///
/// # Errors
/// When a slice's length does not fit.
pub fn rms_norm<T: Float>(
    pool: &Pool,
    input: &[T],
    size: usize,
    scale: Option<&[T]>,
    epsilon: f32,
    output: &mut [T],
) -> Result<(), KernelError> {
    check_rows(input, size, output)?;
    check_place("scale", scale, size)?;
    each_row(pool, input, size, output, |x| {
        let squares = row_sum(x, |v| v.times(v)).over(Real::of(x.len() as f64));
        let factor = <T::Wide as Number>::ONE.over(squares.plus(Real::of(f64::from(epsilon))).sqrt());
        x.iter_mut().for_each(|v| *v = v.times(factor));
        scale_row(x, scale, None);
    });
    Ok(())
}

/// `InstanceNormalization` and `GroupNormalization`: input of shape `[n, channels, inner]`, each of `groups`
/// groups of neighbouring channels brought to mean 0 and variance 1, then scaled by channel. As many groups as
/// channels are instances.
///
/// # Errors
/// When the channels do not divide into the groups, or a slice's length does not fit.
#[allow(clippy::too_many_arguments, reason = "the operator's own inputs, attributes and outputs")]
pub fn group_norm<T: Float>(
    pool: &Pool,
    input: &[T],
    [n, channels, inner]: [usize; 3],
    groups: usize,
    (scale, bias): (&[T], &[T]),
    epsilon: f32,
    output: &mut [T],
) -> Result<(), KernelError> {
    check_len("input", input.len(), &[n, channels, inner])?;
    check_len("output", output.len(), &[n, channels, inner])?;
    check_len("scale", scale.len(), &[channels])?;
    check_len("bias", bias.len(), &[channels])?;
    if groups == 0 || !channels.is_multiple_of(groups) {
        return Err(KernelError::Shape(format!("{channels} channels do not divide into {groups} groups")));
    }
    let per_group = channels / groups;
    let size = per_group.saturating_mul(inner);
    if output.is_empty() {
        return Ok(());
    }
    pool.for_each_piece(output, size, |i, to| {
        let first = i % groups * per_group;
        with_scratch(size, |x: &mut [T::Wide]| {
            vectorized(|| {
                widen(&input[i * size..][..size], x);
                let (mean, factor) = moments(x, epsilon);
                for (c, (to, x)) in to.chunks_mut(inner).zip(x.chunks(inner)).enumerate() {
                    let (s, b) = (scale[first + c].wide().times(factor), bias[first + c].wide());
                    for (y, v) in to.iter_mut().zip(x) {
                        *y = T::narrow(v.minus(mean).times(s).plus(b));
                    }
                }
            });
        });
    });
    Ok(())
}

/// Input of shape `[n, channels, inner]` times a factor plus an offset for each channel. `BatchNormalization` in
/// inference is this with what [`batch_factors`] gives.
///
/// # Errors
/// When a slice's length does not fit.
pub fn scale_channels<T: Float>(
    pool: &Pool,
    input: &[T],
    [n, channels, inner]: [usize; 3],
    (factors, offsets): (&[T::Wide], &[T::Wide]),
    output: &mut [T],
) -> Result<(), KernelError> {
    check_len("input", input.len(), &[n, channels, inner])?;
    check_len("output", output.len(), &[n, channels, inner])?;
    check_len("factors", factors.len(), &[channels])?;
    check_len("offsets", offsets.len(), &[channels])?;
    if output.is_empty() {
        return Ok(());
    }
    if inner == 1 {
        let rows = (CHUNK / channels).max(1);
        pool.for_each_piece(output, rows * channels, |i, piece| {
            let from = &input[i * rows * channels..][..piece.len()];
            for (to, from) in piece.chunks_mut(channels).zip(from.chunks(channels)) {
                for (((y, x), &f), &o) in to.iter_mut().zip(from).zip(factors).zip(offsets) {
                    *y = T::narrow(x.wide().times(f).plus(o));
                }
            }
        });
        return Ok(());
    }
    let planes = (CHUNK / inner).max(1);
    pool.for_each_piece(output, planes * inner, |i, piece| {
        let from = &input[i * planes * inner..][..piece.len()];
        vectorized(|| {
            for (j, (to, from)) in piece.chunks_mut(inner).zip(from.chunks(inner)).enumerate() {
                let channel = (i * planes + j) % channels;
                let (f, o) = (factors[channel], offsets[channel]);
                for (y, x) in to.iter_mut().zip(from) {
                    *y = T::narrow(x.wide().times(f).plus(o));
                }
            }
        });
    });
    Ok(())
}

/// Two numbers for each channel.
pub type PerChannel<R> = (Vec<R>, Vec<R>);

/// The factor and offset of each channel that bring `mean` and `variance` to 0 and 1, then apply scale and bias.
///
/// # Errors
/// When the lengths differ.
pub fn batch_factors<R: Real>(
    (scale, bias): (&[R], &[R]),
    (mean, variance): (&[R], &[R]),
    epsilon: f32,
) -> Result<PerChannel<R>, KernelError> {
    let channels = [scale.len()];
    check_len("bias", bias.len(), &channels)?;
    check_len("mean", mean.len(), &channels)?;
    check_len("variance", variance.len(), &channels)?;
    let epsilon = R::of(f64::from(epsilon));
    let factors: Vec<R> = scale.iter().zip(variance).map(|(s, v)| s.over(v.plus(epsilon).sqrt())).collect();
    let offsets = factors.iter().zip(bias.iter().zip(mean)).map(|(f, (b, m))| b.minus(m.times(*f))).collect();
    Ok((factors, offsets))
}

/// The mean and the (biased) variance of each channel of an input of shape `[n, channels, inner]`.
///
/// # Errors
/// When a slice's length does not fit.
pub fn channel_moments<T: Float>(
    pool: &Pool,
    input: &[T],
    [n, channels, inner]: [usize; 3],
) -> Result<PerChannel<T::Wide>, KernelError> {
    check_len("input", input.len(), &[n, channels, inner])?;
    let zero = <T::Wide as Number>::ZERO;
    let mut both = vec![[zero; 2]; channels];
    let count: T::Wide = Real::of(n as f64 * inner as f64);
    pool.for_each_piece(&mut both, 1, |c, out| {
        let mut x = vec![zero; n * inner];
        for (i, part) in x.chunks_mut(inner.max(1)).enumerate() {
            widen(&input[(i * channels + c) * inner..][..inner], part);
        }
        let mean = row_sum(&x, |v| v).over(count);
        let variance = row_sum(&x, |v| v.minus(mean).times(v.minus(mean))).over(count);
        out[0] = [mean, variance];
    });
    Ok(both.into_iter().map(|[m, v]| (m, v)).unzip())
}

/// `LpNormalization`: divides by the sum of absolute values (`p` 1) or the root of the sum of squares (`p` 2)
/// along `axis`; where that is 0, the result is 0.
///
/// # Errors
/// When `p` is neither, the axis does not exist, or a slice is not as long as the shape says.
pub fn lp_norm<T: Float>(
    pool: &Pool,
    (input, shape): (&[T], &[usize]),
    axis: usize,
    p: i64,
    output: &mut [T],
) -> Result<(), KernelError> {
    check_len("input", input.len(), shape)?;
    check_len("output", output.len(), shape)?;
    if p != 1 && p != 2 {
        return Err(KernelError::Shape(format!("p is {p}; a norm is taken with p 1 or 2")));
    }
    let [_, size, inner] = around(shape, axis)?;
    if output.is_empty() {
        return Ok(());
    }
    let zero = <T::Wide as Number>::ZERO;
    pool.for_each_piece(output, size * inner, |o, to| {
        let from = &input[o * size * inner..][..size * inner];
        with_scratch(inner, |norms: &mut [T::Wide]| {
            norms.fill(zero);
            for line in from.chunks(inner) {
                for (norm, x) in norms.iter_mut().zip(line) {
                    let x = x.wide();
                    *norm = norm.plus(if p == 1 { x.size() } else { x.times(x) });
                }
            }
            if p == 2 {
                norms.iter_mut().for_each(|n| *n = n.sqrt());
            }
            for (to, from) in to.chunks_mut(inner).zip(from.chunks(inner)) {
                for ((y, x), &norm) in to.iter_mut().zip(from).zip(&*norms) {
                    *y = if norm == zero { T::ZERO } else { T::narrow(x.wide().over(norm)) };
                }
            }
        });
    });
    Ok(())
}

/// `LRN` on an input of shape `[n, channels, inner]`: each element over
/// `(bias + alpha / size * sum of squares of the neighbouring channels) ^ beta`.
///
/// # Errors
/// When `size` is 0, or a slice's length does not fit.
pub fn local_response<T: Float>(
    pool: &Pool,
    input: &[T],
    [n, channels, inner]: [usize; 3],
    size: usize,
    (alpha, beta, bias): (f32, f32, f32),
    output: &mut [T],
) -> Result<(), KernelError> {
    check_len("input", input.len(), &[n, channels, inner])?;
    check_len("output", output.len(), &[n, channels, inner])?;
    if size == 0 {
        return Err(KernelError::Shape("size of the neighbourhood is 0; it must be at least 1".into()));
    }
    if output.is_empty() {
        return Ok(());
    }
    let (before, after) = ((size - 1) / 2, size - 1 - (size - 1) / 2);
    let of = |x: f32| -> T::Wide { Real::of(f64::from(x)) };
    let (factor, power, bias) = (of(alpha).over(Real::of(size as f64)), of(-beta), of(bias));
    pool.for_each_piece(output, inner, |i, to| {
        let (batch, channel) = (i / channels, i % channels);
        let first = channel.saturating_sub(before);
        let end = channel.saturating_add(after).saturating_add(1).min(channels);
        with_scratch(inner, |sums: &mut [T::Wide]| {
            sums.fill(<T::Wide as Number>::ZERO);
            for c in first..end {
                let plane = &input[(batch * channels + c) * inner..][..inner];
                for (s, x) in sums.iter_mut().zip(plane) {
                    *s = s.plus(x.wide().times(x.wide()));
                }
            }
            for ((y, x), s) in to.iter_mut().zip(&input[i * inner..][..inner]).zip(&*sums) {
                *y = T::narrow(x.wide().times(bias.plus(factor.times(*s)).power(power)));
            }
        });
    });
    Ok(())
}

/// The mean, and 1 over the square root of variance plus epsilon.
#[inline(always)]
fn moments<R: Real>(x: &[R], epsilon: f32) -> (R, R) {
    let count = R::of(x.len() as f64);
    let mean = row_sum(x, |v| v).over(count);
    let variance = row_sum(x, |v| v.minus(mean).times(v.minus(mean))).over(count);
    (mean, R::ONE.over(variance.plus(R::of(f64::from(epsilon))).sqrt()))
}

#[inline(always)]
fn widen<T: Float>(from: &[T], to: &mut [T::Wide]) {
    for (w, v) in to.iter_mut().zip(from) {
        *w = v.wide();
    }
}

#[inline(always)]
fn scale_row<T: Float>(x: &mut [T::Wide], scale: Option<&[T]>, bias: Option<&[T]>) {
    if let Some(scale) = scale {
        x.iter_mut().zip(scale).for_each(|(v, s)| *v = v.times(s.wide()));
    }
    if let Some(bias) = bias {
        x.iter_mut().zip(bias).for_each(|(v, b)| *v = v.plus(b.wide()));
    }
}

fn check_rows<T>(input: &[T], size: usize, output: &[T]) -> Result<(), KernelError> {
    check_len("output", output.len(), &[input.len()])?;
    // Nothing but zero is a multiple of zero.
    if !input.len().is_multiple_of(size) {
        return Err(KernelError::Shape(format!("{} elements are not rows of {size}", input.len())));
    }
    Ok(())
}

fn check_place<T>(what: &str, values: Option<&[T]>, size: usize) -> Result<(), KernelError> {
    values.map_or(Ok(()), |v| check_len(what, v.len(), &[size]))
}

/// Applies `change` to every row, in the type that sums are formed in.
fn each_row<T: Float>(
    pool: &Pool,
    input: &[T],
    size: usize,
    output: &mut [T],
    change: impl Fn(&mut [T::Wide]) + Sync,
) {
    if output.is_empty() {
        return;
    }
    let rows = (CHUNK / size.min(CHUNK)).max(1);
    pool.for_each_piece(output, rows * size, |i, piece| {
        let from = &input[i * rows * size..][..piece.len()];
        with_scratch(size, |x: &mut [T::Wide]| {
            for (from, to) in from.chunks(size).zip(piece.chunks_mut(size)) {
                vectorized(|| {
                    widen(from, x);
                    change(x);
                    for (y, &w) in to.iter_mut().zip(&*x) {
                        *y = T::narrow(w);
                    }
                });
            }
        });
    });
}
