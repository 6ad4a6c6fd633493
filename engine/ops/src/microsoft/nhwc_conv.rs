//! [NhwcConv](https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.NhwcConv): Conv with the channels last.

use super::formula::{Formula, plain};
use crate::{Case, Form, Room, attributes, of_expansion, of_room, types};
use oxidane_graph::{
    Build, Dim, Dims, InferCtx, NodeId, Op, OpError, Param, Signature, Unknown, ValueId, shared,
};

attributes! {
    /// Conv of an input whose channels are the last axis, as are the output's; the weight is laid out as for Conv.
    pub struct NhwcConv { auto_pad: String = "NOTSET".to_owned(), dilations: Option<Vec<i64>>, group: i64 = 1, kernel_shape: Option<Vec<i64>>, pads: Option<Vec<i64>>, strides: Option<Vec<i64>> }
}

static SIGNATURE: Signature = Signature {
    inputs: &[
        Param::one("X", types::FLOAT, "T"),
        Param::one("W", types::FLOAT, "T"),
        Param::optional("B", types::FLOAT, "T"),
    ],
    outputs: &[Param::one("Y", types::FLOAT, "T")],
};

/// The room of NhwcConv.
pub static ROOM: Room = Room {
    domain: "com.microsoft",
    name: "NhwcConv",
    since: &[1],
    signature: &SIGNATURE,
    read: |a| Ok(shared(NhwcConv::read(a)?)),
    steps: &[],
    cases,
};

impl Op for NhwcConv {
    of_room!();
    of_expansion!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        let dtype = ctx.dtype(0)?;
        match (ctx.shape(0).map(Dims::from_slice), ctx.shape(1).map(Dims::from_slice)) {
            (Some(x), Some(w)) if x.len() > 2 && x.len() == w.len() => {
                let last = x.len() - 1;
                let dims: Vec<Dim> = (0..x.len())
                    .map(|i| match i {
                        0 => x[0],
                        i if i == last => w[0],
                        i => ctx.unknown_dim(0, i),
                    })
                    .collect();
                ctx.set_tensor(0, dtype, dims);
            }
            _ => ctx.set_unranked(0, dtype),
        }
        Ok(())
    }

    fn expand(&self, build: &mut Build<'_>, node: NodeId) -> Result<Option<Vec<ValueId>>, OpError> {
        let mut f = Formula::new(build, node);
        let mut attributes = plain().with("auto_pad", self.auto_pad.clone()).with("group", self.group);
        for (name, list) in [
            ("dilations", &self.dilations),
            ("kernel_shape", &self.kernel_shape),
            ("pads", &self.pads),
            ("strides", &self.strides),
        ] {
            attributes.set(name, list.clone());
        }
        let x = f.need(0)?;
        let rank = f.rank(x)? as i64;
        if rank < 3 {
            return Err(OpError::new(format!("X must have rank 3 or more, but has {rank}")));
        }
        let front: Vec<i64> = [0, rank - 1].into_iter().chain(1..rank - 1).collect();
        let back: Vec<i64> = [0].into_iter().chain(2..rank).chain([1]).collect();
        let x = f.transpose(x, &front)?;
        let inputs = [Some(x), f.input(1), f.input(2)];
        let y = f.node("Conv", &attributes, &inputs, 1)?[0];
        Ok(Some(vec![f.transpose(y, &back)?]))
    }
}

fn cases() -> Vec<Case> {
    vec![]
}
