//! [InstanceNormalization](https://onnx.ai/onnx/operators/onnx__InstanceNormalization.html): each channel of each
//! item brought to mean 0 and variance 1.

use super::batch_normalization::planes;
use crate::math::by_type::by_type;
use crate::{Case, Form, Room, Step, attributes, floats, noise, noise_of, of_room, types};
use oxidane_graph::{Call, InferCtx, Kernel, Op, OpError, Param, Run, Signature, Unknown, kernel, shared};
use oxidane_kernels::Float;
use oxidane_kernels::norm::group_norm;
use oxidane_tensor::DType;

attributes! {
    /// `(x - mean) / sqrt(variance + epsilon) * scale + bias` by the statistics of each channel of each item.
    pub struct InstanceNormalization { epsilon: f32 = 1e-5 }
}

static SIGNATURE: Signature = Signature {
    inputs: &[
        Param::one("input", types::FLOAT, "T"),
        Param::one("scale", types::FLOAT, "T"),
        Param::one("B", types::FLOAT, "T"),
    ],
    outputs: &[Param::one("output", types::FLOAT, "T")],
};

/// The room of InstanceNormalization.
pub static ROOM: Room = Room {
    domain: "",
    name: "InstanceNormalization",
    since: &[1, 6, 22],
    signature: &SIGNATURE,
    read: |a| Ok(shared(InstanceNormalization::read(a)?)),
    steps: &[Step {
        to: 6,
        up: |d| {
            d.attributes.take("consumed_inputs");
            Ok(())
        },
        down: |_| Ok(()),
    }],
    cases: || {
        crate::with_cases!();
        let op = || InstanceNormalization { epsilon: 1e-5 };
        let mut cases = vec![
            // The specification's example.
            Case::new("two", op())
                .input(floats(&[1, 2, 1, 3], &[-1.0, 0.0, 1.0, 2.0, 3.0, 4.0]))
                .input(floats(&[2], &[1.0, 1.5]))
                .input(floats(&[2], &[0.0, 1.0]))
                .expect(floats(&[1, 2, 1, 3], &[-1.2247357, 0.0, 1.2247357, -0.83710355, 1.0, 2.8371034])),
            Case::new("no batch", op())
                .input(floats(&[0, 2, 3], &[]))
                .input(noise(&[2], 1))
                .input(noise(&[2], 2))
                .expect(floats(&[0, 2, 3], &[])),
        ];
        for (name, dtype) in [
            ("float", DType::F32),
            ("double", DType::F64),
            ("float16", DType::F16),
            ("bfloat16", DType::BF16),
        ] {
            cases.push(
                Case::new(name, op())
                    .input(noise_of(dtype, &[2, 3, 4, 5], 3))
                    .input(noise_of(dtype, &[3], 4))
                    .input(noise_of(dtype, &[3], 5)),
            );
        }
        cases
    },
};

/// Normalizes input 0 in groups of its channels by the scale and bias of inputs 1 and 2.
///
/// # Errors
/// When the channels do not divide into the groups, or scale or bias do not fit.
pub(super) fn normalize<T: Float>(
    run: &mut Run<'_>,
    groups: Option<usize>,
    epsilon: f32,
) -> Result<(), OpError> {
    let (x, scale, bias) = (run.dense(0)?, run.dense(1)?, run.dense(2)?);
    let sizes = planes(x.shape())?;
    let groups = groups.unwrap_or(sizes[1].max(1));
    let pool = run.pool();
    run.write::<T>(0, x.shape(), |out| {
        Ok(group_norm(pool, x.slice()?, sizes, groups, (scale.slice()?, bias.slice()?), epsilon, out)?)
    })
}

impl Op for InstanceNormalization {
    of_room!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        ctx.set(0, ctx.known_ty(0)?.clone());
        Ok(())
    }

    fn kernel(&self, _: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let epsilon = self.epsilon;
        kernel(move |run| by_type!(run.tensor(0)?.dtype(), float T => normalize::<T>(run, None, epsilon)))
    }
}
