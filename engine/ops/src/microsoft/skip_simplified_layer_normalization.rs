//! [SkipSimplifiedLayerNormalization](https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.SkipSimplifiedLayerNormalization): RMSNormalization of a sum.

use super::simplified_layer_normalization::inverse_deviation;
use super::skip_layer_normalization::{infer, sum};
use crate::formula::{Formula, plain};
use crate::{Case, Form, Room, attributes, floats, noise, of_expansion, of_room, types};
use oxidane_graph::{
    Attributes, Build, InferCtx, NodeId, Op, OpError, Param, Signature, Unknown, ValueId, shared,
};
use oxidane_tensor::DType;

attributes! {
    /// RMSNormalization of input, skip and bias added, along the last axis.
    pub struct SkipSimplifiedLayerNormalization { epsilon: f32 = 1e-12 }
}

static SIGNATURE: Signature = Signature {
    inputs: &[
        Param::one("input", types::FLOAT, "T"),
        Param::one("skip", types::FLOAT, "T"),
        Param::one("gamma", types::FLOAT, "T"),
        Param::optional("bias", types::FLOAT, "T"),
    ],
    outputs: &[
        Param::one("output", types::FLOAT, "T"),
        Param::optional("mean", types::FLOAT32, "U"),
        Param::optional("inv_std_var", types::FLOAT32, "U"),
        Param::optional("input_skip_bias_sum", types::FLOAT, "T"),
    ],
};

/// The room of SkipSimplifiedLayerNormalization.
pub static ROOM: Room = Room {
    domain: "com.microsoft",
    name: "SkipSimplifiedLayerNormalization",
    since: &[1],
    signature: &SIGNATURE,
    read: |a| Ok(shared(SkipSimplifiedLayerNormalization::read(a)?)),
    steps: &[],
    cases,
};

impl Op for SkipSimplifiedLayerNormalization {
    of_room!();
    of_expansion!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        infer(ctx)
    }

    fn expand(&self, build: &mut Build<'_>, node: NodeId) -> Result<Option<Vec<ValueId>>, OpError> {
        let mut f = Formula::new(build, node);
        let (sum, gamma) = (sum(&mut f, 3)?, f.need(2)?);
        let attributes = plain().with("axis", -1i64).with("epsilon", self.epsilon);
        let y = f.with("RMSNormalization", attributes, &[sum, gamma])?;
        let (mut mean, mut deviation) = (sum, sum);
        if f.wants(1) {
            let (wide, last) = (f.cast(sum, DType::F32)?, f.ints(&[-1])?);
            mean = f.op("ReduceMean", &[wide, last])?;
        }
        if f.wants(2) {
            deviation = inverse_deviation(&mut f, sum, &[-1], self.epsilon)?;
        }
        Ok(Some(vec![y, mean, deviation, sum]))
    }
}

fn cases() -> Vec<Case> {
    crate::with_cases!();
    let op = |a: Attributes| SkipSimplifiedLayerNormalization::read(&a).expect("attributes of the operator");
    // Values by NumPy.
    vec![
        Case::new("plain", op(Attributes::new().with("epsilon", 0.1f32)))
            .input(noise(&[2, 2, 4], 1))
            .input(noise(&[2, 2, 4], 2))
            .input(noise(&[4], 3))
            .expect(floats(
                &[2, 2, 4],
                &[
                    -0.284521, 0.462539, 0.298693, -0.418081, 0.485418, 0.112826, 0.350804, -0.575945,
                    0.886714, 0.516307, -0.143137, -0.091287, -0.020719, -0.096175, 0.207673, 1.343389,
                ],
            )),
        Case::new("all", op(Attributes::new()))
            .input(noise(&[2, 2, 4], 1))
            .input(noise(&[2, 2, 4], 2))
            .input(noise(&[4], 3))
            .input(noise(&[4], 4))
            .outputs(4)
            .expect(floats(
                &[2, 2, 4],
                &[
                    -0.106008, 0.546374, 0.321524, -0.264659, 0.417477, 0.34723, 0.375698, -0.374617,
                    0.774522, 0.688572, 0.043657, -0.056262, 0.088229, 0.234287, 0.324288, 1.075508,
                ],
            ))
            .expect(floats(&[2, 2, 1], &[1.051928, 0.70299, 0.259529, 0.163879]))
            .expect(floats(&[2, 2, 1], &[0.768554, 0.863481, 0.940302, 0.986975]))
            .expect(floats(
                &[2, 2, 4],
                &[
                    0.178414, 1.774677, 1.851516, 0.403105, -0.625382, 1.003847, 1.925639, 0.507858,
                    -1.065446, 1.828039, 0.205482, 0.070042, -0.11563, 0.592578, 1.454167, -1.2756,
                ],
            )),
    ]
}
