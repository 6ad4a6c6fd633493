//! [Optional](https://onnx.ai/onnx/operators/onnx__Optional.html): a value that may be absent.

use crate::{Case, Form, Room, attributes, noise, of_room, types};
use oxidane_graph::{Call, InferCtx, Kernel, Op, OpError, Param, Signature, Type, Unknown, kernel, shared};
use oxidane_tensor::Datum;
use std::sync::Arc;

attributes! {
    /// The input as an optional; without it, an absent one of the stated type.
    pub struct Optional { type_: Option<Type> }
}

static SIGNATURE: Signature = Signature {
    inputs: &[Param::optional("input", types::ANY, "V")],
    outputs: &[Param::one("output", types::ANY, "O")],
};

/// The room of Optional.
pub static ROOM: Room = Room {
    domain: "",
    name: "Optional",
    since: &[15, 28],
    signature: &SIGNATURE,
    read: |a| Ok(shared(Optional::read(a)?)),
    steps: &[],
    cases: || {
        crate::with_cases!();
        let float = Type::unranked(oxidane_tensor::DType::F32);
        vec![
            Case::new("given", Optional { type_: None }).input(noise(&[2], 1)),
            Case::new("absent", Optional { type_: Some(float) }),
        ]
    },
};

impl Op for Optional {
    of_room!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        let inner = match (&self.type_, ctx.has_input(0)) {
            (_, true) => ctx.known_ty(0)?.clone(),
            (Some(ty), false) => ty.clone(),
            (None, false) => {
                return Err(Unknown::wrong("neither an input nor the attribute `type` says what it is"));
            }
        };
        ctx.set(0, Type::Optional(Box::new(inner)));
        Ok(())
    }

    fn kernel(&self, _: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        kernel(|run| {
            let inner = run.take_datum(0).map(Arc::new);
            run.set(0, Datum::Optional(inner));
            Ok(())
        })
    }
}
