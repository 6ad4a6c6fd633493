//! [SkipLayerNormalization](https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.SkipLayerNormalization): LayerNormalization of a sum.

use crate::formula::{Formula, plain};
use crate::{Case, Form, Room, attributes, floats, noise, of_expansion, of_room, types};
use oxidane_graph::{
    Attributes, Build, Dim, Dims, InferCtx, NodeId, Op, OpError, Param, Signature, Unknown, ValueId, shared,
};
use oxidane_tensor::DType;

attributes! {
    /// LayerNormalization of input, skip and bias added, along the last axis.
    pub struct SkipLayerNormalization { epsilon: f32 = 1e-12 }
}

static SIGNATURE: Signature = Signature {
    inputs: &[
        Param::one("input", types::FLOAT, "T"),
        Param::one("skip", types::FLOAT, "T"),
        Param::one("gamma", types::FLOAT, "T"),
        Param::optional("beta", types::FLOAT, "T"),
        Param::optional("bias", types::FLOAT, "T"),
    ],
    outputs: &[
        Param::one("output", types::FLOAT, "T"),
        Param::optional("mean", types::FLOAT32, "U"),
        Param::optional("inv_std_var", types::FLOAT32, "U"),
        Param::optional("input_skip_bias_sum", types::FLOAT, "T"),
    ],
};

/// The room of SkipLayerNormalization.
pub static ROOM: Room = Room {
    domain: "com.microsoft",
    name: "SkipLayerNormalization",
    since: &[1],
    signature: &SIGNATURE,
    read: |a| Ok(shared(SkipLayerNormalization::read(a)?)),
    steps: &[],
    cases,
};

impl Op for SkipLayerNormalization {
    of_room!();
    of_expansion!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        infer(ctx)
    }

    fn expand(&self, build: &mut Build<'_>, node: NodeId) -> Result<Option<Vec<ValueId>>, OpError> {
        let mut f = Formula::new(build, node);
        let (sum, gamma) = (sum(&mut f, 4)?, f.need(2)?);
        let attributes = plain().with("axis", -1i64).with("epsilon", self.epsilon);
        let made = f.node("LayerNormalization", &attributes, &[Some(sum), Some(gamma), f.input(3)], 3)?;
        Ok(Some(vec![made[0], made[1], made[2], sum]))
    }
}

/// The types of the normalized sum, of the mean and inverse deviation along the last axis, and of the sum.
pub(super) fn infer(ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
    let x = ctx.known_ty(0)?.clone();
    match ctx.shape(0).map(Dims::from_slice) {
        Some(mut dims) => {
            if let Some(last) = dims.last_mut() {
                *last = Dim::known(1);
            }
            ctx.set_tensor(1, DType::F32, dims.clone());
            ctx.set_tensor(2, DType::F32, dims);
        }
        None => {
            ctx.set_unranked(1, DType::F32);
            ctx.set_unranked(2, DType::F32);
        }
    }
    ctx.set(3, x.clone());
    ctx.set(0, x);
    Ok(())
}

/// Input, skip and bias, where there is one, added.
pub(super) fn sum(f: &mut Formula<'_, '_>, bias: usize) -> Result<ValueId, OpError> {
    let (x, skip) = (f.need(0)?, f.need(1)?);
    let sum = f.op("Add", &[x, skip])?;
    match f.input(bias) {
        Some(bias) => f.op("Add", &[sum, bias]),
        None => Ok(sum),
    }
}

fn cases() -> Vec<Case> {
    crate::with_cases!();
    let op = |a: Attributes| SkipLayerNormalization::read(&a).expect("attributes of the operator");
    // Values by NumPy.
    vec![
        Case::new("all", op(Attributes::new().with("epsilon", 0.1f32)))
            .input(noise(&[2, 2, 4], 1))
            .input(noise(&[2, 2, 4], 2))
            .input(noise(&[4], 3))
            .input(noise(&[4], 4))
            .input(noise(&[4], 5))
            .outputs(4)
            .expect(floats(
                &[2, 2, 4],
                &[
                    0.228256, 1.332359, 0.762175, 0.913635, 0.772672, 1.144442, 0.904519, 0.449497, 0.410252,
                    1.444545, 0.579428, 0.260847, -0.315864, 1.083205, 0.861636, 1.359593,
                ],
            ))
            .expect(floats(&[2, 2, 1], &[0.450113, 0.101175, -0.342286, -0.437936]))
            .expect(floats(&[2, 2, 1], &[1.308793, 1.44224, 0.871324, 0.992763]))
            .expect(floats(
                &[2, 2, 4],
                &[
                    0.089039, 1.494477, 0.5987, -0.381764, -0.714757, 0.723647, 0.672823, -0.277012,
                    -1.154822, 1.547839, -1.047334, -0.714828, -0.205005, 0.312379, 0.201351, -2.060469,
                ],
            )),
        Case::new("shared skip", op(Attributes::new()))
            .input(noise(&[2, 2, 4], 1))
            .input(noise(&[2, 4], 2))
            .input(noise(&[4], 3))
            .expect(floats(
                &[2, 2, 4],
                &[
                    0.874865, 0.312753, 0.268303, 0.714639, 1.083664, -0.096387, 0.312223, -0.222539,
                    0.919012, 0.512714, -0.16558, -0.548141, 0.860545, -0.141502, 0.365285, 0.128413,
                ],
            )),
    ]
}
