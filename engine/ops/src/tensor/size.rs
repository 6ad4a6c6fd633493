//! [Size](https://onnx.ai/onnx/operators/onnx__Size.html): the number of elements.

use crate::{Case, Form, Room, attributes, floats, ints, noise, of_room, types};
use oxidane_graph::{
    Call, Dim, Dims, InferCtx, Kernel, Op, OpError, Param, Signature, Unknown, kernel, shared,
};
use oxidane_tensor::{DType, Tensor};

attributes! {
    /// The number of elements, a scalar.
    pub struct Size {}
}

static SIGNATURE: Signature = Signature {
    inputs: &[Param::one("data", types::ALL, "T")],
    outputs: &[Param::one("size", types::INT64, "")],
};

/// The room of Size.
pub static ROOM: Room = Room {
    domain: "",
    name: "Size",
    since: &[1, 13, 19, 21, 23, 24, 25],
    signature: &SIGNATURE,
    read: |a| Ok(shared(Size::read(a)?)),
    steps: &[],
    cases: || {
        crate::with_cases!();
        vec![
            Case::new("cube", Size {}).input(noise(&[3, 4, 5], 1)).expect(ints(&[], &[60])),
            Case::new("empty", Size {}).input(floats(&[3, 0], &[])).expect(ints(&[], &[0])),
        ]
    },
};

impl Op for Size {
    of_room!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        ctx.set_tensor(0, DType::I64, []);
        if let Some(shape) = ctx.shape(0) {
            let count = shape.iter().fold(Dim::known(1), |n, &d| n * d);
            ctx.set_ints(0, Dims::from_slice(&[count]), true);
        }
        Ok(())
    }

    fn kernel(&self, _: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        kernel(|run| {
            let count = run.tensor(0)?.len() as i64;
            run.set(0, Tensor::scalar(count));
            Ok(())
        })
    }
}
