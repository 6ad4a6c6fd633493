//! [CumProd](https://onnx.ai/onnx/operators/onnx__CumProd.html): running products along an axis.

use crate::math::by_type::by_type;
use crate::{Case, Form, Room, attributes, floats, ints, of_room, types};
use oxidane_graph::{
    Call, InferCtx, Kernel, Op, OpError, Param, Signature, Unknown, axis_index, kernel, shared,
};
use oxidane_kernels::sort::{self, Running};
use oxidane_tensor::{CastRules, DType};

attributes! {
    /// The product of all elements up to each along the axis that the second input names.
    pub struct CumProd {
        /// Whether the element itself is left out.
        exclusive: bool = false,
        /// Whether to run from the end.
        reverse: bool = false,
    }
}

static SIGNATURE: Signature = Signature {
    inputs: &[Param::one("x", types::ARITHMETIC, "T"), Param::one("axis", types::INDEX, "T2")],
    outputs: &[Param::one("y", types::ARITHMETIC, "T")],
};

/// The room of CumProd.
pub static ROOM: Room = Room {
    domain: "",
    name: "CumProd",
    since: &[26],
    signature: &SIGNATURE,
    read: |a| Ok(shared(CumProd::read(a)?)),
    steps: &[],
    cases: || {
        let x = || floats(&[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let op = |exclusive, reverse| CumProd { exclusive, reverse };
        let axis = |axis: i64| ints(&[], &[axis]);
        // The specification's examples.
        let mut cases = vec![
            Case::new("columns", op(false, false))
                .input(x())
                .input(axis(0))
                .expect(floats(&[2, 3], &[1.0, 2.0, 3.0, 4.0, 10.0, 18.0])),
            Case::new("rows", op(false, false))
                .input(x())
                .input(axis(-1))
                .expect(floats(&[2, 3], &[1.0, 2.0, 6.0, 4.0, 20.0, 120.0])),
            Case::new("exclusive", op(true, false))
                .input(x())
                .input(axis(1))
                .expect(floats(&[2, 3], &[1.0, 1.0, 2.0, 1.0, 4.0, 20.0])),
            Case::new("reverse", op(false, true))
                .input(x())
                .input(axis(1))
                .expect(floats(&[2, 3], &[6.0, 6.0, 3.0, 120.0, 30.0, 6.0])),
            Case::new("both", op(true, true))
                .input(x())
                .input(axis(1))
                .expect(floats(&[2, 3], &[6.0, 3.0, 1.0, 30.0, 6.0, 1.0])),
            Case::new("empty", op(false, false))
                .input(floats(&[0, 2], &[]))
                .input(axis(0))
                .expect(floats(&[0, 2], &[])),
        ];
        for dtype in [DType::F64, DType::F16, DType::BF16, DType::I64, DType::I32, DType::U64, DType::U32] {
            let of = |t: oxidane_tensor::Tensor| t.cast(dtype, CastRules::default()).expect("numbers");
            cases.push(
                Case::new(dtype.name(), op(false, false))
                    .input(of(x()))
                    .input(axis(1).cast(DType::I32, CastRules::default()).expect("an integer"))
                    .expect(of(floats(&[2, 3], &[1.0, 2.0, 6.0, 4.0, 20.0, 120.0]))),
            );
        }
        cases
    },
};

impl Op for CumProd {
    of_room!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        if let (Some(shape), Some(&[axis])) = (ctx.shape(0), ctx.known_ints(1).as_deref()) {
            axis_index(axis, shape.len())?;
        }
        ctx.set(0, ctx.known_ty(0)?.clone());
        Ok(())
    }

    fn kernel(&self, _: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let how = (self.exclusive, self.reverse);
        kernel(move |run| {
            let x = run.dense(0)?;
            let axis = match run.ints(1)?.as_slice() {
                [axis] => axis_index(*axis, x.rank())?,
                other => return Err(OpError::new(format!("the axis must be one number, but is {other:?}"))),
            };
            let mut out = run.allocate(0, x.dtype(), x.shape())?;
            by_type!(x.dtype(), number T => {
                let input = (x.slice()?, x.shape());
                Ok(sort::running::<T>(run.pool(), Running::Prod, input, axis, how, out.slice_mut()?)?)
            })?;
            run.set(0, out.freeze());
            Ok(())
        })
    }
}
