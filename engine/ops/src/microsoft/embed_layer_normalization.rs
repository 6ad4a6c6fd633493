//! [EmbedLayerNormalization](https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.EmbedLayerNormalization): the first layer of BERT.

use crate::formula::{Formula, plain, ranked};
use crate::{Case, Form, Room, attributes, floats, ints_of, noise, of_expansion, of_room, types};
use oxidane_graph::{
    Attributes, Build, InferCtx, NodeId, Op, OpError, Param, Signature, Unknown, ValueId, shared,
};
use oxidane_tensor::{DType, Tensor};

attributes! {
    /// LayerNormalization of the embeddings of words, positions and segments added.
    pub struct EmbedLayerNormalization { epsilon: f32 = 1e-12, mask_index_type: Option<i64> }
}

static SIGNATURE: Signature = Signature {
    inputs: &[
        Param::one("input_ids", types::INT32, "T1"),
        Param::optional("segment_ids", types::INT32, "T1"),
        Param::one("word_embedding", types::FLOAT, "T"),
        Param::one("position_embedding", types::FLOAT, "T"),
        Param::optional("segment_embedding", types::FLOAT, "T"),
        Param::one("gamma", types::FLOAT, "T"),
        Param::one("beta", types::FLOAT, "T"),
        Param::optional("mask", types::INT32, "T1"),
        Param::optional("position_ids", types::INT32, "T1"),
    ],
    outputs: &[
        Param::one("output", types::FLOAT, "T"),
        Param::optional("mask_index", types::INT32, "T1"),
        Param::optional("embedding_sum", types::FLOAT, "T"),
    ],
};

/// The room of EmbedLayerNormalization.
pub static ROOM: Room = Room {
    domain: "com.microsoft",
    name: "EmbedLayerNormalization",
    since: &[1],
    signature: &SIGNATURE,
    read: |a| Ok(shared(EmbedLayerNormalization::read(a)?)),
    steps: &[],
    cases,
};

impl Op for EmbedLayerNormalization {
    of_room!();
    of_expansion!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        let dtype = ctx.dtype(2)?;
        let (ids, words) = (ranked::<2>(ctx, 0)?, ranked::<2>(ctx, 2)?);
        match (ids, words) {
            (Some([batch, rows]), Some([_, size])) => {
                ctx.set_tensor(0, dtype, [batch, rows, size]);
                ctx.set_tensor(2, dtype, [batch, rows, size]);
                ctx.set_tensor(1, DType::I32, [batch]);
            }
            _ => {
                ctx.set_unranked(0, dtype);
                ctx.set_unranked(2, dtype);
                ctx.set_unranked(1, DType::I32);
            }
        }
        Ok(())
    }

    fn expand(&self, build: &mut Build<'_>, node: NodeId) -> Result<Option<Vec<ValueId>>, OpError> {
        let mut f = Formula::new(build, node);
        let (ids, words, positions) = (f.need(0)?, f.need(2)?, f.need(3)?);
        let [batch, rows] = f.sizes(ids)?;
        let word = f.op("Gather", &[words, ids])?;
        let position = match f.input(8) {
            Some(places) => f.op("Gather", &[positions, places])?,
            None => {
                let end = f.scalar(rows as f64, DType::I64)?;
                let places = f.count(end)?;
                f.op("Gather", &[positions, places])?
            }
        };
        let mut sum = f.op("Add", &[word, position])?;
        if let (Some(ids), Some(segments)) = (f.input(1), f.input(4)) {
            let segment = f.op("Gather", &[segments, ids])?;
            sum = f.op("Add", &[sum, segment])?;
        }
        let attributes = plain().with("axis", -1i64).with("epsilon", self.epsilon);
        let y = f.node("LayerNormalization", &attributes, &[Some(sum), f.input(5), f.input(6)], 1)?[0];
        let mask = match f.input(7) {
            Some(mask) => {
                let last = f.ints(&[1])?;
                f.with("ReduceSum", plain().with("keepdims", 0i64), &[mask, last])?
            }
            None => {
                let shape = f.ints(&[batch])?;
                let zero = Tensor::new(&[1], &[0i32])?;
                f.with("ConstantOfShape", plain().with("value", zero), &[shape])?
            }
        };
        Ok(Some(vec![y, mask, sum]))
    }
}

fn cases() -> Vec<Case> {
    crate::with_cases!();
    let op = |a: Attributes| EmbedLayerNormalization::read(&a).expect("attributes of the operator");
    // Values by ONNX Runtime.
    vec![
        Case::new("all", op(Attributes::new().with("epsilon", 0.01f32)))
            .input(ints_of(DType::I32, &[2, 3], &[0, 3, 1, 2, 2, 0]))
            .input(ints_of(DType::I32, &[2, 3], &[0, 0, 1, 1, 0, 1]))
            .input(noise(&[4, 4], 1))
            .input(noise(&[5, 4], 2))
            .input(noise(&[2, 4], 3))
            .input(noise(&[4], 4))
            .input(noise(&[4], 5))
            .input(ints_of(DType::I32, &[2, 3], &[1, 1, 0, 1, 1, 1]))
            .input(ints_of(DType::I32, &[2, 3], &[4, 1, 0, 0, 1, 2]))
            .outputs(3)
            .expect(floats(
                &[2, 3, 4],
                &[
                    -0.110353, 1.17022, 0.272848, -0.782808, -0.075797, 1.06392, 0.347471, -0.787474,
                    -0.035443, 1.211375, -0.880584, -0.817355, -0.085006, 1.228336, -1.221715, -0.818865,
                    -0.005805, 1.231434, -0.02642, -0.800926, -0.036237, 1.521631, -0.792871, -0.808747,
                ],
            ))
            .expect(ints_of(DType::I32, &[2], &[2, 3]))
            .expect(floats(
                &[2, 3, 4],
                &[
                    -1.239707, 0.620614, 0.923606, -1.545171, -1.240046, 0.15399, 0.550587, -1.042022,
                    -0.496213, 1.296533, 0.216265, 1.354409, -0.813725, 1.358737, -0.730148, 1.519116,
                    -1.578905, 0.681825, 0.486941, -0.165251, -0.933374, 1.21924, -0.108739, 0.541808,
                ],
            )),
        Case::new("words and places", op(Attributes::new().with("mask_index_type", 1i64)))
            .input(ints_of(DType::I32, &[2, 3], &[0, 3, 1, 2, 2, 0]))
            .absent()
            .input(noise(&[4, 4], 1))
            .input(noise(&[5, 4], 2))
            .absent()
            .input(noise(&[4], 4))
            .input(noise(&[4], 5))
            .outputs(2)
            .expect(floats(
                &[2, 3, 4],
                &[
                    -0.07133, 1.117348, 0.318285, -0.787559, -0.073869, 0.227389, 0.626564, -0.798848,
                    -0.042756, 1.566093, -0.228124, -0.794097, -0.063502, 1.509102, -1.060918, -0.811877,
                    -0.000596, 0.752517, -0.333975, -0.818635, -0.076738, 1.499437, -0.044729, -0.787215,
                ],
            ))
            .expect(ints_of(DType::I32, &[2], &[0, 0])),
    ]
}
