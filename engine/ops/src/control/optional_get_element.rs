//! [OptionalGetElement](https://onnx.ai/onnx/operators/onnx__OptionalGetElement.html): the value of an optional.

use crate::{Case, Draft, Form, Room, Step, attributes, noise, of_room, types};
use oxidane_graph::{Call, InferCtx, Kernel, Op, OpError, Param, Signature, Type, Unknown, kernel, shared};
use oxidane_tensor::Datum;
use std::sync::Arc;

attributes! {
    /// The value inside an optional, which must be there; tensors and sequences as they are.
    pub struct OptionalGetElement {}
}

static SIGNATURE: Signature = Signature {
    inputs: &[Param::one("input", types::ANY, "O")],
    outputs: &[Param::one("output", types::ANY, "V")],
};

/// The room of OptionalGetElement.
pub static ROOM: Room = Room {
    domain: "",
    name: "OptionalGetElement",
    since: &[15, 18, 28],
    signature: &SIGNATURE,
    read: |a| Ok(shared(OptionalGetElement::read(a)?)),
    steps: &[Step { to: 18, up: |_| Ok(()), down: only_optional }],
    cases: || {
        crate::with_cases!();
        let some = Datum::Optional(Some(Arc::new(noise(&[2], 1).into())));
        vec![
            Case::new("optional", OptionalGetElement {}).input(some).expect(noise(&[2], 1)),
            Case::new("tensor", OptionalGetElement {}).input(noise(&[2], 1)).expect(noise(&[2], 1)),
        ]
    },
};

/// A step down to opsets that took optionals alone.
pub(crate) fn only_optional(draft: &mut Draft<'_>) -> Result<(), OpError> {
    match (draft.input(0), draft.ty(0)) {
        (Some(_), None | Some(Type::Optional(_))) => Ok(()),
        (Some(_), Some(ty)) => Err(OpError::new(format!(
            "an input of type {ty}, not optional, cannot be expressed in this opset"
        ))
        .help("export to opset 18 or later")),
        (None, _) => Err(OpError::new("a missing input cannot be expressed in this opset")
            .help("export to opset 18 or later")),
    }
}

impl Op for OptionalGetElement {
    of_room!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        let inner = match ctx.known_ty(0)? {
            Type::Optional(inner) => (**inner).clone(),
            other => other.clone(),
        };
        ctx.set(0, inner);
        Ok(())
    }

    fn kernel(&self, _: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        kernel(|run| {
            let value = match run.datum(0)? {
                Datum::Optional(Some(inner)) => (**inner).clone(),
                Datum::Optional(None) => {
                    return Err(OpError::new("the optional is absent")
                        .help("ask OptionalHasElement before, in the condition of an If"));
                }
                other => other.clone(),
            };
            run.set(0, value);
            Ok(())
        })
    }
}
