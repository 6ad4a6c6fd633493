//! [RotaryEmbedding](https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.RotaryEmbedding): the standard's operator before the standard had it.

use super::formula::{Formula, like_first, plain};
use crate::{Case, Form, Room, attributes, of_expansion, of_room, types};
use oxidane_graph::{Build, InferCtx, NodeId, Op, OpError, Param, Signature, Unknown, ValueId, shared};
use oxidane_tensor::DType;

attributes! {
    /// Turns pairs of elements by angles of their position.
    pub struct RotaryEmbedding { interleaved: bool = false, is_packed_batching: bool = false, num_heads: i64 = 0, rotary_embedding_dim: i64 = 0, scale: f32 = 1.0 }
}

static SIGNATURE: Signature = Signature {
    inputs: &[
        Param::one("input", types::FLOAT, "T"),
        Param::one("position_ids", types::INT64, "M"),
        Param::one("cos_cache", types::FLOAT, "T"),
        Param::one("sin_cache", types::FLOAT, "T"),
    ],
    outputs: &[Param::one("output", types::FLOAT, "T")],
};

/// The room of RotaryEmbedding.
pub static ROOM: Room = Room {
    domain: "com.microsoft",
    name: "RotaryEmbedding",
    since: &[1],
    signature: &SIGNATURE,
    read: |a| Ok(shared(RotaryEmbedding::read(a)?)),
    steps: &[],
    cases,
};

impl Op for RotaryEmbedding {
    of_room!();
    of_expansion!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        like_first(ctx)
    }

    fn expand(&self, build: &mut Build<'_>, node: NodeId) -> Result<Option<Vec<ValueId>>, OpError> {
        let mut f = Formula::new(build, node);
        let (x, places, cos, sin) = (f.need(0)?, f.need(1)?, f.need(2)?, f.need(3)?);
        if self.is_packed_batching || self.scale != 1.0 {
            return Err(OpError::unsupported("is_packed_batching and scale are not supported"));
        }
        let shape = f.shape(x)?;
        let (batch, rows) = match shape.as_slice() {
            &[batch, _, rows, _] => (batch, rows),
            &[batch, rows, _] => (batch, rows),
            _ => return Err(OpError::new(format!("input is of shape {shape:?}, but must have rank 3 or 4"))),
        };
        // One number is the position of the first row.
        let mut places = places;
        if f.rank(places)? == 1 {
            let end = f.scalar(rows as f64, DType::I64)?;
            let steps = f.count(end)?;
            places = f.op("Add", &[places, steps])?;
            let wide = f.ints(&[batch, rows])?;
            places = f.op("Expand", &[places, wide])?;
        }
        let mut attributes = plain().with("interleaved", self.interleaved);
        attributes.set("rotary_embedding_dim", self.rotary_embedding_dim);
        if shape.len() == 3 {
            let size = match (self.num_heads, f.sizes::<2>(cos)?[1]) {
                (heads, _) if heads > 0 => shape[2] / heads,
                (_, half) => half * 2,
            };
            attributes.set("num_heads", shape[2].checked_div(size).unwrap_or(0));
        }
        Ok(Some(vec![f.with("RotaryEmbedding", attributes, &[x, cos, sin, places])?]))
    }
}

fn cases() -> Vec<Case> {
    vec![]
}
