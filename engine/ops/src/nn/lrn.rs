//! [LRN](https://onnx.ai/onnx/operators/onnx__LRN.html): each element divided by what its neighbours in other
//! channels say.

use super::batch_normalization::planes;
use crate::math::by_type::by_type;
use crate::{Case, Form, Room, attributes, floats, noise_of, of_room, types};
use oxidane_graph::{Call, InferCtx, Kernel, Op, OpError, Param, Run, Signature, Unknown, kernel, shared};
use oxidane_kernels::Float;
use oxidane_kernels::norm::local_response;
use oxidane_tensor::DType;

attributes! {
    /// `x / (bias + alpha / size * sum of squares over size channels around) ^ beta`.
    pub struct LRN {
        alpha: f32 = 1e-4,
        beta: f32 = 0.75,
        bias: f32 = 1.0,
        size: i64,
    }
}

static SIGNATURE: Signature = Signature {
    inputs: &[Param::one("X", types::FLOAT, "T")],
    outputs: &[Param::one("Y", types::FLOAT, "T")],
};

/// The room of LRN.
pub static ROOM: Room = Room {
    domain: "",
    name: "LRN",
    since: &[1, 13],
    signature: &SIGNATURE,
    read: |a| Ok(shared(LRN::read(a)?)),
    steps: &[],
    cases: || {
        crate::with_cases!();
        let op = |size| LRN { alpha: 1e-4, beta: 0.75, bias: 1.0, size };
        let mut cases = vec![
            // By hand: the sums of squares are 5, 14 and 13, a third of 3 times alpha 1 plus bias 1, to the power 1.
            Case::new("three", LRN { alpha: 3.0, beta: 1.0, ..op(3) })
                .input(floats(&[1, 3, 1], &[1.0, 2.0, 3.0]))
                .expect(floats(&[1, 3, 1], &[1.0 / 6.0, 2.0 / 15.0, 3.0 / 14.0])),
            Case::new("even", LRN { alpha: 2.0, beta: 1.0, ..op(2) })
                .input(floats(&[1, 3, 1], &[1.0, 2.0, 3.0]))
                .expect(floats(&[1, 3, 1], &[1.0 / 6.0, 2.0 / 14.0, 3.0 / 10.0])),
            Case::new("no batch", op(3)).input(floats(&[0, 3, 2], &[])).expect(floats(&[0, 3, 2], &[])),
        ];
        for (name, dtype) in [
            ("float", DType::F32),
            ("double", DType::F64),
            ("float16", DType::F16),
            ("bfloat16", DType::BF16),
        ] {
            let op = LRN { alpha: 0.5, beta: 0.5, bias: 2.0, size: 5 };
            cases.push(Case::new(name, op).input(noise_of(dtype, &[2, 7, 3, 2], 1)));
        }
        cases
    },
};

impl LRN {
    fn run<T: Float>(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let x = run.dense(0)?;
        let sizes = planes(x.shape())?;
        let size = usize::try_from(self.size)
            .map_err(|_| OpError::new(format!("attribute `size` is {}, but must be positive", self.size)))?;
        let pool = run.pool();
        let factors = (self.alpha, self.beta, self.bias);
        run.write::<T>(0, x.shape(), |out| Ok(local_response(pool, x.slice()?, sizes, size, factors, out)?))
    }
}

impl Op for LRN {
    of_room!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        ctx.set(0, ctx.known_ty(0)?.clone());
        Ok(())
    }

    fn kernel(&self, _: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let op = self.clone();
        kernel(move |run| by_type!(run.tensor(0)?.dtype(), float T => op.run::<T>(run)))
    }
}
