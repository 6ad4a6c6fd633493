//! Resizing along any dimensions: nearest, linear and cubic, one dimension after the other.

use crate::KernelError;
use crate::half_floats::{is_half, narrowed, widened};
use crate::lanes::vectorized;
use crate::real::Real;
use oxidane_pool::Pool;
use oxidane_tensor::{DType, Element, Shape, Tensor, TensorMut, element_count};

/// How `Resize` finds a value between elements.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ResizeMode {
    /// The nearest element.
    Nearest(NearestMode),
    /// The two elements around, by distance.
    Linear,
    /// The four elements around, by a cubic polynomial.
    Cubic {
        /// The polynomial's coefficient, ONNX's `cubic_coeff_a`.
        a: f32,
    },
}

/// Which element is the nearest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum NearestMode {
    /// Halves go down.
    #[default]
    RoundPreferFloor,
    /// Halves go up.
    RoundPreferCeil,
    /// The one before.
    Floor,
    /// The one after.
    Ceil,
}

impl NearestMode {
    /// From ONNX's spelling; `None` for an unknown one.
    pub fn from_name(name: &str) -> Option<NearestMode> {
        Some(match name {
            "round_prefer_floor" => NearestMode::RoundPreferFloor,
            "round_prefer_ceil" => NearestMode::RoundPreferCeil,
            "floor" => NearestMode::Floor,
            "ceil" => NearestMode::Ceil,
            _ => return None,
        })
    }
}

/// How a position in the output becomes one in the input, ONNX's `coordinate_transformation_mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Coordinates {
    /// Centres of elements at halves.
    #[default]
    HalfPixel,
    /// As `HalfPixel`, the centre kept where the output was rounded.
    HalfPixelSymmetric,
    /// As `HalfPixel`, nought where the output is one element.
    PytorchHalfPixel,
    /// First and last elements on each other.
    AlignCorners,
    /// First elements on each other.
    Asymmetric,
    /// The region of interest stretched over the output; outside of the input, the extrapolation value.
    TfCropAndResize,
}

impl Coordinates {
    /// From ONNX's spelling; `None` for an unknown one.
    pub fn from_name(name: &str) -> Option<Coordinates> {
        Some(match name {
            "half_pixel" => Coordinates::HalfPixel,
            "half_pixel_symmetric" => Coordinates::HalfPixelSymmetric,
            "pytorch_half_pixel" => Coordinates::PytorchHalfPixel,
            "align_corners" => Coordinates::AlignCorners,
            "asymmetric" => Coordinates::Asymmetric,
            "tf_crop_and_resize" => Coordinates::TfCropAndResize,
            _ => return None,
        })
    }
}

/// ONNX's `keep_aspect_ratio_policy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum AspectRatio {
    /// Sizes as they are given.
    #[default]
    Stretch,
    /// One scale for all dimensions, no size above the given.
    NotLarger,
    /// One scale for all dimensions, no size below the given.
    NotSmaller,
}

/// The attributes of `Resize` that all dimensions share.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ResizeAttributes {
    /// How values are found.
    pub mode: ResizeMode,
    /// How positions are found.
    pub coordinates: Coordinates,
    /// Whether shrinking widens the filter.
    pub antialias: bool,
    /// Whether elements outside of the input weigh nothing, instead of repeating the edge.
    pub exclude_outside: bool,
    /// The value outside of the input for [`Coordinates::TfCropAndResize`].
    pub extrapolation_value: f32,
}

/// What happens along one dimension.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ResizeAxis {
    /// Elements of the output.
    pub output: usize,
    /// Output elements an input element, not rounded.
    pub scale: f64,
    /// The region of interest, 0 to 1 for the whole.
    pub roi: (f64, f64),
}

/// What is asked of the dimensions: factors or sizes, one for each of the axes named.
#[derive(Debug, Clone, Copy)]
pub enum ResizeTarget<'a> {
    /// ONNX's `scales`.
    Scales(&'a [f32]),
    /// ONNX's `sizes` with the policy.
    Sizes(&'a [i64], AspectRatio),
}

/// One entry for each dimension of `input`, those not in `axes` unchanged. `roi` is empty or holds the starts,
/// then the ends, of the axes named.
///
/// # Errors
/// When list lengths differ from that of `axes`, an axis does not exist, or a scale or size is not possible.
pub fn resize_axes(
    input: &[usize],
    axes: &[usize],
    target: ResizeTarget<'_>,
    roi: &[f64],
) -> Result<Vec<ResizeAxis>, KernelError> {
    let count = match target {
        ResizeTarget::Scales(s) => s.len(),
        ResizeTarget::Sizes(s, _) => s.len(),
    };
    let whole = axes.iter().all(|&a| a < input.len());
    if count != axes.len() || !whole || !(roi.is_empty() || roi.len() == 2 * axes.len()) {
        return Err(KernelError::Shape(format!(
            "cannot resize {input:?} along axes {axes:?} with {count} scales or sizes and a region of {} values",
            roi.len()
        )));
    }
    let mut out: Vec<ResizeAxis> =
        input.iter().map(|&n| ResizeAxis { output: n, scale: 1.0, roi: (0.0, 1.0) }).collect();
    let impossible = |what: String| KernelError::Shape(format!("cannot resize {input:?}: {what}"));
    let shared = match target {
        ResizeTarget::Sizes(sizes, policy) if policy != AspectRatio::Stretch => {
            let ratios = axes.iter().zip(sizes).map(|(&a, &s)| s as f64 / input[a] as f64);
            let least = policy == AspectRatio::NotLarger;
            ratios.reduce(if least { f64::min } else { f64::max })
        }
        _ => None,
    };
    for (i, &axis) in axes.iter().enumerate() {
        let n = input[axis];
        let (size, scale) = match target {
            ResizeTarget::Scales(scales) => {
                let scale = f64::from(scales[i]);
                ((scale * n as f64).floor(), scale)
            }
            ResizeTarget::Sizes(..) if shared.is_some() => {
                let scale = shared.unwrap_or(1.0);
                ((scale * n as f64 + 0.5).floor(), scale)
            }
            ResizeTarget::Sizes(sizes, _) => {
                (sizes[i] as f64, if n == 0 { 1.0 } else { sizes[i] as f64 / n as f64 })
            }
        };
        if !((0.0..1e15).contains(&size) && scale.is_finite() && (scale > 0.0 || size == 0.0)) {
            return Err(impossible(format!("axis {axis} would get size {size} by scale {scale}")));
        }
        if n == 0 && size > 0.0 {
            return Err(impossible(format!("axis {axis} is empty and cannot become {size}")));
        }
        out[axis].output = size as usize;
        out[axis].scale = scale;
        if !roi.is_empty() {
            out[axis].roi = (roi[i], roi[axes.len() + i]);
        }
    }
    Ok(out)
}

/// Where one output element of a dimension comes from: `count` weighted input elements.
struct Taps {
    count: usize,
    /// `count` an output element, each inside the input.
    places: Vec<usize>,
    /// As many; empty for nearest.
    weights: Vec<f64>,
    /// Output elements that take the extrapolation value.
    outside: Vec<bool>,
}

fn position(axis: &ResizeAxis, input: usize, coordinates: Coordinates, x: f64) -> f64 {
    let (n, scale, (start, end)) = (input as f64, axis.scale, axis.roi);
    let width = scale * n;
    let half = (x + 0.5) / scale - 0.5;
    let exact = match coordinates {
        Coordinates::HalfPixel => half,
        Coordinates::HalfPixelSymmetric => n / 2.0 * (1.0 - axis.output as f64 / width) + half,
        Coordinates::PytorchHalfPixel if axis.output > 1 => half,
        Coordinates::PytorchHalfPixel => 0.0,
        Coordinates::AlignCorners if width == 1.0 || axis.output <= 1 => 0.0,
        Coordinates::AlignCorners => x * (n - 1.0) / (width - 1.0),
        Coordinates::Asymmetric => x / scale,
        Coordinates::TfCropAndResize if axis.output > 1 => {
            start * (n - 1.0) + x * (end - start) * (n - 1.0) / (width - 1.0)
        }
        Coordinates::TfCropAndResize => 0.5 * (start + end) * (n - 1.0),
    };
    // Scales arrive in f32; rounding takes back what their error makes of whole and half positions.
    f64::from(exact as f32)
}

fn taps(axis: &ResizeAxis, input: usize, attributes: &ResizeAttributes) -> Result<Taps, KernelError> {
    let last = input.saturating_sub(1) as f64;
    let narrow = if attributes.antialias { axis.scale.min(1.0) } else { 1.0 };
    // Taps lie at start..start + count from the element before the position.
    let reach = match attributes.mode {
        ResizeMode::Nearest(_) => 0.0,
        ResizeMode::Linear => (-1.0 / narrow).floor() + 1.0,
        ResizeMode::Cubic { .. } => (-2.0 / narrow).floor() + 1.0,
    };
    let count = match attributes.mode {
        ResizeMode::Nearest(_) => 1,
        _ if -reach > 8.0 * input as f64 + 16.0 => {
            return Err(KernelError::Shape(format!(
                "cannot resize {input} elements by the scale {}: the filter would be far wider than the input",
                axis.scale
            )));
        }
        _ => (2.0 - 2.0 * reach) as usize,
    };
    let total = axis.output.checked_mul(count).filter(|&n| n <= isize::MAX as usize / 16);
    let total = total.ok_or_else(|| KernelError::Shape(format!("cannot resize to {}", axis.output)))?;
    let mut made =
        Taps { count, places: Vec::with_capacity(total), weights: Vec::new(), outside: Vec::new() };
    for i in 0..axis.output {
        let x = position(axis, input, attributes.coordinates, i as f64);
        if attributes.coordinates == Coordinates::TfCropAndResize {
            made.outside.push(!(0.0..=last).contains(&x));
        }
        if let ResizeMode::Nearest(mode) = attributes.mode {
            let at = match mode {
                NearestMode::RoundPreferFloor => (x - 0.5).ceil(),
                NearestMode::RoundPreferCeil => (x + 0.5).floor(),
                NearestMode::Floor => x.floor(),
                NearestMode::Ceil => x.ceil(),
            };
            made.places.push(at.clamp(0.0, last) as usize);
            continue;
        }
        let before = x.ceil() - 1.0;
        let ratio = x - before;
        let from = made.weights.len();
        for t in 0..count {
            let offset = reach + t as f64;
            let at = before + offset;
            let distance = ((offset - ratio) * narrow).abs();
            let weight = match attributes.mode {
                ResizeMode::Cubic { a } => cubic(distance, f64::from(a)),
                _ => (1.0 - distance).max(0.0),
            };
            let outside = attributes.exclude_outside && !(0.0..=last).contains(&at);
            made.places.push(at.clamp(0.0, last) as usize);
            made.weights.push(if outside { 0.0 } else { weight });
        }
        let sum: f64 = made.weights[from..].iter().sum();
        if (attributes.antialias || attributes.exclude_outside) && sum != 0.0 {
            made.weights[from..].iter_mut().for_each(|w| *w /= sum);
        }
    }
    Ok(made)
}

/// Keys' cubic at distance `x`.
fn cubic(x: f64, a: f64) -> f64 {
    if x <= 1.0 {
        ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        ((a * x - 5.0 * a) * x + 8.0 * a) * x - 4.0 * a
    } else {
        0.0
    }
}

/// `Resize` with one entry of `axes` a dimension. Nearest takes every type of whole bytes; linear and cubic take
/// floats and integers up to 64 bits, which are rounded (halves to even) and saturated.
///
/// # Errors
/// When `axes` does not fit the shape, the type cannot be interpolated, or there is no memory.
pub fn resize(
    pool: &Pool,
    x: &Tensor,
    axes: &[ResizeAxis],
    attributes: &ResizeAttributes,
) -> Result<Tensor, KernelError> {
    if axes.len() != x.rank() {
        return Err(KernelError::Shape(format!(
            "cannot resize {:?} with {} dimensions described",
            x.shape(),
            axes.len()
        )));
    }
    let shape: Shape = axes.iter().map(|a| a.output).collect();
    if element_count(&shape)? > 0 && x.is_empty() {
        return Err(KernelError::Shape(format!("cannot resize {:?} to {shape:?}", x.shape())));
    }
    let nearest = matches!(attributes.mode, ResizeMode::Nearest(_));
    let extrapolates = attributes.coordinates == Coordinates::TfCropAndResize;
    let dtype = x.dtype();
    match dtype {
        half if is_half(half) => narrowed(resize(pool, &widened(x)?, axes, attributes)?, half),
        DType::F32 => resize_of::<f32>(pool, x, axes, attributes, attributes.extrapolation_value, sum_taps),
        DType::F64 => {
            resize_of::<f64>(pool, x, axes, attributes, attributes.extrapolation_value.into(), sum_taps)
        }
        _ if nearest && !extrapolates => {
            let bits = match dtype.bits() {
                8 => DType::U8,
                16 => DType::U16,
                32 => DType::U32,
                64 => DType::U64,
                _ => return Err(unfit(dtype)),
            };
            let plain = x.reinterpret(bits)?;
            let out = match bits {
                DType::U8 => resize_of::<u8>(pool, &plain, axes, attributes, 0, pick_only)?,
                DType::U16 => resize_of::<u16>(pool, &plain, axes, attributes, 0, pick_only)?,
                DType::U32 => resize_of::<u32>(pool, &plain, axes, attributes, 0, pick_only)?,
                _ => resize_of::<u64>(pool, &plain, axes, attributes, 0, pick_only)?,
            };
            Ok(out.reinterpret(dtype)?)
        }
        DType::U8 => through_f64::<u8>(pool, x, axes, attributes, |v| v as f64, |v| v as u8),
        DType::I8 => through_f64::<i8>(pool, x, axes, attributes, |v| v as f64, |v| v as i8),
        DType::U16 => through_f64::<u16>(pool, x, axes, attributes, |v| v as f64, |v| v as u16),
        DType::I16 => through_f64::<i16>(pool, x, axes, attributes, |v| v as f64, |v| v as i16),
        DType::U32 => through_f64::<u32>(pool, x, axes, attributes, |v| v as f64, |v| v as u32),
        DType::I32 => through_f64::<i32>(pool, x, axes, attributes, |v| v as f64, |v| v as i32),
        DType::U64 => through_f64::<u64>(pool, x, axes, attributes, |v| v as f64, |v| v as u64),
        DType::I64 => through_f64::<i64>(pool, x, axes, attributes, |v| v as f64, |v| v as i64),
        other => Err(unfit(other)),
    }
}

fn unfit(dtype: DType) -> KernelError {
    KernelError::Type(format!("there is no such Resize of {dtype}"))
}

fn through_f64<T: Element>(
    pool: &Pool,
    x: &Tensor,
    axes: &[ResizeAxis],
    attributes: &ResizeAttributes,
    widen: fn(T) -> f64,
    narrow: fn(f64) -> T,
) -> Result<Tensor, KernelError> {
    let wide: Vec<f64> = x.values::<T>()?.iter().map(|&v| widen(v)).collect();
    let out = resize(pool, &Tensor::new(x.shape(), &wide)?, axes, attributes)?;
    let values: Vec<T> = out.slice::<f64>()?.iter().map(|&v| narrow(v.round_ties_even())).collect();
    Ok(Tensor::new(out.shape(), &values)?)
}

/// Adds up weighted taps: `(line, out, taps, weights)`, for one row of outputs `inner` elements apart.
type SumTaps<T> = fn(Run<'_, T>, &mut [T]);

/// A run of output rows of one dimension, each of `inner` elements.
struct Run<'a, T> {
    /// One slab of the input: all rows of the dimension.
    source: &'a [T],
    inner: usize,
    count: usize,
    places: &'a [usize],
    weights: &'a [f64],
}

fn pick_only<T: Copy>(_: Run<'_, T>, _: &mut [T]) {}

fn sum_taps<T: Real>(run: Run<'_, T>, out: &mut [T]) {
    let Run { source, inner, count, places, weights } = run;
    vectorized(|| {
        for (j, row) in out.chunks_exact_mut(inner).enumerate() {
            let (places, weights) = (&places[j * count..][..count], &weights[j * count..][..count]);
            if inner == 1 {
                let taps = places.iter().zip(weights);
                row[0] = taps.fold(T::ZERO, |sum, (&p, &w)| sum.plus(source[p].times(<T as Real>::of(w))));
                continue;
            }
            if let ([p, q], [v, w]) = (places, weights) {
                let (a, b) = (&source[p * inner..][..inner], &source[q * inner..][..inner]);
                let (v, w) = (<T as Real>::of(*v), <T as Real>::of(*w));
                for ((cell, &a), &b) in row.iter_mut().zip(a).zip(b) {
                    *cell = a.times(v).plus(b.times(w));
                }
                continue;
            }
            row.fill(T::ZERO);
            for (&p, &w) in places.iter().zip(weights) {
                let w = <T as Real>::of(w);
                for (cell, &a) in row.iter_mut().zip(&source[p * inner..][..inner]) {
                    *cell = cell.plus(a.times(w));
                }
            }
        }
    });
}

fn resize_of<T: Element + Copy>(
    pool: &Pool,
    x: &Tensor,
    axes: &[ResizeAxis],
    attributes: &ResizeAttributes,
    extrapolation: T,
    sum: SumTaps<T>,
) -> Result<Tensor, KernelError> {
    let changed = |axis: usize| {
        let ResizeAxis { output, scale, roi } = axes[axis];
        let crops = attributes.coordinates == Coordinates::TfCropAndResize && roi != (0.0, 1.0);
        output != x.shape()[axis] || scale != 1.0 || crops
    };
    let mut order: Vec<usize> = (0..x.rank()).filter(|&a| changed(a)).collect();
    // Shrinking first keeps what lies between small; growing goes from the last dimension on, whose rows are short.
    order.sort_by_key(|&a| if axes[a].output < x.shape()[a] { (0, a) } else { (1, x.rank() - a) });
    let mut current = x.to_dense()?;
    for axis in order {
        let input = current.shape()[axis];
        let output = axes[axis].output;
        let mut shape = Shape::from_slice(current.shape());
        shape[axis] = output;
        let mut next = TensorMut::zeroed(T::DTYPE, &shape)?;
        let out = next.slice_mut::<T>()?;
        if !out.is_empty() {
            let taps = taps(&axes[axis], input, attributes)?;
            let inner: usize = shape[axis + 1..].iter().product();
            along(pool, current.slice::<T>()?, out, (input, output, inner), &taps, extrapolation, sum);
        }
        current = next.freeze();
    }
    Ok(current)
}

fn along<T: Element + Copy>(
    pool: &Pool,
    source: &[T],
    out: &mut [T],
    (input, output, inner): (usize, usize, usize),
    taps: &Taps,
    extrapolation: T,
    sum: SumTaps<T>,
) {
    // Whole slabs where they are small, else some rows of one.
    const PIECE: usize = 1 << 14;
    let slab = output * inner;
    let slabs = (PIECE / slab).max(1);
    let rows = if slab <= PIECE || inner == 1 { output } else { (PIECE / inner).clamp(1, output) };
    pool.for_each_piece(out, slab * slabs, |piece, target| {
        for (i, target) in target.chunks_exact_mut(slab).enumerate() {
            let at = (piece * slabs + i) * input * inner;
            let source = &source[at..at + input * inner];
            pool.for_each_piece(target, rows * inner, |part, target| {
                let from = part * rows;
                if taps.weights.is_empty() {
                    pick(source, inner, &taps.places[from..], target);
                } else {
                    let (places, weights) =
                        (&taps.places[from * taps.count..], &taps.weights[from * taps.count..]);
                    sum(Run { source, inner, count: taps.count, places, weights }, target);
                }
                for (row, _) in
                    target.chunks_exact_mut(inner).zip(taps.outside.iter().skip(from)).filter(|(_, o)| **o)
                {
                    row.fill(extrapolation);
                }
            });
        }
    });
}

fn pick<T: Copy>(source: &[T], inner: usize, places: &[usize], out: &mut [T]) {
    if inner == 1 {
        for (cell, &p) in out.iter_mut().zip(places) {
            *cell = source[p];
        }
        return;
    }
    for (row, &p) in out.chunks_exact_mut(inner).zip(places) {
        row.copy_from_slice(&source[p * inner..][..inner]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(
        input: &[f32],
        shape: &[usize],
        target: ResizeTarget<'_>,
        attributes: ResizeAttributes,
    ) -> Vec<f32> {
        let axes: Vec<usize> = (0..shape.len()).collect();
        let axes = resize_axes(shape, &axes, target, &[]).unwrap();
        let x = Tensor::new(shape, input).unwrap();
        let one = resize(&Pool::sequential(), &x, &axes, &attributes).unwrap();
        let four = resize(&Pool::new(4), &x, &axes, &attributes).unwrap();
        assert_eq!(one.slice::<f32>().unwrap(), four.slice::<f32>().unwrap());
        one.slice::<f32>().unwrap().to_vec()
    }

    const LINEAR: ResizeAttributes = ResizeAttributes {
        mode: ResizeMode::Linear,
        coordinates: Coordinates::HalfPixel,
        antialias: false,
        exclude_outside: false,
        extrapolation_value: 0.0,
    };

    /// Values of the official cases of the operator's specification.
    #[test]
    fn values_of_the_standard() {
        let x = [1.0, 2.0, 3.0, 4.0];
        let twice = ResizeTarget::Scales(&[1.0, 1.0, 2.0, 2.0]);
        let want = [1.0, 1.25, 1.75, 2.0, 1.5, 1.75, 2.25, 2.5, 2.5, 2.75, 3.25, 3.5, 3.0, 3.25, 3.75, 4.0];
        assert_eq!(run(&x, &[1, 1, 2, 2], twice, LINEAR), want);
        let nearest = ResizeAttributes { mode: ResizeMode::Nearest(NearestMode::default()), ..LINEAR };
        let target = ResizeTarget::Scales(&[1.0, 1.0, 2.0, 3.0]);
        let want =
            [1., 1., 1., 2., 2., 2., 1., 1., 1., 2., 2., 2., 3., 3., 3., 4., 4., 4., 3., 3., 3., 4., 4., 4.];
        assert_eq!(run(&x, &[1, 1, 2, 2], target, nearest), want);
        let x: Vec<f32> = (1..=16).map(|v| v as f32).collect();
        let cubic = ResizeAttributes { mode: ResizeMode::Cubic { a: -0.75 }, ..LINEAR };
        let out = run(&x, &[1, 1, 4, 4], ResizeTarget::Scales(&[1.0, 1.0, 0.8, 0.8]), cubic);
        let want =
            [1.4711914, 2.78125, 4.0825195, 6.711426, 8.021484, 9.322754, 11.916504, 13.2265625, 14.527832];
        assert!(out.iter().zip(want).all(|(a, b): (&f32, f32)| (a - b).abs() < 1e-4), "{out:?}");
        let anti = ResizeAttributes { antialias: true, ..cubic };
        let out = run(&x, &[1, 1, 4, 4], ResizeTarget::Scales(&[1.0, 1.0, 0.6, 0.6]), anti);
        let want = [2.5180721, 4.2858863, 9.589329, 11.357142];
        assert!(out.iter().zip(want).all(|(a, b): (&f32, f32)| (a - b).abs() < 1e-4), "{out:?}");
    }

    #[test]
    fn positions_survive_scales_in_f32() {
        let x: Vec<f32> = (0..9).map(|v| v as f32).collect();
        let attributes = ResizeAttributes {
            mode: ResizeMode::Nearest(NearestMode::Floor),
            coordinates: Coordinates::Asymmetric,
            ..LINEAR
        };
        let out = run(&x, &[9], ResizeTarget::Scales(&[1.0 / 3.0]), attributes);
        assert_eq!(out, [0.0, 3.0, 6.0]);
    }

    #[test]
    fn integers_saturate_and_regions_extrapolate() {
        let x = Tensor::new(&[4], &[0u8, 255, 0, 255]).unwrap();
        let axes = resize_axes(&[4], &[0], ResizeTarget::Sizes(&[8], AspectRatio::Stretch), &[]).unwrap();
        let cubic = ResizeAttributes { mode: ResizeMode::Cubic { a: -0.75 }, ..LINEAR };
        let out = resize(&Pool::sequential(), &x, &axes, &cubic).unwrap();
        assert_eq!(out.slice::<u8>().unwrap()[0], 0);
        assert_eq!(out.slice::<u8>().unwrap()[7], 255);
        let crop = ResizeAttributes {
            coordinates: Coordinates::TfCropAndResize,
            extrapolation_value: 10.0,
            ..LINEAR
        };
        let x = Tensor::new(&[3], &[1f32, 2.0, 3.0]).unwrap();
        let sizes = ResizeTarget::Sizes(&[3], AspectRatio::Stretch);
        let axes = resize_axes(&[3], &[0], sizes, &[0.5, 1.5]).unwrap();
        let out = resize(&Pool::sequential(), &x, &axes, &crop).unwrap();
        assert_eq!(out.slice::<f32>().unwrap(), [2.0, 3.0, 10.0]);
    }

    #[test]
    fn policies_and_impossible_targets() {
        let sizes = |policy| ResizeTarget::Sizes(&[7, 8], policy);
        let made = resize_axes(&[1, 2, 4], &[1, 2], sizes(AspectRatio::NotLarger), &[]).unwrap();
        assert_eq!(made.iter().map(|a| a.output).collect::<Vec<_>>(), [1, 4, 8]);
        let made = resize_axes(&[1, 2, 4], &[1, 2], sizes(AspectRatio::NotSmaller), &[]).unwrap();
        assert_eq!(made.iter().map(|a| a.output).collect::<Vec<_>>(), [1, 7, 14]);
        for scale in [0.0, -1.0, f32::NAN, f32::INFINITY] {
            let made = resize_axes(&[3], &[0], ResizeTarget::Scales(&[scale]), &[]);
            assert!(made.is_err() || made.unwrap()[0].output == 0);
        }
        assert!(resize_axes(&[0], &[0], ResizeTarget::Sizes(&[3], AspectRatio::Stretch), &[]).is_err());
        assert!(resize_axes(&[3], &[1], ResizeTarget::Scales(&[1.0]), &[]).is_err());
        assert!(
            resize_axes(&[3], &[0], ResizeTarget::Sizes(&[i64::MAX], AspectRatio::Stretch), &[]).is_err()
        );
    }
}
