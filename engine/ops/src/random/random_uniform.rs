//! [RandomUniform](https://onnx.ai/onnx/operators/onnx__RandomUniform.html): numbers of which each in a range is as likely.

use super::draw::{draw, infer_shape, sizes};
use crate::{Case, Form, Room, attributes, floats, of_room, types};
use oxidane_graph::{Call, InferCtx, Kernel, Op, OpError, Param, Signature, Unknown, kernel, shared};
use oxidane_tensor::{DType, Tensor};

attributes! {
    /// Numbers from `low` to below `high`.
    pub struct RandomUniform {
        /// The type of the result.
        dtype: DType = DType::F32,
        high: f32 = 1.0,
        low: f32 = 0.0,
        /// Where the numbers start; without it every run has others.
        seed: Option<f32>,
        /// The sizes of the result.
        shape: Vec<i64>,
    }
}

static SIGNATURE: Signature = Signature { inputs: &[], outputs: &[Param::one("output", types::FLOAT, "T")] };

/// The room of RandomUniform.
pub static ROOM: Room = Room {
    domain: "",
    name: "RandomUniform",
    since: &[1, 22],
    signature: &SIGNATURE,
    read: |a| Ok(shared(RandomUniform::read(a)?)),
    steps: &[],
    cases: || {
        crate::with_cases!();
        // NumPy's RandomState(7).
        let op = |dtype| RandomUniform { dtype, high: 3.0, low: -1.0, seed: Some(7.0), shape: vec![2, 3] };
        let values = [-0.6947668, 2.1196752, 0.7536369, 1.8938607, 2.911958, 1.1539835];
        let mut cases = vec![
            Case::new("float", op(DType::F32)).expect(floats(&[2, 3], &values)),
            Case::new("nothing", RandomUniform { shape: vec![0, 2], ..op(DType::F32) })
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

impl Op for RandomUniform {
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
        let (low, width) = (f64::from(op.low), f64::from(op.high) - f64::from(op.low));
        kernel(move |run| {
            let shape = sizes(&op.shape)?;
            draw(run, op.seed, op.dtype, &shape, &|g| low + width * g.uniform())
        })
    }
}
