//! [RandomUniformLike](https://onnx.ai/onnx/operators/onnx__RandomUniformLike.html): as many numbers as another tensor has, of which each in a range is as likely.

use super::draw::{draw, infer_like, like};
use crate::{Case, Form, Room, attributes, floats, ints, of_room, types};
use oxidane_graph::{Call, InferCtx, Kernel, Op, OpError, Param, Signature, Unknown, kernel, shared};
use oxidane_tensor::DType;

attributes! {
    /// Numbers from `low` to below `high` in the shape of the input.
    pub struct RandomUniformLike {
        /// The type of the result; that of the input where it is absent.
        dtype: Option<DType>,
        high: f32 = 1.0,
        low: f32 = 0.0,
        /// Where the numbers start; without it every run has others.
        seed: Option<f32>,
    }
}

static SIGNATURE: Signature = Signature {
    inputs: &[Param::one("input", types::PLAIN, "T1")],
    outputs: &[Param::one("output", types::FLOAT, "T2")],
};

/// The room of RandomUniformLike.
pub static ROOM: Room = Room {
    domain: "",
    name: "RandomUniformLike",
    since: &[1, 22],
    signature: &SIGNATURE,
    read: |a| Ok(shared(RandomUniformLike::read(a)?)),
    steps: &[],
    cases: || {
        crate::with_cases!();
        // NumPy's RandomState(7).
        let op = |dtype| RandomUniformLike { dtype, high: 3.0, low: -1.0, seed: Some(7.0) };
        let values = [-0.6947668, 2.1196752, 0.7536369, 1.8938607, 2.911958, 1.1539835];
        vec![
            Case::new("the type of the input", op(None))
                .input(floats(&[2, 3], &[0.0; 6]))
                .expect(floats(&[2, 3], &values)),
            Case::new("another type", op(Some(DType::F32)))
                .input(ints(&[2, 3], &[0; 6]))
                .expect(floats(&[2, 3], &values)),
        ]
    },
};

impl Op for RandomUniformLike {
    of_room!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        infer_like(ctx, self.dtype)
    }

    /// Runtimes draw other numbers from the same seed: folding would put this one's into the model.
    fn is_pure(&self) -> bool {
        false
    }

    fn kernel(&self, _: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let op = self.clone();
        let (low, width) = (f64::from(op.low), f64::from(op.high) - f64::from(op.low));
        kernel(move |run| {
            let (dtype, shape) = like(run.tensor(0)?, op.dtype);
            draw(run, op.seed, dtype, &shape, &|g| low + width * g.uniform())
        })
    }
}
