//! [RandomNormal](https://onnx.ai/onnx/operators/onnx__RandomNormal.html): numbers of a normal distribution.

use super::draw::{draw, infer_shape, sizes};
use crate::{Case, Form, Room, attributes, floats, of_room, types};
use oxidane_graph::{Call, InferCtx, Kernel, Op, OpError, Param, Signature, Unknown, kernel, shared};
use oxidane_tensor::{DType, Tensor};

attributes! {
    /// Numbers of the mean `mean` and the standard deviation `scale`.
    pub struct RandomNormal {
        /// The type of the result.
        dtype: DType = DType::F32,
        mean: f32 = 0.0,
        scale: f32 = 1.0,
        /// Where the numbers start; without it every run has others.
        seed: Option<f32>,
        /// The sizes of the result.
        shape: Vec<i64>,
    }
}

static SIGNATURE: Signature = Signature { inputs: &[], outputs: &[Param::one("output", types::FLOAT, "T")] };

/// The room of RandomNormal.
pub static ROOM: Room = Room {
    domain: "",
    name: "RandomNormal",
    since: &[1, 22],
    signature: &SIGNATURE,
    read: |a| Ok(shared(RandomNormal::read(a)?)),
    steps: &[],
    cases: || {
        crate::with_cases!();
        // NumPy's RandomState(7).
        let op = |dtype| RandomNormal { dtype, mean: 2.0, scale: 0.5, seed: Some(7.0), shape: vec![2, 3] };
        let values = [2.8452628, 1.7670313, 2.01641, 2.2037582, 1.6055385, 2.0010328];
        let mut cases = vec![
            Case::new("float", op(DType::F32)).expect(floats(&[2, 3], &values)),
            Case::new("nothing", RandomNormal { shape: vec![0, 2], ..op(DType::F32) })
                .expect(floats(&[0, 2], &[])),
        ];
        let wide: Vec<f64> = values.iter().map(|&v: &f32| v.into()).collect();
        for (dtype, tolerance) in [(DType::F64, 1e-6), (DType::F16, 1e-3), (DType::BF16, 8e-3)] {
            let expected = Tensor::from_f64s(dtype, &[2, 3], &wide).expect("floats");
            cases.push(Case::new(dtype.name(), op(dtype)).expect(expected).tolerance(tolerance));
        }
        cases
    },
};

impl Op for RandomNormal {
    of_room!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        infer_shape(ctx, self.dtype, &self.shape)
    }

    /// Runtimes draw other numbers from the same seed: folding would put this one's into the model.
    fn is_pure(&self) -> bool {
        false
    }

    fn kernel(&self, _: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let op = self.clone();
        let (mean, scale) = (f64::from(op.mean), f64::from(op.scale));
        kernel(move |run| {
            let shape = sizes(&op.shape)?;
            draw(run, op.seed, op.dtype, &shape, &|g| mean + scale * g.normal())
        })
    }
}
