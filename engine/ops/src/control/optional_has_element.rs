//! [OptionalHasElement](https://onnx.ai/onnx/operators/onnx__OptionalHasElement.html): whether there is a value.

use super::optional_get_element::only_optional;
use crate::{Case, Form, Room, Step, attributes, bools, noise, of_room, types};
use oxidane_graph::{Call, InferCtx, Kernel, Op, OpError, Param, Signature, Unknown, kernel, shared};
use oxidane_tensor::{DType, Datum, Tensor};
use std::sync::Arc;

attributes! {
    /// Whether the input is there: given, and no absent optional.
    pub struct OptionalHasElement {}
}

static SIGNATURE: Signature = Signature {
    inputs: &[Param::optional("input", types::ANY, "O")],
    outputs: &[Param::one("output", types::BOOL, "B")],
};

/// The room of OptionalHasElement.
pub static ROOM: Room = Room {
    domain: "",
    name: "OptionalHasElement",
    since: &[15, 18, 28],
    signature: &SIGNATURE,
    read: |a| Ok(shared(OptionalHasElement::read(a)?)),
    steps: &[Step { to: 18, up: |_| Ok(()), down: only_optional }],
    cases: || {
        crate::with_cases!();
        let of = |name| Case::new(name, OptionalHasElement {});
        let some = Datum::Optional(Some(Arc::new(noise(&[2], 1).into())));
        vec![
            of("given").input(some).expect(bools(&[], &[true])),
            of("absent").input(Datum::Optional(None)).expect(bools(&[], &[false])),
            of("tensor").input(noise(&[2], 1)).expect(bools(&[], &[true])),
            of("no input").expect(bools(&[], &[false])),
        ]
    },
};

impl Op for OptionalHasElement {
    of_room!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        ctx.set_tensor(0, DType::Bool, []);
        Ok(())
    }

    fn kernel(&self, _: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        kernel(|run| {
            let there = !matches!(run.try_datum(0), None | Some(Datum::Optional(None)));
            run.set(0, Tensor::from_bools(&[], &[there])?);
            Ok(())
        })
    }
}
