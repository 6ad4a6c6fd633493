//! [FastGelu](https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.FastGelu): Gelu by the hyperbolic tangent.

use super::formula::{Formula, like_first, plain};
use crate::{Case, Form, Room, attributes, of_expansion, of_room, types};
use oxidane_graph::{Build, InferCtx, NodeId, Op, OpError, Param, Signature, Unknown, ValueId, shared};

attributes! {
    /// Gelu by its approximation, of the input plus a bias.
    pub struct FastGelu {  }
}

static SIGNATURE: Signature = Signature {
    inputs: &[Param::one("X", types::FLOAT, "T"), Param::optional("bias", types::FLOAT, "T")],
    outputs: &[Param::one("Y", types::FLOAT, "T")],
};

/// The room of FastGelu.
pub static ROOM: Room = Room {
    domain: "com.microsoft",
    name: "FastGelu",
    since: &[1],
    signature: &SIGNATURE,
    read: |a| Ok(shared(FastGelu::read(a)?)),
    steps: &[],
    cases,
};

impl Op for FastGelu {
    of_room!();
    of_expansion!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        like_first(ctx)
    }

    fn expand(&self, build: &mut Build<'_>, node: NodeId) -> Result<Option<Vec<ValueId>>, OpError> {
        let mut f = Formula::new(build, node);
        let mut x = f.need(0)?;
        if let Some(bias) = f.input(1) {
            x = f.op("Add", &[x, bias])?;
        }
        Ok(Some(vec![f.with("Gelu", plain().with("approximate", "tanh".to_owned()), &[x])?]))
    }
}

fn cases() -> Vec<Case> {
    vec![]
}
