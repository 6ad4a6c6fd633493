//! [SkipLayerNormalization](https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.SkipLayerNormalization): LayerNormalization of a sum.

use super::formula::{Formula, plain};
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

    fn expand(&self, build: &mut Build<'_>, node: NodeId) -> Result<Option<Vec<ValueId>>, OpError> {
        let mut f = Formula::new(build, node);
        let (x, skip, gamma) = (f.need(0)?, f.need(1)?, f.need(2)?);
        let mut sum = f.op("Add", &[x, skip])?;
        if let Some(bias) = f.input(4) {
            sum = f.op("Add", &[sum, bias])?;
        }
        let attributes = plain().with("axis", -1i64).with("epsilon", self.epsilon);
        let made = f.node("LayerNormalization", &attributes, &[Some(sum), Some(gamma), f.input(3)], 3)?;
        Ok(Some(vec![made[0], made[1], made[2], sum]))
    }
}

fn cases() -> Vec<Case> {
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
                    0.22825605,
                    1.3323586,
                    0.76217467,
                    0.91363525,
                    0.77267218,
                    1.1444424,
                    0.90451902,
                    0.44949716,
                    0.41025174,
                    1.444545,
                    0.57942796,
                    0.26084733,
                    -0.31586379,
                    1.0832049,
                    0.86163551,
                    1.359593,
                ],
            ))
            .expect(floats(&[2, 2, 1], &[0.45011282, 0.10117526, -0.3422862, -0.4379361]))
            .expect(floats(&[2, 2, 1], &[1.3087926, 1.4422404, 0.87132382, 0.99276286]))
            .expect(floats(
                &[2, 2, 4],
                &[
                    0.0890387,
                    1.494477,
                    0.59870005,
                    -0.38176441,
                    -0.71475714,
                    0.72364736,
                    0.67282295,
                    -0.27701211,
                    -1.1548219,
                    1.5478392,
                    -1.0473341,
                    -0.71482801,
                    -0.20500526,
                    0.31237882,
                    0.20135123,
                    -2.0604692,
                ],
            )),
        Case::new("shared skip", op(Attributes::new()))
            .input(noise(&[2, 2, 4], 1))
            .input(noise(&[2, 4], 2))
            .input(noise(&[4], 3))
            .expect(floats(
                &[2, 2, 4],
                &[
                    0.87486464,
                    0.31275338,
                    0.2683033,
                    0.71463943,
                    1.0836636,
                    -0.096387498,
                    0.31222257,
                    -0.2225395,
                    0.91901225,
                    0.51271397,
                    -0.16558023,
                    -0.54814112,
                    0.8605451,
                    -0.14150201,
                    0.36528489,
                    0.12841326,
                ],
            )),
    ]
}
