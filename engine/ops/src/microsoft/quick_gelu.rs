//! [QuickGelu](https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.QuickGelu): the input times its sigmoid.

use super::formula::{Formula, like_first};
use crate::{Case, Form, Room, attributes, of_expansion, of_room, types};
use oxidane_graph::{Build, InferCtx, NodeId, Op, OpError, Param, Signature, Unknown, ValueId, shared};

attributes! {
    /// `x * sigmoid(alpha * x)`.
    pub struct QuickGelu { alpha: f32 = 1.702 }
}

static SIGNATURE: Signature = Signature {
    inputs: &[Param::one("X", types::FLOAT, "T")],
    outputs: &[Param::one("Y", types::FLOAT, "T")],
};

/// The room of QuickGelu.
pub static ROOM: Room = Room {
    domain: "com.microsoft",
    name: "QuickGelu",
    since: &[1],
    signature: &SIGNATURE,
    read: |a| Ok(shared(QuickGelu::read(a)?)),
    steps: &[],
    cases,
};

impl Op for QuickGelu {
    of_room!();
    of_expansion!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        like_first(ctx)
    }

    fn expand(&self, build: &mut Build<'_>, node: NodeId) -> Result<Option<Vec<ValueId>>, OpError> {
        let mut f = Formula::new(build, node);
        let x = f.need(0)?;
        let alpha = f.number(self.alpha.into(), x)?;
        let scaled = f.op("Mul", &[x, alpha])?;
        let gate = f.op("Sigmoid", &[scaled])?;
        Ok(Some(vec![f.op("Mul", &[x, gate])?]))
    }
}

fn cases() -> Vec<Case> {
    vec![]
}
