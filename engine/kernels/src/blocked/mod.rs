//! Convolutions and poolings of floats whose channels lie in blocks of 16.
//!
//! A blocked tensor has the shape (batch, blocks of channels, spatial..., 16): sixteen channels of a position fill a
//! vector, and every loop reads and writes whole vectors. Lanes beyond the channels may hold any finite number;
//! weights for them are zero.

mod bf16;
mod dense;
mod depthwise;
mod direct;
mod frame;
mod pool;
mod shape;
mod tile;
mod winograd;

#[cfg(test)]
mod tests;

pub use pool::{Pooling, global_average, pool};
pub use shape::{Input, Spec};

use crate::function::apply_in_place;
use crate::isa::{LANES, Vector};
use crate::scratch::with_scratch;
use crate::{Function, KernelError};
use bf16::Rounded;
use dense::Dense;
use depthwise::Depthwise;
use direct::Direct;
use oxidane_pool::{Pool as Threads, Stop};
use oxidane_tensor::{Buffer, DType, Shape, Tensor};
use shape::Sizes;
use std::sync::OnceLock;
use winograd::Winograd;

/// A convolution with its weights packed.
pub struct Convolution {
    spec: Spec,
    input: Input,
    bias: Vec<f32>,
    after: After,
    /// As they were given: further forms are made of them when sizes ask for it.
    weights: Tensor,
    dense: OnceLock<Result<Dense, KernelError>>,
    direct: OnceLock<Result<Direct, KernelError>>,
    small: OnceLock<Result<Winograd, KernelError>>,
    large: OnceLock<Result<Winograd, KernelError>>,
    depthwise: Option<Depthwise>,
    /// Direct sums (0) or minimal filtering by tiles of this side, where that was asked for.
    forced: Option<usize>,
    /// Rounded to bfloat16, where that is allowed.
    rounded: Option<OnceLock<Result<Rounded, KernelError>>>,
}

/// The products that a convolution takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Products {
    /// How many, each with an addition.
    pub count: u128,
    /// Whether their sides are rounded to bfloat16.
    pub rounded: bool,
}

impl Convolution {
    /// The products that [`Convolution::run`] takes for such sizes, where rounding is allowed or not
    /// ([`Convolution::in_bf16`]): fewer than those of the plain sums where it takes minimal filtering.
    ///
    /// # Errors
    /// When the window is larger than the padded input.
    pub fn products(
        spec: &Spec,
        input: Input,
        rounding: bool,
        batch: usize,
        spatial: &[usize],
    ) -> Result<Products, KernelError> {
        let sizes = Sizes::new(spec, input, batch, spatial)?;
        let rounded = rounding && bf16::pays(spec, input, &sizes);
        let side = winograd::choose(spec, input, &sizes, None).filter(|_| !rounded);
        let count = side.map_or_else(
            || {
                let sums = batch as u128 * sizes.positions() as u128 * spec.outputs as u128;
                sums * (spec.inputs / spec.groups.max(1)) as u128 * sizes.taps() as u128
            },
            |side| winograd::multiply_adds(&sizes, side),
        );
        Ok(Products { count, rounded })
    }

    /// Whether there is a kernel: one group; or a group a channel; or groups of whole blocks. Channels of dense input
    /// must be few and of one group.
    pub fn fits(spec: &Spec, input: Input) -> bool {
        let rank = spec.window.rank();
        if !(1..=2).contains(&rank) || spec.groups == 0 || spec.inputs == 0 || spec.outputs == 0 {
            return false;
        }
        match input {
            Input::Dense => spec.groups == 1 && spec.inputs <= DENSE_CHANNELS,
            Input::Blocked => {
                let whole = |channels: usize| {
                    channels.is_multiple_of(spec.groups) && (channels / spec.groups).is_multiple_of(LANES)
                };
                spec.groups == 1 || spec.is_depthwise() || whole(spec.inputs) && whole(spec.outputs)
            }
        }
    }

    /// With `weights` as in ONNX (outputs, inputs / groups, kernel...), which are packed when the sizes of the first run
    /// tell for what. `function` is applied after the bias and the sum.
    ///
    /// # Errors
    /// When weights or bias have not the size that the spec says, there is no kernel, or no memory.
    pub fn new(
        spec: &Spec,
        input: Input,
        weights: &Tensor,
        bias: Option<&[f32]>,
        function: Option<Function>,
    ) -> Result<Convolution, KernelError> {
        let taps: usize = spec.window.kernel.iter().product();
        let fits = Convolution::fits(spec, input)
            && spec.outputs.checked_mul(spec.inputs / spec.groups).and_then(|n| n.checked_mul(taps))
                == Some(weights.len())
            && weights.dtype() == DType::F32
            && bias.is_none_or(|b| b.len() == spec.outputs);
        if !fits {
            return Err(KernelError::Shape(format!(
                "no blocked kernel for {spec:?} on {input:?} input with {} weights",
                weights.len()
            )));
        }
        let mut padded = vec![0.0; spec.outputs.next_multiple_of(LANES)];
        if let Some(bias) = bias {
            padded[..bias.len()].copy_from_slice(bias);
        }
        let depthwise = match spec.is_depthwise() && input == Input::Blocked {
            true => Some(packed(weights, |weights| Depthwise::new(spec, weights))?),
            false => None,
        };
        Ok(Convolution {
            spec: spec.clone(),
            input,
            bias: padded,
            after: After::new(function),
            weights: weights.clone(),
            dense: OnceLock::new(),
            direct: OnceLock::new(),
            small: OnceLock::new(),
            large: OnceLock::new(),
            depthwise,
            forced: None,
            rounded: None,
        })
    }

    /// The same convolution by direct sums (0) or, for windows of 3 x 3, by minimal filtering of tiles of side 2 or 4,
    /// whatever would be chosen. For measuring.
    pub fn by_tiles_of(self, side: usize) -> Convolution {
        Convolution { forced: Some(side), ..self }
    }

    /// The same convolution, which may round its input and weights to bfloat16 and does so where that is quicker; sums
    /// are single precision.
    pub fn in_bf16(self) -> Convolution {
        Convolution { rounded: Some(OnceLock::new()), ..self }
    }

    /// What it is.
    pub fn spec(&self) -> &Spec {
        &self.spec
    }

    /// Spatial sizes of the output for those of the input.
    ///
    /// # Errors
    /// When the window is larger than the padded input.
    pub fn output(&self, spatial: &[usize]) -> Result<Shape, KernelError> {
        self.spec.window.output(spatial, false)
    }

    /// Convolves `x`, blocked or dense, into blocked `out`; `sum`, blocked like `out`, is added.
    ///
    /// # Errors
    /// When a slice has not the size that the shapes say.
    pub fn run(
        &self,
        threads: &Threads,
        batch: usize,
        spatial: &[usize],
        x: &[f32],
        sum: Option<&[f32]>,
        out: &mut [f32],
    ) -> Result<(), KernelError> {
        let sizes = Sizes::new(&self.spec, self.input, batch, spatial)?;
        let want = (sizes.input_len(), sizes.output_len());
        if (x.len(), out.len()) != want || sum.is_some_and(|s| s.len() != want.1) {
            return Err(KernelError::Shape(format!(
                "a blocked convolution of {spatial:?} takes {} floats and makes {}, but found {} and {}",
                want.0,
                want.1,
                x.len(),
                out.len()
            )));
        }
        if out.is_empty() {
            return Ok(());
        }
        // A loop that ends early would leave weights unpacked for all runs to come.
        let packers = &threads.with_stop(Stop::default());
        let call = Call { sizes: &sizes, x, sum, bias: &self.bias, after: self.after };
        if let Some(depthwise) = &self.depthwise {
            depthwise.run(threads, &call, out);
            return Ok(());
        }
        if let Some(kept) = &self.rounded
            && bf16::pays(&self.spec, self.input, &sizes)
        {
            let made = kept.get_or_init(|| {
                packed(&self.weights, |weights| Rounded::new(packers, &self.spec, self.input, weights))
            });
            made.as_ref().map_err(KernelError::clone)?.run(threads, &call, out);
            return Ok(());
        }
        let side = winograd::choose(&self.spec, self.input, &sizes, self.forced);
        if let Some(side) = side {
            let kept = if side == 2 { &self.small } else { &self.large };
            let made = kept.get_or_init(|| {
                packed(&self.weights, |weights| Winograd::new(packers, &self.spec, weights, side))
            });
            made.as_ref().map_err(KernelError::clone)?.run(threads, &call, out);
            return Ok(());
        }
        if self.input == Input::Dense {
            let made =
                self.dense.get_or_init(|| packed(&self.weights, |weights| Dense::new(&self.spec, weights)));
            made.as_ref().map_err(KernelError::clone)?.run(threads, &call, out);
            return Ok(());
        }
        let made = self
            .direct
            .get_or_init(|| packed(&self.weights, |weights| Direct::new(packers, &self.spec, weights)));
        made.as_ref().map_err(KernelError::clone)?.run(threads, &call, out);
        Ok(())
    }
}

/// What `pack` makes of the weights, whose pages of a file are not needed any more then.
fn packed<T>(
    weights: &Tensor,
    pack: impl FnOnce(&[f32]) -> Result<T, KernelError>,
) -> Result<T, KernelError> {
    let made = pack(weights.to_dense()?.slice()?);
    weights.release_pages();
    made
}

/// Dense input has up to so many channels.
const DENSE_CHANNELS: usize = 8;

/// One call of a convolution, checked.
struct Call<'a> {
    sizes: &'a Sizes,
    x: &'a [f32],
    sum: Option<&'a [f32]>,
    bias: &'a [f32],
    after: After,
}

impl Call<'_> {
    /// Whether the output does not stay in the second-level cache from one use of its memory to the next.
    #[inline(always)]
    fn is_far(&self) -> bool {
        self.sizes.output_len() * size_of::<f32>() >= 1 << 20
    }
}

/// What is done to sums before they are written.
#[derive(Clone, Copy, Debug)]
enum After {
    Nothing,
    Clamp(f32, f32),
    HardSigmoid(f32, f32),
    HardSwish,
    /// Applied to finished rows while they are in the cache.
    Other(Function),
}

impl After {
    fn new(function: Option<Function>) -> After {
        match function {
            None => After::Nothing,
            Some(Function::Relu) => After::Clamp(0.0, f32::INFINITY),
            Some(Function::Clip { min, max }) if min <= max => After::Clamp(min as f32, max as f32),
            Some(Function::HardSigmoid { alpha, beta }) => After::HardSigmoid(alpha, beta),
            Some(Function::HardSwish) => After::HardSwish,
            Some(other) => After::Other(other),
        }
    }

    /// What can be done in registers. NaN stays.
    #[inline(always)]
    fn in_registers<V: Vector>(self, v: V) -> V {
        let unit = |v: V| V::zero().max(V::splat(1.0).min(v));
        match self {
            After::Nothing | After::Other(_) => v,
            After::Clamp(lo, hi) => V::splat(hi).min(V::splat(lo).max(v)),
            After::HardSigmoid(alpha, beta) => unit(v.mul_add(V::splat(alpha), V::splat(beta))),
            After::HardSwish => v.mul(unit(v.mul_add(V::splat(1.0 / 6.0), V::splat(0.5)))),
        }
    }

    /// What is left to do to a finished row.
    #[inline(always)]
    fn on_row(self, row: &mut [f32]) {
        if let After::Other(function) = self {
            apply_in_place(function, row);
        }
    }
}

/// Floats on a boundary of 64 bytes.
struct Aligned(Buffer);

impl Aligned {
    fn zeroed(len: usize) -> Result<Aligned, KernelError> {
        let bytes = len.checked_mul(size_of::<f32>());
        let bytes = bytes.ok_or_else(|| KernelError::Shape("the packed weights are too large".into()))?;
        Ok(Aligned(Buffer::populated(bytes)?))
    }

    fn get(&self) -> &[f32] {
        bytemuck::cast_slice(self.0.as_bytes())
    }

    fn get_mut(&mut self) -> &mut [f32] {
        bytemuck::cast_slice_mut(self.0.as_bytes_mut().expect("nobody else has the block"))
    }
}

/// Runs `work` on scratch that begins on a boundary of 64 bytes.
fn with_aligned<R>(len: usize, work: impl FnOnce(&mut [f32]) -> R) -> R {
    with_scratch(len + LANES, |scratch: &mut [f32]| {
        let at = scratch.as_ptr().align_offset(64).min(LANES);
        work(&mut scratch[at..at + len])
    })
}

/// Positions of a piece when channels are brought into blocks and back.
const PIECE: usize = 1024;

/// Dense (batch, channels, positions) becomes blocked (batch, blocks, positions, 16), zeros where there is no channel.
///
/// # Errors
/// When a slice has not the size that the numbers say.
pub fn block(
    threads: &Threads,
    batch: usize,
    channels: usize,
    positions: usize,
    x: &[f32],
    out: &mut [f32],
) -> Result<(), KernelError> {
    check_blocking(batch, channels, positions, (x.len(), out.len()))?;
    let blocks = channels.div_ceil(LANES);
    threads.for_each_piece(out, (positions * LANES).max(1), |at, plane| {
        let (item, first) = (at / blocks, at % blocks * LANES);
        let count = LANES.min(channels - first);
        let from = &x[(item * channels + first) * positions..][..count * positions];
        for (piece, to) in plane.chunks_mut(PIECE * LANES).enumerate() {
            for lane in 0..LANES {
                let cells = to.iter_mut().skip(lane).step_by(LANES);
                if lane < count {
                    let row = &from[lane * positions + piece * PIECE..];
                    cells.zip(row).for_each(|(cell, &v)| *cell = v);
                } else {
                    cells.for_each(|cell| *cell = 0.0);
                }
            }
        }
    });
    Ok(())
}

/// The inverse of [`block`]: blocked (batch, blocks, positions, 16) becomes dense (batch, channels, positions).
///
/// # Errors
/// When a slice has not the size that the numbers say.
pub fn unblock(
    threads: &Threads,
    batch: usize,
    channels: usize,
    positions: usize,
    x: &[f32],
    out: &mut [f32],
) -> Result<(), KernelError> {
    check_blocking(batch, channels, positions, (out.len(), x.len()))?;
    if positions == 0 || channels == 0 {
        return Ok(());
    }
    let blocks = channels.div_ceil(LANES);
    let cells = oxidane_pool::Cells::new(out);
    threads.for_each(batch * blocks, &|at| {
        let (item, first) = (at / blocks, at % blocks * LANES);
        let count = LANES.min(channels - first);
        let from = &x[at * positions * LANES..][..positions * LANES];
        // SAFETY: each task writes the channels of one block.
        let to = unsafe { cells.piece((item * channels + first) * positions, count * positions) };
        for (piece, from) in from.chunks(PIECE * LANES).enumerate() {
            for lane in 0..count {
                let row = &mut to[lane * positions + piece * PIECE..(lane + 1) * positions];
                let seen = from.iter().skip(lane).step_by(LANES);
                row.iter_mut().zip(seen).for_each(|(cell, &v)| *cell = v);
            }
        }
    });
    Ok(())
}

fn check_blocking(
    batch: usize,
    channels: usize,
    positions: usize,
    found: (usize, usize),
) -> Result<(), KernelError> {
    let len = |channels: usize| batch.checked_mul(channels)?.checked_mul(positions);
    let want = (len(channels), len(channels.next_multiple_of(LANES)));
    if (Some(found.0), Some(found.1)) != want {
        return Err(KernelError::Shape(format!(
            "{batch} x {channels} channels of {positions} take {want:?} floats dense and in blocks, but found {found:?}"
        )));
    }
    Ok(())
}
