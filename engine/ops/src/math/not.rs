//! [Not](https://onnx.ai/onnx/operators/onnx__Not.html): the other truth value.

use crate::{Case, Form, Room, attributes, bools, of_room, types};
use oxidane_graph::{Call, InferCtx, Kernel, Op, OpError, Param, Signature, Unknown, kernel, shared};
use oxidane_kernels::map;
use oxidane_tensor::{DType, Tensor};

attributes! {
    /// True where the input is false.
    pub struct Not {}
}

static SIGNATURE: Signature =
    Signature { inputs: &[Param::one("X", types::BOOL, "T")], outputs: &[Param::one("Y", types::BOOL, "T")] };

/// The room of Not.
pub static ROOM: Room = Room {
    domain: "",
    name: "Not",
    since: &[1],
    signature: &SIGNATURE,
    read: |a| Ok(shared(Not::read(a)?)),
    steps: &[],
    cases: || {
        crate::with_cases!();
        vec![
            Case::new("matrix", Not {})
                .input(bools(&[2, 2], &[true, false, false, true]))
                .expect(bools(&[2, 2], &[false, true, true, false])),
            Case::new("empty", Not {}).input(bools(&[0], &[])).expect(bools(&[0], &[])),
        ]
    },
};

impl Op for Not {
    of_room!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        ctx.set(0, ctx.known_ty(0)?.clone());
        let small = ctx.constant(0).filter(|t| t.len() <= 256);
        if let Some(values) = small.and_then(|t| t.values::<u8>().ok())
            && let Some(shape) = small.map(|t| t.shape().to_vec())
        {
            let values: Vec<bool> = values.iter().map(|&v| v == 0).collect();
            if let Ok(tensor) = Tensor::from_bools(&shape, &values) {
                ctx.set_constant(0, tensor);
            }
        }
        Ok(())
    }

    fn kernel(&self, _: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        kernel(|run| {
            let x = run.dense(0)?;
            let mut out = run.allocate(0, DType::Bool, x.shape())?;
            map::not(run.pool(), x.slice()?, out.slice_mut()?)?;
            run.set(0, out.freeze());
            Ok(())
        })
    }
}
