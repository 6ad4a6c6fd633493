//! [BitwiseNot](https://onnx.ai/onnx/operators/onnx__BitwiseNot.html): every bit turned over.

use crate::math::by_type::by_type;
use crate::{Case, Form, Room, attributes, ints, of_room, types};
use oxidane_graph::{Call, InferCtx, Kernel, Op, OpError, Param, Signature, Unknown, kernel, shared};
use oxidane_kernels::map;
use oxidane_tensor::{DType, Element, Tensor};

attributes! {
    /// The complement of each integer's bits.
    pub struct BitwiseNot {}
}

static SIGNATURE: Signature = Signature {
    inputs: &[Param::one("X", types::INTEGER, "T")],
    outputs: &[Param::one("Y", types::INTEGER, "T")],
};

/// The room of BitwiseNot.
pub static ROOM: Room = Room {
    domain: "",
    name: "BitwiseNot",
    since: &[18],
    signature: &SIGNATURE,
    read: |a| Ok(shared(BitwiseNot::read(a)?)),
    steps: &[],
    cases: || {
        crate::with_cases!();
        let unsigned = |dtype, values: &[i64]| Tensor::from_i64s(dtype, &[2], values).expect("two values");
        vec![
            Case::new("int64", BitwiseNot {}).input(ints(&[3], &[0, 5, -1])).expect(ints(&[3], &[-1, -6, 0])),
            Case::new("uint8", BitwiseNot {})
                .input(unsigned(DType::U8, &[0, 5]))
                .expect(unsigned(DType::U8, &[255, 250])),
            Case::new("uint16", BitwiseNot {})
                .input(unsigned(DType::U16, &[0, 5]))
                .expect(unsigned(DType::U16, &[65535, 65530])),
        ]
    },
};

impl Op for BitwiseNot {
    of_room!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        ctx.set(0, ctx.known_ty(0)?.clone());
        Ok(())
    }

    fn kernel(&self, _: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        kernel(|run| {
            let x = run.dense(0)?;
            by_type!(x.dtype(), integer T => {
                let mut out = run.allocate(0, T::DTYPE, x.shape())?;
                map::complement::<T>(run.pool(), x.slice()?, out.slice_mut()?)?;
                run.set(0, out.freeze());
                Ok(())
            })
        })
    }
}
