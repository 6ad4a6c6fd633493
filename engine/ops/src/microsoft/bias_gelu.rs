//! [BiasGelu](https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.BiasGelu): Gelu of a sum.

use crate::formula::{Formula, like_first};
use crate::{Case, Form, Room, attributes, floats, noise, noise_of, of_expansion, of_room, types};
use oxidane_graph::{
    Attributes, Build, InferCtx, NodeId, Op, OpError, Param, Signature, Unknown, ValueId, shared,
};
use oxidane_tensor::DType;

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
    crate::with_cases!();
    let op = |a: Attributes| BiasGelu::read(&a).expect("attributes of the operator");
    // Values by ONNX Runtime.
    vec![
        Case::new("float", op(Attributes::new())).input(noise(&[2, 2, 4], 1)).input(noise(&[4], 2)).expect(
            floats(
                &[2, 2, 4],
                &[
                    0.196814, 0.830376, 0.987601, 0.277996, 0.037459, 0.867508, 0.783189, 0.414279,
                    -0.099284, 0.935651, -0.00022, 0.57173, 0.049518, 0.397473, 0.033196, -0.060287,
                ],
            ),
        ),
        Case::new("float16", op(Attributes::new()))
            .input(noise_of(DType::F16, &[3], 1))
            .input(noise_of(DType::F16, &[3], 2))
            .tolerance(0.001),
    ]
}
