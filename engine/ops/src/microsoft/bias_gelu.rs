//! [BiasGelu](https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.BiasGelu): Gelu of a sum.

use super::formula::{Formula, like_first};
use crate::{Case, Form, Room, attributes, of_expansion, of_room, types};
use oxidane_graph::{Build, InferCtx, NodeId, Op, OpError, Param, Signature, Unknown, ValueId, shared};

attributes! {
    /// Gelu of the input plus a bias along the last axis.
    pub struct BiasGelu {  }
}

static SIGNATURE: Signature = Signature {
    inputs: &[Param::one("A", types::FLOAT, "T"), Param::one("B", types::FLOAT, "T")],
    outputs: &[Param::one("C", types::FLOAT, "T")],
};

/// The room of BiasGelu.
pub static ROOM: Room = Room {
    domain: "com.microsoft",
    name: "BiasGelu",
    since: &[1],
    signature: &SIGNATURE,
    read: |a| Ok(shared(BiasGelu::read(a)?)),
    steps: &[],
    cases,
};

impl Op for BiasGelu {
    of_room!();
    of_expansion!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        like_first(ctx)
    }

    fn expand(&self, build: &mut Build<'_>, node: NodeId) -> Result<Option<Vec<ValueId>>, OpError> {
        let mut f = Formula::new(build, node);
        let (x, bias) = (f.need(0)?, f.need(1)?);
        let sum = f.op("Add", &[x, bias])?;
        Ok(Some(vec![f.op("Gelu", &[sum])?]))
    }
}

fn cases() -> Vec<Case> {
    vec![]
}
