//! [BatchNormalization](https://onnx.ai/onnx/operators/onnx__BatchNormalization.html): each channel brought to
//! given statistics, or in training mode to those of the batch.

use crate::math::by_type::by_type;
use crate::tensor::{flatten::Flatten, reshape::Reshape, shape::Shape};
use crate::{Case, Draft, Form, Room, Step, attributes, floats, noise, noise_of, of_room, types};
use oxidane_graph::{
    Call, Dim, InferCtx, Kernel, Op, OpError, Param, Run, Signature, Unknown, kernel, shared,
};
use oxidane_kernels::norm::{batch_factors, channel_moments, scale_channels};
use oxidane_kernels::{Float, Number, Real};
use oxidane_tensor::{CastRules, DType, Element, Tensor, element_count};

attributes! {
    /// `(x - mean) / sqrt(variance + epsilon) * scale + bias` for each channel of (batch, channels, spatial...).
    pub struct BatchNormalization {
        epsilon: f32 = 1e-5,
        /// How much of the running statistics stays in training mode.
        momentum: f32 = 0.9,
        /// Whether the statistics are those of the batch.
        training_mode: bool = false,
    }
}

static SIGNATURE: Signature = Signature {
    inputs: &[
        Param::one("X", types::FLOAT, "T"),
        Param::one("scale", types::FLOAT, "T1"),
        Param::one("B", types::FLOAT, "T1"),
        Param::one("input_mean", types::FLOAT, "T2"),
        Param::one("input_var", types::FLOAT, "T2"),
    ],
    outputs: &[
        Param::one("Y", types::FLOAT, "T"),
        Param::optional("running_mean", types::FLOAT, "T2"),
        Param::optional("running_var", types::FLOAT, "T2"),
    ],
};

/// The room of BatchNormalization.
pub static ROOM: Room = Room {
    domain: "",
    name: "BatchNormalization",
    since: &[1, 6, 7, 9, 14, 15],
    signature: &SIGNATURE,
    read: |a| Ok(shared(BatchNormalization::read(a)?)),
    steps: &[
        Step {
            to: 6,
            up: |d| {
                d.attributes.take("consumed_inputs");
                Ok(())
            },
            down: |d| {
                d.attributes.set("consumed_inputs", vec![0i64, 0, 0, 1, 1]);
                Ok(())
            },
        },
        Step {
            to: 7,
            // Whether a call is one of training shows by its outputs, from here on by them alone.
            up: |d| {
                if d.take::<bool>("is_test")? == Some(true) {
                    d.outputs.truncate(1);
                }
                Ok(())
            },
            down: |d| {
                d.attributes.set("is_test", asked(d) == 1);
                Ok(())
            },
        },
        Step { to: 9, up: flat_samples, down: |_| Ok(()) },
        Step {
            to: 14,
            up: |d| {
                let count = asked(d);
                if count > 3 {
                    return Err(OpError::unsupported(
                        "the outputs `saved_mean` and `saved_var`, which opset 14 removed",
                    )
                    .help("leave them out: they only served a backward pass"));
                }
                d.outputs.truncate(count.max(1));
                d.attributes.set("training_mode", count > 1);
                Ok(())
            },
            down: |d| match d.take::<bool>("training_mode")?.unwrap_or(false) {
                trains if trains == (asked(d) > 1) => {
                    d.outputs.truncate(asked(d).max(1));
                    // A call of training has five outputs there, the last two for a backward pass.
                    d.outputs.resize(if trains { 5 } else { 1 }, None);
                    Ok(())
                }
                trains => Err(OpError::new(format!(
                    "training_mode {} with {} outputs cannot be expressed in this opset",
                    i64::from(trains),
                    asked(d)
                ))
                .help("export to opset 14 or later")),
            },
        },
    ],
    cases: || {
        crate::with_cases!();
        let op = |training_mode| BatchNormalization { epsilon: 1e-5, momentum: 0.9, training_mode };
        let channel = |seed| noise(&[3], seed);
        let spread = || floats(&[3], &[0.5, 1.0, 2.0]);
        let mut cases = vec![
            // By hand: mean 0 and 3, variance 1 and 1.5, scale 1 and 1.5, bias 0 and 1.
            Case::new("given", op(false))
                .input(floats(&[1, 2, 1, 3], &[-1.0, 0.0, 1.0, 2.0, 3.0, 4.0]))
                .input(floats(&[2], &[1.0, 1.5]))
                .input(floats(&[2], &[0.0, 1.0]))
                .input(floats(&[2], &[0.0, 3.0]))
                .input(floats(&[2], &[1.0, 1.5]))
                .expect(floats(&[1, 2, 1, 3], &[-0.999995, 0.0, 0.999995, -0.22474079, 1.0, 2.2247408])),
            // The batch has the means 2 and 0 and the variances 1 and 4.
            Case::new("training", BatchNormalization { epsilon: 0.0, momentum: 0.75, training_mode: true })
                .input(floats(&[2, 2, 1], &[1.0, -2.0, 3.0, 2.0]))
                .input(floats(&[2], &[1.0, 2.0]))
                .input(floats(&[2], &[0.0, 1.0]))
                .input(floats(&[2], &[0.0, 4.0]))
                .input(floats(&[2], &[1.0, 8.0]))
                .outputs(3)
                .expect(floats(&[2, 2, 1], &[-1.0, -1.0, 1.0, 3.0]))
                .expect(floats(&[2], &[0.5, 3.0]))
                .expect(floats(&[2], &[1.0, 7.0])),
            Case::new("image", op(false))
                .input(noise(&[2, 3, 4, 5], 1))
                .input(channel(2))
                .input(channel(3))
                .input(channel(4))
                .input(spread()),
            Case::new("no batch", op(false))
                .input(floats(&[0, 3, 2], &[]))
                .input(channel(2))
                .input(channel(3))
                .input(channel(4))
                .input(spread())
                .expect(floats(&[0, 3, 2], &[])),
        ];
        for (name, dtype) in [("double", DType::F64), ("float16", DType::F16), ("bfloat16", DType::BF16)] {
            // The statistics stay in float.
            cases.push(
                Case::new(name, op(false))
                    .input(noise_of(dtype, &[2, 3, 4], 5))
                    .input(noise_of(dtype, &[3], 6))
                    .input(noise_of(dtype, &[3], 7))
                    .input(channel(8))
                    .input(spread()),
            );
        }
        cases
    },
};

/// How many outputs are there, those behind the last one in use left out.
fn asked(draft: &Draft<'_>) -> usize {
    draft.outputs.iter().rposition(Option::is_some).map_or(0, |last| last + 1)
}

/// Until opset 9 the statistics could be those of each element of a sample rather than of each channel: then samples
/// are laid flat, and every element is a channel of its own.
fn flat_samples(draft: &mut Draft<'_>) -> Result<(), OpError> {
    if draft.take::<bool>("spatial")? != Some(false) {
        return Ok(());
    }
    let (Some(x), Some(scale)) = (draft.input(0), draft.input(1)) else { return Ok(()) };
    let sizes = draft.add(Shape { end: None, start: 0 }, &[x]);
    let sample = draft.add(Shape { end: None, start: 0 }, &[scale]);
    let flat = draft.add(Flatten { axis: 1 }, &[x]);
    draft.set_input(0, Some(flat));
    let line = draft.add_constant(Tensor::new(&[1], &[-1i64])?);
    for slot in 1..draft.inputs.len() {
        if let Some(statistic) = draft.input(slot) {
            let statistic = draft.add(Reshape { allowzero: false }, &[statistic, line]);
            draft.set_input(slot, Some(statistic));
        }
    }
    draft.output_through(0, Reshape { allowzero: true }, &[sizes])?;
    (1..asked(draft))
        .try_for_each(|output| draft.output_through(output, Reshape { allowzero: true }, &[sample]))
}

/// A shape as batch, channels, and elements of a channel.
///
/// # Errors
/// When a count is too large.
pub(super) fn planes(shape: &[usize]) -> Result<[usize; 3], OpError> {
    let inner = element_count(shape.get(2..).unwrap_or(&[]))?;
    Ok([shape.first().copied().unwrap_or(1), shape.get(1).copied().unwrap_or(1), inner])
}

/// The elements of a tensor as the type that sums are formed in.
///
/// # Errors
/// When there is no memory.
pub(super) fn widened<R: Real>(tensor: &Tensor) -> Result<Vec<R>, OpError> {
    Ok(tensor.cast(<R as Element>::DTYPE, CastRules::default())?.values::<R>()?.into_owned())
}

impl BatchNormalization {
    fn run<T: Float>(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let x = run.dense(0)?;
        let sizes = planes(x.shape())?;
        let given = |run: &Run<'_>, input| widened::<T::Wide>(run.tensor(input)?);
        let (scale, bias, mean, variance) = (given(run, 1)?, given(run, 2)?, given(run, 3)?, given(run, 4)?);
        let pool = run.pool();
        if scale.len() != sizes[1] {
            let (channels, scales) = (sizes[1], scale.len());
            return Err(OpError::new(format!("there are {scales} scales for {channels} channels")));
        }
        let moments = match self.training_mode {
            true => Some(channel_moments::<T>(pool, x.slice()?, sizes)?),
            false => None,
        };
        let (m, v) = moments.as_ref().map_or((&mean, &variance), |(m, v)| (m, v));
        let (factors, offsets) = batch_factors((&scale, &bias), (m, v), self.epsilon)?;
        if let Some((m, v)) = &moments {
            for (output, old, new) in [(1, &mean, m), (2, &variance, v)] {
                if !run.wants(output) {
                    continue;
                }
                let stay: T::Wide = Real::of(f64::from(self.momentum));
                let go = <T::Wide as Number>::ONE.minus(stay);
                let next: Vec<T::Wide> =
                    old.iter().zip(new).map(|(o, n)| o.times(stay).plus(n.times(go))).collect();
                let dtype = run.tensor(3)?.dtype();
                let next = Tensor::new(&[next.len()], &next)?.cast(dtype, CastRules::default())?;
                run.set(output, next);
            }
        }
        run.write::<T>(0, x.shape(), |out| {
            Ok(scale_channels(pool, x.slice()?, sizes, (&factors, &offsets), out)?)
        })
    }
}

impl Op for BatchNormalization {
    of_room!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        let x = ctx.known_ty(0)?.clone();
        let channels = match x.shape() {
            Some(shape) if shape.len() < 2 => Some(Dim::known(1)),
            Some(shape) => Some(shape[1]),
            None => None,
        };
        ctx.set(0, x);
        if let Some(dtype) = ctx.ty(3).and_then(|t| t.dtype()) {
            for output in [1, 2] {
                let size = channels.unwrap_or_else(|| ctx.unknown_dim(output, 0));
                ctx.set_tensor(output, dtype, [size]);
            }
        }
        Ok(())
    }

    fn kernel(&self, _: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let op = self.clone();
        kernel(move |run| {
            if !op.training_mode && (run.wants(1) || run.wants(2)) {
                return Err(OpError::new("running statistics are asked for, but training_mode is 0")
                    .help("set training_mode to 1, or leave the outputs 1 and 2 out"));
            }
            by_type!(run.tensor(0)?.dtype(), float T => op.run::<T>(run))
        })
    }
}
