//! [Identity](https://onnx.ai/onnx/operators/onnx__Identity.html): the input as it is.

use crate::{Case, Form, Room, attributes, floats, of_room, types};
use oxidane_graph::{
    Build, Call, InferCtx, Kernel, NodeId, Op, OpError, Param, Signature, Unknown, ValueId, kernel, shared,
};

attributes! {
    /// The input as it is.
    pub struct Identity {}
}

static SIGNATURE: Signature = Signature {
    inputs: &[Param::one("input", types::ANY, "V")],
    outputs: &[Param::one("output", types::ANY, "V")],
};

/// The room of Identity.
pub static ROOM: Room = Room {
    domain: "",
    name: "Identity",
    since: &[1, 13, 14, 16, 19, 21, 23, 24, 25],
    signature: &SIGNATURE,
    read: |a| Ok(shared(Identity::read(a)?)),
    steps: &[],
    cases: || {
        crate::with_cases!();
        vec![
            Case::new("vector", Identity {})
                .input(floats(&[2], &[1.0, 2.0]))
                .expect(floats(&[2], &[1.0, 2.0])),
        ]
    },
};

impl Op for Identity {
    of_room!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        ctx.set(0, ctx.known_ty(0)?.clone());
        if let Some(ints) = ctx.ints(0) {
            ctx.set_ints(0, ints.dims, ints.scalar);
        }
        if let Some(tensor) = ctx.constant(0) {
            ctx.set_constant(0, tensor.clone());
        }
        Ok(())
    }

    fn gradient(
        &self,
        build: &mut Build<'_>,
        node: NodeId,
        outputs: &[Option<ValueId>],
    ) -> Result<Vec<Option<ValueId>>, OpError> {
        let _ = (build, node);
        Ok(vec![outputs.first().copied().flatten()])
    }

    fn kernel(&self, _: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        kernel(|run| {
            let value = run.datum(0)?.clone();
            run.set(0, value);
            Ok(())
        })
    }
}
