//! [LpNormalization](https://onnx.ai/onnx/operators/onnx__LpNormalization.html): each line along an axis divided by
//! its norm.

use crate::math::by_type::by_type;
use crate::{Case, Form, Room, attributes, floats, noise_of, of_room, types};
use oxidane_graph::{
    Call, InferCtx, Kernel, Op, OpError, Param, Run, Signature, Unknown, axis_index, kernel, shared,
};
use oxidane_kernels::Float;
use oxidane_kernels::norm::lp_norm;
use oxidane_tensor::DType;

attributes! {
    /// The input over its norm along `axis`: the sum of sizes (`p` 1) or the root of the sum of squares (`p` 2).
    /// Lines of noughts stay as they are.
    pub struct LpNormalization { axis: i64 = -1, p: i64 = 2 }
}

static SIGNATURE: Signature = Signature {
    inputs: &[Param::one("input", types::FLOAT, "T")],
    outputs: &[Param::one("output", types::FLOAT, "T")],
};

/// The room of LpNormalization.
pub static ROOM: Room = Room {
    domain: "",
    name: "LpNormalization",
    since: &[1, 22],
    signature: &SIGNATURE,
    read: |a| Ok(shared(LpNormalization::read(a)?)),
    steps: &[],
    cases: || {
        crate::with_cases!();
        let mut cases = vec![
            Case::new("squares", LpNormalization { axis: -1, p: 2 })
                .input(floats(&[2, 2], &[3.0, -4.0, 0.0, 0.0]))
                .expect(floats(&[2, 2], &[0.6, -0.8, 0.0, 0.0])),
            Case::new("sizes", LpNormalization { axis: 0, p: 1 })
                .input(floats(&[2, 2], &[1.0, -4.0, 3.0, 4.0]))
                .expect(floats(&[2, 2], &[0.25, -0.5, 0.75, 0.5])),
            Case::new("nothing", LpNormalization { axis: 1, p: 2 })
                .input(floats(&[2, 0], &[]))
                .expect(floats(&[2, 0], &[])),
        ];
        for (name, dtype) in [
            ("float", DType::F32),
            ("double", DType::F64),
            ("float16", DType::F16),
            ("bfloat16", DType::BF16),
        ] {
            let op = LpNormalization { axis: 1, p: 2 };
            cases.push(Case::new(name, op).input(noise_of(dtype, &[2, 7, 3], 1)));
        }
        cases
    },
};

impl LpNormalization {
    fn run<T: Float>(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let x = run.dense(0)?;
        let axis = axis_index(self.axis, x.rank())?;
        let pool = run.pool();
        run.write::<T>(0, x.shape(), |out| Ok(lp_norm(pool, (x.slice()?, x.shape()), axis, self.p, out)?))
    }
}

impl Op for LpNormalization {
    of_room!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        let x = ctx.known_ty(0)?.clone();
        if let Some(shape) = x.shape() {
            axis_index(self.axis, shape.len())?;
        }
        ctx.set(0, x);
        Ok(())
    }

    fn kernel(&self, _: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let op = self.clone();
        kernel(move |run| by_type!(run.tensor(0)?.dtype(), float T => op.run::<T>(run)))
    }
}
