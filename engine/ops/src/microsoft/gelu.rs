//! [Gelu](https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.Gelu): the Gaussian error linear unit.

use super::formula::{Formula, like_first};
use crate::{Case, Form, Room, attributes, of_expansion, of_room, types};
use oxidane_graph::{Build, InferCtx, NodeId, Op, OpError, Param, Signature, Unknown, ValueId, shared};

attributes! {
    /// `x * Phi(x)`.
    pub struct Gelu {  }
}

static SIGNATURE: Signature = Signature {
    inputs: &[Param::one("X", types::FLOAT, "T")],
    outputs: &[Param::one("Y", types::FLOAT, "T")],
};

/// The room of Gelu.
pub static ROOM: Room = Room {
    domain: "com.microsoft",
    name: "Gelu",
    since: &[1],
    signature: &SIGNATURE,
    read: |a| Ok(shared(Gelu::read(a)?)),
    steps: &[],
    cases,
};

impl Op for Gelu {
    of_room!();
    of_expansion!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        like_first(ctx)
    }

    fn expand(&self, build: &mut Build<'_>, node: NodeId) -> Result<Option<Vec<ValueId>>, OpError> {
        let mut f = Formula::new(build, node);
        let x = f.need(0)?;
        Ok(Some(vec![f.op("Gelu", &[x])?]))
    }
}

fn cases() -> Vec<Case> {
    vec![]
}
