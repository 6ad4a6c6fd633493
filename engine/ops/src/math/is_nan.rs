//! [IsNaN](https://onnx.ai/onnx/operators/onnx__IsNaN.html): which elements are not a number.

use crate::math::by_type::by_type;
use crate::{Case, Form, Room, attributes, bools, floats, of_room, types};
use oxidane_graph::{Call, InferCtx, Kernel, Op, OpError, Param, Signature, Type, Unknown, kernel, shared};
use oxidane_kernels::map;
use oxidane_tensor::{CastRules, DType};

attributes! {
    /// Which elements are not a number.
    pub struct IsNaN {}
}

static SIGNATURE: Signature = Signature {
    inputs: &[Param::one("X", types::FLOAT_OR_FLOAT8, "T1")],
    outputs: &[Param::one("Y", types::BOOL, "")],
};

/// The room of IsNaN.
pub static ROOM: Room = Room {
    domain: "",
    name: "IsNaN",
    since: &[9, 13, 20],
    signature: &SIGNATURE,
    read: |a| Ok(shared(IsNaN::read(a)?)),
    steps: &[],
    cases: || {
        crate::with_cases!();
        let x = || floats(&[5], &[-1.2, f32::NAN, f32::INFINITY, 2.8, f32::NEG_INFINITY]);
        let found = bools(&[5], &[false, true, false, false, false]);
        let cast =
            |dtype| x().cast(dtype, CastRules { saturate: false, ..CastRules::default() }).expect("floats");
        vec![
            Case::new("float", IsNaN {}).input(x()).expect(found.clone()),
            Case::new("double", IsNaN {}).input(cast(DType::F64)).expect(found.clone()),
            Case::new("float16", IsNaN {}).input(cast(DType::F16)).expect(found.clone()),
            Case::new("bfloat16", IsNaN {}).input(cast(DType::BF16)).expect(found.clone()),
            Case::new("float8e5m2", IsNaN {}).input(cast(DType::F8E5M2)).expect(found),
        ]
    },
};

impl Op for IsNaN {
    of_room!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        ctx.known_ty(0)?;
        match ctx.shape(0).map(oxidane_graph::Dims::from_slice) {
            Some(shape) => ctx.set_tensor(0, DType::Bool, shape),
            None => ctx.set(0, Type::unranked(DType::Bool)),
        }
        Ok(())
    }

    fn kernel(&self, _: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        kernel(move |run| {
            let mut x = run.dense(0)?;
            if x.dtype().bits() == 8 {
                x = x.cast(DType::F32, CastRules::default())?;
            }
            let mut out = run.allocate(0, DType::Bool, x.shape())?;
            by_type!(x.dtype(), float T => {
                map::is_nan::<T>(run.pool(), x.slice()?, out.slice_mut()?)?;
                run.set(0, out.freeze());
                Ok(())
            })
        })
    }
}
