//! [FastGelu](https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.FastGelu): Gelu by the hyperbolic tangent.

use crate::formula::{Formula, like_first, plain};
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
    crate::with_cases!();
    let op = |a: Attributes| FastGelu::read(&a).expect("attributes of the operator");
    // Values by ONNX Runtime.
    vec![
        Case::new("plain", op(Attributes::new()))
            .input(noise(&[2, 2, 4], 1))
            .expect(floats(
                &[2, 2, 4],
                &[
                    0.073611, 0.338418, 0.778817, -0.050711, -0.050788, 0.368285, 0.584658, 0.023916,
                    -0.143276, 0.424343, -0.081285, 0.123024, -0.041826, 0.031522, -0.057509, -0.168346,
                ],
            ))
            .tolerance(0.0001),
        Case::new("bias", op(Attributes::new()))
            .input(noise(&[2, 2, 4], 1))
            .input(noise(&[4], 2))
            .expect(floats(
                &[2, 2, 4],
                &[
                    0.196811, 0.830227, 0.987404, 0.277987, 0.037459, 0.867347, 0.783056, 0.41425, -0.099285,
                    0.935469, -0.00022, 0.571663, 0.049518, 0.397447, 0.033196, -0.060287,
                ],
            ))
            .tolerance(0.0001),
        Case::new("float16", op(Attributes::new())).input(noise_of(DType::F16, &[3], 1)),
    ]
}
