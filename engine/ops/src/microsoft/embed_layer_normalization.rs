//! [EmbedLayerNormalization](https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.EmbedLayerNormalization): the first layer of BERT.

use super::formula::{Formula, plain, ranked};
use crate::{Case, Form, Room, attributes, of_expansion, of_room, types};
use oxidane_graph::{Build, InferCtx, NodeId, Op, OpError, Param, Signature, Unknown, ValueId, shared};
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
    vec![]
}
