//! [RandomNormalLike](https://onnx.ai/onnx/operators/onnx__RandomNormalLike.html): as many numbers as another tensor has, of a normal distribution.

use super::draw::{draw, infer_like, like};
use crate::{Case, Form, Room, attributes, floats, ints, of_room, types};
use oxidane_graph::{Call, InferCtx, Kernel, Op, OpError, Param, Signature, Unknown, kernel, shared};
use oxidane_tensor::DType;

attributes! {
    /// Numbers of the mean `mean` and the standard deviation `scale` in the shape of the input.
    pub struct RandomNormalLike {
        /// The type of the result; that of the input where it is absent.
        dtype: Option<DType>,
        mean: f32 = 0.0,
        scale: f32 = 1.0,
        /// Where the numbers start; without it every run has others.
        seed: Option<f32>,
    }
}

static SIGNATURE: Signature = Signature {
    inputs: &[Param::one("input", types::PLAIN, "T1")],
    outputs: &[Param::one("output", types::FLOAT, "T2")],
};

/// The room of RandomNormalLike.
pub static ROOM: Room = Room {
    domain: "",
    name: "RandomNormalLike",
    since: &[1, 22],
    signature: &SIGNATURE,
    read: |a| Ok(shared(RandomNormalLike::read(a)?)),
    steps: &[],
    cases: || {
        crate::with_cases!();
        // NumPy's RandomState(7).
        let op = |dtype| RandomNormalLike { dtype, mean: 2.0, scale: 0.5, seed: Some(7.0) };
        let values = [2.8452628, 1.7670313, 2.01641, 2.2037582, 1.6055385, 2.0010328];
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

impl Op for RandomNormalLike {
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
        let (mean, scale) = (f64::from(op.mean), f64::from(op.scale));
        kernel(move |run| {
            let (dtype, shape) = like(run.tensor(0)?, op.dtype);
            draw(run, op.seed, dtype, &shape, &|g| mean + scale * g.normal())
        })
    }
}
