//! [SequenceConstruct](https://onnx.ai/onnx/operators/onnx__SequenceConstruct.html): tensors put into a sequence.

use super::sequence::{ITEM, SEQUENCE};
use crate::{Case, Form, Room, attributes, noise, of_room};
use oxidane_graph::{Call, InferCtx, Kernel, Op, OpError, Param, Signature, Type, Unknown, kernel, shared};
use oxidane_tensor::Datum;
use std::sync::Arc;

attributes! {
    /// A sequence of the inputs.
    pub struct SequenceConstruct {}
}

static SIGNATURE: Signature = Signature {
    inputs: &[Param::variadic("inputs", ITEM, "T", 1)],
    outputs: &[Param::one("output_sequence", SEQUENCE, "S")],
};

/// The room of SequenceConstruct.
pub static ROOM: Room = Room {
    domain: "",
    name: "SequenceConstruct",
    since: &[11],
    signature: &SIGNATURE,
    read: |a| Ok(shared(SequenceConstruct::read(a)?)),
    steps: &[],
    cases: || vec![Case::new("two", SequenceConstruct {}).input(noise(&[2, 3], 1)).input(noise(&[4], 2))],
};

/// The type of a sequence that holds values of several types.
///
/// # Errors
/// When they cannot stand in one sequence.
pub(crate) fn sequence_of<'t>(types: impl IntoIterator<Item = &'t Type>) -> Result<Option<Type>, Unknown> {
    let mut all: Option<Type> = None;
    for ty in types {
        all = Some(match all {
            None => ty.clone(),
            Some(so_far) => Type::join(&so_far, ty)
                .ok_or_else(|| Unknown::wrong(format!("{so_far} and {ty} cannot stand in one sequence")))?,
        });
    }
    Ok(all.map(|ty| Type::Sequence(Box::new(ty))))
}

impl Op for SequenceConstruct {
    of_room!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        let types: Vec<Type> =
            (0..ctx.input_count()).map(|i| ctx.known_ty(i).cloned()).collect::<Result<_, _>>()?;
        if let Some(ty) = sequence_of(&types)? {
            ctx.set(0, ty);
        }
        Ok(())
    }

    fn kernel(&self, _: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        kernel(|run| {
            let mut items = Vec::with_capacity(run.input_count());
            for input in 0..run.input_count() {
                let item = run.take(input)?;
                if let Some(Datum::Tensor(first)) = items.first()
                    && first.dtype() != item.dtype()
                {
                    return Err(OpError::new(format!(
                        "tensors of {} and {} cannot stand in one sequence",
                        first.dtype(),
                        item.dtype()
                    )));
                }
                items.push(Datum::Tensor(item));
            }
            run.set(0, Datum::Sequence(Arc::new(items)));
            Ok(())
        })
    }
}
