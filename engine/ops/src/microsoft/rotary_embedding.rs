//! [RotaryEmbedding](https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.RotaryEmbedding): the standard's operator before the standard had it.

use crate::formula::{Formula, like_first, plain};
use crate::{Case, Form, Room, attributes, floats, ints, noise, of_expansion, of_room, types};
use oxidane_graph::{
    Attributes, Build, InferCtx, NodeId, Op, OpError, Param, Signature, Unknown, ValueId, shared,
};
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
        let (batch, rows) = match *shape.as_slice() {
            [batch, _, rows, _] | [batch, rows, _] => (batch, rows),
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
    crate::with_cases!();
    let op = |a: Attributes| RotaryEmbedding::read(&a).expect("attributes of the operator");
    // Values by ONNX Runtime.
    vec![
        Case::new("halves", op(Attributes::new()))
            .input(noise(&[1, 2, 8], 1))
            .input(ints(&[1, 2], &[3, 1]))
            .input(noise(&[6, 2], 21))
            .input(noise(&[6, 2], 22))
            .expect(floats(
                &[1, 2, 8],
                &[
                    0.500636, -0.386452, 0.596872, 0.198906, 0.249527, -0.44897, 0.572695, 0.074846,
                    -0.183791, 0.104949, 0.353731, 0.266498, -0.112964, 0.247848, 0.06993, -0.180466,
                ],
            )),
        Case::new("from one", op(Attributes::new().with("interleaved", 1i64)))
            .input(noise(&[2, 3, 4], 1))
            .input(ints(&[1], &[2]))
            .input(noise(&[6, 2], 21))
            .input(noise(&[6, 2], 22))
            .expect(floats(
                &[2, 3, 4],
                &[
                    -0.436125, -0.314426, -0.018482, 0.55108, 0.15035, 0.413638, -0.640104, 0.124202,
                    -0.124315, -0.345703, -0.283444, -0.109167, 0.033866, -0.109268, 0.393897, -0.015324,
                    0.47523, 0.312304, -0.469172, -0.56345, 0.595567, -0.125836, 0.745794, -0.298935,
                ],
            )),
        Case::new(
            "part",
            op(Attributes::new()
                .with("num_heads", 2i64)
                .with("rotary_embedding_dim", 4i64)
                .with("scale", 1.0f32)
                .with("is_packed_batching", 0i64)),
        )
        .input(noise(&[1, 2, 16], 1))
        .input(ints(&[1, 2], &[0, 4]))
        .input(noise(&[6, 2], 21))
        .input(noise(&[6, 2], 22))
        .expect(floats(
            &[1, 2, 16],
            &[
                -0.656339, 0.505299, -0.817103, 0.336154, -0.111471, 0.525789, 0.754697, 0.046134, 0.51415,
                0.304541, -0.059938, 0.687772, -0.090124, 0.060158, -0.128069, -0.66593, -0.234146,
                -0.520471, 0.018618, 0.923159, -0.86808, -0.837171, -0.00824, -0.753782, 0.107652, -0.773579,
                -0.186893, -0.733517, -0.912503, 0.995496, 0.195704, 0.17319,
            ],
        )),
        Case::new("rank 4", op(Attributes::new()))
            .input(noise(&[1, 2, 3, 4], 1))
            .input(ints(&[1, 3], &[0, 4, 2]))
            .input(noise(&[6, 2], 21))
            .input(noise(&[6, 2], 22))
            .expect(floats(
                &[1, 2, 3, 4],
                &[
                    -0.656339, 0.505299, -0.817103, 0.336154, -0.283851, 0.156966, -0.260192, 0.540229,
                    0.479208, -0.172618, -0.128195, 0.319452, 0.157437, 0.630571, 0.070543, -0.500649,
                    -0.234146, -0.520471, 0.018618, 0.923159, 0.717128, 0.506435, -0.570698, -0.415136,
                ],
            )),
    ]
}
