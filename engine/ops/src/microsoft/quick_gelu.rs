//! [QuickGelu](https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.QuickGelu): the input times its sigmoid.

use super::formula::{Formula, like_first};
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
    let op = |a: Attributes| QuickGelu::read(&a).expect("attributes of the operator");
    // Values by ONNX Runtime.
    vec![
        Case::new("plain", op(Attributes::new())).input(noise(&[2, 2, 4], 1)).expect(floats(
            &[2, 2, 4],
            &[
                0.074070089,
                0.34299204,
                0.784199,
                -0.050387263,
                -0.050463967,
                0.3732568,
                0.59108955,
                0.02397234,
                -0.1394908,
                0.42994583,
                -0.080355927,
                0.12413505,
                -0.041612785,
                0.03161753,
                -0.057083175,
                -0.16217513,
            ],
        )),
        Case::new("alpha", op(Attributes::new().with("alpha", 0.5f32))).input(noise(&[2, 2, 4], 1)).expect(
            floats(
                &[2, 2, 4],
                &[
                    0.068775974,
                    0.27583498,
                    0.57991844,
                    -0.054093234,
                    -0.054182488,
                    0.29725346,
                    0.44771174,
                    0.023333214,
                    -0.19157584,
                    0.33690497,
                    -0.091266982,
                    0.11097195,
                    -0.044046968,
                    0.030531337,
                    -0.061985087,
                    -0.27803871,
                ],
            ),
        ),
    ]
}
