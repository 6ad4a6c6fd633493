//! [SequenceEmpty](https://onnx.ai/onnx/operators/onnx__SequenceEmpty.html): a sequence without items.

use super::sequence::SEQUENCE;
use crate::{Case, Form, Room, attributes, of_room};
use oxidane_graph::{Call, InferCtx, Kernel, Op, OpError, Param, Signature, Type, Unknown, kernel, shared};
use oxidane_tensor::{DType, Datum};
use std::sync::Arc;

attributes! {
    /// An empty sequence of tensors of an element type, by default float.
    pub struct SequenceEmpty { dtype: Option<DType> }
}

static SIGNATURE: Signature = Signature { inputs: &[], outputs: &[Param::one("output", SEQUENCE, "S")] };

/// The room of SequenceEmpty.
pub static ROOM: Room = Room {
    domain: "",
    name: "SequenceEmpty",
    since: &[11],
    signature: &SIGNATURE,
    read: |a| Ok(shared(SequenceEmpty::read(a)?)),
    steps: &[],
    cases: || vec![Case::new("integers", SequenceEmpty { dtype: Some(DType::I64) })],
};

impl Op for SequenceEmpty {
    of_room!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        let item = Type::unranked(self.dtype.unwrap_or(DType::F32));
        ctx.set(0, Type::Sequence(Box::new(item)));
        Ok(())
    }

    fn kernel(&self, _: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        kernel(|run| {
            run.set(0, Datum::Sequence(Arc::new(Vec::new())));
            Ok(())
        })
    }
}
