//! [SequenceLength](https://onnx.ai/onnx/operators/onnx__SequenceLength.html): the number of items.

use super::sequence::{SEQUENCE, items};
use super::sequence_at::three;
use crate::{Case, Form, Room, attributes, ints, of_room, types};
use oxidane_graph::{Call, InferCtx, Kernel, Op, OpError, Param, Signature, Unknown, kernel, shared};
use oxidane_tensor::{DType, Tensor};

attributes! {
    /// The number of items of a sequence, a scalar.
    pub struct SequenceLength {}
}

static SIGNATURE: Signature = Signature {
    inputs: &[Param::one("input_sequence", SEQUENCE, "S")],
    outputs: &[Param::one("length", types::INT64, "I")],
};

/// The room of SequenceLength.
pub static ROOM: Room = Room {
    domain: "",
    name: "SequenceLength",
    since: &[11],
    signature: &SIGNATURE,
    read: |a| Ok(shared(SequenceLength::read(a)?)),
    steps: &[],
    cases: || {
        crate::with_cases!();
        vec![Case::new("three", SequenceLength {}).input(three(&[2], &[3], &[4])).expect(ints(&[], &[3]))]
    },
};

impl Op for SequenceLength {
    of_room!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        ctx.set_tensor(0, DType::I64, []);
        Ok(())
    }

    fn kernel(&self, _: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        kernel(|run| {
            let length = items(run, 0)?.len() as i64;
            run.set(0, Tensor::scalar(length));
            Ok(())
        })
    }
}
