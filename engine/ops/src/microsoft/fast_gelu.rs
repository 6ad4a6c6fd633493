//! [FastGelu](https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.FastGelu): Gelu by the hyperbolic tangent.

use super::formula::{Formula, like_first, plain};
use crate::{Case, Form, Room, attributes, floats, noise, noise_of, of_expansion, of_room, types};
use oxidane_graph::{
    Attributes, Build, InferCtx, NodeId, Op, OpError, Param, Signature, Unknown, ValueId, shared,
};
use oxidane_tensor::DType;

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
    let op = |a: Attributes| FastGelu::read(&a).expect("attributes of the operator");
    // Values by ONNX Runtime.
    vec![
        Case::new("plain", op(Attributes::new()))
            .input(noise(&[2, 2, 4], 1))
            .expect(floats(
                &[2, 2, 4],
                &[
                    0.073610604,
                    0.33841842,
                    0.77881694,
                    -0.050710674,
                    -0.050788462,
                    0.36828518,
                    0.58465773,
                    0.023915978,
                    -0.14327623,
                    0.42434254,
                    -0.081284516,
                    0.12302371,
                    -0.04182614,
                    0.03152189,
                    -0.057509195,
                    -0.16834603,
                ],
            ))
            .tolerance(0.0001),
        Case::new("bias", op(Attributes::new()))
            .input(noise(&[2, 2, 4], 1))
            .input(noise(&[4], 2))
            .expect(floats(
                &[2, 2, 4],
                &[
                    0.19681063,
                    0.83022654,
                    0.98740441,
                    0.27798733,
                    0.037458658,
                    0.86734724,
                    0.78305584,
                    0.41424981,
                    -0.099285491,
                    0.93546915,
                    -0.00021967037,
                    0.5716635,
                    0.04951822,
                    0.39744747,
                    0.033196233,
                    -0.060287446,
                ],
            ))
            .tolerance(0.0001),
        Case::new("float16", op(Attributes::new())).input(noise_of(DType::F16, &[3], 1)),
    ]
}
