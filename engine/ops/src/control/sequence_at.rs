//! [SequenceAt](https://onnx.ai/onnx/operators/onnx__SequenceAt.html): one item of a sequence.

use super::sequence::{ITEM, SEQUENCE, item, items, position};
use crate::{Case, Form, Room, attributes, ints, noise, of_room, types};
use oxidane_graph::{Call, InferCtx, Kernel, Op, OpError, Param, Signature, Unknown, kernel, shared};
use oxidane_tensor::Datum;
use std::sync::Arc;

attributes! {
    /// The item at a position; negative ones count from the end.
    pub struct SequenceAt {}
}

static SIGNATURE: Signature = Signature {
    inputs: &[Param::one("input_sequence", SEQUENCE, "S"), Param::one("position", types::INDEX, "I")],
    outputs: &[Param::one("tensor", ITEM, "T")],
};

/// The room of SequenceAt.
pub static ROOM: Room = Room {
    domain: "",
    name: "SequenceAt",
    since: &[11],
    signature: &SIGNATURE,
    read: |a| Ok(shared(SequenceAt::read(a)?)),
    steps: &[],
    cases: || {
        crate::with_cases!();
        let three = || three(&[2], &[3], &[4]);
        vec![
            Case::new("from the front", SequenceAt {})
                .input(three())
                .input(ints(&[], &[1]))
                .expect(noise(&[3], 2)),
            Case::new("from the end", SequenceAt {})
                .input(three())
                .input(ints(&[], &[-1]))
                .expect(noise(&[4], 3)),
        ]
    },
};

/// A sequence of three tensors for samples, each `noise(shape, n)` for n from 1 to 3.
pub(crate) fn three(a: &[usize], b: &[usize], c: &[usize]) -> Datum {
    let items = [(a, 1), (b, 2), (c, 3)].map(|(shape, seed)| Datum::Tensor(noise(shape, seed)));
    Datum::Sequence(Arc::new(items.to_vec()))
}

impl Op for SequenceAt {
    of_room!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        match item(ctx.ty(0)).cloned() {
            Some(item) => {
                ctx.set(0, item);
                Ok(())
            }
            None => Err(Unknown::Because("the type of the sequence is not known".into())),
        }
    }

    fn kernel(&self, _: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        kernel(|run| {
            let items = items(run, 0)?;
            let at = position(run, 1, items.len(), items.len())?;
            let item = items[at].clone();
            run.set(0, item);
            Ok(())
        })
    }
}
