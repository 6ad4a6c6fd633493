//! [SequenceErase](https://onnx.ai/onnx/operators/onnx__SequenceErase.html): one item less in a sequence.

use super::sequence::{SEQUENCE, items, position};
use super::sequence_at::three;
use crate::{Case, Form, Room, attributes, ints, of_room, types};
use oxidane_graph::{Call, InferCtx, Kernel, Op, OpError, Param, Signature, Unknown, kernel, shared};
use oxidane_tensor::Datum;
use std::sync::Arc;

attributes! {
    /// The sequence without the item at a position, by default the last.
    pub struct SequenceErase {}
}

static SIGNATURE: Signature = Signature {
    inputs: &[Param::one("input_sequence", SEQUENCE, "S"), Param::optional("position", types::INDEX, "I")],
    outputs: &[Param::one("output_sequence", SEQUENCE, "S")],
};

/// The room of SequenceErase.
pub static ROOM: Room = Room {
    domain: "",
    name: "SequenceErase",
    since: &[11],
    signature: &SIGNATURE,
    read: |a| Ok(shared(SequenceErase::read(a)?)),
    steps: &[],
    cases: || {
        crate::with_cases!();
        let three = || three(&[2], &[3], &[4]);
        vec![
            Case::new("the last", SequenceErase {}).input(three()),
            Case::new("the first", SequenceErase {}).input(three()).input(ints(&[], &[0])),
        ]
    },
};

impl Op for SequenceErase {
    of_room!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        let ty = ctx.known_ty(0)?.clone();
        ctx.set(0, ty);
        Ok(())
    }

    fn in_place(&self) -> &[usize] {
        &[0]
    }

    fn kernel(&self, _: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        kernel(|run| {
            let len = items(run, 0)?.len();
            let at = position(run, 1, len, len)?;
            if let Some(Datum::Sequence(mut items)) = run.take_datum(0) {
                Arc::make_mut(&mut items).remove(at);
                run.set(0, Datum::Sequence(items));
            }
            Ok(())
        })
    }
}
