//! [Gelu](https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.Gelu): the Gaussian error linear unit.

use crate::formula::{Formula, like_first};
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
    crate::with_cases!();
    let op = |a: Attributes| Gelu::read(&a).expect("attributes of the operator");
    // Values by ONNX Runtime.
    vec![
        Case::new("float", op(Attributes::new())).input(noise(&[2, 2, 4], 1)).expect(floats(
            &[2, 2, 4],
            &[
                0.073611, 0.338435, 0.778949, -0.050711, -0.050788, 0.368306, 0.584728, 0.023916, -0.143266,
                0.424373, -0.081284, 0.123024, -0.041826, 0.031522, -0.057509, -0.168299,
            ],
        )),
        Case::new("double", op(Attributes::new())).input(noise_of(DType::F64, &[3], 1)),
    ]
}
