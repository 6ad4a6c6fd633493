//! [BiasSplitGelu](https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.BiasSplitGelu): one half of a sum times the Gelu of the other.

use crate::formula::{Formula, plain, ranked};
use crate::{Case, Form, Room, attributes, floats, noise, of_expansion, of_room, types};
use oxidane_graph::{
    Attributes, Build, Dim, InferCtx, NodeId, Op, OpError, Param, Signature, Unknown, ValueId, shared,
};

attributes! {
    /// With the bias added, the left half of the last axis times the Gelu of the right half.
    pub struct BiasSplitGelu {  }
}

static SIGNATURE: Signature = Signature {
    inputs: &[Param::one("X", types::FLOAT, "T"), Param::one("bias", types::FLOAT, "T")],
    outputs: &[Param::one("Y", types::FLOAT, "T")],
};

/// The room of BiasSplitGelu.
pub static ROOM: Room = Room {
    domain: "com.microsoft",
    name: "BiasSplitGelu",
    since: &[1],
    signature: &SIGNATURE,
    read: |a| Ok(shared(BiasSplitGelu::read(a)?)),
    steps: &[],
    cases,
};

impl Op for BiasSplitGelu {
    of_room!();
    of_expansion!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        let dtype = ctx.dtype(0)?;
        match ranked::<3>(ctx, 0)? {
            Some([batch, rows, size]) => {
                ctx.set_tensor(0, dtype, [batch, rows, size.floor_div(Dim::known(2))])
            }
            None => ctx.set_unranked(0, dtype),
        }
        Ok(())
    }

    fn expand(&self, build: &mut Build<'_>, node: NodeId) -> Result<Option<Vec<ValueId>>, OpError> {
        let mut f = Formula::new(build, node);
        let (x, bias) = (f.need(0)?, f.need(1)?);
        let sum = f.op("Add", &[x, bias])?;
        let attributes = plain().with("axis", -1i64).with("num_outputs", 2i64);
        let halves = f.node("Split", &attributes, &[Some(sum)], 2)?;
        let gate = f.op("Gelu", &[halves[1]])?;
        Ok(Some(vec![f.op("Mul", &[halves[0], gate])?]))
    }
}

fn cases() -> Vec<Case> {
    crate::with_cases!();
    let op = |a: Attributes| BiasSplitGelu::read(&a).expect("attributes of the operator");
    // Values by NumPy.
    vec![Case::new("halves", op(Attributes::new())).input(noise(&[2, 2, 4], 1)).input(noise(&[4], 2)).expect(
        floats(&[2, 2, 2], &[0.311591, 0.275178, 0.055535, 0.424258, 5.4e-05, 0.621066, 0.003063, -0.033668]),
    )]
}
