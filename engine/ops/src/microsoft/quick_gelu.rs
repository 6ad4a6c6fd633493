//! [QuickGelu](https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.QuickGelu): the input times its sigmoid.

use crate::formula::{Formula, like_first};
use crate::{Case, Form, Room, attributes, floats, noise, of_expansion, of_room, types};
use oxidane_graph::{
    Attributes, Build, InferCtx, NodeId, Op, OpError, Param, Signature, Unknown, ValueId, shared,
};

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
    crate::with_cases!();
    let op = |a: Attributes| QuickGelu::read(&a).expect("attributes of the operator");
    // Values by ONNX Runtime.
    vec![
        Case::new("plain", op(Attributes::new())).input(noise(&[2, 2, 4], 1)).expect(floats(
            &[2, 2, 4],
            &[
                0.07407, 0.342992, 0.784199, -0.050387, -0.050464, 0.373257, 0.59109, 0.023972, -0.139491,
                0.429946, -0.080356, 0.124135, -0.041613, 0.031618, -0.057083, -0.162175,
            ],
        )),
        Case::new("alpha", op(Attributes::new().with("alpha", 0.5f32))).input(noise(&[2, 2, 4], 1)).expect(
            floats(
                &[2, 2, 4],
                &[
                    0.068776, 0.275835, 0.579918, -0.054093, -0.054182, 0.297253, 0.447712, 0.023333,
                    -0.191576, 0.336905, -0.091267, 0.110972, -0.044047, 0.030531, -0.061985, -0.278039,
                ],
            ),
        ),
    ]
}
