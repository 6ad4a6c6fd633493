//! [Gelu](https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.Gelu): the Gaussian error linear unit.

use super::formula::{Formula, like_first};
use crate::{Case, Form, Room, attributes, floats, noise, noise_of, of_expansion, of_room, types};
use oxidane_graph::{
    Attributes, Build, InferCtx, NodeId, Op, OpError, Param, Signature, Unknown, ValueId, shared,
};
use oxidane_tensor::DType;

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
    let op = |a: Attributes| Gelu::read(&a).expect("attributes of the operator");
    // Values by ONNX Runtime.
    vec![
        Case::new("float", op(Attributes::new())).input(noise(&[2, 2, 4], 1)).expect(floats(
            &[2, 2, 4],
            &[
                0.073610708,
                0.33843464,
                0.7789492,
                -0.050710622,
                -0.05078841,
                0.36830583,
                0.584728,
                0.023915978,
                -0.14326644,
                0.42437324,
                -0.081284076,
                0.12302435,
                -0.041826118,
                0.031521894,
                -0.057509106,
                -0.16829911,
            ],
        )),
        Case::new("double", op(Attributes::new())).input(noise_of(DType::F64, &[3], 1)),
    ]
}
