//! [SequenceInsert](https://onnx.ai/onnx/operators/onnx__SequenceInsert.html): one item more in a sequence.

use super::sequence::{ITEM, SEQUENCE, item, items, position};
use super::sequence_at::three;
use super::sequence_construct::sequence_of;
use crate::{Case, Form, Room, attributes, ints, noise, of_room, types};
use oxidane_graph::{Call, InferCtx, Kernel, Op, OpError, Param, Signature, Unknown, kernel, shared};
use oxidane_tensor::Datum;
use std::sync::Arc;

attributes! {
    /// The sequence with a tensor put in before a position, by default at the end.
    pub struct SequenceInsert {}
}

static SIGNATURE: Signature = Signature {
    inputs: &[
        Param::one("input_sequence", SEQUENCE, "S"),
        Param::one("tensor", ITEM, "T"),
        Param::optional("position", types::INDEX, "I"),
    ],
    outputs: &[Param::one("output_sequence", SEQUENCE, "S")],
};

/// The room of SequenceInsert.
pub static ROOM: Room = Room {
    domain: "",
    name: "SequenceInsert",
    since: &[11],
    signature: &SIGNATURE,
    read: |a| Ok(shared(SequenceInsert::read(a)?)),
    steps: &[],
    cases: || {
        crate::with_cases!();
        let three = || three(&[2], &[3], &[4]);
        vec![
            Case::new("at the end", SequenceInsert {}).input(three()).input(noise(&[5], 4)),
            Case::new("at the front", SequenceInsert {})
                .input(three())
                .input(noise(&[5], 4))
                .input(ints(&[], &[-3])),
        ]
    },
};

impl Op for SequenceInsert {
    of_room!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        let Some(old) = item(ctx.ty(0)).cloned() else {
            return Err(Unknown::Because("the type of the sequence is not known".into()));
        };
        let new = ctx.known_ty(1)?.clone();
        if let Some(ty) = sequence_of([&old, &new])? {
            ctx.set(0, ty);
        }
        Ok(())
    }

    fn in_place(&self) -> &[usize] {
        &[0]
    }

    fn kernel(&self, _: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        kernel(|run| {
            let len = items(run, 0)?.len();
            let at = position(run, 2, len, len + 1)?;
            let tensor = run.take(1)?;
            if let Some(Datum::Tensor(first)) = items(run, 0)?.first()
                && first.dtype() != tensor.dtype()
            {
                return Err(OpError::new(format!(
                    "a tensor of {} cannot stand in a sequence of {}",
                    tensor.dtype(),
                    first.dtype()
                )));
            }
            if let Some(Datum::Sequence(mut items)) = run.take_datum(0) {
                Arc::make_mut(&mut items).insert(at, Datum::Tensor(tensor));
                run.set(0, Datum::Sequence(items));
            }
            Ok(())
        })
    }
}
