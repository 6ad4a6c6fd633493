//! [EmbedLayerNormalization](https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.EmbedLayerNormalization): the first layer of BERT.

use super::formula::{Formula, plain, ranked};
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
                    -0.11035269,
                    1.1702199,
                    0.27284843,
                    -0.78280807,
                    -0.075796902,
                    1.0639195,
                    0.34747112,
                    -0.78747404,
                    -0.03544341,
                    1.2113755,
                    -0.88058376,
                    -0.8173548,
                    -0.085006297,
                    1.2283363,
                    -1.2217147,
                    -0.81886518,
                    -0.0058047324,
                    1.2314335,
                    -0.026419759,
                    -0.80092621,
                    -0.036236912,
                    1.5216312,
                    -0.79287064,
                    -0.80874681,
                ],
            ))
            .expect(ints_of(DType::I32, &[2], &[2, 3]))
            .expect(floats(
                &[2, 3, 4],
                &[
                    -1.239707,
                    0.62061369,
                    0.92360598,
                    -1.5451707,
                    -1.2400461,
                    0.15398957,
                    0.55058736,
                    -1.0420219,
                    -0.49621293,
                    1.2965328,
                    0.21626526,
                    1.3544095,
                    -0.81372499,
                    1.3587371,
                    -0.73014772,
                    1.5191159,
                    -1.5789046,
                    0.6818248,
                    0.48694092,
                    -0.16525114,
                    -0.93337393,
                    1.2192401,
                    -0.1087395,
                    0.54180765,
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
                    -0.07133022,
                    1.1173477,
                    0.31828487,
                    -0.78755862,
                    -0.073869407,
                    0.22738913,
                    0.62656403,
                    -0.79884815,
                    -0.042756215,
                    1.566093,
                    -0.22812444,
                    -0.79409671,
                    -0.06350182,
                    1.5091023,
                    -1.0609182,
                    -0.81187725,
                    -0.00059616566,
                    0.75251698,
                    -0.33397526,
                    -0.81863511,
                    -0.076738209,
                    1.4994373,
                    -0.044728547,
                    -0.78721511,
                ],
            ))
            .expect(ints_of(DType::I32, &[2], &[0, 0])),
    ]
}
