//! [RotaryEmbedding](https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.RotaryEmbedding): the standard's operator before the standard had it.

use super::formula::{Formula, like_first, plain};
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
                    0.50063574,
                    -0.38645178,
                    0.59687155,
                    0.19890603,
                    0.24952719,
                    -0.44897032,
                    0.57269454,
                    0.07484635,
                    -0.18379109,
                    0.10494874,
                    0.35373062,
                    0.26649839,
                    -0.11296359,
                    0.2478483,
                    0.069929622,
                    -0.18046641,
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
                    -0.4361254,
                    -0.31442621,
                    -0.018482193,
                    0.55108041,
                    0.15034966,
                    0.41363829,
                    -0.64010441,
                    0.12420233,
                    -0.12431524,
                    -0.34570307,
                    -0.2834436,
                    -0.10916712,
                    0.03386569,
                    -0.10926846,
                    0.39389709,
                    -0.015323792,
                    0.47522956,
                    0.31230414,
                    -0.46917179,
                    -0.56345022,
                    0.59556687,
                    -0.12583628,
                    0.74579388,
                    -0.29893523,
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
                -0.65633929,
                0.50529945,
                -0.81710261,
                0.33615395,
                -0.1114706,
                0.52578878,
                0.75469738,
                0.04613436,
                0.51415032,
                0.30454111,
                -0.059937522,
                0.68777227,
                -0.090124182,
                0.060157996,
                -0.12806921,
                -0.66593003,
                -0.23414555,
                -0.52047116,
                0.018617682,
                0.92315871,
                -0.8680796,
                -0.83717072,
                -0.0082400972,
                -0.75378221,
                0.10765161,
                -0.77357912,
                -0.18689255,
                -0.73351711,
                -0.91250342,
                0.9954958,
                0.19570434,
                0.17319028,
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
                    -0.65633929,
                    0.50529945,
                    -0.81710261,
                    0.33615395,
                    -0.28385139,
                    0.15696648,
                    -0.26019239,
                    0.54022855,
                    0.47920808,
                    -0.17261758,
                    -0.12819526,
                    0.31945202,
                    0.1574371,
                    0.63057125,
                    0.070543289,
                    -0.50064892,
                    -0.23414555,
                    -0.52047116,
                    0.018617682,
                    0.92315871,
                    0.71712774,
                    0.50643468,
                    -0.57069808,
                    -0.41513553,
                ],
            )),
    ]
}
