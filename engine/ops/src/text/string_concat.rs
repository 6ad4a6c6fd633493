//! [StringConcat](https://onnx.ai/onnx/operators/onnx__StringConcat.html): strings put together element by
//! element.

use crate::tensor::moves::empty_strings;
use crate::text::texts;
use crate::{Case, Form, Room, attributes, of_room, strings, types};
use oxidane_graph::{
    Call, InferCtx, Kernel, Op, OpError, Param, Signature, Unknown, broadcast_dims, kernel, shared,
};
use oxidane_tensor::{DType, Tensor, broadcast};
use std::sync::Arc;

attributes! {
    /// Each string of the first input followed by that of the second, both broadcast to each other.
    pub struct StringConcat {}
}

static SIGNATURE: Signature = Signature {
    inputs: &[Param::one("X", types::STRING, "T"), Param::one("Y", types::STRING, "T")],
    outputs: &[Param::one("Z", types::STRING, "T")],
};

/// The room of StringConcat.
pub static ROOM: Room = Room {
    domain: "",
    name: "StringConcat",
    since: &[20],
    signature: &SIGNATURE,
    read: |a| Ok(shared(StringConcat::read(a)?)),
    steps: &[],
    cases: || {
        crate::with_cases!();
        vec![
            // np.strings.add.
            Case::new("equal", StringConcat {})
                .input(strings(&[2], &["abc", "ö"]))
                .input(strings(&[2], &[".com", ""]))
                .expect(strings(&[2], &["abc.com", "ö"])),
            Case::new("broadcast", StringConcat {})
                .input(strings(&[2, 1], &["a", "b"]))
                .input(strings(&[3], &["x", "y", "z"]))
                .expect(strings(&[2, 3], &["ax", "ay", "az", "bx", "by", "bz"])),
            Case::new("scalars", StringConcat {})
                .input(strings(&[], &["cat"]))
                .input(strings(&[], &["s"]))
                .expect(strings(&[], &["cats"])),
            Case::new("empty", StringConcat {})
                .input(strings(&[0], &[]))
                .input(strings(&[1], &["s"]))
                .expect(strings(&[0], &[])),
        ]
    },
};

impl Op for StringConcat {
    of_room!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        match (ctx.shape(0), ctx.shape(1)) {
            (Some(x), Some(y)) => {
                let dims = broadcast_dims(x, y)?;
                ctx.set_tensor(0, DType::String, dims);
            }
            _ => ctx.set_unranked(0, DType::String),
        }
        Ok(())
    }

    fn kernel(&self, _: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        kernel(move |run| {
            let shape = broadcast(run.tensor(0)?.shape(), run.tensor(1)?.shape())?;
            // Asks the budget for what the broadcast operands and the result hold at least.
            let mut joined = empty_strings(run, 0, &shape)?;
            let x = run.tensor(0)?.broadcast_to(&shape)?.to_dense()?;
            let y = run.tensor(1)?.broadcast_to(&shape)?.to_dense()?;
            for ((z, x), y) in joined.iter_mut().zip(texts(&x)?).zip(texts(&y)?) {
                *z = match (x.is_empty(), y.is_empty()) {
                    (_, true) => x.clone(),
                    (true, _) => y.clone(),
                    _ => Arc::from([&**x, &**y].concat()),
                };
            }
            run.set(0, Tensor::from_strings(&shape, joined)?);
            Ok(())
        })
    }
}
